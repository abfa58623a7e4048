//! Threads made in the window: they begin with the registers of the thread that made them, another
//! stack pointer, and their own FS base.

use super::super::Creation;
use super::super::graph::NONE;
use super::{Builder, Cursor};
use crate::bits::Bits;
use crate::effect::Word;
use rept_trace::{Address, RegWord, Trace};

/// What a thread begins with.
pub(super) struct Inherited {
    /// Where it begins: behind the system call.
    at: Address,
    /// Register words, and nodes that hold the same.
    words: Vec<(RegWord, u32)>,
}

/// Threads that a thread makes, as step and index, the next one last.
pub(super) fn makes(creations: &[Creation], trace: &Trace, index: usize) -> Vec<(u64, usize)> {
    let own = creations
        .iter()
        .filter(|creation| creation.parent == trace.threads[index].thread);
    let mut makes: Vec<(u64, usize)> = own
        .filter_map(|creation| {
            let mut threads = trace.threads.iter();
            let child = threads.position(|thread| thread.thread == creation.child)?;
            Some((creation.step, child))
        })
        .filter(|&(_, child)| child != index)
        .collect();
    makes.sort_by_key(|&(step, _)| std::cmp::Reverse(step));
    makes
}

impl Cursor<'_> {
    /// The thread that a step of this one makes.
    pub(super) fn makes_at(&mut self, step: u64) -> Option<usize> {
        while let Some((at, child)) = self.makes.pop_if(|(at, _)| *at <= step) {
            if at == step {
                return Some(child);
            }
        }
        None
    }
}

impl Builder<'_> {
    /// The last step, of `thread`, made another thread.
    pub(super) fn bequeath(&mut self, thread: usize, child: usize, behind: Address) {
        let Some(&step) = self.graph.steps.last() else {
            return;
        };
        let effect = &self.lowered.effects[step.effect as usize];
        let Some(new) = effect.new_thread else {
            return;
        };
        let inputs = effect.inputs();
        let node = |word: Word| self.graph.node_of(step, inputs, usize::from(word.0));
        let mut words = vec![
            (RegWord::RSP, node(new.stack_pointer)),
            (RegWord::FS_BASE, node(new.fs_base)),
        ];
        let others = (0..16).map(RegWord::gpr);
        for word in others.filter(|&word| word != RegWord::RAX && word != RegWord::RSP) {
            words.push((word, self.current(thread, word)));
        }
        let zero = self.graph.nodes.push(Bits::ZERO, NONE);
        words.push((RegWord::RAX, zero));
        self.cursors[child].inherited = Some(Inherited { at: behind, words });
    }

    /// The first step of a thread is next.
    pub(super) fn inherit(&mut self, thread: usize, at: Address) {
        let Some(inherited) = self.cursors[thread].inherited.take() else {
            return;
        };
        if inherited.at == at {
            for (word, node) in inherited.words {
                let own = self.current(thread, word);
                self.pair(node, own);
            }
        }
    }
}
