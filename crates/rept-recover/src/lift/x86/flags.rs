//! Instructions on the flags themselves.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::flags::{AF, CF, DF, PF, SF, ZF};
use crate::lift::value::Pred;
use crate::op::Op;
use iced_x86::{Mnemonic as M, Register as R};

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    let constant = |flag, value| b.set_flag(flag, Pred::Constant(value));
    match m {
        M::Clc => constant(CF, false),
        M::Stc => constant(CF, true),
        M::Cmc => b.set_flag(CF, b.old_flags().bit(CF).negated()),
        M::Cld => constant(DF, false),
        M::Std => constant(DF, true),
        M::Sahf => [CF, PF, AF, ZF, SF]
            .into_iter()
            .for_each(|flag| b.set_flag(flag, b.register(R::AH).bit(flag))),
        M::Lahf => b.set_register(R::AH, load_flags(b)),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

/// SF, ZF, AF, PF, CF in place; bit 1 reads as one, bits 3 and 5 as zero.
fn load_flags(b: &Builder) -> crate::lift::value::Val<'_> {
    let status = b.old_flags().low(8) & b.constant(0xd5, 8);
    status.with(Op::Or, b.constant(2, 8))
}
