//! Source lines and inlined functions from DWARF.

use super::SourceFrame;
use super::debug_files;
use super::die::{Dies, OWN, UnitPlace};
use super::places::Places;
use super::split::{self, Split};
use super::variables::{self, FrameState, FunctionPlace, Spot, Statics};
use crate::binaries::Binary;
use crate::mmap::Section;
use crate::typed::Variable;
use gimli::{EndianReader, LittleEndian};
use object::read::elf::ElfFile64;
use object::{CompressionFormat, Object, ObjectSection};
use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) type Reader = EndianReader<LittleEndian, Section>;

/// Longest unpacked section taken, as a multiple of the packed one and in bytes.
const MAX_EXPANSION: u64 = 64;
const MAX_SECTION: u64 = 4 << 30;

/// DWARF sections of one file.
pub(super) type Sections = gimli::Dwarf<Reader>;

/// The debug information of one file.
pub(super) struct Dwarf {
    context: addr2line::Context<Reader>,
    dies: Dies,
    /// Names of variables that are no function's own; collected when first asked for.
    statics: Option<Statics>,
    split: RefCell<Split>,
    /// Name of the file that it shares entries with, which is not there.
    unshared: Option<String>,
}

impl Dwarf {
    /// Indexes the units of `binary`, or of `debug`, its debug file. The error is the reason, as one
    /// sentence.
    pub(super) fn load(
        binary: &Binary,
        debug: &Arc<Binary>,
        directories: &[PathBuf],
    ) -> Result<Dwarf, String> {
        let path = debug.path().display();
        let file = ElfFile64::<object::LittleEndian>::parse(debug.bytes())
            .map_err(|error| format!("{path} cannot be read: {error}"))?;
        if file.section_by_name(".debug_info").is_none() {
            return Err(format!("{path} has no debug information"));
        }
        let shared = debug_files::shared(debug, &file, directories);
        let sections = |binary: &Arc<Binary>| {
            Sections::load(|id| Ok::<_, gimli::Error>(reader(binary, id.name())))
        };
        let load = || {
            let mut dwarf = sections(debug)?;
            let mut entries = None;
            if let Some(Ok(shared)) = &shared {
                dwarf.set_sup(sections(shared)?);
                entries = Some(Arc::new(sections(shared)?));
            }
            let dwarf = Arc::new(dwarf);
            let context = addr2line::Context::from_arc_dwarf(dwarf.clone())?;
            Ok((context, Dies::new(dwarf, entries)))
        };
        let (context, dies) = load().map_err(|error: gimli::Error| {
            format!("the debug information of {path} cannot be read: {error}")
        })?;
        let files = vec![binary.path().to_owned(), debug.path().to_owned()];
        Ok(Dwarf {
            context,
            dies,
            statics: None,
            split: RefCell::new(Split::new(files, directories)),
            unshared: shared.and_then(Result::err),
        })
    }

    /// What parts of it are not there, as one sentence.
    pub(super) fn lacks(&self) -> Option<String> {
        let split = self.split.borrow();
        let (count, first) = (split.missing().len(), split.missing().first());
        let file = first.or(self.unshared.as_ref())?;
        Some(match count {
            0 | 1 => format!("a part of its debug information is in {file}, which was not found"),
            _ => format!(
                "parts of its debug information are in {count} files, {file} among them, which were not found"
            ),
        })
    }

    /// Source frames of an address of the file, innermost first; empty when there are none.
    pub(super) fn frames(&self, at: u64) -> Vec<SourceFrame> {
        let mut found = Vec::new();
        let Ok(mut frames) = split::complete(self.context.find_frames(at), &self.split) else {
            return found;
        };
        while let Ok(Some(frame)) = frames.next() {
            let name = frame.function.as_ref();
            let name = name.and_then(|name| name.demangle().ok());
            found.push(SourceFrame {
                function: name.map(|name| name.into_owned()),
                ..place(frame.location.as_ref())
            });
        }
        if found.is_empty() {
            // Lines are there though what names the functions may not be.
            let line = self.context.find_location(at).ok().flatten();
            found.extend(line.map(|line| place(Some(&line))));
        }
        found
    }
}

