#![forbid(unsafe_code)]
//! Data recovery: from control flow and a final state to a history with values.

pub mod bits;
pub mod check;
pub mod effect;
pub mod engine;
#[cfg(feature = "experiments")]
pub mod experiment;
#[cfg(not(feature = "experiments"))]
mod experiment;
pub mod history;
pub mod lift;
pub mod op;
mod progress;
pub mod syscall;

pub use engine::{
    AddressSpace, Anchor, AnchorPoint, Area, Backing, Creation, Descriptor, FileIdentity, FileRead,
    FrameSizes, History, Mapped, MappedFile, OpenedFiles, Options, ResourceLimit, Statistics,
    recover, recover_observed,
};
pub use progress::{Observer, Progress};
