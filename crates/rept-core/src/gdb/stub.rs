//! Where the stub stands, and what there is to see from there.

use super::GdbOptions;
use super::state::State;
use crate::cursor::Direction;
use crate::dump::Dump;
use crate::history::History;
use crate::position::Position;
use crate::session::Session;
use gdbstub::common::Tid;
use rept_trace::{Address, Fault, ThreadId};
use std::cell::Cell;
use std::fmt;

/// What gdb asked for and `go` will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// One instruction of this thread.
    Step(ThreadId, Direction),
    /// All threads, to the nearest stop.
    Run(Direction),
}

/// A moment, and the thread that moved there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Now {
    /// The end of all, when the dump was made.
    End(ThreadId),
    /// Before a step.
    At(Position),
}

/// Why the history is not asked, though a packet needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// It is in the making, and the client does not wait for it.
    Interrupted,
    /// There will be none.
    Failed(String),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::Interrupted => f.write_str("interrupted; the history is still being recovered"),
            Lack::Failed(why) => write!(f, "the history could not be recovered: {why}"),
        }
    }
}

/// One gdb session.
#[derive(Debug)]
pub(super) struct Stub<'a> {
    pub(super) session: &'a Session,
    /// `None` while it is in the making: then the dump answers, at whose moment the stub stands.
    pub(super) history: Option<&'a History>,
    pub(super) lack: Option<Lack>,
    pub(super) options: GdbOptions,
    pub(super) now: Now,
    pub(super) plan: Plan,
    pub(super) breakpoints: Vec<Address>,
    pub(super) watches: Vec<(Address, u64)>,
    /// The client is lldb, which reads an answer differently.
    pub(super) is_lldb: Cell<bool>,
    /// Where the next step goes instead.
    pub(super) seek: Option<Position>,
}

impl<'a> Stub<'a> {
    /// At the crash. Without a dump of this run nothing can be answered before the history is there.
    pub(super) fn new(session: &'a Session, options: GdbOptions) -> Stub<'a> {
        let mut stub = Stub {
            session,
            history: None,
            lack: None,
            options,
            now: Now::End(ThreadId(0)),
            plan: Plan::Run(Direction::Forward),
            breakpoints: Vec::new(),
            watches: Vec::new(),
            is_lldb: Cell::new(false),
            seek: None,
        };
        if let Some(dump) = stub.dump() {
            let crashed = stub.fault().map(|fault| fault.thread);
            let crashed = crashed.filter(|&thread| dump.thread(thread).is_some());
            let first = || dump.threads().first().map(|registers| registers.thread);
            stub.now = Now::End(crashed.or_else(first).unwrap_or(ThreadId(0)));
        }
        stub
    }

    /// From now on the history is asked, which may hold nothing.
    pub(super) fn know(&mut self, history: &'a History) {
        self.history = Some(history);
        if history.threads().next().is_none() {
            self.lack = Some(Lack::Failed("no thread was traced".to_owned()));
        }
        if self.dump().is_some() {
            return;
        }
        let crash = history.crash().map(|crash| crash.position.thread);
        let crash = crash.filter(|&thread| history.lifetime(thread).is_some());
        if let Some(thread) = crash.or_else(|| history.threads().next()) {
            self.now = Now::End(thread);
        }
    }

    /// The dump, if it is of the run that was traced.
    pub(super) fn dump(&self) -> Option<&'a Dump> {
        self.session
            .dump()
            .filter(|_| !self.session.is_mismatched())
    }

    /// The signal that ended the process.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.session.dump()?.fault()
    }

    pub(super) fn thread_of(tid: Tid) -> ThreadId {
        ThreadId(u32::try_from(tid.get()).unwrap_or(0))
    }

    pub(super) fn tid(thread: ThreadId) -> Tid {
        // Thread ids are positive; the idle thread 0 is never traced in user mode.
        Tid::new(thread.0 as usize).unwrap_or(Tid::MIN)
    }

    /// The thread that moved last.
    pub(super) fn thread(&self) -> ThreadId {
        match self.now {
            Now::End(thread) => thread,
            Now::At(position) => position.thread,
        }
    }

    /// Threads that there are now, the one that moved last first, for which gdb takes it.
    pub(super) fn threads(&self) -> Vec<ThreadId> {
        let mut others: Vec<ThreadId> = match (self.now, self.dump(), self.history) {
            (Now::End(_), Some(dump), _) => {
                let threads = dump.threads().iter();
                threads.map(|registers| registers.thread).collect()
            }
            (_, dump, Some(history)) => {
                // Those that the dump does not have ended before.
                let of_dump = |thread| dump.is_none_or(|dump| dump.thread(thread).is_some());
                let runs_on = |thread: ThreadId| {
                    let step = self.position_of(thread).map(|position| position.step);
                    step < history.lifetime(thread).map(|steps| steps.end)
                };
                let traced = history.threads();
                traced.filter(|&of| of_dump(of) || runs_on(of)).collect()
            }
            _ => Vec::new(),
        };
        others.retain(|&thread| thread != self.thread());
        others.insert(0, self.thread());
        others
    }

    /// Where the thread that moved last is now, if it was traced.
    pub(super) fn own_position(&self) -> Option<Position> {
        self.position_of(self.thread())
    }

    /// The moment as a position, of whatever thread.
    fn position(&self) -> Option<Position> {
        let any = || self.position_of(self.history?.threads().next()?);
        self.own_position().or_else(any)
    }

    /// Where a thread is now.
    pub(super) fn position_of(&self, thread: ThreadId) -> Option<Position> {
        let history = self.history?;
        match self.now {
            Now::At(position) if position.thread == thread => Some(position),
            Now::At(position) => history.position_alongside(thread, position),
            Now::End(_) => Some(Position::new(thread, history.lifetime(thread)?.end)),
        }
    }

    /// Registers of a thread now; at the end of all those of the dump, whether there is a history or not.
    pub(super) fn state_of(&self, thread: ThreadId) -> Option<State<'a>> {
        let last = self.dump().filter(|_| matches!(self.now, Now::End(_)));
        if let Some(registers) = last.and_then(|dump| dump.thread(thread)) {
            return Some(State::Last(registers));
        }
        let state = self.history?.at(self.position_of(thread)?)?;
        Some(State::Of(state))
    }

    /// Reads memory as it is now, which is the same for all threads, as far as it is known without a hole.
    /// What the dump does not have of its own moment, the history may know.
    pub(super) fn read(&self, address: Address, buffer: &mut [u8]) -> usize {
        let from_dump = match self.now {
            Now::End(_) => self
                .dump()
                .map_or(0, |dump| last_bytes(dump, address, buffer)),
            Now::At(_) => 0,
        };
        let of_history = || self.history?.at(self.position()?);
        let known = of_history().map_or(0, |state| {
            let rest = &mut buffer[from_dump..];
            let address = address.offset(from_dump as u64);
            state.read(address, rest, self.options.trust).known_prefix()
        });
        from_dump + known
    }
}

/// Copies what a dump has of memory, without a hole, and says how much that is.
fn last_bytes(dump: &Dump, address: Address, buffer: &mut [u8]) -> usize {
    let mut count = 0;
    while count < buffer.len() {
        let at = address.offset(count as u64);
        // No run goes on behind the end of all addresses.
        let Some(run) = dump.memory().bytes(at).filter(|_| at >= address) else {
            break;
        };
        let length = run.len().min(buffer.len() - count);
        buffer[count..count + length].copy_from_slice(&run[..length]);
        count += length;
    }
    count
}
