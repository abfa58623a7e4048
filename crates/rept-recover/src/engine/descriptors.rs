//! Which file a system call reads: file descriptors, followed from the first system call of the process
//! on. What a file held then is assumed to be what [`OpenedFiles`](super::OpenedFiles) has under the
//! path that the program opened it with.
//!
//! A new descriptor has the lowest number that is free (open(2), "the lowest-numbered file descriptor
//! not currently open"), so that numbers are known as long as every call is that made or closed one. A
//! read goes on where the one before ended, and ends with the file (read(2), lseek(2)). What is so
//! foretold of a result is a pair: it is dropped where it contradicts what is known.

mod block_sizes;
mod files;
mod links;
mod numbers;
mod order;
mod reads;
mod role;
mod table;

use super::graph::{Graph, KernelCall, NONE};
use super::{AddressSpace, Creation, Descriptor, Engine, OpenedFiles, Options, ResourceLimit};
use crate::experiment::Technique;
use block_sizes::is_of_kernel;
use hashbrown::{HashMap, HashSet};
pub(super) use links::link_buffer;
use rept_trace::{FinalState, ThreadId, Trace};
use role::{Role, role};
use std::sync::Arc;
use table::{OpenFile, Table};

/// Walks over all calls: each file may hold what leads to the next, but not without end.
const MAX_WALKS: usize = 256;

/// Times that the process's memory is listed.
const MAX_LISTINGS: usize = 64;

const O_ACCMODE: u64 = 3;
const O_TRUNC: u64 = 0o1000;
const AT_FDCWD: u32 = -100i32 as u32;
const AT_EMPTY_PATH: u64 = 0x1000;
const CLONE: u64 = 56;
const CLONE_FILES: u64 = 0x400;
/// Questions about terminals: TCGETS, TIOCGPGRP, TIOCGWINSZ.
const ABOUT_TERMINALS: [u32; 3] = [0x5401, 0x540f, 0x5413];
const SEEK_SET: u64 = 0;
const SEEK_CUR: u64 = 1;
const SEEK_END: u64 = 2;
const F_DUPFD: u64 = 0;
const F_DUPFD_CLOEXEC: u64 = 1030;

/// What is known from outside of what system calls give to the program.
#[derive(Default)]
pub(super) struct Inputs {
    files: Option<Arc<dyn OpenedFiles>>,
    /// Paths that were asked for, with the number of the graph's file.
    by_path: HashMap<Vec<u8>, Option<u32>>,
    /// System calls that made a thread which is traced.
    pub(super) makers: HashMap<(ThreadId, u64), ThreadId>,
    /// Threads of the dump.
    pub(super) alive: HashSet<ThreadId>,
    /// What was open before the first step.
    first: Vec<Descriptor>,
    /// Calls whose result is assumed.
    foretold: HashSet<u32>,
    /// Calls of which it is assumed in how large blocks the file lies that they ask about.
    block_sizes: HashSet<u32>,
    pub(super) address_space: Option<Arc<AddressSpace>>,
    /// Files of the graph that the kernel made up, by the call that read them first.
    listed: HashMap<u32, u32>,
    /// Bytes of the kernel's sets of processors.
    pub(super) processor_set_bytes: Option<u64>,
    /// What the process was limited to when it began, and the calls that are told.
    pub(super) limits: Vec<ResourceLimit>,
    pub(super) limits_told: HashSet<u32>,
    /// The program's path, and the graph's file that stands for a link to it.
    program: Option<Vec<u8>>,
    program_link: Option<u32>,
    /// The process, and the threads of the trace.
    pub(super) process: Option<u32>,
    pub(super) threads: Vec<ThreadId>,
}

