//! The call stack that return compression is relative to.

use crate::code::Link;
use rept_trace::BlockId;
use std::hint::select_unpredictable;

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

/// A call, and where it returns to: kept beside it, since a walk that returns waits for it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    call: BlockId,
    back: Link,
}

/// The entries.
#[derive(Clone, Debug)]
pub(crate) struct Ring([Entry; RING]);

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
    #[inline]
    fn newest(&self, depth: Depth) -> Entry {
        self.0[depth.top.wrapping_sub(1) % RING]
    }

    /// Where the newest call returns to, as far as it was known when it was made.
    #[inline]
    pub(crate) fn back(&self, depth: Depth) -> Link {
        let back = self.newest(depth).back;
        select_unpredictable(depth.is_empty(), Link::default(), back)
    }

    /// What a block does to the stack, without a branch: it makes it deeper by 1, as the call, to
    /// return to `back`, or by -1, when there is a call, or by 0.
    #[inline]
    pub(crate) fn book(
        &mut self,
        depth: &mut Depth,
        (call, back): (BlockId, Link),
        deepens: isize,
    ) {
        self.0[depth.top % RING] = Entry { call, back };
        depth.top = depth.top.wrapping_add_signed(deepens);
        depth.len = depth.len.wrapping_add_signed(deepens).min(DEPTH);
    }
}

impl Returns {
    pub(crate) fn new() -> Returns {
        let none = Entry {
            call: BlockId(0),
            back: Link::default(),
        };
        Returns {
            ring: Ring([none; RING]),
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
    pub(crate) fn push(&mut self, call: BlockId, back: Link) {
        self.ring.book(&mut self.depth, (call, back), 1);
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<BlockId> {
        let Entry { call, back } = (!self.is_empty()).then(|| self.ring.newest(self.depth))?;
        self.ring.book(&mut self.depth, (call, back), -1);
        Some(call)
    }

    /// The code that the calls return to may be other code from here on.
    pub(crate) fn unlink(&mut self) {
        for entry in &mut self.ring.0 {
            entry.back = Link::default();
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.depth.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.depth.len = 0;
    }
}
