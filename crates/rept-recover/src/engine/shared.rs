//! Cells that several threads touch: which thread made which of the accesses, so that a race is
//! looked for among the accesses of other threads alone, however often a thread touches its own.

use super::cells::{Cells, Entry};
use super::graph::{Graph, NONE};
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::ops::Range;

/// Accesses of one thread in one cell, ascending, as access and entry.
#[derive(Default)]
struct Touches {
    loads: Vec<(u32, u32)>,
    stores: Vec<(u32, u32)>,
}

impl Touches {
    fn of_kind(&mut self, store: bool) -> &mut Vec<(u32, u32)> {
        if store {
            &mut self.stores
        } else {
            &mut self.loads
        }
    }
}

/// No thread's number: more than one has touched a cell.
const SEVERAL: u32 = NONE - 1;

/// Which threads touch which cells.
#[derive(Default)]
pub(super) struct Shared {
    /// The thread that touched each cell; `NONE` for none, [`SEVERAL`] for more than one.
    toucher: Vec<u32>,
    /// The cells that more than one has touched, by thread.
    cells: HashMap<u32, SmallVec<[(u32, Touches); 2]>>,
}

impl Shared {
    /// An entry was added to its cell's timeline by a thread.
    pub(super) fn added(&mut self, id: u32, thread: u32, cells: &Cells<'_>, graph: &Graph) {
        let entry = cells.entries[id as usize];
        let index = entry.cell as usize;
        if index >= self.toucher.len() {
            self.toucher.resize(index + 1, NONE);
        }
        let toucher = &mut self.toucher[index];
        if *toucher == NONE {
            *toucher = thread;
        }
        if *toucher == SEVERAL {
            self.insert(id, thread, entry);
        } else if *toucher != thread {
            *toucher = SEVERAL;
            let mut next = cells.cells[index].head;
            while next != NONE {
                let other = cells.entries[next as usize];
                self.insert(next, graph.thread_of(other.order), other);
                next = other.next;
            }
        }
    }

    fn insert(&mut self, id: u32, thread: u32, entry: Entry) {
        let threads = self.cells.entry(entry.cell).or_default();
        let known = threads.iter().position(|(other, _)| *other == thread);
        let index = known.unwrap_or_else(|| {
            threads.push((thread, Touches::default()));
            threads.len() - 1
        });
        let list = threads[index].1.of_kind(entry.store);
        let at = list.partition_point(|&(order, _)| order < entry.order);
        list.insert(at, (entry.order, id));
    }

    /// An entry was taken out of its cell's timeline.
    pub(super) fn removed(&mut self, entry: Entry, thread: u32) {
        if !self.is_shared(entry.cell) {
            return;
        }
        let Some(threads) = self.cells.get_mut(&entry.cell) else {
            return;
        };
        let touches = threads.iter_mut().find(|(other, _)| *other == thread);
        if let Some((_, touches)) = touches {
            let list = touches.of_kind(entry.store);
            let at = list.partition_point(|&(order, _)| order < entry.order);
            if list.get(at).is_some_and(|&(order, _)| order == entry.order) {
                list.remove(at);
            }
        }
    }

    /// No other thread than this one was ever seen to touch the cell.
    pub(super) fn is_of(&self, cell: u32, thread: u32) -> bool {
        self.toucher.get(cell as usize) == Some(&thread)
    }

    /// More than one thread has touched the cell.
    pub(super) fn is_shared(&self, cell: u32) -> bool {
        self.toucher.get(cell as usize) == Some(&SEVERAL)
    }

    /// Entries of the stores into a cell in a range of accesses, but for those of one thread.
    pub(super) fn stores(
        &self,
        cell: u32,
        but: Option<u32>,
        range: Range<u32>,
    ) -> impl Iterator<Item = u32> + '_ {
        self.others(cell, but)
            .flat_map(move |touches| within(&touches.stores, range.clone()))
    }

    /// Entries of the accesses of a cell in a range, but for those of one thread.
    pub(super) fn touches(
        &self,
        cell: u32,
        but: u32,
        range: Range<u32>,
    ) -> impl Iterator<Item = u32> + '_ {
        self.others(cell, Some(but)).flat_map(move |touches| {
            within(&touches.loads, range.clone()).chain(within(&touches.stores, range.clone()))
        })
    }

    fn others(&self, cell: u32, but: Option<u32>) -> impl Iterator<Item = &Touches> + '_ {
        let shared = self.is_shared(cell);
        let threads = shared
            .then(|| self.cells.get(&cell))
            .into_iter()
            .flatten()
            .flatten();
        threads
            .filter(move |(thread, _)| Some(*thread) != but)
            .map(|(_, touches)| touches)
    }
}

/// The entries of those accesses of an ascending list that lie in a range.
fn within(list: &[(u32, u32)], range: Range<u32>) -> impl Iterator<Item = u32> + '_ {
    let from = list.partition_point(|&(order, _)| order < range.start);
    let inside = list[from..].iter();
    inside
        .take_while(move |&&(order, _)| order < range.end)
        .map(|&(_, entry)| entry)
}
