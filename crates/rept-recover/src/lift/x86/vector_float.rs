//! Floating-point arithmetic of SSE, AVX and AVX-512: element by element, under MXCSR.
//!
//! Approximations (rcpps, rsqrtps and their successors) differ by processor and are left to
//! the forgetting path.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::flags::{AF, CF, OF, PF, SF, ZF};
use crate::lift::value::{Pred, Val};
use crate::lift::vector::Lanes;
use crate::lift::x86::vector_convert::broadcast_bits;
use crate::op::Op;
use crate::op::float::{EQUAL, GREATER, LESS, UNORDERED};
use iced_x86::{EncodingKind, Mnemonic as M, RoundingControl};
use rept_trace::RegWord;
use smallvec::SmallVec;

/// The places that VRNDSCALE keeps and its rounding; not the bit that suppresses an exception.
pub(super) const SCALED: u16 = 0xf7;
/// First of the two bits of rounding control in MXCSR.
const ROUNDING_AT: u32 = 13;

/// Elements of a vector, the lowest first.
pub(super) type Elements<'b> = SmallVec<[Val<'b>; 16]>;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    if b.instruction.is_string_instruction() {
        return Lowered::Elsewhere;
    }
    arithmetic(b, m)
        .or_else(|| comparison(b, m))
        .map_or(Lowered::Elsewhere, |()| Lowered::Done)
}

fn arithmetic(b: &Builder, m: M) -> Option<()> {
    match m {
        M::Addps | M::Vaddps => packed(b, 32, Op::FloatAdd),
        M::Addpd | M::Vaddpd => packed(b, 64, Op::FloatAdd),
        M::Addss | M::Vaddss => scalar(b, 32, Op::FloatAdd),
        M::Addsd | M::Vaddsd => scalar(b, 64, Op::FloatAdd),
        M::Subps | M::Vsubps => packed(b, 32, Op::FloatSub),
        M::Subpd | M::Vsubpd => packed(b, 64, Op::FloatSub),
        M::Subss | M::Vsubss => scalar(b, 32, Op::FloatSub),
        M::Subsd | M::Vsubsd => scalar(b, 64, Op::FloatSub),
        M::Mulps | M::Vmulps => packed(b, 32, Op::FloatMul),
        M::Mulpd | M::Vmulpd => packed(b, 64, Op::FloatMul),
        M::Mulss | M::Vmulss => scalar(b, 32, Op::FloatMul),
        M::Mulsd | M::Vmulsd => scalar(b, 64, Op::FloatMul),
        M::Divps | M::Vdivps => packed(b, 32, Op::FloatDiv),
        M::Divpd | M::Vdivpd => packed(b, 64, Op::FloatDiv),
        M::Divss | M::Vdivss => scalar(b, 32, Op::FloatDiv),
        M::Divsd | M::Vdivsd => scalar(b, 64, Op::FloatDiv),
        M::Minps | M::Vminps => packed(b, 32, Op::FloatMin),
        M::Minpd | M::Vminpd => packed(b, 64, Op::FloatMin),
        M::Minss | M::Vminss => scalar(b, 32, Op::FloatMin),
        M::Minsd | M::Vminsd => scalar(b, 64, Op::FloatMin),
        M::Maxps | M::Vmaxps => packed(b, 32, Op::FloatMax),
        M::Maxpd | M::Vmaxpd => packed(b, 64, Op::FloatMax),
        M::Maxss | M::Vmaxss => scalar(b, 32, Op::FloatMax),
        M::Maxsd | M::Vmaxsd => scalar(b, 64, Op::FloatMax),
        M::Sqrtps | M::Vsqrtps => packed_unary(b, 32, Op::FloatSqrt, 0),
        M::Sqrtpd | M::Vsqrtpd => packed_unary(b, 64, Op::FloatSqrt, 0),
        M::Sqrtss | M::Vsqrtss => scalar_unary(b, 32, Op::FloatSqrt, 0),
        M::Sqrtsd | M::Vsqrtsd => scalar_unary(b, 64, Op::FloatSqrt, 0),
        M::Roundps | M::Vroundps => packed_unary(b, 32, Op::FloatRound, immediate(b) & 7),
        M::Roundpd | M::Vroundpd => packed_unary(b, 64, Op::FloatRound, immediate(b) & 7),
        M::Roundss | M::Vroundss => scalar_unary(b, 32, Op::FloatRound, immediate(b) & 7),
        M::Roundsd | M::Vroundsd => scalar_unary(b, 64, Op::FloatRound, immediate(b) & 7),
        M::Vrndscaleps => packed_unary(b, 32, Op::FloatRound, immediate(b) & SCALED),
        M::Vrndscalepd => packed_unary(b, 64, Op::FloatRound, immediate(b) & SCALED),
        M::Vrndscaless => scalar_unary(b, 32, Op::FloatRound, immediate(b) & SCALED),
        M::Vrndscalesd => scalar_unary(b, 64, Op::FloatRound, immediate(b) & SCALED),
        M::Vgetexpps => packed_unary(b, 32, Op::FloatExponent, 0),
        M::Vgetexppd => packed_unary(b, 64, Op::FloatExponent, 0),
        M::Vgetexpss => scalar_unary(b, 32, Op::FloatExponent, 0),
        M::Vgetexpsd => scalar_unary(b, 64, Op::FloatExponent, 0),
        M::Addsubps | M::Vaddsubps => alternating(b, 32),
        M::Addsubpd | M::Vaddsubpd => alternating(b, 64),
        M::Haddps | M::Vhaddps => horizontal(b, 32, Op::FloatAdd),
        M::Haddpd | M::Vhaddpd => horizontal(b, 64, Op::FloatAdd),
        M::Hsubps | M::Vhsubps => horizontal(b, 32, Op::FloatSub),
        M::Hsubpd | M::Vhsubpd => horizontal(b, 64, Op::FloatSub),
        M::Dpps | M::Vdpps => dot_product(b, 32),
        M::Dppd | M::Vdppd => dot_product(b, 64),
        _ => return half_precision(b, m),
    }
    Some(())
}

