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
        "Over the cases that have values there, each counting once. Shares in %; *aim*: the mean that this project set itself. Memory read is without the areas of the lazy resolver's XSAVEC and XRSTOR.\n"
    );
    line!(
        text,
        "| values | distance | cases | right: mean; median; worst | aim | certain, mean | wrong, mean |"
    );
    line!(text, "|---|---|---:|---|---:|---:|---:|");
    for measure in MEASURES {
        for (distance, aim) in DISTANCES.into_iter().zip(measure.aims) {
            let of = |part: fn(Tally) -> u64| {
                shares(results, |score: &Score| {
                    let tally = score.tally(measure.name, Some(distance));
                    tally.share(part(tally))
                })
            };
            let right = of(|tally| tally.correct.total());
            line!(
                text,
                "| {} | {distance} | {} | {} | {aim} | {} | {} |",
                measure.title,
                right.len(),
                spread(&right, |a, b| a < b),
                mean(&of(|tally| tally.correct.certain)),
                mean(&of(|tally| tally.wrong.total())),
            );
        }
    }
}

fn mean(shares: &[(String, f64)]) -> String {
    let sum: f64 = shares.iter().map(|(_, share)| share).sum();
    percent((!shares.is_empty()).then(|| sum / shares.len() as f64))
}
