//! How the stub moves.

use super::stub::{Lack, Now, Plan, Stub};
use crate::cursor::{Cursor, Direction, Stop, StopReason, StopSet};
use crate::history::{History, Location};
use crate::position::Position;
use gdbstub::common::Signal;
use gdbstub::stub::MultiThreadStopReason;
use gdbstub::target::ext::base::reverse_exec::ReplayLogPosition;
use gdbstub::target::ext::breakpoints::WatchKind;
use rept_trace::{Address, ThreadId};
use std::ops::Range;

impl<'a> Stub<'a> {
    /// Carries out the plan, and says why it stopped.
    pub(super) fn go(&mut self) -> MultiThreadStopReason<u64> {
        let Some(history) = self.history else {
            return self.stay();
        };
        if let Some(target) = self.seek.take() {
            self.now = moment(history, target);
            // Without the thread, gdb takes the registers of the one it asked about last for the first's.
            return self.reason(StopReason::Done);
        }
        let stop = match self.plan {
            Plan::Step(thread, direction) => self.cursor(history, thread).map(|mut cursor| {
                let stop = cursor.step(direction);
                (moment(history, stop.at), stop.reason)
            }),
            Plan::Run(direction) => self.nearest(history, direction),
        };
        let Some((now, reason)) = stop else {
            return self.nowhere();
        };
        self.now = now;
        self.reason(reason)
    }

    /// Without a history the way forward ends at once, as at the crash, and so does the way backward.
    fn stay(&self) -> MultiThreadStopReason<u64> {
        let (Plan::Step(_, direction) | Plan::Run(direction)) = self.plan;
        match (&self.lack, direction) {
            (Some(Lack::Interrupted), _) => MultiThreadStopReason::SignalWithThread {
                tid: Self::tid(self.thread()),
                signal: Signal::SIGINT,
            },
            (_, Direction::Forward) => self.reason(StopReason::End),
            (_, Direction::Backward) => self.nowhere(),
        }
    }

    /// A thread that was not traced has no history: it is at its end, whichever way it is to go.
    fn nowhere(&self) -> MultiThreadStopReason<u64> {
        let (thread, direction) = match self.plan {
            Plan::Step(thread, direction) => (thread, direction),
            Plan::Run(direction) => (self.thread(), direction),
        };
        MultiThreadStopReason::ReplayLog {
            tid: Some(Self::tid(thread)),
            pos: match direction {
                Direction::Forward => ReplayLogPosition::End,
                Direction::Backward => ReplayLogPosition::Begin,
            },
        }
    }

    fn cursor(&self, history: &'a History, thread: ThreadId) -> Option<Cursor<'a>> {
        let mut cursor = Cursor::new(history, thread)?;
        cursor.seek(self.position_of(thread)?.step);
        Some(cursor)
    }

    /// The first stop of any thread in sequence order; at the ends, the current thread's.
    fn nearest(&self, history: &'a History, direction: Direction) -> Option<(Now, StopReason)> {
        let watches = self
            .watches
            .iter()
            .map(|&(address, size)| Location::Mem { address, size });
        let stops = StopSet {
            breakpoints: self.breakpoints.clone(),
            watches: watches.collect(),
        };
        let runs = history
            .threads()
            .filter_map(|thread| Some(self.cursor(history, thread)?.run(direction, &stops)));
        let is_hit = |stop: &Stop| !matches!(stop.reason, StopReason::Begin | StopReason::End);
        let hits = runs.filter(is_hit);
        let numbered = hits.filter_map(|stop| Some((history.sequence_number(stop.at)?, stop)));
        let nearest = match direction {
            Direction::Forward => numbered.min_by_key(|&(number, _)| number),
            Direction::Backward => numbered.max_by_key(|&(number, _)| number),
        };
        nearest
            .map(|(_, stop)| (moment(history, stop.at), stop.reason))
            .or_else(|| self.end(history, direction))
    }

    fn end(&self, history: &History, direction: Direction) -> Option<(Now, StopReason)> {
        let is_there = |&thread: &ThreadId| {
            let of_dump = self.dump().and_then(|dump| dump.thread(thread));
            of_dump.is_some() || history.lifetime(thread).is_some()
        };
        match direction {
            Direction::Forward => {
                let crashed = self.fault().map(|fault| fault.thread).filter(is_there);
                let thread = crashed.or_else(|| Some(self.thread()).filter(is_there))?;
                Some((Now::End(thread), StopReason::End))
            }
            Direction::Backward => {
                history.lifetime(self.thread())?;
                let first = Position::new(self.thread(), 0);
                Some((moment(history, first), StopReason::Begin))
            }
        }
    }

    /// What is said of a stop where the stub is now.
    fn reason(&self, reason: StopReason) -> MultiThreadStopReason<u64> {
        let tid = Self::tid(self.thread());
        let log = |pos| MultiThreadStopReason::ReplayLog {
            tid: Some(tid),
            pos,
        };
        match reason {
            StopReason::Breakpoint(_) => MultiThreadStopReason::SwBreak(tid),
            StopReason::Watch(Location::Mem { address, .. }) => MultiThreadStopReason::Watch {
                tid,
                kind: WatchKind::Write,
                addr: address.0,
            },
            StopReason::Begin => log(ReplayLogPosition::Begin),
            StopReason::End => match self.fault().filter(|of| of.thread == self.thread()) {
                Some(fault) => MultiThreadStopReason::SignalWithThread {
                    tid,
                    signal: signal(fault.signal),
                },
                None => log(ReplayLogPosition::End),
            },
            _ if self.breakpoints.iter().any(|&stop| self.pc() == Some(stop)) => {
                MultiThreadStopReason::SwBreak(tid)
            }
            _ => MultiThreadStopReason::SignalWithThread {
                tid,
                signal: Signal::SIGTRAP,
            },
        }
    }

    fn pc(&self) -> Option<Address> {
        self.state_of(self.thread())?.pc()
    }
}

/// The end of a thread is the end of all.
fn moment(history: &History, at: Position) -> Now {
    let is_end = |steps: Range<u64>| at.step >= steps.end;
    match history.lifetime(at.thread).is_some_and(is_end) {
        true => Now::End(at.thread),
        false => Now::At(at),
    }
}

/// gdb's number for a Linux signal of x86-64.
fn signal(linux: i32) -> Signal {
    match linux {
        1 => Signal::SIGHUP,
        2 => Signal::SIGINT,
        3 => Signal::SIGQUIT,
        4 => Signal::SIGILL,
        5 => Signal::SIGTRAP,
        6 => Signal::SIGABRT,
        7 => Signal::SIGBUS,
        8 => Signal::SIGFPE,
        9 => Signal::SIGKILL,
        11 => Signal::SIGSEGV,
        13 => Signal::SIGPIPE,
        14 => Signal::SIGALRM,
        15 => Signal::SIGTERM,
        31 => Signal::SIGSYS,
        _ => Signal::UNKNOWN,
    }
}
