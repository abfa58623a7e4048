//! Walking over code: from where execution stands to where a packet says it went.

use super::effort::Begun;
use super::{Flow, Place};
use crate::CodeImage;
use crate::code::{CodeBuilder, End, Way, may_stop_midway};
use crate::returns::Returns;
use rept_trace::{Address, BlockId, GapReason, Run};

/// Where execution stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Standing {
    /// Before a block that is known.
    Block(BlockId),
    /// At an address whose block was not looked up yet, and the branch that led there.
    Address(Address, Option<(BlockId, Way)>),
}

/// Outcomes of branches that were not walked over yet; the oldest is the highest bit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcomes {
    bits: u64,
    pub(super) len: u32,
}

impl Outcomes {
    /// Adds younger outcomes; `false` when there is no room for them.
    #[inline]
    pub(super) fn append(&mut self, bits: u64, len: u8) -> bool {
        let total = self.len + u32::from(len);
        if total > u64::BITS || len == 0 {
            return len == 0;
        }
        self.bits |= (bits << (u64::BITS - u32::from(len))) >> self.len;
        self.len = total;
        true
    }

    /// Whether the oldest was taken.
    #[inline]
    pub(super) fn taken(self) -> bool {
        self.bits >> 63 == 1
    }

    /// Takes off the oldest.
    #[inline]
    pub(super) fn use_up(&mut self, count: u32) {
        self.bits <<= count;
        self.len -= count;
    }

    /// Keeps the `len` oldest, of which there must be as many.
    pub(super) fn keep(&mut self, len: u32) {
        self.bits = self.bits >> (u64::BITS - len) << (u64::BITS - len);
        self.len = len;
    }
}

/// What a walk that may fail goes back to.
struct Saved {
    runs: usize,
    standing: Standing,
    returns: Returns,
}

/// Why a walk did not get where the packet says.
pub(super) enum Stop {
    /// The code has a branch that needs another packet first.
    Needs(&'static str),
    /// Something is wrong with the code.
    Code(GapReason),
}

/// Result of a walk.
pub(super) type Walk<T> = Result<T, Stop>;

impl<I: CodeImage + ?Sized> Flow<'_, I> {
    /// Where execution stands.
    pub(super) fn address(&self) -> Address {
        match self.standing {
            Standing::Block(id) => self.code.block(id).at,
            Standing::Address(at, _) => at,
        }
    }

    /// Looks the block here up again: code may have changed.
    pub(super) fn forget_block(&mut self) {
        self.standing = Standing::Address(self.address(), None);
    }

    pub(super) fn stand_at(&mut self, at: Address) {
        self.standing = Standing::Address(at, None);
        self.place = Place::Traced;
    }

    /// The block that execution stands before.
    #[inline]
    pub(super) fn block_here(&mut self) -> Walk<BlockId> {
        match self.standing {
            Standing::Block(id) => Ok(id),
            Standing::Address(at, via) => self.look_up(at, via),
        }
    }

    fn look_up(&mut self, at: Address, via: Option<(BlockId, Way)>) -> Walk<BlockId> {
        let id = self.find(at, via).map_err(Stop::Code)?;
        self.standing = Standing::Block(id);
        Ok(id)
    }

    /// The block at `at`, and the branch that leads there.
    pub(super) fn find(
        &mut self,
        at: Address,
        via: Option<(BlockId, Way)>,
    ) -> Result<BlockId, GapReason> {
        let id = match self.ask(at) {
            // What the packet in hand tells of may be later than what is known for sure, and so the code.
            Err(GapReason::MissingCode { .. })
                if self.follow_image(self.clock.now().earliest.0) =>
            {
                self.ask(at)?
            }
            found => found?,
        };
        if let Some((from, way)) = via
            && self.code.bitness(from) == self.bitness
        {
            self.code.link(from, way, id);
        }
        Ok(id)
    }

    fn ask(&mut self, at: Address) -> Result<BlockId, GapReason> {
        let time = self.time_of_code();
        let max = self.options.limits.block_instructions;
        self.code.lookup(at, self.bitness, time, self.image, max)
    }

    /// Leaves block `from`.
    #[inline]
    fn go(&mut self, from: BlockId, way: Way) {
        self.standing = match self.code.linked(from, way) {
            Some(to) => Standing::Block(to),
            None => {
                let at = match way {
                    Way::Next => self.code.end_address(from),
                    Way::Taken => self.code.target(from),
                };
                Standing::Address(at, Some((from, way)))
            }
        };
    }

    #[inline]
    fn run_whole(&mut self, id: BlockId, count: u16) {
        self.out.push(Run { block: id, count });
    }

