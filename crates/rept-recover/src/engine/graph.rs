//! The data inference graph in memory: versions of registers and memory operands as nodes,
//! the steps that use and define them, and the memory accesses. Structures of arrays; ids are
//! `u32` and ascend in sequence order, so that "earlier" is "smaller".

use super::Mapped;
use super::contents::Contents;
use crate::bits::Bits;
use crate::effect::Effect;
use hashbrown::HashMap;
use rept_trace::Address;
use smallvec::SmallVec;

/// The access that stands for what was before the window.
pub(crate) const START: u32 = 0;

/// No node, step or entry.
pub(crate) const NONE: u32 = u32::MAX;

/// What control flow proved about a step's branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Outcome {
    /// Nothing (no conditional branch, or its successor is not known).
    Nothing,
    NotTaken,
    Taken,
}

/// One execution of an instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Index into `Graph::effects`.
    pub(crate) effect: u32,
    /// First of its inputs in `Graph::use_node`.
    pub(crate) uses: u32,
    /// First of its fresh nodes.
    pub(crate) fresh: u32,
    /// First of its accesses.
    pub(crate) access: u32,
}

/// Nodes: the words of the graph.
#[derive(Default)]
pub(crate) struct Nodes {
    pub(crate) bits: Vec<Bits>,
    /// First entry of the list of uses, or `NONE`.
    pub(crate) first_use: Vec<u32>,
    /// Step that defines it; `NONE` for values from before the window.
    pub(crate) def: Vec<u32>,
}

impl Nodes {
    pub(crate) fn push(&mut self, bits: Bits, def: u32) -> u32 {
        self.bits.push(bits);
        self.first_use.push(NONE);
        self.def.push(def);
        self.bits.len() as u32 - 1
    }

    pub(crate) fn len(&self) -> usize {
        self.bits.len()
    }
}

/// What an access is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AccessKind {
    Load,
    Store,
    /// May write anything: unmodelled instruction, gap, signal frame.
    Barrier,
    /// What a system call writes, until its arguments are known.
    Kernel,
    /// Memory operand of a string instruction.
    StringLoad,
    StringStore,
}

impl AccessKind {
    /// May write memory.
    pub(crate) fn writes(self) -> bool {
        !matches!(self, AccessKind::Load | AccessKind::StringLoad)
    }
}

/// Where an access stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AccessState {
    /// Its address is not known.
    Pending,
    /// In the timelines of its cells.
    Placed,
    /// Proved not to happen (masked off, count 0, a system call that writes nothing).
    Absent,
}

/// A memory access of one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    /// Linear address; meaningful when placed.
    pub(crate) address: u64,
    /// Node whose low bytes are the operand; `NONE` for kinds without one.
    pub(crate) node: u32,
    pub(crate) step: u32,
    /// Entries in the timelines of one or two cells.
    pub(crate) entries: [u32; 2],
    /// Bytes, 1 to 8; 0 for kinds without a fixed size.
    pub(crate) size: u8,
    pub(crate) kind: AccessKind,
    pub(crate) state: AccessState,
    /// Grade of the phase in which it was placed, or found not to happen.
    pub(crate) phase: u8,
    /// Clock at which it was placed.
    pub(crate) clock: u32,
    /// What was known of `node` when its neighbours last heard of it.
    pub(crate) told: u64,
}

/// A system call and the nodes of its number and arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KernelCall {
    pub(crate) access: u32,
    /// rax, rdi, rsi, rdx, r10, r8, r9 before.
    pub(crate) arguments: [u32; 7],
    /// rax after.
    pub(crate) result: u32,
}

/// What a system call read of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadOf {
    /// Where the file's first byte was mapped, or would have been, if it was mapped.
    pub(crate) base: Option<Address>,
    /// Which of the graph's files it is, if its contents are at hand.
    pub(crate) file: Option<u32>,
    /// Where in the file read(2) began.
    pub(crate) offset: u64,
}

