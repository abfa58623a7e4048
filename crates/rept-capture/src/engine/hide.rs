//! What a program could see of the fast engine when it looks at itself.

use super::Engine;
use crate::cache::area::{CALLS_AT, QUIET_CALLS};
use crate::error::Error;
use crate::maps;
use crate::sys::{self, Shared};
use libc::user_regs_struct as Registers;
use std::fs::{self, Metadata};
use std::io::Write;
use std::os::unix::fs::MetadataExt;

/// Those of the calls made from the cache that ask what kind of file something is: once there is a
/// [`List`], its answer is the recorder's.
const ASK_FOR_KIND: &[i64] = &[
    libc::SYS_stat,
    libc::SYS_fstat,
    libc::SYS_lstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
];

/// Those that are answered alike in every run, when that is wanted.
const ASK_FOR_CHANCE: &[i64] = &[
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_time,
    libc::SYS_times,
    libc::SYS_getrusage,
];

/// Tells the copied code which system calls it may make.
pub(super) fn permit_calls(area: &Shared, has_lists: bool, is_alike: bool) {
    for call in QUIET_CALLS {
        let asks_for_kind = ASK_FOR_KIND.contains(call) && (has_lists || is_alike);
        let is_loud = asks_for_kind || is_alike && ASK_FOR_CHANCE.contains(call);
        area.write(CALLS_AT as usize + *call as usize, &[u8::from(!is_loud)]);
    }
}

/// Lists that are known; a program that opens more has closed the oldest long ago.
const MOST_LISTS: usize = 256;

/// The lists that the program may have open.
#[derive(Debug, Default)]
pub(super) struct Lists {
    lists: Vec<List>,
    // Questions about other files since the last one was opened.
    others: u64,
}

impl Lists {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    fn with(&self, file: Option<(u64, u64)>) -> Option<&List> {
        self.lists.iter().find(|list| Some(list.file) == file)
    }

    fn opened(&mut self, list: List) {
        if self.lists.len() >= MOST_LISTS {
            self.lists.remove(0);
        }
        self.lists.push(list);
        self.others = 0;
    }

    // The program asked about another file: time to look which lists it has closed. Looks become rare, as
    // it may keep one open.
    fn asked_otherwise(&mut self, tids: &[i32]) {
        self.others += 1;
        if self.others.is_power_of_two() {
            self.lists
                .retain(|list| tids.iter().any(|&tid| list.is_open(tid)));
        }
    }
}

/// A file in memory that the program takes for a list of its mappings.
#[derive(Debug)]
pub(super) struct List {
    // Its device and inode.
    file: (u64, u64),
    // What is known of the kernel's list.
    original: Metadata,
}

impl List {
    // Whether a descriptor of the thread shows it; threads may have descriptors of their own.
    fn is_open(&self, tid: i32) -> bool {
        let entries = fs::read_dir(format!("/proc/{tid}/fd"));
        let files = entries.into_iter().flatten().flatten();
        let mut known = files.filter_map(|entry| fs::metadata(entry.path()).ok());
        known.any(|file| (file.dev(), file.ino()) == self.file)
    }

    // As `struct stat`.
    fn as_stat(&self) -> Vec<u8> {
        let of = &self.original;
        let owner = [of.mode(), of.uid(), of.gid(), 0];
        let mut bytes: Vec<u8> = [of.dev(), of.ino(), of.nlink()]
            .into_iter()
            .flat_map(u64::to_le_bytes)
            .chain(owner.into_iter().flat_map(u32::to_le_bytes))
            .collect();
        let rest = [of.rdev(), of.size(), of.blksize(), of.blocks()];
        bytes.extend(rest.into_iter().flat_map(u64::to_le_bytes));
        let times = [
            (of.atime(), of.atime_nsec()),
            (of.mtime(), of.mtime_nsec()),
            (of.ctime(), of.ctime_nsec()),
        ];
        let times = times.into_iter().flat_map(|(s, ns)| [s, ns]);
        bytes.extend(times.flat_map(i64::to_le_bytes));
        bytes
    }

    // Fields of `struct statx`, but for those that a list in memory has as well.
    fn as_statx(&self) -> [(u64, Vec<u8>); 5] {
        let of = &self.original;
        let quads = |quads: &[u64]| quads.iter().flat_map(|q| q.to_le_bytes()).collect();
        let words = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let device = [libc::major(of.dev()), libc::minor(of.dev())];
        [
            (4, words(&[of.blksize() as u32])),
            (16, words(&[of.nlink() as u32, of.uid(), of.gid()])),
            (28, (of.mode() as u16).to_le_bytes().to_vec()),
            (32, quads(&[of.ino(), of.size(), of.blocks()])),
            (136, words(&device)),
        ]
    }
}

// Device and inode in a `struct stat`.
fn file_of_stat(tid: i32, at: u64) -> Option<(u64, u64)> {
    Some((sys::read_word(tid, at)?, sys::read_word(tid, at + 8)?))
}

