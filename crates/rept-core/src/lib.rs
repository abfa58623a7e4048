#![deny(unsafe_code)]
//! A crash, opened: from a core dump and an Intel PT trace to an execution history with values.
//!
//! ```text
//!  perf.data · raw PT ─▶ Capture ─┐                              ┌─▶ StateView, Backtrace
//!                                 ├─▶ Session ─▶ History ────────┼─▶ last_write, explain, call_tree
//!  core ──▶ Dump ─────────────────┘   decode      recover        └─▶ Cursor
//!  files ─▶ Binaries, Symbols
//! ```
//!
//! This is the only crate of rept that does IO and knows file formats; what they hold is
//! decoded by `rept-decode`, ordered by `rept-order` and recovered by `rept-recover`.
//!
//! ```no_run
//! use rept_core::{Location, RecoverOptions, Session, Trust};
//! use rept_trace::RegWord;
//!
//! let session = Session::builder().directory("crash").open()?;
//! let history = session.recover(&RecoverOptions::default());
//! let crash = history.crash().expect("a signal ended the process");
//! println!("signal {} at {}", crash.signal, crash.position);
//! let rax = Location::Reg(RegWord::RAX);
//! println!("{:?}", history.explain(rax, crash.position));
//! println!("{:?}", history.backtrace(crash.position, Trust::Certain));
//! # Ok::<(), rept_core::Error>(())
//! ```
//!
//! # A guide
//!
//! *Open.* A [`Builder`] takes a dump, a trace, folders of binaries, or a [`BinaryProvider`] of your
//! own; one of dump and trace is enough. [`Session::recover`] decodes, orders and recovers. A
//! builder also takes [`Limits`], somebody to tell of [`Progress`], and a [`Cancellation`], which
//! [`Session::try_recover`] heeds. [`Session::start_recovery`] recovers in a thread of its own.
//!
//! *Positions.* A [`Position`] is a thread and one of its steps: the state just before that
//! instruction. It prints and parses as `tid:step`. [`History::lifetime`] says which there are,
//! [`History::order`] how two of different threads lie in time, when that is proved.
//!
//! *State.* [`History::at`] gives a [`StateView`]: registers and memory as [`Value`]s, of which
//! each bit is known or not, and known as certain, assumed or inferred. [`Trust`] is a threshold
//! over these grades. What is not known has a reason ([`Unknown`]) and is never filled in.
//! [`show`] writes values so that nobody takes them for more than they are.
//!
//! *Source.* [`History::source`] names function and line, [`History::backtrace`] the callers, and
//! [`History::variables`] parameters and locals with [`Typed`] values of C, C++ and Rust.
//!
//! *Questions.* [`History::last_write`] and [`History::next_write`] say who wrote a register or
//! memory, and whether someone unknown may have since; [`History::touches`] who touches it;
//! [`History::executions`] when code ran; [`History::call_tree`] who called whom;
//! [`History::explain`] where a value came from; [`History::why_known`] how recovery learned it, [`History::why_unknown`] why it did not;
//! [`History::diff`] what changed between two positions. All are look-ups in indices that are made at the first question; iterators are
//! lazy, so whoever has enough stops:
//!
//! ```no_run
//! # use rept_core::{CallEnd, History, Position};
//! # fn last_calls(history: &History, crash: Position) -> Option<()> {
//! // The last ten calls, newest first, out of a tree that may have millions.
//! for call in history.call_tree(crash.thread, 0..crash.step)?.rev().take(10) {
//!     let name = history.session().symbols().lookup(call.callee);
//!     let state = match call.end {
//!         CallEnd::Open => "still open".to_owned(),
//!         CallEnd::Returned(at) => format!("returned at {at}"),
//!         _ => "left without a return".to_owned(),
//!     };
//!     println!("{} {} {state}", call.entry, name.name().unwrap_or("?"));
//! }
//! # Some(())
//! # }
//! ```
//!
//! *Walking.* A [`Cursor`] steps by instruction, line and function and runs to breakpoints and
//! watched places, in both directions.
//!
//! *gdb.* With the feature `gdb`, `History::serve_gdb` makes unmodified gdb a reverse debugger of
//! the crash; `Recovery::serve_gdb` does while the history is still in the making.
//!
//! The folder `examples` has programs of under 80 lines for each of these.
//!
//! # Promises
//!
//! - Opening fails only when nothing can be read; what is damaged or missing is told,
//!   with file and place, by [`Session::failures`] and [`Session::diagnostics`], and the
//!   rest is delivered.
//! - It never fills in what is not known: memory absent from the dump is unknown, and files
//!   stand in for it only where their build-id proves that they are the ones mapped and
//!   nothing can have written there (read-only segments, less RELRO).
//! - It does not use a dump that belongs to another run than the trace.
//! - It never prints, panics on what a file says, or uses memory out of proportion to it.
//!
//! `unsafe` is in one module, which maps files into memory.

mod anchors;
mod binaries;
mod build_id;
mod capture;
mod cfi;
mod cursor;
mod diagnostics;
mod dump;
mod error;
mod fields;
mod frame_sizes;
#[cfg(feature = "gdb")]
mod gdb;
mod history;
mod image;
mod layout;
mod mmap;
mod position;
mod session;
pub mod show;
mod symbols;
mod typed;

pub use binaries::{Binaries, Binary, BinaryProvider, Located, MissingBinary, Wanted};
pub use build_id::BuildId;
pub use capture::*;
pub use cursor::{Cursor, Direction, Stop, StopReason, StopSet};
pub use diagnostics::{Diagnostic, Subject};
pub use dump::{Dump, Module, ModuleFile};
pub use error::Error;
#[cfg(feature = "gdb")]
pub use gdb::{GDB_PYTHON, GdbError, GdbOptions};
pub use history::{
    AccessView, Answer, Asked, Backtrace, Call, CallEnd, CallNode, CallTree, Change, Crash,
    Difference, Explanation, Frame, FrameVariables, History, Inference, InferenceSource,
    Instruction, KnownMask, Link, Location, Origin, ParseLocationError, Race, RaceSide, Rule,
    Stage, StateView, Suspects, Suspicion, Touch, Trail, Trust, Unknown, Value, Write,
};
pub use position::{ParsePositionError, Position};
pub use rept_recover::{Options as RecoverOptions, Statistics};
pub use session::{
    Builder, Cancellation, Followed, Follower, Limits, Moment, Progress, Recovery, Session,
    StepTime,
};
pub use symbols::{Degraded, SourceFrame, Symbol, Symbols};
pub use typed::{Shape, Typed, Variable};
