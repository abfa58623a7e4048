//! What one static instruction does to data: a list of relations over words.

use crate::bits::{Bits, Contradiction};
use crate::op::MicroOp;
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
    pub ops: Box<[MicroOp]>,
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

/// Sweeps over the relations of one instruction at most; one or two are the rule.
const MAX_SWEEPS: u16 = 8;
/// Effects of at most so many words and relations remember which words changed when.
const REMEMBERED: usize = 64;

impl Effect {
    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.reads.len()
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
    pub fn narrow(&self, words: &mut [Bits]) -> Result<(), Contradiction> {
        // Rules find all that follows from their own words at once: one relation needs one visit.
        if let [op] = &self.ops[..] {
            return op.narrow(words).map(|_| ());
        }
        if self.ops.len() <= REMEMBERED && words.len() <= REMEMBERED {
            return self.narrow_what_changed(words);
        }
        for sweep in 0..MAX_SWEEPS {
            let mut changed = false;
            for index in 0..self.ops.len() {
                changed |= self.in_sweep(sweep, index).1.narrow(words)?;
            }
            if !changed {
                break;
            }
        }
        Ok(())
    }

    /// Sweeps go over the relations forward and backward in turn.
    fn in_sweep(&self, sweep: u16, index: usize) -> (usize, &MicroOp) {
        let index = match sweep % 2 {
            0 => index,
            _ => self.ops.len() - 1 - index,
        };
        (index, &self.ops[index])
    }

    /// Runs a relation again only when another has changed a word of it since it last ran.
    fn narrow_what_changed(&self, words: &mut [Bits]) -> Result<(), Contradiction> {
        // Words changed by each relation in the last sweep; those behind it ran later.
        let mut changes = [0u64; REMEMBERED];
        let mut any = 0;
        for (op, change) in self.ops.iter().zip(&mut changes) {
            *change = op.run(words)?;
            any |= *change;
        }
        for sweep in 1..MAX_SWEEPS {
            if any == 0 {
                break;
            }
            any = 0;
            let mut later = 0;
            for index in 0..self.ops.len() {
                let (index, op) = self.in_sweep(sweep, index);
                let before = std::mem::take(&mut changes[index]);
                if op.touches() & later != 0 || before != 0 && op.settles_slowly() {
                    changes[index] = op.run(words)?;
                    any |= changes[index];
                }
                later |= before | changes[index];
            }
        }
        Ok(())
    }
}
