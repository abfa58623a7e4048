//! Floating point, forward: results follow from operands and MXCSR, operands from nothing.
//!
//! Addition and its kin lose too much to be worth inverting; moves and sign masks, which
//! programs undo, are wires and logic. MXCSR is an operand because rounding and denormal
//! control change results; where some of its control bits are unknown the rule keeps what all
//! settings agree on, which is everything when the result is exact.

mod extended;
mod soft;
pub(super) mod special;

use super::{Known, Rule};
use crate::bits::{Bits, mask};
use extended::Extended;
use soft::{Control, Format, Rounding};
use std::cmp::Ordering;

/// Rounding control, flush-to-zero and denormals-are-zero in MXCSR.
pub(crate) const CONTROL: u64 = 0xe040;

/// ROUNDPS: bit of the immediate that takes the rounding mode from MXCSR.
const ROUND_BY_MXCSR: u16 = 4;
/// Conversions to integers: bit of the source width that says truncate.
pub(crate) const TRUNCATE: u16 = 0x80;
/// Conversions from and to integers: these are unsigned.
pub(crate) const UNSIGNED: u16 = 0x8000;
/// Fused operations: the product is subtracted.
pub(crate) const NEGATE_PRODUCT: u16 = 1;
/// Fused operations: the addend is subtracted.
pub(crate) const NEGATE_ADDEND: u16 = 2;

/// Outcomes of a comparison, for the immediate of `Op::FloatCompare`.
pub(crate) const LESS: u16 = 1;
/// Equal.
pub(crate) const EQUAL: u16 = 2;
/// Greater.
pub(crate) const GREATER: u16 = 4;
/// Some operand is a NaN.
pub(crate) const UNORDERED: u16 = 8;

fn binary(w: u32, a: u64, b: u64, mxcsr: u64, f: fn(Format, u64, u64, Control) -> u64) -> u64 {
    Format::of(w).map_or(0, |format| f(format, a, b, Control::from_mxcsr(mxcsr)))
}

pub(super) fn eval_add(w: u32, _: u16, a: u64, b: u64, c: u64) -> u64 {
    binary(w, a, b, c, Format::add)
}

pub(super) fn eval_sub(w: u32, _: u16, a: u64, b: u64, c: u64) -> u64 {
    binary(w, a, b, c, Format::subtract)
}

pub(super) fn eval_mul(w: u32, _: u16, a: u64, b: u64, c: u64) -> u64 {
    binary(w, a, b, c, Format::multiply)
}

pub(super) fn eval_div(w: u32, _: u16, a: u64, b: u64, c: u64) -> u64 {
    binary(w, a, b, c, Format::divide)
}

pub(super) fn eval_min(w: u32, _: u16, a: u64, b: u64, c: u64) -> u64 {
    binary(w, a, b, c, |format, a, b, control| {
        format.extreme(a, b, Ordering::Less, control)
    })
}

pub(super) fn eval_max(w: u32, _: u16, a: u64, b: u64, c: u64) -> u64 {
    binary(w, a, b, c, |format, a, b, control| {
        format.extreme(a, b, Ordering::Greater, control)
    })
}

pub(super) fn eval_sqrt(w: u32, _: u16, a: u64, b: u64, _: u64) -> u64 {
    Format::of(w).map_or(0, |format| format.sqrt(a, Control::from_mxcsr(b)))
}

pub(super) fn eval_round(w: u32, n: u16, a: u64, b: u64, _: u64) -> u64 {
    let control = Control::from_mxcsr(b);
    let rounding = match n & ROUND_BY_MXCSR {
        0 => Rounding::from_bits(u64::from(n)),
        _ => control.rounding,
    };
    let places = i32::from(n >> 4 & 15);
    Format::of(w).map_or(0, |format| {
        format.round_to_places(a, places, rounding, control)
    })
}

pub(super) fn eval_exponent_of(w: u32, _: u16, a: u64, b: u64, _: u64) -> u64 {
    Format::of(w).map_or(0, |format| format.exponent_of(a, Control::from_mxcsr(b)))
}

pub(super) fn eval_class(w: u32, n: u16, a: u64, b: u64, _: u64) -> bool {
    Format::of(w).is_some_and(|format| format.kinds(a, Control::from_mxcsr(b)) & n != 0)
}

