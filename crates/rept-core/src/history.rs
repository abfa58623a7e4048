//! The recovered history: the state at any position, with evidence.

mod accesses;
mod call_tree;
mod calls;
mod crash;
mod diff;
mod executions;
mod explain;
mod frames;
mod handlers;
mod locals;
mod queries;
mod races;
mod registers;
mod rivals;
mod sequence;
mod why;

use crate::position::Position;
use crate::session::{Session, StepTime};
use crate::symbols::Symbol;
use rept_recover::history::{self as engine, Recovered};
use rept_trace::{Address, Block, Gap, RegWord, ThreadId, ThreadTrace, Trace};
use std::ops::Range;

pub use call_tree::{CallEnd, CallNode, CallTree};
pub use calls::Call;
pub use crash::{Crash, Suspects, Suspicion};
pub use diff::{Change, Difference};
pub use explain::{Answer, Asked, Explanation, Link, Origin, Trail};
pub use frames::{Backtrace, Frame};
pub use locals::FrameVariables;
pub use queries::{Location, ParseLocationError, Touch, Write};
pub use races::{Race, RaceSide};
pub use rept_recover::history::{AccessView, Rule, Stage, Unknown, Value};
pub use why::{Inference, InferenceSource};

/// How sure a value must be to be shown; each grade includes those above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trust {
    /// Follows from dump, binaries, control flow and sound rules alone.
    Certain,
    /// Also follows from named assumptions with measured violation rates (calling convention).
    Assumed,
    /// Also follows from staged optimism about stores whose address is not known.
    #[default]
    Inferred,
}

impl Trust {
    /// The bits of a value that are known at this grade or better.
    pub fn known(self, value: &Value) -> u64 {
        match self {
            Trust::Certain => value.certain,
            Trust::Assumed => value.assumed,
            Trust::Inferred => value.known,
        }
    }

    /// The value as one sees it who trusts nothing weaker: other bits are unknown.
    pub fn limit(self, value: Value) -> Value {
        value.masked(self.known(&value))
    }

    /// How the address of an access is known.
    pub fn of_address(access: &AccessView) -> Trust {
        match (access.address_certain, access.address_assumed) {
            (true, _) => Trust::Certain,
            (_, true) => Trust::Assumed,
            _ => Trust::Inferred,
        }
    }
}

/// A recovered run. `Send + Sync`; reads take `&self`.
pub struct History {
    session: Session,
    recovered: rept_recover::History,
    indices: queries::Indices,
}

/// One static instruction as it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction<'a> {
    /// Its address.
    pub at: Address,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Width of the execution mode: 16, 32 or 64.
    pub bitness: u8,
}

impl History {
    pub(crate) fn new(session: Session, recovered: rept_recover::History) -> History {
        History {
            session,
            recovered,
            indices: queries::Indices::default(),
        }
    }

    /// The session it was recovered from.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// What recovery did.
    pub fn statistics(&self) -> &rept_recover::Statistics {
        self.recovered.statistics()
    }

    /// Why dump and trace may not belong together, although nothing in their headers says so: facts
    /// contradict each other more often than once in a thousand steps.
    pub fn disagreement(&self) -> Option<String> {
        const STEPS_A_CONFLICT: u64 = 1000;
        let statistics = self.statistics();
        let (conflicts, steps) = (statistics.certain_conflicts, statistics.steps);
        if conflicts.saturating_mul(STEPS_A_CONFLICT) <= steps {
            return None;
        }
        let first = self.recovered.conflicts().next();
        let first = first.and_then(|at| self.threads().nth(at.thread as usize).zip(Some(at.step)));
        let place = first.map_or_else(String::new, |(thread, step)| {
            format!(", the first at {thread}:{step}")
        });
        Some(format!(
            "{conflicts} contradictions among facts in {steps} steps{place}: core and trace may not belong together"
        ))
    }

