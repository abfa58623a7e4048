//! SETcc and CMOVcc.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::x86::control::condition_code;
use iced_x86::{ConditionCode, Mnemonic as M};

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    if b.instruction.condition_code() == ConditionCode::None {
        return Lowered::Elsewhere;
    }
    let condition = || b.condition(condition_code(b));
    match (m, b.instruction.op_count()) {
        (M::Seta | M::Setae | M::Setb | M::Setbe | M::Sete | M::Setne | M::Setg | M::Setge, 1)
        | (M::Setl | M::Setle | M::Seto | M::Setno | M::Sets | M::Setns | M::Setp | M::Setnp, 1) => {
            b.set(0, condition().zero_extended(8));
        }
        // The source is read, and 32-bit destinations zero-extended, whatever the condition.
        (
            M::Cmova
            | M::Cmovae
            | M::Cmovb
            | M::Cmovbe
            | M::Cmove
            | M::Cmovne
            | M::Cmovg
            | M::Cmovge,
            2,
        )
        | (
            M::Cmovl
            | M::Cmovle
            | M::Cmovo
            | M::Cmovno
            | M::Cmovs
            | M::Cmovns
            | M::Cmovp
            | M::Cmovnp,
            2,
        ) => {
            let (old, new) = (b.operand(0), b.operand(1));
            b.set(0, b.select(condition().bit(0), new, old));
        }
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}
