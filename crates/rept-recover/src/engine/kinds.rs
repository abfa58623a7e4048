//! Which pending stores may plausibly hit a place: an instruction mostly writes the kind of memory
//! that it is known to write at its other executions.
//!
//! DIVERGENCE: not in the paper. Used from the inferred grade on only, where it decides how many
//! pending stores a memory value passes.

use super::Engine;
use super::aim::{Aim, Reach};
use super::cells::CELL;
use super::graph::{AccessKind, AccessState, Graph, NONE};
use super::pending::PendingSet;
use super::shapes::{MAX_SHAPES, Passed, Shape, Shapes};
use hashbrown::HashMap;
use rept_trace::{Mapping, RegWord};
use smallvec::SmallVec;

/// Kinds of memory.
pub(super) const KINDS: usize = 16;
/// All of them, one bit each.
const ALL_KINDS: u16 = u16::MAX >> (u16::BITS as usize - KINDS);
/// The kind of memory that belongs to no file, where mappings are made: large blocks, arenas.
const MAPPED: u8 = 0;
/// The kind of the threads' stacks: one lost stack pointer makes all their stores pending at once.
const STACK: usize = 1;
/// The kind of the heap, below everything that is mapped.
const HEAP: u8 = 2;
/// The kind of the data of the first file; each file has one of its own, as far as they go.
const FIRST_FILE: u8 = 3;
/// Mappings at lower addresses that belong to no file are the heap.
const ABOVE_HEAP: u64 = 0x7000_0000_0000;
/// A mapping of at most this many bytes right behind a file's is its data that begins as zero.
const MAX_ZERO_DATA: u64 = 1 << 20;
/// Executions that must be known before they speak for the others.
const ENOUGH: u32 = 2;

/// What an instruction is known to write.
#[derive(Clone, Default)]
pub(super) struct Observed {
    kinds: u16,
    times: u32,
    /// The cells that it writes, and of more than [`FEW_CELLS`] one more than that.
    cells: SmallVec<[u64; FEW_CELLS]>,
    /// In a recording of several threads.
    pub(super) reach: Reach,
}

impl Observed {
    /// Too little is known of the instruction.
    pub(super) fn is_strange(&self) -> bool {
        self.times < ENOUGH
    }
}

/// The pending stores that may hit each kind of memory.
#[derive(Default)]
pub(super) struct Kinds {
    /// Mappings as (start, end, kind), ascending.
    regions: Vec<(u64, u64, u8)>,
    /// Kinds that the store of an access may hit, one bit each.
    may_hit: Vec<u16>,
    pending: [PendingSet; KINDS],
    /// Instructions that are known to write a cell, and few others, as numbers among those that store.
    writers: HashMap<u64, SmallVec<[u32; 2]>>,
    /// All stores, ascending, and the number of the instruction of each among those that store.
    all_stores: Vec<(u32, u32)>,
    /// The stores of each instruction that stores, ascending.
    stores: Vec<Vec<u32>>,
    /// Where the stores went in the round before.
    expected: Vec<Option<u64>>,
    /// The stores that are expected in a cell, ascending.
    expected_in: HashMap<u64, Vec<u32>>,
    /// What the stores of other instructions aim at.
    pub(super) aims: Vec<Aim>,
    /// The same stores by their shapes.
    pub(super) shapes: Shapes,
    /// Visits, moment and budget when all this was observed: nothing is placed or displaced without one of them.
    observed_at: Option<(u64, u32, u64)>,
}

/// A pending store between two accesses is likely to have hit the place.
pub(super) const LIKELY: u32 = u32::MAX;
/// Bytes of a range at most in which a pending store is likely to have hit each place.
pub(super) const CLOSE: u64 = 128;
/// Pending stores that may be anywhere, to be as likely to have hit a place as one that, if it was made at all,
/// was made there. Measured on twelve recordings: one for one, register reads of a parser were 8 %
/// wrong, by what lay on the stack where XSAVEC wrote later; never passed, threads lost 8 % of what was right.
const AT_ITS_PLACE: u32 = 256;
/// Cells that an instruction writes at most, to be likely to write one of them again.
const FEW_CELLS: usize = 4;
/// Stores between two accesses that are looked at.
const MAX_LOOKED_AT: usize = 64;

