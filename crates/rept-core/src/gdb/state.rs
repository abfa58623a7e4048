//! What one thread's registers are: as the history has them, or as the dump has them.

use crate::history::{StateView, Trust};
use rept_trace::{Address, RegWord, Registers};

/// Registers of a thread at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) enum State<'a> {
    /// Before one of its steps.
    Of(StateView<'a>),
    /// At the end of all, where the dump was made: certain.
    Last(&'a Registers),
}

impl State<'_> {
    pub(super) fn pc(&self) -> Option<Address> {
        match self {
            State::Of(state) => state.pc(),
            State::Last(registers) => Some(registers.rip),
        }
    }

    /// Bits of a word, when all of them are known at grade `trust` or better.
    pub(super) fn known(&self, word: RegWord, bits: u64, trust: Trust) -> Option<u64> {
        match self {
            State::Of(state) => {
                let value = state.reg(word);
                (trust.known(&value) & bits == bits).then_some(value.bits & bits)
            }
            State::Last(registers) => registers.get(word).map(|value| value & bits),
        }
    }
}
