//! The recorder, run so that two runs of a program differ as little as can be.

use super::Bench;
use super::subject::Subject;
use crate::Failure;
use crate::process::{Ended, must, run, said};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// What `rept record` said, and how long it took.
pub(super) struct Recorded {
    pub(super) said: String,
    pub(super) seconds: f64,
}

impl Recorded {
    /// The signal that ended the program, or its status.
    pub(super) fn end(&self) -> String {
        let after = |start: &str| {
            let (_, rest) = self.said.split_once(start)?;
            rest.split(['\n', ':']).next().map(str::to_owned)
        };
        match (
            after("the program was killed by "),
            after("the program exited with "),
        ) {
            (Some(signal), _) => signal,
            (None, Some(status)) => format!("exits, {status}"),
            (None, None) => "?".to_owned(),
        }
    }

    /// Steps and threads, of the summary's first line.
    pub(super) fn counts(&self) -> Option<(u64, u64)> {
        let line = self.said.lines().find(|line| line.contains(" steps of "))?;
        let (steps, rest) = line.split_once(" steps of ")?;
        // What the program wrote last may stand before, on the same line.
        let steps = steps
            .rsplit(|c: char| c != ',' && !c.is_ascii_digit())
            .next()?;
        let steps = steps.replace(',', "").parse().ok()?;
        Some((steps, rest.split(' ').next()?.parse().ok()?))
    }

    /// Notes of the summary that hold this.
    pub(super) fn is_noted(&self, part: &str) -> bool {
        let mut notes = self.said.lines().filter(|line| line.starts_with("note: "));
        notes.any(|note| note.contains(part))
    }
}

/// Records, with these options, on one processor and in a name space of process ids of its own,
/// where that is allowed: ids are then the same in each run.
///
/// # Errors
/// The recorder fails, or takes too long.
pub(super) fn record_alike(
    bench: &Bench,
    subject: &Subject,
    options: &[&str],
    to: &Path,
    limit: Duration,
) -> Result<Recorded, Failure> {
    let mut line: Vec<OsString> = alone().iter().map(OsString::from).collect();
    line.push(bench.rept().into());
    let options = options.iter().chain(&["--repeatable"]);
    record_by(&line, bench, subject, options.copied(), to, limit)
}

/// Records, with these options.
///
/// # Errors
/// The recorder fails, or takes too long.
pub(super) fn record(
    bench: &Bench,
    subject: &Subject,
    options: &[&str],
    to: &Path,
    limit: Duration,
) -> Result<Recorded, Failure> {
    let line = [bench.rept().into()];
    record_by(&line, bench, subject, options.iter().copied(), to, limit)
}

fn record_by<'a>(
    line: &[OsString],
    bench: &Bench,
    subject: &Subject,
    options: impl Iterator<Item = &'a str>,
    to: &Path,
    limit: Duration,
) -> Result<Recorded, Failure> {
    // What an earlier run left would be taken for this one's.
    let _ = fs::remove_dir_all(to);
    let (program, first) = line.split_first().ok_or("no recorder")?;
    let mut command = Command::new(program);
    command
        .args(first)
        .arg("record")
        .args(options)
        .arg("--output")
        .arg(to)
        .arg("--")
        .args(&subject.command)
        .current_dir(&subject.folder);
    let ended = must(&mut command, &bench.log, limit)?;
    Ok(Recorded {
        said: said(&bench.log),
        seconds: ended.elapsed.as_secs_f64(),
    })
}

/// Runs the program without a recorder. Its core, when it leaves one where it runs, is then the bench's.
///
/// # Errors
/// It cannot be started, or takes too long.
pub(super) fn native(bench: &Bench, subject: &Subject, limit: Duration) -> Result<Ended, Failure> {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -c unlimited; exec \"$0\" \"$@\""])
        .args(&subject.command)
        .current_dir(&subject.folder);
    let _ = fs::remove_file(bench.core());
    cores(&subject.folder).for_each(|core| drop(fs::remove_file(core)));
    let ended = run(&mut command, &bench.log, limit);
    cores(&subject.folder).for_each(|core| drop(fs::rename(core, bench.core())));
    ended
}

// Cores in a folder, as the kernel names them unless it is told otherwise.
fn cores(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let is_core = |name: &str| {
        let id = name.strip_prefix("core.").or(name.strip_prefix("core"));
        id.is_some_and(|id| id.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let named = entries.filter(move |entry| entry.file_name().to_str().is_some_and(is_core));
    named.map(|entry| entry.path())
}

// What a command line begins with so that the command is on one processor and has its own ids.
fn alone() -> &'static [String] {
    static ALONE: OnceLock<Vec<String>> = OnceLock::new();
    ALONE.get_or_init(|| {
        let one = format!("taskset -c {}", first_processor());
        let own = "unshare --pid --fork --mount-proc --kill-child";
        let lines = [format!("{own} {one}"), one, own.to_owned()];
        let words = |line: &String| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let works = |line: &Vec<String>| {
            let mut command = Command::new(&line[0]);
            let output = command.args(&line[1..]).arg("true").output();
            output.is_ok_and(|output| output.status.success())
        };
        lines.iter().map(words).find(works).unwrap_or_default()
    })
}

// The first of those that this process may run on.
fn first_processor() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = list.and_then(|list| list.trim().split(['-', ',']).next());
    first.unwrap_or("0").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_read() {
        let recorded = |said: &str| Recorded {
            said: said.to_owned(),
            seconds: 1.0,
        };
        let crashed = recorded(
            "1490 of 3490 378,924 steps of 1 thread in 1.6 s (7 a second), 9 bytes in x\n\
             the program was killed by SIGSEGV\nnote: 3 instructions were stepped\n",
        );
        assert_eq!(crashed.counts(), Some((378_924, 1)));
        assert_eq!(crashed.end(), "SIGSEGV");
        assert!(crashed.is_noted("stepped") && !crashed.is_noted("overwritten"));
        let exited = recorded("the program exited with status 3: there is no crash\n");
        assert_eq!(
            (exited.counts(), exited.end()),
            (None, "exits, status 3".to_owned())
        );
    }
}
