//! The figures, in Markdown.

use super::program::PROGRAMS;
use super::{Form, Run};
use crate::score::Tally;
use std::fmt::Write;

/// Sums of the runs of a program in a form.
#[derive(Default)]
struct Sum {
    runs: u64,
    reads: Tally,
    trusted: u64,
    unguarded: Tally,
    unguarded_trusted: u64,
    traced: u64,
    ordered: u64,
    ordered_traced: u64,
    planted: u64,
}

fn sum<'a>(runs: impl Iterator<Item = &'a Run>) -> Sum {
    let mut sum = Sum::default();
    for run in runs {
        sum.runs += 1;
        sum.reads.add(run.reads);
        sum.trusted += run.wrong_trusted;
        sum.unguarded.add(run.unguarded.unwrap_or_default());
        sum.unguarded_trusted += run.unguarded_trusted;
        if let Some(planted) = run.planted {
            sum.planted += 1;
            sum.traced += u64::from(planted.traced);
            sum.ordered += u64::from(planted.ordered);
            sum.ordered_traced += u64::from(planted.ordered && planted.traced);
        }
    }
    sum
}

/// Per cent, `–` when nothing was counted.
fn share(tally: Tally, part: u64, digits: usize) -> String {
    let share = tally.share(part);
    share.map_or_else(|| "–".to_owned(), |share| format!("{share:.digits$}"))
}

/// All tables of the first `seeds` seeds.
pub(super) fn table(runs: &[Run], seeds: u64) -> String {
    let of = |program: &str, form: Form| {
        let wanted = move |run: &&Run| {
            run.seed <= seeds && run.form == form && (program.is_empty() || run.program == program)
        };
        sum(runs.iter().filter(wanted))
    };
    let names = || PROGRAMS.iter().map(|program| program.name);
    let mut text = String::new();
    let mut line = |columns: &[String]| {
        let _ = writeln!(text, "| {} |", columns.join(" | "));
    };
    let head = |line: &mut dyn FnMut(&[String]), columns: &[&str]| {
        line(
            &columns
                .iter()
                .map(|&column| column.to_owned())
                .collect::<Vec<_>>(),
        );
        line(&vec!["---".to_owned(); columns.len()]);
    };
    head(
        &mut line,
        &[
            "program",
            "seeds",
            "reads, overlapping",
            "correct %",
            "wrong %",
            "reads, in turns",
            "correct %",
            "wrong %",
            "certain or assumed and wrong",
        ],
    );
    for name in names().chain([""]) {
        let (overlapping, turns) = (of(name, Form::Overlapping), of(name, Form::InTurns));
        let mut columns = vec![shown(name), overlapping.runs.to_string()];
        for sum in [&overlapping, &turns] {
            columns.push(sum.reads.total().to_string());
            columns.push(share(sum.reads, sum.reads.correct.total(), 1));
            columns.push(share(sum.reads, sum.reads.wrong.total(), 3));
        }
        columns.push((overlapping.trusted + turns.trusted).to_string());
        line(&columns);
    }
    line(&[]);
    head(
        &mut line,
        &[
            "program",
            "no CYC: correct %",
            "wrong %",
            "TSC at PSB only: correct %",
            "wrong %",
            "certain or assumed and wrong",
        ],
    );
    for name in names().chain([""]) {
        let coarse = [of(name, Form::Mtc), of(name, Form::Boundaries)];
        let mut columns = vec![shown(name)];
        for sum in &coarse {
            columns.push(share(sum.reads, sum.reads.correct.total(), 1));
            columns.push(share(sum.reads, sum.reads.wrong.total(), 3));
        }
        let trusted: u64 = coarse.iter().map(|sum| sum.trusted).sum();
        columns.push(trusted.to_string());
        line(&columns);
    }
    line(&[]);
    head(
        &mut line,
        &[
            "program",
            "races ignored: wrong %",
            "certain or assumed and wrong",
            "planted value traced",
            "ordered by time",
            "traced of those",
        ],
    );
    for name in names().chain([""]) {
        let sum = of(name, Form::Overlapping);
        line(&[
            shown(name),
            share(sum.unguarded, sum.unguarded.wrong.total(), 3),
            sum.unguarded_trusted.to_string(),
            format!("{} of {}", sum.traced, sum.planted),
            sum.ordered.to_string(),
            sum.ordered_traced.to_string(),
        ]);
    }
    text.replace("|  |\n", "\n")
}

fn shown(name: &str) -> String {
    if name.is_empty() { "all" } else { name }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::Planted;
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
        let table = table(&runs, 2);
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