// The same in a `struct statx`.
fn file_of_statx(tid: i32, at: u64) -> Option<(u64, u64)> {
    let inode = sys::read_word(tid, at + 32)?;
    let device = sys::read_word(tid, at + 136)?;
    Some((libc::makedev(device as u32, (device >> 32) as u32), inode))
}

impl Engine {
    /// A stepped system call has ended: when it opened the list of the process's mappings,
    /// the program gets one without the recorder's, as they are now.
    pub(super) fn hide_mappings(&mut self, tid: i32, before: &Registers) -> Result<(), Error> {
        let flags = match before.rax as i64 {
            libc::SYS_open => before.rsi,
            libc::SYS_openat => before.rdx,
            libc::SYS_openat2 => 0,
            _ => return Ok(()),
        };
        let fd = self.threads[&tid].registers.rax;
        let (Some(fast), Ok(number)) = (&self.fast, i32::try_from(fd)) else {
            return Ok(());
        };
        let Some(list) = self.own_list(tid, number) else {
            return Ok(());
        };
        const FAILED: &str = "show the program its mappings";
        let remote = fast.remote.by(tid);
        let original = fs::metadata(format!("/proc/{tid}/fd/{number}"));
        let (copy, mut file) = remote.memory_file()?;
        let written = file.write_all(list.as_bytes());
        let known = written.and_then(|()| Ok((file.metadata()?, original?)));
        let (shown, original) = known.map_err(|source| Error::system(FAILED, source))?;
        let close_on_exec = flags & libc::O_CLOEXEC as u64;
        remote.call(libc::SYS_dup3, [copy, fd, close_on_exec, 0, 0, 0], FAILED)?;
        remote.call(libc::SYS_close, [copy, 0, 0, 0, 0, 0], FAILED)?;
        let file = (shown.dev(), shown.ino());
        self.lists.opened(List { file, original });
        self.permit_calls();
        Ok(())
    }

    fn permit_calls(&self) {
        for area in self.areas() {
            permit_calls(area, !self.lists.is_empty(), self.is_alike());
        }
    }

    /// A stepped system call has ended with this result: when it asked what kind of file a list of
    /// mappings is, the program learns it of the kernel's, which libraries choose their buffers by.
    pub(super) fn hide_kind_of_list(
        &mut self,
        tid: i32,
        before: &Registers,
        result: u64,
    ) -> Result<(), Error> {
        let at = match before.rax as i64 {
            _ if self.lists.is_empty() || result != 0 => return Ok(()),
            libc::SYS_stat | libc::SYS_fstat | libc::SYS_lstat => before.rsi,
            libc::SYS_newfstatat => before.rdx,
            libc::SYS_statx => before.r8,
            _ => return Ok(()),
        };
        let extended = before.rax as i64 == libc::SYS_statx;
        let file = match extended {
            true => file_of_statx(tid, at),
            false => file_of_stat(tid, at),
        };
        let Some(list) = self.lists.with(file) else {
            let tids: Vec<i32> = self.threads.keys().copied().collect();
            self.lists.asked_otherwise(&tids);
            if self.lists.is_empty() {
                self.permit_calls();
            }
            return Ok(());
        };
        match extended {
            true => list
                .as_statx()
                .into_iter()
                .try_for_each(|(offset, bytes)| sys::write(tid, at + offset, &bytes)),
            false => sys::write(tid, at, &list.as_stat()),
        }
    }

    // What a descriptor that lists the process's mappings should show; `None` for others.
    fn own_list(&self, tid: i32, fd: i32) -> Option<String> {
        let path = fs::read_link(format!("/proc/{tid}/fd/{fd}")).ok()?;
        let inside = path.strip_prefix(format!("/proc/{}", self.pid)).ok()?;
        let name = inside.file_name()?.to_str()?;
        if !matches!(name, "maps" | "smaps") {
            return None;
        }
        let text = fs::read_to_string(path).ok()?;
        let mut own = false;
        let shown = text.split_inclusive('\n').filter(|line| {
            // Lines of details follow those of mappings.
            own = maps::start(line).map_or(own, |start| self.is_own_mapping(start));
            !own
        });
        Some(shown.collect())
    }

    /// Copies of restartable sequences are not where the kernel looks for them.
    pub(super) fn look_for_sequences(&mut self, tid: i32) {
        if sys::in_restartable_sequence(tid) {
            self.note(
                "the program uses restartable sequences, which are not restarted in copied code"
                    .into(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_lists_are_forgotten() {
        let own = [std::process::id() as i32];
        let (mut lists, open) = (Lists::default(), fs::File::open("/proc/version").unwrap());
        let original = open.metadata().unwrap();
        let file = (original.dev(), original.ino());
        lists.opened(List { file, original });
        lists.asked_otherwise(&own);
        assert!(lists.with(Some(file)).is_some());
        drop(open);
        lists.asked_otherwise(&own);
        assert!(lists.is_empty());
    }
}
