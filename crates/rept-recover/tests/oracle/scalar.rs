//! Floating-point arithmetic on one element, by the processor's own scalar instructions.
//!
//! It lends the emulator of AVX-512 an arithmetic that shares nothing with that of the crate.
//! Half precision is computed in double precision, whose 53 bits are enough that rounding
//! once more gives what rounding once would (Figueroa, "When is double rounding innocuous?").

use std::arch::asm;

/// Exceptions masked, none raised.
const MASKED: u32 = 0x1f80;
/// Denormals-are-zero and flush-to-zero.
const FLUSHING: u32 = 0x8040;

/// Runs one instruction on doubles under an MXCSR.
macro_rules! on_doubles {
    ($instruction:literal, $mxcsr:expr, $x:expr, $y:expr) => {{
        let (new, mut old) = (($mxcsr as u32 & !0x3f) | MASKED, 0u32);
        let mut x = f64::from_bits($x);
        // SAFETY: changes nothing but the registers named, and MXCSR, which it puts back.
        unsafe {
            asm!(
                "stmxcsr [{old}]",
                "ldmxcsr [{new}]",
                concat!($instruction, " {x}, {y}"),
                "ldmxcsr [{old}]",
                old = in(reg) &raw mut old,
                new = in(reg) &raw const new,
                x = inout(xmm_reg) x,
                y = in(xmm_reg) f64::from_bits($y),
            );
        }
        x.to_bits()
    }};
}

macro_rules! fused {
    ($instruction:literal, $mxcsr:expr, $x:expr, $y:expr, $z:expr) => {{
        let (new, mut old) = (($mxcsr as u32 & !0x3f) | MASKED, 0u32);
        let mut z = f64::from_bits($z);
        // SAFETY: as above; the processor was asked whether it has the instruction.
        unsafe {
            asm!(
                "stmxcsr [{old}]",
                "ldmxcsr [{new}]",
                concat!($instruction, " {z}, {x}, {y}"),
                "ldmxcsr [{old}]",
                old = in(reg) &raw mut old,
                new = in(reg) &raw const new,
                z = inout(xmm_reg) z,
                x = in(xmm_reg) f64::from_bits($x),
                y = in(xmm_reg) f64::from_bits($y),
            );
        }
        z.to_bits()
    }};
}

/// `name` of two elements of `size` bytes; unary operations take the second.
pub(super) fn binary(name: &str, size: usize, x: u64, y: u64, mxcsr: u64) -> Option<u64> {
    Some(match (name, size) {
        ("add", 8) => on_doubles!("addsd", mxcsr, x, y),
        ("sub", 8) => on_doubles!("subsd", mxcsr, x, y),
        ("mul", 8) => on_doubles!("mulsd", mxcsr, x, y),
        ("div", 8) => on_doubles!("divsd", mxcsr, x, y),
        ("min", 8) => on_doubles!("minsd", mxcsr, x, y),
        ("max", 8) => on_doubles!("maxsd", mxcsr, x, y),
        ("sqrt", 8) => on_doubles!("sqrtsd", mxcsr, x, y),
        ("add", 4) => on_doubles!("addss", mxcsr, x, y) & 0xffff_ffff,
        ("sub", 4) => on_doubles!("subss", mxcsr, x, y) & 0xffff_ffff,
        ("mul", 4) => on_doubles!("mulss", mxcsr, x, y) & 0xffff_ffff,
        ("div", 4) => on_doubles!("divss", mxcsr, x, y) & 0xffff_ffff,
        ("min", 4) => on_doubles!("minss", mxcsr, x, y) & 0xffff_ffff,
        ("max", 4) => on_doubles!("maxss", mxcsr, x, y) & 0xffff_ffff,
        ("sqrt", 4) => on_doubles!("sqrtss", mxcsr, x, y) & 0xffff_ffff,
        ("min" | "max", 2) => {
            let mxcsr = mxcsr & !u64::from(FLUSHING);
            let chosen = binary(name, 8, from_half(x), from_half(y), mxcsr)?;
            if chosen == from_half(y) { y } else { x }
        }
        (_, 2) => {
            let mxcsr = mxcsr & !u64::from(FLUSHING);
            let result = binary(name, 8, from_half(x), from_half(y), mxcsr)?;
            to_half(result, mxcsr)
        }
        _ => return None,
    })
}

