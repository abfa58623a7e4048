//! A recorded run before decoding, whatever container it came in.

mod jitdump;
mod lldb;
mod perf_data;
mod raw;

use crate::binaries::Binaries;
use crate::mmap::FileBytes;
use crate::{BuildId, Error};
use rept_trace::{Address, RegWord, ThreadId, Timestamp};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use jitdump::{JitDump, JitFunction, JitLine};
pub use raw::{ImageFile, open_raw};

/// Everything that a trace container says, in its own order and words.
#[derive(Debug)]
pub struct Capture {
    file: FileBytes,
    /// Intel PT byte streams, by ascending (cpu, thread).
    pub streams: Vec<Stream>,
    /// Changes of address spaces, by ascending time, those without a time first.
    pub mappings: Vec<MappingEvent>,
    /// Threads named, born and dead, by ascending time.
    pub tasks: Vec<TaskEvent>,
    /// Which thread ran where, by ascending time.
    pub switches: Vec<Switch>,
    /// Registers of threads as they were sampled, by ascending time.
    pub samples: Vec<RegisterSample>,
    /// Kernel code that was patched while it ran, by ascending time.
    pub text_pokes: Vec<TextPoke>,
    /// Code that the kernel made or removed, by ascending time.
    pub kernel_symbols: Vec<KernelSymbol>,
    /// The kernel's memory, as an ELF core.
    pub(crate) kcore: Option<Arc<FileBytes>>,
    /// How the trace's clocks relate.
    pub clock: Clock,
    /// The processor, where the container names it.
    pub cpu: Option<CpuModel>,
    /// Return compression was off for the whole recording (`DisRETC`).
    pub uncompressed_returns: bool,
    /// What was damaged or lost, in file order; everything else is delivered.
    pub problems: Vec<Error>,
}

/// The bytes of one PT buffer: one thread's, or one processor's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The processor, for a buffer that every thread on it writes to.
    pub cpu: Option<u32>,
    /// The thread, for a buffer of its own.
    pub thread: Option<ThreadId>,
    /// Stretches of bytes without a hole between them, oldest first; data is missing between two of them.
    pub pieces: Vec<Piece>,
}

/// Consecutive bytes of a [`Stream`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    parts: Vec<Part>,
    /// Offset of the first byte in the buffer's own count, as the kernel counts it.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
    /// Time-stamp counter when the first part was written out, 0 when not told.
    pub reference: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    InFile(Range<usize>),
    /// In a file of its own.
    Beside(Arc<FileBytes>, Range<usize>),
    Copied(Vec<u8>),
}

/// A file (or anonymous memory) that became part of a process's address space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingEvent {
    /// When; `None` for what was there before.
    pub time: Option<Timestamp>,
    /// The process; `None` for the kernel.
    pub process: Option<u32>,
    /// The thread whose system call it was; `None` when not told.
    pub thread: Option<ThreadId>,
    /// First address.
    pub start: Address,
    /// Length in bytes, not 0.
    pub len: u64,
    /// Offset in the file of the first byte.
    pub file_offset: u64,
    /// Executable, as far as told (true when not told).
    pub execute: bool,
    /// File name as recorded, or a name in brackets such as `[vdso]`.
    pub name: String,
    /// Fingerprint of the file as it was then.
    pub build_id: Option<BuildId>,
    /// Device of the file, major and minor number, where the record has no fingerprint.
    pub device: Option<(u32, u32)>,
    /// Inode of the file, where the record has no fingerprint.
    pub inode: Option<u64>,
}

/// Something that happened to a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskEvent {
    /// When; `None` for what was there before.
    pub time: Option<Timestamp>,
    /// The process.
    pub process: u32,
    /// The thread.
    pub thread: ThreadId,
    /// What.
    pub kind: TaskKind,
}

/// Kinds of [`TaskEvent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// Got a name; by `execve` when `exec`, which empties the address space.
    Named {
        /// The name, at most 15 bytes.
        name: String,
        /// Because a new program was started.
        exec: bool,
    },
    /// Was created.
    Born {
        /// Process that created it: another process copied its address space (fork).
        parent: u32,
        /// Thread that created it.
        by: ThreadId,
    },
    /// Exited.
    Died,
    /// Its trace begins.
    Traced,
}

/// A context switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// When.
    pub time: Timestamp,
    /// The processor, where told.
    pub cpu: Option<u32>,
    /// The process and thread that left or came.
    pub process: u32,
    /// See `process`.
    pub thread: ThreadId,
    /// Left the processor rather than came.
    pub out: bool,
}

