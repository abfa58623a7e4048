//! `rept export`: every step with what it defined, one JSON record a line (docs/export.md).

use crate::args::{ExportArgs, RangeArgs, Threshold};
use crate::failure::Failure;
use crate::query::thread;
use crate::report::written_words;
use rept_core::show::{grade, reason_name};
use rept_core::{AccessView, History, Position, StateView, Trust, Unknown, Value};
use rept_trace::{Address, RegWord, ThreadId};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;

/// Name and version of the schema.
const SCHEMA: &str = "rept-export/1";

#[derive(Serialize)]
struct Header {
    schema: &'static str,
    process: Option<u32>,
    trust: &'static str,
    /// Of what is inferred, the last stage that recovery went to; absent when it went to all.
    #[serde(skip_serializing_if = "Option::is_none")]
    stages: Option<u8>,
    threads: Vec<Thread>,
    crash: Option<String>,
}

#[derive(Serialize)]
struct Thread {
    thread: u32,
    steps: u64,
}

#[derive(Serialize)]
struct Record<'a> {
    at: String,
    pc: String,
    code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    registers: Vec<Register>,
    memory: Vec<Access>,
}

/// A word of a register that the step wrote, as it was afterwards.
#[derive(Serialize)]
struct Register {
    name: String,
    #[serde(flatten)]
    value: Shown,
}

#[derive(Serialize)]
struct Access {
    store: bool,
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address_grade: Option<&'static str>,
    size: u8,
    #[serde(flatten)]
    value: Shown,
}

#[derive(Serialize)]
struct Shown {
    /// The known bits, zero elsewhere; absent when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// Which bits are known; absent when all are.
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grade: Option<&'static str>,
    /// Why something of it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<&'static str>,
}

/// Writes the header and the steps asked for.
///
/// # Errors
/// There is no such thread or position; the output cannot be written.
pub(crate) fn export(
    history: &History,
    wanted: &ExportArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let only = match (wanted.range.thread, wanted.range.from, wanted.range.to) {
        (None, None, None) => None,
        (tid, from, to) => Some(thread(history, tid, [from, to])?),
    };
    line(&header(history, wanted.trust), out)?;
    let threads = history
        .threads()
        .filter(|&thread| only.is_none_or(|only| only == thread));
    let mut exported = Steps::new(history, &wanted.range, wanted.trust.into());
    for thread in threads {
        for step in wanted.range.steps(history, thread)? {
            exported.with(Position::new(thread, step), |record| line(record, out))?;
        }
    }
    Ok(())
}

/// Steps as records.
pub(crate) struct Steps<'a> {
    places: Places<'a>,
    range: &'a RangeArgs,
    trust: Trust,
}

impl<'a> Steps<'a> {
    /// With values known at this grade or better, of the functions that are wanted.
    pub(crate) fn new(history: &'a History, range: &'a RangeArgs, trust: Trust) -> Steps<'a> {
        let known = BTreeMap::new();
        Steps {
            places: Places { history, known },
            range,
            trust,
        }
    }

    /// The step at a position as JSON; `None` when it is not wanted, or there is none.
    ///
    /// # Errors
    /// None in practice: it is numbers and strings.
    pub(crate) fn step(&mut self, at: Position) -> Result<Option<serde_json::Value>, Failure> {
        let mut found = None;
        self.with(at, |record| {
            let made = serde_json::to_value(record);
            found = Some(made.map_err(|error| Failure::new(error.to_string()))?);
            Ok(())
        })?;
        Ok(found)
    }

    fn with(
        &mut self,
        at: Position,
        then: impl FnOnce(&Record<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (history, trust) = (self.places.history, self.trust);
        let Some(ran) = history.instruction(at) else {
            return Ok(());
        };
        let place = self.places.of(ran.at);
        let function = place.function.as_deref();
        if !self.range.fits(function.unwrap_or_default()) {
            return Ok(());
        }
        let after = history.at(Position::new(at.thread, at.step + 1));
        let registers = after.map(|after| {
            let words = written_words(&crate::text::decoded(&ran)).into_iter();
            words.map(|word| register(&after, word, trust)).collect()
        });
        let accesses = history.accesses(at);
        then(&Record {
            at: at.to_string(),
            pc: ran.at.to_string(),
            code: ran.bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            function,
            file: place.line.as_ref().map(|(file, _)| file.as_str()),
            line: place.line.as_ref().map(|&(_, line)| line),
            registers: registers.unwrap_or_default(),
            memory: accesses.iter().map(|view| access(view, trust)).collect(),
        })
    }
}

fn header(history: &History, trust: Threshold) -> Header {
    let thread = |thread: ThreadId| Thread {
        thread: thread.0,
        steps: history.lifetime(thread).map_or(0, |steps| steps.end),
    };
    Header {
        schema: SCHEMA,
        process: history.session().process(),
        trust: grade_name(trust.grade),
        stages: (trust.stages < Threshold::ALL.stages).then_some(trust.stages),
        threads: history.threads().map(thread).collect(),
        crash: history.crash().map(|crash| crash.position.to_string()),
    }
}

fn line(record: &impl Serialize, out: &mut dyn Write) -> Result<(), Failure> {
    let text = serde_json::to_string(record).map_err(|error| Failure::new(error.to_string()))?;
    writeln!(out, "{text}").map_err(Failure::output)
}

fn register(after: &StateView<'_>, word: RegWord, trust: Trust) -> Register {
    let value = trust.limit(after.reg(word));
    Register {
        name: word.name(),
        value: shown(value, 64, || after.why_unknown(word)),
    }
}

fn access(view: &AccessView, trust: Trust) -> Access {
    let address = view.address.filter(|_| Trust::of_address(view) <= trust);
    let why = match address {
        Some(_) => Unknown::Overwritten,
        None => Unknown::AddressUnknown,
    };
    let value = trust.limit(view.value);
    Access {
        store: view.store,
        address: address.map(|address: Address| address.to_string()),
        address_grade: address.map(|_| grade_name(Trust::of_address(view))),
        size: view.size,
        value: shown(value, u32::from(view.size) * 8, || why),
    }
}

fn shown(value: Value, bits: u32, why: impl FnOnce() -> Unknown) -> Shown {
    let mask = rept_recover::bits::mask(bits);
    let value = value.masked(mask);
    let all = value.known == mask;
    Shown {
        value: (value.known != 0).then(|| format!("{:#x}", value.bits)),
        known: (value.known != 0 && !all).then(|| format!("{:#x}", value.known)),
        grade: (value.known != 0).then(|| grade_name(grade(value, value.known))),
        unknown: (!all).then(|| reason_name(why())),
    }
}

/// A grade's name, as on the command line.
pub(crate) fn grade_name(grade: Trust) -> &'static str {
    match grade {
        Trust::Certain => "certain",
        Trust::Assumed => "assumed",
        Trust::Inferred => "inferred",
    }
}

/// Function and line of each instruction, looked up once.
struct Places<'a> {
    history: &'a History,
    known: BTreeMap<Address, Place>,
}

struct Place {
    function: Option<String>,
    line: Option<(String, u32)>,
}

impl Places<'_> {
    fn of(&mut self, at: Address) -> &Place {
        let history = self.history;
        self.known.entry(at).or_insert_with(|| {
            let symbol = history.session().symbols().lookup(at);
            Place {
                function: symbol.name().map(str::to_owned),
                line: symbol.line().map(|(file, line)| (file.to_owned(), line)),
            }
        })
    }
}
