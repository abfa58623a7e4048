//! One visit: what a step's relations imply about its nodes, and which of its accesses they place.

use super::graph::{AccessKind, AccessState, NONE, Outcome};
use super::ranges::{bounds_of, span};
use super::tracking::Cause;
use super::{Engine, Grade};
use crate::bits::{Bits, Contradiction};
use crate::effect::Flow;
use crate::experiment::Technique;

impl Engine<'_> {
    /// Narrows the nodes of a step by its relations, then places and tells its accesses.
    pub(super) fn visit(&mut self, step: u32) {
        self.statistics.visits += 1;
        if !self.disabled.is_empty() && self.disabled.contains(&step) {
            return;
        }
        self.load_words(step);
        let mut words = std::mem::take(&mut self.words);
        let narrowed = self.graph.effect(step).narrow(&mut words);
        if narrowed.is_ok() {
            self.store_words(step, &words);
            self.place_known(step, &words);
            self.tell_changed(step);
            self.visit_special(step, &words);
            if !self.graph.signal_frames.is_empty() {
                self.visit_signal_frames(step);
            }
        }
        self.words = words;
        if narrowed == Err(Contradiction) {
            self.conflict_at(step);
        }
    }

    /// Steps whose memory operands have a length of their own.
    fn visit_special(&mut self, step: u32, words: &[Bits]) {
        let effect = self.graph.effect(step);
        if let Some(string) = effect.string {
            self.visit_string(step, string, words);
        } else if effect.flow == Flow::Syscall {
            self.visit_syscall(step);
        }
    }

    /// Fills `words` with what is known of the step's nodes, its outcome and its addresses.
    pub(super) fn load_words(&mut self, step: u32) {
        let s = self.graph.steps[step as usize];
        let effect = &self.graph.effects[s.effect as usize];
        let forward = !self.without.has(Technique::Forward);
        let words = &mut self.words;
        words.clear();
        words.extend_from_slice(&effect.template);
        let inputs = effect.inputs();
        let bits = &self.graph.nodes.bits;
        for (word, &node) in words
            .iter_mut()
            .zip(&self.graph.use_node[s.uses as usize..][..inputs])
        {
            *word = bits[node as usize];
        }
        let fresh = usize::from(effect.fresh);
        for (word, &bits) in words[inputs..inputs + fresh]
            .iter_mut()
            .zip(&bits[s.fresh as usize..])
        {
            // Nodes hold what their templates say, unless nothing is to go forward.
            if !forward && word.learn(bits).is_ok() {
                continue;
            }
            *word = bits;
        }
        if let Flow::Branch { taken, .. } = effect.flow {
            match self.graph.outcomes[step as usize] {
                Outcome::Taken => words[usize::from(taken.0)] = Bits::constant(1),
                Outcome::NotTaken => words[usize::from(taken.0)] = Bits::ZERO,
                Outcome::Nothing => {}
            }
        }
        for (index, access) in effect.accesses.iter().enumerate() {
            let id = s.access as usize + index;
            let placed = &self.graph.accesses[id];
            if placed.state == AccessState::Placed && self.given.get(id) != Some(&true) {
                let base = placed.address.wrapping_sub(u64::from(access.offset));
                let word = &mut words[usize::from(access.address.0)];
                // An input that disagrees with the place is found by the relations that read it.
                if word.learn(Bits::constant(base)).is_err() {
                    *word = Bits::constant(base);
                }
            }
        }
    }

    /// Hands what was narrowed back to the nodes.
    fn store_words(&mut self, step: u32, words: &[Bits]) {
        let nodes = self.graph.effect(step).nodes();
        for (word, &bits) in words.iter().enumerate().take(nodes) {
            let defines = self.graph.effect(step).defines(word);
            if (self.without.has(Technique::Forward) && defines) || (self.is_forward() && !defines)
            {
                continue;
            }
            let node = self.graph.node(step, word);
            if self.graph.nodes.bits[node as usize].known != bits.known {
                // The relations started from this very knowledge: they cannot contradict it.
                let _ = self.learn(node, bits, Cause::Step(step));
            }
        }
    }

    /// Places the accesses whose address the relations gave.
    fn place_known(&mut self, step: u32, words: &[Bits]) {
        let first = self.graph.steps[step as usize].access;
        for index in 0..self.graph.effect(step).accesses.len() {
            let id = first + index as u32;
            if self.graph.accesses[id as usize].state != AccessState::Pending {
                continue;
            }
            let access = self.graph.effect(step).accesses[index];
            let happens = access.condition.map(|word| words[usize::from(word.0)]);
            let Some(base) = words[usize::from(access.address.0)].get() else {
                let known = words[usize::from(access.address.0)];
                let always = access.condition.is_none();
                if always && !self.may_be_within(id, known) && self.misplaced(step) {
                    return;
                }
                if access.condition.is_some() {
                    self.doubt(id, None);
                }
                if access.store {
                    let address = bounds_of(self.graph.effect(step), words, access.address);
                    let span = span(address, access.offset.into(), access.size.into());
                    let span = self.on_stack(step, span);
                    self.confine(id, span);
                }
                if happens == Some(Bits::ZERO) {
                    self.absent(id);
                }
                continue;
            };
            match happens.map(Bits::get) {
                None | Some(Some(1)) => {
                    let address = base.wrapping_add(u64::from(access.offset));
                    if !self.may_be_at(id, address) && self.misplaced(step) {
                        return;
                    }
                    self.place(id, address);
                }
                Some(Some(_)) => self.absent(id),
                Some(None) => {
                    let address = base.wrapping_add(u64::from(access.offset));
                    self.doubt(id, Some(address));
                }
            }
        }
    }

    /// An access would be where nothing was mapped; false when nothing is to blame.
    fn misplaced(&mut self, step: u32) -> bool {
        let nodes: Vec<u32> = self.address_nodes(step).collect();
        let corrected = self.correct(&nodes, None);
        if corrected {
            self.work.insert(step);
        }
        corrected
    }

    /// The access did not happen.
    pub(super) fn absent(&mut self, id: u32) {
        let clock = self.tracking.tick();
        let access = &mut self.graph.accesses[id as usize];
        access.state = AccessState::Absent;
        access.clock = clock;
        access.phase = self.grade as u8;
        self.settled(id);
    }

    /// Tells the neighbours of the step's accesses what is new.
    fn tell_changed(&mut self, step: u32) {
        for id in self.graph.accesses_of(step) {
            let access = self.graph.accesses[id as usize];
            let plain = matches!(access.kind, AccessKind::Load | AccessKind::Store);
            if plain && access.state == AccessState::Placed && access.node != NONE {
                let known = self.graph.nodes.bits[access.node as usize].known;
                if known != access.told {
                    self.tell(id);
                }
            }
        }
    }

    /// A node learns `bits`; everything it touches is to be visited again.
    ///
    /// # Errors
    /// [`Contradiction`] when it is known otherwise; nothing changes then.
    pub(super) fn learn(
        &mut self,
        node: u32,
        bits: Bits,
        cause: Cause,
    ) -> Result<bool, Contradiction> {
        let before = self.graph.nodes.bits[node as usize];
        if !self.graph.nodes.bits[node as usize].learn(bits)? {
            return Ok(false);
        }
        if self.without.has(Technique::Bits) && !self.is_whole(node) {
            self.graph.nodes.bits[node as usize] = before;
            return Ok(false);
        }
        self.tracking.learned(node, cause);
        self.lessons.learned(node, self.grade, self.stage, cause);
        self.touch(node);
        if (self.pairing || self.grade == Grade::Inferred)
            && let Some(pairs) = self.graph.pairs_of.get(&node)
        {
            self.unequal.extend(pairs.iter().rev());
            self.equalise_all();
        }
        Ok(true)
    }

    /// Makes the nodes of all pairs equal of which one learned something. Chains of pairs are as long as
    /// recursion in the program is deep, so that they are walked by a list.
    fn equalise_all(&mut self) {
        if std::mem::replace(&mut self.equalising, true) {
            return;
        }
        while let Some(pair) = self.unequal.pop() {
            self.equalise(pair);
        }
        self.equalising = false;
    }

    fn is_whole(&self, node: u32) -> bool {
        self.graph.nodes.bits[node as usize].get().is_some() || self.flags.contains(&node)
    }

    /// Makes the two nodes of a pair equal, unless that was refuted.
    pub(super) fn equalise(&mut self, number: u32) {
        let pair = self.graph.pairs[number as usize];
        if pair.refuted {
            return;
        }
        let [a, b] = pair.nodes;
        let [at_a, at_b] = pair.nodes.map(|node| self.graph.nodes.bits[node as usize]);
        if pair.more == 0 && at_a == at_b {
            return;
        }
        let cause = Cause::Pair(number);
        if self.is_forward() {
            return self.hand_on(number);
        }
        let (to_b, to_a) = (pair.forward(at_a), pair.backward(at_b));
        if self.learn(b, to_b, cause).is_err() || self.learn(a, to_a, cause).is_err() {
            self.pair_conflict(number);
        }
    }
}
