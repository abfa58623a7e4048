//! What a pending store of another thread aims at: an element of which array.
//!
//! A store whose instruction was never found anywhere may write anything, for all that its other
//! executions tell. But when its address is the sum of a place that is known and of something that is not, it
//! writes an element of what begins there. Into the data of a file, and onto the stack of another thread, who
//! handed it an array, it does so, too, when its instruction was found at other times: that does not tell which
//! element this is, only about how many there are. What is known of the heap is seldom where an array begins, and
//! there other executions are believed.
//! Elsewhere a value that passes such a store by mistake is contradicted before long; what threads
//! hand each other through an array may fit all that follows.
//!
//! DIVERGENCE: not in the paper. Used from the inferred grade on only, for stores of other threads.

use super::Engine;
use super::cells::CELL;
use super::graph::NONE;
use super::kinds::Observed;
use crate::op::Op;
use smallvec::SmallVec;

/// Words that are looked at on the way to what an address is made of.
const MAX_WORDS: usize = 16;
/// Stores beside a place that are looked at; behind more, values do not pass.
const MAX_LOOKED_AT: usize = 64;

/// An array is taken to be so many times as long as it was seen to be.
const LENGTHS: u64 = 2;

/// A store and the beginning and last byte of what it writes an element of.
#[derive(Clone, Copy)]
pub(super) struct Aim {
    store: u32,
    thread: u32,
    base: u64,
    last: u64,
}

/// How far an instruction is known to write: kind of memory and end of the highest place, in the data of each
/// file and on the stacks of other threads.
#[derive(Clone, Default)]
pub(super) struct Reach(SmallVec<[(usize, u64); 1]>);

impl Reach {
    pub(super) fn extend_to(&mut self, kind: usize, address: u64, size: u8) {
        let end = address.saturating_add(size.into());
        match self.0.iter_mut().find(|seen| seen.0 == kind) {
            Some((_, highest)) => *highest = end.max(*highest),
            None => self.0.push((kind, end)),
        }
    }

    fn end(&self, kind: usize) -> Option<u64> {
        let seen = self.0.iter().find(|seen| seen.0 == kind);
        seen.map(|&(_, end)| end)
    }
}

impl Engine<'_> {
    /// Finds what pending stores aim at, by ascending store: all of those of whose instruction nothing is known,
    /// of the others what aims at the data of files. `observed` is by instruction, of those that store.
    pub(super) fn aims(&self, observed: &[Observed]) -> Vec<Aim> {
        if !self.threaded {
            return Vec::new();
        }
        let mut aims = Vec::new();
        for store in self.pending.members() {
            let Some(writer) = self.kinds.writer(store) else {
                continue;
            };
            let seen = &observed[writer];
            let expected = self.kinds.expected(store as usize).is_some();
            if expected || (!seen.is_strange() && seen.reach.0.is_empty()) {
                continue;
            }
            let thread = self.graph.thread_of(store);
            aims.extend(self.bases(store).into_iter().filter_map(|base| {
                let last = match seen.is_strange() {
                    true => u64::MAX,
                    false => last_byte(base, seen.reach.end(self.kinds.kind(base))?)?,
                };
                Some(Aim {
                    store,
                    thread,
                    base,
                    last,
                })
            }));
        }
        aims
    }

    /// A store from one access on to before another, made by another thread than `thread`, aims at
    /// what lies at an address.
    pub(super) fn is_aimed_at(&self, address: u64, first: u32, before: u32, thread: u32) -> bool {
        let aims = &self.kinds.aims;
        let from = aims.partition_point(|aim| aim.store < first);
        let hits = |aim: &Aim| {
            aim.thread != thread
                && self.pending.contains(aim.store)
                && (aim.base / CELL..=aim.last / CELL).contains(&(address / CELL))
                && self.kinds.are_alike(aim.base, address)
                && !self.ranges.excludes(aim.store, address)
        };
        let mut between = aims[from..].iter().take_while(|aim| aim.store < before);
        between.by_ref().take(MAX_LOOKED_AT).any(hits) || between.next().is_some()
    }

    /// The known places that the address of an access is a sum with, each moved by the other numbers that
    /// are known of the sum: an array may lie within what its register points to.
    fn bases(&self, access: u32) -> SmallVec<[u64; 2]> {
        let mut found = SmallVec::new();
        let step = self.graph.accesses[access as usize].step;
        let thread = self.graph.thread_of(access);
        let place = access - self.graph.accesses_of(step).start;
        let Some(operand) = self.graph.effect(step).accesses.get(place as usize) else {
            return found;
        };
        let mut asked: SmallVec<[(u32, usize); MAX_WORDS]> = SmallVec::new();
        asked.push((step, operand.address.0.into()));
        let mut offset = u64::from(operand.offset);
        let mut next = 0;
        while let Some(&(step, word)) = asked.get(next).filter(|_| next < MAX_WORDS) {
            next += 1;
            match self.known_word(step, word) {
                Some(value) if self.is_array(thread, value) => found.push(value),
                Some(value) => offset = offset.wrapping_add(value),
                None => self.summands(step, word, &mut asked),
            }
        }
        for base in &mut found {
            let moved = base.wrapping_add(offset);
            if self.kinds.are_alike(*base, moved) {
                *base = moved;
            }
        }
        found
    }

    /// What a thread stores elements of may begin there: objects, and what lies on the stack of another.
    fn is_array(&self, thread: u32, address: u64) -> bool {
        self.kinds.is_object(address) || self.is_on_stack_of_another(thread, address)
    }

    /// The address lies on the stack of another thread than `thread`.
    pub(super) fn is_on_stack_of_another(&self, thread: u32, address: u64) -> bool {
        let holds = |&(start, end): &(u64, u64)| start <= address && address < end;
        let mut others = (0..)
            .zip(&self.stacks)
            .filter(|&(other, _)| other != thread);
        others.any(|(_, stack)| stack.as_ref().is_some_and(holds))
    }

    /// What a word of a step holds, if that is known.
    fn known_word(&self, step: u32, word: usize) -> Option<u64> {
        let effect = self.graph.effect(step);
        let bits = if word < effect.nodes() {
            self.graph.nodes.bits[self.graph.node(step, word) as usize]
        } else {
            effect.template[word]
        };
        bits.get()
    }

    /// The words that a word is the sum or a copy of, where they were before.
    fn summands(&self, step: u32, word: usize, found: &mut SmallVec<[(u32, usize); MAX_WORDS]>) {
        let effect = self.graph.effect(step);
        if word < effect.inputs() {
            let node = self.graph.node(step, word);
            let def = self.graph.nodes.def[node as usize];
            if def != NONE {
                let fresh = node - self.graph.steps[def as usize].fresh;
                found.push((def, self.graph.effect(def).inputs() + fresh as usize));
            }
            return;
        }
        let sums = effect.ops.iter().filter(|op| {
            usize::from(op.d.0) == word && op.width == 64 && matches!(op.op, Op::Add | Op::Copy)
        });
        for op in sums {
            found.push((step, op.a.0.into()));
            if op.b != op.a {
                found.push((step, op.b.0.into()));
            }
        }
    }
}

/// The last byte that an array may have, of which an element ends at `end`; `None` when that lies before it.
fn last_byte(base: u64, end: u64) -> Option<u64> {
    let seen = end.checked_sub(base).filter(|&seen| seen > 0)?;
    Some(base.saturating_add(seen.saturating_mul(LENGTHS) - 1))
}
