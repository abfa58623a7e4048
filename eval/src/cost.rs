//! What recording costs, on one program in one run.

mod tools;

use crate::Failure;
use crate::arguments::Variant;
use crate::build::{Built, build};
use crate::case::Case;
use crate::process::{Whose, processor_seconds, run, said};
use crate::report::{grouped, line, plural};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;
use tools::{ANYWHERE, Tool, tools};

/// The case that is measured: it crashes in each run alike, on its first thread, after some 560,000
/// instructions.
const CASE: &str = "lua-getlocal-overflow";
/// Whatever takes longer is not measured.
const LIMIT: Duration = Duration::from_secs(300);
/// Rounds in which each tool has its turn, so that what else the machine does meets all of them.
const ROUNDS: usize = 5;

/// Seconds of one program under each tool.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Cost {
    pub(crate) case: String,
    /// Instructions from the process's first to the crash.
    pub(crate) steps: u64,
    /// Processes that ran or waited for a processor when the measurement began, and what was measured
    /// beside them: a mean of the last minute.
    #[serde(default)]
    pub(crate) load: Option<f64>,
    /// The machine's processors.
    #[serde(default)]
    pub(crate) processors: Option<usize>,
    pub(crate) rows: Vec<Row>,
}

/// One tool.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    pub(crate) tool: String,
    /// Median of the rounds, or why there is none.
    pub(crate) seconds: Result<f64, String>,
    /// Of the fastest and the slowest round.
    #[serde(default)]
    pub(crate) between: Option<(f64, f64)>,
    /// Median of what tool and program took of the processor.
    #[serde(default)]
    pub(crate) of_processor: Option<f64>,
}

/// Seconds of one run.
#[derive(Clone, Copy)]
struct Took {
    elapsed: f64,
    of_processor: f64,
}

/// What was measured before.
pub(crate) fn read(work: &Path) -> Option<Cost> {
    serde_json::from_str(&fs::read_to_string(work.join("cost.json")).ok()?).ok()
}

/// Measures, and keeps the result.
///
/// # Errors
/// The case cannot be built. A tool that is missing or fails is told in its row.
pub(crate) fn measure(cases: &[Case], rept: &Path, work: &Path) -> Result<(), Failure> {
    let case = cases
        .iter()
        .find(|case| case.name == CASE)
        .ok_or_else(|| format!("there is no case {CASE}"))?;
    let built = build(case, Variant::O2, work)?;
    let folder = work.join("cost");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let log = work.join("log");
    let load = load();
    let tools = tools(rept, &folder)?;
    let mut took: Vec<Result<Vec<Took>, String>> = vec![Ok(Vec::new()); tools.len()];
    for round in 1..=ROUNDS {
        for (tool, took) in tools.iter().zip(&mut took) {
            eprintln!("recording cost, round {round} of {ROUNDS}: {}", tool.name);
            if let Ok(seconds) = took {
                match once(case, &built, tool, &log) {
                    Ok(one) => seconds.push(one),
                    Err(why) => *took = Err(why),
                }
            }
        }
    }
    let rows = tools.into_iter().zip(took);
    let cost = Cost {
        case: case.name.clone(),
        steps: steps_of(rept, &folder.join("step"), &log)?,
        load,
        processors: thread::available_parallelism().ok().map(usize::from),
        rows: rows.map(|(tool, took)| Row::new(tool.name, took)).collect(),
    };
    let text = serde_json::to_string_pretty(&cost).map_err(|error| error.to_string())?;
    fs::write(work.join("cost.json"), text).map_err(|error| error.to_string())
}

/// The mean of the last minute.
fn load() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// What one run of the program took, of those that a tool makes of it.
fn once(case: &Case, built: &Built, tool: &Tool, log: &Path) -> Result<Took, String> {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -c 0; {}", tool.line), "sh"])
        .args(&case.manifest.run)
        .current_dir(&built.folder);
    let before = processor_seconds(Whose::Children);
    let ended = run(&mut command, log, LIMIT)?;
    if ended.status.success() || ended.signal().is_some() {
        let runs = f64::from(tool.runs);
        return Ok(Took {
            elapsed: ended.elapsed.as_secs_f64() / runs,
            of_processor: (processor_seconds(Whose::Children) - before) / runs,
        });
    }
    let said = said(log);
    let last = said.trim().lines().last().unwrap_or("nothing was said");
    Err(format!("{}: {last}", ended.status))
}

