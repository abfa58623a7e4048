//! SSE4A: bit fields of the low quadword of an XMM register, by constants.
//!
//! The upper quadword becomes undefined. Places that a register names are not modelled.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use iced_x86::Mnemonic as M;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    match m {
        M::Extrq | M::Insertq => {}
        _ => return Lowered::Elsewhere,
    }
    let Some((at, length)) = field(b) else {
        return Lowered::Forget;
    };
    let low = match m {
        M::Extrq => b.lane(0, 0).extract(at, length).zero_extended(64),
        _ => b.lane(0, 0).insert(at, b.lane(1, 0).low(length)),
    };
    b.set_lanes(0, &[low, b.unknown(64)]);
    Lowered::Done
}

/// First bit and length (where 0 says 64), from the immediates; `None` where they name more than there is.
fn field(b: &Builder) -> Option<(u32, u32)> {
    let last = b.instruction.op_count() - 1;
    let immediate = |operand| Some((b.instruction.try_immediate(operand).ok()? & 63) as u32);
    let (length, at) = (immediate(last - 1)?, immediate(last)?);
    let length = if length == 0 { 64 } else { length };
    (at + length <= 64).then_some((at, length))
}