/// AVX512-FP16.
fn half_precision(b: &Builder, m: M) -> Option<()> {
    match m {
        M::Vaddph => packed(b, 16, Op::FloatAdd),
        M::Vaddsh => scalar(b, 16, Op::FloatAdd),
        M::Vsubph => packed(b, 16, Op::FloatSub),
        M::Vsubsh => scalar(b, 16, Op::FloatSub),
        M::Vmulph => packed(b, 16, Op::FloatMul),
        M::Vmulsh => scalar(b, 16, Op::FloatMul),
        M::Vdivph => packed(b, 16, Op::FloatDiv),
        M::Vdivsh => scalar(b, 16, Op::FloatDiv),
        M::Vminph => packed(b, 16, Op::FloatMin),
        M::Vminsh => scalar(b, 16, Op::FloatMin),
        M::Vmaxph => packed(b, 16, Op::FloatMax),
        M::Vmaxsh => scalar(b, 16, Op::FloatMax),
        M::Vgetexpph => packed_unary(b, 16, Op::FloatExponent, 0),
        M::Vgetexpsh => scalar_unary(b, 16, Op::FloatExponent, 0),
        M::Vsqrtph => packed_unary(b, 16, Op::FloatSqrt, 0),
        M::Vsqrtsh => scalar_unary(b, 16, Op::FloatSqrt, 0),
        M::Vrndscaleph => packed_unary(b, 16, Op::FloatRound, immediate(b) & SCALED),
        M::Vrndscalesh => scalar_unary(b, 16, Op::FloatRound, immediate(b) & SCALED),
        _ => return None,
    }
    Some(())
}

fn comparison(b: &Builder, m: M) -> Option<()> {
    match m {
        M::Comiss | M::Ucomiss | M::Vcomiss | M::Vucomiss => order_flags(b, 32),
        M::Comisd | M::Ucomisd | M::Vcomisd | M::Vucomisd => order_flags(b, 64),
        M::Vcomish | M::Vucomish => order_flags(b, 16),
        M::Vfpclassps => classify(b, 32, packed_count(b, 32)),
        M::Vfpclasspd => classify(b, 64, packed_count(b, 64)),
        M::Vfpclassph => classify(b, 16, packed_count(b, 16)),
        M::Vfpclassss => classify(b, 32, 1),
        M::Vfpclasssd => classify(b, 64, 1),
        M::Vfpclasssh => classify(b, 16, 1),
        M::Vcmpph => compare_packed(b, 16),
        M::Vcmpsh => compare_scalar(b, 16),
        M::Cmpps | M::Vcmpps => compare_packed(b, 32),
        M::Cmppd | M::Vcmppd => compare_packed(b, 64),
        M::Cmpss | M::Vcmpss => compare_scalar(b, 32),
        M::Cmpsd | M::Vcmpsd => compare_scalar(b, 64),
        _ => return None,
    }
    Some(())
}

