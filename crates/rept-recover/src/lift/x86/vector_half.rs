//! Half precision: its moves, its conversions (AVX512-FP16), and those of AVX-NE-CONVERT and
//! AVX512-BF16.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::value::Val;
use crate::lift::x86::vector_convert::{
    DEFAULT, convert, converted, from_general, scalar_conversion, source_bits, to_general,
};
use crate::lift::x86::vector_float::{Elements, elements, masked_scalar, set_packed, set_scalar};
use crate::op::Op;
use crate::op::float::{TRUNCATE, UNSIGNED};
use iced_x86::Mnemonic as M;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    scalar(b, m)
        .or_else(|| packed(b, m))
        .or_else(|| exact(b, m))
        .or_else(|| brain(b, m))
        .map_or(Lowered::Elsewhere, |()| Lowered::Done)
}

fn scalar(b: &Builder, m: M) -> Option<()> {
    match m {
        M::Vmovsh => move_lowest(b),
        M::Vcvtsi2sh => from_general(b, 16, 0),
        M::Vcvtusi2sh => from_general(b, 16, UNSIGNED),
        M::Vcvtsh2si => to_general(b, 16, 0),
        M::Vcvtsh2usi => to_general(b, 16, UNSIGNED),
        M::Vcvttsh2si => to_general(b, 16, TRUNCATE),
        M::Vcvttsh2usi => to_general(b, 16, TRUNCATE | UNSIGNED),
        M::Vcvtsh2ss => scalar_conversion(b, 16, 32),
        M::Vcvtsh2sd => scalar_conversion(b, 16, 64),
        M::Vcvtss2sh => scalar_conversion(b, 32, 16),
        M::Vcvtsd2sh => scalar_conversion(b, 64, 16),
        _ => return None,
    }
    Some(())
}

fn packed(b: &Builder, m: M) -> Option<()> {
    const BOTH: u16 = TRUNCATE | UNSIGNED;
    match m {
        M::Vcvtph2psx => convert(b, Op::FloatResize, 16, 32, 0),
        M::Vcvtph2pd => convert(b, Op::FloatResize, 16, 64, 0),
        M::Vcvtps2phx => convert(b, Op::FloatResize, 32, 16, 0),
        M::Vcvtpd2ph => convert(b, Op::FloatResize, 64, 16, 0),
        M::Vcvtw2ph => convert(b, Op::FloatFromInt, 16, 16, 0),
        M::Vcvtdq2ph => convert(b, Op::FloatFromInt, 32, 16, 0),
        M::Vcvtqq2ph => convert(b, Op::FloatFromInt, 64, 16, 0),
        M::Vcvtuw2ph => convert(b, Op::FloatFromInt, 16, 16, UNSIGNED),
        M::Vcvtudq2ph => convert(b, Op::FloatFromInt, 32, 16, UNSIGNED),
        M::Vcvtuqq2ph => convert(b, Op::FloatFromInt, 64, 16, UNSIGNED),
        M::Vcvtph2w => convert(b, Op::FloatToInt, 16, 16, 0),
        M::Vcvtph2dq => convert(b, Op::FloatToInt, 16, 32, 0),
        M::Vcvtph2qq => convert(b, Op::FloatToInt, 16, 64, 0),
        M::Vcvtph2uw => convert(b, Op::FloatToInt, 16, 16, UNSIGNED),
        M::Vcvtph2udq => convert(b, Op::FloatToInt, 16, 32, UNSIGNED),
        M::Vcvtph2uqq => convert(b, Op::FloatToInt, 16, 64, UNSIGNED),
        M::Vcvttph2w => convert(b, Op::FloatToInt, 16, 16, TRUNCATE),
        M::Vcvttph2dq => convert(b, Op::FloatToInt, 16, 32, TRUNCATE),
        M::Vcvttph2qq => convert(b, Op::FloatToInt, 16, 64, TRUNCATE),
        M::Vcvttph2uw => convert(b, Op::FloatToInt, 16, 16, BOTH),
        M::Vcvttph2udq => convert(b, Op::FloatToInt, 16, 32, BOTH),
        M::Vcvttph2uqq => convert(b, Op::FloatToInt, 16, 64, BOTH),
        _ => return None,
    }
    Some(())
}

