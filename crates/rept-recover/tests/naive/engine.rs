//! A naive engine, straight from the paper (OSDI 2018, sections 4.1 and 4.2): the state at every
//! position, written out whole; sweeps backward and forward over the steps until nothing changes;
//! stores with unknown addresses are taken to write nothing that matters.
//!
//! Whole words only, no pairing, no facts from control flow, no grades, nothing taken back: where
//! a load contradicts the memory that was handed along, the memory is corrected in place. What the
//! kernel and string instructions do to memory is not in the trace: nothing passes them.
//!
//! Slow and simple: positions times locations. It stops after [`MAX_ROUNDS`], as correcting may go on.

use crate::format::Case;
use rept_recover::bits::{Bits, mask};
use rept_recover::effect::{Access, Effect, Flow};
use rept_recover::lift::{ALL_FLAGS, lift};
use rept_trace::{Address, Memory, RegWord};
use std::collections::BTreeMap;

const MAX_ROUNDS: usize = 16;

/// Registers and memory at one position, as far as known.
#[derive(Clone, PartialEq)]
pub(crate) struct State {
    registers: Vec<Option<u64>>,
    memory: BTreeMap<u64, u8>,
}

impl State {
    fn unknown() -> State {
        State {
            registers: vec![None; RegWord::COUNT],
            memory: BTreeMap::new(),
        }
    }

    pub(crate) fn register(&self, word: RegWord) -> Option<u64> {
        self.registers[usize::from(word.0)]
    }

    /// Eight bytes at an address.
    pub(crate) fn memory(&self, at: u64) -> Option<u64> {
        self.operand(at, 8)
    }

    fn operand(&self, at: u64, size: u8) -> Option<u64> {
        (0..u64::from(size)).try_fold(0, |word, byte| {
            let value = self.memory.get(&at.wrapping_add(byte))?;
            Some(word | u64::from(*value) << (8 * byte))
        })
    }

    fn set_operand(&mut self, at: u64, size: u8, value: u64) {
        for byte in 0..u64::from(size) {
            let value = (value >> (8 * byte)) as u8;
            self.memory.insert(at.wrapping_add(byte), value);
        }
    }
}

/// The states at all positions of the case's thread.
pub(crate) fn recover(case: &Case) -> Vec<State> {
    let steps = case.steps();
    let effects: Vec<Effect> = (0..steps).map(|step| effect(case, step)).collect();
    let mut states = vec![State::unknown(); effects.len() + 1];
    states[effects.len()] = last(case);
    for _ in 0..MAX_ROUNDS {
        let before = states.clone();
        for step in (0..effects.len()).rev() {
            let stored = execute(&effects[step], &mut states[step..step + 2]);
            carry(case, step, &effects[step], &stored, &mut states, true);
        }
        for step in 0..effects.len() {
            let stored = execute(&effects[step], &mut states[step..step + 2]);
            carry(case, step, &effects[step], &stored, &mut states, false);
        }
        if states == before {
            break;
        }
    }
    states
}

fn effect(case: &Case, step: u64) -> Effect {
    let thread = &case.trace.threads[0];
    let (run, index) = thread.locate(step).expect("a step of the case");
    let block = case.trace.code.block(thread.runs()[run].block);
    let bytes = block.instruction_bytes(index);
    lift(bytes, block.address(index), block.bitness, ALL_FLAGS)
}

/// The dump.
fn last(case: &Case) -> State {
    let mut state = State::unknown();
    for &(word, value) in &case.registers {
        state.registers[usize::from(word.0)] = Some(value);
    }
    for (at, len) in case.memory.extents() {
        let bytes = case.memory.bytes(Address(at)).expect("an extent has bytes");
        let bytes = bytes[..len].iter().enumerate();
        state
            .memory
            .extend(bytes.map(|(distance, &byte)| (at + distance as u64, byte)));
    }
    state
}

