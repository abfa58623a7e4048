//! Bitwise logic.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::flags::{CF, OF};
use crate::lift::value::{Pred, Val};
use iced_x86::Mnemonic as M;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    let (x, y, z) = (|| b.operand(0), || b.operand(1), || b.operand(2));
    match m {
        M::Test => {
            flagged(b, x() & y());
        }
        M::And => b.set(0, flagged(b, x() & y())),
        M::Or => b.set(0, flagged(b, x() | y())),
        M::Xor => b.set(0, flagged(b, x() ^ y())),
        M::Not => b.set(0, !x()),
        M::Andn => b.set(0, flagged(b, !y() & z())),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

/// CF and OF are cleared, AF is undefined.
pub(super) fn flagged<'b>(b: &'b Builder, result: Val<'b>) -> Val<'b> {
    b.set_flag(CF, Pred::Constant(false));
    b.set_flag(OF, Pred::Constant(false));
    b.result_flags(result);
    result
}
