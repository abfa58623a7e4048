//! Which store a load read, where the last one before it in the sequence put another value there.

use super::accesses::{CELL, Entry};
use super::explain::accessed;
use super::{History, Trust};
use crate::position::Position;
use rept_recover::history::{AccessView, Value};
use rept_trace::Address;

/// Stores of a place that are looked at, at most, on either side of the load.
const MAX_LOOKED_AT: usize = 4096;

impl History {
    /// The store that put at a place what a step found there, of those that the order admits: by
    /// another thread, where nothing orders it with the step, and the newest of its own thread. The
    /// nearest in the sequence of those before it, else of those behind it.
    pub(super) fn rival(
        &self,
        address: Address,
        size: u64,
        found: Value,
        at: Position,
        trust: Trust,
    ) -> Option<Position> {
        let all = u64::MAX >> (64 - 8 * size.clamp(1, 8));
        if found.known & all != all || self.trace().threads.len() < 2 {
            return None;
        }
        let (thread, number) = self.numbered(at)?;
        let load = (thread, at.step);
        let window = self.window(load)?;
        let stores = self.access_index().stores_of(address.0 / CELL);
        let (before, behind) =
            stores.split_at(stores.partition_point(|store| store.number < number));
        let mut own_seen = false;
        let mut admitted = |store: &Entry| {
            let place = self.sequence().step(store.number);
            let own = place.is_some_and(|(other, _)| other == thread);
            let open = match own {
                true => store.number < number && !std::mem::replace(&mut own_seen, true),
                false => window.contains(&store.number) && self.is_open(place, Some(load)),
            };
            (open && store.grade <= trust).then(|| self.position_of(store.number))?
        };
        let put = |&step: &Position| self.puts(step, address, size, found.bits & all, trust);
        let mut before = before.iter().rev().take(MAX_LOOKED_AT);
        let mut behind = behind.iter().take(MAX_LOOKED_AT);
        let older = before.find_map(|store| admitted(store).filter(put));
        older.or_else(|| behind.find_map(|store| admitted(store).filter(put)))
    }

    /// The step is known to store these bits there.
    fn puts(&self, step: Position, address: Address, size: u64, bits: u64, trust: Trust) -> bool {
        let mut accesses: Vec<AccessView> = self.accesses(step);
        accesses.retain(|access| Trust::of_address(access) <= trust);
        let put = trust.limit(accessed(&accesses, true, address, size));
        put.bits == bits && put.known == u64::MAX >> (64 - 8 * size.clamp(1, 8))
    }
}
