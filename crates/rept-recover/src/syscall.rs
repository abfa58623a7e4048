//! What Linux system calls write into the memory of their caller (x86-64).
//!
//! The kernel's writes are in no trace. The table `syscalls.txt` states for each call
//! which bytes it *may* write, as a function of its arguments, its result and memory
//! before the call; bytes outside that survive. The table errs on the side of more, and
//! a call that it does not have may write anywhere. Of the registers a call changes rax
//! (the result), rcx and r11; a new thread or process sees the same with result 0.
//!
//! ```text
//! 0   read     - 2:ret<=a3!            at argument 2, as many bytes as the result says
//! 262 newfstatat - 3:144               at argument 3, a struct stat, if it succeeded
//! 435 clone3   clone [1+16]:4!~ …      through a pointer in memory, also later
//! 16  ioctl    all                     who knows
//! ```
//!
//! To add a call, add a row; the tests check that it parses, that number and name agree
//! with the C library's, and that the row is in its place.

mod number;
mod parse;

pub use number::{number_along, number_before};

use rept_trace::RegWord;
use std::sync::OnceLock;

/// Arguments of a system call, 1 to 6, in the order of the kernel's calling convention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Argument(u8);

impl Argument {
    /// The `n`-th argument, 1 to 6; `None` for other numbers.
    pub const fn new(n: u8) -> Option<Argument> {
        if matches!(n, 1..=6) {
            Some(Argument(n))
        } else {
            None
        }
    }

    /// The register that holds it: rdi rsi rdx r10 r8 r9.
    pub const fn word(self) -> RegWord {
        match self.0 {
            1 => RegWord::RDI,
            2 => RegWord::RSI,
            3 => RegWord::RDX,
            4 => RegWord::gpr(10),
            5 => RegWord::gpr(8),
            _ => RegWord::gpr(9),
        }
    }
}

/// A 64-bit number that a row speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// An argument.
    Argument(Argument),
    /// The eight bytes at an argument plus an offset in bytes, before the call.
    Pointed(Argument, u64),
}

/// A condition on a number: `operand & mask` is one of `values`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The number.
    pub operand: Operand,
    /// The bits that count.
    pub mask: u64,
    /// What they may be.
    pub values: Box<[u64]>,
}

/// How many bytes are written at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// This many bytes.
    Fixed(u64),
    /// An argument, times a size in bytes.
    Argument(Argument, u64),
    /// The 32-bit number that an argument points to, before the call, in bytes.
    At(Argument),
    /// The smaller of the result and an argument, times a size in bytes.
    Result(Argument, u64),
    /// Bits, an argument their number, in whole 64-bit words.
    Bits(Argument),
    /// One byte for each 4096 that an argument says, rounded up.
    Pages(Argument),
    /// The eight bytes at an argument plus an offset, before the call, in bytes.
    Pointed(Argument, u64),
    /// The buffers of an array of `struct iovec`, so many; together no more than the result.
    Vector(Operand),
}

/// Bytes that a call may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where they begin.
    pub pointer: Operand,
    /// Bytes to add to the pointer.
    pub offset: u64,
    /// How many.
    pub length: Length,
    /// Also when the call fails.
    pub on_failure: bool,
    /// Also at any time after the call (until the thread ends): thread ids cleared on exit, rseq.
    pub lasting: bool,
}

/// What a call does to the address space, or to the flow of control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing.
    None,
    /// `mmap`: result .. result + argument 2 is new. Zero when argument 4 has MAP_ANONYMOUS
    /// (0x20) and not MAP_UNINITIALIZED (0x4000000), else the file's. With MAP_FIXED (0x10)
    /// the old contents may be gone even when it failed.
    Map,
    /// `munmap`: argument 1 .. + argument 2 vanishes.
    Unmap,
    /// `mprotect`: argument 1 .. + argument 2 may be used otherwise from here on.
    Protect,
    /// `brk`: the heap ends at the result; what is new is zero, what is behind it vanishes.
    Break,
    /// `mremap`: argument 1 .. + argument 2 moves to result .. + argument 3; what is new of
    /// an anonymous mapping is zero.
    Remap,
    /// `madvise`: argument 1 .. + argument 2 may become zero, or the file's again,
    /// depending on argument 3 (MADV_DONTNEED 4, MADV_FREE 8, MADV_REMOVE 9,
    /// MADV_DONTNEED_LOCKED 24; the others change nothing).
    Discard,
    /// A mapping of unknown length and contents appears (at the result, when there is one).
    Attach,
    /// A mapping of unknown length vanishes at argument 1.
    Detach,
    /// Everything is replaced, when it succeeds.
    Exec,
    /// A thread or process begins, at the same next step, with result 0.
    Clone,
    /// The thread or process ends; there is no next step.
    Exit,
    /// All registers are loaded from the signal frame at rsp.
    SignalReturn,
    /// A segment base or descriptor changes (`arch_prctl`: argument 1 0x1001 sets gs, 0x1002
    /// fs, to argument 2).
    Segment,
}

/// One row: a call under some conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// All must hold.
    pub when: Box<[Condition]>,
    /// Effect beyond memory contents.
    pub effect: Effect,
    /// What it may write, as far as stated.
    pub writes: Box<[Write]>,
    /// It may write anywhere.
    pub unknown_extent: bool,
    /// It may write anywhere, and go on after it returned.
    pub asynchronous: bool,
}

/// One system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemCall {
    /// Its number, in rax before the call.
    pub number: u64,
    /// Its name, as in the kernel's table.
    pub name: &'static str,
    /// Its rows; the last has no condition.
    pub cases: Vec<Case>,
}