/// What the kernel writes before a signal handler runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignalFrame {
    pub(crate) access: u32,
    /// rsp, rdi (the signal's number), rsi (`siginfo_t`), rdx (`struct ucontext`), rax and RFLAGS at the
    /// handler's first instruction.
    pub(crate) stack_pointer: u32,
    pub(crate) number: u32,
    pub(crate) information: u32,
    pub(crate) context: u32,
    pub(crate) result: u32,
    pub(crate) flags: u32,
    /// The general registers where the thread was interrupted.
    pub(crate) saved: [u32; 17],
}

/// Why two nodes are taken to be equal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PairKind {
    /// They are if code keeps to the ABI, and the kernel to what it is known to do.
    Convention,
    /// An unknown pointer and the number that fits best.
    Candidate,
    /// Two accesses by an unknown pointer of what nothing wrote in between.
    Unwritten,
}

/// Two nodes that are taken to be equal, or to differ by so much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) nodes: [u32; 2],
    /// What the second has more than the first.
    pub(crate) more: u64,
    pub(crate) kind: PairKind,
    pub(crate) refuted: bool,
}

impl Pair {
    /// What the second node holds if the first holds this: all of it or, unless the two are equal, nothing.
    pub(crate) fn forward(&self, first: Bits) -> Bits {
        moved(first, self.more)
    }

    /// The same of the first.
    pub(crate) fn backward(&self, second: Bits) -> Bits {
        moved(second, self.more.wrapping_neg())
    }
}

fn moved(bits: Bits, by: u64) -> Bits {
    match (by, bits.get()) {
        (0, _) => bits,
        (_, Some(value)) => Bits::constant(value.wrapping_add(by)),
        (_, None) => Bits::UNKNOWN,
    }
}

/// Definitions of one register word of one thread: (first step that sees it, node), ascending.
pub(crate) type Versions = Vec<(u32, u32)>;

/// The register timelines of one thread.
#[derive(Default)]
pub(crate) struct ThreadVersions {
    pub(crate) words: Vec<Versions>,
    /// (first step that sees it, flags that the RFLAGS version does not tell), ascending.
    pub(crate) stale_flags: Vec<(u32, u16)>,
}

impl ThreadVersions {
    /// Flags whose value just before step `step` no version holds.
    pub(crate) fn stale_at(&self, step: u32) -> u16 {
        match self
            .stale_flags
            .partition_point(|&(first, _)| first <= step)
        {
            0 => 0,
            index => self.stale_flags[index - 1].1,
        }
    }

    /// The node of a word just before step `step`.
    pub(crate) fn at(&self, word: usize, step: u32) -> u32 {
        let versions = &self.words[word];
        match versions.partition_point(|&(first, _)| first <= step) {
            0 => NONE,
            index => versions[index - 1].1,
        }
    }
}

