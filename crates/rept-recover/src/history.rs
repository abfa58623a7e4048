//! What was recovered, and how each value is known.

use rept_trace::{Address, Memory, RegWord};

/// A place in the history: just before step `step` of the thread with index `thread` in `Trace::threads`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Index into `Trace::threads`.
    pub thread: u32,
    /// Step of that thread, 0 the oldest; the number of its steps is the crash.
    pub step: u64,
}

/// A recovered word: each bit known or not, each known bit with its grade.
///
/// Grades nest: `certain ⊆ assumed ⊆ known`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Value {
    /// The known bits; zero where unknown.
    pub bits: u64,
    /// Bits known at any grade.
    pub known: u64,
    /// Bits known without any assumption.
    pub certain: u64,
    /// Bits known without more than the named assumptions (call/return pairing).
    pub assumed: u64,
}

impl Value {
    /// The bits of `mask` only; the others count as known to be of no interest: they are cleared.
    pub fn masked(self, mask: u64) -> Value {
        Value {
            bits: self.bits & mask,
            known: self.known & mask,
            certain: self.certain & mask,
            assumed: self.assumed & mask,
        }
    }

    /// What is known without passing stores with unknown addresses.
    pub(crate) fn unstretched(self) -> Value {
        Value {
            bits: self.bits & self.assumed,
            known: self.assumed,
            ..self
        }
    }

    /// The better graded of two views of the same bits; what only one knows is taken from it.
    pub fn or(self, other: Value) -> Value {
        let weight = |v: &Value| {
            (
                v.certain.count_ones(),
                v.assumed.count_ones(),
                v.known.count_ones(),
            )
        };
        let (best, rest) = if weight(&self) >= weight(&other) {
            (self, other)
        } else {
            (other, self)
        };
        let more = rest.known & !best.known;
        Value {
            bits: best.bits | (rest.bits & more),
            known: best.known | more,
            certain: best.certain | (rest.certain & more),
            assumed: best.assumed | (rest.assumed & more),
        }
    }
}

/// Why a value is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unknown {
    /// It was there before the recorded window and is overwritten since.
    BeforeWindow,
    /// Overwritten, and nothing that survives depends on it.
    Overwritten,
    /// Written by the kernel.
    Syscall,
    /// Lost in an instruction that cannot be inverted.
    NotInvertible,
    /// Not in the dump.
    NotInDump,
    /// Steps are missing.
    TraceGap,
    /// Contradicting facts.
    Conflict,
    /// Another thread may have written it at the same time.
    Race,
    /// Through an instruction whose meaning is not modelled.
    Unsupported,
    /// The address of the memory operand is not known.
    AddressUnknown,
    /// Recovery stopped at its budget.
    Budget,
}

/// How a value came to be known: the last thing that taught it.
///
/// Sources can be asked in their turn. What was learned from both sides leads back to where one
/// came from; a walk remembers where it has been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The rule.
    pub rule: Rule,
    /// The step that it was applied to; the end for what the final state says.
    pub at: Position,
    /// How far optimism had to go.
    pub stage: Stage,
    /// Dereferences between the value and the dump, the most on any way back.
    pub level: u8,
    /// What it was learned from, as far as that has a place: registers and memory.
    pub sources: Vec<Source>,
}

/// What a value follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// The registers of the dump, or measured ones.
    FinalState,
    /// A constant of the instruction.
    Code,
    /// Where the step led: the target of an indirect jump, call or return.
    ControlFlow,
    /// What the instruction does, in either direction.
    Instruction,
    /// Nothing wrote to the place between two accesses.
    Unwritten,
    /// Nothing wrote to the place up to the dump.
    Dump,
    /// Functions hand preserved registers back, handlers all; frames are unwound.
    Convention,
    /// Of the pointers that the accesses through it may have followed, it fits by far best what memory held.
    Candidate,
}

/// How a value is trusted; the order is that of trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Without any assumption.
    Certain,
    /// With the calling convention.
    Assumed,
    /// With the assumption that stores whose address is not known wrote elsewhere: from stage to
    /// stage more of them may be passed.
    Inferred(u8),
}

/// Something that a value was learned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// Just before this step.
    pub at: Position,
    /// Where.
    pub place: Place,
    /// It gave an address that was accessed, rather than the value.
    pub addressing: bool,
}

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In a register word.
    Register(RegWord),
    /// In memory, from this address on.
    Memory(Address),
}

/// A memory access of a step, with what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessView {
    /// Linear address.
    pub address: Option<Address>,
    /// Grade of the address: known without assumption.
    pub address_certain: bool,
    /// Grade of the address: known with no more than named assumptions.
    pub address_assumed: bool,
    /// Bytes, 1 to 8.
    pub size: u8,
    /// Written rather than read.
    pub store: bool,
    /// The operand.
    pub value: Value,
}

/// Queries that every front end needs; implemented by the engine's history.
pub trait Recovered {
    /// The word of a register just before a step.
    fn register(&self, at: Position, word: RegWord) -> Value;
    /// Why the word is not wholly known (call it for unknown ones only).
    fn why_unknown(&self, at: Position, word: RegWord) -> Unknown;
    /// Memory accesses of the step at `at`, in the processor's order.
    fn accesses(&self, at: Position) -> Vec<AccessView>;

    /// Operands of a string instruction at a step, as far as they are placed: by pieces of at most 8 bytes,
    /// in ascending order within each operand.
    fn string_accesses(&self, _at: Position) -> Vec<AccessView> {
        Vec::new()
    }

    /// Memory just before a step: known bits of the byte at `address`; `dump` is the memory that was recovered from.
    fn memory(&self, at: Position, address: Address, dump: &dyn Memory) -> Value;
}
