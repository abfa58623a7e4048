//! Memory values: what one access of a place tells the next.
//!
//! Between two accesses of a byte with none in between, the byte keeps its value; a load therefore
//! holds what the access before it held. The dump is one more access at the end.

use super::cells::{CELL, Entry, spread};
use super::graph::{AccessKind, AccessState, NONE};
use super::kinds::LIKELY;
use super::tracking::Cause;
use super::{Engine, Grade};
use crate::bits::Bits;
use crate::experiment::Technique;

impl Engine<'_> {
    /// Enters an access whose address became known into the timelines of its cells.
    pub(super) fn place(&mut self, id: u32, address: u64) {
        self.mark_placed(id, address);
        let access = self.graph.accesses[id as usize];
        let (node, size, store) = (access.node, access.size, access.kind.writes());
        let offset = address % CELL;
        let here = u64::from(size).min(CELL - offset);
        let first = Piece {
            number: address / CELL,
            offset,
            size: here,
            shift: 8 * offset as i8,
        };
        self.enter(id, 0, node, store, first);
        let rest = u64::from(size) - here;
        if rest > 0 {
            let number = (address / CELL).wrapping_add(1) & (u64::MAX / CELL);
            let second = Piece {
                number,
                offset: 0,
                size: rest,
                shift: -8 * here as i8,
            };
            self.enter(id, 1, node, store, second);
        }
        self.settled(id);
        if self.cut_over(id) {
            self.tell(id);
        }
    }

    /// It is known where the access is.
    pub(super) fn is_placed(&self, id: u32) -> bool {
        self.graph.accesses[id as usize].state == AccessState::Placed
    }

    /// The access is at this address, known at the current grade from now on.
    pub(super) fn mark_placed(&mut self, id: u32, address: u64) {
        let clock = self.tracking.tick();
        let access = &mut self.graph.accesses[id as usize];
        access.state = AccessState::Placed;
        access.address = address;
        access.phase = self.grade as u8;
        access.clock = clock;
    }

    fn enter(&mut self, id: u32, part: usize, node: u32, store: bool, piece: Piece) {
        let cell = self.cells.cell(piece.number);
        let entry = Entry {
            order: id,
            cell,
            node,
            previous: NONE,
            next: NONE,
            shift: piece.shift,
            bytes: (((1u16 << piece.size) - 1) << piece.offset) as u8,
            store,
            bridged: false,
        };
        self.graph.accesses[id as usize].entries[part] = self.insert_entry(entry);
    }

    /// Adds an entry to its timeline.
    pub(super) fn insert_entry(&mut self, entry: Entry) -> u32 {
        let id = self.cells.insert(entry);
        let shape = self.kinds.shapes.of(entry.order);
        self.cells.shaped(entry.cell, shape);
        if self.threaded {
            let thread = self.graph.thread_of(entry.order);
            self.shared.added(id, thread, &self.cells, &self.graph);
        }
        if !entry.store && self.may_be_cut() {
            self.cells.entries[id as usize].bridged = self.is_bridged(id);
        }
        id
    }

    /// Takes an access whose address was retracted out of its timelines; it is pending again.
    pub(super) fn displace(&mut self, id: u32) {
        let entries = self.entries_of(id);
        self.wides.remove(&id);
        let access = &mut self.graph.accesses[id as usize];
        access.state = AccessState::Pending;
        access.told = 0;
        access.entries = [NONE; 2];
        let writes = access.kind.writes();
        if access.kind == AccessKind::Kernel {
            self.displace_kernel(id);
        }
        for entry in entries {
            let taken @ Entry { previous, next, .. } = self.cells.entries[entry as usize];
            self.cells.remove(entry);
            if self.threaded {
                self.shared.removed(taken, self.graph.thread_of(id));
            }
            for neighbour in [previous, next] {
                if neighbour != NONE {
                    self.block(self.cells.entries[neighbour as usize].order);
                }
            }
        }
        if writes {
            self.unsettled(id);
        }
    }

    /// The access is no longer pending.
    pub(super) fn settled(&mut self, id: u32) {
        self.doubt(id, None);
        self.pending.remove(id);
        self.kinds.settled(id);
        self.regard(id);
    }

    pub(super) fn unsettled(&mut self, id: u32) {
        self.pending.insert(id);
        self.kinds.unsettled(id);
        self.regard(id);
    }

    /// Exchanges what is known of an access with its neighbours in time.
    pub(super) fn tell(&mut self, id: u32) {
        let access = self.graph.accesses[id as usize];
        self.graph.accesses[id as usize].told = self.graph.nodes.bits[access.node as usize].known;
        for entry in access.entries {
            // A contradiction on the way may have displaced the access itself.
            if entry == NONE || !self.is_placed(id) {
                continue;
            }
            let entry = self.cells.entries[entry as usize];
            self.tell_entry(entry);
        }
    }

    /// Exchanges what is known of one entry with its neighbours in time.
    pub(super) fn tell_entry(&mut self, entry: Entry) {
        self.tell_constant(entry);
        if !entry.store {
            self.tell_before(entry);
        }
        self.tell_after(entry);
    }

    /// Bytes that never changed.
    fn tell_constant(&mut self, entry: Entry) {
        let cell = self.cells.cells[entry.cell as usize];
        let mut constant = cell.constant;
        if cell.protected != 0 && self.is_protected(entry.order, cell.number.wrapping_mul(CELL)) {
            constant |= cell.protected & cell.last.known;
        }
        let constant = Bits::new(constant & spread(entry.bytes), cell.last.value);
        if constant.known != 0 && !entry.store {
            let cause = Cause::Step(self.graph.accesses[entry.order as usize].step);
            if self
                .learn(entry.node, entry.to_node(constant), cause)
                .is_err()
            {
                self.conflict_at(self.graph.accesses[entry.order as usize].step);
            }
        }
    }

    /// A load holds what the accesses before it held, or what the kernel put into fresh memory.
    fn tell_before(&mut self, entry: Entry) {
        let cell = self.cells.cells[entry.cell as usize];
        let address = cell.number.wrapping_mul(CELL);
        let mut left = entry.bytes;
        let mut previous = entry.previous;
        while left != 0 {
            previous = self.cells.touching_before(previous, left);
            let earlier = self.cells.entries.get(previous as usize).copied();
            // What was accessed before another mapping was made lay in that of before.
            let earlier = earlier.filter(|earlier| {
                let between = self.remapped_between(earlier.order, entry.order, address);
                between.is_none()
            });
            let Some(earlier) = earlier else {
                return self.tell_fresh(entry, left);
            };
            self.exchange(earlier, entry, left & earlier.bytes);
            left &= !earlier.bytes;
            previous = earlier.previous;
        }
    }

    /// The first access of bytes that were mapped, or that the process began with, holds those.
    fn tell_fresh(&mut self, entry: Entry, bytes: u8) {
        let address = self.cells.cells[entry.cell as usize]
            .number
            .wrapping_mul(CELL);
        let Some((order, bits)) = self.fresh_memory(entry.order, address) else {
            let assumed = self.graph.begins || !self.graph.files.is_empty();
            if assumed && self.grade == Grade::Certain {
                self.block(entry.order);
            }
            return;
        };
        // Programs seldom read what nothing wrote: it passes no store that may hit the place.
        if self.counted(address, order, entry.order) > 0 {
            self.wait(entry.order, address, order, entry.order);
            return;
        }
        let bits = Bits::new(bits.known & spread(bytes), bits.value);
        if self.without.has(Technique::Forward) || !self.passes_fresh(order, entry) {
            return;
        }
        if self
            .learn(
                entry.node,
                entry.to_node(bits),
                Cause::Transfer(entry.order),
            )
            .is_err()
        {
            self.transfer_conflict(order, entry.order, &[entry.node]);
        }
    }

    /// May what memory held when it was mapped pass to its first access in this stage?
    pub(super) fn passes_fresh(&mut self, order: u32, first: Entry) -> bool {
        let mapped = Entry {
            order,
            store: true,
            ..first
        };
        self.passes(mapped, first.order) && (!self.threaded || self.unraced(mapped, Some(first)))
    }

    /// Loads after an access hold what it held, up to the next store; so does the dump.
    fn tell_after(&mut self, entry: Entry) {
        let mut left = entry.bytes;
        let mut next = entry.next;
        while left != 0 {
            next = self.cells.touching_after(next, left);
            if next == NONE {
                return self.exchange_final(entry, left);
            }
            let later = self.cells.entries[next as usize];
            if !later.store {
                self.exchange(entry, later, left & later.bytes);
            }
            left &= !later.bytes;
            next = later.next;
        }
    }

    /// Two accesses that hold the same bytes tell each other.
    fn exchange(&mut self, earlier: Entry, later: Entry, bytes: u8) {
        let (a, b) = (self.at_cell(earlier, bytes), self.at_cell(later, bytes));
        if a.known == b.known && a == b {
            return;
        }
        if !self.passes(earlier, later.order) {
            return;
        }
        if self.threaded && !self.unraced(earlier, Some(later)) {
            return self.resolve_race(later);
        }
        let cause = Cause::Transfer(later.order);
        let forward = !self.without.has(Technique::Forward);
        if (forward && self.learn(later.node, later.to_node(a), cause).is_err())
            || (!self.is_forward() && self.learn(earlier.node, earlier.to_node(b), cause).is_err())
        {
            self.transfer_conflict(earlier.order, later.order, &[earlier.node, later.node]);
        }
    }

    /// The last access of a byte holds what the dump holds.
    fn exchange_final(&mut self, entry: Entry, bytes: u8) {
        if self.is_forward() {
            return;
        }
        let last = self.cells.cells[entry.cell as usize].last;
        let last = Bits::new(last.known & spread(bytes), last.value);
        let now = self.at_cell(entry, bytes);
        if last.known & !now.known == 0 && (last.value ^ now.value) & last.known == 0 {
            return;
        }
        if !self.passes(entry, NONE) || (self.threaded && !self.unraced(entry, None)) {
            return;
        }
        if self
            .learn(entry.node, entry.to_node(last), Cause::Final(entry.order))
            .is_err()
        {
            self.transfer_conflict(entry.order, NONE, &[entry.node]);
        }
    }

    fn at_cell(&self, entry: Entry, bytes: u8) -> Bits {
        let bits = entry.to_cell(self.graph.nodes.bits[entry.node as usize]);
        Bits::new(bits.known & spread(bytes), bits.value)
    }

    /// May a value pass from one access to a later one (`NONE`: the dump) in this stage?
    pub(super) fn passes(&mut self, earlier: Entry, later: u32) -> bool {
        if self.is_unproved(later) {
            return false;
        }
        let end = later.min(self.graph.accesses.len() as u32);
        let address = self.address_of(earlier.cell);
        if self.is_barred(address, earlier.order, end) {
            let id = if later == NONE { earlier.order } else { later };
            self.wait(id, address, earlier.order, end);
            return false;
        }
        self.is_kept(earlier.order, later, address)
    }

    /// More pending stores are in the way of a value than it may pass in this stage.
    pub(super) fn is_barred(&self, address: u64, after: u32, before: u32) -> bool {
        let passed = self.counted(address, after, before);
        passed > self.limit || passed == LIKELY
    }

    /// The place was the same memory from an access to a later one (`NONE`: the dump), which the kernel did not
    /// write, and that a value passes between them was not refuted.
    pub(super) fn is_kept(&self, earlier: u32, later: u32, address: u64) -> bool {
        let end = later.min(self.graph.accesses.len() as u32);
        self.remapped_between(earlier, end, address).is_none()
            && !self.lasting_before((later != NONE).then_some(later), address)
            && !self.refuted.contains(&(earlier, later))
    }
}

/// The part of an access that lies in one cell.
struct Piece {
    number: u64,
    offset: u64,
    size: u64,
    shift: i8,
}
