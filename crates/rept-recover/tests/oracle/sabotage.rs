//! Wrong meanings on purpose: the judges must notice.
//!
//! Mutants are made from correct effects, one change each: an operation replaced or dropped,
//! an immediate, a width or the order of operands changed, a write lost or redirected, an
//! access moved, shrunk, turned around or lost. Some mutants mean the same as the original
//! (swapped operands of an addition); so each *kind* of change must be caught for each
//! operation and access somewhere, rather than every mutant.

use crate::forms::Instance;
use crate::machine::Machine;
use crate::random::Random;
use crate::witness::Witness;
use rept_recover::effect::Effect;
use rept_recover::lift::{ALL_FLAGS, lift};
use rept_recover::op::Op;
use rept_trace::{Address, RegWord};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Kinds of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    OtherOp,
    NoOp,
    Immediate,
    Narrower,
    Operands,
    NoWrite,
    OtherRegister,
    NoAccess,
    MovedAccess,
    ShorterAccess,
    TurnedAccess,
}

impl Change {
    const OF_OPS: [Change; 5] = [
        Change::OtherOp,
        Change::NoOp,
        Change::Immediate,
        Change::Narrower,
        Change::Operands,
    ];
    const OF_SETS: [Change; 6] = [
        Change::NoWrite,
        Change::OtherRegister,
        Change::NoAccess,
        Change::MovedAccess,
        Change::ShorterAccess,
        Change::TurnedAccess,
    ];

    /// `effect` with this change at its `index`-th operation, write or access.
    fn apply(self, effect: &Effect, index: usize, random: &mut Random) -> Option<Effect> {
        let mut mutant = effect.clone();
        let mut ops = effect.ops.to_vec();
        match self {
            Change::OtherOp => {
                let op = ops[index].op;
                let alike: Vec<Op> = Op::ALL
                    .iter()
                    .copied()
                    .filter(|o| {
                        *o != op && o.arity() == op.arity() && o.is_predicate() == op.is_predicate()
                    })
                    .collect();
                ops[index].op = *alike.get(random.below(alike.len() as u64) as usize)?;
            }
            Change::NoOp => drop(ops.remove(index)),
            Change::Immediate => {
                // Downwards where possible: no shift grows beyond its width.
                let immediate = &mut ops[index].imm;
                *immediate = immediate.checked_sub(1).unwrap_or(1);
            }
            Change::Narrower => {
                let width = ops[index].width;
                ops[index].width = (width > 1).then_some(width / 2)?;
            }
            Change::Operands => {
                let op = &mut ops[index];
                std::mem::swap(&mut op.a, &mut op.b);
            }
            Change::NoWrite => mutant.writes = without(&mutant.writes, index),
            Change::OtherRegister => {
                let register = &mut mutant.writes[index].0;
                *register = RegWord(register.0 ^ 1);
            }
            Change::NoAccess => mutant.accesses = without(&mutant.accesses, index),
            Change::MovedAccess => mutant.accesses[index].offset += 1,
            Change::ShorterAccess => {
                let size = mutant.accesses[index].size;
                mutant.accesses[index].size = (size > 1).then_some(size / 2)?;
            }
            Change::TurnedAccess => mutant.accesses[index].store ^= true,
        }
        mutant.ops = ops.into();
        (mutant != *effect).then_some(mutant)
    }
}

impl Change {
    fn may_be_equal(self) -> bool {
        matches!(
            self,
            Change::Operands | Change::Immediate | Change::Narrower
        )
    }
}

fn without<T: Clone>(list: &[T], index: usize) -> Box<[T]> {
    let mut list = list.to_vec();
    list.remove(index);
    list.into()
}

/// Mutants made and noticed, by what was changed and how.
#[derive(Default)]
pub(crate) struct Score {
    by_change: BTreeMap<(String, Change), (u32, u32)>,
    /// Instructions sabotaged, by operation.
    subjects: BTreeMap<Op, u32>,
}

/// Instructions per operation.
const SUBJECTS: u32 = 12;
/// The same, while a kind of change of it was never noticed: in some instructions it changes nothing.
const MORE_SUBJECTS: u32 = 200;

impl Score {
    /// Sabotages `instance` in every way, when its operations have not had their share.
    pub(crate) fn sabotage(
        &mut self,
        machine: &mut Machine,
        instance: &Instance,
        random: &mut Random,
    ) {
        // What the x87 unit yields is left open where tags are against it: a loss goes unnoticed.
        if crate::fit::is_x87(&instance.instruction) {
            return;
        }
        let effect = lift(&instance.bytes, Address(instance.place.at), 64, ALL_FLAGS);
        let ops: BTreeSet<Op> = effect.ops.iter().map(|op| op.op).collect();
        let fresh = ops.iter().any(|op| {
            let tried = self.subjects.get(op).copied().unwrap_or(0);
            tried < SUBJECTS || tried < MORE_SUBJECTS && self.has_unnoticed(&format!("{op:?}"))
        });
        if !effect.modelled || !fresh {
            return;
        }
        let Some(witness) = Witness::record(machine, instance, 24, random) else {
            return;
        };
        ops.into_iter()
            .for_each(|op| *self.subjects.entry(op).or_default() += 1);
        let mut attempt = |name: &str, changes: &[Change], index: usize| {
            for &change in changes {
                if let Some(mutant) = change.apply(&effect, index, random) {
                    let (tried, noticed) =
                        self.by_change.entry((name.to_owned(), change)).or_default();
                    *tried += 1;
                    *noticed += u32::from(witness.objection(&mutant, random).is_some());
                }
            }
        };
        for (index, op) in effect.ops.iter().enumerate() {
            attempt(&format!("{:?}", op.op), &Change::OF_OPS, index);
        }
        (0..effect.writes.len()).for_each(|index| attempt("writes", &Change::OF_SETS[..2], index));
        (0..effect.accesses.len())
            .for_each(|index| attempt("accesses", &Change::OF_SETS[2..], index));
    }

    /// Kinds of change, other than those that may mean the same, of which no mutant was noticed.
    pub(crate) fn unnoticed(&self) -> Vec<String> {
        let all = self.by_change.iter();
        all.filter(|((_, change), (_, noticed))| *noticed == 0 && !change.may_be_equal())
            .map(|((name, change), (tried, _))| format!("{name} {change:?}: none of {tried}"))
            .collect()
    }

    /// The same of one operation.
    fn has_unnoticed(&self, name: &str) -> bool {
        let mut all = self.by_change.iter();
        all.any(|((of, change), (_, noticed))| {
            of == name && *noticed == 0 && !change.may_be_equal()
        })
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |(t, n): (u32, u32), (tried, noticed): &(u32, u32)| (t + tried, n + noticed);
        let (tried, noticed) = self.by_change.values().fold((0, 0), sum);
        writeln!(f, "{noticed} of {tried} mutants noticed")?;
        for ((name, change), (tried, noticed)) in &self.by_change {
            writeln!(f, "  {name} {change:?}: {noticed} of {tried}")?;
        }
        let unused: Vec<_> = Op::ALL
            .iter()
            .filter(|op| !self.subjects.contains_key(op))
            .collect();
        writeln!(f, "  operations of no instruction that was run: {unused:?}")
    }
}
