//! Following what `explain` says, until the cause is reached.

use super::{Cause, Reached};
use rept_core::{Answer, History, Link, Location, Position, SourceFrame, Symbol, Trust};
use rept_trace::Address;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// Questions asked at most.
pub(super) const QUESTIONS: usize = 64;

/// The chain to the cause, with its links.
pub(super) struct Way {
    pub(super) questions: usize,
    pub(super) links: Vec<Link>,
}

/// Searches from the places given.
pub(super) fn search(
    history: &History,
    from: &[(Location, Position)],
    causes: &[Cause],
) -> Option<Way> {
    let mut lines = Lines::new(history, causes);
    let mut answers = Vec::new();
    for answer in history.trail(from, Trust::Inferred).take(QUESTIONS) {
        let links = &answer.explanation.links;
        let found = links.iter().position(|link| lines.reached(link.at));
        answers.push(answer);
        if let Some(link) = found {
            return Some(Way {
                questions: answers.len(),
                links: Answer::way(&answers, answers.len() - 1, link),
            });
        }
    }
    None
}

/// How a source frame bears on the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bearing {
    /// It is on a line of the cause.
    Cause,
    /// It works for whoever called it: the C library, Rust's standard library.
    Servant,
    /// It is somewhere else.
    Other,
}

/// Source lines, looked up once an address.
struct Lines<'a> {
    history: &'a History,
    causes: &'a [Cause],
    known: BTreeMap<Address, Bearing>,
}

impl<'a> Lines<'a> {
    fn new(history: &'a History, causes: &'a [Cause]) -> Lines<'a> {
        Lines {
            history,
            causes,
            known: BTreeMap::new(),
        }
    }

    /// The step is on a line of the cause; or works, in a library of the language, for a call that
    /// such a line made. A call that is merely open around the step does not count.
    fn reached(&mut self, at: Position) -> bool {
        let Some(ran) = self.history.instruction(at) else {
            return false;
        };
        match self.bearing(ran.at) {
            Bearing::Cause => true,
            Bearing::Other => false,
            Bearing::Servant => self.caller(at) == Some(Bearing::Cause),
        }
    }

    /// The innermost frame around a step that is in no library of the language.
    fn caller(&mut self, at: Position) -> Option<Bearing> {
        let open = self.history.backtrace(at, Trust::Inferred)?;
        let mut frames = open.frames.iter();
        let bearings = frames
            .by_ref()
            .map(|frame| self.bearing(frame.lookup_address()));
        bearings
            .into_iter()
            .find(|&bearing| bearing != Bearing::Servant)
    }

    fn bearing(&mut self, address: Address) -> Bearing {
        let (history, causes) = (self.history, self.causes);
        *self.known.entry(address).or_insert_with(|| {
            let symbol = history.session().symbols().lookup(address);
            bearing(&symbol, causes)
        })
    }
}

/// That of the innermost source frame that is no servant's.
fn bearing(symbol: &Symbol, causes: &[Cause]) -> Bearing {
    for frame in &symbol.frames {
        if causes.iter().any(|cause| cause.holds(frame)) {
            return Bearing::Cause;
        }
        if !is_servant(symbol.module.as_deref(), frame.file.as_deref()) {
            return Bearing::Other;
        }
    }
    match is_servant(symbol.module.as_deref(), None) || !symbol.frames.is_empty() {
        true => Bearing::Servant,
        false => Bearing::Other,
    }
}

/// Code of the C library, or of Rust's standard library (which is also compiled into programs).
fn is_servant(module: Option<&str>, file: Option<&str>) -> bool {
    const MODULES: [&str; 4] = ["libc.so", "libc-", "ld-linux", "libstdc++"];
    const FILES: [&str; 2] = ["/rustc/", "/rustlib/src/rust/library/"];
    module.is_some_and(|module| MODULES.iter().any(|name| module.starts_with(name)))
        || file.is_some_and(|file| FILES.iter().any(|part| file.contains(part)))
}

