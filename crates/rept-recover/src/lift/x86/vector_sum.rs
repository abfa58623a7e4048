//! Packed integer operations that combine elements: horizontal sums, sums of absolute
//! differences, products that are added up or rounded, and conflicts.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::gather::Byte;
use crate::lift::value::Val;
use crate::lift::vector::Lanes;
use crate::lift::x86::vector_integer::{add, add_signed, sub, sub_signed, zip};
use crate::op::Op;
use iced_x86::Mnemonic as M;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    match m {
        M::Phaddw | M::Vphaddw => neighbours(b, 16, add),
        M::Phaddd | M::Vphaddd => neighbours(b, 32, add),
        M::Phaddsw | M::Vphaddsw => neighbours(b, 16, add_signed),
        M::Phsubw | M::Vphsubw => neighbours(b, 16, sub),
        M::Phsubd | M::Vphsubd => neighbours(b, 32, sub),
        M::Phsubsw | M::Vphsubsw => neighbours(b, 16, sub_signed),
        M::Psadbw | M::Vpsadbw => zip(b, 64, sum_of_differences),
        M::Pmaddubsw | M::Vpmaddubsw => zip(b, 16, |x, y, w| {
            let products = byte_products(x, y);
            add_signed(products[0], products[1], w)
        }),
        M::Pmulhrsw | M::Vpmulhrsw => zip(b, 16, rounded_product),
        M::Mpsadbw | M::Vmpsadbw => return block_differences(b),
        M::Phminposuw | M::Vphminposuw => least(b),
        M::Vpconflictd => conflicts(b, 32),
        M::Vpconflictq => conflicts(b, 64),
        M::Vpshldw => funnel_constant(b, 16, true),
        M::Vpshldd => funnel_constant(b, 32, true),
        M::Vpshldq => funnel_constant(b, 64, true),
        M::Vpshrdw => funnel_constant(b, 16, false),
        M::Vpshrdd => funnel_constant(b, 32, false),
        M::Vpshrdq => funnel_constant(b, 64, false),
        M::Vpshldvw => funnel_variable(b, 16, true),
        M::Vpshldvd => funnel_variable(b, 32, true),
        M::Vpshldvq => funnel_variable(b, 64, true),
        M::Vpshrdvw => funnel_variable(b, 16, false),
        M::Vpshrdvd => funnel_variable(b, 32, false),
        M::Vpshrdvq => funnel_variable(b, 64, false),
        M::Vprorvd => rotate_right(b, 32),
        M::Vprorvq => rotate_right(b, 64),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

/// Neighbours of both sources combined: within each block first those of the first source.
fn neighbours<'b>(b: &'b Builder, w: u32, f: impl Fn(Val<'b>, Val<'b>, u32) -> Val<'b>) {
    let (x, y) = b.sources(w);
    let (bytes, block) = (w as usize / 8, (x.len() * 8).min(16));
    let picked = |odd: usize| {
        b.assemble(x.len(), |at| {
            let (start, within) = (at / block * block, at % block);
            let source = if within < block / 2 { &x } else { &y };
            let pair = within % (block / 2) / bytes * 2 + odd;
            Byte::of(source, start + pair * bytes + at % bytes)
        })
    };
    let (even, odd) = (picked(0), picked(1));
    let result: Lanes<'b> = even.iter().zip(&odd).map(|(&x, &y)| f(x, y, w)).collect();
    b.set_lanes(0, &result);
}

/// `|x - y|` of each byte: the difference in the direction in which there is no borrow.
fn absolute_differences<'b>(x: Val<'b>, y: Val<'b>) -> Val<'b> {
    let b = x.builder;
    let less = b.expanded(x.packed_pred(Op::Ult, 8, y), 8);
    b.choose(less, sub(y, x, 8), sub(x, y, 8))
}

fn sum_of_differences<'b>(x: Val<'b>, y: Val<'b>, _: u32) -> Val<'b> {
    let differences = absolute_differences(x, y);
    let byte = |at: u32| differences.extract(at * 8, 8).zero_extended(16);
    let sum = (1..8).fold(byte(0), |sum, at| sum + byte(at));
    sum.zero_extended(64)
}

/// Low and high bytes of words: unsigned of `x` times signed of `y`.
pub(super) fn byte_products<'b>(x: Val<'b>, y: Val<'b>) -> [Val<'b>; 2] {
    let low_x = x & x.builder.replicated(0xff, 16);
    let low_y = y.packed(Op::SignExtend, 16, 8, y);
    let (high_x, high_y) = (x.packed(Op::Shr, 16, 8, x), y.packed(Op::Sar, 16, 8, y));
    [
        low_x.packed(Op::MulLow, 16, 0, low_y),
        high_x.packed(Op::MulLow, 16, 0, high_y),
    ]
}

