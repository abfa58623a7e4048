//! Tells where a value came from, in lines for people.
//!
//! For a crash, nothing needs to be known of the program. The crash names the values that led to
//! it; they are followed back through copies, loads and stores, then what went into them, then what
//! chose the places they went through. The store that
//! was made by another function than the one that loaded it is the step that planted it: a
//! function's own stores to its own variables only pass a value along.

use crate::case::Spot;
use crate::colour;
use crate::report::known_part;
use crate::text::{decoded, disassembly, grouped};
use rept_core::{
    AccessView, Answer, Asked, Crash, Explanation, History, Link, Location, Origin, Position,
    Suspects, Trust, Value,
};
use rept_trace::Address;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Answers of a crash's story at most.
const ANSWERS: usize = 16;

/// Where the values that led to a crash came from: one answer after the other, then what went into
/// them, until a step is found that planted one.
#[derive(Default)]
pub(crate) struct Story {
    /// What the crash is about.
    pub(crate) suspects: Option<Suspects>,
    /// The stack ran out: there is no bad value.
    pub(crate) stack_used_up: bool,
    pub(crate) answers: Vec<Answer>,
    /// The step that planted the value, and where.
    pub(crate) planted: Option<Planted>,
    /// It planted what led to the value's place, not the value.
    pub(crate) of_place: bool,
}

impl Story {
    /// The story of the history's crash.
    pub(crate) fn of(history: &History, trust: Trust) -> Story {
        let suspects = history.crash().and_then(|_| history.suspects());
        let mut story = Story {
            stack_used_up: suspects.is_some() && history.is_stack_used_up(),
            suspects,
            ..Story::default()
        };
        let places = story.suspects.as_ref().filter(|_| !story.stack_used_up);
        let places = places.map(|suspects| suspects.places.clone());
        // Whether each answer is about an address that a value was taken from, not about the value.
        let mut of_address: Vec<bool> = Vec::new();
        for answer in history
            .trail(&places.unwrap_or_default(), trust)
            .take(ANSWERS)
        {
            let of_place = match answer.asked {
                Asked::Value { of } => of_address[of],
                asked => asked != Asked::First,
            };
            of_address.push(of_place);
            story.planted = planted(history, &answer.explanation);
            story.answers.push(answer);
            if story.planted.is_some() {
                story.of_place = of_place;
                break;
            }
        }
        story
    }

    /// Tells it.
    ///
    /// # Errors
    /// Those of writing.
    pub(crate) fn print(
        &self,
        history: &History,
        skip_copies: bool,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let Some((crash, suspects)) = history.crash().zip(self.suspects.as_ref()) else {
            return writeln!(out, "nothing in the crash points to a value");
        };
        if self.stack_used_up {
            return recursion(history, &crash, out);
        }
        writeln!(out, "the crash is about {suspects}")?;
        for answer in &self.answers {
            question(&crash, answer, out)?;
            print_explanation(history, &answer.explanation, skip_copies, out)?;
        }
        let Some(plant) = self.planted else {
            return writeln!(out, "\nno step of the trace planted it");
        };
        let what = match self.of_place {
            true => "no step is known to have planted the value; what led to its place was",
            false => "the bad value was",
        };
        let what = colour::culprit(format!("{what} planted by this step:"));
        writeln!(out, "\n{what}")?;
        print_planted(history, crash, plant, out)
    }
}

