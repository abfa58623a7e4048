//! Where did this value come from?
//!
//! Backwards from writer to writer: plain moves hand the question on to their source, so do
//! computations that have one varying input; where several values meet the chain ends and
//! names them, each to be asked about in turn. Bytes are followed, not whole registers: a
//! block copy leads to the place in its source. Each link is older than the one before, so
//! it ends; a link costs one look-up in the index of writes. A loop that hands a value on to
//! itself, as a counter does, is one turn with a count.
//!
//! The last known writer of a place is held against the value that was found there: where another
//! thread may have come between, it is the store of that value which is followed.

mod source;
#[cfg(test)]
mod tests;
mod trail;
mod values;

use super::queries::{Location, Write};
use super::{History, Trust};
use crate::position::Position;
use iced_x86::{Decoder, DecoderOptions, Instruction};
use rept_recover::history::{AccessView, Value};
use rept_trace::{Address, RegWord};
use source::{Source, address_registers, source_of};

pub use trail::{Answer, Asked, Trail};
pub(in crate::history) use values::accessed;

/// Links named at most.
const MAX_LINKS: usize = 256;
/// Steps followed at most, the turns of loops among them.
const MAX_STEPS: usize = 1 << 16;
/// Links of a loop at most.
const LONGEST_LOOP: usize = 8;
/// Steps followed between two looks at whether the answer is still wanted.
const PATIENCE: usize = 256;
/// Bytes followed at once: those of one word.
const WORD: u64 = 8;

/// The way of a value, newest link first, and its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// Steps that handed the value on.
    pub links: Vec<Link>,
    /// Where it began, as far as the window tells.
    pub origin: Origin,
}

impl Explanation {
    /// The links without plain copies: the steps that made a value, and the one at which the chain
    /// ends. Copies by which it is doubtful (raced, or past stores to unknown places) stay.
    pub fn without_copies(&self) -> impl Iterator<Item = &Link> {
        let last = self.links.len().saturating_sub(1);
        let links = self.links.iter().enumerate();
        links
            .filter(move |&(index, link)| {
                index == last || link.computed || link.raced || link.unknown_stores > 0
            })
            .map(|(_, link)| link)
    }
}

/// A step that put a value where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// The step.
    pub at: Position,
    /// Where it put the value.
    pub to: Location,
    /// Where it took it from; nothing for the step at which the value began.
    pub from: Option<Location>,
    /// It computed a new value from the old, rather than copied it.
    pub computed: bool,
    /// Stores between the step and the next link (or the question) whose address is not known:
    /// one of them may have written `to` after it. 0: surely none.
    pub unknown_stores: u64,
    /// Nothing orders the step before the one that read the place: the value shows it, which none
    /// but this store is known to have put there.
    pub raced: bool,
    /// How often in a row a loop did it: 1 where there is none. The links of a loop stand next to
    /// each other, those of its newest turn, each with the number of turns.
    pub times: u64,
    /// The oldest of these steps; `at` where there is no loop.
    pub first: Position,
}

/// Where a value began.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A constant in the code of the step.
    Constant(Position),
    /// The step made it from several values; ask [`History::explain`] about each of them at this step.
    Computed {
        /// The step.
        at: Position,
        /// What went in.
        inputs: Vec<Location>,
    },
    /// The kernel answered a system call with it.
    SystemCall(Position),
    /// Bytes of a file that nothing wrote to.
    File {
        /// Where they lie.
        address: Address,
    },
    /// It was there before the window.
    BeforeWindow(Location),
    /// No step is known to have written it, but so many may have whose stores go to unknown places.
    UnknownStore {
        /// Where it was.
        location: Location,
        /// Number of these stores.
        stores: u64,
    },
    /// The last step known to have written it put another value there; who did after it is not known.
    Contradicted {
        /// Where it was.
        location: Location,
        /// That step.
        at: Position,
    },
    /// Taken from memory at an address that is not known.
    AddressUnknown(Position),
    /// Steps are missing, or the kernel set registers here.
    Barrier(Position),
    /// The chain is longer than is followed.
    TooLong,
    /// Whoever asked wants no more of it.
    Cancelled,
}

/// The bytes in question: at most 8 of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// `size` bytes of a register's word from byte `offset` on.
    Reg {
        word: RegWord,
        offset: u64,
        size: u64,
    },
    Mem {
        address: Address,
        size: u64,
    },
}

impl Place {
    fn of(location: Location) -> Place {
        match location {
            Location::Reg(word) => Place::Reg {
                word,
                offset: 0,
                size: WORD,
            },
            Location::Mem { address, size } => Place::Mem {
                address,
                size: size.min(WORD),
            },
        }
    }

    fn location(self) -> Location {
        match self {
            Place::Reg { word, .. } => Location::Reg(word),
            Place::Mem { address, size } => Location::Mem { address, size },
        }
    }
}

