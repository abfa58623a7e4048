//! Commands behind gdb's `monitor`: what the protocol has no packet for.

mod origins;

use super::stub::{Lack, Stub};
use crate::history::{History, Location, Trust};
use crate::position::Position;
use crate::show::{shown, why_lines};
use origins::{explain, last_write};
use rept_trace::{Address, ThreadId};
use std::fmt::Write as _;
use std::iter::repeat;

const HELP: &str = "\
where                    the position, THREAD:STEP, and its source line
seek THREAD:STEP         go there, or N steps with +N or -N; carried out by the next `stepi`
last-write REG|ADDR [N]  the step that wrote a register, or N bytes (8), last
explain REG|ADDR [N]     where the value came from; `skip-copies` behind leaves out what only handed it on
why REG|ADDR [N]         how recovery came to know it, or why it did not
locals                   parameters and locals, `?` where unknown, weaker values marked
reg REG                  a register, and why it is not known
races                    accesses of the same bytes by two threads that nothing orders
mem ADDR N               memory, `??` where unknown
trust [GRADE]            which values gdb is shown, and by which addresses last-write, explain and races
                         go: certain, assumed or inferred
Numbers are decimal, or hexadecimal behind 0x.";

/// Bytes that `mem` shows at most.
const MAX_BYTES: u64 = 4096;

/// Where a question is asked.
#[derive(Clone, Copy)]
struct Here<'a> {
    history: &'a History,
    at: Position,
    trust: Trust,
}

/// Word behind `explain` that leaves out plain copies.
const SKIP_COPIES: &str = "skip-copies";

/// Places at which threads race, shown at most.
const MAX_RACES: usize = 32;

/// The command is a question to the history.
pub(super) fn needs_history(command: &str) -> bool {
    let first = command.split_whitespace().next();
    let asks = [
        "where",
        "seek",
        "last-write",
        "explain",
        "why",
        "locals",
        "reg",
        "races",
        "mem",
    ];
    first.is_some_and(|first| asks.contains(&first))
}

/// Carries out a command; every answer is text.
pub(super) fn answer(stub: &mut Stub<'_>, command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    let answered = match words.as_slice() {
        ["trust"] => Ok(trusted(stub.options.trust).to_owned()),
        ["trust", grade] => trust(stub, grade),
        words if needs_history(command) => ask(stub, words),
        _ => Ok(HELP.to_owned()),
    };
    answered.unwrap_or_else(|error| error)
}

fn ask(stub: &mut Stub<'_>, words: &[&str]) -> Result<String, String> {
    let Some(history) = stub.history else {
        return Err(stub.lack.as_ref().map_or_else(String::new, Lack::to_string));
    };
    let at = stub.own_position();
    if let ["seek", position] = words {
        let target = seek(history, at, position)?;
        stub.seek = Some(target);
        return Ok(format!("the next `stepi` goes to {target}"));
    }
    let at = at.ok_or_else(|| not_traced(stub.thread()))?;
    let trust = stub.options.trust;
    let here = Here { history, at, trust };
    match words {
        ["where"] => Ok(place(here, here.at)),
        ["last-write", rest @ ..] => last_write(here, location(rest)?),
        ["explain", rest @ .., SKIP_COPIES] => explain(here, location(rest)?, true),
        ["explain", rest @ ..] => explain(here, location(rest)?, false),
        ["why", rest @ ..] => location(rest).map(|location| why(here, location)),
        ["locals"] => Ok(locals(here)),
        ["reg", name] => register(here, name),
        ["races"] => Ok(races(here)),
        ["mem", address, count] => memory(here, address, count),
        _ => Ok(HELP.to_owned()),
    }
}

fn not_traced(thread: ThreadId) -> String {
    format!("thread {thread} was not traced: `seek THREAD:STEP` goes to one that was")
}

/// A position with function and line.
fn place(here: Here<'_>, at: Position) -> String {
    let symbol = here.history.source(at).unwrap_or_default();
    let mut text = at.to_string();
    if let Some(pc) = here.history.at(at).and_then(|state| state.pc()) {
        let _ = write!(text, "  {pc}");
    }
    if let Some(name) = symbol.name() {
        let _ = write!(text, " in {name}");
    }
    if let Some((file, line)) = symbol.line() {
        let _ = write!(text, " at {file}:{line}");
    }
    text
}

fn seek(history: &History, from: Option<Position>, to: &str) -> Result<Position, String> {
    let position = match (to.parse::<i64>(), from) {
        (Ok(steps), Some(from)) => Position {
            step: from.step.saturating_add_signed(steps),
            ..from
        },
        _ => to.parse().map_err(|error| format!("{error}"))?,
    };
    match history.at(position) {
        Some(_) => Ok(position),
        None => Err(format!("there is no position {position}")),
    }
}

