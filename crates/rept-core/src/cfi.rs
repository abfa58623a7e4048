//! Unwinding by call-frame information, over registers and memory of which not all is known.
//!
//! Each step takes a frame's registers to its caller's: the canonical frame address (CFA) by
//! the file's rule for the code address, then every register by its own rule (DWARF 5, section
//! 6.4; System V ABI, AMD64 supplement, section 3.7). A value whose source is unknown is
//! unknown; the walk ends where the return address or the CFA is, and says why.
//!
//! It ends on any input: outside signal frames the stack pointer only grows, signal frames are
//! counted, and so are all frames. A frame costs one look-up of its code address in a cache.

mod expression;
mod tables;
#[cfg(test)]
mod tests;

use crate::binaries::Binary;
use crate::dump::{Dump, Module, ModuleFile};
use gimli::{CfaRule, RegisterRule};
use rept_trace::{Address, Memory, RegWord};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use tables::{Rules, Tables};

/// Frames of one walk at most.
pub(crate) const MAX_FRAMES: usize = 1 << 20;
/// Signal frames of one walk at most.
const MAX_SIGNAL_FRAMES: usize = 1 << 10;
/// Rules remembered; recursion meets few code addresses, however deep.
const MAX_CACHED: usize = 1 << 16;

/// General-purpose registers in DWARF's order (System V ABI, AMD64 supplement, figure 3.36).
const BY_DWARF: [u16; 16] = [0, 2, 1, 3, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15];
const DWARF_RSP: u16 = 7;
const RSP: usize = 4;

/// Registers that a called function hands back as it found them, beside rsp: rbx, rbp, r12 to r15.
pub(crate) const PRESERVED: [RegWord; 6] = [
    RegWord::RBX,
    RegWord::RBP,
    RegWord::gpr(12),
    RegWord::gpr(13),
    RegWord::gpr(14),
    RegWord::gpr(15),
];

/// Reads a little-endian number of 1 to 8 bytes; `None` when a byte of it is not known.
pub(crate) type ReadMemory<'a> = dyn Fn(Address, usize) -> Option<u64> + 'a;

/// The integer registers of a frame, as far as they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameRegisters {
    /// The instruction that runs next in the frame: for callers, the one behind the call.
    pub(crate) pc: Address,
    words: [Option<u64>; 16],
}

impl FrameRegisters {
    /// Registers as `value` knows them.
    pub(crate) fn new(pc: Address, value: impl Fn(RegWord) -> Option<u64>) -> FrameRegisters {
        let words = std::array::from_fn(|number| value(RegWord::gpr(number as u16)));
        FrameRegisters { pc, words }
    }

    /// The value of a general-purpose register.
    pub(crate) fn get(&self, word: RegWord) -> Option<u64> {
        self.words.get(usize::from(word.0)).copied().flatten()
    }

    fn by_dwarf(&self, number: u16) -> Option<u64> {
        self.words[usize::from(*BY_DWARF.get(usize::from(number))?)]
    }
}

/// One frame that was unwound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnwoundFrame {
    /// The instruction that runs next in it.
    pub(crate) pc: Address,
    /// Canonical frame address: the stack pointer before the call that made the frame.
    pub(crate) cfa: u64,
    /// The frame is the kernel's, built for a signal handler: what it interrupted did not call it.
    pub(crate) signal: bool,
    /// Registers of the caller once it is returned to.
    pub(crate) caller: FrameRegisters,
}

/// Why a walk ended before the outermost function: displays as one sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Truncation {
    /// No file holds the code.
    NoModule(Address),
    /// The file says nothing about the code.
    NoRules(Address),
    /// The frame's place depends on something that is not known.
    UnknownFrame(Address),
    /// The return address is not known.
    UnknownReturn(Address),
    /// The caller's stack pointer does not lie above the callee's.
    StackShrinks(Address),
    /// [`MAX_FRAMES`], or too many signal frames.
    TooMany,
}

