//! Every instruction form that iced can encode, as bytes.
//!
//! A *form* is an iced `Code` with its r/m operand a register or memory; an *instance* is one
//! encoding of it. Instances are built from the operand kinds in iced's opcode table, never
//! from knowledge of what the instruction does.

use crate::random::Random;
use iced_x86::{
    Code, Decoder, DecoderOptions, Encoder, EncodingKind, Instruction, OpCodeInfo,
    OpCodeOperandKind as Kind, OpKind, Register, RoundingControl,
};
use std::fmt;

/// Where instances are to run.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Address of the instruction.
    pub(crate) at: u64,
    /// Address that RIP-relative and absolute operands name; below 2 GiB.
    pub(crate) data: u64,
    /// 64, 32 or 16.
    pub(crate) bitness: u32,
}

/// One encoding of one form.
#[derive(Clone)]
pub(crate) struct Instance {
    /// What a plain decoder makes of the bytes; its code may differ from `code` for opcodes
    /// that only special decoder options reach.
    pub(crate) instruction: Instruction,
    /// The code asked for.
    pub(crate) code: Code,
    /// The r/m operand is memory.
    pub(crate) memory: bool,
    pub(crate) bytes: Vec<u8>,
    pub(crate) place: Place,
}

impl Instance {
    /// A decoder without special options takes the bytes for no instruction, or a shorter one.
    pub(crate) fn is_foreign(&self) -> bool {
        self.instruction.is_invalid() || self.instruction.len() != self.bytes.len()
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} [", self.instruction.code())?;
        for byte in &self.bytes {
            write!(f, "{byte:02x}")?;
        }
        write!(f, "]")
    }
}

/// How an r/m operand addresses memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Addressing {
    Base,
    BaseIndex,
    IndexOnly,
    RipRelative,
    Absolute,
    Segment,
    Short,
    Twice,
}

const ADDRESSING: [Addressing; 8] = [
    Addressing::Base,
    Addressing::BaseIndex,
    Addressing::RipRelative,
    Addressing::Segment,
    Addressing::Short,
    Addressing::Twice,
    Addressing::IndexOnly,
    Addressing::Absolute,
];

/// The bitness in which `code` exists, the widest first.
pub(crate) fn bitness(code: Code) -> u32 {
    let opcode = code.op_code();
    [64, 32, 16]
        .into_iter()
        .find(|&b| opcode.is_available_in_mode(b))
        .unwrap_or(64)
}

/// Some `count` instances of each form of `code`, distinct in their bytes; empty when iced
/// cannot encode it (pseudo-instructions).
pub(crate) fn instances(
    code: Code,
    place: Place,
    count: usize,
    random: &mut Random,
) -> Vec<Instance> {
    let mut all: Vec<Instance> = Vec::new();
    for memory in [false, true] {
        let mut found = 0;
        for attempt in 0..count * 8 {
            let Some(instance) = encode(code, memory, attempt, place, random) else {
                continue;
            };
            if all.iter().all(|other| other.bytes != instance.bytes) {
                all.push(instance);
                found += 1;
            }
            if found == count {
                break;
            }
        }
    }
    all
}

fn has_choice(opcode: &OpCodeInfo) -> bool {
    opcode.op_kinds().iter().any(|&kind| is_memory(kind))
}

fn is_memory(kind: Kind) -> bool {
    either(kind).is_some()
        || matches!(
            kind,
            Kind::mem
                | Kind::mem_mpx
                | Kind::mem_mib
                | Kind::mem_offs
                | Kind::sibmem
                | Kind::mem_vsib32x
                | Kind::mem_vsib64x
                | Kind::mem_vsib32y
                | Kind::mem_vsib64y
                | Kind::mem_vsib32z
                | Kind::mem_vsib64z
        )
}

