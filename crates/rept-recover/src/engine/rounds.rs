//! Rounds: the inferred grade starts over, knowing where the stores of the round before went.
//!
//! In the first round nothing is known of a pending store but its instruction, and what a value
//! passed on its way is a number of stores any of which may have hit it. In the end most of them
//! have a place. The next round starts from what was assumed, takes those places as where the
//! stores will be found again, and lets a value pass none of them that will hit it and all of the
//! others: so it comes to the same values on a surer way, and to others that a contradiction
//! barred before. A stage that has to take back too much of what it teaches ends its round, and
//! later rounds end with it: where stores went by then is not expected either.
//! In the last round such a stage is taken back.
//! Values are not handed on, nor what was refuted, only places.
//!
//! DIVERGENCE: not in the paper. Measured on recordings of CPython, Lua, SQLite, Rust programs and
//! threads against a single round: more values right in all, and in the mean half as many wrong.

use super::graph::{AccessKind, AccessState};
use super::{Engine, Grade};
use hashbrown::HashSet;

/// Rounds of the inferred grade.
pub(super) const ROUNDS: u8 = 2;
/// Words that a stage must make known for each transfer that it has to refute. Held against truth,
/// stages come to twenty and more where they are right, and to less than two where they are not.
const WORTH: usize = 2;
/// The same for a stage that did not pay in the first round.
const WORTH_IN_DOUBT: usize = 20;
/// Refuted transfers that say nothing about a stage.
const FEW_REFUTED: usize = 32;

/// What was known, and held against whom, before a stage.
pub(super) struct Before {
    /// Words known whole.
    known: usize,
    clock: u32,
    stage: u8,
    limit: u32,
    refuted: HashSet<(u32, u32)>,
    undecided: HashSet<(u32, u32)>,
    disabled: HashSet<u32>,
    conflicts: usize,
    unexplained: u64,
}

impl Before {
    /// It was taken right before a stage.
    pub(super) fn is_before(&self, stage: u8) -> bool {
        self.stage + 1 == stage
    }
}

impl Engine<'_> {
    /// Back to what was assumed; where stores went is kept.
    pub(super) fn start_over(&mut self) {
        self.refuted.clear();
        self.undecided.clear();
        self.forget_pointers();
        self.enable(HashSet::new());
        self.statistics.unexplained = 0;
        self.conflicts.truncate(self.assumed_conflicts);
        self.kinds.expect(&std::mem::take(&mut self.store_places));
        self.displace_inferred(0);
        self.unlearn_since(0);
        self.begin(Grade::Inferred);
        (self.stage, self.limit) = (0, 0);
    }

    /// What there is before a stage.
    pub(super) fn before_stage(&self) -> Before {
        Before {
            known: self.words_known(),
            clock: self.tracking.now(),
            stage: self.stage,
            limit: self.limit,
            refuted: self.refuted.clone(),
            undecided: self.undecided.clone(),
            disabled: self.disabled.clone(),
            conflicts: self.conflicts.len(),
            unexplained: self.statistics.unexplained,
        }
    }

    fn words_known(&self) -> usize {
        let bits = self.graph.nodes.bits.iter();
        bits.filter(|bits| bits.known == u64::MAX).count()
    }

    /// Did the stages since then pay?
    pub(super) fn paid(&self, before: &Before) -> bool {
        let known = self.words_known().saturating_sub(before.known);
        let refuted = self.refuted.len().saturating_sub(before.refuted.len());
        let worth = if self.is_doubtful(self.stage) {
            WORTH_IN_DOUBT
        } else {
            WORTH
        };
        refuted <= FEW_REFUTED || known >= worth * refuted
    }

    /// The first round gave this stage up.
    pub(super) fn is_doubtful(&self, stage: u8) -> bool {
        self.doubtful == Some(stage)
    }

    /// The stages since then did not pay: later rounds end with the first of them, where, knowing
    /// where stores went, they get further. The last round takes them back.
    pub(super) fn give_up(&mut self, before: Before) {
        if self.round == 0 {
            self.doubtful = Some(before.stage + 1);
        }
        if self.round + 1 == ROUNDS {
            self.take_back(before);
        }
    }

    /// Takes a stage back: what was learned in it goes, and what it took from the stages before is
    /// learned again.
    fn take_back(&mut self, before: Before) {
        self.refuted = before.refuted;
        self.undecided = before.undecided;
        self.enable(before.disabled);
        self.conflicts.truncate(before.conflicts);
        self.statistics.unexplained = before.unexplained;
        self.displace_inferred(before.clock);
        self.tracking.refill(self.graph.nodes.len());
        self.unlearn_since(before.clock);
        (self.stage, self.limit) = (before.stage, before.limit);
        self.observe_kinds();
        self.fixpoint();
    }

    /// Takes back what was learned in this grade after a moment, and the ranges of stores, which may follow from it.
    fn unlearn_since(&mut self, moment: u32) {
        for node in 0..self.graph.nodes.len() as u32 {
            if self.tracking.last(node) > moment {
                self.unlearn(node);
                self.touch(node);
            }
        }
        for store in self.forget_ranges() {
            self.work.insert(self.graph.accesses[store as usize].step);
        }
    }

    /// Only these steps are left alone from now on; the others are visited again.
    fn enable(&mut self, disabled: HashSet<u32>) {
        for step in std::mem::replace(&mut self.disabled, disabled) {
            if !self.disabled.contains(&step) {
                self.work.insert(step);
            }
        }
    }

    /// Notes where stores are, for the next round, if there is one.
    pub(super) fn note_places(&mut self) {
        if self.round + 1 < ROUNDS {
            self.store_places = self.places_of_stores();
        }
    }

    /// Where the stores are that have a place, as address and bytes.
    pub(super) fn places_of_stores(&self) -> Vec<Option<(u64, u8)>> {
        let places = self.graph.accesses.iter().map(|access| {
            let placed = access.kind == AccessKind::Store && access.state == AccessState::Placed;
            placed.then_some((access.address, access.size))
        });
        places.collect()
    }

    /// All accesses that were placed in the inferred grade after a moment are pending again; the
    /// others are to be told again.
    fn displace_inferred(&mut self, after: u32) {
        for id in 0..self.graph.accesses.len() as u32 {
            let access = self.graph.accesses[id as usize];
            let inferred = access.phase == Grade::Inferred as u8 && access.clock > after;
            match access.state {
                AccessState::Placed if inferred => self.displace(id),
                AccessState::Absent if inferred => self.happens_again(id),
                AccessState::Placed => {
                    self.block(id);
                    continue;
                }
                _ => continue,
            }
            self.work.insert(access.step);
        }
    }

    /// It is open again whether an access happened.
    pub(super) fn happens_again(&mut self, id: u32) {
        let access = &mut self.graph.accesses[id as usize];
        access.state = AccessState::Pending;
        if access.kind.writes() {
            self.unsettled(id);
        }
    }
}
