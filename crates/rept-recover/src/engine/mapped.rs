//! Where an access can have been: an instruction that did not fault touched memory that was mapped
//! at its time. What only an inferred value says is held against that.

use super::graph::AccessState;
use super::{Engine, Grade};
use crate::bits::Bits;
use crate::effect::Flow;
use rept_trace::Address;

/// Below it nothing is mapped (Linux: `vm.mmap_min_addr`, 65536 unless an administrator changed it).
const LOWEST: u64 = 0x1_0000;
/// Processes map nothing from here on, except when they ask for it (57-bit addresses).
const HIGHEST: u64 = 1 << 47;
/// The kernel's half of the addresses begins.
const KERNEL: u64 = 1 << 63;

impl Engine<'_> {
    /// May the access be at this address, going by the mappings?
    ///
    /// Sound but for memory that the dump leaves out on request (`MADV_DONTDUMP`); therefore used
    /// in the inferred grade only.
    pub(super) fn may_be_at(&self, id: u32, address: u64) -> bool {
        if self.grade != Grade::Inferred {
            return true;
        }
        let access = self.graph.accesses[id as usize];
        if self.graph.effect(access.step).flow == Flow::Syscall {
            // What the kernel reads may end before, as a path does at its null.
            return true;
        }
        let memory = self.cells.memory();
        let mappings = memory.mappings();
        if mappings.is_empty() {
            return true;
        }
        let after = mappings.partition_point(|mapping| mapping.start.0 <= address);
        let inside = after
            .checked_sub(1)
            .is_some_and(|index| address < mappings[index].end.0);
        if inside {
            return !access.kind.writes() || memory.constant_len(Address(address)) == 0;
        }
        // What an instruction was about to touch when a signal ended the thread may be anywhere.
        if self.is_last_of_thread(access.step) {
            return true;
        }
        let possible = (LOWEST..self.highest()).contains(&address);
        possible && self.may_be_unmapped_after(id, address)
    }

    /// The same of an address of which only this is known: no bit is set that none of a process's addresses has.
    pub(super) fn may_be_within(&self, id: u32, address: Bits) -> bool {
        let step = self.graph.accesses[id as usize].step;
        self.grade != Grade::Inferred
            || address.ones() < HIGHEST
            || address.ones() < self.highest()
            || self.graph.effect(step).flow == Flow::Syscall
            || self.cells.memory().mappings().is_empty()
            || self.is_last_of_thread(step)
    }

    /// The end of what a process can map; the page of `vsyscall` lies in the kernel's half, and holds no data.
    fn highest(&self) -> u64 {
        let ends = self.cells.memory().mappings().iter().rev();
        let mut ends = ends.map(|mapping| mapping.end.0);
        ends.find(|&end| end <= KERNEL).unwrap_or(0).max(HIGHEST)
    }

    fn is_last_of_thread(&self, step: u32) -> bool {
        let segment = self.graph.segment_of(step);
        let segments = &self.graph.segments;
        let thread = segments[segment].thread;
        let end = segments
            .get(segment + 1)
            .map_or(self.graph.steps.len() as u32, |next| next.global);
        step + 1 == end
            && segments[segment + 1..]
                .iter()
                .all(|next| next.thread != thread)
    }

    /// A system call after the access unmapped the address, or may have.
    fn may_be_unmapped_after(&self, id: u32, address: u64) -> bool {
        self.last_open_call >= Some(id)
            || self
                .remapped_between(id, self.graph.accesses.len() as u32, address)
                .is_some()
    }

    /// The last system call, gap or unmodelled instruction of which it is not known what it did.
    pub(super) fn observe_open_calls(&mut self) {
        self.last_open_call = self
            .graph
            .kernel_calls
            .iter()
            .rev()
            .map(|call| call.access)
            .find(|&id| self.graph.accesses[id as usize].state == AccessState::Pending);
    }
}
