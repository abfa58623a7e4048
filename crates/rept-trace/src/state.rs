use crate::{Address, ThreadId};

/// One 64-bit word of a thread's register state.
///
/// Sub-registers are bits of their word; vector registers are eight words (512 bits),
/// word 0 holding the lowest bits. Numbering is dense, `0..RegWord::COUNT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegWord(pub u16);

impl RegWord {
    /// RAX; the general-purpose registers follow in encoding order:
    /// rax rcx rdx rbx rsp rbp rsi rdi r8 … r15 are words 0 to 15.
    pub const RAX: RegWord = RegWord(0);
    /// RCX.
    pub const RCX: RegWord = RegWord(1);
    /// RDX.
    pub const RDX: RegWord = RegWord(2);
    /// RBX.
    pub const RBX: RegWord = RegWord(3);
    /// RSP.
    pub const RSP: RegWord = RegWord(4);
    /// RBP.
    pub const RBP: RegWord = RegWord(5);
    /// RSI.
    pub const RSI: RegWord = RegWord(6);
    /// RDI.
    pub const RDI: RegWord = RegWord(7);
    /// R11, which `syscall` overwrites with RFLAGS.
    pub const R11: RegWord = RegWord(11);
    /// RFLAGS: CF bit 0, PF 2, AF 4, ZF 6, SF 7, DF 10, OF 11, as in the processor.
    pub const FLAGS: RegWord = RegWord(16);
    /// Base of the FS segment.
    pub const FS_BASE: RegWord = RegWord(17);
    /// Base of the GS segment.
    pub const GS_BASE: RegWord = RegWord(18);
    /// MXCSR.
    pub const MXCSR: RegWord = RegWord(19);
    /// Control word of the x87 unit (16 bits).
    pub const X87_CONTROL: RegWord = RegWord(20);
    /// Status word of the x87 unit (16 bits); the top of the stack is bits 11 to 13.
    pub const X87_STATUS: RegWord = RegWord(21);
    /// Which physical x87 registers are in use, one bit each, as FXSAVE abridges the tag word.
    pub const X87_TAG: RegWord = RegWord(22);
    /// XCR0: the state components that the system has enabled for the process, one bit each.
    pub const XCR0: RegWord = RegWord(23);
    /// Number of words.
    pub const COUNT: usize = 336;

    const OPMASK_FIRST: u16 = 24;
    const X87_FIRST: u16 = 32;
    const VECTOR_FIRST: u16 = 64;

    /// General-purpose register by encoding number 0..=15.
    pub const fn gpr(number: u16) -> RegWord {
        RegWord(number)
    }

    /// Opmask register k0..=k7.
    pub const fn opmask(number: u16) -> RegWord {
        RegWord(Self::OPMASK_FIRST + number)
    }

    /// Physical x87/MMX register 0..=7; half 0 is the 64-bit significand (the MMX register), half 1 sign and exponent.
    pub const fn x87(number: u16, half: u16) -> RegWord {
        RegWord(Self::X87_FIRST + number * 2 + half)
    }

    /// 64-bit lane `lane` (0..=7) of vector register `number` (0..=31).
    pub const fn vector(number: u16, lane: u16) -> RegWord {
        RegWord(Self::VECTOR_FIRST + number * 8 + lane)
    }

    /// Conventional name: `rax`, `rflags`, `fs_base`, `k1`, `zmm3[2]` (third lane of zmm3) …
    pub fn name(self) -> String {
        const GPR: [&str; 24] = [
            "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11",
            "r12", "r13", "r14", "r15", "rflags", "fs_base", "gs_base", "mxcsr", "fctrl", "fstat",
            "ftag", "xcr0",
        ];
        let n = self.0;
        match n {
            0..=23 => GPR[usize::from(n)].to_owned(),
            24..=31 => format!("k{}", n - Self::OPMASK_FIRST),
            32..=47 => format!("st{}[{}]", (n - 32) / 2, (n - 32) % 2),
            48..=63 => format!("reserved{n}"),
            _ => format!("zmm{}[{}]", (n - 64) / 8, (n - 64) % 8),
        }
    }
}

/// Registers of one thread in the dump. Words that the dump does not hold are `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers {
    /// The thread.
    pub thread: ThreadId,
    /// Instruction pointer: the instruction that was about to run, or faulted.
    pub rip: Address,
    words: Vec<Option<u64>>,
}

impl Registers {
    /// A thread about which only the instruction pointer is known.
    pub fn new(thread: ThreadId, rip: Address) -> Registers {
        Registers {
            thread,
            rip,
            words: vec![None; RegWord::COUNT],
        }
    }

    /// The value of a word, when known.
    pub fn get(&self, word: RegWord) -> Option<u64> {
        self.words.get(usize::from(word.0)).copied().flatten()
    }

    /// Sets the value of a word.
    pub fn set(&mut self, word: RegWord, value: u64) {
        self.words[usize::from(word.0)] = Some(value);
    }

    /// Forgets a word (blocked threads: rax and r11 belong to the kernel).
    pub fn clear(&mut self, word: RegWord) {
        self.words[usize::from(word.0)] = None;
    }
}

/// One mapping of the address space at the time of the dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
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
    /// File behind it, when there is one.
    pub file: Option<String>,
}

/// Memory at the end of the recorded window.
pub trait Memory {
    /// The bytes from `at` on that are known without a hole, at least one; `None` when the first is unknown.
    ///
    /// Implementations return runs as long as they have (at least to the end of a page where possible).
    fn bytes(&self, at: Address) -> Option<&[u8]>;

    /// Length in bytes of the run from `at` on that cannot have changed during the window:
    /// file-backed segments without write permission, minus PT_GNU_RELRO, which the
    /// loader wrote before it was protected. 0 when `at` is not constant.
    fn constant_len(&self, at: Address) -> u64;

    /// Length in bytes of the run from `at` on that the loader wrote and then protected
    /// (PT_GNU_RELRO of a private mapping without write permission): constant from the last
    /// system call on that can have taken the permission away. 0 when `at` is not of that kind.
    fn protected_len(&self, _at: Address) -> u64 {
        0
    }

    /// The bytes from `at` on that the process began with, before its first instruction: what the
    /// kernel loads of the program and of its interpreter. `None` where that is not known.
    fn initial_bytes(&self, _at: Address) -> Option<&[u8]> {
        None
    }

    /// The bytes from `at` on of the file that is mapped there, as they are in the file: what a
    /// private mapping holds until it is written. `None` where no file is mapped from `offset` (in
    /// bytes from the file's start) on, or the file is not at hand.
    fn file_bytes(&self, _at: Address, _offset: u64) -> Option<&[u8]> {
        None
    }

    /// Mappings at the end, by ascending start; empty when unknown.
    fn mappings(&self) -> &[Mapping];
}

/// The signal that ended the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Thread that received it.
    pub thread: ThreadId,
    /// Signal number.
    pub signal: i32,
    /// `si_code`.
    pub code: i32,
    /// `si_addr`, for SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGTRAP raised by the processor.
    pub address: Option<Address>,
}

/// Everything that a dump says about the end of the run.
pub struct FinalState<'a> {
    /// Threads, the crashing one first where known.
    pub threads: Vec<Registers>,
    /// Why the process ended, when the dump says so.
    pub fault: Option<Fault>,
    /// Memory.
    pub memory: &'a (dyn Memory + Sync),
    /// `AT_*` entries of the auxiliary vector, (type, value).
    pub auxv: Vec<(u64, u64)>,
}
