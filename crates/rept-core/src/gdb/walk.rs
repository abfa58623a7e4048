//! Where the stub is, and how it moves.

use super::GdbOptions;
use crate::cursor::{Cursor, Direction, Stop, StopReason, StopSet};
use crate::history::{History, Location, StateView};
use crate::position::Position;
use gdbstub::common::{Signal, Tid};
use gdbstub::stub::MultiThreadStopReason;
use gdbstub::target::ext::base::reverse_exec::ReplayLogPosition;
use gdbstub::target::ext::breakpoints::WatchKind;
use rept_trace::{Address, ThreadId};
use std::cell::Cell;

/// What gdb asked for and `go` will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// One instruction of this thread.
    Step(ThreadId, Direction),
    /// All threads, to the nearest stop.
    Run(Direction),
}

/// One gdb session.
#[derive(Debug)]
pub(super) struct Stub<'a> {
    pub(super) history: &'a History,
    pub(super) options: GdbOptions,
    /// The position of the thread that moved last.
    pub(super) now: Position,
    pub(super) plan: Plan,
    pub(super) breakpoints: Vec<Address>,
    pub(super) watches: Vec<(Address, u64)>,
    /// The client is lldb, which reads an answer differently.
    pub(super) is_lldb: Cell<bool>,
    /// Where the next step goes instead.
    pub(super) seek: Option<Position>,
}

impl<'a> Stub<'a> {
    /// At the crash, or at the end of the first thread.
    pub(super) fn new(history: &'a History, options: GdbOptions) -> Option<Stub<'a>> {
        let crash = history
            .crash()
            .map(|crash| crash.position)
            .filter(|&at| history.at(at).is_some());
        let last = || {
            let thread = history.threads().next()?;
            Some(Position::new(thread, history.lifetime(thread)?.end))
        };
        Some(Stub {
            history,
            options,
            now: crash.or_else(last)?,
            plan: Plan::Run(Direction::Forward),
            breakpoints: Vec::new(),
            watches: Vec::new(),
            is_lldb: Cell::new(false),
            seek: None,
        })
    }

    pub(super) fn thread(tid: Tid) -> ThreadId {
        ThreadId(u32::try_from(tid.get()).unwrap_or(0))
    }

    pub(super) fn tid(thread: ThreadId) -> Tid {
        // Thread ids are positive; the idle thread 0 is never traced in user mode.
        Tid::new(thread.0 as usize).unwrap_or(Tid::MIN)
    }

    /// Where a thread is now.
    pub(super) fn position_of(&self, thread: ThreadId) -> Option<Position> {
        if thread == self.now.thread {
            return Some(self.now);
        }
        self.history.position_alongside(thread, self.now)
    }

    pub(super) fn state_of(&self, thread: ThreadId) -> Option<StateView<'a>> {
        self.history.at(self.position_of(thread)?)
    }

    /// Carries out the plan, and says why it stopped.
    pub(super) fn go(&mut self) -> MultiThreadStopReason<u64> {
        if let Some(target) = self.seek.take() {
            self.now = target;
            return MultiThreadStopReason::DoneStep;
        }
        let stop = match self.plan {
            Plan::Step(thread, direction) => {
                self.cursor(thread).map(|mut cursor| cursor.step(direction))
            }
            Plan::Run(direction) => self.nearest(direction),
        };
        let Some(stop) = stop else {
            return self.nowhere();
        };
        self.now = stop.at;
        self.reason(stop.at, stop.reason)
    }

    /// A thread that was not traced has no history: it is at its end, whichever way it is to go.
    fn nowhere(&self) -> MultiThreadStopReason<u64> {
        let (thread, direction) = match self.plan {
            Plan::Step(thread, direction) => (thread, direction),
            Plan::Run(direction) => (self.now.thread, direction),
        };
        MultiThreadStopReason::ReplayLog {
            tid: Some(Self::tid(thread)),
            pos: match direction {
                Direction::Forward => ReplayLogPosition::End,
                Direction::Backward => ReplayLogPosition::Begin,
            },
        }
    }

    fn cursor(&self, thread: ThreadId) -> Option<Cursor<'a>> {
        let mut cursor = Cursor::new(self.history, thread)?;
        cursor.seek(self.position_of(thread)?.step);
        Some(cursor)
    }

    /// The first stop of any thread in sequence order; at the ends, the current thread's.
    fn nearest(&self, direction: Direction) -> Option<Stop> {
        let watches = self
            .watches
            .iter()
            .map(|&(address, size)| Location::Mem { address, size });
        let stops = StopSet {
            breakpoints: self.breakpoints.clone(),
            watches: watches.collect(),
        };
        let runs = self
            .history
            .threads()
            .filter_map(|thread| Some(self.cursor(thread)?.run(direction, &stops)));
        let hits = runs.filter(|stop| !matches!(stop.reason, StopReason::Begin | StopReason::End));
        let numbered = hits.filter_map(|stop| Some((self.history.sequence_number(stop.at)?, stop)));
        let nearest = match direction {
            Direction::Forward => numbered.min_by_key(|&(number, _)| number),
            Direction::Backward => numbered.max_by_key(|&(number, _)| number),
        };
        nearest
            .map(|(_, stop)| stop)
            .or_else(|| self.end(direction))
    }

    fn end(&self, direction: Direction) -> Option<Stop> {
        let thread = match (direction, self.history.crash()) {
            (Direction::Forward, Some(crash)) => crash.position.thread,
            _ => self.now.thread,
        };
        let steps = self.history.lifetime(thread)?;
        Some(match direction {
            Direction::Forward => Stop {
                at: Position::new(thread, steps.end),
                reason: StopReason::End,
            },
            Direction::Backward => Stop {
                at: Position::new(thread, 0),
                reason: StopReason::Begin,
            },
        })
    }

    fn reason(&self, at: Position, reason: StopReason) -> MultiThreadStopReason<u64> {
        let tid = Self::tid(at.thread);
        match reason {
            StopReason::Breakpoint(_) => MultiThreadStopReason::SwBreak(tid),
            StopReason::Watch(Location::Mem { address, .. }) => MultiThreadStopReason::Watch {
                tid,
                kind: WatchKind::Write,
                addr: address.0,
            },
            StopReason::Begin => MultiThreadStopReason::ReplayLog {
                tid: Some(tid),
                pos: ReplayLogPosition::Begin,
            },
            StopReason::End => match self.history.crash().filter(|crash| crash.position == at) {
                Some(crash) => MultiThreadStopReason::SignalWithThread {
                    tid,
                    signal: signal(crash.signal),
                },
                None => MultiThreadStopReason::ReplayLog {
                    tid: Some(tid),
                    pos: ReplayLogPosition::End,
                },
            },
            _ if self
                .breakpoints
                .iter()
                .any(|&stop| self.pc(at) == Some(stop)) =>
            {
                MultiThreadStopReason::SwBreak(tid)
            }
            _ => MultiThreadStopReason::SignalWithThread {
                tid,
                signal: Signal::SIGTRAP,
            },
        }
    }

    fn pc(&self, at: Position) -> Option<Address> {
        self.history.at(at)?.pc()
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
