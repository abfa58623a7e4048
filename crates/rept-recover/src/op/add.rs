//! Addition, exact in all directions.
//!
//! `d = a + b + carry` is a chain of full adders. At each bit, what is known of `a`, `b` and
//! `d` leaves some of four transitions from carry-in to carry-out possible. The carries that
//! can be reached from below are a recurrence `sure[i+1] = g[i] | p[i] & sure[i]`, which is the
//! carry chain of a machine addition; those that can be completed above are the same
//! recurrence on reversed words. A bit is forced when every transition that both allow gives it
//! the same value. Everything is a fixed number of word operations; where nothing is known of one
//! word, or two are wholly known, two additions tell what is known of it.

use super::{Known, Rule, negated};
use crate::bits::{Bits, Contradiction, mask};

pub(super) fn eval_add(_: u32, _: u16, a: u64, b: u64, _: u64) -> u64 {
    a.wrapping_add(b)
}

pub(super) fn add(w: u32, _: u16, k: &mut Known) -> Rule {
    let mut no_carry = Bits::ZERO;
    chain(w, k, &mut no_carry)
}

pub(super) fn eval_add_carry(_: u32, _: u16, a: u64, b: u64, c: u64) -> u64 {
    a.wrapping_add(b).wrapping_add(c & 1)
}

pub(super) fn add_carry(w: u32, _: u16, k: &mut Known) -> Rule {
    let mut carry = k.c;
    chain(w, k, &mut carry)?;
    k.c.learn(carry.low(1))?;
    Ok(())
}

fn chain(w: u32, k: &mut Known, carry: &mut Bits) -> Rule {
    let whole = mask(w);
    let open = |x: Bits| x.known & whole == 0;
    let full = |x: Bits| x.known & whole == whole;
    let Known { d, a, b, .. } = *k;
    let given = carry.known & 1 == 1;
    // Two parts of which nothing is known: the third may be anything.
    let few = u32::from(open(d)) + u32::from(open(a)) + u32::from(open(b));
    if few > 1 {
        return Ok(());
    }
    if open(d) || given && full(a) && full(b) {
        return k.d.learn(sum(a, b, *carry).low(w)).map(|_| ());
    }
    if open(a) || given && full(d) && full(b) {
        let other = sum(d, negated(b, u64::MAX), negated(*carry, 1));
        return k.a.learn(other.low(w)).map(|_| ());
    }
    if open(b) || given && full(d) && full(a) {
        let other = sum(d, negated(a, u64::MAX), negated(*carry, 1));
        return k.b.learn(other.low(w)).map(|_| ());
    }
    adders(whole, k, carry)
}

/// What is known of a sum of which nothing is known otherwise. A bit is known where both of its
/// summands are, and the carry into it is the same in the least and in the greatest sum.
fn sum(a: Bits, b: Bits, carry: Bits) -> Bits {
    let (most_a, most_b) = (!a.zeros(), !b.zeros());
    let least = a.value.wrapping_add(b.value);
    let least = least.wrapping_add(carry.ones() & 1);
    let most = most_a.wrapping_add(most_b);
    let most = most.wrapping_add(!carry.zeros() & 1);
    let carries = (least ^ a.value ^ b.value, most ^ most_a ^ most_b);
    let known = a.known & b.known & !(carries.0 ^ carries.1);
    Bits::new(known, least)
}

/// Solves `sure[i+1] = g[i] | p[i] & sure[i]` (with `g` within `p`): the carries of `p + g`.
fn carries(g: u64, p: u64, first: bool) -> u64 {
    let sum = p.wrapping_add(g).wrapping_add(u64::from(first));
    sum ^ p ^ g
}

/// The same recurrence from the top down: element `i` of the result depends on `i + 1`.
fn carries_down(g: u64, p: u64) -> u64 {
    carries(g.reverse_bits(), p.reverse_bits(), false).reverse_bits()
}

fn adders(whole: u64, k: &mut Known, carry: &mut Bits) -> Rule {
    let may0 = |x: Bits| !x.ones() & whole;
    let may1 = |x: Bits| !x.zeros() & whole;
    let (a0, a1, b0, b1) = (may0(k.a), may1(k.a), may0(k.b), may1(k.b));
    let (d0, d1) = (may0(k.d), may1(k.d));
    // Transitions carry-in → carry-out that some values of the three bits allow.
    let t00 = (a0 & b0 & d0) | (((a0 & b1) | (a1 & b0)) & d1);
    let t01 = a1 & b1 & d0;
    let t10 = a0 & b0 & d1;
    let t11 = (((a0 & b1) | (a1 & b0)) & d0) | (a1 & b1 & d1);
    // Carry-ins reached from below: surely one, surely zero.
    let (one, zero) = (carry.ones() & 1 == 1, carry.zeros() & 1 == 1);
    let below1 = carries(!t00 & !t10, !t10, one);
    let below0 = carries(!t01 & !t11, !t01, zero);
    // Carry-outs that can be completed above: bit i speaks of the carry out of bit i.
    let above1 = carries_down(!t00 & !t01 & whole, !t01 & whole);
    let above0 = carries_down(!t10 & !t11 & whole, !t10 & whole);
    let (in0, in1) = (!below1, !below0);
    let (out0, out1) = (!above1, !above0);
    let (e00, e01) = (in0 & out0, in0 & out1);
    let (e10, e11) = (in1 & out0, in1 & out1);
    // (a, b, d) with their carries: 000 011 101 by e00, 110 by e01, 001 by e10, 010 100 111 by e11.
    let x000 = e00 & a0 & b0 & d0;
    let x011 = e00 & a0 & b1 & d1;
    let x101 = e00 & a1 & b0 & d1;
    let x110 = e01 & a1 & b1 & d0;
    let x001 = e10 & a0 & b0 & d1;
    let x010 = e11 & a0 & b1 & d0;
    let x100 = e11 & a1 & b0 & d0;
    let x111 = e11 & a1 & b1 & d1;
    let (a0, a1) = (x000 | x011 | x001 | x010, x101 | x110 | x100 | x111);
    let (b0, b1) = (x000 | x101 | x001 | x100, x011 | x110 | x010 | x111);
    let (d0, d1) = (x000 | x110 | x010 | x100, x011 | x101 | x001 | x111);
    if (a0 | a1) & whole != whole {
        return Err(Contradiction);
    }
    k.a.force(whole & !a0, whole & !a1)?;
    k.b.force(whole & !b0, whole & !b1)?;
    k.d.force(whole & !d0, whole & !d1)?;
    let (c0, c1) = (x000 | x011 | x101 | x110, x001 | x010 | x100 | x111);
    carry.force(!c0 & 1, !c1 & 1)
}
