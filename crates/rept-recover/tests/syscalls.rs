//! The system-call table against the C library's numbers, and its rows at work.

use rept_recover::syscall::{Argument, Effect, Extent, Frame, is_error, lookup, table};
use std::collections::BTreeMap;

/// Calls that the `libc` crate has no constant for.
const NOT_IN_LIBC: [&str; 19] = [
    "create_module",
    "get_kernel_syms",
    "query_module",
    "io_pgetevents",
    "uretprobe",
    "cachestat",
    "map_shadow_stack",
    "futex_wake",
    "futex_wait",
    "futex_requeue",
    "statmount",
    "listmount",
    "lsm_get_self_attr",
    "lsm_set_self_attr",
    "lsm_list_modules",
    "setxattrat",
    "getxattrat",
    "listxattrat",
    "removexattrat",
];

macro_rules! numbers {
    ($($name:ident)*) => { [$((stringify!($name), libc::$name)),*] };
}

#[rustfmt::skip]
const LIBC: &[(&str, libc::c_long)] = &numbers![
    SYS_read SYS_write SYS_open SYS_close SYS_stat SYS_fstat SYS_lstat SYS_poll SYS_lseek
    SYS_mmap SYS_mprotect SYS_munmap SYS_brk SYS_rt_sigaction SYS_rt_sigprocmask
    SYS_rt_sigreturn SYS_ioctl SYS_pread64 SYS_pwrite64 SYS_readv SYS_writev SYS_access SYS_pipe
    SYS_select SYS_sched_yield SYS_mremap SYS_msync SYS_mincore SYS_madvise SYS_shmget SYS_shmat
    SYS_shmctl SYS_dup SYS_dup2 SYS_pause SYS_nanosleep SYS_getitimer SYS_alarm SYS_setitimer
    SYS_getpid SYS_sendfile SYS_socket SYS_connect SYS_accept SYS_sendto SYS_recvfrom
    SYS_sendmsg SYS_recvmsg SYS_shutdown SYS_bind SYS_listen SYS_getsockname SYS_getpeername
    SYS_socketpair SYS_setsockopt SYS_getsockopt SYS_clone SYS_fork SYS_vfork SYS_execve
    SYS_exit SYS_wait4 SYS_kill SYS_uname SYS_semget SYS_semop SYS_semctl SYS_shmdt SYS_msgget
    SYS_msgsnd SYS_msgrcv SYS_msgctl SYS_fcntl SYS_flock SYS_fsync SYS_fdatasync SYS_truncate
    SYS_ftruncate SYS_getdents SYS_getcwd SYS_chdir SYS_fchdir SYS_rename SYS_mkdir SYS_rmdir
    SYS_creat SYS_link SYS_unlink SYS_symlink SYS_readlink SYS_chmod SYS_fchmod SYS_chown
    SYS_fchown SYS_lchown SYS_umask SYS_gettimeofday SYS_getrlimit SYS_getrusage SYS_sysinfo
    SYS_times SYS_ptrace SYS_getuid SYS_syslog SYS_getgid SYS_setuid SYS_setgid SYS_geteuid
    SYS_getegid SYS_setpgid SYS_getppid SYS_getpgrp SYS_setsid SYS_setreuid SYS_setregid
    SYS_getgroups SYS_setgroups SYS_setresuid SYS_getresuid SYS_setresgid SYS_getresgid
    SYS_getpgid SYS_setfsuid SYS_setfsgid SYS_getsid SYS_capget SYS_capset SYS_rt_sigpending
    SYS_rt_sigtimedwait SYS_rt_sigqueueinfo SYS_rt_sigsuspend SYS_sigaltstack SYS_utime
    SYS_mknod SYS_uselib SYS_personality SYS_ustat SYS_statfs SYS_fstatfs SYS_sysfs
    SYS_getpriority SYS_setpriority SYS_sched_setparam SYS_sched_getparam SYS_sched_setscheduler
    SYS_sched_getscheduler SYS_sched_get_priority_max SYS_sched_get_priority_min
    SYS_sched_rr_get_interval SYS_mlock SYS_munlock SYS_mlockall SYS_munlockall SYS_vhangup
    SYS_modify_ldt SYS_pivot_root SYS__sysctl SYS_prctl SYS_arch_prctl SYS_adjtimex
    SYS_setrlimit SYS_chroot SYS_sync SYS_acct SYS_settimeofday SYS_mount SYS_umount2 SYS_swapon
    SYS_swapoff SYS_reboot SYS_sethostname SYS_setdomainname SYS_iopl SYS_ioperm SYS_init_module
    SYS_delete_module SYS_quotactl SYS_nfsservctl SYS_getpmsg SYS_putpmsg SYS_afs_syscall
    SYS_tuxcall SYS_security SYS_gettid SYS_readahead SYS_setxattr SYS_lsetxattr SYS_fsetxattr
    SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_listxattr SYS_llistxattr SYS_flistxattr
    SYS_removexattr SYS_lremovexattr SYS_fremovexattr SYS_tkill SYS_time SYS_futex
    SYS_sched_setaffinity SYS_sched_getaffinity SYS_set_thread_area SYS_io_setup SYS_io_destroy
    SYS_io_getevents SYS_io_submit SYS_io_cancel SYS_get_thread_area SYS_lookup_dcookie
    SYS_epoll_create SYS_epoll_ctl_old SYS_epoll_wait_old SYS_remap_file_pages SYS_getdents64
    SYS_set_tid_address SYS_restart_syscall SYS_semtimedop SYS_fadvise64 SYS_timer_create
    SYS_timer_settime SYS_timer_gettime SYS_timer_getoverrun SYS_timer_delete SYS_clock_settime
    SYS_clock_gettime SYS_clock_getres SYS_clock_nanosleep SYS_exit_group SYS_epoll_wait
    SYS_epoll_ctl SYS_tgkill SYS_utimes SYS_vserver SYS_mbind SYS_set_mempolicy
    SYS_get_mempolicy SYS_mq_open SYS_mq_unlink SYS_mq_timedsend SYS_mq_timedreceive
    SYS_mq_notify SYS_mq_getsetattr SYS_kexec_load SYS_waitid SYS_add_key SYS_request_key
    SYS_keyctl SYS_ioprio_set SYS_ioprio_get SYS_inotify_init SYS_inotify_add_watch
    SYS_inotify_rm_watch SYS_migrate_pages SYS_openat SYS_mkdirat SYS_mknodat SYS_fchownat
    SYS_futimesat SYS_newfstatat SYS_unlinkat SYS_renameat SYS_linkat SYS_symlinkat
    SYS_readlinkat SYS_fchmodat SYS_faccessat SYS_pselect6 SYS_ppoll SYS_unshare
    SYS_set_robust_list SYS_get_robust_list SYS_splice SYS_tee SYS_sync_file_range SYS_vmsplice
    SYS_move_pages SYS_utimensat SYS_epoll_pwait SYS_signalfd SYS_timerfd_create SYS_eventfd
    SYS_fallocate SYS_timerfd_settime SYS_timerfd_gettime SYS_accept4 SYS_signalfd4 SYS_eventfd2
    SYS_epoll_create1 SYS_dup3 SYS_pipe2 SYS_inotify_init1 SYS_preadv SYS_pwritev
    SYS_rt_tgsigqueueinfo SYS_perf_event_open SYS_recvmmsg SYS_fanotify_init SYS_fanotify_mark
    SYS_prlimit64 SYS_name_to_handle_at SYS_open_by_handle_at SYS_clock_adjtime SYS_syncfs
    SYS_sendmmsg SYS_setns SYS_getcpu SYS_process_vm_readv SYS_process_vm_writev SYS_kcmp
    SYS_finit_module SYS_sched_setattr SYS_sched_getattr SYS_renameat2 SYS_seccomp SYS_getrandom
    SYS_memfd_create SYS_kexec_file_load SYS_bpf SYS_execveat SYS_userfaultfd SYS_membarrier
    SYS_mlock2 SYS_copy_file_range SYS_preadv2 SYS_pwritev2 SYS_pkey_mprotect SYS_pkey_alloc
    SYS_pkey_free SYS_statx SYS_rseq SYS_pidfd_send_signal SYS_io_uring_setup SYS_io_uring_enter
    SYS_io_uring_register SYS_open_tree SYS_move_mount SYS_fsopen SYS_fsconfig SYS_fsmount
    SYS_fspick SYS_pidfd_open SYS_clone3 SYS_close_range SYS_openat2 SYS_pidfd_getfd
    SYS_faccessat2 SYS_process_madvise SYS_epoll_pwait2 SYS_mount_setattr SYS_quotactl_fd
    SYS_landlock_create_ruleset SYS_landlock_add_rule SYS_landlock_restrict_self
    SYS_memfd_secret SYS_process_mrelease SYS_futex_waitv SYS_set_mempolicy_home_node
    SYS_fchmodat2 SYS_mseal
];

