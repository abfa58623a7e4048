//! Programs with known races, in short; `docs/threads.md` has more of them.

use super::{grouped, line, percent, three_digits};
use crate::threads::{Form, Sum, Summary, Sums};
use std::fmt::Write;

pub(super) fn races(text: &mut String, summary: &Summary) {
    line!(text, "\n## Programs with known races\n");
    line!(
        text,
        "Each has one race, and was recorded and scored with the seeds 1 to {} of the recorder's scheduler: its \
         threads overlapping and in turns, and overlapping with coarser clocks, {} recordings in all. What they are, \
         how they were measured and what the wrong values are is in [threads.md](threads.md); the sums are in \
         [threads.json](threads.json). Shares of register reads, in %. *Races ignored*: overlapping, without what \
         keeps races apart. *Planted value*: what the program died of was followed back to the other thread's store, \
         by no wrong or unknown value; of all overlapping runs, and of those in which the timestamps order the two.\n",
        summary.seeds,
        grouped(summary.runs())
    );
    line!(
        text,
        "| program | reads, overlapping | right | wrong | in turns: wrong | no CYC: wrong | TSC at PSB only: wrong | certain or assumed and wrong, all forms | races ignored: wrong | certain or assumed and wrong | planted value traced | of those ordered |"
    );
    line!(
        text,
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    );
    for sums in summary.programs.iter().chain([&summary.all()]) {
        line!(text, "{}", row(sums));
    }
}

fn row(sums: &Sums) -> String {
    let overlapping = sums.of(Form::Overlapping);
    let (reads, unguarded) = (overlapping.reads, overlapping.unguarded);
    let coarser = [Form::InTurns, Form::Mtc, Form::Boundaries].map(|form| wrong(sums.of(form)));
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        sums.name,
        grouped(reads.total()),
        percent(reads.share(reads.correct.total())),
        wrong(overlapping),
        coarser.join(" | "),
        sums.trusted(),
        three_digits(unguarded.share(unguarded.wrong.total())),
        grouped(overlapping.unguarded_trusted),
        of(overlapping.traced, overlapping.planted),
        of(overlapping.ordered_traced, overlapping.ordered)
    )
}

/// Per cent of the reads of a form.
fn wrong(sum: Sum) -> String {
    three_digits(sum.reads.share(sum.reads.wrong.total()))
}

/// `–` when there is nothing to find.
fn of(found: u64, all: u64) -> String {
    match all {
        0 => "–".to_owned(),
        _ => format!("{found} of {all}"),
    }
}