fn encode(
    code: Code,
    memory: bool,
    attempt: usize,
    place: Place,
    random: &mut Random,
) -> Option<Instance> {
    let opcode = code.op_code();
    if memory && !has_choice(opcode) {
        return None;
    }
    let mut builder = Builder {
        opcode,
        random,
        place,
        memory,
        attempt,
        instruction: Instruction::new(),
        last: 0,
        immediates: 0,
    };
    let instruction = builder.build()?;
    let mut encoder = Encoder::new(place.bitness);
    encoder.encode(&instruction, place.at).ok()?;
    let bytes = encoder.take_buffer();
    let mut decoder = Decoder::with_ip(place.bitness, &bytes, place.at, DecoderOptions::NONE);
    let instruction = decoder.decode();
    Some(Instance {
        instruction,
        code,
        memory,
        bytes,
        place,
    })
}

struct Builder<'a> {
    opcode: &'static OpCodeInfo,
    random: &'a mut Random,
    place: Place,
    memory: bool,
    attempt: usize,
    instruction: Instruction,
    /// Number of the last register chosen, for forms whose operands coincide.
    last: u64,
    immediates: u32,
}

impl Builder<'_> {
    fn build(&mut self) -> Option<Instruction> {
        self.instruction.set_code(self.opcode.code());
        let kinds = self.opcode.op_kinds();
        for (operand, &kind) in kinds.iter().enumerate() {
            self.operand(operand as u32, kind)?;
        }
        self.prefixes();
        if self.opcode.encoding() == EncodingKind::EVEX {
            self.evex();
        }
        Some(self.instruction)
    }

    fn operand(&mut self, operand: u32, kind: Kind) -> Option<()> {
        if let Some(register) = either(kind) {
            return if self.memory {
                self.memory_operand(operand, None)
            } else {
                self.register(operand, register)
            };
        }
        if is_memory(kind) {
            return if self.memory {
                self.memory_operand(operand, vector_index(kind))
            } else {
                None
            };
        }
        if let Some(register) = fixed(kind) {
            self.instruction.set_op_kind(operand, OpKind::Register);
            self.instruction.set_op_register(operand, register);
            return Some(());
        }
        if self.string_operand(operand, kind) || self.branch(operand, kind) {
            return Some(());
        }
        match immediate(kind) {
            Some(op_kind) => {
                self.immediate(operand, kind, op_kind);
                Some(())
            }
            None => self.register(operand, kind),
        }
    }

    fn register(&mut self, operand: u32, kind: Kind) -> Option<()> {
        let (first, count) = register_file(kind, self.place.bitness, self.opcode.encoding())?;
        let number = if self.attempt % 4 == 1 && operand > 0 {
            self.last % count
        } else {
            self.random.below(count)
        };
        self.last = number;
        let aligned = match kind {
            Kind::xmmp3_vvvv | Kind::zmmp3_vvvv => number & !3,
            Kind::kp1_reg => number & !1,
            _ => number,
        };
        let register = first + aligned as u32;
        self.instruction.set_op_kind(operand, OpKind::Register);
        self.instruction.set_op_register(operand, register);
        Some(())
    }

    fn memory_operand(&mut self, operand: u32, vector: Option<Register>) -> Option<()> {
        let moffs = self.opcode.op_kind(operand) == Kind::mem_offs;
        let how = match self.place.bitness {
            _ if moffs => Addressing::Absolute,
            _ if vector.is_some() => Addressing::BaseIndex,
            64 => ADDRESSING[self.attempt % ADDRESSING.len()],
            32 => self
                .random
                .pick(&[Addressing::Base, Addressing::BaseIndex, Addressing::Segment]),
            _ => Addressing::Absolute,
        };
        let wide = self.place.bitness == 64 && how != Addressing::Short;
        let numbers = if self.place.bitness == 64 { 16 } else { 8 };
        let first = if wide { Register::RAX } else { Register::EAX };
        let random = &mut *self.random;
        let mut general = |banned: u64| loop {
            let number = random.below(numbers);
            if number != banned {
                return first + number as u32;
            }
        };
        // RSP cannot be an index.
        let (base, mut index) = match how {
            Addressing::Base | Addressing::Segment => (general(99), Register::None),
            Addressing::BaseIndex | Addressing::Short => (general(99), general(4)),
            Addressing::IndexOnly => (Register::None, general(4)),
            Addressing::RipRelative => (Register::RIP, Register::None),
            Addressing::Absolute => (Register::None, Register::None),
            Addressing::Twice => {
                let both = general(4);
                (both, both)
            }
        };
        if let Some(vector) = vector {
            let numbers = if self.opcode.encoding() == EncodingKind::EVEX {
                32
            } else {
                16
            };
            index = vector + self.random.below(numbers) as u32;
        }
        let i = &mut self.instruction;
        i.set_op_kind(operand, OpKind::Memory);
        i.set_memory_base(base);
        i.set_memory_index(index);
        let scale = match how {
            Addressing::Twice => self.random.pick(&[2, 4, 8]),
            _ if index == Register::None => 1,
            _ => self.random.pick(&[1, 2, 4, 8]),
        };
        i.set_memory_index_scale(scale);
        let small = self.random.below(64) as i64 - 32;
        let (displacement, size) = match how {
            Addressing::RipRelative => (self.place.data, 8),
            Addressing::Absolute if moffs && self.place.bitness == 64 => (self.place.data, 8),
            Addressing::Absolute if self.place.bitness == 16 => (self.place.data & 0x7fff, 2),
            Addressing::Absolute => (
                self.place.data,
                if self.place.bitness == 64 { 8 } else { 4 },
            ),
            _ if wide => (small as u64, 8),
            _ => (u64::from(small as u32), 4),
        };
        i.set_memory_displacement64(displacement);
        i.set_memory_displ_size(size);
        if how == Addressing::Segment {
            i.set_segment_prefix(self.random.pick(&[Register::FS, Register::GS]));
        }
        Some(())
    }

    fn string_operand(&mut self, operand: u32, kind: Kind) -> bool {
        let short = match self.place.bitness {
            64 => self.attempt % 4 == 3,
            _ => true,
        };
        let op_kind = match (kind, short) {
            (Kind::seg_rSI, true) => OpKind::MemorySegESI,
            (Kind::seg_rSI, false) => OpKind::MemorySegRSI,
            (Kind::es_rDI, true) => OpKind::MemoryESEDI,
            (Kind::es_rDI, false) => OpKind::MemoryESRDI,
            (Kind::seg_rDI, true) => OpKind::MemorySegEDI,
            (Kind::seg_rDI, false) => OpKind::MemorySegRDI,
            (Kind::seg_rBX_al, _) => OpKind::Memory,
            _ => return false,
        };
        self.instruction.set_op_kind(operand, op_kind);
        if kind == Kind::seg_rBX_al {
            let base = if short { Register::EBX } else { Register::RBX };
            self.instruction.set_memory_base(base);
            self.instruction.set_memory_index(Register::AL);
        }
        if matches!(kind, Kind::seg_rSI | Kind::seg_rBX_al) && self.attempt % 8 == 6 {
            self.instruction.set_segment_prefix(Register::FS);
        }
        true
    }

    fn branch(&mut self, operand: u32, kind: Kind) -> bool {
        let target = self.place.at + 16;
        let op_kind = match kind {
            Kind::farbr2_2 => OpKind::FarBranch16,
            Kind::farbr4_2 => OpKind::FarBranch32,
            Kind::br16_1 | Kind::br16_2 => OpKind::NearBranch16,
            Kind::br32_1 | Kind::br32_4 => OpKind::NearBranch32,
            Kind::br64_1 | Kind::br64_4 => OpKind::NearBranch64,
            Kind::brdisp_2 => OpKind::NearBranch16,
            Kind::brdisp_4 => OpKind::NearBranch32,
            Kind::xbegin_2 | Kind::xbegin_4 => match self.place.bitness {
                64 => OpKind::NearBranch64,
                _ => OpKind::NearBranch32,
            },
            _ => return false,
        };
        let i = &mut self.instruction;
        i.set_op_kind(operand, op_kind);
        match op_kind {
            OpKind::FarBranch16 => i.set_far_branch16(target as u16),
            OpKind::FarBranch32 => i.set_far_branch32(target as u32),
            _ => i.set_near_branch64(target),
        }
        if matches!(op_kind, OpKind::FarBranch16 | OpKind::FarBranch32) {
            i.set_far_branch_selector(8);
        }
        true
    }

    fn immediate(&mut self, operand: u32, kind: Kind, op_kind: OpKind) {
        const EDGES: [u64; 12] = [0, 1, 2, 7, 8, 31, 32, 63, 64, 0x7f, 0x80, 0xff];
        let value = match self.random.below(3) {
            0 => self.random.pick(&EDGES),
            1 => self.random.next() & 0xff,
            _ => self.random.integer(),
        };
        let value = match kind {
            Kind::imm8_const_1 => 1,
            Kind::imm4_m2z => value & 15,
            // ENTER allocates this much stack: keep it within reach of its own frame.
            Kind::imm16 if operand == 0 && self.opcode.op_kind(1) == Kind::imm8 => value & 0x38,
            _ => value,
        };
        let second = op_kind == OpKind::Immediate8 && self.immediates > 0;
        let op_kind = if second {
            OpKind::Immediate8_2nd
        } else {
            op_kind
        };
        self.immediates += 1;
        // ENTER's nesting level: a few of the 31 levels fit.
        let nested = second && self.opcode.op_kind(0) == Kind::imm16;
        let value = if nested { value & 3 } else { value };
        self.instruction.set_op_kind(operand, op_kind);
        self.instruction.set_immediate_u64(operand, value);
    }

    fn prefixes(&mut self) {
        let i = &mut self.instruction;
        if self.memory && self.opcode.can_use_lock_prefix() {
            i.set_has_lock_prefix(self.attempt % 2 == 1);
        }
        let string = i.is_string_instruction();
        if string && self.opcode.can_use_rep_prefix() {
            i.set_has_rep_prefix(self.attempt % 3 == 1);
        }
        if string && self.opcode.can_use_repne_prefix() && !i.has_rep_prefix() {
            i.set_has_repne_prefix(self.attempt % 3 == 2);
        }
    }

    fn evex(&mut self) {
        let i = &mut self.instruction;
        if self.opcode.can_use_op_mask_register() {
            let least = u64::from(self.opcode.require_op_mask_register());
            let number = self.random.below(8 - least) + least;
            if number > 0 {
                i.set_op_mask(Register::K0 + number as u32);
                let zeroing = self.opcode.can_use_zeroing_masking() && self.random.one_in(2);
                i.set_zeroing_masking(zeroing && i.op0_kind() == OpKind::Register);
            }
        }
        if self.memory {
            i.set_is_broadcast(self.opcode.can_broadcast() && self.attempt.is_multiple_of(3));
        } else if self.opcode.can_use_rounding_control() && self.attempt.is_multiple_of(3) {
            i.set_rounding_control(RoundingControl::RoundUp);
        } else if self.opcode.can_suppress_all_exceptions() && self.attempt.is_multiple_of(3) {
            i.set_suppress_all_exceptions(true);
        }
    }
}

