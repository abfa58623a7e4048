//! Files as byte slices: the one module of this crate with `unsafe`.
#![allow(unsafe_code)]

use crate::Error;
use std::fs::File;
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

    /// Opens a file whose name comes from another file: only a regular one, as others (`/dev/zero`)
    /// may have no end.
    pub(crate) fn open_regular(path: &Path) -> Result<FileBytes, Error> {
        match std::fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() => {
                Err(Error::missing(path, "it is no regular file"))
            }
            _ => FileBytes::open(path),
        }
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

impl PartialEq for FileBytes {
    fn eq(&self, other: &FileBytes) -> bool {
        self.path == other.path && **self == **other
    }
}

impl Eq for FileBytes {}

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

/// Part of a file, or bytes unpacked from it, that debug-information readers can hold on to.
#[derive(Clone)]
pub(crate) enum Section {
    /// The file, where the part begins, and its length.
    InFile(Arc<FileBytes>, usize, usize),
    /// Unpacked.
    Unpacked(Arc<[u8]>),
}

impl Section {
    /// No bytes.
    pub(crate) fn empty() -> Section {
        Section::Unpacked(Arc::new([]))
    }

    /// `len` bytes of `file` from `start` on; `None` when they are not all there.
    pub(crate) fn in_file(file: &Arc<FileBytes>, start: usize, len: usize) -> Option<Section> {
        file.get(start..start.checked_add(len)?)?;
        Some(Section::InFile(file.clone(), start, len))
    }
}

impl Deref for Section {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            // In range by construction: `in_file` checked it, and a file's bytes never change length.
            Section::InFile(file, start, len) => &file[*start..*start + *len],
            Section::Unpacked(bytes) => bytes,
        }
    }
}

impl std::fmt::Debug for Section {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "section of {} bytes", self.len())
    }
}

// SAFETY: both variants point into memory behind an `Arc` that is never mutated or moved
// while the `Arc` lives, so the slice stays where it is when the `Section` is moved.
unsafe impl gimli::StableDeref for Section {}

// SAFETY: a clone shares the same `Arc`, hence derefs to the same address.
unsafe impl gimli::CloneStableDeref for Section {}
