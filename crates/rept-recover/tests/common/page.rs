//! A page of memory that holds the same everywhere.

use rept_trace::{Address, Mapping, Memory};

static PAGE: [u8; 4096] = [7; 4096];

/// The page, from its first address on.
pub(crate) struct Page {
    pub(crate) at: u64,
    /// It was written and then protected.
    pub(crate) protected: bool,
}

impl Memory for Page {
    fn bytes(&self, at: Address) -> Option<&[u8]> {
        let offset = at.0.checked_sub(self.at)?;
        PAGE.get(offset as usize..).filter(|rest| !rest.is_empty())
    }

    fn constant_len(&self, _: Address) -> u64 {
        0
    }

    fn protected_len(&self, at: Address) -> u64 {
        let rest = self.bytes(at).filter(|_| self.protected);
        rest.map_or(0, |rest| rest.len() as u64)
    }

    fn mappings(&self) -> &[Mapping] {
        &[]
    }
}
