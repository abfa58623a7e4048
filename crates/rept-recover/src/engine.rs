//! The inference engine: known bits flow between the nodes of the graph until nothing more can be learned.
//!
//! Order: every node only gains bits within a phase, at most 64, so a phase ends; when an optimistic
//! transfer turns out wrong it is refuted for good before its consequences are taken back, so the
//! phases end too (and a budget holds in any case).
//!
//! Phases, in ascending optimism; what a phase learned tells its grade:
//! 1. *certain*: a store whose address is unknown may have written anywhere, so that no memory
//!    value passes it;
//! 2. *assumed*: calls that returned handed the preserved registers back;
//! 3. *inferred*: memory values pass 4, 16, 64 … pending stores that may plausibly hit them, as long
//!    as that teaches more than it has to take back. A contradiction is
//!    blamed on one transfer behind it, and what followed from that is taken back; at the end
//!    of a stage what was blamed gets a second chance. Then pointers that are still unknown are taken
//!    for what fits the accesses through them (`pointers`), and all of it runs once more, by what is
//!    known of where the stores went (`rounds`).
//!
//! DIVERGENCE: the published system ignores pending stores from the start and relies on repair
//! alone; the stages show far fewer wrong values on the way (OSDI 2018, section 4.3).
//!
//! Cost: linear in what is learned; a visit runs the relations of one cached effect.

mod address_space;
mod aim;
mod blame;
mod bridged;
mod build;
mod candidates;
mod cells;
mod conditional;
mod contents;
mod cuts;
mod descriptors;
mod evidence;
mod exchange;
#[cfg(feature = "experiments")]
mod given;
mod graph;
mod joined;
mod kernel;
mod kinds;
mod known_calls;
mod limits;
mod lower;
mod mapped;
mod mutual;
mod numbering;
mod options;
mod pending;
mod pointers;
mod protect;
mod race;
mod ranges;
mod retract;
mod rewrites;
mod rounds;
mod second_chance;
mod shapes;
mod shared;
mod signal_frame;
mod string;
mod surroundings;
mod thread_ids;
mod tracking;
mod unplaced;
mod view;
mod visit;
mod waiting;
mod wide;
mod worklist;

use crate::bits::Bits;
use crate::experiment::{Technique, Without};
use crate::progress::{Observer, Pace, Progress};
use build::{Built, build};
use candidates::Raced;
use cells::Cells;
use conditional::Conditional;
use descriptors::Inputs;
use evidence::Lessons;
use graph::{Graph, NONE};
use hashbrown::{HashMap, HashSet};
use kernel::Remapped;
use kinds::{Kinds, stack_pointers};
use mutual::SideBySide;
pub use options::{
    AddressSpace, Anchor, AnchorPoint, Area, Backing, Creation, Descriptor, FileIdentity, FileRead,
    FrameSizes, Mapped, MappedFile, OpenedFiles, Options, ResourceLimit,
};
use pending::PendingSet;
use protect::Protection;
use ranges::{Ranges, stacks};
use rept_order::Order;
use rept_trace::{FinalState, RegWord, Trace};
use rounds::{Before, ROUNDS};
use second_chance::Trial;
use shared::Shared;
use std::ops::{ControlFlow, Range};
use thread_ids::Lasting;
use tracking::Tracking;
pub use view::History;
use waiting::Waiting;
use wide::Wide;
use worklist::Worklist;

/// Steps of all threads at most; ids are 30 bits wide.
const MAX_STEPS: u64 = 1 << 30;

/// Grade of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Grade {
    Certain,
    Assumed,
    Inferred,
}

/// Pending stores that a memory value may pass, stage by stage.
const STAGES: [u32; 6] = [4, 16, 64, 256, 1024, 4096];
/// Phases: certain, assumed, and the stages of each round.
const PHASES: u8 = 2 + ROUNDS * STAGES.len() as u8;

