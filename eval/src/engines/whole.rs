//! Cases recorded whole by copies, from `execve` to their end, and decoded by stock perf.

use super::Bench;
use super::recorder::record;
use super::subject::Subject;
use crate::Failure;
use crate::report::grouped;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(600);
const BUFFER: &str = "64M";
/// Steps of a recording that perf is asked to decode: it takes some microseconds for each.
const MOST_DECODED: u64 = 60_000_000;
/// Of a longer one, the newest are decoded.
const NEWEST: &str = "256K";

/// Prints a row for each case.
pub(super) fn table(corpus: &[Subject], bench: &Bench) {
    println!("| case | threads | steps | seconds | end | decoded by perf |");
    println!("|---|---:|---:|---:|---|---|");
    for subject in corpus {
        eprintln!("whole: {}", subject.name);
        let cells = cells(subject, bench);
        let cells = cells.unwrap_or_else(|failure| format!("– | – | – | failed: {failure} | –"));
        println!("| `{}` | {cells} |", subject.name);
    }
}

fn cells(subject: &Subject, bench: &Bench) -> Result<String, Failure> {
    let folder = bench.folder.join(subject.file_name()).join("whole");
    let keeping = |bytes| {
        let options = ["--engine", "fast", "--buffer", bytes];
        record(bench, subject, &options, &folder, LIMIT)
    };
    let recorded = keeping(BUFFER)?;
    let (steps, threads) = recorded.counts().ok_or("the recorder counted no steps")?;
    let decoded = match steps > MOST_DECODED {
        // Another run, which may take another course.
        true => keeping(NEWEST)
            .and_then(|_| by_perf(bench, &folder))
            .map(|(verdict, steps)| format!("{verdict}, of the newest {}", grouped(steps))),
        false => by_perf(bench, &folder).map(|(verdict, _)| verdict),
    };
    Ok(format!(
        "{threads} | {} | {:.1} | {} | {}",
        grouped(steps),
        recorded.seconds,
        recorded.end(),
        decoded.unwrap_or_else(|failure| format!("failed: {failure}"))
    ))
}

/// Steps of a thread: how many, and all addresses in order.
type Paths = BTreeMap<u32, (u64, DefaultHasher)>;

// Both decoders on one trace: what came of it, and how many steps they find.
fn by_perf(bench: &Bench, folder: &Path) -> Result<(String, u64), Failure> {
    let mut rept = Command::new(bench.rept());
    rept.arg("decode").arg(folder);
    let ours = paths(&mut rept)?;
    let mut perf = Command::new("perf");
    perf.args(["script", "--itrace=i0ns", "-F", "tid,ip", "-i"]);
    perf.arg(folder.join("perf.data"));
    let theirs = match paths(&mut perf) {
        Err(failure) => return Ok((format!("not asked: {failure}"), 0)),
        Ok(theirs) => theirs,
    };
    let all = ours.values().map(|(steps, _)| steps).sum();
    let mut missed = 0;
    for (tid, (steps, hash)) in &ours {
        match theirs.get(tid) {
            Some((other, same)) if steps == other && hash.finish() == same.finish() => {}
            // One instruction, of a thread that sleeps in a system call: perf shows none.
            None if *steps == 1 => missed += 1,
            found => {
                let found = found.map_or(0, |(other, _)| *other);
                let verdict = format!("**differs** in thread {tid}: {found} steps, not {steps}");
                return Ok((verdict, all));
            }
        }
    }
    let verdict = match missed {
        0 => "the same".to_owned(),
        missed => format!("the same, but {missed} that only sleep"),
    };
    Ok((verdict, all))
}

// Runs a decoder that prints the thread first in a line, and the address last.
fn paths(command: &mut Command) -> Result<Paths, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut decoder = command
        .spawn()
        .map_err(|error| format!("{name}: {error}"))?;
    let output = decoder.stdout.take().ok_or("no output")?;
    let mut paths = Paths::new();
    for line in BufReader::new(output).lines() {
        let line = line.map_err(|error| format!("{name}: {error}"))?;
        let mut words = line.split_whitespace();
        let (Some(tid), Some(address)) = (words.next(), words.next_back()) else {
            continue;
        };
        let (Ok(tid), Ok(address)) = (tid.parse(), u64::from_str_radix(address, 16)) else {
            // A gap.
            continue;
        };
        let (steps, hash) = paths.entry(tid).or_default();
        *steps += 1;
        hash.write_u64(address);
    }
    let status = decoder.wait().map_err(|error| format!("{name}: {error}"))?;
    match status.success() {
        true => Ok(paths),
        false => Err(format!("{name} failed ({status})")),
    }
}
