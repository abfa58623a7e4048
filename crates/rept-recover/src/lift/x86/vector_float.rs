//! Floating-point arithmetic of SSE and AVX: element by element, under MXCSR.
//!
//! Masked, broadcast and statically rounded EVEX forms, fused and approximate operations
//! (rcpps, rsqrtps) are left to the forgetting path.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::flags::{AF, CF, OF, PF, SF, ZF};
use crate::lift::value::{Pred, Val};
use crate::lift::vector::Lanes;
use crate::op::Op;
use crate::op::float::{EQUAL, GREATER, LESS, TRUNCATE, UNORDERED};
use iced_x86::{EncodingKind, Mnemonic as M, RoundingControl};
use rept_trace::RegWord;
use smallvec::SmallVec;

/// MXCSR after reset, for operations that are exact whatever it says.
const DEFAULT: u64 = 0x1f80;

/// Elements of a vector, the lowest first.
type Elements<'b> = SmallVec<[Val<'b>; 16]>;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    let i = &b.instruction;
    let special = b.has_write_mask()
        || i.is_broadcast()
        || i.is_string_instruction()
        || i.rounding_control() != RoundingControl::None
        || i.suppress_all_exceptions()
        || i.op_count() > 0
            && b.is_register(0)
            && (i.op0_register().is_k() || i.op0_register().is_mm())
        || i.op_count() > 1 && b.is_register(1) && i.op1_register().is_mm();
    if special {
        return Lowered::Elsewhere;
    }
    arithmetic(b, m)
        .or_else(|| comparison(b, m))
        .or_else(|| conversion(b, m))
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
        M::Addsubps | M::Vaddsubps => alternating(b, 32),
        M::Addsubpd | M::Vaddsubpd => alternating(b, 64),
        M::Haddps | M::Vhaddps => horizontal(b, 32, Op::FloatAdd),
        M::Haddpd | M::Vhaddpd => horizontal(b, 64, Op::FloatAdd),
        M::Hsubps | M::Vhsubps => horizontal(b, 32, Op::FloatSub),
        M::Hsubpd | M::Vhsubpd => horizontal(b, 64, Op::FloatSub),
        _ => return None,
    }
    Some(())
}

fn comparison(b: &Builder, m: M) -> Option<()> {
    match m {
        M::Comiss | M::Ucomiss | M::Vcomiss | M::Vucomiss => order_flags(b, 32),
        M::Comisd | M::Ucomisd | M::Vcomisd | M::Vucomisd => order_flags(b, 64),
        M::Cmpps | M::Vcmpps => compare_packed(b, 32),
        M::Cmppd | M::Vcmppd => compare_packed(b, 64),
        M::Cmpss | M::Vcmpss => compare_scalar(b, 32),
        M::Cmpsd | M::Vcmpsd => compare_scalar(b, 64),
        _ => return None,
    }
    Some(())
}

fn conversion(b: &Builder, m: M) -> Option<()> {
    match m {
        M::Cvtsi2ss | M::Vcvtsi2ss => from_general(b, 32),
        M::Cvtsi2sd | M::Vcvtsi2sd => from_general(b, 64),
        M::Cvtss2si | M::Vcvtss2si => to_general(b, 32, 0),
        M::Cvtsd2si | M::Vcvtsd2si => to_general(b, 64, 0),
        M::Cvttss2si | M::Vcvttss2si => to_general(b, 32, TRUNCATE),
        M::Cvttsd2si | M::Vcvttsd2si => to_general(b, 64, TRUNCATE),
        M::Cvtss2sd | M::Vcvtss2sd => scalar_conversion(b, 32, 64),
        M::Cvtsd2ss | M::Vcvtsd2ss => scalar_conversion(b, 64, 32),
        M::Cvtps2pd | M::Vcvtps2pd => convert(b, Op::FloatResize, 32, 64, 0),
        M::Cvtpd2ps | M::Vcvtpd2ps => convert(b, Op::FloatResize, 64, 32, 0),
        M::Cvtdq2ps | M::Vcvtdq2ps => convert(b, Op::FloatFromInt, 32, 32, 0),
        M::Cvtdq2pd | M::Vcvtdq2pd => convert(b, Op::FloatFromInt, 32, 64, 0),
        M::Cvtps2dq | M::Vcvtps2dq => convert(b, Op::FloatToInt, 32, 32, 0),
        M::Cvtpd2dq | M::Vcvtpd2dq => convert(b, Op::FloatToInt, 64, 32, 0),
        M::Cvttps2dq | M::Vcvttps2dq => convert(b, Op::FloatToInt, 32, 32, TRUNCATE),
        M::Cvttpd2dq | M::Vcvttpd2dq => convert(b, Op::FloatToInt, 64, 32, TRUNCATE),
        _ => return None,
    }
    Some(())
}

