#![deny(unsafe_code)]
//! (in the making)

mod binaries;
mod build_id;
mod capture;
mod cursor;
mod diagnostics;
mod dump;
mod error;
mod fields;
mod history;
mod image;
mod layout;
mod mmap;
mod position;
mod session;
mod symbols;

pub use binaries::{Binaries, Binary, BinaryProvider, Located, MissingBinary, Wanted};
pub use build_id::BuildId;
pub use capture::*;
pub use cursor::{Cursor, Direction, Stop, StopReason, StopSet};
pub use diagnostics::{Diagnostic, Subject};
pub use dump::{Dump, Module, ModuleFile};
pub use error::Error;
pub use history::{
    AccessView, Call, Crash, History, Instruction, KnownMask, Location, StateView, Touch, Trust,
    Unknown, Value, Write,
};
pub use position::{ParsePositionError, Position};
pub use rept_recover::{Options as RecoverOptions, Statistics};
pub use session::{Builder, Session};
pub use symbols::{Degraded, SourceFrame, Symbol, Symbols};
