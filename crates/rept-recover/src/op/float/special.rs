//! What AVX-512 does to numbers besides arithmetic: their significands, powers of two, ranges,
//! what rounding takes off, and repairs by a table.
//!
//! The authority is Intel SDM volume 2 under the instruction that each function names. Where its
//! editions differ (denormals that MXCSR would flush, in VGETMANT, VREDUCE and VFIXUPIMM), nothing
//! is learned.

use super::soft::{Class, Control, Format, Number, Rounding};
use super::{ROUND_BY_MXCSR, Rule, forward, known};
use crate::bits::{Bits, mask};
use crate::op::Known;

/// Flush-to-zero and denormals-are-zero in MXCSR.
const FLUSHING: u64 = 0x8040;
/// Powers of two beyond which every format is left.
const POWER_LIMIT: u128 = 4096;
/// Denormals-are-zero in the word of VFIXUPIMM's table.
const TABLE_DENORMALS: u32 = 38;

impl Format {
    fn one(self) -> u64 {
        (self.bias() as u64) << self.fraction_bits()
    }

    fn is_denormal(self, bits: u64) -> bool {
        bits & self.infinity() == 0 && self.fraction_of(bits) != 0
    }

    fn is_signalling(self, bits: u64) -> bool {
        self.is_nan(bits) && bits & self.quiet() == 0
    }

    /// VGETMANT: bits 0 and 1 of `n` choose the interval, bit 2 says that the result is positive,
    /// bit 3 that negative numbers are invalid.
    fn mantissa(self, a: u64, n: u16, control: Control) -> u64 {
        let a = self.flush(a, control);
        if let Some(nan) = self.propagate(&[a]) {
            return nan;
        }
        let negative = self.is_negative(a);
        let sign = negative && n & 4 == 0;
        match self.class(a) {
            Class::Zero => self.with_sign(sign, self.one()),
            _ if negative && n & 8 != 0 => self.indefinite(),
            Class::Finite(x) => self.with_sign(sign, self.normalized(x, n)),
            _ => self.with_sign(sign, self.one()),
        }
    }

    /// The significand of `x` in an interval: `[1, 2)`, `[1/2, 2)`, `[1/2, 1)` or `[3/4, 3/2)`.
    fn normalized(self, x: Number, interval: u16) -> u64 {
        let top = x.significand.ilog2();
        let fraction = self.fraction_of((x.significand << (self.fraction_bits() - top)) as u64);
        let halved = match interval & 3 {
            0 => false,
            1 => (x.exponent + top as i32) & 1 != 0,
            2 => true,
            _ => fraction & self.quiet() != 0,
        };
        let one = self.one() - (u64::from(halved) << self.fraction_bits());
        one | fraction
    }

    /// VSCALEF.
    fn scale(self, a: u64, b: u64, control: Control) -> u64 {
        let (a, b) = (self.flush(a, control), self.flush(b, control));
        let shrinks = self.is_negative(b);
        let limit = if shrinks { 0 } else { self.infinity() };
        match (self.class(a), self.class(b)) {
            (Class::Nan, Class::Infinite) if !self.is_signalling(a) => limit,
            (Class::Nan, _) => a | self.quiet(),
            (_, Class::Nan) => b | self.quiet(),
            (Class::Infinite, Class::Infinite) if shrinks => self.indefinite(),
            (Class::Zero, Class::Infinite) if !shrinks => self.indefinite(),
            (Class::Infinite | Class::Zero, _) => a,
            (Class::Finite(_), Class::Infinite) => self.with_sign(self.is_negative(a), limit),
            (Class::Finite(x), Class::Zero) => self.round(x, control),
            (Class::Finite(x), Class::Finite(power)) => {
                let exponent = x.exponent + floor(power);
                self.round(Number { exponent, ..x }, control)
            }
        }
    }

