//! The common case of walking: from linked block to linked block.
//!
//! This is the decoder's innermost loop. Which way a program goes is what the processor that runs
//! us cannot predict, so there is no branch here on an outcome or on how a block ends: each block
//! costs the same few loads and stores, from tables of 16 bytes a block that stay in its caches.

use super::Flow;
use super::walk::Standing;
use crate::CodeImage;
use crate::code::{End, Link};
use rept_trace::{BlockId, Run};
use std::hint::select_unpredictable;

impl<I: CodeImage + ?Sized> Flow<'_, I> {
    /// Uses up outcomes, block by block; with `ON` goes on behind the last one, up to the next block
    /// that needs a packet. Stops, with all that was walked booked, where anything else is needed, and
    /// after as many blocks as the output has room for, so that the general case bounds those that use
    /// up no outcome.
    #[inline(never)]
    pub(super) fn use_linked<const ON: bool>(&mut self) {
        let Standing::Block(mut here) = self.standing else {
            return;
        };
        let most = self.most_linked();
        let blocks = self.code.hot_blocks();
        let (ring, mut depth) = self.returns.parts();
        let compressed = self.compression_seen;
        let mut pending = self.pending;
        let mut walked = 0;
        for slot in self.out.room(most) {
            if !ON && pending.len == 0 {
                break;
            }
            let hot = blocks[here.0 as usize];
            if ON && pending.len < hot.outcomes() {
                break;
            }
            let caller = select_unpredictable(compressed, ring.back(depth), Link::default());
            let Some(next) = hot.successor(pending.taken(), caller) else {
                break;
            };
            *slot = Run {
                block: here,
                count: hot.count,
            };
            walked += 1;
            ring.book(&mut depth, (here, hot.back()), hot.deepens());
            pending.use_up(hot.outcomes());
            here = next;
        }
        self.out.book_room(walked);
        self.returns.set_depth(depth);
        self.standing = Standing::Block(here);
        self.effort.blocks += walked as u64 - u64::from(self.pending.len - pending.len);
        self.pending = pending;
    }

    /// Runs up to the next block that needs a packet, if only known blocks lead there, and says which.
    #[inline]
    pub(super) fn run_to_decider(&mut self) -> Option<BlockId> {
        let Standing::Block(mut here) = self.standing else {
            return None;
        };
        let most = self.most_linked();
        let mut walked = 0;
        let mut decider = None;
        for slot in self.out.room(most) {
            let hot = self.code.hot(here);
            if hot.end.needs_packet() {
                decider = Some(here);
                break;
            }
            let Some(next) = hot.next() else {
                break;
            };
            *slot = Run {
                block: here,
                count: hot.count,
            };
            walked += 1;
            if hot.end == End::Call {
                self.returns.push(here, hot.back());
            }
            here = next;
        }
        self.out.book_room(walked);
        self.effort.blocks += walked as u64;
        self.standing = Standing::Block(here);
        decider
    }
}