/// The last step on a line of the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Last {
    pub(super) at: Position,
    /// Steps of all threads from there to the crash.
    pub(super) distance: u64,
    /// Time and edges prove that it was before the crash, and that no other thread was on such a line after it.
    pub(super) ordered: bool,
}

/// The last step on a line of the cause, as the sequence has it.
pub(super) fn last(history: &History, causes: &[Cause], crash: Position) -> Option<Last> {
    let end = history.sequence_number(crash)?;
    let last = last_of_each(history, causes);
    let distances = last.iter().filter_map(|&at| {
        let number = history.sequence_number(at)?;
        Some((at, end.checked_sub(number)?))
    });
    let (at, distance) = distances.min_by_key(|&(_, distance)| distance)?;
    let is_before = |a, b| history.order(a, b) == Some(Ordering::Less);
    let mut others = last.iter().filter(|other| other.thread != at.thread);
    let ordered = is_before(at, crash) && others.all(|&other| is_before(other, at));
    Some(Last {
        at,
        distance,
        ordered,
    })
}

/// The last executions by each thread of each instruction on a line of the cause.
fn last_of_each(history: &History, causes: &[Cause]) -> Vec<Position> {
    let is_cause = |address: Address| {
        let symbol = history.session().symbols().lookup(address);
        let on_cause = |frame: &SourceFrame| causes.iter().any(|cause| cause.holds(frame));
        symbol.frames.iter().any(on_cause)
    };
    let code = &history.trace().code;
    let addresses = code
        .blocks()
        .iter()
        .flat_map(|block| (0..block.instructions()).map(|index| block.address(index)));
    let all: BTreeSet<Address> = addresses.collect();
    let of_cause: Vec<Address> = all.into_iter().filter(|&at| is_cause(at)).collect();
    let last = history.threads().flat_map(|thread| {
        let steps = history.lifetime(thread).map_or(0, |steps| steps.end);
        of_cause
            .iter()
            .filter_map(move |&at| history.last_execution(thread, at, steps))
    });
    last.collect()
}

/// The chain in words; verdicts are added when it is judged.
pub(super) fn describe(history: &History, way: &Way) -> Reached {
    let line = |link: &Link| {
        let source = history.source(link.at).unwrap_or_default();
        let place = source
            .line()
            .map(|(file, line)| format!(" {}:{line}", file.rsplit('/').next().unwrap_or(file)))
            .unwrap_or_default();
        let name = source.name().unwrap_or("?").to_owned();
        let kind = if link.computed { "computed" } else { "copied" };
        let turns = match link.times {
            1 => String::new(),
            times => format!(", {times} times"),
        };
        let sure = if link.unknown_stores == 0 {
            ""
        } else {
            ", others may have"
        };
        format!(
            "{} {kind} to {}{turns}{sure}: {name}{place}",
            link.at, link.to
        )
    };
    Reached {
        questions: way.questions,
        chain: way.links.iter().map(line).collect(),
        ..Reached::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_of_the_language_serve_whoever_calls_them() {
        let check = |module: &str, files: &[(&str, u32)], expect| {
            let mut symbol = Symbol::default();
            symbol.module = Some(module.to_owned());
            symbol.frames = files
                .iter()
                .map(|&(file, line)| {
                    let mut frame = SourceFrame::default();
                    (frame.file, frame.line) = (Some(file.to_owned()), Some(line));
                    frame
                })
                .collect();
            let causes = ["vec.rs:10".parse().unwrap()];
            assert_eq!(bearing(&symbol, &causes), expect, "{module} {files:?}");
        };
        let std = ("/rustc/0/library/core/src/ptr/mod.rs", 5);
        check("prog", &[("/x/vec.rs", 10)], Bearing::Cause);
        check("prog", &[std, ("/x/vec.rs", 10)], Bearing::Cause);
        check(
            "prog",
            &[("/x/main.rs", 3), ("/x/vec.rs", 10)],
            Bearing::Other,
        );
        check("prog", &[std], Bearing::Servant);
        check("prog", &[], Bearing::Other);
        check("libc.so.6", &[("malloc.c", 10)], Bearing::Servant);
    }
}
