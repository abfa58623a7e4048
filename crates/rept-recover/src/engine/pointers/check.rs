//! What speaks for a candidate: the information in the values of a class that stand where it puts them.
//!
//! A wrong pointer meets a value of so many bits by chance only, or because memory holds a copy of what the right
//! one points to. So each value counts once, and so does each place, however often it is accessed.

use super::{AHEAD, ENOUGH};
use crate::bits::{Bits, mask};
use crate::engine::Engine;
use crate::engine::cells::{CELL, Entry, bits_at, spread};
use crate::engine::graph::{AccessKind, NONE};
use crate::engine::numbering::Relative;
use smallvec::SmallVec;

/// Accesses of a class that are looked at, the latest.
pub(super) const MAX_LOOKED_AT: usize = 64;
/// Information (bits) in a value that makes it rare.
pub(super) const RARE: u32 = 16;
/// Information at most that one value gives.
const MOST: u32 = 32;
/// Information that a value which disagrees takes away.
const DISAGREES: i32 = 24;
/// Entries of a timeline that are looked at on either side.
const NEAR: usize = 8;

/// How much it tells that a value of so many bits is this: as much as it is long, without its sign.
pub(super) fn information(value: u64, bits: u32) -> u32 {
    long(value).min(long(!value)).min(bits).min(MOST)
}

/// Bits of a number without the zeros above.
fn long(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

/// What one access says of a candidate.
enum Said {
    Nothing,
    /// This value stands there, known to so many bits.
    Agrees(u64, u32),
    Disagrees,
}

impl Engine<'_> {
    /// What can speak for a pointer at most, in bits: from each of the accesses on that are looked at.
    pub(super) fn potential(&self, class: &[Relative]) -> Vec<i32> {
        let most = |relative: &Relative| {
            let node = self.graph.accesses[relative.access as usize].node;
            let own = self.graph.nodes.bits[node as usize];
            let told = long(own.value & own.known).min(own.known.count_ones());
            told.min(MOST) as i32
        };
        let looked_at = class.iter().rev().take(MAX_LOOKED_AT);
        let mut potential: Vec<i32> = looked_at.map(most).collect();
        potential.push(0);
        for index in (1..potential.len()).rev() {
            potential[index - 1] += potential[index];
        }
        potential
    }

    /// What speaks for a pointer, in bits; `None` if an access would be where nothing was mapped, or when so little
    /// can speak for it that it makes no difference.
    pub(super) fn check(
        &mut self,
        class: &[Relative],
        pointer: u64,
        potential: &[i32],
    ) -> Option<i32> {
        let mut told: SmallVec<[(u64, u64); 16]> = SmallVec::new();
        let mut score = 0;
        for (relative, left) in class.iter().rev().zip(potential).take(MAX_LOOKED_AT) {
            if score + left < ENOUGH - AHEAD {
                return None;
            }
            let address = pointer.wrapping_add(relative.distance);
            if !self.may_be_at(relative.access, address) {
                return None;
            }
            match self.held_against(relative.access, address) {
                Said::Nothing => {}
                Said::Disagrees => score -= DISAGREES,
                Said::Agrees(value, bits) => {
                    let known = |&(at, other): &(u64, u64)| at == address || other == value;
                    if !told.iter().any(known) {
                        told.push((address, value));
                        score += information(value, bits) as i32;
                    }
                }
            }
        }
        Some(score)
    }

    /// What an access says if it was at an address.
    fn held_against(&mut self, id: u32, address: u64) -> Said {
        let access = self.graph.accesses[id as usize];
        let low = mask(8 * u32::from(access.size));
        let load = access.kind == AccessKind::Load;
        let [before, after] = self.held_around(id, address, access.size);
        let sides = [before.filter(|_| load), after].into_iter().flatten();
        let sides: SmallVec<[Bits; 2]> = sides.filter(|held| held.known != 0).collect();
        let own = self.graph.nodes.bits[access.node as usize];
        let own = Bits::new(own.known & low, own.value);
        let common = |held: &Bits| (held.compatible(own), (held.known & own.known).count_ones());
        let Some(&held) = sides.iter().max_by_key(|&held| common(held)) else {
            return Said::Nothing;
        };
        if load && own.known != low {
            // What it would have read must fit what was made of it.
            let mut sides = sides.into_iter();
            let fits = sides.any(|held| self.may_have_read(access.node, held));
            return if fits { Said::Nothing } else { Said::Disagrees };
        }
        match common(&held) {
            (false, _) => Said::Disagrees,
            (true, 0) => Said::Nothing,
            (true, bits) => Said::Agrees(own.value & held.known & own.known, bits),
        }
    }

    /// What memory held at a place before and after an access, as far as that is known, if the access was there.
    fn held_around(&self, id: u32, address: u64, size: u8) -> [Option<Bits>; 2] {
        let offset = address % CELL;
        if offset + u64::from(size) > CELL {
            return [None, None];
        }
        let (shift, wanted) = (8 * offset, mask(8 * u32::from(size)) << (8 * offset));
        let shifted = |held: Bits| Bits::new((held.known & wanted) >> shift, held.value >> shift);
        let Some(cell) = self.cells.find(address / CELL) else {
            let dump = bits_at(|at| self.cells.memory().bytes(at), address - offset);
            return [Some(shifted(dump)); 2];
        };
        let before = self.cells.before(cell, id);
        let after = match before {
            NONE => self.cells.cells[cell as usize].head,
            before => self.cells.entries[before as usize].next,
        };
        let earlier = self.first_known(before, wanted, true, |entry| entry.previous);
        let later = self.first_known(after, wanted, false, |entry| entry.next);
        let last = self.cells.cells[cell as usize].last;
        [earlier.flatten(), later.unwrap_or(Some(last))].map(|held| held.map(shifted))
    }

    /// What is known of some bits of a cell by the nearest entry that knows any, from one on and up to the first
    /// store of them, which counts `also` or not; `None` inside when nothing is known, outside at the timeline's end.
    fn first_known(
        &self,
        mut at: u32,
        wanted: u64,
        also: bool,
        next: impl Fn(&Entry) -> u32,
    ) -> Option<Option<Bits>> {
        for _ in 0..NEAR {
            let entry = self.cells.entries.get(at as usize)?;
            let stored = entry.store && spread(entry.bytes) & wanted != 0;
            let held = entry.to_cell(self.graph.nodes.bits[entry.node as usize]);
            if held.known & wanted != 0 && (also || !stored) {
                return Some(Some(held));
            }
            if stored {
                return Some(None);
            }
            at = next(entry);
        }
        Some(None)
    }
}

#[cfg(test)]
mod tests {
    use super::information;

    #[test]
    fn long_values_tell_more_than_short_ones_whatever_their_sign() {
        assert_eq!(information(0, 64), 0);
        assert_eq!(information(u64::MAX, 64), 0);
        assert_eq!(information(0x45, 64), 7);
        assert_eq!(information(-0x45i64 as u64, 64), 7);
        assert_eq!(information(0x5555_5557_0000, 64), 32);
        assert_eq!(information(0x5555_5557_0000, 8), 8);
    }
}
