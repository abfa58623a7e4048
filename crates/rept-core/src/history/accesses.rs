//! Index of memory accesses by address: who touched a byte last, and who will next.

use super::Trust;
use super::sequence::Sequence;
use rept_recover::History;
use rept_recover::history::{AccessView, Position, Recovered};
use rept_trace::Address;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Steps looked at between two words of how far it is.
const INTERVAL: u64 = 4096;
/// Number of grades.
const GRADES: usize = 3;
/// Bytes of a cell, the unit of the index.
pub(super) const CELL: u64 = 8;

/// Accesses with known addresses by cell, and stores without.
#[derive(Debug, Default)]
pub(super) struct AccessIndex {
    cells: BTreeMap<u64, Vec<Entry>>,
    /// The stores among them once more: a place is read far more often than written.
    stores: BTreeMap<u64, Vec<Entry>>,
    /// By grade: numbers of the steps that stored somewhere that is not known at that grade, the
    /// kernel's among them, ascending; a step may be there twice.
    pending: [Vec<u64>; GRADES],
}

/// A step that touches a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The step's number in the sequence.
    pub(super) number: u64,
    /// Bytes of the cell that it touches, one bit each.
    pub(super) bytes: u8,
    /// Written rather than read.
    pub(super) store: bool,
    /// How the address is known.
    pub(super) grade: Trust,
}

impl AccessIndex {
    /// Asks the history for every step's accesses. Linear in their number. Says now and then how many
    /// steps it has looked at; `None` when it was stopped.
    pub(super) fn new(
        recovered: &History,
        sequence: &Sequence,
        tell: &dyn Fn(u64) -> ControlFlow<()>,
    ) -> Option<AccessIndex> {
        let mut index = AccessIndex::default();
        for (thread, steps, first) in sequence.stretches() {
            for step in steps.clone() {
                let number = first + (step - steps.start);
                if number % INTERVAL == 0 && tell(number).is_break() {
                    return None;
                }
                let thread = thread as u32;
                let at = Position { thread, step };
                let long = recovered.long_accesses(at);
                for access in recovered.accesses(at).iter().chain(&long) {
                    index.take(access, number);
                }
                if recovered.writes_elsewhere(at) {
                    let pending = index.pending.iter_mut();
                    pending.for_each(|pending| pending.push(number));
                }
            }
        }
        Some(index)
    }

    fn take(&mut self, access: &AccessView, number: u64) {
        let grade = Trust::of_address(access);
        let known_from = match access.address {
            Some(address) => {
                self.add(address, access.size, access.store, number, grade);
                grade as usize
            }
            None => GRADES,
        };
        if access.store {
            let weaker = self.pending[..known_from].iter_mut();
            weaker.for_each(|pending| pending.push(number));
        }
    }

    fn add(&mut self, address: Address, size: u8, store: bool, number: u64, grade: Trust) {
        for (cell, bytes) in cells(address, size.into()) {
            let entry = Entry {
                number,
                bytes,
                store,
                grade,
            };
            self.cells.entry(cell).or_default().push(entry);
            if store {
                self.stores.entry(cell).or_default().push(entry);
            }
        }
    }

    /// All cells with their entries, by ascending number.
    pub(super) fn cells(&self) -> impl Iterator<Item = (u64, &[Entry])> {
        let cells = self.cells.iter();
        cells.map(|(&cell, entries)| (cell, entries.as_slice()))
    }

    /// The stores of a cell, by ascending number.
    pub(super) fn stores_of(&self, cell: u64) -> &[Entry] {
        self.stores.get(&cell).map_or(&[], Vec::as_slice)
    }

    /// The newest store before step number `before` that touches any of the bytes, by an address known at
    /// grade `trust` or better.
    pub(super) fn last_store(
        &self,
        at: Address,
        len: u64,
        before: u64,
        trust: Trust,
    ) -> Option<Entry> {
        let newest = cells(at, len).filter_map(|(cell, bytes)| {
            let entries = self.stores.get(&cell)?;
            let end = entries.partition_point(|entry| entry.number < before);
            let touches = |entry: &&Entry| entry.bytes & bytes != 0 && entry.grade <= trust;
            entries[..end].iter().rev().find(touches).copied()
        });
        newest.max_by_key(|entry| entry.number)
    }

