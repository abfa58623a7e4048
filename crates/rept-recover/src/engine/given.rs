//! Accesses placed where they were, for measuring: how much recovery could know if no address had
//! to be found. The places say nothing else: neither registers nor addresses follow from them.

use super::Engine;
use super::graph::{AccessKind, AccessState};
use crate::bits::Contradiction;
use crate::experiment::GivenOperand;

/// At most eight bytes of an operand, as effects list them.
struct Chunk {
    address: u64,
    store: bool,
}

impl Engine<'_> {
    /// Places the accesses of the steps whose operands are given.
    pub(super) fn place_given(&mut self, given: &[Vec<GivenOperand>]) {
        if given.is_empty() {
            return;
        }
        self.given = vec![false; self.graph.accesses.len()];
        let ends = self.graph.segments.iter().skip(1).map(|next| next.global);
        let ends: Vec<u32> = ends.chain([self.graph.steps.len() as u32]).collect();
        for (segment, end) in self.graph.segments.clone().into_iter().zip(ends) {
            let Some(operands) = given.get(segment.thread as usize) else {
                continue;
            };
            let mut from = operands.partition_point(|operand| operand.step < segment.first);
            for global in segment.global..end {
                if !self.graph.is_traced(global) {
                    continue;
                }
                let step = self.graph.step_in_thread(global);
                let count = operands[from..]
                    .iter()
                    .take_while(|operand| operand.step == step)
                    .count();
                self.place_operands(global, &operands[from..from + count]);
                from += count;
            }
        }
    }

    fn place_operands(&mut self, step: u32, operands: &[GivenOperand]) {
        let listed = self.graph.effect(step).accesses.len();
        let first = self.graph.steps[step as usize].access;
        let conditional = self.graph.effect(step).accesses.iter();
        // A masked access may not have happened: whether it did is for the mask to say.
        if listed > 0 && !conditional.clone().any(|access| access.condition.is_some()) {
            for store in [false, true] {
                let ids = (0..listed as u32)
                    .filter(|&index| {
                        self.graph.effect(step).accesses[index as usize].store == store
                    })
                    .map(|index| first + index);
                self.place_listed(&ids.collect::<Vec<_>>(), operands, store);
            }
        }
        let extra = first + listed as u32..self.graph.accesses_of(step).end;
        let mut loads = operands.iter().filter(|operand| !operand.store);
        let mut stores = operands.iter().filter(|operand| operand.store);
        for id in extra {
            let operand = match self.graph.accesses[id as usize].kind {
                AccessKind::StringLoad => loads.next(),
                AccessKind::StringStore => stores.next(),
                _ => continue,
            };
            if let Some(operand) = operand.filter(|operand| operand.bytes > 0)
                && self.place_wide(id, &[(operand.address.0, operand.bytes)])
            {
                self.given[id as usize] = true;
            }
        }
    }

    /// Places accesses of one direction, if they are cut as the operands say.
    fn place_listed(&mut self, ids: &[u32], operands: &[GivenOperand], store: bool) {
        let chunks: Vec<Chunk> = operands.iter().flat_map(chunks).collect();
        let chunks: Vec<&Chunk> = chunks.iter().filter(|chunk| chunk.store == store).collect();
        if chunks.len() != ids.len() {
            return;
        }
        for (&id, chunk) in ids.iter().zip(chunks) {
            self.given[id as usize] = true;
            self.place(id, chunk.address);
        }
    }

    /// Those accesses whose address recovery did not find are shown without it.
    pub(super) fn withhold_given(&mut self) {
        let given = (0..self.given.len() as u32).filter(|&id| self.given[id as usize]);
        for id in given.collect::<Vec<_>>() {
            if !self.address_found(id) {
                self.graph.accesses[id as usize].state = AccessState::Pending;
            }
        }
    }

    /// The relations of a step give the address of its access.
    fn address_found(&mut self, id: u32) -> bool {
        let step = self.graph.accesses[id as usize].step;
        let index = (id - self.graph.steps[step as usize].access) as usize;
        let effect = self.graph.effect(step);
        let Some(word) = effect.accesses.get(index).map(|access| access.address) else {
            return true;
        };
        self.load_words(step);
        let mut words = std::mem::take(&mut self.words);
        let narrowed = self.graph.effect(step).narrow(&mut words);
        let found = narrowed != Err(Contradiction) && words[usize::from(word.0)].get().is_some();
        self.words = words;
        found
    }
}

fn chunks(operand: &GivenOperand) -> impl Iterator<Item = Chunk> + '_ {
    let count = operand.bytes.div_ceil(8).max(1);
    (0..count).map(|index| Chunk {
        address: operand.address.0.wrapping_add(index * 8),
        store: operand.store,
    })
}
