//! The fast engine: threads run copies of the program's code, all at once, and stop only
//! where the copies cannot go on.
//!
//! A thread in the cache is [`State::Running`]. When it stops, [`Engine::leave`] finds what
//! the program's state is, and from then on the thread is like one that was stepped: its
//! next instruction is entered in the cache again, or stepped when it cannot be copied,
//! faults, or calls the kernel for something that matters here. Signals are delivered
//! outside of the cache, so that their frames are the program's own. Before the process
//! dies, [`Engine::evict`] takes the cache out of it.

use super::exact::{self, Exact};
use super::signals::{self, Disposition};
use super::{Engine, OnProgress, State, Stop, hide, program_registers};
use crate::cache::area::{R11_AT, RAX_AT, RCX_AT, RDX_AT, RSP_AT, TABLE_AT, TARGET_AT};
use crate::cache::{Cache, Standing, Style, free_area, saved};
use crate::error::Error;
use crate::instruction::Kind;
use crate::journal::Flow;
use crate::maps;
use crate::sys::{self, Remote, Resume, Shared, Wait};
use libc::user_regs_struct as Registers;

/// Stops between two calls of the progress function.
const PROGRESS_STOPS: u64 = 1 << 8;
/// The code segment of 64-bit programs.
const LONG_MODE: u64 = 0x33;

/// What the fast engine has in the program.
#[derive(Debug)]
pub(super) struct Fast {
    pub(super) cache: Cache,
    pub(super) remote: Remote,
    /// When every value counts: what threads have, instead of the logs of the journal.
    pub(super) exact: Option<Exact>,
}

impl Fast {
    /// A thread has ended.
    pub(super) fn ended(&mut self, tid: i32) {
        if let Some(exact) = &mut self.exact {
            exact.ended(tid);
        }
    }
}

impl Engine {
    /// Makes a cache in the process, and gives each thread a log.
    ///
    /// # Errors
    /// The process cannot take it: it has no room, or its system calls are confined.
    pub(crate) fn use_cache(&mut self) -> Result<(), Error> {
        let tid = self.any_stopped();
        let remote = Remote::new(tid, &self.mappings)?;
        // Without a journal, steps are told one by one.
        let exact = self.recording.journal.is_none();
        let style = Style {
            timed: self.threads.len() > 1 && !exact,
            exact,
            alike: self.is_alike(),
        };
        let cache = Cache::new(&remote, &self.mappings, style)?;
        self.fast = Some(Fast {
            cache,
            remote,
            exact: exact.then(Exact::default),
        });
        self.calls_ended(tid)?;
        let tids: Vec<i32> = self.threads.keys().copied().collect();
        tids.into_iter().try_for_each(|tid| self.give_log(tid))
    }

    // The thread made calls for the recorder. If it stood in a system call of its own, such
    // as `execve`, that has ended meanwhile and left its result.
    fn calls_ended(&mut self, tid: i32) -> Result<(), Error> {
        let registers = program_registers(tid)?;
        if let Some(thread) = self.thread(tid) {
            thread.registers = registers;
        }
        Ok(())
    }

    pub(super) fn any_stopped(&self) -> i32 {
        let ready = |tid: &&i32| self.threads[*tid].state == State::Ready;
        self.threads.keys().find(ready).copied().unwrap_or(self.pid)
    }

    /// Runs the program until it ends, or until the cache was taken out of it.
    ///
    /// # Errors
    /// Tracing fails, or the recording cannot be written.
    pub(crate) fn run_in_cache(&mut self, progress: OnProgress<'_>) -> Result<(), Error> {
        if self.recording.journal.is_none() {
            return self.run_in_turns(progress);
        }
        let mut stops = 0u64;
        while self.fast.is_some() && !self.threads.is_empty() {
            stops += 1;
            if self.answer_requests()?.is_break() {
                break;
            }
            self.collect()?;
            match self.next_ready() {
                Some(tid) => self.forgive_gone(tid, Self::go_on)?,
                None => self.wait_beside_pauses()?,
            }
            if stops.is_multiple_of(PROGRESS_STOPS) {
                progress(self.recording.steps(), self.recording.threads());
            }
        }
        Ok(())
    }

