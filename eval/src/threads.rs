//! Programs with known races, over many seeds of the recorder's scheduler.
//!
//! Each program is recorded with the truth in several *forms*: its threads overlapping, on one
//! core in turns, and overlapping with coarser clocks. What is recovered of each run is scored
//! like any recording, the overlapping ones once more without what keeps races apart, and the
//! value that the program died of is followed back as for the cases (`examine`).
//!
//! Sums of all runs are kept beside the pages (`docs/threads.json`), for the page of the cases has a
//! table of them.
//!
//! Every run is kept as one line of a file, under a key of the programs that made it, so that an
//! interrupted series goes on where it was. Recording takes longest by far, and recordings do not
//! hang on how they are recovered: they too can be kept.

mod kept;
mod program;
mod summary;
mod table;

pub(crate) use summary::{Sum, Summary, Sums};

use crate::Failure;
use crate::arguments::ThreadsArgs;
use crate::examine::Examination;
use crate::process::{must, output};
use crate::score;
use crate::stages::{self, Tools};
use kept::Kept;
use program::{PROGRAMS, Program};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Recording or examining one run of some 100,000 steps on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);
/// What is counted.
const MEASURE: &str = "register_reads";

/// How a program is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub(crate) enum Form {
    /// Each thread on a core of its own, all timing packets.
    Overlapping,
    /// One core, in turns of at most 50 steps.
    InTurns,
    /// Overlapping, no CYC.
    Mtc,
    /// Overlapping, neither CYC nor MTC: TSC at PSB.
    Boundaries,
}

impl Form {
    const ALL: [Form; 4] = [
        Form::Overlapping,
        Form::InTurns,
        Form::Mtc,
        Form::Boundaries,
    ];

    const fn name(self) -> &'static str {
        match self {
            Form::Overlapping => "overlapping",
            Form::InTurns => "turns",
            Form::Mtc => "mtc",
            Form::Boundaries => "boundaries",
        }
    }

    const fn options(self) -> [&'static str; 4] {
        match self {
            Form::Overlapping => ["--schedule", "cores", "--timing", "cycles"],
            Form::InTurns => ["--schedule", "quanta:50", "--timing", "cycles"],
            Form::Mtc => ["--schedule", "cores", "--timing", "mtc"],
            Form::Boundaries => ["--schedule", "cores", "--timing", "boundaries"],
        }
    }
}

/// One run of one program.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Run {
    key: String,
    program: String,
    form: Form,
    seed: u64,
    /// Steps of all threads.
    steps: u64,
    /// Register reads.
    reads: score::Tally,
    /// Values of all measures, called certain or assumed, and wrong.
    wrong_trusted: u64,
    /// Register reads, without what keeps races apart.
    unguarded: Option<score::Tally>,
    /// Values called certain or assumed, and wrong, without it.
    unguarded_trusted: u64,
    /// Where the fatal value was planted.
    planted: Option<Planted>,
}

/// What was found of where a fatal value was planted.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Planted {
    /// The store was found, and no value on the way was wrong or unknown.
    traced: bool,
    /// The timestamps prove it to be before the crash, and after those of other threads at that line.
    ordered: bool,
}

/// Records and scores what is missing, prints the tables, and keeps the sums.
///
/// # Errors
/// A tool is missing, or a program cannot be built, recorded or scored.
pub(crate) fn run(wanted: &ThreadsArgs) -> Result<(), Failure> {
    let work = wanted.work.clone().unwrap_or_else(stages::default_work);
    let path = work.join("threads.jsonl");
    let runs = match wanted.table {
        true => kept::last(&path)?,
        false => make(wanted, &work, &path)?,
    };
    let summary = Summary::new(&runs, wanted.seeds);
    print!("{}", table::table(&summary));
    wanted
        .output
        .as_ref()
        .map_or(Ok(()), |folder| summary.write(folder))
}

/// All runs, those made before among them.
fn make(wanted: &ThreadsArgs, work: &Path, path: &Path) -> Result<Vec<Run>, Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(work).map_err(|error| format!("{}: {error}", work.display()))?;
    let tools = stages::tools(root, wanted.rept.as_deref(), false, work)?;
    let programs = build(root, work)?;
    let recordings = wanted.recordings.as_deref();
    if let Some(folder) = recordings {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let mut kept = Kept::open(path, tools.key())?;
    for seed in 1..=wanted.seeds {
        for (program, built) in PROGRAMS.iter().zip(&programs) {
            for form in Form::ALL {
                if !kept.has(program.name, form, seed) {
                    let wanted = Wanted {
                        program,
                        built,
                        form,
                        seed,
                    };
                    kept.add(one(&wanted, recordings, &tools, work)?)?;
                }
            }
        }
        eprintln!("seed {seed} of {}", wanted.seeds);
    }
    Ok(kept.into_runs())
}

