//! What front ends see of a recovery: values at positions, with their grades.

use super::cells::{CELL, Cell, Entry};
use super::evidence::Lessons;
use super::graph::{Access, AccessKind, AccessState, Graph, NONE};
use super::pending::PendingSet;
use super::protect::Protection;
use super::rewrites::is_code_rewritten;
use super::thread_ids::{Lasting, still_written};
use super::wide::Wide;
use super::{Engine, Grade, Options, Statistics};
use crate::bits::{Bits, mask};
use crate::effect::Flow;
use crate::history::{AccessView, Position, Recovered, Unknown, Value};
use hashbrown::{HashMap, HashSet};
use rept_trace::{Address, Memory, RegWord, Trace};

/// A recovered execution history. Reads take `&self`; look-ups are logarithmic.
pub struct History {
    pub(super) graph: Graph,
    pub(super) lessons: Lessons,
    pub(super) wides: HashMap<u32, Wide>,
    certain: Vec<u64>,
    assumed: Vec<u64>,
    /// Accesses that could write anywhere, at the end of the certain, the assumed and the last phase.
    pending: [PendingSet; 3],
    /// Of each thread: its segments' first steps, with the global step of each.
    segments: Vec<Vec<(u64, u32)>>,
    pub(super) cell_index: HashMap<u64, u32>,
    pub(super) cells: Vec<Cell>,
    pub(super) entries: Vec<Entry>,
    timelines: Timelines,
    /// Neighbouring accesses with a write between them that is not placed; see `Engine::refuted`.
    refuted: HashSet<(u32, u32)>,
    /// Memory that the kernel may write at any time after an access; see `Engine::lasting`.
    lasting: Vec<Lasting>,
    /// Steps of stores and of loads that read them, of several candidates; see `Engine::observed`.
    observed: Vec<(u32, u32)>,
    /// Steps at which facts contradict each other, ascending.
    conflicts: Vec<u32>,
    /// With one thread; with several, what the sequence says is no proof.
    /// By what is certain, and by what is assumed.
    protection: Option<[Protection; 2]>,
    /// The best grade of what rests on the path; see [`Options::code_may_differ`].
    pub(super) trust: Grade,
    statistics: Statistics,
}

/// The entries of each cell, by ascending order.
struct Timelines {
    /// Where the entries of each cell begin, and the end.
    starts: Vec<u32>,
    entries: Vec<u32>,
}

impl Timelines {
    fn new(cells: &[Cell], entries: &[Entry]) -> Timelines {
        let mut all = Vec::with_capacity(entries.len());
        let mut starts = Vec::with_capacity(cells.len() + 1);
        for cell in cells {
            starts.push(all.len() as u32);
            let mut next = cell.head;
            while next != NONE {
                all.push(next);
                next = entries[next as usize].next;
            }
        }
        starts.push(all.len() as u32);
        let entries = all;
        Timelines { starts, entries }
    }

    fn of(&self, cell: u32) -> &[u32] {
        let cell = cell as usize;
        &self.entries[self.starts[cell] as usize..self.starts[cell + 1] as usize]
    }
}

impl History {
    pub(super) fn new(engine: Engine<'_>, trace: &Trace, options: &Options) -> History {
        let observed = engine.observed();
        let mut conflicts = engine.conflicts;
        conflicts.sort_unstable();
        conflicts.dedup();
        let mut segments = vec![Vec::new(); trace.threads.len()];
        for segment in &engine.graph.segments {
            segments[segment.thread as usize].push((segment.first, segment.global));
        }
        let (cell_index, cells, entries) = engine.cells.into_parts();
        let mut history = History {
            timelines: Timelines::new(&cells, &entries),
            graph: engine.graph,
            lessons: engine.lessons,
            wides: engine.wides,
            certain: engine.certain,
            assumed: engine.assumed,
            pending: [
                engine.pending_certain,
                engine.pending_assumed,
                engine.pending,
            ],
            segments,
            cell_index,
            cells,
            entries,
            refuted: engine.refuted,
            lasting: still_written(engine.lasting, &engine.inputs.alive),
            observed,
            conflicts,
            protection: (!engine.threaded)
                .then_some([engine.protected_certainly, engine.protection]),
            trust: Grade::Certain,
            statistics: engine.statistics,
        };
        if options.code_may_differ {
            history.trust = match is_code_rewritten(&history, trace) {
                true => Grade::Inferred,
                false => Grade::Assumed,
            };
        }
        history
    }