/// Runs a step's relations on the states before and after it, whole words in, whole words out.
/// Returns the bytes that it stores, where known: first address and length.
fn execute(effect: &Effect, states: &mut [State]) -> Vec<(u64, u8)> {
    let mut words = effect.template.to_vec();
    let learn = |words: &mut Vec<Bits>, word: usize, value: Option<u64>, bits: u32| {
        if let Some(value) = value {
            // What contradicts is passed over.
            let _ = words[word].learn(Bits::new(mask(bits), value));
        }
    };
    for (word, register) in effect.reads.iter().enumerate() {
        learn(&mut words, word, states[0].register(*register), 64);
    }
    for (register, word) in &effect.writes {
        learn(
            &mut words,
            usize::from(word.0),
            states[1].register(*register),
            64,
        );
    }
    let mut attempt = words.clone();
    if effect.narrow(&mut attempt).is_ok() {
        words = attempt;
    }
    for access in &effect.accesses {
        if let Some(at) = place(access, &words) {
            let value = states[usize::from(access.store)].operand(at, access.size);
            let data = usize::from(access.data.0);
            learn(&mut words, data, value, u32::from(access.size) * 8);
        }
    }
    if effect.narrow(&mut words).is_err() {
        return stored(effect, &words);
    }
    hand_out(effect, &words, states);
    stored(effect, &words)
}

/// Writes what a step's words are back into the states.
fn hand_out(effect: &Effect, words: &[Bits], states: &mut [State]) {
    for (word, register) in effect.reads.iter().enumerate() {
        let slot = &mut states[0].registers[usize::from(register.0)];
        *slot = slot.or(words[word].get());
    }
    for (register, word) in &effect.writes {
        let slot = &mut states[1].registers[usize::from(register.0)];
        *slot = slot.or(words[usize::from(word.0)].get());
    }
    for access in &effect.accesses {
        let width = u32::from(access.size) * 8;
        let data = words[usize::from(access.data.0)];
        if let Some(at) = place(access, words)
            && data.known & mask(width) == mask(width)
        {
            states[usize::from(access.store)].set_operand(at, access.size, data.value);
        }
    }
}

fn place(access: &Access, words: &[Bits]) -> Option<u64> {
    let happens = access
        .condition
        .is_none_or(|word| words[usize::from(word.0)].get() == Some(1));
    let base = words[usize::from(access.address.0)].get()?;
    happens.then_some(base.wrapping_add(u64::from(access.offset)))
}

fn stored(effect: &Effect, words: &[Bits]) -> Vec<(u64, u8)> {
    let stores = effect.accesses.iter().filter(|access| access.store);
    stores
        .filter_map(|access| Some((place(access, words)?, access.size)))
        .collect()
}

/// Hands what the step leaves alone from one state to the other, where that does not know it.
fn carry(
    case: &Case,
    step: usize,
    effect: &Effect,
    stored: &[(u64, u8)],
    states: &mut [State],
    backward: bool,
) {
    let thread = &case.trace.threads[0];
    let behind = step as u64 + 1;
    if thread.events.iter().any(|event| event.step == behind)
        || thread.gaps.iter().any(|gap| gap.step == behind)
    {
        return;
    }
    let (from, to) = match backward {
        true => (states[step + 1].clone(), &mut states[step]),
        false => (states[step].clone(), &mut states[step + 1]),
    };
    for word in (0..RegWord::COUNT as u16).map(RegWord) {
        let written = effect.writes.iter().any(|&(register, _)| register == word);
        let lost = effect.kills_flags || effect.stale_flags != 0;
        let killed = lost && word == RegWord::FLAGS;
        if !written && !killed {
            let slot = &mut to.registers[usize::from(word.0)];
            *slot = slot.or(from.register(word));
        }
    }
    if effect.flow == Flow::Syscall || effect.string.is_some() || effect.clobbers_memory {
        return;
    }
    let is_stored = |at: u64| {
        stored
            .iter()
            .any(|&(first, len)| at.wrapping_sub(first) < len.into())
    };
    for (&at, &byte) in from.memory.iter().filter(|&(&at, _)| !is_stored(at)) {
        to.memory.entry(at).or_insert(byte);
    }
}
