//! Values and other threads: what may pass between two accesses although the order of the
//! segments around them is only partly known.
//!
//! A value passes from one access to a later one if their order is proved, and nothing that may
//! have run in between could have written the bytes: no store of another thread that is placed
//! there, and (as for one thread) no more pending ones than the stage allows.

use super::Engine;
use super::cells::Entry;
use super::graph::NONE;
use rept_order::{Relation, SegmentId};

/// Other accesses of the cell looked at on each side at most; more count as a race.
const MAX_NEAR: usize = 64;

/// An access seen as a point of the sequence.
#[derive(Clone, Copy)]
struct Place {
    order: u32,
    segment: SegmentId,
    thread: u32,
}

impl Engine<'_> {
    fn place_of(&self, order: u32) -> Place {
        let step = self.graph.accesses[order as usize].step;
        let segment = self.graph.segment_of(step);
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
        let first = self.first_access(self.order.concurrent_window(from.segment).start);
        let end = to.unwrap_or(from);
        let behind = self.first_access(self.order.concurrent_window(end.segment).end);
        if !self.writes_elsewhere(from, to, first, behind) {
            self.block(later.map_or(earlier.order, |later| later.order));
            return false;
        }
        let bytes = later.map_or(earlier.bytes, |later| later.bytes & earlier.bytes);
        let before = self.no_race_towards(earlier.previous, bytes, [Some(from), to], |e| {
            (e.order >= first).then_some(e.previous)
        });
        let start = later.map_or(NONE, |later| later.next);
        before
            && self.no_race_towards(start, bytes, [Some(from), to], |e| {
                (e.order < behind).then_some(e.next)
            })
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

    /// No more pending stores than the stage allows lie beside the two accesses, where order is not proved.
    fn writes_elsewhere(&self, from: Place, to: Option<Place>, first: u32, behind: u32) -> bool {
        let before = self.foreign_pending(first, from.order, from.thread);
        let after = to.map_or(0, |to| self.foreign_pending(to.order, behind, to.thread));
        before + after <= self.limit
    }

    /// Pending stores from one access on to before another that another thread than `thread` may make.
    fn foreign_pending(&self, first: u32, before: u32, thread: u32) -> u32 {
        let all = self.pending.within(first, before);
        if all == 0 {
            return 0;
        }
        let own = self
            .pending_of
            .get(thread as usize)
            .map_or(0, |own| own.within(first, before));
        all - own.min(all)
    }

    /// A store was found that may have run between accesses of other threads: what passed between them is taken back.
    pub(super) fn cut_raced(&mut self, id: u32) {
        let store = self.cells.entries[id as usize];
        let place = self.place_of(store.order);
        let window = self.order.concurrent_window(place.segment);
        let (first, behind) = (
            self.first_access(window.start),
            self.first_access(window.end),
        );
        let mut near = Vec::new();
        let mut at = store.previous;
        while at != NONE && near.len() < MAX_NEAR && self.cells.entries[at as usize].order >= first
        {
            near.push(at);
            at = self.cells.entries[at as usize].previous;
        }
        at = store.next;
        while at != NONE
            && near.len() < 2 * MAX_NEAR
            && self.cells.entries[at as usize].order < behind
        {
            near.push(at);
            at = self.cells.entries[at as usize].next;
        }
        for entry in near {
            let entry = self.cells.entries[entry as usize];
            if entry.bytes & store.bytes != 0 && self.place_of(entry.order).thread != place.thread {
                self.retract_around(entry.order);
            }
        }
    }

    /// None of the stores of a timeline from `start` on, as far as `onward` leads, may have hit `bytes` between the places.
    fn no_race_towards(
        &self,
        start: u32,
        bytes: u8,
        places: [Option<Place>; 2],
        onward: impl Fn(&Entry) -> Option<u32>,
    ) -> bool {
        let mut at = start;
        for _ in 0..MAX_NEAR {
            if at == NONE {
                return true;
            }
            let entry = self.cells.entries[at as usize];
            let Some(next) = onward(&entry) else {
                return true;
            };
            if entry.store && entry.bytes & bytes != 0 {
                let other = self.place_of(entry.order);
                let races = |place: Place| {
                    place.thread != other.thread
                        && self.order.relation(place.segment, other.segment) == Relation::Concurrent
                };
                if places.into_iter().flatten().any(races) {
                    return false;
                }
            }
            at = next;
        }
        false
    }
}