    /// VRANGE: bits 0 and 1 of `n` choose the greater, or by magnitude; bits 2 and 3 the sign.
    fn range(self, a: u64, b: u64, n: u16, control: Control) -> u64 {
        if let Some(nan) = [a, b].into_iter().find(|&x| self.is_signalling(x)) {
            return nan | self.quiet();
        }
        let (a, b) = (self.flush(a, control), self.flush(b, control));
        let chosen = match (self.is_nan(a), self.is_nan(b)) {
            (_, true) => a,
            (true, false) => b,
            _ if self.is_lower(a, b, n & 2 != 0) == (n & 1 == 0) => a,
            _ => b,
        };
        let negative = match n >> 2 & 3 {
            0 => self.is_negative(a),
            1 => self.is_negative(chosen),
            choice => choice == 3,
        };
        self.with_sign(negative, self.magnitude(chosen))
    }

    fn magnitude(self, bits: u64) -> u64 {
        bits & (self.sign() - 1)
    }

    /// Lower, or by magnitude smaller; of equals the negative one is lower.
    fn is_lower(self, a: u64, b: u64, by_magnitude: bool) -> bool {
        let (x, y) = (self.magnitude(a), self.magnitude(b));
        match (self.is_negative(a), self.is_negative(b)) {
            _ if by_magnitude && x != y => x < y,
            (false, false) => x < y,
            (true, true) => x > y,
            (negative, _) => negative,
        }
    }

    /// VREDUCE: what rounding to a multiple of `2^-places` takes off.
    fn reduce(self, a: u64, places: i32, control: Control) -> u64 {
        let a = self.flush(a, control);
        if let Some(nan) = self.propagate(&[a]) {
            return nan;
        }
        match self.class(a) {
            Class::Infinite => 0,
            _ => {
                let multiple = self.round_to_places(a, places, control.rounding, control);
                self.subtract(a, multiple, control)
            }
        }
    }

    /// Which of the eight entries of VFIXUPIMM's table a number has.
    fn token(self, a: u64) -> u32 {
        let negative = self.is_negative(a);
        match self.class(a) {
            Class::Nan => u32::from(self.is_signalling(a)),
            Class::Zero => 2,
            Class::Finite(_) if a == self.one() => 3,
            Class::Infinite => 5 - u32::from(negative),
            Class::Finite(_) => 7 - u32::from(negative),
        }
    }

    /// What an entry of VFIXUPIMM's table makes of a number `a`, in the place of `old`.
    fn respond(self, entry: u64, old: u64, a: u64) -> u64 {
        let double = |bits| {
            let format = Format::of(64).unwrap_or(self);
            format.convert(bits, self, Control::EXACT)
        };
        let greatest = self.infinity() - 1;
        match entry & 15 {
            0 => old,
            1 => a,
            2 => a | self.infinity() | self.quiet(),
            3 => self.indefinite(),
            4 => self.with_sign(true, self.infinity()),
            5 => self.infinity(),
            6 => self.with_sign(self.is_negative(a), self.infinity()),
            7 => self.with_sign(true, 0),
            8 => 0,
            9 => self.with_sign(true, self.one()),
            10 => self.one(),
            11 => double(0.5f64.to_bits()),
            12 => double(90f64.to_bits()),
            13 => double(std::f64::consts::FRAC_PI_2.to_bits()),
            14 => greatest,
            _ => self.with_sign(true, greatest),
        }
    }
}

/// The integer below a number, as far as it matters.
fn floor(number: Number) -> i32 {
    let magnitude = match number.exponent > 64 {
        true => POWER_LIMIT,
        false => number.quotient(0, Rounding::Down).min(POWER_LIMIT),
    } as i32;
    if number.negative {
        -magnitude
    } else {
        magnitude
    }
}

/// The rounding of VRNDSCALE's and VREDUCE's immediate.
fn chosen_rounding(n: u16, control: Control) -> Rounding {
    match n & ROUND_BY_MXCSR {
        0 => Rounding::from_bits(u64::from(n)),
        _ => control.rounding,
    }
}