/// What is asked of a history.
trait Past {
    /// The instruction of a step.
    fn instruction_of(&self, at: Position) -> Option<Instruction>;
    /// What a step accesses.
    fn accesses_of(&self, at: Position) -> Vec<AccessView>;
    /// Who wrote it last.
    fn writer(&self, location: Location, before: Position) -> Option<Write>;
    /// The flags just before a step.
    fn flags(&self, at: Position) -> Value;
    /// What a step found at a place, at most 8 bytes.
    fn found(&self, address: Address, size: u64, at: Position) -> Value;
    /// The store by another thread that nothing orders with a step, and that put there what it found.
    fn rival(&self, address: Address, size: u64, found: Value, at: Position) -> Option<Position>;
    /// Bytes of a file that nothing can have written to.
    fn is_file(&self, address: Address) -> bool;
    /// Nobody waits for the answer any more.
    fn is_cancelled(&self) -> bool;
}

/// A history as far as it is trusted.
struct Trusted<'a> {
    history: &'a History,
    trust: Trust,
}

impl Past for Trusted<'_> {
    fn instruction_of(&self, at: Position) -> Option<Instruction> {
        let ran = self.history.instruction(at)?;
        let bitness = ran.bitness.into();
        let mut decoder = Decoder::with_ip(bitness, ran.bytes, ran.at.0, DecoderOptions::NONE);
        Some(decoder.decode())
    }

    fn accesses_of(&self, at: Position) -> Vec<AccessView> {
        let mut accesses = self.history.accesses(at);
        let weak = |access: &&mut AccessView| Trust::of_address(access) > self.trust;
        for access in accesses.iter_mut().filter(weak) {
            access.address = None;
        }
        for access in &mut accesses {
            access.value = self.trust.limit(access.value);
        }
        accesses
    }

    fn flags(&self, at: Position) -> Value {
        let state = self.history.at(at);
        let flags = state.map(|state| state.reg(RegWord::FLAGS));
        self.trust.limit(flags.unwrap_or_default())
    }

    fn found(&self, address: Address, size: u64, at: Position) -> Value {
        let loaded = accessed(&self.accesses_of(at), false, address, size);
        if loaded.known != 0 || self.history.instruction(at).is_some() {
            return loaded;
        }
        let state = self.history.at(at);
        let bytes =
            state.map(|state| values::joined(size, |byte| state.byte(address.offset(byte))));
        self.trust.limit(bytes.unwrap_or_default())
    }

    fn rival(&self, address: Address, size: u64, found: Value, at: Position) -> Option<Position> {
        self.history.rival(address, size, found, at, self.trust)
    }

    fn writer(&self, location: Location, before: Position) -> Option<Write> {
        self.history.last_write_by(location, before, self.trust)
    }

    fn is_file(&self, address: Address) -> bool {
        self.history.session.final_memory().constant_len(address) > 0
    }

    fn is_cancelled(&self) -> bool {
        self.history.is_cancelled()
    }
}

impl History {
    /// Where the value of a location just before a position came from: of its first 8 bytes.
    ///
    /// `None` for no such position.
    pub fn explain(&self, location: Location, position: Position) -> Option<Explanation> {
        self.explain_by(location, position, Trust::Inferred)
    }

    /// The same by addresses known at grade `trust` or better.
    pub fn explain_by(
        &self,
        location: Location,
        position: Position,
        trust: Trust,
    ) -> Option<Explanation> {
        self.at(position)?;
        let past = Trusted {
            history: self,
            trust,
        };
        Some(follow(&past, Place::of(location), position))
    }

    /// Everything that the step at `at` made the value of a location from.
    pub(super) fn inputs_of(&self, location: Location, at: Position) -> Vec<Location> {
        let past = Trusted {
            history: self,
            trust: Trust::Inferred,
        };
        let Some(instruction) = past.instruction_of(at) else {
            return Vec::new();
        };
        let (place, accesses) = (Place::of(location), past.accesses_of(at));
        match source_of(&instruction, place, &accesses, past.flags(at)) {
            Source::Copy(from) => vec![from.location()],
            Source::Computed(inputs) => inputs,
            _ => Vec::new(),
        }
    }
}

/// One step back.
struct Step {
    link: Link,
    /// Address of its instruction.
    code: Address,
    source: Source,
}

fn follow(past: &impl Past, mut place: Place, mut before: Position) -> Explanation {
    let mut links = Links::default();
    for step in 0..MAX_STEPS {
        if step % PATIENCE == PATIENCE - 1 && past.is_cancelled() {
            return links.end(Origin::Cancelled);
        }
        let found = match step_back(past, place, before) {
            Ok(found) => found,
            Err(origin) => return links.end(origin),
        };
        let at = found.link.at;
        if let Source::Untouched = found.source {
            before = at;
            continue;
        }
        let next = next_place(&found.source);
        links.push(found.link, found.code);
        match next {
            Some(_) if links.links.len() >= MAX_LINKS => break,
            Some(from) => (place, before) = (from, at),
            None => return links.end(origin(found.source, at)),
        }
    }
    links.end(Origin::TooLong)
}

