//! A load that races: which stores it may have read, and what they agree on.
//!
//! The load read what one of its *candidates* wrote: the newest access that is proved to be before
//! it, or a store of another thread that is concurrent with the load or with that access. What all
//! of them hold is the value whatever the order was. From the inferred grade on, candidates that
//! the load's own instructions rule out (bits known of it, a comparison and the way its branch
//! went) do not count; when one is left, the order of that store and the load is known.
//!
//! DIVERGENCE: the paper drops a racy location's value; here only what depends on the order is.
//!
//! It ends because a load only gains bits, and costs at most [`MAX_NEAR`] accesses back to the first
//! candidate and as many stores of other threads, for loads whose value did not pass otherwise. A
//! value learned so counts as learned from many places: whatever touches it takes it back.

use super::Engine;
use super::Grade;
use super::cells::{Entry, spread};
use super::graph::AccessState;
use super::race::{MAX_NEAR, Place};
use super::tracking::Cause;
use crate::bits::Bits;
use hashbrown::HashMap;
use rept_order::Relation;
use smallvec::SmallVec;

/// Candidates of one load at most.
const MAX_CANDIDATES: usize = 64;
/// Steps that are asked whether a load may have read a value.
const MAX_ASKED: usize = 4;

/// Accesses, one of which left what a load read.
type Candidates = SmallVec<[Entry; 4]>;

/// Which loads ever learned from which candidates; what is taken back stays listed.
#[derive(Debug, Default)]
pub(super) struct Raced {
    /// Candidates by load.
    candidates: HashMap<u32, SmallVec<[u32; 4]>>,
    /// Loads by candidate.
    loads: HashMap<u32, SmallVec<[u32; 4]>>,
    /// The store of another thread that a load read, since no other candidate fits, by load.
    read: HashMap<u32, u32>,
}

impl Raced {
    fn note(&mut self, load: u32, candidates: &[Entry]) {
        for candidate in candidates {
            let known = self.candidates.entry(load).or_default();
            if !known.contains(&candidate.order) {
                known.push(candidate.order);
                self.loads.entry(candidate.order).or_default().push(load);
            }
        }
    }
}

