//! What exact recording adds to a block: all registers at its beginning, and for each
//! instruction the bytes that it read and wrote and the registers that it left.
//!
//! Where these go in the log is known when the block is made, so the log of a block has no
//! structure of its own: [`LoggedStep`] tells where in it everything is. Instructions whose
//! accesses are not known before they run (string repeats, masked ones, gathers, saves of
//! the processor's state) are not copied, but stepped.

use super::{Piece, Translation};
use crate::cache::area::{LOG_AT, MOST_WRITES, RCX_AT, RECORD_AT, WRITES_AT};
use crate::cache::emit::{Emitter, Field, Reg, Stage};
use crate::instruction::{Instruction, Kind};
use iced_x86::{
    CodeSize, InstructionInfoFactory, MemorySize, Mnemonic, OpAccess, Register, UsedMemory,
};
use std::rc::Rc;

/// Where in a block's log the registers are, in encoding order, and then the flags.
pub(crate) const REGISTERS_AT: usize = 8;
/// General-purpose registers; the number after the last is that of the flags.
pub(crate) const FLAGS: u8 = 16;
const HEAD_BYTES: u32 = REGISTERS_AT as u32 + (FLAGS as u32 + 1) * 8;
/// Longest memory operand that is copied: a vector register.
const LONGEST_OPERAND: usize = 64;
/// Least vector register.
const VECTOR_BYTES: usize = 16;
/// Bits 16 to 23 of the log's address where a thread stops, as its log is full; a log
/// begins at an address that has zeros there. No block's log is longer than this window.
pub(crate) const FULL_WINDOW: u8 = 30;

/// Bytes in a block's log: where, and how many.
pub(crate) type Span = (u32, u32);

/// One instruction of a block, and where the block's log holds what it did.
#[derive(Clone, Debug)]
pub(crate) struct LoggedStep {
    pub(crate) ip: u64,
    pub(crate) instruction: Rc<Instruction>,
    /// Bytes of the operands that are read, one after the other.
    pub(crate) reads: Vec<Span>,
    /// Bytes of the operands that are written.
    pub(crate) writes: Vec<Span>,
    /// Registers that may have changed: number, and where the new value is.
    pub(crate) left: Vec<(u8, u32)>,
}

/// The log of a block that is being made.
#[derive(Default)]
pub(super) struct Layout {
    pub(super) steps: Vec<LoggedStep>,
    pub(super) bytes: u32,
    length: Option<Field>,
}

impl Layout {
    fn take(&mut self, bytes: u32) -> u32 {
        let at = self.bytes;
        self.bytes += bytes.next_multiple_of(8);
        at
    }
}

struct Operand {
    memory: UsedMemory,
    bytes: usize,
    read: bool,
    write: bool,
    // It may not be written, and then need not be there.
    doubtful: bool,
}

/// What must be logged of an instruction.
pub(super) struct Plan {
    instruction: Rc<Instruction>,
    operands: Vec<Operand>,
    changed: Vec<u8>,
}

impl Plan {
    /// `None` when the instruction must be stepped.
    pub(super) fn of(piece: &Piece) -> Option<Plan> {
        let decoded = &piece.instruction;
        let instruction = Instruction::decode(piece.bytes(), decoded.ip())?;
        let odd = matches!(decoded.mnemonic(), Mnemonic::Wrfsbase | Mnemonic::Enter);
        let unforeseen = instruction.repeats || instruction.mask.is_some();
        if odd || unforeseen || instruction.kind == Kind::Syscall {
            return None;
        }
        let operands: Option<Vec<Operand>> = instruction
            .accessed()
            .map(|(used, read, write)| {
                let masked = decoded.has_op_mask() || decoded.mnemonic() == Mnemonic::Maskmovq;
                operand(used, read, write, masked)
            })
            .collect();
        let operands = operands.filter(|all| all.len() <= MOST_WRITES)?;
        let mut changed = changed(decoded)?;
        if decoded.rflags_modified() != 0 {
            changed.push(FLAGS);
        }
        Some(Plan {
            operands,
            changed,
            instruction: Rc::new(instruction),
        })
    }
}

fn operand(used: &UsedMemory, read: bool, write: bool, masked: bool) -> Option<Operand> {
    let size = used.memory_size();
    let general = |register: Register| register == Register::None || is_wide(register);
    let plain = used.vsib_size() == 0
        && used.address_size() == CodeSize::Code64
        && !matches!(size, MemorySize::Xsave | MemorySize::Xsave64)
        && size.size() <= LONGEST_OPERAND
        && general(used.base())
        && general(used.index())
        && used.segment() != Register::GS;
    let near = used.base() == Register::None && used.index() == Register::None
        || i32::try_from(used.displacement() as i64).is_ok();
    (plain && near).then(|| Operand {
        memory: *used,
        bytes: size.size(),
        read,
        write,
        // Masks are not always told of.
        doubtful: masked || used.access() == OpAccess::CondWrite || size.size() >= VECTOR_BYTES,
    })
}

