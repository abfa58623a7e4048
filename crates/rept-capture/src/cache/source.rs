//! The program's code as the cache may copy it: from mappings whose bytes cannot change
//! without a system call that changes the mapping, and from others, whose copies compare what
//! they were made of before they run.

use crate::maps::Mapping;
use crate::sys;
use std::collections::HashMap;

const PAGE: u64 = 4096;

#[derive(Debug, Default)]
pub(super) struct Source {
    tid: i32,
    // Ascending, with whether anything was copied from there.
    mappings: Vec<(Mapping, bool)>,
    pages: HashMap<u64, Box<[u8]>>,
}

impl Source {
    /// Code that may change is read anew.
    pub(super) fn look_again(&mut self) {
        let Source {
            pages, mappings, ..
        } = self;
        pages.retain(|page, _| {
            let at = page * PAGE;
            let index = mappings.partition_point(|(m, _)| m.end <= at);
            let mapping = mappings.get(index).map(|(m, _)| m);
            mapping.is_some_and(|m| m.start <= at && !may_change(m))
        });
    }

    /// Whether the code there may change while its mapping stays as it is.
    pub(super) fn may_change(&mut self, at: u64) -> bool {
        self.mapping(at).is_some_and(|(m, _)| may_change(m))
    }

    /// Takes note of the mappings as they are now; whether something was copied that may
    /// have changed.
    pub(super) fn mappings_changed(&mut self, tid: i32, mappings: &[Mapping]) -> bool {
        self.tid = tid;
        self.pages.clear();
        let before = std::mem::take(&mut self.mappings);
        let copied = |m: &Mapping| before.iter().any(|(old, copied)| *copied && old == m);
        let copyable = mappings.iter().filter(|m| is_copyable(m));
        self.mappings = copyable.map(|m| (m.clone(), copied(m))).collect();
        let kept = |old: &Mapping| self.mappings.iter().any(|(m, _)| m == old);
        before.iter().any(|(old, copied)| *copied && !kept(old))
    }

    fn mapping(&mut self, at: u64) -> Option<&mut (Mapping, bool)> {
        let index = self.mappings.partition_point(|(m, _)| m.end <= at);
        self.mappings.get_mut(index).filter(|(m, _)| m.start <= at)
    }

    /// Copies the bytes from `at` on; how many there are.
    pub(super) fn fetch(&mut self, at: u64, into: &mut [u8]) -> usize {
        let mut got = 0;
        while got < into.len() {
            let from = at.wrapping_add(got as u64);
            let Some((_, copied)) = self.mapping(from) else {
                break;
            };
            *copied = true;
            let tid = self.tid;
            let page = self.pages.entry(from / PAGE).or_insert_with(|| {
                let mut bytes = vec![0; PAGE as usize];
                let filled = sys::read(tid, from / PAGE * PAGE, &mut bytes);
                bytes.truncate(filled);
                bytes.into()
            });
            let Some(rest) = page.get((from % PAGE) as usize..).filter(|r| !r.is_empty()) else {
                break;
            };
            let taken = rest.len().min(into.len() - got);
            into[got..got + taken].copy_from_slice(&rest[..taken]);
            got += taken;
        }
        got
    }
}

// The obsolete page of fast system calls is not code: it cannot be executed.
fn is_copyable(mapping: &Mapping) -> bool {
    mapping.execute && mapping.name != "[vsyscall]"
}

// All but private code that the program cannot write.
fn may_change(mapping: &Mapping) -> bool {
    mapping.write || mapping.shared
}
