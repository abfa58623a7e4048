//! Steps with their values, one a line, under the function and source line they belong to.

use super::operands::{Counts, Operands, operands};
use crate::case::{Case, Spot};
use crate::colour;
use crate::races::beside;
use crate::text::disassembly;
use iced_x86::InstructionInfoFactory;
use rept_recover::history::Position;
use rept_trace::{Address, EventKind, ThreadTrace};
use std::io::{self, Write};
use std::ops::Range;

/// Column at which values begin.
const VALUES: usize = 58;

/// Prints the given steps of a thread; what was shown of their values is counted.
///
/// # Errors
/// Those of writing.
pub(crate) fn steps(
    case: Case<'_>,
    thread: u32,
    range: Range<u64>,
    out: &mut dyn Write,
) -> io::Result<Counts> {
    let mut factory = InstructionInfoFactory::new();
    let mut counts = Counts::default();
    let mut heading = None;
    for step in range {
        let at = Position { thread, step };
        let Some(instruction) = case.ran(at) else {
            break;
        };
        interruptions(&case.trace.threads[thread as usize], step, out)?;
        let spot = case.program.spot(Address(instruction.ip()));
        if heading.as_ref() != Some(&title(&spot)) {
            writeln!(out, "{}", colour::heading(title(&spot)))?;
            heading = Some(title(&spot));
        }
        let values = operands(case.history, at, &instruction, &mut factory);
        let text = disassembly(&instruction);
        let offset = spot
            .function
            .map_or(format!("{:x}", instruction.ip()), |(_, offset)| {
                format!("+{offset:#x}")
            });
        let name = case.name(at).to_string();
        // Colours have no width.
        let width = VALUES.saturating_sub(name.len() + 3);
        let code = format!("{offset:<7} {text}");
        let (name, effect) = (colour::position(name), colour::values(effect(&values)));
        writeln!(out, "  {name} {code:<width$} {effect}")?;
        for race in beside(case, case.races, case.place(at)) {
            writeln!(out, "  {:>11} {race}", "^")?;
        }
        counts.add(values.counts);
    }
    Ok(counts)
}

/// `function  file:line`; both change more rarely than steps.
fn title(spot: &Spot) -> String {
    let function = spot.function.as_ref().map(|(name, _)| name.clone());
    let module = || spot.module.clone();
    let name = function
        .or_else(module)
        .unwrap_or_else(|| "(no binary)".to_owned());
    match spot.source() {
        Some(source) => format!("{name}  {source}"),
        None => name,
    }
}

fn effect(operands: &Operands) -> String {
    let (reads, writes) = (operands.reads.join(" "), operands.writes.join(" "));
    match (reads.is_empty(), writes.is_empty()) {
        (_, true) => reads,
        (true, false) => format!("-> {writes}"),
        (false, false) => format!("{reads} -> {writes}"),
    }
}

/// Gaps and asynchronous events before a step.
fn interruptions(thread: &ThreadTrace, step: u64, out: &mut dyn Write) -> io::Result<()> {
    for gap in thread.gaps.iter().filter(|gap| gap.step == step) {
        writeln!(out, "  ---- steps are missing here: {} ----", gap.reason)?;
    }
    for event in thread.events.iter().filter(|event| event.step == step) {
        if let EventKind::AsyncBranch { from, to } = event.kind {
            writeln!(out, "  ---- interrupted before {from}, on to {to} ----")?;
        }
    }
    Ok(())
}