/// Unwinds the code of one process. Tables are read when first needed.
#[derive(Debug)]
pub(crate) struct Unwinder {
    modules: Vec<CodeFile>,
    cache: BTreeMap<u64, Option<Arc<Rules>>>,
}

/// One ELF file at one place.
#[derive(Debug)]
struct CodeFile {
    start: u64,
    end: u64,
    bias: u64,
    binary: Option<Arc<Binary>>,
    tables: Option<Option<Arc<Tables>>>,
}

impl Unwinder {
    /// For the modules of a dump, by ascending address.
    pub(crate) fn new(dump: &Dump) -> Unwinder {
        Unwinder::for_files(dump.modules().iter().map(|module| {
            let binary = binary(module, dump.memory());
            (module.start..module.end, module.bias, binary)
        }))
    }

    /// For code files at these places (first address, end, bias), by ascending address.
    pub(crate) fn for_files(
        files: impl Iterator<Item = (Range<Address>, u64, Option<Arc<Binary>>)>,
    ) -> Unwinder {
        let modules = files.map(|(range, bias, binary)| CodeFile {
            start: range.start.0,
            end: range.end.0,
            bias,
            binary,
            tables: None,
        });
        Unwinder {
            modules: modules.collect(),
            cache: BTreeMap::new(),
        }
    }

    /// The frames from these registers outwards.
    pub(crate) fn walk<'a>(
        &'a mut self,
        innermost: FrameRegisters,
        memory: &'a ReadMemory<'a>,
    ) -> Walk<'a> {
        Walk {
            unwinder: self,
            memory,
            registers: innermost,
            frames: 0,
            signals: 0,
            interrupted: true,
            end: None,
        }
    }

    /// The canonical frame address of a frame.
    pub(crate) fn cfa(
        &mut self,
        registers: &FrameRegisters,
        interrupted: bool,
        memory: &ReadMemory<'_>,
    ) -> Option<u64> {
        let at = registers.pc.0.wrapping_sub(u64::from(!interrupted));
        let rules = self.rules(at).ok()?;
        cfa(&rules, &expression::Around { registers, memory })
    }

    /// The register that the canonical frame address is computed from at a code address, by its
    /// DWARF number, and the distance; `None` where that is an expression, or not said.
    pub(crate) fn cfa_rule(&mut self, at: Address) -> Option<(u16, i64)> {
        match self.rules(at.0).ok()?.row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => Some((register.0, *offset)),
            CfaRule::Expression(_) => None,
        }
    }

    /// The function around a code address, or the part of it that it lies in: first address and end.
    pub(crate) fn function(&mut self, at: Address) -> Option<Range<u64>> {
        let module = self.module(at.0)?;
        let bias = module.bias;
        let (start, end) = module.tables()?.function(at.0.wrapping_sub(bias))?;
        Some(start.wrapping_add(bias)..end.wrapping_add(bias))
    }

    fn module(&mut self, at: u64) -> Option<&mut CodeFile> {
        let index = self.modules.partition_point(|module| module.start <= at);
        let mut below = self.modules[..index].iter_mut().rev();
        below.find(|module| at < module.end)
    }

    fn rules(&mut self, at: u64) -> Result<Arc<Rules>, Truncation> {
        if let Some(known) = self.cache.get(&at) {
            return known.clone().ok_or(Truncation::NoRules(Address(at)));
        }
        let module = self.module(at).ok_or(Truncation::NoModule(Address(at)))?;
        let own = at.wrapping_sub(module.bias);
        let rules = module.tables().and_then(|tables| tables.rules(own));
        let rules = rules.map(Arc::new);
        if self.cache.len() == MAX_CACHED {
            self.cache.clear();
        }
        self.cache.insert(at, rules.clone());
        rules.ok_or(Truncation::NoRules(Address(at)))
    }
}

impl CodeFile {
    fn tables(&mut self) -> Option<Arc<Tables>> {
        let (binary, bias) = (&self.binary, self.bias);
        let load = || Some(Arc::new(Tables::load(binary.as_ref()?, bias)?));
        self.tables.get_or_insert_with(load).clone()
    }
}

