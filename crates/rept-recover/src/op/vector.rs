//! Masks and shuffles of packed elements.

use super::{Known, Rule, wire};
use crate::bits::{Bits, Contradiction, mask};

pub(super) fn eval_expand(w: u32, _: u16, a: u64, _: u64, _: u64) -> u64 {
    if a & 1 == 1 { mask(w) } else { 0 }
}

/// One element and its bit: all bits are equal.
pub(super) fn expand(w: u32, _: u16, k: &mut Known) -> Rule {
    k.d.learn(k.a.low(1))?;
    wire::uniform(&mut k.d, mask(w))?;
    k.a.learn(k.d.low(1))?;
    Ok(())
}

/// Bit of a control byte that makes the result zero.
const ZERO: u64 = 0x80;
/// Bits of a control byte that choose the source byte.
const INDEX: u64 = 0x0f;

pub(super) fn eval_shuffle(w: u32, _: u16, a: u64, b: u64, c: u64) -> u64 {
    let mut d = 0;
    for byte in 0..w / 8 {
        let control = c >> (byte * 8);
        if control & ZERO == 0 {
            d |= (source(a, b, control & INDEX) & 0xff) << (byte * 8);
        }
    }
    d
}

fn source(a: u64, b: u64, index: u64) -> u64 {
    if index < 8 {
        a >> (index * 8)
    } else {
        b >> ((index - 8) * 8)
    }
}

/// Known control bytes are wires; others are a case split over the sources that remain possible,
/// repeated while one choice tells something of another. Not exact: two bytes whose sources
/// are both open are not weighed against each other.
pub(super) fn shuffle(w: u32, _: u16, k: &mut Known) -> Rule {
    loop {
        let before = (k.a.known, k.b.known, k.c.known, k.d.known);
        let mut split = false;
        for at in (0..w).step_by(8) {
            if !decided(k.c.field(at, 8)) {
                choose(k, at)?;
                split = true;
            }
            if decided(k.c.field(at, 8)) {
                wire(k, at)?;
            }
        }
        if !split || before == (k.a.known, k.b.known, k.c.known, k.d.known) {
            return Ok(());
        }
    }
}

/// The control byte names zero or one source.
fn decided(control: Bits) -> bool {
    control.ones() & ZERO != 0 || control.known & (ZERO | INDEX) == ZERO | INDEX
}

/// The byte at bit `at`, whose control is decided.
fn wire(k: &mut Known, at: u32) -> Rule {
    let control = k.c.field(at, 8);
    if control.ones() & ZERO != 0 {
        k.d.force(0, 0xff << at)?;
        return Ok(());
    }
    let index = (control.value & INDEX) as u32;
    let from = if index < 8 { &mut k.a } else { &mut k.b };
    let place = index % 8 * 8;
    k.d.learn(from.field(place, 8).shifted(at))?;
    from.learn(k.d.field(at, 8).shifted(place))?;
    Ok(())
}

fn choose(k: &mut Known, at: u32) -> Rule {
    let (control, wanted) = (k.c.field(at, 8), k.d.field(at, 8));
    let mut common: Option<(Bits, Bits)> = None;
    let mut consider = |control: Bits, byte: Bits| {
        common = Some(common.map_or((control, byte), |seen| {
            (seen.0.join(control), seen.1.join(byte))
        }));
    };
    let zero = Bits::new(ZERO, ZERO);
    if control.compatible(zero) && wanted.compatible(Bits::new(0xff, 0)) {
        consider(zero, Bits::new(0xff, 0));
    }
    for index in 0..=INDEX {
        let chosen = Bits::new(ZERO | INDEX, index);
        let from = if index < 8 { k.a } else { k.b }.field(index as u32 % 8 * 8, 8);
        if control.compatible(chosen) && wanted.compatible(from) {
            consider(chosen, from);
        }
    }
    let (control, byte) = common.ok_or(Contradiction)?;
    k.c.learn(control.shifted(at))?;
    k.d.learn(byte.shifted(at))?;
    Ok(())
}

fn carryless(a: u64, b: u64) -> u128 {
    (0..64)
        .filter(|bit| b >> bit & 1 == 1)
        .fold(0, |product, bit| product ^ (u128::from(a) << bit))
}

pub(super) fn eval_clmul_low(w: u32, _: u16, a: u64, b: u64, _: u64) -> u64 {
    carryless(a, b) as u64 & mask(w)
}

pub(super) fn clmul_low(w: u32, _: u16, k: &mut Known) -> Rule {
    super::multiply::by_trial(w, k, 2, |[a, b, _]| carryless(a, b) as u64).map(|_| ())
}

pub(super) fn eval_clmul_high(w: u32, _: u16, a: u64, b: u64, _: u64) -> u64 {
    (carryless(a, b) >> w) as u64
}

pub(super) fn clmul_high(w: u32, _: u16, k: &mut Known) -> Rule {
    super::multiply::by_trial(w, k, 2, |[a, b, _]| (carryless(a, b) >> w) as u64).map(|_| ())
}
