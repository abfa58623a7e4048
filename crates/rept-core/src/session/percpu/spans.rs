//! A processor's trace, cut into spans: from one resumption, or one loss of data, to the next.

use super::Hole;
use rept_trace::{Address, EventKind, Gap, GapReason, Interval, ThreadTrace, Timestamp};
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
    /// What was lost are its own steps: the code was missing where it began.
    pub(super) without_code: bool,
}

/// Where a processor's trace is cut: the step, the first event behind, the time at least.
struct Cut {
    step: u64,
    event: usize,
    earliest: Timestamp,
    lost: Option<Gap>,
    /// Where tracing was resumed.
    ip: Option<Address>,
    without_code: bool,
}

impl Cut {
    fn new(step: u64, event: usize) -> Cut {
        Cut {
            step,
            event,
            earliest: Timestamp(0),
            lost: None,
            ip: None,
            without_code: false,
        }
    }
}

/// Cuts a processor's trace at its resumptions and where data was lost.
pub(super) fn cut<'a>(cpu: usize, source: &'a ThreadTrace, holes: &mut Vec<Hole>) -> Vec<Span<'a>> {
    let mut cuts: Vec<Cut> = vec![Cut::new(0, 0)];
    for (index, event) in source.events.iter().enumerate() {
        // A run cannot be cut inside.
        let clean = event.step == source.steps()
            || source
                .locate(event.step)
                .is_some_and(|(_, index)| index == 0);
        if let EventKind::Enabled { ip } = event.kind
            && clean
        {
            cuts.push(Cut {
                earliest: event.time.earliest,
                ip: Some(ip),
                ..Cut::new(event.step, index)
            });
        }
    }
    for gap in source.gaps.iter().filter(|gap| is_loss(gap)) {
        lose(&mut cuts, source, gap);
    }
    let lost = cuts
        .iter()
        .enumerate()
        .filter(|(_, cut)| cut.lost.is_some() && !cut.without_code);
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
    let before = cuts.partition_point(|cut| cut.step < gap.step);
    if let Some(cut) = without_code(&mut cuts[before..behind], gap) {
        cut.lost = Some(gap.clone());
        cut.without_code = true;
        return;
    }
    if let Some(cut) = cuts[..behind].last_mut().filter(|cut| cut.step == gap.step) {
        cut.lost.get_or_insert_with(|| gap.clone());
        return;
    }
    let event = source.events.partition_point(|event| event.step < gap.step);
    let cut = Cut {
        lost: Some(gap.clone()),
        ..Cut::new(gap.step, event)
    };
    cuts.insert(behind, cut);
}

/// Of the cuts before one step, that of which `gap` tells that its code is missing where it begins: not the
/// last one, which begins anew elsewhere. Of several that begin there, each has a gap of its own.
fn without_code<'c>(cuts: &'c mut [Cut], gap: &Gap) -> Option<&'c mut Cut> {
    let (last, others) = cuts.split_last_mut()?;
    let is_code = matches!(gap.reason, GapReason::MissingCode { .. });
    let is_before = is_code && gap.at.is_some() && last.ip.is_some() && last.ip != gap.at;
    let mut others = others.iter_mut().filter(|_| is_before);
    others.find(|cut| cut.ip == gap.at && cut.lost.is_none())
}

fn spans<'a>(cpu: usize, source: &'a ThreadTrace, cuts: &[Cut]) -> Vec<Span<'a>> {
    let mut reached = Timestamp(0);
    let mut spans = Vec::with_capacity(cuts.len());
    for (rank, cut) in cuts.iter().enumerate() {
        let next = cuts.get(rank + 1);
        let steps = cut.step..next.map_or(source.steps(), |next| next.step);
        let events = cut.event..next.map_or(source.events.len(), |next| next.event);
        reached = reached.max(cut.earliest);
        if !steps.is_empty() {
            // Of marks before a step the last may be of a later span.
            reached = reached.max(begun(source, cut.step));
        }
        if steps.is_empty() && events.is_empty() && cut.lost.is_none() {
            continue;
        }
        let ran = match steps.is_empty() {
            true => Timestamp(u64::MAX),
            false => passed(source, cut.step),
        };
        let first = source.events.get(cut.event);
        // Behind a loss the steps may be later than the event before them.
        let told = cut.lost.is_none() || cut.without_code;
        let resumed = first.filter(|_| told && !events.is_empty());
        let latest = resumed.map_or(ran, |event| event.time.latest.min(ran));
        let stood = (!steps.is_empty() && (!told || rank == 0)).then(|| stood(source, cut));
        let there = stood.flatten().filter(|&there| there >= reached);
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
            without_code: cut.without_code,
        });
    }
    spans
}

/// At the begin and behind a loss, the time of the PSB+ at whose address decoding went on: the processor
/// stood there at that very time. `None` when tracing was resumed later (TIP.PGE), or behind an overflow,
/// which tells an address without its time.
fn stood(source: &ThreadTrace, cut: &Cut) -> Option<Timestamp> {
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
