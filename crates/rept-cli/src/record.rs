//! `rept record`: runs a program under the recorder.

use crate::args::RecordArgs;
use crate::failure::Failure;
use crate::text::grouped;
use indicatif::{ProgressBar, ProgressStyle};
use rept_capture::{Exit, Progress, RecordOptions, Recorder, Schedule, Summary};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// Records what the command line asks for and says what was written.
///
/// # Errors
/// The program cannot be run or traced, or the directory cannot be written.
pub(crate) fn record(wanted: &RecordArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let mut options = RecordOptions::new(&wanted.output);
    options.engine = wanted.engine.kind();
    options.buffer = wanted.buffer;
    options.truth = wanted.truth;
    options.seed = wanted.seed;
    options.from = wanted.from.clone();
    options.most_steps = wanted.steps;
    options.pauses = !wanted.no_pauses;
    options.aslr = wanted.aslr;
    options.repeatable = wanted.repeatable;
    options.schedule = schedule(wanted)?;
    options.per_cpu = wanted.per_cpu.is_some();
    options.timing = wanted.timing;
    options.sample_registers = wanted.sample_registers;
    options.save_on = wanted.on_signal;
    options.follow_forks = wanted.follow_forks;
    let summary = match wanted.attach {
        Some(pid) => follow(Recorder::attach(options, pid))?,
        None => run(options, &wanted.program)?,
    };
    match wanted.json {
        true => print_json(&summary, &wanted.output, out),
        false => print(&summary, &wanted.output, out),
    }
    .map_err(Failure::output)
}

/// The same for scripts. Schema `rept-record/1`: fields are added, never renamed.
fn print_json(summary: &Summary, directory: &Path, out: &mut dyn Write) -> io::Result<()> {
    let mut told = document(summary, directory);
    told["schema"] = "rept-record/1".into();
    // The program writes to the same stream, and may not have ended its line.
    writeln!(out, "\n{told}")
}

/// What is told of a process.
fn document(summary: &Summary, directory: &Path) -> Value {
    let (status, signal) = match summary.exit {
        Exit::Status(status) => (Some(status), None),
        Exit::Signal(signal) => (None, Some(signal)),
        Exit::Running => (None, None),
    };
    let children = summary.children.iter().map(|child| {
        let mut told = match &child.result {
            Ok(summary) => document(summary, &child.directory),
            Err(error) => json!({ "error": error.to_string() }),
        };
        told["process"] = child.pid.into();
        told
    });
    json!({
        "directory": directory.display().to_string(),
        "steps": summary.steps,
        "threads": summary.threads,
        "seconds": summary.seconds,
        "bytes": summary.bytes,
        "status": status,
        "signal": signal,
        "signal_name": signal.map(crate::report::signal_name),
        "notes": summary.notes,
        "children": children.collect::<Vec<Value>>(),
    })
}

/// The schedule that the command line asks for.
fn schedule(wanted: &RecordArgs) -> Result<Schedule, Failure> {
    match (wanted.schedule, wanted.per_cpu) {
        (None, None) => Ok(Schedule::Cores),
        (None, Some(count)) => Ok(Schedule::cpus(count)),
        (Some(schedule), None) => Ok(schedule),
        (Some(Schedule::Cpus { count, longest }), Some(asked)) if count == asked => {
            Ok(Schedule::Cpus { count, longest })
        }
        (Some(_), Some(count)) => Err(Failure::new(format!(
            "--per-cpu {count} needs --schedule cpus:{count}, with or without a longest turn"
        ))),
    }
}

/// Runs the recorder, with a progress line on a terminal.
///
/// # Errors
/// Those of the recorder.
pub(crate) fn run(options: RecordOptions, program: &[OsString]) -> Result<Summary, Failure> {
    let Some((program, arguments)) = program.split_first() else {
        return Err(Failure::new("no program was given"));
    };
    follow(Recorder::new(options, program, arguments))
}

// Lets it record, with a progress line on a terminal.
fn follow(recorder: Recorder) -> Result<Summary, Failure> {
    // Draws nothing when the standard error stream is not a terminal.
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::default_spinner());
    bar.enable_steady_tick(Duration::from_millis(200));
    let result = recorder.run(|progress| bar.set_message(line(&progress)));
    bar.finish_and_clear();
    result.map_err(|error| Failure::new(error.to_string()))
}

fn line(progress: &Progress) -> String {
    let rate = progress.steps as f64 / progress.elapsed.as_secs_f64().max(1e-3);
    format!(
        "recording: {} steps, {} a second, {} thread{}",
        grouped(progress.steps),
        grouped(rate as u64),
        progress.threads,
        if progress.threads == 1 { "" } else { "s" }
    )
}

/// Prints what was recorded.
///
/// # Errors
/// Those of writing.
pub(crate) fn print(summary: &Summary, directory: &Path, out: &mut dyn Write) -> io::Result<()> {
    let rate = summary.steps as f64 / summary.seconds.max(1e-3);
    writeln!(
        out,
        "{} steps of {} thread{} in {:.1} s ({} a second), {} bytes in {}",
        grouped(summary.steps),
        summary.threads,
        if summary.threads == 1 { "" } else { "s" },
        summary.seconds,
        grouped(rate as u64),
        grouped(summary.bytes),
        directory.display()
    )?;
    match summary.exit {
        Exit::Status(status) => writeln!(
            out,
            "the program exited with status {status}: there is no crash to report"
        )?,
        Exit::Running => writeln!(out, "the program was let go, and runs on")?,
        Exit::Signal(signal) => writeln!(
            out,
            "the program was killed by {}",
            crate::report::signal_name(signal)
        )?,
    }
    for note in &summary.notes {
        writeln!(out, "note: {note}")?;
    }
    for child in &summary.children {
        write!(out, "process {}: ", child.pid)?;
        match &child.result {
            Ok(summary) => print(summary, &child.directory, out)?,
            Err(error) => writeln!(out, "{error}")?,
        }
    }
    Ok(())
}
