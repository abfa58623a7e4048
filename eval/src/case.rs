//! A case: a bug, where its program comes from, and how it is made to crash.

use crate::Failure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// `case.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// The program as people know it, with its version.
    pub(crate) program: String,
    /// Where its source comes from.
    pub(crate) package: Package,
    /// Identifier of the bug.
    pub(crate) bug: String,
    /// Where the bug is described in public.
    pub(crate) reference: String,
    /// What kind of bug it is.
    pub(crate) kind: String,
    /// Threads at the crash.
    pub(crate) threads: u32,
    /// Shell commands that make the program, in a copy of the case's folder; `$SRC` is the
    /// package's source, `$CFLAGS` the variant's options. A folder with a `Cargo.toml` is
    /// built by cargo first.
    #[serde(default)]
    pub(crate) build: Vec<String>,
    /// The command that crashes, in that folder.
    pub(crate) run: Vec<String>,
    /// Where recording begins; without it, at the process's first instruction.
    #[serde(default)]
    pub(crate) from: Option<String>,
    /// Bytes of trace kept per thread.
    #[serde(default)]
    pub(crate) buffer: Option<String>,
    /// Seed of the scheduler that takes turns between threads.
    #[serde(default)]
    pub(crate) seed: Option<u64>,
    /// How long a recording may take, where that says whether it will end; without it, the usual.
    #[serde(default)]
    pub(crate) limit: Option<Limit>,
    /// The signal that ends the process.
    pub(crate) signal: String,
    /// The function that it ends in, or one that is open there.
    pub(crate) function: String,
    /// Function in which the bad value or decision was made.
    pub(crate) cause_function: String,
    /// Its source lines: FILE:LINE or FILE:FIRST-LAST.
    pub(crate) cause: Vec<String>,
    /// What happens, in a sentence or two.
    pub(crate) story: String,
    /// Why the figures of a variant, by its name, are poor, or there are none, where that was looked
    /// into.
    #[serde(default)]
    pub(crate) remarks: BTreeMap<String, String>,
    /// Part of the small subset.
    #[serde(default)]
    pub(crate) ci: bool,
}

/// Time for one recording of a program that crashes soon or, by chance, hardly ever: whatever
/// takes longer is given up, and tried again more often than usual.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    /// Seconds for one try.
    pub(crate) seconds: u64,
    /// What it is that differs from run to run.
    pub(crate) why: String,
}

/// A package at an exact version.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Package {
    /// Whose registry it is in.
    pub(crate) client: Client,
    /// Name in the registry.
    pub(crate) name: String,
    /// Exact version.
    pub(crate) version: String,
}

/// The client that fetches a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Client {
    /// `cargo vendor`; `cargo build` for drivers in Rust.
    Cargo,
    /// `pip download`, source packages only.
    Pip,
    /// `npm pack`.
    Npm,
}

/// A manifest and its folder.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Name of the folder.
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) manifest: Manifest,
}

impl Case {
    /// The driver is a Rust program.
    pub(crate) fn is_cargo(&self) -> bool {
        self.folder.join("Cargo.toml").exists()
    }
}

/// All cases below a folder, by name.
///
/// # Errors
/// The folder or a manifest cannot be read, or a manifest is not one.
pub(crate) fn all(cases: &Path) -> Result<Vec<Case>, Failure> {
    let unreadable = |error| format!("{}: {error}", cases.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(cases).map_err(unreadable)? {
        let folder = entry.map_err(unreadable)?.path();
        let path = folder.join(crate::key::MANIFEST);
        if path.exists() {
            found.push(read(folder, &path)?);
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn read(folder: PathBuf, path: &Path) -> Result<Case, Failure> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let manifest = toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let name = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    Ok(Case {
        name,
        folder,
        manifest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examine::Cause;

    #[test]
    fn every_manifest_can_be_read_and_names_its_cause() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
        let cases = all(&folder).unwrap();
        assert!(cases.len() >= 20, "{} cases", cases.len());
        for case in cases {
            let manifest = &case.manifest;
            assert!(!manifest.cause.is_empty(), "{}: no cause", case.name);
            for cause in &manifest.cause {
                cause.parse::<Cause>().unwrap();
            }
            assert!(manifest.reference.starts_with("https://"), "{}", case.name);
            assert!(
                case.is_cargo() || !manifest.build.is_empty(),
                "{}",
                case.name
            );
        }
    }
}
