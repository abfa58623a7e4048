//! Accesses of any length: operands of string instructions, and what the kernel writes.
//! Each cell that one covers has a node of its own.

use super::Engine;
use super::cells::{CELL, Entry};
use super::graph::{Access, NONE};
use crate::bits::Bits;
use smallvec::SmallVec;

/// Bytes of one access at most; a longer one stays pending.
const MAX_BYTES: u64 = 1 << 22;

/// A placed access of any length.
#[derive(Clone, Debug, Default)]
pub(super) struct Wide {
    /// Entries, by ascending address within each extent.
    pub(super) entries: Vec<u32>,
    /// What was known of each entry's node when its neighbours last heard of it.
    told: Vec<u64>,
}

impl Engine<'_> {
    /// Places an access that covers `extents` (address, bytes); false when that is too much.
    pub(super) fn place_wide(&mut self, id: u32, extents: &[(u64, u64)]) -> bool {
        let bytes: u64 = extents
            .iter()
            .fold(0, |sum, &(_, bytes)| sum.saturating_add(bytes));
        if bytes > MAX_BYTES {
            return false;
        }
        self.mark_placed(id, extents.first().map_or(0, |&(address, _)| address));
        self.wides.insert(id, Wide::default());
        for &(address, bytes) in extents {
            self.enter_extent(id, address, bytes);
        }
        self.settled(id);
        if self.cut_over(id) {
            self.tell_wide(id);
        }
        true
    }

    fn enter_extent(&mut self, id: u32, address: u64, bytes: u64) {
        let access = self.graph.accesses[id as usize];
        let mut at = address;
        let mut left = bytes;
        while left > 0 {
            let offset = at % CELL;
            let here = left.min(CELL - offset);
            let cell = self.cells.cell(at / CELL);
            // Extents of one call may share a cell: one entry an access and cell.
            if self.cells.entry_of(cell, id).is_none() {
                let node = self.new_node(access.step);
                let entry = Entry {
                    order: id,
                    cell,
                    node,
                    previous: NONE,
                    next: NONE,
                    shift: 0,
                    bytes: (((1u16 << here) - 1) << offset) as u8,
                    store: access.kind.writes(),
                    bridged: false,
                };
                let entry = self.insert_entry(entry);
                if let Some(wide) = self.wides.get_mut(&id) {
                    wide.entries.push(entry);
                    wide.told.push(0);
                }
            }
            at = at.wrapping_add(here);
            left -= here;
        }
    }

    fn new_node(&mut self, def: u32) -> u32 {
        self.add_node(Bits::UNKNOWN, def)
    }

    /// A node that holds a number.
    pub(super) fn new_constant(&mut self, value: u64) -> u32 {
        self.add_node(Bits::constant(value), NONE)
    }

    /// A node made while recovery runs.
    fn add_node(&mut self, bits: Bits, def: u32) -> u32 {
        for known in [&mut self.certain, &mut self.assumed] {
            if !known.is_empty() {
                known.push(bits.known);
            }
        }
        self.tracking.push();
        self.lessons.push();
        self.graph.nodes.push(bits, def)
    }

    /// Exchanges what is known of each cell of a wide access with its neighbours in time.
    pub(super) fn tell_wide(&mut self, id: u32) {
        let Some(wide) = self.wide(id) else {
            return;
        };
        for index in 0..wide.entries.len() {
            // A contradiction on the way may have displaced the access itself.
            let Some(wide) = self.wides.get_mut(&id) else {
                return;
            };
            let entry = self.cells.entries[wide.entries[index] as usize];
            let known = self.graph.nodes.bits[entry.node as usize].known;
            // Nothing known is told once, when the access is new to its neighbours.
            if wide.told[index] != known || known == 0 {
                wide.told[index] = known;
                self.tell_entry(entry);
            }
        }
    }

    /// Tells all cells again at the next occasion.
    pub(super) fn untold(&mut self, id: u32) {
        if let Some(wide) = self.wides.get_mut(&id) {
            // All bits known is the one mask of which nothing more can be told.
            wide.told.fill(0);
        }
    }

    /// What there is of an access that was placed as one of any length.
    pub(super) fn wide(&self, id: u32) -> Option<&Wide> {
        // Others have their entries with them; most are others.
        let plain = self.graph.accesses[id as usize].entries[0] != NONE;
        if plain { None } else { self.wides.get(&id) }
    }

    /// The entries of a placed access.
    pub(super) fn entries_of(&self, id: u32) -> SmallVec<[u32; 2]> {
        match self.wide(id) {
            Some(wide) => wide.entries.iter().copied().collect(),
            None => {
                let entries = self.graph.accesses[id as usize].entries;
                entries.into_iter().filter(|&entry| entry != NONE).collect()
            }
        }
    }

    /// The nodes that hold the bytes which two accesses share (`NONE`: the dump), of both.
    pub(super) fn shared_nodes(&self, earlier: u32, later: u32) -> SmallVec<[u32; 4]> {
        let node = |entry: &u32| self.cells.entries[*entry as usize].node;
        if later == NONE {
            return self.nodes_of_access(earlier).into_iter().collect();
        }
        if self.wide(earlier).is_none() && self.wide(later).is_none() {
            let both = [earlier, later].map(|id| self.graph.accesses[id as usize].node);
            return both.into_iter().filter(|&node| node != NONE).collect();
        }
        let (mut few, mut many) = (earlier, later);
        if self.wide(later).is_none() {
            (few, many) = (later, earlier);
        }
        let entries = self.entries_of(few).into_iter();
        entries
            .filter_map(|entry| {
                let cell = self.cells.entries[entry as usize].cell;
                let other = self.cells.entry_of(cell, many)?;
                Some([node(&entry), node(&other)])
            })
            .flatten()
            .collect()
    }

    /// Of the nodes that hold the bytes which two accesses share, those in the cells of one of them
    /// (`NONE`: the dump); empty when it is of neither.
    pub(super) fn facing(&self, node: u32, earlier: u32, later: u32) -> SmallVec<[u32; 4]> {
        let mut found = SmallVec::new();
        if later != NONE && self.wide(earlier).is_none() && self.wide(later).is_none() {
            let [a, b] = [earlier, later].map(|id| &self.graph.accesses[id as usize]);
            if (a.node == node || b.node == node) && self.share_a_cell(a, b) {
                found.extend([a.node, b.node]);
            }
            return found;
        }
        for (id, other) in [(earlier, later), (later, earlier)] {
            for entry in self.entries_holding(id, node) {
                let cell = self.cells.entries[entry as usize].cell;
                if other == NONE {
                    found.push(node);
                } else if let Some(there) = self.cells.entry_of(cell, other) {
                    found.extend([node, self.cells.entries[there as usize].node]);
                }
            }
        }
        found
    }

    /// Two accesses of at most eight bytes have a cell in common.
    fn share_a_cell(&self, a: &Access, b: &Access) -> bool {
        let cell = |entry: u32| self.cells.entries[entry as usize].cell;
        let placed = |entry: &u32| *entry != NONE;
        let mut here = a.entries.into_iter().filter(placed).map(cell);
        here.any(|own| {
            b.entries
                .into_iter()
                .filter(placed)
                .map(cell)
                .any(|other| other == own)
        })
    }

    /// The entries of an access (`NONE`: the dump) that hold their bytes in a node.
    pub(super) fn entries_holding(&self, id: u32, node: u32) -> SmallVec<[u32; 2]> {
        if id == NONE {
            return SmallVec::new();
        }
        let Some(wide) = self.wide(id) else {
            if self.graph.accesses[id as usize].node == node {
                return self.entries_of(id);
            }
            return SmallVec::new();
        };
        // The nodes of a wide access were made one after the other.
        let holder = |entry: &u32| self.cells.entries[*entry as usize].node;
        let first = wide.entries.first().map(holder);
        let index = first.and_then(|first| node.checked_sub(first));
        let entry = index.and_then(|index| wide.entries.get(index as usize));
        entry
            .filter(|entry| holder(entry) == node)
            .copied()
            .into_iter()
            .collect()
    }

    /// The nodes that hold an access's bytes.
    pub(super) fn nodes_of_access(&self, id: u32) -> SmallVec<[u32; 2]> {
        match self.wide(id) {
            Some(wide) => wide
                .entries
                .iter()
                .map(|&entry| self.cells.entries[entry as usize].node)
                .collect(),
            None => [self.graph.accesses[id as usize].node]
                .into_iter()
                .filter(|&node| node != NONE)
                .collect(),
        }
    }
}
