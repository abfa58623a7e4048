//! A store is found between accesses that had told each other: what passed over it is taken back.
//!
//! An access tells the next one and the one before. A load that is placed between two that have told
//! each other already is *bridged*: their transfer goes over it, and stays when it comes to stand
//! between them. Whoever looks for what an access may have told since a moment goes on over such loads
//! that were placed after it, up to and including the first access that is none.
//!
//! A store may owe its place to what passed over it. That is refuted for good: else it would pass
//! again as soon as the store is gone, place it again, and so on.

use super::cells::{CELL, Entry};
use super::graph::{Access, NONE};
use super::tracking::Cause;
use super::{Engine, Grade};
use crate::experiment::Technique;
use smallvec::SmallVec;

/// Entries of a timeline that are looked at from one access, for what it may have told.
const MAX_FAR: usize = 1 << 16;

/// Accesses before a load from which it is taken to have heard what passed over a store.
const MAX_TOLD: usize = 16;

/// Which neighbours in time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Before,
    After,
}

/// Entries on one side of another that share bytes with it.
struct Side {
    entries: SmallVec<[u32; 4]>,
    /// Bytes of it that no access on that side touches: those that the dump, or the beginning, tells.
    open: bool,
}

/// A node that learned something across a place, and which transfer taught it.
struct Crossing {
    node: u32,
    /// What mapped the memory, for fresh memory; `NONE` where that is not known.
    earlier: u32,
    /// `NONE`: the dump.
    later: u32,
}

