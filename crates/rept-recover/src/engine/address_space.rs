//! What the kernel's list of the process's memory (`/proc/self/maps`) told the program.
//!
//! The list at any time follows from what the kernel laid out before the first instruction and from
//! the calls since. What the C library reads of it when a program asks for the bounds of its stack
//! decides how long its lines are, by that what it allocates, and by that the whole heap behind. It is
//! assumed, and held against the areas of the dump: where no call changed anything since, they must
//! be the same.

mod areas;
mod listing;

use super::contents::Contents;
use super::descriptors::Outcome;
use super::graph::KernelCall;
use super::kernel::{MMAP, whole_pages};
use super::{AddressSpace, Area, Backing, Engine};
use areas::{Areas, Behind, Kind, Piece};
pub(super) use listing::made_up;
use listing::{Line, Name};

const MPROTECT: u64 = 10;
const MUNMAP: u64 = 11;
const BRK: u64 = 12;
const MREMAP: u64 = 25;
const MADVISE: u64 = 28;
const PRCTL: u64 = 157;
/// Calls that change areas in ways not followed here: shmat, execve, shmdt, mlock, munlock, mlockall,
/// munlockall, remap_file_pages, mbind, execveat, mlock2, pkey_mprotect, process_madvise,
/// set_mempolicy_home_node, map_shadow_stack, mseal.
const NOT_FOLLOWED: [u64; 16] = [
    30, 59, 67, 149, 150, 151, 152, 216, 237, 322, 325, 329, 440, 450, 453, 462,
];
/// What madvise may be asked for that changes no area: NORMAL, WILLNEED, DONTNEED, FREE, REMOVE, COLD,
/// PAGEOUT, POPULATE_READ, POPULATE_WRITE, DONTNEED_LOCKED, COLLAPSE.
const ADVICE_ON_PAGES: [u64; 11] = [0, 3, 4, 8, 9, 20, 21, 22, 23, 24, 25];
const PR_SET_VMA: u64 = 0x5356_4d41;
/// mmap: areas that grow downwards, are locked, lie in large pages.
const FLAGS_NOT_FOLLOWED: u64 = 0x100 | 0x2000 | 0x4_0000;
/// mprotect: up to where the area grows.
const PROT_GROWS: u64 = 0x300_0000;
const MREMAP_DONTUNMAP: u64 = 4;

/// What a call did to the areas.
#[derive(Clone, Copy)]
enum Change {
    Nothing,
    Map(Piece),
    Unmap(u64, u64),
    Protect(u64, u64, u64),
    /// The heap ends here.
    Break(u64),
    /// From, bytes, to, bytes.
    Remap((u64, u64), (u64, u64)),
}

/// The areas at a time, and the ends of the heap.
#[derive(Clone)]
struct Process {
    areas: Areas,
    heap: Option<(u64, u64)>,
    /// Where areas changed.
    touched: Vec<(u64, u64)>,
}

impl Process {
    /// Does what a call did; false where that does not fit.
    fn change(&mut self, change: Change) -> bool {
        let span = |start: u64, bytes: u64| (start, start.saturating_add(bytes));
        match change {
            Change::Nothing => return true,
            Change::Map(piece) => {
                self.touched.push((piece.start, piece.end));
                self.areas.map(piece);
            }
            Change::Unmap(start, end) => {
                self.touched.push((start, end));
                self.areas.unmap(start, end);
            }
            Change::Protect(start, end, protection) => {
                self.touched.push((start, end));
                self.areas.protect(start, end, protection);
            }
            Change::Break(after) => {
                let (_, before) = *self.heap.get_or_insert((after, after));
                self.areas.move_break(before, after);
                self.touched.push((before.min(after), before.max(after)));
                self.heap = self.heap.map(|(start, _)| (start, after));
            }
            Change::Remap(from, to) => {
                self.touched
                    .extend([span(from.0, from.1), span(to.0, to.1)]);
                return self.areas.remap(from, to);
            }
        }
        true
    }
}

