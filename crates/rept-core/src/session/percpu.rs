//! Traces of processors, taken apart into threads by context switches.
//!
//! A processor's buffer holds whatever ran there. User-only traces stop (TIP.PGD) and
//! resume (TIP.PGE) around every switch, so a *span*, from one resumption (or one loss of
//! data) to the next, belongs to one thread: the one that the switch records have on the
//! processor at the time of the span. A span whose time does not tell one thread from
//! another is given to nobody.
//!
//! A thread's spans follow each other without a gap, unless a *hole* lies between them: a
//! time at which a processor ran steps that nobody was given, or that were lost, while the
//! thread may have been on it.

mod stays;

#[cfg(test)]
mod tests;

use crate::capture::{Capture, Switch};
use crate::diagnostics::{Diagnostic, Subject};
use rept_order::{Edge, EdgeKind, Point};
use rept_trace::{
    EventKind, Gap, GapReason, Interval, ThreadId, ThreadTrace, TimeMark, Timestamp, Trace,
};
use stays::Stays;
use std::collections::BTreeMap;
use std::ops::Range;

/// The threads, and in which order processors ran them.
pub(super) struct Split {
    pub(super) threads: Vec<ThreadTrace>,
    /// For each processor, the stretches that it ran, in its order.
    pub(super) stretches: Vec<Vec<Stretch>>,
}

/// Steps of a thread that one processor ran in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) thread: ThreadId,
    pub(super) steps: Range<u64>,
}

/// Steps of one processor between two resumptions.
struct Span<'a> {
    source: &'a ThreadTrace,
    /// Index among the processors.
    cpu: usize,
    /// Its place among the spans of the processor.
    rank: usize,
    steps: Range<u64>,
    events: Range<usize>,
    /// When it began.
    time: Interval,
    /// When the thread came to the processor, for the order of its spans.
    since: Timestamp,
    /// Data was lost just before it.
    lost: Option<Gap>,
}

/// A time at which a processor ran something that no thread was given.
struct Hole {
    cpu: usize,
    /// Behind the spans of lower rank, and before the others.
    rank: usize,
    time: Interval,
}

impl Hole {
    /// The thread, whose spans `before` and `behind` follow each other, may have run in it
    /// between them; `None`: behind the last.
    fn may_part(
        &self,
        stays: &[Stays],
        thread: ThreadId,
        before: &Span<'_>,
        behind: Option<&Span<'_>>,
    ) -> bool {
        let later = before.cpu != self.cpu || before.rank < self.rank;
        let sooner = behind.is_none_or(|behind| behind.cpu != self.cpu || self.rank <= behind.rank);
        let end = behind.map_or(Timestamp(u64::MAX), |behind| behind.time.latest);
        let both = Interval {
            earliest: self.time.earliest.max(before.time.earliest),
            latest: self.time.latest.min(end),
        };
        let meet = both.earliest <= both.latest;
        later && sooner && meet && stays[self.cpu].may_hold(thread, both)
    }
}

/// To whom a span belongs.
enum Owner {
    Ours(ThreadId, Timestamp),
    /// Another process.
    Foreign,
    Unclear,
}