fn immediate(b: &Builder) -> u16 {
    u16::from(b.instruction.immediate8())
}

fn mxcsr(b: &Builder) -> Val<'_> {
    b.input(RegWord::MXCSR)
}

/// The last operand that is not an immediate.
fn source(b: &Builder) -> u32 {
    let last = b.instruction.op_count() - 1;
    if b.is_register(last) || b.is_memory(last) {
        last
    } else {
        last - 1
    }
}

/// `count` elements of a vector operand; of memory, no more than them is loaded.
fn elements(b: &Builder, operand: u32, width: u32, count: usize) -> Elements<'_> {
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

/// Elements side by side in lanes.
fn gather<'b>(elements: &[Val<'b>]) -> Lanes<'b> {
    match elements.first().map(|element| element.width) {
        Some(32) => elements
            .chunks(2)
            .map(|pair| match pair {
                [low, high] => low.zero_extended(64).insert(32, *high),
                _ => pair[0].zero_extended(64),
            })
            .collect(),
        _ => elements.iter().copied().collect(),
    }
}

fn count(b: &Builder, width: u32) -> usize {
    (b.width(0) / width) as usize
}

fn packed(b: &Builder, width: u32, op: Op) {
    let n = count(b, width);
    let last = source(b);
    let (x, y) = (elements(b, last - 1, width, n), elements(b, last, width, n));
    let results: Elements<'_> = x
        .iter()
        .zip(&y)
        .map(|(&x, &y)| binary(b, op, x, y))
        .collect();
    b.set_lanes(0, &gather(&results));
    b.stick_exceptions();
}

fn binary<'b>(b: &'b Builder, op: Op, x: Val<'b>, y: Val<'b>) -> Val<'b> {
    b.apply(op, x.width, 0, [x, y, mxcsr(b)], x.width)
}

fn packed_unary(b: &Builder, width: u32, op: Op, imm: u16) {
    let results: Elements<'_> = elements(b, source(b), width, count(b, width))
        .iter()
        .map(|&x| b.apply(op, width, imm, [x, mxcsr(b), x], width))
        .collect();
    b.set_lanes(0, &gather(&results));
    b.stick_exceptions();
}

/// The lowest element of the last operand.
fn lowest(b: &Builder, width: u32) -> Val<'_> {
    elements(b, source(b), width, 1)[0]
}

fn scalar(b: &Builder, width: u32, op: Op) {
    let y = lowest(b, width);
    let x = b.lane(source(b) - 1, 0).low(width);
    set_lowest(b, binary(b, op, x, y));
    b.stick_exceptions();
}

fn scalar_unary(b: &Builder, width: u32, op: Op, imm: u16) {
    let x = lowest(b, width);
    set_lowest(b, b.apply(op, width, imm, [x, mxcsr(b), x], width));
    b.stick_exceptions();
}

