//! Where the flow stands behind a PSB+: all that what follows depends on.

use super::effort::Effort;
use super::output::Output;
use super::status::{Mode, Timing};
use super::waiting::Waiting;
use super::walk::Standing;
use super::{Flow, Place};
use crate::CodeImage;
use crate::clock::Clock;
use crate::packet::LastIp;
use crate::parts::Before;
use rept_trace::{Address, ThreadTrace};

/// The state behind a PSBEND. There the call stack and the outcomes are empty, so that it is small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    clock: Clock,
    last_ip: LastIp,
    place: Place,
    at: Option<Address>,
    bitness: u8,
    bitness_known: bool,
    interrupts: bool,
    next_mode: Option<Mode>,
    returns_reliable: bool,
    interrupted: Option<Address>,
    midway: Option<Address>,
    waiting: Waiting,
    at_boundary: bool,
    timing: (u64, u64, bool),
    effort_since: u64,
    epoch: u32,
    pub(crate) compression_seen: bool,
}

impl<I: CodeImage + ?Sized> Flow<'_, I> {
    /// Asks for `Next::Stop` behind the PSB+ that begins at `offset`.
    pub(crate) fn watch(&mut self, offset: u64) {
        self.watched = Some(offset);
    }

    /// The state; `None` when what follows may change an event that was told already.
    pub(crate) fn state(&self) -> Option<State> {
        let timing = &self.timing;
        timing.overflow.is_none().then(|| State {
            clock: self.clock.clone(),
            last_ip: self.last_ip,
            place: self.place,
            at: (self.place == Place::Traced).then(|| self.address()),
            bitness: self.bitness,
            bitness_known: self.bitness_known,
            interrupts: self.interrupts,
            next_mode: self.next_mode,
            returns_reliable: self.returns_reliable,
            interrupted: self.interrupted,
            midway: self.midway,
            waiting: self.waiting.clone(),
            at_boundary: self.at_boundary,
            timing: timing.bounds(),
            effort_since: self.effort.since,
            epoch: self.code.epoch(),
            compression_seen: self.compression_seen,
        })
    }

    /// Goes on from `state`.
    pub(crate) fn set(&mut self, state: State) {
        self.clock = state.clock;
        self.last_ip = state.last_ip;
        self.place = state.place;
        self.standing = Standing::Address(state.at.unwrap_or_default(), None);
        self.bitness = state.bitness;
        self.bitness_known = state.bitness_known;
        self.interrupts = state.interrupts;
        self.next_mode = state.next_mode;
        self.returns_reliable = state.returns_reliable;
        self.interrupted = state.interrupted;
        self.midway = state.midway;
        self.waiting = state.waiting;
        self.at_boundary = state.at_boundary;
        self.timing = Timing::within(state.timing);
        self.effort = Effort {
            blocks: 0,
            since: state.effort_since,
        };
        self.code.enter_epoch(state.epoch);
        self.compression_seen = state.compression_seen;
    }

    /// Begins, without a place, behind what was not decoded.
    pub(crate) fn begin_behind(&mut self, before: &Before) {
        self.clock = before.clock.clone();
        if let Some(bitness) = before.bitness {
            self.bitness = bitness;
            self.bitness_known = true;
        }
    }

    /// Forgets the path so far, and goes on as if it had begun here.
    pub(crate) fn begin_path(&mut self) {
        self.out = Output::new(ThreadTrace::new(self.out.trace().thread));
        self.timing = Timing::within(self.timing.bounds());
        self.undecided = false;
    }

    /// The path to the end of the stream, and what a join needs to know of it.
    pub(crate) fn end(mut self) -> Path {
        self.flush_waiting(None);
        self.leave_midway();
        self.into_path()
    }

    /// The path without an end, and what a join needs to know of it.
    pub(crate) fn into_path(self) -> Path {
        let trace = self.out.into_trace();
        let (first_exact, open_marks, open_events) = self.timing.open(&trace);
        Path {
            trace,
            first_exact,
            open_marks,
            open_events,
            undecided: self.undecided,
        }
    }
}

/// A part of a thread's path.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) trace: ThreadTrace,
    /// The first exact time in it, which bounds what is open before it.
    pub(crate) first_exact: Option<u64>,
    /// Marks and events at its end whose upper bound in time is open.
    pub(crate) open_marks: usize,
    pub(crate) open_events: usize,
    /// It would be another one, had a compressed return been seen before it.
    pub(crate) undecided: bool,
}
