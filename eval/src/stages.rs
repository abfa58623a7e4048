//! The stages of all cases, in order, and the table at the end.

use crate::Failure;
use crate::arguments::{Arguments, Subset, Variant};
use crate::build::{Built, build};
use crate::case::{self, Case};
use crate::key::Key;
use crate::process::{must, output};
use crate::record::{Recording, record, record_sampled};
use crate::report::Beside;
use crate::result::CaseResult;
use crate::score;
use crate::threads::Summary;
use crate::{cost, report};
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Compiling rept.
const BUILD_LIMIT: Duration = Duration::from_secs(1_800);
/// Recovering and explaining one recording.
const EXAMINE_LIMIT: Duration = Duration::from_secs(900);
/// Techniques that are switched off one at a time, when `rept score` can do that.
const TECHNIQUES: [&str; 10] = [
    "forward",
    "correction",
    "branch-facts",
    "pairing",
    "staging",
    "system-calls",
    "files",
    "bits",
    "candidates",
    "numbering",
];

/// Steps from one sample of the registers to the next.
const SAMPLED_EVERY: [u64; 2] = [10_000, 100_000];

/// Why a score has no ceiling when none was wanted.
const NOT_ASKED: &str = "not asked for";

/// What all stages need.
pub(crate) struct Tools {
    rept: PathBuf,
    work: PathBuf,
    /// `rept score` can leave techniques out, and compute ceilings.
    experiments: bool,
    ablations: bool,
    /// What a ceiling may take; `None` for no ceilings.
    ceiling: Option<Duration>,
    /// Of the programs that recover and judge.
    key: String,
}

impl Tools {
    /// The `rept` command.
    pub(crate) fn rept(&self) -> &Path {
        &self.rept
    }

    /// Key of the programs that recover and judge.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }
}

/// Runs the cases that were asked for, and writes the table.
///
/// # Errors
/// A case of the small subset failed, or a tool is missing. In a full run a case that fails
/// stays in the table with its reason.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let work = arguments.work.clone().unwrap_or_else(default_work);
    for folder in ["sources", "programs", "recordings", "results"] {
        let folder = work.join(folder);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let cases = case::all(&root.join("cases"))?;
    let mut failed = Vec::new();
    if !arguments.table {
        let wanted = select(&cases, arguments)?;
        let ceiling = Some(arguments.ceiling).filter(|&seconds| seconds > 0);
        let tools = Tools {
            ceiling: ceiling.map(Duration::from_secs),
            ..tools(root, arguments.rept.as_deref(), arguments.ablations, &work)?
        };
        failed = run_cases(&wanted, &arguments.variants, &tools)?;
        if arguments.cost {
            cost::measure(&cases, &tools.rept, &work)?;
        }
    }
    let results = results(&cases, &work);
    match (arguments.subset, &arguments.output) {
        (Some(_), None) => report::print(&results),
        (_, output) => {
            let docs = output.clone().unwrap_or_else(|| root.join("../docs"));
            let missing = missing(&cases, &results);
            let beside = Beside {
                cost: cost::read(&work),
                races: Summary::read(&root.join("../docs")),
            };
            report::write(&results, &missing, &beside, &docs)?;
        }
    }
    match (arguments.subset, failed.as_slice()) {
        (Some(_), [first, ..]) => Err(format!("{first} and perhaps others failed")),
        _ => Ok(()),
    }
}

/// Where everything is made when nobody says where.
pub(crate) fn default_work() -> PathBuf {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(home);
    cache.unwrap_or_else(env::temp_dir).join("rept-eval")
}

fn select<'a>(cases: &'a [Case], arguments: &Arguments) -> Result<Vec<&'a Case>, Failure> {
    for name in &arguments.cases {
        if !cases.iter().any(|case| case.name == *name) {
            return Err(format!("there is no case {name}"));
        }
    }
    let named = |case: &&Case| arguments.cases.is_empty() || arguments.cases.contains(&case.name);
    let small = |case: &&Case| arguments.subset != Some(Subset::Ci) || case.manifest.ci;
    Ok(cases.iter().filter(named).filter(small).collect())
}

