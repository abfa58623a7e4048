//! What the recorder knows of one static instruction: where control goes, what memory it
//! touches, and what single-stepping would falsify.

use crate::mask::Mask;
use crate::stream::Flow;
use iced_x86::{
    Code, ConditionCode, Decoder, DecoderOptions, FlowControl, InstructionInfoFactory, MemorySize,
    Mnemonic, OpAccess, OpKind, Register, UsedMemory,
};
use libc::user_regs_struct as Registers;

/// Longest x86 instruction.
pub(crate) const MAX_BYTES: usize = 15;

const RFLAGS_DF: u64 = 1 << 10;

/// One instruction, decoded.
#[derive(Clone, Debug)]
pub(crate) struct Instruction {
    pub(crate) bytes: [u8; MAX_BYTES],
    pub(crate) length: u8,
    pub(crate) kind: Kind,
    /// A REP-prefixed string instruction: one trap per iteration, one step in all.
    pub(crate) repeats: bool,
    /// Bytes of an element of a string instruction.
    element: usize,
    /// Elements of the vector that a gather fills or a scatter stores.
    elements: usize,
    /// Which elements of its memory operand it touches.
    pub(crate) mask: Option<Mask>,
    /// What it leaves is different each time.
    pub(crate) chance: Option<Chance>,
    memory: Vec<UsedMemory>,
}

/// What the processor itself answers by chance or by the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chance {
    /// The time-stamp counter, in EDX and EAX; with the number of the processor in ECX when
    /// `names_processor`.
    Time { names_processor: bool },
    /// A random number of so many bytes in the general-purpose register of this number.
    Number { register: u8, bytes: usize },
}

