//! The call stack that return compression is relative to.

use rept_trace::{Address, BlockId};

/// Entries that the processor keeps (SDM "Indirect Transfer Compression for Returns").
const DEPTH: usize = 64;

/// One traced call: where it returns to, and its block, whose `Next` link leads there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) to: Address,
    pub(crate) block: BlockId,
}

/// The last 64 calls that have not returned; older ones fall off the bottom.
#[derive(Clone, Debug)]
pub(crate) struct Returns {
    ring: [Call; DEPTH],
    // Index of the next free entry.
    top: usize,
    len: usize,
}

impl Returns {
    pub(crate) fn new() -> Returns {
        let nowhere = Call {
            to: Address(0),
            block: BlockId(0),
        };
        Returns {
            ring: [nowhere; DEPTH],
            top: 0,
            len: 0,
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, call: Call) {
        self.ring[self.top] = call;
        self.top = (self.top + 1) % DEPTH;
        self.len = (self.len + 1).min(DEPTH);
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Call> {
        self.len = self.len.checked_sub(1)?;
        self.top = (self.top + DEPTH - 1) % DEPTH;
        Some(self.ring[self.top])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }
}