/// The `rept` command, given or built, and what it can do.
///
/// # Errors
/// It is not there, or cannot be built.
pub(crate) fn tools(
    root: &Path,
    rept: Option<&Path>,
    ablations: bool,
    work: &Path,
) -> Result<Tools, Failure> {
    let built = rept.is_none();
    let rept = match rept {
        Some(rept) => {
            fs::canonicalize(rept).map_err(|error| format!("{}: {error}", rept.display()))?
        }
        None => build_rept(&root.join(".."), work)?,
    };
    let own = env::current_exe().map_err(|error| error.to_string())?;
    Ok(Tools {
        experiments: built,
        ablations,
        ceiling: None,
        key: Key::default().files(&rept)?.files(&own)?.finish(),
        work: work.to_owned(),
        rept,
    })
}

fn build_rept(workspace: &Path, work: &Path) -> Result<PathBuf, Failure> {
    eprintln!("building rept");
    let mut command = Command::new("cargo");
    command
        .args(["build", "--release", "--locked", "--quiet"])
        .args(["-p", "rept-cli", "--features", "experiments"])
        .current_dir(workspace)
        .env_remove("CARGO_TARGET_DIR");
    must(&mut command, &work.join("log"), BUILD_LIMIT)?;
    let rept = workspace.join("target/release/rept");
    fs::canonicalize(&rept).map_err(|error| format!("{}: {error}", rept.display()))
}

/// Names of the cases that failed.
fn run_cases(cases: &[&Case], variants: &[Variant], tools: &Tools) -> Result<Vec<String>, Failure> {
    let mut failed = Vec::new();
    let all = cases.len() * variants.len();
    for (index, case) in cases.iter().enumerate() {
        for (turn, &variant) in variants.iter().enumerate() {
            let number = index * variants.len() + turn + 1;
            let start = Instant::now();
            let name = format!("{}.{}", case.name, variant.name());
            let path = tools.work.join("results").join(format!("{name}.json"));
            let result = run_case(case, variant, tools, &path);
            let said = match &result.failure {
                Some(failure) => format!("failed: {failure}"),
                None => report::summary(&result),
            };
            eprintln!(
                "[{number}/{all}] {name}: {said} ({} s)",
                start.elapsed().as_secs()
            );
            failed.extend(result.failure.is_some().then_some(name));
            result.write(&path)?;
        }
    }
    Ok(failed)
}

fn run_case(case: &Case, variant: Variant, tools: &Tools, path: &Path) -> CaseResult {
    let mut result = CaseResult {
        name: case.name.clone(),
        variant: variant.name().to_owned(),
        key: String::new(),
        judged_by: tools.key.clone(),
        manifest: case.manifest.clone(),
        failure: None,
        recording: None,
        score: None,
        examination: None,
        no_ceiling: None,
        naive: None,
        ablations: BTreeMap::new(),
    };
    let judged = build(case, variant, &tools.work).and_then(|built| {
        let recording = record(case, &built, variant.name(), &tools.rept, &tools.work)?;
        let ablations = if tools.ablations { "ablations" } else { "" };
        let key = Key::default()
            .text(&recording.key)
            .text(&tools.key)
            .text(ablations)
            .text(&format!("{:?}", case.manifest))
            .finish();
        if let Some(kept) = CaseResult::read(path).filter(|kept| kept.key == key) {
            result = kept;
            // A ceiling that was left out may be added by itself.
            let left_out = result.no_ceiling.as_deref() == Some(NOT_ASKED);
            if let Some(score) = result.score.as_mut().filter(|_| left_out) {
                result.no_ceiling = ceiling(score, &recording, tools).err();
            }
            return Ok(());
        }
        judge(case, &recording, tools, &mut result)?;
        if tools.ablations && tools.experiments {
            ablate(case, &built, &recording, tools, &mut result)?;
        }
        result.key = key;
        result.recording = Some(recording);
        Ok(())
    });
    result.failure = judged.err();
    result
}