#[test]
fn numbers_and_names_are_the_kernels() {
    let libc: BTreeMap<&str, u64> = LIBC
        .iter()
        .map(|&(name, number)| (name.trim_start_matches("SYS_"), number as u64))
        .collect();
    for call in table() {
        match libc.get(call.name) {
            Some(&number) => assert_eq!(call.number, number, "{}", call.name),
            None => assert!(
                NOT_IN_LIBC.contains(&call.name),
                "{} is in neither list",
                call.name
            ),
        }
    }
    assert_eq!(
        table().len(),
        libc.len() + NOT_IN_LIBC.len(),
        "no call of the C library is missing"
    );
}

#[test]
fn every_number_up_to_the_newest_has_a_row() {
    let gap = 336..424; // left free to bring the architectures' numbers in line
    for number in (0..467).filter(|number| !gap.contains(number)) {
        assert_eq!(lookup(number).map(|call| call.number), Some(number));
    }
    assert!(
        gap.chain([467, u64::MAX])
            .all(|number| lookup(number).is_none())
    );
}

/// An execution of a call in the kernel's calling convention.
#[derive(Default)]
struct Call {
    arguments: Vec<u64>,
    result: Option<u64>,
    memory: BTreeMap<u64, u64>,
}

impl Frame for Call {
    fn argument(&self, argument: Argument) -> Option<u64> {
        (1..)
            .zip(&self.arguments)
            .find(|&(n, _)| Argument::new(n) == Some(argument))
            .map(|(_, &value)| value)
    }

