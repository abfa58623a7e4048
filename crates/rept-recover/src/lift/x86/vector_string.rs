//! String comparison of SSE4.2: every element of one vector against every one of another.
//!
//! The immediate chooses elements, comparison, polarity and result (SDM volume 1, section
//! 14.3.4 "SSE4.2 string and text instructions"). Truths are kept as words of one bit per element.

use crate::bits::mask;
use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::flags::{AF, CF, OF, PF, SF, ZF};
use crate::lift::value::{Pred, Val};
use crate::op::Op;
use iced_x86::{EncodingKind, Mnemonic as M, Register as R};
use rept_trace::RegWord;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    use M::*;
    let (lengths, index) = match m {
        Pcmpistri | Vpcmpistri => (None, true),
        Pcmpistrm | Vpcmpistrm => (None, false),
        Pcmpestri | Vpcmpestri => (Some((R::EAX, R::EDX)), true),
        Pcmpestrm | Vpcmpestrm => (Some((R::EAX, R::EDX)), false),
        Pcmpestri64 | Vpcmpestri64 => (Some((R::RAX, R::RDX)), true),
        Pcmpestrm64 | Vpcmpestrm64 => (Some((R::RAX, R::RDX)), false),
        _ => return Lowered::Elsewhere,
    };
    let compare = Compare::new(b, lengths);
    let result = compare.with_polarity(compare.aggregate());
    compare.flags(result);
    if index {
        compare.set_index(result);
    } else {
        compare.set_mask(result);
    }
    Lowered::Done
}

