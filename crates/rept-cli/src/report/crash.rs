//! What ended the process.

use super::operands::{Operands, operands};
use crate::case::Case;
use crate::text::disassembly;
use iced_x86::InstructionInfoFactory;
use rept_recover::history::{AccessView, Position, Recovered, Unknown, Value};
use rept_trace::{Address, Fault, Memory, RegWord, Registers};
use std::fmt::{self, Display, Formatter};

/// Prints the crash.
pub(crate) struct Crash<'a>(pub(crate) Case<'a>);

impl Display for Crash<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let case = self.0;
        match case.fault {
            Some(fault) => writeln!(f, "{}", headline(&fault))?,
            None => writeln!(f, "the dump does not say why the process ended")?,
        }
        match case.crashing().and_then(|thread| case.registers(thread)) {
            Some(registers) => place(f, case, registers),
            None => Ok(()),
        }
    }
}

/// The signal, its cause and address, and the thread.
pub(crate) fn headline(fault: &Fault) -> String {
    let mut text = signal_name(fault.signal);
    if let Some(cause) = cause(fault.signal, fault.code) {
        text += &format!(" ({cause})");
    }
    if let Some(address) = fault.address {
        text += &format!(" at address {address}");
    }
    text + &format!(", thread {}", fault.thread)
}

fn place(f: &mut Formatter<'_>, case: Case<'_>, registers: &Registers) -> fmt::Result {
    let spot = case.program.spot(registers.rip);
    write!(f, "  at {}", registers.rip)?;
    if let Some(place) = spot.place() {
        write!(f, " in {place}")?;
    }
    if let Some(source) = spot.source() {
        write!(f, ", {source}")?;
    }
    writeln!(f)?;
    let Some(instruction) = case.instruction(registers.rip) else {
        return writeln!(f, "  no code bytes there");
    };
    writeln!(f, "  {}", disassembly(&instruction))?;
    let mut factory = InstructionInfoFactory::new();
    let end = Position { thread: 0, step: 0 };
    let Operands { reads, .. } = operands(&AtTheEnd(registers), end, &instruction, &mut factory);
    if reads.is_empty() {
        Ok(())
    } else {
        writeln!(f, "  with {}", reads.join(" "))
    }
}

/// The registers in the dump, at every position; for the one position that has no step.
struct AtTheEnd<'a>(&'a Registers);

impl Recovered for AtTheEnd<'_> {
    fn register(&self, _: Position, word: RegWord) -> Value {
        let known = |bits| Value {
            bits,
            known: u64::MAX,
            certain: u64::MAX,
            assumed: u64::MAX,
        };
        self.0.get(word).map(known).unwrap_or_default()
    }

    fn why_unknown(&self, _: Position, _: RegWord) -> Unknown {
        Unknown::NotInDump
    }

    fn accesses(&self, _: Position) -> Vec<AccessView> {
        Vec::new()
    }

    fn memory(&self, _: Position, _: Address, _: &dyn Memory) -> Value {
        Value::default()
    }
}

/// Linux x86-64 signal numbers.
pub(crate) fn signal_name(number: i32) -> String {
    const NAMES: [&str; 32] = [
        "",
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    match usize::try_from(number)
        .ok()
        .and_then(|number| NAMES.get(number))
    {
        Some(name) if number != 0 => (*name).to_owned(),
        _ => format!("signal {number}"),
    }
}

/// `si_code` in words, for the signals that the processor causes.
fn cause(signal: i32, code: i32) -> Option<&'static str> {
    Some(match (signal, code) {
        (11, 1) => "address not mapped",
        (11, 2) => "access not permitted",
        (11, 4) => "protection key",
        (11, 128) => "address not canonical",
        (7, 1) => "address not aligned",
        (7, 2) => "no such physical address",
        (7, 3) => "object error",
        (8, 1) => "integer division by zero",
        (8, 2) => "integer overflow",
        (8, 3) => "floating-point division by zero",
        (4, 1..=8) => "illegal instruction",
        (5, 1) => "breakpoint",
        (5, 2) => "single step",
        (_, 0) => "sent by kill",
        (_, -6) => "sent by tkill or raise",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_trace::ThreadId;

    #[test]
    fn the_headline_says_what_the_kernel_said() {
        let fault = |signal, code, address: Option<u64>| Fault {
            thread: ThreadId(7),
            signal,
            code,
            address: address.map(Address),
        };
        let segv = headline(&fault(11, 1, Some(0x21d)));
        assert_eq!(
            segv,
            "SIGSEGV (address not mapped) at address 0x21d, thread 7"
        );
        assert_eq!(
            headline(&fault(6, -6, None)),
            "SIGABRT (sent by tkill or raise), thread 7"
        );
        assert_eq!(headline(&fault(64, 77, None)), "signal 64, thread 7");
        assert_eq!(headline(&fault(-3, 77, None)), "signal -3, thread 7");
    }
}