impl Dwarf {
    /// The function that holds an address of the file.
    pub(super) fn function(&mut self, at: u64, bias: u64) -> Option<FunctionPlace> {
        let spot = self.spot(at, Places::of_code(bias))?;
        variables::place(&mut self.dies, spot)
    }

    /// Variables of the functions at an address of the file, by source frame as [`Dwarf::frames`]
    /// has them. `unset`: registers are not (or no more) as the function's body has them.
    pub(super) fn variables(
        &mut self,
        at: u64,
        places: Places,
        state: &FrameState<'_>,
        unset: bool,
    ) -> Vec<Vec<Variable>> {
        match self.spot(at, places) {
            Some(spot) => variables::variables(&mut self.dies, spot, state, unset),
            None => Vec::new(),
        }
    }

    /// Variables of the file that are no function's own, by name.
    pub(super) fn statics(
        &mut self,
        name: &str,
        places: Places,
        state: &FrameState<'_>,
    ) -> Vec<Variable> {
        let statics = self.statics.take().unwrap_or_else(|| self.collect());
        let spot = Spot {
            unit: UnitPlace {
                sections: OWN,
                header: 0,
            },
            at: 0,
            places,
        };
        let found = variables::of_name(&mut self.dies, &statics, name, (spot, state));
        self.statics = Some(statics);
        found
    }

    fn collect(&mut self) -> Statics {
        let mut statics = Statics::default();
        for place in self.dies.own_units() {
            let split = self.split.borrow_mut().unit(place, &mut self.dies);
            statics.add(&mut self.dies, split.unwrap_or(place));
        }
        statics
    }

    fn spot(&mut self, at: u64, places: Places) -> Option<Spot> {
        let found = split::complete(self.context.find_dwarf_and_unit(at), &self.split)?;
        let unit = match (found.dwarf.file_type, found.dwo_id) {
            (gimli::DwarfFileType::Dwo, Some(id)) => {
                self.split.borrow_mut().place(id, &mut self.dies)?
            }
            _ => UnitPlace {
                sections: OWN,
                header: found.header.debug_info_offset()?.0,
            },
        };
        Some(Spot { unit, at, places })
    }
}

fn place(location: Option<&addr2line::Location<'_>>) -> SourceFrame {
    let file = location.and_then(|location| location.file);
    SourceFrame {
        function: None,
        file: file.map(str::to_owned),
        line: location.and_then(|location| location.line),
        column: location.and_then(|location| location.column),
    }
}

/// A section that holds nothing.
pub(super) fn empty() -> Reader {
    EndianReader::new(Section::empty(), LittleEndian)
}

/// A section of a file; empty where there is none.
pub(super) fn reader(binary: &Arc<Binary>, name: &str) -> Reader {
    let file = ElfFile64::<object::LittleEndian>::parse(binary.bytes()).ok();
    let section = file.and_then(|file| section(binary, &file, name));
    section.map_or_else(empty, |section| EndianReader::new(section, LittleEndian))
}

/// A section's bytes: as they lie in the file, or unpacked.
pub(crate) fn section(
    binary: &Arc<Binary>,
    file: &ElfFile64<'_, object::LittleEndian>,
    name: &str,
) -> Option<Section> {
    let section = file.section_by_name(name)?;
    let range = section.compressed_file_range().ok()?;
    if range.format == CompressionFormat::None {
        return Section::in_file(
            binary.shared(),
            range.offset.try_into().ok()?,
            range.compressed_size.try_into().ok()?,
        );
    }
    let limit = range
        .compressed_size
        .saturating_mul(MAX_EXPANSION)
        .min(MAX_SECTION);
    if range.uncompressed_size > limit {
        return None;
    }
    let bytes = section.uncompressed_data().ok()?;
    Some(Section::Unpacked(bytes.into_owned().into()))
}

/// A name as its language writes it; names that are not mangled stay as they are.
pub(super) fn demangle(name: &str) -> String {
    addr2line::demangle_auto(name.into(), None).into_owned()
}

impl std::fmt::Debug for Dwarf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dwarf")
    }
}
