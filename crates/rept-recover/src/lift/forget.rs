//! What an unmodelled instruction may write, and nothing else.
//!
//! The sets are those of the decoder's access table, with its known gaps filled: the table
//! lacks what XRSTOR and FXRSTOR restore, and the sticky exception flags of MXCSR.

use crate::bits::{Bits, mask};
use crate::effect::{Effect, Flow, Word};
use crate::lift::builder::{Builder, Place};
use crate::lift::operand::gpr_part;
use crate::lift::value::Val;
use crate::lift::x86::enter_mmx;
use crate::op::Op;
use iced_x86::{
    CodeSize, EncodingKind, FlowControl, Instruction, InstructionInfoFactory, Mnemonic as M,
    OpAccess, Register, UsedMemory,
};
use rept_trace::RegWord;

/// Sticky exception flags of MXCSR.
const STICKY: u32 = 6;

/// Bytes that are no instruction: everything may have changed.
pub(super) fn everything() -> Effect {
    let count = RegWord::COUNT as u16;
    Effect {
        template: vec![Bits::UNKNOWN; RegWord::COUNT].into(),
        fresh: count,
        writes: (0..count).map(|word| (RegWord(word), Word(word))).collect(),
        flow: Flow::Other,
        clobbers_memory: true,
        ..Effect::default()
    }
}

/// Forgets what the instruction may write.
pub(super) fn forget(instruction: &Instruction, bitness: u8, live_flags: u16) -> Effect {
    builder(instruction, bitness, live_flags).finish(false)
}

/// The same, to be added to.
pub(super) fn builder(instruction: &Instruction, bitness: u8, live_flags: u16) -> Builder {
    let builder = Builder::new(instruction, live_flags);
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(instruction);
    for register in info.used_registers() {
        if let Some(conditional) = written(register.access()) {
            builder.forget_register(register.register(), conditional);
        }
    }
    builder.forget_beyond_the_table();
    enter_mmx(&builder);
    for memory in info.used_memory() {
        builder.forget_memory(memory, bitness);
    }
    builder.set_flow(match instruction.flow_control() {
        FlowControl::Next => Flow::Next,
        FlowControl::Interrupt => Flow::Syscall,
        FlowControl::Call
            if instruction.mnemonic() == M::Syscall || instruction.mnemonic() == M::Sysenter =>
        {
            Flow::Syscall
        }
        _ => Flow::Other,
    });
    builder
}

/// Is this access a write, and may it be none?
fn written(access: OpAccess) -> Option<bool> {
    match access {
        OpAccess::Write | OpAccess::ReadWrite => Some(false),
        OpAccess::CondWrite | OpAccess::ReadCondWrite => Some(true),
        _ => None,
    }
}

impl Builder {
    /// Forgets a register as the decoder names it.
    fn forget_register(&self, register: Register, conditional: bool) {
        if let Some(part) = gpr_part(register) {
            match part.width {
                32 if !conditional => self.write(part.word, self.unknown(32)),
                32 | 64 => self.write(part.word, self.unknown(64)),
                width => self.write(
                    part.word,
                    self.current(part.word).insert(part.at, self.unknown(width)),
                ),
            }
        } else if register.is_vector_register() {
            let lanes = match self.instruction.encoding() {
                EncodingKind::Legacy => register.size() as u16 / 8,
                _ => 8,
            };
            self.forget_vector(register.number() as u16, lanes);
        } else if register.is_k() {
            self.write(RegWord::opmask(register.number() as u16), self.unknown(64));
        } else if register.is_mm() {
            let number = register.number() as u16;
            self.write(RegWord::x87(number, 0), self.unknown(64));
            self.write(RegWord::x87(number, 1), self.unknown(16));
        } else if register.is_st() {
            self.forget_x87();
        } else if register == Register::FS {
            self.write(RegWord::FS_BASE, self.unknown(64));
        } else if register == Register::GS {
            self.write(RegWord::GS_BASE, self.unknown(64));
        } else if register.is_tmm()
            || register.is_bnd()
            || register.is_cr()
            || register.is_dr()
            || register.is_tr()
        {
            // No word of ours.
        }
    }

    fn forget_vector(&self, number: u16, lanes: u16) {
        for lane in 0..lanes {
            self.write(RegWord::vector(number, lane), self.unknown(64));
        }
    }

    /// The whole x87 unit: registers, control, status and tags.
    pub(super) fn forget_x87(&self) {
        for number in 0..8 {
            self.write(RegWord::x87(number, 0), self.unknown(64));
            self.write(RegWord::x87(number, 1), self.unknown(16));
        }
        for (word, width) in [
            (RegWord::X87_CONTROL, 16),
            (RegWord::X87_STATUS, 16),
            (RegWord::X87_TAG, 8),
        ] {
            self.write(word, self.unknown(width));
        }
    }

