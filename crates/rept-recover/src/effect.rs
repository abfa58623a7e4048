//! What one static instruction does to data: a list of relations over words.

mod relations;

pub use relations::Relations;

use crate::bits::{Bits, Contradiction};
use rept_trace::{Address, RegWord};

/// Index of a word of an [`Effect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(pub u16);

/// The lowered form of one static instruction, shared by all its executions.
///
/// Words are numbered: first the *inputs* (register words read, each once, word `i` is
/// `reads[i]`), then the *fresh* words (new register values and memory operands that are
/// not just a register's word), then temporaries, which live only while the relations
/// are narrowed. Inputs and fresh words become nodes of the inference graph.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Effect {
    /// Initial knowledge of each word: constants, and zero above its width. Inputs are `UNKNOWN`.
    pub template: Box<[Bits]>,
    /// Register words read; word `i` holds `reads[i]`.
    pub reads: Box<[RegWord]>,
    /// Number of fresh words; they follow the inputs.
    pub fresh: u16,
    /// Register words written and the word that holds the new value: a fresh word, or an input for plain copies.
    pub writes: Box<[(RegWord, Word)]>,
    /// Memory accesses of at most 8 bytes, in the order in which the processor makes them.
    pub accesses: Box<[Access]>,
    /// Relations between the words.
    pub ops: Relations,
    /// Where control goes, and what that says about data.
    pub flow: Flow,
    /// A repeated or single string instruction, whose memory operands depend on counts.
    pub string: Option<StringOp>,
    /// A system call that makes a thread.
    pub new_thread: Option<NewThread>,
    /// All flags written are dead: RFLAGS has no new word though its old one is gone.
    pub kills_flags: bool,
    /// Flags, as bits of RFLAGS, that the instruction modifies though no word holds their new values:
    /// whoever looks must not take the old ones for them.
    pub stale_flags: u16,
    /// May write memory in a way that `accesses` does not say (unmodelled instructions with memory operands of unknown extent).
    pub clobbers_memory: bool,
    /// The meaning is stated; false: the instruction only forgets what iced says it may write.
    pub modelled: bool,
}

/// What a thread begins with that a system call makes, besides the other registers of its maker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewThread {
    /// Stack pointer.
    pub stack_pointer: Word,
    /// FS base.
    pub fs_base: Word,
}

/// One memory access of 1 to 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Word that holds the linear address of the operand (segment base included).
    pub address: Word,
    /// Bytes to add to it (vector operands are several accesses on one address).
    pub offset: u32,
    /// Bytes, 1 to 8.
    pub size: u8,
    /// Input or fresh word whose low `size` bytes are the operand.
    pub data: Word,
    /// Written rather than read. A read-modify-write operand is two accesses.
    pub store: bool,
    /// The access happens only when this one-bit word is 1 (masked moves); always when `None`.
    pub condition: Option<Word>,
}

/// Where control goes after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Flow {
    /// To the next instruction.
    #[default]
    Next,
    /// To a constant target (jmp rel).
    Jump,
    /// To `target` when the one-bit word `taken` is 1, else to the next instruction.
    Branch {
        /// Condition.
        taken: Word,
        /// Target when taken.
        target: Address,
    },
    /// To the address in the word (jmp r/m).
    Indirect {
        /// Target.
        target: Word,
    },
    /// A call; the word holds the target of an indirect one.
    Call {
        /// Target of an indirect call.
        target: Option<Word>,
    },
    /// A near return to the address in the word.
    Return {
        /// Return address popped.
        target: Word,
    },
    /// `syscall`, `int n` and the like: the kernel runs before the next step.
    Syscall,
    /// Far transfers and everything else whose successor is not ours to say.
    Other,
}

/// A string instruction; PT and rept see all iterations as one step.
///
/// The register relations (count, pointers, direction) are in `ops`; the engine
/// expands the memory operands once count, pointers and direction are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StringOp {
    /// Which.
    pub kind: StringKind,
    /// Element size in bytes: 1, 2, 4 or 8.
    pub element: u8,
    /// REP, REPE or REPNE prefix present: iterations = count before − count after; else one.
    pub repeated: bool,
    /// Count register before (REP) and after.
    pub count: Option<(Word, Word)>,
    /// Linear source address before (`[rsi]`), where the instruction has one.
    pub source: Option<Word>,
    /// Linear destination address before (`[rdi]`), where the instruction has one.
    pub destination: Option<Word>,
    /// One bit: DF.
    pub direction: Word,
    /// The accumulator word stored (stos) or loaded (lods) or compared (scas).
    pub accumulator: Option<Word>,
}

/// Kinds of [`StringOp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StringKind {
    /// Copies `[rsi]` to `[rdi]`.
    Movs,
    /// Fills `[rdi]` with the accumulator.
    Stos,
    /// Loads the accumulator from `[rsi]`.
    Lods,
    /// Compares `[rsi]` with `[rdi]`.
    Cmps,
    /// Compares the accumulator with `[rdi]`.
    Scas,
}

impl Effect {
    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.reads.len()
    }

    /// May write memory.
    pub(crate) fn writes_memory(&self) -> bool {
        let stores = |string: StringOp| matches!(string.kind, StringKind::Movs | StringKind::Stos);
        self.clobbers_memory
            || self.accesses.iter().any(|access| access.store)
            || self.string.is_some_and(stores)
            || self.flow == Flow::Syscall
    }

    /// May begin or end a call.
    pub(crate) fn leaves(&self) -> bool {
        !matches!(self.flow, Flow::Next | Flow::Jump | Flow::Branch { .. })
    }

    /// Number of words that become nodes: inputs and fresh ones.
    pub fn nodes(&self) -> usize {
        self.reads.len() + usize::from(self.fresh)
    }

    /// The step gives the word its value, unless that is what it loads.
    pub(crate) fn defines(&self, word: usize) -> bool {
        let is = |other: Word| usize::from(other.0) == word;
        let loaded = |access: &Access| !access.store && is(access.data);
        let stored = |access: &Access| access.store && is(access.data);
        (self.inputs()..self.nodes()).contains(&word)
            && !self.accesses.iter().any(loaded)
            && (self.writes.iter().any(|&(_, value)| is(value)) || self.accesses.iter().any(stored))
    }

    /// Learns what the relations imply about `words` (as many as `template`), to a fixpoint.
    ///
    /// # Errors
    /// [`Contradiction`] when no values satisfy the relations; `words` is meaningless then.
    #[inline]
    pub fn narrow(&self, words: &mut [Bits]) -> Result<(), Contradiction> {
        self.ops.narrow(words)
    }
}
