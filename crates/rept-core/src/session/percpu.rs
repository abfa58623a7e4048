//! Traces of processors, taken apart into threads by context switches.
//!
//! A processor's buffer holds whatever ran there. User-only traces stop (TIP.PGD) and
//! resume (TIP.PGE) around every switch, so a *span*, from one resumption to the next,
//! belongs to one thread: the one that the switch records have on the processor at the
//! time of the span. A span whose time does not tell one thread from another is given to
//! nobody, and leaves a gap in the threads it may belong to.

use crate::capture::{Capture, Switch};
use crate::diagnostics::{Diagnostic, Subject};
use rept_trace::{EventKind, Gap, GapReason, Interval, ThreadId, ThreadTrace, Timestamp};
use std::collections::BTreeMap;
use std::ops::Range;

/// Steps of one processor between two resumptions.
struct Span<'a> {
    source: &'a ThreadTrace,
    steps: Range<u64>,
    time: Interval,
    /// The last span of its processor: events at its end are its own.
    last: bool,
}

/// A stay of a thread on a processor.
struct Stay {
    thread: ThreadId,
    process: u32,
    from: Timestamp,
    to: Timestamp,
}

/// The threads of `process` from the traces of processors. Where no switches were recorded,
/// all of it is `only`'s, the one thread there is.
pub(super) fn split(
    cpus: &[(u32, ThreadTrace)],
    switches: &[Switch],
    only: Option<ThreadId>,
    process: Option<u32>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<ThreadTrace> {
    let mut spans: BTreeMap<ThreadId, Vec<Span<'_>>> = BTreeMap::new();
    let mut unclear = 0u64;
    for (cpu, source) in cpus {
        let stays = stays(switches, *cpu);
        for span in cut(source) {
            let owner = match (only, stays.is_empty()) {
                (Some(thread), true) => Some((thread, true)),
                _ => owner(&stays, span.time).map(|stay| {
                    (
                        stay.thread,
                        process.is_none_or(|process| process == stay.process),
                    )
                }),
            };
            match owner {
                Some((thread, true)) => spans.entry(thread).or_default().push(span),
                Some((_, false)) => {}
                None => unclear += span.steps.end - span.steps.start,
            }
        }
    }
    if unclear > 0 {
        let message = format!(
            "{unclear} steps cannot be given to a thread: no context switch tells who ran them"
        );
        diagnostics.push(Diagnostic::new(Subject::Trace, message));
    }
    spans
        .into_iter()
        .map(|(thread, spans)| assemble(thread, spans, unclear > 0))
        .collect()
}

/// The process's thread, when it has one only.
pub(super) fn only_thread(capture: &Capture, process: Option<u32>) -> Option<ThreadId> {
    let processes = capture.processes();
    let mut threads = processes
        .iter()
        .filter(|&(_, of)| process.is_none_or(|process| process == *of));
    let (&first, _) = threads.next()?;
    threads.next().is_none().then_some(first)
}

/// Who was on a processor when. Both records of a switch are used; either may be missing.
fn stays(switches: &[Switch], cpu: u32) -> Vec<Stay> {
    let mut stays: Vec<Stay> = Vec::new();
    for switch in switches.iter().filter(|switch| switch.cpu == Some(cpu)) {
        let running = stays
            .last_mut()
            .filter(|stay| stay.to == Timestamp(u64::MAX));
        match (switch.out, running) {
            (true, Some(stay)) if stay.thread == switch.thread => stay.to = switch.time,
            (true, Some(other)) => {
                // The switch between the two is lost: either may have run since the first came.
                other.to = switch.time;
                let from = other.from;
                stays.push(Stay {
                    thread: switch.thread,
                    process: switch.process,
                    from,
                    to: switch.time,
                });
            }
            (true, None) => stays.push(Stay {
                thread: switch.thread,
                process: switch.process,
                from: stays
                    .last()
                    .map_or(Timestamp(0), |stay| stay.to.min(switch.time)),
                to: switch.time,
            }),
            (false, running) => {
                if let Some(stay) = running {
                    stay.to = switch.time;
                }
                stays.push(Stay {
                    thread: switch.thread,
                    process: switch.process,
                    from: switch.time,
                    to: Timestamp(u64::MAX),
                });
            }
        }
    }
    stays
}

/// The one stay that overlaps `time`; `None` when there are several or none.
fn owner(stays: &[Stay], time: Interval) -> Option<&Stay> {
    let first = stays.partition_point(|stay| stay.to < time.earliest);
    let mut overlapping = stays[first..]
        .iter()
        .take_while(|stay| stay.from <= time.latest);
    let found = overlapping.next()?;
    overlapping
        .all(|stay| stay.thread == found.thread)
        .then_some(found)
}

/// Cuts a processor's trace at its resumptions.
fn cut(source: &ThreadTrace) -> Vec<Span<'_>> {
    let begins = source
        .events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Enabled { .. }));
    // A run cannot be cut inside.
    let clean = |step: u64| {
        step == source.steps() || source.locate(step).is_some_and(|(_, index)| index == 0)
    };
    let mut cuts: Vec<(u64, Interval)> = begins
        .filter(|event| clean(event.step))
        .map(|event| (event.step, event.time))
        .collect();
    if cuts.first().is_none_or(|&(step, _)| step > 0) {
        cuts.insert(0, (0, Interval::UNKNOWN));
    }
    cuts.dedup_by(|next, last| {
        let same = next.0 == last.0;
        if same {
            last.1 = next.1;
        }
        same
    });
    let ends = cuts
        .iter()
        .skip(1)
        .map(|&(step, _)| step)
        .chain([source.steps()]);
    let spans = cuts.iter().zip(ends).map(|(&(step, time), end)| Span {
        source,
        steps: step..end,
        time,
        last: end == source.steps(),
    });
    spans.collect()
}

