//! The two engines of the recorder, and stock perf, on the cases and on the project's test programs:
//! the tables of `docs/tracer.md`.
//!
//! ```text
//!  cases ──┐            ┌─ same:  fast ≟ step (twice) in every register and access   (proof)
//!          ├─▶ subjects ┼─ whole: from exec to the end by copies, and as perf decodes it (whole)
//!  tests ──┘            └─ races: threads, many times with and without the recorder   (races)
//! ```
//!
//! Rows are printed as they are made: an interrupted run has shown what it did.

mod names;
mod proof;
mod races;
mod recorder;
mod subject;
mod whole;

use crate::Failure;
use crate::arguments::{EnginesArgs, Table};
use crate::case;
use crate::stages::{self, Tools};
use std::fs;
use std::path::{Path, PathBuf};
use subject::Subject;

/// What all tables need.
struct Bench {
    tools: Tools,
    /// Folder of recordings.
    folder: PathBuf,
    log: PathBuf,
    /// Steps of a comparison.
    steps: u64,
    /// Runs of a program that races.
    runs: u32,
}

/// Makes the tables that were asked for.
///
/// # Errors
/// A tool is missing, or a program cannot be built. What goes wrong with one of them stands in its row.
pub(crate) fn run(wanted: &EnginesArgs) -> Result<(), Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let work = wanted.work.clone().unwrap_or_else(stages::default_work);
    let folder = work.join("engines");
    for folder in [&folder, &work.join("sources"), &work.join("programs")] {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let bench = Bench {
        tools: stages::tools(root, wanted.rept.as_deref(), false, &work)?,
        log: folder.join("log"),
        folder,
        steps: wanted.steps,
        runs: wanted.runs,
    };
    let cases = case::all(&root.join("cases"))?;
    let named = |name: &str| wanted.cases.is_empty() || wanted.cases.iter().any(|n| n == name);
    let mut corpus = Vec::new();
    for case in cases.iter().filter(|case| named(&case.name)) {
        corpus.push(Subject::case(case, &work)?);
    }
    let tests = subject::tests(&root.join("../crates"), &bench.folder, named)?;
    if corpus.is_empty() && tests.is_empty() {
        return Err("there is no such case or test program".to_owned());
    }
    for table in [Table::Same, Table::Whole, Table::Races] {
        if wanted.tables.is_empty() || wanted.tables.contains(&table) {
            match table {
                Table::Same => proof::table(&corpus, &tests, &bench),
                Table::Whole => whole::table(&corpus, &bench),
                Table::Races => races::table(&corpus, &bench),
            }
        }
    }
    Ok(())
}

impl Bench {
    fn rept(&self) -> &Path {
        self.tools.rept()
    }

    // The core of the program that ran last without a recorder.
    fn core(&self) -> PathBuf {
        self.folder.join("core")
    }
}