    /// The oldest store from step number `from` on that touches any of the bytes.
    pub(super) fn next_store(&self, at: Address, len: u64, from: u64) -> Option<Entry> {
        next(&self.stores, at, len, from)
    }

    /// The oldest entry from step number `from` on that touches any of the bytes.
    pub(super) fn next(&self, at: Address, len: u64, from: u64) -> Option<Entry> {
        next(&self.cells, at, len, from)
    }

    /// Stores to places that are not known at a grade, by steps from number `from` to before `to`.
    pub(super) fn pending_between(&self, from: u64, to: u64, trust: Trust) -> u64 {
        let pending = &self.pending[trust as usize];
        let count = |bound: u64| pending.partition_point(|&number| number < bound);
        count(to).saturating_sub(count(from)) as u64
    }
}

/// The oldest entry from step number `from` on that touches any of the bytes.
fn next(all: &BTreeMap<u64, Vec<Entry>>, at: Address, len: u64, from: u64) -> Option<Entry> {
    let oldest = cells(at, len).filter_map(|(cell, bytes)| {
        let entries = all.get(&cell)?;
        let start = entries.partition_point(|entry| entry.number < from);
        let touches = |entry: &&Entry| entry.bytes & bytes != 0;
        entries[start..].iter().find(touches).copied()
    });
    oldest.min_by_key(|entry| entry.number)
}

/// Cells that `len` bytes from `at` on lie in, with the bytes of each.
fn cells(at: Address, len: u64) -> impl Iterator<Item = (u64, u8)> {
    let end = at.0.saturating_add(len);
    let (first, last) = (at.0 / CELL, end.saturating_sub(1) / CELL);
    let cells = if len == 0 { 1..1 } else { first..last + 1 };
    cells.map(move |cell| {
        let start = cell * CELL;
        let from = at.0.saturating_sub(start);
        let to = (end - start).min(CELL);
        let mask = |count: u64| {
            if count >= CELL {
                0xff
            } else {
                (1u8 << count) - 1
            }
        };
        (cell, mask(to) & !mask(from))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_dealt_to_their_cells() {
        let of = |at, len| cells(Address(at), len).collect::<Vec<_>>();
        assert_eq!(of(16, 8), [(2, 0xff)]);
        assert_eq!(of(18, 2), [(2, 0b1100)]);
        assert_eq!(of(22, 4), [(2, 0b1100_0000), (3, 0b11)]);
        assert_eq!(of(7, 10), [(0, 0x80), (1, 0xff), (2, 1)]);
        assert_eq!(of(5, 0), []);
    }

    #[test]
    fn the_newest_before_and_the_oldest_from() {
        let mut index = AccessIndex::default();
        index.add(Address(100), 4, true, 5, Trust::Certain);
        index.add(Address(102), 2, false, 7, Trust::Certain);
        index.add(Address(102), 1, true, 9, Trust::Certain);
        let last = |before| {
            index
                .last_store(Address(102), 1, before, Trust::Inferred)
                .map(|entry| entry.number)
        };
        assert_eq!(
            (last(5), last(6), last(9), last(10)),
            (None, Some(5), Some(5), Some(9))
        );
        let next = |from| index.next(Address(103), 1, from).map(|entry| entry.number);
        assert_eq!((next(0), next(6), next(8)), (Some(5), Some(7), None));
    }

    #[test]
    fn pending_stores_are_counted() {
        let mut index = AccessIndex::default();
        let store = |address: Option<u64>| AccessView {
            address: address.map(Address),
            address_certain: false,
            address_assumed: true,
            size: 8,
            store: true,
            value: rept_recover::history::Value::default(),
        };
        for (number, address) in [(3, None), (3, None), (5, Some(0x10)), (8, None)] {
            index.take(&store(address), number);
        }
        let count = |from, to, trust| index.pending_between(from, to, trust);
        assert_eq!(count(0, 3, Trust::Inferred), 0);
        assert_eq!(count(3, 4, Trust::Inferred), 2);
        assert_eq!(count(0, 100, Trust::Assumed), 3);
        assert_eq!(count(0, 100, Trust::Certain), 4);
    }
}
