//! What system calls write, once their number, arguments and result are known: memory that the
//! kernel wrote is forgotten, and what it did not write is kept.

use super::cells::{CELL, bits_at};
use super::graph::{AccessKind, AccessState, KernelCall, NONE, START};
use super::ranges::{MAX_SPAN, Span, bounds};
use super::thread_ids::Lasting;
use super::tracking::Cause;
use super::{Engine, Grade, Mapped};
use crate::bits::Bits;
use crate::effect::Flow;
use crate::experiment::Technique;
use crate::syscall::{Argument, Case, Effect, Frame, SystemCall, is_error, lookup};
use rept_trace::{Address, FinalState, RegWord};
use smallvec::SmallVec;
use std::cmp::Ordering;

pub(super) const MMAP: u64 = 9;
const MAP_PRIVATE: u64 = 2;
pub(super) const MAP_FIXED: u64 = 0x10;
const MAP_ANONYMOUS: u64 = 0x20;
const MAP_UNINITIALIZED: u64 = 0x400_0000;
pub(super) const PAGE: u64 = 4096;
/// Entry of the auxiliary vector: where the vDSO is.
const AT_SYSINFO_EHDR: u64 = 33;
/// Memory behind the end of the heap that may have been given back.
const BEHIND_BREAK: u64 = 1 << 30;

/// From one system call on, a range of memory holds something else than before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remapped {
    /// The call's access.
    pub(super) order: u32,
    pub(super) start: u64,
    pub(super) end: u64,
    /// What it holds from then on.
    pub(super) content: Content,
}

/// What a range of memory holds once it is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Unknown,
    Zero,
    /// The bytes of a file from this offset on.
    File(u64),
}

/// The numbers of one execution, as far as known.
struct Numbers {
    arguments: [Option<u64>; 7],
    result: Option<u64>,
    /// Where the heap ended before.
    end_of_heap: Option<u64>,
    /// What the kernel read for the call: where, how many bytes, and what.
    read: SmallVec<[(u64, u8, u64); 8]>,
}

impl Frame for Numbers {
    fn argument(&self, argument: Argument) -> Option<u64> {
        (1..=6)
            .find(|&n| Argument::new(n) == Some(argument))
            .and_then(|n| self.arguments[usize::from(n)])
    }

    fn result(&self) -> Option<u64> {
        self.result
    }

    fn memory(&self, address: u64, size: u8) -> Option<u64> {
        let mut read = self.read.iter();
        let found = read.find(|&&(at, bytes, _)| (at, bytes) == (address, size));
        found.map(|&(.., value)| value)
    }
}