    pub(super) fn go_on(&mut self, tid: i32) -> Result<(), Error> {
        let thread = &self.threads[&tid];
        if let Stop::Signal(signal) = thread.stop {
            return self.receive(tid, signal);
        }
        let must_step = thread.steps_next || thread.calls_again();
        if !must_step && self.enter(tid)? {
            return Ok(());
        }
        self.step_one(tid)
    }

    fn receive(&mut self, tid: i32, signal: i32) -> Result<(), Error> {
        self.write_registers(tid)?;
        if let Disposition::Dies { .. } = signals::disposition(self.pid, signal) {
            self.evict(tid)?;
        }
        self.deliver(tid, signal)
    }

    // One instruction of the program's own.
    fn step_one(&mut self, tid: i32) -> Result<(), Error> {
        self.write_registers(tid)?;
        let thread = self.thread(tid).expect("one of ours");
        thread.steps_next = false;
        let before = thread.next_registers();
        let instruction = self.code.get(tid, before.rip);
        match instruction.is_some_and(|i| i.kind == Kind::Syscall) {
            true => self.prepare_call(tid, &before)?,
            false => self.stepped += 1,
        }
        self.attempt(tid, 0)
    }

    // Before system calls that end the process the cache is taken out of it; before those
    // that confine its calls too, as making room for the cache could be its end.
    fn prepare_call(&mut self, tid: i32, before: &Registers) -> Result<(), Error> {
        let last = !self
            .threads
            .iter()
            .any(|(&other, thread)| other != tid && thread.state != State::Leaving);
        match before.rax as i64 {
            libc::SYS_exit_group => self.evict(tid),
            libc::SYS_exit if last => self.evict(tid),
            libc::SYS_seccomp => self.give_up(tid, "the program confines its system calls"),
            libc::SYS_prctl if before.rdi == libc::PR_SET_SECCOMP as u64 => {
                self.give_up(tid, "the program confines its system calls")
            }
            _ => Ok(()),
        }
    }

    fn give_up(&mut self, tid: i32, why: &str) -> Result<(), Error> {
        self.note(format!("{why}: it is stepped from there on"));
        self.evict(tid)
    }

    // Lets a stopped thread go on in the cache; `false` when it must be stepped.
    fn enter(&mut self, tid: i32) -> Result<bool, Error> {
        let mut registers = self.threads[&tid].registers;
        let Some(fast) = self.fast.as_mut().filter(|_| registers.cs == LONG_MODE) else {
            return Ok(false);
        };
        let remote = fast.remote.by(tid);
        let indirect = self.threads[&tid].branched;
        let (cache, journal) = (&mut fast.cache, &mut self.recording.journal);
        let address = match (&mut fast.exact, journal) {
            (Some(exact), _) => {
                let mut flows = |flow: Flow| exact.block(flow.id);
                cache.enter(registers.rip, &remote, &mut flows, indirect)?
            }
            (None, Some(journal)) => {
                let mut flows = |flow| journal.block(flow);
                cache.enter(registers.rip, &remote, &mut flows, indirect)?
            }
            (None, None) => None,
        };
        let (Some(address), Some(area)) = (address, self.ready_log(tid)?) else {
            return Ok(false);
        };
        registers.rip = address;
        registers.gs_base = area;
        registers.orig_rax = u64::MAX;
        sys::set_registers(tid, &registers)?;
        let thread = self.thread(tid).expect("one of ours");
        thread.unwritten = false;
        thread.branched = false;
        thread.attempt = None;
        thread.state = State::Running;
        sys::resume(tid, Resume::Run, 0)?;
        Ok(true)
    }

    // The thread's log has room, and will stop it when it has not. Address of its area.
    fn ready_log(&mut self, tid: i32) -> Result<Option<u64>, Error> {
        if let Some(exact) = self.fast.as_ref().and_then(|fast| fast.exact.as_ref()) {
            exact.rewind(tid, self.in_state(State::Ready).len() < 2);
            return Ok(exact.area(tid).map(|area| area.remote));
        }
        let journal = self.recording.journal.as_mut();
        let Some(log) = journal.and_then(|journal| journal.log(tid)) else {
            return Ok(None);
        };
        log.turn();
        let pauses = self.pauses.as_mut().filter(|_| self.threads.len() > 1);
        let thread = self.threads.get_mut(&tid).expect("one of ours");
        let watch = match pauses {
            Some(pauses) => log.watch_at(pauses.next_look(&mut thread.pause, log.written())),
            None => log.watch(),
        };
        let area = log.area().remote;
        if thread.watching != Some(watch) {
            sys::watch(tid, watch)?;
            thread.watching = Some(watch);
        }
        Ok(Some(area))
    }

