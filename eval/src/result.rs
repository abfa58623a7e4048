//! The result of one case in one variant.

use crate::Failure;
use crate::case::Manifest;
use crate::examine::Examination;
use crate::record::Recording;
use crate::score::Score;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Everything that the table shows of a case.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct CaseResult {
    pub(crate) name: String,
    pub(crate) variant: String,
    /// Key of what went in.
    pub(crate) key: String,
    /// Key of the programs that recovered and judged.
    #[serde(default)]
    pub(crate) judged_by: String,
    pub(crate) manifest: Manifest,
    /// Why there is no score, when there is none.
    #[serde(default)]
    pub(crate) failure: Option<Failure>,
    #[serde(default)]
    pub(crate) recording: Option<Recording>,
    #[serde(default)]
    pub(crate) score: Option<Score>,
    #[serde(default)]
    pub(crate) examination: Option<Examination>,
    /// Why the score has no ceiling, when it has none.
    #[serde(default)]
    pub(crate) no_ceiling: Option<Failure>,
    /// What a naive engine, straight from the paper, comes to.
    #[serde(default)]
    pub(crate) naive: Option<Score>,
    /// Scores with one technique switched off, or of another recording, with samples of the registers.
    #[serde(default)]
    pub(crate) ablations: BTreeMap<String, Score>,
}

impl CaseResult {
    /// Reads what was kept.
    pub(crate) fn read(path: &Path) -> Option<CaseResult> {
        serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        fs::write(path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))
    }
}
