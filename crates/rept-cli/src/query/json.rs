//! Answers for scripts: fields are added within a schema's version, never renamed.

use crate::failure::Failure;
use crate::story::{self, Story, stored_value};
use crate::text::{decoded, disassembly};
use rept_core::show::known_part;
use rept_core::{Answer, Asked, Explanation, History, Link, Location, Origin, Position, Write};
use rept_trace::Address;
use serde::Serialize;
use serde_json::{Value, json};
use std::io;

/// A step: where, and what ran there.
#[derive(Serialize)]
pub(crate) struct Step {
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pc: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    /// The functions that it is inlined into, from the inside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inlined_in: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

impl Step {
    pub(crate) fn new(history: &History, at: Position) -> Step {
        let ran = history.instruction(at);
        let symbol = history.source(at).unwrap_or_default();
        let around = symbol.frames.iter().skip(1);
        let inlined_in = around.filter_map(|frame| frame.function.clone()).collect();
        Step {
            inlined_in,
            at: at.to_string(),
            pc: ran.as_ref().map(|ran| ran.at.to_string()),
            code: ran.as_ref().map(|ran| disassembly(&decoded(ran))),
            function: symbol.name().map(str::to_owned),
            file: symbol.line().map(|(file, _)| file.to_owned()),
            line: symbol.line().map(|(_, line)| line),
        }
    }
}

/// A step that put a value where it was found.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    step: Step,
    to: String,
    from: Option<String>,
    computed: bool,
    unknown_stores: u64,
    raced: bool,
    times: u64,
    first: String,
}

/// Schema `rept-explain/1`: about one location.
pub(super) fn explanation(
    history: &History,
    (location, at): (Location, Position),
    explanation: &Explanation,
    skip_copies: bool,
    why: &[String],
) -> Value {
    let (location, before) = (location.to_string(), at.to_string());
    json!({
        "schema": "rept-explain/1",
        "location": location,
        "before": before,
        "links": links(history, explanation, skip_copies),
        "origin": origin(&explanation.origin),
        "why": why,
    })
}

/// Schema `rept-explain/1`: about the crash.
pub(super) fn story(history: &History, story: &Story, skip_copies: bool) -> Value {
    let answers = story.answers.iter();
    let answers: Vec<Value> = answers
        .map(|answer| of_answer(history, answer, skip_copies))
        .collect();
    let planted = story.planted.map(|planted| {
        json!({
            "step": Step::new(history, planted.at),
            "address": planted.address.to_string(),
            "value": value_at(history, planted.at, planted.address),
            "unknown_stores": planted.unknown_stores,
        })
    });
    json!({
        "schema": "rept-explain/1",
        "suspects": story.suspects.as_ref().map(ToString::to_string),
        "stack_used_up": story.stack_used_up,
        "answers": answers,
        "planted": planted,
        "planted_place_only": story.of_place,
    })
}

fn of_answer(history: &History, answer: &Answer, skip_copies: bool) -> Value {
    let asked = match answer.asked {
        Asked::First => json!({"because": "suspect"}),
        Asked::Value { of } => json!({"because": "value", "of": of}),
        Asked::Address { of, link } => json!({"because": "address", "of": of, "link": link}),
        _ => json!({"because": "other"}),
    };
    json!({
        "asked": asked,
        "location": answer.location.to_string(),
        "before": answer.before.to_string(),
        "links": links(history, &answer.explanation, skip_copies),
        "origin": origin(&answer.explanation.origin),
    })
}

fn links(history: &History, explanation: &Explanation, skip_copies: bool) -> Vec<Row> {
    let row = |link: &Link| Row {
        step: Step::new(history, link.at),
        to: link.to.to_string(),
        from: link.from.map(|from| from.to_string()),
        computed: link.computed,
        unknown_stores: link.unknown_stores,
        raced: link.raced,
        times: link.times,
        first: link.first.to_string(),
    };
    let links = story::links(explanation, skip_copies).into_iter();
    links.map(row).collect()
}

fn origin(origin: &Origin) -> Value {
    let at = |at: &Position| at.to_string();
    let place = |location: &Location| location.to_string();
    match origin {
        Origin::Constant(step) => json!({"kind": "constant", "at": at(step)}),
        Origin::Computed { at: step, inputs } => {
            let inputs: Vec<String> = inputs.iter().map(place).collect();
            json!({"kind": "computed", "at": at(step), "inputs": inputs})
        }
        Origin::SystemCall(step) => json!({"kind": "system_call", "at": at(step)}),
        Origin::File { address } => json!({"kind": "file", "address": address.to_string()}),
        Origin::BeforeWindow(location) => {
            json!({"kind": "before_window", "location": place(location)})
        }
        Origin::UnknownStore { location, stores } => {
            json!({"kind": "unknown_store", "location": place(location), "stores": stores})
        }
        Origin::Contradicted { location, at: step } => {
            json!({"kind": "contradicted", "location": place(location), "at": at(step)})
        }
        Origin::AddressUnknown(step) => json!({"kind": "address_unknown", "at": at(step)}),
        Origin::Barrier(step) => json!({"kind": "barrier", "at": at(step)}),
        Origin::TooLong => json!({"kind": "too_long"}),
        Origin::Cancelled => json!({"kind": "cancelled"}),
        _ => json!({"kind": "other"}),
    }
}

/// Schema `rept-last-write/1`.
pub(super) fn last_write(
    history: &History,
    (location, before): (Location, Position),
    written: &Write,
) -> Value {
    let (stores, barrier) = match *written {
        Write::Uncertain {
            stores, barrier, ..
        } => (stores, barrier),
        _ => (0, None),
    };
    let at = written.position();
    let value = at.and_then(|at| match location {
        Location::Mem { address, .. } => value_at(history, at, address),
        _ => None,
    });
    json!({
        "schema": "rept-last-write/1",
        "location": location.to_string(),
        "before": before.to_string(),
        "writer": at.map(|at| Step::new(history, at)),
        "value": value,
        "unknown_stores": stores,
        "barrier": barrier.map(|at| at.to_string()),
    })
}

fn value_at(history: &History, at: Position, address: Address) -> Option<String> {
    let (value, bits) = stored_value(history, at, address)?;
    known_part(value, bits)
}

/// Prints a document.
///
/// # Errors
/// Those of writing.
pub(super) fn print(document: &Value, out: &mut dyn io::Write) -> Result<(), Failure> {
    writeln!(out, "{document:#}").map_err(Failure::output)
}