    // The area of a thread that has one.
    fn area(&self, tid: i32) -> Option<&Shared> {
        match self.fast.as_ref().and_then(|fast| fast.exact.as_ref()) {
            Some(exact) => exact.area(tid),
            None => self.recording.journal.as_ref()?.area(tid),
        }
    }

    // All areas.
    pub(super) fn areas(&self) -> impl Iterator<Item = &Shared> {
        let exact = self.fast.as_ref().and_then(|fast| fast.exact.as_ref());
        let exact = exact.into_iter().flat_map(Exact::areas);
        exact.chain(self.recording.journal.iter().flat_map(|j| j.areas()))
    }

    /// A thread that was in the cache has stopped or ended.
    pub(super) fn stopped_in_cache(&mut self, tid: i32, wait: Wait) -> Result<(), Error> {
        match wait {
            Wait::Exited(_) | Wait::Killed { .. } => {
                self.process_ended(tid, wait);
                Ok(())
            }
            Wait::Event {
                event: libc::PTRACE_EVENT_EXIT,
                ..
            } => self.killed_in_cache(tid),
            Wait::Event { signal, .. } => {
                self.leave(tid, 0)?;
                if signal != libc::SIGTRAP {
                    self.write_registers(tid)?;
                    self.thread(tid).expect("one of ours").state = State::Halted;
                    sys::resume(tid, Resume::Listen, 0)?;
                }
                Ok(())
            }
            Wait::Signal(signal) => self.signalled_in_cache(tid, signal),
            Wait::Syscall => self.leave(tid, 0),
        }
    }

    // Killed from outside, or with its process: it may have been anywhere.
    fn killed_in_cache(&mut self, tid: i32) -> Result<(), Error> {
        let mut registers = sys::registers(tid)?;
        if self.is_at_instruction(tid, &registers) {
            self.leave(tid, 0)?;
        } else {
            // It ran onto a stop in the cache, and was killed before that was told. (Another `execve` ends
            // threads at any time.)
            registers.rip -= 1;
            if self.is_at_instruction(tid, &registers) {
                self.leave(tid, 1)?;
            }
        }
        if let Some(thread) = self.thread(tid) {
            thread.state = State::Leaving;
        }
        sys::resume(tid, Resume::Run, 0)
    }

    fn signalled_in_cache(&mut self, tid: i32, signal: i32) -> Result<(), Error> {
        const SI_KERNEL: i32 = 0x80;
        const TRAP_HARDWARE: i32 = 4;
        let code = sys::signal_info(tid)?.si_code;
        match (signal, code) {
            // A stop that was written into the cache; it has an INT3's length.
            (libc::SIGTRAP, SI_KERNEL) => self.runs_onto_stop(tid),
            (libc::SIGTRAP, TRAP_HARDWARE) => {
                self.leave(tid, 0)?;
                self.look(tid);
                Ok(())
            }
            // The fault is to happen again, where the program's own instruction is.
            _ if code > 0 && signals::is_fault(signal) => {
                self.leave(tid, 0)?;
                self.thread(tid).expect("one of ours").steps_next = true;
                Ok(())
            }
            _ => {
                self.leave(tid, 0)?;
                self.thread(tid).expect("one of ours").stop = Stop::Signal(signal);
                Ok(())
            }
        }
    }

    // A thread with these registers stands where the program's state can be found.
    fn is_at_instruction(&self, tid: i32, registers: &Registers) -> bool {
        let cache = self.fast.as_ref().map(|fast| &fast.cache);
        let target = self
            .area(tid)
            .map_or(0, |area| area.quad(TARGET_AT as usize));
        cache.is_none_or(|cache| {
            !cache.contains(registers.rip) || cache.standing(registers, target).is_some()
        })
    }

