//! Memory: for each cell of eight aligned bytes, the timeline of the accesses that touch it.
//!
//! Accesses enter when their address becomes known and leave when it is retracted. An entry
//! knows its neighbours; a hash map finds the cell, a tree finds the neighbours of a new entry.

use super::graph::NONE;
use super::shapes::{MAX_SHAPES, NO_SHAPE, Shape, ShapeSet};
use crate::bits::{Bits, mask};
use hashbrown::HashMap;
use rept_trace::{Address, Memory};
use std::collections::BTreeMap;

/// Bytes of a cell.
pub(crate) const CELL: u64 = 8;

/// One access's part in the timeline of a cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Id of the access, its place in the sequence.
    pub(crate) order: u32,
    pub(crate) cell: u32,
    /// Node that holds the bytes.
    pub(crate) node: u32,
    pub(crate) previous: u32,
    pub(crate) next: u32,
    /// Left shift in bits that brings the node's bytes to their place in the cell; negative: right.
    pub(crate) shift: i8,
    /// Bytes of the cell that are touched, one bit each.
    pub(crate) bytes: u8,
    pub(crate) store: bool,
    /// A load that was placed between accesses that had told each other already; see the module `bridged`.
    pub(crate) bridged: bool,
}

/// One bit a byte, spread to eight bits a byte.
pub(crate) fn spread(bytes: u8) -> u64 {
    // Each bit to the low bit of its byte (a multiplication places seven copies), then filled up.
    let low = u64::from(bytes & 0x7f).wrapping_mul(0x0002_0408_1020_4081) & 0x0001_0101_0101_0101;
    (low | (u64::from(bytes >> 7) << 56)) * 0xff
}

impl Entry {
    /// What a node's bits say about the cell.
    pub(crate) fn to_cell(self, node: Bits) -> Bits {
        let shifted = |x: u64| {
            if self.shift >= 0 {
                x << self.shift
            } else {
                x >> -self.shift
            }
        };
        Bits::new(
            shifted(node.known) & spread(self.bytes),
            shifted(node.value),
        )
    }

    /// What the cell's bits say about the node; `cell` holds bits of this entry's bytes only.
    pub(crate) fn to_node(self, cell: Bits) -> Bits {
        let shifted = |x: u64| {
            if self.shift >= 0 {
                x >> self.shift
            } else {
                x << -self.shift
            }
        };
        Bits::new(
            shifted(cell.known & spread(self.bytes)),
            shifted(cell.value),
        )
    }
}

/// Eight aligned bytes of memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    /// Address / 8.
    pub(crate) number: u64,
    /// What the dump says.
    pub(crate) last: Bits,
    /// Bits that cannot have changed during the window.
    pub(crate) constant: u64,
    /// Bits that cannot have changed since they were protected; see `protect`.
    pub(crate) protected: u64,
    pub(crate) head: u32,
    pub(crate) tail: u32,
    /// The entry added most recently: sweeps add neighbours one after the other.
    hint: u32,
}

/// Entries of a timeline that are looked at one after the other, before an index is asked for those that
/// touch certain bytes.
const NEAR: usize = 16;

/// The entries of one cell by the bytes that they touch, as order and entry.
type ByByte = [BTreeMap<u32, u32>; CELL as usize];

/// The timelines.
pub(crate) struct Cells<'a> {
    memory: &'a dyn Memory,
    index: HashMap<u64, u32>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) entries: Vec<Entry>,
    free: Vec<u32>,
    tree: BTreeMap<(u32, u32), u32>,
    /// Cells in which some bytes are touched far more often than others.
    by_byte: HashMap<u32, Box<ByByte>>,
    /// The shapes in which each cell was ever accessed.
    shapes: Vec<ShapeSet>,
}