/// The threads of `process` from the traces of processors. Where no switches were recorded,
/// all of it is `only`'s, the one thread there is.
pub(super) fn split(
    cpus: &[(u32, ThreadTrace)],
    switches: &[Switch],
    only: Option<ThreadId>,
    process: Option<u32>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Split {
    let stays: Vec<Stays> = cpus
        .iter()
        .map(|&(cpu, _)| Stays::new(switches, cpu))
        .collect();
    let mut spans: BTreeMap<ThreadId, Vec<Span<'_>>> = BTreeMap::new();
    let mut holes = Vec::new();
    let mut unclear = 0u64;
    for (index, (_, source)) in cpus.iter().enumerate() {
        let mut cut = cut(index, source, &mut holes).into_iter().peekable();
        while let Some(mut span) = cut.next() {
            match owner(&stays, &span, only, process) {
                Owner::Ours(thread, since) => {
                    span.since = since;
                    spans.entry(thread).or_default().push(span);
                }
                Owner::Foreign => {}
                Owner::Unclear if span.steps.is_empty() => {}
                Owner::Unclear => {
                    unclear += span.steps.end - span.steps.start;
                    let next = cut.peek();
                    let latest = next.map_or(Timestamp(u64::MAX), |next| next.time.latest);
                    holes.push(Hole {
                        cpu: index,
                        rank: span.rank,
                        time: Interval {
                            latest,
                            ..span.time
                        },
                    });
                }
            }
        }
    }
    if unclear > 0 {
        let message = format!(
            "{unclear} steps cannot be given to a thread: no context switch tells who ran them"
        );
        diagnostics.push(Diagnostic::new(Subject::Trace, message));
    }
    let mut split = Split {
        threads: Vec::new(),
        stretches: vec![Vec::new(); cpus.len()],
    };
    let mut ran: Vec<(usize, usize, Stretch)> = Vec::new();
    for (thread, spans) in spans {
        let parted = |before: &Span<'_>, behind: Option<&Span<'_>>| {
            let mut holes = holes.iter();
            holes.any(|hole| hole.may_part(&stays, thread, before, behind))
        };
        let whole = assemble(thread, spans, parted, &mut ran);
        split.threads.push(whole);
    }
    ran.sort_by_key(|&(cpu, rank, _)| (cpu, rank));
    for (cpu, _, stretch) in ran {
        split.stretches[cpu].push(stretch);
    }
    split
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

fn owner(stays: &[Stays], span: &Span<'_>, only: Option<ThreadId>, process: Option<u32>) -> Owner {
    if let Some(thread) = only.filter(|_| stays[span.cpu].is_empty()) {
        return Owner::Ours(thread, span.time.earliest);
    }
    let Some((first, last)) = stays[span.cpu].owner(span.time) else {
        return Owner::Unclear;
    };
    if process.is_some_and(|process| process != first.process) {
        return Owner::Foreign;
    }
    // The thread was elsewhere in between: which of the two stays it is decides its place.
    let elsewhere = stays.iter().enumerate().any(|(cpu, stays)| {
        let mut stays = stays.iter();
        cpu != span.cpu
            && first.from != last.from
            && stays.any(|stay| {
                stay.thread == first.thread && first.from < stay.from && stay.from < last.from
            })
    });
    match elsewhere {
        true => Owner::Unclear,
        false => Owner::Ours(first.thread, first.from),
    }
}

/// Where a processor's trace is cut: the step, the first event behind, the time at least.
struct Cut {
    step: u64,
    event: usize,
    earliest: Timestamp,
    lost: Option<Gap>,
}

/// Cuts a processor's trace at its resumptions and where data was lost.
fn cut<'a>(cpu: usize, source: &'a ThreadTrace, holes: &mut Vec<Hole>) -> Vec<Span<'a>> {
    let mut cuts: Vec<Cut> = Vec::new();
    let first = Cut {
        step: 0,
        event: 0,
        earliest: Timestamp(0),
        lost: None,
    };
    cuts.push(first);
    for (index, event) in source.events.iter().enumerate() {
        // A run cannot be cut inside.
        let clean = event.step == source.steps()
            || source
                .locate(event.step)
                .is_some_and(|(_, index)| index == 0);
        if clean && matches!(event.kind, EventKind::Enabled { .. }) {
            cuts.push(Cut {
                step: event.step,
                event: index,
                earliest: event.time.earliest,
                lost: None,
            });
        }
    }
    for gap in &source.gaps {
        lose(&mut cuts, source, gap);
    }
    let lost = cuts
        .iter()
        .enumerate()
        .filter(|(_, cut)| cut.lost.is_some());
    holes.extend(lost.map(|(rank, cut)| Hole {
        cpu,
        rank,
        time: Interval {
            // Marks before the same step may stand behind the loss.
            earliest: match cut.step.checked_sub(1) {
                Some(before) => begun(source, before),
                None => Timestamp(0),
            },
            latest: passed(source, cut.step),
        },
    }));
    spans(cpu, source, &cuts)
}