    /// Runs the block here if it needs no packet to be left; otherwise says how it ends.
    #[inline]
    fn pass(&mut self, id: BlockId) -> Result<(), End> {
        let hot = self.code.hot(id);
        let way = match hot.end {
            End::Split | End::Control => Way::Next,
            End::Jump => Way::Taken,
            End::Call => {
                self.returns.push(id, hot.back());
                Way::Taken
            }
            end => return Err(end),
        };
        self.run_whole(id, hot.count);
        self.go(id, way);
        Ok(())
    }

    /// Walks as far as the outcomes at hand lead. Some are left over when an indirect
    /// branch among them waits for its TIP ("deferred TIP").
    #[inline]
    pub(super) fn use_outcomes(&mut self) -> Walk<()> {
        if self.pending.len == 0 {
            return Ok(());
        }
        let begun = self.begun();
        self.use_linked::<false>();
        match self.pending.len {
            0 => Ok(()),
            _ => self.use_unlinked(begun),
        }
    }

    /// The general case.
    pub(super) fn use_unlinked(&mut self, begun: Begun) -> Walk<()> {
        let walked = self.try_use_unlinked(begun);
        self.limited(begun, walked)
    }

    /// Takes back what a walk that reached a limit did.
    fn limited<T>(&mut self, begun: Begun, walked: Walk<T>) -> Walk<T> {
        if let Err(Stop::Code(GapReason::Limit)) = walked {
            self.take_back(begun);
        }
        walked
    }

    fn try_use_unlinked(&mut self, begun: Begun) -> Walk<()> {
        let mut budget = self.budget(begun);
        while self.pending.len > 0 {
            let id = self.block_here()?;
            let end = match self.pass(id) {
                Ok(()) => {
                    self.spend(&mut budget, id)?;
                    continue;
                }
                Err(end) => end,
            };
            match end {
                End::Conditional => self.branch(id),
                End::Return if self.is_compressed()? => self.compressed_return(id)?,
                End::Undefined => return Err(Stop::Needs("FUP of the exception")),
                _ => return Ok(()),
            }
            self.use_linked::<false>();
            self.check_effort()?;
            budget = self.budget(begun);
        }
        Ok(())
    }

    #[inline]
    fn branch(&mut self, id: BlockId) {
        let way = Way::taken(self.pending.taken());
        self.pending.use_up(1);
        self.run_whole(id, self.code.hot(id).count);
        self.go(id, way);
    }

    /// Whether the oldest outcome belongs to the return here; if not, a TIP does.
    fn is_compressed(&mut self) -> Walk<bool> {
        let taken = self.pending.taken();
        let known = self
            .options
            .return_compression
            .or(self.compression_seen.then_some(true));
        let empty = self.returns.is_empty();
        self.undecided |= known.is_none() && (!taken || (empty && self.returns_reliable));
        match (known, taken, empty) {
            (Some(false), ..) => Ok(false),
            (_, true, false) => Ok(true),
            (Some(true), false, _) => Err(Stop::Needs("TNT with a taken bit for the return")),
            (Some(true), true, true) => Err(Stop::Needs("call for the compressed return")),
            (None, false, _) => Ok(false),
            // The call may have been in a gap.
            (None, true, true) if !self.returns_reliable => {
                Err(Stop::Needs("call for the compressed return"))
            }
            (None, true, true) => Ok(false),
        }
    }

    fn compressed_return(&mut self, id: BlockId) -> Walk<()> {
        let call = self
            .returns
            .pop()
            .ok_or(Stop::Needs("call for the compressed return"))?;
        self.compression_seen = true;
        self.pending.use_up(1);
        self.run_whole(id, self.code.hot(id).count);
        self.go(call, Way::Next);
        Ok(())
    }

    /// Walks through the next indirect branch or far transfer, which led to `to`. What lies behind the
    /// last outcome of a `group` that was begun there was walked.
    pub(super) fn take_indirect(&mut self, to: Address, group: Option<Begun>) -> Walk<()> {
        let here = self.begun();
        let id = match self.run_to_decider() {
            Some(id) if self.code.hot(id).end.is_indirect() => id,
            _ => {
                let begun = group.unwrap_or(here);
                let walked = self.walk_to_indirect(begun);
                self.limited(begun, walked)?
            }
        };
        self.run_indirect(id);
        self.switch_mode();
        self.standing = Standing::Address(to, None);
        // Where there is no code, that shows when more is asked for than its address.
        let _ = self.block_here();
        Ok(())
    }

