//! Conditional moves: whether they moved, by what is known of the flags.

use iced_x86::{ConditionCode, Instruction};
use rept_recover::history::Value;

/// Bits of the flags register.
const CARRY: u32 = 0;
const PARITY: u32 = 2;
const ZERO: u32 = 6;
const SIGN: u32 = 7;
const OVERFLOW: u32 = 11;

/// Whether a conditional move moves; `None` for other instructions, and when its flags are not known.
pub(super) fn moves_if(instruction: &Instruction, flags: Value) -> Option<bool> {
    if !is_conditional_move(instruction) {
        return None;
    }
    let flag = |bit: u32| (flags.known >> bit & 1 == 1).then_some(flags.bits >> bit & 1 == 1);
    let either = |a: Option<bool>, b: Option<bool>| match (a, b) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    };
    let less = || Some(flag(SIGN)? != flag(OVERFLOW)?);
    let not = |holds: Option<bool>| holds.map(|holds| !holds);
    match instruction.condition_code() {
        ConditionCode::None => None,
        ConditionCode::o => flag(OVERFLOW),
        ConditionCode::no => not(flag(OVERFLOW)),
        ConditionCode::b => flag(CARRY),
        ConditionCode::ae => not(flag(CARRY)),
        ConditionCode::e => flag(ZERO),
        ConditionCode::ne => not(flag(ZERO)),
        ConditionCode::be => either(flag(CARRY), flag(ZERO)),
        ConditionCode::a => not(either(flag(CARRY), flag(ZERO))),
        ConditionCode::s => flag(SIGN),
        ConditionCode::ns => not(flag(SIGN)),
        ConditionCode::p => flag(PARITY),
        ConditionCode::np => not(flag(PARITY)),
        ConditionCode::l => less(),
        ConditionCode::ge => not(less()),
        ConditionCode::le => either(flag(ZERO), less()),
        ConditionCode::g => not(either(flag(ZERO), less())),
    }
}

fn is_conditional_move(instruction: &Instruction) -> bool {
    use iced_x86::Mnemonic::*;
    matches!(
        instruction.mnemonic(),
        Cmova
            | Cmovae
            | Cmovb
            | Cmovbe
            | Cmove
            | Cmovg
            | Cmovge
            | Cmovl
            | Cmovle
            | Cmovne
            | Cmovno
            | Cmovnp
            | Cmovns
            | Cmovo
            | Cmovp
            | Cmovs
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions};

    #[test]
    fn a_move_is_decided_by_the_flags_that_matter() {
        let check = |condition: u8, known: u64, bits: u64, expect| {
            let bytes = [0x48, 0x0f, 0x40 | condition, 0xc3];
            let instruction = Decoder::with_ip(64, &bytes, 0, DecoderOptions::NONE).decode();
            let (certain, assumed) = (known, known);
            let flags = Value {
                bits,
                known,
                certain,
                assumed,
            };
            assert_eq!(moves_if(&instruction, flags), expect, "{condition:x}");
        };
        let (carry, zero, sign, overflow) = (1, 1 << ZERO, 1 << SIGN, 1 << OVERFLOW);
        check(0x4, zero, zero, Some(true)); // cmove
        check(0x5, zero, zero, Some(false)); // cmovne
        check(0x4, carry, carry, None);
        check(0x6, carry, carry, Some(true)); // cmovbe
        check(0x6, carry, 0, None);
        check(0x7, carry | zero, 0, Some(true)); // cmova
        check(0xc, sign | overflow, sign, Some(true)); // cmovl
        check(0xf, zero | sign | overflow, sign | overflow, Some(true)); // cmovg
        check(0xe, sign, sign, None); // cmovle
        let plain = Decoder::with_ip(64, &[0x48, 0x89, 0xd8], 0, DecoderOptions::NONE).decode();
        assert_eq!(moves_if(&plain, Value::default()), None);
    }
}