    fn forget_extended_state(&self) {
        for number in 0..32 {
            self.forget_vector(number, 8);
        }
        for number in 0..8 {
            self.write(RegWord::opmask(number), self.unknown(64));
        }
        self.forget_x87();
    }

    /// What the decoder's table does not name.
    fn forget_beyond_the_table(&self) {
        let instruction = &self.instruction;
        match instruction.mnemonic() {
            M::Xrstor | M::Xrstor64 | M::Xrstors | M::Xrstors64 | M::Fxrstor | M::Fxrstor64 => {
                self.forget_extended_state();
                self.write(RegWord::MXCSR, self.unknown(32));
            }
            // It masks all exceptions.
            M::Fnstenv | M::Fstenv => self.write(RegWord::X87_CONTROL, self.unknown(16)),
            M::Ldmxcsr | M::Vldmxcsr => self.write(RegWord::MXCSR, self.unknown(32)),
            M::Vzeroall => (0..16).for_each(|number| self.forget_vector(number, 8)),
            M::Syscall => {
                self.write(RegWord::RAX, self.unknown(64));
                self.write(RegWord::RCX, self.unknown(64));
                self.write(RegWord::R11, self.unknown(64));
            }
            _ => {}
        }
        if writes_x87(instruction) {
            self.forget_x87();
        }
        let vector = (0..instruction.op_count()).any(|operand| {
            self.is_register(operand) && instruction.op_register(operand).is_vector_register()
        });
        let converts = matches!(
            instruction.mnemonic(),
            M::Cvtps2pi
                | M::Cvttps2pi
                | M::Cvtpd2pi
                | M::Cvttpd2pi
                | M::Cvtss2si
                | M::Cvttss2si
                | M::Cvtsd2si
                | M::Cvttsd2si
        );
        if vector || converts {
            self.stick_exceptions();
        }
    }

    /// Floating-point arithmetic may set exception flags in MXCSR; it never clears one.
    pub(super) fn stick_exceptions(&self) {
        let raised = self.temporary(STICKY);
        let old = self.input(RegWord::MXCSR);
        let new = self.apply(Op::Or, 64, 0, [old, raised, old], 64);
        self.write(RegWord::MXCSR, new);
    }

    /// Forgets a memory operand as the decoder names it; operands read become loads of unknown data.
    fn forget_memory(&self, memory: &UsedMemory, bitness: u8) {
        let write = written(memory.access());
        let size = memory.memory_size().size() as u32;
        let located =
            bitness == 64 && size != 0 && size <= 64 && memory.vsib_size() == 0 && !self.repeats();
        if !located {
            if write.is_some() {
                self.parts.borrow_mut().clobbers_memory = true;
            }
            return;
        }
        if write.is_none() && memory.access() != OpAccess::Read {
            return;
        }
        let place = self.used_place(memory);
        let mut at = 0;
        while at < size {
            let bytes = (size - at).min(8);
            let data = self.unknown(bytes * 8);
            let condition = (write == Some(true)).then(|| self.temporary(1).word);
            if memory.access() == OpAccess::ReadWrite {
                self.load(place.at(at), bytes);
            }
            self.access(place.at(at), bytes, data.word, write.is_some(), condition);
            at += bytes;
        }
    }

    fn repeats(&self) -> bool {
        self.instruction.has_rep_prefix() || self.instruction.has_repne_prefix()
    }

    fn used_place(&self, memory: &UsedMemory) -> Place {
        let width = if memory.address_size() == CodeSize::Code32 {
            32
        } else {
            64
        };
        // XLAT adds AL, zero-extended.
        let part =
            |register| gpr_part(register).map(|_| self.register(register).zero_extended(width));
        let mut sum = self.constant(memory.displacement() & mask(width), width);
        for term in [
            part(memory.base()),
            part(memory.index()).map(|index: Val<'_>| index.shl(memory.scale().trailing_zeros())),
        ] {
            sum = term.map_or(sum, |term| term + sum);
        }
        let linear = sum.zero_extended(64);
        let linear = self
            .segment_base(memory.segment())
            .map_or(linear, |base| linear + base);
        Place {
            address: linear.word,
            offset: 0,
        }
    }
}

/// Does the instruction change an x87 register or the stack top?
fn writes_x87(instruction: &Instruction) -> bool {
    let stack = instruction.fpu_stack_increment_info();
    stack.writes_top()
        || stack.increment() != 0
        || matches!(
            instruction.mnemonic(),
            M::Frstor | M::Fnsave | M::Fsave | M::Fldenv | M::Femms
        )
}