fn build(root: &Path, work: &Path) -> Result<Vec<PathBuf>, Failure> {
    let sources = root.join("../crates/rept-cli/tests/programs/threads");
    let sources =
        fs::canonicalize(&sources).map_err(|error| format!("{}: {error}", sources.display()))?;
    let build = |program: &Program| {
        let built = work.join(program.name);
        let mut command = Command::new("cc");
        command
            .args(["-O1", "-g", "-pthread", "-Wl,-z,now", "-o"])
            .arg(&built)
            .arg(sources.join(program.file()));
        must(&mut command, &work.join("log"), LIMIT)?;
        Ok(built)
    };
    PROGRAMS.iter().map(build).collect()
}

/// A run to be made.
struct Wanted<'a> {
    program: &'a Program,
    built: &'a Path,
    form: Form,
    seed: u64,
}

impl Wanted<'_> {
    fn record(&self, folder: &Path, tools: &Tools, log: &Path) -> Result<(), Failure> {
        let _ = fs::remove_dir_all(folder);
        let mut recorder = Command::new(tools.rept());
        recorder
            .args(["record", "--truth", "--from", "main", "--output"])
            .arg(folder)
            .args(self.form.options())
            .args(["--seed", &self.seed.to_string(), "--"])
            .arg(self.built);
        must(&mut recorder, log, LIMIT).map(drop)
    }

    /// The recording among those that are kept; it is made when it is not there.
    fn kept(&self, folder: &Path, tools: &Tools, log: &Path) -> Result<PathBuf, Failure> {
        let name = format!("{}.{}.{}", self.program.name, self.form.name(), self.seed);
        let finished = folder.join(&name);
        if !finished.is_dir() {
            let partial = folder.join(name + ".partial");
            self.record(&partial, tools, log)?;
            fs::rename(&partial, &finished)
                .map_err(|error| format!("{}: {error}", finished.display()))?;
        }
        Ok(finished)
    }
}

fn one(
    wanted: &Wanted<'_>,
    recordings: Option<&Path>,
    tools: &Tools,
    work: &Path,
) -> Result<Run, Failure> {
    let log = work.join("log");
    if let Some(recordings) = recordings {
        let folder = wanted.kept(recordings, tools, &log)?;
        return judge(wanted, &folder, tools, &log);
    }
    let folder = work.join("threads");
    wanted.record(&folder, tools, &log)?;
    let run = judge(wanted, &folder, tools, &log);
    let _ = fs::remove_dir_all(&folder);
    run
}

fn judge(wanted: &Wanted<'_>, folder: &Path, tools: &Tools, log: &Path) -> Result<Run, Failure> {
    let Wanted {
        program,
        form,
        seed,
        ..
    } = *wanted;
    let scored = score::score(tools.rept(), folder, &[], log)?;
    let alone = form == Form::Overlapping;
    let unguarded = match alone {
        true => {
            let options = ["--without", "races"];
            Some(score::score(tools.rept(), folder, &options, log)?)
        }
        false => None,
    };
    let planted = match (alone, program.planted) {
        (true, Some(line)) => Some(planted(folder, &program.cause(line), log)?),
        _ => None,
    };
    let trusted = |score: &score::Score| {
        let (certain, assumed) = score.wrong_trusted();
        certain + assumed
    };
    Ok(Run {
        key: tools.key().to_owned(),
        program: program.name.to_owned(),
        form,
        seed,
        steps: scored.steps,
        reads: scored.tally(MEASURE, None),
        wrong_trusted: trusted(&scored),
        unguarded_trusted: unguarded.as_ref().map_or(0, trusted),
        unguarded: unguarded.map(|score| score.tally(MEASURE, None)),
        planted,
    })
}

fn planted(folder: &Path, cause: &str, log: &Path) -> Result<Planted, Failure> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(own);
    command.arg("examine").arg(folder).args(["--cause", cause]);
    let text = output(&mut command, log, LIMIT)?;
    let found: Examination =
        serde_json::from_str(&text).map_err(|error| format!("examine: {error}"))?;
    Ok(Planted {
        traced: found.is_debuggable(),
        ordered: found.ordered == Some(true),
    })
}
