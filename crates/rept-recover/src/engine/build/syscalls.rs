//! System calls: the nodes by which it will be known what each wrote.

use super::super::graph::{AccessKind, KernelCall, NONE};
use super::super::lower::decode;
use super::super::{FileRead, Mapped};
use super::Builder;
use crate::bits::Bits;
use crate::syscall::number_before;
use iced_x86::Mnemonic;
use rept_trace::{Block, RegWord, ThreadId};

const BRK: u32 = 12;
const ARCH_PRCTL: u32 = 158;

/// What the system calls of a thread mapped, the next one last; a call with two records may have
/// done anything.
pub(super) fn mapped(all: &[Mapped], thread: ThreadId) -> Vec<Mapped> {
    let own = all.iter().filter(|mapped| mapped.thread == thread);
    let mut own: Vec<Mapped> = own.copied().collect();
    own.sort_by_key(|mapped| std::cmp::Reverse(mapped.step));
    let by_step = own.chunk_by(|a, b| a.step == b.step);
    let single = by_step.filter(|records| records.len() == 1);
    single.flatten().copied().collect()
}

/// The reads of a thread, the next one last.
pub(super) fn file_reads(all: &[FileRead], thread: ThreadId) -> Vec<FileRead> {
    let own = all.iter().filter(|read| read.thread == thread);
    let mut own: Vec<FileRead> = own.copied().collect();
    own.sort_by_key(|read| std::cmp::Reverse(read.step));
    own
}

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
        let own = self.cursors[thread].step - 1;
        while let Some(mapped) = self.cursors[thread].mapped.pop_if(|next| next.step <= own) {
            if mapped.step == own {
                self.graph.mapped.insert(access, mapped);
            }
        }
        while let Some(read) = self.cursors[thread]
            .file_reads
            .pop_if(|next| next.step <= own)
        {
            if read.step == own {
                self.graph.file_reads.insert(access, read);
            }
        }
        self.graph.kernel_calls.push(KernelCall {
            access,
            arguments,
            result,
        });
        let number = number_before(block, index);
        if number == Some(BRK) {
            self.brk(arguments[1], result);
        }
        if number.is_none_or(|number| number == ARCH_PRCTL) {
            for word in [RegWord::FS_BASE, RegWord::GS_BASE] {
                self.segment_base(thread, word, number.is_none());
            }
        }
    }

    /// `brk(0)` tells where the heap ends, `brk` of anything else puts it there (unless it fails).
    fn brk(&mut self, asked: u32, result: u32) {
        if self.graph.nodes.bits[asked as usize] != Bits::ZERO {
            self.pair(asked, result);
        } else if let Some(before) = self.end_of_heap {
            self.pair(before, result);
        }
        self.end_of_heap = Some(result);
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