struct Compare<'b> {
    b: &'b Builder,
    immediate: u8,
    /// Bits of an element, and how many there are.
    width: u32,
    count: u32,
    x: [Val<'b>; 2],
    y: [Val<'b>; 2],
    /// Elements before the end of each string.
    valid_x: Val<'b>,
    valid_y: Val<'b>,
}

impl<'b> Compare<'b> {
    fn new(b: &'b Builder, lengths: Option<(R, R)>) -> Compare<'b> {
        let immediate = b.instruction.immediate8();
        let width = if immediate & 1 == 0 { 8 } else { 16 };
        let count = 128 / width;
        let (x, y) = (b.lanes(0), b.lanes(1));
        let (x, y) = ([x[0], x[1]], [y[0], y[1]]);
        let (valid_x, valid_y) = match lengths {
            Some((of_x, of_y)) => (within(b, of_x, count), within(b, of_y, count)),
            None => (before_zero(b, x, width), before_zero(b, y, width)),
        };
        Compare {
            b,
            immediate,
            width,
            count,
            x,
            y,
            valid_x,
            valid_y,
        }
    }

    /// Element `at` of the first vector in every element of a word.
    fn repeated(&self, at: u32) -> Val<'b> {
        let bit = at * self.width;
        let element = self.x[(bit / 64) as usize].extract(bit % 64, self.width);
        self.b.repeated(element, self.width)
    }

    /// A truth about each element of the second vector.
    fn each(&self, truth: impl Fn(Val<'b>) -> Pred<'b>) -> Val<'b> {
        let preds = self.y.iter().map(|&word| truth(word)).collect();
        self.b.gathered(preds, 64 / self.width)
    }

    /// A bit in all places.
    fn spread(&self, bits: Val<'b>, at: u32) -> Val<'b> {
        self.b.bit(bits.bit(at)).sign_extended(self.count)
    }

    fn aggregate(&self) -> Val<'b> {
        match self.immediate >> 2 & 3 {
            0 => self.equal_any(),
            1 => self.in_ranges(),
            2 => self.equal_each(),
            _ => self.equal_ordered(),
        }
    }

    fn equal_to(&self, at: u32) -> Val<'b> {
        let element = self.repeated(at);
        self.each(|word| word.packed_pred(Op::Eq, self.width, element))
    }

    fn equal_any(&self) -> Val<'b> {
        let found = (0..self.count).fold(self.b.constant(0, self.count), |found, at| {
            found | (self.equal_to(at) & self.spread(self.valid_x, at))
        });
        found & self.valid_y
    }

    fn in_ranges(&self) -> Val<'b> {
        let less = if self.immediate & 2 == 0 {
            Op::Ult
        } else {
            Op::Slt
        };
        let found = (0..self.count)
            .step_by(2)
            .fold(self.b.constant(0, self.count), |found, at| {
                let (low, high) = (self.repeated(at), self.repeated(at + 1));
                let above = self.each(|word| word.packed_pred(less, self.width, low).negated());
                let below = self.each(|word| high.packed_pred(less, self.width, word).negated());
                // Strings have no holes: the end of a range counts only if its start does.
                found | (above & below & self.spread(self.valid_x, at + 1))
            });
        found & self.valid_y
    }

    fn equal_each(&self) -> Val<'b> {
        let preds = self.x.iter().zip(self.y);
        let preds = preds.map(|(&x, y)| x.packed_pred(Op::Eq, self.width, y));
        let equal = self.b.gathered(preds.collect(), 64 / self.width);
        (equal & self.valid_x & self.valid_y) | (!self.valid_x & !self.valid_y)
    }

    /// The first string begins here, as far as the second vector reaches.
    fn equal_ordered(&self) -> Val<'b> {
        let all = self.b.constant(u64::MAX, self.count);
        (0..self.count).fold(all, |found, at| {
            let ended = !self.spread(self.valid_x, at);
            let matches = ended | (self.equal_to(at) & self.valid_y);
            let beyond = mask(self.count) & !(mask(self.count) >> at);
            found & (matches.shr(at) | self.b.constant(beyond, self.count))
        })
    }

    fn with_polarity(&self, result: Val<'b>) -> Val<'b> {
        match self.immediate >> 4 & 3 {
            1 => !result,
            3 => result ^ self.valid_y,
            _ => result,
        }
    }

    fn flags(&self, result: Val<'b>) {
        let b = self.b;
        let all = b.constant(u64::MAX, self.count);
        b.set_flag(CF, result.is_zero().negated());
        b.set_flag(ZF, self.valid_y.equals(all).negated());
        b.set_flag(SF, self.valid_x.equals(all).negated());
        b.set_flag(OF, result.bit(0));
        [AF, PF]
            .into_iter()
            .for_each(|flag| b.set_flag(flag, Pred::Constant(false)));
    }

    /// The lowest or highest element found; the number of elements where there is none.
    fn set_index(&self, result: Val<'b>) {
        let b = self.b;
        let index = if self.immediate & 0x40 == 0 {
            result.map(Op::Tzcnt, 0)
        } else {
            let none = b.constant(u64::from(self.count), self.count);
            let last = b.constant(u64::from(self.count) - 1, self.count);
            b.select(result.is_zero(), none, last - result.map(Op::Lzcnt, 0))
        };
        b.set_register(R::ECX, index.zero_extended(32));
    }

    /// XMM0: the truths as bits, or as whole elements.
    fn set_mask(&self, result: Val<'b>) {
        let b = self.b;
        let lanes = if self.immediate & 0x40 == 0 {
            [result.zero_extended(64), b.constant(0, 64)]
        } else {
            [0, 1].map(|lane| b.expanded_mask(result, lane, self.width))
        };
        for (lane, value) in (0..).zip(lanes) {
            b.write(RegWord::vector(0, lane), value);
        }
        if b.instruction.encoding() != EncodingKind::Legacy {
            (2..8).for_each(|lane| b.write(RegWord::vector(0, lane), b.constant(0, 64)));
        }
    }
}

/// Ones for the elements below the first zero element.
fn before_zero<'b>(b: &'b Builder, words: [Val<'b>; 2], width: u32) -> Val<'b> {
    let zeros = words.map(|word| word.packed_pred3(Op::Zero, width, 0, word, word));
    let zeros = b.gathered(zeros.to_vec(), 64 / width);
    let lowest = zeros & (b.constant(0, zeros.width) - zeros);
    lowest - b.constant(1, zeros.width)
}

/// Ones for as many elements as the absolute value of a register.
fn within(b: &Builder, length: R, count: u32) -> Val<'_> {
    let length = b.register(length).sign_extended(64);
    let sign = length.sar(63);
    let magnitude = (length ^ sign) - sign;
    (!b.constant(u64::MAX, 64).by(Op::ShlBy, magnitude)).low(count)
}
