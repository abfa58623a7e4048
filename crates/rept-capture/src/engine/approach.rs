//! At full speed to the starting point: a hardware breakpoint, so that the program's code
//! stays as it is and children that it forks are not disturbed.

use super::{Engine, State, Stop, program_registers};
use crate::engine::signals::{self, Disposition};
use crate::error::Error;
use crate::from::StartPoint;
use crate::maps;
use crate::sys::{self, Resume, Wait};
use libc::user_regs_struct as Registers;
use std::collections::HashSet;

/// A starting point on its way to be reached.
pub(crate) struct Start<'a> {
    point: &'a StartPoint,
    address: Option<u64>,
    arrivals: u64,
    searched: HashSet<String>,
    // Each system call is stopped at: its answer may be another than the kernel's.
    at_calls: bool,
}

impl<'a> Start<'a> {
    pub(crate) fn new(point: &'a StartPoint) -> Start<'a> {
        Start {
            point,
            address: None,
            arrivals: 0,
            searched: HashSet::new(),
            at_calls: false,
        }
    }

    // Until the place is mapped, every system call may map it.
    fn how(&self) -> Resume {
        match self.address {
            Some(_) if !self.at_calls => Resume::Run,
            _ => Resume::ToSyscall,
        }
    }

    fn failed(&self, cause: &str) -> Error {
        let seen = match (self.address, self.arrivals) {
            (None, _) => "; no such symbol was ever mapped".to_owned(),
            (Some(_), n) => format!("; it came there {n} times"),
        };
        Error::from(self.point.text(), format!("the program {cause}{seen}"))
    }
}

impl Engine {
    /// Runs the program until it is at the starting point, then stops all its threads.
    ///
    /// # Errors
    /// It ends before it comes there, or tracing fails.
    pub(crate) fn approach(&mut self, mut start: Start<'_>) -> Result<(), Error> {
        start.at_calls = self.is_alike();
        self.locate(&mut start)?;
        for (&tid, thread) in &self.threads {
            let signal = match thread.stop {
                Stop::Signal(signal) => signal,
                Stop::Clean => 0,
            };
            sys::resume(tid, start.how(), signal)?;
        }
        loop {
            let Some((tid, wait)) = sys::wait(-1, true)? else {
                return Err(start.failed("ended before it came there"));
            };
            if self.passes(tid, wait, &mut start)? {
                return self.halt_all(tid);
            }
        }
    }

    // Looks for the place; once found, every thread gets the breakpoint.
    fn locate(&mut self, start: &mut Start<'_>) -> Result<(), Error> {
        let mappings = maps::read(self.pid);
        start.address = start.point.resolve(&mappings, &mut start.searched);
        if start.address.is_some() {
            for &tid in self.threads.keys() {
                match sys::breakpoint(tid, start.address) {
                    // Threads that run get it when they next stop: at a system call.
                    Err(error) if error.is_gone() => {}
                    other => other?,
                }
            }
        }
        Ok(())
    }

    // Handles one stop; whether the program has arrived, with the thread stopped there.
    fn passes(&mut self, tid: i32, wait: Wait, start: &mut Start<'_>) -> Result<bool, Error> {
        match wait {
            // A request to the recorder: there is nothing to save yet.
            _ if tid == 0 => drop(sys::take_request()),
            _ if !self.threads.contains_key(&tid) => self.comes_early(tid, wait),
            Wait::Exited(_) | Wait::Killed { .. } => self.gone(tid, start)?,
            Wait::Event { event, signal } => self.passes_event(tid, event, signal, start)?,
            Wait::Syscall => {
                self.answers_call(tid)?;
                match start.address {
                    Some(_) => sys::breakpoint(tid, start.address)?,
                    None if may_have_mapped(tid)? => self.locate(start)?,
                    None => {}
                }
                sys::resume(tid, start.how(), 0)?;
            }
            Wait::Signal(libc::SIGTRAP) if self.is_arrival(tid, start)? => {
                start.arrivals += 1;
                if start.arrivals == start.point.count() {
                    return Ok(true);
                }
                sys::resume(tid, start.how(), 0)?;
            }
            Wait::Signal(signal) => {
                if let Disposition::Dies { .. } = signals::disposition(self.pid, signal) {
                    return Err(
                        start.failed(&format!("died of signal {signal} before it came there"))
                    );
                }
                sys::resume(tid, start.how(), signal)?;
            }
        }
        Ok(false)
    }

