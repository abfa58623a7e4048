//! Asking `explain` again and again, until the cause is reached.

use super::{Cause, Reached};
use rept_core::{History, Link, Location, Origin, Position, Trust};
use rept_trace::Address;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Questions asked at most.
pub(super) const QUESTIONS: usize = 64;

/// A question, and the steps that led to it.
struct Question {
    place: Location,
    before: Position,
    /// Index of the question whose answer named it, and how many links of that answer to take.
    asked_by: Option<(usize, usize)>,
}

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
    let mut asked: Vec<(Question, Vec<Link>)> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut waiting: VecDeque<Question> = from
        .iter()
        .map(|&(place, before)| Question {
            place,
            before,
            asked_by: None,
        })
        .collect();
    while let Some(question) = waiting.pop_front().filter(|_| asked.len() < QUESTIONS) {
        let key = (
            question.place,
            question.before.thread.0,
            question.before.step,
        );
        if !seen.insert(key) {
            continue;
        }
        let Some(answer) = history.explain(question.place, question.before) else {
            continue;
        };
        let index = asked.len();
        let found = answer.links.iter().position(|link| lines.reached(link.at));
        asked.push((question, answer.links));
        if let Some(last) = found {
            return Some(way(&asked, index, last + 1));
        }
        if let Origin::Computed { at, inputs } = answer.origin {
            let links = asked[index].1.len();
            waiting.extend(inputs.into_iter().map(|place| Question {
                place,
                before: at,
                asked_by: Some((index, links)),
            }));
        }
    }
    None
}

/// The links from the crash to the cause.
fn way(asked: &[(Question, Vec<Link>)], mut index: usize, mut take: usize) -> Way {
    let mut parts = Vec::new();
    loop {
        let (question, links) = &asked[index];
        parts.push(&links[..take]);
        match question.asked_by {
            Some(before) => (index, take) = before,
            None => break,
        }
    }
    Way {
        questions: asked.len(),
        links: parts.into_iter().rev().flatten().cloned().collect(),
    }
}

/// Source lines, looked up once an address.
struct Lines<'a> {
    history: &'a History,
    causes: &'a [Cause],
    known: BTreeMap<Address, bool>,
}

impl<'a> Lines<'a> {
    fn new(history: &'a History, causes: &'a [Cause]) -> Lines<'a> {
        Lines {
            history,
            causes,
            known: BTreeMap::new(),
        }
    }

    /// The step, or a call open there, is on a line of the cause.
    fn reached(&mut self, at: Position) -> bool {
        let Some(open) = self.history.backtrace(at, Trust::Inferred) else {
            return false;
        };
        open.frames
            .iter()
            .any(|frame| self.is_cause(frame.lookup_address()))
    }

    fn is_cause(&mut self, address: Address) -> bool {
        let (history, causes) = (self.history, self.causes);
        *self.known.entry(address).or_insert_with(|| {
            let symbol = history.session().symbols().lookup(address);
            causes.iter().any(|cause| cause.holds(&symbol))
        })
    }
}

/// The last step on a line of the cause, and the steps of all threads from there to the crash.
pub(super) fn last(
    history: &History,
    causes: &[Cause],
    crash: Position,
) -> Option<(Position, u64)> {
    let mut lines = Lines::new(history, causes);
    let code = &history.trace().code;
    let addresses = code
        .blocks()
        .iter()
        .flat_map(|block| (0..block.instructions()).map(|index| block.address(index)));
    let of_cause: BTreeSet<Address> = addresses.filter(|&at| lines.is_cause(at)).collect();
    let end = history.sequence_number(crash)?;
    let last = history.threads().flat_map(|thread| {
        let steps = history.lifetime(thread).map_or(0, |steps| steps.end);
        of_cause
            .iter()
            .filter_map(move |&at| history.last_execution(thread, at, steps))
    });
    let distances = last.filter_map(|at| {
        let number = history.sequence_number(at)?;
        Some((at, end.checked_sub(number)?))
    });
    distances.min_by_key(|&(_, distance)| distance)
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
        let sure = if link.unknown_stores == 0 {
            ""
        } else {
            ", others may have"
        };
        format!("{} {kind} to {}{sure}: {name}{place}", link.at, link.to)
    };
    Reached {
        questions: way.questions,
        chain: way.links.iter().map(line).collect(),
        ..Reached::default()
    }
}
