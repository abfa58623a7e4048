//! A piece of the cache, near the code that it copies, and the lookup code in it.
//!
//! The table of targets is shared by all threads: buckets of four entries, chosen by the
//! lower 16 bits of the target. An entry is the target's complement, so that adding the
//! target and one leaves zero exactly when they fit (which can be asked without touching
//! the flags), and the cache address of its block.

use super::area::{TABLE_AT, TARGET_AT};
use super::emit::{Emitter, Point, Reg, Stage, saved};
use crate::sys::Shared;

/// Size of an arena.
pub(super) const ARENA_BYTES: usize = 64 << 20;
/// Entries of a bucket.
const WAYS: usize = 4;
const ENTRY_BYTES: usize = 16;
const BUCKETS: usize = 1 << 16;
/// Size of the table.
pub(super) const TABLE_BYTES: usize = BUCKETS * WAYS * ENTRY_BYTES;

#[derive(Debug)]
pub(super) struct Arena {
    pub(super) code: Shared,
    /// Bytes taken.
    pub(super) used: usize,
    /// The lookup code's instructions.
    pub(super) points: Vec<Point>,
    /// Its end.
    pub(super) begins: usize,
    /// Blocks by their place, ascending.
    pub(super) blocks: Vec<(u32, u32)>,
}

impl Arena {
    pub(super) fn new(code: Shared) -> Arena {
        let (bytes, points) = lookup_code(code.remote);
        code.write(0, &bytes);
        let begins = bytes.len().next_multiple_of(64);
        Arena {
            code,
            used: begins,
            points,
            begins,
            blocks: Vec::new(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.used = self.begins;
        self.blocks.clear();
    }

    /// The block that `offset` lies in.
    pub(super) fn block_at(&self, offset: u32) -> Option<(u32, u32)> {
        let index = self.blocks.partition_point(|(at, _)| *at <= offset);
        index.checked_sub(1).map(|index| self.blocks[index])
    }
}

// Expects the target in RAX and RAX's value in the thread's area.
fn lookup_code(base: u64) -> (Vec<u8>, Vec<Point>) {
    let mut code = Emitter::new(base, Stage::InRax);
    code.set_saved(saved::RAX);
    code.save(Reg::Rcx);
    code.save(Reg::Rdx);
    code.op(&[0x0f, 0xb7, 0xc8]); // movzx ecx, ax
    code.op(&[0x48, 0x8d, 0x0c, 0xcd, 0, 0, 0, 0]); // lea rcx, [rcx*8]
    code.load(Reg::Rdx, TABLE_AT);
    code.op(&[0x48, 0x8d, 0x14, 0xca]); // lea rdx, [rdx+rcx*8]
    let mut hits = Vec::with_capacity(WAYS);
    for way in 0..WAYS as u8 {
        code.op(&[0x48, 0x8b, 0x4a, way * 16]); // mov rcx, [rdx+16*way]
        code.op(&[0x48, 0x8d, 0x4c, 0x01, 1]); // lea rcx, [rcx+rax+1]
        hits.push(code.short(&[0xe3])); // jrcxz
    }
    code.op(&[0xcc]);
    let mut ends = Vec::with_capacity(WAYS);
    for (way, hit) in (0..WAYS as u8).zip(hits) {
        code.lead_here(hit);
        code.op(&[0x48, 0x8b, 0x4a, way * 16 + 8]); // mov rcx, [rdx+16*way+8]
        if usize::from(way) + 1 < WAYS {
            ends.push(code.short(&[0xeb]));
        }
    }
    ends.into_iter().for_each(|end| code.lead_here(end));
    code.store(Reg::Rcx, TARGET_AT);
    code.stage(Stage::InArea);
    code.restore(Reg::Rdx);
    code.restore(Reg::Rcx);
    code.restore(Reg::Rax);
    code.jump_through_area(TARGET_AT);
    (code.bytes, code.points)
}

/// The table of branch targets.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) memory: Shared,
    filled: Vec<u8>,
}

impl Table {
    pub(super) fn new(memory: Shared) -> Table {
        // An empty entry would fit the address -1: not in the bucket of that.
        const UNFIT: u64 = 1;
        for way in 0..WAYS {
            memory.set_quad(((BUCKETS - 1) * WAYS + way) * ENTRY_BYTES, UNFIT);
        }
        Table {
            memory,
            filled: vec![0; BUCKETS],
        }
    }

    /// Forgets all targets.
    pub(super) fn clear(&mut self) {
        for (bucket, filled) in self.filled.iter_mut().enumerate() {
            for way in 0..std::mem::take(filled) as usize {
                let unfit = u64::from(bucket == BUCKETS - 1);
                self.memory
                    .set_quad((bucket * WAYS + way) * ENTRY_BYTES, unfit);
            }
        }
    }

    /// Enters a target. When its bucket is full it is not entered, and each branch there
    /// stops: entries that running threads may be reading are not replaced.
    pub(super) fn insert(&mut self, target: u64, address: u64) {
        let bucket = (target & 0xffff) as usize;
        let filled = usize::from(self.filled[bucket]);
        let at = |way| (bucket * WAYS + way) * ENTRY_BYTES;
        let known = (0..filled).any(|way| self.memory.quad(at(way)) == !target);
        if known || filled == WAYS {
            return;
        }
        self.memory.set_quad(at(filled) + 8, address);
        self.memory.set_quad(at(filled), !target);
        self.filled[bucket] += 1;
    }
}
