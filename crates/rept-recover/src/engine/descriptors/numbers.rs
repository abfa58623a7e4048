//! Which number a new descriptor has.

use super::super::Engine;
use super::super::graph::KernelCall;
use super::Outcome;
use super::table::Table;

impl Engine<'_> {
    /// A call that makes a descriptor, if it succeeds.
    pub(super) fn new_descriptor(
        &mut self,
        table: &mut Table,
        call: &KernelCall,
        from: u32,
        enter: impl FnOnce(&mut Table, u32),
    ) {
        let known = self.number(call.result).map(|number| number as u32);
        match (self.outcome_of(call), known, table.lowest_free(from)) {
            (Outcome::Failed, ..) => {}
            (Outcome::Succeeded, Some(known), lowest) => {
                table.whole &= lowest == Some(known);
                enter(table, known);
            }
            (Outcome::Succeeded, None, Some(lowest)) => {
                self.foretell(call, lowest.into());
                enter(table, lowest);
            }
            _ => table.whole = false,
        }
    }

    pub(super) fn new_descriptors(&self, table: &mut Table, call: &KernelCall) {
        let thread = self.graph.thread_of(call.access);
        for _ in 0..2 {
            match (self.outcome_of(call), table.lowest_free(0)) {
                (Outcome::Failed, _) => return,
                (Outcome::Succeeded, Some(free)) => table.insert(free, None, 0, thread),
                _ => return table.whole = false,
            }
        }
    }

    pub(super) fn duplicate(&mut self, table: &mut Table, call: &KernelCall, from: u32) {
        let of = self.int(call.arguments[1]);
        let thread = self.graph.thread_of(call.access);
        let open = of.and_then(|of| table.descriptors.get(&of).copied());
        self.new_descriptor(table, call, from, |table, new| match open {
            Some(open) => drop(table.descriptors.insert(new, open)),
            None => table.insert(new, None, 0, thread),
        });
    }

    pub(super) fn duplicate_to(&mut self, table: &mut Table, call: &KernelCall) {
        let thread = self.graph.thread_of(call.access);
        let [from, to] = [1, 2].map(|index| self.int(call.arguments[index]));
        match (self.outcome_of(call), from, to) {
            (Outcome::Failed, ..) => {}
            (Outcome::Succeeded, Some(from), Some(to)) => {
                match table.descriptors.get(&from).copied() {
                    Some(open) => drop(table.descriptors.insert(to, open)),
                    None => table.insert(to, None, 0, thread),
                }
            }
            _ => table.lose(),
        }
    }
}
