//! A naive engine, straight from the paper (OSDI 2018, sections 4.1 and 4.2): sweeps backward and forward
//! over the steps until nothing changes, with the registers and the memory of one position in hand;
//! stores with unknown addresses are taken to write nothing that matters.
//!
//! Whole words only, no pairing, no facts from control flow, no grades, nothing taken back: where
//! a load contradicts the memory that was handed along, the memory is corrected in place. What the
//! kernel and string instructions do to memory is not in the trace: nothing passes them. Each thread is
//! recovered as if it had run alone.
//!
//! Of a position it keeps the registers without the vectors, and of a step its operands. It stops after
//! [`MAX_ROUNDS`], as correcting may go on. Included by the text cases, and by `rept score --naive`.

use rept_recover::bits::{Bits, mask};
use rept_recover::effect::{Access, Effect, Flow};
use rept_recover::history::{AccessView, Position, Recovered, Unknown, Value};
use rept_recover::lift::{ALL_FLAGS, lift};
use rept_trace::{
    Address, BlockId, Event, EventKind, FinalState, Memory, RegWord, ThreadTrace, Trace,
};
use std::collections::{HashMap, HashSet};

const MAX_ROUNDS: usize = 16;
/// General-purpose registers, flags and bases of segments.
const KEPT: usize = 19;

/// What is known of the registers at each position of a thread, and of the operands of each step.
pub(crate) struct Naive {
    threads: Vec<Thread>,
}

struct Thread {
    effects: Vec<Effect>,
    /// The effect of each step.
    effect_of: Vec<u32>,
    registers: Vec<Kept>,
    operands: Vec<Operand>,
    /// The first operand of each step.
    first: Vec<u32>,
    /// Positions that nothing passes: gaps, and where control left for another place, as to a signal's handler.
    barriers: HashSet<u64>,
    /// Addresses of which eight bytes are kept at each position.
    watched: Vec<u64>,
    seen: Vec<Option<u64>>,
    /// Something was learned in this round.
    changed: bool,
}

/// Registers that are kept, as far as known.
#[derive(Clone, Copy, Default)]
struct Kept {
    values: [u64; KEPT],
    known: u32,
}

#[derive(Clone, Copy, Default)]
struct Operand {
    address: Option<u64>,
    data: Option<u64>,
}

/// Registers and memory at one position, as far as known.
struct State<'a> {
    registers: Vec<Option<u64>>,
    /// The dump, where nothing since it stands in between.
    dump: Option<&'a dyn Memory>,
    /// What is known, or known to be unknown, instead.
    memory: HashMap<u64, Option<u8>>,
}

impl<'a> State<'a> {
    fn unknown() -> State<'a> {
        State {
            registers: vec![None; RegWord::COUNT],
            dump: None,
            memory: HashMap::new(),
        }
    }

    fn forget_memory(&mut self) {
        self.dump = None;
        self.memory.clear();
    }

    fn byte(&self, at: u64) -> Option<u8> {
        let dumped = || self.dump?.bytes(Address(at))?.first().copied();
        self.memory.get(&at).copied().unwrap_or_else(dumped)
    }

    fn operand(&self, at: u64, size: u8) -> Option<u64> {
        (0..u64::from(size)).try_fold(0, |word, byte| {
            let value = self.byte(at.wrapping_add(byte))?;
            Some(word | u64::from(value) << (8 * byte))
        })
    }

    fn set_operand(&mut self, at: u64, size: u8, value: Option<u64>) {
        for byte in 0..u64::from(size) {
            let value = value.map(|value| (value >> (8 * byte)) as u8);
            self.memory.insert(at.wrapping_add(byte), value);
        }
    }
}

/// Recovers each thread from the dump; `watched` addresses can be asked for at each position.
pub(crate) fn recover(trace: &Trace, last: &FinalState<'_>, watched: &[u64]) -> Naive {
    let threads = trace.threads.iter().map(|thread| {
        let mut recovered = Thread::new(trace, thread, watched);
        for _ in 0..MAX_ROUNDS {
            recovered.changed = false;
            let registers = last.threads.iter().find(|one| one.thread == thread.thread);
            let mut state = State::unknown();
            state.dump = Some(last.memory);
            for (word, slot) in (0..).map(RegWord).zip(&mut state.registers) {
                *slot = registers.and_then(|registers| registers.get(word));
            }
            recovered.sweep_backward(state);
            recovered.sweep_forward(State::unknown());
            if !recovered.changed {
                break;
            }
        }
        recovered
    });
    Naive {
        threads: threads.collect(),
    }
}

