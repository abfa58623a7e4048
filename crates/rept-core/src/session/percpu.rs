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

mod assemble;
mod spans;
mod stays;

#[cfg(test)]
mod tests;

use crate::capture::{Capture, Switch};
use crate::diagnostics::{Diagnostic, Subject};
use assemble::assemble;
use rept_order::{Edge, EdgeKind, Point};
use rept_trace::{Interval, ThreadId, ThreadTrace, Timestamp, Trace};
use spans::{Span, cut};
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
        .map(|&(cpu, _)| Stays::new(switches, cpu, cpus.len() == 1))
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
                Owner::Unclear if span.steps.is_empty() && !span.without_code => {}
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
