//! Source lines and inlined functions from DWARF.

use super::SourceFrame;
use super::die::Dies;
use super::variables::{self, FrameState, FunctionPlace, Spot};
use crate::binaries::Binary;
use crate::mmap::Section;
use crate::typed::Variable;
use gimli::{EndianReader, LittleEndian};
use object::read::elf::ElfFile64;
use object::{CompressionFormat, Object, ObjectSection};
use std::sync::Arc;

pub(crate) type Reader = EndianReader<LittleEndian, Section>;

/// Longest unpacked section taken, as a multiple of the packed one and in bytes.
const MAX_EXPANSION: u64 = 64;
const MAX_SECTION: u64 = 4 << 30;

/// The debug information of one file.
pub(super) struct Dwarf {
    context: addr2line::Context<Reader>,
    dies: Dies,
}

impl Dwarf {
    /// Indexes the file's units. The error is the reason, as one sentence.
    pub(super) fn load(binary: &Arc<Binary>) -> Result<Dwarf, String> {
        let path = binary.path().display();
        let file = ElfFile64::<object::LittleEndian>::parse(binary.bytes())
            .map_err(|error| format!("{path} cannot be read: {error}"))?;
        if file.section_by_name(".debug_info").is_none() {
            return Err(format!("{path} has no debug information"));
        }
        let load = |id: gimli::SectionId| Ok::<_, gimli::Error>(reader(binary, &file, id.name()));
        let loaded = gimli::Dwarf::load(load).and_then(|dwarf| {
            let dwarf = Arc::new(dwarf);
            let context = addr2line::Context::from_arc_dwarf(dwarf.clone())?;
            Ok((context, Dies::new(dwarf)))
        });
        match loaded {
            Ok((context, dies)) => Ok(Dwarf { context, dies }),
            Err(error) => Err(format!(
                "the debug information of {path} cannot be read: {error}"
            )),
        }
    }

    /// Source frames of an address of the file, innermost first; empty when there are none.
    pub(super) fn frames(&self, at: u64) -> Vec<SourceFrame> {
        let Ok(mut frames) = self.context.find_frames(at).skip_all_loads() else {
            return Vec::new();
        };
        let mut found = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            let location = frame.location.as_ref();
            found.push(SourceFrame {
                function: frame
                    .function
                    .as_ref()
                    .and_then(|name| name.demangle().ok())
                    .map(|name| name.into_owned()),
                file: location
                    .and_then(|location| location.file)
                    .map(str::to_owned),
                line: location.and_then(|location| location.line),
                column: location.and_then(|location| location.column),
            });
        }
        found
    }
}

impl Dwarf {
    /// The function that holds an address of the file.
    pub(super) fn function(&mut self, at: u64, bias: u64) -> Option<FunctionPlace> {
        let spot = self.spot(at, bias)?;
        variables::place(&mut self.dies, spot)
    }

    /// Variables of the functions at an address of the file, by source frame as [`Dwarf::frames`]
    /// has them. `unset`: registers are not (or no more) as the function's body has them.
    pub(super) fn variables(
        &mut self,
        at: u64,
        bias: u64,
        state: &FrameState<'_>,
        unset: bool,
    ) -> Vec<Vec<Variable>> {
        match self.spot(at, bias) {
            Some(spot) => variables::variables(&mut self.dies, spot, state, unset),
            None => Vec::new(),
        }
    }

    fn spot(&self, at: u64, bias: u64) -> Option<Spot> {
        let unit = self.context.find_dwarf_and_unit(at).skip_all_loads()?;
        let header = unit.header.debug_info_offset()?.0;
        Some(Spot { header, at, bias })
    }
}

fn reader(binary: &Arc<Binary>, file: &ElfFile64<'_, object::LittleEndian>, name: &str) -> Reader {
    let section = section(binary, file, name).unwrap_or_else(Section::empty);
    EndianReader::new(section, LittleEndian)
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
