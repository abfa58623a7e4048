//! Which file a system call reads: file descriptors, followed from the first system call of the process
//! on. What a file held then is assumed to be what [`OpenedFiles`](super::OpenedFiles) has under the
//! path that the program opened it with.
//!
//! A new descriptor has the lowest number that is free (open(2), "the lowest-numbered file descriptor
//! not currently open"), so that numbers are known as long as every call is that made or closed one. A
//! read goes on where the one before ended, and ends with the file (read(2), lseek(2)). What is so
//! foretold of a result is a pair: it is dropped where it contradicts what is known.

use super::address_space::made_up;
use super::contents::Contents;
use super::graph::{AccessKind, AccessState, Graph, KernelCall, NONE, ReadOf};
use super::kernel::PAGE;
use super::known_calls::{FSTAT, NEWFSTATAT, stat_buffer};
use super::{AddressSpace, Descriptor, Engine, OpenedFiles, Options};
use crate::experiment::Technique;
use hashbrown::{HashMap, HashSet};
use rept_trace::{ThreadId, Trace};
use std::collections::BTreeMap;
use std::sync::Arc;

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
    /// What was open before the first step.
    first: Vec<Descriptor>,
    /// Calls whose result is assumed.
    foretold: HashSet<u32>,
    /// Calls of which it is assumed in how large blocks the file lies that they ask about.
    block_sizes: HashSet<u32>,
    pub(super) address_space: Option<Arc<AddressSpace>>,
    /// Files of the graph that the kernel made up, by the call that read them first.
    listed: HashMap<u32, u32>,
    /// The process, and the threads of the trace.
    pub(super) process: Option<u32>,
    pub(super) threads: Vec<ThreadId>,
}

impl Inputs {
    pub(super) fn new(trace: &Trace, options: &Options) -> Inputs {
        let standard = (0..3).map(|number| Descriptor {
            number,
            path: None,
            position: 0,
        });
        Inputs {
            files: options.opened_files.clone(),
            first: options
                .descriptors
                .clone()
                .unwrap_or_else(|| standard.collect()),
            address_space: options.address_space.clone(),
            process: options.process,
            threads: trace.threads.iter().map(|thread| thread.thread).collect(),
            ..Inputs::default()
        }
    }
}

impl Inputs {
    /// How much was learned of calls so far.
    fn learned(&self, graph: &Graph) -> usize {
        graph.file_reads.len() + self.foretold.len() + self.block_sizes.len()
    }
}

/// What a system call does to descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Opens a file: the arguments that hold the directory, if there is one, and the flags.
    Open(Option<usize>, usize),
    Read,
    ReadAt,
    /// Reads at the position, into several buffers.
    ReadParts,
    Seek,
    Stat,
    Close,
    Duplicate,
    /// To a number that is asked for.
    DuplicateTo,
    Control,
    /// Makes a descriptor that is no file's.
    Make,
    /// Makes two, and writes their numbers into memory.
    MakeTwo,
    /// Reads from descriptors at their positions, in ways not followed.
    MoveOn,
    /// Asks a device; a few questions make descriptors.
    Ask,
    /// Makes a thread or process, which may share the descriptors.
    Share,
    /// Makes or closes descriptors, nobody knows which.
    Anything,
    Nothing,
}

/// Numbers: `syscalls.txt`.
fn role(number: u64) -> Role {
    match number {
        0 => Role::Read,
        2 => Role::Open(None, 2),
        257 => Role::Open(Some(1), 3),
        3 => Role::Close,
        4 | 5 | 6 | 262 => Role::Stat,
        8 => Role::Seek,
        16 => Role::Ask,
        17 => Role::ReadAt,
        19 => Role::ReadParts,
        32 => Role::Duplicate,
        33 | 292 => Role::DuplicateTo,
        72 => Role::Control,
        // socket, accept, mq_open, epoll_create, inotify_init, signalfd, timerfd_create, eventfd and
        // their like, perf_event_open, fanotify_init, open_by_handle_at, memfd_create, bpf,
        // userfaultfd, pidfd_open, pidfd_getfd, openat2, creat.
        41 | 43 | 85 | 213 | 240 | 253 | 282 | 283 | 284 | 288 | 289 | 290 | 291 | 294 | 298
        | 300 | 304 | 319 | 321 | 323 | 434 | 437 | 438 | 447 => Role::Make,
        // pipe, socketpair, pipe2.
        22 | 53 | 293 => Role::MakeTwo,
        // sendfile, splice, copy_file_range, preadv2 (whose offset may be the position).
        40 | 275 | 326 | 327 => Role::MoveOn,
        56 | 435 => Role::Share,
        // recvmsg, recvmmsg, execve, execveat, seccomp, io_uring, close_range, open_tree and what mounts.
        47 | 299 | 59 | 317 | 322 | 425..=427 | 436 | 428..=433 | 442 => Role::Anything,
        _ => Role::Nothing,
    }
}

