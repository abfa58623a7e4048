//! Static code, decoded once: blocks, how each ends, and where it was seen to lead.
//!
//! A block is named by its [`BlockId`], which is also its index here. What the flow needs
//! at every step (count, kind of end, successors) is in a small hot record; addresses are
//! in a second array. Successors are found by address once and then linked.
//!
//! A cached block is valid for one *epoch* of the code image, a span of time in which no
//! code changes (see [`crate::CodeImage::changes`]). In a later epoch the image is asked
//! again, and the block is kept when generation or bytes are the same.

mod end;
mod landings;

pub(crate) use end::{End, is_vm_entry, may_stop_midway};

use crate::{CodeBytes, CodeImage};
use end::end_of;
use hashbrown::HashMap;
use iced_x86::{Decoder, DecoderError, DecoderOptions, Mnemonic};
use landings::Landings;
use rept_trace::{Address, Block, BlockId, Code, GapReason, Timestamp};
use std::hint::select_unpredictable;

/// Longest x86 instruction.
const MAX_INSTRUCTION_BYTES: usize = 15;

/// "Not linked yet".
const UNLINKED: u32 = u32::MAX;

/// "To where the newest call returns to".
const TO_CALLER: u32 = u32::MAX - 1;

/// The epoch of a block that must be asked for again.
const NO_EPOCH: u32 = u32::MAX;

/// What the flow reads at every block, so made that a walk needs no branch on how blocks end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hot {
    /// Number of instructions.
    pub(crate) count: u16,
    /// How the block ends.
    pub(crate) end: End,
    // Outcomes that it takes to leave it, 0 or 1, and above that bit by how much it makes the call
    // stack deeper.
    flags: i8,
    // Successors, each `UNLINKED` or a block's index: where an outcome of 0 or of 1 leads, the same
    // for both where none is needed; `TO_CALLER` where a compressed return's does. Never linked
    // where a packet with an address is needed.
    links: [u32; 2],
    // Of a call: the block that it returns to.
    back: u32,
}

impl Hot {
    fn new(count: u16, end: End) -> Hot {
        let links = match end {
            End::Return => [UNLINKED, TO_CALLER],
            _ => [UNLINKED; 2],
        };
        Hot {
            count,
            end,
            flags: match end {
                End::Conditional => 1,
                End::Return => 1 | -1 << 1,
                End::Call | End::IndirectCall => 1 << 1,
                _ => 0,
            },
            links,
            back: UNLINKED,
        }
    }

    /// Outcomes that it takes to leave it, 0 or 1.
    #[inline]
    pub(crate) fn outcomes(&self) -> u32 {
        u32::from(self.flags as u8 & 1)
    }

    /// By how much it makes the call stack deeper: -1, 0 or 1.
    #[inline]
    pub(crate) fn deepens(&self) -> isize {
        isize::from(self.flags >> 1)
    }

    /// The successor of a block that needs no packet.
    #[inline]
    pub(crate) fn next(&self) -> Option<BlockId> {
        known(self.links[0])
    }

    /// The successor that an outcome leads to, whatever it is where the block needs none; `caller`
    /// is where the newest call returns to.
    #[inline]
    pub(crate) fn successor(&self, taken: bool, caller: Link) -> Option<BlockId> {
        let link = self.links[usize::from(taken)];
        known(select_unpredictable(link == TO_CALLER, caller.0, link))
    }

    /// Of a call: where it returns to.
    #[inline]
    pub(crate) fn back(&self) -> Link {
        Link(self.back)
    }
}

/// Where a call returns to, if that was met: a block that stays the same for an epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link(u32);

impl Default for Link {
    fn default() -> Link {
        Link(UNLINKED)
    }
}

/// The block of a link.
#[inline]
fn known(link: u32) -> Option<BlockId> {
    (link != UNLINKED).then_some(BlockId(link))
}