/// A stack that is used up has no bad value: what matters is who called whom so often.
fn recursion(history: &History, crash: &Crash, out: &mut dyn Write) -> io::Result<()> {
    let thread = crash.position.thread;
    let open = || {
        history
            .calls(thread)
            .iter()
            .filter(|call| call.left.is_none())
    };
    let mut counts: BTreeMap<Address, u64> = BTreeMap::new();
    for call in open() {
        *counts.entry(call.callee).or_default() += 1;
    }
    let often = counts.iter().max_by_key(|&(_, &count)| count);
    let Some((&callee, &count)) = often.filter(|&(_, &count)| count > 1) else {
        return writeln!(
            out,
            "the stack is used up, without a recursion in the window"
        );
    };
    let symbol = history.session().symbols().lookup(callee);
    let name = symbol
        .name()
        .map_or_else(|| callee.to_string(), str::to_owned);
    let (all, count) = (grouped(open().count() as u64), grouped(count));
    writeln!(
        out,
        "the stack is used up: {count} of the {all} calls that are open are of {name}"
    )?;
    let first = open().find(|call| call.callee == callee);
    let Some(site) = first.map(|call| Position::new(thread, call.site)) else {
        return Ok(());
    };
    writeln!(
        out,
        "\nthe oldest of them in the window was made by this step:"
    )?;
    line(history, site, "", out)
}

fn question(crash: &Crash, answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
    let (location, before) = (answer.location, answer.before);
    match answer.asked {
        Asked::Address { .. } => writeln!(
            out,
            "\nwhere {location} came from, by which the step at {before} chose its place"
        ),
        _ if before == crash.position => {
            writeln!(
                out,
                "\nwhere the value of {location} came from, newest first"
            )
        }
        _ => writeln!(
            out,
            "\nwhere the value of {location} at {before} came from, newest first"
        ),
    }
}

/// Prints the links of an explanation and how it ends, newest first.
///
/// # Errors
/// Those of writing.
pub(crate) fn print_explanation(
    history: &History,
    explanation: &Explanation,
    skip_copies: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    for link in links(explanation, skip_copies) {
        line(history, link.at, &what(link, explanation), out)?;
        if link.times > 1 {
            let times = grouped(link.times);
            writeln!(
                out,
                "      ({times} times in a row, first at {})",
                link.first
            )?;
        }
        if link.raced {
            writeln!(
                out,
                "      (by its value: nothing orders the two threads here)"
            )?;
        }
        if link.unknown_stores > 0 {
            let stores = grouped(link.unknown_stores);
            writeln!(out, "      (later stores at unknown addresses: {stores})")?;
        }
    }
    end(history, &explanation.origin, out)
}

/// What a link did.
fn what(link: &Link, explanation: &Explanation) -> String {
    let last = explanation.links.last() == Some(link);
    match (link.to, link.from, &explanation.origin) {
        (Location::Mem { address, .. }, ..) => format!("stored to [{address}]"),
        (_, Some(Location::Mem { address, .. }), _) if !link.computed => {
            format!("loaded from [{address}]")
        }
        (_, Some(from), _) if link.computed => format!("computed from {from}"),
        (_, Some(from), _) => format!("copied from {from}"),
        (_, None, Origin::Computed { inputs, .. }) if last => {
            format!("computed from {}", list(inputs))
        }
        (_, None, Origin::Constant(_)) if last => "a constant".to_owned(),
        (_, None, Origin::SystemCall(_)) if last => "the system call's result".to_owned(),
        (_, None, _) => "from an unknown address".to_owned(),
    }
}

fn list(inputs: &[Location]) -> String {
    let texts: Vec<String> = inputs.iter().map(Location::to_string).collect();
    texts.join(", ")
}

/// Where the chain ends, when its last link does not say so.
fn end(history: &History, origin: &Origin, out: &mut dyn Write) -> io::Result<()> {
    match origin {
        Origin::BeforeWindow(location) => {
            writeln!(out, "  {location} held it when the trace begins")
        }
        Origin::UnknownStore { location, stores } => writeln!(
            out,
            "  no step is known to have written {location}; stores at unknown addresses: {}",
            grouped(*stores)
        ),
        Origin::File { address } => {
            writeln!(
                out,
                "  [{address}] holds it by the file that is mapped there"
            )
        }
        Origin::Contradicted { location, at } => writeln!(
            out,
            "  {location} was written last by the step at {at}, as far as is known, but with another value"
        ),
        Origin::Barrier(at) => line(history, *at, "steps are missing, or a signal came", out),
        Origin::TooLong => writeln!(out, "  and so on"),
        Origin::Cancelled => writeln!(out, "  and so on: the question was cancelled"),
        _ => Ok(()),
    }
}

