//! The values that led to a crash, by the crash alone.
//!
//! - An access that faulted: the registers that make the address of the operand that covers it; of a
//!   repeated one, which may have come from a good place, also how much there was to do.
//! - A jump to where no code is: where the last step took the target from. The processor refuses a
//!   target that is not canonical at the jump itself: where that takes it from.
//! - A division: the divisor.
//! - An abort, or an instruction that is there to end the process: the flags of the last conditional
//!   branch before the call that complained, so what was compared and found bad.

use super::{Crash, faulting_memory, value, word};
use crate::history::{History, Location};
use crate::position::Position;
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind};
use rept_trace::{Address, RegWord};
use std::fmt;

/// Steps looked back at most from a complaint to the branch that led to it.
const LOOK_BACK: u64 = 2_000;

/// Beginnings of names of functions that only tell of a failure that others found.
const COMPLAINTS: &[&str] = &[
    "abort",
    "__GI_abort",
    "raise",
    "__GI_raise",
    "gsignal",
    "pthread_kill",
    "__pthread_kill",
    "__libc_message",
    "__libc_fatal",
    "malloc_printerr",
    "__assert_fail",
    "__GI___assert_fail",
    "__stack_chk_fail",
    "__fortify_fail",
    "__chk_fail",
    "std::process::abort",
    "std::panicking::begin_panic",
    "std::panicking::panic_",
    "std::panicking::rust_panic",
    "core::panicking::",
    "core::option::unwrap_failed",
    "core::option::expect_failed",
    "core::result::unwrap_failed",
    "core::slice::index::slice_",
    "rust_panic",
    "rust_begin_unwind",
    "__rust_start_panic",
    "panic_",
    "alloc::raw_vec::capacity_overflow",
    "alloc::raw_vec::handle_error",
    "alloc::alloc::handle_alloc_error",
    "std::terminate",
    "std::__throw_",
    "std::__glibcxx_assert_fail",
    "std::__replacement_assert",
    "__cxa_throw",
    "_Unwind_",
    "__gnu_cxx::__verbose_terminate_handler",
];

/// What about a crash is worth explaining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Suspicion {
    /// The address of the access that faulted.
    FaultingAddress,
    /// What was divided by.
    Divisor,
    /// Where control went, and no code is.
    JumpTarget,
    /// What was compared last before the program gave up.
    Comparison,
}

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Suspicion::FaultingAddress => "the address that faulted",
            Suspicion::Divisor => "the divisor",
            Suspicion::JumpTarget => "the address jumped to",
            Suspicion::Comparison => "what was compared before the program gave up",
        })
    }
}

/// The values to begin with when a crash is to be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Suspects {
    /// What they are.
    pub what: Suspicion,
    /// Each just before a step: what [`History::explain`] and [`History::trail`] take.
    pub places: Vec<(Location, Position)>,
}

impl Suspects {
    fn one(what: Suspicion, location: Location, before: Position) -> Suspects {
        Suspects {
            what,
            places: vec![(location, before)],
        }
    }
}

/// The suspects in words: what they are, and where they are.
impl fmt::Display for Suspects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.places.iter().map(|(place, _)| place.to_string());
        let places: Vec<String> = places.collect();
        match self.what {
            Suspicion::Comparison => self.what.fmt(f),
            what => write!(f, "{what} ({})", places.join(", ")),
        }
    }
}

impl History {
    /// The values that led to the crash; `None` where the dump names none, or nothing in the crash
    /// points to a value.
    pub fn suspects(&self) -> Option<Suspects> {
        let crash = self.crash()?;
        match crash.signal {
            SIGFPE => divisor(self, &crash),
            SIGABRT | SIGILL | SIGTRAP => comparison(self, &crash),
            _ if crash.address == Some(crash.pc) => wild_jump(self, &crash),
            _ => refused_jump(self, &crash)
                .or_else(|| access(self, &crash))
                .or_else(|| wild_jump(self, &crash)),
        }
    }
}

const SIGILL: i32 = 4;
const SIGTRAP: i32 = 5;
const SIGABRT: i32 = 6;
const SIGFPE: i32 = 8;

/// Addresses that are not canonical are not told, so the operand may have to do without.
fn access(history: &History, crash: &Crash) -> Option<Suspects> {
    let instruction = faulting(history, crash)?;
    let registers = history.session.dump()?.thread(crash.position.thread)?;
    let memory = faulting_memory(&instruction, crash.address, |register| {
        value(registers, register)
    })?;
    let mapped = |register: &RegWord| {
        let value = registers.get(*register).map(Address);
        value.is_some_and(|value| history.session.final_memory().bytes(value).is_some())
    };
    let mut words: Vec<RegWord> = [memory.base(), memory.index()]
        .into_iter()
        .filter_map(word)
        .collect();
    // A base that points to something is less suspect than what was added to it.
    words.sort_by_key(mapped);
    let repeats = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    if repeats && instruction.is_string_instruction() {
        words.push(RegWord::RCX);
    }
    let place = |register| (Location::Reg(register), crash.position);
    let places: Vec<_> = words.into_iter().map(place).collect();
    (!places.is_empty()).then_some(Suspects {
        what: Suspicion::FaultingAddress,
        places,
    })
}

fn divisor(history: &History, crash: &Crash) -> Option<Suspects> {
    let instruction = faulting(history, crash)?;
    if !matches!(instruction.mnemonic(), Mnemonic::Div | Mnemonic::Idiv) {
        return None;
    }
    let location = match instruction.op0_kind() {
        OpKind::Register => Location::Reg(word(instruction.op0_register())?),
        OpKind::Memory => {
            let registers = history.session.dump()?.thread(crash.position.thread)?;
            let value = |register, _, _| value(registers, register);
            Location::Mem {
                address: Address(instruction.virtual_address(0, 0, value)?),
                size: instruction.memory_size().size() as u64,
            }
        }
        _ => return None,
    };
    Some(Suspects::one(Suspicion::Divisor, location, crash.position))
}