    // Finds the program's state in that of a thread stopped in the cache, `behind` so many
    // bytes of the instruction that stopped it.
    pub(super) fn leave(&mut self, tid: i32, behind: u64) -> Result<(), Error> {
        self.look_for_sequences(tid);
        let mut registers = sys::registers(tid)?;
        registers.rip -= behind;
        let fast = self.fast.as_ref().expect("the fast engine's thread");
        let area = self.area(tid).expect("a thread in the cache has an area");
        let target = area.quad(TARGET_AT as usize);
        let (mut branched, mut calls, mut ran_only) = (false, false, None);
        if let Some(standing) = fast.cache.standing(&registers, target) {
            let lost = !is_canonical(standing.ip);
            restore(&mut registers, &standing, area);
            ran_only = standing.ran_only;
            let before = self
                .last_block(tid)
                .and_then(|id| fast.cache.before_branch(id));
            if let Some((ip, ran, undo)) = before.filter(|_| standing.branched && lost) {
                // Such a branch faults: it is to be seen where it faults.
                registers.rsp = registers.rsp.wrapping_add_signed(undo);
                registers.rip = ip;
                ran_only = Some(ran);
            }
            // A stop within a block is at a system call that is not to be made there.
            calls = behind != 0 && ran_only.is_some();
            branched = standing.branched && !lost;
        } else if fast.cache.contains(registers.rip) {
            return Err(Error::option(format!(
                "the program was stopped at {:#x} in its copied code, where no instruction begins",
                registers.rip
            )));
        }
        self.told(tid, ran_only, registers.rip)?;
        registers.gs_base = self.threads[&tid].registers.gs_base;
        self.stands(tid, registers, Stop::Clean);
        let thread = self.thread(tid).expect("one of ours");
        thread.unwritten = true;
        thread.branched = branched;
        thread.steps_next = calls;
        Ok(())
    }

    // The block that the thread entered last.
    fn last_block(&self, tid: i32) -> Option<u32> {
        match self.fast.as_ref().and_then(|fast| fast.exact.as_ref()) {
            Some(exact) => exact.last_block(tid),
            None => self.recording.journal.as_ref()?.last(tid),
        }
    }

    // What the thread did in the cache is kept; of its last block, only so many
    // instructions ran.
    fn told(&mut self, tid: i32, ran_only: Option<u8>, next_ip: u64) -> Result<(), Error> {
        let Some(journal) = &mut self.recording.journal else {
            return self.tell_logged(tid, ran_only, next_ip);
        };
        if let Some(ran) = ran_only {
            journal.ran_only(tid, ran);
        }
        if let Some(log) = journal.log(tid) {
            log.turn();
        }
        Ok(())
    }

    // Gives a thread the program's registers, when it still has those of the cache.
    fn write_registers(&mut self, tid: i32) -> Result<(), Error> {
        let thread = self.thread(tid).expect("one of ours");
        if std::mem::take(&mut thread.unwritten) {
            sys::set_registers(tid, &thread.registers)?;
        }
        Ok(())
    }

    // Every thread leaves the cache.
    pub(super) fn stop_running(&mut self) -> Result<(), Error> {
        self.interrupt_all(State::Running, |engine, tid| {
            match sys::wait(tid, true)? {
                Some((_, wait)) => engine.stopped_in_cache(tid, wait)?,
                None => engine.ended(tid),
            }
            Ok(())
        })
    }

    // Interrupts the threads in this state; `next_stop` waits for one and acts on it, until the
    // thread is in another state.
    pub(super) fn interrupt_all(
        &mut self,
        state: State,
        next_stop: impl Fn(&mut Engine, i32) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for tid in self.in_state(state) {
            match sys::interrupt(tid) {
                Err(error) if !error.is_gone() => return Err(error),
                _ => {}
            }
            while self.threads.get(&tid).is_some_and(|t| t.state == state) {
                next_stop(self, tid)?;
            }
        }
        Ok(())
    }

    /// Takes the cache out of the process, whose thread `by` is stopped: from here on it is
    /// stepped, and nothing but the program is in its memory and registers.
    ///
    /// # Errors
    /// Tracing fails.
    pub(super) fn evict(&mut self, by: i32) -> Result<(), Error> {
        self.stop_running()?;
        let stopped = self.in_state(State::Ready);
        stopped.iter().try_for_each(|&t| self.write_registers(t))?;
        let Some(fast) = &self.fast else {
            return Ok(());
        };
        let held = match self.threads.get(&by).map(|thread| thread.stop) {
            Some(Stop::Signal(_)) => Some(sys::signal_info(by)?),
            _ => None,
        };
        let remote = fast.remote.by(by);
        for memory in fast.cache.memory().chain(self.areas()) {
            memory.unmap_there(&remote)?;
        }
        self.fast = None;
        held.map_or(Ok(()), |info| sys::set_signal_info(by, &info))
    }

