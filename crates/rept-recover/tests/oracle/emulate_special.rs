//! The emulator's significands, powers of two, ranges, reductions and repairs by a table, after
//! the pseudo-code of the manual (SDM volume 2, VGETMANTPD, VSCALEFPD, VRANGEPD, VREDUCEPD,
//! VFIXUPIMMPD).

use crate::emulate::{Cpu, Elements};
use crate::scalar::{self, Fields, fields};

/// Denormals-are-zero and flush-to-zero.
const FLUSHING: u64 = 0x8040;

impl Cpu<'_> {
    /// `None` when the name is not one of these.
    pub(super) fn special(
        &mut self,
        stem: &str,
        size: usize,
        count: usize,
        packed: bool,
    ) -> Option<Option<()>> {
        let imm = self
            .instruction
            .try_immediate(self.instruction.op_count() - 1);
        let imm = imm.unwrap_or(0) as u8;
        Some(match stem {
            "getmant" => self.one_operand(size, count, packed, |x, mxcsr| {
                mantissa(size, x, imm, mxcsr)
            }),
            "reduce" => self.one_operand(size, count, packed, |x, mxcsr| {
                let rounding = if imm & 4 == 0 {
                    imm.into()
                } else {
                    mxcsr >> 13
                } & 3;
                scalar::reduced(size, x, u64::from(imm >> 4), rounding, mxcsr)
            }),
            "scalef" => self.two_operands(size, count, packed, |x, y, mxcsr| {
                scalar::scaled(size, x, y, mxcsr)
            }),
            "range" => self.two_operands(size, count, packed, |x, y, mxcsr| {
                range(size, x, y, imm, mxcsr)
            }),
            "fixupimm" => self.fix_up(size, count, packed),
            _ => return None,
        })
    }

    /// Editions of the manual differ about denormals that MXCSR would flush.
    fn leave_open(&mut self, size: usize, x: &[u64]) {
        let mxcsr = self.world.state.mxcsr;
        let contested = |x: &u64| {
            let x = fields(size, *x, 0);
            x.exponent == 0 && x.fraction != 0
        };
        self.open |= size != 2 && mxcsr & FLUSHING != 0 && x.iter().any(contested);
    }

    fn one_operand(
        &mut self,
        size: usize,
        count: usize,
        packed: bool,
        f: impl Fn(u64, u64) -> u64,
    ) -> Option<()> {
        let x = self.elements(self.instruction.op_count() - 2, size, count)?;
        self.leave_open(size, &x);
        let mxcsr = self.world.state.mxcsr;
        let results: Elements = x.iter().map(|&x| f(x, mxcsr)).collect();
        self.set_floats(size, &results, packed)
    }

    fn two_operands(
        &mut self,
        size: usize,
        count: usize,
        packed: bool,
        f: impl Fn(u64, u64, u64) -> u64,
    ) -> Option<()> {
        let (x, y) = (
            self.elements(1, size, count)?,
            self.elements(2, size, count)?,
        );
        let mxcsr = self.control();
        let results: Elements = x.iter().zip(&y).map(|(&x, &y)| f(x, y, mxcsr)).collect();
        self.set_floats(size, &results, packed)
    }

    fn fix_up(&mut self, size: usize, count: usize, packed: bool) -> Option<()> {
        let [old, x, tables] = [0, 1, 2].map(|operand| self.elements(operand, size, count));
        let (old, x, tables) = (old?, x?, tables?);
        self.leave_open(size, &x);
        let mut results = Elements::new();
        for i in 0..count {
            match fixed(size, old[i], x[i], tables[i]) {
                Some(result) => results.push(result),
                // The quiet NaN of what is no NaN.
                None => {
                    self.open = true;
                    results.push(0);
                }
            }
        }
        self.set_floats(size, &results, packed)
    }
}

fn one(x: &Fields) -> u64 {
    (x.greatest / 2) << x.places
}

fn infinity(x: &Fields) -> u64 {
    x.greatest << x.places
}

fn quiet(x: &Fields) -> u64 {
    1 << (x.places - 1)
}

fn sign_bit(size: usize) -> u64 {
    1 << (8 * size - 1)
}

