#![forbid(unsafe_code)]
//! Which ran before which: a partial order of the steps of many threads from hardware time.
//!
//! Each thread's stream carries timing packets ([`rept_trace::TimeMark`]). They cut the
//! thread into [`Segment`]s, and bound when each segment ran. Two segments whose
//! intervals do not meet are ordered; those that meet are *concurrent*, and nothing may
//! be concluded from either order.
//!
//! ```text
//!             10        20        30        40        50     ticks
//!  thread 1 ───┤─── A ───┤─── B ───────────────────────┤
//!  thread 2 ─────────────────┤─── C ───┤─── D ───┤           A before C, D
//!                                                            B ∥ C, B ∥ D
//! ```
//!
//! What else is known to be ordered (a thread's creation, a futex wake and the wait it
//! ended, two threads that took turns on one processor …) is added as [`Edge`]s.
//!
//! # The order
//! `a → b` when a chain of these leads from `a` to `b`: program order within a thread,
//! `a.time.latest < b.time.earliest`, an edge. The chain never has to be walked:
//!
//! * Intervals are monotone per thread and are tightened along edges, so any chain that
//!   holds a comparison of times collapses to one comparison of times.
//! * Edges implied by time are dropped. For the few that are left, the segment an edge
//!   leads to keeps a *frontier*: for each other thread, how much of it came before
//!   (a sparse vector clock, kept at edges only).
//!
//! So [`Order::relation`] is a comparison of four numbers, and where edges exist one or
//! two binary searches. There is no matrix: memory is linear in segments plus frontiers,
//! and frontiers are limited (beyond the limit an edge is ignored, which is sound, and said).
//!
//! # Segments that nobody can tell apart
//! With CYC packets there is a timing packet every few steps. Neighbours in one thread
//! that relate in the same way to every segment of every other thread are merged, so the
//! number of segments follows how finely threads interleave, not how often the clock was
//! written. A program with one thread is one segment and pays nothing.
//!
//! # Promises
//! Deterministic: same trace and edges, same order. `relation` is a strict partial order,
//! exact for the facts given: it says `Concurrent` only when no chain exists (or the edge
//! limit was reached). [`Order::sequence`] is a linear extension of it. Contradictory
//! input (a clock that runs backwards, edges in a cycle) is named in
//! [`Order::diagnostics`] and the facts in doubt are dropped, never guessed at.
//!
//! Sources: L. Lamport, "Time, clocks, and the ordering of events" (CACM 1978), for the
//! order; P. Fishburn, "Intransitive indifference with unequal intervals" (1970), for
//! interval orders; Intel SDM volume 3, chapter "Intel Processor Trace", for the packets.

mod clock;
mod compact;
mod diagnostic;
mod edge;
mod frontier;
mod sequence;
mod window;

pub use diagnostic::Diagnostic;
pub use edge::{Edge, EdgeKind, Point};

use frontier::Frontiers;
use rept_trace::{Interval, ThreadId, Timestamp, Trace};
use std::ops::Range;
use window::Window;

/// Index of a [`Segment`] in [`Order::sequence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u32);

/// Consecutive steps of one thread that share their place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Index into `Trace::threads`.
    pub thread: u32,
    /// First step of the thread.
    pub first: u64,
    /// Number of steps, at least 1.
    pub steps: u64,
    /// When they ran.
    pub time: Interval,
}

impl Segment {
    /// The step behind the last one.
    pub fn end(&self) -> u64 {
        self.first + self.steps
    }
}

/// How two segments lie in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// All of the first ran before any of the second.
    Before,
    /// All of the first ran after all of the second.
    After,
    /// Neither is proved.
    Concurrent,
}

/// The partial order, and one deterministic linear extension of it.
#[derive(Clone, Debug, Default)]
pub struct Order {
    segments: Vec<Segment>,
    /// For each segment of the sequence, its index among the segments of its thread.
    ranks: Vec<u32>,
    /// For each thread, the sequence positions of its segments, ascending.
    lanes: Vec<Vec<u32>>,
    frontiers: Frontiers,
    window: Window,
    /// First segments of threads that ran before them, beside what is here of others.
    unseen: Vec<SegmentId>,
    diagnostics: Vec<Diagnostic>,
}

impl Order {
    /// Cuts the threads of a trace into segments and orders them by time.
    pub fn new(trace: &Trace) -> Order {
        Order::with_edges(trace, &[])
    }

    /// As [`Order::new`], with further facts. O(n log n) in timing packets and edges.
    pub fn with_edges(trace: &Trace, edges: &[Edge]) -> Order {
        let mut diagnostics = Vec::new();
        let edges = edge::admissible(trace, edges, &mut diagnostics);
        let mut lanes = clock::cut(trace, &edges, &mut diagnostics);
        let arcs = edge::tighten(&mut lanes, &edges, &mut diagnostics);
        let arcs = compact::compact(&mut lanes, arcs);
        let merged = sequence::merge(&lanes, &arcs);
        let frontiers = Frontiers::new(&lanes, &arcs, &merged, &mut diagnostics);
        let mut order = Order {
            window: Window::new(&merged.segments),
            segments: merged.segments,
            ranks: merged.ranks,
            lanes: merged.lanes,
            frontiers,
            unseen: Vec::new(),
            diagnostics,
        };
        order.unseen = order.unseen_beginnings(&edges);
        order
    }

