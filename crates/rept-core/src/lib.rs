#![deny(unsafe_code)]
//! A crash, opened: from a core dump and an Intel PT trace to an execution history with values.
//!
//! ```text
//!  perf.data · raw PT ─▶ Capture ─┐                              ┌─▶ StateView, Backtrace
//!                                 ├─▶ Session ─▶ History ────────┼─▶ last_write, explain, calls
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
//! It promises
//! - that opening fails only when nothing can be read; what is damaged or missing is told,
//!   with file and place, by [`Session::failures`] and [`Session::diagnostics`], and the
//!   rest is delivered;
//! - never to fill in what is not known: memory absent from the dump is unknown, and files
//!   stand in for it only where their build-id proves that they are the ones mapped and
//!   nothing can have written there (read-only segments, less RELRO);
//! - not to use a dump that belongs to another run than the trace;
//! - never to print, to panic on what a file says, or to use memory out of proportion to it.
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
#[cfg(feature = "gdb")]
mod gdb;
mod history;
mod image;
mod layout;
mod mmap;
mod position;
mod session;
mod symbols;
mod unwind;

pub use binaries::{Binaries, Binary, BinaryProvider, Located, MissingBinary, Wanted};
pub use build_id::BuildId;
pub use capture::*;
pub use cursor::{Cursor, Direction, Stop, StopReason, StopSet};
pub use diagnostics::{Diagnostic, Subject};
pub use dump::{Dump, Module, ModuleFile};
pub use error::Error;
#[cfg(feature = "gdb")]
pub use gdb::{GdbError, GdbOptions};
pub use history::{
    AccessView, Call, Crash, Explanation, History, Instruction, KnownMask, Link, Location, Origin,
    Race, RaceSide, StateView, Touch, Trust, Unknown, Value, Write,
};
pub use position::{ParsePositionError, Position};
pub use rept_recover::{Options as RecoverOptions, Statistics};
pub use session::{Builder, Session};
pub use symbols::{Degraded, SourceFrame, Symbol, Symbols};
pub use unwind::{Backtrace, Frame};
