//! Reading a history backwards.

use crate::score::decode;
use iced_x86::{Instruction, InstructionInfoFactory, Register};
use rept_order::Segment;
use rept_recover::history::{AccessView, Position, Recovered};
use rept_trace::{Address, Trace};

/// A trace, its order and what was recovered.
#[derive(Clone, Copy)]
pub(crate) struct Past<'a> {
    pub(crate) trace: &'a Trace,
    /// Segments in sequence order.
    pub(crate) sequence: &'a [Segment],
    pub(crate) history: &'a dyn Recovered,
}

/// The last store to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastWrite {
    pub(crate) at: Position,
    pub(crate) store: AccessView,
    /// Stores between it and where the search began whose address is not known.
    pub(crate) uncertain: u64,
}

impl<'a> Past<'a> {
    /// The instruction that the step at `at` executed; none behind the last step.
    pub(crate) fn instruction(&self, at: Position) -> Option<Instruction> {
        let thread = &self.trace.threads[at.thread as usize];
        let (run, index) = thread.locate(at.step)?;
        Some(decode(
            self.trace.code.block(thread.runs()[run].block),
            index,
        ))
    }

    /// The last step of the thread before `before` that wrote any part of the register.
    pub(crate) fn last_definition(&self, before: Position, register: Register) -> Option<Position> {
        let mut factory = InstructionInfoFactory::new();
        (0..before.step)
            .rev()
            .map(|step| Position { step, ..before })
            .find(|&at| {
                self.instruction(at)
                    .is_some_and(|instruction| defines(&instruction, register, &mut factory))
            })
    }

    /// The last step before `before`, of any thread, known to have stored to one of `size`
    /// bytes from `address` on.
    pub(crate) fn last_write(
        &self,
        before: Position,
        address: Address,
        size: u64,
    ) -> Option<LastWrite> {
        let touches = |start: Address, length: u64| {
            address.0.wrapping_sub(start.0) < length || start.0.wrapping_sub(address.0) < size
        };
        let mut uncertain = 0;
        for at in self.backwards(before) {
            for store in self
                .history
                .accesses(at)
                .into_iter()
                .rev()
                .filter(|view| view.store)
            {
                match store.address {
                    None => uncertain += 1,
                    Some(start) if touches(start, u64::from(store.size)) => {
                        return Some(LastWrite {
                            at,
                            store,
                            uncertain,
                        });
                    }
                    Some(_) => {}
                }
            }
        }
        None
    }

    /// Positions before `before` in sequence order, newest first.
    fn backwards(&self, before: Position) -> impl Iterator<Item = Position> + use<'a> {
        let holds = move |segment: &Segment| {
            segment.thread == before.thread && segment.first <= before.step
        };
        let segments = &self.sequence[..self
            .sequence
            .iter()
            .rposition(holds)
            .map_or(0, |last| last + 1)];
        segments.iter().rev().flat_map(move |segment| {
            let end = segment.first + segment.steps;
            let end = if segment.thread == before.thread {
                end.min(before.step)
            } else {
                end
            };
            (segment.first..end).rev().map(|step| Position {
                thread: segment.thread,
                step,
            })
        })
    }
}

fn defines(
    instruction: &Instruction,
    register: Register,
    factory: &mut InstructionInfoFactory,
) -> bool {
    use crate::score::is_write;
    let syscall = instruction.code() == iced_x86::Code::Syscall && register == Register::RAX;
    syscall
        || factory
            .info(instruction)
            .used_registers()
            .iter()
            .any(|used| used.register().full_register() == register && is_write(used.access()))
}
