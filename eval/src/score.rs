//! What `rept score --json` says (schema `rept-score/1`).

use crate::Failure;
use crate::process::output;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Long enough for some millions of steps on a busy machine.
const LIMIT: Duration = Duration::from_secs(900);

/// Distance classes, in steps of the crashing thread, nearest first.
pub(crate) const DISTANCES: [&str; 5] = ["0-1 K", "1-10 K", "10-100 K", "100 K-1 M", "over 1 M"];

/// The score of one recording.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Score {
    pub(crate) steps: u64,
    pub(crate) steps_judged: u64,
    pub(crate) measures: BTreeMap<String, Rows>,
    #[serde(default)]
    pub(crate) why: Option<Why>,
}

/// Tallies of one measure.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Rows {
    pub(crate) all: Tally,
    #[serde(default)]
    pub(crate) by_distance: BTreeMap<String, Tally>,
    /// The same with the true place of every access given; present when asked for.
    #[serde(default)]
    pub(crate) ceiling: Option<Ceiling>,
}

/// Tallies of one measure with all places given.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Ceiling {
    pub(crate) by_distance: BTreeMap<String, Tally>,
}

/// Number of values by verdict.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Tally {
    pub(crate) correct: ByGrade,
    pub(crate) partial: ByGrade,
    pub(crate) unknown: u64,
    pub(crate) wrong: ByGrade,
}

/// Number of values by grade.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct ByGrade {
    pub(crate) certain: u64,
    pub(crate) assumed: u64,
    pub(crate) inferred: u64,
}

/// Causes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Why {
    #[serde(default)]
    pub(crate) unknown_reasons_sampled: BTreeMap<String, u64>,
}

impl ByGrade {
    /// All grades.
    pub(crate) const fn total(self) -> u64 {
        self.certain + self.assumed + self.inferred
    }
}

impl Tally {
    /// Number of values judged.
    pub(crate) const fn total(self) -> u64 {
        self.correct.total() + self.partial.total() + self.unknown + self.wrong.total()
    }

    /// `part` in per cent; `None` without values.
    pub(crate) fn share(self, part: u64) -> Option<f64> {
        (self.total() > 0).then(|| part as f64 * 100.0 / self.total() as f64)
    }

    /// Adds another's values.
    pub(crate) fn add(&mut self, other: Tally) {
        let add = |mine: &mut ByGrade, other: ByGrade| {
            mine.certain += other.certain;
            mine.assumed += other.assumed;
            mine.inferred += other.inferred;
        };
        add(&mut self.correct, other.correct);
        add(&mut self.partial, other.partial);
        add(&mut self.wrong, other.wrong);
        self.unknown += other.unknown;
    }
}

impl Score {
    /// Values of a measure, at one distance or at all.
    pub(crate) fn tally(&self, measure: &str, distance: Option<&str>) -> Tally {
        let rows = self.measures.get(measure);
        match distance {
            None => rows.map(|rows| rows.all),
            Some(class) => rows.and_then(|rows| rows.by_distance.get(class).copied()),
        }
        .unwrap_or_default()
    }

    /// Values of a measure at one distance with all places given, if that was asked for.
    pub(crate) fn ceiling(&self, measure: &str, distance: &str) -> Option<Tally> {
        let given = self.measures.get(measure)?.ceiling.as_ref()?;
        given.by_distance.get(distance).copied()
    }

    /// Takes the ceilings of another score of the same recording.
    pub(crate) fn take_ceilings(&mut self, given: Score) {
        for (measure, given) in given.measures {
            if let Some(rows) = self.measures.get_mut(&measure) {
                rows.ceiling = given.ceiling;
            }
        }
    }

    /// Values of all measures that are wrong though called certain or assumed.
    pub(crate) fn wrong_trusted(&self) -> (u64, u64) {
        let wrong = self.measures.values().map(|rows| rows.all.wrong);
        wrong.fold((0, 0), |sum, wrong| {
            (sum.0 + wrong.certain, sum.1 + wrong.assumed)
        })
    }
}

/// Values of all scores that are wrong though called certain or assumed.
pub(crate) fn wrong_trusted<'a>(scores: impl Iterator<Item = &'a Score>) -> (u64, u64) {
    let wrong = scores.map(Score::wrong_trusted);
    wrong.fold((0, 0), |sum, wrong| (sum.0 + wrong.0, sum.1 + wrong.1))
}

/// Scores a recording, with `options` added.
///
/// # Errors
/// The command fails or prints something else.
pub(crate) fn score(
    rept: &Path,
    recording: &Path,
    options: &[&str],
    log: &Path,
) -> Result<Score, Failure> {
    run_score(Command::new(rept), recording, options, log)
}

/// The same for at most so long on the processor, so that it does not matter what else the machine
/// does.
///
/// # Errors
/// Also when it takes longer.
pub(crate) fn within(
    limit: Duration,
    rept: &Path,
    recording: &Path,
    options: &[&str],
    log: &Path,
) -> Result<Score, Failure> {
    let seconds = limit.as_secs().to_string();
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -t \"$0\" && exec \"$@\"", &seconds])
        .arg(rept);
    let start = Instant::now();
    run_score(command, recording, options, log).map_err(|failure| {
        // The shell's limit ends the program by a signal, and may come a second late.
        match start.elapsed() >= limit {
            true => format!("rept took longer than {seconds} s"),
            false => failure,
        }
    })
}

fn run_score(
    mut command: Command,
    recording: &Path,
    options: &[&str],
    log: &Path,
) -> Result<Score, Failure> {
    command
        .args(["score", "--json"])
        .args(options)
        .arg(recording);
    let text = output(&mut command, log, LIMIT)?;
    serde_json::from_str(&text).map_err(|error| format!("rept score --json: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
        let one = ByGrade {
            certain: 1,
            assumed: 2,
            inferred: 3,
        };
        let mut tally = Tally {
            correct: one,
            unknown: 4,
            ..Tally::default()
        };
        assert_eq!(tally.total(), 10);
        assert_eq!(tally.share(tally.unknown), Some(40.0));
        tally.add(tally);
        assert_eq!(tally.total(), 20);
        assert_eq!(Tally::default().share(0), None);
    }
}
