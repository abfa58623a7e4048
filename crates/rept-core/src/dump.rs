//! The end of the run, whatever dump it comes from.

mod address_space;
mod elf_core;
mod entry_stack;
mod memory;
mod modules;
mod notes;
mod rseq;

use crate::Error;
use crate::binaries::Binaries;
use crate::layout::page_up;
use crate::mmap::FileBytes;
use entry_stack::EntryStack;
pub(crate) use memory::DumpMemory;
use modules::FileMapping;
pub use modules::{Module, ModuleFile};
use rept_trace::{Address, Fault, FinalState, Memory, Registers, ThreadId};
use std::path::{Component, Path, PathBuf};

/// A process at the moment of its death.
#[derive(Debug)]
pub struct Dump {
    path: PathBuf,
    process: Option<u32>,
    command: Option<String>,
    threads: Vec<Registers>,
    fault: Option<Fault>,
    auxv: Vec<(u64, u64)>,
    extended_state_bytes: Option<u64>,
    memory: DumpMemory,
    modules: Vec<Module>,
    /// Which parts of which files were mapped.
    files: Vec<FileMapping>,
    problems: Vec<Error>,
}

/// Keys of the auxiliary vector (`getauxval(3)`): where the interpreter lies, or 0.
pub(crate) const AT_BASE: u64 = 7;
/// The program's entry point.
pub(crate) const AT_ENTRY: u64 = 9;
/// The path that was executed.
const AT_EXECFN: u64 = 31;

/// The value of an entry of the auxiliary vector.
pub(crate) fn auxiliary(auxv: &[(u64, u64)], wanted: u64) -> Option<u64> {
    let found = auxv.iter().find(|&&(kind, _)| kind == wanted);
    found.map(|&(_, value)| value)
}

impl Dump {
    /// The stack of the process's first instruction, where it was found again.
    pub(crate) fn entry_stack(&self) -> Option<&EntryStack> {
        self.memory.entry_stack()
    }

    /// Bytes of the processor's extended state, in a signal frame too.
    pub(crate) fn extended_state_bytes(&self) -> Option<u64> {
        self.extended_state_bytes
    }

    /// Where the heap began: behind the program's own memory, at a distance that the kernel draws.
    pub(crate) fn initial_break(&self) -> Option<Address> {
        /// The kernel draws it from a gigabyte at most (`arch_randomize_brk`).
        const FARTHEST: u64 = 1 << 30;
        let behind = self.before_heap()?;
        let mut mappings = self.memory.mappings().iter();
        // Without a random distance, the kernel joins the heap with the program's zeroed memory.
        let heap = mappings.find(|mapping| mapping.end.0 > behind)?;
        let start = heap.start.0.max(behind);
        let is_heap = heap.write && heap.file.is_none() && start - behind <= FARTHEST;
        is_heap.then_some(Address(start))
    }

    /// What the heap began behind.
    fn before_heap(&self) -> Option<u64> {
        /// Two thirds of what a program can address (`ELF_ET_DYN_BASE`).
        const DYNAMIC_BASE: u64 = ((1 << 47) - 4096) / 3 * 2;
        let program = self.program()?;
        // Among what is mapped, where a program that can lie anywhere is put when it names no loader,
        // there is no room to grow (`load_elf_binary`).
        let alone = auxiliary(&self.auxv, AT_BASE) == Some(0);
        if alone && program.bias > DYNAMIC_BASE + (1 << 40) {
            return Some(page_up(DYNAMIC_BASE));
        }
        let segments = program.layout()?.segments.iter();
        let ends = segments.map(|of| of.address.wrapping_add(of.memory_size));
        Some(page_up(ends.max()?.wrapping_add(program.bias)))
    }

    /// The module that holds the program's entry point.
    pub(crate) fn program(&self) -> Option<&Module> {
        let entry = auxiliary(&self.auxv, AT_ENTRY)?;
        let mut modules = self.modules.iter();
        modules.find(|of| of.start.0 <= entry && entry < of.end.0)
    }

    /// The program's path, as the kernel's link to it named it while the program ran; `None` where it has
    /// been removed, nobody knows when, or has a name that is no text.
    pub(crate) fn program_path(&self) -> Option<&str> {
        let path = self.program()?.path.as_str();
        let known = path.starts_with('/')
            && !path.ends_with(" (deleted)")
            && !path.contains(char::REPLACEMENT_CHARACTER);
        known.then_some(path)
    }

    /// The working directory in which the program was started, where its name was relative to it
    /// (`AT_EXECFN`): what of its path is before that.
    pub(crate) fn directory_of_start(&self) -> Option<PathBuf> {
        let name = self
            .memory
            .bytes(Address(auxiliary(&self.auxv, AT_EXECFN)?))?;
        let name = name.split(|&byte| byte == 0).next()?;
        let name = Path::new(std::str::from_utf8(name).ok()?);
        let parts: Vec<Component<'_>> = name
            .components()
            .filter(|part| *part != Component::CurDir)
            .collect();
        if name.is_absolute() || parts.is_empty() || parts.contains(&Component::ParentDir) {
            return None;
        }
        let path = Path::new(&self.program()?.path);
        let relative: PathBuf = parts.iter().collect();
        let directory = path.ancestors().nth(parts.len())?;
        path.ends_with(&relative).then(|| directory.to_owned())
    }

    /// Opens a dump (ELF core files of x86-64 Linux) and finds the binaries it names.
    ///
    /// # Errors
    /// When the file cannot be read, is empty, of another kind or machine, or names no
    /// thread. A dump that ends early is no error: see [`Dump::problems`].
    pub fn open(path: &Path, binaries: &Binaries) -> Result<Dump, Error> {
        elf_core::read(FileBytes::open(path)?, binaries)
    }

    /// A dump from its bytes; `name` is for messages.
    ///
    /// # Errors
    /// As [`Dump::open`].
    pub fn from_bytes(name: &Path, bytes: Vec<u8>, binaries: &Binaries) -> Result<Dump, Error> {
        elf_core::read(FileBytes::from_vec(name, bytes), binaries)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Process id.
    pub fn process(&self) -> Option<u32> {
        self.process
    }

    /// Command line, as far as the dump keeps it (80 bytes).
    pub fn command(&self) -> Option<&str> {
        self.command.as_deref()
    }

    /// Registers of all threads, the one that crashed first.
    pub fn threads(&self) -> &[Registers] {
        &self.threads
    }

    /// Registers of one thread.
    pub fn thread(&self, id: ThreadId) -> Option<&Registers> {
        self.threads.iter().find(|thread| thread.thread == id)
    }

    /// The signal that ended the process.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Auxiliary vector, (type, value).
    pub fn auxv(&self) -> &[(u64, u64)] {
        &self.auxv
    }

    /// Memory; bytes that neither the dump nor a matching binary has are unknown.
    pub fn memory(&self) -> &(dyn Memory + Sync) {
        &self.memory
    }

    /// ELF files that were mapped, by ascending address.
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// What was damaged, in file order.
    pub fn problems(&self) -> &[Error] {
        &self.problems
    }

    /// All of it, as recovery takes it.
    pub fn final_state(&self) -> FinalState<'_> {
        FinalState {
            threads: self.threads.clone(),
            fault: self.fault,
            memory: &self.memory,
            auxv: self.auxv.clone(),
        }
    }
}
