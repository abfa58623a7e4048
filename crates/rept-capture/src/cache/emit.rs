//! Writes the machine code of the cache, and notes for each instruction what the program's
//! state is when it is about to run.

use super::area::{LOG_AT, R11_AT, RAX_AT, RCX_AT, RDX_AT, RSP_AT};

/// Registers whose values wait in the thread's area, as a set.
pub(crate) mod saved {
    pub(crate) const NONE: u8 = 0;
    pub(crate) const RAX: u8 = 1;
    pub(crate) const RCX: u8 = 2;
    pub(crate) const RDX: u8 = 4;
    pub(crate) const R11: u8 = 8;
    pub(crate) const RSP: u8 = 16;
}

/// How far the program has come when an instruction of the cache is about to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// At the block's first instruction; the log does not yet say so.
    Entry,
    /// At this instruction of the block.
    Inside(u8),
    /// Through the block, to this one of its exits.
    Exit(u8),
    /// Through the block's system call, to its first exit.
    Called,
    /// Through a block, to the address in RAX.
    InRax,
    /// Through a block, to the one whose cache address is in the thread's area.
    InArea,
}

/// An instruction of the cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    /// From the block's first byte.
    pub(crate) at: u16,
    /// See [`saved`].
    pub(crate) saved: u8,
    pub(crate) stage: Stage,
}

#[derive(Clone, Copy)]
pub(super) enum Reg {
    Rax = 0,
    Rcx = 1,
    Rdx = 2,
    Rsp = 4,
    R11 = 11,
}

impl Reg {
    fn place(self) -> (u32, u8) {
        match self {
            Reg::Rax => (RAX_AT, saved::RAX),
            Reg::Rcx => (RCX_AT, saved::RCX),
            Reg::Rdx => (RDX_AT, saved::RDX),
            Reg::Rsp => (RSP_AT, saved::RSP),
            Reg::R11 => (R11_AT, saved::R11),
        }
    }
}

/// A field to be filled with the distance to a place in the code.
#[derive(Clone, Copy)]
pub(super) struct Field(usize);

pub(super) struct Emitter {
    /// Address of the first byte in the traced process.
    base: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) points: Vec<Point>,
    stage: Stage,
    saved: u8,
    // Eight-byte constants, and the fields that want their distance.
    constants: Vec<(Field, u64)>,
}

impl Emitter {
    pub(super) fn new(base: u64, stage: Stage) -> Emitter {
        Emitter {
            base,
            bytes: Vec::with_capacity(512),
            points: Vec::with_capacity(64),
            stage,
            saved: saved::NONE,
            constants: Vec::new(),
        }
    }

    pub(super) fn stage(&mut self, stage: Stage) {
        self.stage = stage;
    }

    pub(super) fn set_saved(&mut self, saved: u8) {
        self.saved = saved;
    }

