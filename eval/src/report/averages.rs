//! The published figures, and ours beside them.

use super::line;
use super::reading::{FILE, OPERANDS};
use crate::examine::Examination;
use crate::result::CaseResult;
use crate::score::{Score, wrong_trusted};
use std::fmt::Write;

pub(super) fn averages(text: &mut String, results: &[&CaseResult]) {
    let debuggable = results
        .iter()
        .filter_map(|result| result.examination.as_ref())
        .filter(|found| found.is_debuggable())
        .count();
    line!(text, "\n## In one view\n");
    line!(text, "| | published (OSDI 2018) | here |");
    line!(text, "|---|---|---|");
    line!(text, "| bugs | 16 | {} |", results.len());
    let several = |result: &&&CaseResult| {
        let found = result.examination.as_ref();
        found.is_some_and(|found| found.threads > 1)
    };
    let several = results.iter().filter(several).count();
    line!(text, "| of them with several threads | – | {several} |");
    line!(text, "| debuggable | 14 | {debuggable} |");
    for reading in [FILE, OPERANDS] {
        let near = shares(results, |score| {
            let tally = reading.near(score);
            tally.share(tally.correct.total())
        });
        line!(
            text,
            "| right, {}, up to 100 K steps from the crash: mean; median; worst | 92 % mean (one measure, not known which) | {} |",
            reading.title,
            spread(&near, |a, b| a < b)
        );
        let whole = shares(results, |score| {
            let tally = reading.tally(score, None);
            tally.share(tally.correct.total())
        });
        line!(
            text,
            "| right, {}, whole window | – | {} |",
            reading.title,
            spread(&whole, |a, b| a < b)
        );
        let wrong = shares(results, |score| {
            let tally = reading.near(score);
            tally.share(tally.wrong.total())
        });
        line!(
            text,
            "| wrong, {}, up to 100 K steps | – | {} |",
            reading.title,
            spread(&wrong, |a, b| a > b)
        );
    }
    trust_and_time(text, results);
}

fn trust_and_time(text: &mut String, results: &[&CaseResult]) {
    let scores = results.iter().filter_map(|result| result.score.as_ref());
    let (certain, assumed) = wrong_trusted(scores);
    line!(
        text,
        "| values wrong though called certain; assumed, all cases and measures | – | {certain}; {assumed} |"
    );
    let elapsed = seconds(results, |found| {
        found.decode_seconds + found.recover_seconds
    });
    let of_processor = seconds(results, |found| found.processor_seconds);
    line!(
        text,
        "| seconds to decode and recover: mean; median; worst | under 20 | {} |",
        spread_in(&elapsed, |a, b| a > b, "")
    );
    line!(
        text,
        "| seconds of the processor for both, which other work on the machine does not change | – | {} |",
        spread_in(&of_processor, |a, b| a > b, "")
    );
}

/// What both stages took, by case.
fn seconds(results: &[&CaseResult], pick: impl Fn(&Examination) -> f64) -> Vec<(String, f64)> {
    let took = |result: &&CaseResult| {
        let found = result.examination.as_ref()?;
        Some((result.name.clone(), pick(found)))
    };
    results.iter().filter_map(took).collect()
}

/// The share that `pick` gives, by case.
pub(super) fn shares(
    results: &[&CaseResult],
    pick: impl Fn(&Score) -> Option<f64>,
) -> Vec<(String, f64)> {
    let share = |result: &&CaseResult| Some((result.name.clone(), pick(result.score.as_ref()?)?));
    results.iter().filter_map(share).collect()
}

pub(super) fn spread(values: &[(String, f64)], worse: impl Fn(f64, f64) -> bool) -> String {
    spread_in(values, worse, " %")
}

/// Mean; median; worst, with its case.
fn spread_in(values: &[(String, f64)], worse: impl Fn(f64, f64) -> bool, unit: &str) -> String {
    let Some(worst) = values
        .iter()
        .reduce(|a, b| if worse(b.1, a.1) { b } else { a })
    else {
        return "–".to_owned();
    };
    let mut sorted: Vec<f64> = values.iter().map(|value| value.1).collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = if sorted.len().is_multiple_of(2) {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    } else {
        sorted[middle]
    };
    let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
    format!(
        "{mean:.2}{unit}; {median:.2}{unit}; {:.2}{unit} ({})",
        worst.1, worst.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_name_the_worst() {
        let values = [
            ("a".to_owned(), 90.0),
            ("b".to_owned(), 50.0),
            ("c".to_owned(), 100.0),
        ];
        assert_eq!(
            spread(&values, |a, b| a < b),
            "80.00 %; 90.00 %; 50.00 % (b)"
        );
        assert_eq!(spread(&[], |a, b| a < b), "–");
    }
}