pub(super) fn immediate(b: &Builder) -> u16 {
    u16::from(b.instruction.immediate8())
}

/// MXCSR as it controls this instruction: static rounding overrides its rounding control.
pub(super) fn mxcsr(b: &Builder) -> Val<'_> {
    let mode = match b.instruction.rounding_control() {
        RoundingControl::None => return b.input(RegWord::MXCSR),
        RoundingControl::RoundToNearest => 0,
        RoundingControl::RoundDown => 1,
        RoundingControl::RoundUp => 2,
        RoundingControl::RoundTowardZero => 3,
    };
    b.input(RegWord::MXCSR)
        .insert(ROUNDING_AT, b.constant(mode, 2))
}

/// MXCSR for numbers of this width: half precision knows neither flushing nor denormals as zero.
pub(super) fn control(b: &Builder, width: u32) -> Val<'_> {
    const FLUSHING: u64 = 0x8040;
    match width {
        16 => mxcsr(b) & b.constant(!FLUSHING, 64),
        _ => mxcsr(b),
    }
}

/// Exceptions are recorded, unless the instruction suppresses them.
pub(super) fn stick(b: &Builder) {
    let silent = b.instruction.suppress_all_exceptions()
        || b.instruction.rounding_control() != RoundingControl::None;
    if !silent {
        b.stick_exceptions();
    }
}

/// `count` elements of a vector operand; of memory, no more than them is loaded.
pub(super) fn elements(b: &Builder, operand: u32, width: u32, count: usize) -> Elements<'_> {
    if b.is_memory(operand) && b.instruction.is_broadcast() {
        let once = b.load(b.place(), width / 8);
        return (0..count).map(|_| once).collect();
    }
    let bits = width * count as u32;
    let lanes: Lanes<'_> = (0..bits.div_ceil(64))
        .map(|lane| match b.is_memory(operand) {
            true => b.load(b.place().at(lane * 8), (bits - lane * 64).min(64) / 8),
            false => b.lane(operand, lane as usize),
        })
        .collect();
    (0..count)
        .map(|i| {
            let at = i as u32 * width;
            lanes[at as usize / 64].extract(at % 64, width)
        })
        .collect()
}

/// Writes elements side by side, under the write mask, with zeros above them.
pub(super) fn set_packed(b: &Builder, results: &[Val<'_>]) {
    let width = results.first().map_or(64, |result| result.width);
    b.set_lowest(
        0,
        width,
        &b.side_by_side(results),
        width * results.len() as u32,
    );
}

pub(super) fn count(b: &Builder, width: u32) -> usize {
    (b.width(0) / width) as usize
}

fn packed(b: &Builder, width: u32, op: Op) {
    packed_binary(b, width, op, 0);
}

pub(super) fn packed_binary(b: &Builder, width: u32, op: Op, imm: u16) {
    let n = count(b, width);
    let last = b.last_vector();
    let (x, y) = (elements(b, last - 1, width, n), elements(b, last, width, n));
    let results: Elements<'_> = x
        .iter()
        .zip(&y)
        .map(|(&x, &y)| b.apply(op, width, imm, [x, y, control(b, width)], width))
        .collect();
    set_packed(b, &results);
    stick(b);
}

fn binary<'b>(b: &'b Builder, op: Op, x: Val<'b>, y: Val<'b>) -> Val<'b> {
    b.apply(op, x.width, 0, [x, y, control(b, x.width)], x.width)
}

