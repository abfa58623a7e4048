//! Processes that the program makes: those that are followed get a recorder of their own.

use super::Engine;
use crate::error::Error;
use crate::maps;
use crate::sys::{self, Parked, Remote, Wait};
use crate::target;
use std::path::Path;

impl Engine {
    /// The first stop of a thread or process that was just made; `None` when it has ended.
    pub(super) fn first_stop(&mut self, tid: i32) -> Result<Option<Wait>, Error> {
        let stop = match self.early.remove(&tid) {
            Some(stop) => Some(stop),
            None => sys::wait(tid, true)?.map(|(_, stop)| stop),
        };
        Ok(stop.filter(|stop| !matches!(stop, Wait::Exited(_) | Wait::Killed { .. })))
    }

    /// A stop of a thread that its maker has not told of yet is kept.
    pub(super) fn comes_early(&mut self, tid: i32, wait: Wait) {
        if !matches!(wait, Wait::Exited(_) | Wait::Killed { .. }) {
            self.early.insert(tid, wait);
        }
    }

    /// The thread `parent` made another process, as `event` tells.
    ///
    /// # Errors
    /// Tracing fails.
    pub(super) fn forked(&mut self, parent: i32, event: i32) -> Result<(), Error> {
        let child = sys::event_message(parent)? as i32;
        if self.first_stop(child)?.is_some() {
            let shares = event == libc::PTRACE_EVENT_VFORK || asks_for_shared_memory(parent);
            self.follow(child, shares);
        }
        Ok(())
    }

    /// A stopped process is recorded from here on, or, while it shares its parent's memory,
    /// from its own program on; or let go.
    pub(super) fn follow(&mut self, child: i32, shares_memory: bool) {
        let Some(family) = &mut self.family else {
            return sys::detach(child, 0);
        };
        match park(child) {
            Ok(parked) => family.follow(&parked, shares_memory),
            Err(error) => {
                sys::detach(child, 0);
                self.note(format!("process {child} was not followed: {error}"));
            }
        }
    }

    /// Whether `tid` is a thread of the process.
    pub(super) fn is_thread(&self, tid: i32) -> bool {
        Path::new(&format!("/proc/{}/task/{tid}", self.pid)).exists()
    }
}

fn park(child: i32) -> Result<Parked, Error> {
    if target::status(child, "Seccomp:").is_some_and(|mode| mode != "0") {
        return Err(Error::option("it confines its system calls"));
    }
    Parked::new(&Remote::new(child, &maps::read(child))?)
}

/// Whether a thread that is in `clone` or `clone3` makes a process in its own memory.
pub(super) fn asks_for_shared_memory(tid: i32) -> bool {
    let Ok(registers) = sys::registers(tid) else {
        return false;
    };
    let flags = match registers.orig_rax as i64 {
        libc::SYS_clone => registers.rdi,
        libc::SYS_clone3 => sys::read_word(tid, registers.rdi).unwrap_or(0),
        _ => 0,
    };
    flags & libc::CLONE_VM as u64 != 0
}
