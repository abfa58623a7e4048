//! Between vectors, mask registers, general registers and flags; moves under a mask.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::flags::{AF, CF, OF, PF, SF, ZF};
use crate::lift::value::{Pred, Val};
use crate::lift::vector::Lanes;
use crate::lift::x86::vector_float::{masked_scalar, set_scalar};
use crate::op::Op;
use iced_x86::Mnemonic as M;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    match m {
        M::Pmovmskb | M::Vpmovmskb => signs_to_register(b, 8),
        M::Movmskps | M::Vmovmskps => signs_to_register(b, 32),
        M::Movmskpd | M::Vmovmskpd => signs_to_register(b, 64),
        M::Vpmovb2m => signs_to_mask(b, 8),
        M::Vpmovw2m => signs_to_mask(b, 16),
        M::Vpmovd2m => signs_to_mask(b, 32),
        M::Vpmovq2m => signs_to_mask(b, 64),
        M::Vpmovm2b => mask_to_elements(b, 8),
        M::Vpmovm2w => mask_to_elements(b, 16),
        M::Vpmovm2d => mask_to_elements(b, 32),
        M::Vpmovm2q => mask_to_elements(b, 64),
        M::Vpcmpb => compare(b, 8, Op::Slt),
        M::Vpcmpw => compare(b, 16, Op::Slt),
        M::Vpcmpd => compare(b, 32, Op::Slt),
        M::Vpcmpq => compare(b, 64, Op::Slt),
        M::Vpcmpub => compare(b, 8, Op::Ult),
        M::Vpcmpuw => compare(b, 16, Op::Ult),
        M::Vpcmpud => compare(b, 32, Op::Ult),
        M::Vpcmpuq => compare(b, 64, Op::Ult),
        M::Vptestmb => test(b, 8, true),
        M::Vptestmw => test(b, 16, true),
        M::Vptestmd => test(b, 32, true),
        M::Vptestmq => test(b, 64, true),
        M::Vptestnmb => test(b, 8, false),
        M::Vptestnmw => test(b, 16, false),
        M::Vptestnmd => test(b, 32, false),
        M::Vptestnmq => test(b, 64, false),
        M::Vpshufbitqmb => chosen_bits(b),
        M::Ptest | M::Vptest => test_all(b, u64::MAX),
        M::Vtestps => test_all(b, 0x8000_0000_8000_0000),
        M::Vtestpd => test_all(b, 1 << 63),
        M::Vpbroadcastmb2q => broadcast_mask(b, 8, 64),
        M::Vpbroadcastmw2d => broadcast_mask(b, 16, 32),
        M::Maskmovq | M::Maskmovdqu | M::Vmaskmovdqu => masked_bytes(b),
        M::Vmovdqu8 => masked_move(b, 8),
        M::Vmovdqu16 => masked_move(b, 16),
        M::Vmovdqu32 | M::Vmovdqa32 | M::Vmovups | M::Vmovaps => masked_move(b, 32),
        M::Vmovdqu64 | M::Vmovdqa64 | M::Vmovupd | M::Vmovapd => masked_move(b, 64),
        M::Vmovss => masked_scalar_move(b, 32),
        M::Vmovsd => masked_scalar_move(b, 64),
        M::Vpmaskmovd | M::Vmaskmovps => sign_masked_move(b, 32),
        M::Vpmaskmovq | M::Vmaskmovpd => sign_masked_move(b, 64),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

/// The top bit of each element.
fn signs<'b>(lanes: &[Val<'b>], element: u32) -> Vec<Pred<'b>> {
    lanes
        .iter()
        .map(|lane| lane.packed_pred3(Op::Bit, element, (element - 1) as u16, *lane, *lane))
        .collect()
}

fn signs_to_register(b: &Builder, element: u32) {
    let preds = signs(&b.lanes(1), element);
    let bits = b.gathered(preds, 64 / element);
    b.set(0, bits.zero_extended(b.width(0)));
}

fn signs_to_mask(b: &Builder, element: u32) {
    b.set_mask(signs(&b.lanes(1), element), 64 / element);
}

fn mask_to_elements(b: &Builder, element: u32) {
    let mask = b.mask_operand(1);
    let result: Lanes<'_> = (0..b.lane_count(0))
        .map(|lane| b.expanded_mask(mask, lane, element))
        .collect();
    b.set_lanes(0, &result);
}

/// VPCMP: the immediate chooses among eq, lt, le, false, ne, nlt, nle, true.
fn compare(b: &Builder, element: u32, less: Op) {
    let (x, y) = b.sources(element);
    let choice = b.instruction.immediate(b.instruction.op_count() - 1) & 7;
    let preds = x.iter().zip(&y).map(|(&x, &y)| {
        let pred = match choice & 3 {
            0 => x.packed_pred(Op::Eq, element, y),
            1 => x.packed_pred(less, element, y),
            // x <= y is not y < x.
            2 => y.packed_pred(less, element, x).negated(),
            _ => Pred::Constant(false),
        };
        if choice & 4 != 0 {
            pred.negated()
        } else {
            pred
        }
    });
    b.set_mask(preds.collect(), 64 / element);
}