impl Kinds {
    pub(super) fn new(graph: &Graph, mappings: &[Mapping], stack_pointers: &[u64]) -> Kinds {
        let mut kinds_of = KindsOf::default();
        let regions = mappings.iter().map(|mapping| {
            let range = mapping.start.0..mapping.end.0;
            let stack = stack_pointers.iter().any(|rsp| range.contains(rsp));
            let kind = kinds_of.next(mapping, stack);
            (range.start, range.end, kind)
        });
        let (all_stores, stores) = stores_of(graph);
        Kinds {
            all_stores,
            stores,
            regions: regions.filter(|&(_, _, kind)| kind != MAPPED).collect(),
            shapes: Shapes::new(graph),
            ..Kinds::default()
        }
    }

    pub(super) fn kind(&self, address: u64) -> usize {
        let after = self
            .regions
            .partition_point(|&(start, _, _)| start <= address);
        match after.checked_sub(1).map(|index| self.regions[index]) {
            Some((_, end, kind)) if address < end => usize::from(kind),
            _ => 0,
        }
    }

    /// The address is in the heap or in the data of a file.
    pub(super) fn is_object(&self, address: u64) -> bool {
        ![usize::from(MAPPED), STACK].contains(&self.kind(address))
    }

    /// Two addresses are of one kind of memory.
    pub(super) fn are_alike(&self, a: u64, b: u64) -> bool {
        self.kind(a) == self.kind(b)
    }

    /// Pending stores strictly between two accesses that may plausibly hit an address, as
    /// [`Passed::count`] has it; [`LIKELY`] when one belongs to an instruction that is known to
    /// write that very place.
    pub(super) fn between(
        &self,
        address: u64,
        after: u32,
        before: u32,
        pending: &PendingSet,
        shapes: &[Shape],
    ) -> u32 {
        if self.is_likely(address, after, before, |id| pending.contains(id)) {
            return LIKELY;
        }
        self.passed(address, after, before, shapes).count()
    }

    /// Pending stores strictly between two accesses that may plausibly hit an address, whose cell
    /// was accessed in these shapes.
    pub(super) fn passed(&self, address: u64, after: u32, before: u32, shapes: &[Shape]) -> Passed {
        let kind = self.kind(address);
        let all = self.pending[kind].between(after, before);
        let alike = if all == 0 || shapes.len() > MAX_SHAPES {
            all
        } else {
            self.shapes.between(shapes, kind, after, before).min(all)
        };
        Passed {
            alike,
            others: all - alike,
        }
    }

    /// One of the stores strictly between two accesses that `counts` is likely to have hit an
    /// address: it is expected there, or its instruction is known to write that very place.
    pub(super) fn is_likely(
        &self,
        address: u64,
        after: u32,
        before: u32,
        counts: impl Fn(u32) -> bool + Copy,
    ) -> bool {
        let cell = address / CELL;
        let mut expected = self.expected_in.get(&cell).into_iter();
        if expected.any(|stores| some_between(stores, after, before, counts)) {
            return true;
        }
        if self.kind(address) == STACK {
            return false;
        }
        let writers = self.writers.get(&cell).into_iter().flatten();
        let mut stores = writers.map(|&writer| &self.stores[writer as usize]);
        stores.any(|stores| some_between(stores, after, before, counts))
    }

    /// Takes the places of stores as those where they will be found again.
    pub(super) fn expect(&mut self, places: &[Option<(u64, u8)>]) {
        self.observed_at = None;
        self.expected.clear();
        self.expected_in.clear();
        for (place, id) in places.iter().zip(0..) {
            self.expected.push(place.map(|(address, _)| address));
            let Some((address, size)) = place else {
                continue;
            };
            let last = address.wrapping_add(u64::from(size.saturating_sub(1))) / CELL;
            self.expected_in.entry(address / CELL).or_default().push(id);
            if last != address / CELL {
                self.expected_in.entry(last).or_default().push(id);
            }
        }
    }

