//! Which stretch of the sequence can be concurrent with a segment.
//!
//! To the left of `a`, a segment of another thread is concurrent when its `latest` is at
//! least `a.earliest`. The greatest `latest` among the first `i` segments *of threads
//! other than a's* never falls as `i` grows, so the leftmost one is found by binary
//! search from `a` on. "Other than a's" for any `a` needs the best two of different threads at each
//! position, no more. To the right, the same with `earliest` and the least.

use crate::Segment;
use std::ops::Range;

/// Absent: no segment.
const NONE: u32 = u32::MAX;

/// The best segment of a stretch, and the best one of any other thread.
type BestTwo = [u32; 2];

/// Running best segments from both ends of the sequence.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    /// At `i`: greatest `latest` among segments `0..=i`.
    from_left: Vec<BestTwo>,
    /// At `i`: least `earliest` among segments `i..`.
    from_right: Vec<BestTwo>,
}

impl Window {
    pub(crate) fn new(segments: &[Segment]) -> Window {
        let later = |a: &Segment, b: &Segment| a.time.latest > b.time.latest;
        let earlier = |a: &Segment, b: &Segment| a.time.earliest < b.time.earliest;
        let count = segments.len() as u32;
        let from_left = running_best(segments, 0..count, later);
        let mut from_right = running_best(segments, (0..count).rev(), earlier);
        from_right.reverse();
        Window {
            from_left,
            from_right,
        }
    }

    /// The smallest range around `at` that holds every segment of another thread whose
    /// interval meets that of `at`.
    pub(crate) fn around(&self, segments: &[Segment], at: u32) -> Range<u32> {
        let a = &segments[at as usize];
        let foreign = |best: &BestTwo| {
            let other = |&&at: &&u32| at != NONE && segments[at as usize].thread != a.thread;
            best.iter()
                .find(other)
                .map(|&at| segments[at as usize].time)
        };
        let before = &self.from_left[..at as usize];
        let meets = |distance: usize| {
            let time = foreign(&before[before.len() - 1 - distance]);
            time.is_some_and(|time| time.latest >= a.time.earliest)
        };
        let less = first_without(before.len(), meets);
        let behind = &self.from_right[at as usize + 1..];
        let meets = |distance: usize| {
            let time = foreign(&behind[distance]);
            time.is_some_and(|time| time.earliest <= a.time.latest)
        };
        let more = first_without(behind.len(), meets);
        at - less as u32..at + 1 + more as u32
    }
}

/// The first of `0..count` for which `holds` does not, as it does for all before; or `count`. Looks in
/// strides that double, since windows are short.
fn first_without(count: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut first, mut stride) = (0, 1);
    while first + stride <= count && holds(first + stride - 1) {
        first += stride;
        stride *= 2;
    }
    let mut behind = count.min(first + stride - 1);
    while first < behind {
        let middle = first + (behind - first) / 2;
        match holds(middle) {
            true => first = middle + 1,
            false => behind = middle,
        }
    }
    first
}

fn running_best(
    segments: &[Segment],
    order: impl Iterator<Item = u32>,
    better: impl Fn(&Segment, &Segment) -> bool,
) -> Vec<BestTwo> {
    let beats = |at: u32, best: u32| {
        best == NONE || better(&segments[at as usize], &segments[best as usize])
    };
    let mut best = [NONE; 2];
    order
        .map(|at| {
            let same_thread = |other: u32| {
                other != NONE && segments[other as usize].thread == segments[at as usize].thread
            };
            if beats(at, best[0]) {
                if !same_thread(best[0]) {
                    best[1] = best[0];
                }
                best[0] = at;
            } else if !same_thread(best[0]) && beats(at, best[1]) {
                best[1] = at;
            }
            best
        })
        .collect()
}
