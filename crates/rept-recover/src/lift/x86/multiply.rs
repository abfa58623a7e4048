//! Multiplication and division.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::flags::{CF, OF};
use crate::lift::value::{Pred, Val};
use crate::op::{MicroOp, Op};
use iced_x86::{Mnemonic as M, Register as R};

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    match m {
        M::Imul if b.instruction.op_count() == 1 => wide(b, Op::MulHighSigned),
        M::Imul if b.instruction.op_count() == 2 => narrow(b, b.operand(0), b.operand(1)),
        M::Imul => narrow(b, b.operand(1), b.operand(2)),
        M::Mul => wide(b, Op::MulHigh),
        M::Mulx => {
            let (x, y) = (
                b.register(if b.width(0) == 64 { R::RDX } else { R::EDX }),
                b.operand(2),
            );
            let (low, high) = (x.times(y), x.with(Op::MulHigh, y));
            b.set(1, low);
            b.set(0, high);
        }
        M::Div => divide(b, Op::Quotient),
        M::Idiv => divide(b, Op::QuotientSigned),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

/// The accumulator pair `high:low` of a width; for bytes AH:AL.
fn pair(width: u32) -> (R, R) {
    match width {
        8 => (R::AH, R::AL),
        16 => (R::DX, R::AX),
        32 => (R::EDX, R::EAX),
        _ => (R::RDX, R::RAX),
    }
}

/// CF and OF: the high half says something that the low half does not.
fn overflow(b: &Builder, significant: Pred<'_>) {
    b.set_flag(CF, significant);
    b.set_flag(OF, significant);
}

fn is_significant<'b>(low: Val<'b>, high: Val<'b>, signed: bool) -> Pred<'b> {
    match signed {
        true => high.equals(low.sar(low.width - 1)).negated(),
        false => high.is_zero().negated(),
    }
}

fn wide(b: &Builder, high_half: Op) {
    let y = b.operand(0);
    let (high, low) = pair(y.width);
    let x = b.register(low);
    let product = (x.times(y), x.with(high_half, y));
    overflow(
        b,
        is_significant(product.0, product.1, high_half == Op::MulHighSigned),
    );
    b.set_register(low, product.0);
    b.set_register(high, product.1);
}

fn narrow<'b>(b: &'b Builder, x: Val<'b>, y: Val<'b>) {
    let low = x.times(y);
    overflow(b, is_significant(low, x.with(Op::MulHighSigned, y), true));
    b.set(0, low);
}

/// A division that completed did not overflow: `high:low = quotient · y + remainder`, which
/// also gives the dividend back. All flags are undefined.
fn divide(b: &Builder, op: Op) {
    let y = b.operand(0);
    let (high, low) = pair(y.width);
    let (h, l) = (b.register(high), b.register(low));
    let quotient = b.apply(op, y.width, 0, [l, y, h], y.width);
    let product = quotient.times(y);
    let remainder = l - product;
    if op == Op::Quotient {
        require(b, remainder.below(y));
        require(b, h.below(y));
        // The high half is that of the product plus the carry of adding the remainder.
        let carry = b.bit(product.carries(remainder, b.constant(0, 1)));
        let zero = b.constant(0, y.width);
        let top = quotient.with(Op::MulHigh, y);
        b.relate(MicroOp {
            op: Op::AddCarry,
            width: y.width as u8,
            lanes: 1,
            imm: 0,
            d: h.word,
            a: top.word,
            b: zero.word,
            c: carry.word,
        });
    }
    b.set_register(low, quotient);
    b.set_register(high, remainder);
}

/// States that something holds.
fn require(b: &Builder, pred: Pred<'_>) {
    pred.place(b, b.constant(1, 1).word, 0);
}
