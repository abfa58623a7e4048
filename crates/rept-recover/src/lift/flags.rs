//! The flags: who reads and overwrites them, and how the new RFLAGS word is put together.

use crate::effect::Word;
use crate::lift::builder::Builder;
use crate::lift::value::{Pred, Val};
use crate::lift::{ALL_FLAGS, decode};
use iced_x86::{Instruction, Mnemonic as M, RflagsBits};
use rept_trace::{Address, RegWord};

pub(super) const CF: u32 = 0;
pub(super) const PF: u32 = 2;
pub(super) const AF: u32 = 4;
pub(super) const ZF: u32 = 6;
pub(super) const SF: u32 = 7;
pub(super) const DF: u32 = 10;
pub(super) const OF: u32 = 11;

/// Bits of our RFLAGS words that the processor's does not have: the truths that conditions on
/// two or three flags ask for. A comparison states them of its operands, a condition reads
/// them; so `jbe` or `jl` teaches the comparison's operands, though no single flag is known.
/// They are unknown after everything that is no comparison.
pub(super) mod relation {
    /// CF or ZF.
    pub(in crate::lift) const BELOW_OR_EQUAL: u32 = 32;
    /// SF differs from OF.
    pub(in crate::lift) const LESS: u32 = 33;
    /// ZF, or SF differs from OF.
    pub(in crate::lift) const LESS_OR_EQUAL: u32 = 34;
}

/// What an instruction does to the flags of [`ALL_FLAGS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlagUse {
    /// Flags whose old value it may use (a system call and `pushf` use all).
    pub reads: u16,
    /// Flags whose old value is gone for sure afterwards.
    pub overwrites: u16,
}

/// Flags that the instruction `bytes` at `at` reads and overwrites; for a backward pass
/// `live = live & !overwrites | reads`. Bytes that are no instruction read all flags.
pub fn flag_use(bytes: &[u8], at: Address, bitness: u8) -> FlagUse {
    let Some(instruction) = decode(bytes, at, bitness) else {
        return FlagUse {
            reads: ALL_FLAGS,
            overwrites: 0,
        };
    };
    let reads = match instruction.mnemonic() {
        // They hand all flags to the kernel (or to another context).
        M::Syscall
        | M::Sysenter
        | M::Int
        | M::Int1
        | M::Int3
        | M::Into
        | M::Iretq
        | M::Iretd
        | M::Iret => ALL_FLAGS,
        _ => layout(instruction.rflags_read()),
    };
    let overwrites = if writes_conditionally(&instruction) {
        0
    } else {
        modified(&instruction) & ALL_FLAGS
    };
    FlagUse {
        reads: reads & ALL_FLAGS,
        overwrites,
    }
}

/// The RFLAGS layout of the decoder's flag set.
fn layout(flags: u32) -> u16 {
    let bit = |set: u32, at: u32| if flags & set != 0 { 1u16 << at } else { 0 };
    bit(RflagsBits::CF, CF)
        | bit(RflagsBits::PF, PF)
        | bit(RflagsBits::AF, AF)
        | bit(RflagsBits::ZF, ZF)
        | bit(RflagsBits::SF, SF)
        | bit(RflagsBits::IF, 9)
        | bit(RflagsBits::DF, DF)
        | bit(RflagsBits::OF, OF)
}

/// Flags that an instruction writes or leaves undefined, in RFLAGS layout.
pub(super) fn modified(instruction: &Instruction) -> u16 {
    match instruction.mnemonic() {
        // The decoder takes whole turns for no rotation; the processor changes OF nevertheless.
        M::Rcl | M::Rcr if constant_count(instruction) != Some(0) => 1 << CF | 1 << OF,
        // The kernel returns with the flags that it was called with (SYSRET loads them from R11).
        M::Syscall => 0,
        _ => layout(instruction.rflags_modified()),
    }
}

