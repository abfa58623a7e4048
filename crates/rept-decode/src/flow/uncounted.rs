//! Loops that leave no packets, and what cuts them short.
//!
//! Direct jumps and calls leave no packets, so a loop of nothing else (`for (;;) p = p->next;`, a
//! recursion without a condition) leaves none however often it runs. An interrupt, a fault or a PSB+
//! in it tells the address of the next instruction, but not how many rounds went before:
//!
//! ```text
//!  way in     loop           a packet tells the address i
//!  ───────▶ h ──▶ i ──╮
//!           ▲         │      the path: way in, h to i, or
//!           ╰─────────╯                way in, h to i, round, round, ..., h to i
//! ```
//!
//! Both begin with the way in and end with the steps from `h` to `i`, so these are the path, and what
//! is not known, no rounds or some, is a [`Gap`] between them. Whether there is a loop is seen by
//! walking on from `i`: without packets each block has one successor, so execution comes back to `i`
//! or never does. As a rule the first block ends with a branch that needs a packet, and it is one that
//! the next packet asks for anyway; so ordinary interrupts cost nothing. The look ahead is bounded
//! ([`LOOK_AHEAD`]); where it is cut short, by the bound or by missing code, a loop cannot be excluded.
//!
//! Timing packets in between count no rounds. Of a PTWRITE there is no doubt: each execution has its packet.
//!
//! A string instruction with REP is such a loop by itself; gathers and XSAVE are alike. They are a step when
//! they are over; where one was stopped and does not go on, a part of it may have run, which is a gap, too.

use super::Flow;
use super::effort::Cycle;
use crate::CodeImage;
use crate::code::{End, Way, may_stop_midway};
use rept_trace::{Address, BlockId, Gap, GapReason, Run};

/// Blocks looked at for a way back, at most; the packet that asks for it has three bytes or more.
const LOOK_AHEAD: usize = 1024;

/// Runs of a round that a gap names, at most; what an event costs in memory is bounded so.
const MAX_TOLD: usize = 16;

/// Where execution goes without a packet.
enum Ahead {
    /// Nowhere, or to places from which it does not come back.
    Away,
    /// Round and round.
    Round,
    /// It cannot be told.
    Unknown,
}

