//! Recording a crash, with truth.

use crate::Failure;
use crate::build::Built;
use crate::case::{Case, Manifest};
use crate::key::{self, Key};
use crate::process::{Ended, must, run, said};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A million steps at a tenth of the usual speed.
const LIMIT: Duration = Duration::from_secs(300);
/// Recordings tried: a program that takes random numbers does not always crash alike.
const TRIES: usize = 3;
/// Recordings tried of a case with a limit of its own: of those that crash every other time, one
/// in 65,536 is not recorded.
const TRIES_WITHIN_LIMIT: usize = 16;
/// How `rept record` runs the program, try by try and the last for all that follow: copies of its code
/// are forty times as fast as single steps, but take no turns as threads do that race.
const ENGINES: [&str; 2] = ["fast", "step"];
/// Raised when the recorder says more of a step, or otherwise, than it did: what was recorded before
/// would be judged by the wrong truth. The recorder itself is not in the key, for recordings of races
/// differ, and figures of two builds are compared on the same ones.
const TRUTH: &str = "truth 2";
/// What the recorder says of a program that crashed, before the signal's name.
const KILLED: &str = "was killed by ";
/// A program that runs at full speed.
const NATIVE_LIMIT: Duration = Duration::from_secs(30);

/// A recording and what it cost.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Recording {
    /// Where it is.
    pub(crate) folder: PathBuf,
    /// Key of what went in.
    pub(crate) key: String,
    /// Seconds that the program takes without a recorder.
    pub(crate) native_seconds: f64,
    /// Seconds that it took to record.
    pub(crate) seconds: f64,
}

/// Records; does nothing when that was done before.
///
/// # Errors
/// The program does not crash, or the recorder fails.
pub(crate) fn record(
    case: &Case,
    built: &Built,
    variant: &str,
    rept: &Path,
    work: &Path,
) -> Result<Recording, Failure> {
    record_as(case, built, variant, None, rept, work)
}

/// The same with all registers sampled every so many steps: another run of the program.
///
/// # Errors
/// As [`record`].
pub(crate) fn record_sampled(
    case: &Case,
    built: &Built,
    variant: &str,
    every: u64,
    rept: &Path,
    work: &Path,
) -> Result<Recording, Failure> {
    record_as(case, built, variant, Some(every), rept, work)
}

fn record_as(
    case: &Case,
    built: &Built,
    variant: &str,
    samples: Option<u64>,
    rept: &Path,
    work: &Path,
) -> Result<Recording, Failure> {
    let sampled = samples.map_or_else(String::new, |every| format!(".sampled-{every}"));
    let name = format!("{}.{variant}{sampled}", case.name);
    let folder = work.join("recordings").join(name);
    let about = folder.join("recording.json");
    let how = (
        &case.manifest.from,
        &case.manifest.buffer,
        case.manifest.seed,
    );
    let key = Key::default()
        .text(&built.key)
        .text(&format!("{how:?}"))
        .text(engines(&case.manifest)[0])
        .text(TRUTH)
        .finish();
    if let Some(known) = kept(&about).filter(|known| known.key == key) {
        return Ok(known);
    }
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let native_seconds = native(case, built);
    let ended = crash(case, built, samples, rept, &folder)?;
    let recording = Recording {
        folder,
        key: key.clone(),
        native_seconds,
        seconds: ended.elapsed.as_secs_f64(),
    };
    let text = serde_json::to_string_pretty(&recording).map_err(|error| error.to_string())?;
    key::done(&about, &text)?;
    Ok(recording)
}

/// Records until the program crashes as the manifest says: of a race, one run ends in a wild read and
/// the next in what the allocator finds. When none of the tries does, the last crash stands for what it is.
fn crash(
    case: &Case,
    built: &Built,
    samples: Option<u64>,
    rept: &Path,
    folder: &Path,
) -> Result<Ended, Failure> {
    let (limit, tries) = patience(&case.manifest);
    let engines = engines(&case.manifest);
    let log = folder.join("log");
    let wanted = format!("{KILLED}{}", case.manifest.signal);
    let mut last = Err("not tried".to_owned());
    for attempt in 0..tries {
        let engine = engines[attempt.min(engines.len() - 1)];
        let mut recorder = recorder(case, built, rept, engine, folder);
        if let Some(every) = samples {
            recorder.args(["--sample-registers", &every.to_string()]);
        }
        recorder.arg("--").args(&case.manifest.run);
        last = must(&mut recorder, &log, limit);
        if last.is_ok() && said(&log).contains(&wanted) {
            return last;
        }
    }
    match last {
        Ok(_) if !said(&log).contains(KILLED) => {
            Err("the program did not crash under the recorder".to_owned())
        }
        last => last,
    }
}

/// Time for one try, and how many there are.
fn patience(manifest: &Manifest) -> (Duration, usize) {
    match &manifest.limit {
        Some(limit) => (Duration::from_secs(limit.seconds), TRIES_WITHIN_LIMIT),
        None => (LIMIT, TRIES),
    }
}

fn engines(manifest: &Manifest) -> &'static [&'static str] {
    match manifest.threads {
        1 => &ENGINES,
        _ => &ENGINES[1..],
    }
}

fn kept(about: &Path) -> Option<Recording> {
    serde_json::from_str(&fs::read_to_string(about).ok()?).ok()
}

/// Seconds that the program takes by itself; it may or may not crash, for races do as they like.
fn native(case: &Case, built: &Built) -> f64 {
    let Some((program, arguments)) = case.manifest.run.split_first() else {
        return 0.0;
    };
    let mut command = Command::new("sh");
    // Without a core, which takes longer to write than the program to run.
    command
        .args(["-c", "ulimit -c 0; exec \"$0\" \"$@\"", program])
        .args(arguments)
        .current_dir(&built.folder);
    run(&mut command, &built.folder.join("log"), NATIVE_LIMIT)
        .map_or(NATIVE_LIMIT.as_secs_f64(), |ended| {
            ended.elapsed.as_secs_f64()
        })
}

/// The recorder, but for the program and its arguments.
fn recorder(case: &Case, built: &Built, rept: &Path, engine: &str, folder: &Path) -> Command {
    let manifest = &case.manifest;
    let mut command = Command::new(rept);
    command.args(["record", "--truth", "--engine", engine]);
    command.arg("--output").arg(folder);
    if let Some(from) = &manifest.from {
        command.args(["--from", from]);
    }
    if let Some(buffer) = &manifest.buffer {
        command.args(["--buffer", buffer]);
    }
    if let Some(seed) = manifest.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    command.current_dir(&built.folder);
    command
}