/// One thread from its spans, by time.
fn assemble(thread: ThreadId, mut spans: Vec<Span<'_>>, holes: bool) -> ThreadTrace {
    spans.sort_by_key(|span| (span.time.earliest, span.time.latest));
    let mut whole = ThreadTrace::new(thread);
    for span in spans {
        if holes && whole.steps() > 0 {
            whole.gaps.push(Gap {
                step: whole.steps(),
                offset: 0,
                at: None,
                reason: GapReason::LostData,
            });
        }
        append(&mut whole, &span);
    }
    whole
}

fn append(whole: &mut ThreadTrace, span: &Span<'_>) {
    let (start, end) = (span.steps.start, span.steps.end);
    let base = whole.steps();
    // What happened before the first step of the next span belongs to the one that it ended, all
    // but the resumption itself.
    let own = |step: u64, resumes: bool| {
        let at_start = step == start && (resumes || start == 0);
        let at_end = step == end && (!resumes || span.last);
        at_start || (start < step && step < end) || (at_end && start < end)
    };
    let resumes = |kind: &EventKind| matches!(kind, EventKind::Enabled { .. });
    let moved = |step: u64| base + step - start;
    let events = span
        .source
        .events
        .iter()
        .filter(|event| own(event.step, resumes(&event.kind)));
    whole.events.extend(events.cloned().map(|mut event| {
        event.step = moved(event.step);
        event
    }));
    let gaps = span
        .source
        .gaps
        .iter()
        .filter(|gap| start <= gap.step && (gap.step < end || span.last));
    whole.gaps.extend(gaps.cloned().map(|mut gap| {
        gap.step = moved(gap.step);
        gap
    }));
    let times = span
        .source
        .times
        .iter()
        .filter(|mark| start <= mark.step && (mark.step < end || span.last));
    whole.times.extend(times.copied().map(|mut mark| {
        mark.step = moved(mark.step);
        mark
    }));
    let Some((first, _)) = span.source.locate(start).filter(|_| start < end) else {
        return;
    };
    let mut left = end - start;
    for run in &span.source.runs()[first..] {
        if left == 0 {
            break;
        }
        left -= u64::from(run.count).min(left);
        whole.push(*run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_trace::{BlockId, Event, Run};

    fn switch(time: u64, thread: u32, out: bool) -> Switch {
        Switch {
            time: Timestamp(time),
            cpu: Some(0),
            process: 1,
            thread: ThreadId(thread),
            out,
        }
    }

    /// One run of each length, resumed at its time.
    fn processor(runs: &[(u16, u64)]) -> ThreadTrace {
        let mut trace = ThreadTrace::new(ThreadId(0));
        for &(count, time) in runs {
            let time = Interval {
                earliest: Timestamp(time),
                latest: Timestamp(time + 2),
            };
            let kind = EventKind::Enabled {
                ip: rept_trace::Address(0x1000),
            };
            trace.events.push(Event {
                step: trace.steps(),
                time,
                kind,
            });
            trace.push(Run {
                block: BlockId(count.into()),
                count,
            });
            trace.events.push(Event {
                step: trace.steps(),
                time,
                kind: EventKind::Disabled { ip: None },
            });
        }
        trace
    }

    #[track_caller]
    fn check(runs: &[(u16, u64)], switches: &[Switch], expect: &[(u32, &[u16])], unclear: bool) {
        let mut said = Vec::new();
        let cpus = [(0, processor(runs))];
        let threads = split(&cpus, switches, None, Some(1), &mut said);
        let found: Vec<(u32, Vec<u16>)> = threads
            .iter()
            .map(|thread| {
                (
                    thread.thread.0,
                    thread.runs().iter().map(|run| run.count).collect(),
                )
            })
            .collect();
        let expect: Vec<(u32, Vec<u16>)> = expect
            .iter()
            .map(|&(thread, runs)| (thread, runs.to_vec()))
            .collect();
        assert_eq!(found, expect);
        assert_eq!(!said.is_empty(), unclear, "{said:?}");
        for thread in &threads {
            let events: Vec<u64> = thread.events.iter().map(|event| event.step).collect();
            assert!(events.is_sorted(), "{events:?}");
            assert_eq!(
                events.len(),
                thread.runs().len() * 2,
                "each span keeps its two events"
            );
        }
    }

    #[test]
    fn spans_go_to_the_thread_on_the_processor() {
        let switches = [
            switch(5, 7, false),
            switch(20, 7, true),
            switch(21, 8, false),
            switch(40, 8, true),
            switch(41, 7, false),
        ];
        check(
            &[(1, 10), (2, 15), (3, 30), (4, 50)],
            &switches,
            &[(7, &[1, 2, 4]), (8, &[3])],
            false,
        );
    }

    #[test]
    fn a_time_that_tells_no_thread_gives_the_span_to_nobody() {
        let switches = [
            switch(5, 7, false),
            switch(20, 7, true),
            switch(21, 8, false),
        ];
        check(
            &[(1, 10), (2, 19), (3, 30)],
            &switches,
            &[(7, &[1]), (8, &[3])],
            true,
        );
    }

    #[test]
    fn a_lost_switch_leaves_both_threads_possible() {
        let switches = [
            switch(5, 7, false),
            switch(40, 8, true),
            switch(41, 7, false),
        ];
        check(&[(1, 10), (2, 50)], &switches, &[(7, &[2])], true);
    }

    #[test]
    fn without_switches_the_only_thread_has_it_all() {
        let cpus = [(0, processor(&[(1, 10), (2, 20)]))];
        let threads = split(&cpus, &[], Some(ThreadId(9)), Some(1), &mut Vec::new());
        assert_eq!((threads[0].thread, threads[0].steps()), (ThreadId(9), 3));
    }
}
