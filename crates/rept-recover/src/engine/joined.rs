//! Where in a mapping the memory is that a call added to it. The kernel makes one of new anonymous memory and what
//! is beside it, and its record tells of the whole.

use super::graph::{KernelCall, START};
use super::kernel::PAGE;
use super::{Engine, Grade, Mapped};
use rept_order::Relation;

const MUNMAP: u64 = 11;

impl Engine<'_> {
    /// Where the memory begins that a call mapped, of whose length in whole pages it is known; the rest of the
    /// mapping was there before.
    pub(super) fn start_within(
        &self,
        call: &KernelCall,
        mapped: &Mapped,
        length: u64,
    ) -> Option<u64> {
        let rest = mapped.bytes.checked_sub(length)?;
        let (start, end) = (mapped.start.0, mapped.start.0.checked_add(mapped.bytes)?);
        let mut before = mapped.before.min(rest);
        let mut behind = mapped.behind.min(rest);
        if before + behind > rest && self.grade > Grade::Certain {
            if self.is_unmapped_before(call, start) {
                before = 0;
            }
            if self.is_unmapped_before(call, end.saturating_sub(PAGE)) {
                behind = 0;
            }
        }
        (before + behind == rest).then_some(start + before)
    }

    /// More is known of what happened to a range of memory: so may be of where calls mapped some that joined it.
    pub(super) fn look_again_at_mappings(&mut self, start: u64, end: u64) {
        for (&access, mapped) in &self.graph.mapped {
            let first = mapped.start.0;
            if mapped.before + mapped.behind > 0
                && start < first.saturating_add(mapped.bytes)
                && first < end
            {
                self.work.insert(self.graph.accesses[access as usize].step);
            }
        }
    }

    /// Nothing was mapped at an address right before a call: what had been was unmapped, and no record tells
    /// that anything was since. That no record was lost is assumed.
    fn is_unmapped_before(&self, call: &KernelCall, address: u64) -> bool {
        let Some(event) = self.remapped_between(START, call.access, address) else {
            return false;
        };
        let step = self.graph.accesses[event.order as usize].step;
        let number = self
            .kernel_call(step)
            .and_then(|last| self.number(last.arguments[0]));
        let covers = |&&(start, end): &&(u64, u64)| (start..end).contains(&address);
        let mappings = self.graph.mapped.iter().filter(|(_, mapped)| {
            covers(&&(mapped.start.0, mapped.start.0.saturating_add(mapped.bytes)))
        });
        let mut known = 0;
        let all = mappings.inspect(|_| known += 1).all(|(&other, _)| {
            other == call.access
                || self.comes_before(other, event.order)
                || self.comes_before(call.access, other)
        });
        number == Some(MUNMAP)
            && self.comes_before(event.order, call.access)
            && all
            && known == self.graph.ever_mapped.iter().filter(covers).count()
    }

    /// One access was before another in any order of the threads.
    fn comes_before(&self, earlier: u32, later: u32) -> bool {
        let (one, other) = (self.place_of(earlier), self.place_of(later));
        earlier < later
            && (one.thread == other.thread
                || self.order.relation(one.segment, other.segment) == Relation::Before)
    }
}
