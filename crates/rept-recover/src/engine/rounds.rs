//! Rounds: the inferred grade starts over, knowing where the stores of the round before went.
//!
//! In the first round nothing is known of a pending store but its instruction, and what a value
//! passed on its way is a number of stores any of which may have hit it. In the end most of them
//! have a place. The next round starts from what was assumed, takes those places as where the
//! stores will be found again, and lets a value pass none of them that will hit it and all of the
//! others: so it comes to the same values on a surer way, and to others that a contradiction
//! barred before. A stage that has to take back too much of what it teaches ends its round, and
//! later rounds end with it: where stores went by then is not expected either.
//! Values are not handed on, only places, and of the refuted transfers those
//! between accesses that held different values in the end.
//!
//! DIVERGENCE: not in the paper. Measured on recordings of CPython, Lua, SQLite, Rust programs and
//! threads against a single round: more values right in all, and in the mean half as many wrong.

use super::graph::{AccessKind, AccessState, NONE};
use super::worklist::Worklist;
use super::{Engine, Grade};
use crate::bits::Bits;

/// Rounds of the inferred grade.
pub(super) const ROUNDS: u8 = 2;
/// Words that a stage must make known for each transfer that it has to refute. Held against truth,
/// stages come to twenty and more where they are right, and to less than two where they are not.
const WORTH: usize = 2;
/// Refuted transfers that say nothing about a stage.
const FEW_REFUTED: usize = 32;

/// Words known whole, and transfers refuted.
#[derive(Clone, Copy)]
pub(super) struct Balance {
    known: usize,
    refuted: usize,
}

impl Engine<'_> {
    /// Back to what was assumed; where stores went, and what turned out to have changed, is kept.
    pub(super) fn start_over(&mut self) {
        let refuted = std::mem::take(&mut self.refuted);
        self.refuted = refuted
            .into_iter()
            .filter(|&(earlier, later)| self.differ(earlier, later))
            .collect();
        self.undecided.clear();
        self.disabled.clear();
        self.statistics.unexplained = 0;
        self.conflicts.truncate(self.assumed_conflicts);
        self.kinds.expect(&std::mem::take(&mut self.store_places));
        self.displace_inferred();
        for node in 0..self.graph.nodes.len() as u32 {
            self.unlearn(node);
        }
        self.begin(Grade::Inferred);
        self.work = Worklist::full(self.graph.steps.len() as u32);
    }

    /// What the stages so far came to.
    pub(super) fn balance(&self) -> Balance {
        let bits = self.graph.nodes.bits.iter();
        Balance {
            known: bits.filter(|bits| bits.known == u64::MAX).count(),
            refuted: self.refuted.len(),
        }
    }

    /// Did the stage between them pay? When one of the first round did not, later rounds end with
    /// it: knowing where stores went, they get further.
    pub(super) fn pays(&mut self, before: Balance, now: Balance) -> bool {
        let known = now.known.saturating_sub(before.known);
        let refuted = now.refuted.saturating_sub(before.refuted);
        let pays = refuted <= FEW_REFUTED || known >= WORTH * refuted;
        if !pays && self.round == 0 {
            self.last_stage = self.stage;
        }
        pays
    }

    /// Where the stores are that have a place, as address and bytes.
    pub(super) fn places_of_stores(&self) -> Vec<Option<(u64, u8)>> {
        let places = self.graph.accesses.iter().map(|access| {
            let placed = access.kind == AccessKind::Store && access.state == AccessState::Placed;
            placed.then_some((access.address, access.size))
        });
        places.collect()
    }

    /// All accesses that were placed in the inferred grade are pending again.
    fn displace_inferred(&mut self) {
        for id in 0..self.graph.accesses.len() as u32 {
            let access = self.graph.accesses[id as usize];
            match access.state {
                AccessState::Placed if access.phase == Grade::Inferred as u8 => self.displace(id),
                AccessState::Absent if access.phase == Grade::Inferred as u8 => {
                    self.happens_again(id);
                }
                AccessState::Placed => self.block(id),
                _ => {}
            }
        }
    }

    /// It is open again whether an access happened.
    pub(super) fn happens_again(&mut self, id: u32) {
        let access = &mut self.graph.accesses[id as usize];
        access.state = AccessState::Pending;
        if access.kind.writes() {
            self.unsettled(id);
        }
    }

    /// Two accesses (`NONE`: the dump) of a place are known to hold different bytes.
    fn differ(&self, earlier: u32, later: u32) -> bool {
        let placed = |id: u32| self.graph.accesses[id as usize].state == AccessState::Placed;
        if !placed(earlier) || (later != NONE && !placed(later)) {
            return false;
        }
        let held = |entry: u32| {
            let entry = self.cells.entries[entry as usize];
            let bits = entry.to_cell(self.graph.nodes.bits[entry.node as usize]);
            (entry.cell, bits)
        };
        self.entries_of(earlier).into_iter().any(|entry| {
            let (cell, before) = held(entry);
            let differs =
                |after: Bits| before.known & after.known & (before.value ^ after.value) != 0;
            if later == NONE {
                return differs(self.cells.cells[cell as usize].last);
            }
            let mut others = self.entries_of(later).into_iter().map(held);
            others.any(|(other, after)| other == cell && differs(after))
        })
    }
}