fn step_back(past: &impl Past, place: Place, before: Position) -> Result<Step, Origin> {
    let (mut at, mut unknown_stores) = writer(past, place, before)?;
    let mut raced = false;
    if let Some(found) = contradicted(past, place, at, before) {
        let rival = match place {
            Place::Mem { address, size } => past.rival(address, size, found, before),
            Place::Reg { .. } => None,
        };
        at = rival.ok_or_else(|| unexplained(place.location(), at, unknown_stores))?;
        (raced, unknown_stores) = (true, 0);
    }
    let instruction = past.instruction_of(at);
    let source = match &instruction {
        Some(instruction) => source_of(instruction, place, &past.accesses_of(at), past.flags(at)),
        None => Source::Computed(Vec::new()),
    };
    let link = Link {
        at,
        to: place.location(),
        from: next_place(&source).map(Place::location),
        computed: matches!(source, Source::Computed(_)),
        unknown_stores,
        raced,
        times: 1,
        first: at,
    };
    let code = Address(instruction.map_or(0, |instruction| instruction.ip()));
    Ok(Step { link, code, source })
}

/// What `before` found in memory, where it is not what the step at `at` put there.
fn contradicted(past: &impl Past, place: Place, at: Position, before: Position) -> Option<Value> {
    let Place::Mem { address, size } = place else {
        return None;
    };
    let found = past.found(address, size, before);
    let put = accessed(&past.accesses_of(at), true, address, size);
    ((found.bits ^ put.bits) & found.known & put.known != 0).then_some(found)
}

/// The last known writer is not the one, and no other is known.
fn unexplained(location: Location, at: Position, stores: u64) -> Origin {
    match stores {
        0 => Origin::Contradicted { location, at },
        _ => Origin::UnknownStore { location, stores },
    }
}

/// What hands the question on, where one place does.
fn next_place(source: &Source) -> Option<Place> {
    match source {
        Source::Copy(from) => Some(*from),
        Source::Computed(inputs) if inputs.len() == 1 => Some(Place::of(inputs[0])),
        _ => None,
    }
}

/// Links with the code of each, the turns of loops folded.
#[derive(Default)]
struct Links {
    links: Vec<Link>,
    code: Vec<Address>,
}

impl Links {
    fn push(&mut self, link: Link, code: Address) {
        self.links.push(link);
        self.code.push(code);
        let fits = |turn: &usize| self.is_repeated(*turn);
        if let Some(turn) = (1..=LONGEST_LOOP).find(fits) {
            self.fold(turn);
        }
    }

    /// The last `turn` links do what as many before them did.
    fn is_repeated(&self, turn: usize) -> bool {
        let end = self.links.len();
        let Some(start) = end.checked_sub(2 * turn) else {
            return false;
        };
        (start..start + turn).all(|index| {
            let (newer, older) = (&self.links[index], &self.links[index + turn]);
            let what = |link: &Link| {
                (
                    link.to,
                    link.from,
                    link.computed,
                    link.at.thread,
                    link.raced,
                )
            };
            self.code[index] == self.code[index + turn]
                && what(newer) == what(older)
                && older.times == 1
        })
    }

    fn fold(&mut self, turn: usize) {
        let end = self.links.len() - turn;
        let older = self.links.split_off(end);
        self.code.truncate(end);
        for (newer, older) in self.links[end - turn..].iter_mut().zip(older) {
            newer.times += 1;
            newer.first = older.at;
            newer.unknown_stores += older.unknown_stores;
        }
    }

    fn end(self, origin: Origin) -> Explanation {
        Explanation {
            links: self.links,
            origin,
        }
    }
}

/// The step that wrote a place last and the stores with unknown addresses since, or where the chain ends.
fn writer(past: &impl Past, place: Place, before: Position) -> Result<(Position, u64), Origin> {
    let location = place.location();
    match past.writer(location, before) {
        Some(Write::Found(at)) => Ok((at, 0)),
        Some(Write::Uncertain {
            barrier: Some(barrier),
            ..
        }) => Err(Origin::Barrier(barrier)),
        Some(Write::Uncertain {
            known: Some(at),
            stores,
            ..
        }) => Ok((at, stores)),
        Some(Write::Uncertain { stores, .. }) if !is_file(past, location) => {
            Err(Origin::UnknownStore { location, stores })
        }
        _ => Err(match location {
            Location::Mem { address, .. } if past.is_file(address) => Origin::File { address },
            _ => Origin::BeforeWindow(location),
        }),
    }
}

fn is_file(past: &impl Past, location: Location) -> bool {
    matches!(location, Location::Mem { address, .. } if past.is_file(address))
}

fn origin(source: Source, at: Position) -> Origin {
    match source {
        Source::SystemCall => Origin::SystemCall(at),
        Source::AddressUnknown => Origin::AddressUnknown(at),
        Source::Computed(inputs) if !inputs.is_empty() => Origin::Computed { at, inputs },
        _ => Origin::Constant(at),
    }
}