impl Chance {
    pub(crate) fn of(instruction: &iced_x86::Instruction) -> Option<Chance> {
        match instruction.mnemonic() {
            Mnemonic::Rdtsc => Some(Chance::Time {
                names_processor: false,
            }),
            Mnemonic::Rdtscp => Some(Chance::Time {
                names_processor: true,
            }),
            Mnemonic::Rdrand | Mnemonic::Rdseed => {
                let register = instruction.op0_register();
                Some(Chance::Number {
                    register: register.full_register().number() as u8,
                    bytes: register.size(),
                })
            }
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    /// Direct jump: plain to the trace unit, but not followed by the next instruction.
    Jump {
        target: u64,
    },
    Conditional {
        target: u64,
        condition: Condition,
    },
    Call {
        target: u64,
    },
    CallIndirect,
    /// Indirect jump, far transfer, return from interrupt.
    Indirect,
    Return,
    /// `syscall` or `sysenter`.
    Syscall,
    /// `int n`, `int3`, `int1`, `into`: to the kernel, without having retired.
    Interrupt,
    /// `pushf`: stores the trap flag that stepping sets.
    PushFlags,
    /// `popf`: after stepping it, Linux takes the trap flag for the program's own
    /// (`arch/x86/kernel/step.c`, `is_setting_trap_flag`).
    PopFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Flags(ConditionCode),
    /// LOOP, LOOPE, LOOPNE, JRCXZ and the like: only told by where control went.
    Counter,
}

/// A memory range that an instruction is about to touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operand {
    pub(crate) address: u64,
    pub(crate) length: usize,
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Instruction {
    /// Decodes the first instruction of `bytes`, which stand at `at`; `None` when they hold none.
    pub(crate) fn decode(bytes: &[u8], at: u64) -> Option<Instruction> {
        let decoded = Decoder::with_ip(64, bytes, at, DecoderOptions::NONE).decode();
        if decoded.is_invalid() {
            return None;
        }
        let length = decoded.len();
        let mut kept = [0; MAX_BYTES];
        kept[..length].copy_from_slice(&bytes[..length]);
        let memory = InstructionInfoFactory::new()
            .info(&decoded)
            .used_memory()
            .to_vec();
        Some(Instruction {
            bytes: kept,
            length: length as u8,
            kind: kind(&decoded),
            repeats: decoded.is_string_instruction()
                && (decoded.has_rep_prefix() || decoded.has_repne_prefix()),
            element: decoded.memory_size().size(),
            elements: vector_elements(&decoded),
            mask: Mask::of(&decoded),
            chance: Chance::of(&decoded),
            memory,
        })
    }

    pub(crate) fn next(&self, at: u64) -> u64 {
        at.wrapping_add(u64::from(self.length))
    }

    /// What the trace unit sees of this instruction, which ran with `before` and led to `target`.
    pub(crate) fn flow(&self, before: &Registers, target: u64) -> Flow {
        let next = self.next(before.rip);
        match self.kind {
            Kind::Plain
            | Kind::Jump { .. }
            | Kind::PushFlags
            | Kind::PopFlags
            | Kind::Interrupt => Flow::Plain,
            Kind::Syscall => Flow::Syscall,
            Kind::Conditional {
                target: taken,
                condition,
            } => {
                let taken = match condition {
                    Condition::Flags(code) if taken == next => holds(code, before.eflags),
                    _ => target == taken,
                };
                Flow::Conditional { taken }
            }
            Kind::Call { target } => Flow::Call { next, target },
            Kind::CallIndirect => Flow::CallIndirect { next, target },
            Kind::Indirect => Flow::Indirect { target },
            Kind::Return => Flow::Return { target },
        }
    }

    /// Whether `target` can follow when the instruction ran to its end.
    pub(crate) fn leads_to(&self, at: u64, target: u64) -> bool {
        let next = self.next(at);
        match self.kind {
            Kind::Plain | Kind::PushFlags | Kind::PopFlags | Kind::Syscall => target == next,
            Kind::Conditional { target: taken, .. } => target == next || target == taken,
            Kind::Call { target: to } | Kind::Jump { target: to } => target == to,
            _ => true,
        }
    }

    /// The memory operands as they stand in the instruction, and whether each is read and
    /// written; in the order of [`Instruction::operands`].
    pub(crate) fn accessed(&self) -> impl Iterator<Item = (&UsedMemory, bool, bool)> {
        self.memory.iter().filter_map(|used| {
            let (read, write) = directions(used.access())?;
            Some((used, read, write))
        })
    }

    /// The memory that it touches when it runs with `registers`. `vector(register, lane,
    /// bytes)` gives elements of vector registers and mask registers, for which only gathers, scatters
    /// and masked operands ask.
    pub(crate) fn operands(
        &self,
        registers: &Registers,
        mut vector: impl FnMut(Register, usize, usize) -> Option<u64>,
    ) -> Vec<Operand> {
        let mut out = Vec::with_capacity(self.memory.len());
        for (used, read, write) in self.accessed() {
            let elements = self.gathered(used);
            for element in 0..elements {
                let address = used.virtual_address(element, |register, lane, bytes| {
                    value(registers, register).or_else(|| vector(register, lane, bytes))
                });
                let Some(address) = address else { continue };
                let length = match used.memory_size() {
                    MemorySize::Xsave | MemorySize::Xsave64 => xsave_bytes(),
                    // The decoder's table names no size for repeated ones.
                    MemorySize::Unknown if self.repeats => self.element,
                    size if elements > 1 => size.element_size(),
                    size => size.size(),
                };
                let operand = Operand {
                    address,
                    length,
                    read,
                    write,
                };
                match self.mask {
                    Some(mask) if used.vsib_size() > 0 => {
                        let touched = mask.is_set(element, &mut vector) != Some(false);
                        out.extend(touched.then_some(operand));
                    }
                    Some(mask) => out.extend(mask.parts(operand, &mut vector)),
                    None => out.push(operand),
                }
            }
        }
        if self.repeats {
            out.iter_mut()
                .for_each(|operand| stretch(operand, registers));
        }
        out
    }

    /// How often the operand is addressed: a gather or scatter does as often as it has both indices
    /// and data.
    fn gathered(&self, used: &UsedMemory) -> usize {
        match used.vsib_size() as usize {
            0 => 1,
            index_bytes => (used.index().size() / index_bytes).min(self.elements),
        }
    }

    /// Of the `operands` of a REP instruction, the part that was touched when RCX is `after`.
    pub(crate) fn trim(&self, operand: &mut Operand, before: &Registers, after: u64) {
        let element = operand.length.checked_div(before.rcx as usize).unwrap_or(0);
        let done = before.rcx.wrapping_sub(after) as usize * element;
        if before.eflags & RFLAGS_DF != 0 {
            operand.address += (operand.length - done.min(operand.length)) as u64;
        }
        operand.length = done.min(operand.length);
    }
}

/// Where control goes after this instruction.
pub(crate) fn kind(decoded: &iced_x86::Instruction) -> Kind {
    match decoded.code() {
        Code::Syscall | Code::Sysenter => return Kind::Syscall,
        Code::Pushfw | Code::Pushfq => return Kind::PushFlags,
        Code::Popfw | Code::Popfq => return Kind::PopFlags,
        _ => {}
    }
    let far = decoded.is_jmp_far()
        || decoded.is_call_far()
        || decoded.is_jmp_far_indirect()
        || decoded.is_call_far_indirect();
    match decoded.flow_control() {
        _ if far => Kind::Indirect,
        FlowControl::ConditionalBranch => Kind::Conditional {
            target: decoded.near_branch_target(),
            condition: match decoded.condition_code() {
                ConditionCode::None => Condition::Counter,
                _ if decoded.code().is_loopcc() => Condition::Counter,
                code => Condition::Flags(code),
            },
        },
        FlowControl::Call => Kind::Call {
            target: decoded.near_branch_target(),
        },
        FlowControl::IndirectCall => Kind::CallIndirect,
        FlowControl::IndirectBranch => Kind::Indirect,
        FlowControl::Return if decoded.mnemonic() == Mnemonic::Ret => Kind::Return,
        FlowControl::Return => Kind::Indirect,
        FlowControl::UnconditionalBranch => Kind::Jump {
            target: decoded.near_branch_target(),
        },
        FlowControl::Interrupt => Kind::Interrupt,
        _ => Kind::Plain,
    }
}

fn holds(code: ConditionCode, flags: u64) -> bool {
    let flag = |position: u32| flags >> position & 1 != 0;
    let (carry, parity, zero, sign, overflow) = (flag(0), flag(2), flag(6), flag(7), flag(11));
    match code {
        ConditionCode::None => true,
        ConditionCode::o => overflow,
        ConditionCode::no => !overflow,
        ConditionCode::b => carry,
        ConditionCode::ae => !carry,
        ConditionCode::e => zero,
        ConditionCode::ne => !zero,
        ConditionCode::be => carry || zero,
        ConditionCode::a => !carry && !zero,
        ConditionCode::s => sign,
        ConditionCode::ns => !sign,
        ConditionCode::p => parity,
        ConditionCode::np => !parity,
        ConditionCode::l => sign != overflow,
        ConditionCode::ge => sign == overflow,
        ConditionCode::le => zero || sign != overflow,
        ConditionCode::g => !zero && sign == overflow,
    }
}

fn directions(access: OpAccess) -> Option<(bool, bool)> {
    match access {
        OpAccess::Read | OpAccess::CondRead => Some((true, false)),
        OpAccess::Write | OpAccess::CondWrite => Some((false, true)),
        OpAccess::ReadWrite | OpAccess::ReadCondWrite => Some((true, true)),
        OpAccess::None | OpAccess::NoMemAccess => None,
    }
}

// Elements of the vector that a gather fills, or a scatter stores; 1 for everything else.
fn vector_elements(decoded: &iced_x86::Instruction) -> usize {
    let registers = (0..decoded.op_count())
        .filter(|&operand| decoded.op_kind(operand) == OpKind::Register && decoded.is_vsib());
    let mut vectors = registers
        .map(|operand| decoded.op_register(operand))
        .filter(|register| register.is_vector_register());
    let element = decoded.memory_size().element_size().max(1);
    vectors.next().map_or(1, |data| data.size() / element)
}

// A REP string instruction runs RCX times, upwards or downwards.
fn stretch(operand: &mut Operand, registers: &Registers) {
    let element = operand.length;
    operand.length = element.saturating_mul(registers.rcx as usize);
    if registers.eflags & RFLAGS_DF != 0 {
        let below = operand.length.saturating_sub(element);
        operand.address = operand.address.wrapping_sub(below as u64);
    }
}

// Size of the XSAVE area for the features that the kernel enabled: CPUID leaf 0Dh, EBX.
fn xsave_bytes() -> usize {
    std::arch::x86_64::__cpuid_count(0xd, 0).ebx as usize
}

// A general-purpose register or part of one; for a segment register its base.
fn value(registers: &Registers, register: Register) -> Option<u64> {
    let r = registers;
    let full = match register.full_register() {
        Register::RAX => r.rax,
        Register::RCX => r.rcx,
        Register::RDX => r.rdx,
        Register::RBX => r.rbx,
        Register::RSP => r.rsp,
        Register::RBP => r.rbp,
        Register::RSI => r.rsi,
        Register::RDI => r.rdi,
        Register::R8 => r.r8,
        Register::R9 => r.r9,
        Register::R10 => r.r10,
        Register::R11 => r.r11,
        Register::R12 => r.r12,
        Register::R13 => r.r13,
        Register::R14 => r.r14,
        Register::R15 => r.r15,
        Register::FS => r.fs_base,
        Register::GS => r.gs_base,
        Register::DS | Register::ES | Register::SS | Register::CS => 0,
        _ => return None,
    };
    Some(match register.size() {
        _ if register.is_segment_register() => full,
        1 if matches!(
            register,
            Register::AH | Register::BH | Register::CH | Register::DH
        ) =>
        {
            full >> 8 & 0xff
        }
        1 => full & 0xff,
        2 => full & 0xffff,
        4 => full & 0xffff_ffff,
        _ => full,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The operands of a string instruction with RCX = 5, RSI = 3000h, RDI = 2000h, as address and length;
    /// then what was touched when RCX is `after`.
    #[track_caller]
    fn check(bytes: &[u8], flags: u64, after: u64, whole: &[(u64, usize)], part: &[(u64, usize)]) {
        let instruction = Instruction::decode(bytes, 0x1000).expect("an instruction");
        // SAFETY: plain numbers, for which zeros are values.
        let mut registers: Registers = unsafe { std::mem::zeroed() };
        (registers.rcx, registers.rsi, registers.rdi) = (5, 0x3000, 0x2000);
        registers.eflags = flags;
        let mut operands = instruction.operands(&registers, |_, _, _| None);
        let places = |operands: &[Operand]| -> Vec<(u64, usize)> {
            operands.iter().map(|o| (o.address, o.length)).collect()
        };
        assert_eq!(places(&operands), whole);
        for operand in &mut operands {
            instruction.trim(operand, &registers, after);
        }
        assert_eq!(places(&operands), part);
    }

    #[test]
    fn repeated_operands_are_as_long_as_their_count_says() {
        let stosq = &[0xf3, 0x48, 0xab];
        check(stosq, 0, 0, &[(0x2000, 40)], &[(0x2000, 40)]);
        check(stosq, RFLAGS_DF, 0, &[(0x1fe0, 40)], &[(0x1fe0, 40)]);
        let movsb = &[0xf3, 0xa4];
        let both = &[(0x2000, 5), (0x3000, 5)];
        check(movsb, 0, 0, both, both);
        check(&[0xf2, 0xae], 0, 2, &[(0x2000, 5)], &[(0x2000, 3)]);
        check(&[0xf2, 0xae], RFLAGS_DF, 2, &[(0x1ffc, 5)], &[(0x1ffe, 3)]);
    }

    /// The addresses and lengths when RAX is 1000h, every mask is set, and index `n` is 16 `n`.
    #[track_caller]
    fn check_gathered(bytes: &[u8], count: u64, scale: u64, length: usize) {
        let instruction = Instruction::decode(bytes, 0x1000).expect("an instruction");
        // SAFETY: plain numbers, for which zeros are values.
        let mut registers: Registers = unsafe { std::mem::zeroed() };
        registers.rax = 0x1000;
        let operands = instruction.operands(&registers, |register, lane, _| {
            let is_index = register.number() == 2;
            Some(if is_index { 16 * lane as u64 } else { u64::MAX })
        });
        let places: Vec<_> = operands.iter().map(|o| (o.address, o.length)).collect();
        let expect = (0..count).map(|n| (0x1000 + 16 * n * scale, length));
        assert_eq!(places, expect.collect::<Vec<_>>());
    }

    #[test]
    fn gathers_and_scatters_access_as_many_elements_as_have_data_and_index() {
        // vpgatherdd ymm1,[rax+ymm2*4],ymm3
        check_gathered(&[0xc4, 0xe2, 0x65, 0x90, 0x0c, 0x90], 8, 4, 4);
        // vpgatherqd xmm1,[rax+ymm2],xmm3
        check_gathered(&[0xc4, 0xe2, 0x65, 0x91, 0x0c, 0x10], 4, 1, 4);
        // vgatherdpd xmm1,[rax+xmm2],xmm3
        check_gathered(&[0xc4, 0xe2, 0xe1, 0x92, 0x0c, 0x10], 2, 1, 8);
        // vpscatterdq [rax+xmm2*2]{k1},ymm1
        check_gathered(&[0x62, 0xf2, 0xfd, 0x29, 0xa0, 0x0c, 0x50], 4, 2, 8);
    }
}
