//! Why is this value known, and why is that one not?

use super::{History, Location, Unknown, Write};
use crate::position::Position;
use rept_recover::history::{self as engine, Place, Rule, Stage};
use std::collections::BTreeSet;

/// How a value came to be known: the last thing that taught it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inference {
    /// What is known, and just before which step.
    pub location: Location,
    /// Just before this step.
    pub known_at: Position,
    /// What it follows from.
    pub rule: Rule,
    /// The step that the rule was applied to.
    pub at: Position,
    /// How far optimism had to go.
    pub stage: Stage,
    /// Dereferences between the value and the dump, the most on any way back.
    pub level: u8,
    /// What it was learned from; each can be asked about in its turn.
    pub sources: Vec<InferenceSource>,
}

/// Something that a value was learned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct InferenceSource {
    /// Just before this step.
    pub at: Position,
    /// Where.
    pub location: Location,
    /// It gave an address that was accessed, rather than the value.
    pub addressing: bool,
}

impl History {
    /// Why a location is known just before a position (memory: its first byte); `None` when
    /// nothing of it is known, or there is no such position.
    pub fn why_known(&self, location: Location, at: Position) -> Option<Inference> {
        let state = self.at(at)?;
        let evidence = match location {
            Location::Reg(word) => self.recovered.why_known(state.at, word),
            Location::Mem { address, .. } => {
                let memory = self.session.final_memory();
                self.recovered.why_memory_known(state.at, address, memory)
            }
        }?;
        let place = |at: engine::Position| {
            let thread = self.trace().threads[at.thread as usize].thread;
            Position::new(thread, at.step)
        };
        let sources = evidence.sources.iter().map(|source| InferenceSource {
            at: place(source.at),
            location: match source.place {
                Place::Register(word) => Location::Reg(word),
                Place::Memory(address) => Location::Mem { address, size: 1 },
            },
            addressing: source.addressing,
        });
        Some(Inference {
            location,
            known_at: at,
            rule: evidence.rule,
            at: place(evidence.at),
            stage: evidence.stage,
            level: evidence.level,
            sources: sources.collect(),
        })
    }

    /// The way from a value back to facts: each inference, then that of the first source that gave the
    /// value and was not asked before. At most `limit` of them.
    pub fn why_known_back(&self, location: Location, at: Position, limit: usize) -> Vec<Inference> {
        let mut asked = BTreeSet::from([(at, location)]);
        let mut found = Vec::new();
        let mut next = Some((location, at));
        while let Some((location, at)) = next.filter(|_| found.len() < limit) {
            let Some(inference) = self.why_known(location, at) else {
                break;
            };
            let mut sources = inference.sources.iter().filter(|source| !source.addressing);
            let source = sources.find(|source| asked.insert((source.at, source.location)));
            next = source.map(|source| (source.location, source.at));
            found.push(inference);
        }
        found
    }

    /// Why a location is not wholly known just before a position (memory: its first byte that is not);
    /// `None` when it is, or there is no such position.
    pub fn why_unknown(&self, location: Location, at: Position) -> Option<Unknown> {
        let state = self.at(at)?;
        match location {
            Location::Reg(word) => {
                let known = state.reg(word).known;
                (known != u64::MAX).then(|| state.why_unknown(word))
            }
            Location::Mem { address, size } => {
                let mut bytes = (0..size).map(|byte| address.offset(byte));
                let address = bytes.find(|&byte| state.byte(byte).known & 0xff != 0xff)?;
                Some(self.why_byte_unknown(Location::Mem { address, size: 1 }, at))
            }
        }
    }

    fn why_byte_unknown(&self, location: Location, at: Position) -> Unknown {
        match self.next_write(location, at) {
            Some(Write::Found(_)) => Unknown::Overwritten,
            Some(Write::Uncertain { known: Some(_), .. }) => Unknown::Overwritten,
            Some(Write::Uncertain { .. }) => Unknown::AddressUnknown,
            _ => Unknown::NotInDump,
        }
    }
}
