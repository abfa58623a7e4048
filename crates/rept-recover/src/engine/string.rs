//! String instructions: all iterations are one step, whose operands have a length once the
//! count, the pointers and the direction are known.

use super::Engine;
use super::cells::CELL;
use super::graph::{AccessKind, AccessState};
use super::tracking::Cause;
use crate::bits::Bits;
use crate::effect::{StringKind, StringOp, Word};

/// The operands of one execution, from their lowest addresses on.
struct Operands {
    bytes: u64,
    element: u64,
    /// From the highest address downward.
    down: bool,
    source: Option<u64>,
    destination: Option<u64>,
}

impl Operands {
    /// How far behind the byte that is loaded the one is that is stored, in the order of copying.
    fn ahead(&self) -> Option<u64> {
        let (source, destination) = (self.source?, self.destination?);
        Some(match self.down {
            true => source.wrapping_sub(destination),
            false => destination.wrapping_sub(source),
        })
    }

    /// A copy loads what it stored itself.
    fn overlap(&self) -> bool {
        self.ahead().is_some_and(|ahead| ahead < self.bytes)
    }

    /// The byte loaded at an offset may be one that an element before has stored: at which offset of the
    /// destination.
    fn stored_before(&self, offset: u64) -> Option<u64> {
        // Counted in the order in which the bytes are copied.
        let at = match self.down {
            true => self.bytes - 1 - offset,
            false => offset,
        };
        let earlier = at.checked_sub(self.ahead()?)?;
        (earlier / self.element < at / self.element).then(|| match self.down {
            true => self.bytes - 1 - earlier,
            false => earlier,
        })
    }
}

impl Engine<'_> {
    /// Places the operands of a string instruction as they become known, and passes values through it.
    pub(super) fn visit_string(&mut self, step: u32, string: StringOp, words: &[Bits]) {
        let at = |word: Word| words[usize::from(word.0)];
        let Some(operands) = operands(string, at) else {
            return;
        };
        let first =
            self.graph.steps[step as usize].access + self.graph.effect(step).accesses.len() as u32;
        for id in first..self.graph.accesses_of(step).end {
            let access = self.graph.accesses[id as usize];
            if access.state != AccessState::Pending {
                continue;
            }
            let second = id > first;
            let address = match access.kind {
                AccessKind::StringStore => operands.destination,
                AccessKind::StringLoad if second || string.source.is_none() => operands.destination,
                AccessKind::StringLoad => operands.source,
                _ => None,
            };
            match address {
                _ if operands.bytes == 0 => self.absent(id),
                Some(address) => {
                    self.place_wide(id, &[(address, operands.bytes)]);
                }
                None => {}
            }
        }
        match string.kind {
            StringKind::Movs => self.copy(step, first, &operands),
            StringKind::Stos => self.fill(step, first, string, at),
            StringKind::Lods | StringKind::Cmps | StringKind::Scas => {}
        }
        for id in first..self.graph.accesses_of(step).end {
            if self.is_placed(id) {
                self.tell_wide(id);
            }
        }
    }

    /// Every byte stored is the byte loaded.
    fn copy(&mut self, step: u32, load: u32, operands: &Operands) {
        let (Some(source), Some(destination)) = (operands.source, operands.destination) else {
            return;
        };
        if !self.is_placed(load) || !self.is_placed(load + 1) {
            return;
        }
        let (from, to) = (self.entries_of(load), self.entries_of(load + 1));
        let mut pass = |offset: u64| {
            let loaded = match operands.stored_before(offset) {
                Some(earlier) => self.byte_of(&to, destination, earlier),
                None => self.byte_of(&from, source, offset),
            };
            let stored = self.byte_of(&to, destination, offset);
            if let (Some(loaded), Some(stored)) = (loaded, stored) {
                self.equal_bytes(step, loaded, stored);
            }
        };
        (0..operands.bytes).for_each(&mut pass);
        if operands.overlap() {
            // A byte that was stored and loaded again tells those before it, too, all the way.
            (0..operands.bytes).rev().for_each(pass);
        }
    }

    /// The node and the shift of a byte of an operand that begins at `start`.
    fn byte_of(&self, entries: &[u32], start: u64, offset: u64) -> Option<(u32, u64)> {
        let at = start.wrapping_add(offset);
        let index = (at / CELL).wrapping_sub(start / CELL) as usize;
        let entry = *entries.get(index)?;
        Some((self.cells.entries[entry as usize].node, 8 * (at % CELL)))
    }

    fn equal_bytes(&mut self, step: u32, (x, at_x): (u32, u64), (y, at_y): (u32, u64)) {
        let byte = |node: u32, shift: u64| {
            let bits = self.graph.nodes.bits[node as usize];
            Bits::new(bits.known >> shift & 0xff, bits.value >> shift)
        };
        let (of_x, of_y) = (byte(x, at_x), byte(y, at_y));
        if of_x == of_y {
            return;
        }
        let place = |bits: Bits, shift: u64| Bits::new(bits.known << shift, bits.value << shift);
        let failed = self.learn(y, place(of_x, at_y), Cause::Step(step)).is_err()
            || (!self.is_forward() && self.learn(x, place(of_y, at_x), Cause::Step(step)).is_err());
        if failed {
            self.conflict_between(step, &[x, y]);
        }
    }

    /// Every element stored is the accumulator.
    fn fill(&mut self, step: u32, store: u32, string: StringOp, at: impl Fn(Word) -> Bits) {
        let access = self.graph.accesses[store as usize];
        let Some(accumulator) = string
            .accumulator
            .filter(|_| access.state == AccessState::Placed)
        else {
            return;
        };
        let element = u32::from(string.element) * 8;
        let value = at(accumulator);
        let mut pattern = Bits::new(value.known & crate::bits::mask(element), value.value);
        let mut width = element;
        while width < 64 {
            pattern = Bits::new(
                pattern.known | pattern.known << width,
                pattern.value | pattern.value << width,
            );
            width *= 2;
        }
        let turn = (access.address % u64::from(string.element)) as u32 * 8;
        let pattern = Bits::new(
            pattern.known.rotate_left(turn),
            pattern.value.rotate_left(turn),
        );
        for entry in self.entries_of(store) {
            let entry = self.cells.entries[entry as usize];
            let bits = entry.to_node(pattern);
            if self.learn(entry.node, bits, Cause::Step(step)).is_err() {
                self.conflict_between(step, &[entry.node]);
            }
        }
    }
}