pub(in crate::op) fn eval_mantissa(w: u32, n: u16, a: u64, b: u64, _: u64) -> u64 {
    Format::of(w).map_or(0, |format| format.mantissa(a, n, Control::from_mxcsr(b)))
}

pub(in crate::op) fn eval_reduce(w: u32, n: u16, a: u64, b: u64, _: u64) -> u64 {
    let control = Control::from_mxcsr(b);
    let control = Control {
        rounding: chosen_rounding(n, control),
        ..control
    };
    Format::of(w).map_or(0, |format| {
        format.reduce(a, i32::from(n >> 4 & 15), control)
    })
}

pub(in crate::op) fn eval_scale(w: u32, _: u16, a: u64, b: u64, c: u64) -> u64 {
    Format::of(w).map_or(0, |format| format.scale(a, b, Control::from_mxcsr(c)))
}

pub(in crate::op) fn eval_range(w: u32, n: u16, a: u64, b: u64, c: u64) -> u64 {
    Format::of(w).map_or(0, |format| format.range(a, b, n, Control::from_mxcsr(c)))
}

pub(in crate::op) fn eval_fix_up(_: u32, n: u16, a: u64, b: u64, c: u64) -> u64 {
    let width = u32::from(n);
    let (a, b) = (a & mask(width), b & mask(width));
    Format::of(width).map_or(0, |format| {
        let control = Control {
            denormals_are_zero: c >> TABLE_DENORMALS & 1 == 1,
            ..Control::EXACT
        };
        let b = format.flush(b, control);
        format.respond(c >> (4 * format.token(b)), a, b)
    })
}

/// `a` may be flushed, which editions of the manual understand differently.
fn is_contested(w: u32, a: u64, mxcsr: Bits) -> bool {
    let may_flush = FLUSHING & !mxcsr.zeros() != 0;
    may_flush && Format::of(w).is_some_and(|format| format.is_denormal(a))
}

pub(in crate::op) fn mantissa(w: u32, n: u16, k: &mut Known) -> Rule {
    let a = k.a;
    let uncontested = known(w, a) && !is_contested(w, a.value, k.b);
    forward(w, uncontested, k.b, &mut k.d, |b| {
        eval_mantissa(w, n, a.value, b, 0)
    })
}

pub(in crate::op) fn reduce(w: u32, n: u16, k: &mut Known) -> Rule {
    let a = k.a;
    let uncontested = known(w, a) && !is_contested(w, a.value, k.b);
    forward(w, uncontested, k.b, &mut k.d, |b| {
        eval_reduce(w, n, a.value, b, 0)
    })
}

pub(in crate::op) fn scale(w: u32, n: u16, k: &mut Known) -> Rule {
    let (a, b) = (k.a, k.b);
    forward(w, known(w, a) && known(w, b), k.c, &mut k.d, |c| {
        eval_scale(w, n, a.value, b.value, c)
    })
}

pub(in crate::op) fn range(w: u32, n: u16, k: &mut Known) -> Rule {
    let (a, b) = (k.a, k.b);
    forward(w, known(w, a) && known(w, b), k.c, &mut k.d, |c| {
        eval_range(w, n, a.value, b.value, c)
    })
}

