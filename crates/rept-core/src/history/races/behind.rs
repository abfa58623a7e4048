//! What a crash depends on: the steps whose values the process died of.
//!
//! From what the crash is about ([`History::suspects`]) back through everything that it was made of;
//! and once more from what chose the places that any of it was loaded from, a pointer or an index.
//! Further than that nearly everything depends on nearly everything.

use super::super::queries::Location;
use super::super::{History, Trust};
use super::decode;
use crate::position::Position;
use iced_x86::Register;
use rept_trace::RegWord;
use std::collections::BTreeSet;

/// Steps that are followed back at most, each of the two times.
const MAX_BEHIND: usize = 4096;

impl History {
    /// Numbers of the steps that the crash depends on, by addresses known at grade `trust` or better.
    pub(super) fn numbers_behind_crash(&self, trust: Trust) -> BTreeSet<u64> {
        let suspects = self.suspects().map(|suspects| suspects.places);
        let made_of = self.behind(suspects.unwrap_or_default(), trust);
        let chosen_by = made_of.iter().flat_map(|&at| self.chosen_by(at)).collect();
        let all = made_of.iter().copied().chain(self.behind(chosen_by, trust));
        all.filter_map(|at| self.sequence_number(at)).collect()
    }

    /// The steps that values, each just before a step, were made by.
    fn behind(&self, mut queue: Vec<(Location, Position)>, trust: Trust) -> BTreeSet<Position> {
        let mut steps = BTreeSet::new();
        let mut asked = BTreeSet::new();
        while let Some((place, before)) = queue.pop() {
            if steps.len() >= MAX_BEHIND || !asked.insert((place, before)) {
                continue;
            }
            let written = self.last_write_by(place, before, trust);
            let Some(at) = written.and_then(|written| written.position()) else {
                continue;
            };
            steps.insert(at);
            let sources = self.inputs_of(place, at);
            queue.extend(sources.into_iter().map(|source| (source, at)));
        }
        steps
    }

    /// The registers by which a step chose the place that it loaded from; not the stack's, which is
    /// chosen by the call.
    fn chosen_by(&self, at: Position) -> Vec<(Location, Position)> {
        let loads = self.accesses(at).iter().any(|access| !access.store);
        let Some(ran) = self.instruction(at).filter(|_| loads) else {
            return Vec::new();
        };
        let instruction = decode(ran.bytes, ran.at);
        let parts = [instruction.memory_base(), instruction.memory_index()];
        let registers = parts.into_iter().filter_map(general);
        registers.map(|register| (register, at)).collect()
    }
}

fn general(register: Register) -> Option<Location> {
    let chooses = register.is_gpr() && register.full_register() != Register::RSP;
    chooses.then(|| Location::Reg(RegWord::gpr(register.full_register().number() as u16)))
}
