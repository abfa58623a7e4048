//! System calls of which more is known than what the program shows: what the kernel's records say
//! that they mapped, what files they read, how long those are, in how large blocks.
//!
//! Records are facts; the rest is assumed.

use super::cells::{CELL, bits_at};
use super::descriptors::{Outcome, link_buffer};
use super::graph::{KernelCall, ReadOf};
use super::kernel::{MAP_FIXED, MMAP, whole_pages};
use super::ranges::bounds;
use super::tracking::Cause;
use super::{Engine, Grade};
use crate::bits::Bits;
use rept_trace::Address;

const READ: u64 = 0;
const STAT: u64 = 4;
pub(super) const FSTAT: u64 = 5;
const LSTAT: u64 = 6;
const BRK: u64 = 12;
const PREAD64: u64 = 17;
const SCHED_GETAFFINITY: u64 = 204;
pub(super) const NEWFSTATAT: u64 = 262;

/// What a system call wrote of a file.
#[derive(Clone, Copy)]
enum FileContent {
    /// Its bytes, from this offset on.
    Bytes(ReadOf, u64),
    /// `struct stat`.
    Stat(ReadOf),
}

impl FileContent {
    /// The eight bytes at a distance from the buffer's beginning (which wraps around for those before
    /// it), as far as known.
    fn at(self, engine: &Engine<'_>, address: u64, distance: u64) -> Bits {
        /// Offset of `st_size` in the kernel's `struct stat` (x86-64).
        const SIZE: u64 = 48;
        match self {
            FileContent::Bytes(read, offset) => {
                let memory = engine.cells.memory();
                let held = read
                    .file
                    .and_then(|file| engine.graph.files.get(file as usize));
                let bytes = |byte: Address| {
                    let at = offset.wrapping_add(distance.wrapping_add(byte.0 - address));
                    let mapped =
                        |base: Address| memory.file_bytes(Address(base.0.wrapping_add(at)), at);
                    let held = held.and_then(|held| held.known_from(usize::try_from(at).ok()?));
                    read.base.and_then(mapped).or(held)
                };
                bits_at(bytes, address)
            }
            FileContent::Stat(read) => {
                let file = read
                    .file
                    .and_then(|file| engine.graph.files.get(file as usize));
                file.filter(|_| distance == SIZE)
                    .map_or(Bits::UNKNOWN, |file| Bits::constant(file.len() as u64))
            }
        }
    }
}

/// Where a call of the stat family puts its `struct stat`, by its number and arguments.
pub(super) fn stat_buffer(arguments: [Option<u64>; 7]) -> Option<u64> {
    match arguments[0]? {
        STAT | FSTAT | LSTAT => arguments[2],
        NEWFSTATAT => arguments[3],
        _ => None,
    }
}

