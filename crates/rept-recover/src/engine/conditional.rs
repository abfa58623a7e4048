//! Stores at a known place of which it is not known whether they happened: masked vectors, and above
//! all XSAVEC, which writes what the processor counts as in use.
//!
//! One may have written its own place and no other, so that it is in nobody else's way.

use super::Engine;
use super::cells::CELL;
use super::graph::AccessKind;
use super::pending::PendingSet;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::ops::Range;

/// Stores that may not have happened; all of them are pending too.
#[derive(Default)]
pub(super) struct Conditional {
    all: PendingSet,
    /// Address of each.
    places: HashMap<u32, u64>,
    /// Those that may have written a cell, ascending.
    in_cell: HashMap<u64, SmallVec<[u32; 2]>>,
}

impl Conditional {
    pub(super) fn new(accesses: usize) -> Conditional {
        Conditional {
            all: PendingSet::new(accesses, |_| false),
            ..Conditional::default()
        }
    }

    /// The store is one of them.
    pub(super) fn contains(&self, id: u32) -> bool {
        !self.places.is_empty() && self.all.contains(id)
    }

    /// Those of the accesses `within` that may have written the cell of an address, as far as they `count`.
    pub(super) fn here(
        &self,
        address: u64,
        within: Range<u32>,
        count: impl Fn(u32) -> bool,
    ) -> u32 {
        let stores = self.in_cell.get(&(address / CELL)).into_iter().flatten();
        stores
            .filter(|&id| within.contains(id) && count(*id))
            .count() as u32
    }

    /// The last of them.
    pub(super) fn last_here(
        &self,
        address: u64,
        within: Range<u32>,
        count: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let stores = self.in_cell.get(&(address / CELL))?;
        let mut stores = stores.iter().rev().copied();
        stores.find(|id| within.contains(id) && count(*id))
    }

    /// The store, if it happened, was at this place, or at none. True when that is new.
    fn set(&mut self, id: u32, size: u8, place: Option<u64>) -> bool {
        let old = self.places.get(&id).copied();
        if old == place {
            return false;
        }
        for cell in cells(old, size) {
            if let Some(stores) = self.in_cell.get_mut(&cell) {
                stores.retain(|other| *other != id);
            }
        }
        for cell in cells(place, size) {
            let stores = self.in_cell.entry(cell).or_default();
            stores.insert(stores.partition_point(|&other| other < id), id);
        }
        match place {
            Some(address) => {
                self.places.insert(id, address);
                self.all.insert(id);
            }
            None => {
                self.places.remove(&id);
                self.all.remove(id);
            }
        }
        true
    }
}

/// The cells of an access of at most eight bytes.
fn cells(address: Option<u64>, size: u8) -> impl Iterator<Item = u64> {
    let ends = address.map(|first| {
        let last = first.wrapping_add(u64::from(size.saturating_sub(1)));
        (first / CELL, last / CELL)
    });
    ends.into_iter().flat_map(|(first, last)| {
        let second = (first != last).then_some(last);
        [first].into_iter().chain(second)
    })
}

impl Engine<'_> {
    /// A pending store is at this place, if it happened; `None`: neither is known, or both are.
    pub(super) fn doubt(&mut self, id: u32, place: Option<u64>) {
        let access = &self.graph.accesses[id as usize];
        let (kind, size) = (access.kind, access.size);
        self.confine(id, None);
        if kind == AccessKind::Store && self.conditional.set(id, size, place) {
            match place {
                Some(_) => self.kinds.settled(id),
                None => self.kinds.unsettled(id),
            }
            self.regard(id);
        }
    }
}
