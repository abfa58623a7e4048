//! The program that `rept demo` records.

use crate::failure::Failure;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The program, built by `build.rs`; empty where it could not be built.
pub(crate) const VICTIM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sensors"));
/// Where recording starts.
pub(crate) const START: &str = "main";

/// Writes the program beside its recording, where symbols and code are then found.
///
/// # Errors
/// The directory cannot be written.
pub(crate) fn install(directory: &Path) -> Result<PathBuf, Failure> {
    let path = directory.join("sensors");
    let failed = |error| Failure::file("write", &path, error);
    // A new file, never an old one's pages: the program may still be mapped somewhere.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    fs::write(&path, VICTIM).map_err(failed)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    path.canonicalize().map_err(failed)
}
