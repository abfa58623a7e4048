//! Averages over the cases, by measure and distance from the crash.

use super::averages::{shares, spread};
use super::{line, percent};
use crate::result::CaseResult;
use crate::score::{DISTANCES, Score, Tally};
use std::fmt::Write;

/// A measure of the score, what it is called, and at which means it aims, by distance, in %.
struct Measure {
    name: &'static str,
    title: &'static str,
    aims: [f64; 4],
}

const MEASURES: [Measure; 3] = [
    Measure {
        name: "register_reads",
        title: "registers read, but rsp",
        aims: [98.0, 95.0, 93.0, 75.0],
    },
    Measure {
        name: "addresses",
        title: "addresses of memory operands",
        aims: [99.5, 98.0, 95.0, 87.0],
    },
    Measure {
        name: "memory_reads",
        title: "memory read",
        aims: [98.0, 93.0, 87.0, 77.0],
    },
];

pub(super) fn means(text: &mut String, results: &[&CaseResult]) {
    line!(text, "\n## Averages by distance from the crash\n");
    line!(
        text,
        "Over the cases that have values there, each counting once. Shares in %; *aim*: the mean that this project set itself; *ceiling*: right when recovery is told the true place of every access, over the cases that have one; *naive*: an engine straight from the paper, whole words, each thread as if it ran alone. Memory read is without the areas of the lazy resolver's XSAVEC and XRSTOR.\n"
    );
    line!(
        text,
        "| values | distance | cases | right: mean; median; worst | aim | certain, mean | wrong, mean | ceiling, mean | naive right: mean; median; worst | naive wrong, mean |"
    );
    line!(text, "|---|---|---:|---|---:|---:|---:|---:|---|---:|");
    for measure in MEASURES {
        for (distance, aim) in DISTANCES.into_iter().zip(measure.aims) {
            let share = |score: &Score, part: fn(Tally) -> u64| {
                let tally = score.tally(measure.name, Some(distance));
                tally.share(part(tally))
            };
            let of = |part| shares(results, |score| share(score, part));
            let of_naive = |part: fn(Tally) -> u64| {
                let naive = |result: &&CaseResult| {
                    let share = share(result.naive.as_ref()?, part)?;
                    Some((result.name.clone(), share))
                };
                results.iter().filter_map(naive).collect::<Vec<_>>()
            };
            let ceiling = shares(results, |score| {
                let tally = score.ceiling(measure.name, distance)?;
                tally.share(tally.correct.total())
            });
            let right = of(|tally| tally.correct.total());
            line!(
                text,
                "| {} | {distance} | {} | {} | {aim} | {} | {} | {} | {} | {} |",
                measure.title,
                right.len(),
                spread(&right, |a, b| a < b),
                mean(&of(|tally| tally.correct.certain)),
                mean(&of(|tally| tally.wrong.total())),
                mean(&ceiling),
                spread(&of_naive(|tally| tally.correct.total()), |a, b| a < b),
                mean(&of_naive(|tally| tally.wrong.total())),
            );
        }
    }
}

fn mean(shares: &[(String, f64)]) -> String {
    let sum: f64 = shares.iter().map(|(_, share)| share).sum();
    percent((!shares.is_empty()).then(|| sum / shares.len() as f64))
}
