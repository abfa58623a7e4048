//! The system calls that tracing takes, each behind a safe function.
//!
//! All `unsafe` of the crate is here.

mod handlers;
mod handover;
mod launch;
mod memory;
mod remote;
mod requests;
mod shared;

pub(crate) use handlers::FileLimit;
pub(crate) use handover::{Parked, run_to_exec};
pub(crate) use launch::{ExecResult, Launch, allow_core, launch};
pub(crate) use memory::{Ranges, read, read_word, write, write_word};
pub(crate) use remote::Remote;
pub(crate) use requests::{Request, Requests, take_request};
pub(crate) use shared::{Shared, time_stamp, time_stamp_rate};

use crate::error::Error;
use libc::{c_int, c_long, c_void, pid_t, siginfo_t, user_regs_struct};
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::mem::{MaybeUninit, offset_of};
use std::os::fd::AsRawFd;

/// What `waitpid` reported of a traced thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Stopped by `signal`: a trap of stepping, or a signal about to be delivered.
    Signal(i32),
    /// Stopped at a system call's entry or exit (only when resumed to the next system call).
    Syscall,
    /// Stopped by a PTRACE_EVENT_*; `signal` tells group stops apart.
    Event { event: i32, signal: i32 },
    /// Ended by `exit`.
    Exited(i32),
    /// Killed by a signal, perhaps with a core.
    Killed { signal: i32, core: bool },
}

/// How a stopped thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resume {
    /// Until the next event.
    Run,
    /// For one instruction.
    Step,
    /// To the next entry or exit of a system call.
    ToSyscall,
    /// Stays stopped as the job control says, until that ends.
    Listen,
}

fn ptrace(request: u32, tid: pid_t, address: usize, data: usize) -> io::Result<c_long> {
    // SAFETY: requests used here only read or write tracee state, or write through `data`
    // to memory that the callers below provide with the size that the request asks for.
    let result = unsafe {
        libc::ptrace(
            request as _,
            tid,
            address as *mut c_void,
            data as *mut c_void,
        )
    };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

const SEIZE_OPTIONS: c_int = libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACEEXIT
    | libc::PTRACE_O_TRACESYSGOOD;

/// Begins to trace our own new process, which dies with us; its children too, when they are
/// to be followed.
pub(crate) fn seize(tid: pid_t, follow: bool) -> io::Result<()> {
    let children = match follow {
        true => libc::PTRACE_O_TRACEFORK | libc::PTRACE_O_TRACEVFORK,
        false => 0,
    };
    let options = SEIZE_OPTIONS | libc::PTRACE_O_EXITKILL | children;
    ptrace(libc::PTRACE_SEIZE, tid, 0, options as usize).map(drop)
}

/// Begins to trace a thread that was there before.
pub(crate) fn seize_running(tid: pid_t) -> io::Result<()> {
    ptrace(libc::PTRACE_SEIZE, tid, 0, SEIZE_OPTIONS as usize).map(drop)
}

/// Lets a thread go on untraced, handing it `signal` (0: none).
pub(crate) fn detach(tid: pid_t, signal: i32) {
    // Fails only when the thread is gone: nothing is left to detach from.
    let _ = ptrace(libc::PTRACE_DETACH, tid, 0, signal as usize);
}

/// Asks a running thread to stop.
pub(crate) fn interrupt(tid: pid_t) -> Result<(), Error> {
    ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0)
        .map(drop)
        .map_err(|source| Error::system("stop a thread", source))
}

pub(crate) fn resume(tid: pid_t, how: Resume, signal: i32) -> Result<(), Error> {
    let request = match how {
        Resume::Run => libc::PTRACE_CONT,
        Resume::Step => libc::PTRACE_SINGLESTEP,
        Resume::ToSyscall => libc::PTRACE_SYSCALL,
        Resume::Listen => libc::PTRACE_LISTEN,
    };
    ptrace(request, tid, 0, signal as usize)
        .map(drop)
        .map_err(|source| Error::system("resume a thread", source))
}

pub(crate) fn registers(tid: pid_t) -> Result<user_regs_struct, Error> {
    let mut registers = MaybeUninit::<user_regs_struct>::zeroed();
    ptrace(
        libc::PTRACE_GETREGS,
        tid,
        0,
        registers.as_mut_ptr() as usize,
    )
    .map_err(|source| Error::system("read a thread's registers", source))?;
    // SAFETY: zero bytes are a value of this struct of integers; the kernel filled it.
    Ok(unsafe { registers.assume_init() })
}

