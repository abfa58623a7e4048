//! In which order threads make and close descriptors: numbers are known as long as that is known.

use super::super::Engine;
use super::super::graph::NONE;
use super::Outcome;
use super::role::{Role, role};
use rept_order::{Relation, SegmentId};
use std::collections::BTreeMap;

/// Pairs of calls that are held against each other.
const MAX_PAIRS: usize = 1 << 20;

impl Engine<'_> {
    /// The first call that makes or closes a descriptor of which it is not known whether another
    /// thread's did so before it; all before it are in their order.
    pub(super) fn settled_until(&self) -> u32 {
        // Of each thread, by ascending access.
        let mut before: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let (mut settled, mut pairs) = (NONE, 0);
        for call in &self.graph.kernel_calls {
            let number = self.number(call.arguments[0]);
            let role = number.map_or(Role::Anything, role);
            if !role.changes_numbers() || self.outcome_of(call) == Outcome::Failed {
                continue;
            }
            let thread = self.graph.thread_of(call.access);
            for (_, others) in before.iter().filter(|&(&other, _)| other != thread) {
                let end = others.partition_point(|&other| other < settled);
                for &other in others[..end].iter().rev() {
                    pairs += 1;
                    if self.is_before(other, call.access) {
                        break;
                    }
                    settled = other;
                }
            }
            if pairs > MAX_PAIRS {
                return 0;
            }
            before.entry(thread).or_default().push(call.access);
        }
        settled
    }

    /// One access comes before another thread's, later in the sequence.
    fn is_before(&self, earlier: u32, later: u32) -> bool {
        let segment = |access: u32| {
            let step = self.graph.accesses[access as usize].step;
            SegmentId(self.graph.segment_of(step) as u32)
        };
        self.order.relation(segment(earlier), segment(later)) == Relation::Before
    }
}
