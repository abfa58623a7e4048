//! The state at a position.

use crate::export::grade_name;
use crate::failure::Failure;
use crate::report::shown;
use crate::story::line;
use rept_core::show::{grade, reason_name, stage};
use rept_core::{History, Location, Moment, Position, StateView, StepTime, Trust, Variable};
use rept_trace::RegWord;
use serde::Serialize;
use std::io::{self, Write};

/// Words printed: the general-purpose registers and the flags.
fn words() -> impl Iterator<Item = RegWord> {
    (0..=RegWord::FLAGS.0).map(RegWord)
}

/// Prints the step, when it ran, its function's variables, and the registers.
pub(super) fn print(
    history: &History,
    at: Position,
    trust: Trust,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Some(state) = history.at(at) else {
        return Ok(());
    };
    match history.instruction(at) {
        Some(_) => line(history, at, "", out)?,
        None => writeln!(out, "  {at}: the end of the thread")?,
    }
    if let Some(time) = history.time(at).and_then(when) {
        writeln!(out, "  {time}")?;
    }
    let variables = history.variables(at, trust).unwrap_or_default();
    print_variables(variables.all(), out)?;
    if let Some(missing) = variables.missing {
        writeln!(out, "  no variables: {missing}")?;
    }
    for word in words() {
        let value = trust.limit(state.reg(word));
        let value = shown(value, 64, || Some(state.why_unknown(word)));
        writeln!(out, "  {:<7} {value}", word.name())?;
    }
    Ok(())
}

/// Prints variables, one a line.
pub(super) fn print_variables<'a>(
    variables: impl IntoIterator<Item = &'a Variable>,
    out: &mut dyn Write,
) -> io::Result<()> {
    variables.into_iter().try_for_each(|variable| {
        let Variable { name, value, .. } = variable;
        writeln!(out, "  {name:<7} {} = {value}", value.type_name)
    })
}

/// The bounds that are known, in words.
fn when(time: StepTime) -> Option<String> {
    match (time.earliest.map(moment), time.latest.map(moment)) {
        (Some(earliest), Some(latest)) => Some(format!("between {earliest} and {latest}")),
        (Some(earliest), None) => Some(format!("not before {earliest}")),
        (None, Some(latest)) => Some(format!("not after {latest}")),
        (None, None) => None,
    }
}

/// As `perf script` has it, where that is known.
fn moment(moment: Moment) -> String {
    const SECOND: u64 = 1_000_000_000;
    let ticks = moment.ticks.0;
    match moment.nanoseconds {
        Some(time) => format!("{}.{:09} s (TSC {ticks})", time / SECOND, time % SECOND),
        None => format!("TSC {ticks}"),
    }
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    at: String,
    time: Option<Time>,
    pc: Option<String>,
    function: Option<String>,
    file: Option<String>,
    line: Option<u32>,
    variables: Vec<Named>,
    /// Those that were asked for by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    named: Vec<Named>,
    registers: Vec<Register>,
}

/// Bounds as [not before, not after], `null` where open.
#[derive(Serialize)]
struct Time {
    tsc: [Option<u64>; 2],
    perf_nanoseconds: [Option<u64>; 2],
}

impl From<StepTime> for Time {
    fn from(time: StepTime) -> Time {
        let bounds = [time.earliest, time.latest];
        Time {
            tsc: bounds.map(|moment| Some(moment?.ticks.0)),
            perf_nanoseconds: bounds.map(|moment| moment?.nanoseconds),
        }
    }
}

/// A variable.
#[derive(Serialize)]
pub(crate) struct Named {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    parameter: bool,
    value: String,
    /// Its register, or `[ADDRESS; BYTES]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
}

#[derive(Serialize)]
struct Register {
    name: String,
    value: String,
    known: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    grade: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<&'static str>,
    /// The grade, with the stage of what is inferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<String>,
    /// The step that taught it.
    #[serde(skip_serializing_if = "Option::is_none")]
    learned_at: Option<String>,
    /// Dereferences between it and the dump.
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<u8>,
}

/// The same for scripts. Schema `rept-at/1`: fields are added, never renamed.
pub(super) fn json(
    history: &History,
    at: Position,
    trust: Trust,
    asked: &[Variable],
) -> Result<String, Failure> {
    let state = history
        .at(at)
        .ok_or_else(|| Failure::new(format!("position {at} does not exist")))?;
    let symbol = history.source(at).unwrap_or_default();
    let variables = history.variables(at, trust).unwrap_or_default();
    let document = Document {
        schema: "rept-at/1",
        at: at.to_string(),
        time: history.time(at).map(Time::from),
        pc: state.pc().map(|pc| pc.to_string()),
        function: symbol.name().map(str::to_owned),
        file: symbol.line().map(|(file, _)| file.to_owned()),
        line: symbol.line().map(|(_, line)| line),
        variables: variables.all().map(Named::from).collect(),
        named: asked.iter().map(Named::from).collect(),
        registers: words()
            .map(|word| register(history, &state, word, trust))
            .collect(),
    };
    serde_json::to_string_pretty(&document).map_err(|error| Failure::new(error.to_string()))
}

impl From<&Variable> for Named {
    fn from(variable: &Variable) -> Named {
        Named {
            name: variable.name.clone(),
            kind: variable.value.type_name.clone(),
            parameter: variable.parameter,
            value: variable.value.to_string(),
            location: variable.location.map(|place| place.to_string()),
        }
    }
}

fn register(history: &History, state: &StateView<'_>, word: RegWord, trust: Trust) -> Register {
    let value = trust.limit(state.reg(word));
    let why = history.why_known(Location::Reg(word), state.position());
    let why = why.filter(|_| value.known != 0);
    Register {
        name: word.name(),
        value: format!("{:#x}", value.bits),
        known: format!("{:#x}", value.known),
        grade: (value.known != 0).then(|| grade_name(grade(value, value.known))),
        unknown: (value.known != u64::MAX).then(|| reason_name(state.why_unknown(word))),
        stage: why.as_ref().map(|why| stage(why.stage)),
        learned_at: why.as_ref().map(|why| why.at.to_string()),
        level: why.as_ref().map(|why| why.level),
    }
}
