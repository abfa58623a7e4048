//! Facts beyond time, and what they do to the intervals.
//!
//! An edge orders everything before one point of a thread before everything from a
//! point of another thread on. Walking all segments once in an order that respects
//! program order and edges, an edge raises the lower bound of what it leads to; walking
//! back, it lowers the upper bound of what it comes from. An edge that would raise a
//! lower bound above the upper bound contradicts time and is dropped on the way, so
//! after the walk every interval is still non-empty: the earliest time at which a
//! segment can run is, by induction, no later than the latest time of everything that
//! follows it.

use crate::clock::Lane;
use crate::{Diagnostic, Relation};
use rept_trace::Trace;
use std::fmt;

/// A place between two steps of a thread: just before `step` (the number of steps is the end).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point {
    /// Index into `Trace::threads`.
    pub thread: u32,
    /// Step of that thread, 0 the oldest.
    pub step: u64,
}

/// Why one thread is known to have run before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EdgeKind {
    /// The creating thread up to its `clone` → the new thread.
    ThreadCreate,
    /// A thread's end → the return of the call that waited for it.
    ThreadJoin,
    /// A futex wake → the return of the wait that it ended.
    FutexWake,
    /// Sending a signal → its handler.
    Signal,
    /// A thread leaves a processor → another begins to run on it.
    ContextSwitch,
}

impl EdgeKind {
    /// Every kind.
    pub const ALL: [EdgeKind; 5] = [
        EdgeKind::ThreadCreate,
        EdgeKind::ThreadJoin,
        EdgeKind::FutexWake,
        EdgeKind::Signal,
        EdgeKind::ContextSwitch,
    ];
}

impl fmt::Display for EdgeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EdgeKind::ThreadCreate => "thread creation",
            EdgeKind::ThreadJoin => "thread join",
            EdgeKind::FutexWake => "futex wake",
            EdgeKind::Signal => "signal",
            EdgeKind::ContextSwitch => "context switch",
        })
    }
}

/// A fact: the steps of `from.thread` before `from.step` ran before the steps of
/// `to.thread` from `to.step` on.
///
/// The step that does something is before the point: after the wake at step 7,
/// `from.step` is 8; the first step that the woken thread runs is `to.step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// Why it holds.
    pub kind: EdgeKind,
    /// End of what came first.
    pub from: Point,
    /// Start of what came later.
    pub to: Point,
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from, self.to);
        write!(
            f,
            "{} edge from step {} of thread #{} to step {} of thread #{}",
            self.kind, from.step, from.thread, to.step, to.thread
        )
    }
}

/// An edge between two threads that says something: both its sides have steps.
pub(crate) type Link = Edge;

/// An edge between segments, each as (thread, index in the thread's lane).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arc {
    /// The last segment before the edge.
    pub(crate) from: (u32, u32),
    /// The first segment behind it.
    pub(crate) to: (u32, u32),
}

