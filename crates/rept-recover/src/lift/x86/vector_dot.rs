//! Products summed into the destination: VNNI and IFMA.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::value::Val;
use crate::lift::vector::Lanes;
use crate::lift::x86::vector_float::elements;
use crate::lift::x86::vector_integer::{add, add_signed};
use crate::op::Op;
use iced_x86::Mnemonic as M;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    const UNSIGNED: bool = false;
    const SIGNED: bool = true;
    match m {
        M::Vpdpbusd => accumulate(b, |x, y, sum| add(sum, four_products(x, y), 32)),
        M::Vpdpbusds => accumulate(b, |x, y, sum| add_signed(sum, four_products(x, y), 32)),
        M::Vpdpwssd => accumulate(b, |x, y, sum| add(sum, two_products(x, y), 32)),
        M::Vpdpwssds => dot(b, 16, SIGNED, SIGNED, true),
        M::Vpdpbuud => dot(b, 8, UNSIGNED, UNSIGNED, false),
        M::Vpdpbuuds => dot(b, 8, UNSIGNED, UNSIGNED, true),
        M::Vpdpbsud => dot(b, 8, SIGNED, UNSIGNED, false),
        M::Vpdpbsuds => dot(b, 8, SIGNED, UNSIGNED, true),
        M::Vpdpbssd => dot(b, 8, SIGNED, SIGNED, false),
        M::Vpdpbssds => dot(b, 8, SIGNED, SIGNED, true),
        M::Vpdpwuud => dot(b, 16, UNSIGNED, UNSIGNED, false),
        M::Vpdpwuuds => dot(b, 16, UNSIGNED, UNSIGNED, true),
        M::Vpdpwusd => dot(b, 16, UNSIGNED, SIGNED, false),
        M::Vpdpwusds => dot(b, 16, UNSIGNED, SIGNED, true),
        M::Vpdpwsud => dot(b, 16, SIGNED, UNSIGNED, false),
        M::Vpdpwsuds => dot(b, 16, SIGNED, UNSIGNED, true),
        M::Vpmadd52luq => multiply_52(b, false),
        M::Vpmadd52huq => multiply_52(b, true),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

/// Products of the parts of each doubleword, of these signs, added to the destination. The
/// exact sum is saturated as a signed number, or where both factors are unsigned as such.
fn dot(b: &Builder, part: u32, x_signed: bool, y_signed: bool, saturates: bool) {
    let n = (b.width(0) / 32) as usize;
    let [sum, x, y] = [0, 1, 2].map(|operand| elements(b, operand, 32, n));
    let widened = |v: Val<'_>, signed: bool| match signed {
        true => b.value(v.word, v.width).sign_extended(64),
        false => b.value(v.word, v.width).zero_extended(64),
    };
    let signed = x_signed || y_signed;
    let results: Vec<Val<'_>> = (0..n)
        .map(|at| {
            let product = |place: u32| {
                let x = widened(x[at].extract(place * part, part), x_signed);
                x.with(
                    Op::MulLow,
                    widened(y[at].extract(place * part, part), y_signed),
                )
            };
            let total = (0..32 / part).fold(widened(sum[at], signed), |total, place| {
                total + product(place)
            });
            match saturates {
                true => saturated(b, total, signed).low(32),
                false => total.low(32),
            }
        })
        .collect();
    b.set_elements(0, 32, &b.side_by_side(&results));
}

/// A sum of 64 bits limited to the range of 32.
fn saturated<'b>(b: &'b Builder, total: Val<'b>, signed: bool) -> Val<'b> {
    if !signed {
        let greatest = b.constant(u64::from(u32::MAX), 64);
        return b.select(greatest.below(total), greatest, total);
    }
    let greatest = b.constant(i32::MAX as u64, 64);
    let least = b.constant(i64::from(i32::MIN) as u64, 64);
    let upper = b.select(greatest.less(total), greatest, total);
    b.select(upper.less(least), least, upper)
}

/// `f` of both sources and the destination, element by element of 32 bits.
fn accumulate<'b>(b: &'b Builder, f: impl Fn(Val<'b>, Val<'b>, Val<'b>) -> Val<'b>) {
    let (x, y, sum) = (b.elements(1, 32), b.elements(2, 32), b.lanes(0));
    let result: Lanes<'b> = (0..x.len())
        .map(|lane| f(x[lane], y[lane], sum[lane]))
        .collect();
    b.set_elements(0, 32, &result);
}

/// Sum of the products of four unsigned bytes of `x` with signed ones of `y`, in each doubleword.
fn four_products<'b>(x: Val<'b>, y: Val<'b>) -> Val<'b> {
    // Products of bytes fit in words, but their sum does not: it is made of doublewords.
    let [low, high] = super::vector_sum::byte_products(x, y);
    let both = |v: Val<'b>| {
        add(
            v.packed(Op::SignExtend, 32, 16, v),
            v.packed(Op::Sar, 32, 16, v),
            32,
        )
    };
    add(both(low), both(high), 32)
}

fn two_products<'b>(x: Val<'b>, y: Val<'b>) -> Val<'b> {
    super::vector_integer::multiply_pairs(x, y, 32)
}

/// VPMADD52: low or high 52 bits of the product of the low 52 bits, added to the destination.
fn multiply_52<'b>(b: &'b Builder, high: bool) {
    let (x, y, sum) = (b.elements(1, 64), b.elements(2, 64), b.lanes(0));
    let result: Lanes<'_> = (0..x.len())
        .map(|lane| {
            let low_bits = |v: Val<'b>| v & b.constant(crate::bits::mask(52), 64);
            let (x, y) = (low_bits(x[lane]), low_bits(y[lane]));
            let low = x.with(Op::MulLow, y);
            let part = if high {
                let top = x.with(Op::MulHigh, y);
                top.shl(12) | low.shr(52)
            } else {
                low_bits(low)
            };
            sum[lane] + part
        })
        .collect();
    b.set_elements(0, 64, &result);
}
