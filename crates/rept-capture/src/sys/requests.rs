//! Signals to the recorder that ask for something while it waits for the program.

use super::handlers::Handlers;
use crate::error::Error;
use libc::{c_int, pid_t};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Save what is recorded so far, and go on.
    Save = 1,
    /// Save it, and let the process go on without the recorder.
    LetGo = 2,
}

/// Bits of [`Request`] that are not yet answered.
static PENDING: AtomicU32 = AtomicU32::new(0);
/// The signal that asks to save.
static SAVES: AtomicU32 = AtomicU32::new(0);

/// How often a thread that waits is reminded of a request.
const REMINDER: Duration = Duration::from_millis(10);
/// Ignored by default, so that nothing is lost when the handler is gone.
const REMINDS: c_int = libc::SIGURG;

extern "C" fn asked(signal: c_int) {
    let request = match signal as u32 == SAVES.load(Ordering::Relaxed) {
        true => Request::Save,
        false => Request::LetGo,
    };
    PENDING.fetch_or(request as u32, Ordering::Relaxed);
}

extern "C" fn reminded(_signal: c_int) {}

/// Takes one request, when there is one.
pub(crate) fn take_request() -> Option<Request> {
    let pending = PENDING.load(Ordering::Relaxed);
    let request = [Request::LetGo, Request::Save]
        .into_iter()
        .find(|&request| pending & request as u32 != 0)?;
    PENDING.fetch_and(!(request as u32), Ordering::Relaxed);
    Some(request)
}

/// Whether there is a request.
pub(super) fn is_asked() -> bool {
    PENDING.load(Ordering::Relaxed) != 0
}

/// While this lives, signals to the recorder are requests. They may reach any thread of it,
/// at any moment; a thread of its own interrupts the one that waits for the program.
#[derive(Debug)]
pub(crate) struct Requests {
    handlers: Handlers,
    ends: Arc<AtomicBool>,
    reminder: Option<JoinHandle<()>>,
}

impl Requests {
    /// `save` is the signal for [`Request::Save`]; SIGINT and SIGTERM are [`Request::LetGo`]
    /// when `lets_go` says so.
    ///
    /// # Errors
    /// The signal cannot be handled.
    pub(crate) fn new(save: Option<i32>, lets_go: bool) -> Result<Requests, Error> {
        PENDING.store(0, Ordering::Relaxed);
        SAVES.store(save.unwrap_or(0) as u32, Ordering::Relaxed);
        let mut requests = Requests {
            handlers: Handlers::default(),
            ends: Arc::new(AtomicBool::new(false)),
            reminder: None,
        };
        let lets_go = [libc::SIGINT, libc::SIGTERM]
            .into_iter()
            .filter(|_| lets_go);
        let asking: Vec<c_int> = lets_go.filter(|&s| Some(s) != save).chain(save).collect();
        if asking.is_empty() {
            return Ok(requests);
        }
        for signal in asking {
            requests.handlers.set(signal, asked)?;
        }
        requests.handlers.set(REMINDS, reminded)?;
        let ends = Arc::clone(&requests.ends);
        // SAFETY: no memory is involved.
        let (pid, waits) = unsafe { (libc::getpid(), libc::gettid()) };
        requests.reminder = Some(thread::spawn(move || remind(pid, waits, &ends)));
        Ok(requests)
    }
}

fn remind(pid: pid_t, waits: pid_t, ends: &AtomicBool) {
    while !ends.load(Ordering::Relaxed) {
        thread::sleep(REMINDER);
        if is_asked() {
            // SAFETY: no memory is involved; the thread is one of this process.
            unsafe { libc::syscall(libc::SYS_tgkill, pid, waits, REMINDS) };
        }
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(reminder) = self.reminder.take() {
            // It does nothing that could panic.
            let _ = reminder.join();
        }
    }
}