impl<'a> Cells<'a> {
    pub(crate) fn new(memory: &'a dyn Memory) -> Cells<'a> {
        Cells {
            memory,
            index: HashMap::new(),
            cells: Vec::new(),
            entries: Vec::new(),
            free: Vec::new(),
            tree: BTreeMap::new(),
            by_byte: HashMap::new(),
            shapes: Vec::new(),
        }
    }

    /// The cell with this number (address / 8), made on first use.
    pub(crate) fn cell(&mut self, number: u64) -> u32 {
        if let Some(&cell) = self.index.get(&number) {
            return cell;
        }
        let (last, constant) = final_bits(self.memory, number * CELL);
        let protected = protected_bits(self.memory, number * CELL);
        let cell = self.cells.len() as u32;
        self.cells.push(Cell {
            number,
            last,
            constant,
            protected,
            head: NONE,
            tail: NONE,
            hint: NONE,
        });
        self.index.insert(number, cell);
        self.shapes.push(ShapeSet::new());
        cell
    }

    /// The cell with this number, if it was ever accessed.
    pub(crate) fn find(&self, number: u64) -> Option<u32> {
        self.index.get(&number).copied()
    }

    /// The cells that lie in a range of addresses, in no order.
    pub(crate) fn within(&self, start: u64, end: u64) -> impl Iterator<Item = u32> + '_ {
        let (first, behind) = (start / CELL, end.div_ceil(CELL));
        // A range may be far larger than what of it was touched.
        let by_number = (behind.saturating_sub(first) <= self.cells.len() as u64)
            .then(|| (first..behind).filter_map(|number| self.index.get(&number).copied()));
        let by_cell = by_number.is_none().then(|| {
            let all = self.cells.iter().zip(0..);
            all.filter(move |(cell, _)| (first..behind).contains(&cell.number))
                .map(|(_, id)| id)
        });
        by_number
            .into_iter()
            .flatten()
            .chain(by_cell.into_iter().flatten())
    }

    /// The shapes in which the cell with this number was accessed: more than [`MAX_SHAPES`] for all.
    pub(crate) fn shapes(&self, number: u64) -> &[Shape] {
        let cell = self.index.get(&number);
        cell.map_or(&[], |&cell| &self.shapes[cell as usize])
    }

    /// A cell is accessed in this shape.
    pub(crate) fn shaped(&mut self, cell: u32, shape: Shape) {
        let shapes = &mut self.shapes[cell as usize];
        if shape != NO_SHAPE && shapes.len() <= MAX_SHAPES && !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }

    /// The dump.
    pub(crate) fn memory(&self) -> &dyn Memory {
        self.memory
    }

    /// Cell numbers, cells and entries, for reading.
    pub(crate) fn into_parts(self) -> (HashMap<u64, u32>, Vec<Cell>, Vec<Entry>) {
        (self.index, self.cells, self.entries)
    }

    /// Adds an entry to its cell's timeline.
    pub(crate) fn insert(&mut self, mut entry: Entry) -> u32 {
        let previous = self.before(entry.cell, entry.order);
        let next = match previous {
            NONE => self.cells[entry.cell as usize].head,
            previous => self.entries[previous as usize].next,
        };
        (entry.previous, entry.next) = (previous, next);
        let id = self.free.pop().unwrap_or(self.entries.len() as u32);
        if id as usize == self.entries.len() {
            self.entries.push(entry);
        } else {
            self.entries[id as usize] = entry;
        }
        self.tree.insert((entry.cell, entry.order), id);
        if let Some(index) = self.by_byte.get_mut(&entry.cell) {
            for byte in bytes_of(entry.bytes) {
                index[byte].insert(entry.order, id);
            }
        }
        self.link(entry.cell, previous, id, next);
        self.cells[entry.cell as usize].hint = id;
        id
    }

    fn link(&mut self, cell: u32, previous: u32, id: u32, next: u32) {
        match previous {
            NONE => self.cells[cell as usize].head = id,
            previous => self.entries[previous as usize].next = id,
        }
        match next {
            NONE => self.cells[cell as usize].tail = id,
            next => self.entries[next as usize].previous = id,
        }
    }

