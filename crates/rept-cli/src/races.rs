//! `rept races`: accesses of the same bytes by two threads that nothing orders.

use crate::case::Case;
use crate::failure::Failure;
use crate::report::{LEGEND, shown};
use crate::text::grouped;
use rept_core::{Position, Race, RaceSide, Value};
use serde::Serialize;
use std::io::{self, Write};

/// Name and version of the JSON schema: fields are added, never renamed.
const SCHEMA: &str = "rept-races/1";

/// Prints the races, for people or as JSON.
///
/// # Errors
/// Those of writing.
pub(crate) fn races(
    case: Case<'_>,
    races: &[Race],
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if json {
        let document = Document {
            schema: SCHEMA,
            races: races.iter().map(|race| of_race(case, race)).collect(),
        };
        let text = serde_json::to_string_pretty(&document);
        let text = text.map_err(|error| Failure::new(error.to_string()))?;
        return writeln!(out, "{text}").map_err(Failure::output);
    }
    print(case, races, out).map_err(Failure::output)
}

fn print(case: Case<'_>, races: &[Race], out: &mut dyn Write) -> io::Result<()> {
    let deciding = races.iter().filter(|race| race.decides_crash).count();
    let (plural, them) = if races.len() == 1 {
        ("", "s")
    } else {
        ("s", "")
    };
    writeln!(
        out,
        "{} place{plural} in the code race{them}; {deciding} decide the crash",
        grouped(races.len() as u64)
    )?;
    if races.is_empty() {
        return Ok(());
    }
    writeln!(out, "{LEGEND}")?;
    for race in races {
        writeln!(
            out,
            "\n[{}; {}]{}{}{}, {} time{}",
            race.address,
            race.size,
            if race.decides_crash {
                " decides the crash"
            } else {
                ""
            },
            if race.is_atomic() { " atomic" } else { "" },
            if race.observed {
                " read what was written"
            } else {
                ""
            },
            grouped(race.occurrences),
            if race.occurrences == 1 { "" } else { "s" }
        )?;
        for side in &race.sides {
            writeln!(out, "  {}", told(case, side))?;
        }
    }
    Ok(())
}

/// `12:340 writes 0x5 in add_slowly+0x1c, counter.c:13`.
pub(crate) fn told(case: Case<'_>, side: &RaceSide) -> String {
    let spot = case.program.spot(side.pc);
    let mut text = format!(
        "{} {} {}",
        side.position,
        if side.store { "writes" } else { "reads" },
        shown(side.value, u32::from(side.size) * 8, || None)
    );
    if let Some(place) = spot.place() {
        text += &format!(" in {place}");
    }
    if let Some(source) = spot.source() {
        text += &format!(", {source}");
    }
    text
}

/// What other threads did at the same time as the step, one line each.
pub(crate) fn beside(case: Case<'_>, races: &[Race], at: Position) -> Vec<String> {
    let sides = races.iter().filter(|race| !race.is_atomic());
    let sides = sides.filter_map(|race| {
        let own = race.sides.iter().position(|side| side.position == at)?;
        Some((race, &race.sides[1 - own]))
    });
    sides
        .map(|(race, other)| {
            let (address, size) = (race.address, race.size);
            format!("race over [{address}; {size}]: {}", told(case, other))
        })
        .collect()
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    races: Vec<RaceRow>,
}

#[derive(Serialize)]
struct RaceRow {
    address: String,
    size: u64,
    occurrences: u64,
    atomic: bool,
    decides_crash: bool,
    /// The load read what the store wrote: inferred from values.
    observed: bool,
    /// In the order of the sequence, which proves nothing.
    sides: Vec<SideRow>,
}

#[derive(Serialize)]
struct SideRow {
    thread: u32,
    step: u64,
    pc: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    store: bool,
    atomic: bool,
    address: String,
    size: u8,
    value: ValueRow,
}

/// Hexadecimal masks: the bits, and which of them are known, and how.
#[derive(Serialize)]
struct ValueRow {
    bits: String,
    known: String,
    assumed: String,
    certain: String,
}

fn of_race(case: Case<'_>, race: &Race) -> RaceRow {
    RaceRow {
        address: race.address.to_string(),
        size: race.size,
        occurrences: race.occurrences,
        atomic: race.is_atomic(),
        decides_crash: race.decides_crash,
        observed: race.observed,
        sides: race.sides.iter().map(|side| of_side(case, side)).collect(),
    }
}

fn of_side(case: Case<'_>, side: &RaceSide) -> SideRow {
    let spot = case.program.spot(side.pc);
    SideRow {
        thread: side.position.thread.0,
        step: side.position.step,
        pc: side.pc.to_string(),
        place: spot.place(),
        source: spot.source(),
        store: side.store,
        atomic: side.atomic,
        address: side.address.to_string(),
        size: side.size,
        value: of_value(side.value),
    }
}

fn of_value(value: Value) -> ValueRow {
    let hex = |bits: u64| format!("{bits:#x}");
    ValueRow {
        bits: hex(value.bits),
        known: hex(value.known),
        assumed: hex(value.assumed),
        certain: hex(value.certain),
    }
}
