//! Values and other threads: what may pass between two accesses although the order of the
//! segments around them is only partly known.
//!
//! A value passes from one access to a later one if their order is proved, and nothing that may
//! have run in between could have written the bytes: no store of another thread that is placed
//! there, and (as for one thread) no more pending ones than the stage allows.

use super::cells::{CELL, Entry};
use super::kinds::CLOSE;
use super::ranges::MAX_SPAN;
use super::{Engine, Grade};
use rept_order::{Relation, SegmentId};
use std::ops::Range;

/// Stores of other threads into the cell looked at; more count as a race.
pub(super) const MAX_NEAR: usize = 256;

/// An access seen as a point of the sequence.
#[derive(Clone, Copy)]
pub(super) struct Place {
    order: u32,
    pub(super) segment: SegmentId,
    pub(super) thread: u32,
}

impl Engine<'_> {
    pub(super) fn place_of(&self, order: u32) -> Place {
        let segment = self.graph.segment_of_access(order);
        Place {
            order,
            segment: SegmentId(segment as u32),
            thread: self.graph.segments[segment].thread,
        }
    }

    /// No other thread may have written the bytes between the two accesses (`None`: the dump).
    pub(super) fn unraced(&mut self, earlier: Entry, later: Option<Entry>) -> bool {
        let from = self.place_of(earlier.order);
        let to = later.map(|entry| self.place_of(entry.order));
        if let Some(to) = to
            && to.thread != from.thread
            && self.order.relation(from.segment, to.segment) != Relation::Before
        {
            return false;
        }
        if to.is_none_or(|to| to.thread == from.thread) && self.is_own(earlier.cell, from) {
            return true;
        }
        let first = self.accesses_beside(from).start;
        let behind = self.accesses_beside(to.unwrap_or(from)).end;
        if !self.writes_elsewhere(earlier.cell, from, to, first, behind) {
            let id = later.map_or(earlier.order, |later| later.order);
            self.wait_elsewhere(id, earlier.cell, from, to, first..behind);
            return false;
        }
        let bytes = later.map_or(earlier.bytes, |later| later.bytes & earlier.bytes);
        let places = [Some(from), to];
        // What a thread stores itself does not race with it.
        let own = to
            .is_none_or(|to| to.thread == from.thread)
            .then_some(from.thread);
        let mut stores = self.shared.stores(earlier.cell, own, first..behind);
        !stores
            .by_ref()
            .take(MAX_NEAR)
            .any(|store| self.races(store, bytes, places))
            && stores.next().is_none()
    }

    /// What a load's entry learned from before passed no pending store that may have come between.
    pub(super) fn is_proved(&mut self, load: Entry) -> bool {
        let address = self.address_of(load.cell);
        let (mut left, mut previous) = (load.bytes, load.previous);
        while left != 0 {
            previous = self.cells.touching_before(previous, left);
            let earlier = self.cells.entries.get(previous as usize).copied();
            let earlier = earlier.filter(|earlier| {
                let between = self.remapped_between(earlier.order, load.order, address);
                between.is_none()
            });
            let Some(earlier) = earlier else {
                let fresh = self.fresh_memory(load.order, address);
                return fresh.is_none_or(|(order, _)| self.passes_fresh(order, load));
            };
            if !self.passes(earlier, load.order) {
                return false;
            }
            if !self.unraced(earlier, Some(load)) {
                return self.is_read_in_any_order(load);
            }
            left &= !earlier.bytes;
            previous = earlier.previous;
        }
        true
    }

    /// No other thread can have written the cell since a place of one thread: none is known to touch it, no
    /// store of another may be there, and what they did is all in the trace.
    pub(super) fn is_own(&self, cell: u32, place: Place) -> bool {
        let own = self.plain_of.get(place.thread as usize);
        own.is_some_and(|own| own.len() == self.plain.len())
            && self.shared.is_of(cell, place.thread)
            && self.order.unseen_after(place.segment) == 0
            && self.foreign_here(self.address_of(cell), 0..u32::MAX, place.thread) == 0
    }

    /// Where a cell is.
    pub(super) fn address_of(&self, cell: u32) -> u64 {
        self.cells.cells[cell as usize].number.wrapping_mul(CELL)
    }

    /// A store may have hit `bytes` beside one of the places.
    fn races(&self, store: u32, bytes: u8, places: [Option<Place>; 2]) -> bool {
        let entry = self.cells.entries[store as usize];
        if entry.bytes & bytes == 0 {
            return false;
        }
        let other = self.place_of(entry.order);
        places.into_iter().flatten().any(|place| {
            place.thread != other.thread
                && self.order.relation(place.segment, other.segment) == Relation::Concurrent
        })
    }

    /// For each segment, [`Engine::accesses_beside`] an access of it.
    pub(super) fn beside_segments(&self) -> Vec<Range<u32>> {
        let segments = 0..self.graph.segments.len() as u32;
        let beside = segments.map(|segment| {
            let window = self.order.concurrent_window(SegmentId(segment));
            self.first_access(window.start)..self.first_access(window.end)
        });
        beside.collect()
    }

    /// A range that holds all accesses that may have been made at the same time as those of a segment.
    pub(super) fn accesses_beside(&self, place: Place) -> Range<u32> {
        self.beside[place.segment.0 as usize].clone()
    }

    /// Id of the first access of the segment at a position of the sequence.
    fn first_access(&self, position: u32) -> u32 {
        let step = self
            .graph
            .segments
            .get(position as usize)
            .map(|segment| segment.global);
        step.and_then(|step| self.graph.steps.get(step as usize))
            .map_or(self.graph.accesses.len() as u32, |step| step.access)
    }

    /// No more pending stores than the stage allows lie beside the two accesses of a cell, where
    /// order is not proved, and none that is likely to have hit it.
    pub(super) fn writes_elsewhere(
        &self,
        cell: u32,
        from: Place,
        to: Option<Place>,
        first: u32,
        behind: u32,
    ) -> bool {
        // A thread whose trace does not go back so far may have written as well.
        let unseen = self.order.unseen_after(from.segment) as u32;
        if self.pending.within(first, behind) == 0 {
            return unseen == 0 || (unseen <= self.limit && !self.is_forward());
        }
        let address = self.address_of(cell);
        let foreign = |first: u32, before: u32, thread: u32| {
            self.foreign_anywhere(first, before, thread)
                + self.foreign_here(address, first..before, thread)
        };
        let before = foreign(first, from.order, from.thread);
        let after = to.map_or(0, |to| foreign(to.order, behind, to.thread));
        if self.is_forward() {
            return unseen == 0;
        }
        if before + after + unseen > self.limit {
            return false;
        }
        let likely = |after: u32, before: u32, thread: u32| {
            let foreign = |id| self.pending.contains(id) && self.place_of(id).thread != thread;
            self.grade == Grade::Inferred
                && (self.ranges.here(address, after + 1..before, CLOSE, foreign) > 0
                    || self.kinds.is_likely(address, after, before, foreign)
                    || self.is_aimed_at(address, after + 1, before, thread))
        };
        let likely_before = before > 0 && likely(first.saturating_sub(1), from.order, from.thread);
        !likely_before && (after == 0 || !to.is_some_and(|to| likely(to.order, behind, to.thread)))
    }

    /// The access is to be told again when a pending store of another thread, of those that
    /// [`Engine::writes_elsewhere`] counts, is known better.
    fn wait_elsewhere(
        &mut self,
        id: u32,
        cell: u32,
        from: Place,
        to: Option<Place>,
        window: Range<u32>,
    ) {
        let address = self.address_of(cell);
        let after = to.and_then(|to| self.last_foreign(address, to.order, window.end, to.thread));
        let store =
            after.or_else(|| self.last_foreign(address, window.start, from.order, from.thread));
        self.wait_for(id, store);
    }

    /// A pending store that [`Engine::writes_elsewhere`] counts, if one is found soon.
    fn last_foreign(&self, address: u64, first: u32, before: u32, thread: u32) -> Option<u32> {
        let own = self.plain_of.get(thread as usize);
        let mut end = before;
        for _ in 0..MAX_NEAR {
            let last = self.plain.last_between(first, end).or_else(|| {
                let at_first = first < end && self.plain.contains(first);
                at_first.then_some(first)
            });
            let Some(last) = last else {
                break;
            };
            if !own.is_some_and(|own| own.contains(last)) {
                return Some(last);
            }
            end = last;
        }
        let foreign = |id: u32| self.graph.thread_of(id) != thread;
        self.conditional
            .last_here(address, first..before, foreign)
            .or_else(|| self.ranges.last_here(address, first..before, foreign))
    }

    /// Pending stores from one access on to before another that another thread than `thread` may make anywhere.
    fn foreign_anywhere(&self, first: u32, before: u32, thread: u32) -> u32 {
        let all = self.plain.within(first, before);
        if all == 0 {
            return 0;
        }
        let own = self
            .plain_of
            .get(thread as usize)
            .map_or(0, |own| own.within(first, before));
        all - own.min(all)
    }

    /// Those that are known to be at an address, if they are made, or in a range around it.
    fn foreign_here(&self, address: u64, within: Range<u32>, thread: u32) -> u32 {
        let foreign = |id: u32| self.graph.thread_of(id) != thread;
        self.conditional.here(address, within.clone(), foreign)
            + self.ranges.here(address, within, MAX_SPAN, foreign)
    }

    /// A store was found that may have run between accesses of other threads: what passed between them is taken
    /// back. Returns what passed there when that took the store's own place away.
    pub(super) fn cut_raced(&mut self, id: u32) -> Vec<(u32, u32)> {
        let store = self.cells.entries[id as usize];
        if !self.shared.is_shared(store.cell) {
            return Vec::new();
        }
        let place = self.place_of(store.order);
        let beside = self.accesses_beside(place);
        let touches = self.shared.touches(store.cell, place.thread, beside);
        let near: Vec<u32> = touches.collect();
        for entry in near {
            let entry = self.cells.entries[entry as usize];
            if entry.bytes & store.bytes == 0 {
                continue;
            }
            let loads = self.raced_loads(entry.order).to_vec();
            for access in std::iter::once(entry.order).chain(loads) {
                let passed = self.taught_by(access);
                self.retract_around(access);
                if !self.is_placed(store.order) {
                    return passed;
                }
            }
        }
        Vec::new()
    }
}
