//! From the trace to the graph: which node every step reads and defines, in sequence order.
//! One pass back over each thread for the liveness of flags, one pass forward over the sequence.

mod accesses;
mod births;
mod frames;
mod known;
mod outcomes;
mod repeats;
mod signals;
mod syscalls;

use super::contents::Contents;
use super::cuts::{Cut, CutKind, cuts};
use super::graph::{
    AccessKind, Graph, NONE, Outcome, SegmentStart, Step, ThreadVersions, address_words,
};
use super::kernel::ARGUMENTS;
use super::lower::{Lowered, decode};
use super::{Anchor, AnchorPoint, FrameSizes, Options};
use crate::bits::Bits;
use crate::effect::{Effect, Flow};
use crate::experiment::{Technique, Without};
use crate::lift::ALL_FLAGS;
use crate::progress::{Pace, Progress};
use births::{Inherited, makes};
use frames::{Frame, Interrupted, PRESERVED, Returned, Saved};
use hashbrown::HashMap;
use iced_x86::Mnemonic;
use known::written_out;
use rept_order::Order;
use rept_trace::{Address, Block, FinalState, RegWord, ThreadTrace, Trace};
use syscalls::KnownCalls;

/// Where the pass stands in one thread.
struct Cursor<'a> {
    trace: &'a ThreadTrace,
    cuts: Vec<Cut>,
    next_cut: usize,
    /// Anchors at steps still to come, the next one last.
    anchored: Vec<(u64, &'a Anchor)>,
    /// Operands of PTWRITE instructions still to come, the next one last.
    written_out: Vec<(u64, Bits)>,
    /// Flags live behind each run.
    live: Vec<u16>,
    run: usize,
    index: usize,
    step: u64,
    /// Current node of each register word.
    current: Vec<u32>,
    /// Calls that are open, the innermost last.
    frames: Vec<Frame>,
    /// Activations so far.
    activations: u32,
    /// The activation below all open calls.
    outermost: u32,
    /// The last call that returned to each place.
    returned: HashMap<Address, Returned>,
    interrupted: Vec<Interrupted>,
    /// The access and the result of the last system call.
    last_call: Option<(u32, u32)>,
    /// Threads that the thread makes, as step and index, the next one last.
    makes: Vec<(u64, usize)>,
    /// What the thread begins with.
    inherited: Option<Inherited>,
}

const EXECVE: u64 = 59;
const EXECVEAT: u64 = 322;
const RT_SIGRETURN: u64 = 15;

impl Cursor<'_> {
    /// A general register holds a node.
    fn holds(&self, node: u32) -> bool {
        let mut registers = (0..16).map(|number| usize::from(RegWord::gpr(number).0));
        registers.any(|word| self.current[word] == node)
    }
}

/// Builds the graph.
pub(crate) struct Builder<'a> {
    trace: &'a Trace,
    lowered: Lowered<'a>,
    graph: Graph,
    cursors: Vec<Cursor<'a>>,
    /// Facts that contradict each other already here.
    contradictions: u64,
    known_calls: KnownCalls,
    /// Where the heap ended when the process began.
    initial_break: Option<Address>,
    /// The node that tells where it ends by now.
    end_of_heap: Option<u32>,
    /// The thread that moves it; several ones may do so in another order than that of the sequence.
    moves_heap: Option<usize>,
    frame_sizes: Option<&'a dyn FrameSizes>,
    without: Without,
}

/// The graph, and the number of contradictions met.
pub(crate) struct Built {
    pub(crate) graph: Graph,
    pub(crate) contradictions: u64,
}