impl Engine<'_> {
    /// The list of the process's memory as a call found it; `None` when that is not known.
    pub(super) fn memory_listing(&self, before: &KernelCall) -> Option<Contents> {
        let known = self.inputs.address_space.as_ref()?;
        if self
            .graph
            .unseen
            .first()
            .is_some_and(|&id| id < before.access)
        {
            return None;
        }
        // Since Linux 6.7, areas for stacks are kept apart from others.
        [true, false].into_iter().find_map(|stacks_apart| {
            let process = self.process_at(known, before, stacks_apart)?;
            let fits = self.fits_the_end(known, before, &process, stacks_apart);
            fits.then(|| list(known, &process)).flatten()
        })
    }

    /// No call from one to another changed an area, as far as is known.
    pub(super) fn keeps_areas(&self, from: u32, to: u32) -> bool {
        let Some(known) = &self.inputs.address_space else {
            return false;
        };
        let calls = &self.graph.kernel_calls;
        let index = |id: u32| calls.partition_point(|call| call.access < id);
        calls[index(from)..index(to)].iter().all(|call| {
            let change = self.change_by(known, call, true);
            matches!(change, Some(Change::Nothing))
        })
    }

    /// The calls have left the areas so.
    fn process_at(
        &self,
        known: &AddressSpace,
        before: &KernelCall,
        stacks_apart: bool,
    ) -> Option<Process> {
        let mut process = Process {
            areas: Areas::new(&known.first),
            heap: known.heap.map(|start| (start.0, start.0)),
            touched: Vec::new(),
        };
        let calls = &self.graph.kernel_calls;
        let end = calls.partition_point(|call| call.access < before.access);
        let mut calls = calls[..end].iter();
        let all = calls.all(|call| {
            let change = self.change_by(known, call, stacks_apart);
            change.is_some_and(|change| process.change(change))
        });
        all.then_some(process)
    }

    /// Where nothing changed since, the dump has the same areas. True where it is not known what changed.
    fn fits_the_end(
        &self,
        known: &AddressSpace,
        since: &KernelCall,
        process: &Process,
        stacks_apart: bool,
    ) -> bool {
        let mut later = process.clone();
        later.touched.clear();
        let calls = &self.graph.kernel_calls;
        let first = calls.partition_point(|call| call.access <= since.access);
        for call in &calls[first..] {
            match self.change_by(known, call, stacks_apart) {
                Some(change) if later.change(change) => {}
                _ => return true,
            }
        }
        let shown = |areas: &Areas| -> Vec<_> {
            let areas = areas.outside(&later.touched).pieces.into_iter();
            let of_process = areas.filter(|of| !matches!(of.behind, Behind::Own(_)));
            of_process.map(|of| of.as_dumped()).collect()
        };
        shown(&process.areas) == shown(&Areas::new(&known.last))
    }

    /// What a call did to the areas; `None` when that is not known.
    fn change_by(
        &self,
        known: &AddressSpace,
        call: &KernelCall,
        stacks_apart: bool,
    ) -> Option<Change> {
        let argument = |n: usize| self.number(call.arguments[n]);
        let number = argument(0)?;
        if NOT_FOLLOWED.contains(&number) {
            return None;
        }
        let changes = matches!(
            number,
            MMAP | MPROTECT | MUNMAP | BRK | MREMAP | MADVISE | PRCTL
        );
        let outcome = self.outcome_of(call);
        if !changes || outcome == Outcome::Failed {
            return Some(Change::Nothing);
        }
        let range = || {
            let (start, bytes) = (argument(1)?, whole_pages(argument(2)?)?);
            Some((start, start.checked_add(bytes)?))
        };
        match number {
            BRK => self.break_by(call),
            // Whether these fail is seldom asked, as they do not.
            MUNMAP => range().map(|(start, end)| Change::Unmap(start, end)),
            MPROTECT => {
                let (start, end) = range()?;
                let protection = argument(3).filter(|of| of & PROT_GROWS == 0)?;
                Some(Change::Protect(start, end, protection))
            }
            MADVISE => ADVICE_ON_PAGES
                .contains(&argument(3)?)
                .then_some(Change::Nothing),
            PRCTL => (argument(1)? != PR_SET_VMA).then_some(Change::Nothing),
            _ if outcome != Outcome::Succeeded => None,
            MREMAP => {
                let flags = argument(4).filter(|flags| flags & MREMAP_DONTUNMAP == 0);
                let old = (argument(1)?, whole_pages(argument(2)?)?);
                let new = (self.number(call.result)?, whole_pages(argument(3)?)?);
                flags.map(|_| Change::Remap(old, new))
            }
            _ => self.map_by(known, call, stacks_apart),
        }
    }

    /// brk returns where the heap ends, whether it moved or not.
    fn break_by(&self, call: &KernelCall) -> Option<Change> {
        self.number(call.result).map(Change::Break)
    }

    fn map_by(
        &self,
        known: &AddressSpace,
        call: &KernelCall,
        stacks_apart: bool,
    ) -> Option<Change> {
        let argument = |n: usize| self.number(call.arguments[n]);
        let start = self.number(call.result)?;
        let flags = argument(4).filter(|flags| flags & FLAGS_NOT_FOLLOWED == 0)?;
        let behind = match areas::is_anonymous(flags) {
            true => Behind::Anonymous { moved: 0 },
            false => {
                let offset = argument(6)?;
                let file = known.file_at(start, offset);
                Behind::File { file, offset }
            }
        };
        Some(Change::Map(Piece {
            start,
            end: start.checked_add(whole_pages(argument(2)?)?)?,
            kind: Kind::asked(argument(3)?, flags, stacks_apart),
            behind,
        }))
    }
}