/// To single precision without rounding, of every other element or of one for all.
fn exact(b: &Builder, m: M) -> Option<()> {
    match m {
        M::Vcvtneebf162ps => widened(b, |_, pair| pair.shl(16)),
        M::Vcvtneobf162ps => widened(b, |b, pair| pair & b.constant(0xffff_0000, 32)),
        M::Vcvtneeph2ps => widened(b, |b, pair| half_to_single(b, pair.extract(0, 16))),
        M::Vcvtneoph2ps => widened(b, |b, pair| half_to_single(b, pair.extract(16, 16))),
        M::Vbcstnebf162ps => broadcast(b, |_, x| x.zero_extended(32).shl(16)),
        M::Vbcstnesh2ps => broadcast(b, half_to_single),
        _ => return None,
    }
    Some(())
}

/// From single precision to bfloat16, whatever MXCSR says.
fn brain(b: &Builder, m: M) -> Option<()> {
    let singles = |operand, bits: u32| elements(b, operand, 32, (bits / 32) as usize);
    let sources: Elements<'_> = match m {
        M::Vcvtneps2bf16 => singles(1, source_bits(b)),
        M::Vcvtne2ps2bf16 => {
            let low = singles(2, b.width(0)).into_iter();
            low.chain(singles(1, b.width(0))).collect()
        }
        _ => return None,
    };
    let results: Elements<'_> = sources.iter().map(|&x| single_to_brain(b, x)).collect();
    set_packed(b, &results);
    Some(())
}

/// The nearest even; denormals become zeros, and NaNs quiet.
fn single_to_brain<'b>(b: &'b Builder, x: Val<'b>) -> Val<'b> {
    const INFINITY: u64 = 0x7f80_0000;
    let constant = |bits| b.constant(bits, 32);
    let high = x.extract(16, 16);
    // The lowest bit that is kept decides a tie.
    let rounded = x.plus_carry(constant(0x7fff), high).extract(16, 16);
    let is_nan = constant(INFINITY).below(x & constant(0x7fff_ffff));
    let number = b.select(is_nan, high | b.constant(0x40, 16), rounded);
    let is_tiny = (x & constant(INFINITY)).is_zero();
    b.select(is_tiny, high & b.constant(0x8000, 16), number)
}

fn half_to_single<'b>(b: &'b Builder, x: Val<'b>) -> Val<'b> {
    converted(b, Op::FloatResize, x, 32, 0, b.constant(DEFAULT, 32))
}

fn widened<'b>(b: &'b Builder, f: impl Fn(&'b Builder, Val<'b>) -> Val<'b>) {
    let results: Elements<'_> = elements(b, 1, 32, (b.width(0) / 32) as usize)
        .iter()
        .map(|&pair| f(b, pair))
        .collect();
    set_packed(b, &results);
}

fn broadcast<'b>(b: &'b Builder, f: impl Fn(&'b Builder, Val<'b>) -> Val<'b>) {
    let result = f(b, b.load(b.place(), 2));
    let results: Elements<'_> = (0..b.width(0) / 32).map(|_| result).collect();
    set_packed(b, &results);
}

/// The lowest element, under the lowest bit of the write mask.
fn move_lowest(b: &Builder) {
    let masked = b.has_write_mask();
    if b.is_memory(0) {
        let value = b.lane(1, 0);
        return match masked {
            true => b.store_elements(&[value], 16, &b.mask_conditions(1)),
            false => b.store(b.place(), 2, value.low(16)),
        };
    }
    if b.is_memory(1) {
        let value = match masked {
            true => masked_scalar(b, b.load_elements(16, &b.mask_conditions(1))[0].low(16)),
            false => b.load(b.place(), 2),
        };
        return b.set_lanes(0, &[value.zero_extended(64), b.constant(0, 64)]);
    }
    set_scalar(b, b.lane(2, 0).low(16));
}