    /// The segments in *sequence* order: a linear extension of the partial order,
    /// concurrent ones by the middle of their intervals, then by thread.
    /// `SegmentId(i)` is the `i`-th.
    pub fn sequence(&self) -> &[Segment] {
        &self.segments
    }

    /// What was wrong with the input, in the order in which it was found.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// How many other threads may have run after `a` before their first step: what they did then
    /// is not in the trace, because it was lost. Threads that were made in the trace are none.
    ///
    /// # Panics
    /// When the id is not of this order.
    pub fn unseen_after(&self, a: SegmentId) -> usize {
        let thread = self.segments[a.0 as usize].thread;
        let others = self.unseen.iter().filter(|&&first| {
            self.segments[first.0 as usize].thread != thread && !self.precedes(first, a)
        });
        others.count()
    }

    // Of threads that nobody made, and that are not the first of all, what came before is missing.
    fn unseen_beginnings(&self, edges: &[Edge]) -> Vec<SegmentId> {
        let mut made = vec![false; self.lanes.len()];
        for edge in edges {
            made[edge.to.thread as usize] |=
                edge.kind == EdgeKind::ThreadCreate && edge.to.step == 0;
        }
        let first = |lane: &Vec<u32>| lane.first().map(|&at| SegmentId(at));
        let begins: Vec<SegmentId> = self.lanes.iter().filter_map(first).collect();
        let is_unmade = |one: &SegmentId| !made[self.segments[one.0 as usize].thread as usize];
        let is_late = |one: &SegmentId| {
            let mut others = begins.iter().filter(|other| *other != one);
            others.any(|&other| !self.precedes(*one, other))
        };
        let all = begins.iter().copied();
        all.filter(|one| is_unmade(one) && is_late(one)).collect()
    }

    /// The segment that holds a step, `None` when the thread has no such step. O(log n).
    pub fn segment_at(&self, point: Point) -> Option<SegmentId> {
        let lane = self.lanes.get(point.thread as usize)?;
        let begun = lane.partition_point(|&at| self.segments[at as usize].first <= point.step);
        let at = *lane.get(begun.checked_sub(1)?)?;
        (point.step < self.segments[at as usize].end()).then_some(SegmentId(at))
    }

    /// How two segments lie in time; a segment is `Concurrent` with itself. O(log n).
    ///
    /// # Panics
    /// When an id is not of this order.
    pub fn relation(&self, a: SegmentId, b: SegmentId) -> Relation {
        if self.precedes(a, b) {
            Relation::Before
        } else if self.precedes(b, a) {
            Relation::After
        } else {
            Relation::Concurrent
        }
    }

    /// How two steps lie in time: program order within a thread, else as their segments.
    /// `None` when one of them does not exist. O(log n).
    pub fn relation_of_steps(&self, a: Point, b: Point) -> Option<Relation> {
        let (x, y) = (self.segment_at(a)?, self.segment_at(b)?);
        if a.thread != b.thread {
            return Some(self.relation(x, y));
        }
        Some(match a.step.cmp(&b.step) {
            std::cmp::Ordering::Less => Relation::Before,
            std::cmp::Ordering::Equal => Relation::Concurrent,
            std::cmp::Ordering::Greater => Relation::After,
        })
    }

    /// When a step ran, as far as the timing packets of the trace (the one that was ordered) and the
    /// edges say; of the end of a thread, when it was reached. Along a thread both bounds ascend.
    /// `None` when there is no such place. O(log n), and the timing packets in the step's segment.
    pub fn time(&self, trace: &Trace, at: Point) -> Option<Interval> {
        let thread = trace.threads.get(at.thread as usize)?;
        let end = thread.steps();
        let last = Point {
            step: at.step.min(end.saturating_sub(1)),
            ..at
        };
        let segment = self.segments[self.segment_at(last)?.0 as usize];
        let marks = match self.is_timed(thread.thread) {
            true => thread.times.as_slice(),
            false => &[],
        };
        let mut time = clock::within(&segment, marks, at.step);
        if at.step == end {
            time.latest = Timestamp(u64::MAX);
        }
        (at.step <= end).then_some(time)
    }

    /// The thread's timing packets do not contradict each other.
    fn is_timed(&self, thread: ThreadId) -> bool {
        let backwards = |found: &Diagnostic| matches!(found, Diagnostic::ClockBackwards { thread: of, .. } if *of == thread);
        !self.diagnostics.iter().any(backwards)
    }

    /// A range of sequence positions that holds every segment not proved to be before or
    /// after `a` (half open, contains `a` itself). The smallest such range as far as
    /// threads and time say; edges that time does not imply are not used to shrink it.
    /// O(log n).
    ///
    /// # Panics
    /// When the id is not of this order.
    pub fn concurrent_window(&self, a: SegmentId) -> Range<u32> {
        self.window.around(&self.segments, a.0)
    }

    fn precedes(&self, a: SegmentId, b: SegmentId) -> bool {
        let (i, j) = (a.0 as usize, b.0 as usize);
        let (x, y) = (&self.segments[i], &self.segments[j]);
        if x.thread == y.thread {
            return i < j;
        }
        x.time.latest < y.time.earliest
            || self
                .frontiers
                .reaches((x.thread, self.ranks[i]), (y.thread, self.ranks[j]))
    }
}
