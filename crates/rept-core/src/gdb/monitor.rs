//! Commands behind gdb's `monitor`: what the protocol has no packet for.

use super::walk::Stub;
use crate::history::{Explanation, Location, Origin, Write};
use crate::position::Position;
use rept_trace::{Address, RegWord};
use std::fmt::Write as _;

const HELP: &str = "\
where                    the position, THREAD:STEP, and its source line
seek THREAD:STEP         go there; carried out by the next `stepi`
last-write REG|ADDR [N]  the step that wrote a register, or N bytes (8), last
explain REG|ADDR [N]     where the value came from
mem ADDR N               memory, `??` where unknown";

/// Bytes that `mem` shows at most.
const MAX_BYTES: u64 = 4096;

/// Carries out a command; every answer is text.
pub(super) fn answer(stub: &mut Stub<'_>, command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    let answered = match words.as_slice() {
        ["where"] => Ok(place(stub, stub.now)),
        ["seek", position] => seek(stub, position),
        ["last-write", rest @ ..] => location(rest).map(|location| last_write(stub, location)),
        ["explain", rest @ ..] => location(rest).map(|location| explain(stub, location)),
        ["mem", address, count] => memory(stub, address, count),
        _ => Ok(HELP.to_owned()),
    };
    answered.unwrap_or_else(|error| error)
}

/// A position with function and line.
fn place(stub: &Stub<'_>, at: Position) -> String {
    let symbol = stub.history.source(at).unwrap_or_default();
    let mut text = at.to_string();
    if let Some(pc) = stub.history.at(at).and_then(|state| state.pc()) {
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

fn seek(stub: &mut Stub<'_>, position: &str) -> Result<String, String> {
    let position: Position = position.parse().map_err(|error| format!("{error}"))?;
    if stub.history.at(position).is_none() {
        return Err(format!("there is no position {position}"));
    }
    stub.seek = Some(position);
    Ok(format!("the next `stepi` goes to {position}"))
}

/// `REG` or `ADDR [N]`.
fn location(words: &[&str]) -> Result<Location, String> {
    let (first, size) = match words {
        [first] => (*first, Ok(8)),
        [first, size] => (*first, number(size)),
        _ => return Err("expected a register, or an address and a number of bytes".to_owned()),
    };
    let register = (0..RegWord::COUNT as u16)
        .map(RegWord)
        .find(|word| word.name() == first.trim_start_matches('$'));
    match register {
        Some(word) => Ok(Location::Reg(word)),
        None => {
            let address = Address(number(first)?);
            Ok(Location::Mem {
                address,
                size: size?.clamp(1, MAX_BYTES),
            })
        }
    }
}

fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("{text:?} is no number and no register"))
}

fn last_write(stub: &Stub<'_>, location: Location) -> String {
    match stub.history.last_write(location, stub.now) {
        Some(Write::Found(at)) => place(stub, at),
        Some(Write::Uncertain {
            known,
            stores,
            barrier,
        }) => {
            let mut text = known.map_or_else(
                || "no known step in the window".to_owned(),
                |at| place(stub, at),
            );
            if stores > 0 {
                let _ = write!(text, "; {stores} later stores have unknown addresses");
            }
            if let Some(barrier) = barrier {
                let _ = write!(
                    text,
                    "; the kernel may have written at {barrier}, or steps are missing there"
                );
            }
            text
        }
        _ => format!(
            "{location} is not written in the window before {}",
            stub.now
        ),
    }
}

fn explain(stub: &Stub<'_>, location: Location) -> String {
    let Some(Explanation { links, origin }) = stub.history.explain(location, stub.now) else {
        return format!("there is no position {}", stub.now);
    };
    let mut text = String::new();
    for link in links {
        let from = link
            .from
            .map(|from| format!(" <- {from}"))
            .unwrap_or_default();
        let doubt = if link.sure {
            ""
        } else {
            "  (or a later store whose address is unknown)"
        };
        let _ = writeln!(text, "{}{from}  {}{doubt}", link.to, place(stub, link.at));
    }
    text + &match origin {
        Origin::Constant(at) => format!("a constant in the code at {at}"),
        Origin::Computed { at, inputs } => {
            let inputs: Vec<String> = inputs.iter().map(Location::to_string).collect();
            format!("computed at {at} from {}", inputs.join(", "))
        }
        Origin::SystemCall(at) => format!("the result of the system call at {at}"),
        Origin::File { address } => format!("bytes of a file, mapped at {address}"),
        Origin::BeforeWindow(location) => format!("{location} had it before the window"),
        Origin::AddressUnknown(at) => format!("loaded at {at} from an unknown address"),
        Origin::Barrier(at) => {
            format!("the kernel may have set it at {at}, or steps are missing there")
        }
        Origin::TooLong => "and so on: the chain is too long".to_owned(),
    }
}

fn memory(stub: &Stub<'_>, address: &str, count: &str) -> Result<String, String> {
    let (address, count) = (number(address)?, number(count)?.min(MAX_BYTES));
    let state = stub
        .history
        .at(stub.now)
        .ok_or("there is no such position")?;
    let mut bytes = vec![0; count as usize];
    let mask = state.read(Address(address), &mut bytes, stub.options.trust);
    let shown = bytes.iter().zip(&mask.bits).map(|(byte, &known)| {
        if known == 0xff {
            format!("{byte:02x}")
        } else {
            "??".to_owned()
        }
    });
    Ok(shown.collect::<Vec<_>>().join(" "))
}
