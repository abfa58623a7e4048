//! The blocks looked up last by address: a small cache before the table.

use rept_trace::{Address, BlockId};

/// Entries, as a power of two.
const ENTRY_BITS: u32 = 13;

/// The block at an address, in one mode and one epoch of the image.
#[derive(Clone, Copy, Debug)]
struct Landing {
    at: Address,
    block: BlockId,
    tag: u32,
}

/// Mode and epoch in one number, which is not zero; `None` for an epoch without room for it.
#[inline]
fn tag(bitness: u8, epoch: u32) -> Option<u32> {
    (epoch < 1 << 24).then_some(epoch << 8 | u32::from(bitness))
}

/// The blocks looked up last, by address.
#[derive(Debug)]
pub(super) struct Landings(Box<[Landing]>);

impl Default for Landings {
    fn default() -> Landings {
        // Zero is no tag: nothing was looked up yet.
        let none = Landing {
            at: Address(0),
            block: BlockId(0),
            tag: 0,
        };
        Landings(vec![none; 1 << ENTRY_BITS].into())
    }
}

impl Landings {
    #[inline]
    pub(super) fn get(&self, at: Address, bitness: u8, epoch: u32) -> Option<BlockId> {
        let first = index(at);
        let tag = tag(bitness, epoch)?;
        let is_this = |landing: &&Landing| landing.at == at && landing.tag == tag;
        let [first, second] = [first, first ^ 1].map(|index| &self.0[index]);
        let found = Some(first)
            .filter(is_this)
            .or(Some(second).filter(is_this))?;
        Some(found.block)
    }

    /// Remembers a block; of the two that may be in its place, the older one is forgotten.
    pub(super) fn set(&mut self, at: Address, bitness: u8, epoch: u32, block: BlockId) {
        if let Some(tag) = tag(bitness, epoch) {
            let first = index(at);
            self.0[first ^ 1] = self.0[first];
            self.0[first] = Landing { at, block, tag };
        }
    }
}

/// Blocks lie a few bytes apart; multiplying by an odd constant spreads them.
#[inline]
fn index(at: Address) -> usize {
    (at.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - ENTRY_BITS)) as usize
}
