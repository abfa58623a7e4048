//! Packed integer arithmetic, logic, comparison and shifts: one line serves the MMX, SSE, AVX,
//! AVX2 and AVX-512 forms, masked and broadcast ones included.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::value::{Pred, Val};
use crate::lift::vector::Lanes;
use crate::op::Op;
use iced_x86::Mnemonic as M;

const SUM_OVERFLOW: u16 = 0x42;
const DIFFERENCE_OVERFLOW: u16 = 0x18;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    match m {
        M::Pxor | M::Vpxor | M::Xorps | M::Xorpd => zip(b, 64, |x, y, _| x ^ y),
        M::Vpxord | M::Vxorps => zip(b, 32, |x, y, _| x ^ y),
        M::Vpxorq | M::Vxorpd => zip(b, 64, |x, y, _| x ^ y),
        M::Pand | M::Vpand | M::Andps | M::Andpd => zip(b, 64, |x, y, _| x & y),
        M::Vpandd | M::Vandps => zip(b, 32, |x, y, _| x & y),
        M::Vpandq | M::Vandpd => zip(b, 64, |x, y, _| x & y),
        M::Por | M::Vpor | M::Orps | M::Orpd => zip(b, 64, |x, y, _| x | y),
        M::Vpord | M::Vorps => zip(b, 32, |x, y, _| x | y),
        M::Vporq | M::Vorpd => zip(b, 64, |x, y, _| x | y),
        M::Pandn | M::Vpandn | M::Andnps | M::Andnpd => zip(b, 64, |x, y, _| !x & y),
        M::Vpandnd | M::Vandnps => zip(b, 32, |x, y, _| !x & y),
        M::Vpandnq | M::Vandnpd => zip(b, 64, |x, y, _| !x & y),
        M::Vpternlogd => ternary_logic(b, 32),
        M::Vpternlogq => ternary_logic(b, 64),
        M::Paddb | M::Vpaddb => zip(b, 8, add),
        M::Paddw | M::Vpaddw => zip(b, 16, add),
        M::Paddd | M::Vpaddd => zip(b, 32, add),
        M::Paddq | M::Vpaddq => zip(b, 64, add),
        M::Psubb | M::Vpsubb => zip(b, 8, sub),
        M::Psubw | M::Vpsubw => zip(b, 16, sub),
        M::Psubd | M::Vpsubd => zip(b, 32, sub),
        M::Psubq | M::Vpsubq => zip(b, 64, sub),
        M::Paddusb | M::Vpaddusb => zip(b, 8, add_unsigned),
        M::Paddusw | M::Vpaddusw => zip(b, 16, add_unsigned),
        M::Psubusb | M::Vpsubusb => zip(b, 8, sub_unsigned),
        M::Psubusw | M::Vpsubusw => zip(b, 16, sub_unsigned),
        M::Paddsb | M::Vpaddsb => zip(b, 8, add_signed),
        M::Paddsw | M::Vpaddsw => zip(b, 16, add_signed),
        M::Psubsb | M::Vpsubsb => zip(b, 8, sub_signed),
        M::Psubsw | M::Vpsubsw => zip(b, 16, sub_signed),
        M::Pminub | M::Vpminub => zip(b, 8, |x, y, w| pick(x.packed_pred(Op::Ult, w, y), w, x, y)),
        M::Pminuw | M::Vpminuw => zip(b, 16, |x, y, w| pick(x.packed_pred(Op::Ult, w, y), w, x, y)),
        M::Pminud | M::Vpminud => zip(b, 32, |x, y, w| pick(x.packed_pred(Op::Ult, w, y), w, x, y)),
        M::Vpminuq => zip(b, 64, |x, y, w| pick(x.packed_pred(Op::Ult, w, y), w, x, y)),
        M::Pmaxub | M::Vpmaxub => zip(b, 8, |x, y, w| pick(x.packed_pred(Op::Ult, w, y), w, y, x)),
        M::Pmaxuw | M::Vpmaxuw => zip(b, 16, |x, y, w| pick(x.packed_pred(Op::Ult, w, y), w, y, x)),
        M::Pmaxud | M::Vpmaxud => zip(b, 32, |x, y, w| pick(x.packed_pred(Op::Ult, w, y), w, y, x)),
        M::Vpmaxuq => zip(b, 64, |x, y, w| pick(x.packed_pred(Op::Ult, w, y), w, y, x)),
        M::Pminsb | M::Vpminsb => zip(b, 8, |x, y, w| pick(x.packed_pred(Op::Slt, w, y), w, x, y)),
        M::Pminsw | M::Vpminsw => zip(b, 16, |x, y, w| pick(x.packed_pred(Op::Slt, w, y), w, x, y)),
        M::Pminsd | M::Vpminsd => zip(b, 32, |x, y, w| pick(x.packed_pred(Op::Slt, w, y), w, x, y)),
        M::Vpminsq => zip(b, 64, |x, y, w| pick(x.packed_pred(Op::Slt, w, y), w, x, y)),
        M::Pmaxsb | M::Vpmaxsb => zip(b, 8, |x, y, w| pick(x.packed_pred(Op::Slt, w, y), w, y, x)),
        M::Pmaxsw | M::Vpmaxsw => zip(b, 16, |x, y, w| pick(x.packed_pred(Op::Slt, w, y), w, y, x)),
        M::Pmaxsd | M::Vpmaxsd => zip(b, 32, |x, y, w| pick(x.packed_pred(Op::Slt, w, y), w, y, x)),
        M::Vpmaxsq => zip(b, 64, |x, y, w| pick(x.packed_pred(Op::Slt, w, y), w, y, x)),
        M::Pcmpeqb | M::Vpcmpeqb => compare(b, 8, Op::Eq),
        M::Pcmpeqw | M::Vpcmpeqw => compare(b, 16, Op::Eq),
        M::Pcmpeqd | M::Vpcmpeqd => compare(b, 32, Op::Eq),
        M::Pcmpeqq | M::Vpcmpeqq => compare(b, 64, Op::Eq),
        M::Pcmpgtb | M::Vpcmpgtb => compare(b, 8, Op::Slt),
        M::Pcmpgtw | M::Vpcmpgtw => compare(b, 16, Op::Slt),
        M::Pcmpgtd | M::Vpcmpgtd => compare(b, 32, Op::Slt),
        M::Pcmpgtq | M::Vpcmpgtq => compare(b, 64, Op::Slt),
        M::Pavgb | M::Vpavgb => zip(b, 8, average),
        M::Pavgw | M::Vpavgw => zip(b, 16, average),
        M::Pabsb | M::Vpabsb => map(b, 8, absolute),
        M::Pabsw | M::Vpabsw => map(b, 16, absolute),
        M::Pabsd | M::Vpabsd => map(b, 32, absolute),
        M::Vpabsq => map(b, 64, absolute),
        M::Psignb | M::Vpsignb => zip(b, 8, sign),
        M::Psignw | M::Vpsignw => zip(b, 16, sign),
        M::Psignd | M::Vpsignd => zip(b, 32, sign),
        M::Pmullw | M::Vpmullw => zip(b, 16, |x, y, w| x.packed(Op::MulLow, w, 0, y)),
        M::Pmulld | M::Vpmulld => zip(b, 32, |x, y, w| x.packed(Op::MulLow, w, 0, y)),
        M::Vpmullq => zip(b, 64, |x, y, w| x.packed(Op::MulLow, w, 0, y)),
        M::Pmulhw | M::Vpmulhw => zip(b, 16, |x, y, w| x.packed(Op::MulHighSigned, w, 0, y)),
        M::Pmulhuw | M::Vpmulhuw => zip(b, 16, |x, y, w| x.packed(Op::MulHigh, w, 0, y)),
        M::Pmuludq | M::Vpmuludq => zip(b, 64, |x, y, _| {
            x.low(32)
                .zero_extended(64)
                .with(Op::MulLow, y.low(32).zero_extended(64))
        }),
        M::Pmuldq | M::Vpmuldq => {
            zip(b, 64, |x, y, _| {
                x.low(32)
                    .sign_extended(64)
                    .with(Op::MulLow, y.low(32).sign_extended(64))
            });
        }
        M::Pmaddwd | M::Vpmaddwd => zip(b, 32, multiply_pairs),
        M::Psllw | M::Vpsllw => return shift(b, 16, Op::Shl, Op::ShlBy),
        M::Pslld | M::Vpslld => return shift(b, 32, Op::Shl, Op::ShlBy),
        M::Psllq | M::Vpsllq => return shift(b, 64, Op::Shl, Op::ShlBy),
        M::Psrlw | M::Vpsrlw => return shift(b, 16, Op::Shr, Op::ShrBy),
        M::Psrld | M::Vpsrld => return shift(b, 32, Op::Shr, Op::ShrBy),
        M::Psrlq | M::Vpsrlq => return shift(b, 64, Op::Shr, Op::ShrBy),
        M::Psraw | M::Vpsraw => return shift(b, 16, Op::Sar, Op::SarBy),
        M::Psrad | M::Vpsrad => return shift(b, 32, Op::Sar, Op::SarBy),
        M::Vpsraq => return shift(b, 64, Op::Sar, Op::SarBy),
        M::Vpsllvw => zip(b, 16, |x, y, w| x.packed(Op::ShlBy, w, 0, y)),
        M::Vpsllvd => zip(b, 32, |x, y, w| x.packed(Op::ShlBy, w, 0, y)),
        M::Vpsllvq => zip(b, 64, |x, y, w| x.packed(Op::ShlBy, w, 0, y)),
        M::Vpsrlvw => zip(b, 16, |x, y, w| x.packed(Op::ShrBy, w, 0, y)),
        M::Vpsrlvd => zip(b, 32, |x, y, w| x.packed(Op::ShrBy, w, 0, y)),
        M::Vpsrlvq => zip(b, 64, |x, y, w| x.packed(Op::ShrBy, w, 0, y)),
        M::Vpsravw => zip(b, 16, |x, y, w| x.packed(Op::SarBy, w, 0, y)),
        M::Vpsravd => zip(b, 32, |x, y, w| x.packed(Op::SarBy, w, 0, y)),
        M::Vpsravq => zip(b, 64, |x, y, w| x.packed(Op::SarBy, w, 0, y)),
        M::Vprolvd => zip(b, 32, |x, y, w| x.packed(Op::RolBy, w, 0, y)),
        M::Vprolvq => zip(b, 64, |x, y, w| x.packed(Op::RolBy, w, 0, y)),
        M::Vprold => rotate(b, 32, false),
        M::Vprolq => rotate(b, 64, false),
        M::Vprord => rotate(b, 32, true),
        M::Vprorq => rotate(b, 64, true),
        M::Vpopcntb => map(b, 8, |x, w| x.packed(Op::Popcnt, w, 0, x)),
        M::Vpopcntw => map(b, 16, |x, w| x.packed(Op::Popcnt, w, 0, x)),
        M::Vpopcntd => map(b, 32, |x, w| x.packed(Op::Popcnt, w, 0, x)),
        M::Vpopcntq => map(b, 64, |x, w| x.packed(Op::Popcnt, w, 0, x)),
        M::Vplzcntd => map(b, 32, |x, w| x.packed(Op::Lzcnt, w, 0, x)),
        M::Vplzcntq => map(b, 64, |x, w| x.packed(Op::Lzcnt, w, 0, x)),
        M::Vpblendmb => blend_by_mask(b, 8),
        M::Vpblendmw => blend_by_mask(b, 16),
        M::Vpblendmd | M::Vblendmps => blend_by_mask(b, 32),
        M::Vpblendmq | M::Vblendmpd => blend_by_mask(b, 64),
        M::Pblendvb | M::Vpblendvb => return blend_by_sign(b, 8),
        M::Blendvps | M::Vblendvps => return blend_by_sign(b, 32),
        M::Blendvpd | M::Vblendvpd => return blend_by_sign(b, 64),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

/// Lane by lane on the two sources; for legacy forms the first is the destination.
pub(super) fn zip<'b>(b: &'b Builder, element: u32, f: impl Fn(Val<'b>, Val<'b>, u32) -> Val<'b>) {
    let (x, y) = b.sources(element);
    let result: Lanes<'b> = x.iter().zip(&y).map(|(&x, &y)| f(x, y, element)).collect();
    b.set_elements(0, element, &result);
}

