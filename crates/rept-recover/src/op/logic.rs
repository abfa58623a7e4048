//! Bitwise logic and selection. All rules are exact.

use super::{Known, Rule, wire};
use crate::bits::{Bits, Contradiction, mask};

pub(super) fn eval_not(_: u32, _: u16, a: u64, _: u64, _: u64) -> u64 {
    !a
}

pub(super) fn not(_: u32, _: u16, k: &mut Known) -> Rule {
    let (d, a) = (k.d, k.a);
    k.d.force(a.zeros(), a.ones())?;
    k.a.force(d.zeros(), d.ones())
}

pub(super) fn eval_and(_: u32, _: u16, a: u64, b: u64, _: u64) -> u64 {
    a & b
}

pub(super) fn and(_: u32, _: u16, k: &mut Known) -> Rule {
    let Known { d, a, b, .. } = *k;
    k.d.force(a.ones() & b.ones(), a.zeros() | b.zeros())?;
    k.a.force(d.ones(), d.zeros() & b.ones())?;
    k.b.force(d.ones(), d.zeros() & a.ones())
}

pub(super) fn eval_or(_: u32, _: u16, a: u64, b: u64, _: u64) -> u64 {
    a | b
}

pub(super) fn or(_: u32, _: u16, k: &mut Known) -> Rule {
    let Known { d, a, b, .. } = *k;
    k.d.force(a.ones() | b.ones(), a.zeros() & b.zeros())?;
    k.a.force(d.ones() & b.zeros(), d.zeros())?;
    k.b.force(d.ones() & a.zeros(), d.zeros())
}

pub(super) fn eval_xor(_: u32, _: u16, a: u64, b: u64, _: u64) -> u64 {
    a ^ b
}

pub(super) fn xor(_: u32, _: u16, k: &mut Known) -> Rule {
    let sum = |x: Bits, y: Bits| Bits::new(x.known & y.known, x.value ^ y.value);
    let Known { d, a, b, .. } = *k;
    k.d.learn(sum(a, b))?;
    k.a.learn(sum(d, b))?;
    k.b.learn(sum(d, a))?;
    Ok(())
}

pub(super) fn eval_ternary(_: u32, n: u16, a: u64, b: u64, c: u64) -> u64 {
    let mut d = 0;
    for minterm in 0..8u16 {
        if n >> minterm & 1 == 1 {
            let pick = |word: u64, bit: u16| if minterm >> bit & 1 == 1 { word } else { !word };
            d |= pick(a, 2) & pick(b, 1) & pick(c, 0);
        }
    }
    d
}

/// Walks the eight minterms, for all bits at once: `may[x][v]` collects the bits at which
/// word `x` has the value `v` in some minterm that what is known allows.
pub(super) fn ternary(w: u32, n: u16, k: &mut Known) -> Rule {
    let mut may = [[0u64; 2]; 4];
    let admits = |word: Bits, bit: u16| {
        if bit == 1 {
            !word.zeros()
        } else {
            !word.ones()
        }
    };
    for minterm in 0..8u16 {
        let (a, b, c) = (minterm >> 2, minterm >> 1 & 1, minterm & 1);
        let d = n >> minterm & 1;
        let possible = admits(k.a, a) & admits(k.b, b) & admits(k.c, c) & admits(k.d, d) & mask(w);
        for (word, bit) in [d, a, b, c].into_iter().enumerate() {
            may[word][usize::from(bit)] |= possible;
        }
    }
    if may[0][0] | may[0][1] != mask(w) {
        return Err(Contradiction);
    }
    for (word, [zero, one]) in [&mut k.d, &mut k.a, &mut k.b, &mut k.c]
        .into_iter()
        .zip(may)
    {
        word.force(one & !zero, zero & !one)?;
    }
    Ok(())
}

/// The minterms in which `a`, `b` and `c` are one.
const ONES: [u8; 3] = [0b1111_0000, 0b1100_1100, 0b1010_1010];

/// [`ternary`] of the lowest bits: the minterms that what is known allows are the bits of a byte.
#[inline(always)]
pub(super) fn ternary_bit(table: u8, k: &mut Known) -> Rule {
    let admitted = |word: Bits, ones: u8| {
        let all = |bit: u64| (bit as u8 & 1).wrapping_neg();
        all(!word.zeros()) & ones | all(!word.ones()) & !ones
    };
    let [a, b, c] = ONES;
    let possible = admitted(k.d, table) & admitted(k.a, a) & admitted(k.b, b) & admitted(k.c, c);
    if possible == 0 {
        return Err(Contradiction);
    }
    let conclude = |word: &mut Bits, ones: u8| {
        let (one, zero) = (possible & !ones == 0, possible & ones == 0);
        word.known |= u64::from(one | zero);
        word.value |= u64::from(one);
    };
    conclude(&mut k.d, table);
    conclude(&mut k.a, a);
    conclude(&mut k.b, b);
    conclude(&mut k.c, c);
    Ok(())
}

pub(super) fn eval_select(_: u32, _: u16, a: u64, b: u64, c: u64) -> u64 {
    if c & 1 == 1 { a } else { b }
}

pub(super) fn select(w: u32, _: u16, k: &mut Known) -> Rule {
    if !k.d.compatible(k.a) {
        k.c.force(0, 1)?;
    }
    if !k.d.compatible(k.b) {
        k.c.force(1, 0)?;
    }
    match (k.c.known & 1, k.c.value & 1) {
        (1, 1) => wire::unify(&mut k.d, &mut k.a, mask(w)),
        (1, _) => wire::unify(&mut k.d, &mut k.b, mask(w)),
        _ => k.d.learn(k.a.join(k.b)).map(|_| ()),
    }
}