    /// Gives a stopped thread an area of its own, with a log.
    pub(super) fn give_log(&mut self, tid: i32) -> Result<(), Error> {
        let Some(fast) = &mut self.fast else {
            return Ok(());
        };
        let journal = &mut self.recording.journal;
        let (free, length) = match (&mut fast.exact, &mut *journal) {
            (Some(exact), _) => (exact.free_area(), exact::AREA_BYTES),
            (None, Some(journal)) => (journal.free_area(), journal.area_bytes()),
            (None, None) => return Ok(()),
        };
        let is_new = free.is_none();
        let area = match free {
            Some(area) => area,
            None => {
                let at = free_area(&maps::read(self.pid), length as u64);
                Shared::new(&fast.remote.by(tid), at, length, false)?
            }
        };
        area.set_quad(RAX_AT as usize + 8, 0);
        area.set_quad(TABLE_AT as usize, fast.cache.table());
        hide::permit_calls(&area, !self.lists.is_empty(), self.alike.is_some());
        match (&mut fast.exact, journal) {
            (Some(exact), _) => exact.begin(tid, area),
            (None, Some(journal)) => journal.begin(tid, area),
            (None, None) => {}
        }
        if is_new {
            self.calls_ended(tid)?;
        }
        Ok(())
    }

    /// A second thread is about to run: locked instructions are timed from now on.
    pub(super) fn becomes_threaded(&mut self) -> Result<(), Error> {
        if self
            .fast
            .as_ref()
            .is_some_and(|fast| fast.exact.is_none() && !fast.cache.is_timed())
        {
            self.stop_running()?;
            if let Some(fast) = &mut self.fast {
                fast.cache.set_timed();
                fast.cache.clear();
            }
        }
        Ok(())
    }

    /// The process runs another program: it gets a cache of its own.
    pub(super) fn replaces_cache(&mut self, former: Option<Fast>) -> Result<(), Error> {
        if former.is_none() {
            return Ok(());
        }
        if let Some(journal) = &mut self.recording.journal {
            journal.forget_areas();
        }
        self.use_cache()
    }

    /// Mappings changed: copies of what may have changed are thrown away.
    pub(super) fn cache_follows_mappings(&mut self, tid: i32) -> Result<(), Error> {
        let Some(fast) = &mut self.fast else {
            return Ok(());
        };
        if fast.cache.mappings_changed(tid, &self.mappings) {
            self.stop_running()?;
            if let Some(fast) = &mut self.fast {
                fast.cache.clear();
            }
        }
        Ok(())
    }

    /// Whether a mapping is the recorder's.
    pub(super) fn is_own_mapping(&self, start: u64) -> bool {
        let Some(fast) = &self.fast else {
            return false;
        };
        fast.cache
            .memory()
            .chain(self.areas())
            .any(|memory| (memory.remote..memory.remote + memory.length as u64).contains(&start))
    }
}

fn restore(registers: &mut Registers, standing: &Standing, area: &Shared) {
    let waits = |bit| standing.saved & bit != 0;
    if waits(saved::RAX) {
        registers.rax = area.quad(RAX_AT as usize);
    }
    if waits(saved::RCX) {
        registers.rcx = area.quad(RCX_AT as usize);
    }
    if waits(saved::RDX) {
        registers.rdx = area.quad(RDX_AT as usize);
    }
    if waits(saved::R11) {
        registers.r11 = area.quad(R11_AT as usize);
    }
    if waits(saved::RSP) {
        registers.rsp = area.quad(RSP_AT as usize);
    }
    if standing.called {
        registers.rcx = standing.ip;
    }
    registers.rip = standing.ip;
}

// Whether the upper bits repeat bit 47, as they must where paging has four levels; with
// five, the kernel gives programs such addresses only when they ask for them.
fn is_canonical(address: u64) -> bool {
    let upper = (address as i64) >> 47;
    upper == 0 || upper == -1
}