/// What recovery did, for the curious and for benchmarks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Steps recovered.
    pub steps: u64,
    /// Visits of steps.
    pub visits: u64,
    /// Nodes of the graph.
    pub nodes: u64,
    /// Memory accesses.
    pub accesses: u64,
    /// Accesses whose address is not known in the end.
    pub pending: u64,
    /// Contradictions among certain facts: the core does not belong to the trace, or rept has a bug.
    pub certain_conflicts: u64,
    /// Violations of the calling convention met.
    pub assumption_conflicts: u64,
    /// Optimistic transfers refuted.
    pub refuted: u64,
    /// Contradictions that no assumption explains; their steps are left alone.
    pub unexplained: u64,
}

/// Recovers the data of a traced run.
///
/// Threads without registers in `last` are recovered as far as other facts reach.
pub fn recover(trace: &Trace, order: &Order, last: &FinalState<'_>, options: &Options) -> History {
    let mut goes_on = |_| ControlFlow::Continue(());
    recover_observed(trace, order, last, options, &mut goes_on).expect("nothing stops it")
}

/// The same, saying how far it is every few thousand steps; `None` when it was stopped.
pub fn recover_observed<'a>(
    trace: &'a Trace,
    order: &'a Order,
    last: &'a FinalState<'_>,
    options: &Options,
    observer: &'a mut Observer<'a>,
) -> Option<History> {
    let max_steps = options.max_steps.min(MAX_STEPS);
    let mut pace = Pace::new(observer);
    let Built {
        graph,
        contradictions,
    } = build(trace, order, last, options, max_steps, &mut pace)?;
    let mut engine = Engine::new(graph, order, last, pace);
    engine.leave_out(options.without());
    #[cfg(feature = "experiments")]
    engine.place_given(&options.experiment.given);
    engine.statistics.certain_conflicts = contradictions;
    engine.inputs = Inputs::new(trace, last, options);
    engine.stacks = stacks(&engine.inputs.threads, last);
    for area in &options.kernel_memory {
        engine.kernel_may_write(area.start.0, area.end.0);
    }
    engine.run(options);
    if engine.pace.is_stopped() {
        return None;
    }
    #[cfg(feature = "experiments")]
    engine.withhold_given();
    Some(History::new(engine, trace, options))
}

