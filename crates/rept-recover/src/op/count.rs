//! Counting bits.

use super::{Known, Rule, multiply};
use crate::bits::{Bits, Contradiction, mask};

pub(super) fn eval_popcnt(_: u32, _: u16, a: u64, _: u64, _: u64) -> u64 {
    u64::from(a.count_ones())
}

/// Bounds on the number of ones; at a bound, the free bits are all zero or all one.
pub(super) fn popcnt(w: u32, _: u16, k: &mut Known) -> Rule {
    if multiply::by_trial(w, k, 1, |[a, _, _]| u64::from(a.count_ones()))? {
        return Ok(());
    }
    let free = mask(w) & !k.a.known;
    let ones = k.a.value.count_ones();
    let most = ones + free.count_ones();
    let counts = candidates(w, k.d, ones, most)?;
    k.d.learn(counts.low(w))?;
    match counts.get() {
        Some(n) if n == u64::from(ones) => k.a.force(0, free),
        Some(n) if n == u64::from(most) => k.a.force(free, 0),
        _ => Ok(()),
    }
}

/// What the numbers `low..=high` that `d` admits have in common.
fn candidates(w: u32, d: Bits, low: u32, high: u32) -> Result<Bits, Contradiction> {
    (low..=high)
        .map(u64::from)
        .filter(|&n| d.low(w).admits(n & mask(w)))
        .map(Bits::constant)
        .reduce(Bits::join)
        .ok_or(Contradiction)
}

pub(super) fn eval_tzcnt(w: u32, _: u16, a: u64, _: u64, _: u64) -> u64 {
    u64::from(a.trailing_zeros().min(w))
}

/// Case split over the position of the lowest one; exact.
pub(super) fn tzcnt(w: u32, _: u16, k: &mut Known) -> Rule {
    let lowest_sure = k.a.value.trailing_zeros().min(w);
    let lowest_possible = (!k.a.zeros()).trailing_zeros().min(w);
    position(w, k, lowest_possible..=lowest_sure, u64::from, |n| {
        lowest_at(w, n)
    })
}

/// What a word looks like whose lowest one is at `n`.
fn lowest_at(w: u32, n: u32) -> Bits {
    Bits::new(mask((n + 1).min(w)), 1u64.checked_shl(n).unwrap_or(0))
}

pub(super) fn eval_up_to_lowest(w: u32, _: u16, a: u64, _: u64, _: u64) -> u64 {
    (a ^ a.wrapping_sub(1)) & mask(w)
}

/// Case split over the position of the lowest one; exact.
pub(super) fn up_to_lowest(w: u32, _: u16, k: &mut Known) -> Rule {
    let lowest_sure = k.a.value.trailing_zeros().min(w);
    let lowest_possible = (!k.a.zeros()).trailing_zeros().min(w);
    let cases = lowest_possible..=lowest_sure;
    position(w, k, cases, |n| mask((n + 1).min(w)), |n| lowest_at(w, n))
}

pub(super) fn eval_lzcnt(w: u32, _: u16, a: u64, _: u64, _: u64) -> u64 {
    u64::from(w - (64 - a.leading_zeros()))
}

/// Case split over the position of the highest one; exact.
pub(super) fn lzcnt(w: u32, _: u16, k: &mut Known) -> Rule {
    let zeros_above = |x: u64| w - (64 - (x & mask(w)).leading_zeros());
    let sure = zeros_above(k.a.value);
    let possible = zeros_above(!k.a.zeros());
    position(w, k, possible..=sure, u64::from, |n| {
        let below = w - n;
        if n == w {
            Bits::new(mask(w), 0)
        } else {
            Bits::new(mask(w) & !mask(below - 1), 1 << (below - 1))
        }
    })
}

/// For one of `cases`, `d` is its result and `a` looks like its shape.
fn position(
    w: u32,
    k: &mut Known,
    cases: std::ops::RangeInclusive<u32>,
    result: impl Fn(u32) -> u64,
    shape: impl Fn(u32) -> Bits,
) -> Rule {
    let mut common: Option<(Bits, Bits)> = None;
    for n in cases {
        let d = Bits::constant(result(n)).low(w);
        let mut a = k.a;
        if !k.d.compatible(d) || a.learn(shape(n).low(w)).is_err() {
            continue;
        }
        common = Some(common.map_or((d, a), |seen| (seen.0.join(d), seen.1.join(a))));
    }
    let (d, a) = common.ok_or(Contradiction)?;
    k.d.learn(d)?;
    k.a.learn(a)?;
    Ok(())
}