impl AddressSpace {
    /// The file of which an offset lies at an address in the end.
    fn file_at(&self, address: u64, offset: u64) -> Option<u32> {
        let after = self.last.partition_point(|of| of.start.0 <= address);
        let area = self.last.get(after.checked_sub(1)?)?;
        let here = address.wrapping_sub(area.start.0);
        match area.backing {
            Backing::File {
                file,
                offset: first,
            } => {
                let same = address < area.end.0 && first.wrapping_add(here) == offset;
                same.then_some(file)
            }
            _ => None,
        }
    }

    /// The area that an address lies in, in the end.
    fn last_at(&self, address: u64) -> Option<&Area> {
        let after = self.last.partition_point(|of| of.start.0 <= address);
        let area = self.last.get(after.checked_sub(1)?)?;
        (address < area.end.0).then_some(area)
    }
}

/// The list; `None` when it is not known which file an area is of.
fn list(known: &AddressSpace, process: &Process) -> Option<Contents> {
    let mut list = Contents::default();
    for piece in &process.areas.pieces {
        let (mut offset, mut or_start) = (0, None);
        let in_heap = |(start, end): (u64, u64)| piece.start < end && piece.end > start;
        let name = match piece.behind {
            Behind::Anonymous { .. } if process.heap.is_some_and(in_heap) => Name::Kernel("[heap]"),
            Behind::Anonymous { .. } => Name::None,
            Behind::File { file, offset: from } => {
                offset = from;
                Name::File(known.files.get(file? as usize)?)
            }
            Behind::Own(number) => match &known.first[number].backing {
                Backing::Kernel(name) => Name::Kernel(name),
                _ => {
                    // It grew at some time, when its end shows that it did.
                    let last = known.last_at(piece.end - 1)?.start.0;
                    or_start = (last != piece.start).then_some(last);
                    Name::Kernel("[stack]")
                }
            },
        };
        Line {
            start: piece.start,
            or_start,
            end: piece.end,
            kind: piece.kind,
            offset,
            name,
        }
        .write(&mut list);
    }
    Some(list)
}
