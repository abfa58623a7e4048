//! The values that led to a crash, by the crash alone.
//!
//! - An access that faulted: the registers that make the address of the operand that covers it.
//! - A jump to where no code is: where the last step took the target from.
//! - A division: the divisor.
//! - An abort: the flags of the last conditional branch before the call that complained, so
//!   what was compared and found bad.

use iced_x86::{
    Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register,
    UsedMemory,
};
use rept_core::{Crash, History, Location, Position};
use rept_trace::{Address, RegWord};

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
    "std::panicking::",
    "core::panicking::",
    "core::option::",
    "core::result::unwrap_failed",
    "core::slice::index::",
    "rust_panic",
    "rust_begin_unwind",
    "__rust_start_panic",
    "panic_",
    "alloc::raw_vec::capacity_overflow",
    "alloc::raw_vec::handle_error",
    "alloc::alloc::handle_alloc_error",
    "std::sys::",
    "std::terminate",
    "__cxa_throw",
    "_Unwind_",
    "__gnu_cxx::__verbose_terminate_handler",
];

/// Places to explain, and where.
pub(super) struct Suspects {
    /// In words.
    pub(super) what: String,
    pub(super) places: Vec<(Location, Position)>,
}

/// What to ask about.
pub(super) fn suspects(history: &History, crash: &Crash) -> Suspects {
    let found = match crash.signal {
        SIGFPE => divisor(history, crash),
        SIGABRT | SIGILL | SIGTRAP => complaint(history, crash),
        _ => access(history, crash).or_else(|| wild_jump(history, crash)),
    };
    found.unwrap_or_else(|| Suspects {
        what: "nothing in the crash names a value".to_owned(),
        places: Vec::new(),
    })
}

const SIGILL: i32 = 4;
const SIGTRAP: i32 = 5;
const SIGABRT: i32 = 6;
const SIGFPE: i32 = 8;

fn access(history: &History, crash: &Crash) -> Option<Suspects> {
    let instruction = faulting(history, crash)?;
    let mut factory = InstructionInfoFactory::new();
    let operands = factory.info(&instruction).used_memory().to_vec();
    let covers = |memory: &&UsedMemory| {
        let start = memory.virtual_address(0, |register, _, _| value(history, crash, register));
        let size = memory.memory_size().size().max(1) as u64;
        let distance = |(fault, start): (Address, u64)| fault.0.wrapping_sub(start);
        crash
            .address
            .zip(start)
            .map(distance)
            .is_some_and(|distance| distance < size)
    };
    let memory = operands.iter().find(covers).or(operands.first())?;
    let places: Vec<_> = [memory.base(), memory.index()]
        .into_iter()
        .filter(|register| register.is_gpr64())
        .map(|register| (location(register), crash.position))
        .collect();
    let names: Vec<String> = places.iter().map(|(place, _)| place.to_string()).collect();
    (!places.is_empty()).then(|| Suspects {
        what: format!("the address that faulted ({})", names.join(", ")),
        places,
    })
}

fn divisor(history: &History, crash: &Crash) -> Option<Suspects> {
    let instruction = faulting(history, crash)?;
    let place = match instruction.op0_kind() {
        OpKind::Register => location(instruction.op0_register()),
        OpKind::Memory => {
            let value = |register, _, _| value(history, crash, register);
            Location::Mem {
                address: Address(instruction.virtual_address(0, 0, value)?),
                size: instruction.memory_size().size() as u64,
            }
        }
        _ => return None,
    };
    Some(Suspects {
        what: format!("the divisor ({place})"),
        places: vec![(place, crash.position)],
    })
}

/// No code where control went: the last step took the target from somewhere.
fn wild_jump(history: &History, crash: &Crash) -> Option<Suspects> {
    let at = Position::new(crash.position.thread, crash.position.step.checked_sub(1)?);
    let instruction = decode(history.instruction(at)?.bytes, history.instruction(at)?.at);
    let load = history
        .accesses(at)
        .into_iter()
        .find(|access| !access.store);
    let place = match load {
        Some(load) => Location::Mem {
            address: load.address?,
            size: load.size.into(),
        },
        None if instruction.op0_kind() == OpKind::Register => location(instruction.op0_register()),
        None => return None,
    };
    Some(Suspects {
        what: format!("the address jumped to ({place})"),
        places: vec![(place, at)],
    })
}

/// The comparison behind the branch to the outermost open call of a complaint.
fn complaint(history: &History, crash: &Crash) -> Option<Suspects> {
    let end = crash.position;
    let calls = history.calls(end.thread);
    let symbols = history.session().symbols();
    let complains = |&&call: &&usize| {
        let symbol = symbols.lookup(calls[call].callee);
        let name = symbol.function.as_ref().map(|(name, _)| name.as_str());
        name.or(symbol.name()).is_some_and(is_complaint)
    };
    let open = history.open_calls(end);
    let call = &calls[*open.iter().find(complains)?];
    let branch = (call.site.saturating_sub(LOOK_BACK)..call.site)
        .rev()
        .map(|step| Position::new(end.thread, step))
        .find(|&at| {
            let ran = history.instruction(at);
            ran.is_some_and(|ran| decode(ran.bytes, ran.at).is_jcc_short_or_near())
        })?;
    Some(Suspects {
        what: "what was compared before the abort".to_owned(),
        places: vec![(Location::Reg(RegWord::FLAGS), branch)],
    })
}

fn is_complaint(name: &str) -> bool {
    COMPLAINTS
        .iter()
        .any(|beginning| name.starts_with(beginning))
}

/// The instruction that did not complete.
fn faulting(history: &History, crash: &Crash) -> Option<Instruction> {
    let bytes = history.session().dump()?.memory().bytes(crash.pc)?;
    let instruction = decode(bytes, crash.pc);
    (instruction.mnemonic() != Mnemonic::INVALID).then_some(instruction)
}

fn decode(bytes: &[u8], at: Address) -> Instruction {
    Decoder::with_ip(64, bytes, at.0, DecoderOptions::NONE).decode()
}

/// Value of a register at the crash.
fn value(history: &History, crash: &Crash, register: Register) -> Option<u64> {
    let registers = history.session().dump()?.thread(crash.position.thread)?;
    match register {
        Register::FS => registers.get(RegWord::FS_BASE),
        Register::GS => registers.get(RegWord::GS_BASE),
        Register::CS | Register::DS | Register::ES | Register::SS => Some(0),
        Register::RIP => Some(registers.rip.0),
        _ if register.is_gpr64() => registers.get(RegWord::gpr(register.number() as u16)),
        _ => None,
    }
}

fn location(register: Register) -> Location {
    Location::Reg(RegWord::gpr(register.full_register().number() as u16))
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
            "core::panicking::panic_fmt",
        ] {
            assert!(is_complaint(name), "{name}");
        }
        for name in ["_int_free", "main", "realloc", "core::ptr::drop_in_place"] {
            assert!(!is_complaint(name), "{name}");
        }
    }
}
