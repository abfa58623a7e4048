//! Runs that were made before.

use super::{Form, Run};
use crate::Failure;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file of runs, one a line; those of other programs than today's are left alone.
pub(super) struct Kept {
    path: PathBuf,
    file: File,
    runs: Vec<Run>,
}

impl Kept {
    pub(super) fn open(path: &Path, key: &str) -> Result<Kept, Failure> {
        let text = fs::read_to_string(path).unwrap_or_default();
        let runs = runs(&text).filter(|run| run.key == key).collect();
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).open(path);
        let mut file = file.map_err(|error| format!("{}: {error}", path.display()))?;
        if !text.is_empty() && !text.ends_with('\n') {
            let ended = writeln!(file);
            ended.map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(Kept {
            path: path.to_owned(),
            file,
            runs,
        })
    }

    pub(super) fn has(&self, program: &str, form: Form, seed: u64) -> bool {
        let mut runs = self.runs.iter();
        runs.any(|run| run.program == program && run.form == form && run.seed == seed)
    }

    pub(super) fn add(&mut self, run: Run) -> Result<(), Failure> {
        let text = serde_json::to_string(&run).map_err(|error| error.to_string())?;
        let written = writeln!(self.file, "{text}");
        written.map_err(|error| format!("{}: {error}", self.path.display()))?;
        self.runs.push(run);
        Ok(())
    }

    pub(super) fn into_runs(self) -> Vec<Run> {
        self.runs
    }
}

/// The runs of the programs that made the newest of a file.
///
/// # Errors
/// The file is missing.
pub(super) fn last(path: &Path) -> Result<Vec<Run>, Failure> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut all: Vec<Run> = runs(&text).collect();
    if let Some(key) = all.last().map(|run| run.key.clone()) {
        all.retain(|run| run.key == key);
    }
    Ok(all)
}

/// The last line of an interrupted series may be half a line.
fn runs(text: &str) -> impl Iterator<Item = Run> {
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
}