/// The graph.
#[derive(Default)]
pub(crate) struct Graph {
    pub(crate) effects: Vec<Effect>,
    /// Words that the addresses of each effect are computed from, one bit each (from 63 on one bit for all).
    pub(crate) address_words: Vec<u64>,
    /// Number of the static instruction of each effect: effects differ by live flags too.
    pub(crate) instructions: Vec<u32>,
    pub(crate) steps: Vec<Step>,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) nodes: Nodes,
    pub(crate) use_node: Vec<u32>,
    pub(crate) use_step: Vec<u32>,
    pub(crate) next_use: Vec<u32>,
    pub(crate) accesses: Vec<Access>,
    pub(crate) kernel_calls: Vec<KernelCall>,
    /// Signal frames, by ascending access.
    pub(crate) signal_frames: Vec<SignalFrame>,
    /// Bytes of the extended state in a signal frame, if that is known.
    pub(crate) extended_state: Option<u64>,
    /// What system calls mapped, by access.
    pub(crate) mapped: HashMap<u32, Mapped>,
    /// All that was mapped by records of the kernel, whoever did: start and end.
    pub(crate) ever_mapped: Vec<(u64, u64)>,
    /// The bytes of files that were mapped.
    pub(super) files: Vec<Contents>,
    /// What files system calls read, by access.
    pub(crate) file_reads: HashMap<u32, ReadOf>,
    /// Whether system calls failed, by access, where a branch tells.
    pub(crate) failed: HashMap<u32, bool>,
    /// Node that tells where the heap ended before a `brk`, by its access.
    pub(crate) breaks: HashMap<u32, u32>,
    /// Nodes that tell where the heap ended before and after a call whose number the code does not
    /// tell, by its access.
    pub(crate) perhaps_breaks: HashMap<u32, [u32; 2]>,
    /// The first step is the first instruction of the process.
    pub(crate) begins: bool,
    /// Steps that are none of the trace: parts of instructions that were stopped, ascending.
    pub(crate) parts: Vec<u32>,
    /// Accesses at which something may have happened to memory that is no system call of the table.
    pub(crate) unseen: Vec<u32>,
    pub(crate) pairs: Vec<Pair>,
    /// Pairs of a node.
    pub(crate) pairs_of: HashMap<u32, SmallVec<[u32; 4]>>,
    pub(crate) versions: Vec<ThreadVersions>,
    /// Sequence: first global step of each segment, its thread and that thread's first step.
    pub(crate) segments: Vec<SegmentStart>,
    /// The segments of every [`STRIDE`]th step; none before the graph is whole.
    pub(crate) waymarks: Vec<u32>,
    /// The segment of each access, where there are several; none before the graph is whole.
    pub(crate) access_segments: Vec<u32>,
}

/// Steps between two of which the segment is noted.
const STRIDE: u32 = 16;

/// Where a segment lies in the global numbering.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentStart {
    pub(crate) global: u32,
    pub(crate) thread: u32,
    pub(crate) first: u64,
}

impl Graph {
    pub(crate) fn effect(&self, step: u32) -> &Effect {
        &self.effects[self.steps[step as usize].effect as usize]
    }

    /// The node of word `word` (an input or a fresh one) of a step.
    pub(crate) fn node(&self, step: u32, word: usize) -> u32 {
        let s = self.steps[step as usize];
        self.node_of(s, self.effects[s.effect as usize].inputs(), word)
    }

    /// The same where the graph has not got its effects yet; the step's has so many inputs.
    pub(crate) fn node_of(&self, step: Step, inputs: usize, word: usize) -> u32 {
        match word.checked_sub(inputs) {
            Some(fresh) => step.fresh + fresh as u32,
            None => self.use_node[step.uses as usize + word],
        }
    }