/// The operands, when count and direction are known.
fn operands(string: StringOp, at: impl Fn(Word) -> Bits) -> Option<Operands> {
    let times = match string.count.filter(|_| string.repeated) {
        Some((before, after)) => at(before).get()?.wrapping_sub(at(after).get()?),
        None => 1,
    };
    let element = u64::from(string.element);
    let bytes = times.checked_mul(element)?;
    let down = bytes > 0 && at(string.direction).get()? == 1;
    let start = |word: Option<Word>| {
        let first = at(word?).get()?;
        Some(if down {
            first.wrapping_sub(bytes - element)
        } else {
            first
        })
    };
    Some(Operands {
        bytes,
        element,
        down,
        source: start(string.source),
        destination: start(string.destination),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A copy that is made element by element, with the bytes numbered.
        #[test]
        fn a_copy_onto_itself_is_made_element_by_element(
            times in 0u64..12,
            element in prop::sample::select(vec![1u64, 2, 4, 8]),
            down: bool,
            source in 100u64..260,
            destination in 100u64..260,
        ) {
            let bytes = times * element;
            let before: Vec<u16> = (0..400).collect();
            let mut memory = before.clone();
            for turn in 0..times {
                let at = if down { bytes - (turn + 1) * element } else { turn * element };
                let loaded: Vec<u16> =
                    memory[(source + at) as usize..][..element as usize].to_vec();
                memory[(destination + at) as usize..][..element as usize].copy_from_slice(&loaded);
            }
            let operands = Operands {
                bytes,
                element,
                down,
                source: Some(source),
                destination: Some(destination),
            };
            for offset in 0..bytes {
                let stored = memory[(destination + offset) as usize];
                let expect = match operands.stored_before(offset) {
                    Some(earlier) => memory[(destination + earlier) as usize],
                    None => before[(source + offset) as usize],
                };
                prop_assert_eq!(stored, expect);
            }
        }
    }
}
