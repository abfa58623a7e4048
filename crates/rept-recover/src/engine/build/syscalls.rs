//! System calls: the nodes by which it will be known what each wrote.

use super::super::graph::{AccessKind, KernelCall, NONE};
use super::super::lower::decode;
use super::Builder;
use crate::syscall::number_before;
use iced_x86::Mnemonic;
use rept_trace::{Block, RegWord};

const ARCH_PRCTL: u32 = 158;

impl Builder<'_> {
    /// A system call: what it did, its arguments tell once they are known.
    pub(super) fn syscall(
        &mut self,
        thread: usize,
        arguments: [u32; 7],
        block: &Block,
        index: usize,
    ) {
        let step = self.graph.steps.len() as u32 - 1;
        let result = self.current(thread, RegWord::RAX);
        let access = self.access(step, NONE, 0, AccessKind::Kernel);
        if decode(block, index).mnemonic() != Mnemonic::Syscall {
            // The numbers of the old gates are others.
            self.graph.unseen.push(access);
        }
        self.graph.kernel_calls.push(KernelCall {
            access,
            arguments,
            result,
        });
        let number = number_before(block, index);
        if number.is_none_or(|number| number == ARCH_PRCTL) {
            for word in [RegWord::FS_BASE, RegWord::GS_BASE] {
                self.segment_base(thread, word, number.is_none());
            }
        }
    }

    /// A system call may have set a segment base; one whose number is not in sight most likely did not.
    fn segment_base(&mut self, thread: usize, word: RegWord, likely_kept: bool) {
        let before = self.cursors[thread].current[usize::from(word.0)];
        if before == NONE {
            return;
        }
        self.forget(thread, word);
        if likely_kept {
            let after = self.current(thread, word);
            self.pair(before, after);
        }
    }
}
