//! `rept report`: the crash, and the steps before it with their values.

mod crash;
mod operands;
mod steps;
mod value;

pub(crate) use crash::{Crash, signal_name};
pub(crate) use value::{LEGEND, known_part, shown};

use crate::args::ReportArgs;
use crate::case::Case;
use crate::failure::Failure;
use crate::text::grouped;
use operands::Counts;
use rept_core::Position as Place;
use rept_recover::history::Position;
use rept_trace::ThreadId;
use std::io::{self, Write};

/// Prints the report.
///
/// # Errors
/// A thread or position that does not exist; the crash is printed in any case.
pub(crate) fn report(
    case: Case<'_>,
    wanted: &ReportArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    writeln!(out, "{}", Crash(case)).map_err(Failure::output)?;
    let (from, to) = range(case, wanted)?;
    print(case, from, to, out).map_err(Failure::output)
}

fn print(case: Case<'_>, from: Position, to: Position, out: &mut dyn Write) -> io::Result<()> {
    let thread = &case.trace.threads[from.thread as usize];
    writeln!(
        out,
        "{} steps of thread {}, of {} in the trace, newest last\n{}\n",
        grouped(to.step - from.step),
        thread.thread,
        grouped(thread.steps()),
        LEGEND
    )?;
    let counts = steps::steps(case, from.thread, from.step..to.step, out)?;
    totals(case, counts, out)
}

/// First step, and the one behind the last; of one thread.
fn range(case: Case<'_>, wanted: &ReportArgs) -> Result<(Position, Position), Failure> {
    let named = [wanted.from, wanted.to]
        .into_iter()
        .flatten()
        .next()
        .map(|place| place.thread);
    let tid = wanted
        .thread
        .map(ThreadId)
        .or(named)
        .or_else(|| case.crashing());
    let tid = tid.or_else(|| case.trace.threads.first().map(|thread| thread.thread));
    let thread = tid
        .and_then(|tid| case.index(tid))
        .ok_or_else(|| no_thread(case, tid))?;
    let place = |place: Option<Place>| place.map(|place| position(case, thread, place)).transpose();
    let end = case.end(thread);
    let to = place(wanted.to)?.unwrap_or(end);
    let first = to.step.saturating_sub(wanted.last);
    let from = place(wanted.from)?.unwrap_or(Position { step: first, ..to });
    Ok((
        Position {
            step: from.step.min(to.step),
            ..from
        },
        to,
    ))
}

fn position(case: Case<'_>, thread: u32, place: Place) -> Result<Position, Failure> {
    let end = case.end(thread);
    let tid = case.trace.threads[thread as usize].thread;
    if place.thread != tid {
        return Err(Failure::new(format!(
            "position {place} is not of thread {tid}"
        )));
    }
    if place.step > end.step {
        let end = case.name(end);
        return Err(Failure::new(format!(
            "position {place} does not exist: the thread ends at {end}"
        )));
    }
    Ok(Position {
        thread,
        step: place.step,
    })
}

/// Says which threads there are.
pub(crate) fn no_thread(case: Case<'_>, wanted: Option<ThreadId>) -> Failure {
    let threads: Vec<String> = case
        .trace
        .threads
        .iter()
        .map(|thread| thread.thread.to_string())
        .collect();
    let there = match threads.is_empty() {
        true => "the trace holds no steps of any thread".to_owned(),
        false => format!("the trace holds thread {}", threads.join(", ")),
    };
    match wanted {
        Some(tid) => Failure::new(format!("no steps of thread {tid} in the trace: {there}")),
        None => Failure::new(there),
    }
}

fn totals(case: Case<'_>, counts: Counts, out: &mut dyn Write) -> io::Result<()> {
    let steps: u64 = case
        .trace
        .threads
        .iter()
        .map(rept_trace::ThreadTrace::steps)
        .sum();
    let gaps: usize = case
        .trace
        .threads
        .iter()
        .map(|thread| thread.gaps.len())
        .sum();
    writeln!(
        out,
        "\nvalues shown: {} certain, {} assumed, {} inferred, {} partly known, {} unknown",
        counts.certain, counts.assumed, counts.inferred, counts.partial, counts.unknown
    )?;
    writeln!(
        out,
        "in all: {} steps of {} thread{}, {gaps} gap{}",
        grouped(steps),
        case.trace.threads.len(),
        if case.trace.threads.len() == 1 {
            ""
        } else {
            "s"
        },
        if gaps == 1 { "" } else { "s" }
    )
}

#[cfg(test)]
mod tests;
