//! `rept at`, `rept last-write`, `rept explain`: one question each.

mod json;
mod state;

use crate::args::{AtArgs, ExplainArgs, LastWriteArgs, Place};
use crate::failure::Failure;
use crate::story::{Story, line, print_explanation, stored};
use crate::text::grouped;
use rept_core::show::why_lines;
use rept_core::{History, Location, Position, Trust, Variable, Write as Written};
use rept_trace::ThreadId;
use std::io::{self, Write};

pub(crate) use json::Step;
pub(crate) use state::Named;

/// Prints the variables and general-purpose registers at a position, and the step that runs there.
///
/// # Errors
/// There is no such position.
pub(crate) fn at(history: &History, wanted: &AtArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let at = position(history, wanted.at.or(wanted.position))?;
    let trust = wanted.trust.into();
    let mut named = Vec::new();
    for name in &wanted.variables {
        named.extend(variables(history, name, at, trust)?);
    }
    if wanted.json {
        let text = state::json(history, at, trust, &named)?;
        return writeln!(out, "{text}").map_err(Failure::output);
    }
    state::print(history, at, trust, out)
        .and_then(|()| state::print_variables(&named, out))
        .map_err(Failure::output)?;
    match wanted.why {
        Some(location) => print_why(history, location, at, out).map_err(Failure::output),
        None => Ok(()),
    }
}

/// Prints the step that last wrote a place.
///
/// # Errors
/// There is no such position; no step wrote it.
pub(crate) fn last_write(
    history: &History,
    wanted: &LastWriteArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let before = position(history, wanted.at)?;
    let place = wanted
        .place()
        .ok_or_else(|| Failure::new("no place is named"))?;
    let location = located(history, &place, before, wanted.trust.into())?;
    let written = history
        .last_write_by(location, before, wanted.trust.into())
        .ok_or_else(|| no_position(history, before))?;
    if wanted.json {
        let document = json::last_write(history, (location, before), &written);
        return json::print(&document, out);
    }
    let Some(at) = written.position() else {
        return Err(nobody(location, before, &written));
    };
    let what = match location {
        Location::Mem { address, .. } => {
            format!("{} to [{address}]", stored(history, at, address))
        }
        _ => format!("to {location}"),
    };
    line(history, at, &what, out).map_err(Failure::output)?;
    let Written::Uncertain {
        stores, barrier, ..
    } = written
    else {
        return Ok(());
    };
    let barrier = barrier.map(|at| {
        format!("  (the kernel may have written it at {at}, or steps are missing there)")
    });
    let stores = (stores > 0).then(|| format!("  (later stores at unknown addresses: {stores})"));
    let mut doubts = stores.into_iter().chain(barrier);
    doubts
        .try_for_each(|doubt| writeln!(out, "{doubt}"))
        .map_err(Failure::output)
}

/// No writer is known, and perhaps why not.
fn nobody(location: Location, before: Position, written: &Written) -> Failure {
    let place = named(location);
    let unknown = match *written {
        Written::Uncertain { stores, .. } if stores > 0 => {
            format!("; stores at unknown addresses: {}", grouped(stores))
        }
        _ => String::new(),
    };
    Failure::new(format!(
        "no step of the trace before {before} is known to have written {place}{unknown}"
    ))
}

/// Variables of a name, of which there must be one.
fn variables(
    history: &History,
    name: &str,
    at: Position,
    trust: Trust,
) -> Result<Vec<Variable>, Failure> {
    let found = history.variables_named(name, at, trust).unwrap_or_default();
    match found.is_empty() {
        true => Err(Failure::new(format!("there is no variable {name} at {at}"))),
        false => Ok(found),
    }
}

/// The place that is asked about; of several variables of a name, the first that is at a place.
fn located(
    history: &History,
    place: &Place,
    at: Position,
    trust: Trust,
) -> Result<Location, Failure> {
    let name = match place {
        Place::At(location) => return Ok(*location),
        Place::Named(name) => name,
    };
    let nothing = |_| {
        Failure::new(format!(
            "{name} is no register, and no variable at {at} has that name"
        ))
    };
    let found = variables(history, name, at, trust).map_err(nothing)?;
    let located = found.iter().find_map(|variable| variable.location);
    located.ok_or_else(|| Failure::new(format!("{} at {at}", found[0])))
}

