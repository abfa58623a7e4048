//! Registers on the wire: known bytes, or `xx`.

use super::description::{Register, Source, features};
use crate::history::{StateView, Trust};
use gdbstub::arch::{Arch, RegId, Registers};
use std::num::NonZeroUsize;

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
        let register = features().into_iter().flat_map(|(_, all)| all).nth(id)?;
        Some((Number(id), NonZeroUsize::new(register.bytes)))
    }
}

impl Number {
    /// The register's bytes; `None` when not all of them are known.
    pub(super) fn read(self, state: &StateView<'_>, trust: Trust) -> Option<Vec<u8>> {
        let mut all = features().into_iter().flat_map(|(_, all)| all);
        bytes_of(&all.nth(self.0)?, state, trust)
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

    pub(super) fn new(state: &StateView<'_>, trust: Trust) -> Wire {
        let mut wire = Wire {
            bytes: Vec::new(),
            pc: state.pc().map_or(0, |pc| pc.0),
        };
        for register in features().into_iter().flat_map(|(_, registers)| registers) {
            match bytes_of(&register, state, trust) {
                Some(bytes) => wire.bytes.extend(bytes.into_iter().map(Some)),
                None => wire.bytes.extend(std::iter::repeat_n(None, register.bytes)),
            }
        }
        wire
    }
}

/// The register's bytes when all of them are known: gdb takes a register whose first byte is known for known.
fn bytes_of(register: &Register, state: &StateView<'_>, trust: Trust) -> Option<Vec<u8>> {
    let words = match &register.source {
        Source::Never => return None,
        Source::Pc => vec![state.pc()?.0],
        Source::Words(words) => {
            let wanted = if register.bytes < 8 {
                (1 << (register.bytes * 8)) - 1
            } else {
                u64::MAX
            };
            let known = words.iter().map(|&word| {
                let value = state.reg(word);
                (trust.known(&value) & wanted == wanted).then_some(value.bits)
            });
            known.collect::<Option<Vec<u64>>>()?
        }
    };
    let bytes = words.into_iter().flat_map(u64::to_le_bytes);
    Some(bytes.take(register.bytes).collect())
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