/// What kind a number is of, forward.
pub(super) fn classify(w: u32, n: u16, k: &mut Known) -> Rule {
    let a = k.a;
    if known(w, a) {
        let holds = |b| u64::from(eval_class(w, n, a.value, b, 0));
        k.d.learn(under_all_controls(w, k.b, holds).low(1))?;
    }
    Ok(())
}

/// Widths of source and result of a conversion, in `n` as low and high byte, within `w` bits.
fn widths(w: u32, n: u16) -> (u32, u32) {
    (
        u32::from(n & 0x7f).clamp(1, w),
        u32::from(n >> 8 & 0x7f).clamp(1, w),
    )
}

pub(super) fn eval_resize(w: u32, n: u16, a: u64, b: u64, _: u64) -> u64 {
    let (from, to) = widths(w, n);
    match (Format::of(from), Format::of(to)) {
        (Some(from_format), Some(to)) => {
            from_format.convert(a & mask(from), to, Control::from_mxcsr(b))
        }
        _ => 0,
    }
}

pub(super) fn eval_from_int(w: u32, n: u16, a: u64, b: u64, _: u64) -> u64 {
    let (from, to) = widths(w, n);
    let integer = (a << (64 - from)) as i64 >> (64 - from);
    let (negative, magnitude) = match n & UNSIGNED {
        0 => (integer < 0, integer.unsigned_abs()),
        _ => (false, a & mask(from)),
    };
    let control = Control::from_mxcsr(b);
    Format::of(to).map_or(0, |to| to.integral(negative, magnitude, control))
}

pub(super) fn eval_to_int(w: u32, n: u16, a: u64, b: u64, _: u64) -> u64 {
    let (from, to) = widths(w, n);
    let control = Control::from_mxcsr(b);
    let rounding = if n & TRUNCATE != 0 {
        Rounding::Zero
    } else {
        control.rounding
    };
    Format::of(from).map_or(0, |format| match n & UNSIGNED {
        0 => format.to_signed(a & mask(from), to, rounding, control),
        _ => format.to_unsigned(a & mask(from), to, rounding, control),
    })
}

pub(super) fn eval_mul_add(w: u32, n: u16, a: u64, b: u64, c: u64) -> u64 {
    Format::of(w).map_or(0, |format| {
        let signed = |flag, x| match n & flag {
            0 => x,
            _ => format.negate(x),
        };
        let operands = [signed(NEGATE_PRODUCT, a), b, signed(NEGATE_ADDEND, c)];
        format.multiply_add(operands, Control::from_mxcsr(n.into()))
    })
}

/// A fused operation, forward.
pub(super) fn mul_add(w: u32, n: u16, k: &mut Known) -> Rule {
    if known(w, k.a) && known(w, k.b) && known(w, k.c) {
        let result = eval_mul_add(w, n, k.a.value, k.b.value, k.c.value);
        k.d.learn(Bits::constant(result).low(w))?;
    }
    Ok(())
}

pub(super) fn eval_compare(w: u32, n: u16, a: u64, b: u64, c: u64) -> bool {
    let order = Format::of(w).map(|format| format.compare(a, b, Control::from_mxcsr(c)));
    let outcome = match order {
        Some(Some(Ordering::Less)) => LESS,
        Some(Some(Ordering::Equal)) => EQUAL,
        Some(Some(Ordering::Greater)) => GREATER,
        Some(None) | None => UNORDERED,
    };
    n & outcome != 0
}

/// What `f` yields under every control that `mxcsr`, of which `w` bits take part, admits.
fn under_all_controls(w: u32, mxcsr: Bits, f: impl Fn(u64) -> u64) -> Bits {
    let open = CONTROL & mask(w) & !mxcsr.known;
    let mut agreed = Bits::constant(f(mxcsr.value));
    // Every further subset of the open bits, by counting within them.
    let mut choice = open & open.wrapping_neg();
    while choice != 0 {
        agreed = agreed.join(Bits::constant(f(mxcsr.value | choice)));
        choice = choice.wrapping_sub(open) & open;
    }
    agreed
}

fn known(w: u32, x: Bits) -> bool {
    !x.known & mask(w) == 0
}

/// Concludes the result when the operands are `known`.
fn forward(w: u32, known: bool, mxcsr: Bits, d: &mut Bits, f: impl Fn(u64) -> u64) -> Rule {
    if known {
        let result = under_all_controls(w, mxcsr, |mxcsr| f(mxcsr) & mask(w));
        d.learn(result.low(w))?;
    }
    Ok(())
}

