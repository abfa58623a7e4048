//! Pending stores of which it is known in which range of memory they are, though not where: an index
//! of few bits, a buffer that a system call filled from somewhere on. They are in nobody's way
//! outside of it.
//!
//! A range is what the known bits of an address admit. Stores are found by it in buckets, whose size
//! is the power of two next to the range's, so that a range lies in two of them at most.

use super::cells::CELL;
use super::pending::PendingSet;
use super::{Engine, Grade};
use crate::bits::Bits;
use crate::effect::{Effect, Word};
use crate::op::Op;
use hashbrown::HashMap;
use rept_trace::{FinalState, RegWord, ThreadId};
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes of a range at most; a larger one says too little.
pub(super) const MAX_SPAN: u64 = 1 << 36;
/// Bytes of a range at most that says more, in the inferred grade, than what kind of memory the
/// store's instruction writes.
const NARROW: u64 = 1 << 16;
/// Logarithm of the size of the smallest buckets.
const SMALLEST: u32 = 12;
/// Stores in a bucket that are looked at for one question; with more, one is taken to be in the way.
const MAX_LOOKED_AT: usize = 1024;

/// First and last byte.
pub(super) type Span = (u64, u64);

/// The stores; all of them are pending too.
#[derive(Default)]
pub(super) struct Ranges {
    all: PendingSet,
    of: HashMap<u32, Span>,
    /// By the logarithm of the buckets' size and the bucket, ascending; with the ranges, as they are asked for
    /// there most.
    buckets: BTreeMap<u32, HashMap<u64, Vec<(u32, Span)>>>,
}

impl Ranges {
    pub(super) fn new(accesses: usize) -> Ranges {
        Ranges {
            all: PendingSet::new(accesses, |_| false),
            ..Ranges::default()
        }
    }

    /// One of the accesses `within` is such a store.
    fn any_within(&self, within: &Range<u32>) -> bool {
        !self.of.is_empty() && self.all.within(within.start, within.end) > 0
    }

    /// The store is one of them.
    pub(super) fn contains(&self, id: u32) -> bool {
        !self.of.is_empty() && self.all.contains(id)
    }

    /// Those of the accesses `within`, with a range of so many bytes at most, that may have written the cell of
    /// an address, as far as they `count`.
    pub(super) fn here(
        &self,
        address: u64,
        within: Range<u32>,
        widest: u64,
        count: impl Fn(u32) -> bool,
    ) -> u32 {
        if !self.any_within(&within) {
            return 0;
        }
        let cell = address / CELL * CELL;
        let mut found = 0;
        // A range is wider than half of its buckets, but for the smallest.
        let largest = widest.ilog2().max(SMALLEST);
        for (&size, buckets) in self.buckets.range(..=largest) {
            let Some(stores) = buckets.get(&(cell >> size)) else {
                continue;
            };
            let first = stores.partition_point(|&(id, _)| id < within.start);
            let stores = stores[first..].iter();
            let stores = stores.take_while(|(id, _)| *id < within.end);
            for (looked_at, &(id, span)) in stores.enumerate() {
                let hits = may_hit(span, cell) && span.1 - span.0 < widest;
                found += u32::from(hits && count(id));
                if looked_at == MAX_LOOKED_AT {
                    return found + 1;
                }
            }
        }
        found
    }

    /// One of them, if one is found soon.
    pub(super) fn last_here(
        &self,
        address: u64,
        within: Range<u32>,
        count: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        if !self.any_within(&within) {
            return None;
        }
        let cell = address / CELL * CELL;
        self.buckets.iter().find_map(|(&size, buckets)| {
            let stores = buckets.get(&(cell >> size))?;
            let end = stores.partition_point(|&(id, _)| id < within.end);
            let stores = stores[..end].iter().rev();
            let stores = stores.take_while(|(id, _)| *id >= within.start);
            let mut stores = stores.take(MAX_LOOKED_AT);
            let hits = |&&(id, span): &&(u32, Span)| may_hit(span, cell) && count(id);
            stores.find(hits).map(|&(id, _)| id)
        })
    }

    /// The store is known not to have written the cell of an address.
    pub(super) fn excludes(&self, id: u32, address: u64) -> bool {
        let span = self.of.get(&id);
        span.is_some_and(|&span| !may_hit(span, address / CELL * CELL))
    }

    /// The store has a narrow range.
    pub(super) fn is_narrow(&self, id: u32) -> bool {
        let span = self.of.get(&id);
        span.is_some_and(|&(first, last)| last - first < NARROW)
    }

