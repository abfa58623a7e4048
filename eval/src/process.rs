//! Running other programs, for a bounded time.

use crate::Failure;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Between two looks at whether a program ended: a twentieth of what it took so far, so that how long it
/// took is known well enough, and looking costs nothing.
const SHORTEST_LOOK: Duration = Duration::from_micros(100);
const LONGEST_LOOK: Duration = Duration::from_millis(10);

/// How a program ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) elapsed: Duration,
}

impl Ended {
    /// Signal that ended it.
    pub(crate) fn signal(&self) -> Option<i32> {
        // A shell reports the signal of its last command as a status of 128 and more.
        let reported = self.status.code().filter(|code| (129..160).contains(code));
        self.status.signal().or(reported.map(|code| code - 128))
    }
}

/// Runs a program with its output in `log` and its messages beside it, and ends it when it takes
/// too long.
///
/// # Errors
/// It cannot be started, or took too long.
pub(crate) fn run(command: &mut Command, log: &Path, limit: Duration) -> Result<Ended, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let file = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
    let beside = messages(log);
    let told = File::create(&beside).map_err(|error| format!("{}: {error}", beside.display()))?;
    command.stdin(Stdio::null()).stdout(file).stderr(told);
    let start = Instant::now();
    let mut child = command
        .spawn()
        .map_err(|error| format!("{name}: {error}"))?;
    loop {
        let status = child
            .try_wait()
            .map_err(|error| format!("{name}: {error}"))?;
        if let Some(status) = status {
            let elapsed = start.elapsed();
            return Ok(Ended { status, elapsed });
        }
        if start.elapsed() > limit {
            let _ = child.kill();
            let _ = child.wait();
            let program = program(command);
            return Err(format!("{program} took longer than {} s", limit.as_secs()));
        }
        std::thread::sleep((start.elapsed() / 20).clamp(SHORTEST_LOOK, LONGEST_LOOK));
    }
}

/// The same for a program that must succeed.
///
/// # Errors
/// Also when it fails; with its last words.
pub(crate) fn must(command: &mut Command, log: &Path, limit: Duration) -> Result<Ended, Failure> {
    let ended = run(command, log, limit)?;
    if ended.status.success() {
        return Ok(ended);
    }
    let said = said(log);
    let lines: Vec<&str> = said.trim().lines().collect();
    let last = lines[lines.len().saturating_sub(6)..].join(" | ");
    Err(format!(
        "{} failed ({}): {last}",
        program(command),
        ended.status
    ))
}

/// The program's name. The page shows it, and where the program lies is this machine's own.
fn program(command: &Command) -> String {
    let path = Path::new(command.get_program());
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Where a program's messages go: not into its output, which may be a document.
fn messages(log: &Path) -> PathBuf {
    log.with_extension("messages")
}

/// All that a program said: its output, then its messages.
pub(crate) fn said(log: &Path) -> String {
    let files = [log.to_path_buf(), messages(log)];
    files
        .map(|file| fs::read_to_string(file).unwrap_or_default())
        .concat()
}

/// Runs a program that must succeed and returns what it printed.
///
/// # Errors
/// It cannot be started, fails, or takes too long.
pub(crate) fn output(
    command: &mut Command,
    log: &Path,
    limit: Duration,
) -> Result<String, Failure> {
    must(command, log, limit)?;
    fs::read_to_string(log).map_err(|error| format!("{}: {error}", log.display()))
}

/// Whose time is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whose {
    /// This process's.
    Own,
    /// That of the processes that it started and that ended, and of theirs.
    Children,
}

/// What was taken of the processor, in user and in system mode; in hundredths.
pub(crate) fn processor_seconds(whose: Whose) -> f64 {
    /// Ticks of `/proc/PID/stat` in a second, whatever those of the kernel are.
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in brackets, may hold anything; the times are the 12th to 15th field after it.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let before = match whose {
        Whose::Own => 11,
        Whose::Children => 13,
    };
    let times = fields.split_whitespace().skip(before).take(2);
    times
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / TICKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_takes_of_the_processor_is_counted() {
        let mut command = Command::new("sh");
        command.args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"]);
        let before = processor_seconds(Whose::Children);
        assert!(command.status().expect("a shell").success());
        assert!(processor_seconds(Whose::Children) > before);
    }
}
