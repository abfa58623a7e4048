//! The stepping engine: one trap for each instruction.
//!
//! Each turn the scheduler picks a stopped thread; it is resumed for one instruction, and
//! the stop that follows tells whether that instruction ran. A thread that was resumed
//! onto a system call is not waited for: it may sleep until another thread wakes it.
//! Packets are switched on again only when a thread is seen to run in user mode, so that
//! whatever the kernel does at the end of a system call (restart, handler, death) costs
//! no special case.

use super::signals::{self, Disposition};
use super::{Attempt, Engine, OnProgress, State, Stop, VSYSCALL};
use crate::error::Error;
use crate::instruction::{Instruction, Kind};
use crate::sys::{self, Resume};
use libc::user_regs_struct as Registers;

/// Steps between two calls of the progress function.
const PROGRESS_STEPS: u64 = 1 << 12;
/// Turns between two looks for threads whose system call ended.
const POLL_TURNS: u64 = 64;
/// Looks at a system call before asking whether its thread sleeps.
const BRIEF_LOOKS: u32 = 50;
/// REP iterations from which on a breakpoint is cheaper than a trap each.
const REP_BREAKPOINT: u64 = 8;

impl Engine {
    /// Steps the program until it ends.
    ///
    /// # Errors
    /// Tracing fails, or the recording cannot be written.
    pub(crate) fn step_to_end(&mut self, progress: OnProgress<'_>) -> Result<(), Error> {
        let mut turn = 0u64;
        while !self.threads.is_empty() {
            turn += 1;
            if turn.is_multiple_of(POLL_TURNS) {
                if self.answer_requests()?.is_break() {
                    break;
                }
                self.collect()?;
            }
            if self.is_enough()? {
                break;
            }
            match self.pick() {
                Some(tid) => self.forgive_gone(tid, Self::advance)?,
                None => self.wait_for_any()?,
            }
            if turn.is_multiple_of(PROGRESS_STEPS) {
                progress(self.recording.steps(), self.recording.threads());
            }
        }
        self.tracee.ended = true;
        Ok(())
    }

    pub(super) fn pick(&mut self) -> Option<i32> {
        loop {
            let ready: Vec<(i32, u64)> = self
                .threads
                .iter()
                .filter(|(_, thread)| thread.state == State::Ready)
                .map(|(&tid, _)| (tid, self.recording.clock(tid)))
                .collect();
            let tid = self.scheduler.pick(&ready)?;
            let cpu = self.scheduler.cpu_of(tid);
            // A switch takes time, in which threads on other cores come first.
            if cpu.is_none_or(|cpu| !self.recording.runs_on(tid, cpu)) {
                self.scheduler.spend(tid);
                return Some(tid);
            }
        }
    }

    // A thread can be killed at any moment, by a thread that left its system call: then
    // every request fails, and its end is the next thing to be reported.
    pub(super) fn forgive_gone(
        &mut self,
        tid: i32,
        act: fn(&mut Self, i32) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match act(self, tid) {
            Err(error) if error.is_gone() => {
                if let Some(thread) = self.thread(tid) {
                    thread.state = State::Leaving;
                }
                Ok(())
            }
            other => other,
        }
    }

    fn advance(&mut self, tid: i32) -> Result<(), Error> {
        let stop = self.threads[&tid].stop;
        match stop {
            Stop::Clean => self.attempt(tid, 0),
            Stop::Signal(signal) => self.deliver(tid, signal),
        }
    }

    // The thread stands before the delivery of a signal.
    pub(super) fn deliver(&mut self, tid: i32, signal: i32) -> Result<(), Error> {
        self.fault_or_interrupt(tid)?;
        let disposition = signals::disposition(self.pid, signal);
        match disposition {
            Disposition::Dies { core } => return self.dies(tid, signal, core),
            Disposition::Ignored | Disposition::Stops => return self.attempt(tid, signal),
            Disposition::Handler => {}
        }
        let thread = self.thread(tid).expect("a picked thread");
        thread.attempt = Some(Attempt {
            before: thread.registers,
            instruction: None,
            operands: Vec::new(),
            found: Vec::new(),
            to_handler: true,
            breakpoint: false,
            committed: false,
        });
        sys::resume(tid, Resume::Step, signal)?;
        self.await_stop(tid)
    }

    // Control left the program at the instruction that was about to run. After a system
    // call the program is not there yet, unless the instruction itself faulted.
    fn fault_or_interrupt(&mut self, tid: i32) -> Result<(), Error> {
        let faulted = sys::signal_info(tid)?.si_code > 0;
        let thread = &self.threads[&tid];
        let mut ip = thread.registers.rip;
        if let Some(attempt) = thread.attempt.as_ref().filter(|a| !a.to_handler) {
            // INT3 and INT n trap behind themselves, but the trace says that they did not run.
            if attempt
                .instruction
                .as_ref()
                .is_some_and(|i| i.kind == Kind::Interrupt)
            {
                ip = attempt.before.rip;
            }
        }
        let reached = faulted && !thread.in_kernel();
        self.recording.interrupted(tid, ip, reached);
        Ok(())
    }

