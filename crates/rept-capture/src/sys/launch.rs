use crate::error::Error;
use libc::{c_char, c_int, pid_t};
use std::ffi::CString;
use std::io;

/// What a new process runs, ready to be used between `fork` and `exec`.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) path: CString,
    /// Arguments, the program's name first.
    pub(crate) arguments: Vec<CString>,
    /// Whether the kernel may place mappings at random.
    pub(crate) aslr: bool,
    /// Whether its children are traced.
    pub(crate) follow: bool,
}

/// Pages that the kernel puts into a core: private and shared anonymous memory, private
/// file mappings, ELF headers, private huge pages (`core(5)`).
const COREDUMP_FILTER: &[u8] = b"0x37";

/// Starts a process that is traced and stands before its `exec`; the caller resumes it.
///
/// # Errors
/// The system refuses a process or forbids tracing.
pub(crate) fn launch(launch: &Launch) -> Result<(pid_t, ExecResult), Error> {
    let mut go = Pipe::new()?;
    let mut result = Pipe::new()?;
    let mut argv: Vec<*const c_char> = launch.arguments.iter().map(|a| a.as_ptr()).collect();
    argv.push(std::ptr::null());
    // SAFETY: the child calls only async-signal-safe functions before it execs or exits.
    match unsafe { libc::fork() } {
        -1 => Err(Error::last_os("start a process")),
        0 => child(launch, &argv, &mut go, &result),
        pid => {
            if let Err(source) = super::seize(pid, launch.follow) {
                // SAFETY: `pid` is our own child, not yet waited for.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                super::wait(pid, true)?;
                return Err(Error::ptrace_forbidden(source));
            }
            result.close_write();
            go.send(0);
            Ok((pid, ExecResult(result)))
        }
    }
}

/// Tells why `exec` failed, when it did.
pub(crate) struct ExecResult(Pipe);

impl ExecResult {
    /// The error number that `exec` left. Call when the process ended without having started.
    pub(crate) fn error(self) -> io::Error {
        io::Error::from_raw_os_error(self.0.receive().unwrap_or(libc::EIO))
    }
}

// Runs in the child: nothing here allocates or takes a lock.
fn child(launch: &Launch, argv: &[*const c_char], go: &mut Pipe, result: &Pipe) -> ! {
    // Without a writer left, the read ends when the recorder dies.
    go.close_write();
    if go.receive().is_none() {
        // SAFETY: ends this process only.
        unsafe { libc::_exit(127) };
    }
    prepare_core();
    // SAFETY: no handler is involved. The Rust runtime ignores SIGPIPE; programs start with
    // the default.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    if !launch.aslr {
        // SAFETY: no memory is involved. A refusal only means that addresses vary.
        unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) };
    }
    // SAFETY: both strings and the argument list are null-terminated and outlive the call.
    unsafe {
        libc::execv(launch.path.as_ptr(), argv.as_ptr());
        result.send(*libc::__errno_location());
        libc::_exit(127)
    }
}

/// The same for a process that runs already, as far as we may.
pub(crate) fn allow_core(pid: pid_t) {
    // SAFETY: plain system calls on a stack value.
    unsafe {
        let mut limit = std::mem::zeroed::<libc::rlimit>();
        if libc::prlimit(pid, libc::RLIMIT_CORE, std::ptr::null(), &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::prlimit(pid, libc::RLIMIT_CORE, &limit, std::ptr::null_mut());
        }
    }
    // Refused: the core has fewer pages.
    let _ = std::fs::write(format!("/proc/{pid}/coredump_filter"), COREDUMP_FILTER);
}

// The kernel shall write a whole core: raise the soft limit, select the pages.
fn prepare_core() {
    // SAFETY: plain system calls on stack values and a static string.
    unsafe {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        if libc::getrlimit(libc::RLIMIT_CORE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_CORE, &limit);
        }
        let file = libc::open(
            c"/proc/self/coredump_filter".as_ptr(),
            libc::O_WRONLY | libc::O_CLOEXEC,
        );
        if file >= 0 {
            libc::write(file, COREDUMP_FILTER.as_ptr().cast(), COREDUMP_FILTER.len());
            libc::close(file);
        }
    }
}

/// Carries one number, or nothing when its other end closes (on `exec`).
struct Pipe {
    read: c_int,
    write: c_int,
}

impl Pipe {
    fn new() -> Result<Pipe, Error> {
        let mut ends = [0; 2];
        // SAFETY: `ends` has room for the two descriptors.
        match unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } {
            0 => Ok(Pipe {
                read: ends[0],
                write: ends[1],
            }),
            _ => Err(Error::last_os("make a pipe")),
        }
    }

    fn close_write(&mut self) {
        // SAFETY: the descriptor is ours and not used afterwards.
        unsafe { libc::close(self.write) };
        self.write = -1;
    }

    fn send(&self, number: c_int) {
        let bytes = number.to_ne_bytes();
        // SAFETY: the buffer is that long; the descriptor is ours.
        unsafe { libc::write(self.write, bytes.as_ptr().cast(), bytes.len()) };
    }

    fn receive(&self) -> Option<c_int> {
        let mut bytes = [0u8; 4];
        // SAFETY: the buffer is that long; the descriptor is ours.
        let got = unsafe { libc::read(self.read, bytes.as_mut_ptr().cast(), bytes.len()) };
        (got == 4).then(|| c_int::from_ne_bytes(bytes))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // SAFETY: both descriptors are ours and not used afterwards.
        unsafe {
            libc::close(self.read);
            libc::close(self.write);
        }
    }
}
