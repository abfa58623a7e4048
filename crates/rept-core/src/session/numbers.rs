//! The numbers of system calls, as far as the code in front of them tells.

use rept_trace::{BlockId, Code};
use std::collections::BTreeMap;

/// The numbers of system calls by place in the code, each looked up once.
#[derive(Default)]
pub(super) struct Numbers {
    known: BTreeMap<(BlockId, usize), Option<Option<u32>>>,
}

impl Numbers {
    /// `None`: no system call; an inner `None`: one whose number the code does not tell.
    pub(super) fn of(&mut self, code: &Code, id: BlockId, index: usize) -> Option<Option<u32>> {
        let look = || {
            let block = code.block(id);
            let syscall = block.instruction_bytes(index) == [0x0f, 0x05];
            syscall.then(|| rept_recover::syscall::number_before(block, index))
        };
        *self.known.entry((id, index)).or_insert_with(look)
    }
}
