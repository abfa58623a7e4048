//! Accesses: those that effects list, operands of string instructions, and barriers.

use super::super::graph::{Access, AccessKind, AccessState, NONE};
use super::Builder;
use crate::effect::{Effect, StringKind, StringOp};

impl Builder<'_> {
    /// Something may write memory anywhere before the next step.
    pub(super) fn barrier(&mut self) -> Option<u32> {
        let before = (self.graph.steps.len() as u32).checked_sub(1)?;
        Some(self.access(before, NONE, 0, AccessKind::Barrier))
    }

    /// The first access stands for what was there before the window: it takes no place.
    pub(super) fn start(&mut self) {
        let start = self.access(0, NONE, 0, AccessKind::Load);
        self.graph.accesses[start as usize].state = AccessState::Absent;
    }

    /// Adds an access of a step, at a place not yet known.
    pub(super) fn access(&mut self, step: u32, node: u32, size: u8, kind: AccessKind) -> u32 {
        self.graph.accesses.push(Access {
            address: 0,
            node,
            step,
            entries: [NONE; 2],
            size,
            kind,
            state: AccessState::Pending,
            phase: 0,
            clock: 0,
            told: 0,
        });
        self.graph.accesses.len() as u32 - 1
    }

    /// Accesses beside those that the effect lists.
    pub(super) fn extra_accesses(&mut self, step: u32, effect: &Effect) {
        if let Some(string) = effect.string {
            for kind in string_accesses(string) {
                self.access(step, NONE, 0, kind);
            }
        }
        if effect.clobbers_memory {
            self.access(step, NONE, 0, AccessKind::Barrier);
        }
    }
}

/// The operands of a string instruction, in the processor's order.
fn string_accesses(string: StringOp) -> impl Iterator<Item = AccessKind> {
    use AccessKind::{StringLoad, StringStore};
    let kinds: &[AccessKind] = match string.kind {
        StringKind::Movs => &[StringLoad, StringStore],
        StringKind::Stos => &[StringStore],
        StringKind::Lods | StringKind::Scas => &[StringLoad],
        StringKind::Cmps => &[StringLoad, StringLoad],
    };
    kinds.iter().copied()
}
