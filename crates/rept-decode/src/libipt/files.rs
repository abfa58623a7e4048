//! Code from files, kept in libipt's section cache: the form in which libipt is fastest.

use super::drive::{self, Blocks, Instructions, Visitor};
use crate::DecodeOptions;
use ::libipt::block::Block;
use ::libipt::error::PtError;
use ::libipt::event::Event;
use ::libipt::image::{Image, SectionCache};
use ::libipt::insn::Insn;
use rept_trace::Address;
use std::fmt;
use std::path::Path;
use std::rc::Rc;

/// Bytes of files that the cache keeps mapped: as good as all.
const CACHE_BYTES: u64 = 1 << 40;

/// libipt's decoders over code in files. Its section cache stays warm from one call to the next.
pub struct Files {
    image: Image,
    cache: Rc<SectionCache>,
}

/// A file that libipt does not take.
#[derive(Debug)]
pub struct OpenError {
    file: String,
    cause: &'static str,
}

impl OpenError {
    fn new(file: &str, cause: PtError) -> OpenError {
        OpenError {
            file: file.to_owned(),
            cause: cause.msg(),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: libipt: {}", self.file, self.cause)
    }
}

impl std::error::Error for OpenError {}

/// A part of a file, and where it was mapped.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// The file.
    pub file: &'a Path,
    /// First byte of the part.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
    /// Where it was mapped.
    pub at: Address,
}

impl Files {
    /// Code from these sections; where they overlap, the later one counts.
    pub fn new(sections: &[Section<'_>]) -> Result<Files, OpenError> {
        let failed = |error| OpenError::new("section cache", error);
        let mut cache = SectionCache::new(None).map_err(failed)?;
        cache.set_limit(CACHE_BYTES).map_err(failed)?;
        let mut ids = Vec::new();
        for section in sections {
            let name = section.file.to_string_lossy();
            let id = cache
                .add_file(&name, section.offset, section.len, section.at.0)
                .map_err(|error| OpenError::new(&name, error))?;
            ids.push(id);
        }
        let mut image = Image::new(None).map_err(failed)?;
        let cache = Rc::new(cache);
        for id in ids {
            image
                .add_cached(Rc::clone(&cache), id, None)
                .map_err(failed)?;
        }
        Ok(Files { image, cache })
    }

    /// Follows `bytes` by libipt's block decoder and hands over each block's address and
    /// number of instructions; returns the number of failures.
    pub fn blocks(
        &mut self,
        bytes: &[u8],
        options: &DecodeOptions,
        visit: impl FnMut(Address, u16),
    ) -> u64 {
        let mut each = Each { visit, failures: 0 };
        if let Ok(mut decoder) = drive::open::<Blocks<'_>>(bytes, options)
            && decoder.set_image(Some(&mut self.image)).is_ok()
        {
            drive::run(&mut decoder, options, &mut each);
        }
        each.failures
    }

    /// Follows `bytes` by libipt's instruction decoder and hands over each instruction's
    /// address; returns the number of failures.
    pub fn instructions(
        &mut self,
        bytes: &[u8],
        options: &DecodeOptions,
        mut visit: impl FnMut(Address),
    ) -> u64 {
        let mut each = Each {
            visit: |at, _| visit(at),
            failures: 0,
        };
        if let Ok(mut decoder) = drive::open::<Instructions<'_>>(bytes, options)
            && decoder.set_image(Some(&mut self.image)).is_ok()
        {
            drive::run(&mut decoder, options, &mut each);
        }
        each.failures
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files")
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

/// Hands over addresses and counts failures.
struct Each<F> {
    visit: F,
    failures: u64,
}

/// What is handed over of one of libipt's items.
trait Place {
    fn place(&self) -> (Address, u16);
}

impl Place for Insn {
    #[inline]
    fn place(&self) -> (Address, u16) {
        (Address(self.ip()), 1)
    }
}

impl Place for Block {
    #[inline]
    fn place(&self) -> (Address, u16) {
        (Address(self.ip()), self.ninsn())
    }
}

impl<T: Place, F: FnMut(Address, u16)> Visitor<T> for Each<F> {
    #[inline]
    fn item(&mut self, item: &T) {
        let (at, count) = item.place();
        (self.visit)(at, count);
    }

    fn event(&mut self, _: u64, _: Event) {}

    fn failed(&mut self, _: u64, _: PtError) {
        self.failures += 1;
    }

    fn endless(&mut self, _: u64) {
        self.failures += 1;
    }
}
