//! A store is found between accesses that had told each other: what passed over it is taken back.
//!
//! An access tells the next one and the one before. A load that is placed between two that have told
//! each other already is *bridged*: their transfer goes over it, and stays when it comes to stand
//! between them. Whoever looks for what an access may have told goes on over such loads, up to
//! and including the first access that is none.

use super::Engine;
use super::cells::Entry;
use super::graph::NONE;
use super::tracking::Cause;
use smallvec::SmallVec;

/// Entries of a timeline that are looked at from one access, for what it may have told.
const MAX_FAR: usize = 256;

/// Which neighbours in time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Before,
    After,
}

/// Entries on one side of another that share bytes with it.
#[derive(Default)]
struct Side {
    entries: SmallVec<[u32; 4]>,
    /// Bytes of it that no access on that side touches: those that the dump, or the beginning, tells.
    open: bool,
}

impl Engine<'_> {
    /// A value may have passed over a load that is new in its timeline, between accesses on either side of it.
    pub(super) fn is_bridged(&self, load: u32) -> bool {
        let before = self.side(load, Direction::Before, false);
        let after = self.side(load, Direction::After, false);
        let entry = |&id: &u32| self.cells.entries[id as usize];
        let mut all = before.entries.iter().chain(&after.entries).map(entry);
        all.any(|entry| entry.bridged) || !self.across(&before, &after).is_empty()
    }

    /// Takes back what passed over a store that is new in its timeline.
    pub(super) fn cut_transfers(&mut self, store: u32) {
        let before = self.side(store, Direction::Before, true);
        let after = self.side(store, Direction::After, true);
        let nodes = self.across(&before, &after);
        self.retract(&nodes, |_, _| true);
    }

    /// Nodes that may have learned from the other side of what lies between two sides.
    fn across(&self, before: &Side, after: &Side) -> SmallVec<[u32; 4]> {
        let entry = |&id: &u32| self.cells.entries[id as usize];
        let loads = after.entries.iter().map(entry).filter(|load| !load.store);
        let loads: SmallVec<[Entry; 4]> = loads.collect();
        let learned = loads.iter().filter(|load| {
            let cause = Cause::Transfer(load.order);
            self.tracking.may_follow(load.node, 0, cause)
        });
        let mut nodes: SmallVec<[u32; 4]> = learned.map(|load| load.node).collect();
        for Entry { node, order, .. } in before.entries.iter().map(entry) {
            let from_behind = |cause: Cause| match cause {
                Cause::Transfer(later) => loads
                    .binary_search_by_key(&later, |load| load.order)
                    .is_ok(),
                Cause::Final(id) => id == order && after.open,
                _ => false,
            };
            if self.tracking.first(node).is_some()
                && (self.tracking.is_mixed(node)
                    || self
                        .tracking
                        .events(node)
                        .any(|(_, cause)| from_behind(cause)))
            {
                nodes.push(node);
            }
        }
        nodes
    }

    /// Entries on one side of an entry that share bytes with it, up to the first that touches a byte; with
    /// `far`, up to the first that is not bridged. Ascending by their distance.
    fn side(&self, entry: u32, direction: Direction, far: bool) -> Side {
        let step = |entry: &Entry| match direction {
            Direction::Before => entry.previous,
            Direction::After => entry.next,
        };
        let entry = &self.cells.entries[entry as usize];
        let (mut left, mut at) = (entry.bytes, step(entry));
        let mut side = Side::default();
        for _ in 0..MAX_FAR {
            if at == NONE || left == 0 {
                break;
            }
            let other = &self.cells.entries[at as usize];
            if other.bytes & left != 0 {
                side.entries.push(at);
            }
            if !(far && other.bridged) {
                left &= !other.bytes;
            }
            at = step(other);
        }
        side.open = left != 0;
        side
    }

    /// Entries in the timelines of an access that it may have told something, or heard something from.
    pub(super) fn told_by(&self, id: u32, direction: Direction) -> SmallVec<[u32; 4]> {
        let sides = self.entries_of(id).into_iter();
        sides
            .flat_map(|entry| self.side(entry, direction, true).entries)
            .collect()
    }

    /// Accesses that one may have told something, or heard something from.
    pub(super) fn neighbours(&self, id: u32, direction: Direction) -> SmallVec<[u32; 4]> {
        let entries = self.told_by(id, direction);
        self.accesses_of_entries(&entries)
    }

    /// Accesses next to one in its timelines that share bytes with it.
    pub(super) fn adjacent(&self, id: u32, direction: Direction) -> SmallVec<[u32; 4]> {
        let sides = self.entries_of(id).into_iter();
        let entries: SmallVec<[u32; 4]> = sides
            .flat_map(|entry| self.side(entry, direction, false).entries)
            .collect();
        self.accesses_of_entries(&entries)
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
