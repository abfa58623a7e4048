//! Both engines on the same run of a program: the same addresses in the same order, and the same
//! truth.
//!
//! Each program is recorded with truth by copies and, twice, by single-step, and by copies without
//! truth. What the two by single-step have in common the one by copies must have, register for
//! register and access for access; what differs between them (the time-stamp counter, above all) is
//! counted. The recording without truth is decoded, and its addresses held against those of the
//! truth by single-step.
//!
//! A recording begins at the program's first instruction. When it is longer than the budget of
//! steps, another begins where the evaluation's does.

use super::recorder::{Recorded, record_alike};
use super::subject::Subject;
use super::{Bench, names};
use crate::Failure;
use crate::report::grouped;
use rept_capture::truth::{Comparison, Ended, Reader, compare};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A million steps at a tenth of the usual speed.
const LIMIT: Duration = Duration::from_secs(900);
/// Room for the whole of a run: what is overwritten cannot be compared.
const BUFFER: &str = "256M";

/// Prints a row for each program.
pub(super) fn table(corpus: &[Subject], tests: &[Subject], bench: &Bench) {
    println!(
        "| program | from | steps | to | values | by chance | by copies with truth | by copies alone |"
    );
    println!("|---|---|---:|---|---:|---:|---|---|");
    for subject in corpus.iter().chain(tests) {
        eprintln!("by both engines: {}", subject.name);
        if let Some(why) = subject.differs {
            println!(
                "| `{}` | – | – | – | – | – | not compared: {why} | – |",
                subject.name
            );
            continue;
        }
        let is_whole = row(subject, None, bench);
        if let Some(from) = subject.from.as_deref().filter(|_| !is_whole) {
            row(subject, Some(from), bench);
        }
    }
}

// Whether the program came to its end within the budget.
fn row(subject: &Subject, from: Option<&str>, bench: &Bench) -> bool {
    let begin = from.map_or_else(|| "`execve`".to_owned(), |from| format!("`{from}`"));
    let folder = bench.folder.join(subject.file_name());
    let proof = Window {
        subject,
        from,
        bench,
        folder,
    }
    .prove();
    match &proof {
        Ok(proof) => println!(
            "| `{}` | {begin} | {} |",
            subject.name,
            proof.cells(bench.steps)
        ),
        Err(failure) => println!(
            "| `{}` | {begin} | – | – | – | – | failed: {failure} | – |",
            subject.name
        ),
    }
    proof.is_ok_and(|proof| proof.end.is_some())
}

struct Window<'a> {
    subject: &'a Subject,
    from: Option<&'a str>,
    bench: &'a Bench,
    folder: PathBuf,
}

struct Proof {
    compared: Comparison,
    /// Function and line of the first difference.
    place: Option<String>,
    /// How the program ended, when it did within the budget.
    end: Option<String>,
    /// What the recording without truth is.
    alone: Result<String, Failure>,
}

