//! Who is to blame for a contradiction: a search from what contradicts itself back along what was
//! learned from what, for the transfer over pending stores against which most speaks.
//!
//! Five things speak, each by its logarithm: a transfer that passed many stores, above all of the
//! shapes in which its place is accessed, is more likely wrong, and far more so when memory on both
//! sides of its place changed meanwhile; one that lies far from the
//! contradiction has less to do with it; and what its accesses know has agreed with all that came
//! after for as long as they have known it.
//!
//! DIVERGENCE: the paper blames by dereference level. Against the newest transfer alone,
//! measured on eight recordings: 91.8 instead of 90.2 % of register reads right, 0.11 instead of 0.29 %
//! wrong.

use super::bridged::Direction;
use super::cells::CELL;
use super::graph::{AccessState, NONE, PairKind};
use super::tracking::Cause;
use super::{Engine, Grade};
use hashbrown::HashMap;
use std::collections::VecDeque;

/// Nodes searched for the cause of one contradiction. Measured on 28 recordings: with four times as many, parsers
/// and interpreters took twice as long for slightly fewer values; with a quarter, more were wrong.
const MAX_BLAMED: usize = 256;
/// How much more likely a transfer is wrong over whose place memory changed on both sides. Measured on 83
/// recordings, against 1: 0.02 instead of 0.05 % of register reads wrong in the mean, 96.06 instead of 95.45 % right.
const CHANGED_AROUND: u32 = 1 << 10;
/// A pointer taken for a candidate is as likely wrong as a value that passed so many pending stores.
const CANDIDATE: u32 = 64;

/// Something that may be to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Suspect {
    /// How much speaks against it.
    against: i32,
    pub(super) what: Blamed,
}

/// What may be to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Blamed {
    /// An assumed equality.
    Pair(u32),
    /// Later access (or `NONE`: the dump), earlier access.
    Transfer(u32, u32),
}

impl Suspect {
    /// A pair, for want of anything else.
    pub(super) fn pair(number: u32) -> Suspect {
        Suspect {
            against: i32::MIN,
            what: Blamed::Pair(number),
        }
    }
}

/// The worst suspect so far.
#[derive(Default)]
struct Worst {
    suspect: Option<Suspect>,
    /// Nodes looked at before.
    far: u32,
}

