//! Whole blocks of 128 or 256 bits (or pairs of elements) moved between vectors.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::vector::Lanes;
use crate::lift::x86::vector_shuffle::immediate;
use iced_x86::Mnemonic as M;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    match m {
        M::Vbroadcastf128 | M::Vbroadcasti128 => broadcast(b, 2, 64),
        M::Vbroadcastf32x2 | M::Vbroadcasti32x2 => broadcast(b, 1, 32),
        M::Vbroadcastf32x4 | M::Vbroadcasti32x4 => broadcast(b, 2, 32),
        M::Vbroadcastf64x2 | M::Vbroadcasti64x2 => broadcast(b, 2, 64),
        M::Vbroadcastf32x8 | M::Vbroadcasti32x8 => broadcast(b, 4, 32),
        M::Vbroadcastf64x4 | M::Vbroadcasti64x4 => broadcast(b, 4, 64),
        M::Vextractf128 | M::Vextracti128 => extract(b, 2, 64),
        M::Vextractf32x4 | M::Vextracti32x4 => extract(b, 2, 32),
        M::Vextractf64x2 | M::Vextracti64x2 => extract(b, 2, 64),
        M::Vextractf32x8 | M::Vextracti32x8 => extract(b, 4, 32),
        M::Vextractf64x4 | M::Vextracti64x4 => extract(b, 4, 64),
        M::Vinsertf128 | M::Vinserti128 => insert(b, 2, 64),
        M::Vinsertf32x4 | M::Vinserti32x4 => insert(b, 2, 32),
        M::Vinsertf64x2 | M::Vinserti64x2 => insert(b, 2, 64),
        M::Vinsertf32x8 | M::Vinserti32x8 => insert(b, 4, 32),
        M::Vinsertf64x4 | M::Vinserti64x4 => insert(b, 4, 64),
        M::Vshuff32x4 | M::Vshufi32x4 => shuffle(b, 32),
        M::Vshuff64x2 | M::Vshufi64x2 => shuffle(b, 64),
        M::Vperm2f128 | M::Vperm2i128 => permute(b),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

/// The `lanes` lowest lanes of the source, again and again.
fn broadcast(b: &Builder, lanes: usize, element: u32) {
    let block: Lanes<'_> = (0..lanes)
        .map(|lane| match b.is_memory(1) {
            true => b.load(b.place().at(lane as u32 * 8), 8),
            false => b.lane(1, lane),
        })
        .collect();
    let result: Lanes<'_> = (0..b.lane_count(0))
        .map(|lane| block[lane % lanes])
        .collect();
    b.set_elements(0, element, &result);
}

fn extract(b: &Builder, lanes: usize, element: u32) {
    let first = immediate(b) % (b.lane_count(1) / lanes) * lanes;
    let result: Lanes<'_> = (first..first + lanes).map(|lane| b.lane(1, lane)).collect();
    if b.is_memory(0) && b.has_write_mask() {
        let conditions = b.mask_conditions(lanes as u32 * 64 / element);
        b.store_elements(&result, element, &conditions);
    } else {
        b.set_elements(0, element, &result);
    }
}

fn insert(b: &Builder, lanes: usize, element: u32) {
    let mut result = b.lanes(1);
    let block: Lanes<'_> = (0..lanes)
        .map(|lane| match b.is_memory(2) {
            true => b.load(b.place().at(lane as u32 * 8), 8),
            false => b.lane(2, lane),
        })
        .collect();
    let first = immediate(b) % (result.len() / lanes) * lanes;
    for (lane, value) in block.into_iter().enumerate() {
        result[first + lane] = value;
    }
    b.set_elements(0, element, &result);
}

/// VSHUFF32X4 and kin: blocks of 128 bits, the lower half of the result from the first source.
fn shuffle(b: &Builder, element: u32) {
    let (x, y) = b.sources(element);
    let (imm, blocks) = (immediate(b), x.len() / 2);
    let bits = blocks.trailing_zeros() as usize;
    let result: Lanes<'_> = (0..x.len())
        .map(|lane| {
            let block = lane / 2;
            let source = if block < blocks / 2 { &x } else { &y };
            source[(imm >> (block * bits)) % blocks * 2 + lane % 2]
        })
        .collect();
    b.set_elements(0, element, &result);
}

/// VPERM2F128: each half of the result is a block of either source, or zero.
fn permute(b: &Builder) {
    let (x, y) = b.sources(64);
    let imm = immediate(b);
    let mut result = Lanes::new();
    for block in 0..2 {
        let choice = imm >> (block * 4) & 0xf;
        for lane in 0..2 {
            let source = if choice & 2 == 0 { &x } else { &y };
            result.push(if choice & 8 != 0 {
                b.constant(0, 64)
            } else {
                source[choice % 2 * 2 + lane]
            });
        }
    }
    b.set_lanes(0, &result);
}