impl Engine<'_> {
    /// A value may have passed over a load that is new in its timeline, between accesses on either side of it.
    pub(super) fn is_bridged(&self, load: u32) -> bool {
        let before = self.side(load, Direction::Before, None);
        let after = self.side(load, Direction::After, None);
        let entry = |&id: &u32| self.cells.entries[id as usize];
        let mut all = before.entries.iter().chain(&after.entries).map(entry);
        all.any(|entry| entry.bridged) || !self.across(&before, &after).is_empty()
    }

    /// Values pass pending stores in this grade, and what passed one is taken back when it is placed.
    pub(super) fn may_be_cut(&self) -> bool {
        let optimistic = self.is_forward() || self.grade == Grade::Inferred;
        optimistic && !self.without.has(Technique::Correction)
    }

    /// Takes back what passed over an access that has just been placed, if it is a store; false when that took
    /// its own place away.
    pub(super) fn cut_over(&mut self, id: u32) -> bool {
        if !self.graph.accesses[id as usize].kind.writes() || !self.may_be_cut() {
            return true;
        }
        let mut cut = Vec::new();
        for entry in self.entries_of(id) {
            let before = self.side(entry, Direction::Before, Some(0));
            let after = self.side(entry, Direction::After, Some(0));
            let crossings = self.across(&before, &after);
            let from_accesses = crossings.iter().filter(|crossing| crossing.earlier != NONE);
            cut.extend(from_accesses.map(|crossing| (crossing.earlier, crossing.later)));
            let nodes: SmallVec<[u32; 8]> =
                crossings.iter().map(|crossing| crossing.node).collect();
            self.retract(&nodes, |_, _| true);
            if self.threaded && self.is_placed(id) {
                cut.extend(self.cut_raced(entry));
            }
            if !self.is_placed(id) {
                // Its place followed from what passed over it: again and again, were that not refuted.
                self.statistics.refuted += cut.len() as u64;
                self.refuted.extend(cut);
                self.fails_trial();
                return false;
            }
        }
        true
    }

    /// What passed from one side to the other. Whom a load heard from is not kept: all before it count.
    fn across(&self, before: &Side, after: &Side) -> SmallVec<[Crossing; 4]> {
        let entry = |&id: &u32| self.cells.entries[id as usize];
        let loads = after.entries.iter().map(entry).filter(|load| !load.store);
        let loads: SmallVec<[Entry; 4]> = loads.collect();
        let mut found: SmallVec<[Crossing; 4]> = SmallVec::new();
        for load in &loads {
            let cause = Cause::Transfer(load.order);
            if self.tracking.may_follow(load.node, 0, cause) {
                let orders = before.entries.iter().map(|id| entry(id).order);
                let crossing = |earlier: u32| Crossing {
                    node: load.node,
                    earlier,
                    later: load.order,
                };
                if before.open && load.order == loads[0].order {
                    let number = self.cells.cells[load.cell as usize].number;
                    let fresh = self.fresh_memory(load.order, number.wrapping_mul(CELL));
                    found.push(crossing(fresh.map_or(NONE, |(order, _)| order)));
                }
                found.extend(orders.take(MAX_TOLD).map(crossing));
            }
        }
        let among = |order: u32| {
            loads
                .binary_search_by_key(&order, |load| load.order)
                .is_ok()
        };
        for Entry { node, order, .. } in before.entries.iter().map(entry) {
            let crossing = |later: u32| Crossing {
                node,
                earlier: order,
                later,
            };
            if self.tracking.is_mixed(node) {
                found.push(crossing(NONE));
                found.extend(loads.iter().map(|load| crossing(load.order)));
            }
            for (_, cause) in self.tracking.events(node) {
                match cause {
                    Cause::Transfer(later) if among(later) => found.push(crossing(later)),
                    Cause::Final(id) if id == order && after.open => found.push(crossing(NONE)),
                    _ => {}
                }
            }
        }
        // What was refuted has not passed since.
        found.retain(|crossing| !self.refuted.contains(&(crossing.earlier, crossing.later)));
        found
    }

    /// Entries on one side of an entry that share bytes with it, up to the first that touches a byte, or, with a
    /// moment, the first over which nothing has passed since then. Ascending by their distance.
    fn side(&self, entry: u32, direction: Direction, since: Option<u32>) -> Side {
        let entry = &self.cells.entries[entry as usize];
        let mut beyond = self.beyond(entry, direction, since);
        let entries = beyond.by_ref().collect();
        Side {
            entries,
            open: beyond.left != 0,
        }
    }

    fn beyond(&self, entry: &Entry, direction: Direction, since: Option<u32>) -> Beyond<'_> {
        let at = match direction {
            Direction::Before => entry.previous,
            Direction::After => entry.next,
        };
        Beyond {
            entries: &self.cells.entries,
            accesses: &self.graph.accesses,
            grade: self.grade as u8,
            at,
            left: entry.bytes,
            direction,
            since,
            steps: MAX_FAR,
        }
    }

    /// Entries in the timeline of another that it may have told something after a moment, or heard something
    /// from.
    pub(super) fn told_by(
        &self,
        entry: u32,
        direction: Direction,
        moment: u32,
    ) -> impl Iterator<Item = u32> + '_ {
        let entry = &self.cells.entries[entry as usize];
        self.beyond(entry, direction, Some(moment))
    }

    /// Accesses from which a load may have heard after a moment what a node knows: those nearest before it, and
    /// the one that holds the node.
    pub(super) fn heard_from(&self, load: u32, node: u32, moment: u32) -> SmallVec<[u32; 4]> {
        let mut found: SmallVec<[u32; 4]> = SmallVec::new();
        for entry in self.entries_of(load) {
            let entry = &self.cells.entries[entry as usize];
            let mut before = self.beyond(entry, Direction::Before, Some(moment));
            found.extend(before.by_ref().take(MAX_TOLD));
            if entry.node != node {
                let holds = |&other: &u32| self.cells.entries[other as usize].node == node;
                found.extend(before.find(holds));
            }
        }
        self.accesses_of_entries(&found)
    }

    /// Accesses that one may have told something, or heard something from.
    pub(super) fn neighbours(&self, id: u32, direction: Direction) -> SmallVec<[u32; 4]> {
        self.beside(id, direction, Some(0))
    }

    /// Accesses next to one in its timelines that share bytes with it.
    pub(super) fn adjacent(&self, id: u32, direction: Direction) -> SmallVec<[u32; 4]> {
        self.beside(id, direction, None)
    }

    fn beside(&self, id: u32, direction: Direction, since: Option<u32>) -> SmallVec<[u32; 4]> {
        let mut found: SmallVec<[u32; 4]> = SmallVec::new();
        for entry in self.entries_of(id) {
            let entry = &self.cells.entries[entry as usize];
            found.extend(self.beyond(entry, direction, since));
        }
        self.accesses_of_entries(&found)
    }

    fn accesses_of_entries(&self, entries: &[u32]) -> SmallVec<[u32; 4]> {
        let accesses = entries.iter();
        let mut accesses: SmallVec<[u32; 4]> = accesses
            .map(|&entry| self.cells.entries[entry as usize].order)
            .collect();
        accesses.dedup();
        accesses
    }
}

/// What [`Engine::side`] goes over, one after the other.
struct Beyond<'a> {
    entries: &'a [Entry],
    accesses: &'a [Access],
    grade: u8,
    at: u32,
    /// Bytes that nothing has touched yet.
    left: u8,
    direction: Direction,
    since: Option<u32>,
    /// Entries that may still be looked at.
    steps: usize,
}

impl Beyond<'_> {
    /// A transfer may have gone over the entry after the moment that is asked about.
    fn is_passed(&self, entry: &Entry) -> bool {
        entry.bridged
            && self.since.is_some_and(|moment| {
                let access = &self.accesses[entry.order as usize];
                access.phase == self.grade && access.clock > moment
            })
    }
}

impl Iterator for Beyond<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        while self.left != 0 && self.steps != 0 {
            self.steps -= 1;
            let id = self.at;
            let entry = self.entries.get(id as usize)?;
            self.at = match self.direction {
                Direction::Before => entry.previous,
                Direction::After => entry.next,
            };
            let touches = entry.bytes & self.left != 0;
            if !self.is_passed(entry) {
                self.left &= !entry.bytes;
            }
            if touches {
                return Some(id);
            }
        }
        None
    }
}
