//! What AVX-512 does to numbers besides arithmetic: significands, scaling by powers of two,
//! ranges, reductions, and repairs by a table.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::value::Val;
use crate::lift::x86::vector_float::{
    Elements, SCALED, count, elements, immediate, lowest, packed_binary, packed_unary,
    scalar_binary, scalar_unary, set_packed, set_scalar, stick,
};
use crate::op::Op;
use iced_x86::Mnemonic as M;
use rept_trace::RegWord;

/// Interval and sign in VGETMANT's immediate, comparison and sign in VRANGE's.
const CHOICES: u16 = 15;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    let imm = || immediate(b);
    match m {
        M::Vgetmantps => packed_unary(b, 32, Op::FloatMantissa, imm() & CHOICES),
        M::Vgetmantpd => packed_unary(b, 64, Op::FloatMantissa, imm() & CHOICES),
        M::Vgetmantph => packed_unary(b, 16, Op::FloatMantissa, imm() & CHOICES),
        M::Vgetmantss => scalar_unary(b, 32, Op::FloatMantissa, imm() & CHOICES),
        M::Vgetmantsd => scalar_unary(b, 64, Op::FloatMantissa, imm() & CHOICES),
        M::Vgetmantsh => scalar_unary(b, 16, Op::FloatMantissa, imm() & CHOICES),
        M::Vreduceps => packed_unary(b, 32, Op::FloatReduce, imm() & SCALED),
        M::Vreducepd => packed_unary(b, 64, Op::FloatReduce, imm() & SCALED),
        M::Vreduceph => packed_unary(b, 16, Op::FloatReduce, imm() & SCALED),
        M::Vreducess => scalar_unary(b, 32, Op::FloatReduce, imm() & SCALED),
        M::Vreducesd => scalar_unary(b, 64, Op::FloatReduce, imm() & SCALED),
        M::Vreducesh => scalar_unary(b, 16, Op::FloatReduce, imm() & SCALED),
        M::Vscalefps => packed_binary(b, 32, Op::FloatScale, 0),
        M::Vscalefpd => packed_binary(b, 64, Op::FloatScale, 0),
        M::Vscalefph => packed_binary(b, 16, Op::FloatScale, 0),
        M::Vscalefss => scalar_binary(b, 32, Op::FloatScale, 0),
        M::Vscalefsd => scalar_binary(b, 64, Op::FloatScale, 0),
        M::Vscalefsh => scalar_binary(b, 16, Op::FloatScale, 0),
        M::Vrangeps => packed_binary(b, 32, Op::FloatRange, imm() & CHOICES),
        M::Vrangepd => packed_binary(b, 64, Op::FloatRange, imm() & CHOICES),
        M::Vrangess => scalar_binary(b, 32, Op::FloatRange, imm() & CHOICES),
        M::Vrangesd => scalar_binary(b, 64, Op::FloatRange, imm() & CHOICES),
        M::Vfixupimmps => fix_up_packed(b, 32),
        M::Vfixupimmpd => fix_up_packed(b, 64),
        M::Vfixupimmss => fix_up_scalar(b, 32),
        M::Vfixupimmsd => fix_up_scalar(b, 64),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

/// The number `x`, or what the table has in its place; `old` is one of the choices.
fn fixed<'b>(b: &'b Builder, old: Val<'b>, x: Val<'b>, table: Val<'b>) -> Val<'b> {
    let control = b.input(RegWord::MXCSR).low(16);
    let table = table.low(32).zero_extended(64).insert(32, control);
    b.apply(Op::FloatFixUp, 64, x.width as u16, [old, x, table], x.width)
}

fn fix_up_packed(b: &Builder, width: u32) {
    let [old, x, tables] = [0, 1, 2].map(|operand| elements(b, operand, width, count(b, width)));
    let results: Elements<'_> = (0..x.len())
        .map(|at| fixed(b, old[at], x[at], tables[at]))
        .collect();
    set_packed(b, &results);
    stick(b);
}

fn fix_up_scalar(b: &Builder, width: u32) {
    let [old, x] = [0, 1].map(|operand| b.lane(operand, 0).low(width));
    set_scalar(b, fixed(b, old, x, lowest(b, width)));
    stick(b);
}
