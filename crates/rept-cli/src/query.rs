//! `rept at`, `rept last-write`, `rept explain`: one question each.

use crate::args::{AtArgs, ExplainArgs, LastWriteArgs, Location};
use crate::case::Case;
use crate::explain::{memory_trail, trail};
use crate::failure::Failure;
use crate::report::{known_part, shown};
use crate::story::{cell, crash_story, line, name, print_trail};
use iced_x86::Register;
use rept_trace::{Address, RegWord};
use std::io::{self, Write};

/// Prints the general-purpose registers at a position, and the step that runs there.
///
/// # Errors
/// There is no such position.
pub(crate) fn at(case: Case<'_>, wanted: &AtArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let at = case.position(Some(wanted.position))?;
    if at == case.end(at.thread) {
        writeln!(out, "  {}: the end of the thread", case.name(at)).map_err(Failure::output)?;
    } else {
        line(case, &case.past(), at, "", out).map_err(Failure::output)?;
    }
    let print = |out: &mut dyn Write| -> io::Result<()> {
        for word in (0..=RegWord::FLAGS.0).map(RegWord) {
            let why = || Some(case.history.why_unknown(at, word));
            let value = shown(case.history.register(at, word), 64, why);
            writeln!(out, "  {:<7} {value}", word.name())?;
        }
        Ok(())
    };
    print(out).map_err(Failure::output)
}

/// Prints the step that last wrote a place in memory.
///
/// # Errors
/// There is no such position; no step wrote it.
pub(crate) fn last_write(
    case: Case<'_>,
    wanted: &LastWriteArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let before = case.position(wanted.at)?;
    let past = case.past();
    let address = Address(wanted.address);
    let Some(last) = past.last_write(before, address, wanted.size) else {
        return Err(Failure::new(format!(
            "no step of the trace before {} is known to have written [{address}]",
            case.name(before)
        )));
    };
    let value = known_part(last.store.value, u32::from(last.store.size) * 8);
    let value = value.unwrap_or_else(|| "an unknown value".to_owned());
    line(
        case,
        &past,
        last.at,
        &format!("{value} to {}", cell(&last.store)),
        out,
    )
    .map_err(Failure::output)?;
    match last.uncertain {
        0 => Ok(()),
        later => writeln!(out, "  ({later} later stores are at unknown addresses)")
            .map_err(Failure::output),
    }
}

/// Prints where a value came from; without a location, the pointer that led to the crash.
///
/// # Errors
/// There is no such position.
pub(crate) fn explain(
    case: Case<'_>,
    wanted: &ExplainArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let at = case.position(wanted.at)?;
    let past = case.past();
    let (what, found) = match wanted.location {
        None => return crash_story(case, out).map_err(Failure::output),
        Some(Location::Register(register)) => (name(register), trail(&past, at, register)),
        Some(Location::Memory { address, size }) => (
            format!("[{address:#x}]"),
            memory_trail(&past, at, Address(address), size),
        ),
    };
    writeln!(
        out,
        "where the value of {what} at {} came from, newest first",
        case.name(at)
    )
    .and_then(|()| print_trail(case, &found, out))
    .map_err(Failure::output)
}

/// A general-purpose register by its name.
pub(crate) fn register(text: &str) -> Option<Register> {
    Register::values().find(|register| register.is_gpr() && name(*register) == text.to_lowercase())
}