/// Shifts by a count that may be zero, and counted comparisons: the old flags may survive.
pub(super) fn writes_conditionally(instruction: &Instruction) -> bool {
    match instruction.mnemonic() {
        M::Rol
        | M::Ror
        | M::Rcl
        | M::Rcr
        | M::Shl
        | M::Sal
        | M::Shr
        | M::Sar
        | M::Shld
        | M::Shrd => constant_count(instruction).is_none_or(|count| count == 0),
        M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq | M::Scasb | M::Scasw | M::Scasd | M::Scasq => {
            instruction.has_rep_prefix() || instruction.has_repne_prefix()
        }
        _ => false,
    }
}

/// The effective count of a shift by an immediate.
pub(super) fn constant_count(instruction: &Instruction) -> Option<u32> {
    let last = instruction.op_count() - 1;
    let wide = match instruction.op0_kind() {
        iced_x86::OpKind::Register => instruction.op0_register().size() == 8,
        _ => instruction.memory_size().size() == 8,
    };
    let count = instruction.try_immediate(last).ok()?;
    Some(count as u32 & if wide { 63 } else { 31 })
}

impl Builder {
    /// The old RFLAGS word.
    pub(super) fn old_flags(&self) -> Val<'_> {
        self.input(RegWord::FLAGS)
    }

    fn new_flags(&self) -> Word {
        self.flags.word.get().unwrap_or_else(|| {
            let word = self.temporary(64).word;
            self.flags.word.set(Some(word));
            word
        })
    }

    /// Is this flag worth computing?
    pub(super) fn wants(&self, flag: u32) -> bool {
        self.live_flags >> flag & 1 == 1
    }

    /// Does the instruction leave the flag in a state that the manual defines?
    fn defines(&self, flag: u32) -> bool {
        layout(self.instruction.rflags_undefined()) >> flag & 1 == 0
    }

    /// Sets a flag, when somebody may read it.
    pub(super) fn set_flag(&self, flag: u32, pred: Pred<'_>) {
        if self.wants(flag) && self.defines(flag) {
            pred.place(self, self.new_flags(), flag);
        }
    }

    /// ZF, SF and PF from a result.
    pub(super) fn result_flags(&self, result: Val<'_>) {
        self.set_flag(ZF, result.is_zero());
        self.set_flag(SF, result.sign());
        self.set_flag(PF, result.even_parity());
    }

    /// The flags change only when `pred` holds.
    pub(super) fn flags_only_if(&self, pred: Pred<'_>) {
        if self.live_flags & modified(&self.instruction) != 0 {
            self.flags.condition.set(Some(self.bit(pred).word));
        }
    }

    /// What a comparison of `x` with `y` says beyond single flags.
    pub(super) fn set_relations<'b>(&'b self, x: Val<'b>, y: Val<'b>) {
        let written = self.live_flags & modified(&self.instruction);
        let wants = |flags: u16| written & flags == flags;
        let state = |at, pred: Pred<'b>| pred.place(self, self.new_flags(), at);
        if wants(1 << CF | 1 << ZF) {
            state(relation::BELOW_OR_EQUAL, y.below(x).negated());
        }
        if wants(1 << SF | 1 << OF) {
            state(relation::LESS, x.less(y));
        }
        if wants(1 << ZF | 1 << SF | 1 << OF) {
            state(relation::LESS_OR_EQUAL, y.less(x).negated());
        }
    }

    /// A condition code (as encoded in jcc) of the old flags, as a bit.
    pub(super) fn condition(&self, code: u16) -> Val<'_> {
        let flags = self.old_flags();
        let holds = self.bit(flags.condition(code));
        let stated = match code >> 1 {
            3 => relation::BELOW_OR_EQUAL,
            6 => relation::LESS,
            7 => relation::LESS_OR_EQUAL,
            _ => return holds,
        };
        let relation = flags.bit(stated);
        let relation = if code & 1 == 1 {
            relation.negated()
        } else {
            relation
        };
        relation.place(self, holds.word, 0);
        holds
    }

    /// The instruction turns out to leave all flags as they are.
    pub(super) fn keep_flags(&self) {
        self.flags.whole.set(true);
    }
}
