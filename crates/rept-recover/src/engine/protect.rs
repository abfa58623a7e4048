//! Memory that the loader wrote and then protected (RELRO): at the end it cannot be written, so it
//! has not been since the last system call that can have taken the permission away.
//!
//! Such calls are few and mostly say what they are: the number and the protection are constants of
//! the code. One of which too little is known counts for all of memory. When none is in the window,
//! the protection is older than the window. Assumed: what a call is known to have protected, no
//! call of which too little is known protects again.

use super::cells::CELL;
use super::graph::{Graph, KernelCall};
use super::kernel::whole_pages;
use super::{Engine, Grade};
use rept_order::{Relation, SegmentId};

const PROT_READ: u64 = 1;
const PROT_WRITE: u64 = 2;
const MAP_FIXED: u64 = 0x10;

/// A call that may have made memory read-only, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Event {
    order: u32,
    start: u64,
    end: u64,
    /// It made it read-only, and did not only map it anew.
    protects: bool,
}

/// The calls that may have made memory read-only.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Protection {
    /// Those of which it is known where, ascending.
    known: Vec<Event>,
    /// The others.
    anywhere: Vec<u32>,
    /// The others protect nothing that one of the former did.
    once: bool,
}

impl Protection {
    /// What is known of the calls by now.
    fn new(graph: &Graph, once: bool) -> Protection {
        let mut protection = Protection {
            anywhere: graph.unseen.clone(),
            once,
            ..Protection::default()
        };
        for call in &graph.kernel_calls {
            match event(graph, call) {
                Some(Where::Known(event)) => protection.known.push(event),
                Some(Where::Anywhere) => protection.anywhere.push(call.access),
                None => {}
            }
        }
        protection
    }

    /// Calls that may concern an address.
    fn concerning(&self, address: u64) -> impl Iterator<Item = u32> + '_ {
        let here =
            move |event: &&Event| event.start < address.saturating_add(CELL) && address < event.end;
        let known = self.known.iter().filter(here);
        let suffices = self.once && known.clone().any(|event| event.protects);
        let others = self.anywhere.iter().filter(move |_| !suffices);
        known.map(|event| event.order).chain(others.copied())
    }

    /// All calls that may concern an address come before an access, in the sequence.
    pub(super) fn is_over(&self, order: u32, address: u64) -> bool {
        self.concerning(address).all(|event| event < order)
    }
}

impl Engine<'_> {
    /// Looks again which calls may have protected memory; more is constant when they are fewer. False
    /// when nothing changed.
    pub(super) fn observe_protection(&mut self) -> bool {
        let protection = Protection::new(&self.graph, self.grade > Grade::Certain);
        if protection == self.protection {
            return false;
        }
        self.protection = protection;
        for cell in 0..self.cells.cells.len() {
            if self.cells.cells[cell].protected != 0 {
                self.block_cell(cell as u32);
            }
        }
        true
    }

    /// What is assumed of which calls protected memory, to the end.
    pub(super) fn trust_protection(&mut self) {
        if self.observe_protection() {
            self.fixpoint();
        }
    }

    /// Protected memory is as in the dump at an access, whoever made it so.
    pub(super) fn is_protected(&self, order: u32, address: u64) -> bool {
        if !self.threaded {
            return self.protection.is_over(order, address);
        }
        let here = self.graph.segment_of_access(order);
        self.protection.concerning(address).all(|event| {
            let there = self.graph.segment_of_access(event);
            event < order
                && (self.graph.segments[there].thread == self.graph.segments[here].thread
                    || self
                        .order
                        .relation(SegmentId(there as u32), SegmentId(here as u32))
                        == Relation::Before)
        })
    }
}

/// The memory that a call may have protected.
enum Where {
    Known(Event),
    Anywhere,
}

/// The call as far as it may have protected memory.
fn event(graph: &Graph, call: &KernelCall) -> Option<Where> {
    let bits = |n: usize| graph.nodes.bits[call.arguments[n] as usize];
    let everything = Some(Where::Anywhere);
    let Some(number) = bits(0).get() else {
        return everything;
    };
    let sets = |n: usize, flag: u64| bits(n).known & bits(n).value & flag != 0;
    let clears = |n: usize, flag: u64| bits(n).known & !bits(n).value & flag != 0;
    match number {
        // mprotect, pkey_mprotect: a mapping made writable is not read-only from here on.
        10 | 329 if sets(3, PROT_WRITE) => None,
        // Nor is one that cannot be read at all: what can be at the end was made so by a later call.
        9 | 10 | 329 if clears(3, PROT_READ) => None,
        // mmap: without MAP_FIXED nothing that is there is replaced.
        9 if clears(4, MAP_FIXED) => None,
        9 | 10 | 329 => match (bits(1).get(), bits(2).get()) {
            (Some(start), Some(bytes)) => Some(Where::Known(Event {
                order: call.access,
                start,
                end: start.saturating_add(whole_pages(bytes).unwrap_or(u64::MAX)),
                protects: clears(3, PROT_WRITE),
            })),
            _ => everything,
        },
        // mremap, shmat, execve, remap_file_pages, execveat.
        25 | 30 | 59 | 216 | 322 => everything,
        _ => None,
    }
}
