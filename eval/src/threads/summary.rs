//! Sums of many runs: what the pages show, and what is kept beside them.

use super::program::PROGRAMS;
use super::{Form, Run};
use crate::Failure;
use crate::score::Tally;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The file beside the pages.
const NAME: &str = "threads.json";
/// Its form.
const SCHEMA: &str = "rept-eval-threads/1";

/// All programs in all forms.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Summary {
    /// Fields are added, never renamed.
    schema: String,
    /// Seeds of the recorder's scheduler: 1 to this.
    pub(crate) seeds: u64,
    /// In the order in which they are shown.
    pub(crate) programs: Vec<Sums>,
}

/// One program.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Sums {
    pub(crate) name: String,
    /// By the form's name.
    forms: BTreeMap<String, Sum>,
}

/// Sums of the runs of a program in a form.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Sum {
    pub(crate) runs: u64,
    /// Register reads.
    pub(crate) reads: Tally,
    /// Values of all measures, called certain or assumed, and wrong.
    pub(crate) trusted: u64,
    /// Register reads, without what keeps races apart.
    pub(crate) unguarded: Tally,
    /// Values called certain or assumed, and wrong, without it.
    pub(crate) unguarded_trusted: u64,
    /// Runs in which a store in another thread planted what the program died of.
    pub(crate) planted: u64,
    /// Those in which that store was found, by no wrong or unknown value.
    pub(crate) traced: u64,
    /// Those in which the timestamps prove it to be before the crash.
    pub(crate) ordered: u64,
    /// Both.
    pub(crate) ordered_traced: u64,
}

impl Sum {
    fn count(&mut self, run: &Run) {
        self.runs += 1;
        self.reads.add(run.reads);
        self.trusted += run.wrong_trusted;
        self.unguarded.add(run.unguarded.unwrap_or_default());
        self.unguarded_trusted += run.unguarded_trusted;
        if let Some(planted) = run.planted {
            self.planted += 1;
            self.traced += u64::from(planted.traced);
            self.ordered += u64::from(planted.ordered);
            self.ordered_traced += u64::from(planted.ordered && planted.traced);
        }
    }

    /// Adds another's runs.
    fn add(&mut self, other: &Sum) {
        self.runs += other.runs;
        self.reads.add(other.reads);
        self.trusted += other.trusted;
        self.unguarded.add(other.unguarded);
        self.unguarded_trusted += other.unguarded_trusted;
        self.planted += other.planted;
        self.traced += other.traced;
        self.ordered += other.ordered;
        self.ordered_traced += other.ordered_traced;
    }
}

impl Sums {
    /// The runs in one form.
    pub(crate) fn of(&self, form: Form) -> Sum {
        self.forms.get(form.name()).copied().unwrap_or_default()
    }

    /// Values called certain or assumed, and wrong, in all forms.
    pub(crate) fn trusted(&self) -> u64 {
        self.forms.values().map(|sum| sum.trusted).sum()
    }
}

impl Summary {
    /// Sums up the runs of the first `seeds` seeds.
    pub(super) fn new(runs: &[Run], seeds: u64) -> Summary {
        let mut sums: BTreeMap<&str, BTreeMap<String, Sum>> = BTreeMap::new();
        for run in runs.iter().filter(|run| run.seed <= seeds) {
            let forms = sums.entry(&run.program).or_default();
            let sum = forms.entry(run.form.name().to_owned()).or_default();
            sum.count(run);
        }
        let programs = PROGRAMS.map(|program| Sums {
            name: program.name.to_owned(),
            forms: sums.remove(program.name).unwrap_or_default(),
        });
        Summary {
            schema: SCHEMA.to_owned(),
            seeds,
            programs: programs.into(),
        }
    }

    /// Runs of all programs in all forms.
    pub(crate) fn runs(&self) -> u64 {
        let forms = self.programs.iter().flat_map(|sums| sums.forms.values());
        forms.map(|sum| sum.runs).sum()
    }

    /// All programs as if they were one.
    pub(crate) fn all(&self) -> Sums {
        let mut forms: BTreeMap<String, Sum> = BTreeMap::new();
        for (form, sum) in self.programs.iter().flat_map(|sums| &sums.forms) {
            forms.entry(form.clone()).or_default().add(sum);
        }
        Sums {
            name: "all".to_owned(),
            forms,
        }
    }

    /// What was kept in a folder; `None` when nothing was.
    pub(crate) fn read(folder: &Path) -> Option<Summary> {
        serde_json::from_str(&fs::read_to_string(folder.join(NAME)).ok()?).ok()
    }

    /// Keeps it in a folder.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&self, folder: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        let path = folder.join(NAME);
        fs::write(&path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))
    }
}