    fn set(&mut self, id: u32, span: Option<Span>) {
        if let Some(old) = self.of.remove(&id) {
            for (size, bucket) in buckets(old) {
                self.leave(id, size, bucket);
            }
            self.all.remove(id);
        }
        if let Some(span) = span {
            for (size, bucket) in buckets(span) {
                let stores = self.buckets.entry(size).or_default();
                let stores = stores.entry(bucket).or_default();
                if let Err(index) = stores.binary_search_by_key(&id, |&(id, _)| id) {
                    stores.insert(index, (id, span));
                }
            }
            self.of.insert(id, span);
            self.all.insert(id);
        }
    }
}

impl Ranges {
    /// Takes a store out of a bucket. What is empty goes, so that no question looks at it.
    fn leave(&mut self, id: u32, size: u32, bucket: u64) {
        let Some(of_size) = self.buckets.get_mut(&size) else {
            return;
        };
        if let Some(stores) = of_size.get_mut(&bucket) {
            if let Ok(index) = stores.binary_search_by_key(&id, |&(id, _)| id) {
                stores.remove(index);
            }
            if stores.is_empty() {
                of_size.remove(&bucket);
            }
        }
        if of_size.is_empty() {
            self.buckets.remove(&size);
        }
    }
}

/// A store in a range may hit a cell, given by its first address.
fn may_hit((first, last): Span, cell: u64) -> bool {
    first < cell.saturating_add(CELL) && cell <= last
}

/// The buckets of a range, and the logarithm of their size.
fn buckets((first, last): Span) -> impl Iterator<Item = (u32, u64)> {
    let size = (u64::BITS - (last - first).leading_zeros()).max(SMALLEST);
    let (one, other) = (first >> size, last >> size);
    [Some(one), (one != other).then_some(other)]
        .into_iter()
        .flatten()
        .map(move |bucket| (size, bucket))
}

/// The bytes that an access of `size` bytes may touch `offset` bytes from an address in a range; `None` when
/// that says too little.
pub(super) fn span((lowest, highest): Span, offset: u64, size: u64) -> Option<Span> {
    if highest - lowest >= MAX_SPAN {
        return None;
    }
    // An offset is a sign-extended number: both ends move, or wrap around, alike.
    let first = lowest.wrapping_add(offset);
    let last = highest
        .wrapping_add(offset)
        .checked_add(size.checked_sub(1)?)?;
    (first <= last && last - first < MAX_SPAN).then_some((first, last))
}

/// The mapping that each of the threads has its stack pointer in at the end: start, and the end behind it.
pub(super) fn stacks(threads: &[ThreadId], last: &FinalState<'_>) -> Vec<Option<Span>> {
    let of_thread = |&thread: &ThreadId| {
        let mut ended = last.threads.iter();
        let pointer = ended.find(|registers| registers.thread == thread)?;
        let pointer = pointer.get(RegWord::RSP)?;
        let mut mappings = last.memory.mappings().iter();
        let stack = mappings.find(|of| of.start.0 <= pointer && pointer < of.end.0)?;
        let is_stack = stack.write && stack.file.is_none();
        is_stack.then_some((stack.start.0, stack.end.0))
    };
    threads.iter().map(of_thread).collect()
}

/// The smallest and the largest number with these bits.
pub(super) fn bounds(bits: Bits) -> (u64, u64) {
    let fixed = bits.value & bits.known;
    (fixed, fixed | !bits.known)
}

/// Relations between a word and what it is computed from that are followed.
const MAX_DEPTH: u32 = 4;

/// The smallest and the largest number that a word of an effect may be. A sum lies between the sums of what
/// its parts lie between, which its bits do not say when one of them may be carried.
pub(super) fn bounds_of(effect: &Effect, words: &[Bits], word: Word) -> Span {
    bounds_within(effect, words, word, MAX_DEPTH)
}

fn bounds_within(effect: &Effect, words: &[Bits], word: Word, depth: u32) -> Span {
    let own @ (lowest, highest) = bounds(words[usize::from(word.0)]);
    if lowest == highest || depth == 0 || usize::from(word.0) < effect.inputs() {
        return own;
    }
    let mut computed = effect.ops.iter().filter(|op| op.d == word);
    let Some(op) = computed.find(|op| op.width == 64 && op.lanes == 1) else {
        return own;
    };
    let of = |word| bounds_within(effect, words, word, depth - 1);
    let sum = match op.op {
        Op::Copy => Some(of(op.a)),
        Op::Add => {
            let (a, b) = (of(op.a), of(op.b));
            let highest = a.1.checked_add(b.1);
            highest.map(|highest| (a.0 + b.0, highest))
        }
        Op::Shl => {
            let (first, last) = of(op.a);
            let factor = 1u64.checked_shl(op.imm.into()).unwrap_or(0);
            let highest = last.checked_mul(factor).filter(|_| factor > 0);
            highest.map(|highest| (first * factor, highest))
        }
        _ => None,
    };
    let both = sum.map(|(first, last)| (first.max(lowest), last.min(highest)));
    // Nothing is left where what is known contradicts itself, which is found elsewhere.
    both.filter(|(first, last)| first <= last).unwrap_or(own)
}

