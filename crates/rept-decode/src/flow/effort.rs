//! How far execution is followed without a packet.
//!
//! Between two packets a program runs straight code and direct branches, and a stream of a few
//! bytes can ask for that again and again. Three things bound it:
//!
//! - *Loops.* Where no packet is needed, a block has one successor, so a walk that comes to a block
//!   again never ends. R. P. Brent's cycle detection finds that within three times the blocks of the
//!   walk ("An improved Monte Carlo factorization algorithm", 1980), and no program is cut short.
//! - *One walk* is at most `Limits::blocks_without_packet` long.
//! - *All walks* behind a PSB+ together are as long as one longest walk and `Limits::blocks_per_byte`
//!   for each byte of packets since. A program that an honest stream tells of takes a branch that
//!   needs a packet every few blocks; the limit is hundreds for each outcome.
//!
//! Beside these there is the look ahead behind a packet with an address, which has a small bound of
//! its own (`uncounted.rs`).
//!
//! Where a limit is reached, the path ends behind the last outcome that a packet gave, so that it
//! does not depend on which blocks were known and linked before. That is also why the walk from
//! linked block to linked block may leave the limits alone: it ends after so few blocks that the
//! packet in hand pays for them, and two of them, which is as many as follow each other, are no
//! longer than one walk may be. No limit is reached in them, so what is taken back may as well be
//! looked for from where a whole group of packets began.

use super::Flow;
use super::walk::{Standing, Stop, Walk};
use crate::CodeImage;
use rept_trace::{BlockId, GapReason};

/// Blocks that two walks from linked block to linked block have at most; each packet has a byte.
const LEAST_BLOCKS_PER_BYTE: u32 = 1024;

/// What was spent since the last PSB+.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Effort {
    /// Blocks that ran without a packet.
    pub(super) blocks: u64,
    /// Offset of the end of the PSB+.
    pub(super) since: u64,
}

/// Where in the path a packet found execution, and what had been spent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    pub(super) runs: usize,
    blocks: u64,
}

/// One walk without packets.
pub(super) struct Budget {
    left: u32,
    cycle: Cycle,
}

/// Brent's cycle detection: a block, and the number of blocks after which a later one takes its place.
#[derive(Debug, Default)]
pub(super) struct Cycle {
    seen: Option<BlockId>,
    walked: u32,
    until: u32,
}

impl Cycle {
    /// Whether the walk, which comes to block `id`, was there before. Of a walk that goes on for ever it
    /// says so within three times its blocks.
    #[inline]
    pub(super) fn closes(&mut self, id: BlockId) -> bool {
        if self.seen == Some(id) {
            return true;
        }
        self.walked += 1;
        if self.walked > self.until {
            self.seen = Some(id);
            self.until = self.walked.saturating_mul(2);
        }
        false
    }
}

impl<I: CodeImage + ?Sized> Flow<'_, I> {
    /// Before a packet is used.
    #[inline]
    pub(super) fn begun(&self) -> Begun {
        Begun {
            runs: self.out.runs(),
            blocks: self.effort.blocks,
        }
    }

    /// A PSB+ ends here: it bounds what is spent from here on.
    pub(super) fn renew_effort(&mut self) {
        self.effort = Effort {
            blocks: 0,
            since: self.offset,
        };
    }

    /// Blocks that a walk from linked block to linked block has at most.
    #[inline]
    pub(super) fn most_linked(&self) -> usize {
        self.options.limits.blocks_without_packet as usize / 2
    }

    /// For a walk of which the part behind the last outcome since `begun` is done.
    pub(super) fn budget(&mut self, begun: Begun) -> Budget {
        let runs = &self.out.trace().runs()[begun.runs..];
        let newest = runs.iter().rev();
        let done = newest.take_while(|run| !self.code.hot(run.block).end.needs_packet());
        Budget {
            left: self
                .options
                .limits
                .blocks_without_packet
                .saturating_sub(done.count() as u32),
            cycle: Cycle::default(),
        }
    }

    /// Books block `id`, which ran without a packet.
    #[inline]
    pub(super) fn spend(&mut self, budget: &mut Budget, id: BlockId) -> Walk<()> {
        self.effort.blocks += 1;
        if budget.left == 0 || budget.cycle.closes(id) {
            return Err(Stop::Code(GapReason::Limit));
        }
        budget.left -= 1;
        self.check_effort()
    }

    /// Whether more was spent than there is.
    #[inline]
    pub(super) fn check_effort(&self) -> Walk<()> {
        match self.effort.blocks > self.most_effort() {
            true => Err(Stop::Code(GapReason::Limit)),
            false => Ok(()),
        }
    }

    fn most_effort(&self) -> u64 {
        let limits = &self.options.limits;
        let each = u64::from(limits.blocks_per_byte.max(LEAST_BLOCKS_PER_BYTE));
        let bytes = self.offset.saturating_sub(self.effort.since) + 1;
        u64::from(limits.blocks_without_packet).saturating_add(each.saturating_mul(bytes))
    }

    /// Takes back a walk that reached a limit: the path since `begun` ends behind the last outcome
    /// from where a limit was not kept.
    #[cold]
    pub(super) fn take_back(&mut self, begun: Begun) {
        let most = self.most_effort();
        let runs = &self.out.trace().runs()[begun.runs..];
        let mut spent = begun.blocks;
        let mut kept = 0;
        for (index, run) in runs.iter().enumerate() {
            if self.code.hot(run.block).end.needs_packet() {
                kept = index + 1;
                continue;
            }
            spent += 1;
            if spent > most {
                break;
            }
        }
        if let Some(run) = runs.get(kept) {
            self.standing = Standing::Block(run.block);
        }
        self.out.trace().truncate(begun.runs + kept);
        self.effort.blocks = most;
    }
}
