//! From the crash alone: where did the faulting value come from?
//!
//! A recording is opened as a user would open it, without truth. The values that led to the
//! crash are those that [`History::suspects`] names; [`History::trail`] follows them, at most
//! [`search::QUESTIONS`] questions far. The cause is *reached* when a step of a chain is on one of
//! its source lines, or works in the language's own library for a call that such a line made. Then,
//! and only then, the truth is opened, and the values on the way to that place are held against it
//! ([`truth`]).
//!
//! A crash is *debuggable* when the cause is reached, and all values on the way are right: none is
//! wrong, unknown, or known in part only.

mod cause;
mod search;
mod truth;

pub(crate) use cause::Cause;

use crate::Failure;
use crate::arguments::ExamineArgs;
use crate::process::{Whose, processor_seconds};
use rept_core::{Crash, History, RecoverOptions, Session, Trust};
use rept_trace::Address;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::time::Instant;

/// Frames of the crash that are named.
const FRAMES: usize = 24;

/// What was found.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Examination {
    /// Steps of all threads in the trace.
    pub(crate) steps: u64,
    /// Threads in the trace.
    pub(crate) threads: usize,
    /// Signal number.
    pub(crate) signal: i32,
    /// Function and line of the crash.
    pub(crate) crash: String,
    /// Functions open at the crash, innermost first.
    pub(crate) open: Vec<String>,
    /// What was asked about, in words.
    pub(crate) asked: String,
    /// Steps of all threads from the last step on a source line of the cause to the crash.
    pub(crate) distance: Option<u64>,
    /// The order proves that step to be before the crash, and the last one there.
    #[serde(default)]
    pub(crate) ordered: Option<bool>,
    /// The way to the cause, when it was reached.
    pub(crate) reached: Option<Reached>,
    /// Seconds from opening the files to the decoded, ordered trace.
    pub(crate) decode_seconds: f64,
    /// Seconds of recovery.
    pub(crate) recover_seconds: f64,
    /// Seconds of the processor that both took, whatever else the machine did meanwhile.
    #[serde(default)]
    pub(crate) processor_seconds: f64,
    /// Peak memory of opening, decoding and recovering, in KiB.
    pub(crate) memory_kib: u64,
}

/// A chain from the crash to the cause.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Reached {
    /// Questions asked until then.
    pub(crate) questions: usize,
    /// Steps of the chain, the crash first: position, place, source line, verdict.
    pub(crate) chain: Vec<String>,
    /// Values on the chain that are right.
    pub(crate) right: usize,
    /// Values on the chain of which only some bits are known.
    #[serde(default)]
    pub(crate) partly: usize,
    /// Values on the chain that are wrong.
    pub(crate) wrong: usize,
    /// Values on the chain of which nothing is known.
    pub(crate) unknown: usize,
    /// Values on the chain that the truth does not hold.
    #[serde(default)]
    pub(crate) not_judged: usize,
}

impl Examination {
    /// The criterion.
    pub(crate) fn is_debuggable(&self) -> bool {
        self.reached
            .as_ref()
            .is_some_and(|way| way.wrong + way.unknown + way.partly == 0 && way.right > 0)
    }
}

/// Examines a recording and prints what was found as JSON.
///
/// # Errors
/// The recording or its truth cannot be read, or holds no crash.
pub(crate) fn print(wanted: &ExamineArgs) -> Result<(), Failure> {
    let causes: Result<Vec<Cause>, Failure> =
        wanted.causes.iter().map(|text| text.parse()).collect();
    let start = Instant::now();
    let session = Session::builder()
        .directory(&wanted.recording)
        .open()
        .map_err(|error| error.to_string())?;
    session.order();
    let decode_seconds = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let history = session.recover(&RecoverOptions::default());
    let recover_seconds = start.elapsed().as_secs_f64();
    let processor_seconds = processor_seconds(Whose::Own);
    let memory_kib = peak_memory_kib();
    let mut found = look(&history, &causes?, &wanted.recording.join("truth"))?;
    (found.decode_seconds, found.recover_seconds) = (decode_seconds, recover_seconds);
    (found.processor_seconds, found.memory_kib) = (processor_seconds, memory_kib);
    let text = serde_json::to_string_pretty(&found).map_err(|error| error.to_string())?;
    println!("{text}");
    Ok(())
}

fn look(history: &History, causes: &[Cause], truth: &Path) -> Result<Examination, Failure> {
    let crash = history.crash().ok_or("the core names no signal")?;
    let suspects = history.suspects();
    let asked = suspects.as_ref().map(ToString::to_string);
    let places = suspects.map_or_else(Vec::new, |suspects| suspects.places);
    let trace = history.trace();
    let last = search::last(history, causes, crash.position);
    let mut found = Examination {
        steps: trace.threads.iter().map(|thread| thread.steps()).sum(),
        threads: trace.threads.len(),
        signal: crash.signal,
        crash: place(history, crash.pc),
        open: open_functions(history, &crash),
        asked: asked.unwrap_or_else(|| "nothing in the crash points to a value".to_owned()),
        distance: last.map(|last| last.distance),
        ordered: last.map(|last| last.ordered),
        ..Examination::default()
    };
    if let Some(way) = search::search(history, &places, causes) {
        let mut reached = search::describe(history, &way);
        truth::judge(history, truth, &way, &mut reached)?;
        found.reached = Some(reached);
    }
    Ok(found)
}

fn open_functions(history: &History, crash: &Crash) -> Vec<String> {
    let open = history
        .backtrace(crash.position, Trust::Inferred)
        .unwrap_or_default();
    let symbols = history.session().symbols();
    let mut names = Vec::new();
    for frame in open.frames.iter().take(FRAMES) {
        let symbol = symbols.lookup(frame.lookup_address());
        names.extend(
            symbol
                .frames
                .iter()
                .filter_map(|frame| frame.function.clone()),
        );
        names.extend(symbol.function.map(|(name, _)| name));
    }
    names.dedup();
    names
}

/// Function and line of a code address; the file without directories, which are this machine's.
fn place(history: &History, address: Address) -> String {
    let symbol = history.session().symbols().lookup(address);
    let line = symbol.line().map(|(file, line)| {
        let name = file.rsplit('/').next().unwrap_or(file);
        format!(" {name}:{line}")
    });
    format!(
        "{}{}",
        symbol.name().unwrap_or("?"),
        line.unwrap_or_default()
    )
}

/// Most memory that this process ever held.
fn peak_memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
