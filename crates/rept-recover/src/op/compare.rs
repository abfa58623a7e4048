//! Predicates: relations between words and one bit. All rules are exact.
//!
//! A comparison forces single bits by a threshold: where `x < y` must hold, the slack
//! `max y - min x` tells which bits of `x` are too heavy to be one.

use super::{Known, Rule, logic, wire};
use crate::bits::{Bits, mask};

fn truth(d: Bits) -> Option<bool> {
    (d.known & 1 == 1).then_some(d.value & 1 == 1)
}

fn conclude(d: &mut Bits, holds: bool) -> Rule {
    d.force(u64::from(holds), u64::from(!holds))
}

fn least(x: Bits) -> u64 {
    x.value
}

fn greatest(x: Bits, w: u32) -> u64 {
    x.value | (!x.known & mask(w))
}

pub(super) fn eval_eq(_: u32, _: u16, a: u64, b: u64, _: u64) -> bool {
    a == b
}

pub(super) fn eq(w: u32, _: u16, k: &mut Known) -> Rule {
    if !k.a.compatible(k.b) {
        return conclude(&mut k.d, false);
    }
    let undecided = mask(w) & !(k.a.known & k.b.known);
    if undecided == 0 {
        return conclude(&mut k.d, true);
    }
    match truth(k.d) {
        Some(true) => wire::unify(&mut k.a, &mut k.b, mask(w)),
        // They differ, and can do so in one bit only.
        Some(false) if undecided.is_power_of_two() => {
            let (a, b) = (k.a, k.b);
            k.a.force(b.zeros() & undecided, b.ones() & undecided)?;
            k.b.force(a.zeros() & undecided, a.ones() & undecided)
        }
        _ => Ok(()),
    }
}

pub(super) fn eval_zero(_: u32, _: u16, a: u64, _: u64, _: u64) -> bool {
    a == 0
}

pub(super) fn zero(w: u32, _: u16, k: &mut Known) -> Rule {
    if k.a.ones() != 0 {
        return conclude(&mut k.d, false);
    }
    let undecided = mask(w) & !k.a.known;
    if undecided == 0 {
        return conclude(&mut k.d, true);
    }
    match truth(k.d) {
        Some(true) => k.a.force(0, mask(w)),
        Some(false) if undecided.is_power_of_two() => k.a.force(undecided, 0),
        _ => Ok(()),
    }
}

pub(super) fn eval_ult(_: u32, _: u16, a: u64, b: u64, _: u64) -> bool {
    a < b
}

pub(super) fn ult(w: u32, _: u16, k: &mut Known) -> Rule {
    if greatest(k.a, w) < least(k.b) {
        return conclude(&mut k.d, true);
    }
    if least(k.a) >= greatest(k.b, w) {
        return conclude(&mut k.d, false);
    }
    match truth(k.d) {
        Some(true) => ordered(w, &mut k.a, &mut k.b, 1),
        Some(false) => ordered(w, &mut k.b, &mut k.a, 0),
        None => Ok(()),
    }
}

/// `x + margin <= y`, which some values satisfy.
fn ordered(w: u32, x: &mut Bits, y: &mut Bits, margin: u64) -> Rule {
    let slack = greatest(*y, w) - least(*x) - margin;
    let heavy = above(slack);
    let (free_x, free_y) = (mask(w) & !x.known, mask(w) & !y.known);
    x.force(0, free_x & heavy)?;
    y.force(free_y & heavy, 0)
}

/// The bits that weigh more than `slack`.
fn above(slack: u64) -> u64 {
    !mask(64 - slack.leading_zeros())
}

pub(super) fn eval_slt(w: u32, _: u16, a: u64, b: u64, _: u64) -> bool {
    let sign = 1 << (w - 1);
    a ^ sign < b ^ sign
}

pub(super) fn slt(w: u32, _: u16, k: &mut Known) -> Rule {
    let sign = 1u64 << (w - 1);
    let flip = |x: Bits| Bits::new(x.known, x.value ^ sign);
    (k.a, k.b) = (flip(k.a), flip(k.b));
    ult(w, 0, k)?;
    (k.a, k.b) = (flip(k.a), flip(k.b));
    Ok(())
}

pub(super) fn eval_carry(w: u32, _: u16, a: u64, b: u64, c: u64) -> bool {
    (u128::from(a) + u128::from(b) + u128::from(c & 1)) >> w != 0
}