impl Thread {
    fn new(trace: &Trace, thread: &ThreadTrace, watched: &[u64]) -> Thread {
        let mut numbers: HashMap<(BlockId, usize), u32> = HashMap::new();
        let mut new = Thread {
            effects: Vec::new(),
            effect_of: Vec::new(),
            registers: Vec::new(),
            operands: Vec::new(),
            first: Vec::new(),
            barriers: HashSet::new(),
            watched: watched.to_vec(),
            seen: Vec::new(),
            changed: false,
        };
        let (mut addresses, mut ends) = (Vec::new(), Vec::new());
        let runs = thread.runs().iter();
        for place in runs.flat_map(|run| (0..usize::from(run.count)).map(|at| (run.block, at))) {
            let number = *numbers.entry(place).or_insert_with(|| {
                let block = trace.code.block(place.0);
                let bytes = block.instruction_bytes(place.1);
                let at = block.address(place.1);
                new.effects.push(lift(bytes, at, block.bitness, ALL_FLAGS));
                new.effects.len() as u32 - 1
            });
            new.effect_of.push(number);
            let block = trace.code.block(place.0);
            let (at, bytes) = (block.address(place.1), block.instruction_bytes(place.1));
            addresses.push(at);
            ends.push(Address(at.0.wrapping_add(bytes.len() as u64)));
            new.first.push(new.operands.len() as u32);
            let operands = new.effects[number as usize].accesses.len();
            new.operands
                .resize(new.operands.len() + operands, Operand::default());
        }
        let positions = new.effect_of.len() + 1;
        new.registers = vec![Kept::default(); positions];
        new.seen = vec![None; positions * watched.len()];
        let behind = addresses.len() as u64;
        let next = |step: u64| addresses.get(step as usize).copied();
        let end_before = |step: u64| ends.get((step as usize).checked_sub(1)?).copied();
        let interrupted = |step: u64, ip: Address| {
            let here = thread.events.iter().filter(|event| event.step == step);
            let mut kinds = here.map(|event| &event.kind);
            kinds.any(|kind| matches!(kind, EventKind::AsyncDisabled { at, .. } if *at == ip))
        };
        let left = |event: &&Event| match event.kind {
            EventKind::Overflow { .. } => true,
            EventKind::AsyncBranch { from, to } => from != to,
            EventKind::AsyncDisabled { at, .. } => next(event.step) != Some(at),
            // As rt_sigreturn does, which is a system call like others but for where it returns.
            EventKind::Enabled { ip } => {
                end_before(event.step) != Some(ip) && !interrupted(event.step, ip)
            }
            _ => false,
        };
        let events = thread.events.iter().filter(left).map(|event| event.step);
        let gaps = thread.gaps.iter().map(|gap| gap.step);
        // The dump is what is behind the last step, whatever happened there.
        let between = events.chain(gaps).filter(|&step| step < behind);
        new.barriers.extend(between);
        new
    }

    fn sweep_backward(&mut self, mut state: State<'_>) {
        for step in (0..self.effect_of.len()).rev() {
            self.meet(step + 1, &mut state);
            let effect = std::mem::take(&mut self.effects[self.effect_of[step] as usize]);
            let mut words = self.words(step, &effect);
            for &(register, word) in &effect.writes {
                let known = state.registers[usize::from(register.0)];
                learn(&mut words, usize::from(word.0), known, 64);
            }
            narrow(&effect, &mut words);
            for access in effect.accesses.iter().filter(|access| access.store) {
                if let Some(at) = place(access, &words) {
                    let value = state.operand(at, access.size);
                    learn_operand(&mut words, access, value);
                    state.set_operand(at, access.size, None);
                }
            }
            if self.barriers.contains(&(step as u64 + 1)) {
                state = State::unknown();
            } else if is_opaque(&effect) {
                state.forget_memory();
            }
            for access in effect.accesses.iter().filter(|access| !access.store) {
                if let Some(at) = place(access, &words) {
                    learn_operand(&mut words, access, state.operand(at, access.size));
                }
            }
            narrow(&effect, &mut words);
            forget_written(&effect, &mut state);
            for (word, register) in effect.reads.iter().enumerate() {
                let slot = &mut state.registers[usize::from(register.0)];
                *slot = slot.or(words[word].get());
            }
            for access in effect.accesses.iter().filter(|access| !access.store) {
                correct(access, &words, &mut state);
            }
            self.keep(step, &effect, &words);
            self.effects[self.effect_of[step] as usize] = effect;
        }
        self.meet(0, &mut state);
    }

