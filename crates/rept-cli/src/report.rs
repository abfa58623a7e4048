//! `rept report`: the crash, and the steps before it with their values.

mod crash;
mod json;
mod lines;
mod operands;
mod steps;

pub(crate) use crash::{Crash, signal_name};
pub(crate) use json::json;
pub(crate) use operands::written_words;
pub(crate) use rept_core::show::{LEGEND, known_part, shown};

use crate::args::ReportArgs;
use crate::case::Case;
use crate::failure::Failure;
use crate::text::grouped;
use lines::Wanted;
use operands::Counts;
use rept_core::{History, Position as Place, Trust};
use rept_recover::history::{AccessView, Position, Recovered, Unknown, Value};
use rept_trace::{Address, Memory, RegWord, ThreadId};
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
    let trusted = Trusted {
        history: case.history,
        trust: wanted.trust.into(),
    };
    let case = Case {
        history: &trusted,
        ..case
    };
    let (from, to) = range(case, wanted)?;
    print(case, from, to, out).map_err(Failure::output)
}

/// Prints the crash, the last calls, and the source lines before the end with their values.
///
/// # Errors
/// A thread or position that does not exist; the crash is printed in any case.
pub(crate) fn source(
    case: Case<'_>,
    history: &History,
    wanted: &ReportArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    writeln!(out, "{}", Crash(case)).map_err(Failure::output)?;
    let range = &wanted.range;
    let thread = crate::query::thread(history, range.thread, [range.from, range.to])?;
    let steps = range.steps(history, thread)?;
    let lines = Wanted {
        thread,
        steps: steps.clone(),
        most: wanted.last,
        function: range.function.as_deref(),
        trust: wanted.trust.into(),
    };
    crate::calls::last_calls(history, thread, steps, CALLS, out)?;
    writeln!(out, "\nsource lines, newest last\n{LEGEND}\n")
        .and_then(|()| lines::lines(history, &lines, out))
        .and_then(|()| degraded(history, out))
        .map_err(Failure::output)
}

/// Names the modules of which something was wanted that is not there.
fn degraded(history: &History, out: &mut dyn Write) -> io::Result<()> {
    let degraded = history.session().symbols().degraded();
    if !degraded.is_empty() {
        writeln!(out, "\nwithout source lines or variables, or some of them")?;
    }
    degraded
        .iter()
        .try_for_each(|module| writeln!(out, "  {}: {}", module.module, module.reason))
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

/// Calls printed at most.
const CALLS: usize = 40;

/// A history as one sees it who trusts nothing weaker than a grade.
struct Trusted<'a> {
    history: &'a dyn Recovered,
    trust: Trust,
}

impl Recovered for Trusted<'_> {
    fn register(&self, at: Position, word: RegWord) -> Value {
        self.trust.limit(self.history.register(at, word))
    }

    fn why_unknown(&self, at: Position, word: RegWord) -> Unknown {
        self.history.why_unknown(at, word)
    }

    fn accesses(&self, at: Position) -> Vec<AccessView> {
        let limited = |access: AccessView| AccessView {
            address: access
                .address
                .filter(|_| Trust::of_address(&access) <= self.trust),
            value: self.trust.limit(access.value),
            ..access
        };
        self.history.accesses(at).into_iter().map(limited).collect()
    }

    fn memory(&self, at: Position, address: Address, dump: &dyn Memory) -> Value {
        self.trust.limit(self.history.memory(at, address, dump))
    }
}

/// First step, and the one behind the last; of one thread.
fn range(case: Case<'_>, wanted: &ReportArgs) -> Result<(Position, Position), Failure> {
    wanted.range.check_direction()?;
    let named = [wanted.range.from, wanted.range.to]
        .into_iter()
        .flatten()
        .next()
        .map(|place| place.thread);
    let tid = wanted
        .range
        .thread
        .map(ThreadId)
        .or(named)
        .or_else(|| case.crashing());
    let tid = tid.or_else(|| case.trace.threads.first().map(|thread| thread.thread));
    let thread = tid
        .and_then(|tid| case.index(tid))
        .ok_or_else(|| no_thread(&case.threads(), tid))?;
    let place = |place: Option<Place>| place.map(|place| position(case, thread, place)).transpose();
    let end = case.end(thread);
    let to = place(wanted.range.to)?.unwrap_or(end);
    let first = to.step.saturating_sub(wanted.last);
    let from = place(wanted.range.from)?.unwrap_or(Position { step: first, ..to });
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
pub(crate) fn no_thread(threads: &[ThreadId], wanted: Option<ThreadId>) -> Failure {
    let threads: Vec<String> = threads.iter().map(ThreadId::to_string).collect();
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
