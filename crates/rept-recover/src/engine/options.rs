//! What recovery may do, and what its caller knows from elsewhere.

use super::STAGES;
use crate::experiment::Without;
use rept_trace::{Address, RegWord, ThreadId};
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

/// Register values known from elsewhere than the end of the thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Whose registers.
    pub thread: ThreadId,
    /// When.
    pub at: AnchorPoint,
    /// The words known there.
    pub words: Vec<(RegWord, u64)>,
    /// Measured (a sample of the registers) rather than concluded (unwinding, process entry):
    /// its values count as certain rather than assumed.
    pub measured: bool,
}

/// Where an [`Anchor`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorPoint {
    /// Just before this step of the thread.
    Step(u64),
    /// Just before the first step of the thread, which is the process's first instruction: memory
    /// is as the kernel made it ([`rept_trace::Memory::initial_bytes`]).
    Entry,
    /// At a call that is still open at the end and returns to this address; the values are those
    /// that the caller will find when it is returned to (rsp: the callee's CFA). Give open frames
    /// innermost first.
    OpenCall(Address),
    /// Where a signal whose handler has not returned interrupted the thread: just before the
    /// instruction at this address. Give it in its place among the open frames.
    Interrupted(Address),
}

/// A thread made by a system call (clone, clone3) of another: it begins behind that call, with the
/// registers of its maker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Creation {
    /// The thread that made it.
    pub parent: ThreadId,
    /// The step of the system call.
    pub step: u64,
    /// The thread that was made.
    pub child: ThreadId,
}

/// Memory that a system call (mmap, brk) of a thread mapped, as a record of the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The thread that made the call.
    pub thread: ThreadId,
    /// The step of the system call.
    pub step: u64,
    /// Where the mapping begins that the memory became part of.
    pub start: Address,
    /// How long that is.
    pub bytes: u64,
    /// Bytes at its beginning that had been mapped before, at some time.
    pub before: u64,
    /// Bytes at its end that had been mapped before, at some time.
    pub behind: u64,
    /// Bytes of it that had never been mapped before.
    pub fresh: u64,
    /// Where in a file it begins, if a file is mapped there.
    pub file_offset: Option<u64>,
    /// Which of [`Options::files`] that is, if its contents are at hand.
    pub file: Option<u32>,
}

/// Files by the path that the program opened them with, as far as they are at hand and unchanged.
pub trait OpenedFiles: Debug + Send + Sync {
    /// The bytes of a file; `path` is what the program gave to the kernel.
    fn contents(&self, path: &[u8]) -> Option<Arc<[u8]>>;
}

/// How large frames are, by the code that leaves them.
pub trait FrameSizes: Debug + Send + Sync {
    /// How many bytes rsp is below rbp right before the instruction at `at`, which sets rsp by rbp (`leave`,
    /// `mov rsp,rbp`, `lea rsp,[rbp-40]`), going by the code of its function; `None` where that does not tell.
    fn frame_size(&self, at: Address) -> Option<u64>;
}

/// A file descriptor that was open before the first step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its number.
    pub number: u32,
    /// The path of the file, if it is one that is only read.
    pub path: Option<Vec<u8>>,
    /// Where in the file the next read begins.
    pub position: u64,
}

/// A system call of a thread that read a file (read, pread64) or asked what it is (fstat) before it
/// was mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRead {
    /// The thread that made the call.
    pub thread: ThreadId,
    /// The step of the system call.
    pub step: u64,
    /// Where the file's first byte was mapped, or would have been.
    pub base: Address,
    /// Which of [`Options::files`] it is, if its contents are at hand.
    pub file: Option<u32>,
}

/// What the memory of a process was made of before its first instruction, and in the end. With the
/// system calls in between it follows what the kernel's list of it (`/proc/self/maps`) told the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressSpace {
    /// The files that areas are of.
    pub files: Vec<MappedFile>,
    /// Areas before the first instruction, by ascending address.
    pub first: Vec<Area>,
    /// Areas in the end, by ascending address.
    pub last: Vec<Area>,
    /// Where the heap begins.
    pub heap: Option<Address>,
}

/// A file that was mapped, as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedFile {
    /// Its path.
    pub path: Vec<u8>,
    /// Which file that was, if it is known.
    pub identity: Option<FileIdentity>,
}

/// A file on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    /// Major number of the device.
    pub major: u32,
    /// Minor number of the device.
    pub minor: u32,
    /// Number on the device.
    pub inode: u64,
}

/// Consecutive pages of a process that are of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    /// First address.
    pub start: Address,
    /// Address behind the last byte.
    pub end: Address,
    /// May be read.
    pub read: bool,
    /// May be written.
    pub write: bool,
    /// May be executed.
    pub execute: bool,
    /// What is behind.
    pub backing: Backing,
}

