//! Makes `rept` captures on machines without Intel PT: a software tracer.
//!
//! A program runs until it crashes or exits (or a process that runs already is attached to, and
//! let go), under single-step or as a copy that logs where it goes ([`EngineKind`]). What is left is what the
//! hardware would have left: real PT packets in a ring per thread, in a `perf.data` that
//! stock perf decodes, and the kernel's own core. Whoever reads them cannot tell.
//!
//! ```text
//!              engine: how steps are obtained          recording: what they leave behind
//!  program ──▶ ptrace, one trap a step ── step ──▶ stream ─▶ encode ─▶ ring ─▶ perf.data
//!      │                                      └──▶ truth (true registers and memory, for scoring)
//!      ├─────▶ cache of copied code ── journal ─▶ stream
//!      └─────▶ core (the kernel's, or own)
//! ```
//!
//! It promises: the packets tell exactly the instructions that ran, and when, on one clock
//! (virtual for single-step, the processor's own for copies); the core holds the program's
//! own registers and memory; under single-step the same seed gives the same run as far as
//! blocking system calls allow.
//! It does not promise speed under single-step (a trap is some microseconds), nor does it
//! follow children of the program: they run untraced.
//!
//! Sources: SDM volume 3, chapter "Intel Processor Trace"; Linux `perf.data` format,
//! `ptrace(2)`, `core(5)`.
//!
//! ```no_run
//! use rept_capture::{RecordOptions, Recorder};
//!
//! let mut options = RecordOptions::new("crash");
//! options.truth = true;
//! let summary = Recorder::new(options, "/bin/false", ["--help"]).run(|_| ())?;
//! println!("{} steps", summary.steps);
//! # Ok::<(), rept_capture::Error>(())
//! ```

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("rept-capture records x86-64 Linux programs, on such a machine");

mod cache;
mod clock;
mod code;
mod core_file;
pub mod encode;
mod engine;
mod error;
mod family;
mod from;
mod inherited;
mod instruction;
mod journal;
mod maps;
mod mask;
mod perfdata;
mod recorder;
mod recording;
mod ring;
mod schedule;
mod stream;
mod sys;
mod target;
pub mod truth;
mod xstate;

pub use engine::Exit;
pub use error::Error;
pub use family::Child;
pub use from::StartPoint;
pub use recorder::{EngineKind, LEAST_BUFFER_BYTES, Progress, RecordOptions, Recorder, Summary};
pub use schedule::{Schedule, Timing};