fn is_wide(register: Register) -> bool {
    register.is_gpr() && register.size() == 8
}

// Numbers of the general-purpose registers that may change; `None` when a segment register
// does.
fn changed(decoded: &iced_x86::Instruction) -> Option<Vec<u8>> {
    let mut changed = Vec::new();
    for used in InstructionInfoFactory::new().info(decoded).used_registers() {
        let writes = matches!(
            used.access(),
            OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
        );
        if writes && used.register().is_segment_register() {
            return None;
        }
        let number = used.register().full_register().number() as u8;
        if writes && used.register().is_gpr() && !changed.contains(&number) {
            changed.push(number);
        }
    }
    Some(changed)
}

impl Translation {
    /// The block's number and all registers go to the log, unless it is full: then the
    /// thread stops.
    pub(super) fn exact_prologue(&mut self, id: u32) {
        let code = &mut self.code;
        code.save(Reg::Rax);
        code.save(Reg::Rcx);
        let mut window = [0x65, 0x0f, 0xb6, 0x0c, 0x25, 0, 0, 0, 0]; // movzx ecx, byte gs:[...]
        window[5..].copy_from_slice(&(LOG_AT + 2).to_le_bytes());
        code.op(&window);
        code.op(&[0x48, 0x8d, 0x49, FULL_WINDOW.wrapping_neg()]); // lea rcx, [rcx-window]
        let full = code.short(&[0xe3]); // jrcxz
        let on = code.short(&[0xeb]);
        code.lead_here(full);
        code.op(&[0xcc]);
        code.lead_here(on);
        code.load(Reg::Rcx, LOG_AT);
        code.store(Reg::Rcx, RECORD_AT);
        let mut number = [0x48, 0xc7, 0x01, 0, 0, 0, 0]; // mov qword [rcx], id
        number[3..].copy_from_slice(&id.to_le_bytes());
        code.op(&number);
        code.load(Reg::Rax, RCX_AT);
        let place = |number: u8| REGISTERS_AT as u32 + u32::from(number) * 8;
        code.put(Reg::Rax as u8, place(Reg::Rcx as u8));
        code.restore(Reg::Rax);
        for number in (0..FLAGS).filter(|&number| number != Reg::Rcx as u8) {
            code.put(number, place(number));
        }
        code.put_flags(place(FLAGS));
        code.op(&[0x48, 0x8d, 0x89, 0, 0, 0, 0]); // lea rcx, [rcx+length]
        self.exact.length = Some(code.last_field());
        code.store(Reg::Rcx, LOG_AT);
        code.stage(Stage::Inside(0));
        code.restore(Reg::Rcx);
        self.exact.take(HEAD_BYTES);
    }

    /// Before an instruction: the bytes that it will read.
    pub(super) fn exact_before(&mut self, ip: u64, plan: &Plan) {
        let mut step = LoggedStep {
            ip,
            instruction: Rc::clone(&plan.instruction),
            reads: Vec::new(),
            writes: Vec::new(),
            left: Vec::new(),
        };
        for operand in &plan.operands {
            let code = &mut self.code;
            [Reg::Rcx, Reg::Rdx, Reg::R11]
                .into_iter()
                .for_each(|register| code.save(register));
            code.lead_rdx(&operand.memory);
            let mut copies: Vec<Span> = Vec::new();
            let bytes = operand.bytes as u32;
            if operand.read {
                step.reads.push((self.exact.take(bytes), bytes));
                copies.extend(step.reads.last());
            }
            if operand.write {
                code.store(Reg::Rdx, write_slot(step.writes.len()));
                step.writes.push((self.exact.take(bytes), bytes));
                copies.extend(step.writes.last().filter(|_| operand.doubtful));
            }
            for span in copies {
                code.load(Reg::Rcx, RECORD_AT);
                code.copy(span, operand.memory.segment() == Register::FS);
            }
            [Reg::R11, Reg::Rdx, Reg::Rcx]
                .into_iter()
                .for_each(|register| code.restore(register));
        }
        self.exact.steps.push(step);
    }

