//! Holding the values on a chain against what was true.

use super::Reached;
use super::search::Way;
use crate::Failure;
use rept_capture::truth::{AccessKind, Reader, Step};
use rept_core::{History, Link, Location, Position};
use rept_trace::{Address, RegWord};
use std::path::Path;

/// What holds of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All bits are known and right; of the flags, all that are known.
    Right,
    /// Some bits are known, and all of those are right.
    Partly,
    /// A known bit is wrong, or the step did not write the place.
    Wrong,
    /// No bit is known.
    Unknown,
    /// The truth does not hold registers of this kind.
    NotJudged,
}

/// Judges every link of a way and adds the verdicts to its description.
///
/// # Errors
/// The truth cannot be read.
pub(super) fn judge(
    history: &History,
    truth: &Path,
    way: &Way,
    reached: &mut Reached,
) -> Result<(), Failure> {
    let mut reader = Reader::open(truth).map_err(|error| error.to_string())?;
    for (link, words) in way.links.iter().zip(&mut reached.chain) {
        let verdict = verdict(history, &mut reader, link)?;
        let word = match verdict {
            Verdict::Right => "right",
            Verdict::Partly => "partly",
            Verdict::Wrong => "WRONG",
            Verdict::Unknown => "unknown",
            Verdict::NotJudged => "not judged",
        };
        *words = format!("{words} [{word}]");
        match verdict {
            Verdict::Right => reached.right += 1,
            Verdict::Partly => reached.partly += 1,
            Verdict::Wrong => reached.wrong += 1,
            Verdict::Unknown => reached.unknown += 1,
            Verdict::NotJudged => reached.not_judged += 1,
        }
    }
    Ok(())
}

fn verdict(history: &History, reader: &mut Reader, link: &Link) -> Result<Verdict, Failure> {
    match link.to {
        Location::Reg(word) => {
            let after = Position::new(link.at.thread, link.at.step + 1);
            let shown = history.at(after).map(|state| state.reg(word));
            let truth = match true_step(history, reader, after)? {
                Some(step) => step.words.get(usize::from(word.0)).copied(),
                None => in_core(history, after, word),
            };
            Ok(match (shown, truth) {
                (Some(value), Some(truth)) => {
                    let verdict = compare(value.bits, value.known, u64::MAX, truth);
                    match (verdict, word) {
                        (Verdict::Partly, RegWord::FLAGS) => Verdict::Right,
                        _ => verdict,
                    }
                }
                _ => Verdict::NotJudged,
            })
        }
        Location::Mem { address, size } => {
            let Some(step) = true_step(history, reader, link.at)? else {
                return Ok(Verdict::Wrong);
            };
            Ok(stored(history, link.at, &step, address, size))
        }
        _ => Ok(Verdict::NotJudged),
    }
}

/// A register behind the last step of a thread, which the core tells.
fn in_core(history: &History, at: Position, word: RegWord) -> Option<u64> {
    let steps = history.lifetime(at.thread)?.end;
    let dump = history.session().dump().filter(|_| at.step >= steps)?;
    dump.thread(at.thread)?.get(word)
}

/// The bytes of the place that the step really wrote, against those shown behind it.
fn stored(history: &History, at: Position, step: &Step, address: Address, size: u64) -> Verdict {
    let after = Position::new(at.thread, at.step + 1);
    let Some(state) = history.at(after) else {
        return Verdict::Unknown;
    };
    let writes = step
        .accesses
        .iter()
        .filter(|access| access.kind == AccessKind::Write);
    let bytes = writes.flat_map(|access| {
        access
            .bytes
            .iter()
            .enumerate()
            .map(|(index, &byte)| (access.address.wrapping_add(index as u64), byte))
    });
    let inside = bytes.filter(|&(at, _)| at.wrapping_sub(address.0) < size);
    let verdicts: Vec<Verdict> = inside
        .map(|(at, byte)| {
            let shown = state.byte(Address(at));
            compare(shown.bits, shown.known & 0xff, 0xff, byte.into())
        })
        .collect();
    if verdicts.is_empty() || verdicts.contains(&Verdict::Wrong) {
        Verdict::Wrong
    } else if verdicts.iter().all(|&byte| byte == Verdict::Right) {
        Verdict::Right
    } else if verdicts.iter().all(|&byte| byte == Verdict::Unknown) {
        Verdict::Unknown
    } else {
        Verdict::Partly
    }
}

/// Holds the `known` ones of `bits` against the truth; `all` are those that there are.
fn compare(bits: u64, known: u64, all: u64, truth: u64) -> Verdict {
    match (known, (bits ^ truth) & known) {
        (0, _) => Verdict::Unknown,
        (known, 0) if known == all => Verdict::Right,
        (_, 0) => Verdict::Partly,
        _ => Verdict::Wrong,
    }
}

/// What really happened at a position: the trace holds the newest steps of the recording.
fn true_step(
    history: &History,
    reader: &mut Reader,
    at: Position,
) -> Result<Option<Step>, Failure> {
    let recorded = reader.steps(at.thread);
    let steps = history.lifetime(at.thread).map_or(0, |steps| steps.end);
    let Some(number) = recorded.checked_sub(steps).map(|lost| lost + at.step) else {
        return Ok(None);
    };
    if number >= recorded {
        return Ok(None);
    }
    let mut steps = reader
        .read_from(at.thread, number)
        .map_err(|error| error.to_string())?;
    let step = steps.advance().map_err(|error| error.to_string())?.cloned();
    let ran = history.instruction(at).map(|ran| ran.at.0);
    Ok(step.filter(|step| Some(step.ip) == ran))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_bit_is_wrong_and_no_known_bit_is_unknown() {
        assert_eq!(compare(5, 0xff, 0xff, 5), Verdict::Right);
        assert_eq!(compare(5, 0xff, 0xff, 4), Verdict::Wrong);
        assert_eq!(compare(5, 0xfe, 0xff, 4), Verdict::Partly);
        assert_eq!(compare(5, 0xff, u64::MAX, 5), Verdict::Partly);
        assert_eq!(compare(0, 0, 0xff, 4), Verdict::Unknown);
    }
}
