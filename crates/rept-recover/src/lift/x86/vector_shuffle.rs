//! Everything that only moves bytes between lanes: shuffles, unpacks, shifts by bytes, inserts,
//! extracts, broadcasts, extensions. Each says where every byte of its result comes from.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::gather::Byte;
use crate::lift::vector::Lanes;
use crate::op::Op;
use iced_x86::Mnemonic as M;

/// Bytes of a 128-bit block, within which most shuffles stay.
const BLOCK: usize = 16;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    match m {
        M::Pshufd | M::Vpshufd => permute(b, 4, |at, imm| at / 4 * 4 + chosen(imm, at % 4)),
        M::Pshuflw | M::Vpshuflw => permute(b, 2, |at, imm| {
            if at % 8 < 4 {
                at / 8 * 8 + chosen(imm, at % 4)
            } else {
                at
            }
        }),
        M::Pshufhw | M::Vpshufhw => permute(b, 2, |at, imm| {
            if at % 8 < 4 {
                at
            } else {
                at / 8 * 8 + 4 + chosen(imm, at % 4)
            }
        }),
        M::Pshufw => permute(b, 2, |at, imm| chosen(imm, at)),
        M::Vpermq | M::Vpermpd if b.has_immediate() => {
            permute(b, 8, |at, imm| at / 4 * 4 + chosen(imm, at % 4))
        }
        M::Vpermilps if b.has_immediate() => {
            permute(b, 4, |at, imm| at / 4 * 4 + chosen(imm, at % 4))
        }
        M::Vpermilpd if b.has_immediate() => permute(b, 8, |at, imm| at / 2 * 2 + (imm >> at & 1)),
        M::Movddup | M::Vmovddup => return duplicate(b, 8, 0),
        M::Movsldup | M::Vmovsldup => permute(b, 4, |at, _| at / 2 * 2),
        M::Movshdup | M::Vmovshdup => permute(b, 4, |at, _| at / 2 * 2 + 1),
        M::Shufps | M::Vshufps => pairs(b, 4, |at, imm| {
            (at % 4 >= 2, at / 4 * 4 + chosen(imm, at % 4))
        }),
        M::Shufpd | M::Vshufpd => {
            pairs(b, 8, |at, imm| (at % 2 == 1, at / 2 * 2 + (imm >> at & 1)))
        }
        M::Punpcklbw | M::Vpunpcklbw => unpack(b, 1, false),
        M::Punpcklwd | M::Vpunpcklwd => unpack(b, 2, false),
        M::Punpckldq | M::Vpunpckldq | M::Unpcklps | M::Vunpcklps => unpack(b, 4, false),
        M::Punpcklqdq | M::Vpunpcklqdq | M::Unpcklpd | M::Vunpcklpd => unpack(b, 8, false),
        M::Punpckhbw | M::Vpunpckhbw => unpack(b, 1, true),
        M::Punpckhwd | M::Vpunpckhwd => unpack(b, 2, true),
        M::Punpckhdq | M::Vpunpckhdq | M::Unpckhps | M::Vunpckhps => unpack(b, 4, true),
        M::Punpckhqdq | M::Vpunpckhqdq | M::Unpckhpd | M::Vunpckhpd => unpack(b, 8, true),
        M::Pslldq | M::Vpslldq => shift_bytes(b, true),
        M::Psrldq | M::Vpsrldq => shift_bytes(b, false),
        M::Palignr | M::Vpalignr => align(b),
        M::Pblendw | M::Vpblendw => pairs(b, 2, |at, imm| (imm >> (at % 8) & 1 == 1, at)),
        M::Blendps | M::Vblendps | M::Vpblendd => pairs(b, 4, |at, imm| (imm >> at & 1 == 1, at)),
        M::Blendpd | M::Vblendpd => pairs(b, 8, |at, imm| (imm >> at & 1 == 1, at)),
        M::Pextrb | M::Vpextrb => extract(b, 1),
        M::Pextrw | M::Vpextrw => extract(b, 2),
        M::Pextrd | M::Vpextrd | M::Extractps | M::Vextractps => extract(b, 4),
        M::Pextrq | M::Vpextrq => extract(b, 8),
        M::Pinsrb | M::Vpinsrb => insert(b, 1),
        M::Pinsrw | M::Vpinsrw => insert(b, 2),
        M::Pinsrd | M::Vpinsrd => insert(b, 4),
        M::Pinsrq | M::Vpinsrq => insert(b, 8),
        M::Vpbroadcastb => return duplicate(b, 1, 0),
        M::Vpbroadcastw => return duplicate(b, 2, 0),
        M::Vpbroadcastd | M::Vbroadcastss => return duplicate(b, 4, 0),
        M::Vpbroadcastq | M::Vbroadcastsd => return duplicate(b, 8, 0),
        M::Pmovzxbw | M::Vpmovzxbw => return extend(b, 1, 2, false),
        M::Pmovzxbd | M::Vpmovzxbd => return extend(b, 1, 4, false),
        M::Pmovzxbq | M::Vpmovzxbq => return extend(b, 1, 8, false),
        M::Pmovzxwd | M::Vpmovzxwd => return extend(b, 2, 4, false),
        M::Pmovzxwq | M::Vpmovzxwq => return extend(b, 2, 8, false),
        M::Pmovzxdq | M::Vpmovzxdq => return extend(b, 4, 8, false),
        M::Pmovsxbw | M::Vpmovsxbw => return extend(b, 1, 2, true),
        M::Pmovsxbd | M::Vpmovsxbd => return extend(b, 1, 4, true),
        M::Pmovsxbq | M::Vpmovsxbq => return extend(b, 1, 8, true),
        M::Pmovsxwd | M::Vpmovsxwd => return extend(b, 2, 4, true),
        M::Pmovsxwq | M::Vpmovsxwq => return extend(b, 2, 8, true),
        M::Pmovsxdq | M::Vpmovsxdq => return extend(b, 4, 8, true),
        M::Insertps | M::Vinsertps => insert_single(b),
        M::Pshufb | M::Vpshufb => shuffle_bytes(b),
        M::Packuswb | M::Vpackuswb => pack(b, 16, false),
        M::Packusdw | M::Vpackusdw => pack(b, 32, false),
        M::Packsswb | M::Vpacksswb => pack(b, 16, true),
        M::Packssdw | M::Vpackssdw => pack(b, 32, true),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

/// Field `at` (two bits) of an immediate.
fn chosen(immediate: usize, at: usize) -> usize {
    immediate >> (at * 2) & 3
}

pub(super) fn immediate(b: &Builder) -> usize {
    b.instruction
        .try_immediate(b.instruction.op_count() - 1)
        .unwrap_or(0) as usize
        & 0xff
}

/// Elements of one source, chosen by element number and immediate.
fn permute(b: &Builder, bytes: usize, from: impl Fn(usize, usize) -> usize) {
    let x = b.elements(1, bytes as u32 * 8);
    let imm = immediate(b);
    let result = b.assemble(x.len(), |at| {
        Byte::of(&x, from(at / bytes, imm) * bytes + at % bytes)
    });
    b.set_elements(0, bytes as u32 * 8, &result);
}

/// Elements of two sources: `from` says whether of the second, and which.
fn pairs(b: &Builder, bytes: usize, from: impl Fn(usize, usize) -> (bool, usize)) {
    let (x, y) = b.sources(bytes as u32 * 8);
    let imm = immediate(b);
    let result = b.assemble(x.len(), |at| {
        let (second, element) = from(at / bytes, imm);
        Byte::of(if second { &y } else { &x }, element * bytes + at % bytes)
    });
    b.set_elements(0, bytes as u32 * 8, &result);
}

/// Interleaves the low or high halves of each block.
fn unpack(b: &Builder, bytes: usize, high: bool) {
    let (x, y) = b.sources(bytes as u32 * 8);
    let block = (x.len() * 8).min(BLOCK);
    let result = b.assemble(x.len(), |at| {
        let (start, within) = (at / block * block, at % block);
        let element = within / bytes / 2 * bytes + if high { block / 2 } else { 0 };
        let source = if (within / bytes).is_multiple_of(2) {
            &x
        } else {
            &y
        };
        Byte::of(source, start + element + at % bytes)
    });
    b.set_elements(0, bytes as u32 * 8, &result);
}

fn shift_bytes(b: &Builder, left: bool) {
    let count = immediate(b).min(BLOCK);
    let x = b.lanes(b.last_vector());
    let result = b.assemble(x.len(), |at| {
        let (start, within) = (at / BLOCK * BLOCK, at % BLOCK);
        let from = if left {
            within.checked_sub(count)
        } else {
            Some(within + count)
        };
        match from {
            Some(from) if from < BLOCK => Byte::of(&x, start + from),
            _ => Byte::Zero,
        }
    });
    b.set_lanes(0, &result);
}

/// Bytes of `first : second` of each block, from the count on.
fn align(b: &Builder) {
    let (x, y) = b.sources(8);
    let count = immediate(b);
    let block = (x.len() * 8).min(BLOCK);
    let result = b.assemble(x.len(), |at| {
        let (start, from) = (at / block * block, at % block + count);
        match from / block {
            0 => Byte::of(&y, start + from),
            1 => Byte::of(&x, start + from - block),
            _ => Byte::Zero,
        }
    });
    b.set_elements(0, 8, &result);
}

fn extract(b: &Builder, bytes: usize) {
    let element = immediate(b) % (b.lane_count(1).min(2) * 8 / bytes);
    let lane = b.lane(1, element * bytes / 8);
    let value = lane.extract((element * bytes % 8 * 8) as u32, bytes as u32 * 8);
    if b.is_memory(0) {
        b.store(b.place(), bytes as u32, value);
    } else {
        b.set(0, value.zero_extended(b.width(0)));
    }
}

fn insert(b: &Builder, bytes: usize) {
    let count = b.instruction.op_count();
    let base = if count == 3 { 0 } else { 1 };
    let mut lanes: Lanes<'_> = (0..b.lane_count(base))
        .map(|lane| b.lane(base, lane))
        .collect();
    let element = immediate(b) % (lanes.len() * 8 / bytes);
    let value = b.operand(count - 2).low(bytes as u32 * 8);
    let lane = &mut lanes[element * bytes / 8];
    *lane = if bytes == 8 {
        value
    } else {
        lane.insert((element * bytes % 8 * 8) as u32, value)
    };
    b.set_lanes(0, &lanes);
}

/// INSERTPS: one single into a place of choice, and zeros where the immediate says.
fn insert_single(b: &Builder) {
    let (imm, last) = (immediate(b), b.last_vector());
    let (x, source) = if b.is_memory(last) {
        (
            0,
            [b.load(b.place(), 4).zero_extended(64), b.constant(0, 64)],
        )
    } else {
        (imm >> 6, [b.lane(last, 0), b.lane(last, 1)])
    };
    let base = [b.lane(last - 1, 0), b.lane(last - 1, 1)];
    let result = b.assemble(2, |at| match at / 4 {
        element if imm >> element & 1 == 1 => Byte::Zero,
        element if element == imm >> 4 & 3 => Byte::of(&source, x * 4 + at % 4),
        _ => Byte::of(&base, at),
    });
    b.set_lanes(0, &result);
}

/// One element everywhere: from a general register, a vector's lowest element, or memory.
fn duplicate(b: &Builder, bytes: usize, _from: usize) -> Lowered {
    let width = bytes as u32 * 8;
    let per_block = matches!(b.instruction.mnemonic(), M::Movddup | M::Vmovddup);
    if per_block && b.lane_count(0) > 2 {
        let x = b.elements(1, 64);
        let result = b.assemble(x.len(), |at| Byte::of(&x, at / BLOCK * BLOCK + at % 8));
        b.set_elements(0, 64, &result);
        return Lowered::Done;
    }
    let value = if b.is_memory(1) {
        b.load(b.place(), bytes as u32)
    } else if b.instruction.op_register(1).is_vector_register() {
        b.lane(1, 0)
    } else {
        b.operand(1)
    };
    let source = [value.low(64)];
    let result = b.assemble(b.lane_count(0), |at| Byte::of(&source, at % bytes));
    b.set_elements(0, width, &result);
    Lowered::Done
}

/// PMOVZX and PMOVSX: the lowest elements, widened.
fn extend(b: &Builder, from: usize, to: usize, signed: bool) -> Lowered {
    let lanes = b.lane_count(0);
    let bytes = lanes * 8 / to * from;
    let x: Lanes<'_> = if b.is_memory(1) {
        let load = |at: usize| b.load(b.place().at(at as u32), (bytes - at).min(8) as u32);
        (0..bytes).step_by(8).map(load).collect()
    } else {
        (0..bytes.div_ceil(8)).map(|lane| b.lane(1, lane)).collect()
    };
    let spread = b.assemble(lanes, |at| match at % to < from {
        true => Byte::of(&x, at / to * from + at % to),
        false => Byte::Zero,
    });
    let width = to as u32 * 8;
    let result: Lanes<'_> = match signed {
        false => spread,
        true => spread
            .iter()
            .map(|&x| x.packed(Op::SignExtend, width, from as u16 * 8, x))
            .collect(),
    };
    b.set_elements(0, width, &result);
    Lowered::Done
}