fn mantissa(size: usize, bits: u64, imm: u8, mxcsr: u64) -> u64 {
    let x = fields(size, bits, mxcsr);
    let sign = if x.sign && imm & 4 == 0 {
        sign_bit(size)
    } else {
        0
    };
    let (zero, special) = (x.exponent == 0 && x.fraction == 0, x.exponent == x.greatest);
    if special && x.fraction != 0 {
        return bits | quiet(&x);
    }
    if zero || special && !x.sign {
        return sign | one(&x);
    }
    if x.sign && imm & 8 != 0 {
        return sign_bit(size) | infinity(&x) | quiet(&x);
    }
    if special {
        return sign | one(&x);
    }
    let bias = x.greatest / 2;
    let (mut exponent, mut fraction) = (x.exponent as i64, x.fraction);
    if exponent == 0 {
        exponent = bias as i64;
        let mut hidden = 0;
        while hidden == 0 {
            hidden = fraction >> (x.places - 1) & 1;
            fraction = fraction << 1 & ((1 << x.places) - 1);
            exponent -= 1;
        }
    }
    let odd = (exponent - bias as i64) & 1 != 0;
    let less = match imm & 3 {
        0 => false,
        1 => odd,
        2 => true,
        _ => fraction & quiet(&x) != 0,
    };
    sign | (bias - u64::from(less)) << x.places | fraction
}

fn range(size: usize, a: u64, b: u64, imm: u8, mxcsr: u64) -> u64 {
    let (x, y) = (fields(size, a, mxcsr), fields(size, b, mxcsr));
    let is_nan = |x: &Fields| x.exponent == x.greatest && x.fraction != 0;
    let signals = |x: &Fields| is_nan(x) && x.fraction & quiet(x) == 0;
    if signals(&x) {
        return a | quiet(&x);
    }
    if signals(&y) {
        return b | quiet(&y);
    }
    let magnitude = |x: &Fields| x.exponent << x.places | x.fraction;
    let (small, large) = (magnitude(&x), magnitude(&y));
    let not_above = |by_magnitude: bool| match (x.sign, y.sign) {
        _ if by_magnitude => small <= large,
        (false, false) => small <= large,
        (true, true) => small >= large,
        (negative, _) => negative || small == 0 && large == 0,
    };
    // Of equal magnitudes with opposite signs, minima are negative and maxima positive.
    let opposite = small == large && x.sign != y.sign;
    let (both_zero, by_magnitude, greater) = (small | large == 0, imm & 2 != 0, imm & 1 != 0);
    let first = if is_nan(&y) {
        true
    } else if is_nan(&x) {
        false
    } else if opposite && (both_zero || by_magnitude) {
        x.sign != greater
    } else {
        not_above(by_magnitude) != greater
    };
    let (chosen, value) = if first { (&x, small) } else { (&y, large) };
    let negative = match imm >> 2 & 3 {
        0 => x.sign,
        1 => chosen.sign,
        2 => false,
        _ => true,
    };
    value | if negative { sign_bit(size) } else { 0 }
}

/// `None` where the manual does not say.
fn fixed(size: usize, old: u64, bits: u64, table: u64) -> Option<u64> {
    let x = fields(size, bits, 0);
    let special = x.exponent == x.greatest;
    let token = if special && x.fraction != 0 {
        u32::from(x.fraction & quiet(&x) == 0)
    } else if x.exponent == 0 && x.fraction == 0 {
        2
    } else if bits == one(&x) {
        3
    } else if special {
        if x.sign { 4 } else { 5 }
    } else if x.sign {
        6
    } else {
        7
    };
    let negative = sign_bit(size);
    let is_double = size == 8;
    Some(match table >> (4 * token) & 15 {
        0 => old,
        1 => bits,
        2 if token < 2 => bits | quiet(&x),
        2 => return None,
        3 => negative | infinity(&x) | quiet(&x),
        4 => negative | infinity(&x),
        5 => infinity(&x),
        6 => bits & negative | infinity(&x),
        7 => negative,
        8 => 0,
        9 => negative | one(&x),
        10 => one(&x),
        11 if is_double => 0x3fe0_0000_0000_0000,
        11 => 0x3f00_0000,
        12 if is_double => 0x4056_8000_0000_0000,
        12 => 0x42b4_0000,
        13 if is_double => 0x3ff9_21fb_5444_2d18,
        13 => 0x3fc9_0fdb,
        14 => infinity(&x) - 1,
        _ => negative | (infinity(&x) - 1),
    })
}
