//! Moves of 64-bit lanes: from which operand, and which of its lanes, a lane comes.
//!
//! Compilers store two pointers at once by putting them side by side in a vector register first.

use super::{Source, of_memory, of_register};
use crate::history::explain::WORD;
use iced_x86::{Instruction, Mnemonic, OpKind};
use rept_recover::history::AccessView;

/// Where a lane of the destination comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// A lane of an operand.
    Lane { operand: u32, lane: u64 },
    /// It is the destination's own, as it was.
    Kept,
    /// It is cleared.
    Zero,
}

/// What byte `byte` of the destination was made of, and those behind it, `size` in all; `None` where
/// the instruction does not move lanes.
pub(super) fn source_of(
    instruction: &Instruction,
    byte: u64,
    size: u64,
    accesses: &[AccessView],
) -> Option<Source> {
    Some(match from(instruction, byte / WORD)? {
        From::Kept => Source::Untouched,
        From::Zero => Source::Constant,
        From::Lane { operand, lane } => {
            let byte = lane * WORD + byte % WORD;
            match instruction.op_kind(operand) {
                OpKind::Register => {
                    of_register(instruction, instruction.op_register(operand), byte, size)
                }
                _ => of_memory(instruction, byte, size, accesses),
            }
        }
    })
}

/// Where lane `to` of the destination comes from.
fn from(instruction: &Instruction, to: u64) -> Option<From> {
    use Mnemonic::*;
    let stores = instruction.op0_kind() == OpKind::Memory;
    let width = instruction.op_register(0).size() as u64;
    let (odd, pair) = (to % 2, to - to % 2);
    let chosen = || u64::from(instruction.immediate8() & 1);
    let of = |operand: u64, lane: u64| From::Lane {
        operand: operand as u32,
        lane,
    };
    let found = match instruction.mnemonic() {
        Punpcklqdq | Unpcklpd | Movlhps if odd == 1 => of(1, 0),
        Punpcklqdq | Unpcklpd | Movlhps => From::Kept,
        Punpckhqdq | Unpckhpd => of(odd, 1),
        Vpunpcklqdq | Vunpcklpd | Vmovlhps => of(1 + odd, pair),
        Vpunpckhqdq | Vunpckhpd => of(1 + odd, pair + 1),
        Movhlps if odd == 1 => From::Kept,
        Movhlps => of(1, 1),
        Movhps | Movhpd | Vmovhps | Vmovhpd if stores => of(1, 1),
        Movlps | Movlpd | Vmovlps | Vmovlpd if stores => of(1, 0),
        Movhps | Movhpd if odd == 1 => of(1, 0),
        Movlps | Movlpd if odd == 0 => of(1, 0),
        Movhps | Movhpd | Movlps | Movlpd => From::Kept,
        Vmovhps | Vmovhpd => of(1 + odd, 0),
        Vmovlps | Vmovlpd => of(2 - odd, to),
        Pinsrq if to == chosen() => of(1, 0),
        Pinsrq => From::Kept,
        Vpinsrq if to == chosen() => of(2, 0),
        Vpinsrq => of(1, to),
        Pextrq | Vpextrq => of(1, chosen()),
        Vinserti128 | Vinsertf128 if to / 2 == chosen() => of(2, odd),
        Vinserti128 | Vinsertf128 => of(1, to),
        Vextracti128 | Vextractf128 => of(1, 2 * chosen() + to),
        Movddup | Vpbroadcastq => of(1, 0),
        _ => return None,
    };
    // VEX moves clear lanes above their own, which counts as a write of them.
    let cleared = !stores && to * WORD >= width;
    Some(if cleared { From::Zero } else { found })
}
