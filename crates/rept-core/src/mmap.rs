//! Files as byte slices: the one module of this crate with `unsafe`.
#![allow(unsafe_code)]

use crate::Error;
use std::fs::File;
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// A whole file in memory, mapped where the system can map it and read otherwise (pipes, special files).
///
/// The file is expected not to change while it is open, as every tool that maps
/// binaries and dumps expects: a file that shrinks meanwhile ends the process with SIGBUS.
pub(crate) struct FileBytes {
    path: PathBuf,
    contents: Contents,
}

enum Contents {
    Mapped(memmap2::Mmap),
    Read(Vec<u8>),
}

impl FileBytes {
    /// Opens a file for reading.
    pub(crate) fn open(path: &Path) -> Result<FileBytes, Error> {
        let contents = contents(path).map_err(|error| Error::io(path, error))?;
        Ok(FileBytes {
            path: path.to_owned(),
            contents,
        })
    }

    /// Bytes that are already there, under a name for messages.
    pub(crate) fn from_vec(path: &Path, bytes: Vec<u8>) -> FileBytes {
        FileBytes {
            path: path.to_owned(),
            contents: Contents::Read(bytes),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn contents(path: &Path) -> std::io::Result<Contents> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(std::io::Error::from(std::io::ErrorKind::IsADirectory));
    }
    if metadata.is_file() && metadata.len() > 0 {
        // SAFETY: the mapping is private and read-only, and only shared slices of it are
        // handed out. That nobody truncates or rewrites the file meanwhile is the
        // documented expectation of `FileBytes`, the same as in every debugger.
        if let Ok(map) = unsafe { memmap2::Mmap::map(&file) } {
            return Ok(Contents::Mapped(map));
        }
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Contents::Read(bytes))
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.contents {
            Contents::Mapped(map) => map,
            Contents::Read(bytes) => bytes,
        }
    }
}

impl std::fmt::Debug for FileBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes)", self.path.display(), self.len())
    }
}
