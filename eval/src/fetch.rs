//! Getting a package's source by its registry's ordinary client.

use crate::Failure;
use crate::case::{Client, Package};
use crate::process::must;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Long enough for a slow registry.
const LIMIT: Duration = Duration::from_secs(600);

/// The folder with the package's source; fetched when it is not there yet.
///
/// # Errors
/// The client fails or is not installed.
pub(crate) fn fetch(package: &Package, sources: &Path) -> Result<PathBuf, Failure> {
    let client = match package.client {
        Client::Cargo => "cargo",
        Client::Pip => "pip",
        Client::Npm => "npm",
    };
    let folder = sources.join(format!("{client}-{}-{}", package.name, package.version));
    let source = match package.client {
        Client::Cargo => folder.join("vendor").join(&package.name),
        Client::Pip | Client::Npm => folder.join("source"),
    };
    let mark = folder.join("fetched");
    if !mark.exists() {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        match package.client {
            Client::Cargo => vendor(package, &folder)?,
            Client::Pip => download(package, &folder)?,
            Client::Npm => pack(package, &folder)?,
        }
        fs::write(&mark, "").map_err(|error| format!("{}: {error}", mark.display()))?;
    }
    Ok(source)
}

fn vendor(package: &Package, folder: &Path) -> Result<(), Failure> {
    let manifest = format!(
        "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[lib]\npath = \"lib.rs\"\n\n\
         [dependencies]\n{} = {{ version = \"={}\", default-features = false }}\n\n[workspace]\n",
        package.name, package.version
    );
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    write("Cargo.toml", &manifest)?;
    write("lib.rs", "")?;
    let mut command = Command::new("cargo");
    command
        .args(["vendor", "--quiet", "vendor"])
        .current_dir(folder);
    must(&mut command, &folder.join("log"), LIMIT).map(drop)
}

fn download(package: &Package, folder: &Path) -> Result<(), Failure> {
    let mut command = Command::new("python3");
    command
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary",
            ":all:",
            "-d",
            ".",
        ])
        .arg(format!("{}=={}", package.name, package.version))
        .current_dir(folder);
    must(&mut command, &folder.join("log"), LIMIT)?;
    unpack(folder)
}

fn pack(package: &Package, folder: &Path) -> Result<(), Failure> {
    let mut command = Command::new("npm");
    command
        .args(["pack", "--silent"])
        .arg(format!("{}@{}", package.name, package.version))
        .current_dir(folder);
    must(&mut command, &folder.join("log"), LIMIT)?;
    unpack(folder)
}

/// Unpacks the one archive in the folder to `source`.
fn unpack(folder: &Path) -> Result<(), Failure> {
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "mkdir source && tar xf ./*.t*gz -C source --strip-components=1",
        ])
        .current_dir(folder);
    must(&mut command, &folder.join("log"), LIMIT).map(drop)
}
