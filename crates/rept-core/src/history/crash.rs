//! Why and where the process ended.

mod suspects;

use super::History;
use crate::position::Position;
use iced_x86::{
    Decoder, DecoderOptions, Instruction, InstructionInfoFactory, OpAccess, Register, UsedMemory,
};
use rept_trace::{Address, RegWord, Registers};

pub use suspects::{Suspects, Suspicion};

/// Longest x86 instruction, in bytes.
const LONGEST_INSTRUCTION: usize = 15;

/// Bytes of a page.
const PAGE: u64 = 4096;
/// Bytes that a function may reach beyond the end of the stack at once.
const LARGEST_FRAME: u64 = 1 << 20;
const SIGSEGV: i32 = 11;

/// The signal that ended the process, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Crash {
    /// The end of the crashing thread: the instruction at it did not complete.
    pub position: Position,
    /// Address of that instruction.
    pub pc: Address,
    /// Signal number.
    pub signal: i32,
    /// `si_code`.
    pub code: i32,
    /// Address that was accessed, for faults that have one.
    pub address: Option<Address>,
    /// The register by which the faulting instruction got that address.
    pub pointer: Option<RegWord>,
}

impl History {
    /// Why and where the process ended, when the dump says so.
    pub fn crash(&self) -> Option<Crash> {
        let dump = self.session.dump()?;
        let fault = dump.fault()?;
        let steps = self.lifetime(fault.thread).map_or(0, |steps| steps.end);
        let registers = dump.thread(fault.thread)?;
        let code = dump.memory().bytes(registers.rip).unwrap_or_default();
        let code = &code[..code.len().min(LONGEST_INSTRUCTION)];
        Some(Crash {
            position: Position::new(fault.thread, steps),
            pc: registers.rip,
            signal: fault.signal,
            code: fault.code,
            address: fault.address,
            pointer: fault
                .address
                .and_then(|at| pointer(code, at, registers))
                .and_then(word),
        })
    }
}

impl History {
    /// The crashing thread has used up its stack: what it accessed lies by its stack pointer where
    /// the dump has nothing, and the stack begins above.
    pub fn is_stack_used_up(&self) -> bool {
        let found = || {
            let crash = self.crash().filter(|crash| crash.signal == SIGSEGV)?;
            let dump = self.session.dump()?;
            let stack = dump.thread(crash.position.thread)?.get(RegWord::RSP)?;
            let at = crash.address?;
            let holds = |address: Address| dump.memory().bytes(address).is_some();
            let near = at.0.abs_diff(stack) < LARGEST_FRAME && !holds(at);
            let above = (1..=LARGEST_FRAME / PAGE).map(|page| at.offset(page * PAGE));
            Some(near && above.into_iter().any(holds))
        };
        found().unwrap_or(false)
    }
}

/// The base of the memory operand that covers the fault; where none does (the kernel does not
/// tell addresses that are not canonical), of the first.
fn pointer(code: &[u8], fault: Address, registers: &Registers) -> Option<Register> {
    let instruction = Decoder::with_ip(64, code, registers.rip.0, DecoderOptions::NONE).decode();
    faulting_operand(&instruction, fault, |register| value(registers, register))
}

fn faulting_operand(
    instruction: &Instruction,
    fault: Address,
    value: impl Fn(Register) -> Option<u64>,
) -> Option<Register> {
    let memory = faulting_memory(instruction, Some(fault), value)?;
    [memory.base(), memory.index()]
        .into_iter()
        .find(|&register| register != Register::None && register != Register::RIP)
}

/// The memory operand that faulted; the first where the address is not known.
fn faulting_memory(
    instruction: &Instruction,
    fault: Option<Address>,
    value: impl Fn(Register) -> Option<u64>,
) -> Option<UsedMemory> {
    let mut factory = InstructionInfoFactory::new();
    let operands = factory.info(instruction).used_memory().iter();
    let accessed =
        |memory: &&UsedMemory| !matches!(memory.access(), OpAccess::None | OpAccess::NoMemAccess);
    let candidates: Vec<_> = operands.filter(accessed).collect();
    let covers = |memory: &&&UsedMemory| {
        let start = memory.virtual_address(0, |register, _, _| value(register));
        let size = memory.memory_size().size().max(1) as u64;
        let within = |(fault, start): (Address, u64)| fault.0.wrapping_sub(start) < size;
        fault.zip(start).is_some_and(within)
    };
    let memory = candidates.iter().find(covers).or(candidates.first())?;
    Some(**memory)
}

/// Value of a 64-bit register or segment base.
fn value(registers: &Registers, register: Register) -> Option<u64> {
    match register {
        Register::FS => registers.get(RegWord::FS_BASE),
        Register::GS => registers.get(RegWord::GS_BASE),
        Register::CS | Register::DS | Register::ES | Register::SS => Some(0),
        Register::RIP => Some(registers.rip.0),
        _ if register.is_gpr64() => registers.get(word(register)?),
        _ => None,
    }
}

fn word(register: Register) -> Option<RegWord> {
    register
        .is_gpr()
        .then(|| RegWord::gpr(register.full_register().number() as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_of_the_operand_that_covers_the_fault_is_blamed() {
        let check = |bytes: &[u8], fault, expect| {
            let instruction = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE).decode();
            let value = |register| match register {
                Register::RSI => Some(0x1000),
                Register::RDI => Some(0x20),
                Register::DS | Register::ES => Some(0),
                _ => None,
            };
            let found = faulting_operand(&instruction, Address(fault), value);
            assert_eq!(found, expect);
        };
        check(&[0x48, 0x8b, 0x46, 0x08], 0x1008, Some(Register::RSI));
        // movsb reads [rsi] and writes [rdi].
        check(&[0xa4], 0x20, Some(Register::RDI));
        check(&[0xa4], 0x1000, Some(Register::RSI));
        // add rcx,rax has none.
        check(&[0x48, 0x01, 0xc1], 0, None);
    }
}
