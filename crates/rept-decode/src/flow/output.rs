//! The path in the making: runs are collected in a batch before they are booked.

use rept_trace::{BlockId, Run, ThreadTrace};

/// Runs in a batch.
const BATCH: usize = 512;

/// Runs that there is always room for.
const LEAST_ROOM: usize = 64;

/// A path whose newest runs may still be in the batch.
pub(super) struct Output {
    // All but the runs in the batch, and the steps that are theirs.
    trace: ThreadTrace,
    batch: Box<[Run; BATCH]>,
    used: usize,
}

impl Output {
    pub(super) fn new(trace: ThreadTrace) -> Output {
        let none = Run {
            block: BlockId(0),
            count: 0,
        };
        Output {
            trace,
            batch: Box::new([none; BATCH]),
            used: 0,
        }
    }

    /// The path.
    #[inline]
    pub(super) fn trace(&mut self) -> &mut ThreadTrace {
        if self.used > 0 {
            self.book();
        }
        &mut self.trace
    }

    /// The path, complete.
    pub(super) fn into_trace(mut self) -> ThreadTrace {
        self.book();
        self.trace
    }

    /// Number of runs so far.
    #[inline]
    pub(super) fn runs(&self) -> usize {
        self.trace.runs().len() + self.used
    }

    /// Number of steps so far.
    pub(super) fn steps(&mut self) -> u64 {
        self.trace().steps()
    }

    #[inline]
    pub(super) fn push(&mut self, run: Run) {
        if self.used == BATCH {
            self.book();
        }
        self.batch[self.used] = run;
        self.used += 1;
    }

    /// Room for runs, for `most` at most and otherwise for [`LEAST_ROOM`] at least;
    /// [`Output::book_room`] says how many came.
    #[inline]
    pub(super) fn room(&mut self, most: usize) -> &mut [Run] {
        if self.used > BATCH - LEAST_ROOM {
            self.book();
        }
        let end = BATCH.min(self.used.saturating_add(most));
        &mut self.batch[self.used..end]
    }

    /// Takes in the first `count` of the room.
    #[inline]
    pub(super) fn book_room(&mut self, count: usize) {
        self.used += count;
    }

    #[inline(never)]
    fn book(&mut self) {
        self.trace.extend_runs(&self.batch[..self.used]);
        self.used = 0;
    }
}
