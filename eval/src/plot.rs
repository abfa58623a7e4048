//! Plots, as SVG.

use crate::report::{grouped, line};
use crate::result::CaseResult;
use crate::score::{DISTANCES, Tally};
use std::collections::BTreeMap;
use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 30.0;
/// Room for names at the right.
const RIGHT: f64 = 260.0;
const BOTTOM: f64 = 50.0;

/// One colour for each of `count` things.
fn colour(index: usize, count: usize) -> String {
    let hue = index * 360 / count.max(1);
    let light = if index.is_multiple_of(2) { 38 } else { 55 };
    format!("hsl({hue},70%,{light}%)")
}

fn begin(title: &str, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"18\" font-size=\"14\">{title}</text>\n"
    )
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    line!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}

fn rule(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    line!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#ccc\"/>",
        from.0,
        from.1,
        to.0,
        to.1
    );
}

/// Operands right, by distance class, a line for each case.
pub(crate) fn distance(results: &[&CaseResult]) -> String {
    let results: Vec<_> = results
        .iter()
        .filter(|result| result.variant == "O2")
        .collect();
    let height = HEIGHT.max(TOP + 20.0 + results.len() as f64 * 14.0);
    let bottom = height - BOTTOM;
    let x =
        |class: usize| LEFT + class as f64 * (WIDTH - LEFT - RIGHT) / (DISTANCES.len() - 1) as f64;
    let y = |share: f64| bottom - share / 100.0 * (bottom - TOP);
    let mut svg = begin(
        "Operands that are right, in %, by distance from the crash in steps",
        height,
    );
    for share in [0, 20, 40, 60, 80, 100] {
        let at = y(f64::from(share));
        rule(&mut svg, (LEFT, at), (WIDTH - RIGHT, at));
        text(&mut svg, LEFT - 6.0, at + 4.0, "end", &share.to_string());
    }
    for (class, name) in DISTANCES.iter().enumerate() {
        text(&mut svg, x(class), bottom + 18.0, "middle", name);
    }
    for (index, result) in results.iter().enumerate() {
        let colour = colour(index, results.len());
        let points: Vec<String> = operands_by_distance(result)
            .into_iter()
            .map(|(class, share)| format!("{:.1},{:.1}", x(class), y(share)))
            .collect();
        line!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>",
            points.join(" ")
        );
        let at = TOP + 10.0 + index as f64 * 14.0;
        line!(
            svg,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>",
            WIDTH - RIGHT + 20.0,
            at - 9.0
        );
        text(&mut svg, WIDTH - RIGHT + 36.0, at, "start", &result.name);
    }
    svg + "</svg>\n"
}

fn operands_by_distance(result: &CaseResult) -> Vec<(usize, f64)> {
    let Some(score) = &result.score else {
        return Vec::new();
    };
    let tally = |distance: &str| {
        let mut sum = Tally::default();
        for measure in ["register_reads", "rsp_reads", "memory_reads"] {
            sum.add(score.tally(measure, Some(distance)));
        }
        sum
    };
    let shares = DISTANCES
        .iter()
        .enumerate()
        .filter_map(|(class, distance)| {
            let tally = tally(distance);
            Some((class, tally.share(tally.correct.total())?))
        });
    shares.collect()
}

/// Reasons given for unknown register reads, a bar for each case.
pub(crate) fn unknown(results: &[&CaseResult]) -> String {
    let results: Vec<_> = results
        .iter()
        .filter(|result| result.variant == "O2")
        .collect();
    let reasons = |result: &CaseResult| -> BTreeMap<String, u64> {
        let why = result.score.as_ref().and_then(|score| score.why.clone());
        why.unwrap_or_default().unknown_reasons_sampled
    };
    let mut names: Vec<String> = results
        .iter()
        .flat_map(|result| reasons(result).into_keys())
        .collect();
    names.sort();
    names.dedup();
    let height = TOP + 60.0 + results.len() as f64 * 18.0;
    let left = 210.0;
    let width = WIDTH - left - 150.0;
    let mut svg = begin(
        "Why register reads are unknown (a sample of each case)",
        height,
    );
    for (index, result) in results.iter().enumerate() {
        let y = TOP + index as f64 * 18.0;
        text(&mut svg, left - 6.0, y + 11.0, "end", &result.name);
        let reasons = reasons(result);
        let all: u64 = reasons.values().sum();
        let mut x = left;
        for (number, name) in names.iter().enumerate() {
            let part = reasons.get(name).copied().unwrap_or(0) as f64 / all.max(1) as f64 * width;
            let colour = colour(number, names.len());
            line!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{part:.1}\" height=\"14\" fill=\"{colour}\"/>"
            );
            x += part;
        }
    }
    for (number, name) in names.iter().enumerate() {
        let at = TOP + 10.0 + number as f64 * 16.0;
        line!(
            svg,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"10\" height=\"10\" fill=\"{}\"/>",
            WIDTH - 140.0,
            at - 9.0,
            colour(number, names.len())
        );
        text(&mut svg, WIDTH - 124.0, at, "start", name);
    }
    svg + "</svg>\n"
}

/// Seconds of decoding and recovery against steps.
pub(crate) fn time(results: &[&CaseResult]) -> String {
    let points: Vec<(u64, f64)> = results
        .iter()
        .filter_map(|result| result.examination.as_ref())
        .map(|found| (found.steps, found.decode_seconds + found.recover_seconds))
        .collect();
    let most_steps = points.iter().map(|point| point.0).max().unwrap_or(1).max(1);
    let most_seconds = points.iter().map(|point| point.1).fold(0.1, f64::max);
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - 40.0);
    let x = |steps: u64| LEFT + steps as f64 / most_steps as f64 * (right - LEFT);
    let y = |seconds: f64| bottom - seconds / most_seconds * (bottom - TOP);
    let mut svg = begin("Seconds to decode and recover, against steps", HEIGHT);
    for quarter in 0..=4u32 {
        let part = f64::from(quarter) / 4.0;
        let at = y(part * most_seconds);
        rule(&mut svg, (LEFT, at), (right, at));
        text(
            &mut svg,
            LEFT - 6.0,
            at + 4.0,
            "end",
            &format!("{:.1}", part * most_seconds),
        );
        let steps = most_steps * u64::from(quarter) / 4;
        text(&mut svg, x(steps), bottom + 18.0, "middle", &grouped(steps));
    }
    for (steps, seconds) in points {
        line!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"#36c\"/>",
            x(steps),
            y(seconds)
        );
    }
    svg + "</svg>\n"
}
