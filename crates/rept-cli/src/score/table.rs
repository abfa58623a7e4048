//! The score as text.

use super::Score;
use super::blame::{Blame, Wrong};
use super::tally::{Board, DISTANCES, Grade, Measure, Tally};
use crate::text::grouped;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

/// Rows printed of a table of causes.
const CAUSES: usize = 16;

/// Prints a [`Score`] as tables.
pub(crate) struct Table<'a>(pub(crate) &'a Score);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let score = self.0;
        head(f, score)?;
        for measure in Measure::ALL {
            measure_rows(f, score, measure)?;
        }
        let wrong = score.board.wrong();
        writeln!(
            f,
            "\nwrong values called certain: {}   assumed: {}   inferred: {}",
            grouped(wrong.certain),
            grouped(wrong.assumed),
            grouped(wrong.inferred)
        )?;
        score
            .blame
            .as_ref()
            .map_or(Ok(()), |blame| causes(f, blame))
    }
}

fn head(f: &mut Formatter<'_>, score: &Score) -> fmt::Result {
    writeln!(
        f,
        "recovered against truth: {} of {} steps judged, {} thread{}; distance in steps of thread {}",
        grouped(score.judged),
        grouped(score.steps),
        score.threads,
        if score.threads == 1 { "" } else { "s" },
        score.crashing
    )?;
    if score.judged < score.steps {
        writeln!(
            f,
            "{} steps of the trace are not in the truth: the trace is decoded wrongly, or another run's",
            grouped(score.steps - score.judged)
        )?;
    }
    if !score.without.is_empty() {
        writeln!(f, "recovered without {}", score.without.join(", "))?;
    }
    if let Some(statistics) = score.statistics.filter(|of| of.steps > 0) {
        writeln!(
            f,
            "{} visits, {:.2} a step; {} contradictions resolved, {} unexplained, {} among certain facts",
            grouped(statistics.visits),
            statistics.visits as f64 / statistics.steps as f64,
            grouped(statistics.refuted + statistics.assumption_conflicts),
            grouped(statistics.unexplained),
            grouped(statistics.certain_conflicts)
        )?;
    }
    writeln!(
        f,
        "shares in %; correct = certain + assumed + inferred; the last column counts wrong values by the same grades"
    )
}

fn measure_rows(f: &mut Formatter<'_>, score: &Score, measure: Measure) -> fmt::Result {
    if score.board.total(measure).total() == 0 {
        return Ok(());
    }
    write!(
        f,
        "\n{:<18}{:>13}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
        measure.title(),
        "values",
        "correct",
        "certain",
        "assumed",
        "inferred",
        "partial",
        "unknown",
        "wrong",
    )?;
    if score.ceiling.is_some() {
        write!(f, "{:>12}", "of ceiling")?;
    }
    writeln!(f, "   wrong c/a/i")?;
    for (class, title) in DISTANCES.iter().enumerate() {
        row(f, title, score, |board| board.tally(measure, class))?;
    }
    row(f, "all", score, |board| board.total(measure))
}

fn row(
    f: &mut Formatter<'_>,
    title: &str,
    score: &Score,
    of: impl Fn(&Board) -> Tally,
) -> fmt::Result {
    let tally = of(&score.board);
    let total = tally.total();
    if total == 0 {
        return Ok(());
    }
    let share = |part: u64| part as f64 * 100.0 / total as f64;
    let (correct, wrong) = (tally.correct, tally.wrong);
    write!(f, "  {title:<16}{:>13}", grouped(total))?;
    for part in [
        correct.total(),
        correct.certain,
        correct.assumed,
        correct.inferred,
    ] {
        write!(f, "{:>9.2}", share(part))?;
    }
    for part in [tally.partial.total(), tally.unknown, wrong.total()] {
        write!(f, "{:>9.2}", share(part))?;
    }
    match score.share_of_ceiling(of) {
        Some(reached) => write!(f, "{reached:>12.2}")?,
        None if score.ceiling.is_some() => write!(f, "{:>12}", "-")?,
        None => {}
    }
    writeln!(
        f,
        "   {}/{}/{}",
        wrong.certain, wrong.assumed, wrong.inferred
    )
}

fn causes(f: &mut Formatter<'_>, blame: &Blame) -> fmt::Result {
    ranking(
        f,
        "unknown register reads by the reason given (a sample)",
        &blame.reasons,
    )?;
    ranking(
        f,
        "unknown register reads by what wrote the register",
        &blame.unknown_writers,
    )?;
    ranking(
        f,
        "roots of wrong registers by what wrote the register",
        &blame.wrong_writers,
    )?;
    ranking(
        f,
        "wrong loads (address not wrong) by mnemonic",
        &blame.wrong_loads,
    )?;
    ranking(f, "wrong addresses by mnemonic", &blame.wrong_addresses)?;
    examples(
        f,
        "wrong though called certain, newest last",
        blame.wrong_certain.iter(),
    )?;
    examples(
        f,
        "roots of wrong registers, newest last",
        blame.wrong_registers.iter(),
    )?;
    examples(f, "wrong loads, newest last", blame.wrong_cells.iter())?;
    examples(f, "wrong addresses, newest last", blame.wrong_places.iter())
}

fn ranking(f: &mut Formatter<'_>, title: &str, counts: &BTreeMap<String, u64>) -> fmt::Result {
    let total: u64 = counts.values().sum();
    if total == 0 {
        return Ok(());
    }
    let mut rows: Vec<_> = counts.iter().collect();
    rows.sort_by_key(|&(_, &count)| std::cmp::Reverse(count));
    writeln!(f, "\n{title} ({} in all)", grouped(total))?;
    for (name, &count) in rows.into_iter().take(CAUSES) {
        writeln!(
            f,
            "  {:>6.2} %{:>13}  {name}",
            count as f64 * 100.0 / total as f64,
            grouped(count)
        )?;
    }
    Ok(())
}

fn examples<'a>(
    f: &mut Formatter<'_>,
    title: &str,
    wrongs: impl Iterator<Item = &'a Wrong>,
) -> fmt::Result {
    let mut wrongs = wrongs.peekable();
    if wrongs.peek().is_none() {
        return Ok(());
    }
    writeln!(f, "\n{title}")?;
    for wrong in wrongs {
        let grade = match wrong.grade {
            Grade::Certain => "certain",
            Grade::Assumed => "assumed",
            Grade::Inferred => "inferred",
        };
        writeln!(
            f,
            "  thread {} step {} at {:x}: {} = {:#x} (known {:#x}, {grade}), was {:#x}",
            wrong.at.thread,
            wrong.at.step,
            wrong.address,
            wrong.what,
            wrong.recovered,
            wrong.known,
            wrong.truth
        )?;
    }
    Ok(())
}