    /// What recovery did.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Stores, and the loads of other threads that read them: nothing but the values orders them,
    /// and no other store that may have been before the load fits what is known of it. Inferred.
    pub fn observed_orders(&self) -> impl Iterator<Item = (Position, Position)> + '_ {
        let position = |step| self.position(step);
        let pairs = self.observed.iter();
        pairs.map(move |&(store, load)| (position(store), position(load)))
    }

    /// Steps at which facts contradict each other by no fault that could be found, in sequence
    /// order: nothing was concluded there.
    pub fn conflicts(&self) -> impl Iterator<Item = Position> + '_ {
        self.conflicts.iter().map(|&step| self.position(step))
    }

    /// The global step at a position: the step itself, or for the end of a thread the end of all.
    pub(super) fn global(&self, at: Position) -> Option<u32> {
        let segments = self.segments.get(at.thread as usize)?;
        let index = segments
            .partition_point(|&(first, _)| first <= at.step)
            .checked_sub(1)?;
        let (first, global) = segments[index];
        let end = segments.get(index + 1).map(|next| next.0);
        let segment = self.graph.segment_of(global);
        let segment_end = self
            .graph
            .segments
            .get(segment + 1)
            .map_or(self.graph.steps.len() as u32, |next| next.global);
        let mut step = u64::from(global) + (at.step - first);
        for &part in self.graph.parts_in(global, segment_end) {
            step += u64::from(u64::from(part) <= step);
        }
        match end {
            None if step >= u64::from(segment_end) => Some(self.graph.steps.len() as u32),
            _ => Some(step as u32),
        }
    }

    pub(super) fn value(&self, node: u32) -> Value {
        let mut value = self.learned(node);
        if self.trust > Grade::Certain {
            value.certain = 0;
        }
        if self.trust > Grade::Assumed {
            value.assumed = 0;
        }
        value
    }

    /// What a node holds, by the grades in which it was learned.
    pub(super) fn learned(&self, node: u32) -> Value {
        if node == NONE {
            return Value::default();
        }
        let Bits { known, value } = self.graph.nodes.bits[node as usize];
        let grade = |masks: &[u64]| masks.get(node as usize).copied().unwrap_or(0) & known;
        Value {
            bits: value,
            known,
            certain: grade(&self.certain),
            assumed: grade(&self.assumed),
        }
    }

    /// What is known of a grade, or of a better one, is shown as such.
    fn is_trusted(&self, known: u8, grade: Grade) -> bool {
        known <= grade as u8 && self.trust <= grade
    }

    fn access_view(&self, access: &Access) -> AccessView {
        let placed = access.state == AccessState::Placed;
        let size = access.size;
        AccessView {
            address: placed.then_some(Address(access.address)),
            address_certain: placed && self.is_trusted(access.phase, Grade::Certain),
            address_assumed: placed && self.is_trusted(access.phase, Grade::Assumed),
            size,
            store: access.kind.writes(),
            value: self.value(access.node).masked(mask(u32::from(size) * 8)),
        }
    }

    /// Operands of a string instruction and what the kernel wrote at a step, as far as they are placed:
    /// by pieces of at most 8 bytes, in ascending order within each operand.
    pub fn long_accesses(&self, at: Position) -> Vec<AccessView> {
        self.pieces(at, |_| true)
    }

    /// The pieces of accesses of any length of such kinds.
    fn pieces(&self, at: Position, of: impl Fn(AccessKind) -> bool) -> Vec<AccessView> {
        let step = self
            .global(at)
            .filter(|&step| (step as usize) < self.graph.steps.len());
        let ids = step.map_or(0..0, |step| self.graph.accesses_of(step));
        let ids = ids.filter(|&id| of(self.graph.accesses[id as usize].kind));
        let wides = ids.filter_map(|id| Some((id, self.wides.get(&id)?)));
        let entries =
            wides.flat_map(|(id, wide)| wide.entries.iter().map(move |&entry| (id, entry)));
        entries
            .map(|(id, entry)| self.piece(&self.graph.accesses[id as usize], entry))
            .collect()
    }

    /// A step may write memory that none of its accesses names: it is no known system call, or not
    /// modelled, or the length of a string is not known, or steps are missing before it.
    pub fn writes_elsewhere(&self, at: Position) -> bool {
        let step = self
            .global(at)
            .filter(|&step| (step as usize) < self.graph.steps.len());
        let Some(step) = step else { return false };
        let pending = |id: u32| {
            let access = &self.graph.accesses[id as usize];
            access.size == 0 && access.kind.writes() && access.state == AccessState::Pending
        };
        let wrote = |id: u32| {
            let access = &self.graph.accesses[id as usize];
            access.kind.writes() && access.state != AccessState::Absent
        };
        // What a part of an instruction wrote is no position's own.
        let behind = (step + 1..).take_while(|&next| !self.graph.is_traced(next));
        self.graph.accesses_of(step).any(pending)
            || behind
                .flat_map(|next| self.graph.accesses_of(next))
                .any(wrote)
    }

    fn piece(&self, access: &Access, entry: u32) -> AccessView {
        let entry = &self.entries[entry as usize];
        let first = entry.bytes.trailing_zeros();
        let size = entry.bytes.count_ones() as u8;
        let number = self.cells[entry.cell as usize].number;
        let value = self.value(entry.node);
        let part = |bits: u64| (bits >> (8 * first)) & mask(u32::from(size) * 8);
        AccessView {
            address: Some(Address(number * CELL + u64::from(first))),
            address_certain: self.is_trusted(access.phase, Grade::Certain),
            address_assumed: self.is_trusted(access.phase, Grade::Assumed),
            size,
            store: access.kind.writes(),
            value: Value {
                bits: part(value.bits),
                known: part(value.known),
                certain: part(value.certain),
                assumed: part(value.assumed),
            },
        }
    }

    /// The first access at or after a global step.
    pub(super) fn next_access(&self, step: u32) -> u32 {
        let all = self.graph.accesses.len() as u32;
        self.graph
            .steps
            .get(step as usize)
            .map_or(all, |step| step.access)
    }

    /// What an entry says about a byte of its cell, `position` accesses away from it.
    fn entry_byte(&self, entry: &Entry, byte: u64, gap: (u32, u32)) -> Value {
        let whole = self.value(entry.node);
        let of = |bits: u64| entry.to_cell(Bits::new(bits, u64::MAX)).known >> (8 * byte) & 0xff;
        let access = &self.graph.accesses[entry.order as usize];
        let value = entry.to_cell(Bits::new(whole.known, whole.bits)).value >> (8 * byte) & 0xff;
        let clear = |grade: Grade| {
            access.phase <= grade as u8 && self.pending[grade as usize].between(gap.0, gap.1) == 0
        };
        Value {
            bits: value,
            known: of(whole.known),
            certain: if clear(Grade::Certain) {
                of(whole.certain)
            } else {
                0
            },
            assumed: if clear(Grade::Assumed) {
                of(whole.assumed)
            } else {
                0
            },
        }
    }

    /// The entries of a byte around access `at`: the last before it, the first at or after it.
    pub(super) fn around(&self, cell: u32, byte: u64, at: u32) -> (Option<&Entry>, Option<&Entry>) {
        let all = self.timelines.of(cell).iter();
        let entry = |&id: &u32| &self.entries[id as usize];
        let touches = |entry: &&Entry| entry.bytes >> byte & 1 == 1;
        let split = all.as_slice().partition_point(|id| entry(id).order < at);
        let (before, after) = all.as_slice().split_at(split);
        let before = before.iter().rev().map(entry).find(touches);
        (before, after.iter().map(entry).find(touches))
    }

    /// The kernel may have written a byte at any time before an access, and may yet.
    fn is_kernels(&self, address: u64, now: u32) -> bool {
        let behind = address.saturating_add(1);
        self.lasting
            .iter()
            .any(|event| event.may_hit(address, behind, now))
    }

    /// What the dump says about a byte, seen from access `after` on.
    fn dump_byte(&self, dump: &dyn Memory, address: Address, after: u32) -> Value {
        let Some(&byte) = dump.bytes(address).and_then(|run| run.first()) else {
            return Value::default();
        };
        let end = self.graph.accesses.len() as u32;
        let protected = |grade: Grade| {
            let known = self.protection.as_ref().map(|of| &of[grade as usize]);
            dump.protected_len(address) > 0 && known.is_some_and(|of| of.is_over(after, address.0))
        };
        let constant = dump.constant_len(address) > 0;
        // The access at the position itself is still to come.
        let rests_on_path = |grade: Grade| {
            let unwritten = || self.pending[grade as usize].within(after, end) == 0;
            protected(grade) || unwritten()
        };
        let clear = |grade: Grade| constant || (self.trust <= grade && rests_on_path(grade));
        let known = |yes: bool| if yes { 0xff } else { 0 };
        Value {
            bits: u64::from(byte),
            known: 0xff,
            certain: known(clear(Grade::Certain)),
            assumed: known(clear(Grade::Assumed)),
        }
    }

    /// Why a node is not wholly known.
    fn why(&self, node: u32) -> Unknown {
        if node == NONE {
            return Unknown::Overwritten;
        }
        let step = self.graph.nodes.def[node as usize];
        if step == NONE {
            return Unknown::BeforeWindow;
        }
        let effect = self.graph.effect(step);
        let loads = self
            .graph
            .accesses_of(step)
            .map(|id| &self.graph.accesses[id as usize]);
        let load = loads
            .clone()
            .find(|access| access.node == node && access.kind == AccessKind::Load);
        match load {
            _ if !effect.modelled => Unknown::Unsupported,
            _ if effect.flow == Flow::Syscall => Unknown::Syscall,
            Some(access) if access.state == AccessState::Pending => Unknown::AddressUnknown,
            Some(_) => Unknown::Overwritten,
            None => Unknown::NotInvertible,
        }
    }
}

