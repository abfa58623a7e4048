//! The numbers by which threads are known, where the kernel writes them, and when it clears them.

use super::cells::CELL;
use super::graph::{AccessState, KernelCall};
use super::tracking::Cause;
use super::{Engine, Grade};
use crate::bits::Bits;
use hashbrown::HashSet;
use rept_trace::ThreadId;

const GETPID: u64 = 39;
const CLONE: u64 = 56;
const GETTID: u64 = 186;
const SET_TID_ADDRESS: u64 = 218;
const CLONE3: u64 = 435;
const CLONE_PARENT_SETTID: u64 = 0x10_0000;
/// Offset in `struct clone_args` of where the number is put.
const PARENT_TID: u64 = 24;

/// A range of memory that the kernel may write at any time after a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lasting {
    /// The call's access; the start when no call in the window tells of it.
    pub(super) order: u32,
    pub(super) start: u64,
    pub(super) end: u64,
    /// The kernel does so only when this thread ends.
    pub(super) until_end_of: Option<ThreadId>,
}

impl Lasting {
    /// The kernel may write a byte of `address..end` at any time before an access.
    pub(super) fn may_hit(&self, address: u64, end: u64, before: u32) -> bool {
        self.order < before && self.start < end && address < self.end
    }
}

/// Those ranges that the kernel may have written before the end: not what it only clears when a thread
/// ends that had not.
pub(super) fn still_written(mut all: Vec<Lasting>, alive: &HashSet<ThreadId>) -> Vec<Lasting> {
    all.retain(|event| !event.until_end_of.is_some_and(|one| alive.contains(&one)));
    all
}

impl Engine<'_> {
    /// A process and its threads are assumed to be known to themselves by the numbers that the dump and the
    /// trace have, which differ in a namespace of its own.
    pub(super) fn assume_ids(&mut self) {
        for index in 0..self.graph.kernel_calls.len() {
            let call = self.graph.kernel_calls[index];
            let id = match self.number(call.arguments[0]) {
                Some(GETPID) => self.inputs.process,
                Some(GETTID | SET_TID_ADDRESS) => Some(self.caller(&call).0.0),
                Some(CLONE | CLONE3) => self.made_by(&call).map(|thread| thread.0),
                _ => None,
            };
            if let Some(id) = id {
                self.foretell(&call, id.into());
            }
        }
    }

    /// Thread and step of a call.
    fn caller(&self, call: &KernelCall) -> (ThreadId, u64) {
        let thread = self.graph.thread_of(call.access);
        let step = self.graph.accesses[call.access as usize].step;
        let thread = self.inputs.threads[thread as usize];
        (thread, self.graph.step_in_thread(step))
    }

    /// The thread that a call made, if it is traced.
    pub(super) fn made_by(&self, call: &KernelCall) -> Option<ThreadId> {
        self.inputs.makers.get(&self.caller(call)).copied()
    }

    /// The thread at whose end alone the kernel clears what a call told it to.
    pub(super) fn clears_at_end_of(&self, call: &KernelCall) -> Option<ThreadId> {
        match self.number(call.arguments[0])? {
            SET_TID_ADDRESS => Some(self.caller(call).0),
            CLONE | CLONE3 if self.grade > Grade::Certain => self.made_by(call),
            _ => None,
        }
    }

    /// It is assumed which calls made which threads: the kernel clears their numbers when they end.
    pub(super) fn assume_ends_of_threads(&mut self) {
        for index in 0..self.lasting.len() {
            let event = self.lasting[index];
            let calls = &self.graph.kernel_calls;
            let call = calls.partition_point(|call| call.access < event.order);
            let call = calls.get(call).copied();
            let Some(call) = call.filter(|call| call.access == event.order) else {
                continue;
            };
            let until_end_of = self.clears_at_end_of(&call);
            if until_end_of != event.until_end_of {
                self.lasting[index].until_end_of = until_end_of;
                self.tell_all_within(event.start, event.end);
            }
        }
    }

    fn tell_all_within(&mut self, start: u64, end: u64) {
        let cells: Vec<u32> = self.cells.within(start, end).collect();
        cells.into_iter().for_each(|cell| self.block_cell(cell));
    }

    /// The kernel may write a cell at any time before an access (`None`: the end): nothing passes.
    pub(super) fn lasting_before(&self, access: Option<u32>, address: u64) -> bool {
        let before = access.unwrap_or(u32::MAX);
        let end = address.saturating_add(CELL);
        let touches = |event: &&Lasting| event.may_hit(address, end, before);
        let reader = || {
            let thread = self.graph.thread_of(access?);
            self.inputs.threads.get(thread as usize).copied()
        };
        let mut touching = self.lasting.iter().filter(touches);
        touching.any(|event| match event.until_end_of {
            Some(thread) => !self.inputs.alive.contains(&thread) && reader() != Some(thread),
            None => true,
        })
    }

    /// The kernel puts the number of the thread that it makes where it is told to (CLONE_PARENT_SETTID).
    pub(super) fn learn_made(&mut self, step: u32, call: &KernelCall) {
        if self.graph.accesses[call.access as usize].state != AccessState::Placed {
            return;
        }
        let [number, first, _, third, ..] = call.arguments.map(|node| self.number(node));
        let read = |offset: u64| {
            let words = self.read_by_kernel(step);
            let at = first?.wrapping_add(offset);
            words
                .iter()
                .find(|&&(address, ..)| address == at)
                .map(|&(.., value)| value)
        };
        let (flags, place) = match number {
            Some(CLONE) => (first, third),
            Some(CLONE3) => (read(0), read(PARENT_TID)),
            _ => return,
        };
        let (Some(place), Some(result)) = (place, self.number(call.result)) else {
            return;
        };
        let told = flags.is_some_and(|flags| flags & CLONE_PARENT_SETTID != 0);
        let made = told && result >> 63 == 0 && place % 4 == 0;
        let Some(entry) = self.cells.entry_at(place, call.access).filter(|_| made) else {
            return;
        };
        let entry = self.cells.entries[entry as usize];
        let shift = 8 * (place % CELL);
        let bits = Bits::new(0xffff_ffff << shift, u64::from(result as u32) << shift);
        let bits = entry.to_node(entry.to_cell(bits));
        if self.learn(entry.node, bits, Cause::Step(step)).is_err() {
            return self.conflict_at(step);
        }
        self.tell_wide(call.access);
    }
}