/// The edges between existing steps of different threads, by ascending target, each once.
pub(crate) fn admissible(
    trace: &Trace,
    edges: &[Edge],
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Link> {
    let steps = |point: Point| {
        trace
            .threads
            .get(point.thread as usize)
            .map(|thread| thread.steps())
    };
    let mut links = Vec::new();
    for &edge in edges {
        let (Some(from), Some(to)) = (steps(edge.from), steps(edge.to)) else {
            diagnostics.push(Diagnostic::EdgeOutOfRange { edge });
            continue;
        };
        if edge.from.step > from || edge.to.step > to {
            diagnostics.push(Diagnostic::EdgeOutOfRange { edge });
        } else if edge.from.thread == edge.to.thread {
            if edge.from.step > edge.to.step {
                diagnostics.push(Diagnostic::EdgeContradicted { edge });
            }
        } else if edge.from.step > 0 && edge.to.step < to {
            links.push(edge);
        }
    }
    links.sort_unstable_by_key(|link| (link.to, link.from, link.kind));
    links.dedup_by_key(|link| (link.to, link.from));
    links
}

/// Tightens the intervals of all segments along the edges.
///
/// Returns the edges that hold and that time does not imply, by ascending target.
pub(crate) fn tighten(
    lanes: &mut [Lane],
    links: &[Link],
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Arc> {
    if links.is_empty() {
        return Vec::new();
    }
    let arcs = links.iter().map(|link| resolve(lanes, link)).collect();
    let mut walk = Walk::new(lanes, links, arcs);
    walk.forward(diagnostics);
    walk.backward();
    let mut kept = walk.accepted();
    kept.retain(|arc| time_relation(lanes, arc) != Relation::Before);
    kept
}

/// The segments that an edge touches; `cut` has cut both threads at its ends.
fn resolve(lanes: &[Lane], link: &Link) -> Arc {
    let index = |point: Point| {
        lanes[point.thread as usize].partition_point(|s| s.first < point.step) as u32
    };
    Arc {
        from: (link.from.thread, index(link.from) - 1),
        to: (link.to.thread, index(link.to)),
    }
}

fn time_relation(lanes: &[Lane], arc: &Arc) -> Relation {
    let time = |(lane, index): (u32, u32)| lanes[lane as usize][index as usize].time;
    if time(arc.from).latest < time(arc.to).earliest {
        Relation::Before
    } else {
        Relation::Concurrent
    }
}

/// How far the walk has come with one edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Its source has not been visited.
    Waiting,
    /// Its source has been visited.
    Ready,
    /// It holds.
    Accepted,
    /// It was dropped.
    Dropped,
}

/// One visit of all segments, each after its predecessors.
struct Walk<'a> {
    lanes: &'a mut [Lane],
    links: &'a [Link],
    /// By ascending target, as `links`.
    arcs: Vec<Arc>,
    progress: Vec<Progress>,
    /// Indices of arcs, by ascending source.
    by_source: Vec<u32>,
    /// Per thread: first segment not visited, first arc into or behind it, first arc out of or behind it.
    cursors: Vec<Cursor>,
    /// Stretches of one thread's segments in the order of the visit.
    visited: Vec<(u32, std::ops::Range<u32>)>,
}

#[derive(Clone, Copy, Debug)]
struct Cursor {
    segment: u32,
    incoming: usize,
    outgoing: usize,
}