    fn walk_to_indirect(&mut self, begun: Begun) -> Walk<BlockId> {
        let mut budget = self.budget(begun);
        loop {
            let id = self.block_here()?;
            match self.pass(id) {
                Ok(()) => self.spend(&mut budget, id)?,
                Err(End::Conditional) => return Err(Stop::Needs("TNT for a conditional branch")),
                Err(End::Undefined) => return Err(Stop::Needs("FUP of the exception")),
                Err(_) => return Ok(id),
            }
        }
    }

    /// Runs a block that ends with an indirect branch or a far transfer.
    #[inline]
    fn run_indirect(&mut self, id: BlockId) {
        let hot = self.code.hot(id);
        let (ring, mut depth) = self.returns.parts();
        let deepens = hot.deepens().max(-isize::from(!depth.is_empty()));
        ring.book(&mut depth, (id, hot.back()), deepens);
        self.returns.set_depth(depth);
        self.run_whole(id, hot.count);
    }

    /// Walks straight on until `target` is the next instruction, without using up any packet.
    /// Where code is missing, what lies before it ran; on any other failure nothing was walked.
    pub(super) fn walk_to(&mut self, target: Address) -> Walk<()> {
        let before = self.save();
        let walked = self.try_walk_to(target);
        match walked {
            Ok(()) | Err(Stop::Code(GapReason::MissingCode { .. })) => {}
            Err(_) => self.restore(before),
        }
        walked
    }

    fn save(&mut self) -> Saved {
        Saved {
            runs: self.out.trace().runs().len(),
            standing: self.standing,
            returns: self.returns.clone(),
        }
    }

    fn restore(&mut self, saved: Saved) {
        self.out.trace().truncate(saved.runs);
        self.standing = saved.standing;
        self.returns = saved.returns;
    }

    fn try_walk_to(&mut self, target: Address) -> Walk<()> {
        let mut budget = self.budget(self.begun());
        while self.address() != target {
            let id = self.block_here()?;
            if self.run_part(id, target) {
                return Ok(());
            }
            match self.pass(id) {
                Ok(()) => self.spend(&mut budget, id)?,
                Err(end) => return Err(Stop::Needs(needed(end))),
            }
        }
        Ok(())
    }

    /// Runs the part of the block here that lies before `target`, when that is inside.
    fn run_part(&mut self, id: BlockId, target: Address) -> bool {
        let Some(index) = self.code.index_in(id, target) else {
            return false;
        };
        self.run_whole(id, index);
        self.standing = Standing::Address(target, None);
        true
    }

    /// Walks to where tracing ended without an asynchronous event, and through the branch that ended
    /// it. Straight code never ends it, not even where it runs out of a filter's range: only branches
    /// and MOV to CR3 do (SDM, "Packet Generation under Different Enable Conditions").
    pub(super) fn walk_to_disable(&mut self, to: Option<Address>) -> Walk<()> {
        let begun = self.begun();
        let walked = self.try_walk_to_disable(to, begun);
        self.limited(begun, walked)
    }

    fn try_walk_to_disable(&mut self, to: Option<Address>, begun: Begun) -> Walk<()> {
        let mut budget = self.budget(begun);
        loop {
            let id = self.block_here()?;
            if self.disables_without_branch(id, to) {
                let _ = self.pass(id);
                self.mark_rounds(begun.runs);
                return Ok(());
            }
            match self.pass(id) {
                Ok(()) if self.disabled_behind(id, to) => return Ok(()),
                Ok(()) => self.spend(&mut budget, id)?,
                Err(End::Conditional) if self.leads_to(id, to) => {
                    self.run_whole(id, self.code.hot(id).count);
                    return Ok(());
                }
                Err(End::Conditional) => return Err(Stop::Needs("TNT for a conditional branch")),
                Err(End::Undefined) => return Err(Stop::Needs("FUP of the exception")),
                Err(_) => {
                    self.run_indirect(id);
                    return Ok(());
                }
            }
        }
    }

    /// Whether tracing ended with the end of block `id`, which was just passed.
    fn disabled_behind(&self, id: BlockId, to: Option<Address>) -> bool {
        self.code.hot(id).end != End::Split
            && match to {
                Some(to) => to == self.address(),
                None => self.left_filter(),
            }
    }

    /// A MOV to CR3 or WRMSR that switched tracing off: a TIP.PGD without address, and no
    /// other reason for it before the next branch.
    fn disables_without_branch(&self, id: BlockId, to: Option<Address>) -> bool {
        to.is_none() && self.code.hot(id).end == End::Control
    }

    /// SKL014: the direct branch just run led out of the traced regions; its TIP.PGD does not say so.
    fn left_filter(&self) -> bool {
        self.errata.skl014 && self.options.filter.excludes(self.address())
    }

