//! IEEE 754 arithmetic as SSE does it, in integers: bit-exact on every host.
//!
//! Any width works (4 bits: one of sign, two of exponent, one of fraction), so that the same
//! code serves half, single and double precision and the exhaustive test. Every operation
//! makes an exact [`Number`], or one short of it by less than its last bit (`sticky`), and
//! rounds once. NaN rules and flush-to-zero: Intel SDM volume 1, sections 4.8.3 and 10.2.3.

use std::cmp::Ordering;

/// Rounding and denormal control: the bits of MXCSR that change results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Control {
    pub(super) rounding: Rounding,
    pub(super) denormals_are_zero: bool,
    pub(super) flush_to_zero: bool,
}

/// Rounding control, in MXCSR's encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounding {
    Nearest,
    Down,
    Up,
    Zero,
}

impl Rounding {
    pub(super) fn from_bits(bits: u64) -> Rounding {
        [
            Rounding::Nearest,
            Rounding::Down,
            Rounding::Up,
            Rounding::Zero,
        ][(bits & 3) as usize]
    }

    /// Whether a magnitude with these discarded bits is rounded up.
    fn away(self, negative: bool, odd: bool, half: bool, rest: bool) -> bool {
        match self {
            Rounding::Nearest => half && (rest || odd),
            Rounding::Down => negative && (half || rest),
            Rounding::Up => !negative && (half || rest),
            Rounding::Zero => false,
        }
    }
}

impl Control {
    /// For results that need no rounding.
    pub(super) const EXACT: Control = Control {
        rounding: Rounding::Nearest,
        denormals_are_zero: false,
        flush_to_zero: false,
    };

    pub(super) fn from_mxcsr(mxcsr: u64) -> Control {
        Control {
            rounding: Rounding::from_bits(mxcsr >> 13),
            denormals_are_zero: mxcsr & 0x40 != 0,
            flush_to_zero: mxcsr & 0x8000 != 0,
        }
    }
}

/// A binary interchange format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    width: u32,
    /// Bits of the fraction.
    fraction: u32,
}

/// `(-1)^negative * significand * 2^exponent`, with a nonzero significand; with `sticky` its
/// magnitude is greater by less than one unit of the significand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number {
    pub(super) negative: bool,
    pub(super) exponent: i32,
    pub(super) significand: u128,
    pub(super) sticky: bool,
}

/// What the bits of a word stand for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Class {
    Zero,
    Finite(Number),
    Infinite,
    Nan,
}

impl Format {
    /// The format of `width` bits; `None` where there is none.
    pub(super) fn of(width: u32) -> Option<Format> {
        let fraction = match width {
            64 => 52,
            32 => 23,
            16 => 10,
            3 => 1,
            4..=31 => width / 2 - 1,
            _ => return None,
        };
        Some(Format { width, fraction })
    }

    /// Bits of the fraction.
    pub(super) fn fraction_bits(self) -> u32 {
        self.fraction
    }

    pub(super) fn fraction_of(self, bits: u64) -> u64 {
        bits & ((1 << self.fraction) - 1)
    }

    pub(super) fn bias(self) -> i32 {
        (1 << (self.width - self.fraction - 2)) - 1
    }

    pub(super) fn sign(self) -> u64 {
        1 << (self.width - 1)
    }

    pub(super) fn infinity(self) -> u64 {
        self.sign() - (1 << self.fraction)
    }

    /// The QNaN that invalid operations yield.
    pub(super) fn indefinite(self) -> u64 {
        self.sign() | self.infinity() | self.quiet()
    }

    pub(super) fn quiet(self) -> u64 {
        1 << (self.fraction - 1)
    }

    pub(super) fn is_nan(self, bits: u64) -> bool {
        bits & (self.sign() - 1) > self.infinity()
    }

    pub(super) fn is_negative(self, bits: u64) -> bool {
        bits & self.sign() != 0
    }

