//! How far each thread had come at the segments that edges lead to.
//!
//! A frontier is a sparse vector clock: for each other thread with segments proved
//! earlier *by edges*, how many. It changes within a thread only where an edge arrives,
//! so it is kept there alone, and a query looks up the last such place.

use crate::Diagnostic;
use crate::clock::Lane;
use crate::edge::Arc;
use crate::sequence::Merged;
use std::collections::BTreeMap;

/// Entries that the frontiers of a small trace may use; large ones get `ENTRIES_PER_SEGMENT`.
const ENTRIES_MIN: usize = 1 << 22;
/// Entries (8 bytes) per segment.
const ENTRIES_PER_SEGMENT: usize = 8;

/// The closure of program order and the edges that time does not imply.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frontiers {
    /// Per lane, by ascending index: segments at which edges arrive, and their frontier.
    joins: Vec<Vec<Join>>,
    /// (lane, number of its segments that came before), ascending within a frontier.
    entries: Vec<(u32, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Join {
    at: u32,
    start: usize,
    end: usize,
}

impl Frontiers {
    pub(crate) fn new(
        lanes: &[Lane],
        arcs: &[Arc],
        merged: &Merged,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Frontiers {
        let limit = ENTRIES_MIN.max(merged.segments.len().saturating_mul(ENTRIES_PER_SEGMENT));
        let (frontiers, ignored) = Frontiers::within(limit, lanes.len(), arcs, merged);
        if ignored > 0 {
            diagnostics.push(Diagnostic::EdgesBeyondLimit { ignored });
        }
        frontiers
    }

    /// Builds frontiers of at most `limit` entries; also returns the number of arcs ignored.
    fn within(limit: usize, lanes: usize, arcs: &[Arc], merged: &Merged) -> (Frontiers, u64) {
        let mut frontiers = Frontiers {
            joins: vec![Vec::new(); lanes],
            entries: Vec::new(),
        };
        let mut ignored = 0;
        for group in in_sequence(arcs, merged) {
            let frontier = frontiers.joined(group);
            if frontiers.entries.len() + frontier.len() > limit {
                ignored += group.len() as u64;
                continue;
            }
            let (lane, at) = group[0].to;
            let start = frontiers.entries.len();
            frontiers.entries.extend(frontier);
            frontiers.joins[lane as usize].push(Join {
                at,
                start,
                end: frontiers.entries.len(),
            });
        }
        (frontiers, ignored)
    }

    /// The frontier of the segment that these arcs lead to.
    fn joined(&self, group: &[Arc]) -> BTreeMap<u32, u32> {
        let (lane, at) = group[0].to;
        let mut frontier: BTreeMap<u32, u32> = self.at(lane, at).iter().copied().collect();
        let mut include = |lane: u32, count: u32| {
            let reached = frontier.entry(lane).or_insert(0);
            *reached = count.max(*reached);
        };
        for arc in group {
            include(arc.from.0, arc.from.1 + 1);
            for &(lane, count) in self.at(arc.from.0, arc.from.1) {
                include(lane, count);
            }
        }
        frontier.remove(&lane);
        frontier
    }

    /// The frontier of a segment: that of the last join up to it.
    fn at(&self, lane: u32, at: u32) -> &[(u32, u32)] {
        let Some(joins) = self.joins.get(lane as usize) else {
            return &[];
        };
        match joins.partition_point(|join| join.at <= at).checked_sub(1) {
            Some(last) => &self.entries[joins[last].start..joins[last].end],
            None => &[],
        }
    }

    /// Whether edges and program order lead from `a` to `b`, of different lanes. O(log n).
    pub(crate) fn reaches(&self, a: (u32, u32), b: (u32, u32)) -> bool {
        let frontier = self.at(b.0, b.1);
        match frontier.binary_search_by_key(&a.0, |&(lane, _)| lane) {
            Ok(entry) => a.1 < frontier[entry].1,
            Err(_) => false,
        }
    }
}

/// The arcs grouped by target, groups in sequence order: what leads to a source comes first.
fn in_sequence<'a>(arcs: &'a [Arc], merged: &Merged) -> Vec<&'a [Arc]> {
    let mut groups: Vec<&[Arc]> = arcs.chunk_by(|a, b| a.to == b.to).collect();
    groups.sort_by_key(|group| {
        let (lane, at) = group[0].to;
        merged.lanes[lane as usize][at as usize]
    });
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Segment;
    use crate::sequence::merge;
    use rept_trace::Interval;

    #[test]
    fn beyond_the_limit_order_is_lost_not_invented() {
        let segment = |thread, first| Segment {
            thread,
            first,
            steps: 1,
            time: Interval::UNKNOWN,
        };
        let lanes: Vec<Lane> = (0..3)
            .map(|thread| vec![segment(thread, 0), segment(thread, 1)])
            .collect();
        let arcs = [
            Arc {
                from: (0, 0),
                to: (1, 1),
            },
            Arc {
                from: (1, 1),
                to: (2, 1),
            },
        ];
        let merged = merge(&lanes, &arcs);

        let (all, ignored) = Frontiers::within(3, 3, &arcs, &merged);
        assert_eq!(ignored, 0);
        assert!(
            all.reaches((0, 0), (1, 1))
                && all.reaches((0, 0), (2, 1))
                && all.reaches((1, 1), (2, 1))
        );

        let (some, ignored) = Frontiers::within(2, 3, &arcs, &merged);
        assert_eq!(ignored, 1);
        assert!(
            some.reaches((0, 0), (1, 1))
                && !some.reaches((0, 0), (2, 1))
                && !some.reaches((1, 1), (2, 1))
        );
    }
}