pub(crate) fn set_registers(tid: pid_t, registers: &user_regs_struct) -> Result<(), Error> {
    ptrace(
        libc::PTRACE_SETREGS,
        tid,
        0,
        std::ptr::from_ref(registers) as usize,
    )
    .map(drop)
    .map_err(|source| Error::system("write a thread's registers", source))
}

/// One of the kernel's register sets of a thread (`NT_*`), as it stands in a core's notes.
pub(crate) fn register_set(tid: pid_t, kind: u32) -> Result<Vec<u8>, Error> {
    // The largest set is XSAVE state: below 12 KiB on every processor so far.
    let mut bytes = vec![0u8; 64 << 10];
    let mut area = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    ptrace(
        libc::PTRACE_GETREGSET,
        tid,
        kind as usize,
        std::ptr::from_mut(&mut area) as usize,
    )
    .map_err(|source| Error::system("read a thread's register set", source))?;
    bytes.truncate(area.iov_len);
    Ok(bytes)
}

pub(crate) fn signal_info(tid: pid_t) -> Result<siginfo_t, Error> {
    let mut info = MaybeUninit::<siginfo_t>::zeroed();
    ptrace(libc::PTRACE_GETSIGINFO, tid, 0, info.as_mut_ptr() as usize)
        .map_err(|source| Error::system("read a signal's cause", source))?;
    // SAFETY: zero bytes are a value of this struct of integers; the kernel filled it.
    Ok(unsafe { info.assume_init() })
}

/// Registers as they stand in a core's NT_PRSTATUS note.
pub(crate) fn register_bytes(registers: &user_regs_struct) -> Vec<u8> {
    let start = std::ptr::from_ref(registers).cast::<u8>();
    // SAFETY: `registers` is that many bytes, integers without padding.
    unsafe { std::slice::from_raw_parts(start, size_of::<user_regs_struct>()) }.to_vec()
}

/// Whether this process may write here.
pub(crate) fn is_writable(path: &CStr) -> bool {
    // SAFETY: a null-terminated string.
    unsafe { libc::access(path.as_ptr(), libc::W_OK) == 0 }
}

/// Waits until no other holds a lock on the file, and holds it until the file is closed.
pub(crate) fn lock(file: &File) -> io::Result<()> {
    // SAFETY: no memory is passed; the descriptor is open as long as `file` is.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The signal's cause as it stands in a core's NT_SIGINFO note.
pub(crate) fn signal_info_bytes(info: &siginfo_t) -> Vec<u8> {
    let start = std::ptr::from_ref(info).cast::<u8>();
    // SAFETY: `info` is that many bytes, all of them initialised by `signal_info`.
    unsafe { std::slice::from_raw_parts(start, size_of::<siginfo_t>()) }.to_vec()
}

/// The number that belongs to a PTRACE_EVENT_* stop: new thread id, exit status …
pub(crate) fn event_message(tid: pid_t) -> Result<u64, Error> {
    let mut message: libc::c_ulong = 0;
    ptrace(
        libc::PTRACE_GETEVENTMSG,
        tid,
        0,
        std::ptr::from_mut(&mut message) as usize,
    )
    .map_err(|source| Error::system("read an event's message", source))?;
    Ok(message)
}

/// Hardware breakpoint 0 of a thread: set at an address, or cleared.
pub(crate) fn breakpoint(tid: pid_t, address: Option<u64>) -> Result<(), Error> {
    const LOCAL_ENABLE_0: usize = 1;
    let register = |n: usize| offset_of!(libc::user, u_debugreg) + n * 8;
    let poke = |n, value| {
        ptrace(libc::PTRACE_POKEUSER, tid, register(n), value)
            .map(drop)
            .map_err(|source| Error::system("set a hardware breakpoint", source))
    };
    poke(7, 0)?;
    match address {
        Some(address) => {
            poke(0, address as usize)?;
            poke(7, LOCAL_ENABLE_0)
        }
        None => Ok(()),
    }
}

/// Hardware breakpoint 3 of a thread: a trap behind the instruction that writes the four
/// bytes at `address`. Forgotten when [`breakpoint`] is called.
pub(crate) fn watch(tid: pid_t, address: u64) -> Result<(), Error> {
    const LOCAL_ENABLE_3: usize = 1 << 6;
    const WRITES_OF_FOUR_BYTES_3: usize = 0b1101 << 28;
    let register = |n: usize| offset_of!(libc::user, u_debugreg) + n * 8;
    let poke = |n, value| {
        ptrace(libc::PTRACE_POKEUSER, tid, register(n), value)
            .map(drop)
            .map_err(|source| Error::system("watch memory by hardware", source))
    };
    poke(7, 0)?;
    poke(3, address as usize)?;
    poke(7, LOCAL_ENABLE_3 | WRITES_OF_FOUR_BYTES_3)
}

/// Whether a stopped thread has told the kernel that it may be in a restartable sequence.
pub(crate) fn in_restartable_sequence(tid: pid_t) -> bool {
    const PTRACE_GET_RSEQ_CONFIGURATION: u32 = 0x420f;
    /// Of the kernel's `struct rseq`: where the pointer to the sequence stands.
    const SEQUENCE_AT: u64 = 8;
    // `struct ptrace_rseq_configuration`: the address of the thread's `struct rseq` is first.
    let mut configuration = [0u64; 3];
    let place = configuration.as_mut_ptr() as usize;
    let size = size_of_val(&configuration);
    let known = ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, size, place).is_ok();
    known
        && configuration[0] != 0
        && read_word(tid, configuration[0] + SEQUENCE_AT).is_some_and(|sequence| sequence != 0)
}