impl Engine<'_> {
    /// Looks whether it is known by now what the system call of a step wrote.
    pub(super) fn visit_syscall(&mut self, step: u32) {
        if self.without.has(Technique::SystemCalls) {
            return;
        }
        let Some(call) = self.kernel_call(step) else {
            return;
        };
        self.learn_mapped(step, &call);
        self.learn_outcome(step, &call);
        self.learn_break(step, &call);
        self.learn_file(step, &call);
        self.learn_count(step, &call);
        match self.graph.accesses[call.access as usize].state {
            AccessState::Pending => {}
            // What it wrote may be known by now.
            AccessState::Placed => {
                self.learn_made(step, &call);
                return self.tell_wide(call.access);
            }
            AccessState::Absent => return,
        }
        self.settle_map(&call);
        let value = |node: u32| self.graph.nodes.bits[node as usize].get();
        let mut numbers = Numbers {
            arguments: call.arguments.map(value),
            result: value(call.result),
            end_of_heap: self.end_of_heap_before(&call).and_then(value),
            read: self.read_by_kernel(step),
        };
        if let Some(mapped) = self.graph.mapped.get(&call.access)
            && numbers.arguments[0] == Some(MMAP)
            && let Some((start, bytes)) = alone(mapped)
            && numbers.result == Some(start)
        {
            // The record speaks of what this call mapped alone: in whole pages.
            numbers.arguments[2].get_or_insert(bytes);
        }
        let Some(number) = numbers.arguments[0] else {
            return;
        };
        let Some(known) = lookup(number) else { return };
        if let Some(case) = known.case(&numbers)
            && let Some((extents, lasting)) = extents(known, &numbers)
            && let Some(remapped) = remapped(case, &numbers, self.grade == Grade::Inferred)
        {
            for (start, bytes) in lasting {
                let end = start.saturating_add(bytes);
                let until_end_of = self.clears_at_end_of(&call);
                self.lasting.push(Lasting {
                    order: call.access,
                    start,
                    end,
                    until_end_of,
                });
            }
            self.place_kernel(call.access, &extents, remapped);
            self.learn_file(step, &call);
            self.learn_made(step, &call);
        } else {
            self.confine_call(known, &call, numbers);
        }
    }

    /// The bytes that a call may have written by what is known of its numbers.
    fn confine_call(&mut self, known: &SystemCall, call: &KernelCall, numbers: Numbers) {
        let bits = |node: u32| bounds(self.graph.nodes.bits[node as usize]);
        let bounds_of = call.arguments.map(bits);
        let lowest = Numbers {
            arguments: bounds_of.map(|(lowest, _)| Some(lowest)),
            ..numbers
        };
        // A result that may be an error may also be the greatest possible.
        let (_, most) = bits(call.result);
        let highest = Numbers {
            arguments: bounds_of.map(|(_, highest)| Some(highest)),
            result: Some(most & (u64::MAX >> 1)),
            end_of_heap: lowest.end_of_heap,
            read: lowest.read.clone(),
        };
        let span = match known.case(&lowest).map(|case| case.effect) {
            Some(Effect::Break) => lowest.arguments[1]
                .filter(|_| bounds_of[1].0 == bounds_of[1].1)
                .and_then(|asked| Some((asked, asked.checked_add(BEHIND_BREAK)?))),
            _ => hull(known, &lowest, &highest),
        };
        self.confine(call.access, span);
    }

    /// The node that tells where the heap ended before a call that moves its end.
    fn end_of_heap_before(&self, call: &KernelCall) -> Option<u32> {
        self.graph.breaks.get(&call.access).copied()
    }

    /// `mmap` without MAP_FIXED puts nothing where something is: no value that passes it changes, wherever
    /// the new mapping is.
    fn settle_map(&mut self, call: &KernelCall) {
        let value = |node: u32| self.graph.nodes.bits[node as usize];
        let flags = value(call.arguments[4]);
        let free = value(call.arguments[0]).get() == Some(MMAP)
            && flags.known & MAP_FIXED != 0
            && flags.value & MAP_FIXED == 0;
        if free {
            self.settled(call.access);
        } else {
            self.unsettled(call.access);
        }
    }

    /// What is known of what the kernel read for a call: where, how many bytes, and what.
    pub(super) fn read_by_kernel(&self, step: u32) -> SmallVec<[(u64, u8, u64); 8]> {
        let loads = self.graph.accesses_of(step);
        let loads = loads.map(|id| &self.graph.accesses[id as usize]);
        loads
            .filter(|load| load.kind == AccessKind::Load && load.state == AccessState::Placed)
            .filter_map(|load| {
                let value = self.graph.nodes.bits[load.node as usize].get()?;
                Some((load.address, load.size, value))
            })
            .collect()
    }

    /// Nodes by which it is known what a call wrote: arguments, result, and what the kernel read.
    pub(super) fn call_nodes(&self, call: &KernelCall) -> SmallVec<[u32; 16]> {
        let step = self.graph.accesses[call.access as usize].step;
        let loads = self.graph.accesses_of(step);
        let read = loads.map(|id| &self.graph.accesses[id as usize]);
        let read = read.filter(|load| load.kind == AccessKind::Load);
        let arguments = call.arguments.iter().copied();
        arguments
            .chain([call.result])
            .chain(self.end_of_heap_before(call))
            .chain(read.map(|load| load.node))
            .collect()
    }

    pub(super) fn kernel_call(&self, step: u32) -> Option<KernelCall> {
        if self.graph.effect(step).flow != Flow::Syscall {
            return None;
        }
        let calls = &self.graph.kernel_calls;
        let ids = self.graph.accesses_of(step);
        let index = calls.partition_point(|call| call.access < ids.start);
        calls
            .get(index)
            .copied()
            .filter(|call| call.access < ids.end)
    }

    fn place_kernel(
        &mut self,
        id: u32,
        extents: &[(u64, u64)],
        remapped: Option<(u64, u64, Content)>,
    ) {
        if let Some((start, end, content)) = remapped {
            let at = self.remapped.partition_point(|event| event.order < id);
            self.remapped.insert(
                at,
                Remapped {
                    order: id,
                    start,
                    end,
                    content,
                },
            );
        }
        if let Some((start, end, _)) = remapped {
            self.look_again_at_mappings(start, end);
        }
        if extents.is_empty() && remapped.is_none() {
            self.absent(id);
        } else {
            self.place_wide(id, extents);
        }
        if let Some((start, end, content)) = remapped
            && content != Content::Unknown
        {
            self.tell_first_of(id, start, end);
        }
    }

    /// The first accesses of the bytes of a range after it was mapped are told what it holds.
    fn tell_first_of(&mut self, call: u32, start: u64, end: u64) {
        let cells: Vec<u32> = self.cells.within(start, end).collect();
        for cell in cells {
            for entry in self.first_in(cell, call) {
                self.block(self.cells.entries[entry as usize].order);
            }
        }
    }

    /// The first accesses of each byte of a cell after a call, the loads of them.
    fn first_in(&mut self, cell: u32, call: u32) -> SmallVec<[u32; 8]> {
        let mut next = match self.cells.before(cell, call) {
            NONE => self.cells.cells[cell as usize].head,
            before => self.cells.entries[before as usize].next,
        };
        let (mut left, mut found) = (u8::MAX, SmallVec::new());
        while left != 0 {
            next = self.cells.touching_after(next, left);
            let Some(&entry) = self.cells.entries.get(next as usize) else {
                break;
            };
            if !entry.store {
                found.push(next);
            }
            left &= !entry.bytes;
            next = entry.next;
        }
        found
    }

    /// The pages before the vDSO hold the kernel's clocks, which change at any time: mappings without
    /// a file that cannot be written, ending where the vDSO begins.
    pub(super) fn kernel_pages(&mut self, last: &FinalState<'_>) {
        let vdso = last.auxv.iter().find(|&&(kind, _)| kind == AT_SYSINFO_EHDR);
        let Some(&(_, end)) = vdso else { return };
        let mut start = end;
        for mapping in last.memory.mappings().iter().rev() {
            if mapping.end.0 == start && !mapping.write && mapping.file.is_none() {
                start = mapping.start.0;
            }
        }
        self.kernel_may_write(start, end);
    }

    /// The kernel may write a range of memory at any time.
    pub(super) fn kernel_may_write(&mut self, start: u64, end: u64) {
        if start < end {
            self.lasting.push(Lasting {
                order: START,
                start,
                end,
                until_end_of: None,
            });
        }
    }

    /// A call's place was retracted.
    pub(super) fn displace_kernel(&mut self, id: u32) {
        self.remapped.retain(|event| event.order != id);
        self.lasting.retain(|event| event.order != id);
    }

    /// The last change of mapping between two accesses that concerns an address.
    pub(super) fn remapped_between(
        &self,
        after: u32,
        before: u32,
        address: u64,
    ) -> Option<Remapped> {
        let first = self.remapped.partition_point(|event| event.order <= after);
        let end = self.remapped.partition_point(|event| event.order < before);
        let events = self.remapped.get(first..end)?;
        events
            .iter()
            .rev()
            .find(|event| (event.start..event.end).contains(&address))
            .copied()
    }

    /// The system calls that made memory zero in which an access is the first.
    pub(super) fn freshened_by(&self, id: u32) -> SmallVec<[u32; 2]> {
        if self.remapped.is_empty() {
            return SmallVec::new();
        }
        let entries = self.entries_of(id).into_iter();
        let entries = entries.map(|entry| self.cells.entries[entry as usize]);
        entries
            .filter(|entry| !entry.store)
            .filter_map(|entry| {
                let number = self.cells.cells[entry.cell as usize].number;
                let (call, _) = self.fresh_memory(id, number.wrapping_mul(CELL))?;
                (!self.cells.covered_since(call, &entry)).then_some(call)
            })
            .collect()
    }

    /// Nodes that may have learned from zeros that a system call put into memory.
    pub(super) fn fresh_dependents(&mut self, call: u32, stack: &mut Vec<u32>) {
        let moment = self.graph.accesses[call as usize].clock;
        let made = self.remapped.iter().filter(|event| event.order == call);
        let made = made.filter(|event| event.content != Content::Unknown);
        let cells: Vec<u32> = made
            .flat_map(|event| self.cells.within(event.start, event.end))
            .collect();
        for cell in cells {
            for entry in self.first_in(cell, call) {
                let entry = self.cells.entries[entry as usize];
                let cause = Cause::Transfer(entry.order);
                if self.tracking.may_follow(entry.node, moment, cause) {
                    stack.push(entry.node);
                }
            }
        }
    }

    /// What memory holds at the cell of an access that nothing wrote since it was mapped, and the
    /// access that mapped it.
    pub(super) fn fresh_memory(&self, order: u32, address: u64) -> Option<(u32, Bits)> {
        let Some(event) = self.remapped_between(START, order, address) else {
            let begins = self.graph.begins && self.grade > Grade::Certain;
            let initial = |at| self.cells.memory().initial_bytes(at);
            return begins
                .then(|| (START, bits_at(initial, address)))
                .filter(|(_, bits)| bits.known != 0);
        };
        match event.content {
            Content::Unknown => None,
            Content::Zero => Some((event.order, Bits::ZERO)),
            Content::File(offset) => {
                let offset = |at: Address| offset.wrapping_add(at.0.wrapping_sub(event.start));
                let mapped = |at| self.cells.memory().file_bytes(at, offset(at));
                let stays = self.remapped_between(event.order, NONE, address).is_none();
                let at_end = stays.then(|| bits_at(mapped, address));
                let found = at_end.filter(|bits| bits.known != 0);
                let held = || self.held_bytes(event.order, offset(Address(address)));
                Some((event.order, found.or_else(held)?))
            }
        }
    }
}

