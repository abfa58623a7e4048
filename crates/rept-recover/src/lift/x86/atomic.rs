//! Atomic operations on memory that older processors lack: RAO-INT and CMPccXADD.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::value::{Pred, Val};
use crate::lift::x86::arithmetic::{difference_overflows, subtract};
use iced_x86::Mnemonic as M;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    let (x, y) = (|| b.operand(0), || b.operand(1));
    match m {
        M::Aadd => b.set(0, x() + y()),
        M::Aand => b.set(0, x() & y()),
        M::Aor => b.set(0, x() | y()),
        M::Axor => b.set(0, x() ^ y()),
        M::Cmpoxadd => exchange_add_if(b, difference_overflows),
        M::Cmpnoxadd => exchange_add_if(b, |x, y, r| difference_overflows(x, y, r).negated()),
        M::Cmpbxadd => exchange_add_if(b, |x, y, _| x.below(y)),
        M::Cmpnbxadd => exchange_add_if(b, |x, y, _| x.below(y).negated()),
        M::Cmpzxadd => exchange_add_if(b, |x, y, _| x.equals(y)),
        M::Cmpnzxadd => exchange_add_if(b, |x, y, _| x.equals(y).negated()),
        M::Cmpbexadd => exchange_add_if(b, |x, y, _| y.below(x).negated()),
        M::Cmpnbexadd => exchange_add_if(b, |x, y, _| y.below(x)),
        M::Cmpsxadd => exchange_add_if(b, |_, _, r| r.sign()),
        M::Cmpnsxadd => exchange_add_if(b, |_, _, r| r.sign().negated()),
        M::Cmppxadd => exchange_add_if(b, |_, _, r| r.even_parity()),
        M::Cmpnpxadd => exchange_add_if(b, |_, _, r| r.even_parity().negated()),
        M::Cmplxadd => exchange_add_if(b, |x, y, _| x.less(y)),
        M::Cmpnlxadd => exchange_add_if(b, |x, y, _| x.less(y).negated()),
        M::Cmplexadd => exchange_add_if(b, |x, y, _| y.less(x).negated()),
        M::Cmpnlexadd => exchange_add_if(b, |x, y, _| y.less(x)),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

/// Compares memory with the second operand, which takes its value, and adds the third to it
/// where the comparison of the two (and their difference) holds; it is stored in any case.
fn exchange_add_if<'b>(b: &'b Builder, holds: impl Fn(Val<'b>, Val<'b>, Val<'b>) -> Pred<'b>) {
    let (old, compared, addend) = (b.operand(0), b.operand(1), b.operand(2));
    let difference = subtract(b, old, compared);
    let condition = holds(old, compared, difference);
    b.set(1, old);
    b.set(0, b.select(condition, old + addend, old));
}
