//! Where the code bytes come from.

use rept_trace::{Address, Timestamp};
use std::fmt;

/// Code bytes as they were in the traced address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeBytes<'a> {
    /// The bytes from the address asked for on, at least one, as many as are contiguous.
    pub bytes: &'a [u8],
    /// Tells contents apart: equal for equal bytes at an address, different after they changed.
    pub generation: u64,
}

/// No code is known at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingCode {
    /// What would have to be supplied: the file's name, its build-id, or a description of the mapping.
    pub wanted: String,
}

impl fmt::Display for MissingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no code: {}", self.wanted)
    }
}

impl std::error::Error for MissingCode {}

/// The traced process's code, over time.
pub trait CodeImage {
    /// The code at `at` as it was at `time` (`None`: the trace tells no time, or not yet).
    fn code(&self, at: Address, time: Option<Timestamp>) -> Result<CodeBytes<'_>, MissingCode>;

    /// Times at which any of the code changed, ascending; between two of them an address
    /// always gives the same answer. Empty for code that never changes. The decoder asks
    /// again about what it has cached whenever time passes one of them.
    fn changes(&self) -> &[Timestamp] {
        &[]
    }
}

/// Code that never changes, from a list of sections.
#[derive(Clone, Debug, Default)]
pub struct StaticImage<'a> {
    // By ascending first address, without overlap.
    sections: Vec<(Address, &'a [u8])>,
}

impl<'a> StaticImage<'a> {
    /// No code at all.
    pub fn new() -> StaticImage<'a> {
        StaticImage::default()
    }

    /// Adds a section. Where it overlaps earlier ones, it replaces them.
    pub fn add(&mut self, at: Address, bytes: &'a [u8]) {
        let len = (bytes.len() as u64).min((u64::MAX - at.0).saturating_add(1).max(1));
        let bytes = &bytes[..len as usize];
        if bytes.is_empty() {
            return;
        }
        let last = at.0 + (bytes.len() as u64 - 1);
        let old = std::mem::take(&mut self.sections);
        for (start, section) in old {
            let (left, right) = outside(start.0, section, at.0, last);
            self.sections.extend(left.into_iter().chain(right));
        }
        self.sections.push((at, bytes));
        self.sections.sort_by_key(|&(start, _)| start);
    }
}

type Section<'a> = (Address, &'a [u8]);

/// The parts of `section` that lie before `first` and behind `last`.
fn outside(
    start: u64,
    section: &[u8],
    first: u64,
    last: u64,
) -> (Option<Section<'_>>, Option<Section<'_>>) {
    let end = start + (section.len() as u64 - 1);
    let left = (start < first).then(|| {
        let keep = section.len().min((first - start) as usize);
        (Address(start), &section[..keep])
    });
    let right = (end > last).then(|| {
        let skip = (last + 1).saturating_sub(start) as usize;
        (Address(start + skip as u64), &section[skip..])
    });
    (left, right)
}

impl CodeImage for StaticImage<'_> {
    fn code(&self, at: Address, _: Option<Timestamp>) -> Result<CodeBytes<'_>, MissingCode> {
        let behind = self.sections.partition_point(|&(start, _)| start <= at);
        behind
            .checked_sub(1)
            .map(|index| self.sections[index])
            .and_then(|(start, bytes)| bytes.get((at.0 - start.0) as usize..))
            .filter(|bytes| !bytes.is_empty())
            .map(|bytes| CodeBytes {
                bytes,
                generation: 0,
            })
            .ok_or_else(|| MissingCode {
                wanted: format!("nothing is mapped at {at}"),
            })
    }
}