/// `x * y + z`, rounded once, with the signs that `name` (`madd`, `nmsub`) gives product and addend.
pub(super) fn fused(name: &str, size: usize, [x, y, z]: [u64; 3], mxcsr: u64) -> Option<u64> {
    if size == 2 {
        return Some(fused_half(name, [x, y, z], mxcsr));
    }
    if !std::arch::is_x86_feature_detected!("fma") {
        return None;
    }
    Some(match (name, size) {
        ("madd", 8) => fused!("vfmadd231sd", mxcsr, x, y, z),
        ("msub", 8) => fused!("vfmsub231sd", mxcsr, x, y, z),
        ("nmadd", 8) => fused!("vfnmadd231sd", mxcsr, x, y, z),
        ("nmsub", 8) => fused!("vfnmsub231sd", mxcsr, x, y, z),
        ("madd", 4) => fused!("vfmadd231ss", mxcsr, x, y, z) & 0xffff_ffff,
        ("msub", 4) => fused!("vfmsub231ss", mxcsr, x, y, z) & 0xffff_ffff,
        ("nmadd", 4) => fused!("vfnmadd231ss", mxcsr, x, y, z) & 0xffff_ffff,
        ("nmsub", 4) => fused!("vfnmsub231ss", mxcsr, x, y, z) & 0xffff_ffff,
        _ => return None,
    })
}

/// The same of half precision: in integers, of which products and sums are exact.
fn fused_half(name: &str, [x, y, z]: [u64; 3], mxcsr: u64) -> u64 {
    let [a, b, c] = [x, y, z].map(|bits| fields(2, bits, 0));
    let infinite = |x: &Fields| x.exponent == x.greatest;
    let zero = |x: &Fields| x.exponent == 0 && x.fraction == 0;
    let nan = [(x, &a), (y, &b), (z, &c)]
        .into_iter()
        .find(|(_, x)| infinite(x) && x.fraction != 0);
    if let Some((bits, _)) = nan {
        return bits | 0x200;
    }
    let product_sign = a.sign ^ b.sign ^ name.starts_with('n');
    let addend_sign = c.sign ^ name.ends_with("sub");
    let with_sign = |sign: bool, half: u64| half | u64::from(sign) << 15;
    if infinite(&a) || infinite(&b) {
        let invalid = zero(&a) || zero(&b) || infinite(&c) && product_sign != addend_sign;
        return if invalid {
            0xfe00
        } else {
            with_sign(product_sign, 0x7c00)
        };
    }
    if infinite(&c) {
        return with_sign(addend_sign, 0x7c00);
    }
    // In units of 2^-24, of products 2^-48.
    let units = |x: &Fields| match x.exponent {
        0 => i128::from(x.fraction),
        field => i128::from(x.fraction | 0x400) << (field - 1),
    };
    let signed = |sign: bool, magnitude: i128| if sign { -magnitude } else { magnitude };
    let product = signed(product_sign, units(&a) * units(&b));
    let sum = product + signed(addend_sign, units(&c) << 24);
    if sum == 0 {
        let cancels = product_sign != addend_sign;
        return with_sign(
            if cancels {
                mxcsr >> 13 & 3 == 1
            } else {
                addend_sign
            },
            0,
        );
    }
    let wide = sticky_double(sum.unsigned_abs()) / (1u64 << 48) as f64;
    to_half(wide.copysign(sum as f64).to_bits(), mxcsr)
}

/// An integer as a double that rounds to fewer bits as the integer does.
fn sticky_double(magnitude: u128) -> f64 {
    let shift = (128 - magnitude.leading_zeros()).saturating_sub(53);
    let rest = u64::from(magnitude & ((1 << shift) - 1) != 0);
    ((magnitude >> shift) as u64 | rest) as f64 * 2f64.powi(shift as i32)
}

/// A number in the format of `to` bytes.
pub(super) fn resized(from: usize, to: usize, bits: u64, mxcsr: u64) -> u64 {
    match (from, to) {
        (4, 8) => on_doubles!("cvtss2sd", mxcsr, 0, bits),
        (8, 4) => on_doubles!("cvtsd2ss", mxcsr, 0, bits) & 0xffff_ffff,
        (2, 8) => {
            let wide = from_half(bits);
            let is_nan = bits & 0x7fff > 0x7c00;
            wide | u64::from(is_nan) << 51
        }
        (2, _) => resized(8, 4, resized(2, 8, bits, 0), 0),
        (4, _) => to_half(resized(4, 8, bits, mxcsr), mxcsr),
        _ => {
            let flushed = mxcsr & 0x40 != 0 && bits >> 52 & 0x7ff == 0;
            to_half(if flushed { bits & 1 << 63 } else { bits }, mxcsr)
        }
    }
}

