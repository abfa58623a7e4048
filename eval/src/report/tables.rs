//! A line for each case: what it is, what it took, and how it fares when made in other ways.

use super::reading::{FILE, OPERANDS};
use super::{debuggable, grouped, line, percent};
use crate::result::CaseResult;
use crate::score::{Score, wrong_trusted};
use std::cmp::Reverse;
use std::fmt::Write;

/// Per cent of the own ceiling below which a program gets a line of its own.
const POOR: f64 = 60.0;

pub(super) fn bugs(text: &mut String, results: &[&CaseResult]) {
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

pub(super) fn effort(text: &mut String, results: &[&CaseResult]) {
    line!(text, "\n## Time and memory\n");
    line!(
        text,
        "| case | steps | decode, s | recover, s | both, s of the processor | peak memory, MiB |"
    );
    line!(text, "|---|---:|---:|---:|---:|---:|");
    for result in results {
        if let Some(found) = &result.examination {
            line!(
                text,
                "| {} | {} | {:.2} | {:.2} | {:.2} | {} |",
                result.name,
                grouped(found.steps),
                found.decode_seconds,
                found.recover_seconds,
                found.processor_seconds,
                found.memory_kib / 1024
            );
        }
    }
}

pub(super) fn ablations(text: &mut String, results: &[&CaseResult]) {
    if results.iter().all(|result| result.ablations.is_empty()) {
        return;
    }
    line!(
        text,
        "\n## With one technique switched off, or with samples\n"
    );
    line!(
        text,
        "{}: right / wrong in %. Those with samples are other runs of the program.\n",
        OPERANDS.title
    );
    line!(text, "| case | how | right | wrong |");
    line!(text, "|---|---|---:|---:|");
    for result in results.iter().filter(|result| !result.ablations.is_empty()) {
        let all = result.score.iter().map(|score| ("as it is", score));
        let off = result
            .ablations
            .iter()
            .map(|(name, score)| (name.as_str(), score));
        let naive = result.naive.iter().map(|score| ("naive engine", score));
        for (name, score) in all.chain(off).chain(naive) {
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

pub(super) fn variants(text: &mut String, results: &[CaseResult]) {
    let others: Vec<&CaseResult> = results
        .iter()
        .filter(|result| result.variant != "O2" && result.score.is_some())
        .collect();
    if others.is_empty() {
        return;
    }
    let scores = others.iter().filter_map(|result| result.score.as_ref());
    let (certain, assumed) = wrong_trusted(scores);
    line!(text, "\n## Other ways to compile\n");
    line!(
        text,
        "O0 is -O0 -g, O3 is -O3 -march=native -g. Shares in %. Values wrong though called certain; assumed, in all of them and all measures: {certain}; {assumed}.\n"
    );
    line!(
        text,
        "| case | variant | steps | operands right | wrong | of own ceiling | registers right | wrong | of own ceiling | debuggable? |"
    );
    line!(text, "|---|---|---:|---:|---:|---:|---:|---:|---:|---|");
    for result in others {
        let (Some(score), Some(found)) = (&result.score, &result.examination) else {
            continue;
        };
        let (operands, file) = (OPERANDS.tally(score, None), FILE.tally(score, None));
        line!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            result.name,
            result.variant,
            grouped(found.steps),
            percent(operands.share(operands.correct.total())),
            percent(operands.share(operands.wrong.total())),
            percent(OPERANDS.of_ceiling(score, None)),
            percent(file.share(file.correct.total())),
            percent(file.share(file.wrong.total())),
            percent(FILE.of_ceiling(score, None)),
            debuggable(result)
        );
    }
}

/// Programs that reach little of what could be had, with what stands in the way.
pub(super) fn poor(text: &mut String, results: &[CaseResult]) {
    line!(text, "\n## Below {POOR} % of the own ceiling\n");
    line!(
        text,
        "Whole window, operands; *right* where there is no ceiling. Why values are unknown is by a sample of them, as in the plot.\n"
    );
    let poor: Vec<String> = results.iter().filter_map(poor_row).collect();
    if poor.is_empty() {
        line!(text, "No program, however compiled.");
        return;
    }
    line!(
        text,
        "| case | variant | right | of own ceiling | why values are unknown | cause |"
    );
    line!(text, "|---|---|---:|---:|---|---|");
    for row in poor {
        line!(text, "{row}");
    }
}

fn poor_row(result: &CaseResult) -> Option<String> {
    let score = result.score.as_ref()?;
    let remark = result.manifest.remarks.get(&result.variant);
    let tally = OPERANDS.tally(score, None);
    let (right, of_ceiling) = (
        tally.share(tally.correct.total())?,
        OPERANDS.of_ceiling(score, None),
    );
    (of_ceiling.unwrap_or(right) < POOR).then(|| {
        format!(
            "| {} | {} | {right:.2} | {} | {} | {} |",
            result.name,
            result.variant,
            percent(of_ceiling),
            reasons(score),
            remark.map_or("not named", String::as_str)
        )
    })
}

/// Why values are unknown, the most frequent reason first.
fn reasons(score: &Score) -> String {
    let Some(why) = &score.why else {
        return "–".to_owned();
    };
    let mut reasons: Vec<_> = why.unknown_reasons_sampled.iter().collect();
    reasons.sort_by_key(|&(_, &count)| Reverse(count));
    let all: u64 = reasons.iter().map(|&(_, &count)| count).sum();
    let told = reasons.iter().take(3).map(|&(reason, &count)| {
        let share = count as f64 * 100.0 / all.max(1) as f64;
        format!("{reason} {share:.0} %")
    });
    told.collect::<Vec<_>>().join(", ")
}