/// Addresses and cache state of a block.
#[derive(Clone, Copy, Debug)]
struct Cold {
    end: Address,
    // Of a direct branch.
    target: Address,
    // The first PTWRITE in it.
    ptwrite: Option<u16>,
    bitness: u8,
    generation: u64,
    epoch: u32,
    // Another block that starts at the same address with other bytes, made earlier.
    older: Option<BlockId>,
}

/// A block, and what was seen of it when it was decoded.
struct Decoded {
    block: Block,
    hot: Hot,
    target: Address,
    ptwrite: Option<u16>,
}

/// All static code met so far; shared by the threads of a trace, so that each block is there once.
#[derive(Debug, Default)]
pub struct CodeBuilder {
    code: Code,
    hot: Vec<Hot>,
    cold: Vec<Cold>,
    by_start: HashMap<(u64, u8), BlockId>,
    landings: Landings,
    epoch: u32,
}

/// Which way a block is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Way {
    /// To the next instruction, or back to it from a call.
    Next = 0,
    /// To the target of the branch.
    Taken = 1,
}

impl Way {
    /// That of a conditional branch.
    #[inline]
    pub(crate) fn taken(taken: bool) -> Way {
        if taken { Way::Taken } else { Way::Next }
    }
}

impl CodeBuilder {
    /// A table without blocks.
    pub fn new() -> CodeBuilder {
        CodeBuilder::default()
    }

    /// The blocks so far.
    pub fn code(&self) -> &Code {
        &self.code
    }

    /// The finished table.
    pub fn finish(self) -> Code {
        self.code
    }

    #[inline]
    pub(crate) fn hot(&self, id: BlockId) -> Hot {
        self.hot[id.0 as usize]
    }

    pub(crate) fn block(&self, id: BlockId) -> &Block {
        self.code.block(id)
    }

    /// Address behind the block.
    pub(crate) fn end_address(&self, id: BlockId) -> Address {
        self.cold[id.0 as usize].end
    }

    /// Target of the direct branch at the block's end.
    pub(crate) fn target(&self, id: BlockId) -> Address {
        self.cold[id.0 as usize].target
    }

    /// Address of the first PTWRITE in the block.
    pub(crate) fn ptwrite(&self, id: BlockId) -> Option<Address> {
        let index = self.cold[id.0 as usize].ptwrite?;
        Some(self.block(id).address(usize::from(index)))
    }

    /// Which instruction of the block is at `at`.
    pub(crate) fn index_in(&self, id: BlockId, at: Address) -> Option<u16> {
        let block = self.block(id);
        let offset = u16::try_from(at.0.wrapping_sub(block.at.0)).ok()?;
        let index = block.starts.binary_search(&offset).ok()?;
        Some(index as u16)
    }

    /// The successor in that direction, when it was linked.
    #[inline]
    pub(crate) fn linked(&self, id: BlockId, way: Way) -> Option<BlockId> {
        let hot = &self.hot[id.0 as usize];
        known(match (hot.end, way) {
            (End::Call | End::IndirectCall, Way::Next) => hot.back,
            _ => hot.links[way as usize],
        })
    }

    /// What is read at every block, by the blocks' indices.
    #[inline]
    pub(crate) fn hot_blocks(&self) -> &[Hot] {
        &self.hot
    }

    /// Remembers a successor.
    pub(crate) fn link(&mut self, id: BlockId, way: Way, to: BlockId) {
        let hot = &mut self.hot[id.0 as usize];
        match (hot.end, way) {
            (End::Call | End::IndirectCall, Way::Next) => hot.back = to.0,
            (End::Conditional, _) => hot.links[way as usize] = to.0,
            _ => hot.links = [to.0; 2],
        }
    }

    /// Enters an epoch of the image: what was found in another one is asked for again.
    /// Says whether it is a new one.
    pub(crate) fn enter_epoch(&mut self, epoch: u32) -> bool {
        if self.epoch == epoch {
            return false;
        }
        self.epoch = epoch;
        for hot in &mut self.hot {
            *hot = Hot::new(hot.count, hot.end);
        }
        true
    }

