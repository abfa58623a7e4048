//! A stand-in for a processor with AVX-512: the integer and mask instructions, written from
//! the manual (Intel SDM volume 2) one element at a time
//! (what moves elements between places is in `rearrange.rs` and `emulate_move.rs`, gathers in
//! `emulate_gather.rs`, floating point in the other files of that prefix).
//!
//! Few machines that run tests have AVX-512, yet the string functions of a C library use it
//! wherever it exists. Instructions that are not listed here yield `None`.

use crate::silicon::Outcome;
use crate::state::{Setting, World, linear};
use iced_x86::{Instruction, InstructionInfoFactory, OpKind, Register};

/// Runs instructions one element at a time.
#[derive(Clone, Copy)]
pub(crate) struct Emulator {
    pub(crate) setting: Setting,
}

impl Emulator {
    /// An emulator with all of AVX-512's registers.
    pub(crate) fn new() -> Emulator {
        let setting = Setting {
            scratch: 0x4000_8000,
            fs_base: 0x7f00_1234_5000,
            gs_base: 0,
            lanes: 8,
        };
        Emulator { setting }
    }

    /// What becomes of the world by `instruction`, if it is known here.
    pub(crate) fn emulate(&self, instruction: &Instruction, before: &World) -> Outcome {
        match self.run_on(instruction, before) {
            Some(cpu) if cpu.open => Outcome::Faulted,
            Some(cpu) => Outcome::Completed(Box::new(cpu.world)),
            None => Outcome::Lacking("the emulator does not know it".to_owned()),
        }
    }

    /// The manual does not say what comes out.
    pub(crate) fn leaves_open(setting: Setting, instruction: &Instruction, before: &World) -> bool {
        let emulator = Emulator { setting };
        let cpu = emulator.run_on(instruction, before);
        cpu.is_some_and(|cpu| cpu.open)
    }

    fn run_on<'a>(&self, instruction: &'a Instruction, before: &World) -> Option<Cpu<'a>> {
        let name = format!("{:?}", instruction.mnemonic()).to_lowercase();
        let mut cpu = Cpu {
            setting: self.setting,
            instruction,
            world: before.clone(),
            open: false,
        };
        match (cpu.atomic(&name), name.strip_prefix('k')) {
            (Some(outcome), _) => outcome?,
            (None, Some(name)) => cpu.opmask(name)?,
            (None, None) => cpu.vector(name.strip_prefix('v')?)?,
        }
        Some(cpu)
    }
}

pub(super) struct Cpu<'a> {
    pub(super) setting: Setting,
    pub(super) instruction: &'a Instruction,
    pub(super) world: World,
    /// The manual does not say what comes out of this state, or it is an undefined opcode.
    pub(super) open: bool,
}

/// The elements of an operand, lowest first.
pub(super) type Elements = Vec<u64>;

pub(super) fn ones(bits: usize) -> u64 {
    if bits >= 64 {
        u64::MAX
    } else {
        (1 << bits) - 1
    }
}

/// Sign-extends an element of `size` bytes.
pub(super) fn signed(value: u64, size: usize) -> i64 {
    let shift = 64 - 8 * size as u32;
    (value << shift) as i64 >> shift
}

/// Splits `paddb` into `padd` and 1.
pub(super) fn element(name: &str) -> Option<(&str, usize)> {
    let size = match name.as_bytes().last()? {
        b'b' => 1,
        b'w' => 2,
        b'd' => 4,
        b'q' => 8,
        _ => return None,
    };
    Some((&name[..name.len() - 1], size))
}

