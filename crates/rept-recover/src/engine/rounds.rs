//! Rounds: the inferred grade starts over, knowing where the stores of the round before went.
//!
//! In the first round nothing is known of a pending store but its instruction, and what a value
//! passed on its way is a number of stores any of which may have hit it. In the end most of them
//! have a place. The next round starts from what was assumed, takes those places as where the
//! stores will be found again, and lets a value pass none of them that will hit it and all of the
//! others: so it comes to the same values on a surer way, and to others that a contradiction
//! barred before. Values are not handed on, only places, and of the refuted transfers those
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
        self.kinds.expect(self.graph.accesses.iter().map(|access| {
            let placed = access.kind == AccessKind::Store && access.state == AccessState::Placed;
            placed.then_some((access.address, access.size))
        }));
        self.displace_inferred();
        for node in 0..self.graph.nodes.len() as u32 {
            let bits = &mut self.graph.nodes.bits[node as usize];
            *bits = Bits::new(bits.known & self.assumed[node as usize], bits.value);
            self.lessons.forget(node, Grade::Inferred);
        }
        self.begin(Grade::Inferred);
        self.work = Worklist::full(self.graph.steps.len() as u32);
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
