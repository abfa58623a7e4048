//! Saying how far the work is, stopping it, and keeping it small.

use crate::Error;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How far opening up a crash is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The trace is being decoded.
    Decoding {
        /// Bytes that were decoded.
        bytes: u64,
        /// Bytes of all streams that will be.
        of: u64,
    },
    /// Recovery makes its graph.
    Building {
        /// Steps that are in it.
        steps: u64,
        /// Steps of the trace.
        of: u64,
    },
    /// Recovery learns values.
    Learning {
        /// The phase, from 1 on, of falling trust.
        phase: u8,
        /// Number of phases at most.
        of: u8,
        /// Visits of steps so far.
        visits: u64,
    },
    /// Accesses are sorted by place, for queries.
    Indexing {
        /// Steps that were looked at.
        steps: u64,
        /// Steps of the trace.
        of: u64,
    },
}

impl From<rept_recover::Progress> for Progress {
    fn from(progress: rept_recover::Progress) -> Progress {
        match progress {
            rept_recover::Progress::Building { steps, of } => Progress::Building { steps, of },
            rept_recover::Progress::Learning { phase, of, visits } => {
                Progress::Learning { phase, of, visits }
            }
        }
    }
}

/// A request to stop, which may come from another thread; clones share it.
///
/// What heeds it is named: [`Session::try_decode`](crate::Session::try_decode),
/// [`Session::try_recover`](crate::Session::try_recover),
/// [`Session::start_recovery`](crate::Session::start_recovery),
/// [`History::prepare`](crate::History::prepare), [`History::races`](crate::History::races),
/// [`History::diff`](crate::History::diff) and the walks of a [`Cursor`](crate::Cursor).
#[derive(Clone, Debug, Default)]
pub struct Cancellation(Arc<AtomicBool>);

impl Cancellation {
    /// Asks all work to stop that heeds this.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// It was asked to.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the work may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Steps of all threads that are recovered at most, the newest; a step takes about 150 bytes.
    /// Older steps are decoded, and nothing is known of their data.
    pub recovered_steps: u64,
    /// Bytes that are decoded at most of each stream of the trace, the newest.
    pub stream_bytes: u64,
    /// Threads that decode a long stream at once, by default as many as there are processors.
    /// The result does not depend on it.
    pub workers: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            recovered_steps: rept_recover::Options::default().max_steps,
            stream_bytes: u64::MAX,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Who is told, and who may stop the work.
#[derive(Default)]
pub(crate) struct Watch {
    pub(super) progress: Option<Box<dyn Fn(Progress) + Send + Sync>>,
    pub(super) cancellation: Cancellation,
}

impl Watch {
    /// Tells how far the work is, and asks whether it goes on.
    pub(crate) fn tell(&self, progress: Progress) -> ControlFlow<()> {
        if let Some(told) = &self.progress {
            told(progress);
        }
        match self.cancellation.is_cancelled() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// The same, where another may stop it too.
    pub(super) fn tell_with(&self, stop: &Cancellation, progress: Progress) -> ControlFlow<()> {
        let told = self.tell(progress);
        match stop.is_cancelled() {
            true => ControlFlow::Break(()),
            false => told,
        }
    }

    /// As [`Watch::check`], where another may stop the work too.
    pub(super) fn check_with(&self, stop: &Cancellation) -> Result<(), Error> {
        match stop.is_cancelled() {
            true => Err(Error::cancelled()),
            false => self.check(),
        }
    }

    /// The error to return, where the work was stopped.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.cancellation.is_cancelled() {
            true => Err(Error::cancelled()),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cancellation.fmt(f)
    }
}
