//! Which ELF file lies where, and which file on this machine it is.

use super::memory::DumpMemory;
use crate::BuildId;
use crate::binaries::{Binaries, Binary, Located, MissingBinary, Wanted};
use crate::layout::Layout;
use rept_trace::{Address, Mapping, Memory};
use std::sync::Arc;

/// An entry of NT_FILE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileMapping {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) file_offset: u64,
    pub(crate) path: String,
}

/// An ELF file in the address space.
#[derive(Debug)]
pub struct Module {
    /// Name on the machine that crashed; `[vdso]` for the kernel's own.
    pub path: String,
    /// First address of its first mapping.
    pub start: Address,
    /// Address behind its last mapping.
    pub end: Address,
    /// What is added to the addresses in the file, modulo 2^64.
    pub bias: u64,
    /// Fingerprint, from the dump's copy of the file's first page.
    pub build_id: Option<BuildId>,
    /// The file on this machine.
    pub file: ModuleFile,
    layout: Option<Layout>,
    mappings: Vec<FileMapping>,
}

/// What was found for a [`Module`].
#[derive(Clone, Debug)]
pub enum ModuleFile {
    /// The very file, by its build-id.
    Verified(Arc<Binary>),
    /// A file of that name; the dump has no build-id to compare with.
    Unverified(Arc<Binary>),
    /// None that fits.
    Missing(MissingBinary),
    /// Wholly in the dump; there is no file (`[vdso]`).
    InDump,
}

/// The entry that holds an address; entries are by ascending address.
pub(super) fn part_at(files: &[FileMapping], address: u64) -> Option<&FileMapping> {
    let after = files.partition_point(|file| file.start <= address);
    let part = files.get(after.checked_sub(1)?)?;
    (address < part.end).then_some(part)
}

impl Module {
    /// The file that is proved to be the one that was mapped.
    pub fn verified(&self) -> Option<&Arc<Binary>> {
        match &self.file {
            ModuleFile::Verified(binary) => Some(binary),
            _ => None,
        }
    }

    /// The file, proved or not.
    pub fn binary(&self) -> Option<&Arc<Binary>> {
        match &self.file {
            ModuleFile::Verified(binary) | ModuleFile::Unverified(binary) => Some(binary),
            _ => None,
        }
    }

    /// Name without directories.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    pub(super) fn layout(&self) -> Option<&Layout> {
        self.layout.as_ref()
    }

    /// Offset in the file of the byte mapped at `at`.
    pub(crate) fn file_offset(&self, at: u64) -> Option<u64> {
        let mapping = self
            .mappings
            .iter()
            .find(|mapping| mapping.start <= at && at < mapping.end)?;
        mapping.file_offset.checked_add(at - mapping.start)
    }

    /// The addresses at which the file is mapped.
    pub(super) fn mapped(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.mappings.iter().map(|own| (own.start, own.end))
    }

    /// The mapping is one of this module's.
    pub(super) fn owns(&self, mapping: &Mapping) -> bool {
        self.mappings
            .iter()
            .any(|own| own.start <= mapping.start.0 && mapping.start.0 < own.end)
    }

    fn takes(&self, entry: &FileMapping) -> bool {
        self.path == entry.path
            && match &self.layout {
                Some(layout) => layout.explains(self.bias, entry.start, entry.file_offset),
                None => entry.file_offset > 0,
            }
    }

    fn grow(&mut self, entry: &FileMapping) {
        self.end = self.end.max(Address(entry.end));
        self.mappings.push(entry.clone());
    }
}

/// All modules of a dump, by ascending address.
pub(super) fn find(
    files: &[FileMapping],
    memory: &DumpMemory,
    auxv: &[(u64, u64)],
    binaries: &Binaries,
) -> Vec<Module> {
    let mut modules: Vec<Module> = Vec::new();
    for entry in files {
        match modules.iter_mut().rev().find(|module| module.takes(entry)) {
            Some(module) => module.grow(entry),
            None => modules.extend(begin(entry, memory, binaries)),
        }
    }
    modules.extend(vdso(memory, auxv));
    modules.sort_by_key(|module| module.start);
    modules
}

/// A module whose first mapping is `entry`; `None` for files that are no ELF files, as far as can be told.
fn begin(entry: &FileMapping, memory: &DumpMemory, binaries: &Binaries) -> Option<Module> {
    let dumped = memory
        .bytes(Address(entry.start))
        .filter(|_| entry.file_offset == 0);
    if dumped.is_some_and(|bytes| !bytes.starts_with(b"\x7fELF")) {
        return None;
    }
    let own = dumped.and_then(Layout::parse);
    let build_id = own.as_ref().and_then(|layout| layout.build_id.clone());
    let path = entry.path.clone();
    let found = binaries.find(&Wanted {
        path,
        build_id: build_id.clone(),
    });
    let file = match found {
        Ok(Located {
            binary,
            verified: true,
        }) => ModuleFile::Verified(binary),
        Ok(Located {
            binary,
            verified: false,
        }) => ModuleFile::Unverified(binary),
        Err(missing) => ModuleFile::Missing(missing),
    };
    let mut module = Module {
        path: entry.path.clone(),
        start: Address(entry.start),
        end: Address(entry.end),
        bias: entry.start.wrapping_sub(entry.file_offset),
        build_id,
        file,
        layout: None,
        mappings: vec![entry.clone()],
    };
    let is_elf = own.is_some() || module.binary().is_some();
    module.layout = own.or_else(|| module.verified().map(|binary| binary.layout.clone()));
    let placed = module
        .layout
        .as_ref()
        .or(module.binary().map(|binary| &binary.layout));
    if let Some(bias) = placed.and_then(|layout| layout.bias(entry.start, entry.file_offset)) {
        module.bias = bias;
    }
    is_elf.then_some(module)
}

/// The kernel's shared object: the auxiliary vector says where (AT_SYSINFO_EHDR, 33).
fn vdso(memory: &DumpMemory, auxv: &[(u64, u64)]) -> Option<Module> {
    const AT_SYSINFO_EHDR: u64 = 33;
    let &(_, start) = auxv.iter().find(|&&(kind, _)| kind == AT_SYSINFO_EHDR)?;
    let layout = Layout::parse(memory.bytes(Address(start))?)?;
    let mapping = memory
        .mapping(Address(start))
        .filter(|mapping| mapping.start.0 == start)?;
    let path = "[vdso]".to_owned();
    let own = FileMapping {
        start,
        end: mapping.end.0,
        file_offset: 0,
        path: path.clone(),
    };
    Some(Module {
        path,
        start: mapping.start,
        end: mapping.end,
        bias: layout.bias(start, 0).unwrap_or(start),
        build_id: layout.build_id.clone(),
        file: ModuleFile::InDump,
        layout: Some(layout),
        mappings: vec![own],
    })
}
