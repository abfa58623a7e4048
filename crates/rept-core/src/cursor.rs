//! Walking through a history as a debugger's user does.

mod lines;

use crate::history::{History, Location, Write};
use crate::position::Position;
use lines::{Lines, Walked};
use rept_trace::{Address, ThreadId};

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Towards the crash.
    Forward,
    /// Towards the beginning.
    Backward,
}

/// What a run stops at.
#[derive(Clone, Debug, Default)]
pub struct StopSet {
    /// Stop before executing an instruction at one of these addresses.
    pub breakpoints: Vec<Address>,
    /// Stop at steps that write one of these: going backward, before the step that wrote;
    /// going forward, behind it.
    pub watches: Vec<Location>,
}

/// Where a run stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The position now.
    pub at: Position,
    /// Why.
    pub reason: StopReason,
}

/// Why a run stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// The step, line or function that was asked for is done.
    Done,
    /// About to execute the instruction at this breakpoint.
    Breakpoint(Address),
    /// This location was written by the step nearest to the position.
    Watch(Location),
    /// The first position of the thread.
    Begin,
    /// The end of the thread's history.
    End,
    /// It was asked to stop ([`Cancellation`](crate::Cancellation)) on the way.
    Cancelled,
}

/// A place in one thread's history that moves.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    history: &'a History,
    position: Position,
    steps: u64,
}

impl<'a> Cursor<'a> {
    /// A cursor at the end of a thread; `None` for threads not traced.
    pub fn new(history: &'a History, thread: ThreadId) -> Option<Cursor<'a>> {
        let steps = history.lifetime(thread)?.end;
        Some(Cursor {
            history,
            position: Position::new(thread, steps),
            steps,
        })
    }

    /// Where it is.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Goes to a step of the same thread; false, without moving, when there is none.
    pub fn seek(&mut self, step: u64) -> bool {
        let exists = step <= self.steps;
        if exists {
            self.position.step = step;
        }
        exists
    }

    /// One instruction.
    pub fn step(&mut self, direction: Direction) -> Stop {
        match self.beyond(direction) {
            Some(step) => self.stop(step, StopReason::Done),
            None => self.end(direction),
        }
    }

    /// To another source line, in whatever function: forward to its first instruction, backward to
    /// the first of those that ran before; from the midst of a line, to its own first instruction.
    /// Functions without lines are passed, unless it stands in one.
    pub fn step_line(&mut self, direction: Direction) -> Stop {
        self.lines(direction, Lines::into)
    }

    /// The same over the calls made from here, inlined ones too. A function that returns (going
    /// backward: that was entered) leads to its caller.
    pub fn step_over(&mut self, direction: Direction) -> Stop {
        self.lines(direction, Lines::over)
    }

    /// Out of the function: forward to the step behind its return (or what else left it), backward to the call. Of an
    /// inlined function, to the first step behind it, or the last one before.
    pub fn step_out(&mut self, direction: Direction) -> Stop {
        let mut walk = Lines::over(self.history, self.position);
        if walk.is_inlined() {
            return self.walked(direction, walk.out_of_inlined(direction));
        }
        let open = self.history.innermost_call(self.position);
        let Some(call) = open.map(|index| self.history.calls(self.position.thread)[index]) else {
            // Entered before the window: nothing to stop at on the way back.
            return match direction {
                Direction::Forward => self.walked(direction, walk.behind_return()),
                Direction::Backward => self.end(direction),
            };
        };
        match (direction, call.left) {
            (Direction::Backward, _) => self.stop(call.site, StopReason::Done),
            (Direction::Forward, Some(left)) => self.stop(left + 1, StopReason::Done),
            (Direction::Forward, None) => self.end(direction),
        }
    }

    /// To the nearest breakpoint or watch; moves at least one step.
    pub fn run(&mut self, direction: Direction, stops: &StopSet) -> Stop {
        let breakpoints = stops.breakpoints.iter().filter_map(|&at| {
            let step = self.execution(direction, at)?;
            Some((step, StopReason::Breakpoint(at)))
        });
        let watches = stops.watches.iter().filter_map(|&location| {
            let step = self.write(direction, location)?;
            Some((step, StopReason::Watch(location)))
        });
        let all = breakpoints.chain(watches);
        let nearest = match direction {
            Direction::Forward => all.min_by_key(|&(step, _)| step),
            Direction::Backward => all.max_by_key(|&(step, _)| step),
        };
        match nearest {
            _ if self.history.is_cancelled() => {
                self.stop(self.position.step, StopReason::Cancelled)
            }
            Some((step, reason)) => self.stop(step, reason),
            None => self.end(direction),
        }
    }

    fn execution(&self, direction: Direction, at: Address) -> Option<u64> {
        let Position { thread, step } = self.position;
        let found = match direction {
            Direction::Forward => self.history.executions(thread, at, step + 1).next(),
            Direction::Backward => self.history.last_execution(thread, at, step),
        };
        found.map(|position| position.step)
    }

    /// The nearest step of this thread that writes; others' writes are theirs to stop at.
    fn write(&self, direction: Direction, location: Location) -> Option<u64> {
        let mut from = self.position;
        loop {
            let found = match direction {
                Direction::Forward => self.history.next_write(location, from)?,
                Direction::Backward => self.history.last_write(location, from)?,
            };
            let at = Write::position(&found).filter(|_| !self.history.is_cancelled())?;
            if at.thread == self.position.thread {
                return Some(match direction {
                    Direction::Forward => at.step + 1,
                    Direction::Backward => at.step,
                });
            }
            from = match direction {
                Direction::Forward => Position::new(at.thread, at.step + 1),
                Direction::Backward => at,
            };
        }
    }

    fn lines(
        &mut self,
        direction: Direction,
        walk: impl FnOnce(&'a History, Position) -> Lines<'a>,
    ) -> Stop {
        let mut walk = walk(self.history, self.position);
        let found = match direction {
            Direction::Forward => walk.forward(),
            Direction::Backward => walk.backward(),
        };
        self.walked(direction, found)
    }

    fn walked(&mut self, direction: Direction, found: Walked) -> Stop {
        match found {
            Walked::To(step) => self.stop(step, StopReason::Done),
            Walked::Cancelled(step) => self.stop(step, StopReason::Cancelled),
            Walked::End => self.end(direction),
        }
    }

    fn beyond(&self, direction: Direction) -> Option<u64> {
        match direction {
            Direction::Forward => Some(self.position.step + 1).filter(|&step| step <= self.steps),
            Direction::Backward => self.position.step.checked_sub(1),
        }
    }

    fn end(&mut self, direction: Direction) -> Stop {
        match direction {
            Direction::Forward => self.stop(self.steps, StopReason::End),
            Direction::Backward => self.stop(0, StopReason::Begin),
        }
    }

    fn stop(&mut self, step: u64, reason: StopReason) -> Stop {
        self.position.step = step;
        Stop {
            at: self.position,
            reason,
        }
    }
}