impl<'a> Walk<'a> {
    fn new(lanes: &'a mut [Lane], links: &'a [Link], arcs: Vec<Arc>) -> Walk<'a> {
        let mut by_source: Vec<u32> = (0..arcs.len() as u32).collect();
        by_source.sort_by_key(|&arc| arcs[arc as usize].from);
        let cursors = (0..lanes.len() as u32)
            .map(|lane| Cursor {
                segment: 0,
                incoming: arcs.partition_point(|arc| arc.to.0 < lane),
                outgoing: by_source.partition_point(|&arc| arcs[arc as usize].from.0 < lane),
            })
            .collect();
        let progress = vec![Progress::Waiting; arcs.len()];
        Walk {
            lanes,
            links,
            arcs,
            progress,
            by_source,
            cursors,
            visited: Vec::new(),
        }
    }

    /// Raises lower bounds, and decides which edges hold.
    fn forward(&mut self, diagnostics: &mut Vec<Diagnostic>) {
        let mut runnable: Vec<u32> = (0..self.lanes.len() as u32).rev().collect();
        let mut unfinished = 0;
        loop {
            while let Some(lane) = runnable.pop() {
                self.advance(lane, &mut runnable, diagnostics);
            }
            // Nobody can go on: threads left over wait for each other.
            let done = |lane: usize| self.cursors[lane].segment as usize == self.lanes[lane].len();
            while unfinished < self.lanes.len() && done(unfinished) {
                unfinished += 1;
            }
            if unfinished == self.lanes.len() {
                return;
            }
            self.drop_waiting(unfinished as u32, diagnostics);
            runnable.push(unfinished as u32);
        }
    }

    /// Arcs into segment `at` of `lane`, as a range of `arcs`.
    fn incoming(&self, lane: u32, at: u32) -> std::ops::Range<usize> {
        let first = self.cursors[lane as usize].incoming;
        let count = self.arcs[first..]
            .iter()
            .take_while(|arc| arc.to == (lane, at))
            .count();
        first..first + count
    }

    /// Visits segments of one thread until one waits for another thread.
    fn advance(&mut self, lane: u32, runnable: &mut Vec<u32>, diagnostics: &mut Vec<Diagnostic>) {
        let start = self.cursors[lane as usize].segment;
        let mut at = start;
        while (at as usize) < self.lanes[lane as usize].len() {
            let incoming = self.incoming(lane, at);
            if self.progress[incoming.clone()].contains(&Progress::Waiting) {
                break;
            }
            self.raise(lane, at, incoming.clone(), diagnostics);
            self.cursors[lane as usize].incoming = incoming.end;
            self.announce(lane, at, runnable);
            at += 1;
        }
        self.cursors[lane as usize].segment = at;
        if at > start {
            self.visited.push((lane, start..at));
        }
    }

    fn raise(
        &mut self,
        lane: u32,
        at: u32,
        incoming: std::ops::Range<usize>,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        let (lane, at) = (lane as usize, at as usize);
        let mut time = self.lanes[lane][at].time;
        if let Some(previous) = at.checked_sub(1) {
            time.earliest = time.earliest.max(self.lanes[lane][previous].time.earliest);
        }
        for arc in incoming {
            if self.progress[arc] != Progress::Ready {
                continue;
            }
            let (from, index) = self.arcs[arc].from;
            let earliest = self.lanes[from as usize][index as usize].time.earliest;
            if earliest > time.latest {
                self.progress[arc] = Progress::Dropped;
                diagnostics.push(Diagnostic::EdgeContradicted {
                    edge: self.links[arc],
                });
            } else {
                self.progress[arc] = Progress::Accepted;
                time.earliest = time.earliest.max(earliest);
            }
        }
        self.lanes[lane][at].time = time;
    }

    /// Marks the edges out of a visited segment, and wakes the threads that may wait for them.
    fn announce(&mut self, lane: u32, at: u32, runnable: &mut Vec<u32>) {
        let cursor = &mut self.cursors[lane as usize].outgoing;
        while let Some(&arc) = self.by_source.get(*cursor) {
            let arc = arc as usize;
            if self.arcs[arc].from != (lane, at) {
                break;
            }
            if self.progress[arc] == Progress::Waiting {
                self.progress[arc] = Progress::Ready;
                runnable.push(self.arcs[arc].to.0);
            }
            *cursor += 1;
        }
    }

    fn drop_waiting(&mut self, lane: u32, diagnostics: &mut Vec<Diagnostic>) {
        for arc in self.incoming(lane, self.cursors[lane as usize].segment) {
            if self.progress[arc] == Progress::Waiting {
                self.progress[arc] = Progress::Dropped;
                diagnostics.push(Diagnostic::EdgeCycle {
                    edge: self.links[arc],
                });
            }
        }
    }

    /// Lowers upper bounds along the edges that hold.
    fn backward(&mut self) {
        // Within a thread the visit follows program order, so a cursor per thread counts down.
        let mut ends: Vec<usize> = (0..self.lanes.len() as u32)
            .map(|lane| {
                self.by_source
                    .partition_point(|&arc| self.arcs[arc as usize].from.0 <= lane)
            })
            .collect();
        for (lane, stretch) in std::mem::take(&mut self.visited).into_iter().rev() {
            for at in stretch.rev() {
                self.lower(lane, at, &mut ends[lane as usize]);
            }
        }
    }

    fn lower(&mut self, lane: u32, at: u32, end: &mut usize) {
        let index = at as usize;
        let mut latest = self.lanes[lane as usize][index].time.latest;
        if let Some(next) = self.lanes[lane as usize].get(index + 1) {
            latest = latest.min(next.time.latest);
        }
        while let Some(previous) = end.checked_sub(1) {
            let arc = self.by_source[previous] as usize;
            if self.arcs[arc].from != (lane, at) {
                break;
            }
            if self.progress[arc] == Progress::Accepted {
                let (to, target) = self.arcs[arc].to;
                latest = latest.min(self.lanes[to as usize][target as usize].time.latest);
            }
            *end = previous;
        }
        self.lanes[lane as usize][index].time.latest = latest;
    }

    fn accepted(self) -> Vec<Arc> {
        let arcs = self.arcs.into_iter().zip(self.progress);
        arcs.filter(|(_, progress)| *progress == Progress::Accepted)
            .map(|(arc, _)| arc)
            .collect()
    }
}
