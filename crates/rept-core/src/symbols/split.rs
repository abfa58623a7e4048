//! Debug information that was split off a file: into `.dwo` files, one a unit, or all of them in a
//! `.dwp` file; and what several files share, in one that their `.gnu_debugaltlink` names.

use super::die::{Dies, UnitPlace};
use super::dwarf::{Reader, Sections, empty, reader};
use crate::binaries::Binary;
use crate::mmap::Section;
use addr2line::{LookupContinuation, LookupResult, SplitDwarfLoad};
use gimli::{DwarfPackage, DwoId, EndianReader, Reader as _};
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Finds what was split off one file.
pub(super) struct Split {
    /// The file, and the one that its debug information is in.
    files: Vec<PathBuf>,
    directories: Vec<PathBuf>,
    /// `.dwp` file, looked for when first needed.
    package: Option<Option<Arc<DwarfPackage<Reader>>>>,
    units: BTreeMap<u64, Option<Part>>,
    missing: BTreeSet<String>,
}

/// The sections of a unit, and their index among those of [`Dies`], once they are there.
type Part = (Arc<Sections>, Option<usize>);

impl Split {
    pub(super) fn new(files: Vec<PathBuf>, directories: &[PathBuf]) -> Split {
        Split {
            files,
            directories: directories.to_vec(),
            package: None,
            units: BTreeMap::new(),
            missing: BTreeSet::new(),
        }
    }

    /// Names of files that are not there.
    pub(super) fn missing(&self) -> &BTreeSet<String> {
        &self.missing
    }

    /// What was split off a unit; looked for once.
    fn load(&mut self, wanted: &SplitDwarfLoad<Reader>) -> Option<Arc<Sections>> {
        let id = wanted.dwo_id;
        if let Some(known) = self.units.get(&id.0) {
            return known.as_ref().map(|(sections, _)| sections.clone());
        }
        let name = |reader: &Option<Reader>| {
            let text = reader.as_ref()?.to_string_lossy().ok()?;
            Some(PathBuf::from(text.into_owned()))
        };
        let path = name(&wanted.path).unwrap_or_default();
        let folder = name(&wanted.comp_dir).unwrap_or_default();
        let mut found = self.in_package(id, &wanted.parent);
        if found.is_none() {
            let candidates = self.candidates(&folder, &path);
            let mut opened = candidates.iter().filter_map(|path| open(path));
            found = opened.find_map(|binary| of_file(&binary, id, &wanted.parent));
        }
        if found.is_none() {
            self.missing
                .insert(folder.join(&path).display().to_string());
        }
        let found = found.map(Arc::new);
        self.units
            .insert(id.0, found.clone().map(|found| (found, None)));
        found
    }

    /// As the compiler named it, beside the file, and in the folders that were named.
    fn candidates(&self, folder: &Path, path: &Path) -> Vec<PathBuf> {
        let mut candidates = vec![folder.join(path)];
        let beside = self.files.iter().filter_map(|file| file.parent());
        let folders = self.directories.iter().map(PathBuf::as_path).chain(beside);
        for place in folders {
            candidates.push(place.join(path.strip_prefix("/").unwrap_or(path)));
            candidates.extend(path.file_name().map(|name| place.join(name)));
        }
        candidates
    }

    fn in_package(&mut self, id: DwoId, parent: &Sections) -> Option<Sections> {
        let package = self.package.take().unwrap_or_else(|| self.find_package());
        let found = package
            .as_ref()
            .and_then(|package| package.find_cu(id, parent).ok()?);
        self.package = Some(package);
        found
    }

    /// `NAME.dwp` beside the file, or in a folder that was named.
    fn find_package(&self) -> Option<Arc<DwarfPackage<Reader>>> {
        let named = |file: &PathBuf| {
            let mut name = file.file_name()?.to_owned();
            name.push(".dwp");
            let folders = self.directories.iter().map(PathBuf::as_path);
            let folders = folders
                .chain(file.parent())
                .map(move |folder| folder.join(&name));
            Some(folders.collect::<Vec<_>>())
        };
        let mut candidates = self.files.iter().filter_map(named).flatten();
        candidates.find_map(|path| {
            let binary = open(&path)?;
            let section = |id| Ok::<_, gimli::Error>(dwo_section(&binary, id));
            let package = DwarfPackage::load(section, empty());
            package.ok().map(Arc::new)
        })
    }

