//! When steps ran, on the clock of the trace and on perf's.
//!
//! The time-stamp counter is what the packets count. The nanoseconds are those of perf's records
//! and of `perf script`: since some moment of the machine's start. What time of day that was, no
//! record says: with `--clockid` perf would write that down, but its `intel_pt_recording_options`
//! refuses that for Intel PT.

use super::Session;
use crate::position::Position;
use rept_order::Point;
use rept_trace::{Interval, Timestamp};

/// When a step ran: not before `earliest`, not after `latest`; `None` where that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepTime {
    /// Lower bound.
    pub earliest: Option<Moment>,
    /// Upper bound.
    pub latest: Option<Moment>,
}

/// A moment, on two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time-stamp counter.
    pub ticks: Timestamp,
    /// Nanoseconds of perf's clock, where the recording says how it and the counter relate.
    pub nanoseconds: Option<u64>,
}

impl Session {
    /// When the step at `at` ran, or the thread reached its end; `None` when there is no such position.
    /// Along a thread neither bound descends.
    pub fn time(&self, at: Position) -> Option<StepTime> {
        let trace = self.decode();
        let thread = trace
            .threads
            .iter()
            .position(|thread| thread.thread == at.thread)?;
        let point = Point {
            thread: thread as u32,
            step: at.step,
        };
        let Interval { earliest, latest } = self.order().time(trace, point)?;
        let known = |ticks: Timestamp, open: Timestamp| (ticks != open).then(|| self.moment(ticks));
        Some(StepTime {
            earliest: known(earliest, Interval::UNKNOWN.earliest),
            latest: known(latest, Interval::UNKNOWN.latest),
        })
    }

    fn moment(&self, ticks: Timestamp) -> Moment {
        let clock = self.capture().map(|capture| capture.clock);
        let conversion = clock.and_then(|clock| clock.conversion);
        Moment {
            ticks,
            nanoseconds: conversion.map(|conversion| conversion.to_nanoseconds(ticks)),
        }
    }
}
