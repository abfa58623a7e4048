//! Who wrote this last, who will next, when did this run: index look-ups, made lazily.

use super::accesses::AccessIndex;
use super::calls::{self, Call};
use super::executions::ExecutionIndex;
use super::handlers::{self, Handled};
use super::registers::{self, RegisterWrites};
use super::sequence::Sequence;
use super::{History, Trust};
use crate::Error;
use crate::position::Position;
use crate::session::Progress;
use iced_x86::Register;
use rept_recover::history::{self as engine, Recovered};
use rept_trace::{Address, RegWord, ThreadId, ThreadTrace};
use std::cmp::Ordering;
use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;
use std::sync::OnceLock;

/// Indices, each made when a query first needs it.
#[derive(Debug, Default)]
pub(super) struct Indices {
    sequence: OnceLock<Sequence>,
    accesses: OnceLock<AccessIndex>,
    executions: OnceLock<ExecutionIndex>,
    registers: RegisterWrites,
    calls: OnceLock<Vec<Vec<Call>>>,
    /// Calls of each thread by the step of their return: (that step, index of the call), ascending.
    returns: OnceLock<Vec<Vec<(u64, u32)>>>,
    barriers: OnceLock<Vec<Vec<u64>>>,
    handled: OnceLock<Vec<Vec<Handled>>>,
}

/// A place that holds a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Location {
    /// A 64-bit word of a register, of the thread that a query is about.
    Reg(RegWord),
    /// Bytes of memory.
    Mem {
        /// First byte.
        address: Address,
        /// Number of bytes, at least 1.
        size: u64,
    },
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Reg(word) => f.write_str(&word.name()),
            Location::Mem { address, size } => write!(f, "[{address}; {size}]"),
        }
    }
}

/// A text that is no [`Location`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseLocationError {
    text: String,
}

impl fmt::Display for ParseLocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no location: expected a register or ADDRESS[:BYTES], hexadecimal numbers behind 0x",
            self.text
        )
    }
}

impl std::error::Error for ParseLocationError {}

/// A register by its name (`rax`, `$rax`, and `eax` or `al` for the word that they are part of),
/// or `ADDRESS[:BYTES]`: numbers are decimal, or hexadecimal behind `0x`; 8 bytes when not said.
impl FromStr for Location {
    type Err = ParseLocationError;

    fn from_str(text: &str) -> Result<Location, ParseLocationError> {
        let name = text.trim_start_matches('$').to_lowercase();
        let word = (0..RegWord::COUNT as u16).map(RegWord);
        let whole = word.clone().find(|word| word.name() == name);
        if let Some(word) = whole.or_else(|| part_of(&name)) {
            return Ok(Location::Reg(word));
        }
        let (start, size) = text.split_once(':').unwrap_or((text, "8"));
        let number = |text: &str| text.parse::<Address>().ok();
        let size = number(size).map(|size| size.0).filter(|&size| size > 0);
        let known = number(start).zip(size);
        known
            .map(|(address, size)| Location::Mem { address, size })
            .ok_or_else(|| ParseLocationError {
                text: text.to_owned(),
            })
    }
}

/// The general-purpose register that a shorter one is part of.
fn part_of(name: &str) -> Option<RegWord> {
    let named = |register: &Register| format!("{register:?}").eq_ignore_ascii_case(name);
    let register = Register::values().find(|register| register.is_gpr() && named(register))?;
    Some(RegWord::gpr(register.full_register().number() as u16))
}

/// Answer to "who wrote it?"
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// This step, and nothing that is not known can have written it since.
    Found(Position),
    /// This step is the nearest one known to, but others may have.
    Uncertain {
        /// The nearest known writer.
        known: Option<Position>,
        /// Stores with unknown addresses between it and the question.
        stores: u64,
        /// A place between where the kernel may have written, or steps are missing.
        barrier: Option<Position>,
    },
    /// No step in the window.
    NoneInWindow,
}

impl Write {
    /// The writer, sure or not.
    pub fn position(&self) -> Option<Position> {
        match *self {
            Write::Found(at) => Some(at),
            Write::Uncertain { known, .. } => known,
            Write::NoneInWindow => None,
        }
    }

    pub(super) fn new(known: Option<Position>, stores: u64, barrier: Option<Position>) -> Write {
        match known {
            _ if stores > 0 || barrier.is_some() => Write::Uncertain {
                known,
                stores,
                barrier,
            },
            Some(at) => Write::Found(at),
            None => Write::NoneInWindow,
        }
    }
}

/// A step that touches a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The step.
    pub position: Position,
    /// It writes (and may read too).
    pub write: bool,
}