pub(super) fn carry(w: u32, _: u16, k: &mut Known) -> Rule {
    let c = k.c.low(1);
    let limit = 1u128 << w;
    let low = u128::from(least(k.a)) + u128::from(least(k.b)) + u128::from(c.value);
    let high =
        u128::from(greatest(k.a, w)) + u128::from(greatest(k.b, w)) + u128::from(greatest(c, 1));
    if low >= limit {
        return conclude(&mut k.d, true);
    }
    if high < limit {
        return conclude(&mut k.d, false);
    }
    let free = [mask(w) & !k.a.known, mask(w) & !k.b.known, 1 & !c.known];
    let words = [&mut k.a, &mut k.b, &mut k.c];
    match truth(k.d) {
        Some(true) => {
            let heavy = above_wide(high - limit);
            words
                .into_iter()
                .zip(free)
                .try_for_each(|(x, free)| x.force(free & heavy, 0))
        }
        Some(false) => {
            let heavy = above_wide(limit - 1 - low);
            words
                .into_iter()
                .zip(free)
                .try_for_each(|(x, free)| x.force(0, free & heavy))
        }
        None => Ok(()),
    }
}

fn above_wide(slack: u128) -> u64 {
    u64::try_from(slack).map_or(0, above)
}

pub(super) fn eval_bit(_: u32, n: u16, a: u64, _: u64, _: u64) -> bool {
    wire::down(a, u32::from(n)) & 1 == 1
}

pub(super) fn bit(_: u32, n: u16, k: &mut Known) -> Rule {
    let n = u32::from(n);
    k.d.learn(k.a.field(n.min(63), 1))?;
    k.a.learn(k.d.low(1).shifted(n.min(63)))?;
    Ok(())
}

pub(super) fn eval_top_bits(w: u32, n: u16, a: u64, b: u64, c: u64) -> bool {
    n >> ((a >> (w - 1)) << 2 | (b >> (w - 1)) << 1 | (c >> (w - 1))) & 1 == 1
}

pub(super) fn top_bits(w: u32, n: u16, k: &mut Known) -> Rule {
    let mut top = Known {
        d: k.d.low(1),
        a: k.a.field(w - 1, 1),
        b: k.b.field(w - 1, 1),
        c: k.c.field(w - 1, 1),
    };
    logic::ternary_bit(n as u8, &mut top)?;
    k.d.learn(top.d)?;
    k.a.learn(top.a.shifted(w - 1))?;
    k.b.learn(top.b.shifted(w - 1))?;
    k.c.learn(top.c.shifted(w - 1))?;
    Ok(())
}

pub(super) fn eval_parity(_: u32, _: u16, a: u64, _: u64, _: u64) -> bool {
    (a & 0xff).count_ones().is_multiple_of(2)
}

pub(super) fn parity(w: u32, _: u16, k: &mut Known) -> Rule {
    let unknown = mask(w.min(8)) & !k.a.known;
    let even = (k.a.value & 0xff).count_ones().is_multiple_of(2);
    if unknown == 0 {
        return conclude(&mut k.d, even);
    }
    match truth(k.d) {
        Some(wanted) if unknown.is_power_of_two() => {
            if wanted == even {
                k.a.force(0, unknown)
            } else {
                k.a.force(unknown, 0)
            }
        }
        _ => Ok(()),
    }
}

const CF: u32 = 0;
const PF: u32 = 2;
const ZF: u32 = 6;
const SF: u32 = 7;
const OF: u32 = 11;

/// The flags that conditions read.
pub(super) const CONDITION_FLAGS: u64 = 1 << CF | 1 << PF | 1 << ZF | 1 << SF | 1 << OF;

/// Three flags and the truth table of each condition over them (as in [`Op::Ternary`](super::Op::Ternary));
/// a condition on fewer flags does not depend on the others.
const CONDITIONS: [([u32; 3], u8); 8] = [
    ([OF, CF, PF], 0b1111_0000),
    ([CF, OF, PF], 0b1111_0000),
    ([ZF, CF, PF], 0b1111_0000),
    ([CF, ZF, PF], 0b1111_1100),
    ([SF, CF, PF], 0b1111_0000),
    ([PF, CF, ZF], 0b1111_0000),
    ([SF, OF, PF], 0b0011_1100),
    ([ZF, SF, OF], 0b1111_0110),
];

pub(super) fn eval_condition(_: u32, n: u16, a: u64, _: u64, _: u64) -> bool {
    let (flags, table) = CONDITIONS[usize::from(n & 7)];
    let minterm = flags
        .iter()
        .fold(0u64, |minterm, flag| minterm << 1 | (a >> flag & 1));
    table >> minterm & 1 == 1
}

pub(super) fn condition(_: u32, n: u16, k: &mut Known) -> Rule {
    let ([x, y, z], table) = CONDITIONS[usize::from(n & 7)];
    let mut flags = Known {
        d: k.d,
        a: k.a.field(x, 1),
        b: k.a.field(y, 1),
        c: k.a.field(z, 1),
    };
    logic::ternary_bit(table, &mut flags)?;
    k.d = flags.d;
    k.a.learn(flags.a.shifted(x))?;
    k.a.learn(flags.b.shifted(y))?;
    k.a.learn(flags.c.shifted(z))?;
    Ok(())
}