/// The step that planted a value, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planted {
    pub(crate) at: Position,
    pub(crate) address: Address,
    /// Stores between it and the load whose addresses are not known: each may have stored there.
    pub(crate) unknown_stores: u64,
}

/// The newest store of the chain that another function made than the one that loaded it;
/// where all were made by the same, the oldest.
fn planted(history: &History, explanation: &Explanation) -> Option<Planted> {
    let mut loader = None;
    let mut last = None;
    for link in &explanation.links {
        match (link.to, link.from) {
            (Location::Mem { address, .. }, _) => {
                last = Some(Planted {
                    at: link.at,
                    address,
                    unknown_stores: link.unknown_stores,
                });
                if function(history, link.at) != loader {
                    break;
                }
            }
            (_, Some(Location::Mem { .. })) => loader = function(history, link.at),
            _ => {}
        }
    }
    last
}

fn function(history: &History, at: Position) -> Option<String> {
    history.source(at)?.function.map(|(name, _)| name)
}

/// Prints a step with its code and place.
///
/// # Errors
/// Those of writing.
pub(crate) fn line(
    history: &History,
    at: Position,
    what: &str,
    out: &mut dyn Write,
) -> io::Result<()> {
    let code = history
        .instruction(at)
        .map(|ran| disassembly(&decoded(&ran)))
        .unwrap_or_default();
    let spot = history.source(at).map(Spot::from).unwrap_or_default();
    let (place, source) = (spot.place(), spot.source());
    let (place, source) = (place.unwrap_or_default(), source.unwrap_or_default());
    let at = colour::position(format!("{at:<14}", at = at.to_string()));
    let place = colour::heading(place);
    writeln!(out, "  {at} {code:<30} {what:<32} {place} {source}")
}

/// The links of an explanation, perhaps without plain copies.
pub(crate) fn links(explanation: &Explanation, skip_copies: bool) -> Vec<&Link> {
    match skip_copies {
        true => explanation.without_copies().collect(),
        false => explanation.links.iter().collect(),
    }
}

/// The value that a step stores to an address, as text.
pub(crate) fn stored(history: &History, at: Position, address: Address) -> String {
    stored_value(history, at, address)
        .and_then(|(value, bits)| known_part(value, bits))
        .unwrap_or_else(|| "an unknown value".to_owned())
}

/// The value that a step stores to an address, and how many bits it has.
pub(crate) fn stored_value(
    history: &History,
    at: Position,
    address: Address,
) -> Option<(Value, u32)> {
    let covers = |access: &AccessView| {
        let start = access.address.filter(|_| access.store);
        start.is_some_and(|start| address.0.wrapping_sub(start.0) < u64::from(access.size))
    };
    let accesses = history.accesses(at);
    let store = accesses.iter().find(|access| covers(access));
    let store = store.or(accesses.iter().find(|access| access.store))?;
    Some((store.value, u32::from(store.size) * 8))
}

fn print_planted(
    history: &History,
    crash: Crash,
    planted: Planted,
    out: &mut dyn Write,
) -> io::Result<()> {
    let (at, address) = (planted.at, planted.address);
    let what = format!("{} to [{address}]", stored(history, at, address));
    line(history, at, &what, out)?;
    if at.thread == crash.position.thread {
        let before = grouped(crash.position.step - at.step);
        writeln!(out, "  {before} steps before the crash")?;
    }
    if planted.unknown_stores > 0 {
        let stores = grouped(planted.unknown_stores);
        let doubt = "unless a later store at an unknown address did so, too or instead";
        writeln!(out, "  {doubt} (there are such: {stores})")?;
    }
    Ok(())
}
