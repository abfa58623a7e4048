//! A processor's trace, cut into spans: from one resumption, or one loss of data, to the next.

use super::Hole;
use rept_trace::{EventKind, Gap, GapReason, Interval, ThreadTrace, Timestamp};
use std::ops::Range;

/// Steps of one processor between two resumptions.
pub(super) struct Span<'a> {
    pub(super) source: &'a ThreadTrace,
    /// Index among the processors.
    pub(super) cpu: usize,
    /// Its place among the spans of the processor.
    pub(super) rank: usize,
    pub(super) steps: Range<u64>,
    pub(super) events: Range<usize>,
    /// When it began.
    pub(super) time: Interval,
    /// When the thread came to the processor, for the order of its spans.
    pub(super) since: Timestamp,
    /// Data was lost just before it.
    pub(super) lost: Option<Gap>,
}

/// Where a processor's trace is cut: the step, the first event behind, the time at least.
struct Cut {
    step: u64,
    event: usize,
    earliest: Timestamp,
    lost: Option<Gap>,
}

/// Cuts a processor's trace at its resumptions and where data was lost.
pub(super) fn cut<'a>(cpu: usize, source: &'a ThreadTrace, holes: &mut Vec<Hole>) -> Vec<Span<'a>> {
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
    for gap in source.gaps.iter().filter(|gap| is_loss(gap)) {
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

/// Whether what is missing may be another thread's: rounds of a loop are those of the thread around it.
pub(super) fn is_loss(gap: &Gap) -> bool {
    !gap.reason.repeats()
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