/// A jump, call or return whose target is not canonical.
fn refused_jump(history: &History, crash: &Crash) -> Option<Suspects> {
    let instruction = faulting(history, crash)?;
    let registers = history.session.dump()?.thread(crash.position.thread)?;
    let value = |register, _, _| value(registers, register);
    let slot = match instruction.mnemonic() {
        Mnemonic::Ret => registers.get(RegWord::RSP)?,
        Mnemonic::Jmp | Mnemonic::Call => match instruction.op0_kind() {
            OpKind::Register => {
                let register = word(instruction.op0_register())?;
                let location = Location::Reg(register);
                let refused = is_refused(registers.get(register)?);
                return refused
                    .then(|| Suspects::one(Suspicion::JumpTarget, location, crash.position));
            }
            OpKind::Memory => instruction.virtual_address(0, 0, value)?,
            _ => return None,
        },
        _ => return None,
    };
    let bytes = history.session.dump()?.memory().bytes(Address(slot))?;
    let target = u64::from_le_bytes(*bytes.first_chunk()?);
    let location = Location::Mem {
        address: Address(slot),
        size: 8,
    };
    is_refused(target).then(|| Suspects::one(Suspicion::JumpTarget, location, crash.position))
}

/// The address is not canonical: bits 47 to 63 are not all the same.
fn is_refused(address: u64) -> bool {
    !matches!((address as i64) >> 47, 0 | -1)
}

/// No code where control went: the last step took the target from somewhere.
fn wild_jump(history: &History, crash: &Crash) -> Option<Suspects> {
    let at = Position::new(crash.position.thread, crash.position.step.checked_sub(1)?);
    let ran = history.instruction(at)?;
    let instruction = decode(ran.bytes, ran.at);
    let load = history
        .accesses(at)
        .into_iter()
        .find(|access| !access.store);
    let location = match load {
        Some(load) => Location::Mem {
            address: load.address?,
            size: load.size.into(),
        },
        None if instruction.op0_kind() == OpKind::Register => {
            Location::Reg(word(instruction.op0_register())?)
        }
        None => return None,
    };
    Some(Suspects::one(Suspicion::JumpTarget, location, at))
}

/// The flags of the branch that led to the outermost open call of a complaint; without one, to the crash.
fn comparison(history: &History, crash: &Crash) -> Option<Suspects> {
    let branch = last_branch(history, complaint(history, crash))?;
    let flags = Location::Reg(RegWord::FLAGS);
    Some(Suspects::one(Suspicion::Comparison, flags, branch))
}

/// The step that called the outermost open complaint; the crash without one.
fn complaint(history: &History, crash: &Crash) -> Position {
    let end = crash.position;
    let calls = history.calls(end.thread);
    let open: Vec<_> = history
        .open_calls(end)
        .iter()
        .map(|&call| calls[call])
        .collect();
    let sites = open.iter().map(|call| Position::new(end.thread, call.site));
    // A call may go through a stub, so what matters is where the frame was left.
    let left = sites.clone().skip(1).map(|site| history.instruction(site));
    let left = left.map(|ran| ran.map_or(crash.pc, |ran| ran.at));
    let frames = open.iter().zip(left.chain([crash.pc])).zip(sites);
    let complains = |address: Address| {
        let symbol = history.session.symbols().lookup(address);
        let name = symbol.function.as_ref().map(|(name, _)| name.as_str());
        name.or(symbol.name()).is_some_and(is_complaint)
    };
    let mut found = frames.filter(|((call, left), _)| complains(call.callee) || complains(*left));
    found.next().map_or(end, |(_, site)| site)
}

/// The last conditional branch before a step, in a function that is still open there: what a call
/// that returned did inside is left out.
fn last_branch(history: &History, before: Position) -> Option<Position> {
    let mut at = before;
    for _ in 0..LOOK_BACK {
        at.step = at.step.checked_sub(1)?;
        if let Some(call) = history.returned_at(at) {
            at.step = call.site;
        } else if is_conditional(history, at) {
            return Some(at);
        }
    }
    None
}

fn is_conditional(history: &History, at: Position) -> bool {
    let ran = history.instruction(at);
    ran.is_some_and(|ran| decode(ran.bytes, ran.at).is_jcc_short_or_near())
}

fn is_complaint(name: &str) -> bool {
    COMPLAINTS
        .iter()
        .any(|beginning| name.starts_with(beginning))
}

/// The instruction that did not complete.
fn faulting(history: &History, crash: &Crash) -> Option<Instruction> {
    let bytes = history.session.dump()?.memory().bytes(crash.pc)?;
    let instruction = decode(bytes, crash.pc);
    (instruction.mnemonic() != Mnemonic::INVALID).then_some(instruction)
}

fn decode(bytes: &[u8], at: Address) -> Instruction {
    Decoder::with_ip(64, bytes, at.0, DecoderOptions::NONE).decode()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_from_what_complains() {
        for name in [
            "abort",
            "malloc_printerr",
            "__libc_message",
            "std::__throw_out_of_range_fmt(char const*, ...)",
            "core::panicking::panic_fmt",
        ] {
            assert!(is_complaint(name), "{name}");
        }
        for name in [
            "_int_free",
            "main",
            "realloc",
            "core::ptr::drop_in_place",
            "core::option::Option<T>::map",
            "std::panicking::catch_unwind",
            "std::sys::backtrace::__rust_begin_short_backtrace",
        ] {
            assert!(!is_complaint(name), "{name}");
        }
    }
}