/// The register half of a register-or-memory operand.
fn either(kind: Kind) -> Option<Kind> {
    Some(match kind {
        Kind::r8_or_mem => Kind::r8_reg,
        Kind::r16_or_mem => Kind::r16_reg,
        Kind::r32_or_mem | Kind::r32_or_mem_mpx => Kind::r32_reg,
        Kind::r64_or_mem | Kind::r64_or_mem_mpx => Kind::r64_reg,
        Kind::mm_or_mem => Kind::mm_reg,
        Kind::xmm_or_mem => Kind::xmm_reg,
        Kind::ymm_or_mem => Kind::ymm_reg,
        Kind::zmm_or_mem => Kind::zmm_reg,
        Kind::bnd_or_mem_mpx => Kind::bnd_reg,
        Kind::k_or_mem => Kind::k_reg,
        _ => return None,
    })
}

/// First register and number of registers of an operand kind.
fn register_file(kind: Kind, bitness: u32, encoding: EncodingKind) -> Option<(Register, u64)> {
    let general = if bitness == 64 { 16 } else { 8 };
    let vector = match encoding {
        _ if bitness != 64 => 8,
        EncodingKind::EVEX | EncodingKind::MVEX => 32,
        _ => 16,
    };
    Some(match kind {
        Kind::r8_reg | Kind::r8_opcode => (Register::AL, if bitness == 64 { 20 } else { 8 }),
        Kind::r16_reg | Kind::r16_reg_mem | Kind::r16_rm | Kind::r16_opcode => {
            (Register::AX, general)
        }
        Kind::r32_reg | Kind::r32_reg_mem | Kind::r32_rm | Kind::r32_opcode | Kind::r32_vvvv => {
            (Register::EAX, general)
        }
        Kind::r64_reg | Kind::r64_reg_mem | Kind::r64_rm | Kind::r64_opcode | Kind::r64_vvvv => {
            (Register::RAX, general)
        }
        Kind::seg_reg => (Register::ES, 6),
        Kind::k_reg | Kind::kp1_reg | Kind::k_rm | Kind::k_vvvv => (Register::K0, 8),
        Kind::mm_reg | Kind::mm_rm => (Register::MM0, 8),
        Kind::xmm_reg
        | Kind::xmm_rm
        | Kind::xmm_vvvv
        | Kind::xmmp3_vvvv
        | Kind::xmm_is4
        | Kind::xmm_is5 => (Register::XMM0, vector),
        Kind::ymm_reg | Kind::ymm_rm | Kind::ymm_vvvv | Kind::ymm_is4 | Kind::ymm_is5 => {
            (Register::YMM0, vector)
        }
        Kind::zmm_reg | Kind::zmm_rm | Kind::zmm_vvvv | Kind::zmmp3_vvvv => {
            (Register::ZMM0, vector)
        }
        Kind::cr_reg => (Register::CR0, 9),
        Kind::dr_reg => (Register::DR0, 8),
        Kind::tr_reg => (Register::TR0, 8),
        Kind::bnd_reg => (Register::BND0, 4),
        Kind::sti_opcode => (Register::ST0, 8),
        Kind::tmm_reg | Kind::tmm_rm | Kind::tmm_vvvv => (Register::TMM0, 8),
        _ => return None,
    })
}