pub(super) fn packed_unary(b: &Builder, width: u32, op: Op, imm: u16) {
    let results: Elements<'_> = elements(b, b.last_vector(), width, count(b, width))
        .iter()
        .map(|&x| b.apply(op, width, imm, [x, control(b, width), x], width))
        .collect();
    set_packed(b, &results);
    stick(b);
}

/// The lowest element of the last operand.
pub(super) fn lowest(b: &Builder, width: u32) -> Val<'_> {
    elements(b, b.last_vector(), width, 1)[0]
}

fn scalar(b: &Builder, width: u32, op: Op) {
    scalar_binary(b, width, op, 0);
}

pub(super) fn scalar_binary(b: &Builder, width: u32, op: Op, imm: u16) {
    let y = lowest(b, width);
    let x = b.lane(b.last_vector() - 1, 0).low(width);
    set_scalar(b, b.apply(op, width, imm, [x, y, control(b, width)], width));
    stick(b);
}

pub(super) fn scalar_unary(b: &Builder, width: u32, op: Op, imm: u16) {
    let x = lowest(b, width);
    set_scalar(b, b.apply(op, width, imm, [x, control(b, width), x], width));
    stick(b);
}

/// Writes the lowest element, under the write mask: the rest stays (legacy) or comes from the
/// first source (VEX and EVEX).
pub(super) fn set_scalar(b: &Builder, value: Val<'_>) {
    let legacy = b.instruction.encoding() == EncodingKind::Legacy;
    let rest = if legacy { 0 } else { 1 };
    let value = masked_scalar(b, value);
    let low = match value.width {
        64 => value,
        _ => b.lane(rest, 0).insert(0, value),
    };
    if legacy {
        b.set_lanes(0, &[low]);
    } else {
        b.set_lanes(0, &[low, b.lane(rest, 1)]);
    }
}

/// The value, or where the write mask says so zero or what the destination held.
pub(super) fn masked_scalar<'b>(b: &'b Builder, value: Val<'b>) -> Val<'b> {
    if !b.has_write_mask() {
        return value;
    }
    let old = match b.instruction.zeroing_masking() {
        true => b.constant(0, value.width),
        false => b.lane(0, 0).low(value.width),
    };
    let bit = b.mask_operand_of(b.instruction.op_mask()).bit(0);
    b.select(bit, b.value(value.word, value.width), old)
}

/// Subtracts even elements, adds odd ones.
fn alternating(b: &Builder, width: u32) {
    let n = count(b, width);
    let last = b.last_vector();
    let (x, y) = (elements(b, last - 1, width, n), elements(b, last, width, n));
    let op = |i: usize| {
        if i.is_multiple_of(2) {
            Op::FloatSub
        } else {
            Op::FloatAdd
        }
    };
    let results: Elements<'_> = (0..n).map(|i| binary(b, op(i), x[i], y[i])).collect();
    set_packed(b, &results);
    stick(b);
}

/// Combines neighbours: within each 128 bits, first those of the first source, then of the second.
fn horizontal(b: &Builder, width: u32, op: Op) {
    let n = count(b, width);
    let last = b.last_vector();
    let (x, y) = (elements(b, last - 1, width, n), elements(b, last, width, n));
    let per_lane = (128 / width) as usize;
    let results: Elements<'_> = (0..n)
        .map(|i| {
            let (lane, within) = (i / per_lane, i % per_lane);
            let from = if within < per_lane / 2 { &x } else { &y };
            let first = lane * per_lane + within % (per_lane / 2) * 2;
            binary(b, op, from[first], from[first + 1])
        })
        .collect();
    set_packed(b, &results);
    stick(b);
}

/// The order of `x` and `y` is one of `outcomes`.
fn ordered<'b>(b: &'b Builder, x: Val<'b>, y: Val<'b>, outcomes: u16) -> Pred<'b> {
    Pred::holds(Op::FloatCompare, outcomes, [x, y, control(b, x.width)])
}

fn order_flags(b: &Builder, width: u32) {
    let (x, y) = (b.lane(0, 0).low(width), lowest(b, width));
    b.set_flag(ZF, ordered(b, x, y, EQUAL | UNORDERED));
    b.set_flag(PF, ordered(b, x, y, UNORDERED));
    b.set_flag(CF, ordered(b, x, y, LESS | UNORDERED));
    for flag in [OF, SF, AF] {
        b.set_flag(flag, Pred::Constant(false));
    }
    stick(b);
}