fn test(b: &Builder, element: u32, nonzero: bool) {
    let (x, y) = b.sources(element);
    let preds = x.iter().zip(&y).map(|(&x, &y)| {
        let both = x & y;
        let zero = both.packed_pred3(Op::Zero, element, 0, both, both);
        if nonzero { zero.negated() } else { zero }
    });
    b.set_mask(preds.collect(), 64 / element);
}

/// VPSHUFBITQMB: each byte of the second source names a bit of its quadword of the first.
fn chosen_bits(b: &Builder) {
    let (x, y) = b.sources(8);
    let chosen = x.iter().zip(&y).flat_map(|(&x, &y)| {
        (0..8).map(move |at| {
            let place = y.extract(at * 8, 6).zero_extended(64);
            x.by(Op::ShrBy, place).bit(0)
        })
    });
    b.set_mask(chosen.collect(), 1);
}

/// ZF: no common bit. CF: the second has no bit that the first lacks. Only `tested` bits count.
fn test_all(b: &Builder, tested: u64) {
    let (x, y) = (b.lanes(0), b.lanes(1));
    let y: Lanes<'_> = y.iter().map(|&y| y & b.constant(tested, 64)).collect();
    if b.wants(ZF) {
        let common = x
            .iter()
            .zip(&y)
            .map(|(&x, &y)| x & y)
            .reduce(|all, word| all | word);
        common
            .into_iter()
            .for_each(|word| b.set_flag(ZF, word.is_zero()));
    }
    if b.wants(CF) {
        let lacking = x
            .iter()
            .zip(&y)
            .map(|(&x, &y)| !x & y)
            .reduce(|all, word| all | word);
        lacking
            .into_iter()
            .for_each(|word| b.set_flag(CF, word.is_zero()));
    }
    [OF, SF, AF, PF]
        .into_iter()
        .for_each(|flag| b.set_flag(flag, Pred::Constant(false)));
}

/// A move under a write mask. Elements of memory are accessed one by one, each under its bit.
fn masked_move(b: &Builder, element: u32) {
    let count = b.width(0) / element;
    if b.is_memory(0) {
        b.store_elements(&b.lanes(1), element, &b.mask_conditions(count));
        return;
    }
    let x = if b.is_memory(1) {
        b.load_elements(element, &b.mask_conditions(count))
    } else {
        b.lanes(1)
    };
    b.set_elements(0, element, &x);
}

/// The lowest element under the lowest bit of the write mask; the rest as in the plain move.
fn masked_scalar_move(b: &Builder, element: u32) {
    if b.is_memory(0) {
        return b.store_elements(&[b.lane(1, 0)], element, &b.mask_conditions(1));
    }
    if b.is_memory(1) {
        let loaded = b.load_elements(element, &b.mask_conditions(1));
        let value = masked_scalar(b, loaded[0].low(element)).zero_extended(64);
        return b.set_lanes(0, &[value, b.constant(0, 64)]);
    }
    set_scalar(b, b.lane(2, 0).low(element));
}

/// VPMASKMOV: the sign of each mask element says whether its element moves; loads zero the others.
fn sign_masked_move(b: &Builder, element: u32) {
    let mask = b.lanes(1);
    let each = 64 / element;
    let conditions: Vec<Val<'_>> = (0..mask.len() as u32 * each)
        .map(|at| b.bit(mask[(at / each) as usize].bit((at % each + 1) * element - 1)))
        .collect();
    if b.is_memory(0) {
        b.store_elements(&b.lanes(2), element, &conditions);
        return;
    }
    let loaded = b.load_elements(element, &conditions);
    let result: Lanes<'_> = loaded
        .iter()
        .zip(&mask)
        .map(|(&data, &mask)| data & mask.packed(Op::Sar, element, (element - 1) as u16, mask))
        .collect();
    b.set_lanes(0, &result);
}

/// A mask in every element.
fn broadcast_mask(b: &Builder, bits: u32, element: u32) {
    let word = b.repeated(b.mask_operand(1).low(bits).clean(), element);
    let result: Lanes<'_> = (0..b.lane_count(0)).map(|_| word).collect();
    b.set_lanes(0, &result);
}

/// MASKMOVDQU: bytes whose mask byte is negative go to memory at RDI.
fn masked_bytes(b: &Builder) {
    let (x, mask) = (b.lanes(1), b.lanes(2));
    let conditions: Vec<Val<'_>> = (0..mask.len() as u32 * 8)
        .map(|at| b.bit(mask[(at / 8) as usize].bit(at % 8 * 8 + 7)))
        .collect();
    b.place.set(Some(super::string::masked_destination(b)));
    b.store_elements(&x, 8, &conditions);
}
