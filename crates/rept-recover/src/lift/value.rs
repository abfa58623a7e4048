//! Handles on words, with the operators of the manual's pseudo-code.

use crate::bits::{Bits, mask};
use crate::effect::Word;
use crate::lift::builder::Builder;
use crate::lift::flags::{CF, OF, PF, SF, ZF};
use crate::op::{MicroOp, NEGATE, Op, field_imm};
use std::ops::{Add, BitAnd, BitOr, BitXor, Not, Sub};

/// The low `width` bits of a word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Val<'b> {
    pub(super) builder: &'b Builder,
    pub(super) word: Word,
    pub(super) width: u32,
}

/// A truth about words; becomes a relation only where it is placed, so that dead flags cost nothing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pred<'b> {
    Constant(bool),
    Holds(Claim<'b>),
}

/// A predicate and its operands; with lanes, one truth for each element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'b> {
    op: Op,
    width: u32,
    lanes: u32,
    parameter: u16,
    negate: bool,
    operands: [Val<'b>; 3],
}

impl<'b> Pred<'b> {
    /// A predicate over the width of the first operand.
    pub(super) fn holds(op: Op, parameter: u16, operands: [Val<'b>; 3]) -> Pred<'b> {
        let width = operands[0].width;
        Pred::Holds(Claim {
            op,
            width,
            lanes: 1,
            parameter,
            negate: false,
            operands,
        })
    }

    /// The word that this truth is, when it is one already.
    pub(super) fn as_bit(self) -> Option<Val<'b>> {
        match self {
            Pred::Holds(Claim {
                op: Op::Bit,
                width: 1,
                lanes: 1,
                parameter: 0,
                negate: false,
                operands,
            }) => Some(operands[0]),
            _ => None,
        }
    }

    /// The opposite.
    pub(super) fn negated(self) -> Pred<'b> {
        match self {
            Pred::Constant(holds) => Pred::Constant(!holds),
            Pred::Holds(claim) => Pred::Holds(Claim {
                negate: !claim.negate,
                ..claim
            }),
        }
    }

    /// States that bit `at` of `d` is this truth.
    pub(super) fn place(self, builder: &Builder, d: Word, at: u32) {
        self.place_lanes(builder, d, at, 1);
    }

    /// States that the `lanes` bits of `d` from bit `at` on are these truths.
    pub(super) fn place_lanes(self, builder: &Builder, d: Word, at: u32, lanes: u32) {
        match self {
            Pred::Constant(holds) => {
                let bits = mask(lanes) << at;
                builder.learn_template(d, Bits::new(bits, if holds { bits } else { 0 }));
            }
            Pred::Holds(claim) => {
                let [a, b, c] = claim.operands.map(|operand| operand.word);
                let negate = if claim.negate { NEGATE } else { 0 };
                let imm = claim.parameter << 8 | negate | at as u16;
                let (width, lanes) = (claim.width as u8, claim.lanes as u8);
                builder.relate(MicroOp {
                    op: claim.op,
                    width,
                    lanes,
                    imm,
                    d,
                    a,
                    b,
                    c,
                });
            }
        }
    }
}