impl Engine<'_> {
    /// A pending store lies in this range, if it happens; `None`: anywhere.
    pub(super) fn confine(&mut self, id: u32, span: Option<Span>) {
        if self.ranges.of.get(&id).copied() == span {
            return;
        }
        let before = self.ranges.is_narrow(id);
        self.ranges.set(id, span);
        let now = self.ranges.is_narrow(id);
        if now && !before {
            self.kinds.settled(id);
        } else if before && !now && self.pending.contains(id) {
            self.kinds.unsettled(id);
        }
        self.regard(id);
    }

    /// Of a range, what lies in the stack of the thread that makes the step, if the step addresses memory by
    /// its stack pointer alone. Assumed: a stack pointer points into the stack where the thread ends.
    pub(super) fn on_stack(&self, step: u32, span: Option<Span>) -> Option<Span> {
        let (first, last) = span?;
        if self.grade == Grade::Certain || !self.is_stack_relative(step) {
            return span;
        }
        let segment = self.graph.segment_of(step);
        let thread = self.graph.segments[segment].thread;
        match self.stacks.get(thread as usize) {
            Some(&Some((start, end))) if first < end && start <= last => {
                Some((first.max(start), last.min(end - 1)))
            }
            _ => span,
        }
    }

    /// The addresses of a step's accesses are computed from rsp and nothing else.
    fn is_stack_relative(&self, step: u32) -> bool {
        let effect = self.graph.effect(step);
        let inputs = (1u64 << effect.inputs().min(63)) - 1;
        let pointer = effect.reads.iter().position(|&word| word == RegWord::RSP);
        pointer.is_some_and(|index| self.address_words(step) & inputs == 1 << index)
    }

    /// What is assumed of ranges was not, so far: the stores are looked at again.
    pub(super) fn narrow_ranges(&mut self) {
        for id in self.ranges.of.keys() {
            self.work.insert(self.graph.accesses[*id as usize].step);
        }
    }

    /// Takes back all ranges: what they were concluded from is.
    pub(super) fn forget_ranges(&mut self) -> Vec<u32> {
        let mut stores: Vec<u32> = self.ranges.of.keys().copied().collect();
        stores.sort_unstable();
        for &id in &stores {
            self.confine(id, None);
        }
        stores
    }

    /// Stores with a range among the accesses `within` that may have written the cell of an
    /// address: all of them, or in the inferred grade those of narrow range.
    pub(super) fn ranged_here(&self, address: u64, within: Range<u32>) -> u32 {
        let widest = match self.grade {
            Grade::Inferred => NARROW,
            _ => MAX_SPAN,
        };
        self.ranges.here(address, within, widest, |_| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_span_is_what_the_known_bits_admit() {
        let byte = Bits::new(!0xff, 0x7000);
        let span = |bits, offset, size| span(bounds(bits), offset, size);
        assert_eq!(span(byte, 8, 4), Some((0x7008, 0x710a)));
        assert_eq!(span(byte, 16u64.wrapping_neg(), 1), Some((0x6ff0, 0x70ef)));
        assert_eq!(span(Bits::UNKNOWN, 0, 8), None);
        assert_eq!(span(Bits::UNKNOWN, 24, 4), None, "its end wraps around");
        let last = Bits::new(!0xff, u64::MAX);
        assert_eq!(span(last, 0, 8), None, "it wraps around");
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_list(
            spans in proptest::collection::vec((0u32..60, 0u64..0x5000, 0u64..0x3000), 0..40),
            gone in proptest::collection::vec(0u32..60, 0..10),
            asked in proptest::collection::vec((0u64..0x8000, 0u32..60, 0u32..60), 20),
        ) {
            let mut ranges = Ranges::new(60);
            let mut model: BTreeMap<u32, Span> = BTreeMap::new();
            for (id, first, length) in spans {
                ranges.set(id, Some((first, first + length)));
                model.insert(id, (first, first + length));
            }
            for id in gone {
                ranges.set(id, None);
                model.remove(&id);
            }
            for (address, from, before) in asked {
                let cell = address / CELL * CELL;
                let hits = |id: u32, (first, last): Span| {
                    (from..before).contains(&id) && first < cell + CELL && cell <= last
                };
                let all = model.iter().filter(|&(&id, &span)| hits(id, span));
                let found = |count: fn(u32) -> bool| {
                    ranges.here(address, from..before, MAX_SPAN, count) as usize
                };
                prop_assert_eq!(found(|_| true), all.clone().count());
                prop_assert_eq!(found(|id| id % 2 == 1), all.filter(|(id, _)| **id % 2 == 1).count());
            }
        }
    }
}