    /// The nodes of a step's inputs and fresh words, in the order of the words.
    pub(crate) fn nodes_of(&self, step: u32) -> impl Iterator<Item = u32> + '_ {
        let s = self.steps[step as usize];
        let effect = &self.effects[s.effect as usize];
        let inputs = &self.use_node[s.uses as usize..][..effect.inputs()];
        let fresh = s.fresh..s.fresh + u32::from(effect.fresh);
        inputs.iter().copied().chain(fresh)
    }

    /// Two nodes are assumed to be equal; the number of the pair.
    pub(crate) fn pair(&mut self, a: u32, b: u32) -> u32 {
        self.pair_as(PairKind::Convention, a, b)
    }

    /// The same, for another reason.
    pub(crate) fn pair_as(&mut self, kind: PairKind, a: u32, b: u32) -> u32 {
        self.add_pair(Pair {
            nodes: [a, b],
            more: 0,
            kind,
            refuted: false,
        })
    }

    /// Adds a pair; its number.
    pub(crate) fn add_pair(&mut self, pair: Pair) -> u32 {
        let number = self.pairs.len() as u32;
        self.pairs.push(pair);
        for node in pair.nodes {
            self.pairs_of.entry(node).or_default().push(number);
        }
        number
    }

    /// Range of the step's access ids.
    pub(crate) fn accesses_of(&self, step: u32) -> std::ops::Range<u32> {
        let end = self
            .steps
            .get(step as usize + 1)
            .map_or(self.accesses.len() as u32, |next| next.access);
        self.steps[step as usize].access..end
    }

    /// Number of the static instruction that a step executed.
    pub(crate) fn instruction(&self, step: u32) -> u32 {
        self.instructions[self.steps[step as usize].effect as usize]
    }

    /// Those of the steps from `first` on and before `end` that are none of the trace.
    pub(crate) fn parts_in(&self, first: u32, end: u32) -> &[u32] {
        let index = |step| self.parts.partition_point(|&part| part < step);
        &self.parts[index(first)..index(end).max(index(first))]
    }

    /// The step is one of the trace.
    pub(crate) fn is_traced(&self, step: u32) -> bool {
        self.parts.binary_search(&step).is_err()
    }

    /// The number of a step in its thread; of one that is none of the trace, that of the next one.
    pub(crate) fn step_in_thread(&self, step: u32) -> u64 {
        let segment = self.segments[self.segment_of(step)];
        let parts = self.parts_in(segment.global, step).len() as u32;
        segment.first + u64::from(step - segment.global - parts)
    }

    /// Index of the segment that holds a global step.
    pub(crate) fn segment_of(&self, step: u32) -> usize {
        let mark = |index: u32| self.waymarks.get(index as usize).copied();
        let from = mark(step / STRIDE).unwrap_or(0) as usize;
        let to = mark(step / STRIDE + 1).map_or(self.segments.len(), |to| to as usize + 1);
        from + self.segments[from..to].partition_point(|s| s.global <= step) - 1
    }

    /// All segments are there: from now on, the one of a step is found near a mark.
    pub(crate) fn mark_segments(&mut self) {
        let marked = (0..self.steps.len() as u32).step_by(STRIDE as usize);
        self.waymarks = marked.map(|step| self.segment_of(step) as u32).collect();
    }

    /// All accesses are there: from now on, the segments of those of several threads are told without a search.
    pub(crate) fn mark_accesses(&mut self) {
        if self.segments.len() > 1 {
            let steps = self.accesses.iter().map(|access| access.step);
            self.access_segments = steps.map(|step| self.segment_of(step) as u32).collect();
        }
    }

    /// Index of the segment that holds an access.
    pub(crate) fn segment_of_access(&self, access: u32) -> usize {
        match self.access_segments.get(access as usize) {
            Some(&segment) => segment as usize,
            None => self.segment_of(self.accesses[access as usize].step),
        }
    }

    /// The thread that makes an access.
    pub(crate) fn thread_of(&self, access: u32) -> u32 {
        self.segments[self.segment_of_access(access)].thread
    }

    /// Steps that touch a node: its definition, then its uses.
    pub(crate) fn touching(&self, node: u32) -> impl Iterator<Item = u32> + '_ {
        let def = Some(self.nodes.def[node as usize]).filter(|&def| def != NONE);
        let mut next = self.nodes.first_use[node as usize];
        def.into_iter().chain(std::iter::from_fn(move || {
            let current = next;
            (current != NONE).then(|| {
                next = self.next_use[current as usize];
                self.use_step[current as usize]
            })
        }))
    }
}

/// Words that an effect's addresses are computed from, one bit each (from 63 on one bit for all).
pub(crate) fn address_words(effect: &Effect) -> u64 {
    let mut wanted = vec![false; effect.template.len()];
    for access in &effect.accesses {
        wanted[usize::from(access.address.0)] = true;
    }
    if let Some(string) = effect.string {
        let (before, after) = string.count.unzip();
        let words = [
            before,
            after,
            string.source,
            string.destination,
            Some(string.direction),
        ];
        for word in words.into_iter().flatten() {
            wanted[usize::from(word.0)] = true;
        }
    }
    for op in effect.ops.iter().rev() {
        if wanted[usize::from(op.d.0)] {
            for word in [op.a, op.b, op.c] {
                wanted[usize::from(word.0)] = true;
            }
        }
    }
    (0..effect.nodes())
        .filter(|&word| wanted[word])
        .fold(0, |mask, word| mask | 1 << word.min(63))
}
