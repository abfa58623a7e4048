//! Keys of kept results: equal inputs, equal key.

use crate::Failure;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

/// The file that says how a case is made and judged.
pub(crate) const MANIFEST: &str = "case.toml";

/// Gathers inputs.
#[derive(Default)]
pub(crate) struct Key(DefaultHasher);

impl Key {
    /// Adds a text.
    pub(crate) fn text(mut self, text: &str) -> Key {
        text.hash(&mut self.0);
        self
    }

    /// Adds the names and contents of all files below a folder, in a fixed order, or of one
    /// file. Manifests are left out: who keeps a result adds what it takes from one.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn files(mut self, path: &Path) -> Result<Key, Failure> {
        let unreadable = |error| format!("{}: {error}", path.display());
        if !path.is_dir() {
            fs::read(path).map_err(unreadable)?.hash(&mut self.0);
            return Ok(self);
        }
        let entries: Result<Vec<_>, _> = fs::read_dir(path).map_err(unreadable)?.collect();
        let mut paths: Vec<_> = entries
            .map_err(unreadable)?
            .into_iter()
            .map(|entry| entry.path())
            .filter(|path| !path.ends_with(MANIFEST))
            .collect();
        paths.sort();
        for path in paths {
            self = self
                .text(&path.file_name().unwrap_or_default().to_string_lossy())
                .files(&path)?;
        }
        Ok(self)
    }

    /// The key, as text.
    pub(crate) fn finish(self) -> String {
        format!("{:016x}", self.0.finish())
    }
}

/// Whether the stage that leaves `mark` behind was done with this key.
pub(crate) fn is_done(mark: &Path, key: &str) -> bool {
    fs::read_to_string(mark).is_ok_and(|kept| kept == key)
}

/// Keeps that a stage was done.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn done(mark: &Path, key: &str) -> Result<(), Failure> {
    fs::write(mark, key).map_err(|error| format!("{}: {error}", mark.display()))
}