    fn sweep_forward(&mut self, mut state: State<'_>) {
        for step in 0..self.effect_of.len() {
            self.meet(step, &mut state);
            let effect = std::mem::take(&mut self.effects[self.effect_of[step] as usize]);
            let mut words = self.words(step, &effect);
            for (word, register) in effect.reads.iter().enumerate() {
                let known = state.registers[usize::from(register.0)];
                learn(&mut words, word, known, 64);
            }
            narrow(&effect, &mut words);
            for access in effect.accesses.iter().filter(|access| !access.store) {
                if let Some(at) = place(access, &words) {
                    learn_operand(&mut words, access, state.operand(at, access.size));
                }
            }
            narrow(&effect, &mut words);
            for access in effect.accesses.iter().filter(|access| !access.store) {
                correct(access, &words, &mut state);
            }
            self.keep(step, &effect, &words);
            forget_written(&effect, &mut state);
            for &(register, word) in &effect.writes {
                state.registers[usize::from(register.0)] = words[usize::from(word.0)].get();
            }
            if is_opaque(&effect) {
                state.forget_memory();
            }
            for access in effect.accesses.iter().filter(|access| access.store) {
                if let Some(at) = place(access, &words) {
                    state.set_operand(at, access.size, None);
                    correct(access, &words, &mut state);
                }
            }
            if self.barriers.contains(&(step as u64 + 1)) {
                state = State::unknown();
            }
            self.effects[self.effect_of[step] as usize] = effect;
        }
        self.meet(self.effect_of.len(), &mut state);
    }

    /// What is kept of a position and what comes to it learn from each other.
    fn meet(&mut self, position: usize, state: &mut State<'_>) {
        let kept = &mut self.registers[position];
        for (word, slot) in state.registers.iter_mut().take(KEPT).enumerate() {
            if kept.known >> word & 1 == 1 {
                *slot = Some(kept.values[word]);
            } else if let Some(value) = *slot {
                kept.values[word] = value;
                kept.known |= 1 << word;
                self.changed = true;
            }
        }
        let seen = &mut self.seen[position * self.watched.len()..][..self.watched.len()];
        for (at, seen) in self.watched.iter().zip(seen) {
            *seen = seen.or(state.operand(*at, 8));
        }
    }

    /// The words of a step with what is kept of its operands and of the registers around it.
    fn words(&self, step: usize, effect: &Effect) -> Vec<Bits> {
        let mut words = effect.template.to_vec();
        let [before, after] = [&self.registers[step], &self.registers[step + 1]];
        for (word, register) in effect.reads.iter().enumerate() {
            learn(&mut words, word, before.get(*register), 64);
        }
        for &(register, word) in &effect.writes {
            learn(&mut words, usize::from(word.0), after.get(register), 64);
        }
        let operands = &self.operands[self.first[step] as usize..];
        for (access, operand) in effect.accesses.iter().zip(operands) {
            learn_operand(&mut words, access, operand.data);
        }
        words
    }

    /// Keeps what a step's words say of its operands.
    fn keep(&mut self, step: usize, effect: &Effect, words: &[Bits]) {
        let operands = &mut self.operands[self.first[step] as usize..];
        for (access, operand) in effect.accesses.iter().zip(operands) {
            let before = *operand;
            let data = words[usize::from(access.data.0)];
            let wanted = mask(u32::from(access.size) * 8);
            let known = data.known & wanted == wanted;
            operand.address = operand.address.or(place(access, words));
            operand.data = operand.data.or(known.then_some(data.value & wanted));
            self.changed |= before.address.is_none() && operand.address.is_some()
                || before.data.is_none() && operand.data.is_some();
        }
    }
}