/// Counts the steps of a recording.
fn steps_of(rept: &Path, folder: &Path, log: &Path) -> Result<u64, Failure> {
    let mut command = Command::new(rept);
    command.arg("decode").arg(folder);
    let text = crate::process::output(&mut command, log, LIMIT)?;
    Ok(text.lines().filter(|line| !line.contains("gap")).count() as u64)
}

impl Row {
    fn new(tool: String, took: Result<Vec<Took>, String>) -> Row {
        let sorted = |pick: fn(&Took) -> f64| {
            let mut seconds: Vec<f64> = took.iter().flatten().map(pick).collect();
            seconds.sort_by(f64::total_cmp);
            seconds
        };
        let middle = |sorted: &[f64]| sorted.get(sorted.len() / 2).copied();
        let elapsed = sorted(|took| took.elapsed);
        let between = elapsed.first().copied().zip(elapsed.last().copied());
        let of_processor = middle(&sorted(|took| took.of_processor));
        let seconds = middle(&elapsed).ok_or_else(|| "not run".to_owned());
        Row {
            tool,
            seconds: took.and(seconds),
            between,
            of_processor,
        }
    }

    /// As a line of the table, against what the program takes by itself.
    fn line(&self, steps: u64, native: Option<f64>) -> String {
        let tool = &self.tool;
        let seconds = match &self.seconds {
            Ok(seconds) => *seconds,
            Err(why) => return format!("| {tool} | not measured: {why} | – | – | – | – |"),
        };
        let between = self.between.map_or("–".to_owned(), |(fastest, slowest)| {
            format!("{fastest:.3} to {slowest:.3}")
        });
        let of_processor = self.of_processor;
        let times = of_processor
            .zip(native)
            .map(|(seconds, native)| format!("{:.0}", seconds / native));
        let speed = of_processor.map(|seconds| grouped((steps as f64 / seconds) as u64));
        let of_processor = of_processor.map(|seconds| format!("{seconds:.3}"));
        let [of_processor, times, speed] =
            [of_processor, times, speed].map(|column| column.unwrap_or_else(|| "–".to_owned()));
        format!("| {tool} | {seconds:.3} | {between} | {of_processor} | {times} | {speed} |")
    }
}

impl Cost {
    /// As a section of the page.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let native = self.rows.first().and_then(|row| row.of_processor);
        line!(text, "\n## What recording costs\n");
        line!(
            text,
            "`{}`, {} instructions from the process's first to the crash; median of {ROUNDS} rounds, in which the tools \
             take turns, on the machine that made this page{}. Each tool and what it runs are on one processor \
             (`taskset`), but for those *{}*: a recorder by single steps and its program wait for each other at each \
             instruction, and how long that takes hangs on where the kernel puts them. *Of the processor* is what tool and \
             program took of it together, which other work on the machine changes little; the columns behind it are by \
             it. The time of *none* is mostly that of starting a process.\n",
            self.case,
            grouped(self.steps),
            self.machine(),
            ANYWHERE.trim_start_matches(", ")
        );
        line!(
            text,
            "| tool | seconds | fastest to slowest | of the processor | times none | instructions a second |"
        );
        line!(text, "|---|---:|---:|---:|---:|---:|");
        for row in &self.rows {
            line!(text, "{}", row.line(self.steps, native));
        }
        line!(
            text,
            "| Intel PT in hardware | **not measured here**: 1-5 % slowdown, by the literature (REPT, OSDI 2018) | – | – | 1.01-1.05 | – |"
        );
        text
    }

    /// Its processors, and what they did.
    fn machine(&self) -> String {
        match (self.processors, self.load) {
            (Some(processors), Some(load)) => format!(
                " ({processors} processor{}, load {load:.2} before the first round)",
                plural(processors)
            ),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_median_with_its_spread() {
        let took = |(elapsed, of_processor)| Took {
            elapsed,
            of_processor,
        };
        let rounds = [(4.0, 1.5), (1.0, 0.5), (2.0, 1.0)].map(took);
        let row = Row::new("a tool".to_owned(), Ok(rounds.into()));
        assert_eq!(
            row.line(1_000, Some(0.5)),
            "| a tool | 2.000 | 1.000 to 4.000 | 1.000 | 2 | 1,000 |"
        );
        let row = Row::new("none here".to_owned(), Err("not found".to_owned()));
        assert_eq!(
            row.line(1_000, None),
            "| none here | not measured: not found | – | – | – | – |"
        );
    }
}