impl History {
    /// Makes the indices that queries look things up in, which else the first query makes: afterwards
    /// each is quick.
    ///
    /// # Errors
    /// When [`Builder::cancellation`](crate::Builder::cancellation) asked to stop.
    pub fn prepare(&self) -> Result<(), Error> {
        let watch = self.session.watch();
        watch.check()?;
        if self.indices.accesses.get().is_none() {
            let tell = |steps| self.tell_indexing(steps);
            let index = AccessIndex::new(&self.recovered, self.sequence(), &tell);
            // Another thread may have been faster; both made the same.
            let _ = self
                .indices
                .accesses
                .set(index.ok_or_else(Error::cancelled)?);
        }
        self.execution_index();
        if let Some(thread) = self.threads().next() {
            self.calls(thread);
        }
        watch.check()
    }

    /// The step that wrote a location last before `before`; for registers, of that thread.
    ///
    /// `None` when there is no such position.
    pub fn last_write(&self, location: Location, before: Position) -> Option<Write> {
        self.last_write_by(location, before, Trust::Inferred)
    }

    /// The same by addresses known at grade `trust` or better; stores whose address is known less
    /// well count as stores to unknown places.
    pub fn last_write_by(
        &self,
        location: Location,
        before: Position,
        trust: Trust,
    ) -> Option<Write> {
        let (thread, number) = self.numbered(before)?;
        Some(match location {
            Location::Reg(word) => self.last_register_write(thread, word, before),
            Location::Mem { address, size } => {
                let index = self.access_index();
                let found = index.last_store(address, size, number, trust);
                let since = found.map_or(0, |entry| entry.number + 1);
                let stores = self.access_index().pending_between(since, number, trust);
                let known = found.and_then(|entry| self.position_of(entry.number));
                Write::new(known, stores, None)
            }
        })
    }

    /// The step from `from` on that writes a location first; for registers, of that thread.
    ///
    /// `None` when there is no such position.
    pub fn next_write(&self, location: Location, from: Position) -> Option<Write> {
        let (thread, number) = self.numbered(from)?;
        Some(match location {
            Location::Reg(word) => self.next_register_write(thread, word, from),
            Location::Mem { address, size } => {
                let found = self.access_index().next_store(address, size, number);
                let until = found.map_or(self.sequence().len(), |entry| entry.number);
                let stores = self
                    .access_index()
                    .pending_between(number, until, Trust::Inferred);
                let known = found.and_then(|entry| self.position_of(entry.number));
                Write::new(known, stores, None)
            }
        })
    }

