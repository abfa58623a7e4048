//! Gathers and scatters: an access for each element, at an address and under a mask of its own.

use crate::lift::Lowered;
use crate::lift::builder::{Builder, Place};
use crate::lift::value::Val;
use crate::lift::vector::Lanes;
use iced_x86::{Mnemonic as M, Register as R};

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    match m {
        M::Vpgatherdd | M::Vgatherdps => gather(b, 32, 32),
        M::Vpgatherdq | M::Vgatherdpd => gather(b, 64, 32),
        M::Vpgatherqd | M::Vgatherqps => gather(b, 32, 64),
        M::Vpgatherqq | M::Vgatherqpd => gather(b, 64, 64),
        M::Vpscatterdd | M::Vscatterdps => scatter(b, 32, 32),
        M::Vpscatterdq | M::Vscatterdpd => scatter(b, 64, 32),
        M::Vpscatterqd | M::Vscatterqps => scatter(b, 32, 64),
        M::Vpscatterqq | M::Vscatterqpd => scatter(b, 64, 64),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

/// How many elements there are: as many as both the data and the indices hold.
fn count(b: &Builder, data: R, element: u32, index: u32) -> u32 {
    let indices = b.instruction.memory_index();
    (data.size() as u32 * 8 / element).min(indices.size() as u32 * 8 / index)
}

/// Where element `at` lies.
fn place(b: &Builder, at: u32, index: u32) -> Place {
    let i = &b.instruction;
    let width = b.address_width();
    let bit = at * index;
    let lane = b.vector_lane(i.memory_index(), (bit / 64) as usize);
    let scaled = lane
        .extract(bit % 64, index)
        .sign_extended(64)
        .low(width)
        .shl(i.memory_index_scale().trailing_zeros());
    let base = crate::lift::operand::gpr_part(i.memory_base())
        .map_or(scaled, |part| b.input(part.word).low(width) + scaled);
    let linear = (base + b.constant(i.memory_displacement64(), width)).zero_extended(64);
    let linear = b
        .segment_base(i.memory_segment())
        .map_or(linear, |segment| linear + segment);
    Place {
        address: linear.word,
        offset: 0,
    }
}

/// Loads under the sign bits of a vector, or under a mask register; the mask ends as zero.
fn gather(b: &Builder, element: u32, index: u32) {
    let i = &b.instruction;
    let destination = i.op0_register();
    let count = count(b, destination, element, index);
    let mask_vector = i.op_count() == 3;
    let conditions = if mask_vector {
        (0..count)
            .map(|at| {
                let lane = b.vector_lane(i.op2_register(), (at * element / 64) as usize);
                b.bit(lane.bit(at * element % 64 + element - 1))
            })
            .collect()
    } else {
        b.mask_conditions(count)
    };
    let results: Vec<Val<'_>> = (0u32..)
        .zip(&conditions)
        .map(|(at, &condition)| {
            let loaded = b.load_if(place(b, at, index), element / 8, condition);
            let old = b
                .vector_lane(destination, (at * element / 64) as usize)
                .extract(at * element % 64, element);
            b.select(condition.bit(0), loaded, old)
        })
        .collect();
    let mut lanes = b.side_by_side(&results);
    let zero = b.constant(0, 64);
    lanes.resize(lanes.len().max(2), zero);
    b.set_lanes(0, &lanes);
    if mask_vector {
        let zeros: Lanes<'_> = (0..2).map(|_| zero).collect();
        b.set_lanes(2, &zeros);
    } else {
        b.write_mask_register(i.op_mask(), zero);
    }
}

fn scatter(b: &Builder, element: u32, index: u32) {
    let i = &b.instruction;
    let source = i.op1_register();
    for (at, condition) in (0u32..).zip(b.mask_conditions(count(b, source, element, index))) {
        let data = b
            .vector_lane(source, (at * element / 64) as usize)
            .extract(at * element % 64, element);
        b.store_if(place(b, at, index), element / 8, data, condition);
    }
    b.write_mask_register(i.op_mask(), b.constant(0, 64));
}
