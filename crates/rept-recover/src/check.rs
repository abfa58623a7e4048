//! An independent judge of what a recovery shows: no relation of any step may be violated.
//!
//! It shares the meaning of instructions with the engine and nothing else: each step's effect is
//! lowered anew, with all flags, and narrowed from the values *shown* for its registers and memory
//! operands at any grade. A contradiction is a violation. Beside that, memory shown as certain is
//! followed through the sequence: a load holds what the access before it held, and the dump what
//! the last one did, unless something in between may have written there.
//!
//! Cost: one lowering of each static instruction, one narrowing and a few queries a step.

use crate::bits::Bits;
use crate::effect::{Effect, Flow};
use crate::history::{AccessView, Position, Recovered};
use crate::lift::{ALL_FLAGS, lift};
use hashbrown::HashMap;
use rept_order::Order;
use rept_trace::{Address, Memory, Trace};
use std::fmt;

/// Violations reported, at most; a history that is wrong everywhere need not be listed whole.
const MAX_VIOLATIONS: usize = 1000;

/// Something shown that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The step; for the dump the end of the first thread.
    pub at: Position,
    /// What is wrong there.
    pub kind: ViolationKind,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ViolationKind {
    /// No values satisfy the step's relations together with what is shown.
    Relations,
    /// A byte is certain, and certain to have been another at the access before.
    Load(Address),
    /// A byte is certain at its last access, and another in the dump.
    Dump(Address),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { thread, step } = self.at;
        write!(f, "thread {thread} step {step}: ")?;
        match self.kind {
            ViolationKind::Relations => {
                f.write_str("the values shown do not satisfy the instruction")
            }
            ViolationKind::Load(at) => write!(f, "the byte at {at} changes with no write to it"),
            ViolationKind::Dump(at) => write!(f, "the byte at {at} is another in the dump"),
        }
    }
}

/// Judges a history of `trace` that ended with `dump`. Empty: nothing contradicts.
pub fn check(
    trace: &Trace,
    order: &Order,
    history: &dyn Recovered,
    dump: &dyn Memory,
) -> Vec<Violation> {
    let mut judge = Judge {
        trace,
        history,
        effects: HashMap::new(),
        memory: HashMap::new(),
        violations: Vec::new(),
    };
    for segment in order.sequence() {
        for step in segment.first..segment.first + segment.steps {
            judge.step(Position {
                thread: segment.thread,
                step,
            });
        }
    }
    judge.dump(dump);
    judge.violations
}

struct Judge<'a> {
    trace: &'a Trace,
    history: &'a dyn Recovered,
    /// By block and instruction.
    effects: HashMap<(u32, usize), Effect>,
    /// Certain bits of bytes since their last access: by address, mask and value.
    memory: HashMap<u64, (u8, u8)>,
    violations: Vec<Violation>,
}