impl Engine<'_> {
    /// Pending stores that a transfer not yet refuted passed; `None` when it passed none.
    pub(super) fn passed(&self, earlier: u32, later: u32) -> Option<u32> {
        let passed = self.counted_between(earlier, later);
        (passed > 0 && !self.refuted.contains(&(earlier, later))).then_some(passed)
    }

    /// The transfer as a suspect, if it passed pending stores; `nodes` hold bytes that it concerns,
    /// and `far` nodes were looked at before it was met.
    pub(super) fn suspect(
        &self,
        earlier: u32,
        later: u32,
        nodes: &[u32],
        far: u32,
    ) -> Option<Suspect> {
        let passed = self.passed(earlier, later)?;
        let against = logarithm(self.danger(earlier, later, passed)) - self.in_favour(nodes, far);
        Some(Suspect {
            against,
            what: Blamed::Transfer(later, earlier),
        })
    }

    /// How much speaks for a transfer besides the stores that it passed.
    fn in_favour(&self, nodes: &[u32], far: u32) -> i32 {
        let now = self.tracking.now();
        let learned = nodes.iter().map(|&node| self.tracking.last(node));
        let newest = learned.max().unwrap_or(0);
        let began = nodes.iter().filter_map(|&node| self.tracking.first(node));
        let first = began.min().unwrap_or(0);
        2 * logarithm(far + 1) + 2 * logarithm(now - first + 1) + logarithm(now - newest + 1)
    }

    /// How likely it is that a transfer, which passed so many pending stores, passed one that hit its
    /// place, in units of a store of another shape. Stores are told apart in the inferred grade only.
    fn danger(&self, earlier: u32, later: u32, passed: u32) -> u32 {
        if self.grade != Grade::Inferred {
            return passed;
        }
        let end = later.min(self.graph.accesses.len() as u32);
        let address = self.graph.accesses[earlier as usize].address;
        let shapes = self.cells.shapes(address / CELL);
        let passed = self.kinds.passed(address, earlier, end, shapes);
        let danger = passed.danger().max(1);
        if self.changed_around(address, earlier, later) {
            danger.saturating_mul(CHANGED_AROUND)
        } else {
            danger
        }
    }

    /// Suspects the transfer rather than `worst`, if one of its nodes had learned something by then.
    fn accuse(&self, worst: &mut Worst, earlier: u32, later: u32, nodes: &[u32], until: u32) {
        if !nodes.iter().any(|&node| self.knew(node, until)) {
            return;
        }
        // What it passed is asked last: it costs most.
        let most = Suspect {
            against: logarithm(u32::MAX) - self.in_favour(nodes, worst.far),
            what: Blamed::Transfer(later, earlier),
        };
        if Some(most) > worst.suspect {
            let suspect = self.suspect(earlier, later, nodes, worst.far);
            worst.suspect = worst.suspect.max(suspect);
        }
    }

    /// The assumption behind what the nodes learned in this grade against which most speaks.
    pub(super) fn blame(&self, nodes: &[u32]) -> Option<Suspect> {
        // What is searched of a node: what it knew until this moment.
        let mut seen: HashMap<u32, u32> = nodes.iter().map(|&node| (node, u32::MAX)).collect();
        let mut queue: VecDeque<(u32, u32)> = nodes.iter().map(|&node| (node, u32::MAX)).collect();
        let mut worst = Worst::default();
        let mut found = Vec::new();
        while let Some((node, until)) = queue.pop_front() {
            if self.tracking.first(node).is_none() || seen.len() > MAX_BLAMED {
                continue;
            }
            worst.far += 1;
            for (clock, cause) in self.tracking.events(node) {
                if clock > until {
                    continue;
                }
                let cause = if self.tracking.is_mixed(node) {
                    Cause::Many
                } else {
                    cause
                };
                self.sources(node, clock, cause, &mut found, &mut worst);
                for source in found.drain(..) {
                    if !self.knew(source, clock) {
                        continue;
                    }
                    let already = seen.entry(source).or_insert(0);
                    if *already < clock {
                        *already = clock;
                        queue.push_back((source, clock));
                    }
                }
                if cause == Cause::Many {
                    break;
                }
            }
        }
        worst.suspect
    }

    /// The node had learned something in this grade by then.
    fn knew(&self, node: u32, until: u32) -> bool {
        self.tracking
            .first(node)
            .is_some_and(|first| first <= until)
    }

    /// Nodes from which `node` may have learned until a moment; suspects met on the way go into `worst`.
    fn sources(
        &self,
        node: u32,
        until: u32,
        cause: Cause,
        found: &mut Vec<u32>,
        worst: &mut Worst,
    ) {
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
    fn many_sources(&self, node: u32, until: u32, found: &mut Vec<u32>, worst: &mut Worst) {
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

    /// The nodes of a pair, itself a suspect while such pairs are.
    fn pair_sources(&self, number: u32, found: &mut Vec<u32>, worst: &mut Worst) {
        let pair = self.graph.pairs[number as usize];
        found.extend(pair.nodes);
        if pair.refuted {
            return;
        }
        let suspect = match (pair.kind, self.grade) {
            (PairKind::Candidate | PairKind::Unwritten, _) => Suspect {
                against: logarithm(CANDIDATE) - self.in_favour(&pair.nodes, worst.far),
                what: Blamed::Pair(number),
            },
            (PairKind::Convention, Grade::Assumed) => Suspect::pair(number),
            _ => return,
        };
        worst.suspect = worst.suspect.max(Some(suspect));
    }

    /// The accesses before a load, and the transfers from them.
    fn transfer_sources(
        &self,
        node: u32,
        later: u32,
        until: u32,
        found: &mut Vec<u32>,
        worst: &mut Worst,
    ) {
        self.placement_sources(later, found);
        for call in self.freshened_by(later) {
            self.placement_sources(call, found);
        }
        for &store in self.raced_sources(later) {
            found.extend(self.nodes_of_access(store));
            self.placement_sources(store, found);
        }
        for earlier in self.heard_from(later, node, 0) {
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
        worst: &mut Worst,
    ) {
        if self.is_last(earlier) {
            let nodes = self.facing(node, earlier, NONE);
            self.accuse(worst, earlier, NONE, &nodes, until);
        }
        for later in self.adjacent(earlier, Direction::After) {
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

/// The binary logarithm of a positive number, in 256ths, between powers of two by interpolation.
fn logarithm(x: u32) -> i32 {
    let whole = x.max(1).ilog2();
    let rest = (u64::from(x) << 8 >> whole) & 0xff;
    (whole << 8) as i32 + rest as i32
}

#[cfg(test)]
mod tests {
    use super::logarithm;

    #[test]
    fn logarithms_ascend_and_double_by_one() {
        assert_eq!(logarithm(1), 0);
        assert!((1..5000).all(|x| logarithm(x) <= logarithm(x + 1)));
        assert!((1..5000).all(|x| logarithm(2 * x) == logarithm(x) + 256));
        assert_eq!(logarithm(u32::MAX), (31 << 8) + 255);
    }
}
