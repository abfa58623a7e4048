//! Conversions between floating-point formats and integers, under MXCSR.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::value::Val;
use crate::lift::vector::Lanes;
use crate::lift::x86::vector_float::{
    Elements, control, elements, lowest, mxcsr, set_packed, set_scalar, stick,
};
use crate::op::Op;
use crate::op::float::{TRUNCATE, UNSIGNED};
use iced_x86::{MemorySize, Mnemonic as M};

/// MXCSR after reset, for operations that are exact whatever it says.
pub(super) const DEFAULT: u64 = 0x1f80;
/// Flush-to-zero in MXCSR.
const FLUSH_TO_ZERO: u64 = 0x8000;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    scalar(b, m)
        .or_else(|| packed(b, m))
        .or_else(|| with_mmx(b, m))
        .map_or(Lowered::Elsewhere, |()| Lowered::Done)
}

fn scalar(b: &Builder, m: M) -> Option<()> {
    match m {
        M::Cvtsi2ss | M::Vcvtsi2ss => from_general(b, 32, 0),
        M::Cvtsi2sd | M::Vcvtsi2sd => from_general(b, 64, 0),
        M::Vcvtusi2ss => from_general(b, 32, UNSIGNED),
        M::Vcvtusi2sd => from_general(b, 64, UNSIGNED),
        M::Cvtss2si | M::Vcvtss2si => to_general(b, 32, 0),
        M::Cvtsd2si | M::Vcvtsd2si => to_general(b, 64, 0),
        M::Cvttss2si | M::Vcvttss2si => to_general(b, 32, TRUNCATE),
        M::Cvttsd2si | M::Vcvttsd2si => to_general(b, 64, TRUNCATE),
        M::Vcvtss2usi => to_general(b, 32, UNSIGNED),
        M::Vcvtsd2usi => to_general(b, 64, UNSIGNED),
        M::Vcvttss2usi => to_general(b, 32, TRUNCATE | UNSIGNED),
        M::Vcvttsd2usi => to_general(b, 64, TRUNCATE | UNSIGNED),
        M::Cvtss2sd | M::Vcvtss2sd => scalar_conversion(b, 32, 64),
        M::Cvtsd2ss | M::Vcvtsd2ss => scalar_conversion(b, 64, 32),
        _ => return None,
    }
    Some(())
}

fn packed(b: &Builder, m: M) -> Option<()> {
    match m {
        M::Cvtps2pd | M::Vcvtps2pd => convert(b, Op::FloatResize, 32, 64, 0),
        M::Cvtpd2ps | M::Vcvtpd2ps => convert(b, Op::FloatResize, 64, 32, 0),
        M::Cvtdq2ps | M::Vcvtdq2ps => convert(b, Op::FloatFromInt, 32, 32, 0),
        M::Cvtdq2pd | M::Vcvtdq2pd => convert(b, Op::FloatFromInt, 32, 64, 0),
        M::Vcvtqq2ps => convert(b, Op::FloatFromInt, 64, 32, 0),
        M::Vcvtqq2pd => convert(b, Op::FloatFromInt, 64, 64, 0),
        M::Vcvtudq2ps => convert(b, Op::FloatFromInt, 32, 32, UNSIGNED),
        M::Vcvtudq2pd => convert(b, Op::FloatFromInt, 32, 64, UNSIGNED),
        M::Vcvtuqq2ps => convert(b, Op::FloatFromInt, 64, 32, UNSIGNED),
        M::Vcvtuqq2pd => convert(b, Op::FloatFromInt, 64, 64, UNSIGNED),
        M::Cvtps2dq | M::Vcvtps2dq => convert(b, Op::FloatToInt, 32, 32, 0),
        M::Cvtpd2dq | M::Vcvtpd2dq => convert(b, Op::FloatToInt, 64, 32, 0),
        M::Vcvtps2qq => convert(b, Op::FloatToInt, 32, 64, 0),
        M::Vcvtpd2qq => convert(b, Op::FloatToInt, 64, 64, 0),
        M::Vcvtps2udq => convert(b, Op::FloatToInt, 32, 32, UNSIGNED),
        M::Vcvtpd2udq => convert(b, Op::FloatToInt, 64, 32, UNSIGNED),
        M::Vcvtps2uqq => convert(b, Op::FloatToInt, 32, 64, UNSIGNED),
        M::Vcvtpd2uqq => convert(b, Op::FloatToInt, 64, 64, UNSIGNED),
        _ => return packed_truncating(b, m),
    }
    Some(())
}