macro_rules! rules {
    (binary { $($binary:ident $eval_binary:ident,)* } unary { $($unary:ident $eval_unary:ident,)* }) => {
        $(pub(super) fn $binary(w: u32, n: u16, k: &mut Known) -> Rule {
            let (a, b) = (k.a, k.b);
            forward(w, known(w, a) && known(w, b), k.c, &mut k.d, |c| $eval_binary(w, n, a.value, b.value, c))
        })*
        $(pub(super) fn $unary(w: u32, n: u16, k: &mut Known) -> Rule {
            let a = k.a;
            forward(w, known(w, a), k.b, &mut k.d, |b| $eval_unary(w, n, a.value, b, 0))
        })*
    };
    (conversions { $($rule:ident $eval:ident,)* }) => {
        $(pub(super) fn $rule(w: u32, n: u16, k: &mut Known) -> Rule {
            let a = k.a;
            forward(w, known(widths(w, n).0, a), k.b, &mut k.d, |b| $eval(w, n, a.value, b, 0))
        })*
    };
}

rules! {
    binary {
        add eval_add,
        sub eval_sub,
        mul eval_mul,
        div eval_div,
        min eval_min,
        max eval_max,
    }
    unary {
        sqrt eval_sqrt,
        round eval_round,
        exponent_of eval_exponent_of,
    }
}

rules! {
    conversions {
        resize eval_resize,
        from_int eval_from_int,
        to_int eval_to_int,
    }
}

/// Extended precision: the source is an integer, or the result is truncated.
pub(crate) const EXTENDED_FLAG: u16 = 0x80;
/// First bit of rounding control in the x87 control word.
const X87_ROUNDING_AT: u32 = 10;

fn extended(w: u32, n: u16, a: u64) -> Extended {
    let from = u32::from(n & 0x7f).clamp(1, w);
    if n & EXTENDED_FLAG != 0 {
        return Extended::of_integer((a << (64 - from)) as i64 >> (64 - from));
    }
    Format::of(from).map_or(Extended::INDEFINITE, |format| format.extend(a & mask(from)))
}

pub(super) fn eval_significand(w: u32, n: u16, a: u64, _: u64, _: u64) -> u64 {
    extended(w, n, a).significand
}

pub(super) fn eval_exponent(w: u32, n: u16, a: u64, _: u64, _: u64) -> u64 {
    extended(w, n, a).exponent.into()
}

fn x87_rounding(control: u64) -> Rounding {
    Rounding::from_bits(control >> X87_ROUNDING_AT)
}

pub(super) fn eval_from_extended(w: u32, n: u16, a: u64, b: u64, c: u64) -> u64 {
    let to = u32::from(n & 0x7f).clamp(1, w);
    let number = Extended::new(a, b as u16);
    Format::of(to).map_or(0, |to| to.contract(number, x87_rounding(c)))
}

pub(super) fn eval_int_from_extended(w: u32, n: u16, a: u64, b: u64, c: u64) -> u64 {
    let rounding = match n & EXTENDED_FLAG {
        0 => x87_rounding(c),
        _ => Rounding::Zero,
    };
    Extended::new(a, b as u16).to_signed(u32::from(n & 0x7f).clamp(1, w), rounding)
}

/// The bits of the words of an extended number that count: 64 of `a`, 16 of `b`, rounding control of `c`.
const SIGN_AND_EXPONENT: u64 = 0xffff;
/// Rounding control in the x87 control word.
const X87_ROUNDING: u64 = 3 << X87_ROUNDING_AT;

macro_rules! extended_rules {
    (to { $($to:ident $eval_to:ident,)* } from { $($from:ident $eval_from:ident,)* }) => {
        $(pub(super) fn $to(w: u32, n: u16, k: &mut Known) -> Rule {
            if known(w.min(u32::from(n & 0x7f)), k.a) {
                k.d.learn(Bits::constant($eval_to(w, n, k.a.value, 0, 0)).low(w))?;
            }
            Ok(())
        })*
        $(pub(super) fn $from(w: u32, n: u16, k: &mut Known) -> Rule {
            let needed = |bits: Bits, places: u64| places & mask(w) & !bits.known == 0;
            if known(w, k.a) && needed(k.b, SIGN_AND_EXPONENT) && needed(k.c, X87_ROUNDING) {
                let result = $eval_from(w, n, k.a.value, k.b.value, k.c.value);
                k.d.learn(Bits::constant(result).low(w))?;
            }
            Ok(())
        })*
    };
}

