#![forbid(unsafe_code)]
//! Which ran before which: a partial order of the segments of many threads from hardware timestamps.

use rept_trace::{Interval, Trace};

/// Index of a [`Segment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u32);

/// Consecutive steps of one thread between two timing packets.
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

/// How two segments lie in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

impl Order {
    /// Cuts the threads of a trace into segments and orders them.
    pub fn new(trace: &Trace) -> Order {
        let segments = trace
            .threads
            .iter()
            .enumerate()
            .filter(|(_, thread)| thread.steps() > 0)
            .map(|(index, thread)| Segment {
                thread: index as u32,
                first: 0,
                steps: thread.steps(),
                time: Interval::UNKNOWN,
            })
            .collect();
        Order { segments }
    }

    /// The segments in *sequence* order: a linear extension of the partial order,
    /// concurrent ones placed deterministically. `SegmentId(i)` is the `i`-th.
    pub fn sequence(&self) -> &[Segment] {
        &self.segments
    }

    /// How two segments lie in time.
    pub fn relation(&self, a: SegmentId, b: SegmentId) -> Relation {
        let (x, y) = (self.segments[a.0 as usize], self.segments[b.0 as usize]);
        if x.thread != y.thread || a == b {
            Relation::Concurrent
        } else if a < b {
            Relation::Before
        } else {
            Relation::After
        }
    }

    /// The smallest range of sequence positions that holds every segment not proved to be
    /// before or after `a` (half open, contains `a` itself).
    pub fn concurrent_window(&self, a: SegmentId) -> std::ops::Range<u32> {
        let _ = a;
        0..self.segments.len() as u32
    }
}