impl Cpu<'_> {
    fn opmask(&mut self, name: &str) -> Option<()> {
        let (a, b) = (1, self.instruction.op_count() - 1);
        if let Some(sizes) = name.strip_prefix("unpck") {
            let half = 8 * element(&sizes[..1])?.1;
            let low = self.scalar(b)? & ones(half);
            return self.set_scalar(0, (self.scalar(a)? & ones(half)) << half | low);
        }
        let (stem, size) = element(name)?;
        let all = ones(8 * size);
        let [x, y] = [self.scalar(a).unwrap_or(0) & all, self.scalar(b)? & all];
        let result = match stem {
            "mov" => y,
            "and" => x & y,
            "andn" => !x & y,
            "or" => x | y,
            "xor" => x ^ y,
            "xnor" => !(x ^ y),
            "add" => x.wrapping_add(y),
            "not" => !y,
            "shiftl" => x.checked_shl(y as u8 as u32).unwrap_or(0),
            "shiftr" => x.checked_shr(y as u8 as u32).unwrap_or(0),
            "ortest" => {
                let first = self.scalar(0)? & all;
                self.set_zero_carry(first | y == 0, first | y == all);
                return Some(());
            }
            "test" => {
                let first = self.scalar(0)? & all;
                self.set_zero_carry(first & y == 0, !first & y == 0);
                return Some(());
            }
            _ => return None,
        };
        if self.instruction.op0_kind() == OpKind::Memory {
            self.store(result, 0, size);
            return Some(());
        }
        self.set_scalar(0, result & all)
    }

    /// ZF and CF as given, OF, SF, AF and PF cleared.
    pub(super) fn set_zero_carry(&mut self, zero: bool, carry: bool) {
        let flags = &mut self.world.state.flags;
        *flags = *flags & !0x8d5 | u64::from(zero) << 6 | u64::from(carry);
    }

    /// An opmask, general register, immediate or memory operand.
    pub(super) fn scalar(&self, operand: u32) -> Option<u64> {
        let state = &self.world.state;
        match self.instruction.op_kind(operand) {
            OpKind::Register => {
                let register = self.instruction.op_register(operand);
                match register {
                    _ if register.is_k() => Some(state.opmask[register.number()]),
                    _ if register.is_gpr() => Some(
                        state.gpr[register.full_register().number()] & ones(8 * register.size()),
                    ),
                    _ => None,
                }
            }
            OpKind::Memory => Some(self.load(0, self.instruction.memory_size().size())),
            OpKind::Immediate8 => Some(self.instruction.immediate(operand)),
            _ => None,
        }
    }

    pub(super) fn set_scalar(&mut self, operand: u32, value: u64) -> Option<()> {
        let register = self.instruction.op_register(operand);
        match register {
            _ if register.is_k() => self.world.state.opmask[register.number()] = value,
            _ if register.is_gpr32() || register.is_gpr64() => {
                self.world.state.gpr[register.full_register().number()] = value;
            }
            _ => return None,
        }
        Some(())
    }

    fn address(&self) -> u64 {
        let mut factory = InstructionInfoFactory::new();
        let info = factory.info(self.instruction);
        info.used_memory()
            .first()
            .and_then(|memory| linear(self.setting, &self.world.state, memory, 0))
            .expect("a memory operand")
    }

    pub(super) fn load(&self, offset: usize, size: usize) -> u64 {
        let at = (self.address() - self.setting.scratch) as usize + offset;
        let bytes = &self.world.scratch[at..at + size];
        bytes
            .iter()
            .rev()
            .fold(0, |value, &byte| value << 8 | u64::from(byte))
    }

    pub(super) fn store(&mut self, value: u64, offset: usize, size: usize) {
        let at = (self.address() - self.setting.scratch) as usize + offset;
        self.world.scratch[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
    }

    /// `count` elements of `size` bytes of an operand.
    pub(super) fn elements(&self, operand: u32, size: usize, count: usize) -> Option<Elements> {
        let instruction = self.instruction;
        match instruction.op_kind(operand) {
            OpKind::Memory if instruction.is_broadcast() => Some(vec![self.load(0, size); count]),
            OpKind::Memory => Some((0..count).map(|i| self.load(i * size, size)).collect()),
            OpKind::Register => {
                let register = instruction.op_register(operand);
                if register.is_vector_register() {
                    let lanes = &self.world.state.vector[register.number()];
                    let at = |i: usize| lanes[i * size / 8] >> (i * size % 8 * 8) & ones(8 * size);
                    return Some((0..count).map(at).collect());
                }
                register
                    .is_gpr()
                    .then(|| vec![self.scalar(operand).unwrap_or(0) & ones(8 * size); count])
            }
            _ => None,
        }
    }

    /// Element `i` takes part.
    pub(super) fn selected(&self, i: usize) -> bool {
        match self.instruction.op_mask() {
            Register::None | Register::K0 => true,
            mask => self.world.state.opmask[mask.number()] >> i & 1 == 1,
        }
    }

    /// Writes a vector or memory destination under the mask.
    pub(super) fn set_elements(&mut self, size: usize, result: &[u64]) -> Option<()> {
        if self.instruction.op0_kind() == OpKind::Memory {
            for (i, &value) in result.iter().enumerate() {
                if self.selected(i) {
                    self.store(value, i * size, size);
                }
            }
            return Some(());
        }
        let old = self.elements(0, size, result.len())?;
        let mut lanes = [0u64; 8];
        for (i, &value) in result.iter().enumerate() {
            let value = match self.selected(i) {
                true => value,
                false if self.instruction.zeroing_masking() => 0,
                false => old[i],
            };
            lanes[i * size / 8] |= (value & ones(8 * size)) << (i * size % 8 * 8);
        }
        self.world.state.vector[self.instruction.op0_register().number()] = lanes;
        Some(())
    }

    /// Writes a vector destination whatever the mask.
    pub(super) fn set_all_elements(&mut self, size: usize, result: &[u64]) -> Option<()> {
        let mut lanes = [0u64; 8];
        for (i, &value) in result.iter().enumerate() {
            lanes[i * size / 8] |= (value & ones(8 * size)) << (i * size % 8 * 8);
        }
        self.world.state.vector[self.instruction.op0_register().number()] = lanes;
        Some(())
    }

    /// Writes a mask destination under the mask; unselected elements are zero.
    pub(super) fn set_mask(&mut self, result: impl Iterator<Item = bool>) -> Option<()> {
        let bits = result.enumerate().fold(0, |bits, (i, set)| {
            bits | u64::from(set && self.selected(i)) << i
        });
        self.set_scalar(0, bits)
    }

    /// Bytes of the vectors that the instruction works on.
    pub(super) fn length(&self) -> usize {
        let vectors = (0..self.instruction.op_count()).map(|i| self.instruction.op_register(i));
        vectors
            .filter(|r| r.is_vector_register())
            .map(Register::size)
            .max()
            .unwrap_or(0)
    }

    fn vector(&mut self, name: &str) -> Option<()> {
        if let Some(size) = whole_move(name) {
            let all = self.elements(1, size, self.length() / size)?;
            return self.set_elements(size, &all);
        }
        let families = [
            Cpu::moves,
            Cpu::rearrange,
            Cpu::products,
            Cpu::convert,
            Cpu::scattered,
            Cpu::float,
        ];
        for family in families {
            if let Some(outcome) = family(self, name) {
                return outcome;
            }
        }
        let (stem, size) = element(name)?;
        let count = self.length() / size;
        match stem {
            "pbroadcast" => {
                let first = self.elements(1, size, 1)?[0];
                self.set_elements(size, &vec![first; count])
            }
            "pmovm2" => {
                let mask = self.scalar(1)?;
                self.set_elements(
                    size,
                    &(0..count)
                        .map(|i| 0u64.wrapping_sub(mask >> i & 1))
                        .collect::<Vec<_>>(),
                )
            }
            "pcmpu" | "pcmp" | "pcmpeq" | "pcmpgt" | "ptestm" | "ptestnm" => {
                self.compare(stem, size, count)
            }
            "pternlog" => self.ternary(size, count),
            "pabs" | "popcnt" | "plzcnt" | "ppopcnt" => {
                let a = self.elements(1, size, count)?;
                self.set_elements(
                    size,
                    &a.iter()
                        .map(|&a| unary(stem, a, size))
                        .collect::<Option<Vec<_>>>()?,
                )
            }
            _ => self.binary(stem, size, count),
        }
    }

    fn compare(&mut self, stem: &str, size: usize, count: usize) -> Option<()> {
        if !self.instruction.op0_register().is_k() {
            return None;
        }
        let (a, b) = (
            self.elements(1, size, count)?,
            self.elements(2, size, count)?,
        );
        let predicate = match stem {
            "pcmpeq" => 0,
            "pcmpgt" => 6,
            "pcmp" | "pcmpu" => self.instruction.immediate(3) & 7,
            _ => 0,
        };
        let holds = move |(a, b): (u64, u64)| match stem {
            "ptestm" => a & b != 0,
            "ptestnm" => a & b == 0,
            "pcmpu" => ordered(predicate, a.cmp(&b)),
            _ => ordered(predicate, signed(a, size).cmp(&signed(b, size))),
        };
        self.set_mask(a.into_iter().zip(b).map(holds))
    }

    fn ternary(&mut self, size: usize, count: usize) -> Option<()> {
        let table = self.instruction.immediate(3);
        let [a, b, c] = [0, 1, 2].map(|operand| self.elements(operand, size, count));
        let (a, b, c) = (a?, b?, c?);
        let one = |i: usize| {
            (0..8 * size).fold(0, |word, bit| {
                let index = (a[i] >> bit & 1) << 2 | (b[i] >> bit & 1) << 1 | c[i] >> bit & 1;
                word | (table >> index & 1) << bit
            })
        };
        self.set_elements(size, &(0..count).map(one).collect::<Vec<_>>())
    }

    fn binary(&mut self, stem: &str, size: usize, count: usize) -> Option<()> {
        if self.instruction.op_count() != 3 {
            return None;
        }
        let a = self.elements(1, size, count)?;
        let shift = matches!(stem, "psll" | "psrl" | "psra");
        let b = match self.instruction.op_kind(2) {
            OpKind::Immediate8 => vec![self.instruction.immediate(2); count],
            // The count is the low quadword of the second operand, for all elements.
            OpKind::Memory if shift => vec![self.load(0, 8); count],
            _ if shift => vec![self.elements(2, 8, 1)?[0]; count],
            _ => self.elements(2, size, count)?,
        };
        let results = a
            .iter()
            .zip(&b)
            .enumerate()
            .map(|(i, (&a, &b))| match stem {
                "pblendm" => Some(if self.selected(i) { b } else { a }),
                _ => binary(stem, a, b, size),
            });
        let results = results.collect::<Option<Vec<_>>>()?;
        if stem == "pblendm" && !self.instruction.zeroing_masking() {
            // The first source stands where other instructions merge: nothing is left unselected.
            return self.set_all_elements(size, &results);
        }
        self.set_elements(size, &results)
    }
}

