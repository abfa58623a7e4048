//! Cases with threads, many times with the recorder and without it.

use super::recorder::{native, record};
use super::subject::Subject;
use super::{Bench, names};
use crate::Failure;
use crate::stages::signal_name;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// For one run. A race that is not lost may run for long.
const LIMIT: Duration = Duration::from_secs(120);

/// Prints a row for each case that has threads.
pub(super) fn table(corpus: &[Subject], bench: &Bench) {
    println!(
        "| case | threads | its bug ends in | {0} runs by copies | {0} runs without a recorder |",
        bench.runs
    );
    println!("|---|---:|---|---|---|");
    for subject in corpus.iter().filter(|subject| subject.threads > 1) {
        eprintln!("races: {}", subject.name);
        // In turns, so that both find the same machine.
        let runs = (0..bench.runs).map(|_| (by_copies(subject, bench), alone(subject, bench)));
        let (recorded, alone): (Vec<_>, Vec<_>) = runs.unzip();
        println!(
            "| `{}` | {} | {} | {} | {} |",
            subject.name,
            subject.threads,
            subject.signal.as_deref().unwrap_or("–"),
            summed(recorded),
            summed(alone)
        );
    }
}

fn by_copies(subject: &Subject, bench: &Bench) -> Result<String, Failure> {
    let folder = bench.folder.join(subject.file_name()).join("race");
    let options = ["--engine", "fast", "--buffer", "4M"];
    let recorded = record(bench, subject, &options, &folder, LIMIT)?;
    Ok(located(recorded.end(), &folder.join("core")))
}

fn alone(subject: &Subject, bench: &Bench) -> Result<String, Failure> {
    let ended = native(bench, subject, LIMIT)?;
    Ok(match (ended.signal(), ended.status.code()) {
        (Some(signal), _) => located(signal_name(signal), &bench.core()),
        (None, code) => format!("exits, status {}", code.unwrap_or_default()),
    })
}

// An end, and the function that the core shows a fault in. What aborts does so in a function of the C library.
fn located(end: String, core: &Path) -> String {
    let faulted = end.starts_with("SIG") && end != "SIGABRT";
    match faulted.then(|| names::faulting(core)).flatten() {
        Some(function) => format!("{end} in `{function}`"),
        None => end,
    }
}

// How often a run ended in which way, the most frequent first.
fn summed(ends: Vec<Result<String, Failure>>) -> String {
    let mut counts = BTreeMap::<String, u32>::new();
    for end in ends {
        *counts
            .entry(end.unwrap_or_else(|failure| failure))
            .or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let texts = counts.iter().map(|(end, count)| format!("{count} {end}"));
    texts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_ends_come_first() {
        let ends = ["b", "a", "b"].map(|end| Ok(end.to_owned()));
        assert_eq!(summed(ends.to_vec()), "2 b, 1 a");
    }
}