    /// Takes an entry out of its timeline.
    pub(crate) fn remove(&mut self, id: u32) {
        let entry = self.entries[id as usize];
        self.tree.remove(&(entry.cell, entry.order));
        if let Some(index) = self.by_byte.get_mut(&entry.cell) {
            for byte in bytes_of(entry.bytes) {
                index[byte].remove(&entry.order);
            }
        }
        match entry.previous {
            NONE => self.cells[entry.cell as usize].head = entry.next,
            previous => self.entries[previous as usize].next = entry.next,
        }
        match entry.next {
            NONE => self.cells[entry.cell as usize].tail = entry.previous,
            next => self.entries[next as usize].previous = entry.previous,
        }
        self.cells[entry.cell as usize].hint = NONE;
        self.free.push(id);
    }

    /// All bytes of an entry are touched by entries shortly before it, all behind an access.
    pub(crate) fn covered_since(&self, after: u32, entry: &Entry) -> bool {
        let (mut left, mut at) = (entry.bytes, entry.previous);
        for _ in 0..NEAR {
            let earlier = self.entries.get(at as usize);
            let Some(earlier) = earlier.filter(|earlier| left != 0 && earlier.order > after) else {
                break;
            };
            left &= !earlier.bytes;
            at = earlier.previous;
        }
        left == 0
    }

    /// The last entry from `at` backward that touches one of the bytes, or `NONE`.
    pub(crate) fn touching_before(&mut self, at: u32, bytes: u8) -> u32 {
        match self.touching_near(at, bytes, |entry| entry.previous) {
            Ok(found) => found,
            Err(far) => {
                let Entry { cell, order, .. } = self.entries[far as usize];
                let index = self.index_of(cell);
                let last = |byte: usize| index[byte].range(..=order).next_back();
                let found = bytes_of(bytes).filter_map(last).max();
                found.map_or(NONE, |(_, &entry)| entry)
            }
        }
    }

    /// The first entry from `at` forward that touches one of the bytes, or `NONE`.
    pub(crate) fn touching_after(&mut self, at: u32, bytes: u8) -> u32 {
        match self.touching_near(at, bytes, |entry| entry.next) {
            Ok(found) => found,
            Err(far) => {
                let Entry { cell, order, .. } = self.entries[far as usize];
                let index = self.index_of(cell);
                let first = |byte: usize| index[byte].range(order..).next();
                let found = bytes_of(bytes).filter_map(first).min();
                found.map_or(NONE, |(_, &entry)| entry)
            }
        }
    }

    /// One of the next entries that touches one of the bytes, or `NONE`; or the entry that the search has
    /// come to.
    fn touching_near(
        &self,
        mut at: u32,
        bytes: u8,
        next: impl Fn(&Entry) -> u32,
    ) -> Result<u32, u32> {
        for _ in 0..NEAR {
            match self.entries.get(at as usize) {
                Some(entry) if entry.bytes & bytes == 0 => at = next(entry),
                _ => return Ok(at),
            }
        }
        if at == NONE { Ok(NONE) } else { Err(at) }
    }

    /// The entries of a cell by the bytes that they touch.
    fn index_of(&mut self, cell: u32) -> &ByByte {
        let Cells { cells, entries, .. } = self;
        self.by_byte.entry(cell).or_insert_with(|| {
            let mut index = Box::new(ByByte::default());
            let mut at = cells[cell as usize].head;
            while let Some(entry) = entries.get(at as usize) {
                for byte in bytes_of(entry.bytes) {
                    index[byte].insert(entry.order, at);
                }
                at = entry.next;
            }
            index
        })
    }

    /// The entry of an access in a cell.
    pub(crate) fn entry_of(&self, cell: u32, order: u32) -> Option<u32> {
        self.tree.get(&(cell, order)).copied()
    }

    /// The entry of an access in the cell at an address.
    pub(crate) fn entry_at(&self, address: u64, order: u32) -> Option<u32> {
        let &cell = self.index.get(&(address / CELL))?;
        self.entry_of(cell, order)
    }

    /// The last entry of a cell before `order`, or `NONE`.
    pub(crate) fn before(&self, cell: u32, order: u32) -> u32 {
        let Cell { hint, tail, .. } = self.cells[cell as usize];
        for near in [hint, tail] {
            if near == NONE {
                continue;
            }
            let entry = self.entries[near as usize];
            if entry.order < order {
                if entry.next == NONE || self.entries[entry.next as usize].order > order {
                    return near;
                }
            } else if entry.previous == NONE || self.entries[entry.previous as usize].order < order
            {
                return entry.previous;
            }
        }
        self.tree
            .range((cell, 0)..(cell, order))
            .next_back()
            .map_or(NONE, |(_, &id)| id)
    }
}