    /// Whoever opened the session wants no more of it.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.session.watch().check().is_err()
    }

    /// The engine's own view, for judging it.
    pub fn recovered(&self) -> &rept_recover::History {
        &self.recovered
    }

    /// The control flow.
    pub fn trace(&self) -> &Trace {
        self.session.decode()
    }

    /// Threads that were traced, by ascending id.
    pub fn threads(&self) -> impl Iterator<Item = ThreadId> + '_ {
        self.trace().threads.iter().map(|thread| thread.thread)
    }

    /// Steps of a thread: positions from 0 to this one exist. `None` for threads not traced.
    pub fn lifetime(&self, thread: ThreadId) -> Option<Range<u64>> {
        Some(0..self.trace().thread(thread)?.steps())
    }

    /// Where steps of a thread are missing.
    pub fn gaps(&self, thread: ThreadId) -> &[Gap] {
        self.trace()
            .thread(thread)
            .map(|thread| thread.gaps.as_slice())
            .unwrap_or_default()
    }

    /// The state just before a step; `None` when there is no such position.
    pub fn at(&self, position: Position) -> Option<StateView<'_>> {
        let index = self
            .trace()
            .threads
            .iter()
            .position(|thread| thread.thread == position.thread)?;
        (position.step <= self.trace().threads[index].steps()).then_some(StateView {
            history: self,
            position,
            at: engine::Position {
                thread: index as u32,
                step: position.step,
            },
        })
    }

    /// When the step at `position` ran: [`Session::time`].
    pub fn time(&self, position: Position) -> Option<StepTime> {
        self.session.time(position)
    }

    /// The instruction that the step at `position` runs; none at the end of a thread.
    pub fn instruction(&self, position: Position) -> Option<Instruction<'_>> {
        let thread = self.trace().thread(position.thread)?;
        let (block, index) = self.locate(thread, position.step)?;
        Some(Instruction {
            at: block.address(index),
            bytes: block.instruction_bytes(index),
            bitness: block.bitness,
        })
    }

    /// Memory accesses of the step at `position`, in the processor's order. Operands of string
    /// instructions, and what the kernel wrote, come in pieces of at most 8 bytes.
    pub fn accesses(&self, position: Position) -> Vec<AccessView> {
        let Some(state) = self.at(position) else {
            return Vec::new();
        };
        let mut accesses = self.recovered.accesses(state.at);
        accesses.extend(self.recovered.long_accesses(state.at));
        accesses
    }

    /// Function and source line of the step at `position`.
    pub fn source(&self, position: Position) -> Option<Symbol> {
        let pc = self.at(position)?.pc()?;
        Some(self.session.symbols().lookup(pc))
    }

    fn locate(&self, thread: &ThreadTrace, step: u64) -> Option<(&Block, usize)> {
        let (run, index) = thread.locate(step)?;
        let trace = self.trace();
        let thread = trace.thread(thread.thread)?;
        Some((trace.code.block(thread.runs()[run].block), index))
    }
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// Registers and memory just before a step.
#[derive(Clone, Copy, Debug)]
pub struct StateView<'a> {
    history: &'a History,
    position: Position,
    at: engine::Position,
}

/// Which bytes of a read are known: one mask of known bits each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownMask {
    /// Known bits of each byte read.
    pub bits: Vec<u8>,
}

impl KnownMask {
    /// Every bit is known.
    pub fn is_all_known(&self) -> bool {
        self.bits.iter().all(|&bits| bits == 0xff)
    }

    /// Bytes from the first on that are wholly known.
    pub fn known_prefix(&self) -> usize {
        self.bits.iter().take_while(|&&bits| bits == 0xff).count()
    }
}

impl<'a> StateView<'a> {
    /// The position looked at.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Address of the instruction about to run; at the end of a thread the dump's.
    pub fn pc(&self) -> Option<Address> {
        let history = self.history;
        let trace = history.trace();
        let thread = &trace.threads[self.at.thread as usize];
        let of_dump = || Some(history.session.dump()?.thread(self.position.thread)?.rip);
        thread.address(&trace.code, self.at.step).or_else(of_dump)
    }

    /// A word of a register.
    pub fn reg(&self, word: RegWord) -> Value {
        self.history.recovered.register(self.at, word)
    }

    /// Why a register's word is not wholly known.
    pub fn why_unknown(&self, word: RegWord) -> Unknown {
        self.history.recovered.why_unknown(self.at, word)
    }

    /// A byte of memory: its value and which of its bits are known, and how.
    pub fn byte(&self, address: Address) -> Value {
        let last = self.history.session.final_memory();
        self.history.recovered.memory(self.at, address, last)
    }

    /// Reads memory known at grade `trust` or better. Unknown bits are left as they are in `buffer`.
    pub fn read(&self, address: Address, buffer: &mut [u8], trust: Trust) -> KnownMask {
        let mut mask = KnownMask::default();
        for (distance, byte) in buffer.iter_mut().enumerate() {
            let value = self.byte(address.offset(distance as u64));
            let known = trust.known(&value) as u8;
            *byte = *byte & !known | value.bits as u8 & known;
            mask.bits.push(known);
        }
        mask
    }

    /// A little-endian number of 1 to 8 bytes; `None` when a bit of it is not known at grade `trust`.
    pub fn read_number(&self, address: Address, size: usize, trust: Trust) -> Option<u64> {
        let mut bytes = [0; 8];
        let mask = self.read(address, bytes.get_mut(..size)?, trust);
        mask.is_all_known().then(|| u64::from_le_bytes(bytes))
    }
}