impl Window<'_> {
    fn prove(&self) -> Result<Proof, Failure> {
        let [fast, step, again] = ["fast", "step", "again"].map(|name| self.folder.join(name));
        let steps = self.bench.steps.to_string();
        let with_truth = ["--truth", "--buffer", "4M", "--steps", &steps];
        self.record("fast", &with_truth, &fast)?;
        let stepped = self.record("step", &with_truth, &step)?;
        self.record("step", &with_truth, &again)?;
        let [mine, one, other] = [&fast, &step, &again].map(|folder| folder.join("truth"));
        let compared = compare(&mine, &one, &other, self.bench.steps).map_err(|e| e.to_string())?;
        let place = match &compared.ended {
            Some(Ended::Different { one: Some(one), .. }) => names::name(&step, one.ip),
            _ => None,
        };
        let is_cut = stepped.is_noted("as many steps as were asked for");
        Ok(Proof {
            compared,
            place,
            end: (!is_cut).then(|| stepped.end()),
            alone: self.alone(&one),
        })
    }

    fn record(&self, engine: &str, options: &[&str], to: &Path) -> Result<Recorded, Failure> {
        let mut all = vec!["--engine", engine];
        all.extend(options);
        if let Some(from) = self.from {
            all.extend(["--from", from]);
        }
        record_alike(self.bench, self.subject, &all, to, LIMIT)
    }

    // What copies that log control flow alone record, held against the truth by single-step.
    fn alone(&self, truth: &Path) -> Result<String, Failure> {
        let folder = self.folder.join("alone");
        let recorded = self.record("fast", &["--buffer", BUFFER], &folder)?;
        if recorded.is_noted("overwritten") {
            return Ok("not compared: longer than the ring".to_owned());
        }
        let mut command = Command::new(self.bench.rept());
        command
            .arg("decode")
            .arg(&folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut decoder = command.spawn().map_err(|error| error.to_string())?;
        let output = decoder.stdout.take().ok_or("no output")?;
        let held = hold(BufReader::new(output), truth, self.bench.steps);
        // It may have more to tell than is wanted; and it has ended when it has not.
        let _ = decoder.kill();
        let _ = decoder.wait();
        held
    }
}

// Lines of `rept decode` against the addresses of the truth's first steps.
fn hold(decoded: impl BufRead, truth: &Path, most: u64) -> Result<String, Failure> {
    let mut reader = Reader::open(truth).map_err(|error| error.to_string())?;
    let thread = reader.threads().first().copied().unwrap_or_default();
    let mut steps = reader
        .read_from(thread, 0)
        .map_err(|error| error.to_string())?;
    let mut lines = decoded.lines();
    for step in 0..most {
        let expected = steps
            .advance()
            .map_err(|error| error.to_string())?
            .map(|step| step.ip);
        let line = lines
            .next()
            .transpose()
            .map_err(|error| error.to_string())?;
        if let Some((_, gap)) = line.as_deref().and_then(|line| line.split_once("gap: ")) {
            let why = gap.split(", at byte").next().unwrap_or(gap);
            return Ok(format!("the same, up to {why}"));
        }
        let found = line.as_deref().and_then(address);
        match (expected, found) {
            (None, None) => break,
            (a, b) if a == b => {}
            (a, b) => {
                let text =
                    |at: Option<u64>| at.map_or("the end".to_owned(), |at| format!("{at:#x}"));
                return Ok(format!(
                    "**differs** at step {step}: {} instead of {}",
                    text(b),
                    text(a)
                ));
            }
        }
    }
    Ok("the same".to_owned())
}

// The last word of a line.
fn address(line: &str) -> Option<u64> {
    u64::from_str_radix(line.rsplit(' ').next()?, 16).ok()
}

impl Proof {
    fn cells(&self, budget: u64) -> String {
        let Comparison {
            steps,
            values,
            by_chance,
            ended,
        } = &self.compared;
        let to = match &self.end {
            Some(end) => end.clone(),
            None => format!("step {}", grouped(budget)),
        };
        let verdict = match ended {
            None => "the same".to_owned(),
            Some(Ended::Chance) => "the same, until chance decides".to_owned(),
            Some(different) => {
                let place = self.place.as_deref().unwrap_or("?");
                format!("**differs** in {place}, {different}")
            }
        };
        let alone = match &self.alone {
            Ok(alone) => alone.clone(),
            Err(failure) => format!("failed: {failure}"),
        };
        let counts = [steps, values, by_chance].map(|&count| grouped(count));
        let [steps, values, by_chance] = counts;
        format!("{steps} | {to} | {values} | {by_chance} | {verdict} | {alone}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stand_at_the_end_of_lines() {
        assert_eq!(address("      9             500 55aa41"), Some(0x55_aa41));
        assert_eq!(address("      9               - 40"), Some(0x40));
        assert_eq!(address(""), None);
    }
}
