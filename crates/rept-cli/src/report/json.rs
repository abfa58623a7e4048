//! The report for scripts. Schema `rept-report/1`: fields are added, never renamed (docs/json.md).

use super::crash::signal_name;
use super::lines::{self, Wanted};
use crate::args::{ReportArgs, Threshold};
use crate::calls;
use crate::case::Case;
use crate::export::{self, grade_name};
use crate::failure::Failure;
use crate::query::{Named, Step};
use rept_core::{Degraded, History, Position};
use rept_trace::Fault;
use serde::Serialize;
use serde_json::Value;
use std::io::Write;

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    trust: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stages: Option<u8>,
    /// Why dump and trace may not belong together.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
    crash: Option<Crash>,
    thread: u32,
    backtrace: Backtrace,
    /// Calls of the thread in the steps asked for; of these, the last are listed.
    calls_in_all: usize,
    calls: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<Vec<Line>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<Vec<Value>>,
    /// Modules that source lines or variables were wanted of and are not all there.
    degraded: Vec<Module>,
}

#[derive(Serialize)]
struct Crash {
    signal: i32,
    signal_name: String,
    code: i32,
    address: Option<String>,
    thread: u32,
    /// Absent where the thread was not traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<Step>,
}

#[derive(Serialize)]
struct Backtrace {
    frames: Vec<Frame>,
    /// Why there may be more.
    truncated: Option<String>,
}

#[derive(Serialize)]
struct Frame {
    pc: String,
    /// The calling step, where the window holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

/// A stay on a source line.
#[derive(Serialize)]
struct Line {
    at: String,
    function: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    /// Those of the innermost function, as they were when the thread came to the line.
    variables: Vec<Named>,
}

#[derive(Serialize)]
struct Module {
    module: String,
    reason: String,
}

/// Prints the report as one document.
///
/// # Errors
/// A thread or position that does not exist; those of writing.
pub(crate) fn json(
    case: Case<'_>,
    history: &History,
    wanted: &ReportArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let range = &wanted.range;
    let thread = crate::query::thread(history, range.thread, [range.from, range.to])?;
    let steps = range.steps(history, thread)?;
    let end = Position::new(thread, steps.end);
    let (calls_in_all, calls) = calls::last_as_json(history, thread, steps.clone(), super::CALLS)?;
    let chosen = Wanted {
        thread,
        steps,
        most: wanted.last,
        function: range.function.as_deref(),
        trust: wanted.trust.into(),
    };
    let (lines, steps) = match wanted.instructions {
        true => (None, Some(last_steps(history, &chosen, wanted)?)),
        false => (Some(source_lines(history, &chosen)), None),
    };
    let document = Document {
        schema: "rept-report/1",
        trust: grade_name(wanted.trust.grade),
        stages: (wanted.trust.stages < Threshold::ALL.stages).then_some(wanted.trust.stages),
        warning: history.disagreement(),
        crash: case.fault.map(|fault| crash(history, &fault)),
        thread: thread.0,
        backtrace: backtrace(history, end, &chosen),
        calls_in_all,
        calls,
        lines,
        steps,
        degraded: history
            .session()
            .symbols()
            .degraded()
            .into_iter()
            .map(module)
            .collect(),
    };
    let text = serde_json::to_string_pretty(&document);
    let text = text.map_err(|error| Failure::new(error.to_string()))?;
    writeln!(out, "{text}").map_err(Failure::output)
}

fn crash(history: &History, fault: &Fault) -> Crash {
    let at = history.crash().map(|crash| crash.position);
    let at = at.filter(|&at| history.at(at).is_some());
    Crash {
        signal: fault.signal,
        signal_name: signal_name(fault.signal),
        code: fault.code,
        address: fault.address.map(|address| address.to_string()),
        thread: fault.thread.0,
        step: at.map(|at| Step::new(history, at)),
    }
}

fn backtrace(history: &History, at: Position, wanted: &Wanted<'_>) -> Backtrace {
    let found = history.backtrace(at, wanted.trust).unwrap_or_default();
    let frame = |frame: &rept_core::Frame| {
        let symbol = history.session().symbols().lookup(frame.lookup_address());
        let line = symbol.line();
        Frame {
            pc: frame.pc.to_string(),
            call: frame.call.map(|call| call.to_string()),
            function: symbol.name().map(str::to_owned),
            file: line.map(|(file, _)| file.to_owned()),
            line: line.map(|(_, line)| line),
        }
    };
    Backtrace {
        frames: found.frames.iter().map(frame).collect(),
        truncated: found.truncated,
    }
}

fn source_lines(history: &History, wanted: &Wanted<'_>) -> Vec<Line> {
    let line = |(at, place): (Position, std::rc::Rc<lines::Place>)| {
        let variables = history.variables(at, wanted.trust).unwrap_or_default();
        let innermost = variables.functions.first().into_iter().flatten();
        Line {
            at: at.to_string(),
            function: place.function.clone(),
            file: place.line.as_ref().map(|(file, _)| file.clone()),
            line: place.line.as_ref().map(|&(_, line)| line),
            variables: innermost.map(Named::from).collect(),
        }
    };
    lines::places(history, wanted)
        .into_iter()
        .map(line)
        .collect()
}

/// The last of the steps, as `rept export` has them.
fn last_steps(
    history: &History,
    chosen: &Wanted<'_>,
    wanted: &ReportArgs,
) -> Result<Vec<Value>, Failure> {
    let mut exported = export::Steps::new(history, &wanted.range, chosen.trust);
    let mut found = Vec::new();
    for step in chosen.steps.clone().rev() {
        if found.len() as u64 == wanted.last {
            break;
        }
        found.extend(exported.step(Position::new(chosen.thread, step))?);
    }
    found.reverse();
    Ok(found)
}

fn module(degraded: Degraded) -> Module {
    Module {
        module: degraded.module,
        reason: degraded.reason,
    }
}