fn packed_truncating(b: &Builder, m: M) -> Option<()> {
    const BOTH: u16 = TRUNCATE | UNSIGNED;
    match m {
        M::Cvttps2dq | M::Vcvttps2dq => convert(b, Op::FloatToInt, 32, 32, TRUNCATE),
        M::Cvttpd2dq | M::Vcvttpd2dq => convert(b, Op::FloatToInt, 64, 32, TRUNCATE),
        M::Vcvttps2qq => convert(b, Op::FloatToInt, 32, 64, TRUNCATE),
        M::Vcvttpd2qq => convert(b, Op::FloatToInt, 64, 64, TRUNCATE),
        M::Vcvttps2udq => convert(b, Op::FloatToInt, 32, 32, BOTH),
        M::Vcvttpd2udq => convert(b, Op::FloatToInt, 64, 32, BOTH),
        M::Vcvttps2uqq => convert(b, Op::FloatToInt, 32, 64, BOTH),
        M::Vcvttpd2uqq => convert(b, Op::FloatToInt, 64, 64, BOTH),
        M::Vcvtph2ps => from_half(b),
        M::Vcvtps2ph => to_half(b),
        _ => return None,
    }
    Some(())
}

/// Between XMM and MMX registers: two elements.
fn with_mmx(b: &Builder, m: M) -> Option<()> {
    match m {
        M::Cvtps2pi => two(b, Op::FloatToInt, 32, 32, 0),
        M::Cvttps2pi => two(b, Op::FloatToInt, 32, 32, TRUNCATE),
        M::Cvtpd2pi => two(b, Op::FloatToInt, 64, 32, 0),
        M::Cvttpd2pi => two(b, Op::FloatToInt, 64, 32, TRUNCATE),
        M::Cvtpi2ps => two(b, Op::FloatFromInt, 32, 32, 0),
        M::Cvtpi2pd => two(b, Op::FloatFromInt, 32, 64, 0),
        _ => return None,
    }
    Some(())
}

pub(super) fn converted<'b>(
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

/// MXCSR, or where no result is ever rounded a constant. Denormals of half precision are
/// numbers like others, whatever it says.
fn control_of(b: &Builder, exact: bool, from: u32, to: u32) -> Val<'_> {
    match (exact, from, to) {
        (true, ..) => b.constant(DEFAULT, 32),
        (_, 16, _) => control(b, 16),
        (_, _, 16) => mxcsr(b) & b.constant(!FLUSH_TO_ZERO, 64),
        _ => mxcsr(b),
    }
}

pub(super) fn stick_unless(b: &Builder, exact: bool) {
    if !exact {
        stick(b);
    }
}

pub(super) fn from_general(b: &Builder, to: u32, flags: u16) {
    let x = b.operand(b.last_vector());
    let exact = x.width < to;
    let control = control_of(b, exact, x.width, to);
    set_scalar(b, converted(b, Op::FloatFromInt, x, to, flags, control));
    stick_unless(b, exact);
}

pub(super) fn to_general(b: &Builder, from: u32, flags: u16) {
    let x = lowest(b, from);
    let result = converted(b, Op::FloatToInt, x, b.width(0), flags, control(b, from));
    b.set(0, result);
    stick(b);
}

pub(super) fn scalar_conversion(b: &Builder, from: u32, to: u32) {
    let x = lowest(b, from);
    let control = control_of(b, false, from, to);
    set_scalar(b, converted(b, Op::FloatResize, x, to, 0, control));
    stick(b);
}

