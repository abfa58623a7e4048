//! Traces in a few words, and the order by brute force.
#![allow(dead_code)] // each test crate uses a part

use rept_order::{Edge, Point, Relation};
use rept_trace::{BlockId, Interval, Run, ThreadId, ThreadTrace, TimeMark, Timestamp, Trace};

/// Ticks as an interval.
pub(crate) fn between(earliest: u64, latest: u64) -> Interval {
    Interval {
        earliest: Timestamp(earliest),
        latest: Timestamp(latest),
    }
}

/// One thread: number of steps, and timing packets as (step, earliest, latest).
pub(crate) type Thread = (u64, Vec<(u64, u64, u64)>);

/// A trace of threads 100, 101, …
pub(crate) fn trace(threads: &[Thread]) -> Trace {
    let threads = threads.iter().zip(100..).map(|((steps, marks), id)| {
        let mut thread = ThreadTrace::new(ThreadId(id));
        for _ in 0..*steps {
            thread.push(Run {
                block: BlockId(0),
                count: 1,
            });
        }
        let mark = |&(step, earliest, latest)| TimeMark {
            step,
            time: between(earliest, latest),
        };
        thread.times = marks.iter().map(mark).collect();
        thread
    });
    Trace {
        threads: threads.collect(),
        ..Trace::default()
    }
}

/// The order of all steps, as the definition reads: the transitive closure of program
/// order, disjoint intervals, and edges, in cubic time.
pub(crate) struct BruteForce {
    points: Vec<Point>,
    before: Vec<Vec<bool>>,
}

impl BruteForce {
    pub(crate) fn new(trace: &Trace, edges: &[Edge]) -> BruteForce {
        let points: Vec<Point> = (0..trace.threads.len() as u32)
            .flat_map(|thread| {
                (0..trace.threads[thread as usize].steps()).map(move |step| Point { thread, step })
            })
            .collect();
        let given = |a: &Point, b: &Point| {
            let program = a.thread == b.thread && a.step < b.step;
            let time =
                a.thread != b.thread && interval(trace, a).latest < interval(trace, b).earliest;
            let edge = |edge: &Edge| {
                (a.thread, b.thread) == (edge.from.thread, edge.to.thread)
                    && a.step < edge.from.step
                    && edge.to.step <= b.step
            };
            program || time || edges.iter().any(edge)
        };
        let mut before: Vec<Vec<bool>> = points
            .iter()
            .map(|a| points.iter().map(|b| given(a, b)).collect())
            .collect();
        for middle in 0..points.len() {
            let reached = before[middle].clone();
            for row in &mut before {
                if row[middle] {
                    row.iter_mut()
                        .zip(&reached)
                        .for_each(|(to, &via)| *to |= via);
                }
            }
        }
        BruteForce { points, before }
    }

    pub(crate) fn points(&self) -> &[Point] {
        &self.points
    }

    /// Relation of the steps with these indices.
    pub(crate) fn relation(&self, a: usize, b: usize) -> Relation {
        match (self.before[a][b], self.before[b][a]) {
            (true, false) => Relation::Before,
            (false, true) => Relation::After,
            (false, false) => Relation::Concurrent,
            (true, true) => panic!(
                "cycle through {:?} and {:?}",
                self.points[a], self.points[b]
            ),
        }
    }
}

/// When a step ran, from the timing packets around it.
pub(crate) fn interval(trace: &Trace, point: &Point) -> Interval {
    let marks = &trace.threads[point.thread as usize].times;
    let before = marks
        .iter()
        .filter(|mark| mark.step <= point.step)
        .map(|mark| mark.time.earliest);
    let behind = marks
        .iter()
        .filter(|mark| mark.step > point.step)
        .map(|mark| mark.time.latest);
    Interval {
        earliest: before.max().unwrap_or(Interval::UNKNOWN.earliest),
        latest: behind.min().unwrap_or(Interval::UNKNOWN.latest),
    }
}
