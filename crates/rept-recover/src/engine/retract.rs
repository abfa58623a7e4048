//! Error correction: what was refuted is taken back, and all that followed from it; who is to blame
//! for a contradiction, `blame` finds out.
//!
//! A node depends on another of the same step or transfer that knew something before the step or
//! transfer taught it (`tracking`). That may take back too much, never too little (OSDI 2018,
//! section 4.3: transitive invalidation); what was taken back wrongly is learned again.

use super::blame::{Blamed, Suspect};
use super::bridged::Direction;
use super::cells::Entry;
use super::graph::{AccessState, NONE, PairKind};
use super::tracking::{Cause, Tracking};
use super::{Engine, Grade};
use crate::bits::Bits;
use crate::experiment::Technique;
use smallvec::SmallVec;

impl Engine<'_> {
    /// The step's relations contradict what is known of its nodes.
    pub(super) fn conflict_at(&mut self, step: u32) {
        let nodes: Vec<u32> = self.graph.nodes_of(step).collect();
        self.conflict_between(step, &nodes);
    }

    /// The step's relations contradict what is known of some nodes.
    pub(super) fn conflict_between(&mut self, step: u32, nodes: &[u32]) {
        if self.correct(nodes, None) {
            self.work.insert(step);
            return;
        }
        self.disabled.insert(step);
        self.conflicts.push(step);
    }

    /// Two accesses that should hold the same bytes do not (`NONE`: the dump).
    pub(super) fn transfer_conflict(&mut self, earlier: u32, later: u32, nodes: &[u32]) {
        if self.fails_trial() {
            return;
        }
        if self.load_contradicts_threads(later) {
            return;
        }
        if !self.without.has(Technique::Correction) && self.refute_equals(earlier, later) {
            return;
        }
        let own = self.suspect(earlier, later, nodes, 0);
        if !self.correct(nodes, own) {
            self.refuted.insert((earlier, later));
            self.conflicts
                .push(self.graph.accesses[earlier as usize].step);
        }
    }

    /// A value came over pending stores from one side and another value from the other side, over
    /// just as many: the place changed on either side, and neither value may be taken.
    fn refute_equals(&mut self, earlier: u32, later: u32) -> bool {
        let Some(danger) = self.count_of_danger(earlier, later) else {
            return false;
        };
        let taught = [earlier, later].into_iter().filter(|&id| id != NONE);
        let rivals: Vec<(u32, u32)> = taught
            .flat_map(|id| self.taught_by(id))
            .filter(|&rival| rival != (earlier, later))
            .filter(|&(from, to)| self.count_of_danger(from, to) == Some(danger))
            .collect();
        for &(from, to) in &rivals {
            self.statistics.refuted += 1;
            self.refuted.insert((from, to));
            self.undecided.insert((from, to));
            self.retract_transfer(from, to);
        }
        if !rivals.is_empty() {
            self.statistics.refuted += 1;
            self.refuted.insert((earlier, later));
            self.undecided.insert((earlier, later));
        }
        !rivals.is_empty()
    }

    /// Pending stores that a transfer passed, and whether memory changed on both sides of its place; `None` when it
    /// passed none.
    fn count_of_danger(&self, earlier: u32, later: u32) -> Option<(u32, bool)> {
        let passed = self.passed(earlier, later)?;
        let address = self.graph.accesses[earlier as usize].address;
        Some((passed, self.changed_around(address, earlier, later)))
    }

    /// The transfers that taught an access its bytes directly, as (earlier, later).
    pub(super) fn taught_by(&self, id: u32) -> Vec<(u32, u32)> {
        let node = self.graph.accesses[id as usize].node;
        if node == NONE || self.tracking.first(node).is_none() {
            return Vec::new();
        }
        let mut taught = Vec::new();
        for (clock, cause) in self.tracking.events(node) {
            match cause {
                // The node may belong to a load and to stores of what it loaded.
                Cause::Transfer(later) => {
                    let own = self.nodes_of_access(later).contains(&node);
                    let mut before = self.heard_from(later, node, clock);
                    before.retain(|from| own || self.nodes_of_access(*from).contains(&node));
                    taught.extend(before.into_iter().map(|from| (from, later)));
                }
                Cause::Final(from) => taught.push((from, NONE)),
                _ => {}
            }
        }
        taught
    }

    /// The nodes of a pair are known to differ.
    pub(super) fn pair_conflict(&mut self, number: u32) {
        let nodes = self.graph.pairs[number as usize].nodes;
        if !self.correct(&nodes, Some(Suspect::pair(number))) {
            self.graph.pairs[number as usize].refuted = true;
        }
    }

    /// Finds and refutes what is to blame for a contradiction between nodes; false when nothing is.
    pub(super) fn correct(&mut self, nodes: &[u32], own: Option<Suspect>) -> bool {
        if self.step_contradicts_threads() {
            return false;
        }
        if self.grade == Grade::Certain {
            self.statistics.certain_conflicts += 1;
            return false;
        }
        if self.fails_trial() {
            return true;
        }
        let suspect = if self.without.has(Technique::Correction) {
            None
        } else {
            self.blame(nodes).max(own)
        };
        let Some(suspect) = suspect else {
            self.statistics.unexplained += 1;
            return false;
        };
        match suspect.what {
            Blamed::Pair(number) => {
                match self.graph.pairs[number as usize].kind {
                    PairKind::Convention => self.statistics.assumption_conflicts += 1,
                    PairKind::Candidate | PairKind::Unwritten => self.statistics.refuted += 1,
                }
                self.graph.pairs[number as usize].refuted = true;
                let seeds = self.graph.pairs[number as usize].nodes;
                self.retract(&seeds, |t, node| t.may_follow(node, 0, Cause::Pair(number)));
            }
            Blamed::Transfer(later, earlier) => {
                self.statistics.refuted += 1;
                self.refuted.insert((earlier, later));
                self.retract_transfer(earlier, later);
            }
        }
        true
    }

    pub(super) fn is_last(&self, id: u32) -> bool {
        self.entries_of(id)
            .into_iter()
            .any(|entry| self.cells.entries[entry as usize].next == NONE)
    }

    /// Nodes that the addresses of a step are computed from.
    pub(super) fn address_nodes(&self, step: u32) -> impl Iterator<Item = u32> + '_ {
        let mask = self.address_words(step);
        let nodes = self.graph.nodes_of(step).enumerate();
        nodes
            .filter(move |(word, _)| mask >> (*word).min(63) & 1 == 1)
            .map(|(_, node)| node)
    }

    /// Words of a step's effect that its addresses are computed from, one bit each (from 63 on one bit for all).
    pub(super) fn address_words(&self, step: u32) -> u64 {
        self.graph.address_words[self.graph.steps[step as usize].effect as usize]
    }

    /// Takes back what two accesses learned from each other.
    pub(super) fn retract_transfer(&mut self, earlier: u32, later: u32) {
        let seeds = self.shared_nodes(earlier, later);
        self.retract(&seeds, |tracking, node| match later {
            NONE => tracking.may_follow(node, 0, Cause::Final(earlier)),
            later => tracking.may_follow(node, 0, Cause::Transfer(later)),
        });
    }

    /// Takes back what a load learned from what was before it.
    pub(super) fn retract_load(&mut self, load: u32) {
        let seeds = self.nodes_of_access(load);
        self.retract(&seeds, |tracking, node| {
            tracking.may_follow(node, 0, Cause::Transfer(load))
        });
    }

    /// Takes back what an access learned from its neighbours, and they from it.
    pub(super) fn retract_around(&mut self, id: u32) {
        for earlier in self.neighbours(id, Direction::Before) {
            self.retract_transfer(earlier, id);
        }
        for later in self.neighbours(id, Direction::After) {
            self.retract_transfer(id, later);
        }
        self.retract_transfer(id, NONE);
    }

    /// Takes back those of `seeds` that `learned` says, and all that followed from them.
    pub(super) fn retract(&mut self, seeds: &[u32], learned: impl Fn(&Tracking, u32) -> bool) {
        let mut stack: Vec<u32> = seeds
            .iter()
            .copied()
            .filter(|&node| learned(&self.tracking, node))
            .collect();
        while let Some(node) = stack.pop() {
            let Some(moment) = self.tracking.first(node) else {
                continue;
            };
            let Some(budget) = self.tracking.budget.checked_sub(1) else {
                self.limit = 0;
                return;
            };
            self.tracking.budget = budget;
            self.unlearn(node);
            self.dependents(node, moment, &mut stack);
            self.touch(node);
        }
    }

    /// Back to what earlier grades knew.
    pub(super) fn unlearn(&mut self, node: u32) {
        let base = match self.grade {
            _ if self.is_forward() => self.assumed[node as usize],
            Grade::Inferred => self.assumed[node as usize],
            _ => self.certain[node as usize],
        };
        let bits = &mut self.graph.nodes.bits[node as usize];
        *bits = Bits::new(bits.known & base, bits.value);
        self.tracking.forget(node);
        self.lessons.forget(node, self.grade);
    }

    /// Nodes that may have learned from `node` after `moment`; accesses placed by it are displaced.
    fn dependents(&mut self, node: u32, moment: u32, stack: &mut Vec<u32>) {
        let steps: SmallVec<[u32; 8]> = self.graph.touching(node).collect();
        for step in steps {
            for other in self.graph.nodes_of(step) {
                if other != node && self.tracking.may_follow(other, moment, Cause::Step(step)) {
                    stack.push(other);
                }
            }
            for id in self.graph.accesses_of(step) {
                self.access_dependents(id, node, moment, stack);
            }
        }
        for &number in self.graph.pairs_of.get(&node).into_iter().flatten() {
            for other in self.graph.pairs[number as usize].nodes {
                if self.tracking.may_follow(other, moment, Cause::Pair(number)) {
                    stack.push(other);
                }
            }
        }
    }

    fn access_dependents(&mut self, id: u32, node: u32, moment: u32, stack: &mut Vec<u32>) {
        let access = self.graph.accesses[id as usize];
        if access.state == AccessState::Absent && access.phase == self.grade as u8 {
            self.happens_again(id);
            self.work.insert(access.step);
        }
        if access.state != AccessState::Placed {
            return;
        }
        if self.wide(id).is_some() {
            let nodes = self.nodes_of_access(id);
            if nodes.contains(&node) {
                self.untold(id);
                self.transfer_dependents(id, moment, stack);
            } else {
                // What a system call wrote may follow from its result.
                let cause = Cause::Step(access.step);
                let follow = |&other: &u32| self.tracking.may_follow(other, moment, cause);
                stack.extend(nodes.into_iter().filter(follow));
            }
        } else if access.node == node {
            // Not told of what is known now, whatever that is.
            self.graph.accesses[id as usize].told = !self.graph.nodes.bits[node as usize].known;
            self.transfer_dependents(id, moment, stack);
        }
        let here = access.phase == self.grade as u8 && access.clock > moment;
        if here && self.feeds_address(access.step, node) {
            self.transfer_dependents(id, 0, stack);
            let nodes = self.nodes_of_access(id).into_iter();
            let since = access.clock.saturating_sub(1);
            let told = |cause| matches!(cause, Cause::Transfer(_) | Cause::Final(_));
            stack.extend(nodes.filter(|&node| self.tracking.may_follow_any(node, since, told)));
            self.fresh_dependents(id, stack);
            self.displace(id);
            self.work.insert(access.step);
        }
    }

    fn feeds_address(&self, step: u32, node: u32) -> bool {
        if let Some(call) = self.kernel_call(step) {
            return self.call_nodes(&call).contains(&node);
        }
        self.address_nodes(step).any(|other| other == node)
    }

    /// Nodes of neighbouring accesses that may have learned from this one.
    fn transfer_dependents(&self, id: u32, moment: u32, stack: &mut Vec<u32>) {
        self.raced_dependents(id, moment, stack);
        for entry in self.entries_of(id) {
            for other in self.told_by(entry, Direction::After, moment) {
                let Entry { node, order, .. } = self.cells.entries[other as usize];
                let cause = Cause::Transfer(order);
                if self.tracking.may_follow(node, moment, cause) {
                    stack.push(node);
                }
            }
            for other in self.told_by(entry, Direction::Before, moment) {
                let node = self.cells.entries[other as usize].node;
                if self.tracking.may_follow(node, moment, Cause::Transfer(id)) {
                    stack.push(node);
                }
            }
        }
    }
}