fn binary(module: &Module, memory: &dyn Memory) -> Option<Arc<Binary>> {
    match &module.file {
        ModuleFile::InDump => {
            Binary::from_bytes(&module.path, memory.bytes(module.start)?).map(Arc::new)
        }
        _ => module.binary().cloned(),
    }
}

/// A walk from the innermost frame outwards; see [`Walk::end`] when it is over.
pub(crate) struct Walk<'a> {
    unwinder: &'a mut Unwinder,
    memory: &'a ReadMemory<'a>,
    registers: FrameRegisters,
    frames: usize,
    signals: usize,
    /// The frame is at the very instruction that `pc` says, not behind a call.
    interrupted: bool,
    end: Option<Option<Truncation>>,
}

impl Walk<'_> {
    /// Why the walk ended early; `None` while it goes on, and when the outermost function was met.
    pub(crate) fn end(&self) -> Option<Truncation> {
        self.end.flatten()
    }

    /// The next frame; `None` at the outermost function.
    fn step(&mut self) -> Result<Option<UnwoundFrame>, Truncation> {
        if self.frames == MAX_FRAMES || self.signals == MAX_SIGNAL_FRAMES {
            return Err(Truncation::TooMany);
        }
        let registers = self.registers;
        let at = registers.pc.0.wrapping_sub(u64::from(!self.interrupted));
        let unwound = match self.unwinder.rules(at) {
            Ok(rules) => unwind(&rules, &registers, self.memory)?,
            Err(why) => Some(self.without_rules(why)?),
        };
        let Some(frame) = unwound else {
            return Ok(None);
        };
        let (inner, outer) = (self.registers.words[RSP], frame.caller.words[RSP]);
        if !frame.signal
            && inner
                .zip(outer)
                .is_some_and(|(inner, outer)| outer <= inner)
        {
            return Err(Truncation::StackShrinks(registers.pc));
        }
        self.frames += 1;
        self.signals += usize::from(frame.signal);
        self.interrupted = frame.signal;
        self.registers = frame.caller;
        Ok(Some(frame))
    }

    /// Frames that no table describes but whose layout is known all the same: the kernel's signal
    /// frames, and a call that went where no code is.
    fn without_rules(&mut self, why: Truncation) -> Result<UnwoundFrame, Truncation> {
        if let Some(frame) = signal_frame(&self.registers, self.memory) {
            return Ok(frame);
        }
        let strayed = self.frames == 0 && matches!(why, Truncation::NoModule(_));
        let frame = strayed.then(|| called_nowhere(&self.registers, self.memory));
        let frame = frame.flatten().ok_or(why)?;
        self.unwinder.rules(frame.caller.pc.0.wrapping_sub(1))?;
        Ok(frame)
    }
}

impl Iterator for Walk<'_> {
    type Item = UnwoundFrame;

    fn next(&mut self) -> Option<UnwoundFrame> {
        if self.end.is_some() {
            return None;
        }
        match self.step() {
            Ok(Some(frame)) => Some(frame),
            Ok(None) => {
                self.end = Some(None);
                None
            }
            Err(why) => {
                self.end = Some(Some(why));
                None
            }
        }
    }
}

fn cfa(rules: &Rules, around: &expression::Around<'_>) -> Option<u64> {
    match rules.row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => around
            .registers
            .by_dwarf(register.0)
            .map(|base| base.wrapping_add_signed(*offset)),
        CfaRule::Expression(place) => rules.value(place, around, None),
    }
}

