//! Memory of which nothing is known.

use rept_trace::{Address, Mapping, Memory};

pub(crate) struct Nothing;

impl Memory for Nothing {
    fn bytes(&self, _: Address) -> Option<&[u8]> {
        None
    }

    fn constant_len(&self, _: Address) -> u64 {
        0
    }

    fn mappings(&self) -> &[Mapping] {
        &[]
    }
}
