#![deny(unsafe_code)]
//! (in the making)

mod binaries;
mod build_id;
mod capture;
mod cursor;
mod dump;
mod error;
mod layout;
mod mmap;

pub use binaries::{Binaries, Binary, BinaryProvider, Located, MissingBinary, Wanted};
pub use build_id::BuildId;
pub use capture::*;
pub use dump::{Dump, Module, ModuleFile};
pub use error::Error;
