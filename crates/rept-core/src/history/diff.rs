//! What changed between two positions of a thread.

use super::queries::Location;
use super::{History, Value};
use crate::position::Position;
use rept_trace::{Address, RegWord};
use std::collections::BTreeSet;

/// Bytes of a unit of memory that is compared.
const CELL: u64 = 8;

/// What changed between two positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// Places whose known values differ, or that are known at one of the positions only: registers
    /// first, then memory in units of 8 bytes by ascending address.
    pub changes: Vec<Change>,
    /// Stores between, of this thread or another, whose address is not known: they may have changed more.
    pub unknown_stores: u64,
    /// There are more changes than were asked for.
    pub more: bool,
}

/// A place and its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The place.
    pub location: Location,
    /// Its value at the earlier position.
    pub before: Value,
    /// Its value at the later one.
    pub after: Value,
}

impl History {
    /// What changed from one position of a thread to another (in whichever order they are given):
    /// registers, and memory that steps of any thread are known to have stored to between. At most
    /// `limit` changes. Cost: the steps between; when it is cancelled, there are `more`.
    ///
    /// `None` when there is no such position, or they are of two threads.
    pub fn diff(&self, a: Position, b: Position, limit: usize) -> Option<Difference> {
        let (from, to) = if a.step <= b.step { (a, b) } else { (b, a) };
        let (before, after) = self.at(from).zip(self.at(to))?;
        if from.thread != to.thread {
            return None;
        }
        let mut difference = Difference::default();
        let words = (0..RegWord::COUNT as u16).map(RegWord);
        let registers = words.map(|word| (Location::Reg(word), before.reg(word), after.reg(word)));
        let (cells, unknown_stores) = self.stored_between(from, to)?;
        difference.unknown_stores = unknown_stores;
        let memory = cells.into_iter().map(|cell| {
            let address = Address(cell * CELL);
            let size = CELL;
            let read = |state: &super::StateView<'_>| {
                (0..CELL).fold(Value::default(), |word, byte| {
                    let value = state.byte(address.offset(byte));
                    joined(word, value, byte)
                })
            };
            (Location::Mem { address, size }, read(&before), read(&after))
        });
        for (location, before, after) in registers.chain(memory) {
            let both = before.known & after.known;
            let same = before.known == after.known && (before.bits ^ after.bits) & both == 0;
            if same {
                continue;
            }
            if difference.changes.len() == limit {
                difference.more = true;
                break;
            }
            difference.changes.push(Change {
                location,
                before,
                after,
            });
        }
        difference.more |= self.is_cancelled();
        Some(difference)
    }

    /// Units of memory stored to between two positions, and the number of stores to unknown places.
    fn stored_between(&self, from: Position, to: Position) -> Option<(BTreeSet<u64>, u64)> {
        let (from, to) = (self.sequence_number(from)?, self.sequence_number(to)?);
        let (mut cells, mut unknown) = (BTreeSet::new(), 0);
        for number in from..to {
            let Some(at) = self.position_of(number).filter(|_| !self.is_cancelled()) else {
                break;
            };
            for store in self.accesses(at).into_iter().filter(|access| access.store) {
                let Some(start) = store.address else {
                    unknown += 1;
                    continue;
                };
                let last = start
                    .0
                    .saturating_add(u64::from(store.size).saturating_sub(1));
                cells.extend(start.0 / CELL..=last / CELL);
            }
        }
        Some((cells, unknown))
    }
}

/// A word with one more byte.
fn joined(word: Value, byte: Value, index: u64) -> Value {
    let shift = 8 * index;
    Value {
        bits: word.bits | byte.bits << shift,
        known: word.known | byte.known << shift,
        certain: word.certain | byte.certain << shift,
        assumed: word.assumed | byte.assumed << shift,
    }
}