    /// Steps known to touch any of `size` bytes at `address`, from `from` on, in sequence order. Lazy.
    pub fn touches(
        &self,
        address: Address,
        size: u64,
        from: Position,
    ) -> impl Iterator<Item = Touch> + '_ {
        let mut number = self.numbered(from).map_or(u64::MAX, |(_, number)| number);
        std::iter::from_fn(move || {
            let index = self.access_index();
            let entry = index.next(address, size, number)?;
            number = entry.number + 1;
            let store = index.next_store(address, size, entry.number);
            Some(Touch {
                position: self.position_of(entry.number)?,
                write: store.is_some_and(|store| store.number == entry.number),
            })
        })
    }

    /// Steps of a thread that execute the instruction at `at`, from step `from` on. Lazy.
    pub fn executions(
        &self,
        thread: ThreadId,
        at: Address,
        from: u64,
    ) -> impl Iterator<Item = Position> + '_ {
        let index = self.thread_index(thread);
        let mut next = from;
        std::iter::from_fn(move || {
            let step = self.execution_index().next(index?, at, next)?;
            next = step + 1;
            Some(Position::new(thread, step))
        })
    }

    /// The last step of a thread before step `before` that executes the instruction at `at`.
    pub fn last_execution(&self, thread: ThreadId, at: Address, before: u64) -> Option<Position> {
        let step = self
            .execution_index()
            .last(self.thread_index(thread)?, at, before)?;
        Some(Position::new(thread, step))
    }

    /// Calls made by a thread in the window, by ascending step; a tree by their `parent`s.
    pub fn calls(&self, thread: ThreadId) -> &[Call] {
        let trace = self.trace();
        let of = |(index, thread): (usize, &ThreadTrace)| {
            let stack = |step| self.stack_pointer(index as u32, step);
            let end = self.at(Position::new(thread.thread, thread.steps()));
            let stands = end.and_then(|end| end.pc());
            calls::calls(&trace.code, thread, &self.handled()[index], stands, &stack)
        };
        let make = || trace.threads.iter().enumerate().map(of).collect();
        let all: &Vec<Vec<Call>> = self.indices.calls.get_or_init(make);
        self.thread_index(thread)
            .map(|index| all[index].as_slice())
            .unwrap_or_default()
    }

    /// Where the stack ended before a step, if that is certain or assumed.
    fn stack_pointer(&self, thread: u32, step: u64) -> Option<u64> {
        let value = self
            .recovered
            .register(engine::Position { thread, step }, RegWord::RSP);
        (Trust::Assumed.known(&value) == u64::MAX).then_some(value.bits)
    }

    /// The call that returned by a step.
    pub(crate) fn returned_at(&self, position: Position) -> Option<&Call> {
        let make = || {
            let calls = self
                .threads()
                .map(|thread| calls::returns(self.calls(thread)));
            calls.collect()
        };
        let all: &Vec<Vec<(u64, u32)>> = self.indices.returns.get_or_init(make);
        let of_thread = &all[self.thread_index(position.thread)?];
        let found = of_thread.binary_search_by_key(&position.step, |&(step, _)| step);
        let (_, call) = of_thread[found.ok()?];
        self.calls(position.thread).get(call as usize)
    }

    /// The calls that are open at a position, outermost first, as indices into [`History::calls`].
    pub fn open_calls(&self, position: Position) -> Vec<usize> {
        let calls = self.calls(position.thread);
        let around = |&index: &usize| calls[index].parent.map(|parent| parent as usize);
        let innermost = self.innermost_call(position);
        let mut open: Vec<usize> = std::iter::successors(innermost, around).collect();
        open.reverse();
        open
    }

    /// The last of the calls that are open at a position.
    pub(crate) fn innermost_call(&self, position: Position) -> Option<usize> {
        let calls = self.calls(position.thread);
        let before = calls.partition_point(|call| call.site < position.step);
        let mut at = before.checked_sub(1)?;
        while calls[at].left.is_some_and(|step| step < position.step) {
            at = calls[at].parent? as usize;
        }
        Some(at)
    }

    /// How two positions lie in time: `None` when neither is proved to come first.
    pub fn order(&self, a: Position, b: Position) -> Option<Ordering> {
        use rept_order::{Point, Relation};
        if a.thread == b.thread {
            return Some(a.step.cmp(&b.step));
        }
        let point = |position: Position| {
            let thread = self.thread_index(position.thread)?;
            let last = self.trace().threads[thread].steps().checked_sub(1)?;
            Some(Point {
                thread: thread as u32,
                step: position.step.min(last),
            })
        };
        match self
            .session
            .order()
            .relation_of_steps(point(a)?, point(b)?)?
        {
            Relation::Before => Some(Ordering::Less),
            Relation::After => Some(Ordering::Greater),
            Relation::Concurrent => None,
        }
    }

    /// Where a position stands in one line of time for all threads, in steps; concurrent steps
    /// are placed deterministically. `None` when there is no such position.
    pub fn sequence_number(&self, position: Position) -> Option<u64> {
        self.numbered(position).map(|(_, number)| number)
    }

    /// Where another thread is when `at` is about to run, in that line of time.
    pub fn position_alongside(&self, thread: ThreadId, at: Position) -> Option<Position> {
        let number = self.sequence_number(at)?;
        let step = self
            .sequence()
            .steps_before(self.thread_index(thread)?, number);
        Some(Position::new(thread, step))
    }

    fn last_register_write(&self, thread: usize, word: RegWord, before: Position) -> Write {
        let writes = self.register_writes(thread, word);
        let at = |step: u64| Position::new(before.thread, step);
        let (mut end, mut barriers) = (before.step, before.step + 1);
        loop {
            let found = writes.partition_point(|&step| step < end).checked_sub(1);
            let step = found.map(|index| writes[index]);
            let all = self.barriers(thread);
            let older = all.partition_point(|&barrier| barrier < barriers);
            let barrier = older.checked_sub(1).map(|index| all[index]);
            let barrier = barrier.filter(|&barrier| step.is_none_or(|step| step < barrier));
            match barrier.and_then(|barrier| self.handler_before(thread, barrier)) {
                Some(handler) if self.is_kept(word, before.thread, handler) => {
                    // The entry of the handler lies between: only what came before it counts.
                    (end, barriers) = (handler.delivered, handler.delivered);
                }
                _ => return Write::new(step.map(at), 0, barrier.map(at)),
            }
        }
    }

    /// The handler that returned to just before a step.
    fn handler_before(&self, thread: usize, resumed: u64) -> Option<Handled> {
        let same = |handler: &&Handled| handler.resumed == resumed;
        self.handled()[thread].iter().rev().find(same).copied()
    }

    /// Handlers that returned, of each thread.
    fn handled(&self) -> &[Vec<Handled>] {
        let trace = self.trace();
        let make = || {
            let of = |thread| handlers::handled(&trace.code, thread);
            trace.threads.iter().map(of).collect()
        };
        self.indices.handled.get_or_init(make)
    }

    /// Nothing known says that the handler changed the register of the code that it interrupted.
    fn is_kept(&self, word: RegWord, thread: ThreadId, handler: Handled) -> bool {
        let value = |step| Some(self.at(Position::new(thread, step))?.reg(word));
        // Just before the handler's first step the kernel has already put its arguments there.
        let last = handler.delivered.saturating_sub(1);
        if self.step_writes(thread, word, last) {
            return true;
        }
        match (value(last), value(handler.resumed)) {
            (Some(before), Some(after)) => {
                (before.bits ^ after.bits) & before.known & after.known == 0
            }
            _ => false,
        }
    }

    /// The step's instruction writes the word, or may.
    fn step_writes(&self, thread: ThreadId, word: RegWord, step: u64) -> bool {
        let index = self.thread_index(thread);
        index.is_some_and(|index| {
            self.register_writes(index, word)
                .binary_search(&step)
                .is_ok()
        })
    }

    fn next_register_write(&self, thread: usize, word: RegWord, from: Position) -> Write {
        let writes = self.register_writes(thread, word);
        let step = writes
            .get(writes.partition_point(|&step| step < from.step))
            .copied();
        let all = self.barriers(thread);
        let barrier = all.get(all.partition_point(|&barrier| barrier <= from.step));
        let barrier = barrier.filter(|&&barrier| step.is_none_or(|step| barrier <= step));
        let at = |step: u64| Position::new(from.thread, step);
        Write::new(step.map(at), 0, barrier.copied().map(at))
    }

    fn register_writes(&self, thread: usize, word: RegWord) -> std::sync::Arc<[u64]> {
        let trace = self.trace();
        self.indices
            .registers
            .of(&trace.code, thread, &trace.threads[thread], word)
    }

    fn barriers(&self, thread: usize) -> &[u64] {
        let trace = self.trace();
        let make = || {
            trace
                .threads
                .iter()
                .map(|thread| registers::barriers(&trace.code, thread))
                .collect()
        };
        let all: &Vec<Vec<u64>> = self.indices.barriers.get_or_init(make);
        &all[thread]
    }

    /// Index of a thread, and the number of a position in the sequence; `None` for no such position.
    pub(super) fn numbered(&self, position: Position) -> Option<(usize, u64)> {
        let thread = self.thread_index(position.thread)?;
        let exists = position.step <= self.trace().threads[thread].steps();
        exists.then(|| (thread, self.sequence().number(thread, position.step)))
    }

    pub(super) fn position_of(&self, number: u64) -> Option<Position> {
        let (thread, step) = self.sequence().step(number)?;
        Some(Position::new(self.trace().threads[thread].thread, step))
    }

    pub(super) fn thread_index(&self, thread: ThreadId) -> Option<usize> {
        self.trace()
            .threads
            .iter()
            .position(|path| path.thread == thread)
    }

    pub(super) fn sequence(&self) -> &Sequence {
        let make = || Sequence::new(self.session.order().sequence(), self.trace().threads.len());
        self.indices.sequence.get_or_init(make)
    }

    pub(super) fn access_index(&self) -> &AccessIndex {
        let to_the_end = |steps| {
            let _ = self.tell_indexing(steps);
            ControlFlow::Continue(())
        };
        let make = || AccessIndex::new(&self.recovered, self.sequence(), &to_the_end);
        let made = || make().expect("nothing stops it");
        self.indices.accesses.get_or_init(made)
    }

    fn tell_indexing(&self, steps: u64) -> ControlFlow<()> {
        let of = self.sequence().len();
        self.session.watch().tell(Progress::Indexing { steps, of })
    }

    fn execution_index(&self) -> &ExecutionIndex {
        self.indices
            .executions
            .get_or_init(|| ExecutionIndex::new(self.trace()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_registers_or_memory() {
        let check = |text: &str, expect| assert_eq!(text.parse().ok(), expect, "{text}");
        check("RCX", Some(Location::Reg(RegWord::RCX)));
        check("$rcx", Some(Location::Reg(RegWord::RCX)));
        check("al", Some(Location::Reg(RegWord::RAX)));
        let memory = |address, size| {
            let address = Address(address);
            Some(Location::Mem { address, size })
        };
        check("0x7ff0", memory(0x7ff0, 8));
        check("0x7ff0:0x10", memory(0x7ff0, 16));
        check("100:4", memory(100, 4));
        for text in [
            "",
            "zz",
            "7ff0",
            ":4",
            "0x7ff0:0",
            "+1",
            "0x+1",
            "0x",
            "0x7ff0:-1",
        ] {
            check(text, None);
        }
    }
}
