//! The call stack that return compression is relative to.

use rept_trace::BlockId;

/// Entries that the processor keeps (SDM "Indirect Transfer Compression for Returns").
const DEPTH: usize = 64;

/// The last 64 calls that have not returned, each by the block that ends with it; older ones
/// fall off the bottom.
#[derive(Clone, Debug)]
pub(crate) struct Returns {
    ring: [BlockId; DEPTH],
    // Index of the next free entry.
    top: usize,
    len: usize,
}

impl Returns {
    pub(crate) fn new() -> Returns {
        Returns {
            ring: [BlockId(0); DEPTH],
            top: 0,
            len: 0,
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, call: BlockId) {
        self.ring[self.top % DEPTH] = call;
        self.top = (self.top + 1) % DEPTH;
        self.len = (self.len + 1).min(DEPTH);
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<BlockId> {
        let newest = self.newest()?;
        self.len -= 1;
        self.top = (self.top + DEPTH - 1) % DEPTH;
        Some(newest)
    }

    /// The call that would return next.
    #[inline]
    pub(crate) fn newest(&self) -> Option<BlockId> {
        (self.len > 0).then(|| self.ring[(self.top + DEPTH - 1) % DEPTH])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }
}
