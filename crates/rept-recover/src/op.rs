//! Micro-operations: relations over words, learned in every direction.
//!
//! A [`MicroOp`] says `d = op(a, b, c)`. It is not an assignment: [`MicroOp::narrow`] learns
//! whatever the relation implies about *any* of its words from what is known of the others.
//! There is no subtraction: `a - b = d` is written `b + d = a`. Each operation has one forward
//! function ([`MicroOp::eval`], the definition) and one rule; the exhaustive test holds them
//! against each other for every combination of known, unknown and contradicting bits.
//!
//! # Layout of the words
//! * Operations act on the low `width` bits of each word and say nothing of the bits above, so
//!   that `al`, `ax` and `eax` need no extraction.
//! * *Predicates* (see [`Op::is_predicate`]) have a one-bit result. It lies at bit
//!   `imm & 0x3f` of `d`: flags are computed in place. Bit 7 of `imm` negates it; the high
//!   byte is the operation's own parameter.
//! * `lanes` > 1 packs: the relation holds separately for each of the `lanes` elements of
//!   `width` bits. Predicates then yield one bit per lane, ascending from their bit.
//!
//! Rules never allocate. Those of wires, logic, addition, comparison and selection are exact
//! (they find every bit that is forced); multiplication, division and bit counting are exact
//! when few bits are unknown and sound always.

mod add;
mod bitfield;
mod compare;
mod count;
mod crypto;
pub(crate) mod float;
mod logic;
mod multiply;
mod shift;
mod vector;
mod wire;

pub(crate) use wire::field_imm;

use crate::bits::{Bits, Contradiction, mask};
use crate::effect::Word;

/// A relation `d = op(a, b, c)` over words of `width` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MicroOp {
    /// Which relation.
    pub op: Op,
    /// Width of the words (with lanes: of one element) in bits, 1 to 64.
    pub width: u8,
    /// Number of elements, each related by itself; 1 for scalars. `lanes * width <= 64`.
    pub lanes: u8,
    /// Immediate parameter (shift count, field position), meaning depends on `op`.
    pub imm: u16,
    /// Result.
    pub d: Word,
    /// First operand.
    pub a: Word,
    /// Second operand (equal to `a` where unused).
    pub b: Word,
    /// Third operand (equal to `a` where unused).
    pub c: Word,
}

/// What is known of the words of one relation, cut to the width of the operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) d: Bits,
    pub(crate) a: Bits,
    pub(crate) b: Bits,
    pub(crate) c: Bits,
}

/// Outcome of a rule.
pub(crate) type Rule = Result<(), Contradiction>;

/// Which words of a relation changed: bit 0 `d`, then `a`, `b`, `c`.
pub(crate) type Changed = u8;

/// How many operands an operation has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arity {
    /// `a`.
    One,
    /// `a` and `b`.
    Two,
    /// `a`, `b` and `c`.
    Three,
}

/// Learns what a relation implies about the words.
type Learn = fn(&MicroOp, &mut [Bits]) -> Result<Changed, Contradiction>;

