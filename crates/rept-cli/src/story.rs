//! Tells where a value came from, in lines for people.
//!
//! For a crash, nothing needs to be known of the program. The faulting instruction names a
//! register; its value is followed back through copies, loads and stores. The store that
//! was made by another function than the one that loaded it is the step that planted it: a
//! function's own stores to its own variables only pass a value along.

use crate::case::Case;
use crate::explain::{End, Link, Past, Trail, faulting_operand, trail};
use crate::text::{disassembly, grouped};
use iced_x86::Register;
use rept_recover::history::{AccessView, Position};
use rept_trace::{Address, RegWord, Registers, ThreadId};
use std::io::{self, Write};

/// Prints where the pointer that the crashing thread followed came from.
///
/// # Errors
/// Those of writing.
pub(crate) fn crash_story(case: Case<'_>, out: &mut dyn Write) -> io::Result<()> {
    let Some((thread, register)) = suspect(case) else {
        return writeln!(out, "the crash was not caused by a memory operand");
    };
    let past = case.past();
    let end = case.end(thread);
    let trail = trail(&past, end, register);
    writeln!(
        out,
        "where the value of {} came from, newest first",
        name(register)
    )?;
    print_trail(case, &trail, out)?;
    match planted(case, &past, &trail) {
        Some((at, store)) => print_planted(case, &past, end, (at, store), out),
        None => writeln!(out, "\nno step of the trace planted it"),
    }
}

/// Prints the links of a trail and how it ends, newest first.
///
/// # Errors
/// Those of writing.
pub(crate) fn print_trail(case: Case<'_>, trail: &Trail, out: &mut dyn Write) -> io::Result<()> {
    let past = case.past();
    for link in &trail.links {
        print_link(case, &past, link, out)?;
    }
    print_end(case, &past, trail, out)
}

/// The crashing thread and the register that it followed.
fn suspect(case: Case<'_>) -> Option<(u32, Register)> {
    let thread: ThreadId = case.crashing()?;
    let registers = case.registers(thread)?;
    let instruction = case.instruction(registers.rip)?;
    let fault = case.fault.and_then(|fault| fault.address);
    let register = faulting_operand(&instruction, fault, |register| value(registers, register))?;
    Some((case.index(thread)?, register))
}

/// Value of a 64-bit register or segment base at the crash.
fn value(registers: &Registers, register: Register) -> Option<u64> {
    match register {
        Register::FS => registers.get(RegWord::FS_BASE),
        Register::GS => registers.get(RegWord::GS_BASE),
        Register::CS | Register::DS | Register::ES | Register::SS => Some(0),
        Register::RIP => Some(registers.rip.0),
        _ if register.is_gpr64() => registers.get(RegWord::gpr(register.number() as u16)),
        _ => None,
    }
}

/// The newest store of the trail that another function made than the one that loaded it;
/// where all were made by the same, the oldest.
fn planted(case: Case<'_>, past: &Past<'_>, trail: &Trail) -> Option<(Position, AccessView)> {
    let mut loader = None;
    let mut last = None;
    for link in &trail.links {
        match *link {
            Link::Copy { .. } => {}
            Link::Load { at, .. } => loader = function(case, past, at),
            Link::Store { at, store, .. } => {
                last = Some((at, store));
                if function(case, past, at) != loader {
                    break;
                }
            }
        }
    }
    last
}

fn function(case: Case<'_>, past: &Past<'_>, at: Position) -> Option<String> {
    let address = Address(past.instruction(at)?.ip());
    case.program.spot(address).function.map(|(name, _)| name)
}

fn print_link(case: Case<'_>, past: &Past<'_>, link: &Link, out: &mut dyn Write) -> io::Result<()> {
    match *link {
        Link::Copy { at, from } => {
            line(case, past, at, &format!("copied from {}", name(from)), out)
        }
        Link::Load { at, load } => {
            line(case, past, at, &format!("loaded from {}", cell(&load)), out)
        }
        Link::Store {
            at,
            store,
            uncertain,
        } => {
            line(case, past, at, &format!("stored to {}", cell(&store)), out)?;
            match uncertain {
                0 => Ok(()),
                _ => writeln!(
                    out,
                    "      ({uncertain} later stores are at unknown addresses)"
                ),
            }
        }
    }
}

/// Prints a step with its code and place.
///
/// # Errors
/// Those of writing.
pub(crate) fn line(
    case: Case<'_>,
    past: &Past<'_>,
    at: Position,
    what: &str,
    out: &mut dyn Write,
) -> io::Result<()> {
    let code = past
        .instruction(at)
        .map(|instruction| disassembly(&instruction));
    let spot = past
        .instruction(at)
        .map(|instruction| case.program.spot(Address(instruction.ip())));
    let place = spot
        .as_ref()
        .and_then(|spot| spot.place())
        .unwrap_or_default();
    let source = spot.and_then(|spot| spot.source()).unwrap_or_default();
    let code = code.unwrap_or_default();
    writeln!(
        out,
        "  {:<14} {code:<30} {what:<32} {place} {source}",
        case.name(at)
    )
}

/// `[0x1234]`.
pub(crate) fn cell(access: &AccessView) -> String {
    access
        .address
        .map_or("an unknown address".to_owned(), |address| {
            format!("[{address}]")
        })
}

/// As assemblers write it.
pub(crate) fn name(register: Register) -> String {
    format!("{register:?}").to_lowercase()
}

fn print_end(
    case: Case<'_>,
    past: &Past<'_>,
    trail: &Trail,
    out: &mut dyn Write,
) -> io::Result<()> {
    match trail.end {
        End::Made { at } if !ends_in(trail, at) => line(case, past, at, "computed", out),
        End::Made { .. } => Ok(()),
        End::RegisterBefore { register } => {
            writeln!(out, "  {} held it when the trace begins", name(register))
        }
        End::MemoryBefore { address } => {
            writeln!(out, "  [{address}] held it when the trace begins")
        }
        End::AddressUnknown { at } => line(case, past, at, "from an unknown address", out),
        End::TooLong => writeln!(out, "  and so on"),
    }
}

/// The trail's last link is the step `at` itself.
fn ends_in(trail: &Trail, at: Position) -> bool {
    matches!(trail.links.last(), Some(Link::Store { at: last, .. }) if *last == at)
}

fn print_planted(
    case: Case<'_>,
    past: &Past<'_>,
    end: Position,
    (at, store): (Position, AccessView),
    out: &mut dyn Write,
) -> io::Result<()> {
    let what = crate::report::known_part(store.value, u32::from(store.size) * 8);
    let value = what.unwrap_or_else(|| "an unknown value".to_owned());
    writeln!(out, "\nthe bad value was planted by this step:")?;
    line(case, past, at, &format!("{value} to {}", cell(&store)), out)?;
    if at.thread == end.thread {
        writeln!(
            out,
            "  {} steps before the crash",
            grouped(end.step - at.step)
        )?;
    }
    Ok(())
}