    /// The block that starts at `at`, decoded now unless it is known.
    #[inline]
    pub(crate) fn lookup(
        &mut self,
        at: Address,
        bitness: u8,
        time: Option<Timestamp>,
        image: &(impl CodeImage + ?Sized),
        max_instructions: u16,
    ) -> Result<BlockId, GapReason> {
        if let Some(id) = self.landings.get(at, bitness, self.epoch) {
            return Ok(id);
        }
        let id = self.ask(at, bitness, time, image, max_instructions)?;
        self.landings.set(at, bitness, self.epoch, id);
        Ok(id)
    }

    fn ask(
        &mut self,
        at: Address,
        bitness: u8,
        time: Option<Timestamp>,
        image: &(impl CodeImage + ?Sized),
        max_instructions: u16,
    ) -> Result<BlockId, GapReason> {
        let known = self.by_start.get(&(at.0, bitness)).copied();
        if let Some(id) = known
            && self.cold[id.0 as usize].epoch == self.epoch
        {
            return Ok(id);
        }
        let found = image
            .code(at, time)
            .map_err(|missing| GapReason::MissingCode {
                wanted: missing.wanted,
            })?;
        if let Some(id) = known
            && self.cold[id.0 as usize].generation == found.generation
        {
            self.cold[id.0 as usize].epoch = self.epoch;
            return Ok(id);
        }
        let stitched = stitch(at, time, image, found)?;
        let bytes = stitched.as_deref().unwrap_or(found.bytes);
        // A stitched block is one instruction: what follows it is contiguous again.
        let max = if stitched.is_some() {
            1
        } else {
            max_instructions.clamp(1, 4096)
        };
        let decoded = decode(at, bitness, bytes, max).ok_or(GapReason::BadInstruction)?;
        Ok(self.insert(decoded, found.generation, known))
    }

    /// Takes over the blocks of another table, in its order; says which is which here. They are
    /// asked for again when next met.
    pub(crate) fn adopt(&mut self, other: CodeBuilder) -> Vec<BlockId> {
        let blocks = other.code.blocks().iter().zip(&other.hot).zip(&other.cold);
        blocks
            .map(|((block, hot), cold)| {
                let newest = self.by_start.get(&(block.at.0, block.bitness)).copied();
                let decoded = Decoded {
                    block: block.clone(),
                    hot: Hot::new(hot.count, hot.end),
                    target: cold.target,
                    ptwrite: cold.ptwrite,
                };
                let id = self.insert(decoded, cold.generation, newest);
                self.cold[id.0 as usize].epoch = NO_EPOCH;
                id
            })
            .collect()
    }

    /// The epoch entered last.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// A block of one instruction whose length another decoder told.
    #[cfg(feature = "libipt")]
    pub(crate) fn single(&mut self, at: Address, bitness: u8, bytes: &[u8]) -> BlockId {
        let block = Block {
            at,
            bytes: bytes.into(),
            starts: [0].into(),
            bitness,
        };
        let known = self.by_start.get(&(at.0, bitness)).copied();
        let decoded = Decoded {
            block,
            hot: Hot::new(1, End::Undefined),
            target: Address(0),
            ptwrite: None,
        };
        self.insert(decoded, u64::MAX, known)
    }

    /// Adds a block, or finds it among those that start at the same address.
    fn insert(&mut self, decoded: Decoded, generation: u64, newest: Option<BlockId>) -> BlockId {
        let Decoded { block, .. } = decoded;
        let key = (block.at.0, block.bitness);
        let mut same = newest;
        while let Some(id) = same
            && *self.block(id) != block
        {
            same = self.cold[id.0 as usize].older;
        }
        if let Some(id) = same {
            return self.bring_to_front(id, key, generation);
        }
        self.cold.push(Cold {
            end: block.end(),
            target: decoded.target,
            ptwrite: decoded.ptwrite,
            bitness: block.bitness,
            generation,
            epoch: self.epoch,
            older: newest,
        });
        self.hot.push(decoded.hot);
        let id = self.code.push(block);
        self.by_start.insert(key, id);
        id
    }

