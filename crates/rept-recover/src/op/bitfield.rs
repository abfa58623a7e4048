//! Scattering and gathering bits, and the CRC.

use super::{Known, Rule, multiply};
use crate::bits::{Bits, Contradiction, mask};

fn scatter(x: u64, mut places: u64) -> u64 {
    let (mut out, mut at) = (0, 0);
    while places != 0 {
        let place = places & places.wrapping_neg();
        if x >> at & 1 == 1 {
            out |= place;
        }
        at += 1;
        places &= places - 1;
    }
    out
}

fn gather(x: u64, mut places: u64) -> u64 {
    let (mut out, mut at) = (0, 0);
    while places != 0 {
        if x & places & places.wrapping_neg() != 0 {
            out |= 1 << at;
        }
        at += 1;
        places &= places - 1;
    }
    out
}

pub(super) fn eval_pdep(_: u32, _: u16, a: u64, b: u64, _: u64) -> u64 {
    scatter(a, b)
}

/// With a known mask the bits are wires; else all is tried when few bits are unknown.
pub(super) fn pdep(w: u32, _: u16, k: &mut Known) -> Rule {
    if k.b.known & mask(w) != mask(w) {
        k.d.force(0, k.b.zeros())?;
        return multiply::by_trial(w, k, 2, |[a, b, _]| scatter(a, b)).map(|_| ());
    }
    let places = k.b.value;
    k.d.force(0, mask(w) & !places)?;
    k.d.learn(Bits {
        known: scatter(k.a.known, places),
        value: scatter(k.a.value, places),
    })?;
    k.a.learn(Bits {
        known: gather(k.d.known, places),
        value: gather(k.d.value, places),
    })?;
    Ok(())
}

pub(super) fn eval_pext(_: u32, _: u16, a: u64, b: u64, _: u64) -> u64 {
    gather(a, b)
}

/// As [`pdep`].
pub(super) fn pext(w: u32, _: u16, k: &mut Known) -> Rule {
    if k.b.known & mask(w) != mask(w) {
        return multiply::by_trial(w, k, 2, |[a, b, _]| gather(a, b)).map(|_| ());
    }
    let places = k.b.value;
    k.d.force(0, mask(w) & !mask(places.count_ones()))?;
    k.d.learn(Bits {
        known: gather(k.a.known, places),
        value: gather(k.a.value, places),
    })?;
    k.a.learn(Bits {
        known: scatter(k.d.known, places),
        value: scatter(k.d.value, places),
    })?;
    Ok(())
}

/// The polynomial of CRC-32C, lowest power first.
const CASTAGNOLI: u32 = 0x82f6_3b78;

pub(super) fn eval_crc32(_: u32, n: u16, a: u64, b: u64, _: u64) -> u64 {
    let mut crc = a & mask(32);
    for bit in 0..n {
        let feedback = (crc ^ b.checked_shr(bit.into()).unwrap_or(0)) & 1;
        crc = (crc >> 1) ^ (feedback * u64::from(CASTAGNOLI));
    }
    crc
}

/// Undoes `n` steps of the register, for a known data word: `crc` before from `crc` after.
fn crc32_backward(n: u16, d: u64, b: u64) -> u64 {
    let mut crc = d;
    for bit in (0..n).rev() {
        // The polynomial has its highest bit set: it tells whether there was feedback.
        let feedback = crc >> 31 & 1;
        crc = (crc ^ (feedback * u64::from(CASTAGNOLI))) << 1 & mask(32)
            | (feedback ^ (b >> bit & 1));
    }
    crc
}

/// Forward, and backward to the old sum; the data word only by trial.
pub(super) fn crc32(w: u32, n: u16, k: &mut Known) -> Rule {
    let known = |x: Bits, width: u32| x.known & mask(width) == mask(width);
    if w >= 32 {
        k.d.force(0, mask(w) & !mask(32))?;
        if known(k.d, w) && known(k.b, u32::from(n)) {
            let before = crc32_backward(n, k.d.value & mask(32), k.b.value);
            k.a.learn(Bits::constant(before).low(32))?;
        }
        if known(k.a, 32) && known(k.b, u32::from(n)) {
            let after = eval_crc32(w, n, k.a.value, k.b.value, 0);
            return k.d.learn(Bits::constant(after).low(w)).map(|_| ());
        }
        return Ok(());
    }
    if !multiply::by_trial(w, k, 2, |[a, b, _]| eval_crc32(w, n, a, b, 0))?
        && k.d.known & !mask(w) != 0
    {
        return Err(Contradiction);
    }
    Ok(())
}