    pub(super) fn with_sign(self, negative: bool, magnitude: u64) -> u64 {
        if negative {
            magnitude | self.sign()
        } else {
            magnitude
        }
    }

    /// Denormals become zeros of their sign where the control says so.
    pub(super) fn flush(self, bits: u64, control: Control) -> u64 {
        let denormal = bits & self.infinity() == 0;
        if control.denormals_are_zero && denormal {
            bits & self.sign()
        } else {
            bits
        }
    }

    pub(super) fn class(self, bits: u64) -> Class {
        let magnitude = bits & (self.sign() - 1);
        if magnitude >= self.infinity() {
            return if magnitude == self.infinity() {
                Class::Infinite
            } else {
                Class::Nan
            };
        }
        let fraction = self.fraction_of(magnitude);
        let exponent = (magnitude >> self.fraction) as i32;
        let hidden = if exponent == 0 { 0 } else { 1 << self.fraction };
        if fraction | hidden == 0 {
            return Class::Zero;
        }
        Class::Finite(Number {
            negative: self.is_negative(bits),
            exponent: exponent.max(1) - self.bias() - self.fraction as i32,
            significand: u128::from(fraction | hidden),
            sticky: false,
        })
    }

    /// The NaN that an operation on `operands` yields: the first one, made quiet.
    pub(super) fn propagate(self, operands: &[u64]) -> Option<u64> {
        operands
            .iter()
            .find(|&&bits| self.is_nan(bits))
            .map(|bits| bits | self.quiet())
    }

    pub(super) fn round(self, number: Number, control: Control) -> u64 {
        let top = number.exponent + number.significand.ilog2() as i32;
        let least = 1 - self.bias();
        let last = top - self.fraction as i32;
        let unbounded = number.quotient(last, control.rounding);
        // Tiny even when rounded as if the exponent had no bounds.
        let tiny = top < least && !(top == least - 1 && unbounded >> (self.fraction + 1) != 0);
        if tiny && control.flush_to_zero {
            return self.with_sign(number.negative, 0);
        }
        let last = last.max(least - self.fraction as i32);
        let quotient = number.quotient(last, control.rounding) as u64;
        // The hidden bit, and a carry out of the fraction, add one to the exponent field.
        let field = i64::from(last + self.fraction as i32 + self.bias() - 1);
        if field >= (self.infinity() >> self.fraction) as i64 {
            return self.overflow(number.negative, control.rounding);
        }
        let magnitude = ((field as u64) << self.fraction) + quotient;
        if magnitude >= self.infinity() {
            return self.overflow(number.negative, control.rounding);
        }
        self.with_sign(number.negative, magnitude)
    }

    fn overflow(self, negative: bool, rounding: Rounding) -> u64 {
        let infinite = match rounding {
            Rounding::Nearest => true,
            Rounding::Down => negative,
            Rounding::Up => !negative,
            Rounding::Zero => false,
        };
        self.with_sign(negative, self.infinity() - u64::from(!infinite))
    }
}

impl Number {
    /// `self / 2^last`, rounded to an integer.
    pub(super) fn quotient(self, last: i32, rounding: Rounding) -> u128 {
        let shift = last - self.exponent;
        if shift <= 0 {
            let exact = self.significand << -shift;
            return exact + u128::from(rounding.away(self.negative, false, false, self.sticky));
        }
        let cut = |by: i32| if by >= 128 { 0 } else { self.significand >> by };
        let quotient = cut(shift);
        let half = cut(shift - 1) & 1 == 1;
        let below = if shift > 128 {
            u128::MAX
        } else {
            (1u128 << (shift - 1)) - 1
        };
        let rest = self.sticky || self.significand & below != 0;
        quotient + u128::from(rounding.away(self.negative, quotient & 1 == 1, half, rest))
    }

    /// The same number with a significand of 126 bits, which leaves room for a carry.
    fn normalized(self) -> Number {
        let shift = 125 - self.significand.ilog2();
        Number {
            exponent: self.exponent - shift as i32,
            significand: self.significand << shift,
            ..self
        }
    }