impl Engine<'_> {
    /// What system calls read of files, where what they mapped joined other memory, whether they failed, and
    /// where the heap ends behind them, is assumed, so that it was not learned before.
    pub(super) fn learn_calls(&mut self) {
        for index in 0..self.graph.kernel_calls.len() {
            let call = self.graph.kernel_calls[index];
            let step = self.graph.accesses[call.access as usize].step;
            self.learn_mapped(step, &call);
            self.learn_outcome(step, &call);
            self.learn_break(step, &call);
            self.learn_file(step, &call);
        }
    }

    /// A call that read a file put the file's bytes where it wrote, and one that asked what it is,
    /// its length.
    pub(super) fn learn_file(&mut self, step: u32, call: &KernelCall) {
        let Some(&read) = self.graph.file_reads.get(&call.access) else {
            return;
        };
        if self.grade == Grade::Certain || !self.is_placed(call.access) {
            return;
        }
        let value = |node: u32| self.graph.nodes.bits[node as usize].get();
        let arguments = call.arguments.map(value);
        let content = match arguments[0] {
            Some(READ) => {
                arguments[2].map(|buffer| (buffer, FileContent::Bytes(read, read.offset)))
            }
            Some(PREAD64) => arguments[2]
                .zip(arguments[4])
                .map(|(buffer, offset)| (buffer, FileContent::Bytes(read, offset))),
            _ if link_buffer(arguments).is_some() => {
                // What was read, and how long it is, hold or fall together.
                let length = self.length_of_link(call);
                let told = length.is_some() && length == value(call.result);
                let buffer = link_buffer(arguments).filter(|_| told);
                buffer.map(|(buffer, _)| (buffer, FileContent::Bytes(read, 0)))
            }
            _ => stat_buffer(arguments).map(|buffer| (buffer, FileContent::Stat(read))),
        };
        let Some((buffer, content)) = content else {
            return;
        };
        for index in self.entries_of(call.access) {
            let entry = self.cells.entries[index as usize];
            let cell = self.cells.cells[entry.cell as usize].number;
            let address = cell.wrapping_mul(CELL);
            let held = content.at(self, address, address.wrapping_sub(buffer));
            let held = entry.to_node(entry.to_cell(held));
            if self.learn(entry.node, held, Cause::Step(step)).is_err() {
                return self.conflict_at(step);
            }
        }
        self.tell_wide(call.access);
    }

    /// As many bytes as the kernel's sets of processors have, or as were asked for.
    pub(super) fn assume_processor_sets(&mut self) {
        let Some(bytes) = self.inputs.processor_set_bytes else {
            return;
        };
        for index in 0..self.graph.kernel_calls.len() {
            let call = self.graph.kernel_calls[index];
            let [number, _, asked, ..] = call.arguments.map(|node| self.number(node));
            if number == Some(SCHED_GETAFFINITY)
                && let Some(asked) = asked
                && self.outcome_of(&call) == Outcome::Succeeded
            {
                self.foretell(&call, bytes.min(asked));
            }
        }
    }

    /// A mapping that was asked for at a place, and was made, is there (mmap(2), MAP_FIXED).
    pub(super) fn assume_fixed_maps(&mut self) {
        for index in 0..self.graph.kernel_calls.len() {
            let call = self.graph.kernel_calls[index];
            let flags = self.graph.nodes.bits[call.arguments[4] as usize];
            let fixed = flags.known & flags.value & MAP_FIXED != 0;
            if fixed
                && self.number(call.arguments[0]) == Some(MMAP)
                && self.outcome_of(&call) == Outcome::Succeeded
            {
                self.foretell_as(&call, call.arguments[1]);
            }
        }
    }

    /// Errors are -4095 to -1, and other results are taken for positive: those that processes ask for are
    /// numbers, sizes and addresses below the kernel's.
    pub(super) fn learn_outcome(&mut self, step: u32, call: &KernelCall) {
        if self.grade == Grade::Certain {
            return;
        }
        let outcome = match self.graph.failed.get(&call.access) {
            Some(true) => Bits::new(!0xfff, u64::MAX),
            Some(false) => Bits::new(1 << 63, 0),
            None => return,
        };
        let learned = self.learn(call.result, outcome, Cause::Step(step));
        if learned.is_err() {
            self.conflict_at(step);
        }
    }

    /// A read that did not fail read no more than it was asked for. `sched_getaffinity` tells as many
    /// words as it wrote.
    pub(super) fn learn_count(&mut self, step: u32, call: &KernelCall) {
        let value = |node: u32| self.graph.nodes.bits[node as usize];
        let result = value(call.result);
        let failed = (result.known & !result.value) >> 63 == 0;
        let (asked, whole) = match value(call.arguments[0]).get() {
            Some(READ | PREAD64) => (call.arguments[3], 0),
            Some(SCHED_GETAFFINITY) => (call.arguments[2], crate::bits::mask(3)),
            _ => return,
        };
        if failed {
            return;
        }
        let (_, asked) = bounds(value(asked));
        let above = !crate::bits::mask(u64::BITS - asked.leading_zeros());
        let learned = self.learn(call.result, Bits::new(above | whole, 0), Cause::Step(step));
        if learned.is_err() {
            self.conflict_at(step);
        }
    }

    /// What the kernel's record of a mapping says of the call that made it: its result, where the
    /// record is of what the call asked for and of nothing that it was joined with; and where
    /// MAP_FIXED asked for it.
    pub(super) fn learn_mapped(&mut self, step: u32, call: &KernelCall) {
        let Some(&mapped) = self.graph.mapped.get(&call.access) else {
            return;
        };
        let value = |node: u32| self.graph.nodes.bits[node as usize];
        let [number, _, bytes, _, flags, _, offset] = call.arguments.map(value);
        if number.get() != Some(MMAP) {
            return;
        }
        // What joins a file's mapping from below begins earlier in the file.
        let start = if mapped.file_offset.is_some() && offset.get() == mapped.file_offset {
            Some(mapped.start.0)
        } else {
            let length = bytes.get().and_then(whole_pages);
            length.and_then(|length| self.start_within(call, &mapped, length))
        };
        let Some(start) = start else { return };
        let (start, cause) = (Bits::constant(start), Cause::Step(step));
        let mut learned = self.learn(call.result, start, cause);
        if flags.known & flags.value & MAP_FIXED != 0 {
            learned = learned.and_then(|_| self.learn(call.arguments[1], start, cause));
        }
        if learned.is_err() {
            self.conflict_at(step);
        }
    }

    /// Where the heap ends behind a call whose number the code does not tell: where a `brk` says, else
    /// where it did; `brk(0)` says where it did.
    pub(super) fn learn_break(&mut self, step: u32, call: &KernelCall) {
        let Some(&[before, after]) = self.graph.perhaps_breaks.get(&call.access) else {
            return;
        };
        let value = |node: u32| self.graph.nodes.bits[node as usize];
        let Some(number) = value(call.arguments[0]).get() else {
            return;
        };
        if self.grade == Grade::Certain {
            return;
        }
        let cause = Cause::Step(step);
        let mut learned = Ok(false);
        let mut end = value(before);
        if number == BRK {
            let asked = value(call.arguments[1]);
            let told = if asked == Bits::ZERO { end } else { asked };
            learned = self.learn(call.result, told, cause);
            end = self.graph.nodes.bits[call.result as usize];
        }
        if learned.and_then(|_| self.learn(after, end, cause)).is_err() {
            self.conflict_at(step);
        }
    }

    /// Eight bytes from an offset on of the file that a call mapped, if it is at hand: assumed to be
    /// as it was.
    pub(super) fn held_bytes(&self, call: u32, offset: u64) -> Option<Bits> {
        let file = self.graph.mapped.get(&call)?.file?;
        if self.grade == Grade::Certain {
            return None;
        }
        let contents = self.graph.files.get(file as usize)?;
        let bytes = |at: Address| contents.known_from(usize::try_from(at.0).ok()?);
        Some(bits_at(bytes, offset))
    }
}
