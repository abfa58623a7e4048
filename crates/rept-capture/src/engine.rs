//! How steps are obtained: [`step`] single-steps each thread with ptrace, [`fast`] runs them
//! in a cache of copied code; [`approach`] brings the program to the starting point at full
//! speed.
//!
//! An engine owns the traced process and tells the [`Recording`] what it executed.

mod alike;
mod approach;
mod conclude;
mod end;
mod exact;
mod fast;
mod forks;
mod hide;
mod live;
mod operands;
mod pauses;
mod signals;
mod step;
mod thread;

use crate::code::CodeCache;
use crate::core_file::CoreWriter;
use crate::error::Error;
use crate::family::Family;
use crate::maps::{self, Mapping};
use crate::recording::Recording;
use crate::schedule::Scheduler;
use crate::sys::{self, Ranges, Wait};
use crate::target;
use forks::asks_for_shared_memory;
use libc::user_regs_struct as Registers;
use std::collections::BTreeMap;
use std::ops::Range;
use thread::{Attempt, State, Stop, Thread};

pub(crate) use approach::Start;
pub(crate) use pauses::Pauses;

/// RFLAGS bit of single-stepping.
const TRAP_FLAG: u64 = 1 << 8;

/// The page of the obsolete fast system calls: fixed by the ABI.
const VSYSCALL: Range<u64> = 0xffff_ffff_ff60_0000..0xffff_ffff_ff60_1000;

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It called `exit` with this status.
    Status(i32),
    /// This signal killed it.
    Signal(i32),
    /// It has not ended: it was let go.
    Running,
}

/// Called now and then with what has been done so far.
pub(crate) type OnProgress<'a> = &'a mut dyn FnMut(u64, usize);

/// Sees to it that no traced process stays behind when recording fails.
struct Tracee {
    pid: i32,
    ended: bool,
    // It was there before us, and is to be there afterwards.
    attached: bool,
}

impl Drop for Tracee {
    fn drop(&mut self) {
        self.end();
    }
}

pub(crate) struct Engine {
    pid: i32,
    tracee: Tracee,
    threads: BTreeMap<i32, Thread>,
    code: CodeCache,
    mappings: Vec<Mapping>,
    scheduler: Scheduler,
    pub(crate) recording: Recording,
    ranges: Ranges,
    core: CoreWriter,
    pub(crate) core_bytes: u64,
    exit: Option<Exit>,
    // The cache, while the fast engine has one in the process.
    fast: Option<fast::Fast>,
    /// Whether and where the fast engine pauses threads.
    pub(crate) pauses: Option<Pauses>,
    /// Instructions that the fast engine had to step.
    pub(crate) stepped: u64,
    // How often what was recorded was saved.
    saved: u32,
    // What the kernel answers by chance or by the clock, when that is to be the same in every run.
    alike: Option<alike::Alike>,
    // Lists of mappings that the program was given instead of the kernel's.
    lists: hide::Lists,
    /// After so many steps recording ends.
    pub(crate) most_steps: u64,
    // Stops of new threads and processes that came before their makers told of them.
    early: BTreeMap<i32, Wait>,
    /// Where its children go, when they are followed.
    pub(crate) family: Option<Family>,
    /// Odd things that a user should know, each once.
    pub(crate) notes: Vec<String>,
}

impl Engine {
    /// Takes over a process that stands at the end of its first `exec`.
    pub(crate) fn new(
        pid: i32,
        recording: Recording,
        scheduler: Scheduler,
        core: CoreWriter,
    ) -> Result<Engine, Error> {
        let mut engine = Engine::of(pid, recording, scheduler, core);
        engine.recording.program(pid);
        engine.adopt(pid, None)?;
        engine.read_mappings(pid)?;
        Ok(engine)
    }