/// What of a mapping the call that made it mapped alone, as address and bytes: memory of a file, which seldom
/// joins other memory of it, or what had never been mapped before.
fn alone(mapped: &Mapped) -> Option<(u64, u64)> {
    if mapped.file_offset.is_some() {
        return Some((mapped.start.0, mapped.bytes));
    }
    let one_piece = mapped.before + mapped.behind + mapped.fresh == mapped.bytes;
    one_piece.then(|| (mapped.start.0.wrapping_add(mapped.before), mapped.fresh))
}

/// A length in whole pages, in bytes.
pub(super) fn whole_pages(bytes: u64) -> Option<u64> {
    Some(bytes.checked_add(PAGE - 1)? & !(PAGE - 1))
}

/// Ranges of memory as (address, bytes).
type Extents = Vec<(u64, u64)>;

/// What a call wrote, and what of it the kernel may write again at any time; `None`: not known.
fn extents(call: &SystemCall, numbers: &Numbers) -> Option<(Extents, Extents)> {
    let (mut all, mut lasting) = (Vec::new(), Vec::new());
    for extent in call.extents(numbers)? {
        if extent.length == Some(0) || extent.address == Some(0) {
            continue;
        }
        let range = (extent.address?, extent.length?);
        all.push(range);
        lasting.extend(extent.lasting.then_some(range));
    }
    Some((all, lasting))
}