macro_rules! operations {
    (words { $( $(#[$doc:meta])* $name:ident, $arity:ident, $eval:path, $rule:path; )* }
     predicates { $( $(#[$pdoc:meta])* $pname:ident, $parity:ident, $peval:path, $prule:path; )* }) => {
        /// Kinds of [`MicroOp`]. `w` is the width, `n` the immediate.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Op {
            $( $(#[$doc])* $name, )*
            $( $(#[$pdoc])* $pname, )*
        }

        impl Op {
            /// Every operation.
            pub const ALL: &[Op] = &[$(Op::$name,)* $(Op::$pname,)*];

            /// Number of operands.
            pub const fn arity(self) -> Arity {
                match self {
                    $(Op::$name => Arity::$arity,)*
                    $(Op::$pname => Arity::$parity,)*
                }
            }

            /// The result is one bit (at bit `imm & 0x3f` of `d`).
            pub const fn is_predicate(self) -> bool {
                match self {
                    $(Op::$name => false,)*
                    $(Op::$pname => true,)*
                }
            }

            /// The definition: `a`, `b`, `c` are cut to the width, and so must the result be.
            fn eval(self, width: u32, imm: u16, [a, b, c]: [u64; 3]) -> u64 {
                match self {
                    $(Op::$name => $eval(width, imm, a, b, c),)*
                    $(Op::$pname => u64::from($peval(width, imm >> 8, a, b, c)),)*
                }
            }

        }

        /// What each operation does to the words: a copy of [`MicroOp::learn`] of its own.
        static LEARN: [Learn; Op::ALL.len()] = [
            $(|op, words| op.learn::<{ Arity::$arity as u8 }, false>(words, $rule),)*
            $(|op, words| op.learn::<{ Arity::$parity as u8 }, true>(words, $prule),)*
        ];
    };
}

operations! {
    words {
    /// `d = a`.
    Copy, One, wire::eval_copy, wire::copy;
    /// `d` = the `n >> 8` bits of `a` from bit `n & 0xff` on.
    Extract, One, wire::eval_extract, wire::extract;
    /// `d = a` with the `n >> 8` bits from bit `n & 0xff` on replaced by `b`.
    Insert, Two, wire::eval_insert, wire::insert;
    /// `d = a` in all bits but those of the mask `n` (of which it says nothing).
    Keep, One, wire::eval_keep, wire::keep;
    /// `d` = the low `n` bits of `a`, sign-extended.
    SignExtend, One, wire::eval_sign_extend, wire::sign_extend;
    /// `d = a` with the bytes in reverse order; width 16, 32 or 64.
    Bswap, One, wire::eval_bswap, wire::bswap;
    /// `d = a << n`, `n < w`.
    Shl, One, wire::eval_shl, wire::shl;
    /// `d = a >> n` (unsigned), `n < w`.
    Shr, One, wire::eval_shr, wire::shr;
    /// `d = a >> n` (signed), `n < w`.
    Sar, One, wire::eval_sar, wire::sar;
    /// `d` = the high half of `a:b` shifted left by `n <= w`.
    Funnel, Two, wire::eval_funnel, wire::funnel;
    /// `d = a` rotated left by `n <= w` through the carry `c` (bit 0).
    Rcl, Three, wire::eval_rcl, wire::rcl;
    /// `d = !a`.
    Not, One, logic::eval_not, logic::not;
    /// `d = a & b`.
    And, Two, logic::eval_and, logic::and;
    /// `d = a | b`.
    Or, Two, logic::eval_or, logic::or;
    /// `d = a ^ b`.
    Xor, Two, logic::eval_xor, logic::xor;
    /// Each bit of `d` = bit `4 a + 2 b + c` of the truth table `n`.
    Ternary, Three, logic::eval_ternary, logic::ternary;
    /// `d = if c & 1 { a } else { b }`.
    Select, Three, logic::eval_select, logic::select;
    /// `d = a + b`.
    Add, Two, add::eval_add, add::add;
    /// `d = a + b + (c & 1)`.
    AddCarry, Three, add::eval_add_carry, add::add_carry;
    /// `d = a * b`.
    MulLow, Two, multiply::eval_low, multiply::low;
    /// `d` = the high half of the unsigned product.
    MulHigh, Two, multiply::eval_high, multiply::high;
    /// `d` = the high half of the signed product.
    MulHighSigned, Two, multiply::eval_high_signed, multiply::high_signed;
    /// `d` = the quotient of the unsigned division of `c:a` by `b`; 0 where the processor faults.
    Quotient, Three, multiply::eval_quotient, multiply::quotient;
    /// `d` = the quotient of the signed division of `c:a` by `b`; 0 where the processor faults.
    QuotientSigned, Three, multiply::eval_quotient_signed, multiply::quotient_signed;
    /// `d = a << b`; 0 when `b >= w`.
    ShlBy, Two, shift::eval_shl, shift::shl;
    /// `d = a >> b` (unsigned); 0 when `b >= w`.
    ShrBy, Two, shift::eval_shr, shift::shr;
    /// `d = a >> b` (signed); all sign when `b >= w`.
    SarBy, Two, shift::eval_sar, shift::sar;
    /// `d = a` rotated left by `b` modulo `w`.
    RolBy, Two, shift::eval_rol, shift::rol;
    /// `d = a` rotated left through the carry `c` (bit 0) by `b` modulo `w + 1`.
    RclBy, Three, shift::eval_rcl, shift::rcl;
    /// `d` = the high half of `a:b` shifted left by `c`; `b` when `c >= w`.
    FunnelBy, Three, shift::eval_funnel, shift::funnel;
    /// `d` = number of ones in `a`.
    Popcnt, One, count::eval_popcnt, count::popcnt;
    /// `d` = number of zeros below the lowest one of `a`; `w` when there is none.
    Tzcnt, One, count::eval_tzcnt, count::tzcnt;
    /// `d` = ones up to the lowest one of `a`; all ones when there is none.
    UpToLowest, One, count::eval_up_to_lowest, count::up_to_lowest;
    /// `d` = number of zeros above the highest one of `a`; `w` when there is none.
    Lzcnt, One, count::eval_lzcnt, count::lzcnt;
    /// `d` = the low bits of `a` scattered to the places of the ones of `b`.
    Pdep, Two, bitfield::eval_pdep, bitfield::pdep;
    /// `d` = the bits of `a` at the ones of `b`, gathered.
    Pext, Two, bitfield::eval_pext, bitfield::pext;
    /// All bits of `d` = bit `n & 0x3f` of `a` (with lanes: the bits of `a` from there on).
    Expand, One, vector::eval_expand, vector::expand;
    /// Each byte of `d` = the byte of `b:a` that the low four bits of the byte of `c` name, or
    /// zero when its highest bit is set; width 64.
    Shuffle, Three, vector::eval_shuffle, vector::shuffle;
    /// `d` = the low half of the carry-less product.
    ClmulLow, Two, vector::eval_clmul_low, vector::clmul_low;
    /// `d` = the high half of the carry-less product.
    ClmulHigh, Two, vector::eval_clmul_high, vector::clmul_high;
    /// `d` = the CRC-32C (of the `crc32` instruction) of `a` (32 bits) after the `n` bits of `b`.
    Crc32, Two, bitfield::eval_crc32, bitfield::crc32;
    /// `d = a + b` as floating point of `w` bits, under MXCSR `c`; so the others with `Float`.
    FloatAdd, Three, float::eval_add, float::add;
    /// `d = a - b`.
    FloatSub, Three, float::eval_sub, float::sub;
    /// `d = a * b`.
    FloatMul, Three, float::eval_mul, float::mul;
    /// `d = a / b`.
    FloatDiv, Three, float::eval_div, float::div;
    /// `d = if a < b { a } else { b }`.
    FloatMin, Three, float::eval_min, float::min;
    /// `d = if a > b { a } else { b }`.
    FloatMax, Three, float::eval_max, float::max;
    /// `d` = the square root of `a`, under MXCSR `b`.
    FloatSqrt, Two, float::eval_sqrt, float::sqrt;
    /// `d = a` rounded to a multiple of `2^-(n >> 4)` as `n` says (the immediate of `vrndscalesd`),
    /// under MXCSR `b`.
    FloatRound, Two, float::eval_round, float::round;
    /// `d` = the exponent of `a` as a number, under MXCSR `b`.
    FloatExponent, Two, float::eval_exponent_of, float::exponent_of;
    /// `d` = the significand of `a` with the sign and in the interval that `n` says (the immediate
    /// of `vgetmantsd`), under MXCSR `b`.
    FloatMantissa, Two, float::special::eval_mantissa, float::special::mantissa;
    /// `d = a` less itself rounded as `n` says (the immediate of `vreducesd`), under MXCSR `b`.
    FloatReduce, Two, float::special::eval_reduce, float::special::reduce;
    /// `d = a * 2^floor(b)`, under MXCSR `c`.
    FloatScale, Three, float::special::eval_scale, float::special::scale;
    /// `d` = one of `a` and `b` with the sign that `n` says (the immediate of `vrangesd`), under
    /// MXCSR `c`.
    FloatRange, Three, float::special::eval_range, float::special::range;
    /// `d` = `a`, or what the table `c` has in place of the number `b` of `n` bits (`vfixupimmsd`);
    /// bit 38 of `c` says that denormals are zero; width 64.
    FloatFixUp, Three, float::special::eval_fix_up, float::special::fix_up;
    /// `d` = the number `a` of `n & 0x7f` bits in the format of `n >> 8` bits, under MXCSR `b`.
    FloatResize, Two, float::eval_resize, float::resize;
    /// `d` = the signed integer `a` of `n & 0x7f` bits in the format of `n >> 8 & 0x7f` bits,
    /// under MXCSR `b`; unsigned when `n & 0x8000`.
    FloatFromInt, Two, float::eval_from_int, float::from_int;
    /// `d` = the number `a` of `n & 0x7f` bits as a signed integer of `n >> 8 & 0x7f` bits, under
    /// MXCSR `b`; truncated when `n & 0x80`, unsigned when `n & 0x8000`.
    FloatToInt, Two, float::eval_to_int, float::to_int;
    /// `d = a * b + c` rounded once, under the control bits of MXCSR in `n`; `n & 1` subtracts
    /// the product, `n & 2` the addend. Only the result is ever learned.
    FloatMulAdd, Three, float::eval_mul_add, float::mul_add;
    /// `d` = the significand in extended precision of the number (or with `n & 0x80` of the
    /// signed integer) `a` of `n & 0x7f` bits. Forward only; so the next three.
    ExtendedSignificand, One, float::eval_significand, float::significand;
    /// `d` = its sign and exponent.
    ExtendedExponent, One, float::eval_exponent, float::exponent;
    /// `d` = the extended number with significand `a`, sign and exponent `b` in the format of `n`
    /// bits, rounded under the x87 control word `c`.
    FloatFromExtended, Three, float::eval_from_extended, float::from_extended;
    /// `d` = that number as a signed integer of `n & 0x7f` bits, truncated when `n & 0x80`.
    IntFromExtended, Three, float::eval_int_from_extended, float::int_from_extended;
    /// Each byte of `d` = the AES S-box of that of `a`, with `n` = 1 its inverse, with `n` = 2 the
    /// inverse in the field; width 8.
    SubstituteByte, One, crypto::eval_substitute, crypto::substitute;
    /// `d` = the column `a` of AES mixed, or with `n` = 1 unmixed; width 32.
    MixColumn, One, crypto::eval_mix, crypto::mix;
    }
    predicates {
    /// `a == b`.
    Eq, Two, compare::eval_eq, compare::eq;
    /// `a == 0`.
    Zero, One, compare::eval_zero, compare::zero;
    /// `a < b` (unsigned).
    Ult, Two, compare::eval_ult, compare::ult;
    /// `a < b` (signed).
    Slt, Two, compare::eval_slt, compare::slt;
    /// `a + b + (c & 1)` carries out of `w` bits.
    Carry, Three, compare::eval_carry, compare::carry;
    /// Bit `n` of `a`.
    Bit, One, compare::eval_bit, compare::bit;
    /// Bit `4 a + 2 b + c` of the truth table `n`, for the highest bits of `a`, `b`, `c`.
    TopBits, Three, compare::eval_top_bits, compare::top_bits;
    /// The low byte of `a` has an even number of ones.
    Parity, One, compare::eval_parity, compare::parity;
    /// Condition code `2 n` (0 overflow, 1 below, 2 equal, 3 below or equal, 4 sign, 5 parity,
    /// 6 less, 7 less or equal) of the flags word `a`; the width is 16.
    Condition, One, compare::eval_condition, compare::condition;
    /// The order of the numbers `a` and `b`, under MXCSR `c`, is one of `n`: 1 less, 2 equal,
    /// 4 greater, 8 unordered.
    FloatCompare, Three, float::eval_compare, float::compare;
    /// The number `a`, under MXCSR `b`, is of one of the kinds `n` (the immediate of `vfpclasssd`).
    FloatClass, Two, float::eval_class, float::classify;
    }
}

impl Op {
    /// Floating point: the last operand is MXCSR, and only the result is ever learned.
    pub const fn is_float(self) -> bool {
        matches!(
            self,
            Op::FloatAdd
                | Op::FloatSub
                | Op::FloatMul
                | Op::FloatDiv
                | Op::FloatMin
                | Op::FloatMax
                | Op::FloatSqrt
                | Op::FloatRound
                | Op::FloatExponent
                | Op::FloatMantissa
                | Op::FloatReduce
                | Op::FloatScale
                | Op::FloatRange
                | Op::FloatClass
                | Op::FloatResize
                | Op::FloatFromInt
                | Op::FloatToInt
                | Op::FloatCompare
        )
    }
}

impl Op {
    /// Its rule does not find all that follows from its own words in one run, at every width.
    const fn is_heuristic(self) -> bool {
        matches!(
            self,
            Op::MulLow
                | Op::MulHigh
                | Op::MulHighSigned
                | Op::Quotient
                | Op::QuotientSigned
                | Op::Popcnt
                | Op::Pdep
                | Op::Pext
                | Op::Shuffle
                | Op::ClmulLow
                | Op::ClmulHigh
                | Op::Crc32
                | Op::MixColumn
        )
    }
}

/// Bit of `imm` that negates a predicate.
pub const NEGATE: u16 = 0x80;

impl MicroOp {
    /// The bits of `d`, `a`, `b`, `c` that take part in the relation.
    pub fn masks(&self) -> [u64; 4] {
        let whole = mask(u32::from(self.width) * u32::from(self.lanes));
        let d = if self.op.is_predicate() {
            mask(u32::from(self.lanes)) << (self.imm & 0x3f)
        } else {
            match self.op {
                Op::Keep => whole & !u64::from(self.imm),
                _ => whole,
            }
        };
        let used = |needed: Arity, bits: u64| if self.op.arity() >= needed { bits } else { 0 };
        let c = match self.op {
            Op::Rcl | Op::RclBy | Op::Select | Op::AddCarry | Op::Carry => 1,
            _ if self.op.is_float() => float::CONTROL & whole,
            _ => whole,
        };
        let b = match self.op.arity() {
            Arity::Two if self.op.is_float() => float::CONTROL & whole,
            _ => whole,
        };
        let a = match self.op {
            Op::Keep => whole & !u64::from(self.imm),
            Op::Condition => compare::CONDITION_FLAGS,
            Op::Expand => mask(u32::from(self.lanes)) << (self.imm & 0x3f),
            _ => whole,
        };
        [d, a, used(Arity::Two, b), used(Arity::Three, c)]
    }

    /// The forward function: the bits of `d` that take part in the relation, others zero.
    pub fn eval(&self, a: u64, b: u64, c: u64) -> u64 {
        let width = u32::from(self.width);
        let mut d = 0;
        for lane in 0..u32::from(self.lanes) {
            let cut = |word: u64| (word >> (lane * width)) & mask(width);
            let first = match self.op {
                Op::Expand => a >> (u32::from(self.imm & 0x3f) + lane),
                _ => cut(a),
            };
            let result = self.op.eval(width, self.imm, [first, cut(b), cut(c)]);
            d |= if self.op.is_predicate() {
                (result ^ u64::from(self.imm & NEGATE != 0)) << (u32::from(self.imm & 0x3f) + lane)
            } else {
                (result & mask(width)) << (lane * width)
            };
        }
        d & self.masks()[0]
    }

    /// Learns what the relation implies; true when a word changed.
    ///
    /// # Errors
    /// [`Contradiction`] when no values satisfy the relation.
    #[inline]
    pub fn narrow(&self, words: &mut [Bits]) -> Result<bool, Contradiction> {
        self.run(words).map(|changed| changed != 0)
    }

    /// As [`MicroOp::narrow`]; says which of its words changed.
    #[inline]
    pub(crate) fn run(&self, words: &mut [Bits]) -> Result<Changed, Contradiction> {
        LEARN[self.op as usize](self, words)
    }

    /// Running the rule again on its own results may teach more: it is not exact, or two of its
    /// words are one.
    pub(crate) fn settles_slowly(&self) -> bool {
        let aliased = match self.op.arity() {
            Arity::One => self.d == self.a,
            Arity::Two => self.d == self.a || self.d == self.b || self.a == self.b,
            Arity::Three => {
                let [d, a, b, c] = [self.d, self.a, self.b, self.c];
                d == a || d == b || d == c || a == b || a == c || b == c
            }
        };
        aliased || self.op.is_heuristic()
    }

    /// Cuts the words to the operation's width, runs its rule on each lane, and writes back what
    /// is new. The constants let each operation touch only the words it has.
    #[inline(always)]
    fn learn<const ARITY: u8, const PREDICATE: bool>(
        &self,
        words: &mut [Bits],
        rule: impl Fn(u32, u16, &mut Known) -> Rule,
    ) -> Result<Changed, Contradiction> {
        if self.lanes == 1 {
            return self.learn_lane::<ARITY, PREDICATE>(words, 0, &rule);
        }
        (0..u32::from(self.lanes)).try_fold(0, |changed, lane| {
            Ok(changed | self.learn_lane::<ARITY, PREDICATE>(words, lane, &rule)?)
        })
    }

    #[inline(always)]
    fn learn_lane<const ARITY: u8, const PREDICATE: bool>(
        &self,
        words: &mut [Bits],
        lane: u32,
        rule: &impl Fn(u32, u16, &mut Known) -> Rule,
    ) -> Result<Changed, Contradiction> {
        let width = u32::from(self.width);
        let whole = mask(width);
        let (imm, flip) = match PREDICATE {
            true => (self.imm >> 8, u64::from(self.imm & NEGATE != 0)),
            false => (self.imm, 0),
        };
        let expands = self.op == Op::Expand;
        let [d, a, b, c] = [self.d, self.a, self.b, self.c].map(|word| usize::from(word.0));
        let (at, bit_at) = (lane * width, u32::from(self.imm & 0x3f) + lane);
        let element = |word: &Bits| Bits {
            known: word.known >> at & whole,
            value: word.value >> at & whole,
        };
        let before_a = match expands {
            true => words[a].field(bit_at, 1),
            false => element(&words[a]),
        };
        let before = Known {
            d: match PREDICATE {
                true => negated(words[d].field(bit_at, 1), flip),
                false => element(&words[d]),
            },
            a: before_a,
            b: match ARITY > Arity::One as u8 {
                true => element(&words[b]),
                false => before_a,
            },
            c: match ARITY > Arity::Two as u8 {
                true => element(&words[c]),
                false => before_a,
            },
        };
        let mut after = before;
        rule(width, imm, &mut after)?;
        let mut changed = 0;
        if after.d.known != before.d.known {
            let place = if PREDICATE { bit_at } else { at };
            changed |= u8::from(words[d].learn(negated(after.d, flip).shifted(place))?);
        }
        if after.a.known != before.a.known {
            let place = if expands { bit_at } else { at };
            changed |= u8::from(words[a].learn(after.a.shifted(place))?) << 1;
        }
        if ARITY > Arity::One as u8 && after.b.known != before.b.known {
            changed |= u8::from(words[b].learn(after.b.shifted(at))?) << 2;
        }
        if ARITY > Arity::Two as u8 && after.c.known != before.c.known {
            changed |= u8::from(words[c].learn(after.c.shifted(at))?) << 3;
        }
        Ok(changed)
    }
}

/// The word with the bits of `flip` negated.
fn negated(word: Bits, flip: u64) -> Bits {
    Bits::new(word.known, word.value ^ flip)
}