    /// Makes a block that has been seen before the newest of its address again.
    fn bring_to_front(&mut self, id: BlockId, key: (u64, u8), generation: u64) -> BlockId {
        let newest = self.by_start.insert(key, id);
        let (epoch, old) = (self.epoch, self.cold[id.0 as usize].older);
        if newest != Some(id) {
            let mut before = newest;
            while let Some(at) = before {
                let cold = &mut self.cold[at.0 as usize];
                if cold.older == Some(id) {
                    cold.older = old;
                    break;
                }
                before = cold.older;
            }
            self.cold[id.0 as usize].older = newest;
        }
        let cold = &mut self.cold[id.0 as usize];
        cold.generation = generation;
        cold.epoch = epoch;
        id
    }

    /// Execution mode of a block, in bits.
    pub(crate) fn bitness(&self, id: BlockId) -> u8 {
        self.cold[id.0 as usize].bitness
    }
}

/// The bytes of one instruction that may reach into the next piece of code, when `found` is
/// so short that it might.
fn stitch(
    at: Address,
    time: Option<Timestamp>,
    image: &(impl CodeImage + ?Sized),
    found: CodeBytes<'_>,
) -> Result<Option<Vec<u8>>, GapReason> {
    if found.bytes.len() >= MAX_INSTRUCTION_BYTES {
        return Ok(None);
    }
    let mut bytes = found.bytes.to_vec();
    while bytes.len() < MAX_INSTRUCTION_BYTES {
        match image.code(at.offset(bytes.len() as u64), time) {
            Ok(more) if !more.bytes.is_empty() => bytes.extend_from_slice(more.bytes),
            _ => break,
        }
    }
    bytes.truncate(MAX_INSTRUCTION_BYTES);
    Ok(Some(bytes))
}

/// Length of a JMPABS (REX2 A1, a 64-bit target), which iced-x86 does not know. Direct as it
/// is, the processor gives it a TIP (SDM, APX).
fn jmpabs(bytes: &[u8], bitness: u8) -> Option<usize> {
    const LEN: usize = 11;
    match bytes.get(..LEN)? {
        [0xd5, rex, 0xa1, ..] if bitness == 64 && rex & 0x88 == 0 => Some(LEN),
        _ => None,
    }
}

/// The block at the begin of `bytes`; `None` when there is not a single instruction.
fn decode(at: Address, bitness: u8, bytes: &[u8], max_instructions: u16) -> Option<Decoded> {
    let mut decoder = Decoder::with_ip(u32::from(bitness), bytes, at.0, DecoderOptions::NONE);
    let mut starts = Vec::new();
    let mut end = End::Split;
    let mut target = Address(0);
    let mut ptwrite = None;
    let mut len = 0;
    while decoder.can_decode() && starts.len() < usize::from(max_instructions) {
        let instruction = decoder.decode();
        if decoder.last_error() != DecoderError::None {
            if let Some(size) = jmpabs(&bytes[len..], bitness) {
                starts.push(len as u16);
                len += size;
                end = End::IndirectJump;
            }
            break;
        }
        let (kind, to) = end_of(&instruction);
        if kind == Some(End::Undefined) && !starts.is_empty() {
            break;
        }
        if instruction.mnemonic() == Mnemonic::Ptwrite {
            ptwrite.get_or_insert(starts.len() as u16);
        }
        starts.push(len as u16);
        len = decoder.position();
        if let Some(kind) = kind {
            end = kind;
            target = to;
            break;
        }
    }
    let hot = Hot::new(starts.len() as u16, end);
    let block = Block {
        at,
        bytes: bytes[..len].into(),
        starts: starts.into(),
        bitness,
    };
    (hot.count > 0).then_some(Decoded {
        block,
        hot,
        target,
        ptwrite,
    })
}