/// Bits of the vector that a broadcast operand stands for; 0 for others.
pub(super) fn broadcast_bits(size: MemorySize) -> u32 {
    use MemorySize::*;
    match size {
        Broadcast128_Float16 | Broadcast128_Int16 | Broadcast128_UInt16 => 128,
        Broadcast256_Float16 | Broadcast256_Int16 | Broadcast256_UInt16 => 256,
        Broadcast512_Float16 | Broadcast512_Int16 | Broadcast512_UInt16 => 512,
        Broadcast128_UInt32 | Broadcast128_Int32 | Broadcast128_Float32 | Broadcast128_UInt64
        | Broadcast128_Int64 | Broadcast128_Float64 => 128,
        Broadcast256_UInt32 | Broadcast256_Int32 | Broadcast256_Float32 | Broadcast256_UInt64
        | Broadcast256_Int64 | Broadcast256_Float64 => 256,
        Broadcast512_UInt32 | Broadcast512_Int32 | Broadcast512_Float32 | Broadcast512_UInt64
        | Broadcast512_Int64 | Broadcast512_Float64 => 512,
        _ => 0,
    }
}

/// Bits of the source vector of an instruction whose result may be shorter.
pub(super) fn source_bits(b: &Builder) -> u32 {
    match b.is_register(1) {
        true => b.width(1),
        false => broadcast_bits(b.instruction.memory_size())
            .max(b.width(1))
            .max(128),
    }
}

/// Converts as many elements as the wider of the two vectors holds; a result of half a register is zero above.
pub(super) fn convert(b: &Builder, op: Op, from: u32, to: u32, flags: u16) {
    let n = (b.width(0).max(source_bits(b)) / from.max(to)) as usize;
    let exact = op == Op::FloatFromInt && from < to;
    let control = control_of(b, exact, from, to);
    let results: Elements<'_> = elements(b, 1, from, n)
        .iter()
        .map(|&x| converted(b, op, x, to, flags, control))
        .collect();
    set_packed(b, &results);
    stick_unless(b, exact);
}

/// Half precision to single: exact, whatever MXCSR says of denormals.
fn from_half(b: &Builder) {
    let control = b.constant(DEFAULT, 32);
    let results: Elements<'_> = elements(b, 1, 16, (b.width(0) / 32) as usize)
        .iter()
        .map(|&x| converted(b, Op::FloatResize, x, 32, 0, control))
        .collect();
    set_packed(b, &results);
    stick(b);
}

/// Single precision to half: rounded as the immediate says, and never flushed to zero.
fn to_half(b: &Builder) {
    const BY_MXCSR: u8 = 4;
    let imm = b.instruction.immediate8();
    let kept = mxcsr(b) & b.constant(!FLUSH_TO_ZERO, 64);
    let control = match imm & BY_MXCSR {
        0 => kept.insert(13, b.constant(u64::from(imm & 3), 2)),
        _ => kept,
    };
    let n = b.width(1) / 32;
    let results: Elements<'_> = elements(b, 1, 32, n as usize)
        .iter()
        .map(|&x| converted(b, Op::FloatResize, x, 16, 0, control))
        .collect();
    if b.is_register(0) {
        set_packed(b, &results);
    } else if b.has_write_mask() {
        b.store_elements(&b.side_by_side(&results), 16, &b.mask_conditions(n));
    } else {
        b.store_bytes(&b.side_by_side(&results), n * 2);
    }
    stick(b);
}

fn two(b: &Builder, op: Op, from: u32, to: u32, flags: u16) {
    let exact = op == Op::FloatFromInt && from < to;
    let control = control_of(b, exact, from, to);
    let results: Elements<'_> = elements(b, 1, from, 2)
        .iter()
        .map(|&x| converted(b, op, x, to, flags, control))
        .collect();
    let lanes: Lanes<'_> = b.side_by_side(&results);
    b.set_lanes(0, &lanes);
    stick_unless(b, exact);
}