fn map<'b>(b: &'b Builder, element: u32, f: impl Fn(Val<'b>, u32) -> Val<'b>) {
    let x = b.elements(b.last_vector(), element);
    let result: Lanes<'b> = x.iter().map(|&x| f(x, element)).collect();
    b.set_elements(0, element, &result);
}

pub(super) fn add<'b>(x: Val<'b>, y: Val<'b>, w: u32) -> Val<'b> {
    if x.is(y) {
        x.packed(Op::Shl, w, 1, x)
    } else {
        x.packed(Op::Add, w, 0, y)
    }
}

pub(super) fn sub<'b>(x: Val<'b>, y: Val<'b>, w: u32) -> Val<'b> {
    x.packed_sub(w, y)
}

/// Elements of `x` where the bits say so, else of `y`.
fn pick<'b>(bits: Pred<'b>, w: u32, x: Val<'b>, y: Val<'b>) -> Val<'b> {
    x.builder.choose(x.builder.expanded(bits, w), x, y)
}

fn add_unsigned<'b>(x: Val<'b>, y: Val<'b>, w: u32) -> Val<'b> {
    let zero = x.builder.constant(0, 64);
    let carry = x.packed_pred3(Op::Carry, w, 0, y, zero);
    add(x, y, w) | x.builder.expanded(carry, w)
}