fn whole_move(name: &str) -> Option<usize> {
    Some(match name {
        "movdqu8" => 1,
        "movdqu16" => 2,
        "movdqu32" | "movdqa32" | "movups" | "movaps" => 4,
        "movdqu64" | "movdqa64" | "movupd" | "movapd" => 8,
        "movntps" | "movntpd" | "movntdq" | "movntdqa" => 8,
        _ => return None,
    })
}

/// The eight integer predicates of VPCMP.
fn ordered(predicate: u64, order: std::cmp::Ordering) -> bool {
    let truth = match predicate & 3 {
        0 => order.is_eq(),
        1 => order.is_lt(),
        2 => order.is_le(),
        _ => false,
    };
    truth != (predicate & 4 != 0)
}

fn unary(stem: &str, a: u64, size: usize) -> Option<u64> {
    Some(match stem {
        "pabs" => signed(a, size).unsigned_abs(),
        "popcnt" | "ppopcnt" => u64::from(a.count_ones()),
        "plzcnt" => u64::from(a.leading_zeros()) - (64 - 8 * size as u64),
        _ => return None,
    })
}

fn binary(stem: &str, a: u64, b: u64, size: usize) -> Option<u64> {
    let bits = 8 * size as u64;
    let (x, y) = (signed(a, size), signed(b, size));
    let turn = |by: u64| {
        let by = by % bits;
        if by == 0 {
            a
        } else {
            a << by | a >> (bits - by)
        }
    };
    Some(match stem {
        "padd" => a.wrapping_add(b),
        "psub" => a.wrapping_sub(b),
        "pand" => a & b,
        "pandn" => !a & b,
        "por" => a | b,
        "pxor" => a ^ b,
        "pminu" => a.min(b),
        "pmaxu" => a.max(b),
        "pmins" => x.min(y) as u64,
        "pmaxs" => x.max(y) as u64,
        "pmull" => a.wrapping_mul(b),
        "pavg" => (a + b + 1) >> 1,
        "paddus" => (a + b).min(ones(8 * size)),
        "psubus" => a.saturating_sub(b),
        "padds" => (x + y).clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1) as u64,
        "psubs" => (x - y).clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1) as u64,
        "psll" | "psllv" => {
            if b < bits {
                a << b
            } else {
                0
            }
        }
        "psrl" | "psrlv" => {
            if b < bits {
                a >> b
            } else {
                0
            }
        }
        "psra" | "psrav" => (x >> b.min(bits - 1)) as u64,
        "prol" | "prolv" => turn(b),
        "pror" | "prorv" => turn(bits - b % bits),
        _ => return None,
    })
}
