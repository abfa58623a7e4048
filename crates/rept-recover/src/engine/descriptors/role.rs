//! What system calls do to file descriptors.

/// What a system call does to descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Opens a file: the arguments that hold the directory, if there is one, and the flags.
    Open(Option<usize>, usize),
    Read,
    ReadAt,
    /// Reads at the position, into several buffers.
    ReadParts,
    Seek,
    Stat,
    Close,
    Duplicate,
    /// To a number that is asked for.
    DuplicateTo,
    Control,
    /// Makes a descriptor that is no file's.
    Make,
    /// Makes two, and writes their numbers into memory.
    MakeTwo,
    /// Reads from descriptors at their positions, in ways not followed.
    MoveOn,
    /// Asks a device; a few questions make descriptors.
    Ask,
    /// Makes a thread or process, which may share the descriptors.
    Share,
    /// Makes or closes descriptors, nobody knows which.
    Anything,
    Nothing,
}

impl Role {
    /// It makes or closes descriptors, or may.
    pub(super) fn changes_numbers(self) -> bool {
        match self {
            Role::Open(..)
            | Role::Close
            | Role::Duplicate
            | Role::DuplicateTo
            | Role::Control
            | Role::Make
            | Role::MakeTwo
            | Role::Anything => true,
            Role::Read
            | Role::ReadAt
            | Role::ReadParts
            | Role::Seek
            | Role::Stat
            | Role::MoveOn
            | Role::Ask
            | Role::Share
            | Role::Nothing => false,
        }
    }
}

/// Numbers: `syscalls.txt`.
pub(super) fn role(number: u64) -> Role {
    match number {
        0 => Role::Read,
        2 => Role::Open(None, 2),
        257 => Role::Open(Some(1), 3),
        3 => Role::Close,
        4 | 5 | 6 | 262 => Role::Stat,
        8 => Role::Seek,
        16 => Role::Ask,
        17 => Role::ReadAt,
        19 => Role::ReadParts,
        32 => Role::Duplicate,
        33 | 292 => Role::DuplicateTo,
        72 => Role::Control,
        // socket, accept, mq_open, epoll_create, inotify_init, signalfd, timerfd_create, eventfd and
        // their like, perf_event_open, fanotify_init, open_by_handle_at, memfd_create, bpf,
        // userfaultfd, pidfd_open, pidfd_getfd, openat2, creat.
        41 | 43 | 85 | 213 | 240 | 253 | 282 | 283 | 284 | 288 | 289 | 290 | 291 | 294 | 298
        | 300 | 304 | 319 | 321 | 323 | 434 | 437 | 438 | 447 => Role::Make,
        // pipe, socketpair, pipe2.
        22 | 53 | 293 => Role::MakeTwo,
        // sendfile, splice, copy_file_range, preadv2 (whose offset may be the position).
        40 | 275 | 326 | 327 => Role::MoveOn,
        56 | 435 => Role::Share,
        // recvmsg, recvmmsg, execve, execveat, seccomp, io_uring, close_range, open_tree and what mounts.
        47 | 299 | 59 | 317 | 322 | 425..=427 | 436 | 428..=433 | 442 => Role::Anything,
        _ => Role::Nothing,
    }
}
