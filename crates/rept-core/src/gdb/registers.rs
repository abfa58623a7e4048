//! Registers on the wire: known bytes, or `xx`.

use super::description::{Register, Source, registers};
use super::state::State;
use crate::history::Trust;
use gdbstub::arch::{Arch, RegId, Registers};
use rept_trace::RegWord;
use std::num::NonZeroUsize;

const HALF: u64 = 0xffff;
/// Top of the x87 stack, in the status word.
const X87_TOP: u64 = 7 << 11;

/// x86-64 with registers that may be unavailable.
#[derive(Debug)]
pub(super) enum X86_64 {}

impl Arch for X86_64 {
    type Usize = u64;
    type Registers = Wire;
    type BreakpointKind = usize;
    type RegId = Number;
}

/// A register by its number in the description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number(usize);

impl RegId for Number {
    fn from_raw_id(id: usize) -> Option<(Number, Option<NonZeroUsize>)> {
        let register = registers().nth(id)?;
        Some((Number(id), NonZeroUsize::new(register.bytes)))
    }
}

impl Number {
    /// The register's bytes; `None` when not all of them are known.
    pub(super) fn read(self, state: &State<'_>, trust: Trust) -> Option<Vec<u8>> {
        bytes_of(registers().nth(self.0)?, state, trust)
    }
}

/// All registers in the description's order, byte by byte; `None` is unavailable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wire {
    bytes: Vec<Option<u8>>,
    pc: u64,
}

impl Wire {
    /// Every byte is known.
    pub(super) fn is_whole(&self) -> bool {
        self.bytes.iter().all(Option::is_some)
    }

    pub(super) fn new(state: &State<'_>, trust: Trust) -> Wire {
        let mut wire = Wire {
            bytes: Vec::new(),
            pc: state.pc().map_or(0, |pc| pc.0),
        };
        for register in registers() {
            match bytes_of(register, state, trust) {
                Some(bytes) => wire.bytes.extend(bytes.into_iter().map(Some)),
                None => wire.bytes.extend(std::iter::repeat_n(None, register.bytes)),
            }
        }
        wire
    }
}

/// The register's bytes when all of them are known: gdb takes a register whose first byte is known for known.
fn bytes_of(register: &Register, state: &State<'_>, trust: Trust) -> Option<Vec<u8>> {
    let words = match &register.source {
        Source::Never => return None,
        Source::Pc => vec![state.pc()?.0],
        &Source::Half(word) => vec![state.known(word, HALF, trust)?],
        &Source::X87(number) => {
            let top = state.known(RegWord::X87_STATUS, X87_TOP, trust)? >> 11;
            let physical = (top as u16 + number) % 8;
            let half = |half| RegWord::x87(physical, half);
            let significand = state.known(half(0), u64::MAX, trust)?;
            vec![significand, state.known(half(1), HALF, trust)?]
        }
        Source::X87Tag => vec![x87_tags(state, trust)?],
        Source::Words(words) => {
            let wanted = if register.bytes < 8 {
                (1 << (register.bytes * 8)) - 1
            } else {
                u64::MAX
            };
            let known = words.iter().map(|&word| state.known(word, wanted, trust));
            known.collect::<Option<Vec<u64>>>()?
        }
    };
    let bytes = words.into_iter().flat_map(u64::to_le_bytes);
    Some(bytes.take(register.bytes).collect())
}

/// Two bits for each physical register: valid, zero, special or empty (Intel SDM, volume 1, 8.1.7).
fn x87_tags(state: &State<'_>, trust: Trust) -> Option<u64> {
    const EMPTY: u64 = 3;
    let used = state.known(RegWord::X87_TAG, 0xff, trust)?;
    (0..8).try_fold(0, |tags, physical| {
        let tag = if used >> physical & 1 == 0 {
            EMPTY
        } else {
            let half = |half| RegWord::x87(physical, half);
            let significand = state.known(half(0), u64::MAX, trust)?;
            x87_tag(significand, state.known(half(1), HALF, trust)?)
        };
        Some(tags | tag << (2 * physical))
    })
}

/// Of a register in use.
fn x87_tag(significand: u64, sign_and_exponent: u64) -> u64 {
    const VALID: u64 = 0;
    const ZERO: u64 = 1;
    const SPECIAL: u64 = 2;
    match sign_and_exponent & 0x7fff {
        0 if significand == 0 => ZERO,
        0 | 0x7fff => SPECIAL,
        _ if significand >> 63 == 1 => VALID,
        _ => SPECIAL,
    }
}

impl Registers for Wire {
    type ProgramCounter = u64;

    fn pc(&self) -> u64 {
        self.pc
    }

    fn gdb_serialize(&self, mut write: impl FnMut(Option<u8>)) {
        self.bytes.iter().for_each(|&byte| write(byte));
    }

    fn gdb_deserialize(&mut self, _: &[u8]) -> Result<(), ()> {
        Err(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x87_registers_are_tagged_by_what_they_hold() {
        let check = |significand, exponent, tag| assert_eq!(x87_tag(significand, exponent), tag);
        check(1 << 63, 0x3fff, 0); // 1.0
        check(0, 0, 1);
        check(0, 0x8000, 1); // -0.0
        check(1 << 63, 0x7fff, 2); // infinity
        check(1, 0, 2); // denormal
        check(1, 0x3fff, 2); // unnormal
    }
}
