//! From timing packets to segments with monotone intervals.
//!
//! A mark says that the steps before it ran no later than `mark.latest` and those from
//! it on no earlier than `mark.earliest`. A segment's lower bound is therefore the
//! greatest `earliest` of the marks up to its start, its upper bound the least `latest`
//! of the marks from its end on: two sweeps, and both bounds ascend along the thread.

use crate::edge::Link;
use crate::{Diagnostic, Segment};
use rept_trace::{Interval, ThreadTrace, TimeMark, Timestamp, Trace};

/// When the step at `step` ran, or the thread got there: the bounds of the segment that it belongs to,
/// and what the marks inside that say beyond them.
pub(crate) fn within(segment: &Segment, marks: &[TimeMark], step: u64) -> Interval {
    let from = marks.partition_point(|mark| mark.step < segment.first);
    let to = marks.partition_point(|mark| mark.step <= segment.end());
    let mut time = segment.time;
    for mark in &marks[from..to] {
        if mark.step <= step {
            time.earliest = time.earliest.max(mark.time.earliest);
        } else {
            time.latest = time.latest.min(mark.time.latest);
        }
    }
    time
}

/// The segments of one thread, in program order.
pub(crate) type Lane = Vec<Segment>;

/// Cuts every thread at its timing packets and at the ends of edges.
pub(crate) fn cut(trace: &Trace, links: &[Link], diagnostics: &mut Vec<Diagnostic>) -> Vec<Lane> {
    let alone = trace
        .threads
        .iter()
        .filter(|thread| thread.steps() > 0)
        .count()
        < 2;
    let cuts = edge_cuts(trace.threads.len(), links);
    let lanes = trace.threads.iter().zip(&cuts).enumerate();
    lanes
        .map(|(index, (thread, cuts))| {
            let marks = trusted_marks(thread, alone, diagnostics);
            lane(
                index as u32,
                thread.steps(),
                if alone { &[] } else { marks },
                cuts,
            )
        })
        .collect()
}

/// For each thread, the steps at which an edge begins or ends, ascending.
fn edge_cuts(threads: usize, links: &[Link]) -> Vec<Vec<u64>> {
    let mut cuts = vec![Vec::new(); threads];
    for link in links {
        for point in [link.from, link.to] {
            cuts[point.thread as usize].push(point.step);
        }
    }
    for cuts in &mut cuts {
        cuts.sort_unstable();
        cuts.dedup();
    }
    cuts
}

/// The marks of a thread, none when they contradict each other.
fn trusted_marks<'a>(
    thread: &'a ThreadTrace,
    alone: bool,
    diagnostics: &mut Vec<Diagnostic>,
) -> &'a [TimeMark] {
    let mut reached = Timestamp(0);
    for mark in &thread.times {
        reached = reached.max(mark.time.earliest);
        if mark.time.latest < reached {
            diagnostics.push(Diagnostic::ClockBackwards {
                thread: thread.thread,
                step: mark.step,
                reached,
                claimed: mark.time.latest,
            });
            return &[];
        }
    }
    if thread.times.is_empty() && thread.steps() > 0 && !alone {
        diagnostics.push(Diagnostic::NoTime {
            thread: thread.thread,
        });
    }
    &thread.times
}

/// One thread's segments: cut at `marks` and `cuts`, both ascending.
fn lane(thread: u32, steps: u64, marks: &[TimeMark], cuts: &[u64]) -> Lane {
    let mut starts: Vec<u64> = marks.iter().map(|mark| mark.step).collect();
    starts.extend_from_slice(cuts);
    starts.push(0);
    starts.sort_unstable();
    starts.dedup();
    starts.truncate(starts.partition_point(|&start| start < steps));
    let ends = starts.iter().skip(1).copied().chain([steps]);
    let mut lane: Lane = starts
        .iter()
        .zip(ends)
        .map(|(&first, end)| Segment {
            thread,
            first,
            steps: end - first,
            time: Interval::UNKNOWN,
        })
        .collect();
    bound(&mut lane, marks);
    lane
}

/// Sets the intervals of segments that `marks` cut.
fn bound(lane: &mut Lane, marks: &[TimeMark]) {
    let mut earlier = marks.iter().peekable();
    let mut earliest = Timestamp(0);
    for segment in lane.iter_mut() {
        while let Some(mark) = earlier.next_if(|mark| mark.step <= segment.first) {
            earliest = earliest.max(mark.time.earliest);
        }
        segment.time.earliest = earliest;
    }
    let mut later = marks.iter().rev().peekable();
    let mut latest = Timestamp(u64::MAX);
    for segment in lane.iter_mut().rev() {
        while let Some(mark) = later.next_if(|mark| mark.step >= segment.end()) {
            latest = latest.min(mark.time.latest);
        }
        segment.time.latest = latest;
    }
}
