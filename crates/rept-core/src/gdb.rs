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
mod registers;
mod target;
mod walk;

use crate::history::{History, Trust};
use gdbstub::conn::Connection;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{GdbStub, MultiThreadStopReason};
use input::Input;
use std::fmt;
use std::io::{self, Read, Write};
use walk::Stub;

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

impl History {
    /// Serves one gdb over a pair of byte streams (pipe, socket) until it detaches or hangs up.
    ///
    /// # Errors
    /// When the streams fail, when what comes in cannot be the remote protocol, or when no
    /// thread was traced.
    pub fn serve_gdb(
        &self,
        input: impl Read,
        output: impl Write,
        options: GdbOptions,
    ) -> Result<(), GdbError> {
        let Some(mut stub) = Stub::new(self, options) else {
            let cause = "there is no history: no thread was traced".to_owned();
            return Err(GdbError { cause });
        };
        let failed = |cause: &dyn fmt::Display| GdbError {
            cause: cause.to_string(),
        };
        let mut bytes = Input::new(input);
        let mut machine = GdbStub::new(Output(output))
            .run_state_machine(&mut stub)
            .map_err(|error| failed(&error))?;
        loop {
            machine = match machine {
                GdbStubStateMachine::Idle(idle) => match bytes.next() {
                    Some(Ok(byte)) => idle.incoming_data(&mut stub, byte),
                    Some(Err(error)) => return Err(failed(&error)),
                    None => return Ok(()),
                },
                GdbStubStateMachine::Running(running) => {
                    let reason = stub.go();
                    running.report_stop(&mut stub, reason)
                }
                GdbStubStateMachine::CtrlCInterrupt(interrupt) => {
                    let reason = MultiThreadStopReason::Signal(gdbstub::common::Signal::SIGINT);
                    interrupt.interrupt_handled(&mut stub, Some(reason))
                }
                GdbStubStateMachine::Disconnected(_) => return Ok(()),
            }
            .map_err(|error| failed(&error))?;
        }
    }
}

/// The sending side; packets leave when they are whole.
struct Output<W>(W);

impl<W: Write> Connection for Output<W> {
    type Error = io::Error;

    fn write(&mut self, byte: u8) -> io::Result<()> {
        self.0.write_all(&[byte])
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