/// Writes the lowest element: the rest stays (legacy) or comes from the first source (VEX).
fn set_lowest(b: &Builder, value: Val<'_>) {
    let legacy = b.instruction.encoding() == EncodingKind::Legacy;
    let rest = if legacy { 0 } else { 1 };
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

/// Subtracts even elements, adds odd ones.
fn alternating(b: &Builder, width: u32) {
    let n = count(b, width);
    let last = source(b);
    let (x, y) = (elements(b, last - 1, width, n), elements(b, last, width, n));
    let op = |i: usize| {
        if i.is_multiple_of(2) {
            Op::FloatSub
        } else {
            Op::FloatAdd
        }
    };
    let results: Elements<'_> = (0..n).map(|i| binary(b, op(i), x[i], y[i])).collect();
    b.set_lanes(0, &gather(&results));
    b.stick_exceptions();
}

/// Combines neighbours: within each 128 bits, first those of the first source, then of the second.
fn horizontal(b: &Builder, width: u32, op: Op) {
    let n = count(b, width);
    let last = source(b);
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
    b.set_lanes(0, &gather(&results));
    b.stick_exceptions();
}

/// The order of `x` and `y` is one of `outcomes`.
fn ordered<'b>(b: &'b Builder, x: Val<'b>, y: Val<'b>, outcomes: u16) -> Pred<'b> {
    Pred::holds(Op::FloatCompare, outcomes, [x, y, mxcsr(b)])
}

fn order_flags(b: &Builder, width: u32) {
    let (x, y) = (b.lane(0, 0).low(width), lowest(b, width));
    b.set_flag(ZF, ordered(b, x, y, EQUAL | UNORDERED));
    b.set_flag(PF, ordered(b, x, y, UNORDERED));
    b.set_flag(CF, ordered(b, x, y, LESS | UNORDERED));
    for flag in [OF, SF, AF] {
        b.set_flag(flag, Pred::Constant(false));
    }
    b.stick_exceptions();
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

fn compare_packed(b: &Builder, width: u32) {
    let n = count(b, width);
    let last = source(b);
    let (x, y) = (elements(b, last - 1, width, n), elements(b, last, width, n));
    let results: Elements<'_> = x.iter().zip(&y).map(|(&x, &y)| compare(b, x, y)).collect();
    b.set_lanes(0, &gather(&results));
    b.stick_exceptions();
}

fn compare_scalar(b: &Builder, width: u32) {
    let y = lowest(b, width);
    let x = b.lane(source(b) - 1, 0).low(width);
    set_lowest(b, compare(b, x, y));
    b.stick_exceptions();
}

fn converted<'b>(
    b: &'b Builder,
    op: Op,
    x: Val<'b>,
    to: u32,
    flags: u16,
    control: Val<'b>,
) -> Val<'b> {
    let imm = (to as u16) << 8 | x.width as u16 | flags;
    b.apply(op, to.max(x.width), imm, [x, control, x], to)
}

fn from_general(b: &Builder, to: u32) {
    let x = b.operand(source(b));
    if x.width < to {
        let control = b.constant(DEFAULT, 32);
        return set_lowest(b, converted(b, Op::FloatFromInt, x, to, 0, control));
    }
    set_lowest(b, converted(b, Op::FloatFromInt, x, to, 0, mxcsr(b)));
    b.stick_exceptions();
}

fn to_general(b: &Builder, from: u32, flags: u16) {
    let x = lowest(b, from);
    b.set(
        0,
        converted(b, Op::FloatToInt, x, b.width(0), flags, mxcsr(b)),
    );
    b.stick_exceptions();
}

fn scalar_conversion(b: &Builder, from: u32, to: u32) {
    let x = lowest(b, from);
    set_lowest(b, converted(b, Op::FloatResize, x, to, 0, mxcsr(b)));
    b.stick_exceptions();
}

/// Converts as many elements as the wider of the two vectors holds; a result of half a register is zero above.
fn convert(b: &Builder, op: Op, from: u32, to: u32, flags: u16) {
    let vectors = b.width(0).max(if b.is_register(1) {
        b.width(1)
    } else {
        b.width(1).max(128)
    });
    let n = (vectors / from.max(to)) as usize;
    let exact = op == Op::FloatFromInt && from < to;
    let control = if exact {
        b.constant(DEFAULT, 32)
    } else {
        mxcsr(b)
    };
    let results: Elements<'_> = elements(b, 1, from, n)
        .iter()
        .map(|&x| converted(b, op, x, to, flags, control))
        .collect();
    let mut lanes = gather(&results);
    lanes.resize(lanes.len().max(2), b.constant(0, 64));
    b.set_lanes(0, &lanes);
    if !exact {
        b.stick_exceptions();
    }
}