    /// Whether the conditional branch at the end of `id` can have ended tracing. Where it led out of
    /// the traced regions, its TIP.PGD does not say where to.
    fn leads_to(&self, id: BlockId, to: Option<Address>) -> bool {
        match to {
            Some(to) => to == self.code.target(id) || to == self.code.end_address(id),
            None => self.options.filter.excludes(self.code.target(id)),
        }
    }

    /// Walks to the next PTWRITE if nothing but straight code lies before it.
    pub(super) fn walk_to_ptwrite(&mut self) -> Option<Address> {
        self.walk_to_found(CodeBuilder::ptwrite)
    }

    /// Runs the next MOV to CR3 if nothing but straight code lies before it, and says whether it did.
    pub(super) fn walk_through_control(&mut self) -> bool {
        let last = |code: &CodeBuilder, id| {
            let block = code.block(id);
            (code.hot(id).end == End::Control).then(|| block.address(block.instructions() - 1))
        };
        self.walk_to_found(last).is_some() && self.run_one().is_ok()
    }

    /// Whether nothing but straight code lies before a far transfer.
    pub(super) fn far_transfer_is_next(&mut self) -> bool {
        let before = self.save();
        let mut budget = self.budget(self.begun());
        let mut end = None;
        while end.is_none()
            && let Ok(id) = self.block_here()
        {
            end = self.pass(id).err();
            if end.is_none() && self.spend(&mut budget, id).is_err() {
                break;
            }
        }
        self.restore(before);
        end == Some(End::Far)
    }

    /// Runs `count` instructions of straight code, and fewer where a branch needs a packet.
    pub(super) fn walk_on(&mut self, count: u64) {
        let mut left = count as usize;
        let mut budget = self.budget(self.begun());
        while left > 0
            && let Ok(id) = self.block_here()
        {
            let block = self.code.block(id);
            let whole = block.instructions();
            // The branch at its end, if it needs a packet, does not run.
            let straight = whole - usize::from(self.code.hot(id).end.needs_packet());
            if left < whole || straight < whole {
                let target = block.address(left.min(straight));
                self.run_part_if_any(id, target);
                return;
            }
            if self.pass(id).is_err() || self.spend(&mut budget, id).is_err() {
                return;
            }
            left -= whole;
        }
    }

    /// Runs the part of the block here that lies before `target`, unless there is none.
    fn run_part_if_any(&mut self, id: BlockId, target: Address) {
        if target != self.address() {
            self.run_part(id, target);
        }
    }

    /// Walks straight on to the instruction that `find` names in one of the blocks; nothing
    /// was walked when there is none.
    fn walk_to_found(
        &mut self,
        find: impl Fn(&CodeBuilder, BlockId) -> Option<Address>,
    ) -> Option<Address> {
        let before = self.save();
        let mut budget = self.budget(self.begun());
        while let Ok(id) = self.block_here() {
            if let Some(at) = find(self.code, id) {
                self.run_part_if_any(id, at);
                return Some(at);
            }
            if self.pass(id).is_err() || self.spend(&mut budget, id).is_err() {
                break;
            }
        }
        self.restore(before);
        None
    }

    /// Runs the PTWRITE here, if it is one: its packet is made when it is over, and the next may be of
    /// another round.
    pub(super) fn run_ptwrite(&mut self) {
        let Ok(id) = self.block_here() else { return };
        let block = self.code.block(id);
        if self.code.ptwrite(id) != Some(block.at) {
            return;
        }
        match block.starts.get(1) {
            Some(&next) => {
                let next = block.at.offset(next.into());
                self.run_whole(id, 1);
                self.standing = Standing::Address(next, None);
            }
            None => drop(self.pass(id)),
        }
    }

    /// Runs the instruction here, whatever it is; tracing ended with it.
    pub(super) fn run_one(&mut self) -> Walk<()> {
        let id = self.block_here()?;
        self.run_whole(id, 1);
        self.standing = Standing::Address(self.code.end_address(id), None);
        Ok(())
    }

    /// Whether a part of the instruction here may have run.
    pub(super) fn may_be_midway(&mut self) -> bool {
        self.block_here()
            .is_ok_and(|id| may_stop_midway(self.code.block(id)))
    }

    /// Whether the instruction here is a VM entry.
    pub(super) fn at_vm_entry(&mut self) -> bool {
        self.block_here()
            .is_ok_and(|id| crate::code::is_vm_entry(self.code.block(id)))
    }
}

/// What a block of this end waits for.
fn needed(end: End) -> &'static str {
    match end {
        End::Conditional => "TNT for a conditional branch",
        End::Return => "TNT or TIP for a return",
        End::Undefined => "exception",
        _ => "TIP for an indirect branch",
    }
}
