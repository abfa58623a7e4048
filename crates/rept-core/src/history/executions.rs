//! When an address was executed.

use rept_trace::{Address, BlockId, Trace};
use std::collections::BTreeMap;

/// First steps of all runs, by block.
#[derive(Debug, Default)]
pub(super) struct ExecutionIndex {
    /// By (block, thread index): first step and number of steps of each run, ascending.
    runs: BTreeMap<(BlockId, u32), Vec<(u64, u16)>>,
    /// Blocks by the address of each of their instructions.
    blocks: BTreeMap<Address, Vec<(BlockId, u16)>>,
}

impl ExecutionIndex {
    /// Linear in runs and static instructions.
    pub(super) fn new(trace: &Trace) -> ExecutionIndex {
        let mut index = ExecutionIndex::default();
        for (thread, path) in trace.threads.iter().enumerate() {
            let mut step = 0;
            for run in path.runs() {
                index
                    .runs
                    .entry((run.block, thread as u32))
                    .or_default()
                    .push((step, run.count));
                step += u64::from(run.count);
            }
        }
        for (id, block) in trace.code.blocks().iter().enumerate() {
            for instruction in 0..block.instructions() {
                let blocks = index.blocks.entry(block.address(instruction)).or_default();
                blocks.push((BlockId(id as u32), instruction as u16));
            }
        }
        index
    }

    /// The first step of the thread from `from` on that executes `at`.
    pub(super) fn next(&self, thread: usize, at: Address, from: u64) -> Option<u64> {
        let found = self.of(thread, at).filter_map(|(runs, offset)| {
            let start = runs.partition_point(|&(first, _)| first + u64::from(offset) < from);
            let run = runs[start..].iter().find(|&&(_, count)| offset < count)?;
            Some(run.0 + u64::from(offset))
        });
        found.min()
    }

    /// The last step of the thread before `before` that executes `at`.
    pub(super) fn last(&self, thread: usize, at: Address, before: u64) -> Option<u64> {
        let found = self.of(thread, at).filter_map(|(runs, offset)| {
            let end = runs.partition_point(|&(first, _)| first + u64::from(offset) < before);
            let run = runs[..end]
                .iter()
                .rev()
                .find(|&&(_, count)| offset < count)?;
            Some(run.0 + u64::from(offset))
        });
        found.max()
    }

    fn of(&self, thread: usize, at: Address) -> impl Iterator<Item = (&[(u64, u16)], u16)> {
        let blocks = self.blocks.get(&at).map(Vec::as_slice).unwrap_or_default();
        blocks.iter().filter_map(move |&(block, offset)| {
            let runs = self.runs.get(&(block, thread as u32))?;
            Some((runs.as_slice(), offset))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_trace::{Block, Run, ThreadId, ThreadTrace};

    #[test]
    fn executions_are_found_in_both_directions() {
        let mut trace = Trace::default();
        let block = Block {
            at: Address(0x10),
            bytes: [0x90, 0x90].into(),
            starts: [0, 1].into(),
            bitness: 64,
        };
        let id = trace.code.push(block);
        let mut thread = ThreadTrace::new(ThreadId(1));
        for count in [2, 1, 2] {
            thread.push(Run { block: id, count });
        }
        trace.threads.push(thread);
        let index = ExecutionIndex::new(&trace);
        let nexts: Vec<_> = (0..6)
            .map(|from| index.next(0, Address(0x11), from))
            .collect();
        assert_eq!(nexts, [Some(1), Some(1), Some(4), Some(4), Some(4), None]);
        let lasts: Vec<_> = (0..6)
            .map(|before| index.last(0, Address(0x10), before))
            .collect();
        assert_eq!(lasts, [None, Some(0), Some(0), Some(2), Some(3), Some(3)]);
        assert_eq!(index.next(0, Address(0x12), 0), None);
    }
}