/// A number is replaced by what its entry says, when number and entry are known.
pub(in crate::op) fn fix_up(_: u32, n: u16, k: &mut Known) -> Rule {
    let width = u32::from(n);
    let Some(format) = Format::of(width).filter(|_| known(width, k.b)) else {
        return Ok(());
    };
    let b = k.b.value & mask(width);
    let denormals_stay = k.c.zeros() >> TABLE_DENORMALS & 1 == 1;
    let entry = k.c.field(4 * format.token(b), 4);
    let contested = format.is_denormal(b) && !denormals_stay
        // What the quiet NaN of a number is, the manual does not say.
        || entry.value == 2 && !format.is_nan(b);
    if contested || !known(4, entry) {
        return Ok(());
    }
    let result = match entry.value {
        0 => Bits::new(k.a.known | !mask(width), k.a.value & mask(width)),
        value => Bits::constant(format.respond(value, 0, b)),
    };
    k.d.learn(result).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOUBLE: u32 = 64;

    #[track_caller]
    fn check(found: u64, wanted: f64) {
        assert_eq!(
            found,
            wanted.to_bits(),
            "{} not {wanted}",
            f64::from_bits(found)
        );
    }

    #[test]
    fn significands_lie_in_their_intervals() {
        for (n, wanted) in [(0, 1.25), (1, 1.25), (2, 0.625), (3, 1.25)] {
            check(eval_mantissa(DOUBLE, n, 20f64.to_bits(), 0, 0), wanted);
        }
        // 12 is 1.5 * 2^3: an odd power, and a significand above 3/2.
        for (n, wanted) in [(0, 1.5), (1, 0.75), (2, 0.75), (3, 0.75)] {
            check(eval_mantissa(DOUBLE, n, 12f64.to_bits(), 0, 0), wanted);
        }
        check(eval_mantissa(DOUBLE, 0, (-5e-324f64).to_bits(), 0, 0), -1.0);
        check(eval_mantissa(DOUBLE, 4, (-6f64).to_bits(), 0, 0), 1.5);
        let indefinite = eval_mantissa(DOUBLE, 8, (-6f64).to_bits(), 0, 0);
        assert_eq!(indefinite, 0xfff8 << 48);
    }

    #[test]
    fn powers_are_rounded_down_and_limited() {
        let scale = |x: f64, y: f64| eval_scale(DOUBLE, 0, x.to_bits(), y.to_bits(), 0);
        check(scale(3.0, 2.9), 12.0);
        check(scale(3.0, -0.1), 1.5);
        check(scale(-1.0, 1e300), f64::NEG_INFINITY);
        check(scale(-1.0, -1e300), -0.0);
        check(scale(5e-324, 1074.0), 1.0);
        check(scale(f64::NAN, f64::NEG_INFINITY), 0.0);
    }

    #[test]
    fn of_equal_magnitudes_the_sign_decides() {
        let range = |n, x: f64, y: f64| eval_range(DOUBLE, n, x.to_bits(), y.to_bits(), 0);
        check(range(0b0110, 2.0, -2.0), -2.0);
        check(range(0b0111, -2.0, 2.0), 2.0);
        check(range(0b0101, -0.0, 0.0), 0.0);
        check(range(0b0010, -3.0, 1.0), -1.0);
        check(range(0b0100, f64::NAN, 1.0), 1.0);
    }

    #[test]
    fn reductions_leave_what_rounding_takes() {
        let reduce = |n, x: f64| eval_reduce(DOUBLE, n, x.to_bits(), 0, 0);
        check(reduce(0x03, 2.75), 0.75);
        check(reduce(0x10, 2.75), -0.25);
        check(reduce(0x01, 4.0), -0.0);
        check(reduce(0x02, 2.75), -0.25);
        check(reduce(0x00, f64::INFINITY), 0.0);
    }

    #[test]
    fn repairs_follow_the_table() {
        let fix = |table: u64, x: f64| eval_fix_up(64, 64, 7f64.to_bits(), x.to_bits(), table);
        check(fix(0, 3.0), 7.0);
        check(fix(0xd << 8, -0.0), std::f64::consts::FRAC_PI_2);
        check(fix(0xb << 12, 1.0), 0.5);
        check(fix(0x6 << 16, f64::NEG_INFINITY), f64::NEG_INFINITY);
        check(fix(0xe << 28, 3.0), f64::MAX);
        let tiny = eval_fix_up(64, 32, 0, 1, 0xa << 8 | 1 << TABLE_DENORMALS);
        assert_eq!(tiny, u64::from(1f32.to_bits()));
    }
}
