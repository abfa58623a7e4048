//! What a file held when it was read, as far as that is known.

use std::ops::Range;
use std::sync::Arc;

/// The bytes of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    bytes: Bytes,
    /// Those that are not known, ascending.
    unknown: Vec<Range<usize>>,
}

#[derive(Clone, Debug)]
enum Bytes {
    /// A file that lies somewhere.
    Stored(Arc<[u8]>),
    /// One that the kernel made up as it was read.
    MadeUp(Vec<u8>),
}

impl Default for Bytes {
    fn default() -> Bytes {
        Bytes::MadeUp(Vec::new())
    }
}

impl From<Arc<[u8]>> for Contents {
    fn from(bytes: Arc<[u8]>) -> Contents {
        Contents {
            bytes: Bytes::Stored(bytes),
            unknown: Vec::new(),
        }
    }
}

impl Contents {
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Stored(bytes) => bytes,
            Bytes::MadeUp(bytes) => bytes,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes().len()
    }

    /// The kernel made it up as it was read.
    pub(super) fn is_made_up(&self) -> bool {
        matches!(self.bytes, Bytes::MadeUp(_))
    }

    /// Adds to what the kernel made up; ranges within `bytes` are not known.
    pub(super) fn add(&mut self, bytes: &[u8], unknown: &[Range<usize>]) {
        let before = self.len();
        if let Bytes::MadeUp(all) = &mut self.bytes {
            all.extend(bytes);
            let moved = unknown.iter().map(|of| before + of.start..before + of.end);
            self.unknown.extend(moved);
        }
    }

    /// The known bytes from an offset on, at least one; `None` where the first is not known.
    pub(super) fn known_from(&self, offset: usize) -> Option<&[u8]> {
        let next = self.unknown.partition_point(|of| of.end <= offset);
        let end = self.unknown.get(next).map_or(self.len(), |of| of.start);
        self.bytes()
            .get(offset..end)
            .filter(|bytes| !bytes.is_empty())
    }
}