/// The state of one recovery.
pub(crate) struct Engine<'a> {
    graph: Graph,
    order: &'a Order,
    cells: Cells<'a>,
    pace: Pace<'a>,
    work: Worklist,
    /// Accesses that may write at a place not yet known.
    pending: PendingSet,
    /// Those of them that may be anywhere, and happened for sure.
    plain: PendingSet,
    /// Those of them whose place is known, but not whether they happened.
    conditional: Conditional,
    /// Those of which it is known in what range of memory they are.
    ranges: Ranges,
    /// The pending stores by what they may plausibly hit.
    kinds: Kinds,
    /// `plain`, of each thread apart, when several threads have steps, and not too many.
    plain_of: Vec<PendingSet>,
    grade: Grade,
    /// Pending stores that a memory value may pass in this stage.
    limit: u32,
    pairing: bool,
    /// Threads are executed side by side, for now.
    side_by_side: Option<SideBySide>,
    /// Techniques left out.
    without: Without,
    /// Accesses placed by an experiment: their places teach nothing. Empty without one.
    given: Vec<bool>,
    /// Nodes that hold flags, each of them a whole; empty unless bits are not told apart.
    flags: HashSet<u32>,
    /// Several threads have steps: races are possible.
    threaded: bool,
    /// The accesses that may have been made beside each segment, when several threads have steps.
    beside: Vec<Range<u32>>,
    /// Which threads touch which cells, when several have steps.
    shared: Shared,
    /// What racing loads learned from.
    raced: Raced,
    /// Bits known at the end of the certain phase.
    certain: Vec<u64>,
    /// Bits known at the end of the assumed phase.
    assumed: Vec<u64>,
    /// `pending` at the end of the certain and of the assumed phase.
    pending_certain: PendingSet,
    pending_assumed: PendingSet,
    tracking: Tracking,
    lessons: Lessons,
    /// Stage of the inferred grade.
    stage: u8,
    /// Rounds of the inferred grade that are over.
    round: u8,
    /// The stage that did not pay in the first round; others end with it.
    doubtful: Option<u8>,
    /// Where stores were at the end of the last stage that paid: address and bytes.
    store_places: Vec<Option<(u64, u8)>>,
    /// Transfers between two accesses that turned out wrong; the later is `NONE` for the dump.
    refuted: HashSet<(u32, u32)>,
    /// Those of them of which one may be right, and nothing says which.
    undecided: HashSet<(u32, u32)>,
    /// Pairs that were made in this round for accesses by unknown pointers, by an access and its place, or what it
    /// is taken to have read.
    taken: HashMap<(u32, u64), u32>,
    /// Steps whose relations contradict what is known, by no fault that could be found.
    disabled: HashSet<u32>,
    /// Whether a refuted transfer is being made again, to see whether it still contradicts anything.
    trial: Trial,
    /// Steps at which facts contradict each other by no fault that could be found.
    conflicts: Vec<u32>,
    /// Pairs of which a node learned something, while they are being walked.
    unequal: Vec<u32>,
    equalising: bool,
    /// How many of them were found before the inferred grade.
    assumed_conflicts: usize,
    /// Accesses that would learn or tell more if fewer stores were pending.
    waiting: Waiting,
    /// Placed accesses of any length.
    wides: HashMap<u32, Wide>,
    /// System calls that changed mappings, by ascending access.
    remapped: Vec<Remapped>,
    /// The last system call of which it is not known what it did.
    last_open_call: Option<u32>,
    protection: Protection,
    /// The same by what is certain.
    protected_certainly: Protection,
    /// What is assumed of system calls.
    inputs: Inputs,
    /// Where the stack of each thread is mapped at the end: start, and the end behind it.
    stacks: Vec<Option<(u64, u64)>>,
    /// Memory that the kernel may write at any time after a system call.
    lasting: Vec<Lasting>,
    words: Vec<Bits>,
    statistics: Statistics,
}