impl Kept {
    fn get(&self, word: RegWord) -> Option<u64> {
        let index = usize::from(word.0);
        let known = index < KEPT && self.known >> index & 1 == 1;
        known.then(|| self.values[index])
    }
}

/// A word learns a value; what contradicts is passed over.
fn learn(words: &mut [Bits], word: usize, value: Option<u64>, bits: u32) {
    if let Some(value) = value {
        let _ = words[word].learn(Bits::new(mask(bits), value));
    }
}

fn learn_operand(words: &mut [Bits], access: &Access, value: Option<u64>) {
    let bits = u32::from(access.size) * 8;
    learn(words, usize::from(access.data.0), value, bits);
}

/// Narrows the words, unless they contradict each other.
fn narrow(effect: &Effect, words: &mut Vec<Bits>) {
    let mut attempt = words.clone();
    if effect.narrow(&mut attempt).is_ok() {
        *words = attempt;
    }
}

/// What a step writes is not known before it, and what it loses not behind it.
fn forget_written(effect: &Effect, state: &mut State<'_>) {
    for (register, _) in &effect.writes {
        state.registers[usize::from(register.0)] = None;
    }
    if effect.kills_flags || effect.stale_flags != 0 {
        state.registers[usize::from(RegWord::FLAGS.0)] = None;
    }
}

/// Memory holds what an operand is known to be.
fn correct(access: &Access, words: &[Bits], state: &mut State<'_>) {
    let wanted = mask(u32::from(access.size) * 8);
    let data = words[usize::from(access.data.0)];
    if let Some(at) = place(access, words)
        && data.known & wanted == wanted
    {
        state.set_operand(at, access.size, Some(data.value));
    }
}

/// The step may do more to memory than its accesses say.
fn is_opaque(effect: &Effect) -> bool {
    effect.flow == Flow::Syscall || effect.string.is_some() || effect.clobbers_memory
}

fn place(access: &Access, words: &[Bits]) -> Option<u64> {
    let happens = access
        .condition
        .is_none_or(|word| words[usize::from(word.0)].get() == Some(1));
    let base = words[usize::from(access.address.0)].get()?;
    happens.then_some(base.wrapping_add(u64::from(access.offset)))
}

impl Naive {
    /// Eight bytes at a watched address before a step of a thread.
    pub(crate) fn watched(&self, at: Position, address: u64) -> Option<u64> {
        let thread = &self.threads[at.thread as usize];
        let index = thread.watched.iter().position(|&one| one == address)?;
        thread.seen[at.step as usize * thread.watched.len() + index]
    }
}

/// A value as one that was inferred.
fn inferred(value: Option<u64>, bits: u32) -> Value {
    Value {
        bits: value.unwrap_or(0),
        known: value.map_or(0, |_| mask(bits)),
        certain: 0,
        assumed: 0,
    }
}

impl Recovered for Naive {
    fn register(&self, at: Position, word: RegWord) -> Value {
        let thread = &self.threads[at.thread as usize];
        inferred(thread.registers[at.step as usize].get(word), 64)
    }

    fn why_unknown(&self, _: Position, _: RegWord) -> Unknown {
        Unknown::NotInvertible
    }

    fn accesses(&self, at: Position) -> Vec<AccessView> {
        let thread = &self.threads[at.thread as usize];
        let step = at.step as usize;
        let effect = &thread.effects[thread.effect_of[step] as usize];
        let operands = &thread.operands[thread.first[step] as usize..];
        let made = effect.accesses.iter().zip(operands);
        // Of a masked one it is not known whether it was made.
        let made = made
            .filter(|(access, operand)| access.condition.is_none() || operand.address.is_some());
        let view = |(access, operand): (&Access, &Operand)| AccessView {
            address: operand.address.map(Address),
            address_certain: false,
            address_assumed: false,
            size: access.size,
            store: access.store,
            value: inferred(operand.data, u32::from(access.size) * 8),
        };
        made.map(view).collect()
    }

    fn memory(&self, _: Position, _: Address, _: &dyn Memory) -> Value {
        inferred(None, 8)
    }
}