/// Builds the graph of the newest `max_steps` steps of the sequence, the final registers learned;
/// `None` when it is stopped.
pub(crate) fn build(
    trace: &Trace,
    order: &Order,
    last: &FinalState<'_>,
    options: &Options,
    max_steps: u64,
    pace: &mut Pace<'_>,
) -> Option<Built> {
    let anchors = &options.anchors;
    let mut builder = Builder {
        trace,
        lowered: Lowered::new(&trace.code),
        graph: Graph::default(),
        cursors: Vec::new(),
        contradictions: 0,
        known_calls: KnownCalls::new(options),
        initial_break: options.initial_break,
        end_of_heap: None,
        moves_heap: None,
        frame_sizes: options.frame_sizes.as_deref(),
        without: options.without(),
    };
    let files = options.files.iter().cloned().map(Contents::from);
    builder.graph.files.extend(files);
    builder.graph.ever_mapped = ever_mapped(options);
    builder.graph.extended_state = options.extended_state_bytes;
    builder.start();
    for thread in &trace.threads {
        let cursor = builder.cursor(thread, anchors);
        builder.cursors.push(cursor);
        let words = (0..RegWord::COUNT).map(|_| Vec::new()).collect();
        let stale_flags = Vec::new();
        builder
            .graph
            .versions
            .push(ThreadVersions { words, stale_flags });
    }
    for (index, cursor) in builder.cursors.iter_mut().enumerate() {
        cursor.makes = makes(&options.creations, trace, index);
    }
    let all: u64 = order.sequence().iter().map(|segment| segment.steps).sum();
    let mut left_out = all.saturating_sub(max_steps);
    for segment in order.sequence() {
        let thread = segment.thread as usize;
        let skipped = left_out.min(segment.steps);
        left_out -= skipped;
        (0..skipped).for_each(|_| builder.skip(thread));
        builder.graph.segments.push(SegmentStart {
            global: builder.graph.steps.len() as u32,
            thread: segment.thread,
            first: segment.first + skipped,
        });
        for _ in skipped..segment.steps {
            builder.step(thread);
            let steps = builder.graph.steps.len() as u64;
            if pace.stops(|| Progress::Building { steps, of: all }) {
                return None;
            }
        }
    }
    builder.graph.mark_segments();
    builder.open_calls(anchors);
    Some(builder.finish(last))
}