    /// The sum; `None` when it is exactly zero.
    fn add(self, other: Number) -> Option<Number> {
        let (mut big, mut small) = (self.normalized(), other.normalized());
        if (big.exponent, big.significand) < (small.exponent, small.significand) {
            (big, small) = (small, big);
        }
        let shift = (big.exponent - small.exponent).min(127);
        let sticky = small.significand & ((1u128 << shift) - 1) != 0;
        let aligned = small.significand >> shift;
        let significand = match big.negative == small.negative {
            true => big.significand + aligned,
            // What was cut off the subtrahend makes the difference fall short of an integer.
            false => big.significand - aligned - u128::from(sticky),
        };
        (significand != 0).then_some(Number {
            significand,
            sticky,
            ..big
        })
    }

    fn multiply(self, other: Number) -> Number {
        Number {
            negative: self.negative != other.negative,
            exponent: self.exponent + other.exponent,
            significand: self.significand * other.significand,
            sticky: false,
        }
    }

    fn divide(self, other: Number) -> Number {
        let dividend = self.normalized();
        Number {
            negative: self.negative != other.negative,
            exponent: dividend.exponent - other.exponent,
            significand: dividend.significand / other.significand,
            sticky: !dividend.significand.is_multiple_of(other.significand),
        }
    }

    fn sqrt(self) -> Number {
        let mut square = self.normalized();
        if square.exponent % 2 != 0 {
            square.exponent += 1;
            square.sticky = square.significand & 1 != 0;
            square.significand >>= 1;
        }
        let root = square.significand.isqrt();
        Number {
            exponent: square.exponent / 2,
            significand: root,
            sticky: square.sticky || root * root != square.significand,
            ..self
        }
    }
}

impl Format {
    pub(super) fn add(self, a: u64, b: u64, control: Control) -> u64 {
        let (a, b) = (self.flush(a, control), self.flush(b, control));
        if let Some(nan) = self.propagate(&[a, b]) {
            return nan;
        }
        match (self.class(a), self.class(b)) {
            (Class::Infinite, Class::Infinite) if a != b => self.indefinite(),
            (Class::Infinite, _) => a,
            (_, Class::Infinite) => b,
            (Class::Zero, Class::Zero) if a == b => a,
            (Class::Zero, Class::Zero) => self.zero_sum(control),
            (Class::Finite(x), Class::Finite(y)) => x
                .add(y)
                .map_or(self.zero_sum(control), |sum| self.round(sum, control)),
            (Class::Finite(x), _) | (_, Class::Finite(x)) => self.round(x, control),
            (Class::Nan, _) | (_, Class::Nan) => self.indefinite(),
        }
    }

    /// The zero that a sum of opposites is.
    fn zero_sum(self, control: Control) -> u64 {
        self.with_sign(control.rounding == Rounding::Down, 0)
    }

    pub(super) fn subtract(self, a: u64, b: u64, control: Control) -> u64 {
        self.add(a, self.negate(b), control)
    }

    pub(super) fn multiply(self, a: u64, b: u64, control: Control) -> u64 {
        let (a, b) = (self.flush(a, control), self.flush(b, control));
        if let Some(nan) = self.propagate(&[a, b]) {
            return nan;
        }
        let negative = self.is_negative(a ^ b);
        match (self.class(a), self.class(b)) {
            (Class::Infinite, Class::Zero) | (Class::Zero, Class::Infinite) => self.indefinite(),
            (Class::Infinite, _) | (_, Class::Infinite) => {
                self.with_sign(negative, self.infinity())
            }
            (Class::Finite(x), Class::Finite(y)) => self.round(x.multiply(y), control),
            _ => self.with_sign(negative, 0),
        }
    }