/// What is known about one execution of a system call.
pub trait Frame {
    /// An argument.
    fn argument(&self, argument: Argument) -> Option<u64>;
    /// The result, rax after the call.
    fn result(&self) -> Option<u64>;
    /// `size` bytes (4 or 8) of memory before the call, zero-extended.
    fn memory(&self, address: u64, size: u8) -> Option<u64>;
}

/// Bytes that one execution may have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First byte; `None` when not known.
    pub address: Option<u64>,
    /// Number of bytes at most; `None` when not known.
    pub length: Option<u64>,
    /// Also at any time after the call.
    pub lasting: bool,
}

/// The call with this number; `None` for numbers that the table does not have: such a
/// call may write anywhere.
pub fn lookup(number: u64) -> Option<&'static SystemCall> {
    let table = table();
    let found = table
        .binary_search_by_key(&number, |call| call.number)
        .ok()?;
    Some(&table[found])
}

/// All calls, by ascending number.
pub fn table() -> &'static [SystemCall] {
    static TABLE: OnceLock<Vec<SystemCall>> = OnceLock::new();
    TABLE.get_or_init(|| {
        parse::table(include_str!("syscalls.txt")).expect("syscalls.txt is checked by a test")
    })
}

/// `-EFAULT`: the call failed in the middle of copying.
const EFAULT: u64 = 14u64.wrapping_neg();
/// Entries of a `struct iovec` array that the kernel accepts (UIO_MAXIOV).
const MAX_VECTOR: u64 = 1024;

/// Whether a result is an error code, -4095 to -1.
pub fn is_error(result: u64) -> bool {
    result > 4096u64.wrapping_neg()
}

impl SystemCall {
    /// The row that applies; `None` when a number that decides it is not known.
    pub fn case(&self, frame: &impl Frame) -> Option<&Case> {
        for case in &self.cases {
            if case.applies(frame)? {
                return Some(case);
            }
        }
        None
    }

    /// What an execution may have written; `None` when it may have written anywhere.
    pub fn extents(&self, frame: &impl Frame) -> Option<Vec<Extent>> {
        let case = self.case(frame).filter(|case| !case.unknown_extent)?;
        let mut extents = Vec::new();
        for write in &case.writes {
            write.extents(frame, &mut extents);
        }
        Some(extents)
    }
}

impl Case {
    fn applies(&self, frame: &impl Frame) -> Option<bool> {
        for condition in &self.when {
            let value = condition.operand.value(frame)? & condition.mask;
            if !condition.values.contains(&value) {
                return Some(false);
            }
        }
        Some(true)
    }
}

impl Operand {
    pub(crate) fn value(self, frame: &impl Frame) -> Option<u64> {
        match self {
            Operand::Argument(argument) => frame.argument(argument),
            Operand::Pointed(argument, offset) => {
                frame.memory(frame.argument(argument)?.wrapping_add(offset), 8)
            }
        }
    }
}

impl Write {
    fn extents(&self, frame: &impl Frame, extents: &mut Vec<Extent>) {
        let result = frame.result();
        let failed = result.is_some_and(|result| is_error(result) && result != EFAULT);
        if failed && !self.on_failure {
            return;
        }
        let pointer = self.pointer.value(frame);
        if pointer == Some(0) {
            return;
        }
        let address = pointer.map(|pointer| pointer.wrapping_add(self.offset));
        if let Length::Vector(count) = self.length {
            self.vector(address, count.value(frame), frame, extents);
            return;
        }
        let length = self.length.bytes(frame);
        if length != Some(0) {
            extents.push(Extent {
                address,
                length,
                lasting: self.lasting,
            });
        }
    }

    /// The buffers of an array of `struct iovec`.
    fn vector(
        &self,
        array: Option<u64>,
        count: Option<u64>,
        frame: &impl Frame,
        extents: &mut Vec<Extent>,
    ) {
        let unknown = Extent {
            address: None,
            length: None,
            lasting: self.lasting,
        };
        let (Some(array), Some(count)) = (array, count) else {
            extents.push(unknown);
            return;
        };
        let mut left = frame
            .result()
            .filter(|&result| !is_error(result))
            .unwrap_or(u64::MAX);
        for entry in 0..count.min(MAX_VECTOR) {
            let at = array.wrapping_add(entry * 16);
            let (address, length) = (frame.memory(at, 8), frame.memory(at.wrapping_add(8), 8));
            // Past an entry of unknown length the result says no less about the next ones.
            let taken = length.map_or(left, |length| length.min(left));
            if taken > 0 {
                extents.push(Extent {
                    address,
                    length: length.map(|_| taken),
                    ..unknown
                });
            }
            left -= length.map_or(0, |_| taken);
        }
    }
}

impl Length {
    /// Bytes at most; a failed or unknown result counts as the greatest possible.
    pub(crate) fn bytes(self, frame: &impl Frame) -> Option<u64> {
        let result = frame.result().filter(|&result| !is_error(result));
        match self {
            Length::Fixed(bytes) => Some(bytes),
            Length::Argument(argument, size) => {
                Some(frame.argument(argument)?.saturating_mul(size))
            }
            Length::At(argument) => frame.memory(frame.argument(argument)?, 4),
            Length::Pointed(argument, offset) => Operand::Pointed(argument, offset).value(frame),
            Length::Result(limit, size) => {
                let count = match (result, frame.argument(limit)) {
                    (Some(result), Some(limit)) => result.min(limit),
                    (result, limit) => result.or(limit)?,
                };
                Some(count.saturating_mul(size))
            }
            Length::Bits(argument) => {
                Some(frame.argument(argument)?.div_ceil(64).saturating_mul(8))
            }
            Length::Pages(argument) => Some(frame.argument(argument)?.div_ceil(4096)),
            Length::Vector(_) => None,
        }
    }
}