/// The user registers of a thread at one moment (`PERF_SAMPLE_REGS_USER`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterSample {
    /// When; it was about to run the instruction at `rip`.
    pub time: Timestamp,
    /// The thread.
    pub thread: ThreadId,
    /// Address of the instruction that had not run yet.
    pub rip: Address,
    /// The other registers that were sampled.
    pub words: Vec<(RegWord, u64)>,
}

/// Code bytes that the kernel replaced (alternatives, static keys, probes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPoke {
    /// When.
    pub time: Option<Timestamp>,
    /// First address.
    pub at: Address,
    /// Bytes before.
    pub old: Vec<u8>,
    /// Bytes after.
    pub new: Vec<u8>,
}

/// Code that the kernel made (a BPF program, a trampoline), or that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelSymbol {
    /// When.
    pub time: Option<Timestamp>,
    /// First address.
    pub at: Address,
    /// Length in bytes, not 0.
    pub len: u64,
    /// Its name.
    pub name: String,
    /// From now on it is not there.
    pub gone: bool,
}

/// The trace's clocks, from AUXTRACE_INFO, TIME_CONV and the event's configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// ns = zero + ((tsc · mult) >> shift), when the recording says so.
    pub conversion: Option<TimeConversion>,
    /// The times in the capture count the same clock as the packets, so that they can be compared.
    pub comparable: bool,
    /// TSC ticks per crystal-clock tick, as (numerator, denominator): CPUID 15h EBX and EAX.
    pub tsc_per_ctc: Option<(u32, u32)>,
    /// MTC packets come every 2^this crystal-clock ticks.
    pub mtc_period: u8,
    /// TSC ticks per bus-clock tick: the maximum non-turbo ratio (MSR_PLATFORM_INFO bits 8 to 15).
    pub max_nonturbo_ratio: Option<u8>,
}

/// Conversion between TSC ticks and the nanoseconds of perf's records
/// (`perf_event_mmap_page`, `cap_user_time_zero`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeConversion {
    /// Right shift.
    pub shift: u16,
    /// Multiplier, not 0.
    pub mult: u32,
    /// Nanoseconds at TSC 0, modulo 2^64.
    pub zero: u64,
}

impl TimeConversion {
    /// TSC ticks at a time in nanoseconds.
    pub fn to_tsc(&self, nanoseconds: u64) -> Timestamp {
        let time = nanoseconds.wrapping_sub(self.zero);
        let mult = u64::from(self.mult.max(1));
        let shift = u32::from(self.shift).min(63);
        let whole = (time / mult).wrapping_shl(shift);
        let part = ((u128::from(time % mult)) << shift) / u128::from(mult);
        Timestamp(whole.wrapping_add(part as u64))
    }

    /// Nanoseconds at a TSC value.
    pub fn to_nanoseconds(&self, tsc: Timestamp) -> u64 {
        let shift = u32::from(self.shift).min(63);
        let product = u128::from(tsc.0) * u128::from(self.mult);
        self.zero.wrapping_add((product >> shift) as u64)
    }
}

/// A processor as CPUID names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuModel {
    /// Made by Intel.
    pub intel: bool,
    /// Display family.
    pub family: u16,
    /// Display model.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
}

impl Capture {
    /// Opens a trace container, told by its first bytes: a perf.data file or folder, or a trace
    /// bundle of LLDB (its folder, or the `trace.json` in it).
    ///
    /// # Errors
    /// When the file cannot be read, is empty or is of another kind, or holds no
    /// Intel PT at all. Damage further in is no error: it is in `problems`.
    pub fn open(path: &Path) -> Result<Capture, Error> {
        Capture::open_with(path, &Binaries::default())
    }

    /// The same; modules that the container names without their mappings are looked for in `binaries`.
    ///
    /// # Errors
    /// As [`Capture::open`].
    pub fn open_with(path: &Path, binaries: &Binaries) -> Result<Capture, Error> {
        let main = main_file(path);
        let mut capture = Capture::read(FileBytes::open(&main)?, binaries)?;
        let kcore = main.with_file_name("kcore_dir").join("kcore");
        if path.is_dir() && kcore.is_file() {
            match FileBytes::open_regular(&kcore) {
                Ok(kcore) => capture.kcore = Some(Arc::new(kcore)),
                Err(error) => capture.problems.push(error),
            }
        }
        Ok(capture)
    }

