//! Who is to blame for a contradiction: a search from what contradicts itself back over what it may
//! have been learned from, by the time at which each was learned, for the newest assumption.
//!
//! DIVERGENCE: the paper blames by dereference level. Here the transfer (over pending stores) whose
//! accesses learned something last is blamed: stages go from cautious to bold, so the newest is the
//! boldest, and what was consistent with everything until now is more likely right. Measured on
//! recordings of lua, sqlite and ld.so against blaming the transfer that passed most stores: up to
//! 13 points more registers right.

use super::graph::{AccessState, NONE};
use super::retract::{Cause, Direction};
use super::{Engine, Grade};
use hashbrown::HashSet;
use std::collections::VecDeque;

/// Nodes searched for the cause of one contradiction.
const MAX_BLAMED: usize = 1024;

/// Something that may be to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Suspect {
    /// An assumed equality.
    Pair(u32),
    /// When its accesses last learned something, later access (or `NONE`: the dump), earlier access.
    Transfer(u32, u32, u32),
}

impl Engine<'_> {
    /// Pending stores that a transfer not yet refuted passed; `None` when it passed none.
    pub(super) fn passed(&self, earlier: u32, later: u32) -> Option<u32> {
        let passed = self.counted_between(earlier, later);
        (passed > 0 && !self.refuted.contains(&(earlier, later))).then_some(passed)
    }

    /// The transfer as a suspect, if it passed pending stores; `nodes` hold bytes that it concerns.
    pub(super) fn suspect(&self, earlier: u32, later: u32, nodes: &[u32]) -> Option<Suspect> {
        self.passed(earlier, later)?;
        // What was consistent longer is more likely right.
        Some(Suspect::Transfer(self.newest(nodes), later, earlier))
    }

    /// Suspects the transfer rather than `worst`, if one of its nodes had learned something by then.
    fn accuse(
        &self,
        worst: &mut Option<Suspect>,
        earlier: u32,
        later: u32,
        nodes: &[u32],
        until: u32,
    ) {
        let newest = self.newest(nodes);
        // Whether stores were passed is asked last: it costs most.
        if Some(Suspect::Transfer(newest, later, earlier)) > *worst
            && nodes.iter().any(|&node| self.knew(node, until))
        {
            *worst = (*worst).max(self.suspect(earlier, later, nodes));
        }
    }

    /// When the last of the nodes to learn something did.
    fn newest(&self, nodes: &[u32]) -> u32 {
        let learned = nodes.iter().map(|&node| self.tracking.last(node));
        learned.max().unwrap_or(0)
    }

    /// The newest assumption behind what the nodes learned in this grade.
    pub(super) fn blame(&self, nodes: &[u32]) -> Option<Suspect> {
        let mut seen: HashSet<u32> = nodes.iter().copied().collect();
        let mut queue: VecDeque<(u32, u32)> = nodes.iter().map(|&node| (node, u32::MAX)).collect();
        let mut worst = None;
        let mut found = Vec::new();
        while let Some((node, until)) = queue.pop_front() {
            if self.tracking.first(node).is_none() || seen.len() > MAX_BLAMED {
                continue;
            }
            // What a node learned came from what was known by then.
            let until = until.min(self.tracking.last(node));
            self.sources(node, until, &mut found, &mut worst);
            queue.extend(
                found
                    .drain(..)
                    .filter(|&source| self.knew(source, until) && seen.insert(source))
                    .map(|source| (source, until)),
            );
        }
        worst
    }

    /// The node had learned something in this grade by then.
    fn knew(&self, node: u32, until: u32) -> bool {
        self.tracking
            .first(node)
            .is_some_and(|first| first <= until)
    }

    /// Nodes from which `node` may have learned until a moment; suspects met on the way go into `worst`.
    fn sources(&self, node: u32, until: u32, found: &mut Vec<u32>, worst: &mut Option<Suspect>) {
        let cause = self.tracking.cause(node);
        match cause {
            Cause::Step(step) => found.extend(self.graph.nodes_of(step)),
            Cause::Transfer(later) => self.transfer_sources(node, later, until, found, worst),
            Cause::Final(earlier) => {
                let nodes = self.facing(node, earlier, NONE);
                self.accuse(worst, earlier, NONE, &nodes, until);
                self.placement_sources(earlier, found);
            }
            Cause::Pair(number) => self.pair_sources(number, found, worst),
            Cause::Many => self.many_sources(node, until, found, worst),
        }
    }

    /// A node that learned from more than one place: all that touch it are looked at.
    fn many_sources(
        &self,
        node: u32,
        until: u32,
        found: &mut Vec<u32>,
        worst: &mut Option<Suspect>,
    ) {
        for step in self.graph.touching(node) {
            found.extend(self.graph.nodes_of(step));
            for id in self.graph.accesses_of(step) {
                let access = self.graph.accesses[id as usize];
                if access.state == AccessState::Placed && self.nodes_of_access(id).contains(&node) {
                    if !access.kind.writes() {
                        self.transfer_sources(node, id, until, found, worst);
                    }
                    self.later_sources(node, id, until, found, worst);
                }
            }
        }
        for &number in self.graph.pairs_of.get(&node).into_iter().flatten() {
            self.pair_sources(number, found, worst);
        }
    }

    /// The nodes of a pair, itself a suspect while pairs are.
    fn pair_sources(&self, number: u32, found: &mut Vec<u32>, worst: &mut Option<Suspect>) {
        let pair = self.graph.pairs[number as usize];
        found.extend(pair.nodes);
        if self.grade == Grade::Assumed && !pair.refuted {
            *worst = (*worst).max(Some(Suspect::Pair(number)));
        }
    }

    /// The accesses before a load, and the transfers from them.
    fn transfer_sources(
        &self,
        node: u32,
        later: u32,
        until: u32,
        found: &mut Vec<u32>,
        worst: &mut Option<Suspect>,
    ) {
        self.placement_sources(later, found);
        for call in self.freshened_by(later) {
            self.placement_sources(call, found);
        }
        for &store in self.raced_sources(later) {
            found.extend(self.nodes_of_access(store));
            self.placement_sources(store, found);
        }
        for earlier in self.neighbours(later, Direction::Before) {
            let nodes = self.facing(node, earlier, later);
            if !nodes.is_empty() {
                self.accuse(worst, earlier, later, &nodes, until);
                found.extend(nodes);
                self.placement_sources(earlier, found);
            }
        }
    }

    /// The loads after an access, and the dump.
    fn later_sources(
        &self,
        node: u32,
        earlier: u32,
        until: u32,
        found: &mut Vec<u32>,
        worst: &mut Option<Suspect>,
    ) {
        if self.is_last(earlier) {
            let nodes = self.facing(node, earlier, NONE);
            self.accuse(worst, earlier, NONE, &nodes, until);
        }
        for later in self.neighbours(earlier, Direction::After) {
            if !self.graph.accesses[later as usize].kind.writes() {
                let nodes = self.facing(node, earlier, later);
                if !nodes.is_empty() {
                    self.accuse(worst, earlier, later, &nodes, until);
                    found.extend(nodes);
                    self.placement_sources(later, found);
                }
            }
        }
    }

    /// What the place of an access was taken from, if it was placed in this grade.
    fn placement_sources(&self, id: u32, found: &mut Vec<u32>) {
        let access = self.graph.accesses[id as usize];
        if access.state == AccessState::Placed && access.phase == self.grade as u8 {
            if let Some(call) = self.kernel_call(access.step) {
                found.extend(self.call_nodes(&call));
                return;
            }
            found.extend(self.address_nodes(access.step));
        }
    }
}