    fn of(pid: i32, recording: Recording, scheduler: Scheduler, core: CoreWriter) -> Engine {
        Engine {
            pid,
            tracee: Tracee {
                pid,
                ended: false,
                attached: false,
            },
            threads: BTreeMap::new(),
            code: CodeCache::default(),
            mappings: Vec::new(),
            scheduler,
            recording,
            ranges: Ranges::default(),
            core,
            core_bytes: 0,
            exit: None,
            fast: None,
            pauses: None,
            stepped: 0,
            saved: 0,
            alike: None,
            lists: hide::Lists::default(),
            most_steps: u64::MAX,
            early: BTreeMap::new(),
            family: None,
            notes: Vec::new(),
        }
    }

    /// How the program ended, once it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        self.exit
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    // A stopped thread becomes ours.
    fn adopt(&mut self, tid: i32, parent: Option<i32>) -> Result<(), Error> {
        let registers = program_registers(tid)?;
        self.threads.insert(tid, Thread::stopped(registers));
        self.recording.thread_begins(tid, parent);
        self.becomes_threaded()?;
        self.give_log(tid)
    }

    fn read_mappings(&mut self, tid: i32) -> Result<(), Error> {
        let mut mappings = maps::read(self.pid);
        mappings.retain(|mapping| !self.is_own_mapping(mapping.start));
        self.mappings = mappings;
        self.code.mappings_changed(&self.mappings);
        self.recording.mappings_changed(tid, &self.mappings);
        self.cache_follows_mappings(tid)
    }

    // A thread made another one; returns the new one, stopped at its first instruction,
    // or nothing when it belongs to another process.
    fn cloned(&mut self, parent: i32) -> Result<Option<i32>, Error> {
        let tid = sys::event_message(parent)? as i32;
        if self.first_stop(tid)?.is_none() {
            return Ok(None);
        }
        if !self.is_thread(tid) {
            self.follow(tid, asks_for_shared_memory(parent));
            return Ok(None);
        }
        self.adopt(tid, Some(parent))?;
        Ok(Some(tid))
    }

    // The process runs another program: the thread `tid`, whose id may have been another.
    fn replaced(&mut self, tid: i32) -> Result<(), Error> {
        target::check_process(self.pid)?;
        if let Some(program) = target::without_rights(self.pid) {
            self.note(format!(
                "{} is a set-ID program that runs without its owner's rights: the kernel gives them to none that is traced",
                program.display()
            ));
        }
        let gone: Vec<i32> = self.threads.keys().copied().filter(|&t| t != tid).collect();
        for thread in gone {
            self.ended(thread);
        }
        self.begins_alike(tid)?;
        let registers = program_registers(tid)?;
        self.threads.insert(tid, Thread::stopped(registers));
        self.recording.program(tid);
        let had_cache = self.fast.take();
        self.read_mappings(tid)?;
        self.replaces_cache(had_cache)
    }

    fn ended(&mut self, tid: i32) {
        if self.threads.remove(&tid).is_some() {
            self.recording.thread_ends(tid);
            if let Some(fast) = &mut self.fast {
                fast.ended(tid);
            }
        }
    }

    fn process_ended(&mut self, tid: i32, wait: Wait) {
        self.ended(tid);
        if tid == self.pid {
            self.exit = match wait {
                Wait::Killed { signal, .. } => Some(Exit::Signal(signal)),
                Wait::Exited(status) => Some(Exit::Status(status)),
                _ => self.exit,
            };
        }
    }

    fn thread(&mut self, tid: i32) -> Option<&mut Thread> {
        self.threads.get_mut(&tid)
    }
}

/// A stopped thread's registers as the program knows them. SYSCALL copied RFLAGS with the
/// trap flag into R11; what the program would have found there is put back.
fn program_registers(tid: i32) -> Result<Registers, Error> {
    let mut registers = sys::registers(tid)?;
    let after_syscall = registers.orig_rax as i64 >= 0;
    if after_syscall && registers.r11 & TRAP_FLAG != 0 {
        registers.r11 &= !TRAP_FLAG;
        sys::set_registers(tid, &registers)?;
    }
    Ok(registers)
}