    // The thread is on its way into a system call or out of it.
    fn answers_call(&mut self, tid: i32) -> Result<(), Error> {
        if self.is_alike()
            && let Some((before, result)) = ended_call(&sys::registers(tid)?)
        {
            self.answered(tid, &before, result)?;
        }
        Ok(())
    }

    fn is_arrival(&self, tid: i32, start: &Start<'_>) -> Result<bool, Error> {
        Ok(start.address == Some(sys::registers(tid)?.rip))
    }

    fn gone(&mut self, tid: i32, start: &Start<'_>) -> Result<(), Error> {
        self.ended(tid);
        match self.threads.is_empty() {
            true => {
                self.tracee.ended = true;
                Err(start.failed("ended before it came there"))
            }
            false => Ok(()),
        }
    }

    fn passes_event(
        &mut self,
        tid: i32,
        event: i32,
        signal: i32,
        start: &mut Start<'_>,
    ) -> Result<(), Error> {
        match event {
            libc::PTRACE_EVENT_CLONE => {
                if let Some(new) = self.cloned(tid)? {
                    sys::breakpoint(new, start.address)?;
                    sys::resume(new, start.how(), 0)?;
                }
            }
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => self.forked(tid, event)?,
            libc::PTRACE_EVENT_EXEC => {
                self.replaced(tid)?;
                self.locate(start)?;
            }
            libc::PTRACE_EVENT_STOP if signal != libc::SIGTRAP => {
                return sys::resume(tid, Resume::Listen, 0);
            }
            _ => {}
        }
        sys::resume(tid, start.how(), 0)
    }

    // `arrived` is stopped at the starting point; the others are stopped where they are.
    fn halt_all(&mut self, arrived: i32) -> Result<(), Error> {
        sys::breakpoint(arrived, None)?;
        self.halted(arrived, Stop::Clean)?;
        let others: Vec<i32> = self
            .threads
            .keys()
            .copied()
            .filter(|&tid| tid != arrived)
            .collect();
        for tid in others {
            let stopped = sys::interrupt(tid).and_then(|()| sys::wait(tid, true));
            match stopped {
                Ok(Some((_, wait))) => self.halt(tid, wait)?,
                Ok(None) => self.ended(tid),
                Err(error) if error.is_gone() => self.ended(tid),
                Err(error) => return Err(error),
            }
        }
        self.read_mappings(arrived)
    }

    pub(super) fn halt(&mut self, tid: i32, wait: Wait) -> Result<(), Error> {
        let stop = match wait {
            Wait::Exited(_) | Wait::Killed { .. } => {
                self.ended(tid);
                return Ok(());
            }
            Wait::Event {
                event: libc::PTRACE_EVENT_EXIT,
                ..
            } => {
                self.thread(tid).expect("one of ours").state = State::Leaving;
                return sys::resume(tid, Resume::Run, 0);
            }
            Wait::Event {
                event: libc::PTRACE_EVENT_CLONE,
                ..
            } => {
                self.cloned(tid)?;
                Stop::Clean
            }
            Wait::Event {
                event: event @ (libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK),
                ..
            } => {
                self.forked(tid, event)?;
                Stop::Clean
            }
            // It came to the breakpoint as well: that is no signal of its own.
            Wait::Signal(libc::SIGTRAP) | Wait::Event { .. } | Wait::Syscall => Stop::Clean,
            Wait::Signal(signal) => Stop::Signal(signal),
        };
        sys::breakpoint(tid, None)?;
        self.halted(tid, stop)
    }

    fn halted(&mut self, tid: i32, stop: Stop) -> Result<(), Error> {
        let registers = program_registers(tid)?;
        self.stands(tid, registers, stop);
        Ok(())
    }
}

// The registers with which a thread made the system call that it is leaving, and its result.
fn ended_call(registers: &Registers) -> Option<(Registers, u64)> {
    const ENTERING: i64 = -(libc::ENOSYS as i64);
    let before = Registers {
        rax: registers.orig_rax,
        ..*registers
    };
    (registers.rax as i64 != ENTERING).then_some((before, registers.rax))
}

// Whether the system call that the thread is leaving made executable memory.
fn may_have_mapped(tid: i32) -> Result<bool, Error> {
    let ended = ended_call(&sys::registers(tid)?);
    Ok(ended.is_some_and(|(before, _)| {
        matches!(before.rax as i64, libc::SYS_mmap | libc::SYS_mprotect)
    }))
}