impl<I: CodeImage + ?Sized> Flow<'_, I> {
    /// A packet told that execution stands here, and nothing how often it came by: it did so at least
    /// once, over the runs since number `first`.
    pub(super) fn mark_rounds(&mut self, first: usize) {
        match self.look_ahead() {
            Ahead::Away => {}
            Ahead::Round => {
                let rounds = self.round();
                let calls = |run: &Run| self.code.hot(run.block).end == End::Call;
                let calls = rounds.iter().any(calls);
                self.part_before_rounds(first, rounds);
                self.forget_calls(calls);
            }
            Ahead::Unknown => {
                self.push_uncounted(self.address(), Vec::new());
                self.forget_calls(true);
            }
        }
    }

    /// An instruction that may have been stopped midway does not go on.
    pub(super) fn leave_midway(&mut self) {
        let Some(at) = self.midway.take() else { return };
        match self.find(at, None) {
            Ok(block) if may_stop_midway(self.code.block(block)) => {
                self.push_repeating(at, GapReason::PartialInstruction(block));
            }
            // The code is another by now.
            _ => self.push_uncounted(at, Vec::new()),
        }
    }

    /// Of calls in rounds that are not counted, the stack holds as many as there were.
    fn forget_calls(&mut self, there_are: bool) {
        if there_are {
            self.returns.clear();
            self.returns_reliable = false;
        }
    }

    fn look_ahead(&mut self) -> Ahead {
        let target = self.address();
        // Code that is not there does not run.
        let Ok(mut here) = self.block_here() else {
            return Ahead::Away;
        };
        let mut cycle = Cycle::default();
        for _ in 0..LOOK_AHEAD {
            here = match self.ahead(here) {
                None => return Ahead::Away,
                Some(Err(GapReason::MissingCode { .. })) => return Ahead::Unknown,
                Some(Err(_)) => return Ahead::Away,
                Some(Ok(next)) => next,
            };
            if self.code.index_in(here, target).is_some() {
                return Ahead::Round;
            }
            if cycle.closes(here) {
                return Ahead::Away;
            }
        }
        Ahead::Unknown
    }

    /// The block that follows `id`, when none needs a packet for it.
    fn ahead(&mut self, id: BlockId) -> Option<Result<BlockId, GapReason>> {
        let (way, at) = match self.code.hot(id).end {
            End::Split | End::Control => (Way::Next, self.code.end_address(id)),
            End::Jump | End::Call => (Way::Taken, self.code.target(id)),
            _ => return None,
        };
        Some(match self.code.linked(id, way) {
            Some(next) => Ok(next),
            None => self.find(at, Some((id, way))),
        })
    }

    /// The runs of one round from here back to here.
    fn round(&mut self) -> Vec<Run> {
        let target = self.address();
        let mut runs = Vec::new();
        let mut next = self.block_here().ok();
        while let Some(block) = next {
            let reached = match runs.is_empty() {
                true => None,
                false => self.code.index_in(block, target),
            };
            let count = reached.unwrap_or(self.code.hot(block).count);
            runs.extend((count > 0).then_some(Run { block, count }));
            if reached.is_some() || runs.len() > LOOK_AHEAD {
                break;
            }
            next = self.ahead(block).and_then(Result::ok);
        }
        runs.sort_by_key(|run| self.code.block(run.block).at);
        runs
    }

    /// Parts the path, since run number `first`, where it comes into the loop.
    fn part_before_rounds(&mut self, first: usize, rounds: Vec<Run>) {
        let code = &self.code;
        let in_loop = |at: Address| {
            let before = rounds.partition_point(|run| code.block(run.block).at <= at);
            let run = before.checked_sub(1).map(|index| rounds[index]);
            run.is_some_and(|run| {
                let index = code.index_in(run.block, at);
                index.is_some_and(|index| index < run.count)
            })
        };
        // What is in the loop stays there.
        let runs = &self.out.trace().runs()[first..];
        let outside = |run: &Run| {
            let block = code.block(run.block);
            !in_loop(block.address(usize::from(run.count) - 1))
        };
        let into = runs.partition_point(outside);
        let Some(&run) = runs.get(into) else {
            return self.push_uncounted(self.address(), rounds);
        };
        let block = code.block(run.block);
        let before = (0..run.count)
            .take_while(|&index| !in_loop(block.address(usize::from(index))))
            .count() as u16;
        let entry = block.address(usize::from(before));
        let inside = runs[into..].to_vec();
        self.part(first + into, inside, before, (entry, rounds));
    }

    /// Parts the path at `entry`, instruction number `before` of the first of its newest runs, `inside`.
    fn part(
        &mut self,
        kept: usize,
        mut inside: Vec<Run>,
        before: u16,
        (entry, rounds): (Address, Vec<Run>),
    ) {
        let head = inside[0];
        if before > 0 {
            let rest = head.count - before;
            match self.find(entry, None) {
                Ok(block) if self.code.hot(block).count >= rest => {
                    inside[0] = Run { block, count: rest };
                }
                _ => return self.push_uncounted(self.address(), rounds),
            }
        }
        self.out.trace().truncate(kept);
        if before > 0 {
            let block = head.block;
            self.out.push(Run {
                block,
                count: before,
            });
        }
        self.push_uncounted(entry, rounds);
        inside.into_iter().for_each(|run| self.out.push(run));
    }

    fn push_uncounted(&mut self, at: Address, mut round: Vec<Run>) {
        if round.len() > MAX_TOLD {
            round = Vec::new();
        }
        self.push_repeating(at, GapReason::UncountedLoop { round });
    }

    fn push_repeating(&mut self, at: Address, reason: GapReason) {
        let gap = Gap {
            step: self.out.steps(),
            offset: self.offset,
            at: Some(at),
            reason,
        };
        self.out.trace().gaps.push(gap);
    }
}
