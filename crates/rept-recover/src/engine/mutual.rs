//! Threads that wait for each other: a load of one waits for a store whose address hangs on a load of another
//! thread, and that waits for a store of the first.
//!
//! Each thread is executed forward from what is known, past the pending stores of the others, as if none of
//! them hit anything. When nothing more follows, every load is taken back that passed a store which has no place
//! by then or may have hit the load's, with all that followed from it, until no such load is left. What the
//! others hold, they held. For let the stores have happened in their real order: the first was computed from
//! loads that no other had come before, so that it went where it was found; so the second read what was
//! there in truth, since the first, whose place is known now, hit nothing that it hangs on; and so on. That
//! holds for what is computed from earlier steps alone, so that nothing is learned backward meanwhile.
//!
//! DIVERGENCE: not in the paper.

use super::evidence::Lessons;
use super::graph::{AccessState, START};
use super::pending::PendingSet;
use super::tracking::{Cause, Tracking};
use super::{Engine, Grade};
use crate::bits::Bits;
use hashbrown::HashSet;

/// Times that loads are taken back before all of them are.
const MAX_ROUNDS: usize = 64;
/// Times that threads are executed, each time with what was learned by the time before.
const MAX_TIMES: usize = 16;

/// While threads are executed side by side.
#[derive(Default)]
pub(super) struct SideBySide {
    /// Loads that learn nothing any more: what they learned could not be proved.
    unproved: HashSet<u32>,
    contradictions: Contradictions,
}

/// What contradicted itself meanwhile.
#[derive(Default)]
struct Contradictions {
    any: bool,
    /// Loads that were to be told something else than they hold.
    loads: Vec<u32>,
    /// Pairs of which the second holds something else than the first.
    pairs: Vec<u32>,
}

/// What the engine knew before.
struct Kept {
    moment: u32,
    assumed: Vec<u64>,
    tracking: Tracking,
    lessons: Lessons,
    refuted: HashSet<(u32, u32)>,
    disabled: HashSet<u32>,
    /// How many there were.
    conflicts: usize,
}

/// A load, the node that holds what it read, and what that is.
type Loaded = (u32, u32, Bits);

