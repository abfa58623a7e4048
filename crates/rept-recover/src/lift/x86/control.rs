//! Jumps, calls and returns.

use crate::effect::Flow;
use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::value::Pred;
use iced_x86::{Code, ConditionCode, Mnemonic as M, OpKind, Register as R};
use rept_trace::Address;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    if b.instruction.is_jcc_short_or_near() {
        branch(b, b.condition(condition_code(b)).bit(0));
        return Lowered::Done;
    }
    match m {
        M::Jmp => match b.instruction.code() {
            Code::Jmp_rel8_64 | Code::Jmp_rel32_64 => b.set_flow(Flow::Jump),
            Code::Jmp_rm64 => b.set_flow(Flow::Indirect {
                target: b.operand(0).word,
            }),
            _ => return Lowered::Forget,
        },
        M::Jrcxz => branch(b, b.register(R::RCX).is_zero()),
        M::Jecxz => branch(b, b.register(R::ECX).is_zero()),
        M::Loop => looping(b, None),
        M::Loope => looping(b, Some(true)),
        M::Loopne => looping(b, Some(false)),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

/// Is the first operand a direct near target?
pub(super) fn near(b: &Builder) -> bool {
    matches!(
        b.instruction.op0_kind(),
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
    )
}

fn branch(b: &Builder, taken: Pred<'_>) {
    let target = Address(b.instruction.near_branch_target());
    b.set_flow(Flow::Branch {
        taken: b.bit(taken).word,
        target,
    });
}

/// Counts down without touching the flags; `zero` is the ZF that the loop also wants.
fn looping(b: &Builder, zero: Option<bool>) {
    let counter = match b.instruction.code() {
        Code::Loop_rel8_64_ECX | Code::Loope_rel8_64_ECX | Code::Loopne_rel8_64_ECX => R::ECX,
        _ => R::RCX,
    };
    let old = b.register(counter);
    let count = old - b.constant(1, old.width);
    b.set_register(counter, count);
    let more = count.is_zero().negated();
    let taken = match zero {
        None => more,
        Some(zero) => {
            let equal = b.condition(if zero { 4 } else { 5 });
            (b.bit(more) & equal).bit(0)
        }
    };
    branch(b, taken);
}

/// The condition code as encoded in the opcode.
pub(super) fn condition_code(b: &Builder) -> u16 {
    match b.instruction.condition_code() {
        ConditionCode::o => 0,
        ConditionCode::no => 1,
        ConditionCode::b => 2,
        ConditionCode::ae => 3,
        ConditionCode::e => 4,
        ConditionCode::ne => 5,
        ConditionCode::be => 6,
        ConditionCode::a => 7,
        ConditionCode::s => 8,
        ConditionCode::ns => 9,
        ConditionCode::p => 10,
        ConditionCode::np => 11,
        ConditionCode::l => 12,
        ConditionCode::ge => 13,
        ConditionCode::le => 14,
        _ => 15,
    }
}