    /// Where the store of an access is expected.
    pub(super) fn expected(&self, id: usize) -> Option<u64> {
        self.expected.get(id).copied().flatten()
    }

    /// The instruction of a store, as number among those that store.
    pub(super) fn writer(&self, store: u32) -> Option<usize> {
        let all = &self.all_stores;
        let index = all.binary_search_by_key(&store, |&(id, _)| id).ok()?;
        Some(all[index].1 as usize)
    }

    /// Finds the instructions that write few cells.
    fn find_writers(&mut self, observed: &[Observed]) {
        self.writers.clear();
        for (writer, seen) in (0..).zip(observed) {
            if seen.cells.len() <= FEW_CELLS {
                for &cell in &seen.cells {
                    self.writers.entry(cell).or_default().push(writer);
                }
            }
        }
    }

    /// Counts these pending stores, ascending, for each kind that they may hit.
    fn count(&mut self, pending: &[u32], may_hit: Vec<u16>) {
        self.shapes.observe(&may_hit, pending);
        for (kind, set) in self.pending.iter_mut().enumerate() {
            if set.is_empty() {
                *set = PendingSet::without_members(may_hit.len());
            }
            let hits = pending.iter().copied();
            set.refill(hits.filter(|&id| may_hit[id as usize] >> kind & 1 == 1));
        }
        self.may_hit = may_hit;
    }

    pub(super) fn settled(&mut self, id: u32) {
        if !self.may_hit.is_empty() {
            self.pending
                .iter_mut()
                .for_each(|pending| pending.remove(id));
            self.shapes.settled(id);
        }
    }

    pub(super) fn unsettled(&mut self, id: u32) {
        let Some(&may_hit) = self.may_hit.get(id as usize) else {
            return;
        };
        self.shapes.unsettled(id, may_hit);
        for (kind, pending) in self.pending.iter_mut().enumerate() {
            if may_hit >> kind & 1 == 1 {
                pending.insert(id);
            }
        }
    }
}

/// Gives mappings their kinds, in ascending order.
#[derive(Default)]
struct KindsOf<'a> {
    files: Vec<&'a str>,
    /// End and kind of the mapping before, if it is of a file.
    before: Option<(u64, u8)>,
}

impl<'a> KindsOf<'a> {
    fn next(&mut self, mapping: &'a Mapping, stack: bool) -> u8 {
        let before = self.before.take();
        if stack {
            return STACK as u8;
        }
        if let Some(file) = mapping.file.as_deref() {
            let known = self.files.iter().position(|&other| other == file);
            let index = known.unwrap_or_else(|| {
                self.files.push(file);
                self.files.len() - 1
            });
            let kinds = KINDS - usize::from(FIRST_FILE);
            let kind = FIRST_FILE + (index % kinds) as u8;
            self.before = Some((mapping.end.0, kind));
            return kind;
        }
        let (start, bytes) = (mapping.start.0, mapping.end.0 - mapping.start.0);
        match before {
            Some((end, kind)) if end == start && bytes <= MAX_ZERO_DATA => kind,
            _ if start < ABOVE_HEAP => HEAP,
            _ => MAPPED,
        }
    }
}

/// All stores, ascending, and for each the number of its instruction among those that store; and the stores of
/// each of these.
fn stores_of(graph: &Graph) -> (Vec<(u32, u32)>, Vec<Vec<u32>>) {
    let mut all = Vec::new();
    let mut by_writer: Vec<Vec<u32>> = Vec::new();
    let mut writers = vec![NONE; graph.effects.len()];
    for (id, access) in (0..).zip(&graph.accesses) {
        if access.kind == AccessKind::Store {
            let writer = &mut writers[graph.instruction(access.step) as usize];
            if *writer == NONE {
                *writer = by_writer.len() as u32;
                by_writer.push(Vec::new());
            }
            all.push((id, *writer));
            by_writer[*writer as usize].push(id);
        }
    }
    (all, by_writer)
}

/// One of the stores (ascending) that `counts` is strictly between two accesses.
fn some_between(stores: &[u32], after: u32, before: u32, counts: impl Fn(u32) -> bool) -> bool {
    let first = stores.partition_point(|&id| id <= after);
    let between = stores[first..].iter().take_while(|&&id| id < before);
    between.take(MAX_LOOKED_AT).any(|&id| counts(id))
}