    fn result(&self) -> Option<u64> {
        self.result
    }

    fn memory(&self, address: u64, size: u8) -> Option<u64> {
        let value = *self.memory.get(&address)?;
        Some(if size == 4 {
            u64::from(value as u32)
        } else {
            value
        })
    }
}

const FAILED: u64 = 11u64.wrapping_neg(); // EAGAIN
const FAULTED: u64 = 14u64.wrapping_neg(); // EFAULT

/// Checks the (address, length) pairs that a call may write; `None`: anywhere.
#[track_caller]
fn check(
    name: &str,
    arguments: &[u64],
    result: Option<u64>,
    memory: &[(u64, u64)],
    expect: Option<&[(u64, u64)]>,
) {
    let call = table().iter().find(|call| call.name == name).expect(name);
    let frame = Call {
        arguments: arguments.to_vec(),
        result,
        memory: memory.iter().copied().collect(),
    };
    let known = |extent: &Extent| {
        (
            extent.address.expect("known"),
            extent.length.expect("known"),
        )
    };
    let extents = call
        .extents(&frame)
        .map(|extents| extents.iter().map(known).collect::<Vec<_>>());
    assert_eq!(extents.as_deref(), expect, "{name}");
}

#[test]
fn buffers_filled_to_the_result() {
    check(
        "read",
        &[3, 0x1000, 100],
        Some(7),
        &[],
        Some(&[(0x1000, 7)]),
    );
    check("read", &[3, 0x1000, 100], Some(0), &[], Some(&[]));
    check("read", &[3, 0x1000, 100], None, &[], Some(&[(0x1000, 100)]));
    // A datagram with a bad checksum was copied before it was refused.
    check(
        "read",
        &[3, 0x1000, 100],
        Some(FAILED),
        &[],
        Some(&[(0x1000, 100)]),
    );
    // MSG_TRUNC: the result is the datagram's length, not the buffer's.
    check(
        "recvfrom",
        &[3, 0x1000, 100, 0x20, 0, 0],
        Some(5000),
        &[],
        Some(&[(0x1000, 100)]),
    );
    check(
        "epoll_wait",
        &[3, 0x1000, 64, 0],
        Some(2),
        &[],
        Some(&[(0x1000, 24)]),
    );
    check("getgroups", &[0, 0x1000], Some(9), &[], Some(&[]));
}