impl Engine<'_> {
    /// Teaches what loads hold that waited for stores of other threads that waited for them.
    pub(super) fn execute_side_by_side(&mut self) {
        self.learn_side_by_side();
        // Where the stores went if nothing hit anything is where most of them will be found.
        self.kinds.expect(&std::mem::take(&mut self.store_places));
    }

    fn learn_side_by_side(&mut self) {
        for _ in 0..MAX_TIMES {
            if self.waiting_threads() < 2 || self.pace.is_stopped() {
                return;
            }
            let loaded = self.loaded_side_by_side();
            let mut learned = false;
            for (load, node, bits) in loaded {
                match self.learn(node, bits, Cause::Transfer(load)) {
                    Ok(new) => learned |= new,
                    Err(_) => self.conflict_at(self.graph.accesses[load as usize].step),
                }
            }
            self.fixpoint();
            if !learned {
                return;
            }
        }
    }

    /// Threads with stores that may be anywhere; none when they are not counted apart.
    fn waiting_threads(&self) -> usize {
        let waiting = |own: &&PendingSet| own.any();
        self.plain_of.iter().filter(waiting).count()
    }

    /// What loads hold by that. The engine is left as it was, but for where stores may be expected.
    fn loaded_side_by_side(&mut self) -> Vec<Loaded> {
        let kept = self.keep();
        self.tracking.begin_at(self.graph.nodes.len(), kept.moment);
        self.waiting.wake_all();
        self.side_by_side = Some(SideBySide::default());
        self.fixpoint();
        self.store_places = self.places_of_stores();
        let proved = self.take_back_unproved().unwrap_or_default();
        let loaded = self.loaded(proved);
        self.restore(kept);
        loaded
    }

    fn keep(&mut self) -> Kept {
        let known = self.known_masks();
        Kept {
            moment: self.tracking.now(),
            assumed: std::mem::replace(&mut self.assumed, known),
            tracking: std::mem::take(&mut self.tracking),
            lessons: self.lessons.clone(),
            refuted: self.refuted.clone(),
            disabled: self.disabled.clone(),
            conflicts: self.conflicts.len(),
        }
    }

    /// All is as it was kept. What depends on what is forgotten is looked at again.
    fn restore(&mut self, kept: Kept) {
        self.narrow_ranges();
        for node in 0..self.graph.nodes.len() as u32 {
            if self.tracking.first(node).is_some() {
                self.unlearn(node);
                self.touch(node);
            }
        }
        self.forget_ranges();
        self.side_by_side = None;
        let nodes = self.graph.nodes.len();
        (self.lessons, self.tracking, self.assumed) = (kept.lessons, kept.tracking, kept.assumed);
        self.lessons.resize(nodes);
        self.tracking.resize(nodes);
        (self.refuted, self.disabled) = (kept.refuted, kept.disabled);
        self.conflicts.truncate(kept.conflicts);
        self.displace_after(kept.moment);
        let wides: Vec<u32> = self.wides.keys().copied().collect();
        for wide in wides {
            self.untold(wide);
        }
    }

    /// Takes back loads that a store may have come before, and gives the others; `None` when that does not end, or
    /// when what is left contradicts something.
    fn take_back_unproved(&mut self) -> Option<Vec<u32>> {
        let mut tried_again = false;
        for _ in 0..MAX_ROUNDS {
            let Contradictions {
                any,
                mut loads,
                pairs,
            } = self.take_contradictions();
            let told = loads.len();
            loads.extend(self.loads_that_learned());
            let unproved = self.unproved_among(&loads);
            if unproved.is_empty() && !any {
                return Some(loads);
            }
            // A retraction that ran out of its budget leaves what should be gone.
            let given_up = self.tracking.is_exhausted() || self.pace.is_stopped();
            if given_up || (unproved.is_empty() && tried_again) {
                return None;
            }
            tried_again = unproved.is_empty();
            for load in unproved {
                if let Some(side_by_side) = &mut self.side_by_side {
                    side_by_side.unproved.insert(load);
                }
                self.retract_load(load);
            }
            for step in std::mem::take(&mut self.disabled) {
                self.work.insert(step);
            }
            loads[..told].iter().for_each(|&load| self.block(load));
            pairs.into_iter().for_each(|pair| self.hand_on(pair));
            self.fixpoint();
        }
        None
    }

    fn take_contradictions(&mut self) -> Contradictions {
        let side_by_side = self.side_by_side.as_mut();
        side_by_side.map_or_else(Contradictions::default, |side_by_side| {
            std::mem::take(&mut side_by_side.contradictions)
        })
    }

    fn contradictions(&mut self) -> Option<&mut Contradictions> {
        let side_by_side = self.side_by_side.as_mut()?;
        side_by_side.contradictions.any = true;
        Some(&mut side_by_side.contradictions)
    }

    /// A step contradicts what threads do that are executed side by side; false when none are.
    pub(super) fn step_contradicts_threads(&mut self) -> bool {
        self.contradictions().is_some()
    }

    /// What a load was to be told contradicts what it holds; false when no threads are executed side by side.
    pub(super) fn load_contradicts_threads(&mut self, load: u32) -> bool {
        let contradictions = self.contradictions();
        contradictions.map(|all| all.loads.push(load)).is_some()
    }

    /// Of the nodes of a pair, while threads are executed side by side, the second learns from the first,
    /// which is the earlier one.
    pub(super) fn hand_on(&mut self, pair: u32) {
        let held = self.graph.pairs[pair as usize];
        let [earlier, later] = held.nodes;
        let bits = held.forward(self.graph.nodes.bits[earlier as usize]);
        if self.learn(later, bits, Cause::Pair(pair)).is_err()
            && let Some(contradictions) = self.contradictions()
        {
            contradictions.pairs.push(pair);
        }
    }

    /// Those of some loads that a pending store may have come before.
    fn unproved_among(&mut self, loads: &[u32]) -> Vec<u32> {
        let side_by_side = self.side_by_side.take();
        let mut found = loads.to_vec();
        found.retain(|&load| {
            let entries = self.entries_of(load);
            !entries.iter().all(|&entry| {
                let entry = self.cells.entries[entry as usize];
                self.is_proved(entry)
            })
        });
        self.side_by_side = side_by_side;
        found
    }

    /// Loads that learned from what was before them.
    fn loads_that_learned(&self) -> Vec<u32> {
        let accesses = 0..self.graph.accesses.len() as u32;
        let loads = accesses.filter(|&id| {
            let access = self.graph.accesses[id as usize];
            access.state == AccessState::Placed && !access.kind.writes()
        });
        let learned = |&load: &u32| {
            let nodes = self.nodes_of_access(load);
            let cause = Cause::Transfer(load);
            let mut nodes = nodes.into_iter();
            nodes.any(|node| self.tracking.events(node).any(|(_, from)| from == cause))
        };
        loads.filter(learned).collect()
    }

    /// What loads hold, but for operands of strings: those get new nodes when they are placed again.
    fn loaded(&self, loads: Vec<u32>) -> Vec<Loaded> {
        let plain = loads.into_iter().filter(|load| self.wide(*load).is_none());
        let held = plain.map(|load| {
            let node = self.graph.accesses[load as usize].node;
            (load, node, self.graph.nodes.bits[node as usize])
        });
        held.collect()
    }

    /// What was found of accesses in this grade after a moment is open again; the others are to be told again.
    fn displace_after(&mut self, moment: u32) {
        for id in 0..self.graph.accesses.len() as u32 {
            let access = self.graph.accesses[id as usize];
            let after = access.phase == Grade::Assumed as u8 && access.clock > moment;
            match access.state {
                AccessState::Placed if after => self.displace(id),
                AccessState::Absent if after => self.happens_again(id),
                _ => {
                    self.block(id);
                    continue;
                }
            }
            self.work.insert(access.step);
        }
    }

    /// Pending stores between two accesses that count while threads are executed side by side: what the threads
    /// of the two may have written anywhere, and any thread at this place. `None` while they are not.
    pub(super) fn counted_side_by_side(
        &self,
        address: u64,
        after: u32,
        before: u32,
    ) -> Option<u32> {
        if !self.is_forward() {
            return None;
        }
        let accesses = self.graph.accesses.len() as u32;
        let ends = [after, before].into_iter();
        let ends = ends.filter(|&id| id < accesses && id != START);
        let own = ends.map(|id| {
            let thread = self.graph.thread_of(id) as usize;
            self.plain_of[thread].between(after, before)
        });
        let between = after.saturating_add(1)..before;
        let here = self.conditional.here(address, between.clone(), |_| true);
        Some(own.sum::<u32>() + here + self.ranged_here(address, between))
    }

    /// The load learns nothing while threads are executed side by side.
    pub(super) fn is_unproved(&self, load: u32) -> bool {
        let side_by_side = self.side_by_side.as_ref();
        side_by_side.is_some_and(|side_by_side| side_by_side.unproved.contains(&load))
    }

    /// Nothing is learned backward for now.
    pub(super) fn is_forward(&self) -> bool {
        self.side_by_side.is_some()
    }
}