impl Inputs {
    pub(super) fn new(trace: &Trace, last: &FinalState<'_>, options: &Options) -> Inputs {
        let standard = (0..3).map(|number| Descriptor {
            number,
            path: None,
            position: 0,
        });
        let traced = |of: &&Creation| trace.thread(of.child).is_some();
        let makers = options.creations.iter().filter(traced);
        let makers = makers.map(|of| ((of.parent, of.step), of.child));
        Inputs {
            files: options.opened_files.clone(),
            first: options
                .descriptors
                .clone()
                .unwrap_or_else(|| standard.collect()),
            address_space: options.address_space.clone(),
            makers: makers.collect(),
            alive: last.threads.iter().map(|thread| thread.thread).collect(),
            processor_set_bytes: options.processor_set_bytes,
            limits: options.limits.clone(),
            program: options.program.clone(),
            process: options.process,
            threads: trace.threads.iter().map(|thread| thread.thread).collect(),
            ..Inputs::default()
        }
    }
}

impl Inputs {
    /// How much was learned of calls so far.
    fn learned(&self, graph: &Graph) -> usize {
        let told = self.block_sizes.len() + self.limits_told.len();
        graph.file_reads.len() + self.foretold.len() + told
    }
}

/// What is known of whether a call succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Unknown,
    Failed,
    Succeeded,
}

