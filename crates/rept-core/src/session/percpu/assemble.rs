//! A thread, put together from its spans on all processors.

use super::Stretch;
use super::spans::{Span, is_loss};
use rept_trace::{EventKind, Gap, GapReason, ThreadId, ThreadTrace, TimeMark};

/// One thread from its spans, by time. `parted` tells whether it may have run unseen between two.
pub(super) fn assemble(
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
    // Between two spans of one thread stands what both tell.
    whole.gaps.dedup();
    whole
}

pub(super) fn unseen_gap(step: u64) -> Gap {
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
    whole.gaps.extend(rounds(span).map(|gap| Gap {
        step: moved(gap.step),
        ..gap.clone()
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

/// Loops of the span that are not counted. Between two spans the first is that of the one before, when
/// that was stopped there.
fn rounds<'a>(span: &'a Span<'_>) -> impl Iterator<Item = &'a Gap> {
    let (start, end) = (span.steps.start, span.steps.end);
    let source = span.source;
    let before = source.events[..span.events.start].iter().rev();
    let mut before = before.take_while(|event| event.step == start);
    let stopped = before.find_map(|event| match event.kind {
        EventKind::AsyncDisabled { at, .. } => Some(at),
        _ => None,
    });
    let gaps = source.gaps.iter().filter(|gap| !is_loss(gap));
    let mut within = gaps
        .filter(move |gap| (start..=end).contains(&gap.step))
        .peekable();
    within.next_if(|gap| gap.step == start && gap.at.is_some() && gap.at == stopped);
    within
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
