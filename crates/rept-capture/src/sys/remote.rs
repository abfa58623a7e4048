//! System calls that a traced thread makes for us.

use super::{Resume, Wait, ptrace, registers, resume, set_registers, wait};
use crate::error::Error;
use crate::maps::Mapping;
use libc::{c_long, pid_t};
use std::fs::{File, OpenOptions};
use std::io;

/// A stopped thread that can be told to make system calls. What it was doing is not
/// disturbed, but for a signal that it was about to be given: that must be put back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remote {
    pub(crate) tid: pid_t,
    /// A `syscall` instruction in the program.
    pub(super) gate: u64,
    /// A zero byte in the program.
    empty_name: u64,
}

impl Remote {
    /// Finds what it takes in the program's mappings.
    ///
    /// # Errors
    /// The program has no `syscall` instruction anywhere.
    pub(crate) fn new(tid: pid_t, mappings: &[Mapping]) -> Result<Remote, Error> {
        const SYSCALL: [u8; 2] = [0x0f, 0x05];
        let code = mappings.iter().filter(|m| m.is_constant_code() && m.read);
        let vdso_first = |m: &&Mapping| m.name != "[vdso]";
        let mut code: Vec<&Mapping> = code.collect();
        code.sort_by_key(vdso_first);
        let gate = code.iter().find_map(|m| find(tid, m, &SYSCALL));
        let data = mappings.iter().filter(|m| m.read && m.is_file());
        let empty_name = data.clone().find_map(|m| find(tid, m, &[0]));
        match (gate, empty_name) {
            (Some(gate), Some(empty_name)) => Ok(Remote {
                tid,
                gate,
                empty_name,
            }),
            _ => Err(Error::option(
                "the program has no instruction for system calls, which the fast engine needs: use --engine step",
            )),
        }
    }

    /// The same calls, made by another thread.
    pub(crate) fn by(self, tid: pid_t) -> Remote {
        Remote { tid, ..self }
    }

    /// Makes the thread call `number`; `doing` says what for.
    ///
    /// # Errors
    /// The call fails, or the thread is gone.
    pub(crate) fn call(
        &self,
        number: c_long,
        arguments: [u64; 6],
        doing: &'static str,
    ) -> Result<u64, Error> {
        let mut before = registers(self.tid)?;
        let mask = signal_mask(self.tid)?;
        set_signal_mask(self.tid, !(1 << (libc::SIGTRAP - 1)))?;
        let mut calling = before;
        calling.rax = number as u64;
        calling.orig_rax = u64::MAX;
        calling.rip = self.gate;
        [
            calling.rdi,
            calling.rsi,
            calling.rdx,
            calling.r10,
            calling.r8,
            calling.r9,
        ] = arguments;
        let result = loop {
            set_registers(self.tid, &calling)?;
            self.step()?;
            let after = registers(self.tid)?;
            if after.rip != self.gate {
                break after.rax;
            }
            // It only left the system call that it was stopped in, with that one's result.
            (before.rax, before.orig_rax) = (after.rax, after.orig_rax);
        };
        set_registers(self.tid, &before)?;
        set_signal_mask(self.tid, mask)?;
        match result as i64 {
            error @ -4095..=-1 => Err(Error::system(
                doing,
                io::Error::from_raw_os_error(-error as i32),
            )),
            _ => Ok(result),
        }
    }

    /// Makes an empty file in memory: the thread's descriptor of it, and the same file here.
    ///
    /// # Errors
    /// A system call is refused.
    pub(crate) fn memory_file(&self) -> Result<(u64, File), Error> {
        const FAILED: &str = "share memory with the program";
        let flags = u64::from(libc::MFD_CLOEXEC);
        let fd = self.call(
            libc::SYS_memfd_create,
            [self.empty_name, flags, 0, 0, 0, 0],
            FAILED,
        )?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/proc/{}/fd/{fd}", self.tid))
            .map_err(|source| Error::system(FAILED, source))?;
        Ok((fd, file))
    }

    fn step(&self) -> Result<(), Error> {
        // The kernel may refuse to let the thread run at all, and say so each time.
        const MOST_STOPS: usize = 1000;
        for _ in 0..MOST_STOPS {
            resume(self.tid, Resume::Step, 0)?;
            match wait(self.tid, true)? {
                Some((_, Wait::Signal(libc::SIGTRAP))) => return Ok(()),
                Some((_, Wait::Exited(_) | Wait::Killed { .. })) | None => {
                    let gone = io::Error::from_raw_os_error(libc::ESRCH);
                    return Err(Error::system("make the program call the system", gone));
                }
                Some(_) => {}
            }
        }
        Err(Error::option(
            "the program cannot be made to call the system: the kernel stops it each time",
        ))
    }
}

fn find(tid: pid_t, mapping: &Mapping, bytes: &[u8]) -> Option<u64> {
    let mut contents = vec![0; (mapping.end - mapping.start).min(4 << 20) as usize];
    let got = super::read(tid, mapping.start, &mut contents);
    let at = contents[..got]
        .windows(bytes.len())
        .position(|window| window == bytes)?;
    Some(mapping.start + at as u64)
}

const PTRACE_GETSIGMASK: u32 = 0x420a;
const PTRACE_SETSIGMASK: u32 = 0x420b;

// Bit n - 1 is signal n.
pub(super) fn signal_mask(tid: pid_t) -> Result<u64, Error> {
    let mut mask = 0u64;
    let place = std::ptr::from_mut(&mut mask) as usize;
    ptrace(PTRACE_GETSIGMASK, tid, size_of::<u64>(), place)
        .map_err(|source| Error::system("read a thread's signal mask", source))?;
    Ok(mask)
}

pub(super) fn set_signal_mask(tid: pid_t, mask: u64) -> Result<(), Error> {
    let place = std::ptr::from_ref(&mask) as usize;
    ptrace(PTRACE_SETSIGMASK, tid, size_of::<u64>(), place)
        .map(drop)
        .map_err(|source| Error::system("set a thread's signal mask", source))
}