/// The frame that `rules` describe; `None` for the outermost function.
fn unwind(
    rules: &Rules,
    registers: &FrameRegisters,
    memory: &ReadMemory<'_>,
) -> Result<Option<UnwoundFrame>, Truncation> {
    let pc = registers.pc;
    let returns = rules.row.register(rules.return_address);
    if matches!(returns, Some(RegisterRule::Undefined)) {
        return Ok(None);
    }
    let around = expression::Around { registers, memory };
    let cfa = cfa(rules, &around).ok_or(Truncation::UnknownFrame(pc))?;
    let restored = |number: gimli::Register, rule| match rule {
        Some(rule) => rules.restore(rule, number, cfa, &around),
        None if number.0 == DWARF_RSP => Some(cfa),
        None => {
            let word = RegWord::gpr(BY_DWARF[usize::from(number.0)]);
            registers.get(word).filter(|_| PRESERVED.contains(&word))
        }
    };
    let returns_to = returns.and_then(|rule| restored(rules.return_address, Some(rule)));
    let returns_to = match returns_to {
        Some(0) => return Ok(None),
        known => known.ok_or(Truncation::UnknownReturn(pc))?,
    };
    let mut caller = FrameRegisters::new(Address(returns_to), |_| None);
    for (number, &word) in BY_DWARF.iter().enumerate() {
        let number = gimli::Register(number as u16);
        caller.words[usize::from(word)] = restored(number, rules.row.register(number));
    }
    Ok(Some(UnwoundFrame {
        pc,
        cfa,
        signal: rules.signal,
        caller,
    }))
}

/// A frame that the kernel built for a signal handler, told by the code that the handler returns
/// to (`mov rax, 15; syscall`) where no table describes it. Layout: `struct rt_sigframe` and
/// `struct sigcontext` of Linux x86-64; rsp points to the `ucontext`.
fn signal_frame(registers: &FrameRegisters, memory: &ReadMemory<'_>) -> Option<UnwoundFrame> {
    const RT_SIGRETURN: [u64; 2] = [0x0f00_0000_0fc0_c748, 0x05];
    const CONTEXT: u64 = 40;
    const SAVED: [u16; 16] = [8, 9, 10, 11, 12, 13, 14, 15, 7, 6, 5, 3, 2, 0, 1, 4];
    let code = |skip, size| memory(registers.pc.offset(skip), size);
    // 48 c7 c0 0f 00 00 00 0f 05
    if [code(0, 8)?, code(8, 1)?] != RT_SIGRETURN {
        return None;
    }
    let context = Address(registers.words[RSP]?).offset(CONTEXT);
    let word = |index: usize| memory(context.offset(8 * index as u64), 8);
    let mut caller = FrameRegisters::new(Address(word(SAVED.len())?), |_| None);
    for (index, &number) in SAVED.iter().enumerate() {
        caller.words[usize::from(number)] = word(index);
    }
    Some(UnwoundFrame {
        pc: registers.pc,
        cfa: caller.words[RSP]?,
        signal: true,
        caller,
    })
}

/// A call to an address without code ends before the callee does anything: the return address is
/// on top of the stack. (A return through a smashed stack looks the same; what it finds there is
/// believed only where code with rules lies.)
fn called_nowhere(registers: &FrameRegisters, memory: &ReadMemory<'_>) -> Option<UnwoundFrame> {
    let top = registers.words[RSP]?;
    let cfa = top.checked_add(8)?;
    let mut caller = FrameRegisters::new(Address(memory(Address(top), 8)?), |word| {
        registers.get(word).filter(|_| PRESERVED.contains(&word))
    });
    caller.words[RSP] = Some(cfa);
    Some(UnwoundFrame {
        pc: registers.pc,
        cfa,
        signal: false,
        caller,
    })
}

impl fmt::Display for Truncation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Truncation::NoModule(at) => write!(f, "no file is known for the code at {at}"),
            Truncation::NoRules(at) => {
                write!(f, "there is no call-frame information for the code at {at}")
            }
            Truncation::UnknownFrame(at) => {
                write!(f, "the stack frame of the code at {at} is not known")
            }
            Truncation::UnknownReturn(at) => {
                write!(f, "the return address of the code at {at} is not known")
            }
            Truncation::StackShrinks(at) => write!(
                f,
                "the caller of the code at {at} would have less stack than its callee"
            ),
            Truncation::TooMany => write!(f, "there are more frames than are looked at"),
        }
    }
}