impl<'b> Val<'b> {
    fn unary(self, op: Op, imm: u16) -> Val<'b> {
        self.builder
            .apply(op, self.width, imm, [self; 3], self.width)
    }

    fn binary(self, op: Op, other: Val<'b>) -> Val<'b> {
        self.builder
            .apply(op, self.width, 0, [self, other, self], self.width)
    }

    /// The value, when it is a constant.
    pub(super) fn as_constant(self) -> Option<u64> {
        let template = self.builder.template(self.word);
        let whole = mask(self.width);
        (template.known & whole == whole).then_some(template.value & whole)
    }

    /// Same word as `other` (over the same width): equal whatever it is.
    pub(super) fn is(self, other: Val<'_>) -> bool {
        self.word == other.word && self.width == other.width
    }

    /// The low `width` bits, without a new word.
    pub(super) fn low(self, width: u32) -> Val<'b> {
        Val { width, ..self }
    }

    /// A value whose word is known to be zero above its width.
    pub(super) fn clean(self) -> Val<'b> {
        let above = !mask(self.width);
        if self.builder.template(self.word).zeros() & above == above {
            return self;
        }
        match self.as_constant() {
            Some(value) => self.builder.constant(value, self.width),
            None => self.unary(Op::Copy, 0),
        }
    }

    /// Zero-extended to `width` bits (or cut).
    pub(super) fn zero_extended(self, width: u32) -> Val<'b> {
        if width <= self.width {
            self.low(width)
        } else {
            self.clean().low(width)
        }
    }

    /// Sign-extended to `width` bits (or cut).
    pub(super) fn sign_extended(self, width: u32) -> Val<'b> {
        if width <= self.width {
            return self.low(width);
        }
        if let Some(value) = self.as_constant() {
            let shift = 64 - self.width;
            return self
                .builder
                .constant(((value << shift) as i64 >> shift) as u64, width);
        }
        self.builder
            .apply(Op::SignExtend, width, self.width as u16, [self; 3], width)
    }

    /// `length` bits from bit `at` on.
    pub(super) fn extract(self, at: u32, length: u32) -> Val<'b> {
        if at == 0 {
            return self.low(length);
        }
        if let Some(value) = self.as_constant() {
            return self.builder.constant(value >> at, length);
        }
        self.builder.apply(
            Op::Extract,
            self.width,
            field_imm(at, length),
            [self; 3],
            length,
        )
    }

    /// This value with the bits from `at` on replaced by `field`.
    pub(super) fn insert(self, at: u32, field: Val<'b>) -> Val<'b> {
        let imm = field_imm(at, field.width);
        self.builder
            .apply(Op::Insert, self.width, imm, [self, field, self], self.width)
    }

    /// Shifted left by a constant.
    pub(super) fn shl(self, count: u32) -> Val<'b> {
        match (count, self.as_constant()) {
            (0, _) => self,
            (_, Some(value)) => self
                .builder
                .constant(value.checked_shl(count).unwrap_or(0), self.width),
            _ if count >= self.width => self.builder.constant(0, self.width),
            _ => self.unary(Op::Shl, count as u16),
        }
    }

    /// Shifted right by a constant, unsigned.
    pub(super) fn shr(self, count: u32) -> Val<'b> {
        match count {
            0 => self,
            _ if count >= self.width => self.builder.constant(0, self.width),
            _ => self.unary(Op::Shr, count as u16),
        }
    }

    /// Shifted right by a constant, signed.
    pub(super) fn sar(self, count: u32) -> Val<'b> {
        match count {
            0 => self,
            _ => self.unary(Op::Sar, count.min(self.width - 1) as u16),
        }
    }

    /// Rotated left by a constant.
    pub(super) fn rol(self, count: u32) -> Val<'b> {
        match count % self.width {
            0 => self,
            count => {
                self.builder
                    .apply(Op::Funnel, self.width, count as u16, [self; 3], self.width)
            }
        }
    }

    /// Shifted or rotated by a variable count.
    pub(super) fn by(self, op: Op, count: Val<'b>) -> Val<'b> {
        self.binary(op, count)
    }

    /// The low half of the product, in the canonical form for constant factors.
    pub(super) fn times(self, other: Val<'b>) -> Val<'b> {
        match other.as_constant() {
            Some(factor) if factor.is_power_of_two() => self.shl(factor.trailing_zeros()),
            _ => self.binary(Op::MulLow, other),
        }
    }

    /// `self + other + carry`, where bit 0 of `carry` counts.
    pub(super) fn plus_carry(self, other: Val<'b>, carry: Val<'b>) -> Val<'b> {
        self.builder.apply(
            Op::AddCarry,
            self.width,
            0,
            [self, other, carry],
            self.width,
        )
    }

    /// `self - other - carry`, where bit 0 of `carry` counts.
    pub(super) fn minus_carry(self, other: Val<'b>, carry: Val<'b>) -> Val<'b> {
        let d = self.builder.temporary(self.width);
        self.builder.relate(MicroOp {
            op: Op::AddCarry,
            width: self.width as u8,
            lanes: 1,
            imm: 0,
            d: self.word,
            a: d.word,
            b: other.word,
            c: carry.word,
        });
        d
    }

    /// An operation on this value alone.
    pub(super) fn map(self, op: Op, imm: u16) -> Val<'b> {
        self.unary(op, imm)
    }

    /// An operation on this value and another of its width.
    pub(super) fn with(self, op: Op, other: Val<'b>) -> Val<'b> {
        self.binary(op, other)
    }

    /// An operation on each element of `element` bits of this word and another.
    pub(super) fn packed(self, op: Op, element: u32, imm: u16, other: Val<'b>) -> Val<'b> {
        let d = self.builder.temporary(64);
        let (a, b) = (self.word, other.word);
        self.relate_packed(MicroOp {
            op,
            width: element as u8,
            lanes: 1,
            imm,
            d: d.word,
            a,
            b,
            c: a,
        });
        d
    }

    /// An operation on each element of `element` bits of this word and two others.
    pub(super) fn packed3(self, op: Op, element: u32, b: Val<'b>, c: Val<'b>) -> Val<'b> {
        let d = self.builder.temporary(64);
        self.relate_packed(MicroOp {
            op,
            width: element as u8,
            lanes: 1,
            imm: 0,
            d: d.word,
            a: self.word,
            b: b.word,
            c: c.word,
        });
        d
    }

    /// The differences of the elements.
    pub(super) fn packed_sub(self, element: u32, other: Val<'b>) -> Val<'b> {
        if self.is(other) {
            return self.builder.constant(0, 64);
        }
        let d = self.builder.temporary(64);
        let (a, b) = (d.word, other.word);
        self.relate_packed(MicroOp {
            op: Op::Add,
            width: element as u8,
            lanes: 1,
            imm: 0,
            d: self.word,
            a,
            b,
            c: a,
        });
        d
    }

    fn relate_packed(self, op: MicroOp) {
        self.builder.relate(MicroOp {
            lanes: 64 / op.width,
            ..op
        });
    }

    /// A predicate on each element of this word and another.
    pub(super) fn packed_pred(self, op: Op, element: u32, other: Val<'b>) -> Pred<'b> {
        match op {
            Op::Eq if self.is(other) => Pred::Constant(true),
            Op::Ult | Op::Slt if self.is(other) => Pred::Constant(false),
            _ => self.packed_pred3(op, element, 0, other, self),
        }
    }

    /// A predicate on each element of three words, with a parameter.
    pub(super) fn packed_pred3(
        self,
        op: Op,
        element: u32,
        parameter: u16,
        b: Val<'b>,
        c: Val<'b>,
    ) -> Pred<'b> {
        let operands = [self, b, c];
        Pred::Holds(Claim {
            op,
            width: element,
            lanes: 64 / element,
            parameter,
            negate: false,
            operands,
        })
    }

    pub(super) fn equals(self, other: Val<'b>) -> Pred<'b> {
        if self.is(other) {
            return Pred::Constant(true);
        }
        match (self.as_constant(), other.as_constant()) {
            (Some(x), Some(y)) => Pred::Constant(x == y),
            (_, Some(0)) => self.is_zero(),
            _ => Pred::holds(Op::Eq, 0, [self, other, self]),
        }
    }

    pub(super) fn is_zero(self) -> Pred<'b> {
        match self.as_constant() {
            Some(value) => Pred::Constant(value == 0),
            None => Pred::holds(Op::Zero, 0, [self; 3]),
        }
    }

    /// Unsigned less.
    pub(super) fn below(self, other: Val<'b>) -> Pred<'b> {
        if self.is(other) {
            return Pred::Constant(false);
        }
        Pred::holds(Op::Ult, 0, [self, other, self])
    }

    /// Signed less.
    pub(super) fn less(self, other: Val<'b>) -> Pred<'b> {
        if self.is(other) {
            return Pred::Constant(false);
        }
        Pred::holds(Op::Slt, 0, [self, other, self])
    }

    /// `self + other + carry` (bit 0) carries out of the width.
    pub(super) fn carries(self, other: Val<'b>, carry: Val<'b>) -> Pred<'b> {
        Pred::holds(Op::Carry, 0, [self, other, carry])
    }

    /// Bit `at`.
    pub(super) fn bit(self, at: u32) -> Pred<'b> {
        match self.as_constant() {
            Some(value) => Pred::Constant(value >> at & 1 == 1),
            None => Pred::holds(Op::Bit, at as u16, [self; 3]),
        }
    }

    /// The highest bit.
    pub(super) fn sign(self) -> Pred<'b> {
        self.bit(self.width - 1)
    }

    /// Truth table over the highest bits of three values (this one weighs 4).
    pub(super) fn top_bits(self, table: u16, other: Val<'b>, third: Val<'b>) -> Pred<'b> {
        Pred::holds(Op::TopBits, table, [self, other, third])
    }

    /// The low byte has an even number of ones.
    pub(super) fn even_parity(self) -> Pred<'b> {
        match self.as_constant() {
            Some(value) => Pred::Constant((value & 0xff).count_ones().is_multiple_of(2)),
            None => Pred::holds(Op::Parity, 0, [self; 3]),
        }
    }

    /// Condition code (its low bit negates) of a flags word.
    pub(super) fn condition(self, code: u16) -> Pred<'b> {
        let flags = self.low(16);
        let pred = match code >> 1 {
            0 => flags.bit(OF),
            1 => flags.bit(CF),
            2 => flags.bit(ZF),
            4 => flags.bit(SF),
            5 => flags.bit(PF),
            several => Pred::holds(Op::Condition, several, [flags; 3]),
        };
        if code & 1 == 1 { pred.negated() } else { pred }
    }
}

