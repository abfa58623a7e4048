//! Vector registers as lanes of 64 bits.

use crate::lift::builder::Builder;
use crate::lift::value::Val;
use iced_x86::{EncodingKind, OpKind};
use rept_trace::RegWord;
use smallvec::SmallVec;

/// Lanes of a vector, the lowest first.
pub(super) type Lanes<'b> = SmallVec<[Val<'b>; 8]>;

/// Number of lanes of a whole register.
const ALL: usize = 8;

impl Builder {
    /// Number of 64-bit lanes of an operand of whole lanes.
    pub(super) fn lane_count(&self, operand: u32) -> usize {
        (self.width(operand) / 64) as usize
    }

    /// One lane of a vector register operand.
    pub(super) fn lane(&self, operand: u32, lane: usize) -> Val<'_> {
        let number = self.instruction.op_register(operand).number() as u16;
        self.input(RegWord::vector(number, lane as u16))
    }

    /// The lanes of a vector operand: register, or memory of whole lanes.
    pub(super) fn lanes(&self, operand: u32) -> Lanes<'_> {
        let memory = self.instruction.op_kind(operand) != OpKind::Register;
        (0..self.lane_count(operand))
            .map(|lane| match memory {
                true => self.load(self.place().at(lane as u32 * 8), 8),
                false => self.lane(operand, lane),
            })
            .collect()
    }

    /// Writes a vector operand. VEX and EVEX forms zero the register above it, legacy ones keep it.
    pub(super) fn set_lanes(&self, operand: u32, lanes: &[Val<'_>]) {
        if self.instruction.op_kind(operand) != OpKind::Register {
            for (lane, value) in lanes.iter().enumerate() {
                self.store(
                    self.place().at(lane as u32 * 8),
                    8,
                    self.value(value.word, 64),
                );
            }
            return;
        }
        let number = self.instruction.op_register(operand).number() as u16;
        for (lane, value) in lanes.iter().enumerate() {
            self.write(
                RegWord::vector(number, lane as u16),
                self.value(value.word, 64),
            );
        }
        if self.instruction.encoding() != EncodingKind::Legacy {
            for lane in lanes.len()..ALL {
                self.write(RegWord::vector(number, lane as u16), self.constant(0, 64));
            }
        }
    }
}
