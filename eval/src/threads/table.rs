//! The figures, in Markdown.

use super::Form;
use super::summary::{Sum, Summary, Sums};
use crate::score::Tally;
use std::fmt::Write;

/// Per cent, `–` when nothing was counted.
fn share(tally: Tally, part: u64, digits: usize) -> String {
    let share = tally.share(part);
    share.map_or_else(|| "–".to_owned(), |share| format!("{share:.digits$}"))
}

/// All tables.
pub(super) fn table(summary: &Summary) -> String {
    let rows: Vec<Sums> = summary
        .programs
        .iter()
        .cloned()
        .chain([summary.all()])
        .collect();
    [
        overlapping_and_in_turns,
        with_coarse_clocks,
        with_races_ignored,
    ]
    .map(|table| table(&rows))
    .join("\n")
}

fn overlapping_and_in_turns(rows: &[Sums]) -> String {
    let mut text = head(&[
        "program",
        "seeds",
        "reads, overlapping",
        "correct %",
        "wrong %",
        "reads, in turns",
        "correct %",
        "wrong %",
        "certain or assumed and wrong",
    ]);
    for row in rows {
        let (overlapping, turns) = (row.of(Form::Overlapping), row.of(Form::InTurns));
        let mut columns = vec![row.name.clone(), overlapping.runs.to_string()];
        for sum in [&overlapping, &turns] {
            columns.push(sum.reads.total().to_string());
            columns.extend(shares(sum));
        }
        columns.push((overlapping.trusted + turns.trusted).to_string());
        line(&mut text, &columns);
    }
    text
}

fn with_coarse_clocks(rows: &[Sums]) -> String {
    let mut text = head(&[
        "program",
        "no CYC: correct %",
        "wrong %",
        "TSC at PSB only: correct %",
        "wrong %",
        "certain or assumed and wrong",
    ]);
    for row in rows {
        let coarse = [row.of(Form::Mtc), row.of(Form::Boundaries)];
        let mut columns = vec![row.name.clone()];
        columns.extend(coarse.iter().flat_map(shares));
        let trusted: u64 = coarse.iter().map(|sum| sum.trusted).sum();
        columns.push(trusted.to_string());
        line(&mut text, &columns);
    }
    text
}

fn with_races_ignored(rows: &[Sums]) -> String {
    let mut text = head(&[
        "program",
        "races ignored: wrong %",
        "certain or assumed and wrong",
        "planted value traced",
        "ordered by time",
        "traced of those",
    ]);
    for row in rows {
        let sum = row.of(Form::Overlapping);
        let columns = [
            row.name.clone(),
            share(sum.unguarded, sum.unguarded.wrong.total(), 3),
            sum.unguarded_trusted.to_string(),
            format!("{} of {}", sum.traced, sum.planted),
            sum.ordered.to_string(),
            sum.ordered_traced.to_string(),
        ];
        line(&mut text, &columns);
    }
    text
}

/// Correct and wrong reads.
fn shares(sum: &Sum) -> [String; 2] {
    let (correct, wrong) = (sum.reads.correct.total(), sum.reads.wrong.total());
    [share(sum.reads, correct, 1), share(sum.reads, wrong, 3)]
}

fn head(columns: &[&str]) -> String {
    let mut text = String::new();
    let columns: Vec<String> = columns.iter().map(|&column| column.to_owned()).collect();
    line(&mut text, &columns);
    line(&mut text, &vec!["---".to_owned(); columns.len()]);
    text
}

fn line(text: &mut String, columns: &[String]) {
    let _ = writeln!(text, "| {} |", columns.join(" | "));
}

#[cfg(test)]
mod tests {
    use super::super::{Planted, Run};
    use super::*;
    use crate::score::ByGrade;

    fn run(form: Form, seed: u64, wrong: u64) -> Run {
        let grade = |inferred| ByGrade {
            inferred,
            ..ByGrade::default()
        };
        Run {
            key: String::new(),
            program: "deadlock".to_owned(),
            form,
            seed,
            steps: 10,
            reads: Tally {
                correct: grade(100 - wrong),
                wrong: grade(wrong),
                ..Tally::default()
            },
            wrong_trusted: 3,
            unguarded: None,
            unguarded_trusted: 0,
            planted: Some(Planted {
                traced: true,
                ordered: seed == 1,
            }),
        }
    }

    #[test]
    fn runs_are_summed_by_program_and_form() {
        let runs = [
            run(Form::Overlapping, 1, 1),
            run(Form::Overlapping, 2, 2),
            run(Form::Overlapping, 9, 50),
            run(Form::InTurns, 1, 4),
        ];
        let table = table(&Summary::new(&runs, 2));
        let line = |text: &str| table.lines().any(|line| line == text);
        assert!(
            line("| deadlock | 2 | 200 | 98.5 | 1.500 | 100 | 96.0 | 4.000 | 9 |"),
            "{table}"
        );
        assert!(line("| deadlock | – | 0 | 2 of 2 | 1 | 1 |"), "{table}");
        assert!(
            line("| publication | 0 | 0 | – | – | 0 | – | – | 0 |"),
            "{table}"
        );
    }
}
