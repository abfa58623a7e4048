//! When and from what the nodes learned what they know in the current grade: one event for each
//! time that a node learned something, so that a fault is looked for, and its consequences are taken
//! back, along what happened and not along all that might have (OSDI 2018, section 4.3 keeps one
//! cause a node).

use super::graph::NONE;
use hashbrown::HashSet;

/// What taught a node something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The relations of a step.
    Step(u32),
    /// The transfer between an access (this one, a load) and the one before it.
    Transfer(u32),
    /// The transfer between an access (this one) and the dump.
    Final(u32),
    /// A pair.
    Pair(u32),
    /// More than one of these.
    Many,
}

impl Cause {
    const MANY: u32 = u32::MAX;

    pub(super) fn encode(self) -> u32 {
        match self {
            Cause::Step(id) => id,
            Cause::Transfer(id) => 1 << 30 | id,
            Cause::Final(id) => 2 << 30 | id,
            Cause::Pair(id) => 3 << 30 | id,
            Cause::Many => Cause::MANY,
        }
    }

    pub(super) fn decode(code: u32) -> Cause {
        let id = code & ((1 << 30) - 1);
        match code >> 30 {
            _ if code == Cause::MANY => Cause::Many,
            0 => Cause::Step(id),
            1 => Cause::Transfer(id),
            2 => Cause::Final(id),
            _ => Cause::Pair(id),
        }
    }
}

/// Something that a node learned.
#[derive(Clone, Copy)]
struct Event {
    clock: u32,
    cause: u32,
    /// What the node learned before, or `NONE`.
    previous: u32,
}

/// When and from what the nodes learned in the current grade. Empty in the certain grade,
/// where nothing is ever taken back.
#[derive(Default)]
pub(super) struct Tracking {
    clock: u32,
    events: Vec<Event>,
    /// Events of nodes that forgot them.
    free: Vec<u32>,
    /// What each node learned last, or `NONE`.
    latest: Vec<u32>,
    /// When each node first learned something; 0 for never.
    first: Vec<u32>,
    /// Nodes that learned from more than their events say.
    mixed: HashSet<u32>,
    /// Nodes that may still be taken back.
    pub(super) budget: u64,
}

/// Times a node may be taken back on average before optimism ends.
const RETRACTIONS_PER_NODE: u64 = 8;

impl Tracking {
    pub(super) fn begin(&mut self, nodes: usize) {
        self.clock = 0;
        self.events.clear();
        self.free.clear();
        self.mixed.clear();
        self.first.clear();
        self.first.resize(nodes, 0);
        self.latest.clear();
        self.latest.resize(nodes, NONE);
        self.refill(nodes);
    }

    /// The same, from a moment on.
    pub(super) fn begin_at(&mut self, nodes: usize, moment: u32) {
        self.begin(nodes);
        self.clock = moment;
    }

    /// Nodes may be taken back again.
    pub(super) fn refill(&mut self, nodes: usize) {
        self.budget = nodes as u64 * RETRACTIONS_PER_NODE + 1000;
    }

    /// Something could not be taken back.
    pub(super) fn is_exhausted(&self) -> bool {
        self.budget == 0
    }

    /// Nodes were added.
    pub(super) fn resize(&mut self, nodes: usize) {
        if !self.first.is_empty() {
            self.first.resize(nodes, 0);
            self.latest.resize(nodes, NONE);
        }
    }

    /// The last moment.
    pub(super) fn now(&self) -> u32 {
        self.clock
    }

    /// The next moment.
    pub(super) fn tick(&mut self) -> u32 {
        self.clock = self.clock.saturating_add(1);
        self.clock
    }

    pub(super) fn learned(&mut self, node: u32, cause: Cause) {
        if self.first.is_empty() {
            return;
        }
        let clock = self.tick();
        let node = node as usize;
        if self.first[node] == 0 {
            self.first[node] = clock;
        }
        let event = Event {
            clock,
            cause: cause.encode(),
            previous: self.latest[node],
        };
        self.latest[node] = match self.free.pop() {
            Some(free) => {
                self.events[free as usize] = event;
                free
            }
            None => {
                self.events.push(event);
                self.events.len() as u32 - 1
            }
        };
    }

    /// What the node learned in this grade, newest first: when, and from what.
    pub(super) fn events(&self, node: u32) -> impl Iterator<Item = (u32, Cause)> + '_ {
        let mut next = self.latest.get(node as usize).copied().unwrap_or(NONE);
        std::iter::from_fn(move || {
            let event = self.events.get(next as usize)?;
            next = event.previous;
            Some((event.clock, Cause::decode(event.cause)))
        })
    }

    /// The node learned from more than its events say.
    pub(super) fn is_mixed(&self, node: u32) -> bool {
        self.mixed.contains(&node)
    }

    /// When the node last learned something in this grade, 0 when it did not.
    pub(super) fn last(&self, node: u32) -> u32 {
        self.events(node).next().map_or(0, |(clock, _)| clock)
    }

    /// When the node first learned something in this grade; `None` when it did not.
    pub(super) fn first(&self, node: u32) -> Option<u32> {
        self.first
            .get(node as usize)
            .copied()
            .filter(|&first| first != 0)
    }

    /// The node learned something after `moment`, perhaps from `cause`.
    pub(super) fn may_follow(&self, node: u32, moment: u32, cause: Cause) -> bool {
        self.may_follow_any(node, moment, |other| other == cause)
    }

    /// The node learned something after `moment`, perhaps from one of the causes.
    pub(super) fn may_follow_any(
        &self,
        node: u32,
        moment: u32,
        is_one: impl Fn(Cause) -> bool,
    ) -> bool {
        if self.mixed.contains(&node) {
            return self.last(node) > moment;
        }
        self.events(node)
            .take_while(|&(clock, _)| clock > moment)
            .any(|(_, cause)| is_one(cause))
    }

    /// The node learned from more than one place.
    pub(super) fn many(&mut self, node: u32) {
        if !self.first.is_empty() {
            self.mixed.insert(node);
        }
    }

    /// A node was added.
    pub(super) fn push(&mut self) {
        if !self.first.is_empty() {
            self.first.push(0);
            self.latest.push(NONE);
        }
    }

    /// The node knows nothing of this grade any more.
    pub(super) fn forget(&mut self, node: u32) {
        self.mixed.remove(&node);
        self.first[node as usize] = 0;
        let mut next = std::mem::replace(&mut self.latest[node as usize], NONE);
        while let Some(event) = self.events.get(next as usize) {
            self.free.push(next);
            next = event.previous;
        }
    }
}
