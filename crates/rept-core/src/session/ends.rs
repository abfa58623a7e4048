//! When threads had ended at the latest.
//!
//! The kernel writes an EXIT record for a thread after its last step. That bounds the steps behind
//! the thread's last timing packet, which nothing else does: what another thread did later than
//! that, as after it waited for the thread and then for some time packet, came after all of them.
//! It is no edge: the waiter may have gone on before the record was written.

use crate::capture::{Capture, Clock, TaskEvent, TaskKind};
use rept_trace::{Interval, ThreadId, TimeMark, Timestamp, Trace};
use std::collections::BTreeMap;

/// Adds to each thread that ended the time by which it had.
pub(super) fn bound(capture: &Capture, trace: &mut Trace) {
    if !capture.clock.comparable {
        return;
    }
    let ends = ends(&capture.tasks);
    for thread in &mut trace.threads {
        let Some(&end) = ends.get(&thread.thread) else {
            continue;
        };
        let latest = behind(&capture.clock, end);
        // A thread whose own packets say that it ran later is not the one that the record tells of.
        let reached = thread.times.iter().map(|mark| mark.time.earliest).max();
        if reached.is_none_or(|reached| reached <= latest) {
            thread.times.push(TimeMark {
                step: thread.steps(),
                time: Interval {
                    earliest: Interval::UNKNOWN.earliest,
                    latest,
                },
            });
        }
    }
}

/// Times of threads' ends. Where any record of the thread's number is later, or may be, it was given
/// to another: to a new thread, or to the one that called `execve`.
fn ends(tasks: &[TaskEvent]) -> BTreeMap<ThreadId, Timestamp> {
    let time = |task: &TaskEvent| task.time.unwrap_or(Timestamp(u64::MAX));
    let mut last: BTreeMap<ThreadId, &TaskEvent> = BTreeMap::new();
    for task in tasks {
        let newest = last.entry(task.thread).or_insert(task);
        if time(task) >= time(newest) {
            *newest = task;
        }
    }
    let died = last
        .into_iter()
        .filter(|(_, task)| task.kind == TaskKind::Died);
    died.filter_map(|(thread, task)| Some((thread, task.time?)))
        .collect()
}

/// No earlier than a record's time, which was cut to whole nanoseconds, and then to whole ticks.
fn behind(clock: &Clock, time: Timestamp) -> Timestamp {
    match clock.conversion {
        Some(conversion) => conversion.to_tsc(conversion.to_nanoseconds(time).wrapping_add(2)),
        None => Timestamp(time.0.saturating_add(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_order::Order;
    use rept_order::Point;
    use rept_trace::{Address, Block, Run, ThreadTrace};

    fn task(thread: u32, time: Option<u64>, kind: TaskKind) -> TaskEvent {
        TaskEvent {
            time: time.map(Timestamp),
            process: 1,
            thread: ThreadId(thread),
            kind,
        }
    }

    fn named() -> TaskKind {
        TaskKind::Named {
            name: "x".to_owned(),
            exec: true,
        }
    }

    /// Two threads of ten steps, with a time in the middle: 100 for the first, 200 for the second.
    fn trace() -> Trace {
        let mut trace = Trace::default();
        let block = trace.code.push(Block {
            at: Address(0x1000),
            bytes: [0x90].into(),
            starts: [0].into(),
            bitness: 64,
        });
        for (id, time) in [(1, 100), (2, 200)] {
            let mut thread = ThreadTrace::new(ThreadId(id));
            (0..10).for_each(|_| thread.push(Run { block, count: 1 }));
            let time = Interval {
                earliest: Timestamp(time),
                latest: Timestamp(time),
            };
            thread.times.push(TimeMark { step: 5, time });
            trace.threads.push(thread);
        }
        trace
    }

    /// The upper bound of the first thread's last step, with these records.
    #[track_caller]
    fn check(tasks: Vec<TaskEvent>, comparable: bool, expected: Option<u64>) {
        let file = crate::mmap::FileBytes::from_vec(std::path::Path::new("x"), vec![0]);
        let mut capture = Capture::empty(file);
        capture.clock.comparable = comparable;
        capture.tasks = tasks;
        let mut trace = trace();
        bound(&capture, &mut trace);
        let order = Order::new(&trace);
        let last = Point { thread: 0, step: 9 };
        let latest = order.time(&trace, last).expect("a step").latest;
        let open = Interval::UNKNOWN.latest;
        assert_eq!((latest != open).then_some(latest.0), expected);
        assert_eq!(order.diagnostics(), []);
    }

    #[test]
    fn a_thread_has_ended_when_the_kernel_says_so() {
        check(vec![task(1, Some(150), TaskKind::Died)], true, Some(151));
        check(vec![], true, None);
        check(vec![task(2, Some(250), TaskKind::Died)], true, None);
    }

    #[test]
    fn not_by_a_record_of_another_thread_of_that_number() {
        let died = |time| task(1, Some(time), TaskKind::Died);
        check(vec![died(150), task(1, Some(160), named())], true, None);
        check(vec![died(150), task(1, None, named())], true, None);
        check(
            vec![task(1, Some(140), named()), died(150)],
            true,
            Some(151),
        );
        // It ran later than that.
        check(vec![died(90)], true, None);
    }

    #[test]
    fn not_on_another_clock() {
        check(vec![task(1, Some(150), TaskKind::Died)], false, None);
    }
}