fn vector_index(kind: Kind) -> Option<Register> {
    Some(match kind {
        Kind::mem_vsib32x | Kind::mem_vsib64x => Register::XMM0,
        Kind::mem_vsib32y | Kind::mem_vsib64y => Register::YMM0,
        Kind::mem_vsib32z | Kind::mem_vsib64z => Register::ZMM0,
        _ => return None,
    })
}

fn fixed(kind: Kind) -> Option<Register> {
    Some(match kind {
        Kind::es => Register::ES,
        Kind::cs => Register::CS,
        Kind::ss => Register::SS,
        Kind::ds => Register::DS,
        Kind::fs => Register::FS,
        Kind::gs => Register::GS,
        Kind::al => Register::AL,
        Kind::cl => Register::CL,
        Kind::ax => Register::AX,
        Kind::dx => Register::DX,
        Kind::eax => Register::EAX,
        Kind::rax => Register::RAX,
        Kind::st0 => Register::ST0,
        _ => return None,
    })
}

fn immediate(kind: Kind) -> Option<OpKind> {
    Some(match kind {
        Kind::imm4_m2z | Kind::imm8 | Kind::imm8_const_1 => OpKind::Immediate8,
        Kind::imm8sex16 => OpKind::Immediate8to16,
        Kind::imm8sex32 => OpKind::Immediate8to32,
        Kind::imm8sex64 => OpKind::Immediate8to64,
        Kind::imm16 => OpKind::Immediate16,
        Kind::imm32 => OpKind::Immediate32,
        Kind::imm32sex64 => OpKind::Immediate32to64,
        Kind::imm64 => OpKind::Immediate64,
        _ => return None,
    })
}
