//! `last-write` and `explain`: who put a value there, as far as gdb is shown values.

use super::{Here, place};
use crate::history::{Link, Location, Origin, Trust, Write};
use crate::position::Position;
use std::fmt::Write as _;

fn no_position(at: Position) -> String {
    format!("there is no position {at}")
}

/// The answer by the grade that gdb is shown, and a hint where weaker addresses tell another.
fn by_trust<T: PartialEq>(
    here: Here<'_>,
    ask: impl Fn(Trust) -> Option<T>,
) -> Result<(T, &'static str), String> {
    let answer = ask(here.trust).ok_or_else(|| no_position(here.at))?;
    let weaker = here.trust != Trust::Inferred && ask(Trust::Inferred).as_ref() != Some(&answer);
    let hint = match weaker {
        true => "\n(by inferred addresses it is another: `monitor trust inferred`)",
        false => "",
    };
    Ok((answer, hint))
}

pub(super) fn last_write(here: Here<'_>, location: Location) -> Result<String, String> {
    let ask = |trust| here.history.last_write_by(location, here.at, trust);
    let (written, hint) = by_trust(here, ask)?;
    let text = match written {
        Write::Found(at) => place(here, at),
        Write::Uncertain {
            known,
            stores,
            barrier,
        } => {
            let mut text = known.map_or_else(
                || format!("no step is known to have written {location}"),
                |at| place(here, at),
            );
            if stores > 0 {
                let _ = write!(text, "; later stores at unknown addresses: {stores}");
            }
            if let Some(barrier) = barrier {
                let _ = write!(
                    text,
                    "; the kernel may have written at {barrier}, or steps are missing there"
                );
            }
            text
        }
        Write::NoneInWindow => {
            format!("{location} is not written in the window before {}", here.at)
        }
    };
    Ok(text + hint)
}

pub(super) fn explain(
    here: Here<'_>,
    location: Location,
    skip_copies: bool,
) -> Result<String, String> {
    let ask = |trust| here.history.explain_by(location, here.at, trust);
    let (explanation, hint) = by_trust(here, ask)?;
    let links: Vec<&Link> = match skip_copies {
        true => explanation.without_copies().collect(),
        false => explanation.links.iter().collect(),
    };
    let lines: Vec<String> = links.into_iter().map(|link| told(here, link)).collect();
    Ok(lines.concat() + &began(&explanation.origin) + hint)
}

/// A line for a step that handed a value on.
fn told(here: Here<'_>, link: &Link) -> String {
    let from = link
        .from
        .map_or_else(String::new, |from| format!(" <- {from}"));
    let doubt = match link.unknown_stores {
        _ if link.raced => "  (by its value: nothing orders it with its reader)".to_owned(),
        0 => String::new(),
        stores => {
            format!("  (or a later store whose address is unknown; there are such: {stores})")
        }
    };
    let turns = match link.times {
        1 => String::new(),
        times => format!("  ({times} times in a row, first at {})", link.first),
    };
    let place = place(here, link.at);
    format!("{}{from}  {place}{turns}{doubt}\n", link.to)
}

/// Where a value began.
fn began(origin: &Origin) -> String {
    match origin {
        Origin::Constant(at) => format!("a constant in the code at {at}"),
        Origin::Computed { at, inputs } => {
            let inputs: Vec<String> = inputs.iter().map(Location::to_string).collect();
            format!("computed at {at} from {}", inputs.join(", "))
        }
        Origin::SystemCall(at) => format!("the result of the system call at {at}"),
        Origin::File { address } => format!("bytes of a file, mapped at {address}"),
        Origin::BeforeWindow(location) => format!("{location} had it before the window"),
        Origin::UnknownStore { location, stores } => format!(
            "no step is known to have written {location}; stores at unknown addresses: {stores}"
        ),
        Origin::Contradicted { location, at } => format!(
            "{location} was written last by the step at {at}, as far as is known, but with another value"
        ),
        Origin::AddressUnknown(at) => format!("loaded at {at} from an unknown address"),
        Origin::Barrier(at) => {
            format!("the kernel may have set it at {at}, or steps are missing there")
        }
        Origin::TooLong => "and so on: the chain is too long".to_owned(),
        Origin::Cancelled => "and so on: the question was cancelled".to_owned(),
    }
}
