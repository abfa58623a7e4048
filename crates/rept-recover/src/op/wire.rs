//! Wires: every bit of `d` is a bit of an operand, or constant. All rules are exact.

use super::{Known, Rule};
use crate::bits::{Bits, Contradiction, mask};

/// `x << n`, zero when `n >= 64`.
pub(super) fn up(x: u64, n: u32) -> u64 {
    x.checked_shl(n).unwrap_or(0)
}

/// `x >> n`, zero when `n >= 64`.
pub(super) fn down(x: u64, n: u32) -> u64 {
    x.checked_shr(n).unwrap_or(0)
}

fn rotated(x: u64, n: u32, w: u32) -> u64 {
    (up(x, n) | down(x, w - n)) & mask(w)
}

fn bits_up(x: Bits, n: u32) -> Bits {
    Bits {
        known: up(x.known, n),
        value: up(x.value, n),
    }
}

fn bits_down(x: Bits, n: u32) -> Bits {
    Bits {
        known: down(x.known, n),
        value: down(x.value, n),
    }
}

/// Makes two words share the bits of `shared`.
pub(super) fn unify(x: &mut Bits, y: &mut Bits, shared: u64) -> Rule {
    let (old_x, old_y) = (*x, *y);
    x.learn(Bits::new(old_y.known & shared, old_y.value))?;
    y.learn(Bits::new(old_x.known & shared, old_x.value))?;
    Ok(())
}

/// All bits of `group` are equal: one known bit tells all.
pub(super) fn uniform(x: &mut Bits, group: u64) -> Rule {
    match (x.ones() & group != 0, x.zeros() & group != 0) {
        (true, true) => Err(Contradiction),
        (true, false) => x.force(group, 0),
        (false, true) => x.force(0, group),
        (false, false) => Ok(()),
    }
}

pub(super) fn eval_copy(_: u32, _: u16, a: u64, _: u64, _: u64) -> u64 {
    a
}

pub(super) fn copy(w: u32, _: u16, k: &mut Known) -> Rule {
    unify(&mut k.d, &mut k.a, mask(w))
}

/// Position and length of the field that an immediate names, cut to the width.
fn field(w: u32, n: u16) -> (u32, u32) {
    let at = u32::from(n & 0xff).min(w);
    (at, u32::from(n >> 8).min(w - at))
}

/// The immediate of [`Op::Extract`](super::Op::Extract) and [`Op::Insert`](super::Op::Insert).
pub(crate) fn field_imm(at: u32, length: u32) -> u16 {
    (length << 8 | at) as u16
}

pub(super) fn eval_extract(w: u32, n: u16, a: u64, _: u64, _: u64) -> u64 {
    let (at, length) = field(w, n);
    down(a, at) & mask(length)
}

pub(super) fn extract(w: u32, n: u16, k: &mut Known) -> Rule {
    let (at, length) = field(w, n);
    k.d.force(0, mask(w) & !mask(length))?;
    k.d.learn(bits_down(k.a, at).low(length))?;
    k.a.learn(bits_up(k.d.low(length), at))?;
    Ok(())
}

pub(super) fn eval_insert(w: u32, n: u16, a: u64, b: u64, _: u64) -> u64 {
    let (at, length) = field(w, n);
    let place = up(mask(length), at);
    (a & !place) | (up(b, at) & place)
}

pub(super) fn insert(w: u32, n: u16, k: &mut Known) -> Rule {
    let (at, length) = field(w, n);
    unify(&mut k.d, &mut k.a, mask(w) & !up(mask(length), at))?;
    k.d.learn(bits_up(k.b.low(length), at))?;
    k.b.learn(bits_down(k.d, at).low(length))?;
    Ok(())
}

pub(super) fn eval_keep(_: u32, n: u16, a: u64, _: u64, _: u64) -> u64 {
    a & !u64::from(n)
}

pub(super) fn keep(w: u32, n: u16, k: &mut Known) -> Rule {
    unify(&mut k.d, &mut k.a, mask(w) & !u64::from(n))
}

pub(super) fn eval_sign_extend(w: u32, n: u16, a: u64, _: u64, _: u64) -> u64 {
    let from = u32::from(n).clamp(1, w);
    let low = a & mask(from);
    if low >> (from - 1) == 1 {
        low | (mask(w) & !mask(from))
    } else {
        low
    }
}

