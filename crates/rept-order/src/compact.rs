//! Merges neighbours that relate in the same way to every segment of every other thread.
//!
//! For neighbours `s`, `t` of one thread, another thread's segment `b` tells them apart
//! only when `s.latest < b.earliest ≤ t.latest` (after `s`, concurrent with `t`) or
//! `s.earliest ≤ b.latest < t.earliest` (concurrent with `s`, before `t`), or when an
//! edge begins or ends between them. All bounds of all threads, sorted, answer both by
//! binary search. Merging is lossless: relations of the merged segment are those of
//! each of its parts.

use crate::clock::Lane;
use crate::edge::Arc;
use rept_trace::{Interval, Timestamp};

/// Merges within each lane, and renumbers the arcs.
pub(crate) fn compact(lanes: &mut [Lane], arcs: Vec<Arc>) -> Vec<Arc> {
    let earliest = Bounds::new(lanes, |time| time.earliest);
    let latest = Bounds::new(lanes, |time| time.latest);
    let barriers = barriers(lanes.len(), &arcs);
    let kept: Vec<Vec<u32>> = (0u32..)
        .zip(lanes.iter_mut())
        .map(|(index, lane)| {
            let told_apart = |s: Interval, t: Interval| {
                earliest.has_foreign(index, s.latest.0.saturating_add(1), t.latest.0)
                    || (t.earliest.0 > 0
                        && latest.has_foreign(index, s.earliest.0, t.earliest.0 - 1))
            };
            merge(lane, &barriers[index as usize], told_apart)
        })
        .collect();
    // A barrier keeps the segment behind an arc, and the one in front of it ends there.
    let renumber = |(lane, at): (u32, u32)| {
        (
            lane,
            kept[lane as usize].partition_point(|&first| first <= at) as u32 - 1,
        )
    };
    arcs.into_iter()
        .map(|arc| Arc {
            from: renumber(arc.from),
            to: renumber(arc.to),
        })
        .collect()
}

/// Per lane, the indices of segments that must not be merged with the one before, ascending.
fn barriers(lanes: usize, arcs: &[Arc]) -> Vec<Vec<u32>> {
    let mut barriers = vec![Vec::new(); lanes];
    for arc in arcs {
        barriers[arc.from.0 as usize].push(arc.from.1 + 1);
        barriers[arc.to.0 as usize].push(arc.to.1);
    }
    for barriers in &mut barriers {
        barriers.sort_unstable();
    }
    barriers
}

/// Merges a lane in place; returns the old index of the first part of each new segment.
fn merge(
    lane: &mut Lane,
    barriers: &[u32],
    told_apart: impl Fn(Interval, Interval) -> bool,
) -> Vec<u32> {
    let mut firsts: Vec<u32> = Vec::new();
    let mut barriers = barriers.iter().peekable();
    let mut last_part = Interval::UNKNOWN;
    for at in 0..lane.len() {
        let segment = lane[at];
        let mut barred = firsts.is_empty();
        while barriers
            .next_if(|&&barrier| barrier <= at as u32)
            .is_some_and(|&barrier| barrier == at as u32)
        {
            barred = true;
        }
        if barred || told_apart(last_part, segment.time) {
            lane[firsts.len()] = segment;
            firsts.push(at as u32);
        } else {
            let merged = &mut lane[firsts.len() - 1];
            merged.steps += segment.steps;
            merged.time.latest = segment.time.latest;
        }
        last_part = segment.time;
    }
    lane.truncate(firsts.len());
    firsts
}

/// One bound of every segment, sorted by time.
struct Bounds {
    times: Vec<u64>,
    lanes: Vec<u32>,
    /// For each entry, the next one of another lane.
    next_foreign: Vec<u32>,
}

impl Bounds {
    fn new(lanes: &[Lane], bound: impl Fn(&Interval) -> Timestamp) -> Bounds {
        let mut entries: Vec<(u64, u32)> = lanes
            .iter()
            .flatten()
            .map(|segment| (bound(&segment.time).0, segment.thread))
            .collect();
        entries.sort_unstable();
        entries.dedup();
        let mut next_foreign = vec![entries.len() as u32; entries.len()];
        for at in (1..entries.len()).rev() {
            next_foreign[at - 1] = if entries[at].1 == entries[at - 1].1 {
                next_foreign[at]
            } else {
                at as u32
            };
        }
        let (times, lanes) = entries.into_iter().unzip();
        Bounds {
            times,
            lanes,
            next_foreign,
        }
    }

    /// Whether a lane other than `own` has a bound in `from..=to`.
    fn has_foreign(&self, own: u32, from: u64, to: u64) -> bool {
        let mut at = self.times.partition_point(|&time| time < from);
        if self.lanes.get(at) == Some(&own) {
            at = self.next_foreign[at] as usize;
        }
        self.times.get(at).is_some_and(|&time| time <= to)
    }
}