/// `(x * y + 0x4000) >> 15`, of which the middle bits count.
fn rounded_product<'b>(x: Val<'b>, y: Val<'b>, w: u32) -> Val<'b> {
    let low = x.packed(Op::MulLow, w, 0, y);
    let high = x.packed(Op::MulHighSigned, w, 0, y);
    // Bit 14 of the product rounds; the bits from 15 on are the result.
    let kept = high.packed(Op::Shl, w, 1, high) | low.packed(Op::Shr, w, 15, low);
    let half = low.packed(Op::Shr, w, 14, low) & x.builder.replicated(1, w);
    add(kept, half, w)
}

/// MPSADBW: four bytes of the second source against each run of four bytes of the first.
fn block_differences(b: &Builder) -> Lowered {
    if b.has_write_mask() {
        return Lowered::Forget;
    }
    let (x, y) = b.sources(64);
    let imm = super::vector_shuffle::immediate(b);
    let mut result = Lanes::new();
    for block in 0..x.len() / 2 {
        let choice = imm >> (block * 3);
        let (start, fixed) = (
            block * 16 + (choice >> 2 & 1) * 4,
            block * 16 + (choice & 3) * 4,
        );
        // Byte `i` of each of the eight runs, side by side, against byte `i` of the four.
        let differences = [0, 1, 2, 3].map(|i| {
            let runs = b.assemble(1, |at| Byte::of(&x, start + at + i))[0];
            let single = b.assemble(1, |_| Byte::of(&y, fixed + i))[0];
            absolute_differences(runs, single)
        });
        for half in 0..2 {
            let widened = differences.map(|word| {
                b.assemble(1, |at| match at % 2 {
                    0 => Byte::of(&[word], half * 4 + at / 2),
                    _ => Byte::Zero,
                })[0]
            });
            let [p, q, r, s] = widened;
            result.push(add(add(p, q, 16), add(r, s, 16), 16));
        }
    }
    b.set_lanes(0, &result);
    Lowered::Done
}

/// PHMINPOSUW: the least word, and behind it the place where it comes first.
fn least(b: &Builder) {
    let lanes = b.lanes(1);
    let word = |at: u32| lanes[(at / 4) as usize].extract(at % 4 * 16, 16);
    let (mut value, mut place) = (word(0), b.constant(0, 16));
    for at in 1..8 {
        let less = word(at).below(value);
        place = b.select(less, b.constant(u64::from(at), 16), place);
        value = b.select(less, word(at), value);
    }
    let low = value.zero_extended(64).insert(16, place);
    b.set_lanes(0, &[low, b.constant(0, 64)]);
}

/// VPCONFLICT: for each element the earlier ones that equal it, as bits.
fn conflicts(b: &Builder, w: u32) {
    let x = b.elements(1, w);
    let per_lane = 64 / w;
    let element = |at: u32| x[(at / per_lane) as usize].extract(at % per_lane * w, w);
    let results: Vec<Val<'_>> = (0..x.len() as u32 * per_lane)
        .map(|at| {
            let same = (0..at).map(|earlier| element(at).equals(element(earlier)));
            let same: Vec<_> = same.collect();
            match same.is_empty() {
                true => b.constant(0, w),
                false => b.gathered(same, 1).zero_extended(w),
            }
        })
        .collect();
    b.set_elements(0, w, &b.side_by_side(&results));
}

/// VPSHLD and VPSHRD by a constant: the upper or lower half of two elements shifted together.
fn funnel_constant(b: &Builder, w: u32, left: bool) {
    let (x, y) = b.sources(w);
    let count = u32::from(b.instruction.immediate8()) % w;
    let result: Lanes<'_> = x
        .iter()
        .zip(&y)
        .map(|(&x, &y)| match (left, count) {
            (_, 0) => x,
            (true, _) => x.packed(Op::Funnel, w, count as u16, y),
            (false, _) => y.packed(Op::Funnel, w, (w - count) as u16, x),
        })
        .collect();
    b.set_elements(0, w, &result);
}

/// VPSHLDV and VPSHRDV: the destination and the first source, by the counts of the second.
fn funnel_variable(b: &Builder, w: u32, left: bool) {
    let (x, y, counts) = (b.lanes(0), b.elements(1, w), b.elements(2, w));
    let places = b.replicated(u64::from(w) - 1, w);
    let result: Lanes<'_> = (0..x.len())
        .map(|lane| {
            let count = counts[lane] & places;
            match left {
                true => x[lane].packed3(Op::FunnelBy, w, y[lane], count),
                // To the right by n is to the left by w - n.
                false => {
                    let count = sub(b.replicated(u64::from(w), w), count, w);
                    y[lane].packed3(Op::FunnelBy, w, x[lane], count)
                }
            }
        })
        .collect();
    b.set_elements(0, w, &result);
}

/// VPRORV: to the left by the negative count.
fn rotate_right(b: &Builder, w: u32) {
    let zero = b.constant(0, 64);
    zip(b, w, |x, y, w| x.packed(Op::RolBy, w, 0, sub(zero, y, w)));
}