impl<'b> Add for Val<'b> {
    type Output = Val<'b>;
    fn add(self, other: Val<'b>) -> Val<'b> {
        match (self.as_constant(), other.as_constant()) {
            (Some(x), Some(y)) => self.builder.constant(x.wrapping_add(y), self.width),
            (_, Some(0)) => self,
            _ if self.is(other) => self.shl(1),
            _ => self.binary(Op::Add, other),
        }
    }
}

impl<'b> Sub for Val<'b> {
    type Output = Val<'b>;
    fn sub(self, other: Val<'b>) -> Val<'b> {
        if self.is(other) {
            return self.builder.constant(0, self.width);
        }
        match (self.as_constant(), other.as_constant()) {
            (Some(x), Some(y)) => return self.builder.constant(x.wrapping_sub(y), self.width),
            (_, Some(0)) => return self,
            _ => {}
        }
        // d = self - other is the relation d + other = self.
        let d = self.builder.temporary(self.width);
        self.builder.relate(MicroOp {
            op: Op::Add,
            width: self.width as u8,
            lanes: 1,
            imm: 0,
            d: self.word,
            a: d.word,
            b: other.word,
            c: d.word,
        });
        d
    }
}

impl<'b> BitAnd for Val<'b> {
    type Output = Val<'b>;
    fn bitand(self, other: Val<'b>) -> Val<'b> {
        match other.as_constant() {
            _ if self.is(other) => self,
            Some(0) => self.builder.constant(0, self.width),
            Some(ones) if ones == mask(self.width) => self,
            _ => self.binary(Op::And, other),
        }
    }
}

impl<'b> BitOr for Val<'b> {
    type Output = Val<'b>;
    fn bitor(self, other: Val<'b>) -> Val<'b> {
        match other.as_constant() {
            _ if self.is(other) => self,
            Some(0) => self,
            Some(ones) if ones == mask(self.width) => other,
            _ => self.binary(Op::Or, other),
        }
    }
}

impl<'b> BitXor for Val<'b> {
    type Output = Val<'b>;
    fn bitxor(self, other: Val<'b>) -> Val<'b> {
        match other.as_constant() {
            _ if self.is(other) => self.builder.constant(0, self.width),
            Some(0) => self,
            _ => self.binary(Op::Xor, other),
        }
    }
}

impl<'b> Not for Val<'b> {
    type Output = Val<'b>;
    fn not(self) -> Val<'b> {
        self.unary(Op::Not, 0)
    }
}