    /// After an instruction: the bytes that it wrote, and what it left in registers, unless
    /// the block ends with it.
    pub(super) fn exact_after(&mut self, plan: &Plan, is_last: bool) {
        let step = self.exact.steps.last_mut().expect("begun before");
        let changed = if is_last { &[][..] } else { &plan.changed };
        if step.writes.is_empty() && changed.is_empty() {
            return;
        }
        let code = &mut self.code;
        code.save(Reg::Rcx);
        code.load(Reg::Rcx, RECORD_AT);
        let written = plan.operands.iter().filter(|operand| operand.write);
        for ((slot, span), operand) in step.writes.iter().enumerate().zip(written) {
            code.save(Reg::Rdx);
            code.save(Reg::R11);
            code.load(Reg::Rdx, write_slot(slot));
            code.copy(*span, operand.memory.segment() == Register::FS);
            code.restore(Reg::R11);
            code.restore(Reg::Rdx);
        }
        for &number in changed {
            let bytes = self.exact.bytes;
            step.left.push((number, bytes));
            self.exact.bytes += 8;
            match number {
                FLAGS => code.put_flags(bytes),
                1 => {
                    code.save(Reg::Rdx);
                    code.load(Reg::Rdx, RCX_AT);
                    code.put(Reg::Rdx as u8, bytes);
                    code.restore(Reg::Rdx);
                }
                _ => code.put(number, bytes),
            }
        }
        code.restore(Reg::Rcx);
    }

    /// The block is complete: its log is so long.
    pub(super) fn exact_finish(&mut self) {
        self.exact.steps.truncate(self.ips.len());
        if let Some(length) = self.exact.length.take() {
            self.code.fill(length, self.exact.bytes);
        }
    }
}

fn write_slot(index: usize) -> u32 {
    WRITES_AT + index as u32 * 8
}

impl Emitter {
    // `mov [rcx+at], register`.
    fn put(&mut self, register: u8, at: u32) {
        let mut bytes = [
            0x48 | register >> 3 << 2,
            0x89,
            0x81 | (register & 7) << 3,
            0,
            0,
            0,
            0,
        ];
        bytes[3..].copy_from_slice(&at.to_le_bytes());
        self.op(&bytes);
    }

    // The flags go to [rcx+at], by way of a stack pointer that leads there.
    fn put_flags(&mut self, at: u32) {
        self.save(Reg::Rsp);
        let mut lead = [0x48, 0x8d, 0xa1, 0, 0, 0, 0]; // lea rsp, [rcx+at+8]
        lead[3..].copy_from_slice(&(at + 8).to_le_bytes());
        self.op(&lead);
        self.op(&[0x9c]); // pushfq
        self.restore(Reg::Rsp);
    }

    // The operand's offset in its segment goes to RDX; all registers are the program's.
    fn lead_rdx(&mut self, memory: &UsedMemory) {
        let (base, index) = (memory.base(), memory.index());
        if base == Register::None && index == Register::None {
            let mut bytes = [0x48, 0xba, 0, 0, 0, 0, 0, 0, 0, 0]; // mov rdx, ...
            bytes[2..].copy_from_slice(&memory.displacement().to_le_bytes());
            return self.op(&bytes);
        }
        const NO_INDEX: u8 = 4;
        const NO_BASE: u8 = 5;
        let number = |register: Register, none| match register {
            Register::None => none,
            register => register.number() as u8,
        };
        let mode = if base == Register::None { 0x14 } else { 0x94 };
        let (base, index) = (number(base, NO_BASE), number(index, NO_INDEX));
        let scale = memory.scale().trailing_zeros() as u8;
        let mut bytes = [0, 0x8d, mode, 0, 0, 0, 0, 0]; // lea rdx, [...]
        bytes[0] = 0x48 | index >> 3 << 1 | base >> 3;
        bytes[3] = scale << 6 | (index & 7) << 3 | base & 7;
        bytes[4..].copy_from_slice(&(memory.displacement() as u32).to_le_bytes());
        self.op(&bytes);
    }

    // Copies bytes from [rdx] to a place in the log, which RCX leads to, by way of R11.
    fn copy(&mut self, (to, bytes): (u32, u32), fs: bool) {
        let mut done = 0;
        while done < bytes {
            let size = [8, 4, 2, 1].into_iter().find(|size| done + size <= bytes);
            let size = size.expect("one fits");
            self.move_r11(size, true, done, fs);
            self.move_r11(size, false, to + done, false);
            done += size;
        }
    }

    // `mov r11, [rdx+at]` or `mov [rcx+at], r11`, of so many bytes.
    fn move_r11(&mut self, size: u32, load: bool, at: u32, fs: bool) {
        let mut bytes = Vec::with_capacity(9);
        bytes.extend(fs.then_some(0x64));
        bytes.extend((size == 2).then_some(0x66));
        let opcode = 0x88 | u8::from(load) << 1 | u8::from(size != 1);
        let modrm = if load { 0x9a } else { 0x99 };
        bytes.extend([0x44 | u8::from(size == 8) << 3, opcode, modrm]);
        bytes.extend(at.to_le_bytes());
        self.op(&bytes);
    }
}
