//! Where one module's variables are in the process.

use super::exports::{Counts, Exports};
use super::thread_storage::Storage;
use crate::binaries::Binary;
use object::read::elf::{ElfFile64, SectionHeader as _};
use object::{LittleEndian, elf};
use rept_trace::Address;
use std::ops::Range;
use std::sync::Arc;

/// What it takes to get from a file's addresses to the process's.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// Where the module begins, which tells it from others.
    pub(super) start: Address,
    /// What is added to addresses of the file.
    pub(super) bias: u64,
    /// Where the file has data; `None` when it does not say.
    pub(super) data: Option<Arc<[Range<u64>]>>,
    /// Where the file keeps thread-local variables.
    pub(super) storage: Storage,
    pub(super) exports: Arc<Exports>,
}

impl Places {
    /// For questions about code only.
    pub(super) fn of_code(bias: u64) -> Places {
        Places {
            start: Address(0),
            bias,
            data: None,
            storage: Storage::unknown(),
            exports: Arc::default(),
        }
    }

    /// The file has data at this address. What the linker removed has zero or another number of the
    /// linker's choice, or what was added to it.
    pub(super) fn has(&self, address: u64) -> bool {
        let is_there = address != 0 && address != u64::MAX;
        let data = self.data.as_ref();
        is_there && data.is_none_or(|data| data.iter().any(|range| range.contains(&address)))
    }

    /// Which variable counts of those that modules export by the name of this one.
    pub(super) fn counts(&self, is_thread_local: bool, at: u64) -> Counts {
        self.exports.counts(self.start, is_thread_local, at)
    }
}

/// Where a file has data, by its sections; `None` when it has no list of them.
pub(super) fn data(binary: &Arc<Binary>) -> Option<Arc<[Range<u64>]>> {
    let e = LittleEndian;
    let file = ElfFile64::<LittleEndian>::parse(binary.bytes()).ok()?;
    let sections = file.elf_section_table().iter();
    let ranges = sections.filter_map(|section| {
        let flags = section.sh_flags(e);
        let is_data = flags & u64::from(elf::SHF_ALLOC) != 0
            && flags & u64::from(elf::SHF_EXECINSTR | elf::SHF_TLS) == 0
            && matches!(section.sh_type(e), elf::SHT_PROGBITS | elf::SHT_NOBITS);
        let start = section.sh_addr(e);
        let end = start.checked_add(section.sh_size(e))?;
        is_data.then_some(start..end)
    });
    let ranges: Arc<[Range<u64>]> = ranges.collect();
    (!ranges.is_empty()).then_some(ranges)
}
