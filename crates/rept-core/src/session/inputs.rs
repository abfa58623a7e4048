//! Files that the program opened, as they are on this machine, if it is the machine of the run and they
//! did not change since the run began.
//!
//! No record tells what an opened file was. That it is the same machine is told by the files that were
//! mapped: the trace has their inodes. That a file is the same is told by its age, and that it is one whose
//! contents are what is read, and not made on reading (as those of `/proc`), by its length.

use crate::capture::Capture;
use crate::mmap::FileBytes;
use rept_recover::{FileIdentity, OpenedFiles};
use rept_trace::{Interval, TimeMark, Timestamp, Trace};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Bytes of one file, and of all files, at most; larger ones are left out.
const MAX_FILE: u64 = 16 << 20;
const MAX_ALL: u64 = 64 << 20;

/// The files of a run that ended on this machine.
#[derive(Debug)]
pub(super) struct Inputs {
    /// Working directory of the process when it began.
    directory: Option<PathBuf>,
    /// When the first step of the trace ran, at the latest.
    began: SystemTime,
    bytes: AtomicU64,
}

impl Inputs {
    /// `None` when it is not known that the run was on this machine.
    pub(super) fn new(
        capture: &Capture,
        trace: &Trace,
        directory: Option<PathBuf>,
    ) -> Option<Inputs> {
        if !is_here(capture) {
            return None;
        }
        let written = std::fs::metadata(capture.path()).ok()?.modified().ok()?;
        let began = written.checked_sub(duration(capture, trace))?;
        Some(Inputs {
            directory,
            began,
            bytes: AtomicU64::new(0),
        })
    }

    fn read(&self, path: &Path) -> Option<Arc<[u8]>> {
        let metadata = std::fs::metadata(path).ok()?;
        let began = self.began.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        // The time of the last change covers renaming, linking and times that were set.
        let changed = Duration::new(
            metadata.ctime().try_into().ok()?,
            metadata.ctime_nsec().try_into().ok()?,
        );
        let old = metadata.modified().ok()? <= self.began && changed <= began;
        let left = MAX_ALL - self.bytes.load(Ordering::Relaxed).min(MAX_ALL);
        if !metadata.is_file() || !old || metadata.len() > MAX_FILE.min(left) {
            return None;
        }
        let contents = FileBytes::open_regular(path).ok()?;
        let whole = !contents.is_empty() && contents.len() as u64 == metadata.len();
        self.bytes
            .fetch_add(contents.len() as u64, Ordering::Relaxed);
        whole.then(|| contents.as_ref().into())
    }
}

impl OpenedFiles for Inputs {
    fn contents(&self, path: &[u8]) -> Option<Arc<[u8]>> {
        let path = Path::new(OsStr::from_bytes(path));
        match path.is_absolute() {
            true => self.read(path),
            false => self.read(&self.directory.as_ref()?.join(path)),
        }
    }
}

/// The files of which the trace has an inode have it here too, and there is one.
fn is_here(capture: &Capture) -> bool {
    let files = capture
        .mappings
        .iter()
        .filter(|mapping| mapping.name.starts_with('/'));
    let same = files.filter_map(|mapping| {
        let here = std::fs::metadata(&mapping.name);
        Some(here.ok().map(|here| here.ino()) == Some(mapping.inode?))
    });
    let same: Vec<bool> = same.collect();
    !same.is_empty() && same.into_iter().all(|same| same)
}

/// Which file a path was, by the records of a trace.
pub(super) struct Identities<'a> {
    recorded: BTreeMap<&'a str, FileIdentity>,
    /// All that have a record are here what they were there (layered file systems show a mapping that of a
    /// layer).
    here: bool,
}

impl Identities<'_> {
    pub(super) fn new(capture: &Capture) -> Identities<'_> {
        let recorded = capture.mappings.iter().filter_map(|mapping| {
            let (major, minor) = mapping.device?;
            let inode = mapping.inode?;
            let identity = FileIdentity {
                major,
                minor,
                inode,
            };
            let name = mapping.name.as_str();
            name.starts_with('/').then_some((name, identity))
        });
        let recorded: BTreeMap<&str, FileIdentity> = recorded.collect();
        let mut all = recorded.iter();
        let here = all.all(|(name, identity)| identity_here(name) == Some(*identity));
        let here = here && !recorded.is_empty();
        Identities { recorded, here }
    }

    /// As a record says, or as it is here.
    pub(super) fn of(&self, path: &str) -> Option<FileIdentity> {
        let recorded = self.recorded.get(path).copied();
        recorded.or_else(|| self.here.then(|| identity_here(path)).flatten())
    }
}

fn identity_here(path: &str) -> Option<FileIdentity> {
    let here = std::fs::metadata(path).ok()?;
    // As the C library splits device numbers (sys/sysmacros.h).
    let device = here.dev();
    Some(FileIdentity {
        major: ((device >> 8) & 0xfff | (device >> 32) & !0xfff) as u32,
        minor: (device & 0xff | (device >> 12) & !0xff) as u32,
        inode: here.ino(),
    })
}

/// How long the trace is, by its own clock.
fn duration(capture: &Capture, trace: &Trace) -> Duration {
    let known = |mark: &&TimeMark| mark.time.earliest != Interval::UNKNOWN.earliest;
    let threads = || trace.threads.iter().map(|thread| thread.times.iter());
    let first = threads().filter_map(|mut marks| marks.find(known));
    let last = threads().filter_map(|mut marks| marks.rfind(known));
    let first = first.map(|mark| mark.time.earliest).min();
    let last = last.map(|mark| mark.time.earliest).max();
    let nanoseconds =
        |ticks: Option<Timestamp>| Some(capture.clock.conversion?.to_nanoseconds(ticks?));
    let length = nanoseconds(last).zip(nanoseconds(first));
    let length = length.and_then(|(last, first)| last.checked_sub(first));
    Duration::from_nanos(length.unwrap_or(0))
}