/// Notes lost data at the cut there, or cuts there.
fn lose(cuts: &mut Vec<Cut>, source: &ThreadTrace, gap: &Gap) {
    // Of several cuts before one step only the last has steps behind it.
    let behind = cuts.partition_point(|cut| cut.step <= gap.step);
    if let Some(cut) = cuts[..behind].last_mut().filter(|cut| cut.step == gap.step) {
        cut.lost.get_or_insert_with(|| gap.clone());
        return;
    }
    let event = source.events.partition_point(|event| event.step < gap.step);
    let cut = Cut {
        step: gap.step,
        event,
        earliest: Timestamp(0),
        lost: Some(gap.clone()),
    };
    cuts.insert(behind, cut);
}

fn spans<'a>(cpu: usize, source: &'a ThreadTrace, cuts: &[Cut]) -> Vec<Span<'a>> {
    let mut reached = Timestamp(0);
    let mut spans = Vec::with_capacity(cuts.len());
    for (rank, cut) in cuts.iter().enumerate() {
        let next = cuts.get(rank + 1);
        let steps = cut.step..next.map_or(source.steps(), |next| next.step);
        let events = cut.event..next.map_or(source.events.len(), |next| next.event);
        reached = reached.max(cut.earliest).max(begun(source, cut.step));
        if steps.is_empty() && events.is_empty() && cut.lost.is_none() {
            continue;
        }
        let ran = match steps.is_empty() {
            true => Timestamp(u64::MAX),
            false => passed(source, cut.step),
        };
        let first = source.events.get(cut.event);
        // Behind a loss the steps may be later than the event before them.
        let resumed = first.filter(|_| cut.lost.is_none() && !events.is_empty());
        let latest = resumed.map_or(ran, |event| event.time.latest.min(ran));
        let there = resynchronised(source, cut).filter(|&there| there >= reached);
        let time = match there {
            Some(there) => Interval {
                earliest: there,
                latest: there,
            },
            None => Interval {
                earliest: reached,
                latest: latest.max(reached),
            },
        };
        spans.push(Span {
            source,
            cpu,
            rank,
            steps,
            events,
            time,
            since: Timestamp(0),
            lost: cut.lost.clone(),
        });
    }
    spans
}

/// Behind a loss, the time of the PSB+ at whose address decoding went on: the processor stood there
/// at that very time. `None` when tracing was resumed later (TIP.PGE), or behind an overflow, which
/// tells an address without its time.
fn resynchronised(source: &ThreadTrace, cut: &Cut) -> Option<Timestamp> {
    cut.lost.as_ref()?;
    let here = source.times.partition_point(|mark| mark.step <= cut.step);
    let last = source.times[..here]
        .last()
        .filter(|mark| mark.step == cut.step)?;
    let told = last.time.earliest;
    let overflow = |gap: &Gap| gap.step == cut.step && gap.reason == GapReason::Overflow;
    let events = source
        .events
        .iter()
        .rev()
        .skip_while(|event| event.step > cut.step);
    let mut resumed = events
        .take_while(|event| event.step == cut.step)
        .filter(|event| matches!(event.kind, EventKind::Enabled { .. }));
    // A resumption is a flow packet: what is marked behind it is later only behind another one.
    let later = resumed.all(|event| event.time.earliest < told);
    (later && !source.gaps.iter().any(overflow)).then_some(told)
}

/// The steps from this one on ran no earlier.
fn begun(source: &ThreadTrace, step: u64) -> Timestamp {
    let behind = source.times.partition_point(|mark| mark.step <= step);
    let marks = source.times[..behind].iter().rev();
    // Bounds ascend, so the last mark has the best; a mark may repeat a weaker one.
    marks
        .take(2)
        .map(|mark| mark.time.earliest)
        .max()
        .unwrap_or(Timestamp(0))
}