    fn read(file: FileBytes, binaries: &Binaries) -> Result<Capture, Error> {
        match lldb::is_description(&file) {
            true => lldb::read(file, binaries),
            false => perf_data::read(file),
        }
    }

    /// Whether a regular file looks like a container by its first bytes, or a folder by what is in
    /// it. What does not may still be a file of bare packets.
    pub fn is_container(path: &Path) -> bool {
        const MOST_BYTES: u64 = 64;
        let main = main_file(path);
        // Looking into a pipe would take from it.
        if !main.is_file() {
            return false;
        }
        let mut first = Vec::new();
        let read = std::fs::File::open(&main)
            .and_then(|file| file.take(MOST_BYTES).read_to_end(&mut first));
        let known = perf_data::is_container(&first) || lldb::is_description(&first);
        read.is_ok() && known
    }

    /// A capture from the bytes of a container; `name` is for messages.
    ///
    /// # Errors
    /// As [`Capture::open`].
    pub fn from_bytes(name: &Path, bytes: Vec<u8>) -> Result<Capture, Error> {
        Capture::read(FileBytes::from_vec(name, bytes), &Binaries::default())
    }

    pub(crate) fn empty(file: FileBytes) -> Capture {
        Capture {
            file,
            streams: Vec::new(),
            mappings: Vec::new(),
            tasks: Vec::new(),
            switches: Vec::new(),
            samples: Vec::new(),
            text_pokes: Vec::new(),
            kernel_symbols: Vec::new(),
            kcore: None,
            clock: Clock::default(),
            cpu: None,
            uncompressed_returns: false,
            problems: Vec::new(),
        }
    }

    /// The file it came from.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The bytes of a piece; copied only when it was written out in several parts.
    pub fn bytes<'a>(&'a self, piece: &'a Piece) -> Cow<'a, [u8]> {
        match piece.parts.as_slice() {
            [part] => Cow::Borrowed(self.part(part)),
            parts => Cow::Owned(
                parts
                    .iter()
                    .flat_map(|part| self.part(part))
                    .copied()
                    .collect(),
            ),
        }
    }

    /// The bytes of a piece, in the parts in which it was written out.
    pub(crate) fn parts<'a>(&'a self, piece: &'a Piece) -> impl Iterator<Item = &'a [u8]> {
        piece.parts.iter().map(|part| self.part(part))
    }

    fn part<'a>(&'a self, part: &'a Part) -> &'a [u8] {
        match part {
            Part::InFile(range) => self.file.get(range.clone()).unwrap_or_default(),
            Part::Beside(file, range) => file.get(range.clone()).unwrap_or_default(),
            Part::Copied(bytes) => bytes,
        }
    }

    /// Process of each thread, as far as the container tells.
    pub fn processes(&self) -> BTreeMap<ThreadId, u32> {
        self.tasks
            .iter()
            .map(|task| (task.thread, task.process))
            .collect()
    }

    /// The latest name of each thread.
    pub fn names(&self) -> BTreeMap<ThreadId, &str> {
        let mut names = BTreeMap::new();
        for task in &self.tasks {
            if let TaskKind::Named { name, .. } = &task.kind {
                names.insert(task.thread, name.as_str());
            }
        }
        names
    }
}

/// The file by which a container is read; of a folder, the one in it.
fn main_file(path: &Path) -> PathBuf {
    /// Of a folder that `perf record --kcore` makes.
    const PERF_DATA: &str = "data";
    let inside = [lldb::DESCRIPTION, PERF_DATA].map(|name| path.join(name));
    let found = inside
        .into_iter()
        .find(|inside| path.is_dir() && inside.is_file());
    found.unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_converts_there_and_back() {
        let conversion = TimeConversion {
            shift: 10,
            mult: 341,
            zero: 77,
        };
        for tsc in [0, 1, 1 << 20, 0x1234_5678_9abc] {
            let there = conversion.to_nanoseconds(Timestamp(tsc));
            let back = conversion.to_tsc(there).0;
            assert!(back.abs_diff(tsc) <= 4, "{tsc} came back as {back}");
        }
    }

    #[test]
    fn time_before_zero_wraps_as_perf_does() {
        let conversion = TimeConversion {
            shift: 0,
            mult: 1,
            zero: u64::MAX,
        };
        assert_eq!(conversion.to_nanoseconds(Timestamp(3)), 2);
        assert_eq!(conversion.to_tsc(2), Timestamp(3));
    }
}
