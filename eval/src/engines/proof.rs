//! Both engines on the same run of a program: the same addresses in the same order, and the same
//! truth.
//!
//! Each program is recorded with truth by copies and, twice, by single-step, and by copies without
//! truth. What the two by single-step have in common the one by copies must have, register for
//! register and access for access; what differs between them (the time-stamp counter, above all) is
//! counted. The recording without truth is decoded, and its addresses held against those of the
//! truth by single-step; where code was overwritten, of which the core has the end only, or a loop leaves
//! no packets, against those decoded from the recording by single-step.
//!
//! A recording begins at the program's first instruction. When it is longer than the budget of
//! steps, another begins where the evaluation's does.

use super::recorder::{Recorded, record_alike};
use super::subject::Subject;
use super::{Bench, names};
use crate::Failure;
use crate::report::grouped;
use rept_capture::truth::{Comparison, Ended, Reader, compare};
use std::io::{self, BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
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
        let with_truth = ["--truth", "--buffer", BUFFER, "--steps", &steps];
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
            alone: self.alone(is_cut),
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

    // What copies that log control flow alone record, decoded and held against the truth by single-step;
    // where that is not what a decoder finds, as it has no code that was overwritten, against what it finds of
    // the recording by single-step.
    fn alone(&self, cut: bool) -> Result<String, Failure> {
        let folder = self.folder.join("alone");
        let recorded = self.record("fast", &["--buffer", BUFFER], &folder)?;
        if recorded.is_noted("overwritten") {
            return Ok("not compared: longer than the ring".to_owned());
        }
        let truth = Truth::open(&self.folder.join("step").join("truth"), self.bench.steps)?;
        let decoded = Decoded::of(self.bench, &folder)?;
        let Some(first) = first_difference(decoded, truth, cut)? else {
            return Ok("the same".to_owned());
        };
        let [mine, one] =
            [&folder, &self.folder.join("step")].map(|at| Decoded::of(self.bench, at));
        Ok(match first_difference(mine?, one?, cut)? {
            None => "decoded the same".to_owned(),
            Some(_) => format!("**differs** at {first}"),
        })
    }
}

// Where the decoded path leaves the expected one, which may be the first part of it only when it is `cut`.
fn first_difference(
    mut decoded: impl Iterator<Item = Result<String, Failure>>,
    expected: impl Iterator<Item = Result<String, Failure>>,
    cut: bool,
) -> Result<Option<String>, Failure> {
    for (step, expected) in expected.enumerate() {
        let expected = expected?;
        let found = decoded.next().transpose()?;
        if found.as_ref() != Some(&expected) {
            let found = found.unwrap_or_else(|| "the end".to_owned());
            return Ok(Some(format!("step {step}: {found} instead of {expected}")));
        }
    }
    let more = if cut { None } else { decoded.next() };
    let more = more.transpose()?;
    Ok(more.map(|found| format!("its end: {found} follows")))
}

/// What `rept decode` prints of a recording: an address or, for a gap, its reason.
struct Decoded {
    decoder: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Decoded {
    fn of(bench: &Bench, recording: &Path) -> Result<Decoded, Failure> {
        let mut command = Command::new(bench.rept());
        command.arg("decode").arg(recording);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut decoder = command.spawn().map_err(|error| error.to_string())?;
        let output = decoder.stdout.take().ok_or("no output")?;
        let lines = BufReader::new(output).lines();
        Ok(Decoded { decoder, lines })
    }
}

impl Iterator for Decoded {
    type Item = Result<String, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        // What stands before the first PSB tells of no step.
        let is_of_steps = |line: &io::Result<String>| {
            !line
                .as_ref()
                .is_ok_and(|line| line.contains("gap: bytes before the first PSB"))
        };
        let line = self.lines.by_ref().find(is_of_steps)?;
        let line = line.map_err(|error| error.to_string());
        Some(line.map(|line| without_thread(&line)))
    }
}

impl Drop for Decoded {
    fn drop(&mut self) {
        // It may have more to tell than was wanted, or have ended.
        let _ = self.decoder.kill();
        let _ = self.decoder.wait();
    }
}

/// The addresses of the first steps of a truth.
struct Truth(std::vec::IntoIter<u64>);

impl Truth {
    fn open(path: &Path, most: u64) -> Result<Truth, Failure> {
        let mut reader = Reader::open(path).map_err(|error| error.to_string())?;
        let thread = reader.threads().first().copied().unwrap_or_default();
        let steps = reader.read_from(thread, 0);
        let mut steps = steps.map_err(|error| error.to_string())?;
        let mut addresses = Vec::new();
        while (addresses.len() as u64) < most {
            match steps.advance().map_err(|error| error.to_string())? {
                Some(step) => addresses.push(step.ip),
                None => break,
            }
        }
        Ok(Truth(addresses.into_iter()))
    }
}

impl Iterator for Truth {
    type Item = Result<String, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(Ok(format!("{:x}", self.0.next()?)))
    }
}

// Of a line without thread and time: two recordings have others.
fn without_thread(line: &str) -> String {
    match line.split_once("gap: ") {
        Some((_, gap)) => gap.split(", at byte").next().unwrap_or(gap).to_owned(),
        None => line.rsplit(' ').next().unwrap_or_default().to_owned(),
    }
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
    fn two_recordings_have_the_same_lines_but_for_thread_and_time() {
        assert_eq!(without_thread("      9             500 55aa41"), "55aa41");
        let gap =
            "      9 gap: the processor dropped packets (OVF), at byte 0x20 of the thread's trace";
        assert_eq!(without_thread(gap), "the processor dropped packets (OVF)");
    }

    #[test]
    fn a_path_must_begin_as_expected() {
        let path = |words: &'static str| words.split(' ').map(|word| Ok(word.to_owned()));
        let check = |decoded, expected, said: Option<&str>| {
            let found = first_difference(path(decoded), path(expected), false).unwrap();
            assert_eq!(found.as_deref(), said);
        };
        let cut = first_difference(path("1 2 3"), path("1 2"), true).unwrap();
        assert_eq!(cut, None);
        check("1 2", "1 2", None);
        check("1 2 3", "1 2", Some("its end: 3 follows"));
        check("1 2", "1 3", Some("step 1: 2 instead of 3"));
        check("1", "1 2", Some("step 1: the end instead of 2"));
    }
}