#[test]
fn structures_written_on_success() {
    check("fstat", &[3, 0x1000], Some(0), &[], Some(&[(0x1000, 144)]));
    check("fstat", &[3, 0x1000], Some(FAILED), &[], Some(&[]));
    check(
        "fstat",
        &[3, 0x1000],
        Some(FAULTED),
        &[],
        Some(&[(0x1000, 144)]),
    );
    check(
        "clock_gettime",
        &[1, 0x1000],
        None,
        &[],
        Some(&[(0x1000, 16)]),
    );
    check("rt_sigaction", &[11, 0x1000, 0, 8], Some(0), &[], Some(&[]));
    check(
        "nanosleep",
        &[0x1000, 0x2000],
        Some(4u64.wrapping_neg()),
        &[],
        Some(&[(0x2000, 16)]),
    );
}

#[test]
fn lengths_from_arguments_and_memory() {
    check(
        "select",
        &[65, 0x1000, 0, 0x3000, 0],
        Some(1),
        &[],
        Some(&[(0x1000, 16), (0x3000, 16)]),
    );
    check(
        "mincore",
        &[0x10000, 4097, 0x1000],
        Some(0),
        &[],
        Some(&[(0x1000, 2)]),
    );
    let optlen = [(0x2000, 0xffff_ffff_0000_0004)];
    check(
        "getsockopt",
        &[3, 1, 4, 0x1000, 0x2000],
        Some(0),
        &optlen,
        Some(&[(0x1000, 4), (0x2000, 4)]),
    );
    check(
        "getsockopt",
        &[3, 132, 4, 0x1000, 0x2000],
        Some(0),
        &optlen,
        None,
    );
    check(
        "msgrcv",
        &[3, 0x1000, 64, 0, 0],
        Some(5),
        &[],
        Some(&[(0x1000, 8), (0x1008, 5)]),
    );
}

#[test]
fn vectors_end_at_the_result() {
    let iov = [
        (0x100, 0x1000),
        (0x108, 8),
        (0x110, 0x2000),
        (0x118, 8),
        (0x120, 0x3000),
        (0x128, 8),
    ];
    check(
        "readv",
        &[3, 0x100, 3],
        Some(12),
        &iov,
        Some(&[(0x1000, 8), (0x2000, 4)]),
    );
    check(
        "readv",
        &[3, 0x100, 2],
        None,
        &iov,
        Some(&[(0x1000, 8), (0x2000, 8)]),
    );
    let call = lookup(19).expect("readv");
    let frame = Call {
        arguments: vec![3, 0x100, u64::MAX],
        result: Some(5),
        ..Call::default()
    };
    let unknown = Extent {
        address: None,
        length: None,
        lasting: false,
    };
    let extents = call.extents(&frame).expect("a vector is not anywhere");
    assert_eq!((extents.len(), extents[0]), (1024, unknown));
}

