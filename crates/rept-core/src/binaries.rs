//! Finding the files that a process had mapped.
//!
//! The names in a dump are those of the machine that crashed. A file is taken when its
//! build-id is the one that the dump or the trace names; a file with another id is never
//! taken, and a file that nothing vouches for is marked *unverified*.

use crate::BuildId;
use crate::layout::Layout;
use crate::mmap::FileBytes;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A file that is looked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Name on the machine that was recorded.
    pub path: String,
    /// Fingerprint, where known.
    pub build_id: Option<BuildId>,
}

/// Finds binaries in a way of the caller's own: a symbol server, a package store.
pub trait BinaryProvider: Send + Sync {
    /// A local file that may be the one wanted; its build-id is checked afterwards.
    fn find(&self, wanted: &Wanted) -> Option<PathBuf>;
}

/// An ELF file on this machine.
#[derive(Debug)]
pub struct Binary {
    bytes: Arc<FileBytes>,
    pub(crate) layout: Layout,
}

/// A file that was found.
#[derive(Clone, Debug)]
pub struct Located {
    /// The file.
    pub binary: Arc<Binary>,
    /// Its build-id is the one wanted; otherwise none was known to compare with.
    pub verified: bool,
}

/// Why a file was not found: displays as one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingBinary {
    /// What was looked for.
    pub wanted: Wanted,
    /// Files of that name whose build-id differs (or who have none).
    pub mismatched: Vec<(PathBuf, Option<BuildId>)>,
}

/// Where to look.
#[derive(Default)]
pub struct Binaries {
    directories: Vec<PathBuf>,
    providers: Vec<Box<dyn BinaryProvider>>,
    cache: Mutex<BTreeMap<Wanted, Result<Located, MissingBinary>>>,
}

impl Binary {
    /// Opens an ELF file; `None` when it cannot be read or is no 64-bit little-endian ELF file.
    pub fn open(path: &Path) -> Option<Binary> {
        Binary::parse(FileBytes::open_regular(path).ok()?)
    }

    /// An ELF file that lies in memory, under a name for messages.
    pub(crate) fn from_bytes(name: &str, bytes: &[u8]) -> Option<Binary> {
        Binary::parse(FileBytes::from_vec(Path::new(name), bytes.to_vec()))
    }

    fn parse(bytes: FileBytes) -> Option<Binary> {
        let layout = Layout::parse(&bytes)?;
        let bytes = Arc::new(bytes);
        Some(Binary { bytes, layout })
    }

    pub(crate) fn shared(&self) -> &Arc<FileBytes> {
        &self.bytes
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where it lies on this machine.
    pub fn path(&self) -> &Path {
        self.bytes.path()
    }

    /// Its fingerprint.
    pub fn build_id(&self) -> Option<&BuildId> {
        self.layout.build_id.as_ref()
    }
}

impl Binaries {
    /// Looks in these directories first, then at the recorded path, then asks the providers.
    ///
    /// A directory may be a copy of the machine's root, a flat folder of files, or hold
    /// `.build-id/ab/cdef…` links, as perf's cache `~/.debug` does.
    pub fn new(directories: Vec<PathBuf>, providers: Vec<Box<dyn BinaryProvider>>) -> Binaries {
        Binaries {
            directories,
            providers,
            cache: Mutex::default(),
        }
    }

    /// The directories that are searched.
    pub fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// Finds a file; answers are remembered.
    ///
    /// # Errors
    /// When no file fits, with those that nearly did.
    pub fn find(&self, wanted: &Wanted) -> Result<Located, MissingBinary> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = cache.get(wanted) {
            return found.clone();
        }
        let found = self.search(wanted);
        cache.insert(wanted.clone(), found.clone());
        found
    }

    fn search(&self, wanted: &Wanted) -> Result<Located, MissingBinary> {
        let mut mismatched: Vec<(PathBuf, Option<BuildId>)> = Vec::new();
        for candidate in self.candidates(wanted) {
            let Some(binary) = Binary::open(&candidate) else {
                continue;
            };
            let verified = match (&wanted.build_id, binary.build_id()) {
                (Some(want), Some(have)) => want.matches(have),
                (Some(_), None) => false,
                (None, _) => true,
            };
            if verified {
                let verified = wanted.build_id.is_some();
                let binary = Arc::new(binary);
                return Ok(Located { binary, verified });
            }
            let entry = (candidate, binary.build_id().cloned());
            if !mismatched.contains(&entry) {
                mismatched.push(entry);
            }
        }
        Err(MissingBinary {
            wanted: wanted.clone(),
            mismatched,
        })
    }

    pub(crate) fn candidates<'a>(
        &'a self,
        wanted: &'a Wanted,
    ) -> impl Iterator<Item = PathBuf> + 'a {
        let recorded = wanted
            .path
            .strip_suffix(" (deleted)")
            .unwrap_or(&wanted.path);
        let relative = recorded.trim_start_matches('/');
        let base = relative.rsplit('/').next().unwrap_or(relative);
        let named = !relative.is_empty() && !relative.starts_with('[');
        let in_directories = self.directories.iter().flat_map(move |directory| {
            let by_id = wanted.build_id.as_ref().map(|id| {
                let link = directory.join(id_path(id, ""));
                // perf's cache (`~/.debug`) has a folder there.
                let (elf, vdso) = (link.join("elf"), link.join("vdso"));
                [link, elf, vdso]
            });
            let by_name = named.then(|| [directory.join(relative), directory.join(base)]);
            by_id
                .into_iter()
                .flatten()
                .chain(by_name.into_iter().flatten())
        });
        let here = (named && recorded.starts_with('/')).then(|| PathBuf::from(recorded));
        let provided = self
            .providers
            .iter()
            .filter_map(move |provider| provider.find(wanted));
        in_directories.chain(here).chain(provided)
    }
}

/// `.build-id/ab/cdef…` with a suffix, as debuggers and distributions lay it out.
pub(crate) fn id_path(id: &BuildId, suffix: &str) -> PathBuf {
    let text = id.to_string();
    let (head, tail) = text.split_at(2);
    [".build-id", head, &format!("{tail}{suffix}")]
        .iter()
        .collect()
}

impl fmt::Debug for Binaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binaries")
            .field("directories", &self.directories)
            .field("providers", &self.providers.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for MissingBinary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wanted { path, build_id } = &self.wanted;
        write!(f, "{path}")?;
        if let Some(id) = build_id {
            write!(f, " with build-id {id}")?;
        }
        f.write_str(" was not found")?;
        for (candidate, id) in &self.mismatched {
            match id {
                Some(id) => write!(f, "; {} has build-id {id}", candidate.display())?,
                None => write!(f, "; {} has no build-id", candidate.display())?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for MissingBinary {}
