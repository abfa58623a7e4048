//! What a thread has for itself while it runs in the cache: a few words to keep registers
//! in, and its log. The copied code reaches it through the GS base.

/// Where the log goes on: an address in the traced process.
pub(crate) const LOG_AT: u32 = 0x00;
/// Where a register waits while the copied code uses it. The eight bytes behind RAX are
/// zero, so that its upper bytes can be read as a number.
pub(crate) const RAX_AT: u32 = 0x08;
/// See [`RAX_AT`].
pub(crate) const RCX_AT: u32 = 0x18;
/// See [`RAX_AT`].
pub(crate) const RDX_AT: u32 = 0x20;
/// See [`RAX_AT`].
pub(crate) const R11_AT: u32 = 0x28;
/// Cache address at which an indirect branch goes on.
pub(crate) const TARGET_AT: u32 = 0x30;
/// Address of the table of branch targets.
pub(crate) const TABLE_AT: u32 = 0x38;
/// See [`RAX_AT`]; only of exact recordings.
pub(crate) const RSP_AT: u32 = 0x40;
/// Where the log of the running block begins; only of exact recordings.
pub(crate) const RECORD_AT: u32 = 0x48;
/// Addresses that the running instruction writes to, eight bytes each; only of exact
/// recordings.
pub(crate) const WRITES_AT: u32 = 0x50;
/// How many of these there can be.
pub(crate) const MOST_WRITES: usize = 8;
/// A byte for each system call below 512: 1 when it may be made from the cache.
pub(crate) const CALLS_AT: u32 = 0x100;
/// Where the log begins.
pub(crate) const RING_AT: usize = 0x1000;

/// System calls that change nothing that the recorder must know of: not where code is, not
/// which threads there are, not how signals are handled, not who the process is. Files are
/// opened under the recorder's eyes: they may list its mappings.
pub(crate) const QUIET_CALLS: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_stat,
    libc::SYS_fstat,
    libc::SYS_lstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_lseek,
    libc::SYS_ioctl,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_pipe,
    libc::SYS_pipe2,
    libc::SYS_select,
    libc::SYS_pselect6,
    libc::SYS_sched_yield,
    libc::SYS_madvise,
    libc::SYS_dup,
    libc::SYS_dup2,
    libc::SYS_dup3,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_time,
    libc::SYS_times,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrusage,
    libc::SYS_getrandom,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_fcntl,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_mkdir,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_rename,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_create1,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_socketpair,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_robust_list,
    libc::SYS_getpriority,
];
