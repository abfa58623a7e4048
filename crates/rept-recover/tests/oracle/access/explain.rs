//! Where iced's lists and the lattice's words cannot agree, and why the effect is right.

use super::Difference;
use iced_x86::{Instruction, Mnemonic, OpKind, Register};
use rept_recover::effect::Effect;
use rept_trace::RegWord;

/// Why a difference is right, when it is.
pub(crate) fn explain(
    instruction: &Instruction,
    effect: &Effect,
    difference: &Difference,
) -> Option<&'static str> {
    match *difference {
        Difference::MissingWrite(RegWord::FLAGS) if instruction.mnemonic() == Mnemonic::Syscall => {
            Some("the kernel returns from SYSCALL with the flags that it was called with")
        }
        Difference::MissingRead(word) | Difference::MissingWrite(word) => explain_missing(
            instruction,
            effect,
            word,
            matches!(difference, Difference::MissingRead(_)),
        ),
        Difference::ExtraWrite(word) => explain_extra_write(instruction, word),
        Difference::ExtraRead(RegWord::FLAGS)
            if matches!(instruction.mnemonic(), Mnemonic::Rcl | Mnemonic::Rcr) =>
        {
            Some(
                "whole turns through the carry leave OF undefined; iced takes them for no rotation",
            )
        }
        Difference::FlagsNotKept(0x801 | 0x800)
            if matches!(instruction.mnemonic(), Mnemonic::Rcl | Mnemonic::Rcr) =>
        {
            Some(
                "whole turns through the carry leave OF undefined; iced takes them for no rotation",
            )
        }
        Difference::ExtraRead(RegWord::MXCSR) => Some(STICKY),
        Difference::ExtraRead(RegWord(20..=22)) => Some(X87_STATE),
        Difference::ExtraRead(RegWord(32..48)) if moves_stack(instruction) => {
            Some("the top of the stack is a value: any register may be the one written")
        }
        Difference::ExtraRead(word) if word.0 >= 24 && operands_coincide(instruction) => {
            Some("reads a register combined with itself, which iced takes for a zero idiom")
        }
        Difference::ExtraRead(RegWord::FS_BASE | RegWord::GS_BASE) => Some("reads a segment base"),
        Difference::ExtraRead(RegWord::XCR0) => Some("iced does not list XCR0"),
        Difference::ExtraRead(_) if instruction.is_save_restore_instruction() => {
            Some("saves register sets, which iced does not list")
        }
        Difference::ExtraAccess { store: true } if instruction.mnemonic() == Mnemonic::Clzero => {
            Some("clears the whole line around the address, which iced takes for its start")
        }
        Difference::MissingAccess { .. } | Difference::ExtraAccess { .. }
            if is_bit_test(instruction) =>
        {
            Some("a bit offset in a register moves the operand, which iced does not say")
        }
        Difference::MissingAccess { store: false } if instruction.is_save_restore_instruction() => {
            Some("restores only those parts of the save area that are words of ours")
        }
        Difference::MissingAccess { store: false } if is_hint(instruction) => Some(HINT),
        Difference::Contradiction
            if matches!(instruction.mnemonic(), Mnemonic::Div | Mnemonic::Idiv) =>
        {
            Some("the division faults on the state chosen")
        }
        _ => None,
    }
}

const X87_STATE: &str = "iced lists neither control, status nor tags of the x87 unit";
const STICKY: &str = "iced does not list MXCSR, whose sticky flags arithmetic sets";

fn explain_missing(
    instruction: &Instruction,
    effect: &Effect,
    word: RegWord,
    read: bool,
) -> Option<&'static str> {
    use Mnemonic as M;
    match instruction.mnemonic() {
        _ if effect.modelled && is_neutral(instruction) => {
            Some("the operands make it an identity or a constant, which the judge of values checks")
        }
        _ if is_hint(instruction) && read => Some(HINT),
        _ if read && word == RegWord::RDX && instruction.is_save_restore_instruction() => {
            Some("EDX selects state components that no word of ours belongs to")
        }
        M::Cpuid | M::Xgetbv | M::Rdpkru | M::Rdpmc | M::Rdpru if read => {
            Some("its results come from nowhere in the state")
        }
        // Vector words are lanes while iced lists whole registers.
        _ if word.0 >= 64 && effect.modelled && touches_some_lane(effect, word) => {
            Some("reads and writes only the lanes that matter of a vector register")
        }
        _ if word.0 >= 24
            && effect.modelled
            && (has_immediate(instruction) || operands_coincide(instruction)) =>
        {
            Some(
                "an immediate or coinciding operands leave the register out, which the judge of values checks",
            )
        }
        M::Vblendmpd | M::Vblendmps | M::Vpblendmb | M::Vpblendmw | M::Vpblendmd | M::Vpblendmq
            if effect.modelled =>
        {
            Some("without a mask, or zeroing, a blend takes one source only")
        }
        M::Cmpxchg if read && instruction.op0_register().full_register() == Register::RAX => {
            Some("compares RAX with itself")
        }
        _ => None,
    }
}

