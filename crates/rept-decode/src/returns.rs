//! The call stack that return compression is relative to.

use rept_trace::BlockId;

/// Entries that the processor keeps (SDM "Indirect Transfer Compression for Returns").
const DEPTH: usize = 64;

/// Places in the ring: the next free one is never one of the `DEPTH` that count, so that it may be
/// written before it is known whether there is a call.
const RING: usize = 2 * DEPTH;

/// The last 64 calls that have not returned, each by the block that ends with it; older ones
/// fall off the bottom.
#[derive(Clone, Debug)]
pub(crate) struct Returns {
    ring: Ring,
    depth: Depth,
}

/// The entries.
#[derive(Clone, Debug)]
pub(crate) struct Ring([BlockId; RING]);

/// Which entries count; by itself, since a walk keeps it at hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Depth {
    // Index of the next free entry.
    top: usize,
    len: usize,
}

impl Depth {
    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.len == 0
    }
}

impl Ring {
    /// The newest call, or any block where there is none.
    #[inline]
    pub(crate) fn newest(&self, depth: Depth) -> BlockId {
        self.0[depth.top.wrapping_sub(1) % RING]
    }

    /// What block `id` does to the stack, without a branch: it `calls`, or it `returns` from a
    /// call, of which there must be one, or nothing.
    #[inline]
    pub(crate) fn book(&mut self, depth: &mut Depth, id: BlockId, calls: bool, returns: bool) {
        let [calls, returns] = [calls, returns].map(usize::from);
        self.0[depth.top % RING] = id;
        depth.top = depth.top.wrapping_add(calls).wrapping_sub(returns);
        depth.len = (depth.len + calls).min(DEPTH) - returns;
    }
}

impl Returns {
    pub(crate) fn new() -> Returns {
        Returns {
            ring: Ring([BlockId(0); RING]),
            depth: Depth { top: 0, len: 0 },
        }
    }

    /// The entries, and which of them count.
    #[inline]
    pub(crate) fn parts(&mut self) -> (&mut Ring, Depth) {
        (&mut self.ring, self.depth)
    }

    /// Says which entries count now.
    #[inline]
    pub(crate) fn set_depth(&mut self, depth: Depth) {
        self.depth = depth;
    }

    #[inline]
    pub(crate) fn push(&mut self, call: BlockId) {
        self.ring.book(&mut self.depth, call, true, false);
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<BlockId> {
        let newest = (!self.is_empty()).then(|| self.ring.newest(self.depth))?;
        self.ring.book(&mut self.depth, newest, false, true);
        Some(newest)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.depth.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.depth.len = 0;
    }
}
