//! `rept calls`, and the call tree of a report.

use crate::args::CallsArgs;
use crate::colour;
use crate::failure::Failure;
use crate::query::thread;
use crate::text::grouped;
use rept_core::{CallEnd, CallNode, CallTree, History};
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
    depth: u32,
    returned: Option<String>,
    /// The last step inside, returned or not.
    left: Option<String>,
    /// Made before the steps asked for.
    open_before: bool,
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
    let tree = call_tree(history, thread, steps)?;
    let all = tree.filter(|call| wanted.range.fits(&names.of(call)));
    if wanted.json {
        return print(all.map(|call| json(&names, &call)), out);
    }
    let found: Vec<CallNode> = all.collect();
    if found.is_empty() {
        return Err(Failure::new(format!(
            "thread {thread} makes no such call in the steps asked for"
        )));
    }
    print_tree(&names, &found, out).map_err(Failure::output)
}

fn call_tree(
    history: &History,
    thread: ThreadId,
    steps: Range<u64>,
) -> Result<CallTree<'_>, Failure> {
    let tree = history.call_tree(thread, steps);
    tree.ok_or_else(|| Failure::new(format!("no steps of thread {thread} in the trace")))
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

fn json(names: &Names<'_>, call: &CallNode) -> Result<String, Failure> {
    serde_json::to_string(&record(call, &names.of(call)))
        .map_err(|error| Failure::new(error.to_string()))
}

fn record<'a>(call: &CallNode, function: &'a str) -> Record<'a> {
    let (returned, left) = match call.end {
        CallEnd::Returned(at) => (Some(at), Some(at)),
        CallEnd::Left(at) => (None, Some(at)),
        _ => (None, None),
    };
    Record {
        at: call.entry.to_string(),
        callee: call.callee.to_string(),
        function,
        depth: call.depth,
        returned: returned.map(|at| at.to_string()),
        left: left.map(|at| at.to_string()),
        open_before: call.open_before,
    }
}

/// How many calls a thread made in its steps, and the last `most` of them as `rept calls --json` has them.
///
/// # Errors
/// The thread was not traced.
pub(crate) fn last_as_json(
    history: &History,
    thread: ThreadId,
    steps: Range<u64>,
    most: usize,
) -> Result<(usize, Vec<serde_json::Value>), Failure> {
    let tree = call_tree(history, thread, steps)?.made();
    let names = Names::new(history);
    let count = tree.len();
    let made = last(tree, most).into_iter().map(|call| {
        let value = serde_json::to_value(record(&call, &names.of(&call)));
        value.map_err(|error| Failure::new(error.to_string()))
    });
    Ok((count, made.collect::<Result<_, _>>()?))
}

/// The last calls of a tree, in their order.
fn last(tree: CallTree<'_>, most: usize) -> Vec<CallNode> {
    let mut last: Vec<CallNode> = tree.rev().take(most).collect();
    last.reverse();
    last
}

/// Prints the last `most` calls of a thread's steps as a tree.
///
/// # Errors
/// The thread was not traced; those of writing.
pub(crate) fn last_calls(
    history: &History,
    thread: ThreadId,
    steps: Range<u64>,
    most: usize,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let tree = call_tree(history, thread, steps)?.made();
    let count = tree.len();
    let number = |count: usize| grouped(count as u64);
    match count > most {
        false => writeln!(out, "{} calls of thread {thread}", number(count)),
        true => writeln!(
            out,
            "the last {} of {} calls of thread {thread} (all: rept calls)",
            number(most),
            number(count)
        ),
    }
    .and_then(|()| print_tree(&Names::new(history), &last(tree, most), out))
    .map_err(Failure::output)
}

fn print_tree(names: &Names<'_>, calls: &[CallNode], out: &mut dyn Write) -> io::Result<()> {
    let outermost = calls.iter().map(|call| call.depth).min().unwrap_or(0);
    for call in calls {
        let indent = 2 * (call.depth - outermost) as usize;
        let at = colour::position(format!("{:<16}", call.entry.to_string()));
        writeln!(
            out,
            "  {at} {:indent$}{}  ({})",
            "",
            names.of(call),
            state(call),
            indent = indent.min(MAX_INDENT)
        )?;
    }
    Ok(())
}

/// How long a call took, and how it ended.
fn state(call: &CallNode) -> String {
    let steps = |step: u64| format!("{} steps", grouped(step - call.entry.step));
    let end = match call.end {
        CallEnd::Returned(at) => steps(at.step),
        CallEnd::Left(at) => format!("left without a return after {}", steps(at.step)),
        _ => "open".to_owned(),
    };
    match call.open_before {
        true => format!("{end}, made before"),
        false => end,
    }
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

    fn of(&self, call: &CallNode) -> String {
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