/// A number as an integer of `to` bytes, or what stands for none.
pub(super) fn to_integer(
    from: usize,
    to: usize,
    is_signed: bool,
    bits: u64,
    rounding: u64,
    mxcsr: u64,
) -> u64 {
    let x = fields(from, bits, mxcsr);
    let value = match from {
        _ if x.exponent == 0 && x.fraction == 0 => 0.0,
        8 => f64::from_bits(bits),
        4 => f64::from(f32::from_bits(bits as u32)),
        _ => f64::from_bits(from_half(bits)),
    };
    let whole = match rounding {
        0 => value.round_ties_even(),
        1 => value.floor(),
        2 => value.ceil(),
        _ => value.trunc(),
    };
    let width = 8 * to as i32;
    let ones = u64::MAX >> (64 - width);
    match is_signed {
        true if (-2f64.powi(width - 1)..2f64.powi(width - 1)).contains(&whole) => {
            whole as i64 as u64 & ones
        }
        true => 1 << (width - 1),
        false if (0.0..2f64.powi(width)).contains(&whole) => whole as u64,
        false => ones,
    }
}

/// An integer of `from` bytes as a number of `to` bytes.
pub(super) fn from_integer(from: usize, is_signed: bool, to: usize, bits: u64, mxcsr: u64) -> u64 {
    let shift = 64 - 8 * from as u32;
    let integer = match is_signed {
        true => i128::from((bits << shift) as i64 >> shift),
        false => i128::from(bits << shift >> shift),
    };
    let sign = if integer < 0 { -1.0 } else { 1.0 };
    let magnitude = integer.unsigned_abs();
    match to {
        8 => {
            // Two exact halves, whose sum is rounded once.
            let high = sign * (magnitude >> 32) as f64 * 2f64.powi(32);
            let low = sign * (magnitude & 0xffff_ffff) as f64;
            match integer {
                0 => 0,
                _ => on_doubles!("addsd", mxcsr, high.to_bits(), low.to_bits()),
            }
        }
        4 => resized(8, 4, (sign * sticky_double(magnitude)).to_bits(), mxcsr),
        _ => to_half((sign * sticky_double(magnitude)).to_bits(), mxcsr),
    }
}

/// `x * 2^floor(y)` (SDM volume 2, VSCALEFPD, tables of special cases).
pub(super) fn scaled(size: usize, x: u64, y: u64, mxcsr: u64) -> u64 {
    let mxcsr = if size == 2 {
        mxcsr & !u64::from(FLUSHING)
    } else {
        mxcsr
    };
    let (a, b) = (fields(size, x, mxcsr), fields(size, y, mxcsr));
    let is_nan = |x: &Fields| x.exponent == x.greatest && x.fraction != 0;
    let quiet = 1 << (a.places - 1);
    let (sign, infinity) = (u64::from(a.sign) << (8 * size - 1), a.greatest << a.places);
    let a_zero = a.exponent == 0 && a.fraction == 0;
    let limit = if b.sign { 0 } else { infinity };
    let b_infinite = b.exponent == b.greatest && b.fraction == 0;
    if is_nan(&a) {
        return if b_infinite && a.fraction & quiet != 0 {
            limit
        } else {
            x | quiet
        };
    }
    if is_nan(&b) {
        return y | quiet;
    }
    let invalid = match a.exponent == a.greatest {
        true => b_infinite && b.sign,
        false => b_infinite && !b.sign && a_zero,
    };
    if invalid {
        return 1 << (8 * size - 1) | infinity | quiet;
    }
    if a_zero {
        return sign;
    }
    if a.exponent == a.greatest {
        return x;
    }
    if b_infinite {
        return sign | limit;
    }
    let neutral = resized_to_double(size, y, mxcsr);
    let power = neutral.floor().clamp(-4096.0, 4096.0) as i32;
    let value = resized_to_double(size, x, mxcsr);
    match size {
        8 => scaled_double(value, power, mxcsr),
        _ => {
            let wide = value * 2f64.powi(power.clamp(-400, 400));
            resized(8, size, wide.to_bits(), mxcsr)
        }
    }
}

