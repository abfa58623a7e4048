//! One deterministic linear extension.
//!
//! The lanes are merged by the middle of their next segment's interval. Both bounds
//! ascend along program order and along edges, and rise strictly where time orders two
//! segments, so the middle does too: whenever a segment waits for an edge, what it waits
//! for is at the head of its lane with a key no greater, and nothing that must come
//! later has a smaller one.

use crate::Segment;
use crate::clock::Lane;
use crate::edge::Arc;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The sequence, and where each thread's segments are in it.
pub(crate) struct Merged {
    /// The segments in sequence order.
    pub(crate) segments: Vec<Segment>,
    /// For each of them, its index in its lane.
    pub(crate) ranks: Vec<u32>,
    /// For each lane, the sequence positions of its segments.
    pub(crate) lanes: Vec<Vec<u32>>,
}

/// Merges the lanes; `arcs` are acyclic, by ascending target.
pub(crate) fn merge(lanes: &[Lane], arcs: &[Arc]) -> Merged {
    let total = lanes.iter().map(Vec::len).sum();
    let mut merged = Merged {
        segments: Vec::with_capacity(total),
        ranks: Vec::with_capacity(total),
        lanes: lanes
            .iter()
            .map(|lane| Vec::with_capacity(lane.len()))
            .collect(),
    };
    let mut gate = Gate::new(lanes.len(), arcs);
    let mut heads = BinaryHeap::new();
    for lane in 0..lanes.len() as u32 {
        push_head(&mut heads, lanes, &gate, lane, 0);
    }
    while let Some(Reverse((_, lane))) = heads.pop() {
        let rank = merged.lanes[lane as usize].len() as u32;
        merged.lanes[lane as usize].push(merged.segments.len() as u32);
        merged.segments.push(lanes[lane as usize][rank as usize]);
        merged.ranks.push(rank);
        for (opened, at) in gate.pass(lane, rank) {
            if merged.lanes[opened as usize].len() as u32 == at {
                push_head(&mut heads, lanes, &gate, opened, at);
            }
        }
        push_head(&mut heads, lanes, &gate, lane, rank + 1);
    }
    merged
}

/// Queues a lane by its segment `at`, when there is one and nothing holds it back.
fn push_head(
    heads: &mut BinaryHeap<Reverse<(u128, u32)>>,
    lanes: &[Lane],
    gate: &Gate,
    lane: u32,
    at: u32,
) {
    if let Some(segment) = lanes[lane as usize].get(at as usize)
        && gate.is_open(lane, at)
    {
        let middle = u128::from(segment.time.earliest.0) + u128::from(segment.time.latest.0);
        heads.push(Reverse((middle, lane)));
    }
}

/// Holds segments back until the sources of all edges into them are placed.
struct Gate<'a> {
    arcs: &'a [Arc],
    /// Indices of arcs, by ascending source.
    by_source: Vec<u32>,
    /// Per lane, the first of `by_source` not passed.
    outgoing: Vec<usize>,
    /// For the first arc into a segment, how many of the arcs into it are still to pass.
    missing: Vec<u32>,
}

impl<'a> Gate<'a> {
    fn new(lanes: usize, arcs: &'a [Arc]) -> Gate<'a> {
        let mut by_source: Vec<u32> = (0..arcs.len() as u32).collect();
        by_source.sort_by_key(|&arc| arcs[arc as usize].from);
        let outgoing = (0..lanes as u32)
            .map(|lane| by_source.partition_point(|&arc| arcs[arc as usize].from.0 < lane))
            .collect();
        let mut gate = Gate {
            arcs,
            by_source,
            outgoing,
            missing: vec![0; arcs.len()],
        };
        for arc in arcs {
            let first = gate.first_into(arc.to);
            gate.missing[first] += 1;
        }
        gate
    }

    /// Index of the first arc into a segment or behind it.
    fn first_into(&self, to: (u32, u32)) -> usize {
        self.arcs.partition_point(|arc| arc.to < to)
    }

    fn is_open(&self, lane: u32, at: u32) -> bool {
        let first = self.first_into((lane, at));
        self.arcs
            .get(first)
            .is_none_or(|arc| arc.to != (lane, at) || self.missing[first] == 0)
    }

    /// Notes that a segment is placed; returns the segments that nothing holds back any more.
    fn pass(&mut self, lane: u32, at: u32) -> Vec<(u32, u32)> {
        let mut opened = Vec::new();
        while let Some(&arc) = self.by_source.get(self.outgoing[lane as usize]) {
            let Arc { from, to } = self.arcs[arc as usize];
            if from != (lane, at) {
                break;
            }
            self.outgoing[lane as usize] += 1;
            let first = self.first_into(to);
            self.missing[first] -= 1;
            if self.missing[first] == 0 {
                opened.push(to);
            }
        }
        opened
    }
}