/// PSHUFB: each control byte chooses a byte of its block, or zero.
fn shuffle_bytes(b: &Builder) {
    let (x, control) = b.sources(8);
    let single = x.len() == 1;
    let result: Lanes<'_> = (0..x.len())
        .map(|lane| {
            let (low, high) = (
                x[lane / 2 * 2],
                if single { x[0] } else { x[lane / 2 * 2 + 1] },
            );
            b.apply(Op::Shuffle, 64, 0, [low, high, control[lane]], 64)
        })
        .collect();
    b.set_elements(0, 8, &result);
}

/// Halves of elements, saturated, of both sources within each block.
fn pack<'b>(b: &'b Builder, element: u32, signed: bool) {
    let (x, y) = b.sources(element);
    let half = element / 2;
    let limits = if signed {
        (mask_of(half - 1), !mask_of(half - 1))
    } else {
        (mask_of(half), 0)
    };
    let clamp = |lanes: Lanes<'b>| -> Lanes<'b> {
        lanes
            .iter()
            .map(|&v| b.clamped(v, element, limits))
            .collect()
    };
    let (x, y) = (clamp(x), clamp(y));
    let (bytes, block) = (half as usize / 8, (x.len() * 8).min(BLOCK));
    let result = b.assemble(x.len(), |at| {
        let (start, within) = (at / block * block, at % block);
        let source = if within < block / 2 { &x } else { &y };
        let packed = within % (block / 2);
        Byte::of(source, start + packed / bytes * bytes * 2 + packed % bytes)
    });
    b.set_elements(0, half, &result);
}

fn mask_of(width: u32) -> u64 {
    crate::bits::mask(width)
}
