//! Saying how far recovery is, and stopping it.

use std::ops::ControlFlow;

/// How far recovery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The graph is being built.
    Building {
        /// Steps that are in it.
        steps: u64,
        /// Steps of the trace.
        of: u64,
    },
    /// Values are being learned.
    Learning {
        /// The phase, from 1 on: certain, assumed, and the stages of what is inferred.
        phase: u8,
        /// Number of phases at most.
        of: u8,
        /// Visits of steps so far.
        visits: u64,
    },
}

/// Is told now and then how far recovery is, and says whether it goes on.
pub type Observer<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// Steps built, or visits, between two words to the observer.
const INTERVAL: u32 = 4096;

/// Asks an observer every [`INTERVAL`] steps.
pub(crate) struct Pace<'a> {
    observer: &'a mut Observer<'a>,
    left: u32,
    stopped: bool,
}

impl<'a> Pace<'a> {
    pub(crate) fn new(observer: &'a mut Observer<'a>) -> Pace<'a> {
        Pace {
            observer,
            left: INTERVAL,
            stopped: false,
        }
    }

    /// One step was taken: true when there is to be no other.
    pub(crate) fn stops(&mut self, progress: impl FnOnce() -> Progress) -> bool {
        self.left -= 1;
        if self.left == 0 {
            self.left = INTERVAL;
            self.stopped |= (self.observer)(progress()).is_break();
        }
        self.stopped
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }
}