impl Recovered for History {
    fn register(&self, at: Position, word: RegWord) -> Value {
        let Some(global) = self.global(at) else {
            return Value::default();
        };
        let versions = &self.graph.versions[at.thread as usize];
        let node = versions.at(usize::from(word.0), global);
        // RFLAGS words carry relations of the lowering above their 32 bits (`lift`).
        let shown = if word == RegWord::FLAGS {
            mask(32) & !u64::from(versions.stale_at(global))
        } else {
            u64::MAX
        };
        self.value(node).masked(shown)
    }

    fn why_unknown(&self, at: Position, word: RegWord) -> Unknown {
        let Some(global) = self.global(at) else {
            return Unknown::TraceGap;
        };
        let versions = &self.graph.versions[at.thread as usize];
        if versions.words[usize::from(word.0)].is_empty() {
            return Unknown::NotInDump;
        }
        self.why(versions.at(usize::from(word.0), global))
    }

    fn accesses(&self, at: Position) -> Vec<AccessView> {
        let Some(step) = self
            .global(at)
            .filter(|&step| (step as usize) < self.graph.steps.len())
        else {
            return Vec::new();
        };
        self.graph
            .accesses_of(step)
            .map(|id| &self.graph.accesses[id as usize])
            .filter(|access| access.size > 0 && access.state != AccessState::Absent)
            // What the kernel reads for a system call is no operand.
            .filter(|access| self.graph.effect(access.step).flow != Flow::Syscall)
            .map(|access| self.access_view(access))
            .collect()
    }

