//! The relations of one instruction, and running them to a fixpoint.
//!
//! Words only ever become better known, so the fixpoint does not depend on the order; the order
//! decides what it costs. The relations run once in their own order, which is that of
//! computation; then only those run again of which another has changed a bit since: which those
//! may be is found once, when the instruction is lowered.

use crate::bits::{Bits, Contradiction};
use crate::op::{Changed, MicroOp};
use smallvec::SmallVec;
use std::ops::Deref;

/// Sweeps over the relations of one instruction at most; one or two are the rule.
const MAX_SWEEPS: u16 = 8;
/// So many relations are told apart by the bits of a word.
const TOLD_APART: usize = 64;

/// The relations of an [`Effect`](super::Effect), in the order of computation.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Relations {
    /// One or two are the rule, and lie beside what else a visit looks at.
    ops: SmallVec<[MicroOp; 2]>,
    /// For each of `d`, `a`, `b`, `c` of each relation: those that a change of it concerns, one
    /// bit each. Empty where there is one relation or too many.
    wakes: Box<[[u64; 4]]>,
}

impl From<Vec<MicroOp>> for Relations {
    fn from(ops: Vec<MicroOp>) -> Relations {
        let wakes = match ops.len() {
            2..=TOLD_APART => wakes(&ops),
            _ => Box::default(),
        };
        let mut ops = SmallVec::from_vec(ops);
        ops.shrink_to_fit();
        Relations { ops, wakes }
    }
}

impl Deref for Relations {
    type Target = [MicroOp];

    fn deref(&self) -> &[MicroOp] {
        &self.ops
    }
}

impl<'a> IntoIterator for &'a Relations {
    type Item = &'a MicroOp;
    type IntoIter = std::slice::Iter<'a, MicroOp>;

    fn into_iter(self) -> Self::IntoIter {
        self.ops.iter()
    }
}

impl Relations {
    /// Learns what the relations imply about `words`.
    #[inline]
    pub(super) fn narrow(&self, words: &mut [Bits]) -> Result<(), Contradiction> {
        match &self.ops[..] {
            [] => Ok(()),
            // Rules find all that follows from their own words at once: one relation needs one visit.
            [op] => op.narrow(words).map(|_| ()),
            _ if self.wakes.is_empty() => self.sweep_all(words),
            _ => self.settle(words),
        }
    }

    /// Runs a relation again only when another has changed a bit of it since it last ran.
    fn settle(&self, words: &mut [Bits]) -> Result<(), Contradiction> {
        let mut pending = 0;
        for (index, op) in self.ops.iter().enumerate() {
            let changed = op.run(words)?;
            if changed != 0 {
                // Those behind it are still to run.
                pending |= self.woken(index, changed) & (u64::MAX >> (63 - index));
            }
        }
        for sweep in 1..MAX_SWEEPS {
            if pending == 0 {
                break;
            }
            pending = self.sweep(sweep % 2 == 1, pending, words)?;
        }
        Ok(())
    }

    /// Runs the relations of `ahead` and those ahead of them that they concern, in order or
    /// backward; gives those that are to run in the next sweep.
    fn sweep(
        &self,
        backward: bool,
        mut ahead: u64,
        words: &mut [Bits],
    ) -> Result<u64, Contradiction> {
        let mut pending = 0;
        while ahead != 0 {
            let (index, reachable) = match backward {
                true => {
                    let index = 63 - ahead.leading_zeros();
                    (index, (1 << index) - 1)
                }
                false => {
                    let index = ahead.trailing_zeros();
                    (index, u64::MAX << index << 1)
                }
            };
            ahead &= !(1 << index);
            let changed = self.ops[index as usize].run(words)?;
            let woken = self.woken(index as usize, changed);
            ahead |= woken & reachable;
            pending |= woken & !reachable;
        }
        Ok(pending)
    }

    /// The relations that a change of these words of one concerns.
    fn woken(&self, index: usize, changed: Changed) -> u64 {
        let [d, a, b, c] = self.wakes[index];
        let when = |bit: u8, woken: u64| u64::from(changed >> bit & 1).wrapping_neg() & woken;
        when(0, d) | when(1, a) | when(2, b) | when(3, c)
    }

    fn sweep_all(&self, words: &mut [Bits]) -> Result<(), Contradiction> {
        for sweep in 0..MAX_SWEEPS {
            let mut changed = false;
            let mut run = |op: &MicroOp| op.narrow(words).map(|new| changed |= new);
            match sweep % 2 {
                0 => self.ops.iter().try_for_each(&mut run)?,
                _ => self.ops.iter().rev().try_for_each(&mut run)?,
            }
            if !changed {
                break;
            }
        }
        Ok(())
    }
}

fn wakes(ops: &[MicroOp]) -> Box<[[u64; 4]]> {
    let parts: Vec<_> = ops
        .iter()
        .map(|op| {
            let [d, a, b, c] = op.masks();
            [(op.d, d), (op.a, a), (op.b, b), (op.c, c)]
        })
        .collect();
    let concerned = |index: usize, changed| {
        let (word, bits): (_, u64) = changed;
        let others = parts.iter().enumerate().filter(|&(other, parts)| {
            let shares = |&(part, of): &(_, u64)| part == word && of & bits != 0;
            match other == index {
                true => ops[index].settles_slowly(),
                false => parts.iter().any(shares),
            }
        });
        others.fold(0, |woken, (other, _)| woken | 1 << other)
    };
    (0..ops.len())
        .map(|index| parts[index].map(|changed| concerned(index, changed)))
        .collect()
}