/// Outcomes for which a predicate of CMPPS holds; 16 more repeat them with other exceptions.
fn outcomes(b: &Builder) -> u16 {
    const PREDICATES: [u16; 16] = [
        EQUAL,
        LESS,
        LESS | EQUAL,
        UNORDERED,
        LESS | GREATER | UNORDERED,
        EQUAL | GREATER | UNORDERED,
        GREATER | UNORDERED,
        LESS | EQUAL | GREATER,
        EQUAL | UNORDERED,
        LESS | UNORDERED,
        LESS | EQUAL | UNORDERED,
        0,
        LESS | GREATER,
        EQUAL | GREATER,
        GREATER,
        LESS | EQUAL | GREATER | UNORDERED,
    ];
    let legacy = b.instruction.encoding() == EncodingKind::Legacy;
    PREDICATES[usize::from(immediate(b) & if legacy { 7 } else { 15 })]
}

/// All ones where the comparison holds.
fn compare<'b>(b: &'b Builder, x: Val<'b>, y: Val<'b>) -> Val<'b> {
    b.bit(ordered(b, x, y, outcomes(b))).sign_extended(x.width)
}

/// To a vector of all ones and zeros, or to a mask register.
fn compare_packed(b: &Builder, width: u32) {
    let last = b.last_vector();
    let n = match b.is_register(last - 1) {
        true => (b.width(last - 1) / width) as usize,
        false => count(b, width),
    };
    let (x, y) = (elements(b, last - 1, width, n), elements(b, last, width, n));
    let outcomes = outcomes(b);
    if b.instruction.op0_register().is_k() {
        let preds = x.iter().zip(&y).map(|(&x, &y)| ordered(b, x, y, outcomes));
        b.set_mask(preds.collect(), 1);
    } else {
        let results: Elements<'_> = x.iter().zip(&y).map(|(&x, &y)| compare(b, x, y)).collect();
        set_packed(b, &results);
    }
    stick(b);
}

fn compare_scalar(b: &Builder, width: u32) {
    let y = lowest(b, width);
    let x = b.lane(b.last_vector() - 1, 0).low(width);
    if b.instruction.op0_register().is_k() {
        b.set_mask(vec![ordered(b, x, y, outcomes(b))], 1);
    } else {
        set_scalar(b, compare(b, x, y));
    }
    stick(b);
}

/// Elements of the source of an instruction whose result is a mask.
fn packed_count(b: &Builder, width: u32) -> usize {
    let bits = match b.is_register(1) {
        true => b.width(1),
        false => broadcast_bits(b.instruction.memory_size()).max(b.width(1)),
    };
    (bits / width) as usize
}

/// VFPCLASS: of which kinds the elements are; exceptions are not raised.
fn classify(b: &Builder, width: u32, n: usize) {
    let kinds = immediate(b);
    let preds = elements(b, 1, width, n)
        .iter()
        .map(|&x| Pred::holds(Op::FloatClass, kinds, [x, control(b, width), x]))
        .collect();
    b.set_mask(preds, 1);
}

/// `f` of the products that the immediate's high bits select, in the places of its low bits.
fn dot_product(b: &Builder, width: u32) {
    let n = count(b, width);
    let last = b.last_vector();
    let (x, y) = (elements(b, last - 1, width, n), elements(b, last, width, n));
    let (imm, per_block) = (immediate(b), (128 / width) as usize);
    let zero = b.constant(0, width);
    let mut results = Elements::new();
    for block in (0..n).step_by(per_block) {
        let product = |at: usize| match imm >> (4 + at) & 1 {
            0 => zero,
            _ => binary(b, Op::FloatMul, x[block + at], y[block + at]),
        };
        let pair = |at: usize| binary(b, Op::FloatAdd, product(at), product(at + 1));
        let sum = match per_block {
            2 => pair(0),
            _ => binary(b, Op::FloatAdd, pair(0), pair(2)),
        };
        results.extend((0..per_block).map(|at| if imm >> at & 1 == 0 { zero } else { sum }));
    }
    set_packed(b, &results);
    stick(b);
}