/// An open file.
#[derive(Clone, Copy, Debug)]
struct OpenFile {
    /// Of the graph's files, if its contents are at hand.
    file: Option<u32>,
    /// It is one of those that the kernel makes up as they are read.
    of_kernel: bool,
    /// It is the kernel's list of the process's memory.
    lists_memory: bool,
    /// The call that read it first, if it is made up as it is read.
    made_for: u32,
    /// Where the next read begins, if that is known.
    position: Option<u64>,
}

/// The descriptors that are open before a system call.
#[derive(Debug, Default)]
struct Table {
    /// Descriptor to open file: duplicates share one.
    descriptors: BTreeMap<u32, usize>,
    open: Vec<OpenFile>,
    /// No other descriptor is open.
    whole: bool,
}

impl Table {
    /// All may be otherwise from here on.
    fn lose(&mut self) {
        self.descriptors.clear();
        self.whole = false;
    }

    fn lowest_free(&self, from: u32) -> Option<u32> {
        let free = |number: &u32| !self.descriptors.contains_key(number);
        self.whole.then(|| (from..=u32::MAX).find(free)).flatten()
    }

    fn insert(&mut self, descriptor: u32, file: Option<u32>, position: u64) {
        let position = Some(position);
        let of_kernel = false;
        self.enter(
            descriptor,
            OpenFile {
                file,
                of_kernel,
                lists_memory: false,
                made_for: NONE,
                position,
            },
        );
    }

    fn enter(&mut self, descriptor: u32, open: OpenFile) {
        self.descriptors.insert(descriptor, self.open.len());
        self.open.push(open);
    }

    fn file(&mut self, descriptor: u64) -> Option<&mut OpenFile> {
        let descriptor = u32::try_from(descriptor).ok()?;
        let index = *self.descriptors.get(&descriptor)?;
        self.open.get_mut(index)
    }

    /// Something was read, nobody knows from which.
    fn move_on(&mut self) {
        for file in &mut self.open {
            file.position = None;
        }
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
        for walk in 1..=MAX_WALKS {
            let known = self.inputs.learned(&self.graph);
            self.walk_calls();
            // One at a time, as what follows from one may tell of which file the next call asks.
            let all = walk == MAX_WALKS || !self.graph.begins;
            let more = self.inputs.learned(&self.graph) != known;
            if !more && !self.assume_block_sizes(all) {
                return;
            }
            self.fixpoint();
            self.trust_protection();
            if self.pace.is_stopped() {
                return;
            }
        }
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
            match number.map_or(Role::Anything, role) {
                // What another thread does in the meantime, nobody knows.
                Role::Share if self.may_share(&call) => return,
                role => self.follow_call(&mut table, &call, role, &written),
            }
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
        let mut table = Table {
            whole: self.graph.begins,
            ..Table::default()
        };
        if table.whole {
            for of in self.inputs.first.clone() {
                let file = of.path.and_then(|path| self.file_of(path));
                table.insert(of.number, file, of.position);
            }
        }
        table
    }

    /// Paths that the program opened in ways that may change the file.
    fn written_paths(&self) -> HashSet<Vec<u8>> {
        let calls = self.graph.kernel_calls.iter();
        calls
            .filter_map(|call| {
                let Role::Open(_, flags) = role(self.number(call.arguments[0])?) else {
                    return None;
                };
                let path = self.path_of(call)?;
                (!self.only_reads(call.arguments[flags])).then_some(path)
            })
            .collect()
    }

