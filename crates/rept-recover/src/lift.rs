//! Lowering: from one static x86 instruction to its [`Effect`].
//!
//! [`lift`] decodes the bytes and asks the families under `lift/x86/` for the meaning; each
//! states it as the manual does, over word handles of a builder (`lift/builder.rs`) that
//! keeps sub-registers, addressing and flags in one place. An instruction (or a form of one)
//! that no family claims *forgets*: it loses exactly what the decoder's access table, corrected
//! where that is known to be short, says it may write (`lift/forget.rs`).
//!
//! The cost is paid once per static instruction; callers keep the [`Effect`].

mod builder;
mod finish;
mod flags;
mod forget;
mod gather;
mod operand;
mod path;
mod pointed;
mod thread;
mod value;
mod vector;
mod x86;

use crate::effect::{Effect, Flow};
use builder::Builder;
use iced_x86::{Decoder, DecoderOptions, Instruction};
use rept_trace::Address;

/// Flag bits of RFLAGS that the lowering may be asked for: CF, PF, AF, ZF, SF, DF, OF.
pub const ALL_FLAGS: u16 = 0xcd5;

pub use flags::{FlagUse, flag_use};
pub(crate) use path::lift_path_reader;
pub(crate) use pointed::lift_reader;
pub(crate) use thread::lift_thread_maker;

/// What a family says about a mnemonic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lowered {
    /// Its meaning is stated.
    Done,
    /// This form is beyond the family: forget what it may write.
    Forget,
    /// Another family's.
    Elsewhere,
}

/// Lowers the instruction `bytes` (exactly one instruction) at `at`, run in `bitness`-bit mode.
///
/// `live_flags`: RFLAGS bits that somebody may read before they are overwritten; others need
/// not be computed (they are unknown in the new RFLAGS word, or `kills_flags` is set when none is live).
/// [`flag_use`] says what an instruction reads and overwrites, for computing them.
/// Bytes that are no instruction forget everything.
pub fn lift(bytes: &[u8], at: Address, bitness: u8, live_flags: u16) -> Effect {
    let Some(instruction) = decode(bytes, at, bitness) else {
        return forget::everything();
    };
    if bitness == 64 {
        let builder = Builder::new(&instruction, live_flags);
        if x86::lower(&builder) == Lowered::Done {
            return builder.finish(true);
        }
    }
    forget::forget(&instruction, bitness, live_flags)
}

/// The processor's part of `syscall`, to which what the kernel reads may be added.
fn system_call(bytes: &[u8], at: Address, live_flags: u16) -> Option<Builder> {
    let builder = Builder::new(&decode(bytes, at, 64)?, live_flags);
    (x86::lower(&builder) == Lowered::Done).then_some(builder)
}

/// Lowers any part of an instruction that may be stopped midway (REP MOVS and its like, gathers and
/// scatters, saving the extended state): none of it, all of it, or what a fault left done.
pub(crate) fn lift_part(bytes: &[u8], at: Address, bitness: u8) -> Effect {
    let Some(instruction) = decode(bytes, at, bitness) else {
        return forget::everything();
    };
    if bitness == 64 {
        let builder = Builder::new(&instruction, ALL_FLAGS);
        if x86::string_part(&builder) == Lowered::Done {
            return builder.finish(true);
        }
    }
    let mut effect = forget::forget(&instruction, bitness, ALL_FLAGS);
    effect.clobbers_memory |= effect.accesses.iter().any(|access| access.store);
    effect.accesses = Box::default();
    effect.flow = Flow::Next;
    effect
}

/// The one instruction that `bytes` are, if they are one.
fn decode(bytes: &[u8], at: Address, bitness: u8) -> Option<Instruction> {
    if !matches!(bitness, 16 | 32 | 64) {
        return None;
    }
    let mut decoder = Decoder::with_ip(u32::from(bitness), bytes, at.0, DecoderOptions::NONE);
    let instruction = decoder.decode();
    (!instruction.is_invalid() && instruction.len() == bytes.len()).then_some(instruction)
}
