//! What recording costs, on one program in one run.

use crate::Failure;
use crate::arguments::Variant;
use crate::build::{Built, build};
use crate::case::Case;
use crate::process::{run, said};
use crate::report::{grouped, line};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The case that is measured: it crashes in each run alike, on its first thread, after some 560,000
/// instructions.
const CASE: &str = "lua-getlocal-overflow";
/// Whatever takes longer is not measured.
const LIMIT: Duration = Duration::from_secs(300);
/// Runs of which the fastest counts.
const RUNS: u32 = 3;

/// Seconds of one program under each tool.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Cost {
    pub(crate) case: String,
    /// Instructions from the process's first to the crash.
    pub(crate) steps: u64,
    pub(crate) rows: Vec<Row>,
}

/// One tool.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    pub(crate) tool: String,
    /// Fastest of three runs, or why there is none.
    pub(crate) seconds: Result<f64, String>,
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
    let mut rows = Vec::new();
    for (tool, line) in tools(rept, &folder) {
        eprintln!("recording cost: {tool}");
        let seconds = fastest(case, &built, &line, &log);
        let tool = tool.to_owned();
        rows.push(Row { tool, seconds });
    }
    let steps = steps_of(rept, &folder.join("step"), &log)?;
    let case = case.name.clone();
    let text = serde_json::to_string_pretty(&Cost { case, steps, rows });
    fs::write(
        work.join("cost.json"),
        text.map_err(|error| error.to_string())?,
    )
    .map_err(|error| error.to_string())
}

/// Shell lines; `"$@"` is the program with its arguments.
fn tools(rept: &Path, folder: &Path) -> Vec<(&'static str, String)> {
    let record = |options: &str, name: &str| {
        let to = folder.join(name);
        format!(
            "exec '{}' record {options} --buffer 4M -o '{}' -- \"$@\"",
            rept.display(),
            to.display()
        )
    };
    vec![
        ("none", "exec \"$@\"".to_owned()),
        ("rept record --engine fast", record("--engine fast", "fast")),
        ("rept record --engine fast --truth", record("--engine fast --truth", "fast-truth")),
        ("rept record (single-step)", record("", "step")),
        ("rept record --truth (single-step)", record("--truth", "step-truth")),
        ("valgrind --tool=none", "exec valgrind -q --tool=none \"$@\"".to_owned()),
        ("valgrind (memcheck)", "exec valgrind -q \"$@\"".to_owned()),
        (
            "gdb, record full, from main on",
            // gdb cannot record AVX; the C library is told to do without.
            "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2_Usable,-AVX2,-AVX512F,-AVX512VL,-AVX_Fast_Unaligned_Load,-ERMS,-XSAVE,-XSAVEC \
             exec gdb -q -batch -ex 'set record full insn-number-max unlimited' -ex 'break main' -ex run \
             -ex 'record full' -ex continue -ex 'info record' --args \"$@\" | tee gdb.log && grep -q SIGSEGV gdb.log"
                .to_owned(),
        ),
    ]
}

fn fastest(case: &Case, built: &Built, line: &str, log: &Path) -> Result<f64, String> {
    let mut best: Option<f64> = None;
    for _ in 0..RUNS {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("ulimit -c 0; {line}"), "sh"])
            .args(&case.manifest.run)
            .current_dir(&built.folder);
        let ended = run(&mut command, log, LIMIT)?;
        let crashed = ended.signal().is_some();
        if !(ended.status.success() || crashed) {
            let last = said(log)
                .trim()
                .lines()
                .last()
                .unwrap_or("nothing was said")
                .to_owned();
            return Err(format!("{}: {last}", ended.status));
        }
        let seconds = ended.elapsed.as_secs_f64();
        best = Some(best.map_or(seconds, |best| best.min(seconds)));
    }
    best.ok_or_else(|| "not run".to_owned())
}

/// Counts the steps of a recording.
fn steps_of(rept: &Path, folder: &Path, log: &Path) -> Result<u64, Failure> {
    let mut command = Command::new(rept);
    command.arg("decode").arg(folder);
    let text = crate::process::output(&mut command, log, LIMIT)?;
    Ok(text.lines().filter(|line| !line.contains("gap")).count() as u64)
}

impl Cost {
    /// As a section of the page.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let native = self.rows.first().and_then(|row| row.seconds.clone().ok());
        line!(text, "\n## What recording costs\n");
        line!(
            text,
            "`{}`, {} instructions from the process's first to the crash; fastest of {RUNS} runs, one after the other, \
             on the machine that made this page. The time of *none* is mostly that of starting a process.\n",
            self.case,
            grouped(self.steps)
        );
        line!(
            text,
            "| tool | seconds | times none | instructions a second |"
        );
        line!(text, "|---|---:|---:|---:|");
        for row in &self.rows {
            match (&row.seconds, native) {
                (Ok(seconds), Some(native)) => line!(
                    text,
                    "| {} | {seconds:.3} | {:.0} | {} |",
                    row.tool,
                    seconds / native,
                    grouped((self.steps as f64 / seconds) as u64)
                ),
                (Ok(seconds), None) => line!(text, "| {} | {seconds:.3} | – | – |", row.tool),
                (Err(why), _) => line!(text, "| {} | not measured: {why} | – | – |", row.tool),
            }
        }
        line!(
            text,
            "| Intel PT in hardware | **not measured here**: 1-5 % slowdown, by the literature (REPT, OSDI 2018) | 1.01-1.05 | – |"
        );
        text
    }
}
