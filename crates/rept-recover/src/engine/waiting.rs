//! Accesses that would learn or tell more if fewer stores were pending.
//!
//! Before anything is inferred, one pending store is enough to stop a value; an access waits for one that
//! is in its way, and is told again when that gets a place, or is known better: going far forward costs
//! as much as there are accesses, not as much as there are accesses for each store. Others are told again
//! whenever there is nothing else to do.

use super::graph::AccessState;
use super::{Engine, Grade};
use hashbrown::HashMap;

/// The accesses that wait.
#[derive(Default)]
pub(super) struct Waiting {
    /// For anything that may happen, each once.
    ready: Vec<u32>,
    is_ready: Vec<bool>,
    /// By the store that is in their way, perhaps more than once.
    behind: HashMap<u32, Vec<u32>>,
}

impl Waiting {
    pub(super) fn new(accesses: usize) -> Waiting {
        Waiting {
            is_ready: vec![false; accesses],
            ..Waiting::default()
        }
    }

    fn get_ready(&mut self, id: u32) {
        if !self.is_ready[id as usize] {
            self.is_ready[id as usize] = true;
            self.ready.push(id);
        }
    }

    /// Nobody waits for a store any more.
    pub(super) fn wake_all(&mut self) {
        for id in std::mem::take(&mut self.behind).into_values().flatten() {
            self.get_ready(id);
        }
    }
}

impl Engine<'_> {
    /// The access is to be told again at the next occasion.
    pub(super) fn block(&mut self, id: u32) {
        self.waiting.get_ready(id);
    }

    /// All accesses of a cell are to be told again at the next occasion.
    pub(super) fn block_cell(&mut self, cell: u32) {
        let mut next = self.cells.cells[cell as usize].head;
        while let Some(&entry) = self.cells.entries.get(next as usize) {
            next = entry.next;
            self.block(entry.order);
        }
    }

    /// The access is to be told again when a value may pass from `after` to `before`, at an address.
    pub(super) fn wait(&mut self, id: u32, address: u64, after: u32, before: u32) {
        let store = self.store_between(address, after, before);
        self.wait_for(id, store);
    }

    /// The access is to be told again when a store that alone is in its way is known better; without
    /// one, at the next occasion.
    pub(super) fn wait_for(&mut self, id: u32, store: Option<u32>) {
        match store.filter(|_| self.grade < Grade::Inferred) {
            Some(store) => {
                let behind = self.waiting.behind.entry(store).or_default();
                if behind.last() != Some(&id) {
                    behind.push(id);
                }
            }
            None => self.block(id),
        }
    }

    /// A store that is in the way of a value; `None` if none is found, or more than one is needed. The last
    /// one: what is learned goes forward, so that it gets its place after the others.
    fn store_between(&self, address: u64, after: u32, before: u32) -> Option<u32> {
        if self.grade == Grade::Inferred {
            return None;
        }
        let between = after.saturating_add(1)..before;
        self.plain
            .last_between(after, before)
            .or_else(|| {
                self.conditional
                    .last_here(address, between.clone(), |_| true)
            })
            .or_else(|| self.ranges.last_here(address, between, |_| true))
    }

    /// A store got its place, or more is known of that.
    pub(super) fn wake(&mut self, store: u32) {
        for id in self.waiting.behind.remove(&store).into_iter().flatten() {
            self.block(id);
        }
    }

    /// Tells those again of which something may have changed.
    pub(super) fn retry_blocked(&mut self) {
        let mut ready = std::mem::take(&mut self.waiting.ready);
        ready.sort_unstable();
        for id in ready {
            self.waiting.is_ready[id as usize] = false;
            if self.is_placed(id) {
                self.tell_again(id);
            }
        }
    }

    /// Tells all neighbours of an access again, if it is placed.
    pub(super) fn tell_again(&mut self, id: u32) {
        if self.graph.accesses[id as usize].state != AccessState::Placed {
            return;
        }
        if self.wide(id).is_some() {
            self.untold(id);
            self.tell_wide(id);
        } else {
            self.tell(id);
        }
    }

    /// Whether a store may be anywhere, and happened for sure, may have changed.
    pub(super) fn regard(&mut self, store: u32) {
        let plain = self.pending.contains(store)
            && !self.conditional.contains(store)
            && !self.ranges.contains(store);
        let thread = self.graph.thread_of(store) as usize;
        for set in [Some(&mut self.plain), self.plain_of.get_mut(thread)] {
            match (set, plain) {
                (Some(set), true) => set.insert(store),
                (Some(set), false) => set.remove(store),
                (None, _) => {}
            }
        }
        self.wake(store);
    }
}
