//! Compares an [`Effect`] with what a processor did.

use crate::random::Random;
use crate::state::{Setting, World};
use rept_recover::bits::{Bits, Contradiction, mask};
use rept_recover::effect::{Access, Effect, Flow, StringKind, StringOp};
use rept_trace::RegWord;
use std::collections::BTreeMap;
use std::fmt;

/// A way in which an effect is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The processor went the other way.
    Branch { claimed: Bits },
    /// The relations exclude what happened.
    Contradiction { inverse: bool },
    /// An output word claims bits that the processor did not produce.
    Register {
        word: RegWord,
        claimed: Bits,
        truth: u64,
        inverse: bool,
    },
    /// A register changed that the effect does not write.
    Unlisted {
        word: RegWord,
        before: u64,
        after: u64,
    },
    /// A register written twice, or a word that does not exist.
    Malformed(&'static str),
    /// Memory differs from what the stores claim.
    Memory {
        offset: usize,
        claimed: Option<u8>,
        truth: u8,
    },
    /// An access at an address that the processor cannot have used.
    Address { address: u64 },
    /// A memory operand's word claims bits that memory did not hold.
    Operand {
        access: usize,
        claimed: Bits,
        truth: u64,
    },
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Register {
                word,
                claimed,
                truth,
                inverse,
            } => {
                write!(f, "{}: claimed {claimed:?}, is {truth:#x}", word.name())?;
                f.write_str(if *inverse { " (inverse)" } else { "" })
            }
            Wrong::Unlisted {
                word,
                before,
                after,
            } => {
                write!(
                    f,
                    "{} not listed as written: {before:#x} became {after:#x}",
                    word.name()
                )
            }
            Wrong::Memory {
                offset,
                claimed,
                truth,
            } => {
                write!(
                    f,
                    "scratch[{offset:#x}]: claimed {claimed:x?}, is {truth:#x}"
                )
            }
            Wrong::Operand {
                access,
                claimed,
                truth,
            } => {
                write!(f, "access {access}: claimed {claimed:?}, is {truth:#x}")
            }
            other => write!(f, "{other:x?}"),
        }
    }
}

impl From<Contradiction> for Wrong {
    fn from(_: Contradiction) -> Wrong {
        Wrong::Contradiction { inverse: false }
    }
}

/// The true value of a word, as (valid bits, value), where the execution tells it.
pub(crate) type Truth = Option<(u64, u64)>;

/// What an effect determines of its outputs once all inputs are known.
pub(crate) struct Outcome {
    pub(crate) words: Vec<Bits>,
    /// Bytes written, by address; `None` where the byte is not determined.
    stores: BTreeMap<u64, Option<u8>>,
    /// A store went to an address that is not determined.
    wild: bool,
    /// Bits compared with the processor's.
    pub(crate) compared: u64,
}

/// The bits of a register word that the processor has: what comparisons say in RFLAGS beyond
/// those is kept from a forward judge, so that conditions follow from the flags alone.
fn told(register: RegWord) -> u64 {
    match register {
        RegWord::FLAGS => 0xffff_ffff,
        _ => u64::MAX,
    }
}

/// One execution: the world before and after, and where its memory lies.
pub(crate) struct Execution<'a> {
    pub(crate) setting: Setting,
    pub(crate) before: &'a World,
    pub(crate) after: &'a World,
}

