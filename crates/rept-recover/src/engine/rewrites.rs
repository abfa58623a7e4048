//! Stores over code that ran before: what ran was not what the dump has there.

use super::cells::CELL;
use super::graph::AccessState;
use super::view::History;
use super::{Grade, NONE};
use crate::history::Position;
use hashbrown::HashMap;
use rept_trace::{BlockId, Trace};

/// Blocks by the cells that their bytes lie in, and the first step of each.
struct Ran {
    first: Vec<u32>,
    blocks: HashMap<u64, Vec<BlockId>>,
}

impl Ran {
    fn new(history: &History, trace: &Trace) -> Ran {
        let mut first = vec![NONE; trace.code.blocks().len()];
        for (thread, path) in (0..).zip(&trace.threads) {
            let mut seen = vec![false; first.len()];
            let mut step = 0;
            for run in path.runs() {
                let block = run.block.0 as usize;
                if !std::mem::replace(&mut seen[block], true) {
                    // Before the window is before all stores.
                    let global = history.global(Position { thread, step }).unwrap_or(0);
                    first[block] = first[block].min(global);
                }
                step += u64::from(run.count);
            }
        }
        let mut blocks: HashMap<u64, Vec<BlockId>> = HashMap::new();
        for (id, block) in (0..).zip(trace.code.blocks()) {
            let last = block.end().0.saturating_sub(1);
            for cell in block.at.0 / CELL..=last / CELL {
                blocks.entry(cell).or_default().push(BlockId(id));
            }
        }
        Ran { first, blocks }
    }

    /// Some byte of a range lies in code that ran before a step.
    fn before(&self, trace: &Trace, step: u32, at: u64, len: u64) -> bool {
        let last = at.saturating_add(len.saturating_sub(1));
        let here = (at / CELL..=last / CELL).filter_map(|cell| self.blocks.get(&cell));
        here.flatten().any(|&id| {
            let block = trace.code.block(id);
            block.at.0 <= last && at < block.end().0 && self.first[id.0 as usize] < step
        })
    }
}

/// A store whose place is at least assumed wrote over code that had run.
pub(super) fn is_code_rewritten(history: &History, trace: &Trace) -> bool {
    let ran = Ran::new(history, trace);
    let accesses = (0..).zip(&history.graph.accesses);
    let mut stores = accesses.filter(|(_, access)| {
        let placed = access.state == AccessState::Placed;
        placed && access.kind.writes() && access.phase <= Grade::Assumed as u8
    });
    stores.any(|(id, access)| match history.wides.get(&id) {
        Some(wide) => wide.entries.iter().any(|&entry| {
            let entry = &history.entries[entry as usize];
            let first = u64::from(entry.bytes.trailing_zeros());
            let at = history.cells[entry.cell as usize].number * CELL + first;
            let len = u64::from(entry.bytes.count_ones());
            ran.before(trace, access.step, at, len)
        }),
        None => {
            let len = u64::from(access.size);
            len > 0 && ran.before(trace, access.step, access.address, len)
        }
    })
}