/// Parameters and locals: gdb shows none of a structure of which a byte is unknown.
fn locals(here: Here<'_>) -> String {
    let found = here.history.variables(here.at, Trust::Inferred);
    let found = found.unwrap_or_default();
    let symbol = here.history.source(here.at).unwrap_or_default();
    // The last is the function itself; those before are inlined into it.
    let inlined = symbol.frames.split_last().map_or(&[][..], |(_, all)| all);
    let names = inlined.iter().map(|frame| frame.function.as_deref());
    let mut lines = Vec::new();
    for (variables, name) in found.functions.iter().zip(names.chain(repeat(None))) {
        let of = name.map_or_else(String::new, |name| format!("  (of {name}, inlined)"));
        lines.extend(variables.iter().map(|variable| format!("{variable}{of}")));
    }
    lines.extend(found.missing);
    if lines.is_empty() {
        return "no variables here".to_owned();
    }
    lines.join("\n")
}

fn register(here: Here<'_>, name: &str) -> Result<String, String> {
    let location: Location = name.parse().map_err(|error| format!("{error}"))?;
    let Location::Reg(word) = location else {
        return Err(format!("{name} is no register"));
    };
    let state = here
        .history
        .at(here.at)
        .ok_or("there is no such position")?;
    let why = || Some(state.why_unknown(word));
    Ok(shown(state.reg(word), 64, why))
}

fn races(here: Here<'_>) -> String {
    let races = here.history.races_by(here.trust);
    let deciding = races.iter().filter(|race| race.decides_crash).count();
    let mut text = format!(
        "{} places in the code race; {deciding} decide the crash",
        races.len()
    );
    for race in races.iter().take(MAX_RACES) {
        let decides = if race.decides_crash {
            " decides the crash"
        } else {
            ""
        };
        let _ = write!(text, "\n[{}; {}]{decides}", race.address, race.size);
        for side in &race.sides {
            let does = if side.store { "writes" } else { "reads" };
            let value = shown(side.value, u32::from(side.size) * 8, || None);
            let place = place(here, side.position);
            let _ = write!(text, "\n  {does} {value} at {place}");
        }
    }
    match races.len().checked_sub(MAX_RACES) {
        Some(more @ 1..) => text + &format!("\nand {more} more: `rept races` tells all"),
        _ => text,
    }
}

fn trusted(grade: Trust) -> &'static str {
    match grade {
        Trust::Certain => "certain",
        Trust::Assumed => "assumed",
        Trust::Inferred => "inferred",
    }
}

fn trust(stub: &mut Stub<'_>, grade: &str) -> Result<String, String> {
    if grade.starts_with("inferred:") {
        return Err(
            "how many stages are inferred is decided by recovery: start with --trust inferred:N"
                .to_owned(),
        );
    }
    let grades = [Trust::Certain, Trust::Assumed, Trust::Inferred];
    let wanted = grades.into_iter().find(|&known| trusted(known) == grade);
    let wanted = wanted
        .ok_or_else(|| format!("{grade:?} is no grade: expected certain, assumed or inferred"))?;
    stub.options.trust = wanted;
    // gdb does not know that what it read is shown differently now.
    Ok(format!(
        "{grade} values are shown; gdb may remember others until the next step, or until \
         `maintenance flush register-cache` and `maintenance flush dcache`"
    ))
}

/// `REG` or `ADDR [N]`.
fn location(words: &[&str]) -> Result<Location, String> {
    match words {
        [place] => place.parse().map_err(|error| format!("{error}")),
        [address, size] => {
            let address = Address(number(address)?);
            let size = number(size)?.clamp(1, MAX_BYTES);
            Ok(Location::Mem { address, size })
        }
        _ => Err("expected a register, or an address and a number of bytes".to_owned()),
    }
}

fn number(text: &str) -> Result<u64, String> {
    let parsed = text.parse::<Address>();
    let number = parsed.map(|address| address.0);
    number.map_err(|_| format!("{text:?} is no number and no register"))
}

/// Inferences shown at most.
const MAX_INFERENCES: usize = 16;

fn why(here: Here<'_>, location: Location) -> String {
    why_lines(here.history, location, here.at, MAX_INFERENCES).join("\n")
}

fn memory(here: Here<'_>, address: &str, count: &str) -> Result<String, String> {
    let (address, count) = (number(address)?, number(count)?.min(MAX_BYTES));
    let state = here
        .history
        .at(here.at)
        .ok_or("there is no such position")?;
    let mut bytes = vec![0; count as usize];
    let mask = state.read(Address(address), &mut bytes, here.trust);
    let shown = bytes.iter().zip(&mask.bits).map(|(byte, &known)| {
        if known == 0xff {
            format!("{byte:02x}")
        } else {
            "??".to_owned()
        }
    });
    Ok(shown.collect::<Vec<_>>().join(" "))
}