fn explain_extra_write(instruction: &Instruction, word: RegWord) -> Option<&'static str> {
    match word {
        RegWord::MXCSR => Some(STICKY),
        RegWord(20..=22) => Some(X87_STATE),
        RegWord(32..48) if word.0 % 2 == 1 && !instruction.is_save_restore_instruction() => {
            Some("MMX instructions set sign and exponent of the x87 register to ones")
        }
        RegWord::FLAGS if matches!(instruction.mnemonic(), Mnemonic::Rcl | Mnemonic::Rcr) => Some(
            "whole turns through the carry leave OF undefined; iced takes them for no rotation",
        ),
        RegWord(32..48) if moves_stack(instruction) => {
            Some("the top of the stack is a value: any register may be the one written")
        }
        RegWord(32..48) if instruction.mnemonic() == Mnemonic::Femms => {
            Some("FEMMS leaves the registers undefined")
        }
        RegWord::RAX | RegWord::RCX | RegWord::R11
            if instruction.mnemonic() == Mnemonic::Syscall =>
        {
            Some("SYSCALL and the kernel write RAX, RCX and R11, which iced does not list")
        }
        RegWord::FS_BASE | RegWord::GS_BASE => Some("loads a segment base"),
        _ if instruction.is_save_restore_instruction() => {
            Some("restores register sets, which iced does not list")
        }
        _ => None,
    }
}

fn touches_some_lane(effect: &Effect, word: RegWord) -> bool {
    let number = |word: RegWord| (word.0 - 64) / 8;
    let written = effect.writes.iter().map(|(register, _)| register);
    effect
        .reads
        .iter()
        .chain(written)
        .any(|&other| other.0 >= 64 && number(other) == number(word))
}

const HINT: &str = "a hint or a wait: changes no data of ours";

fn is_hint(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(
        instruction.mnemonic(),
        M::Clflush
            | M::Clflushopt
            | M::Clwb
            | M::Cldemote
            | M::Incsspd
            | M::Incsspq
            | M::Monitor
            | M::Monitorx
            | M::Umonitor
            | M::Mwait
            | M::Mwaitx
            | M::Tpause
            | M::Umwait
            | M::Wrpkru
            | M::Ptwrite
            | M::Prefetch
            | M::Prefetchnta
            | M::Prefetcht0
            | M::Prefetcht1
            | M::Prefetcht2
            | M::Prefetchw
            | M::Prefetchwt1
            | M::Prefetchit0
            | M::Prefetchit1
    )
}

fn is_bit_test(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(instruction.mnemonic(), M::Bt | M::Bts | M::Btr | M::Btc)
        && instruction.op1_kind() == OpKind::Register
}

fn moves_stack(instruction: &Instruction) -> bool {
    let stack = instruction.fpu_stack_increment_info();
    stack.increment() != 0 || stack.writes_top() || instruction.mnemonic() == Mnemonic::Fninit
}

fn has_immediate(instruction: &Instruction) -> bool {
    instruction
        .try_immediate(instruction.op_count().saturating_sub(1))
        .is_ok()
}

/// Two register operands are the same.
fn operands_coincide(instruction: &Instruction) -> bool {
    let register = |operand| instruction.op_register(operand);
    (0..instruction.op_count())
        .any(|i| register(i) != Register::None && (0..i).any(|j| register(i) == register(j)))
}

/// A register combined with itself, or with an immediate that changes nothing or everything.
fn is_neutral(instruction: &Instruction) -> bool {
    let last = instruction.op_count().saturating_sub(1);
    if let Ok(immediate) = instruction.try_immediate(last) {
        let bits = instruction.op0_register().size() as u32 * 8;
        let ones = if bits >= 64 {
            u64::MAX
        } else {
            (1 << bits) - 1
        };
        let count_mask = if bits == 64 { 63 } else { 31 };
        return matches!(immediate, 0 | 1)
            || immediate & ones == ones
            || immediate & count_mask == 0;
    }
    instruction.op_count() >= 2
        && (1..instruction.op_count()).all(|operand| {
            instruction.op_kind(operand) == OpKind::Register
                && instruction.op_register(operand) == instruction.op0_register()
        })
}