    /// The place of the unit that was split off one of the file's own.
    pub(super) fn unit(&mut self, place: UnitPlace, dies: &mut Dies) -> Option<UnitPlace> {
        let skeleton = dies.unit(place)?;
        let id = skeleton.dwo_id?;
        let name = skeleton.dwo_name().ok().flatten();
        let name = name.and_then(|name| skeleton.dwarf.attr_string(&skeleton, name).ok());
        self.load(&SplitDwarfLoad {
            dwo_id: id,
            comp_dir: skeleton.comp_dir.clone(),
            path: name,
            parent: skeleton.dwarf.clone(),
        })?;
        self.place(id, dies)
    }

    /// The place of a unit that was split off, among the entries of the file.
    pub(super) fn place(&mut self, id: DwoId, dies: &mut Dies) -> Option<UnitPlace> {
        let (sections, place) = self.units.get_mut(&id.0)?.as_mut()?;
        let index = match *place {
            Some(index) => index,
            None => {
                let skeleton = dies.skeleton(id)?;
                let index = dies.add(sections.clone(), Some(skeleton));
                *place = Some(index);
                index
            }
        };
        dies.compilation_unit(index)
    }
}

/// Carries a look-up through to its end, with what is split off where it is needed.
pub(super) fn complete<L: LookupContinuation<Buf = Reader>>(
    mut lookup: LookupResult<L>,
    split: &RefCell<Split>,
) -> L::Output {
    loop {
        lookup = match lookup {
            LookupResult::Output(output) => return output,
            LookupResult::Load { load, continuation } => {
                continuation.resume(split.borrow_mut().load(&load))
            }
        };
    }
}

fn open(path: &Path) -> Option<Arc<Binary>> {
    Binary::open(path).map(Arc::new)
}

/// A section of a file of what was split off. A `.dwo` file is an object file, which has one of the
/// name for each type unit; the one that is no type's comes first, for it is looked for there.
fn dwo_section(binary: &Arc<Binary>, id: gimli::SectionId) -> Reader {
    let Some(name) = id.dwo_name() else {
        return empty();
    };
    let Ok(file) = ElfFile64::<LittleEndian>::parse(binary.bytes()) else {
        return empty();
    };
    let named = file.sections().filter(|section| section.name() == Ok(name));
    let mut parts: Vec<&[u8]> = named.filter_map(|section| section.data().ok()).collect();
    if parts.len() < 2 {
        return reader(binary, name);
    }
    parts.sort_by_key(|part| is_type_unit(part));
    let bytes = parts.into_iter().flatten();
    let bytes: Vec<u8> = bytes.take(binary.bytes().len()).copied().collect();
    EndianReader::new(Section::Unpacked(bytes.into()), gimli::LittleEndian)
}

/// The sections of a `.dwo` file, if it is the one that was split off.
fn of_file(binary: &Arc<Binary>, id: DwoId, parent: &Sections) -> Option<Sections> {
    let section = |id| Ok::<_, gimli::Error>(dwo_section(binary, id));
    let mut sections = Sections::load(section).ok()?;
    sections.make_dwo(parent);
    let mut headers = sections.units();
    while let Ok(Some(header)) = headers.next() {
        let unit = sections.unit(header).ok()?;
        if unit.dwo_id == Some(id) {
            return Some(sections);
        }
    }
    None
}

/// The bytes begin with the header of a type unit of DWARF 5: its length, version and kind.
fn is_type_unit(bytes: &[u8]) -> bool {
    bytes.get(4..7) == Some(&[5, 0, gimli::DW_UT_split_type.0])
}
