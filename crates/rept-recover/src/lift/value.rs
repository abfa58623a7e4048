//! Handles on words, with the operators of the manual's pseudo-code.

use crate::bits::{Bits, mask};
use crate::effect::Word;
use crate::lift::builder::Builder;
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
    Holds {
        op: Op,
        width: u32,
        parameter: u16,
        negate: bool,
        operands: [Val<'b>; 3],
    },
}

impl<'b> Pred<'b> {
    fn holds(op: Op, parameter: u16, operands: [Val<'b>; 3]) -> Pred<'b> {
        Pred::Holds {
            op,
            width: operands[0].width,
            parameter,
            negate: false,
            operands,
        }
    }

    /// The opposite.
    pub(super) fn negated(self) -> Pred<'b> {
        match self {
            Pred::Constant(holds) => Pred::Constant(!holds),
            Pred::Holds {
                op,
                width,
                parameter,
                negate,
                operands,
            } => Pred::Holds {
                op,
                width,
                parameter,
                negate: !negate,
                operands,
            },
        }
    }

    /// States that bit `at` of `d` is this truth.
    pub(super) fn place(self, builder: &Builder, d: Word, at: u32) {
        match self {
            Pred::Constant(holds) => {
                builder.learn_template(d, Bits::new(1 << at, u64::from(holds) << at));
            }
            Pred::Holds {
                op,
                width,
                parameter,
                negate,
                operands,
            } => {
                let [a, b, c] = operands.map(|operand| operand.word);
                let imm = parameter << 8 | if negate { NEGATE } else { 0 } | at as u16;
                builder.relate(MicroOp {
                    op,
                    width: width as u8,
                    lanes: 1,
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
        let pred = Pred::holds(Op::Condition, code >> 1, [self.low(16); 3]);
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