fn judge(
    case: &Case,
    recording: &Recording,
    tools: &Tools,
    result: &mut CaseResult,
) -> Result<(), Failure> {
    let log = recording.folder.join("log");
    let examination = examine(case, recording)?;
    check_crash(case, &examination)?;
    result.examination = Some(examination);
    let mut score = score::score(&tools.rept, &recording.folder, &["--why"], &log)?;
    result.no_ceiling = ceiling(&mut score, recording, tools).err();
    result.score = Some(score);
    if tools.experiments && result.variant == Variant::O2.name() {
        let naive = score::score(&tools.rept, &recording.folder, &["--naive"], &log)?;
        result.naive = Some(naive);
    }
    Ok(())
}

/// Scores with single techniques switched off, and with samples of the registers.
fn ablate(
    case: &Case,
    built: &Built,
    recording: &Recording,
    tools: &Tools,
    result: &mut CaseResult,
) -> Result<(), Failure> {
    let log = recording.folder.join("log");
    for technique in TECHNIQUES {
        let options = ["--without", technique];
        let score = score::score(&tools.rept, &recording.folder, &options, &log)?;
        result
            .ablations
            .insert(format!("without {technique}"), score);
    }
    for every in SAMPLED_EVERY {
        let (rept, work) = (&tools.rept, &tools.work);
        let sampled = record_sampled(case, built, &result.variant, every, rept, work)?;
        let score = score::score(rept, &sampled.folder, &[], &log)?;
        result
            .ablations
            .insert(format!("registers sampled every {every} steps"), score);
    }
    Ok(())
}

/// Adds the ceilings, which cost a recovery of their own, to a score.
fn ceiling(score: &mut score::Score, recording: &Recording, tools: &Tools) -> Result<(), Failure> {
    if !tools.experiments {
        return Err("rept is not ours, and cannot".to_owned());
    }
    let limit = tools.ceiling.ok_or(NOT_ASKED)?;
    let log = recording.folder.join("log");
    let given = score::within(limit, &tools.rept, &recording.folder, &["--ceiling"], &log)?;
    score.take_ceilings(given);
    Ok(())
}

/// In a process of its own, for its peak memory.
fn examine(case: &Case, recording: &Recording) -> Result<crate::examine::Examination, Failure> {
    let own = env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(own);
    command.arg("examine").arg(&recording.folder);
    for cause in &case.manifest.cause {
        command.args(["--cause", cause]);
    }
    let text = output(&mut command, &recording.folder.join("log"), EXAMINE_LIMIT)?;
    serde_json::from_str(&text).map_err(|error| format!("examine: {error}"))
}

/// The crash is the one that the manifest tells of.
fn check_crash(case: &Case, found: &crate::examine::Examination) -> Result<(), Failure> {
    let manifest = &case.manifest;
    let signal = signal_name(found.signal);
    if signal != manifest.signal {
        return Err(format!("ended by {signal}, not {}", manifest.signal));
    }
    let here = found.open.iter().chain([&found.crash]);
    if here.clone().any(|name| name.contains(&manifest.function)) {
        return Ok(());
    }
    Err(format!(
        "crashed in {}, not in {}",
        found.crash, manifest.function
    ))
}

pub(crate) fn signal_name(signal: i32) -> String {
    match signal {
        4 => "SIGILL".to_owned(),
        5 => "SIGTRAP".to_owned(),
        6 => "SIGABRT".to_owned(),
        7 => "SIGBUS".to_owned(),
        8 => "SIGFPE".to_owned(),
        11 => "SIGSEGV".to_owned(),
        other => format!("signal {other}"),
    }
}

/// Everything that was ever scored and still has a case, with what is said of it today.
fn results(cases: &[Case], work: &Path) -> Vec<CaseResult> {
    let variants = [Variant::O2, Variant::O0, Variant::O3];
    let read = |case: &Case, variant: Variant| {
        let name = format!("{}.{}.json", case.name, variant.name());
        let mut result = CaseResult::read(&work.join("results").join(name))?;
        result.manifest.remarks.clone_from(&case.manifest.remarks);
        Some(result)
    };
    cases
        .iter()
        .flat_map(|case| variants.map(|variant| read(case, variant)))
        .flatten()
        .collect()
}

/// Names of the cases without any result.
fn missing(cases: &[Case], results: &[CaseResult]) -> Vec<String> {
    let found = |case: &&Case| !results.iter().any(|result| result.name == case.name);
    let missing = cases.iter().filter(found);
    missing.map(|case| case.name.clone()).collect()
}