#[test]
fn commands_decide() {
    check(
        "ioctl",
        &[0, 0x5401, 0x1000],
        Some(0),
        &[],
        Some(&[(0x1000, 36)]),
    );
    check("ioctl", &[0, 0x5421, 0x1000], Some(0), &[], Some(&[]));
    check("ioctl", &[0, 0xdead, 0x1000], Some(0), &[], None);
    check(
        "futex",
        &[0x1000, 0x80, 0, 0, 0, 0],
        Some(0),
        &[],
        Some(&[]),
    );
    check(
        "futex",
        &[0x1000, 0x86, 0, 0, 0x2000, 0],
        Some(0),
        &[],
        Some(&[(0x1000, 4), (0x2000, 4)]),
    );
    // The command is not known: neither is what was written.
    check("ioctl", &[0], Some(0), &[], None);
}

#[test]
fn new_threads_and_foreign_processes() {
    let thread = [
        (0x100, 0x3d0f00),
        (0x108, 0),
        (0x110, 0x9000),
        (0x118, 0x9010),
    ];
    check(
        "clone3",
        &[0x100, 88],
        Some(77),
        &thread,
        Some(&[(0x9000, 4), (0x9010, 4)]),
    );
    let spawn = [(0x100, 0x4100)];
    check("clone3", &[0x100, 88], Some(77), &spawn, None);
    check("clone3", &[0x100, 88], Some(77), &[], None);
    check(
        "clone",
        &[0x1200011, 0, 0, 0x9000, 0],
        Some(77),
        &[],
        Some(&[(0x9000, 4)]),
    );
    check("clone", &[0x111, 0x5000, 0, 0, 0], Some(77), &[], None);
    let call = lookup(56).expect("clone");
    let frame = Call {
        arguments: vec![0x3d0f00, 0x5000, 0x8000, 0x9000, 0],
        ..Call::default()
    };
    let lasting: Vec<bool> = call
        .extents(&frame)
        .expect("stated")
        .iter()
        .map(|extent| extent.lasting)
        .collect();
    assert_eq!(
        lasting,
        [false, true],
        "the child's thread id is cleared when it ends"
    );
}

#[test]
fn pointers_that_are_not_known() {
    let call = lookup(0).expect("read");
    let frame = Call {
        arguments: vec![3],
        result: Some(5),
        ..Call::default()
    };
    let extent = Extent {
        address: None,
        length: Some(5),
        lasting: false,
    };
    assert_eq!(call.extents(&frame), Some(vec![extent]));
}

#[test]
fn effects_beyond_memory() {
    let effect = |number: u64, first: u64| {
        let frame = Call {
            arguments: vec![first, 0, 0, 0, 0, 0],
            ..Call::default()
        };
        lookup(number)
            .and_then(|call| call.case(&frame))
            .map(|case| case.effect)
    };
    for (number, expect) in [
        (9, Effect::Map),
        (10, Effect::Protect),
        (11, Effect::Unmap),
        (12, Effect::Break),
        (15, Effect::SignalReturn),
        (25, Effect::Remap),
        (28, Effect::Discard),
        (56, Effect::Clone),
        (59, Effect::Exec),
        (60, Effect::Exit),
        (231, Effect::Exit),
        (1, Effect::None),
    ] {
        assert_eq!(effect(number, 0), Some(expect), "{number}");
    }
    assert_eq!(effect(158, 0x1002), Some(Effect::Segment));
    assert_eq!(effect(158, 0x1003), Some(Effect::None));
}

#[test]
fn error_codes() {
    assert!(is_error(u64::MAX) && is_error(4095u64.wrapping_neg()));
    assert!(!is_error(4096u64.wrapping_neg()) && !is_error(0));
}
