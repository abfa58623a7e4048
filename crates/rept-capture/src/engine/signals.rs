//! What a signal will do to the process.

use std::fs;

/// What happens when a signal is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disposition {
    /// The program's handler runs.
    Handler,
    /// Nothing.
    Ignored,
    /// The process stops, as job control wants it.
    Stops,
    /// The process dies.
    Dies {
        /// The kernel writes a core.
        core: bool,
    },
}

/// The disposition of `signal` in process `pid`, as it is now.
pub(super) fn disposition(pid: i32, signal: i32) -> Disposition {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let in_set = |name| set(&status, name) >> (signal - 1) & 1 != 0;
    match signal {
        libc::SIGKILL => Disposition::Dies { core: false },
        libc::SIGSTOP => Disposition::Stops,
        _ if in_set("SigCgt:") => Disposition::Handler,
        _ if in_set("SigIgn:") => Disposition::Ignored,
        libc::SIGCHLD | libc::SIGCONT | libc::SIGURG | libc::SIGWINCH => Disposition::Ignored,
        libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => Disposition::Stops,
        _ => Disposition::Dies {
            core: dumps_core(signal),
        },
    }
}

/// Whether instructions raise this signal.
pub(super) fn is_fault(signal: i32) -> bool {
    matches!(
        signal,
        libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL | libc::SIGTRAP
    )
}

/// Whether the default action of a signal dumps core (`signal(7)`).
pub(super) fn dumps_core(signal: i32) -> bool {
    matches!(
        signal,
        libc::SIGQUIT
            | libc::SIGILL
            | libc::SIGTRAP
            | libc::SIGABRT
            | libc::SIGBUS
            | libc::SIGFPE
            | libc::SIGSEGV
            | libc::SIGXCPU
            | libc::SIGXFSZ
            | libc::SIGSYS
    )
}

// One of the signal sets of /proc/PID/status: bit n - 1 is signal n.
fn set(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .unwrap_or(0)
}
