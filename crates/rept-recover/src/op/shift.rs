//! Shifts and rotations by a variable count: a case split over the counts that remain
//! possible, each a wire rule. A count whose wiring contradicts the other words is impossible.
//! A known count costs one wire rule; nothing is tried while no other word is known.

use super::{Known, Rule, wire};
use crate::bits::{Bits, Contradiction, mask};

/// Narrows by `rule` for each count in `0..cases`; `b` (or `c`) holds the count. Counts at or
/// above `cases` count as `cases`, when `saturating`; else they are taken modulo `cases`.
struct Split {
    cases: u32,
    saturating: bool,
}

impl Split {
    fn run(
        &self,
        w: u32,
        count: Bits,
        k: &mut Known,
        rule: impl Fn(u32, &mut Known) -> Rule,
    ) -> Result<Bits, Contradiction> {
        let count = count.low(w);
        if count.known & mask(w) == mask(w) {
            let n = self.case(count.value);
            return rule(n, k).map(|()| count);
        }
        // A count of nothing remains possible, and would teach nothing.
        if k.d.known == 0 && k.a.known == 0 && count.value == 0 {
            return Ok(count);
        }
        let mut common: Option<Known> = None;
        let mut counts: Option<Bits> = None;
        for n in 0..self.cases + u32::from(self.saturating) {
            let Some(admitted) = self.admitted(w, n, count) else {
                continue;
            };
            let mut trial = *k;
            if rule(n, &mut trial).is_err() {
                continue;
            }
            counts = Some(counts.map_or(admitted, |seen| seen.join(admitted)));
            common = Some(match common {
                None => trial,
                Some(seen) => Known {
                    d: seen.d.join(trial.d),
                    a: seen.a.join(trial.a),
                    b: seen.b.join(trial.b),
                    c: seen.c.join(trial.c),
                },
            });
        }
        *k = common.ok_or(Contradiction)?;
        counts.ok_or(Contradiction)
    }

    fn case(&self, count: u64) -> u32 {
        if self.saturating {
            count.min(u64::from(self.cases)) as u32
        } else {
            (count % u64::from(self.cases)) as u32
        }
    }

    /// What the count word is known to be when it means case `n`; `None` when it cannot.
    fn admitted(&self, w: u32, n: u32, count: Bits) -> Option<Bits> {
        let n64 = u64::from(n);
        if self.saturating && n < self.cases {
            return count.admits(n64).then(|| Bits::constant(n64).low(w));
        }
        if self.saturating {
            return at_least(w, n64, count);
        }
        congruent(w, n64, u64::from(self.cases), count)
    }
}

/// What is known of a word of `w` bits that is known to be `count` and at least `n`.
fn at_least(w: u32, n: u64, count: Bits) -> Option<Bits> {
    if n > mask(w) || count.value | (!count.known & mask(w)) < n {
        return None;
    }
    if n == 0 {
        return Some(count);
    }
    let mut k = Known {
        d: Bits::ZERO,
        a: count,
        b: Bits::constant(n),
        c: Bits::ZERO,
    };
    super::compare::ult(w, 0, &mut k).ok()?;
    Some(k.a)
}

/// What is known of a word of `w` bits that is known to be `count` and `n` modulo `modulus`.
fn congruent(w: u32, n: u64, modulus: u64, count: Bits) -> Option<Bits> {
    if modulus.is_power_of_two() {
        let residue = Bits::new(modulus - 1, n).low(w);
        let mut both = count;
        return (n <= mask(w) && both.learn(residue).is_ok()).then_some(both);
    }
    // Rotations through carry (9, 17, 33, 65 places): the lowering hands over a reduced count
    // of five or six bits, so that the values are few.
    let mut found: Option<Bits> = None;
    let unknown = mask(w) & !count.known;
    if unknown.count_ones() > 8 {
        return Some(count);
    }
    let mut choice = 0u64;
    loop {
        let value = count.value | choice;
        if value % modulus == n {
            let value = Bits::constant(value).low(w);
            found = Some(found.map_or(value, |seen| seen.join(value)));
        }
        choice = choice.wrapping_sub(unknown) & unknown;
        if choice == 0 {
            return found;
        }
    }
}

fn saturating(w: u32, k: &mut Known, rule: impl Fn(u32, &mut Known) -> Rule) -> Rule {
    let count = k.b;
    k.b = Split {
        cases: w,
        saturating: true,
    }
    .run(w, count, k, rule)?;
    Ok(())
}

pub(super) fn eval_shl(w: u32, _: u16, a: u64, b: u64, _: u64) -> u64 {
    if b >= u64::from(w) { 0 } else { a << b }
}

pub(super) fn shl(w: u32, _: u16, k: &mut Known) -> Rule {
    saturating(w, k, |n, k| wire::shl(w, n as u16, k))
}

pub(super) fn eval_shr(w: u32, _: u16, a: u64, b: u64, _: u64) -> u64 {
    if b >= u64::from(w) { 0 } else { a >> b }
}

pub(super) fn shr(w: u32, _: u16, k: &mut Known) -> Rule {
    saturating(w, k, |n, k| wire::shr(w, n as u16, k))
}

pub(super) fn eval_sar(w: u32, _: u16, a: u64, b: u64, _: u64) -> u64 {
    wire::eval_sar(w, b.min(255) as u16, a, 0, 0)
}

pub(super) fn sar(w: u32, _: u16, k: &mut Known) -> Rule {
    saturating(w, k, |n, k| wire::sar(w, n as u16, k))
}

pub(super) fn eval_rol(w: u32, _: u16, a: u64, b: u64, _: u64) -> u64 {
    wire::eval_rotate(w, (b % u64::from(w)) as u32, a)
}

pub(super) fn rol(w: u32, _: u16, k: &mut Known) -> Rule {
    let count = k.b;
    k.b = Split {
        cases: w,
        saturating: false,
    }
    .run(w, count, k, |n, k| wire::rotate(w, n, k))?;
    Ok(())
}

pub(super) fn eval_rcl(w: u32, _: u16, a: u64, b: u64, c: u64) -> u64 {
    wire::eval_rcl(w, (b % u64::from(w + 1)) as u16, a, 0, c)
}

pub(super) fn rcl(w: u32, _: u16, k: &mut Known) -> Rule {
    let count = k.b;
    let split = Split {
        cases: w + 1,
        saturating: false,
    };
    k.b = split.run(w, count, k, |n, k| wire::rcl(w, n as u16, k))?;
    Ok(())
}

pub(super) fn eval_funnel(w: u32, _: u16, a: u64, b: u64, c: u64) -> u64 {
    wire::eval_funnel(w, c.min(u64::from(w)) as u16, a, b, 0)
}

pub(super) fn funnel(w: u32, _: u16, k: &mut Known) -> Rule {
    let count = k.c;
    let split = Split {
        cases: w,
        saturating: true,
    };
    k.c = split.run(w, count, k, |n, k| wire::funnel(w, n as u16, k))?;
    Ok(())
}
