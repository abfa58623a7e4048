#![forbid(unsafe_code)]
//! The nouns that every `rept` crate speaks.
//!
//! A captured run is a [`Trace`]: for each thread the *static* code it ran, once
//! ([`Code`], a table of straight-line [`Block`]s with the bytes they had at the
//! time), and the *dynamic* path through it, as a compact list of [`Run`]s with
//! the [`Event`]s, [`Gap`]s and times beside it.
//!
//! ```text
//!  Code:   b0 [push rbp; mov rbp,rsp; …; jz]   b1 [ret]   b2 […]
//!  thread 7:  b0  b2  b0  b1  ▲ event      ─▶ steps 0,1,2,…
//! ```
//!
//! A *step* is one executed instruction; steps of a thread are numbered from 0,
//! the oldest that the trace still holds. Offsets and ids are types, never bare
//! integers. There is no logic worth the name here, no IO and no dependency.

mod address;
mod code;
mod state;
mod thread;
mod time;
mod trace;

pub use address::{Address, ThreadId};
pub use code::{Block, BlockId, Code};
pub use state::{Fault, FinalState, Mapping, Memory, RegWord, Registers};
pub use thread::{Event, EventKind, Gap, GapReason, Run, ThreadTrace};
pub use time::{Interval, TimeMark, Timestamp};
pub use trace::Trace;
