//! String instructions: all iterations are one step, whose operands have a length once the
//! count, the pointers and the direction are known.

use super::Engine;
use super::cells::CELL;
use super::graph::{AccessKind, AccessState};
use super::tracking::Cause;
use crate::bits::Bits;
use crate::effect::{StringKind, StringOp, Word};

/// The operands of one execution.
struct Operands {
    bytes: u64,
    source: Option<u64>,
    destination: Option<u64>,
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
                AccessKind::StringLoad if second || operands.source.is_none() => {
                    operands.destination
                }
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
            if self.graph.accesses[id as usize].state == AccessState::Placed {
                self.tell_wide(id);
            }
        }
    }

    /// Every byte stored is the byte loaded, unless the copy overwrites what it still has to read.
    fn copy(&mut self, step: u32, load: u32, operands: &Operands) {
        let (Some(source), Some(destination)) = (operands.source, operands.destination) else {
            return;
        };
        let ahead = destination.wrapping_sub(source);
        let placed = |id: u32| self.graph.accesses[id as usize].state == AccessState::Placed;
        if !placed(load)
            || !placed(load + 1)
            || ahead < operands.bytes
            || ahead.wrapping_neg() < operands.bytes
        {
            return;
        }
        let (from, to) = (self.entries_of(load), self.entries_of(load + 1));
        for offset in 0..operands.bytes {
            let (a, b) = (
                source.wrapping_add(offset),
                destination.wrapping_add(offset),
            );
            let cell = |start: u64, at: u64| (at / CELL).wrapping_sub(start / CELL) as usize;
            let (Some(&x), Some(&y)) = (from.get(cell(source, a)), to.get(cell(destination, b)))
            else {
                return;
            };
            let (x, y) = (
                self.cells.entries[x as usize].node,
                self.cells.entries[y as usize].node,
            );
            self.equal_bytes(step, (x, 8 * (a % CELL)), (y, 8 * (b % CELL)));
        }
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
            || self.learn(x, place(of_y, at_x), Cause::Step(step)).is_err();
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
    let down = if bytes == 0 {
        0
    } else {
        at(string.direction).get()?
    };
    let start = |word: Option<Word>| {
        let first = at(word?).get()?;
        Some(if down == 1 {
            first.wrapping_sub(bytes - element)
        } else {
            first
        })
    };
    Some(Operands {
        bytes,
        source: start(string.source),
        destination: start(string.destination),
    })
}
