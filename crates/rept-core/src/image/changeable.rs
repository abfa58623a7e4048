//! Code that only the dump has, in memory that may have held other code before.
//!
//! The dump tells what such memory holds in the end. Whoever could write it may have written the code
//! anew while the program ran, and no record tells (a jitdump would). Where decoding shows that it was
//! so, what the dump has is not taken for the code of the time before (`session/rewritten.rs`).

use super::Layer;
use crate::dump::{Dump, auxiliary};
use rept_trace::{Address, Mapping, Timestamp};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// Entry of the auxiliary vector: where the vDSO is.
const AT_SYSINFO_EHDR: u64 = 33;
/// Addresses from here on are the kernel's, the page of the system calls of old included.
const KERNEL: u64 = 1 << 63;

/// Memory whose code may have been other code before.
#[derive(Debug, Default)]
pub(super) struct Changeable {
    /// First and last addresses, ascending.
    ranges: Vec<(u64, u64)>,
    /// Some of it may be run in the end.
    runs: bool,
    /// By first address, the time before which the code is known to have been another, as far as that
    /// was shown; at any time without one.
    rewritten: BTreeMap<u64, Option<Timestamp>>,
    /// Code was given from there, by what is known now.
    used: AtomicBool,
}

impl Changeable {
    /// Of the memory in a dump; `mapped` is what the trace tells of mappings, its times if `timed`.
    pub(super) fn new(dump: Option<&Dump>, mapped: &Layer, timed: bool) -> Changeable {
        let vdso = dump.and_then(|dump| auxiliary(dump.auxv(), AT_SYSINFO_EHDR));
        let mappings = dump.map(|dump| dump.memory().mappings());
        let changeable = |mapping: &&Mapping| {
            let (first, end) = (mapping.start.0, mapping.end.0);
            let lent = first >= KERNEL || vdso.is_some_and(|at| (first..end).contains(&at));
            let told = || timed && mapped.is_told(first, end - 1);
            first < end && !lent && may_change(mapping, told)
        };
        let mappings = mappings.unwrap_or_default().iter().filter(changeable);
        Changeable {
            ranges: mappings
                .clone()
                .map(|of| (of.start.0, of.end.0 - 1))
                .collect(),
            runs: mappings.clone().any(|mapping| mapping.execute),
            ..Changeable::default()
        }
    }

    /// Which range holds `at`, and the last address for which the answer is the same.
    fn piece(&self, at: u64) -> (Option<(u64, u64)>, u64) {
        let index = self.ranges.partition_point(|&(_, last)| last < at);
        match self.ranges.get(index) {
            Some(&range) if range.0 <= at => (Some(range), range.1),
            Some(&(first, _)) => (None, first - 1),
            None => (None, u64::MAX),
        }
    }

    /// Where the memory begins that holds `at`.
    pub(super) fn start(&self, at: Address) -> Option<Address> {
        self.piece(at.0).0.map(|(first, _)| Address(first))
    }

    /// Whether the dump's code at `at` may have been other code at a time, and up to where that is so.
    pub(super) fn state(&self, at: u64, time: Option<Timestamp>) -> (State, u64) {
        let (range, last) = self.piece(at);
        let state = match range.map(|(first, _)| self.rewritten.get(&first)) {
            None => State::Constant,
            Some(None) => State::Changeable,
            Some(Some(until)) => match (until, time) {
                (Some(until), Some(time)) if *until <= time => State::Changeable,
                _ => State::Rewritten,
            },
        };
        (state, last)
    }

    /// The code in the memory that begins at `start` was another before `until`, or, if that is not
    /// known, at any time. Whether that is news, after which all is to be asked for again.
    pub(super) fn rewritten(&mut self, start: Address, until: Option<Timestamp>) -> bool {
        let is_new = self.learn(start, until);
        if is_new {
            self.used = AtomicBool::new(false);
        }
        is_new
    }

    fn learn(&mut self, start: Address, until: Option<Timestamp>) -> bool {
        match self.rewritten.get_mut(&start.0) {
            None => {
                self.rewritten.insert(start.0, until);
                true
            }
            Some(None) => false,
            Some(Some(known)) if until.is_some_and(|until| until <= *known) => false,
            Some(known) => {
                *known = until;
                true
            }
        }
    }

    /// Where code is known to have been rewritten, and until when at least.
    pub(super) fn changes(&self) -> impl Iterator<Item = (Address, Option<Timestamp>)> + '_ {
        let rewritten = self.rewritten.iter();
        rewritten.map(|(&start, &until)| (Address(start), until))
    }

    /// Code was given from here.
    pub(super) fn mark_used(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    /// Whether code was given from here.
    pub(super) fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether a path is likely to lead there: some of the memory may be run in the end.
    pub(super) fn runs(&self) -> bool {
        self.runs
    }
}

/// Of the code that the dump holds at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is what ran.
    Constant,
    /// It may have been other code at the time.
    Changeable,
    /// It was, as far as is known.
    Rewritten,
}

/// What lies in a mapping of the end may have been written while it could be run. `told`: the trace
/// tells since when it has the permissions it has.
fn may_change(mapping: &Mapping, told: impl Fn() -> bool) -> bool {
    let file = mapping.file.as_deref();
    // A file in memory alone is often mapped a second time, to write the code.
    let in_memory = |path: &str| path.starts_with("/memfd:") || path.starts_with("/dev/shm/");
    match file {
        _ if mapping.write => true,
        Some(path) => mapping.execute && in_memory(path),
        None => mapping.execute && !told(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(write: bool, file: Option<&str>) -> Mapping {
        Mapping {
            start: Address(0x1000),
            end: Address(0x2000),
            read: true,
            write,
            execute: true,
            file: file.map(str::to_owned),
        }
    }

    #[test]
    fn who_may_have_written_code() {
        let changes = |write, file, told| may_change(&mapping(write, file), || told);
        assert!(changes(true, None, true));
        assert!(changes(true, Some("/bin/program"), true));
        assert!(!changes(false, Some("/bin/program"), false));
        assert!(changes(false, Some("/memfd:code (deleted)"), true));
        assert!(changes(false, None, false));
        // Taken away its permission to be written, it is as it was then.
        assert!(!changes(false, None, true));
    }

    #[test]
    fn code_is_that_of_the_dump_from_the_last_change_on() {
        let mut code = Changeable {
            ranges: vec![(0x1000, 0x1fff), (0x3000, 0x3fff)],
            ..Changeable::default()
        };
        let at = |code: &Changeable, at, time: u64| code.state(at, Some(Timestamp(time)));
        assert_eq!(at(&code, 0x1010, 5), (State::Changeable, 0x1fff));
        assert_eq!(at(&code, 0x2010, 5), (State::Constant, 0x2fff));
        assert_eq!(at(&code, 0x4000, 5), (State::Constant, u64::MAX));
        assert!(code.rewritten(Address(0x1000), Some(Timestamp(5))));
        assert!(!code.rewritten(Address(0x1000), Some(Timestamp(4))));
        assert_eq!(at(&code, 0x1010, 4).0, State::Rewritten);
        assert_eq!(at(&code, 0x1010, 5).0, State::Changeable);
        assert_eq!(code.state(0x1010, None).0, State::Rewritten);
        assert_eq!(at(&code, 0x3010, 4).0, State::Changeable);
        assert!(code.rewritten(Address(0x1000), None));
        assert!(!code.rewritten(Address(0x1000), Some(Timestamp(9))));
        assert_eq!(at(&code, 0x1010, 9).0, State::Rewritten);
    }
}