/// Exactly, but that denormals are zeros where MXCSR says so.
fn resized_to_double(size: usize, bits: u64, mxcsr: u64) -> f64 {
    let x = fields(size, bits, mxcsr);
    match size {
        _ if x.exponent == 0 && x.fraction == 0 => 0.0,
        8 => f64::from_bits(bits),
        _ => f64::from_bits(resized(size, 8, bits, 0)),
    }
}

/// One product that rounds, of factors that do not.
fn scaled_double(value: f64, power: i32, mxcsr: u64) -> u64 {
    let value = if value.is_subnormal() {
        (value * 2f64.powi(100), power - 100)
    } else {
        (value, power)
    };
    let exponent = (value.0.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    let significand = f64::from_bits(value.0.to_bits() & !(0x7ff << 52) | 1023 << 52);
    let total = (exponent + value.1).clamp(-2000, 2000);
    let (first, second) = match total {
        -1022..=1023 => (0, total),
        _ => (total / 2, total - total / 2),
    };
    let scaled = significand * 2f64.powi(first);
    on_doubles!(
        "mulsd",
        mxcsr,
        scaled.to_bits(),
        2f64.powi(second).to_bits()
    )
}

/// What rounding to a multiple of `2^-places` takes off (SDM volume 2, VREDUCEPD).
pub(super) fn reduced(size: usize, bits: u64, places: u64, rounding: u64, mxcsr: u64) -> u64 {
    let x = fields(size, bits, mxcsr);
    if x.exponent == x.greatest {
        return if x.fraction == 0 {
            0
        } else {
            bits | 1 << (x.places - 1)
        };
    }
    let multiple = rounded(size, bits, places, rounding, mxcsr);
    let mxcsr = mxcsr & !0x6000 | rounding << 13;
    binary("sub", size, bits, multiple, mxcsr).unwrap_or(0)
}

/// Less, equal, greater or (`None`) unordered.
pub(super) fn order(size: usize, x: u64, y: u64, mxcsr: u64) -> Option<std::cmp::Ordering> {
    let flushed =
        |bits: u64, sign: u64, exponent: u64| match mxcsr & 0x40 != 0 && bits & exponent == 0 {
            true => bits & sign,
            false => bits,
        };
    let value = |bits: u64| match size {
        8 => f64::from_bits(flushed(bits, 1 << 63, 0x7ff << 52)),
        4 => f64::from(f32::from_bits(flushed(bits, 1 << 31, 0xff << 23) as u32)),
        _ => f64::from_bits(from_half(bits)),
    };
    value(x).partial_cmp(&value(y))
}

/// A format's fields: (sign, exponent, fraction), their masks, and the bits of the fraction.
pub(super) struct Fields {
    pub(super) sign: bool,
    pub(super) exponent: u64,
    pub(super) fraction: u64,
    pub(super) greatest: u64,
    pub(super) places: u32,
}

/// Denormals count as zeros where MXCSR says so, but for half precision.
pub(super) fn fields(size: usize, bits: u64, mxcsr: u64) -> Fields {
    let (places, wide) = match size {
        8 => (52, 11),
        4 => (23, 8),
        _ => (10, 5),
    };
    let (exponent, greatest) = (bits >> places & ((1 << wide) - 1), (1 << wide) - 1);
    let fraction = match exponent == 0 && mxcsr & 0x40 != 0 && size != 2 {
        true => 0,
        false => bits & ((1 << places) - 1),
    };
    Fields {
        sign: bits >> (places + wide) & 1 == 1,
        exponent,
        fraction,
        greatest,
        places,
    }
}

/// CheckFPClass of the manual (SDM volume 2, VFPCLASSPD), all kinds at once.
pub(super) fn kinds(size: usize, bits: u64, mxcsr: u64) -> u8 {
    let x = fields(size, bits, mxcsr);
    let (ones, zeros) = (x.exponent == x.greatest, x.exponent == 0);
    let (empty, quiet) = (x.fraction == 0, x.fraction >> (x.places - 1) & 1 == 1);
    let kinds = [
        ones && !empty && quiet,
        !x.sign && zeros && empty,
        x.sign && zeros && empty,
        !x.sign && ones && empty,
        x.sign && ones && empty,
        zeros && !empty,
        x.sign && !ones && !(zeros && empty),
        ones && !empty && !quiet,
    ];
    (0..8).fold(0, |all, kind| all | u8::from(kinds[kind]) << kind)
}

/// The exponent of a number as a number: by counting, not by arithmetic.
pub(super) fn exponent(size: usize, bits: u64, mxcsr: u64) -> u64 {
    let x = fields(size, bits, mxcsr);
    let infinity = x.greatest << x.places;
    let bias = (x.greatest / 2) as i64;
    match (x.exponent == x.greatest, x.fraction == 0) {
        (true, true) => infinity,
        (true, false) => bits | 1 << (x.places - 1),
        _ if x.exponent == 0 && x.fraction == 0 => infinity | (x.greatest + 1) << x.places,
        _ => {
            let power = match x.exponent {
                0 => 1 - bias - i64::from(x.places) + i64::from(x.fraction.ilog2()),
                field => field as i64 - bias,
            };
            shrink(size, power as f64)
        }
    }
}

/// A double that the format holds exactly.
fn shrink(size: usize, x: f64) -> u64 {
    match size {
        8 => x.to_bits(),
        4 => u64::from((x as f32).to_bits()),
        _ => to_half(x.to_bits(), 0),
    }
}

/// Rounded to a multiple of `2^-places`.
pub(super) fn rounded(size: usize, bits: u64, places: u64, rounding: u64, mxcsr: u64) -> u64 {
    let x = fields(size, bits, mxcsr);
    if x.exponent == x.greatest {
        let quiet = if x.fraction == 0 {
            0
        } else {
            1 << (x.places - 1)
        };
        return bits | quiet;
    }
    let sign = u64::from(x.sign) << (size * 8 - 1);
    if x.exponent == 0 && x.fraction == 0 {
        return sign;
    }
    let value = match size {
        8 => f64::from_bits(bits),
        4 => f64::from(f32::from_bits(bits as u32)),
        _ => f64::from_bits(from_half(bits)),
    };
    // What has no bits below the unit stays; the rest can be scaled without overflow.
    if value.abs() >= 4_503_599_627_370_496.0 {
        return bits;
    }
    let scaled = value * (1u64 << places) as f64;
    let integral = match rounding {
        0 => scaled.round_ties_even(),
        1 => scaled.floor(),
        2 => scaled.ceil(),
        _ => scaled.trunc(),
    };
    let result = integral / (1u64 << places) as f64;
    shrink(size, result.copysign(value))
}

/// A number of half precision as a double; a NaN keeps its payload and kind.
pub(super) fn from_half(bits: u64) -> u64 {
    let (sign, exponent, fraction) = (bits >> 15 & 1, bits >> 10 & 31, bits & 0x3ff);
    let magnitude = match exponent {
        31 => 0x7ff << 52 | fraction << 42,
        0 => (fraction as f64 / f64::from(1 << 24)).to_bits(),
        _ => (exponent + 1023 - 15) << 52 | fraction << 42,
    };
    sign << 63 | magnitude
}

/// A double rounded to half precision as MXCSR says; never flushed to zero.
pub(super) fn to_half(bits: u64, mxcsr: u64) -> u64 {
    let (sign, magnitude) = (bits >> 63, bits << 1 >> 1);
    let (exponent, fraction) = ((magnitude >> 52) as i64, magnitude & ((1 << 52) - 1));
    let signed = |half: u64| sign << 15 | half;
    if exponent == 0x7ff {
        let quiet = if fraction != 0 {
            0x200 | fraction >> 42
        } else {
            0
        };
        return signed(0x7c00 | quiet);
    }
    if magnitude == 0 {
        return signed(0);
    }
    // In units of the last place, which for denormals is 2^-24.
    let power = exponent.max(1) - 1023;
    let last = power.max(-14) - 10;
    let significand = u128::from(if exponent == 0 {
        fraction
    } else {
        fraction | 1 << 52
    }) << 60;
    let shift = (last - (power - 52) + 60).min(127);
    let (quotient, rest) = (significand >> shift, significand & ((1 << shift) - 1));
    let half = 1u128 << (shift - 1);
    let up = match mxcsr >> 13 & 3 {
        0 => rest > half || rest == half && quotient & 1 == 1,
        1 => sign == 1 && rest != 0,
        2 => sign == 0 && rest != 0,
        _ => false,
    };
    let units = quotient as u64 + u64::from(up);
    let half = units + ((last + 24) as u64) * 0x400;
    let overflows = half >= 0x7c00 || last > 5;
    let stays_finite = matches!((mxcsr >> 13 & 3, sign), (3, _) | (1, 0) | (2, 1));
    match (overflows, stays_finite) {
        (false, _) => signed(half),
        (true, true) => signed(0x7bff),
        (true, false) => signed(0x7c00),
    }
}
