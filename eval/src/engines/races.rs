//! Cases with threads, many times with the recorder and without it.

use super::Bench;
use super::recorder::{native, record};
use super::subject::Subject;
use crate::Failure;
use std::collections::BTreeMap;
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
        let folder = bench.folder.join(subject.file_name()).join("race");
        let options = ["--engine", "fast", "--buffer", "4M"];
        let recorded = ends(bench.runs, || {
            record(bench, subject, &options, &folder, LIMIT).map(|recorded| recorded.end())
        });
        let alone = ends(bench.runs, || {
            let ended = native(bench, subject, LIMIT)?;
            Ok(match (ended.signal(), ended.status.code()) {
                (Some(signal), _) => crate::stages::signal_name(signal),
                (None, code) => format!("exits, status {}", code.unwrap_or_default()),
            })
        });
        let signal = subject.signal.as_deref().unwrap_or("–");
        println!(
            "| `{}` | {} | {signal} | {recorded} | {alone} |",
            subject.name, subject.threads
        );
    }
}

// How often a run ended in which way, the most frequent first.
fn ends(runs: u32, mut run: impl FnMut() -> Result<String, Failure>) -> String {
    let mut counts = BTreeMap::<String, u32>::new();
    for _ in 0..runs {
        let end = run().unwrap_or_else(|failure| failure);
        *counts.entry(end).or_default() += 1;
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
        let mut results = ["b", "a", "b"].into_iter();
        let ended = ends(3, || {
            results.next().map(str::to_owned).ok_or("none".to_owned())
        });
        assert_eq!(ended, "2 b, 1 a");
    }
}
