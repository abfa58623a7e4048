//! GFNI: bytes as numbers of the field of AES and as vectors of bits.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::gather::Byte;
use crate::lift::value::Val;
use crate::lift::vector::Lanes;
use crate::op::Op;
use iced_x86::Mnemonic as M;

/// The polynomial by which products are reduced, without its highest power.
const POLYNOMIAL: u64 = 0x1b;
/// Immediate of the substitution that inverts within the field.
const INVERT: u16 = 2;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    match m {
        M::Gf2p8affineqb | M::Vgf2p8affineqb => transform(b, |x| x),
        M::Gf2p8affineinvqb | M::Vgf2p8affineinvqb => {
            transform(b, |x| x.packed(Op::SubstituteByte, 8, INVERT, x));
        }
        M::Gf2p8mulb | M::Vgf2p8mulb => multiply(b),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

/// The operands that are vectors: an immediate may follow them.
fn operands(b: &Builder, element: u32) -> (Lanes<'_>, Lanes<'_>) {
    let last = b.last_vector();
    (b.elements(last - 1, element), b.elements(last, element))
}

/// Each byte of `f(x)` times a matrix of bits, plus the immediate.
fn transform<'b>(b: &'b Builder, f: impl Fn(Val<'b>) -> Val<'b>) {
    let (x, matrices) = operands(b, 64);
    let constant = b.replicated(u64::from(b.instruction.immediate8()), 8);
    let result: Lanes<'_> = x
        .iter()
        .zip(&matrices)
        .map(|(&x, &matrix)| times(b, matrix, f(x)) ^ constant)
        .collect();
    b.set_elements(0, 8, &result);
}

/// Bit `i` of each byte is the parity of what byte `7 - i` of the matrix selects.
fn times<'b>(b: &'b Builder, matrix: Val<'b>, x: Val<'b>) -> Val<'b> {
    (0..8).fold(b.constant(0, 64), |sum, bit| {
        let row = b.assemble(1, |_| Byte::Of(matrix, 7 - bit))[0];
        let selected = row & x;
        let odd = selected
            .packed_pred3(Op::Parity, 8, 0, selected, selected)
            .negated();
        sum | b.expanded(odd, 8) & b.replicated(1 << bit, 8)
    })
}

/// Products of bytes in the field, by shifting and adding.
fn multiply(b: &Builder) {
    let (x, y) = operands(b, 8);
    let result: Lanes<'_> = x
        .iter()
        .zip(&y)
        .map(|(&x, &y)| {
            let (mut sum, mut power) = (b.constant(0, 64), x);
            for bit in 0..8 {
                let chosen = b.expanded(y.packed_pred3(Op::Bit, 8, bit, y, y), 8);
                sum = sum ^ (power & chosen);
                power = doubled(b, power);
            }
            sum
        })
        .collect();
    b.set_elements(0, 8, &result);
}

fn doubled<'b>(b: &'b Builder, x: Val<'b>) -> Val<'b> {
    let overflow = x.packed(Op::Sar, 8, 7, x) & b.replicated(POLYNOMIAL, 8);
    x.packed(Op::Shl, 8, 1, x) ^ overflow
}
