//! Multiplication and division.
//!
//! Products: the trailing bits of a product depend on the trailing bits of the factors only,
//! and an odd factor can be divided out modulo 2^n; leading zeros follow from the greatest
//! values. Where few bits are unknown, all values are tried. Quotients are forward functions
//! (the lowering states the identity `low = quotient * b + remainder` beside them).

use super::{Known, Rule};
use crate::bits::{Bits, Contradiction, mask};

/// Unknown operand bits up to which all values are tried, as a power of two of the trials.
const TRIED_BITS: u32 = 8;

/// Tries all values of the operands, when few bits of them are unknown, and keeps what the
/// satisfying ones have in common. False when there are too many.
pub(super) fn by_trial(
    w: u32,
    k: &mut Known,
    operands: usize,
    f: impl Fn([u64; 3]) -> u64,
) -> Result<bool, Contradiction> {
    let words = [k.a, k.b, k.c];
    let mut free = [0u64; 3];
    let mut count = 0;
    for (free, word) in free.iter_mut().zip(words).take(operands) {
        *free = mask(w) & !word.known;
        count += free.count_ones();
    }
    if count > TRIED_BITS {
        return Ok(false);
    }
    let mut common: Option<[Bits; 4]> = None;
    let mut chosen = [0u64; 3];
    loop {
        let values = [0, 1, 2].map(|i| words[i].value | chosen[i]);
        let d = f(values) & mask(w);
        if k.d.admits(d) {
            let found = [d, values[0], values[1], values[2]].map(Bits::constant);
            common = Some(match common {
                None => found,
                Some(seen) => [0, 1, 2, 3].map(|i| seen[i].join(found[i])),
            });
        }
        if !next_choice(&mut chosen, &free) {
            break;
        }
    }
    let [d, a, b, c] = common.ok_or(Contradiction)?;
    k.d.learn(d.low(w))?;
    for (word, known) in [&mut k.a, &mut k.b, &mut k.c]
        .into_iter()
        .zip([a, b, c])
        .take(operands)
    {
        word.learn(known.low(w))?;
    }
    Ok(true)
}

/// Steps through all subsets of `free`, as an odometer; false after the last.
fn next_choice(chosen: &mut [u64; 3], free: &[u64; 3]) -> bool {
    for (chosen, free) in chosen.iter_mut().zip(free) {
        *chosen = chosen.wrapping_sub(*free) & free;
        if *chosen != 0 {
            return true;
        }
    }
    false
}

/// Number of known bits at the bottom of a word.
fn known_run(x: Bits) -> u32 {
    x.known.trailing_ones()
}

/// A known number of zeros at the bottom.
fn known_zeros(x: Bits) -> u32 {
    x.zeros().trailing_ones()
}

/// The multiplicative inverse of an odd number modulo 2^64 (Newton's iteration).
fn inverse(odd: u64) -> u64 {
    let mut x = odd;
    for _ in 0..5 {
        x = x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x)));
    }
    x
}

pub(super) fn eval_low(_: u32, _: u16, a: u64, b: u64, _: u64) -> u64 {
    a.wrapping_mul(b)
}

pub(super) fn low(w: u32, _: u16, k: &mut Known) -> Rule {
    let whole = mask(w);
    if k.a.known & k.b.known & whole == whole {
        return k
            .d
            .learn(Bits::constant(k.a.value.wrapping_mul(k.b.value)).low(w))
            .map(|_| ());
    }
    forward_low(w, k)?;
    let (a, b) = (k.a, k.b);
    divide_out(w, k.d, b, &mut k.a)?;
    divide_out(w, k.d, a, &mut k.b)?;
    by_trial(w, k, 2, |[a, b, _]| a.wrapping_mul(b)).map(|_| ())
}

fn forward_low(w: u32, k: &mut Known) -> Rule {
    let run = (known_run(k.a) + known_zeros(k.b)).min(known_run(k.b) + known_zeros(k.a));
    let product = k.a.value.wrapping_mul(k.b.value);
    k.d.learn(Bits::constant(product).low(run.min(w)))?;
    let greatest = |x: Bits| u128::from(x.value | (!x.known & mask(w)));
    let highest = greatest(k.a) * greatest(k.b);
    if highest <= u128::from(mask(w)) {
        let length = 64 - (highest as u64).leading_zeros();
        k.d.force(0, mask(w) & !mask(length))?;
    }
    Ok(())
}

/// The trailing bits of `other` from those of the product, when `factor` has a known lowest one.
fn divide_out(w: u32, d: Bits, factor: Bits, other: &mut Bits) -> Rule {
    let run = known_run(factor);
    let zeros = known_zeros(factor);
    if zeros >= run || zeros >= w {
        return Ok(());
    }
    // The factor is odd << zeros, and `run - zeros` bits of the odd part are known.
    let bits = known_run(d).min(w).saturating_sub(zeros).min(run - zeros);
    if d.value & mask(zeros) != 0 {
        return Err(Contradiction);
    }
    let quotient = (d.value >> zeros).wrapping_mul(inverse(factor.value >> zeros));
    other.learn(Bits::constant(quotient).low(bits)).map(|_| ())
}

pub(super) fn eval_high(w: u32, _: u16, a: u64, b: u64, _: u64) -> u64 {
    ((u128::from(a) * u128::from(b)) >> w) as u64
}

pub(super) fn high(w: u32, n: u16, k: &mut Known) -> Rule {
    let greatest = |x: Bits| x.value | (!x.known & mask(w));
    let highest = eval_high(w, n, greatest(k.a), greatest(k.b), 0);
    k.d.force(0, mask(w) & !mask(64 - highest.leading_zeros()))?;
    by_trial(w, k, 2, |[a, b, _]| eval_high(w, n, a, b, 0)).map(|_| ())
}

/// Sign-extends from `w` bits.
fn signed(w: u32, x: u64) -> i128 {
    i128::from((x << (64 - w)) as i64 >> (64 - w))
}

pub(super) fn eval_high_signed(w: u32, _: u16, a: u64, b: u64, _: u64) -> u64 {
    ((signed(w, a) * signed(w, b)) >> w) as u64
}

pub(super) fn high_signed(w: u32, n: u16, k: &mut Known) -> Rule {
    by_trial(w, k, 2, |[a, b, _]| eval_high_signed(w, n, a, b, 0)).map(|_| ())
}

pub(super) fn eval_quotient(w: u32, _: u16, a: u64, b: u64, c: u64) -> u64 {
    // The quotient must fit: the high half is less than the divisor.
    if c >= b {
        return 0;
    }
    ((u128::from(c) << w | u128::from(a)) / u128::from(b)) as u64
}

pub(super) fn quotient(w: u32, n: u16, k: &mut Known) -> Rule {
    by_trial(w, k, 3, |[a, b, c]| eval_quotient(w, n, a, b, c)).map(|_| ())
}

pub(super) fn eval_quotient_signed(w: u32, _: u16, a: u64, b: u64, c: u64) -> u64 {
    let dividend = signed(w, c) << w | i128::from(a);
    let divisor = signed(w, b);
    if divisor == 0 {
        return 0;
    }
    let quotient = dividend.wrapping_div(divisor);
    let half = 1i128 << (w - 1);
    if (-half..half).contains(&quotient) {
        quotient as u64
    } else {
        0
    }
}

pub(super) fn quotient_signed(w: u32, n: u16, k: &mut Known) -> Rule {
    by_trial(w, k, 3, |[a, b, c]| eval_quotient_signed(w, n, a, b, c)).map(|_| ())
}
