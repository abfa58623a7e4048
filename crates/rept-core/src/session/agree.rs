//! Do dump and trace speak of the same run?

use crate::capture::{Capture, TaskKind};
use crate::diagnostics::{Diagnostic, Subject};
use crate::dump::Dump;
use rept_trace::{Address, Block, EventKind, ThreadId, Trace};
use std::collections::BTreeSet;

/// The process to look at: the dump's, else the one that the traced threads belong to, if it is one.
pub(super) fn process(dump: Option<&Dump>, capture: Option<&Capture>) -> Option<u32> {
    let of_dump = dump.and_then(Dump::process);
    of_dump.or_else(|| {
        let processes = capture?.processes();
        let traced = capture?.streams.iter().filter_map(|stream| stream.thread);
        let traced: BTreeSet<u32> = traced
            .filter_map(|thread| processes.get(&thread).copied())
            .collect();
        let all = || processes.values().copied().collect();
        let candidates = if traced.is_empty() { all() } else { traced };
        candidates
            .first()
            .copied()
            .filter(|_| candidates.len() == 1)
    })
}

/// Code of several processes would be taken together.
pub(super) fn several_processes(capture: &Capture) -> Option<Diagnostic> {
    let mapped = capture
        .mappings
        .iter()
        .filter_map(|mapping| mapping.process);
    let mapped: BTreeSet<u32> = mapped.collect();
    if mapped.len() < 2 {
        return None;
    }
    let named: Vec<String> = mapped.iter().take(8).map(u32::to_string).collect();
    let message = format!(
        "{} is a trace of {} processes ({}{}): code is looked for in all of them, which goes wrong where they differ; name one",
        capture.path().display(),
        mapped.len(),
        named.join(", "),
        if mapped.len() > named.len() {
            ", …"
        } else {
            ""
        },
    );
    Some(Diagnostic::new(Subject::Trace, message))
}

/// Signs that they do not.
pub(super) fn mismatches(dump: &Dump, capture: &Capture, process: Option<u32>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    found.extend(process.and_then(|process| other_process(dump, capture, process)));
    found.extend(other_builds(dump, capture, process));
    found.extend(other_threads(dump, capture));
    found
}

fn other_process(dump: &Dump, capture: &Capture, process: u32) -> Option<Diagnostic> {
    let processes: BTreeSet<u32> = capture.processes().into_values().collect();
    if processes.is_empty() || processes.contains(&process) {
        return None;
    }
    let traced: Vec<String> = processes.iter().take(8).map(u32::to_string).collect();
    let message = format!(
        "{} is a dump of process {process}, {} a trace of process {}",
        dump.path().display(),
        capture.path().display(),
        traced.join(", ")
    );
    Some(Diagnostic::new(Subject::Mismatch, message))
}

/// The same file at the same place with different build-ids.
fn other_builds(dump: &Dump, capture: &Capture, process: Option<u32>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for module in dump.modules() {
        let inside = |at: Address| module.start <= at && at < module.end;
        let mut mapped = capture.mappings.iter().rev();
        let last = mapped.find(|mapping| {
            mapping.process.is_some() && mapping.process == process && inside(mapping.start)
        });
        let Some(mapping) = last.filter(|mapping| mapping.name == module.path) else {
            continue;
        };
        let (Some(then), Some(now)) = (&mapping.build_id, &module.build_id) else {
            continue;
        };
        if !then.matches(now) {
            let message = format!(
                "{} has build-id {now} in {} and {then} in {}",
                module.path,
                dump.path().display(),
                capture.path().display()
            );
            found.push(Diagnostic::new(Subject::Mismatch, message));
        }
    }
    found
}

fn other_threads(dump: &Dump, capture: &Capture) -> Vec<Diagnostic> {
    let traced: BTreeSet<ThreadId> = capture
        .streams
        .iter()
        .filter_map(|stream| stream.thread)
        .collect();
    let per_cpu = capture.streams.iter().any(|stream| stream.cpu.is_some());
    if per_cpu || traced.is_empty() {
        return Vec::new();
    }
    let dumped = dump.threads().iter().map(|thread| thread.thread);
    if dumped.clone().all(|thread| !traced.contains(&thread)) {
        let message = format!(
            "no thread of {} was traced in {}",
            dump.path().display(),
            capture.path().display()
        );
        return vec![Diagnostic::new(Subject::Mismatch, message)];
    }
    let untraced = dumped.filter(|thread| !traced.contains(thread));
    let message = || {
        format!(
            "is in {} and has no trace in {}",
            dump.path().display(),
            capture.path().display()
        )
    };
    untraced
        .map(|thread| Diagnostic::new(Subject::Thread(thread), message()))
        .collect()
}

/// Traced threads that the dump does not have although nothing tells that they ended.
pub(super) fn missing_from_dump(trace: &Trace, dump: &Dump, capture: &Capture) -> Vec<Diagnostic> {
    let ended: BTreeSet<ThreadId> = capture
        .tasks
        .iter()
        .filter(|task| task.kind == TaskKind::Died)
        .map(|task| task.thread)
        .collect();
    let dumped: BTreeSet<ThreadId> = dump.threads().iter().map(|thread| thread.thread).collect();
    let ids = trace.threads.iter().filter(|path| path.steps() > 0);
    let missing = ids
        .map(|path| path.thread)
        .filter(|id| !ended.contains(id) && !dumped.contains(id));
    missing
        .map(|id| {
            let message = format!(
                "was traced and is not in {}: its registers at the end are not known",
                dump.path().display()
            );
            Diagnostic::new(Subject::Thread(id), message)
        })
        .collect()
}

/// Where a thread's trace ends, next to where the dump has the thread.
pub(super) enum End {
    /// At the same instruction.
    Same,
    /// The trace does not tell.
    Unknown,
    /// Elsewhere: steps are missing.
    Differs(Address),
}

/// Compares the end of a thread's trace with `rip` in the dump.
pub(super) fn end_of(trace: &Trace, thread: ThreadId, rip: Address) -> End {
    match end_address(trace, thread) {
        None => End::Unknown,
        Some(at) if at == rip => End::Same,
        Some(at) => End::Differs(at),
    }
}

/// The address of the instruction behind a thread's last step, where the trace tells it.
fn end_address(trace: &Trace, thread: ThreadId) -> Option<Address> {
    let thread = trace.thread(thread)?;
    let at_end = thread
        .events
        .iter()
        .rev()
        .take_while(|event| event.step == thread.steps());
    for event in at_end {
        match event.kind {
            EventKind::AsyncDisabled { at, .. } => return Some(at),
            EventKind::Disabled { ip: Some(ip) } | EventKind::Enabled { ip } => return Some(ip),
            EventKind::AsyncBranch { to, .. } => return Some(to),
            EventKind::Overflow { .. } => return None,
            _ => {}
        }
    }
    let run = thread.runs().last()?;
    next_in_line(trace.code.block(run.block), usize::from(run.count))
}

/// What follows `count` instructions of a block when the last of them is no branch.
fn next_in_line(block: &Block, count: usize) -> Option<Address> {
    if count < block.instructions() {
        return Some(block.address(count));
    }
    let last = block.instruction_bytes(count.checked_sub(1)?);
    let mut decoder =
        iced_x86::Decoder::new(block.bitness.into(), last, iced_x86::DecoderOptions::NONE);
    let instruction = decoder.decode();
    let plain = matches!(instruction.flow_control(), iced_x86::FlowControl::Next);
    let syscall = instruction.mnemonic() == iced_x86::Mnemonic::Syscall;
    (plain || syscall).then(|| block.end())
}