impl Engine<'_> {
    /// Learns what calls read of files, until that leads to nothing more.
    pub(super) fn follow_descriptors(&mut self) {
        if !self.pairing || self.without.has(Technique::SystemCalls) {
            return;
        }
        let mut all_told = true;
        for walk in 1..=MAX_WALKS {
            let known = self.inputs.learned(&self.graph);
            self.walk_calls();
            self.assume_processor_sets();
            self.assume_fixed_maps();
            self.assume_limits();
            self.assume_links();
            // One at a time, as what follows from one may tell of which file the next call asks.
            let all = walk == MAX_WALKS || !self.graph.begins;
            let more = self.inputs.learned(&self.graph) != known || self.assume_block_sizes(all);
            match (more, all_told) {
                (true, _) => self.settle(),
                (false, false) => self.fixpoint(),
                (false, true) => return,
            }
            all_told = !more;
            self.trust_protection();
            if self.pace.is_stopped() {
                return;
            }
        }
        self.fixpoint();
    }

    /// Follows the descriptors over all calls, as far as they are known by now.
    fn walk_calls(&mut self) {
        let mut table = self.first_table();
        let threads = self.graph.segments.iter().map(|segment| segment.thread);
        let shared = threads.clone().min() != threads.max();
        if shared && !table.whole {
            return;
        }
        let written = self.written_paths();
        let settled = if shared { self.settled_until() } else { NONE };
        let mut unseen = 0;
        for index in 0..self.graph.kernel_calls.len() {
            let call = self.graph.kernel_calls[index];
            while self
                .graph
                .unseen
                .get(unseen)
                .is_some_and(|&id| id <= call.access)
            {
                unseen += 1;
                table.lose();
            }
            let number = self.number(call.arguments[0]);
            let role = number.map_or(Role::Anything, role);
            if role == Role::Share && self.may_share(&call) {
                if self.made_by(&call).is_none() {
                    // What a thread does that is not traced, nobody knows.
                    return;
                }
                table.shared = true;
            }
            table.whole &= !table.shared || call.access < settled;
            self.follow_call(&mut table, &call, role, &written);
        }
    }

    /// Does what a call makes have the descriptors in common with its maker?
    fn may_share(&self, call: &KernelCall) -> bool {
        let flags = self.graph.nodes.bits[call.arguments[1] as usize];
        let by_register = self.number(call.arguments[0]) == Some(CLONE);
        !by_register || (flags.known & !flags.value) & CLONE_FILES == 0
    }

    /// What is open before the first step.
    fn first_table(&mut self) -> Table {
        let mut table = Table::new(self.graph.begins);
        if table.whole {
            let first = self.graph.segments.first().map_or(0, |of| of.thread);
            for of in self.inputs.first.clone() {
                let file = of.path.and_then(|path| self.file_of(path));
                table.insert(of.number, file, of.position, first);
            }
        }
        table
    }

    pub(super) fn number(&self, node: u32) -> Option<u64> {
        self.graph.nodes.bits[node as usize].get()
    }

    /// The low 32 bits: descriptors and flags are ints.
    fn int(&self, node: u32) -> Option<u32> {
        let bits = self.graph.nodes.bits[node as usize];
        (bits.known as u32 == u32::MAX).then_some(bits.value as u32)
    }

    pub(super) fn outcome_of(&self, call: &KernelCall) -> Outcome {
        let bits = self.graph.nodes.bits[call.result as usize];
        match bits.known >> 63 {
            0 => Outcome::Unknown,
            _ if bits.value >> 63 == 1 => Outcome::Failed,
            _ => Outcome::Succeeded,
        }
    }

    fn follow_call(
        &mut self,
        table: &mut Table,
        call: &KernelCall,
        role: Role,
        written: &HashSet<Vec<u8>>,
    ) {
        let arguments = call.arguments;
        match role {
            Role::Open(directory, flags) => {
                let file = self.opened_by(call, directory, flags, written);
                let open = self.open_file(call, file);
                self.new_descriptor(table, call, 0, |table, new| table.enter(new, open));
            }
            Role::Make => {
                let thread = self.graph.thread_of(call.access);
                self.new_descriptor(table, call, 0, |table, new| {
                    table.insert(new, None, 0, thread);
                });
            }
            Role::MakeTwo => self.new_descriptors(table, call),
            Role::Duplicate => self.duplicate(table, call, 0),
            Role::Control => match (
                self.int(arguments[2]).map(u64::from),
                self.int(arguments[3]),
            ) {
                (Some(F_DUPFD | F_DUPFD_CLOEXEC), Some(from)) => self.duplicate(table, call, from),
                (Some(F_DUPFD | F_DUPFD_CLOEXEC) | None, _) => table.whole = false,
                _ => {}
            },
            Role::DuplicateTo => self.duplicate_to(table, call),
            Role::Close => match self.int(arguments[1]) {
                Some(descriptor) => drop(table.descriptors.remove(&descriptor)),
                None => table.lose(),
            },
            Role::Read | Role::ReadParts => self.read(table, call, role == Role::Read),
            Role::ReadAt => self.read_at(table, call),
            Role::Stat => {
                if let Some(open) = self
                    .file_at(table, call)
                    .filter(|_| !self.names_a_path(call))
                {
                    // What is made up as it is read has no length before.
                    self.reads(call, open.file.filter(|_| !open.of_kernel), 0);
                    self.assume_block_size(call, open.of_kernel);
                }
            }
            Role::Seek => self.seek(table, call),
            Role::Ask => {
                let about = self.int(arguments[2]);
                let makes_none = about.is_some_and(|about| ABOUT_TERMINALS.contains(&about))
                    || self.outcome_of(call) == Outcome::Failed
                    || self.number(call.result) == Some(0);
                table.whole &= makes_none;
            }
            Role::MoveOn => table.move_on(),
            Role::Anything => table.lose(),
            Role::Share | Role::Nothing => {}
        }
    }

    /// What a call opens, read from the beginning.
    fn open_file(&self, call: &KernelCall, file: Option<u32>) -> OpenFile {
        let path = self.path_of(call).unwrap_or_default();
        OpenFile {
            file,
            of_kernel: is_of_kernel(&path),
            lists_memory: self.lists_memory(&path),
            made_for: NONE,
            thread: self.graph.thread_of(call.access),
            position: Some(0),
        }
    }

    /// The result of a call is assumed to be this number.
    pub(super) fn foretell(&mut self, call: &KernelCall, result: u64) {
        if self.inputs.foretold.insert(call.access) {
            self.assume(call.result, result);
        }
    }

    /// The result of a call is assumed to be what a node holds.
    pub(super) fn foretell_as(&mut self, call: &KernelCall, node: u32) {
        if self.inputs.foretold.insert(call.access) {
            self.assume_equal(call.result, node);
        }
    }

    /// A node is assumed to hold a number, until that contradicts what is known.
    pub(super) fn assume(&mut self, node: u32, number: u64) {
        let constant = self.new_constant(number);
        self.assume_equal(node, constant);
    }

    fn assume_equal(&mut self, node: u32, other: u32) {
        let number = self.graph.pair(node, other);
        self.equalise(number);
    }
}
