//! How a process ends: the last packets, and the core.

use super::{Engine, Exit, State, Thread};
use crate::core_file::{CoreThread, KernelCore, OwnCore};
use crate::error::Error;
use crate::sys::{self, Resume, Wait};
use std::path::Path;

/// Bit of a wait status that says that a core was written.
const WCOREFLAG: u64 = 0x80;
const SYS_EXIT: u64 = 60;

impl Engine {
    /// `signal`, about to be delivered to the stopped thread `tid`, ends the process.
    pub(super) fn dies(&mut self, tid: i32, signal: i32, core: bool) -> Result<(), Error> {
        self.close_streams(tid)?;
        let expected = match core {
            true => self.core.expect_kernel(self.pid),
            false => Err(format!("the kernel writes no core for signal {signal}")),
        };
        let expected = match expected {
            Ok(expected) => Some(expected),
            Err(why) => {
                self.note(format!("core written by rept, not by the kernel: {why}"));
                self.stop_sleepers(tid)?;
                self.write_own_core(tid, signal);
                None
            }
        };
        sys::resume(tid, Resume::Run, signal)?;
        self.bury(tid, signal, expected)
    }

    // Threads that sleep in a system call have run it; all others stop where they stand.
    fn close_streams(&mut self, dying: i32) -> Result<(), Error> {
        self.collect()?;
        let tids: Vec<i32> = self.threads.keys().copied().collect();
        for tid in tids {
            match self.threads[&tid].state {
                State::Syscall => self.commit_syscall(tid)?,
                State::Ready | State::Halted if tid != dying => {
                    let ip = self.threads[&tid].registers.rip;
                    self.recording.interrupted(tid, ip, false);
                }
                _ => {}
            }
        }
        Ok(())
    }

    // Threads inside a system call stop there, so that their vector registers can be read;
    // the other registers stay as the kernel found them.
    fn stop_sleepers(&mut self, dying: i32) -> Result<(), Error> {
        for tid in self.in_state(State::Syscall) {
            let stopped = sys::interrupt(tid).and_then(|()| sys::wait(tid, true));
            match stopped {
                Ok(Some((_, wait @ (Wait::Exited(_) | Wait::Killed { .. })))) if tid != dying => {
                    self.process_ended(tid, wait);
                }
                Err(error) if !error.is_gone() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    // Until no thread is left. The dying thread reports its exit after the kernel has
    // written the core, while its memory is still there.
    fn bury(&mut self, dying: i32, signal: i32, expected: Option<KernelCore>) -> Result<(), Error> {
        let mut expected = expected;
        while !self.threads.is_empty() {
            let Some((tid, wait)) = sys::wait(-1, true)? else {
                break;
            };
            match wait {
                Wait::Exited(_) | Wait::Killed { .. } => self.process_ended(tid, wait),
                Wait::Event {
                    event: libc::PTRACE_EVENT_EXIT,
                    ..
                } => {
                    if tid == dying
                        && let Some(core) = expected.take()
                    {
                        self.take_core(tid, signal, &core)?;
                    }
                    self.let_go(tid)?;
                }
                _ => self.let_go(tid)?,
            }
        }
        self.threads.clear();
        self.exit = Some(self.exit.unwrap_or(Exit::Signal(signal)));
        Ok(())
    }

    fn let_go(&mut self, tid: i32) -> Result<(), Error> {
        match sys::resume(tid, Resume::Run, 0) {
            Err(error) if error.is_gone() => Ok(()),
            other => other,
        }
    }

    fn take_core(&mut self, tid: i32, signal: i32, core: &KernelCore) -> Result<(), Error> {
        let why = match sys::event_message(tid)? & WCOREFLAG {
            0 => {
                core.discard();
                "the kernel could not write one".to_owned()
            }
            _ => match self.move_core(core) {
                Ok(()) => return Ok(()),
                Err(error) if error.has_no_room() => {
                    self.note(format!(
                        "the core stays at {}: {error}",
                        core.path().display()
                    ));
                    return Ok(());
                }
                Err(error) => {
                    core.restore();
                    format!("the kernel's could not be moved ({error})")
                }
            },
        };
        self.note(format!("core written by rept, not by the kernel: {why}"));
        self.write_own_core(tid, signal);
        Ok(())
    }

    fn move_core(&mut self, core: &KernelCore) -> Result<(), Error> {
        let mut taken = self.core.take(core);
        if let Err(error) = &taken
            && self.recording.makes_room(error)
        {
            taken = self.core.take(core);
        }
        self.core_bytes = taken?;
        Ok(())
    }

    // All else that is recorded is kept when there is no room for the core.
    pub(super) fn write_own_core(&mut self, first: i32, signal: i32) {
        let path = self.core.path().to_owned();
        let mut written = self.own_core(first, signal, &path);
        if let Err(error) = &written
            && self.recording.makes_room(error)
        {
            written = self.own_core(first, signal, &path);
        }
        match written {
            Ok(bytes) => self.core_bytes = bytes,
            Err(error) => self.note(format!("the core is not whole: {error}")),
        }
    }

    // From what is known of each thread: some may be gone already.
    pub(super) fn own_core(&self, first: i32, signal: i32, path: &Path) -> Result<u64, Error> {
        let mut threads: Vec<CoreThread> = Vec::new();
        let others = self.threads.keys().copied().filter(|&tid| tid != first);
        for tid in std::iter::once(first).chain(others) {
            let Some(thread) = self.threads.get(&tid) else {
                continue;
            };
            threads.push(CoreThread::new(tid, thread.registers));
        }
        let signal_info = match signal {
            0 => None,
            _ => sys::signal_info(first)
                .ok()
                .map(|info| sys::signal_info_bytes(&info)),
        };
        let core = OwnCore {
            pid: self.pid,
            threads: &threads,
            signal,
            signal_info,
        };
        core.write(path)
    }

    // Whether a thread other than `tid` replaces the program, which ends the others.
    fn is_replaced(&self, tid: i32) -> bool {
        let calls = |thread: &Thread| {
            let attempt = thread.attempt.as_ref().filter(|a| a.is_syscall());
            attempt.map(|attempt| attempt.before.rax as i64)
        };
        self.threads.iter().any(|(&other, thread)| {
            other != tid
                && thread.state == State::Syscall
                && matches!(calls(thread), Some(libc::SYS_execve | libc::SYS_execveat))
        })
    }

    /// The stopped thread `tid` is exiting. If the process exits with it, this is the last
    /// time that its memory can be read.
    pub(super) fn before_exit(&mut self, tid: i32) -> Result<(), Error> {
        let registers = sys::registers(tid)?;
        let others = self
            .threads
            .iter()
            .any(|(&t, thread)| t != tid && thread.state != State::Leaving);
        let alone = registers.orig_rax == SYS_EXIT && others;
        if alone || self.core_bytes != 0 || self.is_replaced(tid) {
            return Ok(());
        }
        if self.fast.is_some() {
            self.note("the process was killed while its threads ran: there is no core".into());
            return Ok(());
        }
        self.close_streams(tid)?;
        if let Some(thread) = self.thread(tid) {
            thread.registers = registers;
        }
        self.write_own_core(tid, 0);
        Ok(())
    }
}