/// All that a call may write, between its lowest and its highest numbers; `None`: that is not known.
fn hull(call: &SystemCall, lowest: &Numbers, highest: &Numbers) -> Option<Span> {
    let case = call.case(lowest)?;
    let same = call
        .case(highest)
        .is_some_and(|other| std::ptr::eq(case, other));
    let keeps = matches!(case.effect, Effect::None | Effect::Protect);
    if !same || !keeps || case.unknown_extent {
        return None;
    }
    let ends = case.writes.iter().map(|write| {
        let [first, last] = [lowest, highest].map(|numbers| write.pointer.value(numbers));
        let last = last?.checked_add(write.offset)?;
        let length = write.length.bytes(highest).filter(|_| !write.lasting)?;
        Some((first?.checked_add(write.offset)?, last.checked_add(length)?))
    });
    let ends: Option<SmallVec<[Span; 2]>> = ends.collect();
    let (first, behind) = ends?
        .into_iter()
        .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
    let last = behind.checked_sub(1)?;
    (first <= last && last - first < MAX_SPAN).then_some((first, last))
}

/// The range whose mapping a call changed, as (start, end, what it holds); the outer `None`: not known, or
/// more will be known, unless this is the `last` time to ask.
#[expect(clippy::option_option, reason = "unknown and nothing are two answers")]
fn remapped(case: &Case, numbers: &Numbers, last: bool) -> Option<Option<(u64, u64, Content)>> {
    let argument = |n: usize| numbers.arguments[n];
    let range = |start: u64, bytes: u64, content: Content| {
        let bytes = whole_pages(bytes)?;
        Some(Some((start, start.checked_add(bytes)?, content)))
    };
    match case.effect {
        Effect::None
        | Effect::Protect
        | Effect::Exit
        | Effect::SignalReturn
        | Effect::Clone
        | Effect::Segment => Some(None),
        Effect::Map => {
            let (start, flags) = (numbers.result?, argument(4)?);
            if is_error(start) {
                return range(argument(1)?, argument(2)?, Content::Unknown);
            }
            let content = match () {
                () if flags & MAP_UNINITIALIZED != 0 => Content::Unknown,
                () if flags & MAP_ANONYMOUS != 0 => Content::Zero,
                () if flags & MAP_PRIVATE == 0 => Content::Unknown,
                () => argument(6).map_or(Content::Unknown, Content::File),
            };
            range(start, argument(2)?, content)
        }
        Effect::Unmap => range(argument(1)?, argument(2)?, Content::Unknown),
        // Asking where the heap ends changes nothing.
        Effect::Break if argument(1)? == 0 => Some(None),
        Effect::Break => match moved_heap(argument(1)?, numbers) {
            Some(moved) => Some(moved),
            None if last => range(argument(1)?, BEHIND_BREAK, Content::Unknown),
            None => None,
        },
        Effect::Discard => match argument(3)? {
            4 | 8 | 9 | 24 => range(argument(1)?, argument(2)?, Content::Unknown),
            _ => Some(None),
        },
        Effect::Remap | Effect::Attach | Effect::Detach | Effect::Exec => None,
    }
}

/// The pages that `brk` added to the heap, which are zero, or took from it; the outer `None`: not known.
#[expect(clippy::option_option, reason = "unknown and nothing are two answers")]
fn moved_heap(asked: u64, numbers: &Numbers) -> Option<Option<(u64, u64, Content)>> {
    // It returns where the heap ends; that is elsewhere when it failed.
    if numbers.result? != asked {
        return Some(None);
    }
    let (before, after) = (whole_pages(numbers.end_of_heap?)?, whole_pages(asked)?);
    Some(match before.cmp(&after) {
        Ordering::Less => Some((before, after, Content::Zero)),
        Ordering::Equal => None,
        Ordering::Greater => Some((after, before, Content::Unknown)),
    })
}

/// Registers of [`KernelCall::arguments`], the number first.
pub(super) const ARGUMENTS: [RegWord; 7] = [
    RegWord::RAX,
    RegWord::RDI,
    RegWord::RSI,
    RegWord::RDX,
    RegWord::gpr(10),
    RegWord::gpr(8),
    RegWord::gpr(9),
];
