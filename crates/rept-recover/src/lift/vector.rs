//! Vector registers as lanes of 64 bits.

use crate::bits::mask;
use crate::lift::builder::Builder;
use crate::lift::gather::Byte;
use crate::lift::value::{Pred, Val};
use crate::op::{MicroOp, Op};
use iced_x86::{EncodingKind, OpKind, Register};
use rept_trace::RegWord;
use smallvec::SmallVec;

/// Lanes of a vector, the lowest first.
pub(super) type Lanes<'b> = SmallVec<[Val<'b>; 8]>;

/// Number of lanes of a whole register.
const ALL: usize = 8;

/// Truth table of `a ? b : c`.
const CHOOSE: u16 = 0xca;

/// The word that holds a lane of a vector or MMX register.
fn lane_word(register: Register, lane: usize) -> RegWord {
    let number = register.number() as u16;
    match register.is_mm() {
        true => RegWord::x87(number, 0),
        false => RegWord::vector(number, lane as u16),
    }
}

impl Builder {
    /// Number of 64-bit lanes of an operand of whole lanes.
    pub(super) fn lane_count(&self, operand: u32) -> usize {
        (self.width(operand) / 64) as usize
    }

    /// One lane of a vector register operand.
    pub(super) fn lane(&self, operand: u32, lane: usize) -> Val<'_> {
        self.input(lane_word(self.instruction.op_register(operand), lane))
    }

    /// One lane of a vector register.
    pub(super) fn vector_lane(&self, register: Register, lane: usize) -> Val<'_> {
        self.input(lane_word(register, lane))
    }

    /// The lanes of a vector operand; memory may end within the last one, which is zero above.
    pub(super) fn lanes(&self, operand: u32) -> Lanes<'_> {
        if self.is_register(operand) {
            return (0..self.lane_count(operand))
                .map(|lane| self.lane(operand, lane))
                .collect();
        }
        let bytes = self.width(operand) / 8;
        let load = |at: u32| {
            self.load(self.place().at(at), (bytes - at).min(8))
                .zero_extended(64)
        };
        (0..bytes).step_by(8).map(load).collect()
    }

    /// As [`Builder::lanes`], where the memory operand may be one element for all (EVEX broadcast).
    pub(super) fn elements(&self, operand: u32, _element: u32) -> Lanes<'_> {
        if !self.instruction.is_broadcast() || self.is_register(operand) {
            return self.lanes(operand);
        }
        let bytes = self.instruction.memory_size().element_size() as u32;
        let word = self.repeated(self.load(self.place(), bytes), bytes * 8);
        std::iter::repeat_n(word, self.lane_count(0).max(self.lane_count(1))).collect()
    }

    /// Number of the last operand that is no immediate.
    pub(super) fn last_vector(&self) -> u32 {
        let last = self.instruction.op_count() - 1;
        if self.instruction.op_kind(last) == OpKind::Immediate8 {
            last - 1
        } else {
            last
        }
    }

    /// The two sources of an operation; for two-operand forms the first is the destination.
    pub(super) fn sources(&self, element: u32) -> (Lanes<'_>, Lanes<'_>) {
        let last = self.last_vector();
        (
            self.elements(last - 1, element),
            self.elements(last, element),
        )
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
        let register = self.instruction.op_register(operand);
        for (lane, value) in lanes.iter().enumerate() {
            self.write(lane_word(register, lane), self.value(value.word, 64));
        }
        if register.is_mm() {
            // Sign and exponent of the x87 register become all ones.
            self.write(
                RegWord::x87(register.number() as u16, 1),
                self.constant(0xffff, 16),
            );
        } else if self.instruction.encoding() != EncodingKind::Legacy {
            for lane in lanes.len()..ALL {
                self.write(lane_word(register, lane), self.constant(0, 64));
            }
        }
    }

    /// As [`Builder::set_lanes`], under the instruction's write mask over elements of this width.
    pub(super) fn set_elements(&self, operand: u32, element: u32, lanes: &[Val<'_>]) {
        let masked: Lanes<'_> = (0..lanes.len())
            .map(|lane| {
                let new = self.value(lanes[lane].word, 64);
                self.write_mask(lane, element).map_or(new, |mask| {
                    let zeroing = self.instruction.zeroing_masking();
                    let old = if zeroing {
                        self.constant(0, 64)
                    } else {
                        self.lane(operand, lane)
                    };
                    self.choose(mask, new, old)
                })
            })
            .collect();
        self.set_lanes(operand, &masked);
    }

    /// Bits of `x` where the mask has ones, else of `y`.
    pub(super) fn choose<'b>(&'b self, mask: Val<'b>, x: Val<'b>, y: Val<'b>) -> Val<'b> {
        self.apply(Op::Ternary, 64, CHOOSE, [mask, x, y], 64)
    }

    /// Signed elements of `w` bits limited to `least..=greatest`.
    pub(super) fn clamped<'b>(
        &'b self,
        x: Val<'b>,
        w: u32,
        (greatest, least): (u64, u64),
    ) -> Val<'b> {
        let (top, bottom) = (self.replicated(greatest, w), self.replicated(least, w));
        let over = self.expanded(top.packed_pred(Op::Slt, w, x), w);
        let upper = self.choose(over, top, x);
        let under = self.expanded(upper.packed_pred(Op::Slt, w, bottom), w);
        self.choose(under, bottom, upper)
    }

    /// Loads elements one by one, each under its condition.
    pub(super) fn load_elements<'b>(&'b self, element: u32, conditions: &[Val<'b>]) -> Lanes<'b> {
        let (place, bytes) = (self.place(), element / 8);
        let places = (0u32..).map(|at| place.at(at * bytes));
        let data: Vec<Val<'b>> = places
            .zip(conditions)
            .map(|(place, &condition)| self.load_if(place, bytes, condition))
            .collect();
        self.side_by_side(&data)
    }

    /// Values of one width next to each other in lanes; zero above the last.
    pub(super) fn side_by_side<'b>(&'b self, elements: &[Val<'b>]) -> Lanes<'b> {
        let width = elements.first().map_or(64, |element| element.width);
        elements
            .chunks((64 / width) as usize)
            .map(|chunk| {
                let first = chunk[0].zero_extended(64);
                (1u32..)
                    .zip(&chunk[1..])
                    .fold(first, |lane, (at, &value)| lane.insert(at * width, value))
            })
            .collect()
    }

    /// Stores elements one by one, each under its condition.
    pub(super) fn store_elements<'b>(
        &'b self,
        lanes: &[Val<'b>],
        element: u32,
        conditions: &[Val<'b>],
    ) {
        let (place, bytes) = (self.place(), element / 8);
        for (at, condition) in (0u32..).zip(conditions) {
            let bit = at * element;
            let data = lanes[(bit / 64) as usize].extract(bit % 64, element);
            self.store_if(place.at(at * bytes), bytes, data, *condition);
        }
    }

    /// Elements of a register operand where `bits` says so, else zero or what it held.
    fn under_mask<'b>(
        &'b self,
        operand: u32,
        element: u32,
        lanes: &[Val<'b>],
        bits: Val<'b>,
    ) -> Lanes<'b> {
        (0..lanes.len())
            .map(|lane| {
                let old = match self.instruction.zeroing_masking() {
                    true => self.constant(0, 64),
                    false => self.lane(operand, lane),
                };
                let mask = self.expanded_mask(bits, lane, element);
                self.choose(mask, lanes[lane], old)
            })
            .collect()
    }

    /// Writes a register operand's elements under `bits`.
    pub(super) fn set_under<'b>(
        &'b self,
        operand: u32,
        element: u32,
        lanes: &[Val<'b>],
        bits: Val<'b>,
    ) {
        let masked = self.under_mask(operand, element, lanes, bits);
        self.set_lanes(operand, &masked);
    }

    /// Writes the `bits` lowest bits of a register under the write mask, and zeros above them
    /// (to the end of an XMM register, at least) whatever the mask says.
    pub(super) fn set_lowest<'b>(
        &'b self,
        operand: u32,
        element: u32,
        lanes: &[Val<'b>],
        bits: u32,
    ) {
        let mut lanes: Lanes<'b> = match self.instruction.op_mask() {
            Register::None => lanes.iter().copied().collect(),
            mask => {
                let mask = self.input(RegWord::opmask(mask.number() as u16));
                self.under_mask(operand, element, lanes, mask)
            }
        };
        if let (1..64, Some(last)) = (bits % 64, lanes.last_mut()) {
            *last = self.value(last.word, bits % 64).clean().low(64);
        }
        if !self.instruction.op_register(operand).is_mm() {
            lanes.resize(lanes.len().max(2), self.constant(0, 64));
        }
        self.set_lanes(operand, &lanes);
    }

    /// The write mask, spread over the elements of one lane; `None` when all are written.
    pub(super) fn write_mask(&self, lane: usize, element: u32) -> Option<Val<'_>> {
        let mask = self.instruction.op_mask();
        (mask != Register::None).then(|| {
            let bits = self.input(RegWord::opmask(mask.number() as u16));
            self.expanded_mask(bits, lane, element)
        })
    }

    /// The lowest `count` bits of the write mask, one word each.
    pub(super) fn mask_conditions(&self, count: u32) -> Vec<Val<'_>> {
        let number = self.instruction.op_mask().number() as u16;
        let bits = self.input(RegWord::opmask(number));
        (0..count).map(|at| self.bit(bits.bit(at))).collect()
    }

    /// The bits of a mask word for one lane, spread over its elements.
    pub(super) fn expanded_mask<'b>(&'b self, bits: Val<'b>, lane: usize, element: u32) -> Val<'b> {
        let lanes = 64 / element;
        let d = self.temporary(64);
        self.relate(MicroOp {
            op: Op::Expand,
            width: element as u8,
            lanes: lanes as u8,
            imm: (lane as u32 * lanes) as u16,
            d: d.word,
            a: bits.word,
            b: bits.word,
            c: bits.word,
        });
        d
    }

    /// One truth for each element, spread over the elements.
    pub(super) fn expanded<'b>(&'b self, pred: Pred<'b>, element: u32) -> Val<'b> {
        let bits = self.gathered(vec![pred], 64 / element);
        self.expanded_mask(bits, 0, element)
    }

    /// The truths of several words, `each` of every one, as bits of one word, the first lowest.
    pub(super) fn gathered<'b>(&'b self, preds: Vec<Pred<'b>>, each: u32) -> Val<'b> {
        let d = self.temporary(preds.len() as u32 * each);
        for (index, pred) in (0u32..).zip(preds) {
            pred.place_lanes(self, d.word, index * each, each);
        }
        d
    }

    /// Writes a mask register from truths, under the instruction's own write mask.
    pub(super) fn set_mask(&self, preds: Vec<Pred<'_>>, each: u32) {
        let bits = self.gathered(preds, each);
        let mask = self.instruction.op_mask();
        let result = match mask {
            Register::None => bits,
            _ => {
                bits & self
                    .input(RegWord::opmask(mask.number() as u16))
                    .low(bits.width)
            }
        };
        self.write_mask_operand(result);
    }

    /// The mask register that an operand is.
    pub(super) fn mask_operand(&self, operand: u32) -> Val<'_> {
        self.input(RegWord::opmask(
            self.instruction.op_register(operand).number() as u16,
        ))
    }

    /// Writes the first operand, a mask register; bits above the value's width become zero.
    pub(super) fn write_mask_operand(&self, value: Val<'_>) {
        self.write_mask_register(self.instruction.op0_register(), value);
    }

    /// Writes a mask register; bits above the value's width become zero.
    pub(super) fn write_mask_register(&self, register: Register, value: Val<'_>) {
        let number = register.number() as u16;
        self.write(RegWord::opmask(number), self.value(value.word, value.width));
    }

    /// The low `element` bits of a value in every element of a word.
    pub(super) fn repeated<'b>(&'b self, value: Val<'b>, element: u32) -> Val<'b> {
        let bytes = element as usize / 8;
        let source = [value.low(64)];
        self.assemble(1, |at| Byte::of(&source, at % bytes))[0]
    }

    /// A constant in every element of a word.
    pub(super) fn replicated(&self, value: u64, element: u32) -> Val<'_> {
        let once = value & mask(element);
        let word = (0..64 / element).fold(0, |word, at| word | once << (at * element));
        self.constant(word, 64)
    }
}