    /// `a * b + c`, rounded once.
    pub(super) fn multiply_add(self, operands: [u64; 3], control: Control) -> u64 {
        let [a, b, c] = operands.map(|bits| self.flush(bits, control));
        if let Some(nan) = self.propagate(&[a, b, c]) {
            return nan;
        }
        let negative = self.is_negative(a ^ b);
        let product = match (self.class(a), self.class(b)) {
            (Class::Infinite, Class::Zero) | (Class::Zero, Class::Infinite) => {
                return self.indefinite();
            }
            (Class::Infinite, _) | (_, Class::Infinite) => {
                return self.add(self.with_sign(negative, self.infinity()), c, control);
            }
            (Class::Finite(x), Class::Finite(y)) => x.multiply(y),
            _ => return self.add(self.with_sign(negative, 0), c, control),
        };
        match self.class(c) {
            Class::Infinite => c,
            Class::Finite(z) => product
                .add(z)
                .map_or(self.zero_sum(control), |sum| self.round(sum, control)),
            _ => self.round(product, control),
        }
    }

    /// The same number with the opposite sign; a NaN keeps its own.
    pub(super) fn negate(self, a: u64) -> u64 {
        if self.is_nan(a) { a } else { a ^ self.sign() }
    }

    pub(super) fn divide(self, a: u64, b: u64, control: Control) -> u64 {
        let (a, b) = (self.flush(a, control), self.flush(b, control));
        if let Some(nan) = self.propagate(&[a, b]) {
            return nan;
        }
        let negative = self.is_negative(a ^ b);
        match (self.class(a), self.class(b)) {
            (Class::Infinite, Class::Infinite) | (Class::Zero, Class::Zero) => self.indefinite(),
            (Class::Infinite, _) | (_, Class::Zero) => self.with_sign(negative, self.infinity()),
            (Class::Finite(x), Class::Finite(y)) => self.round(x.divide(y), control),
            _ => self.with_sign(negative, 0),
        }
    }

    pub(super) fn sqrt(self, a: u64, control: Control) -> u64 {
        let a = self.flush(a, control);
        if let Some(nan) = self.propagate(&[a]) {
            return nan;
        }
        match self.class(a) {
            Class::Zero => a,
            _ if self.is_negative(a) => self.indefinite(),
            Class::Finite(x) => self.round(x.sqrt(), control),
            _ => a,
        }
    }

    /// How `a` compares with `b`; `None` when unordered.
    pub(super) fn compare(self, a: u64, b: u64, control: Control) -> Option<Ordering> {
        let (a, b) = (self.flush(a, control), self.flush(b, control));
        if self.is_nan(a) || self.is_nan(b) {
            return None;
        }
        let key = |bits: u64| {
            let magnitude = (bits & (self.sign() - 1)) as i64;
            if self.is_negative(bits) {
                -magnitude
            } else {
                magnitude
            }
        };
        Some(key(a).cmp(&key(b)))
    }

    /// MIN (`Ordering::Less`) or MAX (`Ordering::Greater`): `a` when it compares so, else `b`.
    pub(super) fn extreme(self, a: u64, b: u64, wanted: Ordering, control: Control) -> u64 {
        let first = self.compare(a, b, control) == Some(wanted);
        let chosen = if first { a } else { b };
        self.flush(chosen, control)
    }

    /// The number nearest to an integer.
    pub(super) fn integral(self, negative: bool, magnitude: u64, control: Control) -> u64 {
        if magnitude == 0 {
            return 0;
        }
        let number = Number {
            negative,
            exponent: 0,
            significand: u128::from(magnitude),
            sticky: false,
        };
        self.round(number, control)
    }

    /// The integer nearest to a number, as (negative, magnitude); `None` for NaN and what no
    /// 64-bit word holds.
    fn integer(self, a: u64, rounding: Rounding) -> Option<(bool, u64)> {
        match self.class(a) {
            Class::Zero => Some((false, 0)),
            Class::Finite(x) if x.exponent <= 64 => {
                Some((x.negative, u64::try_from(x.quotient(0, rounding)).ok()?))
            }
            _ => None,
        }
    }

