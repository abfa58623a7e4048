//! Whether the step that `rept explain` names as the one that planted the value did so.
//!
//! The chain from the crash to that step goes through places in memory: a step stored, a later one
//! read. By the truth, no other store to such a place may lie between the two. What the kernel writes
//! the truth does not hold.

use super::truth::{TruthFile, failed};
use crate::failure::Failure;
use crate::story::Story;
use rept_capture::truth::{AccessKind, Step};
use rept_core::{History, Link, Location, Position, Trust};
use rept_trace::Address;
use std::ops::Range;

/// The verdict on the planting step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planting {
    /// The step that is named.
    pub(crate) at: Position,
    /// Where it stored.
    pub(crate) address: Address,
    /// Places between it and the crash that the value went through, its own among them.
    pub(crate) places: usize,
    /// Of the first of them that is not as told: the step that really stored there last, or `None` when
    /// the one that is named did not store there at all.
    pub(crate) wrong: Option<Option<Position>>,
}

/// A place that a value went through: stored to by one step, read by a later one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    bytes: Range<u64>,
    store: Position,
    reader: Position,
    /// When, among the steps of all threads: behind the store, before the reader.
    between: Range<u64>,
    stored: bool,
    /// The last other store there.
    other: Option<(u64, Position)>,
}

/// Judges the step that is named for the history's crash; `None` where none is.
///
/// # Errors
/// The truth cannot be read.
pub(crate) fn planting(
    history: &History,
    truth: &mut TruthFile,
) -> Result<Option<Planting>, Failure> {
    let story = Story::of(history, Trust::Inferred);
    let Some((planted, answer)) = story.planted.zip(story.answers.last()) else {
        return Ok(None);
    };
    let mut places = places(&answer.explanation.links, answer.before, planted.at);
    for place in &mut places {
        let store = true_step(history, truth, place.store)?;
        let reader = true_step(history, truth, place.reader)?;
        place.stored = store
            .as_ref()
            .is_some_and(|step| writes(step, &place.bytes));
        // The crash has no step of its own: it comes behind all.
        let first = store.map_or(0, |step| step.sequence + 1);
        place.between = first..reader.map_or(u64::MAX, |step| step.sequence);
    }
    look_between(history, truth, &mut places)?;
    let wrong = places.iter().find_map(|place| match place.other {
        Some((_, other)) => Some(Some(other)),
        None => (!place.stored).then_some(None),
    });
    Ok(Some(Planting {
        at: planted.at,
        address: planted.address,
        places: places.len(),
        wrong,
    }))
}

/// The places of a chain, newest first, as far as a step.
fn places(links: &[Link], asked: Position, last: Position) -> Vec<Place> {
    let mut found = Vec::new();
    let mut reader = asked;
    for (index, link) in links.iter().enumerate() {
        if let Location::Mem { address, size } = link.to {
            found.push(Place {
                bytes: address.0..address.0.saturating_add(size),
                store: link.at,
                reader,
                between: 0..0,
                stored: false,
                other: None,
            });
        }
        if link.at == last {
            break;
        }
        // Within a loop links are those of its newest turn; what comes before it was read by its first.
        let goes_on = links
            .get(index + 1)
            .is_some_and(|next| next.times == link.times);
        reader = if goes_on { link.at } else { link.first };
    }
    found
}

/// Recorded steps of a thread that the trace does not hold: its oldest.
fn lost(history: &History, truth: &TruthFile, at: Position) -> Option<u64> {
    let steps = history.lifetime(at.thread)?.end;
    truth.0.steps(at.thread).checked_sub(steps)
}

fn true_step(
    history: &History,
    truth: &mut TruthFile,
    at: Position,
) -> Result<Option<Step>, Failure> {
    let Some(lost) = lost(history, truth, at) else {
        return Ok(None);
    };
    let mut steps = truth
        .0
        .read_from(at.thread, lost + at.step)
        .map_err(failed)?;
    Ok(steps.advance().map_err(failed)?.cloned())
}

fn writes(step: &Step, bytes: &Range<u64>) -> bool {
    step.accesses.iter().any(|access| {
        let end = access.address.saturating_add(access.bytes.len() as u64);
        access.kind == AccessKind::Write && access.address < bytes.end && bytes.start < end
    })
}

/// Finds the last true store to each place between its store and its reader, in all threads.
fn look_between(
    history: &History,
    truth: &mut TruthFile,
    places: &mut [Place],
) -> Result<(), Failure> {
    for thread in truth.0.threads() {
        let lost = lost(history, truth, Position::new(thread, 0)).unwrap_or(0);
        let mut steps = truth.0.read_from(thread, 0).map_err(failed)?;
        let mut number = 0u64;
        while let Some(step) = steps.advance().map_err(failed)? {
            let at = Position::new(thread, number.saturating_sub(lost));
            number += 1;
            let between = |place: &&mut Place| place.between.contains(&step.sequence);
            for place in places.iter_mut().filter(between) {
                let newer = place.other.is_none_or(|(other, _)| other < step.sequence);
                if newer && writes(step, &place.bytes) {
                    place.other = Some((step.sequence, at));
                }
            }
        }
    }
    Ok(())
}

impl std::fmt::Display for Planting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Planting { at, address, .. } = self;
        write!(
            f,
            "explain names the step at {at}, which stored to [{address}]: "
        )?;
        match (self.wrong, self.places) {
            (None, 1) => write!(f, "nothing stored there after it"),
            (None, places) => write!(f, "right, as are the {places} places on the way from there"),
            (Some(Some(other)), _) => {
                write!(f, "wrong, the step at {other} stored on the way later")
            }
            (Some(None), _) => write!(f, "wrong, a step on the way did not store there"),
        }
    }
}