impl Judge<'_> {
    fn report(&mut self, at: Position, kind: ViolationKind) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(Violation { at, kind });
        }
    }

    fn step(&mut self, at: Position) {
        let thread = &self.trace.threads[at.thread as usize];
        let Some((run, index)) = thread.locate(at.step) else {
            return;
        };
        let number = thread.runs()[run].block;
        let block = self.trace.code.block(number);
        let key = (number.0, index);
        let effect = self.effects.remove(&key).unwrap_or_else(|| {
            let bytes = block.instruction_bytes(index);
            lift(bytes, block.address(index), block.bitness, ALL_FLAGS)
        });
        if self.interrupted(at) {
            // The kernel may have written anything.
            self.memory.clear();
        }
        let accesses = self.history.accesses(at);
        if self.relations(&effect, at, &accesses).is_none() {
            self.report(at, ViolationKind::Relations);
        }
        self.follow(&effect, at, &accesses);
        self.effects.insert(key, effect);
    }

    /// Something other than the program's own step came just before a position.
    fn interrupted(&self, at: Position) -> bool {
        let thread = &self.trace.threads[at.thread as usize];
        let event = thread.events.iter().any(|event| event.step == at.step);
        event || thread.gaps.iter().any(|gap| gap.step == at.step)
    }

    /// `None` when the step's relations contradict what is shown.
    fn relations(&self, effect: &Effect, at: Position, accesses: &[AccessView]) -> Option<()> {
        let mut words = effect.template.to_vec();
        let after = Position {
            step: at.step + 1,
            ..at
        };
        for (word, &register) in words.iter_mut().zip(&effect.reads) {
            let shown = self.history.register(at, register);
            word.learn(Bits::new(shown.known, shown.bits)).ok()?;
        }
        let plain = !self.interrupted(after);
        if plain {
            for &(register, word) in &effect.writes {
                let shown = self.history.register(after, register);
                let shown = Bits::new(shown.known, shown.bits);
                words[usize::from(word.0)].learn(shown).ok()?;
            }
        }
        // Accesses that did not happen are not listed: which is which is told by none then.
        if accesses.len() >= effect.accesses.len()
            && effect
                .accesses
                .iter()
                .all(|access| access.condition.is_none())
        {
            for (access, view) in effect.accesses.iter().zip(accesses) {
                let value = Bits::new(view.value.known, view.value.bits);
                words[usize::from(access.data.0)].learn(value).ok()?;
                if let Some(address) = view.address {
                    let base = address.0.wrapping_sub(u64::from(access.offset));
                    words[usize::from(access.address.0)]
                        .learn(Bits::constant(base))
                        .ok()?;
                }
            }
        }
        if plain {
            self.flow(effect, at, &mut words)?;
        }
        effect.narrow(&mut words).ok()
    }

    /// What the next step's address says.
    fn flow(&self, effect: &Effect, at: Position, words: &mut [Bits]) -> Option<()> {
        let code = &self.trace.code;
        let thread = &self.trace.threads[at.thread as usize];
        let Some(next) = thread.address(code, at.step + 1) else {
            return Some(());
        };
        let (word, value) = match effect.flow {
            Flow::Indirect { target }
            | Flow::Return { target }
            | Flow::Call {
                target: Some(target),
            } => (target, next.0),
            Flow::Branch { taken, target } => {
                let (run, index) = thread.locate(at.step)?;
                let block = code.block(thread.runs()[run].block);
                let len = block.instruction_bytes(index).len() as u64;
                if target == block.address(index).offset(len) {
                    return Some(());
                }
                (taken, u64::from(next == target))
            }
            _ => return Some(()),
        };
        words[usize::from(word.0)]
            .learn(Bits::constant(value))
            .ok()
            .map(|_| ())
    }

    /// Follows certain memory through a step.
    fn follow(&mut self, effect: &Effect, at: Position, accesses: &[AccessView]) {
        for view in accesses {
            match view.address.filter(|_| view.address_certain) {
                Some(address) => self.access(at, address, view),
                None if view.store => self.memory.clear(),
                None => {}
            }
        }
        let stores = effect.accesses.iter().filter(|access| access.store).count();
        let shown = accesses.iter().filter(|view| view.store).count();
        let unseen = effect.string.is_some()
            || effect.clobbers_memory
            || matches!(effect.flow, Flow::Syscall | Flow::Other)
            || shown < stores;
        if unseen {
            self.memory.clear();
        }
    }

    fn access(&mut self, at: Position, address: Address, view: &AccessView) {
        for byte in 0..u64::from(view.size) {
            let place = address.offset(byte);
            let known = (view.value.certain >> (8 * byte)) as u8;
            let value = (view.value.bits >> (8 * byte)) as u8 & known;
            let before = self.memory.get(&place.0).copied().unwrap_or_default();
            if view.store {
                self.memory.insert(place.0, (known, value));
                continue;
            }
            if (before.1 ^ value) & before.0 & known != 0 {
                self.report(at, ViolationKind::Load(place));
            }
            let kept = (before.0 | known, before.1 & !known | value);
            self.memory.insert(place.0, kept);
        }
    }

    /// What is certain at the end is what the dump has.
    fn dump(&mut self, dump: &dyn Memory) {
        let end = Position {
            thread: 0,
            step: self
                .trace
                .threads
                .first()
                .map_or(0, |thread| thread.steps()),
        };
        let mut last: Vec<_> = self.memory.drain().collect();
        last.sort_unstable();
        for (address, (known, value)) in last {
            let byte = dump.bytes(Address(address)).and_then(|run| run.first());
            if byte.is_some_and(|byte| (byte ^ value) & known != 0) {
                self.report(end, ViolationKind::Dump(Address(address)));
            }
        }
    }
}
