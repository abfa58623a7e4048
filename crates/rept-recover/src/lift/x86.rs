//! The instruction set, by families. Each states its mnemonics one line at a time.

mod arithmetic;
mod atomic;
mod bits;
mod conditional;
mod control;
mod extended_state;
mod flags;
mod logic;
mod move_data;
mod multiply;
mod opmask;
mod shift;
mod stack;
mod string;
mod system;
mod vector_block;
mod vector_convert;
mod vector_crypto;
mod vector_dot;
mod vector_field;
mod vector_float;
mod vector_fused;
mod vector_galois;
mod vector_gather;
mod vector_half;
mod vector_integer;
mod vector_mask;
mod vector_move;
mod vector_permute;
mod vector_shuffle;
mod vector_special;
mod vector_string;
mod vector_sum;
mod x87;

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use iced_x86::{Mnemonic, OpKind};
pub(super) use string::lower_part as string_part;
pub(super) use x87::enter_mmx;

type Family = fn(&Builder, Mnemonic) -> Lowered;

/// In order of how often programs run them.
const FAMILIES: &[Family] = &[
    move_data::lower,
    arithmetic::lower,
    control::lower,
    logic::lower,
    stack::lower,
    shift::lower,
    conditional::lower,
    multiply::lower,
    bits::lower,
    vector_move::lower,
    vector_float::lower,
    vector_convert::lower,
    vector_fused::lower,
    vector_half::lower,
    vector_special::lower,
    vector_integer::lower,
    vector_mask::lower,
    opmask::lower,
    vector_shuffle::lower,
    vector_block::lower,
    vector_permute::lower,
    vector_sum::lower,
    vector_dot::lower,
    vector_crypto::lower,
    vector_galois::lower,
    vector_field::lower,
    vector_string::lower,
    vector_gather::lower,
    string::lower,
    flags::lower,
    system::lower,
    atomic::lower,
    x87::lower,
    extended_state::lower,
];

/// Lowers the builder's instruction, if a family knows its meaning.
pub(super) fn lower(builder: &Builder) -> Lowered {
    let instruction = &builder.instruction;
    let foreign = (0..instruction.op_count()).any(|operand| {
        instruction.op_kind(operand) == OpKind::Register && {
            let register = instruction.op_register(operand);
            register.is_segment_register()
                || register.is_cr()
                || register.is_dr()
                || register.is_tr()
        }
    });
    if foreign || builder.instruction.is_privileged() {
        return Lowered::Forget;
    }
    let mnemonic = instruction.mnemonic();
    let lowered = FAMILIES
        .iter()
        .map(|family| family(builder, mnemonic))
        .find(|&lowered| lowered != Lowered::Elsewhere)
        .unwrap_or(Lowered::Forget);
    enter_mmx(builder);
    lowered
}