/// Without the number of bytes, for sentences.
fn named(location: Location) -> String {
    match location {
        Location::Mem { address, .. } => format!("[{address}]"),
        other => other.to_string(),
    }
}

/// Prints where a value came from; without a location, the pointer that led to the crash.
///
/// # Errors
/// There is no such position.
pub(crate) fn explain(
    history: &History,
    wanted: &ExplainArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let skip_copies = wanted.skip_copies;
    let Some(place) = &wanted.location else {
        let story = Story::of(history, wanted.trust.into());
        return match wanted.json {
            true => json::print(&json::story(history, &story, skip_copies), out),
            false => story
                .print(history, skip_copies, out)
                .map_err(Failure::output),
        };
    };
    let at = position(history, wanted.at)?;
    let location = located(history, place, at, wanted.trust.into())?;
    let explanation = history
        .explain_by(location, at, wanted.trust.into())
        .ok_or_else(|| no_position(history, at))?;
    if wanted.json {
        let why = why_lines(history, location, at, MAX_INFERENCES);
        let about = (location, at);
        let document = json::explanation(history, about, &explanation, skip_copies, &why);
        return json::print(&document, out);
    }
    writeln!(
        out,
        "where the value of {location} at {at} came from, newest first"
    )
    .and_then(|()| print_explanation(history, &explanation, skip_copies, out))
    .and_then(|()| print_why(history, location, at, out))
    .map_err(Failure::output)
}

/// Inferences printed at most.
const MAX_INFERENCES: usize = 16;

fn print_why(
    history: &History,
    location: Location,
    at: Position,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(out, "\nhow {location} came to be known, newest first")?;
    let lines = why_lines(history, location, at, MAX_INFERENCES);
    lines.iter().try_for_each(|line| writeln!(out, "  {line}"))
}

/// The position that was named, or the end of the crashing thread; of the first, where the dump
/// does not say which that is.
///
/// # Errors
/// There is no such position.
pub(crate) fn position(history: &History, named: Option<Position>) -> Result<Position, Failure> {
    let position = match named {
        Some(position) => position,
        None => end(history)?,
    };
    match history.at(position) {
        Some(_) => Ok(position),
        None => Err(no_position(history, position)),
    }
}

/// The thread that is named, alone or by a position; without one, that of [`position`].
///
/// # Errors
/// There is no such thread, or the positions are of another.
pub(crate) fn thread(
    history: &History,
    named: Option<u32>,
    positions: [Option<Position>; 2],
) -> Result<ThreadId, Failure> {
    let mut of_positions = positions.into_iter().flatten();
    let named = named.map(ThreadId);
    let first = of_positions.clone().next().map(|position| position.thread);
    let thread = match named.or(first) {
        Some(thread) => thread,
        None => end(history)?.thread,
    };
    if history.lifetime(thread).is_none() {
        return Err(no_thread(history, Some(thread)));
    }
    match of_positions.find(|position| position.thread != thread) {
        Some(other) => Err(Failure::new(format!(
            "position {other} is not of thread {thread}"
        ))),
        None => Ok(thread),
    }
}

fn end(history: &History) -> Result<Position, Failure> {
    let of_dump = || {
        let dump = history.session().dump()?;
        dump.threads().first().map(|registers| registers.thread)
    };
    let crashing = history.crash().map(|crash| crash.position.thread);
    let thread = crashing.or_else(of_dump);
    let thread = thread.filter(|&thread| history.lifetime(thread).is_some());
    let thread = thread.or_else(|| history.threads().next());
    let steps = thread.and_then(|thread| Some((thread, history.lifetime(thread)?.end)));
    let (thread, steps) = steps.ok_or_else(|| no_thread(history, None))?;
    Ok(Position::new(thread, steps))
}

fn no_position(history: &History, position: Position) -> Failure {
    match history.lifetime(position.thread) {
        Some(steps) => {
            let end = Position::new(position.thread, steps.end);
            Failure::new(format!(
                "position {position} does not exist: the thread ends at {end}"
            ))
        }
        None => no_thread(history, Some(position.thread)),
    }
}

fn no_thread(history: &History, wanted: Option<ThreadId>) -> Failure {
    let threads: Vec<ThreadId> = history.threads().collect();
    crate::report::no_thread(&threads, wanted)
}
