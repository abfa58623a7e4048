//! Values between accesses by one unknown pointer: a load at the same distance from it as an access shortly before
//! read what stood there then, unless a store in between hit the place.
//!
//! Stores by the same pointer say by their distances whether they did; others are taken to have hit something
//! else, as long as few accesses lie between. Such a transfer is a pair of the two words, which a contradiction
//! takes back.
//!
//! DIVERGENCE: not in the paper, where a value needs a place to go through memory.

use super::Engine;
use super::cells::CELL;
use super::graph::{AccessKind, PairKind};
use super::numbering::Relative;
use smallvec::SmallVec;

/// Accesses between the two, of any kind, at most.
const MAX_BETWEEN: u32 = 64;
/// Places of a pointer that are remembered.
const MAX_PLACES: usize = 32;

/// What an access left at a distance from a pointer.
struct Held {
    distance: u64,
    access: u32,
    node: u32,
}

impl Engine<'_> {
    /// Pairs what loads read by unknown pointers with what stood there before; new pairs are noted in `taken`.
    pub(super) fn pass_unplaced(&mut self, relative: &[Relative], taken: &mut Vec<u32>) {
        for class in relative.chunk_by(|a, b| a.root == b.root) {
            let mut held: SmallVec<[Held; MAX_PLACES]> = SmallVec::new();
            for &Relative {
                access, distance, ..
            } in class
            {
                let found = self.graph.accesses[access as usize];
                let size = u64::from(found.size);
                if found.kind == AccessKind::Store {
                    held.retain(|held| !overlap(held.distance, CELL, distance, size));
                }
                if size != CELL {
                    continue;
                }
                let before = held.iter().position(|held| held.distance == distance);
                let before = before.map(|index| held.remove(index));
                if let Some(before) = before
                    && access - before.access <= MAX_BETWEEN
                    && self.is_undisturbed(before.access, access)
                {
                    taken.extend(self.pass(before.node, access, found.node));
                }
                if held.len() == MAX_PLACES {
                    held.remove(0);
                }
                held.push(Held {
                    distance,
                    access,
                    node: found.node,
                });
            }
        }
    }

    /// No other thread ran between two accesses.
    fn is_undisturbed(&self, earlier: u32, later: u32) -> bool {
        let [one, other] = [earlier, later].map(|access| self.graph.segment_of_access(access));
        !self.threaded || one == other
    }

    /// A load read what a node holds, unless that was taken so before.
    fn pass(&mut self, from: u32, load: u32, node: u32) -> Option<u32> {
        let key = (load, u64::from(from));
        if from == node || self.taken.contains_key(&key) {
            return None;
        }
        let pair = self.graph.pair_as(PairKind::Unwritten, from, node);
        self.taken.insert(key, pair);
        self.equalise(pair);
        Some(pair)
    }
}

/// Two ranges of memory, as start and length, share a byte.
fn overlap(start: u64, length: u64, other: u64, other_length: u64) -> bool {
    other.wrapping_sub(start) < length || start.wrapping_sub(other) < other_length
}