impl Execution<'_> {
    /// Everything wrong about `effect`, evaluated forward from the whole state before.
    pub(crate) fn forward(&self, effect: &Effect) -> Result<Outcome, Wrong> {
        let mut outcome = self.evaluate(effect)?;
        self.check_registers(effect, &mut outcome)?;
        self.check_memory(effect, &mut outcome)?;
        if let Flow::Branch { taken, .. } = effect.flow {
            let claimed = outcome.words[usize::from(taken.0)].low(1);
            if !claimed.admits(self.after.taken.into()) {
                return Err(Wrong::Branch { claimed });
            }
            outcome.compared += u64::from(claimed.known.count_ones());
        }
        Ok(outcome)
    }

    fn evaluate(&self, effect: &Effect) -> Result<Outcome, Wrong> {
        let mut words = effect.template.to_vec();
        for (word, &register) in words.iter_mut().zip(&effect.reads) {
            if let Some(value) = self.before.state.get(register) {
                word.learn(Bits::new(told(register), value))?;
            }
        }
        let mut outcome = Outcome {
            words,
            stores: BTreeMap::new(),
            wild: false,
            compared: 0,
        };
        effect.narrow(&mut outcome.words)?;
        // Loads may feed addresses of further loads; the list is short.
        for _ in 0..=effect.accesses.len() {
            let before = outcome.words.clone();
            self.access_memory(effect, &mut outcome)?;
            effect.narrow(&mut outcome.words)?;
            if outcome.words == before {
                break;
            }
        }
        if let Some(string) = &effect.string {
            self.run_string(effect, string, &mut outcome)?;
        }
        Ok(outcome)
    }

    /// Performs all accesses in order on a fresh overlay.
    fn access_memory(&self, effect: &Effect, outcome: &mut Outcome) -> Result<(), Wrong> {
        outcome.stores.clear();
        outcome.wild = false;
        for access in &effect.accesses {
            let happens = condition(access, &outcome.words);
            if happens == Some(false) {
                continue;
            }
            let Some(base) = outcome.words[usize::from(access.address.0)].get() else {
                outcome.wild |= access.store;
                continue;
            };
            let address = base.wrapping_add(u64::from(access.offset));
            if access.store {
                let data = outcome.words[usize::from(access.data.0)];
                let data = if happens.is_none() {
                    Bits::UNKNOWN
                } else {
                    data
                };
                self.store(outcome, address, access.size, data)?;
            } else if happens == Some(true) {
                let loaded = self.load(outcome, address, access.size)?;
                outcome.words[usize::from(access.data.0)].learn(loaded)?;
            }
        }
        Ok(())
    }

    fn load(&self, outcome: &Outcome, address: u64, size: u8) -> Result<Bits, Wrong> {
        let mut bits = Bits::UNKNOWN;
        for i in 0..u64::from(size) {
            let at = address.wrapping_add(i);
            let memory = self
                .before
                .byte(self.setting, at)
                .ok_or(Wrong::Address { address: at })?;
            let byte = outcome.stores.get(&at).copied().unwrap_or(Some(memory));
            if let Some(byte) = byte {
                bits.learn(Bits::new(0xff << (8 * i), u64::from(byte) << (8 * i)))?;
            }
        }
        Ok(bits)
    }

    fn store(
        &self,
        outcome: &mut Outcome,
        address: u64,
        size: u8,
        data: Bits,
    ) -> Result<(), Wrong> {
        for i in 0..u64::from(size) {
            let at = address.wrapping_add(i);
            self.before
                .byte(self.setting, at)
                .ok_or(Wrong::Address { address: at })?;
            let known = data.known >> (8 * i) & 0xff == 0xff;
            outcome
                .stores
                .insert(at, known.then_some((data.value >> (8 * i)) as u8));
        }
        Ok(())
    }

    /// Expands a string instruction as the engine does, once count, pointers and direction are known.
    fn run_string(
        &self,
        effect: &Effect,
        string: &StringOp,
        outcome: &mut Outcome,
    ) -> Result<(), Wrong> {
        let word =
            |outcome: &Outcome, w: rept_recover::effect::Word| outcome.words[usize::from(w.0)];
        if let Some((_, after)) = string.count {
            // REPE and REPNE stop on data: their count after is known from the state after.
            let count = &mut outcome.words[usize::from(after.0)];
            let truth = self.after.state.get(RegWord::RCX).unwrap_or(0);
            count.learn(Bits::new(!count.known, truth))?;
            effect.narrow(&mut outcome.words)?;
        }
        let iterations = match string.count {
            Some((before, after)) if string.repeated => {
                let (Some(before), Some(after)) =
                    (word(outcome, before).get(), word(outcome, after).get())
                else {
                    return Err(Wrong::Malformed(
                        "count of a string instruction is not determined",
                    ));
                };
                before.wrapping_sub(after)
            }
            None if string.repeated => {
                return Err(Wrong::Malformed(
                    "repeated string instruction without count",
                ));
            }
            _ => 1,
        };
        let direction = word(outcome, string.direction);
        if direction.known & 1 == 0 || iterations > 64 {
            return Err(Wrong::Malformed(
                "direction or count of a string instruction",
            ));
        }
        let step = u64::from(string.element).wrapping_mul(if direction.value & 1 == 1 {
            u64::MAX
        } else {
            1
        });
        let pointer = |outcome: &Outcome, w: Option<rept_recover::effect::Word>| {
            w.and_then(|w| word(outcome, w).get())
        };
        let (source, destination) = (
            pointer(outcome, string.source),
            pointer(outcome, string.destination),
        );
        for i in 0..iterations {
            let at = |pointer: Option<u64>| {
                pointer
                    .map(|p| p.wrapping_add(step.wrapping_mul(i)))
                    .ok_or(Wrong::Malformed("string pointer"))
            };
            let size = string.element;
            match string.kind {
                StringKind::Movs => {
                    let data = self.load(outcome, at(source)?, size)?;
                    self.store(outcome, at(destination)?, size, data)?;
                }
                StringKind::Stos => {
                    let accumulator = string
                        .accumulator
                        .ok_or(Wrong::Malformed("stos accumulator"))?;
                    let data = word(outcome, accumulator);
                    self.store(outcome, at(destination)?, size, data)?;
                }
                StringKind::Lods if i + 1 == iterations => {
                    let accumulator = string
                        .accumulator
                        .ok_or(Wrong::Malformed("lods accumulator"))?;
                    let data = self.load(outcome, at(source)?, size)?;
                    outcome.words[usize::from(accumulator.0)].learn(data)?;
                    effect.narrow(&mut outcome.words)?;
                }
                StringKind::Cmps => {
                    self.load(outcome, at(source)?, size)?;
                    self.load(outcome, at(destination)?, size)?;
                }
                StringKind::Scas => {
                    self.load(outcome, at(destination)?, size)?;
                }
                StringKind::Lods => {}
            }
        }
        Ok(())
    }

    fn check_registers(&self, effect: &Effect, outcome: &mut Outcome) -> Result<(), Wrong> {
        let mut written = [false; RegWord::COUNT];
        for &(register, word) in &effect.writes {
            let claimed = *outcome
                .words
                .get(usize::from(word.0))
                .ok_or(Wrong::Malformed("word"))?;
            if std::mem::replace(&mut written[usize::from(register.0)], true) {
                return Err(Wrong::Malformed("register written twice"));
            }
            let Some(truth) = self.after.state.get(register) else {
                continue;
            };
            outcome.compared += u64::from(claimed.known.count_ones());
            if !claimed.admits(truth) {
                return Err(Wrong::Register {
                    word: register,
                    claimed,
                    truth,
                    inverse: false,
                });
            }
        }
        for n in (0..RegWord::COUNT).filter(|&n| !written[n]) {
            let word = RegWord(n as u16);
            let (before, after) = (self.before.state.get(word), self.after.state.get(word));
            if let (Some(before), Some(after)) = (before, after)
                && before != after
            {
                return Err(Wrong::Unlisted {
                    word,
                    before,
                    after,
                });
            }
        }
        Ok(())
    }

    fn check_memory(&self, effect: &Effect, outcome: &mut Outcome) -> Result<(), Wrong> {
        let untouched = outcome.stores.is_empty() && self.before.scratch == self.after.scratch;
        if untouched || outcome.wild || effect.clobbers_memory {
            return Ok(());
        }
        for (offset, (&before, &after)) in self
            .before
            .scratch
            .iter()
            .zip(&self.after.scratch)
            .enumerate()
        {
            let address = self.setting.scratch + offset as u64;
            let claimed = outcome
                .stores
                .get(&address)
                .copied()
                .unwrap_or(Some(before));
            outcome.compared += 8 * u64::from(outcome.stores.contains_key(&address));
            if claimed.is_some_and(|claimed| claimed != after) {
                return Err(Wrong::Memory {
                    offset,
                    claimed,
                    truth: after,
                });
            }
        }
        Ok(())
    }

    /// What an output bit that should be determined is not: (register, missing bits).
    pub(crate) fn undetermined(
        &self,
        effect: &Effect,
        outcome: &Outcome,
        excused: impl Fn(RegWord) -> u64,
    ) -> Option<String> {
        for &(register, word) in &effect.writes {
            if self.after.state.get(register).is_none() {
                continue;
            }
            let missing = !outcome.words[usize::from(word.0)].known & !excused(register);
            if missing != 0 {
                return Some(format!("{} lacks {missing:#x}", register.name()));
            }
        }
        if outcome.wild {
            return Some("a store's address".to_owned());
        }
        if let Flow::Branch { taken, .. } = effect.flow
            && outcome.words[usize::from(taken.0)].known & 1 == 0
        {
            return Some("whether the branch is taken".to_owned());
        }
        let hole = outcome.stores.values().any(Option::is_none);
        hole.then(|| "stored bytes".to_owned())
    }

    /// Hides random bits of a real execution and narrows: nothing may be contradicted.
    /// `truths` are the words as they were ([`Execution::truths`]).
    pub(crate) fn inverse(
        &self,
        effect: &Effect,
        truths: &[Truth],
        random: &mut Random,
    ) -> Result<u64, Wrong> {
        self.inverse_under(effect, truths, || random.mask())
    }

    /// As [`Execution::inverse`], with masks of the caller's choice of what is revealed.
    pub(crate) fn inverse_under(
        &self,
        effect: &Effect,
        truths: &[Truth],
        mut revealed: impl FnMut() -> u64,
    ) -> Result<u64, Wrong> {
        let mut words = effect.template.to_vec();
        for (word, truth) in words.iter_mut().zip(truths) {
            if let Some((valid, value)) = *truth {
                word.learn(Bits::new(revealed() & valid, value))?;
            }
        }
        if effect.narrow(&mut words).is_err() {
            return Err(Wrong::Contradiction { inverse: true });
        }
        let mut compared = 0;
        for &(register, word) in &effect.writes {
            self.check_word(
                register,
                words[usize::from(word.0)],
                self.after,
                &mut compared,
            )?;
        }
        for (&register, &word) in effect.reads.iter().zip(&words) {
            self.check_word(register, word, self.before, &mut compared)?;
        }
        for (index, access) in effect.accesses.iter().enumerate() {
            let data = usize::from(access.data.0);
            if let Some((valid, truth)) = truths[data] {
                let claimed = Bits::new(words[data].known & valid, words[data].value);
                if !claimed.admits(truth) {
                    return Err(Wrong::Operand {
                        access: index,
                        claimed,
                        truth,
                    });
                }
                compared += u64::from(claimed.known.count_ones());
            }
        }
        Ok(compared)
    }

    fn check_word(
        &self,
        word: RegWord,
        claimed: Bits,
        world: &World,
        compared: &mut u64,
    ) -> Result<(), Wrong> {
        if let Some(truth) = world.state.get(word) {
            if !claimed.admits(truth) {
                return Err(Wrong::Register {
                    word,
                    claimed,
                    truth,
                    inverse: true,
                });
            }
            *compared += u64::from(claimed.known.count_ones());
        }
        Ok(())
    }

    /// The true value of every input and fresh word, as (valid bits, value).
    pub(crate) fn truths(&self, effect: &Effect) -> Vec<Truth> {
        let mut truths = vec![None; effect.template.len()];
        for (truth, &register) in truths.iter_mut().zip(&effect.reads) {
            *truth = self
                .before
                .state
                .get(register)
                .map(|value| (u64::MAX, value));
        }
        for &(register, word) in &effect.writes {
            if let Some(value) = self.after.state.get(register) {
                truths[usize::from(word.0)] = Some((u64::MAX, value));
            }
        }
        if let Flow::Branch { taken, .. } = effect.flow {
            truths[usize::from(taken.0)] = Some((1, self.after.taken.into()));
        }
        let Ok(outcome) = self.evaluate(effect) else {
            return truths;
        };
        let happening: Vec<(u64, &Access)> = effect
            .accesses
            .iter()
            .filter(|access| condition(access, &outcome.words) == Some(true))
            .filter_map(|access| {
                let base = outcome.words[usize::from(access.address.0)].get()?;
                Some((base.wrapping_add(u64::from(access.offset)), access))
            })
            .collect();
        for (index, &(address, access)) in happening.iter().enumerate() {
            let overwrites = |&(at, other): &(u64, &Access)| {
                let end = |at: u64, access: &Access| at + u64::from(access.size);
                other.store && address < end(at, other) && at < end(address, access)
            };
            // Memory before shows what no store changed yet, memory after what none changed any more.
            let (world, others) = match access.store {
                true => (self.after, &happening[index + 1..]),
                false => (self.before, &happening[..index]),
            };
            let slot = &mut truths[usize::from(access.data.0)];
            if slot.is_none() && !others.iter().any(overwrites) {
                *slot = self.word_at(world, address, access.size);
            }
        }
        truths
    }

    fn word_at(&self, world: &World, address: u64, size: u8) -> Option<(u64, u64)> {
        let mut value = 0;
        for i in 0..u64::from(size) {
            value |= u64::from(world.byte(self.setting, address.wrapping_add(i))?) << (8 * i);
        }
        Some((mask(u32::from(size) * 8), value))
    }
}

/// Whether a conditional access happens, as far as known.
fn condition(access: &Access, words: &[Bits]) -> Option<bool> {
    let Some(condition) = access.condition else {
        return Some(true);
    };
    let bits = words[usize::from(condition.0)];
    (bits.known & 1 == 1).then_some(bits.value & 1 == 1)
}
