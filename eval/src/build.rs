//! Making a case's program.

use crate::Failure;
use crate::arguments::Variant;
use crate::case::{Case, Client};
use crate::fetch::fetch;
use crate::key::{self, Key};
use crate::process::must;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Long enough for a library of some 100,000 lines on a busy machine.
const LIMIT: Duration = Duration::from_secs(1_500);

/// A made program.
pub(crate) struct Built {
    /// Folder to run it in.
    pub(crate) folder: PathBuf,
    /// Key of what went in.
    pub(crate) key: String,
}

/// Fetches and builds; does nothing when both were done before.
///
/// # Errors
/// A client or a compiler fails.
pub(crate) fn build(case: &Case, variant: Variant, work: &Path) -> Result<Built, Failure> {
    let folder = work
        .join("programs")
        .join(format!("{}.{}", case.name, variant.name()));
    let manifest = &case.manifest;
    let how = (&manifest.package, &manifest.build, &manifest.run);
    let key = Key::default()
        .text(variant.name())
        .text(&format!("{how:?}"))
        .files(&case.folder)?
        .finish();
    let mark = folder.join("built");
    if !key::is_done(&mark, &key) {
        copy(&case.folder, &folder)?;
        make(case, variant, work, &folder)?;
        key::done(&mark, &key)?;
    }
    Ok(Built { folder, key })
}

/// A fresh copy of the case's folder.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).map_err(|error| format!("{}: {error}", to.display()))?;
    let mut command = Command::new("cp");
    command.arg("-r").arg(from.join(".")).arg(to);
    must(&mut command, &to.join("log"), LIMIT).map(drop)
}

fn make(case: &Case, variant: Variant, work: &Path, folder: &Path) -> Result<(), Failure> {
    if case.is_cargo() {
        must(&mut cargo(variant, folder), &folder.join("log"), LIMIT)?;
    }
    if case.manifest.build.is_empty() {
        return Ok(());
    }
    let package = &case.manifest.package;
    let source = if case.is_cargo() && package.client == Client::Cargo {
        None
    } else {
        Some(fetch(package, &work.join("sources"))?)
    };
    for line in &case.manifest.build {
        let mut command = Command::new("sh");
        command
            .args(["-e", "-c", line])
            .current_dir(folder)
            .env("CFLAGS", variant.c_flags());
        if let Some(source) = &source {
            command.env("SRC", source);
        }
        must(&mut command, &folder.join("log"), LIMIT)?;
    }
    Ok(())
}

/// Builds a driver in Rust; cargo fetches what it depends on.
fn cargo(variant: Variant, folder: &Path) -> Command {
    let level = match variant {
        Variant::O0 => "0",
        Variant::O2 => "2",
        Variant::O3 => "3",
    };
    let mut command = Command::new("cargo");
    command
        .args(["build", "--quiet", "--release"])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", "target")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "true")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", level)
        .env_remove("RUSTFLAGS");
    if folder.join("Cargo.lock").exists() {
        command.arg("--locked");
    }
    if variant == Variant::O3 {
        command.env("RUSTFLAGS", "-C target-cpu=native");
    }
    command
}