/// The numbers of the bytes of a mask.
fn bytes_of(mask: u8) -> impl Iterator<Item = usize> {
    (0..CELL as usize).filter(move |byte| mask >> byte & 1 == 1)
}

/// Eight bytes, as far as they are to be had.
pub(crate) fn bits_at<'m>(bytes: impl Fn(Address) -> Option<&'m [u8]>, at: u64) -> Bits {
    if let Some(bytes) = bytes(Address(at)).and_then(|run| run.first_chunk::<8>()) {
        return Bits::constant(u64::from_le_bytes(*bytes));
    }
    let mut bits = Bits::UNKNOWN;
    for byte in 0..CELL {
        if let Some(value) = bytes(Address(at + byte)).and_then(|run| run.first()) {
            bits.known |= 0xff << (8 * byte);
            bits.value |= u64::from(*value) << (8 * byte);
        }
    }
    bits
}

/// Which bits of eight bytes were written by the loader and then protected. Pages begin and end at cells.
fn protected_bits(memory: &dyn Memory, at: u64) -> u64 {
    if memory.protected_len(Address(at)) >= CELL {
        u64::MAX
    } else {
        0
    }
}

/// What the dump says about eight bytes, and which of their bits are constant.
fn final_bits(memory: &dyn Memory, at: u64) -> (Bits, u64) {
    let last = bits_at(|at| memory.bytes(at), at);
    if last.known == u64::MAX {
        let constant = memory.constant_len(Address(at)).min(CELL) as u32;
        return (last, mask(constant * 8));
    }
    let is_constant = |byte: &u64| {
        last.known >> (8 * byte) & 1 == 1 && memory.constant_len(Address(at + byte)) > 0
    };
    let constant = (0..CELL).filter(is_constant);
    (last, constant.fold(0, |all, byte| all | 0xff << (8 * byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_every_byte_mask() {
        for bytes in 0..=u8::MAX {
            let expect = (0..8)
                .filter(|bit| bytes >> bit & 1 == 1)
                .fold(0, |all, bit| all | 0xff << (8 * bit));
            assert_eq!(spread(bytes), expect, "{bytes:#x}");
        }
    }

    struct Nothing;

    impl Memory for Nothing {
        fn bytes(&self, _: Address) -> Option<&[u8]> {
            None
        }

        fn constant_len(&self, _: Address) -> u64 {
            0
        }

        fn mappings(&self) -> &[rept_trace::Mapping] {
            &[]
        }
    }

    #[test]
    fn bytes_are_found_behind_any_number_of_accesses_of_others() {
        let mut cells = Cells::new(&Nothing);
        let cell = cells.cell(1);
        let mut insert = |order: u32, bytes: u8| {
            cells.insert(Entry {
                order,
                cell,
                node: 0,
                previous: NONE,
                next: NONE,
                shift: 0,
                bytes,
                store: false,
                bridged: false,
            })
        };
        let first = insert(1, 0xf0);
        let low: Vec<u32> = (2..100).map(|order| insert(order, 0x0f)).collect();
        let last = insert(100, 0xf0);
        for _ in 0..2 {
            // The second time around there is an index.
            assert_eq!(cells.touching_before(low[97], 0x10), first);
            assert_eq!(cells.touching_after(low[0], 0x80), last);
            assert_eq!(cells.touching_before(low[97], 0x1f), low[97]);
        }
        let between = cells.insert(Entry {
            order: 50,
            bytes: 0x30,
            ..cells.entries[first as usize]
        });
        assert_eq!(cells.touching_before(low[97], 0x10), between);
        assert_eq!(cells.touching_before(low[97], 0x80), first);
        for gone in [between, first] {
            cells.remove(gone);
        }
        assert_eq!(cells.touching_before(low[97], 0xf0), NONE);
    }
}
