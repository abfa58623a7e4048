//! Accuracy by distance from the crash.

use super::reading::Reading;
use super::{grouped, line, percent};
use crate::result::CaseResult;
use crate::score::{DISTANCES, Tally};
use std::fmt::Write;

pub(super) fn distances(text: &mut String, results: &[&CaseResult], reading: Reading) {
    line!(text, "\n## By distance from the crash: {}\n", reading.title);
    line!(
        text,
        "Shares in %. *Distance*: steps of the crashing thread that come after. *Of own ceiling*: right values, against those that are right when recovery is told the true place of every access.\n"
    );
    line!(
        text,
        "| case | distance | values | right | certain | assumed | inferred | partly | unknown | wrong | of these certain/assumed/inferred | of own ceiling |"
    );
    line!(
        text,
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|"
    );
    for result in results {
        let Some(score) = &result.score else { continue };
        for distance in DISTANCES {
            let tally = reading.tally(score, Some(distance));
            if tally.total() > 0 {
                let ceiling = reading.of_ceiling(score, Some(distance));
                let ceiling = ceiling.map_or("–".to_owned(), |share| format!("{share:.1} %"));
                line!(
                    text,
                    "| {} | {distance} | {} | {ceiling} |",
                    result.name,
                    row(tally)
                );
            }
        }
    }
    line!(text, "");
    no_ceilings(text, results);
}

fn row(tally: Tally) -> String {
    let share = |part| percent(tally.share(part));
    let (correct, wrong) = (tally.correct, tally.wrong);
    format!(
        "{} | {} | {} | {} | {} | {} | {} | {} | {}/{}/{}",
        grouped(tally.total()),
        share(correct.total()),
        share(correct.certain),
        share(correct.assumed),
        share(correct.inferred),
        share(tally.partial.total()),
        share(tally.unknown),
        share(wrong.total()),
        wrong.certain,
        wrong.assumed,
        wrong.inferred
    )
}

/// Cases whose ceilings are not in the table.
fn no_ceilings(text: &mut String, results: &[&CaseResult]) {
    for result in results {
        if let Some(why) = &result.no_ceiling {
            line!(text, "- no ceiling of {}: {why}", result.name);
        }
    }
}
