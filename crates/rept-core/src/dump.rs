//! The end of the run, whatever dump it comes from.

mod elf_core;
mod memory;
mod modules;
mod notes;

use crate::Error;
use crate::binaries::Binaries;
use crate::mmap::FileBytes;
pub(crate) use memory::DumpMemory;
pub use modules::{Module, ModuleFile};
use rept_trace::{Fault, FinalState, Memory, Registers, ThreadId};
use std::path::{Path, PathBuf};

/// A process at the moment of its death.
#[derive(Debug)]
pub struct Dump {
    path: PathBuf,
    process: Option<u32>,
    command: Option<String>,
    threads: Vec<Registers>,
    fault: Option<Fault>,
    auxv: Vec<(u64, u64)>,
    memory: DumpMemory,
    modules: Vec<Module>,
    problems: Vec<Error>,
}

impl Dump {
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