pub(super) fn sign_extend(w: u32, n: u16, k: &mut Known) -> Rule {
    let from = u32::from(n).clamp(1, w);
    k.d.learn(k.a.low(from))?;
    uniform(&mut k.d, mask(w) & !mask(from - 1))?;
    k.a.learn(k.d.low(from))?;
    Ok(())
}

fn reversed(x: u64, w: u32) -> u64 {
    down(x.swap_bytes(), 64 - w)
}

pub(super) fn eval_bswap(w: u32, _: u16, a: u64, _: u64, _: u64) -> u64 {
    reversed(a, w)
}

pub(super) fn bswap(w: u32, _: u16, k: &mut Known) -> Rule {
    let swap = |x: Bits| Bits {
        known: reversed(x.known, w),
        value: reversed(x.value, w),
    };
    k.d.learn(swap(k.a))?;
    k.a.learn(swap(k.d))?;
    Ok(())
}

pub(super) fn eval_shl(_: u32, n: u16, a: u64, _: u64, _: u64) -> u64 {
    up(a, u32::from(n))
}

pub(super) fn shl(w: u32, n: u16, k: &mut Known) -> Rule {
    let n = u32::from(n);
    k.d.force(0, mask(n.min(w)))?;
    k.d.learn(bits_up(k.a, n).low(w))?;
    k.a.learn(bits_down(k.d, n))?;
    Ok(())
}

pub(super) fn eval_shr(_: u32, n: u16, a: u64, _: u64, _: u64) -> u64 {
    down(a, u32::from(n))
}

pub(super) fn shr(w: u32, n: u16, k: &mut Known) -> Rule {
    let n = u32::from(n);
    k.d.force(0, mask(w) & !down(mask(w), n))?;
    k.d.learn(bits_down(k.a, n))?;
    k.a.learn(bits_up(k.d, n).low(w))?;
    Ok(())
}

pub(super) fn eval_sar(w: u32, n: u16, a: u64, _: u64, _: u64) -> u64 {
    let kept = w - u32::from(n).min(w - 1);
    eval_sign_extend(w, kept as u16, down(a, w - kept), 0, 0)
}

pub(super) fn sar(w: u32, n: u16, k: &mut Known) -> Rule {
    let n = u32::from(n).min(w - 1);
    k.d.learn(bits_down(k.a, n))?;
    uniform(&mut k.d, mask(w) & !mask(w - n - 1))?;
    k.a.learn(bits_up(k.d, n).low(w))?;
    Ok(())
}

pub(super) fn eval_funnel(w: u32, n: u16, a: u64, b: u64, _: u64) -> u64 {
    let n = u32::from(n).min(w);
    up(a, n) | down(b, w - n)
}

pub(super) fn funnel(w: u32, n: u16, k: &mut Known) -> Rule {
    let n = u32::from(n).min(w);
    k.d.learn(bits_up(k.a, n).low(w))?;
    k.d.learn(bits_down(k.b, w - n))?;
    k.a.learn(bits_down(k.d, n))?;
    k.b.learn(bits_up(k.d.low(n), w - n))?;
    Ok(())
}

pub(super) fn eval_rcl(w: u32, n: u16, a: u64, _: u64, c: u64) -> u64 {
    let n = u32::from(n).min(w);
    if n == 0 {
        return a;
    }
    up(a, n) | up(c & 1, n - 1) | down(a, w + 1 - n)
}

pub(super) fn rcl(w: u32, n: u16, k: &mut Known) -> Rule {
    let n = u32::from(n).min(w);
    if n == 0 {
        return copy(w, 0, k);
    }
    k.d.learn(bits_up(k.a, n).low(w))?;
    k.d.learn(bits_up(k.c.low(1), n - 1))?;
    k.d.learn(bits_down(k.a, w + 1 - n))?;
    k.a.learn(bits_down(k.d, n))?;
    k.a.learn(bits_up(k.d.low(n - 1), w + 1 - n).low(w))?;
    k.c.learn(bits_down(k.d, n - 1).low(1))?;
    Ok(())
}

/// `d = a` rotated left by `n`, `n <= w`; the case `a == b` of a funnel.
pub(super) fn rotate(w: u32, n: u32, k: &mut Known) -> Rule {
    let turn = |x: Bits, n| Bits {
        known: rotated(x.known, n, w),
        value: rotated(x.value, n, w),
    };
    k.d.learn(turn(k.a, n))?;
    k.a.learn(turn(k.d, w - n))?;
    Ok(())
}

/// The forward function of [`rotate`].
pub(super) fn eval_rotate(w: u32, n: u32, a: u64) -> u64 {
    rotated(a, n, w)
}
