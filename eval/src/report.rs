//! The table, as text and as JSON.

use crate::Failure;
use crate::cost::Cost;
use crate::plot;
use crate::result::CaseResult;
use crate::score::{DISTANCES, Score, Tally};
use serde::Serialize;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Values of one reading of accuracy.
#[derive(Clone, Copy)]
struct Reading {
    title: &'static str,
    measures: &'static [&'static str],
}

/// The two readings of "accuracy of the values at each step".
const FILE: Reading = Reading {
    title: "all 16 registers at each step",
    measures: &["register_file"],
};
const OPERANDS: Reading = Reading {
    title: "operands used at each step",
    measures: &["register_reads", "rsp_reads", "memory_reads"],
};

impl Reading {
    fn tally(self, score: &Score, distance: Option<&str>) -> Tally {
        let mut sum = Tally::default();
        for measure in self.measures {
            sum.add(score.tally(measure, distance));
        }
        sum
    }

    /// Up to 100 K steps from the crash, as in the publication.
    fn near(self, score: &Score) -> Tally {
        let mut sum = Tally::default();
        for distance in &DISTANCES[..3] {
            sum.add(self.tally(score, Some(distance)));
        }
        sum
    }
}

#[derive(Serialize)]
struct Document<'a> {
    /// Fields are added, never renamed.
    schema: &'static str,
    cases: &'a [CaseResult],
    /// Cases that were not run.
    missing: &'a [String],
    cost: Option<&'a Cost>,
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
    cost: Option<&Cost>,
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
        cost,
    };
    let json = serde_json::to_string_pretty(&document).map_err(|error| error.to_string())?;
    let scored: Vec<&CaseResult> = results
        .iter()
        .filter(|result| result.score.is_some())
        .collect();
    let files = [
        ("accuracy.json", json + "\n"),
        ("accuracy.md", page(&results, missing, cost)),
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

fn page(results: &[CaseResult], missing: &[String], cost: Option<&Cost>) -> String {
    let main: Vec<&CaseResult> = of_variant(results, "O2");
    let mut text = String::from(INTRODUCTION);
    bugs(&mut text, &main);
    averages(&mut text, &main);
    for reading in [OPERANDS, FILE] {
        distances(&mut text, &main, reading);
    }
    effort(&mut text, &main);
    ablations(&mut text, &main);
    variants(&mut text, results);
    if let Some(cost) = cost {
        text += &cost.table();
    }
    ways(&mut text, &main);
    failures(&mut text, results, missing);
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

fn bugs(text: &mut String, results: &[&CaseResult]) {
    line!(text, "\n## The bugs\n");
    line!(
        text,
        "| case | program | package | bug | kind | threads | ends with | window, steps | cause to crash, steps | debuggable? |"
    );
    line!(text, "|---|---|---|---|---|---:|---|---:|---:|---|");
    for result in results {
        let (manifest, Some(found)) = (&result.manifest, &result.examination) else {
            continue;
        };
        line!(
            text,
            "| {} | {} | {} {} | [{}]({}) | {} | {} | {} in {} | {} | {} | {} |",
            result.name,
            manifest.program,
            manifest.package.name,
            manifest.package.version,
            manifest.bug,
            manifest.reference,
            manifest.kind,
            found.threads,
            manifest.signal,
            manifest.function,
            grouped(found.steps),
            found
                .distance
                .map_or("not in the window".to_owned(), grouped),
            debuggable(result)
        );
    }
}

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

/// Cases whose ceilings are not in the table.
fn no_ceilings(text: &mut String, results: &[&CaseResult]) {
    for result in results {
        if let Some(why) = &result.no_ceiling {
            line!(text, "- no ceiling of {}: {why}", result.name);
        }
    }
}

fn averages(text: &mut String, results: &[&CaseResult]) {
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
    let trusted = results
        .iter()
        .filter_map(|result| result.score.as_ref())
        .map(Score::wrong_trusted);
    let (certain, assumed) = trusted.fold((0, 0), |sum, wrong| (sum.0 + wrong.0, sum.1 + wrong.1));
    line!(
        text,
        "| values wrong though called certain; assumed, all cases and measures | – | {certain}; {assumed} |"
    );
    let seconds: Vec<f64> = results
        .iter()
        .filter_map(|result| result.examination.as_ref())
        .map(|found| found.decode_seconds + found.recover_seconds)
        .collect();
    let named = results
        .iter()
        .map(|result| result.name.clone())
        .zip(seconds)
        .collect::<Vec<_>>();
    line!(
        text,
        "| seconds to decode and recover: mean; median; worst | under 20 | {} |",
        spread_in(&named, |a, b| a > b, "")
    );
}

/// The share that `pick` gives, by case.
fn shares(results: &[&CaseResult], pick: impl Fn(&Score) -> Option<f64>) -> Vec<(String, f64)> {
    let share = |result: &&CaseResult| Some((result.name.clone(), pick(result.score.as_ref()?)?));
    results.iter().filter_map(share).collect()
}

fn spread(values: &[(String, f64)], worse: impl Fn(f64, f64) -> bool) -> String {
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

fn distances(text: &mut String, results: &[&CaseResult], reading: Reading) {
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
                let ceiling = ceiling(score, reading, distance, tally);
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

/// How many of the values that are right when all places are given are right without.
fn ceiling(score: &Score, reading: Reading, distance: &str, tally: Tally) -> String {
    let known = |measure: &&str| {
        let ceiling = score.measures.get(*measure)?.ceiling.as_ref()?;
        ceiling.by_distance.get(distance).copied()
    };
    let possible = reading.measures.iter().filter_map(known);
    match possible.map(|tally| tally.correct.total()).sum::<u64>() {
        0 => "–".to_owned(),
        possible => format!(
            "{:.1} %",
            tally.correct.total() as f64 * 100.0 / possible as f64
        ),
    }
}

fn effort(text: &mut String, results: &[&CaseResult]) {
    line!(text, "\n## Time and memory\n");
    line!(
        text,
        "| case | steps | decode, s | recover, s | peak memory, MiB |"
    );
    line!(text, "|---|---:|---:|---:|---:|");
    for result in results {
        if let Some(found) = &result.examination {
            line!(
                text,
                "| {} | {} | {:.2} | {:.2} | {} |",
                result.name,
                grouped(found.steps),
                found.decode_seconds,
                found.recover_seconds,
                found.memory_kib / 1024
            );
        }
    }
}

fn ablations(text: &mut String, results: &[&CaseResult]) {
    if results.iter().all(|result| result.ablations.is_empty()) {
        return;
    }
    line!(text, "\n## With one technique switched off\n");
    line!(text, "{}: right / wrong in %.\n", OPERANDS.title);
    line!(text, "| case | technique | right | wrong |");
    line!(text, "|---|---|---:|---:|");
    for result in results.iter().filter(|result| !result.ablations.is_empty()) {
        let all = result.score.iter().map(|score| ("none", score));
        let off = result
            .ablations
            .iter()
            .map(|(name, score)| (name.as_str(), score));
        for (name, score) in all.chain(off) {
            let tally = OPERANDS.tally(score, None);
            line!(
                text,
                "| {} | {name} | {} | {} |",
                result.name,
                percent(tally.share(tally.correct.total())),
                percent(tally.share(tally.wrong.total()))
            );
        }
    }
}

fn variants(text: &mut String, results: &[CaseResult]) {
    let others: Vec<&CaseResult> = results
        .iter()
        .filter(|result| result.variant != "O2" && result.score.is_some())
        .collect();
    if others.is_empty() {
        return;
    }
    line!(text, "\n## Other ways to compile\n");
    line!(
        text,
        "O0 is -O0 -g, O3 is -O3 -march=native -g. Shares in %.\n"
    );
    line!(
        text,
        "| case | variant | steps | operands right | wrong | registers right | wrong | debuggable? |"
    );
    line!(text, "|---|---|---:|---:|---:|---:|---:|---|");
    for result in others {
        let (Some(score), Some(found)) = (&result.score, &result.examination) else {
            continue;
        };
        let (operands, file) = (OPERANDS.tally(score, None), FILE.tally(score, None));
        line!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            result.name,
            result.variant,
            grouped(found.steps),
            percent(operands.share(operands.correct.total())),
            percent(operands.share(operands.wrong.total())),
            percent(file.share(file.correct.total())),
            percent(file.share(file.wrong.total())),
            debuggable(result)
        );
    }
}

fn ways(text: &mut String, results: &[&CaseResult]) {
    line!(text, "\n## From crash to cause, case by case\n");
    for result in results {
        let (manifest, Some(found)) = (&result.manifest, &result.examination) else {
            continue;
        };
        line!(text, "### {}\n", result.name);
        line!(text, "{}\n", manifest.story.trim());
        line!(
            text,
            "Cause: `{}`, {}. Asked about: {}. {}\n",
            manifest.cause_function,
            manifest.cause.join(", "),
            found.asked,
            verdict(result)
        );
        if let Some(way) = &found.reached {
            line!(text, "```text");
            for link in shortened(&way.chain) {
                line!(text, "{link}");
            }
            line!(text, "```\n");
        }
    }
}

fn verdict(result: &CaseResult) -> String {
    let answer = debuggable(result);
    let mut letters = answer.chars();
    let first = letters
        .next()
        .map(|letter| letter.to_uppercase().to_string());
    format!(
        "Debuggable: {}{}.",
        first.unwrap_or_default(),
        letters.as_str()
    )
}

/// The first and the last links of a long chain.
fn shortened(chain: &[String]) -> Vec<String> {
    const ENDS: usize = 8;
    if chain.len() <= 2 * ENDS {
        return chain.to_vec();
    }
    let left_out = format!("… {} more …", chain.len() - 2 * ENDS);
    let ends = (&chain[..ENDS], &chain[chain.len() - ENDS..]);
    ends.0
        .iter()
        .cloned()
        .chain([left_out])
        .chain(ends.1.iter().cloned())
        .collect()
}

fn failures(text: &mut String, results: &[CaseResult], missing: &[String]) {
    let failed: Vec<_> = results
        .iter()
        .filter_map(|result| Some((result, result.failure.as_ref()?)))
        .collect();
    if failed.is_empty() && missing.is_empty() {
        return;
    }
    line!(text, "\n## Not scored\n");
    for name in missing {
        line!(text, "- {name}: not run");
    }
    for (result, failure) in failed {
        line!(text, "- {}.{}: {failure}", result.name, result.variant);
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or("–".to_owned(), |share| format!("{share:.2}"))
}

fn plural(count: usize) -> &'static str {
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

    #[test]
    fn long_chains_lose_their_middle() {
        let chain: Vec<String> = (0..40).map(|link| link.to_string()).collect();
        let shown = shortened(&chain);
        assert_eq!(shown.len(), 17);
        assert_eq!(shown[8], "… 24 more …");
        assert_eq!(shown[16], "39");
    }

    #[test]
    fn digits_come_in_threes() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(12), "12");
    }
}