    /// A signed integer of `bits` bits; the most negative one where none fits.
    pub(super) fn to_signed(self, a: u64, bits: u32, rounding: Rounding, control: Control) -> u64 {
        let least = 1u64 << (bits - 1);
        let fits = |&(negative, magnitude): &(bool, u64)| magnitude < least + u64::from(negative);
        match self.integer(self.flush(a, control), rounding).filter(fits) {
            Some((negative, magnitude)) => {
                let value = if negative {
                    magnitude.wrapping_neg()
                } else {
                    magnitude
                };
                value & (least | (least - 1))
            }
            None => least,
        }
    }

    /// An unsigned integer of `bits` bits; all ones where none fits.
    pub(super) fn to_unsigned(
        self,
        a: u64,
        bits: u32,
        rounding: Rounding,
        control: Control,
    ) -> u64 {
        let greatest = crate::bits::mask(bits);
        match self.integer(self.flush(a, control), rounding) {
            Some((false, magnitude)) if magnitude <= greatest => magnitude,
            Some((true, 0)) => 0,
            _ => greatest,
        }
    }

    /// Rounded to a multiple of `2^-places` in the same format; zeros keep the sign.
    pub(super) fn round_to_places(
        self,
        a: u64,
        places: i32,
        rounding: Rounding,
        control: Control,
    ) -> u64 {
        let a = self.flush(a, control);
        if let Some(nan) = self.propagate(&[a]) {
            return nan;
        }
        match self.class(a) {
            Class::Finite(x) if x.exponent < -places => {
                let significand = x.quotient(-places, rounding);
                if significand == 0 {
                    return self.with_sign(x.negative, 0);
                }
                let multiple = Number {
                    exponent: -places,
                    significand,
                    sticky: false,
                    ..x
                };
                self.round(multiple, Control::EXACT)
            }
            _ => a,
        }
    }

    /// The exponent of a number, as a number.
    pub(super) fn exponent_of(self, a: u64, control: Control) -> u64 {
        let a = self.flush(a, control);
        if let Some(nan) = self.propagate(&[a]) {
            return nan;
        }
        match self.class(a) {
            Class::Zero => self.with_sign(true, self.infinity()),
            Class::Finite(x) => {
                let power = i64::from(x.exponent) + i64::from(x.significand.ilog2());
                self.integral(power < 0, power.unsigned_abs(), Control::EXACT)
            }
            _ => self.infinity(),
        }
    }

    /// The kinds of VFPCLASS that a number is of: quiet NaN, zeros, infinities (each first the
    /// positive), denormal, negative and finite, signalling NaN, from bit 0 on.
    pub(super) fn kinds(self, a: u64, control: Control) -> u16 {
        let a = self.flush(a, control);
        let negative = u16::from(self.is_negative(a));
        match self.class(a) {
            Class::Nan if a & self.quiet() != 0 => 1,
            Class::Nan => 1 << 7,
            Class::Zero => 2 << negative,
            Class::Infinite => 8 << negative,
            Class::Finite(_) => {
                let denormal = a & self.infinity() == 0;
                u16::from(denormal) << 5 | negative << 6
            }
        }
    }

    /// The number in another format.
    pub(super) fn convert(self, a: u64, to: Format, control: Control) -> u64 {
        let a = self.flush(a, control);
        let negative = self.is_negative(a);
        match self.class(a) {
            Class::Zero => to.with_sign(negative, 0),
            Class::Infinite => to.with_sign(negative, to.infinity()),
            Class::Finite(x) => to.round(x, control),
            Class::Nan => {
                let payload = (a | self.quiet()) & ((1 << self.fraction) - 1);
                let aligned = match to.fraction >= self.fraction {
                    true => payload << (to.fraction - self.fraction),
                    false => payload >> (self.fraction - to.fraction),
                };
                to.with_sign(negative, to.infinity() | aligned)
            }
        }
    }
}