impl Engine<'_> {
    /// Learns from the stores placed so far what the pending ones may hit.
    pub(super) fn observe_kinds(&mut self) {
        let visits = self.statistics.visits;
        let now = Some((visits, self.tracking.now(), self.tracking.budget));
        if self.kinds.observed_at == now {
            return;
        }
        self.kinds.observed_at = now;
        let observed = self.observed_instructions();
        self.kinds.find_writers(&observed);
        let mut may_hit = std::mem::take(&mut self.kinds.may_hit);
        if may_hit.is_empty() {
            let kinds = self.graph.accesses.iter().map(|access| access.kind);
            may_hit.extend(kinds.map(|kind| if kind.writes() { ALL_KINDS } else { 0 }));
        }
        for &(id, writer) in &self.kinds.all_stores {
            let seen = &observed[writer as usize];
            may_hit[id as usize] = match self.kinds.expected(id as usize) {
                Some(_) => 0,
                None if seen.is_strange() => ALL_KINDS,
                None => seen.kinds,
            };
        }
        self.kinds.aims = self.aims(&observed);
        // Those of which nothing better is known than what their instructions write.
        let pending = self.pending.members();
        let pending: Vec<u32> = pending
            .filter(|&id| !self.conditional.contains(id) && !self.ranges.is_narrow(id))
            .collect();
        self.kinds.count(&pending, may_hit);
    }

    /// What each instruction that stores is known to write.
    fn observed_instructions(&self) -> Vec<Observed> {
        let mut observed = vec![Observed::default(); self.kinds.stores.len()];
        for &(id, writer) in &self.kinds.all_stores {
            let access = self.graph.accesses[id as usize];
            let placed = (access.state == AccessState::Placed).then_some(access.address);
            let Some(address) = placed.or(self.kinds.expected(id as usize)) else {
                continue;
            };
            let kind = self.kinds.kind(address);
            let seen = &mut observed[writer as usize];
            seen.kinds |= 1 << kind;
            seen.times += 1;
            let elsewhere = self.threaded
                && (kind >= usize::from(FIRST_FILE)
                    || self.is_on_stack_of_another(self.graph.thread_of(id), address));
            if elsewhere {
                seen.reach.extend_to(kind, address, access.size);
            }
            let cell = address / CELL;
            if seen.cells.len() <= FEW_CELLS && !seen.cells.contains(&cell) {
                seen.cells.push(cell);
            }
        }
        observed
    }

    /// Pending stores that count between a placed access and a later one (`NONE`: the dump).
    pub(super) fn counted_between(&self, earlier: u32, later: u32) -> u32 {
        let end = later.min(self.graph.accesses.len() as u32);
        let address = self.graph.accesses[earlier as usize].address;
        self.counted(address, earlier, end)
    }

    /// Pending stores strictly between two accesses that count for a place in the current grade.
    pub(super) fn counted(&self, address: u64, after: u32, before: u32) -> u32 {
        if let Some(counted) = self.counted_side_by_side(address, after, before) {
            return counted;
        }
        let between = after.saturating_add(1)..before;
        let conditional = self.conditional.here(address, between.clone(), |_| true);
        let here = conditional + self.ranged_here(address, between.clone());
        if self.grade == super::Grade::Inferred {
            if self.ranges.here(address, between, CLOSE, |_| true) > 0 {
                return LIKELY;
            }
            let here = here + (AT_ITS_PLACE - 1) * conditional;
            let shapes = self.cells.shapes(address / CELL);
            let others = self
                .kinds
                .between(address, after, before, &self.pending, shapes);
            others.saturating_add(here)
        } else {
            self.plain.between(after, before) + here
        }
    }
}

/// The stack pointers of a dump's threads.
pub(super) fn stack_pointers(last: &rept_trace::FinalState<'_>) -> Vec<u64> {
    last.threads
        .iter()
        .filter_map(|thread| thread.get(RegWord::RSP))
        .collect()
}
