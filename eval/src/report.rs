//! The table, as text and as JSON.

mod averages;
mod distances;
mod means;
mod races;
mod reading;
mod tables;
mod ways;

use crate::Failure;
use crate::cost::Cost;
use crate::plot;
use crate::result::CaseResult;
use crate::threads::Summary;
use averages::averages;
use distances::distances;
use means::means;
use races::races;
use reading::{FILE, OPERANDS};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use tables::{ablations, bugs, effort, poor, variants};
use ways::ways;

/// What the page shows beside the cases, where it was measured.
#[derive(Default)]
pub(crate) struct Beside {
    pub(crate) cost: Option<Cost>,
    pub(crate) races: Option<Summary>,
}

#[derive(Serialize)]
struct Document<'a> {
    /// Fields are added, never renamed.
    schema: &'static str,
    cases: &'a [CaseResult],
    /// Cases that were not run.
    missing: &'a [String],
    cost: Option<&'a Cost>,
    /// Programs with known races, as in threads.json.
    races: Option<&'a Summary>,
}

/// One line about a case.
pub(crate) fn summary(result: &CaseResult) -> String {
    let (Some(score), Some(found)) = (&result.score, &result.examination) else {
        return "not scored".to_owned();
    };
    let (certain, assumed) = score.wrong_trusted();
    let operands = OPERANDS.tally(score, None);
    format!(
        "{} steps, operands {} % right, wrong though certain {certain}, assumed {assumed}; {}",
        grouped(found.steps),
        percent(operands.share(operands.correct.total())),
        debuggable(result)
    )
}

/// Prints a line for each case.
pub(crate) fn print(results: &[CaseResult]) {
    for result in results {
        println!("{}.{}: {}", result.name, result.variant, summary(result));
    }
}

/// Writes `accuracy.md`, `accuracy.json` and the plots.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn write(
    results: &[CaseResult],
    missing: &[String],
    beside: &Beside,
    docs: &Path,
) -> Result<(), Failure> {
    let mut results: Vec<CaseResult> = results.to_vec();
    for result in &mut results {
        // A path of one machine says nothing to others.
        if let Some(recording) = &mut result.recording {
            recording.folder = Path::new("").to_owned();
        }
    }
    let document = Document {
        schema: "rept-eval/1",
        cases: &results,
        missing,
        cost: beside.cost.as_ref(),
        races: beside.races.as_ref(),
    };
    let json = serde_json::to_string_pretty(&document).map_err(|error| error.to_string())?;
    let scored: Vec<&CaseResult> = results
        .iter()
        .filter(|result| result.score.is_some())
        .collect();
    let files = [
        ("accuracy.json", json + "\n"),
        ("accuracy.md", page(&results, missing, beside)),
        ("accuracy-distance.svg", plot::distance(&scored)),
        ("accuracy-unknown.svg", plot::unknown(&scored)),
        ("accuracy-time.svg", plot::time(&scored)),
    ];
    fs::create_dir_all(docs).map_err(|error| format!("{}: {error}", docs.display()))?;
    for (name, text) in files {
        let path = docs.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn page(results: &[CaseResult], missing: &[String], beside: &Beside) -> String {
    let main: Vec<&CaseResult> = of_variant(results, "O2");
    let mut text = String::from(INTRODUCTION);
    bugs(&mut text, &main);
    averages(&mut text, &main);
    means(&mut text, &main);
    for reading in [OPERANDS, FILE] {
        distances(&mut text, &main, reading);
    }
    effort(&mut text, &main);
    ablations(&mut text, &main);
    variants(&mut text, results);
    poor(&mut text, results);
    if let Some(summary) = &beside.races {
        races(&mut text, summary);
    }
    if let Some(cost) = &beside.cost {
        text += &cost.table();
    }
    ways(&mut text, &main);
    failures(&mut text, results, missing);
    judged_by_others(&mut text, results);
    text
}

fn of_variant<'a>(results: &'a [CaseResult], variant: &str) -> Vec<&'a CaseResult> {
    let wanted = |result: &&CaseResult| result.variant == variant && result.score.is_some();
    results.iter().filter(wanted).collect()
}

/// What does not fit into `writeln!` on a `String`: it cannot fail.
macro_rules! line {
    ($text:expr, $($arguments:tt)*) => {{
        let _ = writeln!($text, $($arguments)*);
    }};
}
pub(crate) use line;

fn debuggable(result: &CaseResult) -> String {
    let Some(found) = &result.examination else {
        return "–".to_owned();
    };
    match &found.reached {
        None => "no: cause not reached".to_owned(),
        Some(way) if way.wrong > 0 => "no: a wrong value on the way".to_owned(),
        Some(way) if way.unknown > 0 => "no: an unknown value on the way".to_owned(),
        Some(way) if way.partly > 0 => "no: a value on the way is known in part only".to_owned(),
        Some(way) if way.right == 0 => "no: nothing on the way could be judged".to_owned(),
        Some(way) => format!(
            "**yes**, {} question{}",
            way.questions,
            plural(way.questions)
        ),
    }
}

fn failures(text: &mut String, results: &[CaseResult], missing: &[String]) {
    let failed: Vec<_> = results
        .iter()
        .filter_map(|result| Some((result, result.failure.as_ref()?)))
        .collect();
    if !(failed.is_empty() && missing.is_empty()) {
        line!(text, "\n## Not scored\n");
    }
    for name in missing {
        line!(text, "- {name}: not run");
    }
    for (result, failure) in failed {
        let name = format!("{}.{}", result.name, result.variant);
        match result.manifest.remarks.get(&result.variant) {
            Some(cause) => line!(text, "- {name}: {failure}. Cause: {cause}"),
            None => line!(text, "- {name}: {failure}"),
        }
    }
}

/// Rows that stand there from before, when the others were judged anew.
fn judged_by_others(text: &mut String, results: &[CaseResult]) {
    let mut builds: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for result in results.iter().filter(|result| result.score.is_some()) {
        let name = format!("{}.{}", result.name, result.variant);
        builds.entry(&result.judged_by).or_default().push(name);
    }
    let most = builds.iter().max_by_key(|(_, rows)| rows.len());
    let Some(most) = most.map(|(&build, _)| build.to_owned()) else {
        return;
    };
    let others = builds.iter().filter(|(build, _)| **build != most);
    let rows: Vec<&str> = others
        .flat_map(|(_, rows)| rows)
        .map(String::as_str)
        .collect();
    if !rows.is_empty() {
        line!(
            text,
            "\n## Recovered and judged by another build than the others\n"
        );
        line!(text, "{}", rows.join(", "));
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or("–".to_owned(), |share| format!("{share:.2}"))
}

/// For shares that are far below one per cent.
fn three_digits(share: Option<f64>) -> String {
    share.map_or("–".to_owned(), |share| format!("{share:.3}"))
}

pub(crate) fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What the page says before its tables.
const INTRODUCTION: &str = include_str!("report/introduction.md");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_in_threes() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(12), "12");
    }
}