/// Makes the signal that a stopped thread is about to be given the one that `info` tells of.
pub(crate) fn set_signal_info(tid: pid_t, info: &siginfo_t) -> Result<(), Error> {
    let place = std::ptr::from_ref(info) as usize;
    ptrace(libc::PTRACE_SETSIGINFO, tid, 0, place)
        .map(drop)
        .map_err(|source| Error::system("write a signal's cause", source))
}

/// Kills a traced process and waits until none of its threads is left.
pub(crate) fn kill(pid: pid_t) {
    // SAFETY: no memory is involved; `pid` is our child, which nobody else waits for.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    while let Ok(Some((tid, wait))) = wait(-1, true) {
        if !matches!(wait, Wait::Exited(_) | Wait::Killed { .. }) {
            // Fails only when the thread is gone.
            let _ = resume(tid, Resume::Run, 0);
        }
    }
}

/// Waits for `tid`, or for any traced thread when it is -1. Without `block`, `None` when
/// nothing has happened; also `None` when no such thread is left. A request to the recorder
/// ends the wait for any thread as an event of thread 0, which there is none. Children of other
/// threads of this process are left alone.
pub(crate) fn wait(tid: pid_t, block: bool) -> Result<Option<(pid_t, Wait)>, Error> {
    let mut status: c_int = 0;
    let flags = libc::__WALL | libc::__WNOTHREAD | if block { 0 } else { libc::WNOHANG };
    loop {
        // SAFETY: `status` is a valid place for the result.
        let waited = unsafe { libc::waitpid(tid, &mut status, flags) };
        match waited {
            0 => return Ok(None),
            -1 => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::EINTR) => {
                    if tid == -1 && requests::is_asked() {
                        return Ok(Some((
                            0,
                            Wait::Event {
                                event: 0,
                                signal: 0,
                            },
                        )));
                    }
                }
                error if error.raw_os_error() == Some(libc::ECHILD) => return Ok(None),
                error => return Err(Error::system("wait for the program", error)),
            },
            pid => return Ok(Some((pid, classify(status)))),
        }
    }
}

fn classify(status: c_int) -> Wait {
    if libc::WIFEXITED(status) {
        return Wait::Exited(libc::WEXITSTATUS(status));
    }
    if libc::WIFSIGNALED(status) {
        return Wait::Killed {
            signal: libc::WTERMSIG(status),
            core: libc::WCOREDUMP(status),
        };
    }
    let signal = libc::WSTOPSIG(status);
    match status >> 16 {
        0 if signal == libc::SIGTRAP | 0x80 => Wait::Syscall,
        0 => Wait::Signal(signal),
        event => Wait::Event { event, signal },
    }
}

/// Bytes of the kernel's sets of processors.
pub(crate) fn processor_set_bytes() -> Option<u64> {
    // As many as no kernel has: 65,536 processors.
    let mut set = [0u64; 1024];
    let bytes = size_of_val(&set);
    // SAFETY: the kernel writes at most as many bytes as it is told, and `set` has them.
    let written = unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, bytes, set.as_mut_ptr()) };
    u64::try_from(written).ok().filter(|&written| written > 0)
}