impl<'a> Builder<'a> {
    fn cursor(&mut self, thread: &'a ThreadTrace, anchors: &'a [Anchor]) -> Cursor<'a> {
        let code = &self.trace.code;
        let after_syscall = |step: u64| {
            let (run, index) = thread.locate(step)?;
            let block = code.block(thread.runs()[run].block);
            let last = decode(block, index);
            (last.mnemonic() == Mnemonic::Syscall).then(|| Address(last.next_ip()))
        };
        let cuts = cuts(thread, after_syscall);
        let live = self.live_flags(thread, &cuts);
        let mut anchored: Vec<(u64, &Anchor)> = anchors
            .iter()
            .filter(|anchor| anchor.thread == thread.thread)
            .filter_map(|anchor| match anchor.at {
                AnchorPoint::Step(step) => Some((step, anchor)),
                AnchorPoint::Entry => Some((0, anchor)),
                AnchorPoint::OpenCall(_) | AnchorPoint::Interrupted(_) => None,
            })
            .collect();
        anchored.sort_by_key(|&(step, _)| std::cmp::Reverse(step));
        let mut written_out: Vec<(u64, Bits)> = thread
            .events
            .iter()
            .filter_map(|event| written_out(thread, code, event))
            .collect();
        written_out.reverse();
        Cursor {
            anchored,
            written_out,
            trace: thread,
            cuts,
            next_cut: 0,
            live,
            run: 0,
            index: 0,
            step: 0,
            current: vec![NONE; RegWord::COUNT],
            frames: Vec::new(),
            activations: 0,
            outermost: 0,
            returned: HashMap::new(),
            interrupted: Vec::new(),
            last_call: None,
            makes: Vec::new(),
            inherited: None,
        }
    }

    /// Flags live behind each run of a thread; all are behind the last and before a cut.
    fn live_flags(&mut self, thread: &ThreadTrace, cuts: &[Cut]) -> Vec<u16> {
        let mut live = ALL_FLAGS;
        let mut behind = thread.steps();
        let mut cuts = cuts.iter().rev().peekable();
        let mut all: Vec<u16> = thread
            .runs()
            .iter()
            .rev()
            .map(|run| {
                while cuts.peek().is_some_and(|cut| cut.step > behind) {
                    cuts.next();
                }
                if cuts.peek().is_some_and(|cut| cut.step == behind) {
                    live = ALL_FLAGS;
                }
                let after = live;
                live = self.lowered.live_before(run.block, run.count, live);
                behind -= u64::from(run.count);
                after
            })
            .collect();
        all.reverse();
        all
    }

    /// The current node of a register word; one that nothing in the window defined gets its node now,
    /// valid since the window began or since the word was forgotten.
    fn current(&mut self, thread: usize, word: RegWord) -> u32 {
        let slot = usize::from(word.0);
        if self.cursors[thread].current[slot] == NONE {
            let node = self.graph.nodes.push(Bits::UNKNOWN, NONE);
            self.cursors[thread].current[slot] = node;
            match self.graph.versions[thread].words[slot].last_mut() {
                Some(last) => last.1 = node,
                None => self.graph.versions[thread].words[slot].push((0, node)),
            }
        }
        self.cursors[thread].current[slot]
    }

    /// From the next global step on, the word is in `node`; `NONE`: its value is lost, and
    /// whoever reads it next finds a new unknown node.
    fn define(&mut self, thread: usize, word: RegWord, node: u32) {
        if word == RegWord::FLAGS {
            self.stale_flags(thread, 0);
        }
        let slot = usize::from(word.0);
        self.cursors[thread].current[slot] = node;
        let from = self.graph.steps.len() as u32;
        let versions = &mut self.graph.versions[thread].words[slot];
        match versions.last_mut() {
            Some(last) if last.0 == from || (last.1 == NONE && node == NONE) => last.1 = node,
            _ => versions.push((from, node)),
        }
    }

    /// From the next global step on, the RFLAGS version does not tell these flags.
    fn stale_flags(&mut self, thread: usize, flags: u16) {
        let from = self.graph.steps.len() as u32;
        let stale = &mut self.graph.versions[thread].stale_flags;
        match stale.last_mut() {
            Some(last) if last.0 == from => last.1 = flags,
            Some(last) if last.1 == flags => {}
            None if flags == 0 => {}
            _ => stale.push((from, flags)),
        }
    }

    fn forget(&mut self, thread: usize, word: RegWord) {
        self.define(thread, word, NONE);
    }

    /// One step of a thread.
    fn step(&mut self, thread: usize) {
        self.cut(thread);
        self.anchors(thread);
        let cursor = &self.cursors[thread];
        let run = cursor.trace.runs()[cursor.run];
        let (index, live) = (cursor.index, cursor.live[cursor.run]);
        let effect = self.lowered.stretch(run.block, run.count, live)[index];
        let block = self.trace.code.block(run.block);
        let step = cursor.step;
        if step == 0 {
            self.inherit(thread, block.address(index));
        }
        let next = self.advance(thread);
        self.leave_old_frame(thread, effect, block.address(index));
        self.execute(thread, effect, block, index, next);
        if let Some(child) = self.cursors[thread].makes_at(step) {
            self.bequeath(thread, child, behind(block, index));
        }
        while let Some((_, operand)) = self.cursors[thread]
            .written_out
            .pop_if(|(at, _)| *at <= step)
        {
            self.ptwrite(thread, &decode(block, index), operand);
        }
        if step + 1 == self.cursors[thread].trace.steps() {
            // What happened at its end happened among its own steps.
            self.cut(thread);
        }
    }

    /// Leaves a step of a thread out: one too many, before the window that is recovered.
    fn skip(&mut self, thread: usize) {
        let cursor = &mut self.cursors[thread];
        let step = cursor.step;
        let passed = |cut: &&Cut| cut.step <= step;
        cursor.next_cut += cursor.cuts[cursor.next_cut..]
            .iter()
            .take_while(passed)
            .count();
        while cursor.anchored.pop_if(|(at, _)| *at <= step).is_some() {}
        while cursor.written_out.pop_if(|(at, _)| *at <= step).is_some() {}
        self.advance(thread);
    }

    /// Moves the thread's cursor on; the address of its next step if that plainly follows.
    fn advance(&mut self, thread: usize) -> Option<Address> {
        let code = &self.trace.code;
        let cursor = &mut self.cursors[thread];
        cursor.step += 1;
        cursor.index += 1;
        if cursor.index == usize::from(cursor.trace.runs()[cursor.run].count) {
            cursor.run += 1;
            cursor.index = 0;
        }
        let cut = cursor
            .cuts
            .get(cursor.next_cut)
            .is_some_and(|cut| cut.step == cursor.step);
        let run = cursor.trace.runs().get(cursor.run).filter(|_| !cut)?;
        Some(code.block(run.block).address(cursor.index))
    }

    /// Applies the cuts before the thread's next step.
    fn cut(&mut self, thread: usize) {
        loop {
            let cursor = &mut self.cursors[thread];
            let cut = cursor.cuts.get(cursor.next_cut).copied();
            let Some(cut) = cut.filter(|cut| cut.step == cursor.step) else {
                return;
            };
            cursor.next_cut += 1;
            self.apply_cut(thread, cut.kind);
        }
    }

    fn apply_cut(&mut self, thread: usize, kind: CutKind) {
        match kind {
            CutKind::SignalEntry(at) => self.enter_handler(thread, at, None),
            CutKind::Resumed { behind, ip } => match self.number_of_last_call(thread) {
                Some(RT_SIGRETURN) => {
                    self.forget_all(thread);
                    self.resume(thread, ip);
                }
                Some(EXECVE | EXECVEAT) | None => {
                    self.barrier();
                    self.forget_all(thread);
                    self.resume(thread, ip);
                }
                Some(_) => {
                    const SYSCALL_BYTES: u64 = 2;
                    let again = Address(behind.0.wrapping_sub(SYSCALL_BYTES));
                    self.enter_handler(thread, behind, Some(again));
                }
            },
            CutKind::Part(block) => self.part(thread, block),
            CutKind::Rounds(gap) => self.rounds(thread, gap),
            CutKind::Unknown => {
                let barrier = self.barrier();
                self.graph.unseen.extend(barrier);
                self.end_of_heap = None;
                self.forget_all(thread);
                self.cursors[thread].lose_frames();
            }
        }
    }

    /// Forgets all registers but the segment bases, which only system calls of their own change, and
    /// what the system has enabled.
    fn forget_all(&mut self, thread: usize) {
        self.forget_all_but(thread, |word| {
            [RegWord::FS_BASE, RegWord::GS_BASE, RegWord::XCR0].contains(&word)
        });
    }

    fn forget_all_but(&mut self, thread: usize, is_kept: impl Fn(RegWord) -> bool) {
        for word in (0..RegWord::COUNT as u16).map(RegWord) {
            let known = self.cursors[thread].current[usize::from(word.0)] != NONE;
            if known && !is_kept(word) {
                self.forget(thread, word);
            }
        }
    }

    /// Adds one execution of an effect to the graph.
    fn execute(
        &mut self,
        thread: usize,
        number: u32,
        block: &Block,
        index: usize,
        next: Option<Address>,
    ) {
        // The effects live in `lowered` until the end; taking one out for a moment spares a copy of it.
        let effect = std::mem::take(&mut self.lowered.effects[number as usize]);
        let saved = self.before_flow(thread, &effect);
        let step = self.graph.steps.len() as u32;
        let uses = self.graph.use_node.len() as u32;
        for &word in &effect.reads {
            let node = self.current(thread, word);
            self.add_use(node, step);
        }
        if effect.flow == Flow::Syscall {
            // The kernel reads its arguments; learning one later brings the step back.
            for node in saved {
                self.add_use(node, step);
            }
        }
        let fresh = self.graph.nodes.len() as u32;
        for word in effect.inputs()..effect.nodes() {
            let constant = !self.without.has(Technique::Forward) || !effect.defines(word);
            let bits = if constant {
                effect.template[word]
            } else {
                Bits::UNKNOWN
            };
            self.graph.nodes.push(bits, step);
        }
        let access = self.graph.accesses.len() as u32;
        let made = Step {
            effect: number,
            uses,
            fresh,
            access,
        };
        self.graph.steps.push(made);
        let inputs = effect.inputs();
        let node = |graph: &Graph, word: usize| graph.node_of(made, inputs, word);
        for access in &effect.accesses {
            let kind = if access.store {
                AccessKind::Store
            } else {
                AccessKind::Load
            };
            let data = node(&self.graph, usize::from(access.data.0));
            self.access(step, data, access.size, kind);
        }
        for &(word, value) in &effect.writes {
            let value = node(&self.graph, usize::from(value.0));
            self.define(thread, word, value);
        }
        if effect.kills_flags {
            self.forget(thread, RegWord::FLAGS);
        } else if effect.stale_flags != 0 {
            let stale = &self.graph.versions[thread].stale_flags;
            let before = stale.last().map_or(0, |&(_, flags)| flags);
            self.stale_flags(thread, before | effect.stale_flags);
        }
        self.extra_accesses(step, &effect);
        let outcome = self.after_flow(thread, &effect, saved, block, index, next, &node);
        self.graph.outcomes.push(outcome);
        self.lowered.effects[number as usize] = effect;
    }

    fn add_use(&mut self, node: u32, step: u32) {
        let graph = &mut self.graph;
        graph.next_use.push(graph.nodes.first_use[node as usize]);
        graph.nodes.first_use[node as usize] = graph.use_node.len() as u32;
        graph.use_node.push(node);
        graph.use_step.push(step);
    }

    /// Nodes that pairing or the kernel will need, as they are before the step.
    fn before_flow(&mut self, thread: usize, effect: &Effect) -> Saved {
        let words = match effect.flow {
            Flow::Call { .. } => PRESERVED,
            Flow::Syscall => ARGUMENTS,
            _ => return [NONE; PRESERVED.len()],
        };
        words.map(|word| self.current(thread, word))
    }

    /// What the step's control flow says: facts, pairs, system calls.
    #[expect(clippy::too_many_arguments, reason = "the state of one step")]
    fn after_flow(
        &mut self,
        thread: usize,
        effect: &Effect,
        saved: Saved,
        block: &Block,
        index: usize,
        next: Option<Address>,
        node: &impl Fn(&Graph, usize) -> u32,
    ) -> Outcome {
        let behind = behind(block, index);
        let facts = !self.without.has(Technique::BranchFacts);
        match effect.flow {
            Flow::Branch { target, .. } if facts => {
                let outcome = outcome(next, target, behind);
                self.asked_for_error(thread, block, index, outcome);
                return outcome;
            }
            Flow::Indirect { target }
            | Flow::Call {
                target: Some(target),
            }
            | Flow::Return { target } => {
                let word = usize::from(target.0);
                if let Some(next) = next.filter(|_| facts && word < effect.nodes()) {
                    let node = node(&self.graph, word);
                    self.learn(node, next.0);
                }
            }
            _ => {}
        }
        match effect.flow {
            Flow::Call { .. } if next.is_some() => self.call(thread, saved, behind),
            Flow::Return { .. } => self.returned(thread, next),
            Flow::Indirect { .. } => self.jumped(thread, next),
            Flow::Syscall => self.syscall(thread, saved, block, index),
            _ => {}
        }
        Outcome::Nothing
    }

    fn learn(&mut self, node: u32, value: u64) {
        self.learn_bits(node, Bits::constant(value));
    }

    fn learn_bits(&mut self, node: u32, value: Bits) {
        let bits = &mut self.graph.nodes.bits[node as usize];
        if bits.learn(value).is_err() {
            self.contradictions += 1;
        }
    }

    /// Learns the final registers and hands the graph out.
    fn finish(mut self, last: &FinalState<'_>) -> Built {
        for (index, thread) in self.trace.threads.iter().enumerate() {
            let Some(registers) = last.threads.iter().find(|r| r.thread == thread.thread) else {
                continue;
            };
            self.cut(index);
            for word in (0..RegWord::COUNT as u16).map(RegWord) {
                if let Some(value) = registers.get(word) {
                    let node = self.current(index, word);
                    self.learn_bits(node, of_word(word, value));
                }
            }
        }
        self.graph.effects = std::mem::take(&mut self.lowered.effects);
        self.graph.instructions = std::mem::take(&mut self.lowered.instructions);
        self.graph.address_words = self.graph.effects.iter().map(address_words).collect();
        self.graph.mark_accesses();
        Built {
            graph: self.graph,
            contradictions: self.contradictions,
        }
    }
}

/// The address behind an instruction.
fn behind(block: &Block, index: usize) -> Address {
    let bytes = block.instruction_bytes(index).len() as u64;
    block.address(index).offset(bytes)
}

/// The value of a register as its word holds it: RFLAGS words hold the arithmetic flags and DF
/// only, the processor's other bits are not ours.
fn of_word(word: RegWord, value: u64) -> Bits {
    match word {
        RegWord::FLAGS => Bits::new(u64::from(ALL_FLAGS), value),
        _ => Bits::constant(value),
    }
}

fn outcome(next: Option<Address>, target: Address, behind: Address) -> Outcome {
    match next {
        _ if target == behind => Outcome::Nothing,
        Some(next) if next == target => Outcome::Taken,
        Some(next) if next == behind => Outcome::NotTaken,
        _ => Outcome::Nothing,
    }
}

/// All that was ever mapped as far as records tell: start and end.
fn ever_mapped(options: &Options) -> Vec<(u64, u64)> {
    let known = options
        .mapped
        .iter()
        .map(|mapped| (mapped.start, mapped.bytes));
    let all = known.chain(options.mapped_elsewhere.iter().copied());
    all.map(|(start, bytes)| (start.0, start.0.saturating_add(bytes)))
        .collect()
}