impl<'a> Engine<'a> {
    fn new(graph: Graph, order: &'a Order, last: &'a FinalState<'_>, pace: Pace<'a>) -> Engine<'a> {
        let accesses = graph.accesses.len();
        let pending = PendingSet::new(accesses, |id| graph.accesses[id].kind.writes());
        let threads = graph.segments.iter().map(|s| s.thread);
        let threaded = threads.clone().min() != threads.max();
        let mut engine = Engine {
            work: Worklist::full(graph.steps.len() as u32),
            cells: Cells::new(last.memory),
            pace,
            order,
            kinds: Kinds::new(&graph, last.memory.mappings(), &stack_pointers(last)),
            plain_of: if threaded {
                by_thread(&graph, &pending)
            } else {
                Vec::new()
            },
            plain: pending.clone(),
            pending,
            conditional: Conditional::new(accesses),
            ranges: Ranges::new(accesses),
            grade: Grade::Certain,
            limit: 0,
            pairing: false,
            side_by_side: None,
            without: Without::default(),
            given: Vec::new(),
            flags: HashSet::new(),
            threaded,
            beside: Vec::new(),
            shared: Shared::default(),
            raced: Raced::default(),
            certain: Vec::new(),
            assumed: Vec::new(),
            pending_certain: PendingSet::default(),
            pending_assumed: PendingSet::default(),
            tracking: Tracking::default(),
            lessons: Lessons::new(graph.nodes.len()),
            stage: 0,
            round: 0,
            doubtful: None,
            store_places: Vec::new(),
            refuted: HashSet::new(),
            undecided: HashSet::new(),
            taken: HashMap::new(),
            disabled: HashSet::new(),
            trial: Trial::None,
            conflicts: Vec::new(),
            unequal: Vec::new(),
            equalising: false,
            assumed_conflicts: 0,
            waiting: Waiting::new(accesses),
            wides: HashMap::new(),
            remapped: Vec::new(),
            last_open_call: None,
            protection: Protection::default(),
            protected_certainly: Protection::default(),
            inputs: Inputs::default(),
            stacks: Vec::new(),
            lasting: Vec::new(),
            words: Vec::new(),
            statistics: Statistics::default(),
            graph,
        };
        if threaded {
            engine.beside = engine.beside_segments();
        }
        engine.kernel_pages(last);
        engine.observe_protection();
        engine
    }

    fn run(&mut self, options: &Options) {
        let pairing = options.pairing && !self.without.has(Technique::Pairing);
        if self.without.has(Technique::Staging) {
            self.run_at_once(pairing);
        } else {
            let stages = if options.optimism { options.stages } else { 0 };
            self.run_phases(pairing, stages);
        }
        self.statistics.steps = (self.graph.steps.len() - self.graph.parts.len()) as u64;
        self.statistics.nodes = self.graph.nodes.len() as u64;
        self.statistics.accesses = self.graph.accesses.len() as u64;
        self.statistics.pending = u64::from(self.pending.len());
    }

    fn run_phases(&mut self, pairing: bool, stages: u8) {
        self.fixpoint();
        self.observe_protection();
        self.fixpoint();
        self.certain = self.known_masks();
        self.pending_certain = self.pending.clone();
        self.protected_certainly = self.protection.clone();
        if pairing {
            self.begin(Grade::Assumed);
            self.pair_up();
            self.learn_calls();
            self.assume_ids();
            self.assume_ends_of_threads();
            self.narrow_ranges();
            self.assume_handlers();
            self.fixpoint();
            self.trust_protection();
            self.follow_descriptors();
            self.execute_side_by_side();
        }
        self.assumed = self.known_masks();
        self.pending_assumed = self.pending.clone();
        if !self.pairing {
            self.graph
                .pairs
                .iter_mut()
                .for_each(|pair| pair.refuted = true);
        }
        if stages > 0 {
            self.begin(Grade::Inferred);
            self.assumed_conflicts = self.conflicts.len();
            self.run_stages(stages);
            if self.doubtful.is_none() {
                self.follow_pointers();
            }
            for round in 1..ROUNDS {
                self.round = round;
                self.start_over();
                self.run_stages(stages);
            }
            self.follow_pointers();
        }
    }

    /// The stages of the inferred grade. One that does not pay is forgiven when it and the next pay
    /// together: what was taken for granted may have to be refuted before more can be learned.
    fn run_stages(&mut self, stages: u8) {
        let mut in_debt: Option<Before> = None;
        for (stage, limit) in (1..=stages.min(self.doubtful.unwrap_or(stages))).zip(STAGES) {
            let before = in_debt.take().unwrap_or_else(|| self.before_stage());
            let first = before.is_before(stage);
            self.stage = stage;
            self.limit = limit;
            self.run_stage();
            if self.tracking.is_exhausted() {
                // What should have been taken back is still there.
                return self.give_up(before);
            }
            if self.paid(&before) {
                self.note_places();
            } else if first && !self.is_doubtful(stage) {
                in_debt = Some(before);
            } else {
                return self.give_up(before);
            }
        }
        if let Some(before) = in_debt {
            self.give_up(before);
        }
    }

    fn run_stage(&mut self) {
        self.observe_kinds();
        self.observe_open_calls();
        self.fixpoint();
        self.give_second_chances();
        self.observe_kinds();
        self.fixpoint();
    }

    /// All assumptions from the start, as the paper has it: pending stores are in nobody's way.
    fn run_at_once(&mut self, pairing: bool) {
        self.certain = self.known_masks();
        self.assumed.clone_from(&self.certain);
        self.pending_certain = self.pending.clone();
        self.protected_certainly = self.protection.clone();
        self.pending_assumed = self.pending.clone();
        self.begin(Grade::Inferred);
        self.limit = kinds::LIKELY - 1;
        self.observe_kinds();
        if pairing {
            self.pair_up();
        }
        self.fixpoint();
    }

    fn pair_up(&mut self) {
        self.pairing = true;
        for pair in 0..self.graph.pairs.len() as u32 {
            self.equalise(pair);
        }
    }

    fn leave_out(&mut self, without: Without) {
        self.without = without;
        self.threaded &= !without.has(Technique::Races);
        if without.has(Technique::Bits) {
            let flags = usize::from(RegWord::FLAGS.0);
            let threads = self.graph.versions.iter();
            let nodes =
                threads.flat_map(|thread| thread.words[flags].iter().map(|&(_, node)| node));
            self.flags = nodes.collect();
        }
    }

    fn begin(&mut self, grade: Grade) {
        self.grade = grade;
        self.waiting.wake_all();
        self.tracking.begin(self.graph.nodes.len());
    }

    fn known_masks(&self) -> Vec<u64> {
        self.graph
            .nodes
            .bits
            .iter()
            .map(|bits| bits.known)
            .collect()
    }

    /// Visits and tells until nothing changes under the current limit.
    fn fixpoint(&mut self) {
        while !self.pace.is_stopped() {
            self.settle();
            // An access may wait for more than the store that is known.
            self.waiting.wake_all();
            if !self.advance() {
                return;
            }
        }
    }

    /// Visits and tells until nothing changes for those that wait for no store.
    fn settle(&mut self) {
        while self.advance() && !self.pace.is_stopped() {}
    }

    /// Visits what may learn something, then tells what is ready; something may have changed.
    fn advance(&mut self) -> bool {
        self.sweep();
        let before = self.pending.len();
        self.retry_blocked();
        !self.work.is_empty() || self.pending.len() != before
    }

    /// Alternating sweeps over the steps that may learn something, until a trial fails or recovery
    /// is stopped.
    fn sweep(&mut self) {
        let Some(last) = (self.graph.steps.len() as u32).checked_sub(1) else {
            return;
        };
        while !self.work.is_empty() && !self.is_over() {
            let mut cursor = last;
            while let Some(step) = self.work.pop_backward(cursor) {
                self.visit(step);
                self.told();
                if self.is_over() {
                    return;
                }
                match step.checked_sub(1) {
                    Some(before) => cursor = before,
                    None => break,
                }
            }
            let mut cursor = 0;
            while let Some(step) = self.work.pop_forward(cursor) {
                self.visit(step);
                self.told();
                if self.is_over() {
                    return;
                }
                cursor = step + 1;
            }
        }
    }

    /// A trial has failed, or recovery is stopped.
    fn is_over(&self) -> bool {
        self.trial == Trial::Failed || self.pace.is_stopped()
    }

    fn told(&mut self) {
        let phase = match self.grade {
            Grade::Certain => 1,
            Grade::Assumed => 2,
            Grade::Inferred => 2 + self.round * Options::STAGES + self.stage,
        };
        let visits = self.statistics.visits;
        let of = PHASES;
        self.pace.stops(|| Progress::Learning { phase, of, visits });
    }

    /// Marks the steps that touch a node.
    fn touch(&mut self, node: u32) {
        let def = self.graph.nodes.def[node as usize];
        if def != NONE {
            self.work.insert(def);
        }
        let mut next = self.graph.nodes.first_use[node as usize];
        while next != NONE {
            self.work.insert(self.graph.use_step[next as usize]);
            next = self.graph.next_use[next as usize];
        }
    }
}

/// Threads for which pending stores are counted apart; with more, every thread's count for all.
const MAX_COUNTED: usize = 64;

/// The members of a set, those of each thread apart; none with too many threads.
fn by_thread(graph: &Graph, all: &PendingSet) -> Vec<PendingSet> {
    let threads = graph.versions.len();
    if threads > MAX_COUNTED {
        return Vec::new();
    }
    let mut members = vec![Vec::new(); threads];
    for id in all.members() {
        members[graph.thread_of(id) as usize].push(id);
    }
    let of_thread = |members: Vec<u32>| {
        let mut set = PendingSet::without_members(graph.accesses.len());
        set.refill(members.into_iter());
        set
    };
    members.into_iter().map(of_thread).collect()
}
