//! Which system call of which thread made which thread.
//!
//! The kernel writes a FORK record for each thread made, in the order in which its maker's
//! system calls succeed; the trace shows the system calls, and the code on the way to most says
//! which they are. Counted from where the maker's trace begins, up to its first missing step, the
//! n-th thread was made by the n-th system call that may make threads, or by a later one: that
//! orders them. A record that is lost or not counted only makes the call an earlier one. When no
//! step is missing, each number is known and there are as many calls as threads, none failed and
//! none is missing: each call made its thread.

use super::numbers::Numbers;
use crate::capture::{Capture, TaskKind};
use rept_order::{Edge, EdgeKind, Point};
use rept_recover::Creation;
use rept_trace::{Code, ThreadId, ThreadTrace, Timestamp, Trace};
use std::collections::BTreeMap;

/// System calls that make threads and processes: clone, fork, vfork, clone3.
const MAKERS: [u32; 4] = [56, 57, 58, 435];

/// A thread began after a step of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Birth {
    pub(super) parent: ThreadId,
    pub(super) child: ThreadId,
    /// The system call that made it, or an earlier one.
    pub(super) step: u64,
    /// It was that very call.
    pub(super) exact: bool,
}

/// What is known of the births of the trace's threads.
pub(super) fn births(capture: &Capture, trace: &Trace) -> Vec<Birth> {
    let mut found = Vec::new();
    if !capture.clock.comparable {
        return found;
    }
    let mut makers: BTreeMap<ThreadId, Vec<ThreadId>> = BTreeMap::new();
    for task in &capture.tasks {
        if let TaskKind::Born { by, .. } = task.kind
            && let Some(maker) = trace.thread(by)
            && task.time.is_some_and(|time| began(maker) <= time)
        {
            makers.entry(by).or_default().push(task.thread);
        }
    }
    let mut numbers = Numbers::default();
    for (parent, children) in makers {
        let Some(maker) = trace.thread(parent) else {
            continue;
        };
        let calls = calls(&trace.code, maker, &mut numbers);
        let exact = calls.exact && calls.steps.len() == children.len();
        for (step, &child) in calls.steps.into_iter().zip(&children) {
            if trace.thread(child).is_some() {
                found.push(Birth {
                    parent,
                    child,
                    step,
                    exact,
                });
            }
        }
    }
    found
}

/// The edges that births are.
pub(super) fn edges(births: &[Birth], trace: &Trace) -> Vec<Edge> {
    let index: BTreeMap<ThreadId, u32> = super::thread_indices(trace);
    let edges = births.iter().filter_map(|birth| {
        let from = Point {
            thread: *index.get(&birth.parent)?,
            step: birth.step + 1,
        };
        let to = Point {
            thread: *index.get(&birth.child)?,
            step: 0,
        };
        Some(Edge {
            kind: EdgeKind::ThreadCreate,
            from,
            to,
        })
    });
    edges.collect()
}

/// The births of which the very call is known.
pub(super) fn creations(births: &[Birth]) -> Vec<Creation> {
    let exact = births.iter().filter(|birth| birth.exact);
    exact
        .map(|birth| Creation {
            parent: birth.parent,
            step: birth.step,
            child: birth.child,
        })
        .collect()
}

/// When a thread's trace had begun for sure.
fn began(thread: &ThreadTrace) -> Timestamp {
    let first = thread.events.first();
    first.map_or(Timestamp(u64::MAX), |event| event.time.latest)
}

/// Steps of a thread that may make threads.
struct Calls {
    steps: Vec<u64>,
    /// All of them make threads unless they fail, and there are no others.
    exact: bool,
}