    // Resumes the thread for one instruction, handing it `signal` (0: none), which has no handler.
    pub(super) fn attempt(&mut self, tid: i32, signal: i32) -> Result<(), Error> {
        let before = self.threads[&tid].next_registers();
        let instruction = match VSYSCALL.contains(&before.rip) {
            true => None,
            false => self.code.get(tid, before.rip),
        };
        let (operands, found) = match &instruction {
            Some(instruction) if self.recording.wants_truth() => {
                self.operands(tid, instruction, &before)
            }
            _ => Default::default(),
        };
        let breakpoint = runs_free(tid, instruction.as_deref(), &before);
        let attempt = Attempt {
            before,
            instruction,
            operands,
            found,
            to_handler: false,
            breakpoint,
            committed: false,
        };
        let is_syscall = attempt.is_syscall();
        let thread = self.thread(tid).expect("a picked thread");
        thread.attempt = Some(attempt);
        if breakpoint {
            thread.watching = None;
        }
        let how = if breakpoint {
            Resume::Run
        } else {
            Resume::Step
        };
        if is_syscall {
            thread.state = State::Syscall;
            sys::resume(tid, how, signal)?;
            // In the fast engine threads run by themselves: nothing depends on the order.
            return match &self.fast {
                Some(fast) if fast.exact.is_none() => Ok(()),
                _ => self.await_syscall(tid),
            };
        }
        sys::resume(tid, how, signal)?;
        self.await_stop(tid)
    }

    pub(super) fn await_stop(&mut self, tid: i32) -> Result<(), Error> {
        match sys::wait(tid, true)? {
            Some((_, wait)) => self.conclude(tid, wait),
            None => {
                self.ended(tid);
                Ok(())
            }
        }
    }

    // Most system calls end at once. One whose thread sleeps is left alone, unless there
    // is no other thread to run.
    fn await_syscall(&mut self, tid: i32) -> Result<(), Error> {
        let mut looks = 0;
        while self
            .threads
            .get(&tid)
            .is_some_and(|thread| thread.state == State::Syscall)
        {
            if let Some((_, wait)) = sys::wait(tid, false)? {
                self.conclude(tid, wait)?;
                continue;
            }
            looks += 1;
            if looks >= BRIEF_LOOKS && is_asleep(self.pid, tid) {
                return self.falls_asleep(tid);
            }
            std::thread::yield_now();
        }
        self.collect_woken()
    }

    fn falls_asleep(&mut self, tid: i32) -> Result<(), Error> {
        self.commit_syscall(tid)?;
        if let Some(thread) = self.thread(tid) {
            thread.asleep = true;
        }
        Ok(())
    }

    // A system call may have woken others: wait until they have left theirs, so that the
    // run depends on the program and the seed, not on the machine's load.
    pub(super) fn collect_woken(&mut self) -> Result<(), Error> {
        for tid in self.in_state(State::Syscall) {
            while self
                .threads
                .get(&tid)
                .is_some_and(|thread| thread.state == State::Syscall)
            {
                match sys::wait(tid, false)? {
                    Some((_, wait)) => self.conclude(tid, wait)?,
                    None if is_asleep(self.pid, tid) => break,
                    None => std::thread::yield_now(),
                }
            }
        }
        Ok(())
    }

    pub(super) fn in_state(&self, state: State) -> Vec<i32> {
        let with = self
            .threads
            .iter()
            .filter(|(_, thread)| thread.state == state);
        with.map(|(&tid, _)| tid).collect()
    }

    // Reports of threads that had been left alone.
    pub(super) fn collect(&mut self) -> Result<(), Error> {
        while let Some((tid, wait)) = sys::wait(-1, false)? {
            self.conclude(tid, wait)?;
        }
        Ok(())
    }

    pub(super) fn wait_for_any(&mut self) -> Result<(), Error> {
        match sys::wait(-1, true)? {
            Some((tid, wait)) => self.conclude(tid, wait),
            None => {
                self.threads.clear();
                Ok(())
            }
        }
    }
}

// Some instructions are better run than stepped, up to a breakpoint behind them: long REP
// instructions, which trap in each iteration, and those that see the trap flag.
fn runs_free(tid: i32, instruction: Option<&Instruction>, before: &Registers) -> bool {
    instruction.is_some_and(|instruction| {
        let long = instruction.repeats && before.rcx >= REP_BREAKPOINT;
        let flags = matches!(instruction.kind, Kind::PushFlags | Kind::PopFlags);
        let behind = instruction.next(before.rip);
        (long || flags) && sys::breakpoint(tid, Some(behind)).is_ok()
    })
}

// Whether the kernel has put the thread to sleep (or stopped it for good).
pub(super) fn is_asleep(pid: i32, tid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('S' | 'D' | 'I') | None)
}