    fn string_accesses(&self, at: Position) -> Vec<AccessView> {
        let of_string = |kind| matches!(kind, AccessKind::StringLoad | AccessKind::StringStore);
        self.pieces(at, of_string)
    }

    fn memory(&self, at: Position, address: Address, dump: &dyn Memory) -> Value {
        let Some(step) = self.global(at) else {
            return Value::default();
        };
        let now = self.next_access(step);
        if self.is_kernels(address.0, now) {
            return Value::default();
        }
        let Some(&cell) = self.cell_index.get(&(address.0 / CELL)) else {
            return self.dump_byte(dump, address, now);
        };
        let byte = address.0 % CELL;
        let (before, after) = self.around(cell, byte, now);
        let later = match after {
            Some(entry) if entry.store => Value::default(),
            Some(entry) => self.entry_byte(entry, byte, (now.saturating_sub(1), entry.order)),
            None => self.dump_byte(dump, address, now),
        };
        let earlier = before.map_or_else(Value::default, |entry| {
            self.entry_byte(entry, byte, (entry.order, now))
        });
        let [first, second] = [before, after].map(|entry| entry.map_or(NONE, |entry| entry.order));
        if self.refuted.contains(&(first, second)) {
            // Somewhere in between the byte changes: neither side's value may be stretched so far.
            return earlier.unstretched().or(later.unstretched());
        }
        earlier.or(later)
    }
}