/// The step ran no later.
fn passed(source: &ThreadTrace, step: u64) -> Timestamp {
    let behind = source.times.partition_point(|mark| mark.step <= step);
    let marks = source.times[behind..].iter();
    marks
        .take(LOOKAHEAD)
        .map(|mark| mark.time.latest)
        .min()
        .unwrap_or(Timestamp(u64::MAX))
}

/// Marks looked at for an upper bound: those with an open one are rarely many in a row.
const LOOKAHEAD: usize = 64;

/// One thread from its spans, by time. `parted` tells whether it may have run unseen between two.
fn assemble(
    thread: ThreadId,
    mut spans: Vec<Span<'_>>,
    parted: impl Fn(&Span<'_>, Option<&Span<'_>>) -> bool,
    ran: &mut Vec<(usize, usize, Stretch)>,
) -> ThreadTrace {
    spans.sort_by_key(|span| (span.since, span.cpu, span.rank));
    let mut whole = ThreadTrace::new(thread);
    let mut before: Option<&Span<'_>> = None;
    for span in &spans {
        let base = whole.steps();
        let lost = span.lost.clone().map(|gap| Gap { step: base, ..gap });
        let unseen = || before.is_some_and(|before| parted(before, Some(span)));
        let gap = lost.or_else(|| unseen().then(|| unseen_gap(base)));
        whole.gaps.extend(gap);
        append(&mut whole, span);
        if base < whole.steps() {
            let steps = base..whole.steps();
            ran.push((span.cpu, span.rank, Stretch { thread, steps }));
        }
        before = Some(span);
    }
    if before.is_some_and(|last| parted(last, None)) {
        let gap = unseen_gap(whole.steps());
        whole.gaps.push(gap);
    }
    whole
}

fn unseen_gap(step: u64) -> Gap {
    Gap {
        step,
        offset: 0,
        at: None,
        reason: GapReason::LostData,
    }
}

fn append(whole: &mut ThreadTrace, span: &Span<'_>) {
    let (start, end) = (span.steps.start, span.steps.end);
    let base = whole.steps();
    let moved = |step: u64| base + step.clamp(start, end) - start;
    let events = span.source.events[span.events.clone()].iter();
    whole.events.extend(events.cloned().map(|mut event| {
        event.step = moved(event.step);
        event
    }));
    if start == end {
        return;
    }
    // A mark before the first step may be older than the thread's steps on other processors, and
    // one behind the last may be newer: only what they say of these steps is taken over.
    let begin = TimeMark {
        step: base,
        time: span.time,
    };
    let times = &span.source.times;
    let inner = times.partition_point(|mark| mark.step <= start)
        ..times.partition_point(|mark| mark.step < end);
    let last = times.get(inner.end).filter(|mark| mark.step == end);
    let own = times[inner].iter().chain(last).map(|mark| TimeMark {
        step: moved(mark.step),
        ..*mark
    });
    whole.times.push(begin);
    whole.times.extend(own);
    push_runs(whole, span);
}

fn push_runs(whole: &mut ThreadTrace, span: &Span<'_>) {
    let Some((first, _)) = span.source.locate(span.steps.start) else {
        return;
    };
    let mut left = span.steps.end - span.steps.start;
    for run in &span.source.runs()[first..] {
        if left == 0 {
            break;
        }
        left -= u64::from(run.count).min(left);
        whole.push(*run);
    }
}

/// What one processor ran of two threads, it ran one after the other.
pub(super) fn edges(stretches: &[Vec<Stretch>], trace: &Trace) -> Vec<Edge> {
    let index = super::thread_indices(trace);
    let point = |thread: ThreadId, step: u64| {
        let thread = *index.get(&thread)?;
        Some(Point { thread, step })
    };
    let neighbours = stretches.iter().flat_map(|cpu| cpu.windows(2));
    let switches = neighbours.filter(|pair| pair[0].thread != pair[1].thread);
    let edges = switches.filter_map(|pair| {
        Some(Edge {
            kind: EdgeKind::ContextSwitch,
            from: point(pair[0].thread, pair[0].steps.end)?,
            to: point(pair[1].thread, pair[1].steps.start)?,
        })
    });
    edges.collect()
}
