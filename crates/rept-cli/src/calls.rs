//! `rept calls`, and the call tree of a report.

use crate::args::CallsArgs;
use crate::colour;
use crate::failure::Failure;
use crate::query::thread;
use crate::text::grouped;
use rept_core::{Call, History, Position};
use rept_trace::ThreadId;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;

/// Deeper calls are not indented further.
const MAX_INDENT: usize = 40;

/// One call, for scripts. Schema `rept-calls/1`: fields are added, never renamed.
#[derive(Serialize)]
struct Record<'a> {
    at: String,
    callee: String,
    function: &'a str,
    depth: usize,
    returned: Option<String>,
}

/// Prints the calls of a thread as a tree, one a line.
///
/// # Errors
/// There is no such thread or position, or no call fits.
pub(crate) fn calls(
    history: &History,
    wanted: &CallsArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let thread = thread(
        history,
        wanted.range.thread,
        [wanted.range.from, wanted.range.to],
    )?;
    let steps = wanted.range.steps(history, thread)?;
    let names = Names::new(history);
    let chosen = |call: &&Call| {
        let inside = steps.contains(&call.site);
        inside && wanted.range.fits(&names.of(call))
    };
    let all = history.calls(thread).iter().filter(chosen);
    if wanted.json {
        let lines = all.map(|call| json(&names, thread, call));
        return print(lines, out);
    }
    let found: Vec<&Call> = all.collect();
    if found.is_empty() {
        return Err(Failure::new(format!(
            "thread {thread} makes no such call in the steps asked for"
        )));
    }
    tree(&names, thread, &found, out).map_err(Failure::output)
}

fn print(
    lines: impl Iterator<Item = Result<String, Failure>>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    for line in lines {
        writeln!(out, "{}", line?).map_err(Failure::output)?;
    }
    Ok(())
}

fn json(names: &Names<'_>, thread: ThreadId, call: &Call) -> Result<String, Failure> {
    serde_json::to_string(&record(thread, call, &names.of(call)))
        .map_err(|error| Failure::new(error.to_string()))
}

fn record<'a>(thread: ThreadId, call: &Call, function: &'a str) -> Record<'a> {
    let place = |step| Position::new(thread, step).to_string();
    Record {
        at: place(call.site),
        callee: call.callee.to_string(),
        function,
        depth: call.depth as usize,
        returned: call.returned.map(place),
    }
}

/// How many calls a thread made in its steps, and the last `most` of them as `rept calls --json` has them.
///
/// # Errors
/// None in practice: they are numbers and strings.
pub(crate) fn last_as_json(
    history: &History,
    thread: ThreadId,
    steps: Range<u64>,
    most: usize,
) -> Result<(usize, Vec<serde_json::Value>), Failure> {
    let all = calls_in(history, thread, steps);
    let names = Names::new(history);
    let last = &all[all.len().saturating_sub(most)..];
    let made = last.iter().map(|call| {
        let value = serde_json::to_value(record(thread, call, &names.of(call)));
        value.map_err(|error| Failure::new(error.to_string()))
    });
    Ok((all.len(), made.collect::<Result<_, _>>()?))
}

fn calls_in(history: &History, thread: ThreadId, steps: Range<u64>) -> Vec<&Call> {
    let inside = |call: &&Call| steps.contains(&call.site);
    history.calls(thread).iter().filter(inside).collect()
}

/// Prints the last `most` calls of a thread's steps as a tree.
///
/// # Errors
/// Those of writing.
pub(crate) fn last_calls(
    history: &History,
    thread: ThreadId,
    steps: Range<u64>,
    most: usize,
    out: &mut dyn Write,
) -> io::Result<()> {
    let all = calls_in(history, thread, steps);
    let skipped = all.len().saturating_sub(most);
    let count = |count: usize| grouped(count as u64);
    match skipped {
        0 => writeln!(out, "{} calls of thread {thread}", count(all.len()))?,
        _ => writeln!(
            out,
            "the last {} of {} calls of thread {thread} (all: rept calls)",
            count(most),
            count(all.len())
        )?,
    }
    tree(&Names::new(history), thread, &all[skipped..], out)
}

fn tree(
    names: &Names<'_>,
    thread: ThreadId,
    calls: &[&Call],
    out: &mut dyn Write,
) -> io::Result<()> {
    let outermost = calls.iter().map(|call| call.depth).min().unwrap_or(0);
    for call in calls {
        let indent = 2 * (call.depth - outermost) as usize;
        let at = Position::new(thread, call.site).to_string();
        let at = colour::position(format!("{at:<16}"));
        let end = match call.returned {
            Some(step) => format!("{} steps", grouped(step - call.site)),
            None => "open".to_owned(),
        };
        let name = names.of(call);
        writeln!(
            out,
            "  {at} {:indent$}{name}  ({end})",
            "",
            indent = indent.min(MAX_INDENT)
        )?;
    }
    Ok(())
}

/// Names of callees, each looked up once.
struct Names<'a> {
    history: &'a History,
    known: std::cell::RefCell<BTreeMap<u64, String>>,
}

impl<'a> Names<'a> {
    fn new(history: &'a History) -> Names<'a> {
        Names {
            history,
            known: std::cell::RefCell::default(),
        }
    }

    fn of(&self, call: &Call) -> String {
        let look_up = || {
            let symbol = self.history.session().symbols().lookup(call.callee);
            let module = symbol.module.clone();
            let own = symbol.function.map(|(name, _)| name);
            own.or_else(|| Some(format!("{} in {}", call.callee, module?)))
                .unwrap_or_else(|| call.callee.to_string())
        };
        let mut known = self.known.borrow_mut();
        known.entry(call.callee.0).or_insert_with(look_up).clone()
    }
}