/// The steps of a thread that may make threads, up to the first missing one.
fn calls(code: &Code, thread: &ThreadTrace, numbers: &mut Numbers) -> Calls {
    let mut gaps = thread.gaps.iter().map(|gap| gap.step);
    let whole = gaps.find(|&step| step > 0).unwrap_or(u64::MAX);
    let mut calls = Calls {
        steps: Vec::new(),
        exact: whole == u64::MAX,
    };
    let mut first = 0u64;
    for (index, run) in thread.runs().iter().enumerate() {
        let last = usize::from(run.count) - 1;
        let step = first + last as u64;
        first += u64::from(run.count);
        if step >= whole {
            break;
        }
        let Some(call) = numbers.of(code, thread, index, step) else {
            continue;
        };
        if call.is_none_or(|number| MAKERS.contains(&number)) {
            calls.steps.push(step);
            calls.exact &= call.is_some();
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::TaskEvent;
    use rept_trace::{Address, Block, BlockId, Event, EventKind, Gap, GapReason, Interval, Run};

    /// `mov eax,imm; syscall` for each number, `syscall` alone for none.
    fn code(numbers: &[Option<u32>]) -> Code {
        let mut code = Code::default();
        for (place, number) in numbers.iter().enumerate() {
            let mut bytes = Vec::new();
            let mut starts = vec![0];
            if let Some(number) = number {
                bytes.push(0xb8);
                bytes.extend(number.to_le_bytes());
                starts.push(5);
            }
            bytes.extend([0x0f, 0x05]);
            code.push(Block {
                at: Address(0x1000 + 0x100 * place as u64),
                bytes: bytes.into(),
                starts: starts.into(),
                bitness: 64,
            });
        }
        // What a child runs first: the instruction behind the first call.
        code.push(Block {
            at: Address(0x1007),
            bytes: [0x90].into(),
            starts: [0].into(),
            bitness: 64,
        });
        code
    }

    fn thread(id: u32, runs: &[(u32, u16)]) -> ThreadTrace {
        let mut thread = ThreadTrace::new(ThreadId(id));
        for &(block, count) in runs {
            thread.push(Run {
                block: BlockId(block),
                count,
            });
        }
        thread
    }

    fn capture(children: &[u32]) -> Capture {
        let file = crate::mmap::FileBytes::from_vec(std::path::Path::new("x"), vec![0]);
        let mut capture = Capture::empty(file);
        capture.clock.comparable = true;
        for (place, &child) in children.iter().enumerate() {
            capture.tasks.push(TaskEvent {
                time: Some(Timestamp(10 + place as u64)),
                process: 1,
                thread: ThreadId(child),
                kind: TaskKind::Born {
                    parent: 1,
                    by: ThreadId(1),
                },
            });
        }
        capture
    }

    /// The maker runs these blocks; births as (child, step).
    #[track_caller]
    fn check(
        numbers: &[Option<u32>],
        children: &[u32],
        gap: Option<u64>,
        expect: &[(u32, u64)],
        exact: bool,
    ) {
        let mut runs: Vec<(u32, u16)> = Vec::new();
        for (block, number) in numbers.iter().enumerate() {
            runs.push((block as u32, if number.is_some() { 2 } else { 1 }));
        }
        let mut maker = thread(1, &runs);
        maker.events.push(Event {
            step: 0,
            time: Interval {
                earliest: Timestamp(0),
                latest: Timestamp(5),
            },
            kind: EventKind::Enabled {
                ip: Address(0x1000),
            },
        });
        maker.gaps.extend(gap.map(|step| Gap {
            step,
            offset: 0,
            at: None,
            reason: GapReason::LostData,
        }));
        let mut threads = vec![maker];
        threads.extend(
            children
                .iter()
                .map(|&child| thread(child, &[(numbers.len() as u32, 1)])),
        );
        let trace = Trace {
            code: code(numbers),
            threads,
        };
        let births = births(&capture(children), &trace);
        let found: Vec<(u32, u64)> = births
            .iter()
            .map(|birth| (birth.child.0, birth.step))
            .collect();
        assert_eq!(found, expect);
        assert!(births.iter().all(|birth| birth.exact == exact));
    }

    #[test]
    fn threads_made_before_the_trace_began_are_not_counted() {
        let maker = thread(1, &[(0, 2)]);
        let trace = Trace {
            code: code(&[Some(435)]),
            threads: vec![maker, thread(7, &[(1, 1)])],
        };
        assert_eq!(births(&capture(&[7]), &trace), []);
    }

    #[test]
    fn each_thread_comes_after_a_call() {
        check(&[Some(435)], &[7], None, &[(7, 1)], true);
        check(
            &[Some(56), Some(39), Some(435)],
            &[7, 8],
            None,
            &[(7, 1), (8, 5)],
            true,
        );
    }

    #[test]
    fn a_call_that_may_have_failed_comes_first() {
        check(&[Some(435), Some(435)], &[7], None, &[(7, 1)], false);
    }

    #[test]
    fn a_call_of_unknown_number_counts_as_one_that_may_make_threads() {
        check(&[None, Some(435)], &[7, 8], None, &[(7, 0), (8, 2)], false);
    }

    #[test]
    fn behind_missing_steps_nothing_is_claimed() {
        check(&[Some(435), Some(435)], &[7, 8], Some(2), &[(7, 1)], false);
    }
}
