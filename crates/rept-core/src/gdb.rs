//! A gdb remote stub over a history: unmodified gdb steps backward through a crash.
//!
//! ```text
//!  gdb ── packets ──▶ gdbstub ──▶ Stub: one position, breakpoints, watches
//!                                   │ on the public queries of History alone
//!                                   ▼
//!                        registers `xx` where unknown · memory only as far as known
//! ```
//!
//! There is one *now*: a position of the thread that moved last. Where the other threads
//! are then follows from the sequence. Nothing can be written.
//!
//! At the end of all, where a session begins, the dump alone is shown: that needs no history, and what
//! needs it waits until [`Recovery`] has made it ([`server`]).
//!
//! Rules that keep a client from showing a false value:
//! - gdb looks only at the first byte of a register to tell whether it is available, so
//!   a register is sent wholly or not at all;
//! - a memory read ends before the first byte that is not wholly known;
//! - gdb cannot mark values, so only those known at grade [`GdbOptions::trust`] or better are sent;
//! - gdb caches memory of the stack: `monitor seek` is carried out by the next `stepi`, at
//!   which gdb forgets what it knew.

mod description;
mod input;
mod monitor;
mod output;
mod registers;
mod server;
mod state;
mod stub;
mod target;
mod walk;

use crate::history::{History, Trust};
use crate::session::Recovery;
use input::Input;
use server::Server;
use std::fmt;
use std::io::{Read, Write};
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use stub::Stub;

/// How often a client that waits is told how far the recovery is.
const PERIOD: Duration = Duration::from_secs(2);

/// Commands for gdb that wrap the stub's `monitor` commands and forget what gdb remembers of
/// another time: `gdb -x rept.py`, or `source rept.py`.
pub const GDB_PYTHON: &str = include_str!("gdb/rept.py");

/// How to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GdbOptions {
    /// Values known at this grade or better are shown.
    pub trust: Trust,
}

impl Default for GdbOptions {
    /// Values that follow from the inputs and the named assumptions.
    fn default() -> GdbOptions {
        GdbOptions {
            trust: Trust::Assumed,
        }
    }
}

/// Why a session with gdb ended otherwise than by the client's wish.
#[derive(Debug)]
pub struct GdbError {
    cause: String,
}

impl fmt::Display for GdbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the gdb session ended: {}", self.cause)
    }
}

impl std::error::Error for GdbError {}

impl GdbError {
    fn new(cause: impl fmt::Display) -> GdbError {
        let cause = cause.to_string();
        GdbError { cause }
    }
}

impl History {
    /// Serves one gdb over a pair of byte streams (pipe, socket) until it detaches or hangs up.
    ///
    /// # Errors
    /// When the streams fail, when what comes in cannot be the remote protocol, or when there is
    /// neither a dump of this run nor a thread that was traced.
    pub fn serve_gdb(
        &self,
        input: impl Read,
        output: impl Write,
        options: GdbOptions,
    ) -> Result<(), GdbError> {
        let mut stub = Stub::new(self.session(), options);
        stub.know(self);
        if let (Some(lack), None) = (&stub.lack, stub.dump()) {
            return Err(GdbError::new(lack));
        }
        let mut server = Server::new(stub, output)?;
        for part in Input::new(input) {
            server.take(part.map_err(GdbError::new)?)?;
            if server.is_over() {
                break;
            }
        }
        Ok(())
    }
}

impl Recovery {
    /// The same while the history is in the making: until it is there, gdb is shown the crash as the dump
    /// has it, and what asks for more waits. gdb's user is told how far the recovery is, and may
    /// interrupt the waiting, which does not stop the recovery; nor does it stop when gdb leaves, but when
    /// this is dropped. If there is to be no history, gdb's user is told, and keeps the dump.
    ///
    /// # Errors
    /// As [`History::serve_gdb`]. Without a dump of this run also when there is to be no history.
    pub fn serve_gdb(
        &self,
        input: impl Read,
        output: impl Write + Send,
        options: GdbOptions,
    ) -> Result<(), GdbError> {
        let server = Mutex::new(Server::new(Stub::new(self.session(), options), output)?);
        let (wake, woken) = channel();
        let done = wake.clone();
        self.when_done(move || {
            // The client may be gone.
            let _ = done.send(());
        });
        thread::scope(|scope| {
            let waiter = scope.spawn(|| self.go_on(&server, woken));
            let served = serve(&server, input);
            lock(&server).end();
            let _ = wake.send(());
            let waited = waiter.join().unwrap_or_else(|panic| resume_unwind(panic));
            served.and(waited)
        })
    }

    /// Waits for the history, and answers then what was held back, while another thread reads.
    fn go_on<'a, W: Write>(
        &'a self,
        server: &Mutex<Server<'a, W>>,
        woken: Receiver<()>,
    ) -> Result<(), GdbError> {
        while let Err(RecvTimeoutError::Timeout) = woken.recv_timeout(PERIOD) {
            let mut server = lock(server);
            let told = server.tell(self.progress());
            told.inspect_err(|_| server.end())?;
        }
        let mut server = lock(server);
        match self.history() {
            Some(recovered) if !server.is_over() => {
                let answered = server.go_on(recovered);
                answered.inspect_err(|_| server.end())
            }
            _ => Ok(()),
        }
    }
}

/// Reads what the client sends, until it detaches or hangs up.
fn serve<W: Write>(server: &Mutex<Server<'_, W>>, input: impl Read) -> Result<(), GdbError> {
    for part in Input::new(input) {
        let part = part.map_err(GdbError::new)?;
        let mut server = lock(server);
        server.take(part)?;
        if server.is_over() {
            break;
        }
    }
    Ok(())
}

fn lock<'a, T>(shared: &'a Mutex<T>) -> MutexGuard<'a, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