    pub(super) fn number(&self, node: u32) -> Option<u64> {
        self.graph.nodes.bits[node as usize].get()
    }

    /// The low 32 bits: descriptors and flags are ints.
    fn int(&self, node: u32) -> Option<u32> {
        let bits = self.graph.nodes.bits[node as usize];
        (bits.known as u32 == u32::MAX).then_some(bits.value as u32)
    }

    fn only_reads(&self, flags: u32) -> bool {
        let bits = self.graph.nodes.bits[flags as usize];
        (bits.known & !bits.value) & (O_ACCMODE | O_TRUNC) == O_ACCMODE | O_TRUNC
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
                let path = self.path_of(call).unwrap_or_default();
                let open = OpenFile {
                    file: self.opened_by(call, directory, flags, written),
                    of_kernel: path.starts_with(b"/proc/"),
                    lists_memory: self.lists_memory(&path),
                    made_for: NONE,
                    position: Some(0),
                };
                self.new_descriptor(table, call, 0, |table, new| table.enter(new, open));
            }
            Role::Make => {
                self.new_descriptor(table, call, 0, |table, new| table.insert(new, None, 0));
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
            Role::ReadAt => {
                let file = self.file_at(table, call);
                self.reads(call, file.and_then(|open| open.file), 0);
                let offset = self.number(arguments[4]);
                let count = file
                    .zip(offset)
                    .and_then(|(file, at)| self.count(call, file, at));
                self.foretell_count(call, count);
            }
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

    /// A call of the stat family asks about a path, or may do so.
    fn names_a_path(&self, call: &KernelCall) -> bool {
        let flags = self.graph.nodes.bits[call.arguments[4] as usize];
        match self.number(call.arguments[0]) {
            Some(FSTAT) => false,
            Some(NEWFSTATAT) => flags.known & flags.value & AT_EMPTY_PATH == 0,
            _ => true,
        }
    }

    /// Of the first call, or of all, that asks about a file of which nothing else is known, it is
    /// assumed that it is a plain one. True if there was such a call.
    fn assume_block_sizes(&mut self, all: bool) -> bool {
        let mut some = false;
        for index in 0..self.graph.kernel_calls.len() {
            let call = self.graph.kernel_calls[index];
            some |= self.assume_block_size(&call, false);
            if some && !all {
                return true;
            }
        }
        some
    }

    /// Assumed: files have blocks of a page, as those of most file systems, pipes and sockets, and what
    /// the kernel makes up those of `/proc`. By that the C library sizes its buffers, so that the whole
    /// heap behind one hangs on it. True if it is new.
    fn assume_block_size(&mut self, call: &KernelCall, of_kernel: bool) -> bool {
        /// Offset of `st_blksize` in the kernel's `struct stat` (x86-64).
        const BLOCK_SIZE: u64 = 56;
        const OF_KERNEL: u64 = 1024;
        let value = |node: u32| self.graph.nodes.bits[node as usize].get();
        let placed = self.graph.accesses[call.access as usize].state == AccessState::Placed;
        let Some(buffer) = stat_buffer(call.arguments.map(value)).filter(|_| placed) else {
            return false;
        };
        let place = buffer.wrapping_add(BLOCK_SIZE);
        let Some(entry) = self.cells.entry_at(place, call.access) else {
            return false;
        };
        if !self.inputs.block_sizes.insert(call.access) {
            return false;
        }
        let node = self.cells.entries[entry as usize].node;
        let constant = self.new_constant(if of_kernel { OF_KERNEL } else { PAGE });
        let number = self.graph.pair(node, constant);
        self.equalise(number);
        true
    }

    /// The open file that a call's first argument names.
    fn file_at(&self, table: &mut Table, call: &KernelCall) -> Option<OpenFile> {
        let descriptor = self.int(call.arguments[1])?;
        table.file(descriptor.into()).map(|open| *open)
    }

    /// A call that makes a descriptor, if it succeeds.
    fn new_descriptor(
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

    fn new_descriptors(&self, table: &mut Table, call: &KernelCall) {
        for _ in 0..2 {
            match (self.outcome_of(call), table.lowest_free(0)) {
                (Outcome::Failed, _) => return,
                (Outcome::Succeeded, Some(free)) => table.insert(free, None, 0),
                _ => return table.whole = false,
            }
        }
    }

    fn duplicate(&mut self, table: &mut Table, call: &KernelCall, from: u32) {
        let of = self.int(call.arguments[1]);
        let open = of.and_then(|of| table.descriptors.get(&of).copied());
        self.new_descriptor(table, call, from, |table, new| match open {
            Some(open) => drop(table.descriptors.insert(new, open)),
            None => table.insert(new, None, 0),
        });
    }

    fn duplicate_to(&mut self, table: &mut Table, call: &KernelCall) {
        let [from, to] = [1, 2].map(|index| self.int(call.arguments[index]));
        match (self.outcome_of(call), from, to) {
            (Outcome::Failed, ..) => {}
            (Outcome::Succeeded, Some(from), Some(to)) => {
                match table.descriptors.get(&from).copied() {
                    Some(open) => drop(table.descriptors.insert(to, open)),
                    None => table.insert(to, None, 0),
                }
            }
            _ => table.lose(),
        }
    }

    /// The file that a call opens, if it only reads it and its contents are at hand.
    fn opened_by(
        &mut self,
        call: &KernelCall,
        directory: Option<usize>,
        flags: usize,
        written: &HashSet<Vec<u8>>,
    ) -> Option<u32> {
        let path = self.path_of(call)?;
        let here = path.starts_with(b"/")
            || directory.is_none_or(|index| self.int(call.arguments[index]) == Some(AT_FDCWD));
        let wanted = here && self.only_reads(call.arguments[flags]) && !written.contains(&path);
        wanted.then(|| self.file_of(path)).flatten()
    }

    /// The number of the file at a path.
    fn file_of(&mut self, path: Vec<u8>) -> Option<u32> {
        if let Some(&known) = self.inputs.by_path.get(&path) {
            return known;
        }
        let files = self.inputs.files.as_ref()?;
        if self.without.has(Technique::Files) {
            return None;
        }
        let contents = files.contents(&path);
        let number = contents.map(|contents| {
            self.graph.files.push(contents.into());
            self.graph.files.len() as u32 - 1
        });
        self.inputs.by_path.insert(path, number);
        number
    }

    /// The path is that of the kernel's list of the process's memory.
    fn lists_memory(&self, path: &[u8]) -> bool {
        let own = self.inputs.process.map(|own| format!("/proc/{own}/maps"));
        path == b"/proc/self/maps" || own.is_some_and(|own| path == own.as_bytes())
    }

    /// The list of the process's memory, as the first read found it.
    fn listed_for(&mut self, call: &KernelCall) -> Option<u32> {
        if let Some(&made) = self.inputs.listed.get(&call.access) {
            return Some(made);
        }
        if self.without.has(Technique::Files) || self.inputs.listed.len() >= MAX_LISTINGS {
            return None;
        }
        let listing = self.memory_listing(call)?;
        self.graph.files.push(listing);
        let made = self.graph.files.len() as u32 - 1;
        self.inputs.listed.insert(call.access, made);
        Some(made)
    }

    /// What the kernel read as the path of a call, up to its null.
    fn path_of(&self, call: &KernelCall) -> Option<Vec<u8>> {
        let step = self.graph.accesses[call.access as usize].step;
        let mut path = Vec::new();
        for id in self.graph.accesses_of(step) {
            let access = &self.graph.accesses[id as usize];
            if access.kind != AccessKind::Load || access.node == NONE {
                continue;
            }
            let bits = self.graph.nodes.bits[access.node as usize];
            for byte in 0..u64::from(access.size) {
                match (
                    bits.known >> (8 * byte) & 0xff,
                    bits.value >> (8 * byte) & 0xff,
                ) {
                    (0xff, 0) => return Some(path).filter(|path| !path.is_empty()),
                    (0xff, value) => path.push(value as u8),
                    _ => return None,
                }
            }
        }
        None
    }

    fn read(&mut self, table: &mut Table, call: &KernelCall, one_buffer: bool) {
        let Some(descriptor) = self.int(call.arguments[1]) else {
            return table.move_on();
        };
        let Some(&mut open) = table.file(descriptor.into()) else {
            return;
        };
        let open = self.as_read(table, descriptor, open, call);
        let known = self.number(call.result);
        let mut count = None;
        if let Some(position) = open.position.filter(|_| one_buffer) {
            count = self.count(call, open, position);
            if known > count && count.is_some() {
                // It was longer than what is at hand.
                if let Some(open) = table.file(descriptor.into()) {
                    (open.file, open.position) = (None, None);
                }
                return;
            }
            self.reads(call, open.file, position);
            self.foretell_count(call, count);
        }
        let moved = match self.outcome_of(call) {
            Outcome::Failed => Some(0),
            _ => known.or(count),
        };
        if let Some(open) = table.file(descriptor.into()) {
            open.position = open.position.zip(moved).map(|(at, by)| at.wrapping_add(by));
        }
    }

    /// What the kernel makes up is made when it is read first, and read no longer when that changed.
    fn as_read(
        &mut self,
        table: &mut Table,
        descriptor: u32,
        mut open: OpenFile,
        call: &KernelCall,
    ) -> OpenFile {
        if !open.lists_memory {
            return open;
        }
        match open.file {
            None if open.position == Some(0) => {
                (open.file, open.made_for) = (self.listed_for(call), call.access);
            }
            Some(_) if !self.keeps_areas(open.made_for, call.access) => {
                (open.file, open.position) = (None, None);
            }
            _ => return open,
        }
        if let Some(entry) = table.file(descriptor.into()) {
            *entry = open;
        }
        open
    }

    /// A call reads a file from an offset on.
    fn reads(&mut self, call: &KernelCall, file: Option<u32>, offset: u64) {
        if file.is_none() || self.graph.file_reads.contains_key(&call.access) {
            return;
        }
        let of = ReadOf {
            base: None,
            file,
            offset,
        };
        self.graph.file_reads.insert(call.access, of);
        self.work
            .insert(self.graph.accesses[call.access as usize].step);
    }

    /// What a call reads of a file: as much as is asked for, or what is left of it.
    fn count(&self, call: &KernelCall, open: OpenFile, position: u64) -> Option<u64> {
        let file: &Contents = &self.graph.files[open.file? as usize];
        let asked = self.number(call.arguments[3])?;
        if file.is_made_up() {
            return Some(made_up(
                file.bytes(),
                usize::try_from(position).ok()?,
                asked,
            ));
        }
        Some((file.len() as u64).saturating_sub(position).min(asked))
    }

    fn foretell_count(&mut self, call: &KernelCall, count: Option<u64>) {
        let open = self.outcome_of(call) != Outcome::Failed && self.number(call.result).is_none();
        if let Some(count) = count.filter(|_| open) {
            self.foretell(call, count);
        }
    }

    fn seek(&mut self, table: &mut Table, call: &KernelCall) {
        let Some(descriptor) = self.int(call.arguments[1]) else {
            return table.move_on();
        };
        let (offset, whence) = (
            self.number(call.arguments[2]),
            self.number(call.arguments[3]),
        );
        let outcome = self.outcome_of(call);
        let known = self.number(call.result);
        let Some(&mut open) = table.file(descriptor.into()) else {
            return;
        };
        let length = open
            .file
            .map(|file| self.graph.files[file as usize].len() as u64);
        let from = match whence {
            Some(SEEK_SET) => Some(0),
            Some(SEEK_CUR) => open.position,
            Some(SEEK_END) => length,
            _ => None,
        };
        // Of what is no file, nobody knows whether it has positions.
        let target = from.zip(offset).map(|(from, by)| from.wrapping_add(by));
        let target = target.filter(|_| length.is_some());
        let position = match (outcome, known, target) {
            (Outcome::Failed, ..) => open.position,
            (Outcome::Succeeded, Some(known), _) => Some(known),
            (Outcome::Succeeded, None, Some(target)) => {
                self.foretell(call, target);
                Some(target)
            }
            _ => None,
        };
        if let Some(open) = table.file(descriptor.into()) {
            open.position = position;
        }
    }

    /// The result of a call is assumed to be this number.
    pub(super) fn foretell(&mut self, call: &KernelCall, result: u64) {
        if self.inputs.foretold.insert(call.access) {
            let constant = self.new_constant(result);
            let number = self.graph.pair(call.result, constant);
            self.equalise(number);
        }
    }
}
