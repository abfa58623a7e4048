//! Makes `rept` captures on machines without Intel PT: a software tracer.
//!
//! A program runs under single-step until it crashes or exits. What is left is what the
//! hardware would have left: real PT packets in a ring per thread, in a `perf.data` that
//! stock perf decodes, and the kernel's own core. Whoever reads them cannot tell.
//!
//! ```text
//!              engine: how steps are obtained          recording: what they leave behind
//!  program ──▶ ptrace, one trap a step ── step ──▶ stream ─▶ encode ─▶ ring ─▶ perf.data
//!      └─────▶ core (the kernel's, or own)    └──▶ truth (true registers and memory, for scoring)
//! ```
//!
//! It promises: the packets tell exactly the instructions that ran, and when, on one
//! virtual clock; the core holds the program's own registers and memory; the same seed
//! gives the same run as far as blocking system calls allow.
//! It does not promise speed (a trap is some microseconds), nor does it follow children
//! of the program: they run untraced.
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

mod clock;
mod code;
mod core_file;
pub mod encode;
mod engine;
mod error;
mod from;
mod instruction;
mod maps;
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
pub use from::StartPoint;
pub use recorder::{LEAST_BUFFER_BYTES, Progress, RecordOptions, Recorder, Summary};
pub use schedule::{Schedule, Timing};
