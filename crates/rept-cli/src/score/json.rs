//! The score for scripts. Schema `rept-score/1`: fields are added, never renamed.

use super::Score;
use super::planted::Planting;
use super::tally::{Board, ByGrade, DISTANCES, Measure, Tally};
use rept_core::Statistics;
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
    /// Techniques that recovery was left without.
    without: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery: Option<Recovery>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<Why<'a>>,
    /// What `rept explain` names.
    planted: Option<Planted>,
}

/// The step that `rept explain` names, held against the truth.
#[derive(Serialize)]
struct Planted {
    at: String,
    address: String,
    places: usize,
    right: bool,
    /// The step that really stored last at a place on the way, where it is another.
    other: Option<String>,
}

#[derive(Serialize)]
struct Rows {
    all: Tally,
    /// By distance from the crash; classes without values are absent.
    by_distance: BTreeMap<&'static str, Tally>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ceiling: Option<Ceiling>,
}

/// The same with all places given, and what share of the correct values there was reached, in %.
#[derive(Serialize)]
struct Ceiling {
    all: Tally,
    by_distance: BTreeMap<&'static str, Tally>,
    share: Option<f64>,
    share_by_distance: BTreeMap<&'static str, Option<f64>>,
}

/// What recovery did.
#[derive(Serialize)]
struct Recovery {
    steps: u64,
    visits: u64,
    visits_per_step: f64,
    nodes: u64,
    accesses: u64,
    pending: u64,
    certain_conflicts: u64,
    assumption_conflicts: u64,
    refuted: u64,
    unexplained: u64,
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
        without: &score.without,
        recovery: score.statistics.as_ref().map(recovery),
        why,
        planted: score.planting.as_ref().map(planted),
    })
}

fn planted(found: &Planting) -> Planted {
    Planted {
        at: found.at.to_string(),
        address: found.address.to_string(),
        places: found.places,
        right: found.wrong.is_none(),
        other: found.wrong.flatten().map(|at| at.to_string()),
    }
}

fn rows(score: &Score, measure: Measure) -> Rows {
    let used: Vec<usize> = (0..DISTANCES.len())
        .filter(|&class| score.board.tally(measure, class).total() > 0)
        .collect();
    let by_distance = |board: &Board| {
        let tallies = used.iter();
        tallies
            .map(|&class| (DISTANCES[class], board.tally(measure, class)))
            .collect()
    };
    let ceiling = score.ceiling.as_ref().map(|board| Ceiling {
        all: board.total(measure),
        by_distance: by_distance(board),
        share: score.share_of_ceiling(|board| board.total(measure)),
        share_by_distance: used
            .iter()
            .map(|&class| {
                let share = score.share_of_ceiling(|board| board.tally(measure, class));
                (DISTANCES[class], share)
            })
            .collect(),
    });
    Rows {
        all: score.board.total(measure),
        by_distance: by_distance(&score.board),
        ceiling,
    }
}

fn recovery(did: &Statistics) -> Recovery {
    Recovery {
        steps: did.steps,
        visits: did.visits,
        visits_per_step: did.visits as f64 / did.steps.max(1) as f64,
        nodes: did.nodes,
        accesses: did.accesses,
        pending: did.pending,
        certain_conflicts: did.certain_conflicts,
        assumption_conflicts: did.assumption_conflicts,
        refuted: did.refuted,
        unexplained: did.unexplained,
    }
}
