//! What the path leaves open though it is known: a part of an instruction that was stopped, and rounds of
//! a loop that leave no packets.

use super::Builder;
use hashbrown::HashSet;
use rept_trace::{BlockId, GapReason, RegWord, Run};

impl Builder<'_> {
    /// A part of the first instruction of a block may have run: a step of the graph that is none of the
    /// trace.
    pub(super) fn part(&mut self, thread: usize, block: BlockId) {
        let block = self.trace.code.block(block);
        let effect = self.lowered.part(block);
        self.graph.parts.push(self.graph.steps.len() as u32);
        self.execute(thread, effect, block, 0, None);
    }

    /// Rounds of a loop may have run: what they write is lost.
    pub(super) fn rounds(&mut self, thread: usize, gap: usize) {
        let trace = self.cursors[thread].trace;
        let GapReason::UncountedLoop { round } = &trace.gaps[gap].reason else {
            return;
        };
        let mut written = HashSet::new();
        let (mut stores, mut calls) = (false, false);
        for &Run { block, count } in round {
            for index in 0..usize::from(count) {
                let number = self.lowered.single(block, index);
                let effect = &self.lowered.effects[number as usize];
                written.extend(effect.writes.iter().map(|&(word, _)| word));
                stores |= effect.writes_memory();
                calls |= effect.leaves();
            }
        }
        if stores {
            self.barrier();
        }
        if calls {
            self.cursors[thread].lose_frames();
        }
        for word in (0..RegWord::COUNT as u16).map(RegWord) {
            let known = self.cursors[thread].current[usize::from(word.0)];
            if written.contains(&word) && known != super::NONE {
                self.forget(thread, word);
            }
        }
    }
}