/// What is behind an [`Area`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Nothing.
    Anonymous,
    /// The stack of the first thread.
    Stack,
    /// Pages that the kernel lends, under this name, as `[vdso]`.
    Kernel(String),
    /// A file.
    File {
        /// Which of [`AddressSpace::files`].
        file: u32,
        /// Where in it, in bytes.
        offset: u64,
    },
}

/// What a process may use of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimit {
    /// The resource's number (getrlimit(2): `RLIMIT_STACK` is 3).
    pub resource: u32,
    /// The limit that holds; `u64::MAX` for none.
    pub soft: u64,
    /// The one up to which the process may raise it.
    pub hard: u64,
}

/// What recovery may do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Use the assumption that functions keep to the ABI (call/return pairing).
    pub pairing: bool,
    /// Let memory values pass pending stores, in stages.
    pub optimism: bool,
    /// How many of the [`Options::STAGES`] stages of what is inferred; each lets values pass more
    /// pending stores than the one before.
    pub stages: u8,
    /// Steps of all threads that are recovered at most, the newest; older ones are before the window.
    /// A step takes about 150 bytes.
    pub max_steps: u64,
    /// Register values known from elsewhere: unwound frames, process entry, samples.
    pub anchors: Vec<Anchor>,
    /// Threads of which it is known which system call made them.
    pub creations: Vec<Creation>,
    /// System calls of which it is known what they mapped.
    pub mapped: Vec<Mapped>,
    /// Memory that was mapped by no known system call, as records of the kernel say: where, and bytes.
    pub mapped_elsewhere: Vec<(Address, u64)>,
    /// The bytes of files that were mapped.
    pub files: Vec<Arc<[u8]>>,
    /// System calls of which it is assumed which file they read; read(2) from its beginning.
    pub file_reads: Vec<FileRead>,
    /// What the program read of the files that it opened.
    pub opened_files: Option<Arc<dyn OpenedFiles>>,
    /// How large the frames are that were made before the window, and are left in it.
    pub frame_sizes: Option<Arc<dyn FrameSizes>>,
    /// The descriptors that were open when the process began; assumed to be input, output and errors.
    pub descriptors: Option<Vec<Descriptor>>,
    /// What its memory was made of, before its first instruction and in the end.
    pub address_space: Option<Arc<AddressSpace>>,
    /// The process, as it knows itself (getpid); threads are known to themselves by their ids.
    pub process: Option<u32>,
    /// Path of the program, as the kernel's link to it (`/proc/self/exe`) names it.
    pub program: Option<Vec<u8>>,
    /// Bytes of the kernel's sets of processors: as many as `sched_getaffinity` tells at most.
    pub processor_set_bytes: Option<u64>,
    /// What the process was limited to when it began (`getrlimit`).
    pub limits: Vec<ResourceLimit>,
    /// Bytes of the processor's extended state in a signal frame: as many as the dump's XSAVE area has.
    pub extended_state_bytes: Option<u64>,
    /// Where the heap ended when the process began: what its first `brk(0)` tells.
    pub initial_break: Option<Address>,
    /// Memory that the kernel writes whenever it likes while the threads run, by calls that need not be
    /// in the window: where it tells each thread its processor (rseq).
    pub kernel_memory: Vec<Range<Address>>,
    /// Some of the code may have been other code when it ran: what rests on the path is assumed at
    /// most, never certain; and only inferred where a store writes over code that had run.
    pub code_may_differ: bool,
    /// For measuring recovery, never for using it.
    #[cfg(feature = "experiments")]
    pub experiment: crate::experiment::Experiment,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            pairing: true,
            optimism: true,
            stages: Options::STAGES,
            max_steps: 1 << 24,
            anchors: Vec::new(),
            frame_sizes: None,
            creations: Vec::new(),
            mapped: Vec::new(),
            mapped_elsewhere: Vec::new(),
            files: Vec::new(),
            file_reads: Vec::new(),
            opened_files: None,
            descriptors: None,
            address_space: None,
            process: None,
            program: None,
            processor_set_bytes: None,
            limits: Vec::new(),
            extended_state_bytes: None,
            initial_break: None,
            kernel_memory: Vec::new(),
            code_may_differ: false,
            #[cfg(feature = "experiments")]
            experiment: crate::experiment::Experiment::default(),
        }
    }
}

impl Options {
    /// Number of stages of what is inferred.
    pub const STAGES: u8 = STAGES.len() as u8;

    /// The techniques that are left out.
    pub(super) fn without(&self) -> Without {
        #[cfg(feature = "experiments")]
        return self.experiment.without;
        #[cfg(not(feature = "experiments"))]
        Without::default()
    }
}
