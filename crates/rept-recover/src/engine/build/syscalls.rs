//! System calls: the nodes by which it will be known what each wrote.

use super::super::graph::{AccessKind, KernelCall, NONE, ReadOf};
use super::super::lower::decode;
use super::super::{FileRead, Mapped, Options};
use super::Builder;
use crate::bits::Bits;
use crate::syscall::number_before;
use hashbrown::HashMap;
use iced_x86::Mnemonic;
use rept_trace::{Block, RegWord, ThreadId};

const BRK: u32 = 12;
const ARCH_PRCTL: u32 = 158;

/// By thread and step, what is known of system calls from elsewhere.
pub(super) struct KnownCalls {
    /// What they mapped; a call with two records may have done anything.
    mapped: HashMap<(ThreadId, u64), Option<Mapped>>,
    file_reads: HashMap<(ThreadId, u64), FileRead>,
}

impl KnownCalls {
    pub(super) fn new(options: &Options) -> KnownCalls {
        let mut known = KnownCalls {
            mapped: HashMap::new(),
            file_reads: HashMap::new(),
        };
        for &mapped in &options.mapped {
            let records = known.mapped.entry((mapped.thread, mapped.step));
            records.and_modify(|of| *of = None).or_insert(Some(mapped));
        }
        for &read in &options.file_reads {
            let call = (read.thread, read.step);
            known.file_reads.entry(call).or_insert(read);
        }
        known
    }
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
        let cursor = &self.cursors[thread];
        let call = (cursor.trace.thread, cursor.step - 1);
        if let Some(&Some(mapped)) = self.known_calls.mapped.get(&call) {
            self.graph.mapped.insert(access, mapped);
        }
        if let Some(&read) = self.known_calls.file_reads.get(&call) {
            let of = ReadOf {
                base: Some(read.base),
                file: read.file,
                offset: 0,
            };
            self.graph.file_reads.insert(access, of);
        }
        self.cursors[thread].last_call = Some((access, result));
        self.graph.kernel_calls.push(KernelCall {
            access,
            arguments,
            result,
        });
        let number = number_before(block, index);
        match number {
            Some(BRK) => self.brk(thread, access, arguments[1], result),
            Some(_) => {}
            None => self.perhaps_brk(access),
        }
        if number.is_none_or(|number| number == ARCH_PRCTL) {
            for word in [RegWord::FS_BASE, RegWord::GS_BASE] {
                self.segment_base(thread, word, number.is_none());
            }
        }
    }

    /// The number of the last system call of a thread, if it is known from the start.
    pub(super) fn number_of_last_call(&self, thread: usize) -> Option<u64> {
        let (access, _) = self.cursors[thread].last_call?;
        let calls = &self.graph.kernel_calls;
        let index = calls
            .binary_search_by_key(&access, |call| call.access)
            .ok()?;
        self.graph.nodes.bits[calls[index].arguments[0] as usize].get()
    }

    /// `brk(0)` tells where the heap ends, `brk` of anything else puts it there (unless it fails).
    fn brk(&mut self, thread: usize, access: u32, asked: u32, result: u32) {
        if let Some(before) = self.end_of_heap {
            let step = self.graph.accesses[access as usize].step;
            self.add_use(before, step);
            self.graph.breaks.insert(access, before);
        }
        if *self.moves_heap.get_or_insert(thread) != thread {
            self.graph.breaks.clear();
        }
        if self.graph.nodes.bits[asked as usize] != Bits::ZERO {
            self.pair(asked, result);
        } else if let Some(before) = self.end_of_heap {
            self.pair(before, result);
        }
        self.end_of_heap = Some(result);
    }

    /// A call whose number is not in sight: once that is known, it tells where the heap ends behind it.
    fn perhaps_brk(&mut self, access: u32) {
        let Some(before) = self.end_of_heap else {
            return;
        };
        let step = self.graph.accesses[access as usize].step;
        let after = self.graph.nodes.push(Bits::UNKNOWN, NONE);
        self.add_use(before, step);
        self.add_use(after, step);
        self.graph.breaks.insert(access, before);
        self.graph.perhaps_breaks.insert(access, [before, after]);
        self.end_of_heap = Some(after);
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
