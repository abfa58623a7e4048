//! Passing a traced process from one thread of the recorder to another: to the kernel, tracers
//! are threads.

use super::remote::{Remote, set_signal_mask, signal_mask};
use super::{Resume, event_message, resume};
use super::{Wait, detach, interrupt, registers, seize, set_registers, wait};
use crate::error::Error;
use libc::{pid_t, user_regs_struct};
use std::fs::OpenOptions;
use std::io;

/// A process between two tracers: it sleeps in a system call that no signal ends, and is to be
/// given back its registers and its signal mask.
#[derive(Clone, Debug)]
pub(crate) struct Parked {
    pub(crate) pid: pid_t,
    registers: user_regs_struct,
    mask: u64,
}

impl Parked {
    /// Lets go of the stopped thread behind `remote`, the only one of its process.
    ///
    /// # Errors
    /// Nobody could trace it again, or it is gone. It still is ours then.
    pub(crate) fn new(remote: &Remote) -> Result<Parked, Error> {
        let pid = remote.tid;
        // The kernel asks the same of who opens this as of a tracer.
        let memory = format!("/proc/{pid}/mem");
        let may_trace = OpenOptions::new().read(true).write(true).open(memory);
        may_trace.map_err(|source| Error::system("trace it", source))?;
        let parked = Parked {
            pid,
            registers: registers(pid)?,
            mask: signal_mask(pid)?,
        };
        set_signal_mask(pid, !0)?;
        let sleeps = user_regs_struct {
            rip: remote.gate,
            rax: libc::SYS_pause as u64,
            orig_rax: u64::MAX,
            ..parked.registers
        };
        set_registers(pid, &sleeps)?;
        detach(pid, 0);
        Ok(parked)
    }

    /// Traces it, by the calling thread: it is stopped, as it was before. What its children do
    /// is reported.
    ///
    /// # Errors
    /// It is gone, or the kernel refuses after all, which is its end.
    pub(crate) fn take(&self) -> Result<(), Error> {
        if let Err(source) = seize(self.pid, true) {
            // Without a tracer it would sleep for ever.
            // SAFETY: no memory is involved.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            return Err(Error::system("trace a child", source));
        }
        interrupt(self.pid)?;
        match wait(self.pid, true)? {
            None | Some((_, Wait::Exited(_) | Wait::Killed { .. })) => {
                let gone = io::Error::from_raw_os_error(libc::ESRCH);
                Err(Error::system("trace a child", gone))
            }
            Some(_) => {
                set_registers(self.pid, &self.registers)?;
                set_signal_mask(self.pid, self.mask)
            }
        }
    }
}

/// Lets a stopped process run until it has replaced its program; `false` when it ends before.
/// Its children are let go.
///
/// # Errors
/// Tracing fails.
pub(crate) fn run_to_exec(pid: pid_t) -> Result<bool, Error> {
    let (mut how, mut signal) = (Resume::Run, 0);
    loop {
        resume(pid, how, signal)?;
        (how, signal) = (Resume::Run, 0);
        match wait(pid, true)? {
            None | Some((_, Wait::Exited(_) | Wait::Killed { .. })) => return Ok(false),
            Some((_, Wait::Signal(received))) => signal = received,
            Some((_, Wait::Event { event, signal })) => match event {
                libc::PTRACE_EVENT_EXEC => return Ok(true),
                libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => {
                    let child = event_message(pid)? as pid_t;
                    wait(child, true)?;
                    detach(child, 0);
                }
                libc::PTRACE_EVENT_STOP if signal != libc::SIGTRAP => how = Resume::Listen,
                _ => {}
            },
            Some((_, Wait::Syscall)) => {}
        }
    }
}
