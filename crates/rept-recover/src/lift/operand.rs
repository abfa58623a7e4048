//! Operands: registers with their sub-registers, immediates, and memory addresses.

use crate::lift::builder::{Builder, Place};
use crate::lift::value::Val;
use iced_x86::{OpKind, Register};
use rept_trace::RegWord;

/// Where a general-purpose register lies: its word, first bit, and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) word: RegWord,
    pub(super) at: u32,
    pub(super) width: u32,
}

/// The part that a general-purpose register is.
pub(super) fn gpr_part(register: Register) -> Option<Part> {
    if !register.is_gpr() {
        return None;
    }
    let width = register.size() as u32 * 8;
    let number = register.full_register().number() as u16;
    let high = matches!(
        register,
        Register::AH | Register::BH | Register::CH | Register::DH
    );
    Some(Part {
        word: RegWord::gpr(number),
        at: if high { 8 } else { 0 },
        width,
    })
}

impl Builder {
    /// The old value of a general-purpose register.
    pub(super) fn register(&self, register: Register) -> Val<'_> {
        match gpr_part(register) {
            Some(part) => self.input(part.word).extract(part.at, part.width),
            None => self.unknown(register.size() as u32 * 8),
        }
    }

    /// Writes a general-purpose register: parts of 8 and 16 bits keep the rest, 32 bits zero it.
    pub(super) fn set_register(&self, register: Register, value: Val<'_>) {
        let Some(part) = gpr_part(register) else {
            return;
        };
        let value = self
            .value(value.word, value.width)
            .zero_extended(part.width);
        match part.width {
            8 | 16 => self.write(part.word, self.current(part.word).insert(part.at, value)),
            _ => self.write(part.word, value),
        }
    }

    /// Width in bits of an explicit operand; that of the first operand for immediates.
    pub(super) fn width(&self, operand: u32) -> u32 {
        match self.instruction.op_kind(operand) {
            OpKind::Register => self.instruction.op_register(operand).size() as u32 * 8,
            kind if is_memory(kind) => self.instruction.memory_size().size() as u32 * 8,
            _ if operand != 0 => self.width(0),
            _ => 64,
        }
    }

    pub(super) fn is_memory(&self, operand: u32) -> bool {
        is_memory(self.instruction.op_kind(operand))
    }

    pub(super) fn is_register(&self, operand: u32) -> bool {
        self.instruction.op_kind(operand) == OpKind::Register
    }

    /// Reads an explicit operand of at most 64 bits.
    pub(super) fn operand(&self, operand: u32) -> Val<'_> {
        match self.instruction.op_kind(operand) {
            OpKind::Register => self.register(self.instruction.op_register(operand)),
            kind if is_memory(kind) => self.load(self.place(), self.width(operand) / 8),
            _ => self.constant(
                self.instruction.try_immediate(operand).unwrap_or(0),
                self.width(operand),
            ),
        }
    }

    /// Writes an explicit operand of at most 64 bits.
    pub(super) fn set(&self, operand: u32, value: Val<'_>) {
        match self.instruction.op_kind(operand) {
            OpKind::Register => self.set_register(self.instruction.op_register(operand), value),
            _ => self.store(
                self.place(),
                self.width(operand) / 8,
                self.value(value.word, value.width),
            ),
        }
    }

    /// Where the explicit memory operand lies.
    pub(super) fn place(&self) -> Place {
        if let Some(place) = self.place.get() {
            return place;
        }
        let place = self.memory_place(self.address_width());
        self.place.set(Some(place));
        place
    }

    /// Where a memory operand of this address size lies, segment base included.
    fn memory_place(&self, address_width: u32) -> Place {
        let base = self.segment_base(self.instruction.memory_segment());
        let displacement = self.instruction.memory_displacement64();
        // A small positive displacement costs no relation: it is the access's own offset.
        let plain = base.is_none()
            && address_width == 64
            && self.instruction.memory_index() == Register::None;
        let register = self.instruction.memory_base();
        if plain && gpr_part(register).is_some() && displacement < 1 << 30 {
            return Place {
                address: self.register(register).word,
                offset: displacement as u32,
            };
        }
        let offset = self.effective_address(address_width);
        let linear = offset.zero_extended(64);
        Place {
            address: base.map_or(linear, |base| linear + base).word,
            offset: 0,
        }
    }

    /// The base of a segment, where it need not be zero.
    pub(super) fn segment_base(&self, segment: Register) -> Option<Val<'_>> {
        match segment {
            Register::FS => Some(self.input(RegWord::FS_BASE)),
            Register::GS => Some(self.input(RegWord::GS_BASE)),
            _ => None,
        }
    }

    /// Address size of the explicit memory operand, in bits.
    pub(super) fn address_width(&self) -> u32 {
        let instruction = &self.instruction;
        for register in [instruction.memory_base(), instruction.memory_index()] {
            match register {
                Register::None => {}
                Register::EIP => return 32,
                Register::RIP => return 64,
                _ if register.is_gpr() => return register.size() as u32 * 8,
                _ => {}
            }
        }
        if instruction.memory_displ_size() == 4 {
            32
        } else {
            64
        }
    }

    /// Base + index · scale + displacement, without the segment, cut to `width` bits.
    pub(super) fn effective_address(&self, width: u32) -> Val<'_> {
        let instruction = &self.instruction;
        let (base, index) = (instruction.memory_base(), instruction.memory_index());
        let displacement = self.constant(instruction.memory_displacement64(), width);
        let scale = instruction.memory_index_scale();
        let part = |register| gpr_part(register).map(|part| self.input(part.word).low(width));
        // The canonical form of r + r·2^n is a product with an odd constant, which inverts at once.
        let sum = match (part(base), part(index)) {
            (Some(base), Some(index)) if base.is(index) => {
                Some(base.times(self.constant(u64::from(scale) + 1, width)))
            }
            (Some(base), Some(index)) => Some(base + index.shl(scale.trailing_zeros())),
            (Some(base), None) => Some(base),
            (None, Some(index)) => Some(index.shl(scale.trailing_zeros())),
            // RIP-relative displacements are absolute here.
            (None, None) => None,
        };
        sum.map_or(displacement, |sum| sum + displacement)
    }
}

fn is_memory(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Memory
            | OpKind::MemorySegSI
            | OpKind::MemorySegESI
            | OpKind::MemorySegRSI
            | OpKind::MemorySegDI
            | OpKind::MemorySegEDI
            | OpKind::MemorySegRDI
            | OpKind::MemoryESDI
            | OpKind::MemoryESEDI
            | OpKind::MemoryESRDI
    )
}