    /// Where the next instruction will stand in the traced process.
    pub(super) fn address(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// Appends one instruction.
    pub(super) fn op(&mut self, bytes: &[u8]) {
        self.points.push(Point {
            at: self.bytes.len() as u16,
            saved: self.saved,
            stage: self.stage,
        });
        self.bytes.extend_from_slice(bytes);
    }

    fn area(&mut self, opcode: u8, register: u8, at: u32) {
        let rex = 0x48 | (register >> 3) << 2;
        let mut bytes = [
            0x65,
            rex,
            opcode,
            0x04 | (register & 7) << 3,
            0x25,
            0,
            0,
            0,
            0,
        ];
        bytes[5..].copy_from_slice(&at.to_le_bytes());
        self.op(&bytes);
    }

    /// `mov gs:[at], register`.
    pub(super) fn store(&mut self, register: Reg, at: u32) {
        self.area(0x89, register as u8, at);
    }

    /// `mov register, gs:[at]`.
    pub(super) fn load(&mut self, register: Reg, at: u32) {
        self.area(0x8b, register as u8, at);
    }

    /// Puts a register into the thread's area.
    pub(super) fn save(&mut self, register: Reg) {
        let (at, bit) = register.place();
        self.store(register, at);
        self.saved |= bit;
    }

    /// Gets it back.
    pub(super) fn restore(&mut self, register: Reg) {
        let (at, bit) = register.place();
        self.load(register, at);
        self.saved &= !bit;
    }

    /// `jmp gs:[at]`.
    pub(super) fn jump_through_area(&mut self, at: u32) {
        let mut bytes = [0x65, 0xff, 0x24, 0x25, 0, 0, 0, 0];
        bytes[4..].copy_from_slice(&at.to_le_bytes());
        self.op(&bytes);
    }

    /// `mov dword [register + at], value`; the register is RAX or RCX.
    pub(super) fn store_constant(&mut self, register: Reg, at: u8, value: u32) {
        let mut bytes = [0xc7, 0x40 | register as u8, at, 0, 0, 0, 0];
        bytes[3..].copy_from_slice(&value.to_le_bytes());
        self.op(&bytes);
    }

    /// Writes the time and `then` to the log. RAX, RCX and RDX are lost.
    pub(super) fn log_time(&mut self, code: u32, then: Option<u32>) {
        self.op(&[0x0f, 0x31]); // rdtsc
        self.load(Reg::Rcx, LOG_AT);
        self.store_constant(Reg::Rcx, 0, code);
        self.op(&[0x89, 0x41, 4]); // mov [rcx+4], eax
        self.op(&[0x89, 0x51, 8]); // mov [rcx+8], edx
        let length = match then {
            Some(word) => {
                self.store_constant(Reg::Rcx, 12, word);
                16
            }
            None => 12,
        };
        self.op(&[0x48, 0x8d, 0x49, length]); // lea rcx, [rcx+length]
        self.store(Reg::Rcx, LOG_AT);
    }

    /// An instruction that ends in the distance to its data.
    pub(super) fn reach(&mut self, opcode: &[u8]) -> Field {
        let mut bytes = [0; 8];
        bytes[..opcode.len()].copy_from_slice(opcode);
        self.op(&bytes[..opcode.len() + 4]);
        self.last_field()
    }

    /// `push` of a constant.
    pub(super) fn push_constant(&mut self, value: u64) {
        self.op(&[0xff, 0x35, 0, 0, 0, 0]); // push qword [rip+...]
        let field = self.last_field();
        self.constants.push((field, value));
    }

    /// A direct branch with these opcode bytes and a field of four bytes, which can be
    /// changed while others execute it: it lies within one cache line.
    pub(super) fn branch(&mut self, opcode: &[u8]) -> Field {
        const LINE: u64 = 64;
        const NOPS: [&[u8]; 4] = [&[], &[0x90], &[0x66, 0x90], &[0x0f, 0x1f, 0x00]];
        let field = self.address() + opcode.len() as u64;
        let beyond = (field % LINE + 4).saturating_sub(LINE);
        if beyond != 0 {
            self.op(NOPS[(4 - beyond) as usize]);
        }
        let mut bytes = [0; 8];
        bytes[..opcode.len()].copy_from_slice(opcode);
        self.op(&bytes[..opcode.len() + 4]);
        self.last_field()
    }

    /// Where a field lies, from the first byte.
    pub(super) fn place(&self, field: Field) -> usize {
        field.0
    }

    /// Fills a field.
    pub(super) fn fill(&mut self, field: Field, value: u32) {
        self.bytes[field.0..field.0 + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Makes a field lead to `target`, wherever that is.
    pub(super) fn lead(&mut self, field: Field, target: u64) -> Option<()> {
        let from = self.base + field.0 as u64 + 4;
        let distance = i32::try_from(target.wrapping_sub(from) as i64).ok()?;
        self.fill(field, distance as u32);
        Some(())
    }

    /// The four bytes written last, as a field.
    pub(super) fn last_field(&self) -> Field {
        Field(self.bytes.len() - 4)
    }

    /// A short branch with this opcode, to be led by [`Emitter::lead_here`].
    pub(super) fn short(&mut self, opcode: &[u8]) -> Field {
        let mut bytes = [0; 8];
        bytes[..opcode.len()].copy_from_slice(opcode);
        self.op(&bytes[..=opcode.len()]);
        Field(self.bytes.len() - 1)
    }

    /// Makes a short branch lead to the next instruction.
    pub(super) fn lead_here(&mut self, field: Field) {
        let distance = self.bytes.len() - field.0 - 1;
        debug_assert!(distance < 128, "a short branch");
        self.bytes[field.0] = distance as u8;
    }

    /// Puts the constants behind the code.
    pub(super) fn finish(&mut self) {
        let constants = std::mem::take(&mut self.constants);
        if !constants.is_empty() {
            let aligned = self.address().next_multiple_of(8) - self.base;
            self.bytes.resize(aligned as usize, 0xcc);
        }
        for (field, value) in constants {
            let address = self.address();
            self.bytes.extend_from_slice(&value.to_le_bytes());
            self.lead(field, address).expect("a constant is near");
        }
    }
}
