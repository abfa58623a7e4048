//! The score for scripts. Schema `rept-score/1`: fields are added, never renamed.

use super::Score;
use super::tally::{ByGrade, DISTANCES, Measure, Tally};
use serde::Serialize;
use std::collections::BTreeMap;

/// Name and version of the schema.
const SCHEMA: &str = "rept-score/1";

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    threads: usize,
    crashing_thread: u32,
    steps: u64,
    steps_judged: u64,
    /// Over all measures, by the grade of the wrong bit.
    wrong: ByGrade,
    measures: BTreeMap<&'static str, Rows>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<Why<'a>>,
}

#[derive(Serialize)]
struct Rows {
    all: Tally,
    /// By distance from the crash; classes without values are absent.
    by_distance: BTreeMap<&'static str, Tally>,
}

#[derive(Serialize)]
struct Why<'a> {
    unknown_reasons_sampled: &'a BTreeMap<String, u64>,
    unknown_writers: &'a BTreeMap<String, u64>,
    wrong_writers: &'a BTreeMap<String, u64>,
    wrong_loads: &'a BTreeMap<String, u64>,
    wrong_addresses: &'a BTreeMap<String, u64>,
}

/// The score as one JSON document.
///
/// # Errors
/// None in practice: the document is made of numbers and strings.
pub(crate) fn render(score: &Score) -> Result<String, serde_json::Error> {
    let why = score.blame.as_ref().map(|blame| Why {
        unknown_reasons_sampled: &blame.reasons,
        unknown_writers: &blame.unknown_writers,
        wrong_writers: &blame.wrong_writers,
        wrong_loads: &blame.wrong_loads,
        wrong_addresses: &blame.wrong_addresses,
    });
    serde_json::to_string_pretty(&Document {
        schema: SCHEMA,
        threads: score.threads,
        crashing_thread: score.crashing.0,
        steps: score.steps,
        steps_judged: score.judged,
        wrong: score.board.wrong(),
        measures: Measure::ALL
            .map(|measure| (measure.key(), rows(score, measure)))
            .into(),
        why,
    })
}

fn rows(score: &Score, measure: Measure) -> Rows {
    let tally = |class| score.board.tally(measure, class);
    let classes = (0..DISTANCES.len()).filter(|&class| tally(class).total() > 0);
    Rows {
        all: score.board.total(measure),
        by_distance: classes
            .map(|class| (DISTANCES[class], tally(class)))
            .collect(),
    }
}