fn sub_unsigned<'b>(x: Val<'b>, y: Val<'b>, w: u32) -> Val<'b> {
    let enough = x.packed_pred(Op::Ult, w, y).negated();
    sub(x, y, w) & x.builder.expanded(enough, w)
}

/// The bound that an overflow from `x` runs into: the greatest value, or the least.
fn bound(x: Val<'_>, w: u32) -> Val<'_> {
    let greatest = x.builder.replicated((1u64 << (w - 1)) - 1, w);
    x.packed(Op::Sar, w, (w - 1) as u16, x) ^ greatest
}

pub(super) fn add_signed<'b>(x: Val<'b>, y: Val<'b>, w: u32) -> Val<'b> {
    let sum = add(x, y, w);
    pick(
        x.packed_pred3(Op::TopBits, w, SUM_OVERFLOW, y, sum),
        w,
        bound(x, w),
        sum,
    )
}

pub(super) fn sub_signed<'b>(x: Val<'b>, y: Val<'b>, w: u32) -> Val<'b> {
    let difference = sub(x, y, w);
    pick(
        x.packed_pred3(Op::TopBits, w, DIFFERENCE_OVERFLOW, y, difference),
        w,
        bound(x, w),
        difference,
    )
}

/// `(x + y + 1) / 2` without overflow: `(x | y) - (x ^ y) / 2`.
fn average<'b>(x: Val<'b>, y: Val<'b>, w: u32) -> Val<'b> {
    let differ = x ^ y;
    sub(x | y, differ.packed(Op::Shr, w, 1, differ), w)
}

fn absolute(x: Val<'_>, w: u32) -> Val<'_> {
    let signs = x.packed(Op::Sar, w, (w - 1) as u16, x);
    sub(x ^ signs, signs, w)
}

/// `x`, its negative, or zero, as `y` is positive, negative, or zero.
fn sign<'b>(x: Val<'b>, y: Val<'b>, w: u32) -> Val<'b> {
    let signs = y.packed(Op::Sar, w, (w - 1) as u16, y);
    let signed = sub(x ^ signs, signs, w);
    let zero = y.packed_pred3(Op::Zero, w, 0, y, y).negated();
    signed & x.builder.expanded(zero, w)
}

/// Sums of the products of pairs of signed 16-bit elements.
pub(super) fn multiply_pairs<'b>(x: Val<'b>, y: Val<'b>, w: u32) -> Val<'b> {
    let low = |v: Val<'b>| v.packed(Op::SignExtend, w, 16, v);
    let high = |v: Val<'b>| v.packed(Op::Sar, w, 16, v);
    let product = |x: Val<'b>, y| x.packed(Op::MulLow, w, 0, y);
    add(product(low(x), low(y)), product(high(x), high(y)), w)
}

/// PCMPEQ and PCMPGT: to a vector of all-ones and zeros, or to a mask register.
fn compare(b: &Builder, element: u32, op: Op) {
    if b.instruction.op0_register().is_k() {
        let (x, y) = b.sources(element);
        b.set_mask(
            x.iter()
                .zip(&y)
                .map(|(&x, &y)| compare_pred(op, x, y, element))
                .collect(),
            64 / element,
        );
        return;
    }
    zip(b, element, |x, y, w| {
        x.builder.expanded(compare_pred(op, x, y, w), w)
    });
}

fn compare_pred<'b>(op: Op, x: Val<'b>, y: Val<'b>, w: u32) -> Pred<'b> {
    match op {
        Op::Slt => y.packed_pred(Op::Slt, w, x),
        _ => x.packed_pred(op, w, y),
    }
}

fn ternary_logic(b: &Builder, element: u32) {
    let table = u16::from(b.instruction.immediate8());
    let (x, y, z) = (
        b.elements(0, element),
        b.elements(1, element),
        b.elements(2, element),
    );
    let result: Lanes<'_> = (0..x.len())
        .map(|lane| match table {
            0xff => b.constant(u64::MAX, 64),
            0 => b.constant(0, 64),
            _ => b.apply(Op::Ternary, 64, table, [x[lane], y[lane], z[lane]], 64),
        })
        .collect();
    b.set_elements(0, element, &result);
}

/// Shifts of all elements by an immediate or by the low quadword of an XMM register.
fn shift(b: &Builder, w: u32, constant: Op, variable: Op) -> Lowered {
    let last = b.instruction.op_count() - 1;
    let from = if last == 1 { 0 } else { 1 };
    if let Ok(count) = b.instruction.try_immediate(last) {
        let x = b.elements(if last == 1 { 0 } else { 1 }, w);
        let result: Lanes<'_> = x
            .iter()
            .map(|&x| by_constant(b, x, w, constant, count & 0xff))
            .collect();
        b.set_elements(0, w, &result);
        return Lowered::Done;
    }
    let count = if b.is_memory(last) {
        let count = b.load(b.place(), 8);
        // The upper half of a 128-bit operand is read and ignored.
        if b.width(last) == 128 {
            b.load(b.place().at(8), 8);
        }
        count
    } else {
        b.lane(last, 0)
    };
    let (small, large) = (
        count.low(8).zero_extended(64),
        count.extract(8, 56).is_zero().negated(),
    );
    let limited = b.select(large, b.constant(255, 64), small);
    // 255 exceeds every width: all counts beyond it mean the same.
    let counts = b.repeated(limited, w);
    let x = b.elements(from, w);
    let result: Lanes<'_> = x
        .iter()
        .map(|&x| x.packed(variable, w, 0, counts))
        .collect();
    b.set_elements(0, w, &result);
    Lowered::Done
}

fn by_constant<'b>(b: &'b Builder, x: Val<'b>, w: u32, op: Op, count: u64) -> Val<'b> {
    match (op, count) {
        (_, 0) => x,
        (Op::Sar, _) => x.packed(op, w, count.min(u64::from(w) - 1) as u16, x),
        _ if count >= u64::from(w) => b.constant(0, 64),
        _ => x.packed(op, w, count as u16, x),
    }
}

fn rotate(b: &Builder, w: u32, right: bool) {
    let x = b.elements(1, w);
    let count = u32::from(b.instruction.immediate8()) % w;
    let left = if right { (w - count) % w } else { count };
    let result: Lanes<'_> = x
        .iter()
        .map(|&x| x.packed(Op::Funnel, w, left as u16, x))
        .collect();
    b.set_elements(0, w, &result);
}

/// The mask register chooses between the two sources.
fn blend_by_mask(b: &Builder, element: u32) {
    let (x, y) = (b.elements(1, element), b.elements(2, element));
    let zero = b.constant(0, 64);
    let result: Lanes<'_> = (0..x.len())
        .map(|lane| match b.write_mask(lane, element) {
            None => y[lane],
            Some(mask) => b.choose(
                mask,
                y[lane],
                if b.instruction.zeroing_masking() {
                    zero
                } else {
                    x[lane]
                },
            ),
        })
        .collect();
    b.set_lanes(0, &result);
}

/// The top bit of each element of a third operand chooses.
fn blend_by_sign(b: &Builder, element: u32) -> Lowered {
    let legacy = b.instruction.op_count() < 4;
    let mask = if legacy { 2 } else { 3 };
    // The SSE4.1 forms have XMM0 for the third operand.
    if !legacy && !b.is_register(mask) {
        return Lowered::Forget;
    }
    let (x, y) = if legacy {
        (b.lanes(0), b.lanes(1))
    } else {
        (b.lanes(1), b.lanes(2))
    };
    let signs: Lanes<'_> = if b.instruction.op_count() == 2 {
        (0..2)
            .map(|lane| b.input(rept_trace::RegWord::vector(0, lane)))
            .collect()
    } else {
        b.lanes(mask)
    };
    let result: Lanes<'_> = (0..x.len())
        .map(|lane| {
            let sign = signs[lane].packed(Op::Sar, element, (element - 1) as u16, signs[lane]);
            b.choose(sign, y[lane], x[lane])
        })
        .collect();
    b.set_lanes(0, &result);
    Lowered::Done
}