extended_rules! {
    to {
        significand eval_significand,
        exponent eval_exponent,
    }
    from {
        from_extended eval_from_extended,
        int_from_extended eval_int_from_extended,
    }
}

/// A comparison, forward.
pub(super) fn compare(w: u32, n: u16, k: &mut Known) -> Rule {
    let (a, b) = (k.a, k.b);
    if known(w, a) && known(w, b) {
        let holds = |c| u64::from(eval_compare(w, n, a.value, b.value, c));
        k.d.learn(under_all_controls(w, k.c, holds).low(1))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of both signs over all exponents, and the edges.
    fn numbers() -> Vec<f64> {
        let mut numbers = vec![
            0.0,
            1.0,
            f64::MAX,
            f64::MIN_POSITIVE,
            5e-324,
            f64::INFINITY,
            1.5,
            3.0,
        ];
        let mut x = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..120 {
            x = x.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
            numbers.push(f64::from_bits(x & !(1 << 63)));
            numbers.push(f64::from_bits(x >> 12 | 0x3ff0 << 48));
        }
        numbers.retain(|number| !number.is_nan());
        let negative: Vec<f64> = numbers.iter().map(|number| -number).collect();
        numbers.extend(negative);
        numbers
    }

    #[track_caller]
    fn check(name: &str, operands: [f64; 2], ours: u64, hosts: f64) {
        if hosts.is_nan() {
            let format = Format::of(64).unwrap();
            assert!(
                format.is_nan(ours),
                "{name} {operands:?}: {ours:#x}, not a NaN"
            );
        } else {
            assert_eq!(
                ours,
                hosts.to_bits(),
                "{name} {operands:?}: {} not {hosts}",
                f64::from_bits(ours)
            );
        }
    }

    #[test]
    fn double_precision_agrees_with_the_host() {
        for &x in &numbers() {
            let a = x.to_bits();
            check("sqrt", [x, x], eval_sqrt(64, 0, a, 0, 0), x.sqrt());
            check(
                "round",
                [x, x],
                eval_round(64, 0, a, 0, 0),
                x.round_ties_even(),
            );
            for &y in &numbers() {
                let b = y.to_bits();
                check("add", [x, y], eval_add(64, 0, a, b, 0), x + y);
                check("sub", [x, y], eval_sub(64, 0, a, b, 0), x - y);
                check("mul", [x, y], eval_mul(64, 0, a, b, 0), x * y);
                check("div", [x, y], eval_div(64, 0, a, b, 0), x / y);
            }
        }
    }

    #[test]
    fn conversions_agree_with_the_host() {
        for &x in &numbers() {
            let narrow = eval_resize(64, 32 << 8 | 64, x.to_bits(), 0, 0);
            assert_eq!(narrow, u64::from((x as f32).to_bits()), "{x} as f32");
            let wide = eval_resize(64, 64 << 8 | 32, narrow, 0, 0);
            assert_eq!(wide, f64::from(x as f32).to_bits(), "{x} as f32 as f64");
            if x.abs() < 9e18 {
                let integer = eval_to_int(64, 64 << 8 | 64 | TRUNCATE, x.to_bits(), 0, 0);
                assert_eq!(integer, x as i64 as u64, "{x} as i64");
                assert_eq!(
                    eval_from_int(64, 64 << 8 | 64, integer, 0, 0),
                    (x as i64 as f64).to_bits()
                );
            }
        }
    }

    #[test]
    fn unknown_rounding_keeps_what_all_modes_agree_on() {
        let mut k = Known {
            d: Bits::unknown(64),
            a: Bits::constant(1.5f64.to_bits()),
            b: Bits::constant(2.25f64.to_bits()),
            c: Bits::UNKNOWN,
        };
        add(64, 0, &mut k).unwrap();
        assert_eq!(
            k.d,
            Bits::constant(3.75f64.to_bits()),
            "exact whatever the mode"
        );
        k.d = Bits::unknown(64);
        k.b = Bits::constant(3f64.to_bits());
        div(64, 0, &mut k).unwrap();
        assert_eq!(k.d, Bits::constant(0.5f64.to_bits()));
        k.a = Bits::constant(1f64.to_bits());
        k.d = Bits::unknown(64);
        div(64, 0, &mut k).unwrap();
        assert!(
            !k.d.is_known() && k.d.admits((1f64 / 3.0).to_bits()),
            "a third depends on the mode"
        );
    }
}