impl Engine<'_> {
    /// Teaches a load, whose value did not pass because of a race, what it read in any order.
    pub(super) fn resolve_race(&mut self, load: Entry) {
        let now = self.graph.nodes.bits[load.node as usize];
        if load.to_node(Bits::constant(0)).known & !now.known == 0 {
            return;
        }
        let Some(candidates) = self.candidates(load) else {
            return;
        };
        self.block(load.order);
        let values = candidates.iter().map(|&candidate| {
            let held = candidate.to_cell(self.graph.nodes.bits[candidate.node as usize]);
            load.to_node(held)
        });
        let mut values: SmallVec<[Bits; 4]> = values.collect();
        if self.grade == Grade::Inferred {
            let fits: SmallVec<[bool; 4]> = values
                .iter()
                .map(|&value| self.may_have_read(load.node, value))
                .collect();
            self.remember(load, &candidates, &fits);
            let mut fits = fits.into_iter();
            values.retain(|_| fits.next() == Some(true));
        }
        let agreed = values.into_iter().reduce(Bits::join);
        if let Some(agreed) = agreed.filter(|agreed| agreed.known & !now.known != 0) {
            let cause = Cause::Transfer(load.order);
            // What contradicts is found where the value is used; here nothing more is claimed.
            if self.learn(load.node, agreed, cause) == Ok(true) {
                self.tracking.many(load.node);
                self.raced.note(load.order, &candidates);
            }
        }
    }

    /// Remembers the order of a load and the one store that it can have read.
    fn remember(&mut self, load: Entry, candidates: &[Entry], fits: &[bool]) {
        let mut fitting = candidates.iter().zip(fits).filter(|&(_, &fits)| fits);
        let only = match (fitting.next(), fitting.next()) {
            (Some((&only, _)), None) if candidates.len() > 1 => only,
            _ => {
                self.raced.read.remove(&load.order);
                return;
            }
        };
        let thread = |entry: Entry| self.place_of(entry.order).thread;
        if only.store && thread(only) != thread(load) {
            self.raced.read.insert(load.order, only.order);
        }
    }

    /// Steps of stores and of the loads of other threads that read them, though nothing but the
    /// values says so, by ascending load.
    pub(super) fn observed(&self) -> Vec<(u32, u32)> {
        let access = |id: u32| self.graph.accesses[id as usize];
        let holds = |&(&load, &store): &(&u32, &u32)| {
            let [load, store] = [load, store].map(access);
            let placed = [load, store]
                .iter()
                .all(|one| one.state == AccessState::Placed);
            let [read, written] = [load, store].map(|one| self.graph.nodes.bits[one.node as usize]);
            placed && read.known != 0 && read.compatible(written)
        };
        let pairs = self.raced.read.iter().filter(holds);
        let mut found: Vec<(u32, u32)> = pairs
            .map(|(&load, &store)| (access(store).step, access(load).step))
            .collect();
        found.sort_unstable_by_key(|&(store, load)| (load, store));
        found
    }

    /// What a load holds, as far as it is known, it read in any order of the threads.
    pub(super) fn is_read_in_any_order(&mut self, load: Entry) -> bool {
        let Some(candidates) = self.candidates(load) else {
            return false;
        };
        let values = candidates.iter().map(|&candidate| {
            let held = candidate.to_cell(self.graph.nodes.bits[candidate.node as usize]);
            load.to_node(held)
        });
        let agreed = values.reduce(Bits::join).unwrap_or(Bits::UNKNOWN);
        let bytes = load.to_node(Bits::constant(0)).known;
        let now = self.graph.nodes.bits[load.node as usize];
        now.known & bytes & !agreed.known == 0
    }

    /// The accesses one of which left what a load read; `None` when that is not known.
    fn candidates(&mut self, load: Entry) -> Option<Candidates> {
        let floor = self.floor(load)?;
        let (from, to) = (self.place_of(floor.order), self.place_of(load.order));
        let first = self.accesses_beside(from).start;
        let behind = self.accesses_beside(to).end;
        if !self.writes_elsewhere(load.cell, from, Some(to), first, behind) {
            return None;
        }
        let mut found = Candidates::new();
        self.admit(floor, load, &mut found)?;
        let own = (from.thread == to.thread).then_some(to.thread);
        let stores = self.shared.stores(load.cell, own, first..behind);
        for (looked_at, store) in stores.enumerate() {
            let entry = self.cells.entries[store as usize];
            let place = self.place_of(entry.order);
            if looked_at == MAX_NEAR {
                return None;
            }
            if self.is_open(place, from) || self.is_open(place, to) {
                self.admit(entry, load, &mut found)?;
            }
        }
        self.passes(floor, load.order).then_some(found)
    }

    /// The newest access proved to be before a load that fixes its bytes: a store of them, or a
    /// load that is known. `None` also when a store of some of the bytes is newer.
    fn floor(&self, load: Entry) -> Option<Entry> {
        let to = self.place_of(load.order);
        let mut at = load.previous;
        for _ in 0..MAX_NEAR {
            let entry = *self.cells.entries.get(at as usize)?;
            if !self.is_open(self.place_of(entry.order), to) {
                if self.fixes(entry, load) {
                    return Some(entry);
                }
                if entry.store && entry.bytes & load.bytes != 0 {
                    return None;
                }
            }
            at = entry.previous;
        }
        None
    }

    /// Nothing orders the two.
    fn is_open(&self, a: Place, b: Place) -> bool {
        a.thread != b.thread && self.order.relation(a.segment, b.segment) == Relation::Concurrent
    }

    /// The access tells all bytes of the load: a store of them, or a load that is known.
    fn fixes(&self, entry: Entry, load: Entry) -> bool {
        let held = entry.to_cell(self.graph.nodes.bits[entry.node as usize]);
        let known = spread(load.bytes) & !held.known == 0;
        load.bytes & !entry.bytes == 0 && (entry.store || known)
    }

    /// Adds a candidate that shares bytes with the load; `None` when one access alone does not
    /// tell what the load read.
    fn admit(&self, entry: Entry, load: Entry, found: &mut Candidates) -> Option<()> {
        if entry.bytes & load.bytes == 0 {
            return Some(());
        }
        // Up to eight bytes inside an aligned cell are read and written at once (Intel SDM volume 3,
        // "Guaranteed Atomic Operations"); longer accesses may be seen in parts.
        let whole = load.bytes & !entry.bytes == 0 && self.wide(entry.order).is_none();
        if !whole || found.len() == MAX_CANDIDATES {
            return None;
        }
        found.push(entry);
        Some(())
    }

    /// Nothing that is known of a load's node, and of the steps that use what it read, rules a value out.
    pub(super) fn may_have_read(&mut self, node: u32, value: Bits) -> bool {
        if !self.graph.nodes.bits[node as usize].compatible(value) {
            return false;
        }
        let steps: SmallVec<[u32; MAX_ASKED]> = self.graph.touching(node).take(MAX_ASKED).collect();
        steps
            .into_iter()
            .all(|step| self.step_admits(step, node, value))
    }

    /// The relations of a step admit a value of one of its nodes.
    fn step_admits(&mut self, step: u32, node: u32, value: Bits) -> bool {
        if self.disabled.contains(&step) {
            return true;
        }
        self.load_words(step);
        let mut words = std::mem::take(&mut self.words);
        let effect = self.graph.effect(step);
        let mut own = (0..effect.nodes()).filter(|&word| self.graph.node(step, word) == node);
        let learned = own.try_for_each(|word| words[word].learn(value).map(drop));
        let admitted = learned.and_then(|()| effect.narrow(&mut words)).is_ok();
        let admitted = admitted && self.reaches_memory(step, &words);
        self.words = words;
        admitted
    }

    /// No access of a step would be where nothing was mapped, with these words.
    fn reaches_memory(&self, step: u32, words: &[Bits]) -> bool {
        let ids = self.graph.steps[step as usize].access..;
        let mut accesses = ids.zip(&self.graph.effect(step).accesses);
        accesses.all(|(id, access)| {
            let happens = access.condition.map(|word| words[usize::from(word.0)]);
            let base = words[usize::from(access.address.0)].get();
            let address = base.map(|base| base.wrapping_add(u64::from(access.offset)));
            let made = happens.is_none_or(|happens| happens.get() == Some(1));
            !made || address.is_none_or(|address| self.may_be_at(id, address))
        })
    }

    /// Nodes of racing loads that may have learned from a store after `moment`.
    pub(super) fn raced_dependents(&self, store: u32, moment: u32, stack: &mut Vec<u32>) {
        for &load in self.raced_loads(store) {
            let node = self.graph.accesses[load as usize].node;
            if self
                .tracking
                .may_follow(node, moment, Cause::Transfer(load))
            {
                stack.push(node);
            }
        }
    }

    /// Racing loads that may have learned from an access.
    pub(super) fn raced_loads(&self, access: u32) -> &[u32] {
        self.raced.loads.get(&access).map_or(&[], |loads| loads)
    }

    /// Accesses that a racing load may have learned from.
    pub(super) fn raced_sources(&self, load: u32) -> &[u32] {
        self.raced
            .candidates
            .get(&load)
            .map_or(&[], |candidates| candidates)
    }
}
