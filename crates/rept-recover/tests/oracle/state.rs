//! The part of a thread's state that user instructions work on, and random instances of it.

use crate::random::Random;
use iced_x86::{
    Code, CodeSize, Instruction, InstructionInfo, Mnemonic, OpKind, Register, UsedMemory,
};
use rept_recover::lift::ALL_FLAGS;
use rept_trace::RegWord;

/// Bytes of memory that instances may touch.
pub(crate) const SCRATCH_LEN: usize = 1024;
/// Operands are placed within this distance of the middle of the scratch.
const SPREAD: u64 = 64;
/// RFLAGS bits that are always set in user mode: reserved bit 1 and IF.
const FLAGS_SET: u64 = 0x202;
/// The x87 control word after FNINIT: all exceptions masked, extended precision.
const X87_CONTROL: u64 = 0x37f;
/// MXCSR after reset: all exceptions masked, round to nearest.
pub(crate) const MXCSR_DEFAULT: u64 = 0x1f80;

/// Registers, laid out as the native stub of [`crate::machine`] loads and stores them.
#[derive(Clone, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct State {
    pub(crate) vector: [[u64; 8]; 32],
    pub(crate) gpr: [u64; 16],
    /// Physical x87 registers: significand (the MMX register), sign and exponent.
    pub(crate) x87: [[u64; 2]; 8],
    pub(crate) opmask: [u64; 8],
    pub(crate) flags: u64,
    pub(crate) mxcsr: u64,
    pub(crate) x87_control: u64,
    pub(crate) x87_status: u64,
    pub(crate) x87_tag: u64,
    pub(crate) fs_base: u64,
    pub(crate) gs_base: u64,
}

/// Registers and memory at one moment.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) scratch: [u8; SCRATCH_LEN],
    /// A branch led to its target.
    pub(crate) taken: bool,
}

/// What the processor at hand has, and where its scratch memory lies.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) scratch: u64,
    pub(crate) fs_base: u64,
    pub(crate) gs_base: u64,
    /// Lanes of the vector registers that exist: 4 (AVX) or 8 (AVX-512).
    pub(crate) lanes: usize,
}

/// The RFLAGS word as effects have it: above the processor's bits, those that say what
/// conditions on several flags ask for (below or equal, less, less or equal).
pub(crate) fn with_relations(flags: u64) -> u64 {
    let flag = |at: u32| flags >> at & 1;
    let (carry, zero, less) = (flag(0), flag(6), flag(7) ^ flag(11));
    flags & 0xffff_ffff | (carry | zero) << 32 | less << 33 | (zero | less) << 34
}

impl State {
    /// The value of a register word; `None` where the stub does not carry it.
    pub(crate) fn get(&self, word: RegWord) -> Option<u64> {
        let n = usize::from(word.0);
        match n {
            0..=15 => Some(self.gpr[n]),
            16 => Some(with_relations(self.flags)),
            17 => Some(self.fs_base),
            18 => Some(self.gs_base),
            19 => Some(self.mxcsr),
            20 => Some(self.x87_control),
            21 => Some(self.x87_status),
            22 => Some(self.x87_tag),
            24..=31 => Some(self.opmask[n - 24]),
            32..=47 => Some(self.x87[(n - 32) / 2][n % 2]),
            64..320 => Some(self.vector[(n - 64) / 8][(n - 64) % 8]),
            _ => None,
        }
    }
}

/// The register word of a general-purpose register of any size.
pub(crate) fn gpr(register: Register) -> Option<usize> {
    register.is_gpr().then(|| register.full_register().number())
}

impl World {
    /// A random world in which the memory operands of `instruction` lie in the scratch.
    /// `None` when this draw did not work out.
    pub(crate) fn random(
        setting: Setting,
        instruction: &Instruction,
        info: &InstructionInfo,
        random: &mut Random,
    ) -> Option<World> {
        let mut state = random_state(setting, random);
        let mut scratch = [0; SCRATCH_LEN];
        for chunk in scratch.chunks_exact_mut(8) {
            chunk.copy_from_slice(&random.lane().to_le_bytes());
        }
        if random.one_in(2) {
            // Half of the time memory holds what a register holds, for CMPXCHG and the like.
            let (middle, source) = (SCRATCH_LEN / 2, random.below(16) as usize);
            scratch[middle..middle + 8].copy_from_slice(&state.gpr[source].to_le_bytes());
            scratch[middle + 8..middle + 16].copy_from_slice(&state.gpr[2].to_le_bytes());
        }
        limit_counts(instruction, &mut state, random);
        place_operands(setting, info, &mut state, random)?;
        place_line(setting, instruction, &mut state, random);
        let mut world = World {
            state,
            scratch,
            taken: false,
        };
        limit_flags_popped(setting, instruction, &mut world);
        let within = operands_within(setting, info, &world.state)
            && bit_within(setting, instruction, info, &world.state);
        within.then_some(world)
    }

    /// The byte at `address`, when it is scratch.
    pub(crate) fn byte(&self, setting: Setting, address: u64) -> Option<u8> {
        let offset = address.wrapping_sub(setting.scratch);
        self.scratch.get(usize::try_from(offset).ok()?).copied()
    }
}

fn random_state(setting: Setting, random: &mut Random) -> State {
    let mut state = State {
        vector: [[0; 8]; 32],
        gpr: [0; 16],
        x87: [[0; 2]; 8],
        opmask: [0; 8],
        flags: random.next() & u64::from(ALL_FLAGS) | FLAGS_SET,
        mxcsr: MXCSR_DEFAULT,
        x87_control: X87_CONTROL,
        x87_status: 0,
        x87_tag: 0,
        fs_base: setting.fs_base,
        gs_base: setting.gs_base,
    };
    let registers = if setting.lanes == 8 { 32 } else { 16 };
    for vector in &mut state.vector[..registers] {
        for lane in &mut vector[..setting.lanes] {
            *lane = random.lane();
        }
    }
    for n in 0..16 {
        state.gpr[n] = match random.below(8) {
            0 if n > 0 => state.gpr[random.below(n as u64) as usize],
            _ => random.integer(),
        };
    }
    random_x87(&mut state, random);
    if setting.lanes == 8 {
        state.opmask = std::array::from_fn(|_| random.integer());
    }
    if random.one_in(3) {
        let vectors = random.below(registers as u64) as usize;
        state.vector[vectors] = state.vector[0];
    }
    if random.one_in(4) {
        // Rounding control, flush-to-zero, denormals-are-zero, sticky flags; exceptions stay masked.
        state.mxcsr |= random.next() & 0xe07f;
    }
    state
}

/// All exceptions stay masked, so that nothing is pending.
fn random_x87(state: &mut State, random: &mut Random) {
    state.x87 = std::array::from_fn(|_| {
        // Numbers of all sizes, zeros, infinities, NaNs, and encodings that the unit rejects.
        let exponent = match random.below(8) {
            0 => random.pick(&[0, 1, 0x7fff]),
            1 => random.below(0x8000),
            _ => 0x3fff + random.below(140) - 70,
        };
        let significand = match random.below(4) {
            0 => random.lane(),
            1 => 1 << 63 | random.integer() << 32,
            _ => 1 << 63 | random.next(),
        };
        [significand, exponent | random.below(2) << 15]
    });
    state.x87_control = X87_CONTROL;
    if random.one_in(3) {
        // Rounding and precision control; precision 1 is reserved.
        state.x87_control &= !0xf00;
        state.x87_control |= random.below(4) << 10 | random.pick(&[0, 2, 3]) << 8;
    }
    state.x87_status = random.below(8) << 11 | random.next() & 0x473f;
    let some = random.next() & 0xff;
    state.x87_tag = random.pick(&[0xff, 0x7f, some, 0]);
}

/// Counts and bit offsets that would reach out of the scratch.
fn limit_counts(instruction: &Instruction, state: &mut State, random: &mut Random) {
    if instruction.is_loop() || instruction.is_jcx_short() {
        let count = random.pick(&[0u64, 1, 2, 1 << 32]);
        state.gpr[1] = if random.one_in(2) {
            count
        } else {
            state.gpr[1]
        };
    }
    if instruction.is_string_instruction() {
        state.gpr[1] = match instruction.op_kinds().any(short_string) {
            true => random.next() << 32 | random.below(8),
            false => random.below(8),
        };
    }
    if is_bit_test(instruction)
        && instruction.op_kind(0) == OpKind::Memory
        && let Some(offset) = gpr(instruction.op_register(1))
    {
        let bits = instruction.op_register(1).size() as u32 * 8;
        let near = (random.below(2048) as i64 - 1024) as u64;
        let above = if bits == 64 { 0 } else { random.next() << bits };
        let low = if bits == 64 {
            near
        } else {
            near & ((1 << bits) - 1)
        };
        state.gpr[offset] = above | low;
    }
}

/// A bit test whose bit offset is in a register.
fn is_bit_test(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(instruction.mnemonic(), M::Bt | M::Bts | M::Btr | M::Btc)
        && instruction.op1_kind() == OpKind::Register
}

fn short_string(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::MemorySegESI | OpKind::MemoryESEDI | OpKind::MemorySegEDI
    )
}

/// Sets base and index registers so that every memory operand lies in the scratch.
fn place_operands(
    setting: Setting,
    info: &InstructionInfo,
    state: &mut State,
    random: &mut Random,
) -> Option<()> {
    let mut fixed = [false; 16];
    for memory in info.used_memory() {
        if memory.index().is_vector_register() {
            spread_indices(memory, state, random);
        }
        // Registers whose value must not change: those that earlier operands rely on.
        let base = gpr(memory.base());
        let index = gpr(memory.index());
        let free = |n: Option<usize>| n.filter(|&n| !fixed[n]);
        let align = random.pick(&[1u64, 1, 4, 64]);
        let middle = setting.scratch + SCRATCH_LEN as u64 / 2;
        let target = (middle + random.below(2 * SPREAD) - SPREAD) & !(align - 1);
        let wanted = target
            .wrapping_sub(segment_base(setting, memory.segment()))
            .wrapping_sub(memory.displacement());
        let scale = u64::from(memory.scale());
        match (free(base), free(index)) {
            (Some(b), _) if base == index => {
                state.gpr[b] = wanted.wrapping_mul(inverse(scale + 1));
            }
            (Some(b), _) => {
                let offset =
                    index.map_or(0, |n| value(state, memory.index(), n).wrapping_mul(scale));
                let offset = if memory.index().is_vector_register() {
                    0
                } else {
                    offset
                };
                state.gpr[b] = wanted.wrapping_sub(offset);
            }
            (None, Some(i)) => {
                let offset = base.map_or(0, |b| state.gpr[b]);
                let rest = wanted.wrapping_sub(offset);
                // The scratch is aligned, so a multiple of the scale is near.
                state.gpr[i] = rest / scale;
            }
            (None, None) => {}
        }
        if let (Some(b), CodeSize::Code32) = (base.or(index), memory.address_size())
            && !fixed[b]
        {
            state.gpr[b] = state.gpr[b] & 0xffff_ffff | random.next() << 32;
        }
        for used in [base, index].into_iter().flatten() {
            fixed[used] = true;
        }
    }
    Some(())
}

/// Sets the pointer of CLZERO, whose operand is not among those that the access table lists.
fn place_line(setting: Setting, instruction: &Instruction, state: &mut State, random: &mut Random) {
    let code = instruction.code();
    if matches!(code, Code::Clzerod | Code::Clzeroq) {
        let target = setting.scratch + random.below(SCRATCH_LEN as u64);
        let above = match code {
            Code::Clzerod => random.next() << 32,
            _ => 0,
        };
        state.gpr[0] = target | above;
    }
}

/// The multiplicative inverse of an odd number modulo 2^64, by Newton's iteration.
fn inverse(odd: u64) -> u64 {
    (0..6).fold(odd, |x, _| {
        x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x)))
    })
}

/// Gather indices small enough to stay in the scratch.
fn spread_indices(memory: &UsedMemory, state: &mut State, random: &mut Random) {
    let lanes = &mut state.vector[memory.index().number()];
    for lane in lanes.iter_mut().take(memory.index().size() / 8) {
        let mut small = || (random.below(16) as i64 - 8) as u64;
        *lane = match memory.vsib_size() {
            4 => small() << 32 | small() & 0xffff_ffff,
            _ => small(),
        };
    }
}

/// POPF may set DF and the arithmetic flags, but neither TF nor AC, which would trap us.
fn limit_flags_popped(setting: Setting, instruction: &Instruction, world: &mut World) {
    let flags = matches!(
        instruction.mnemonic(),
        Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq
    );
    let offset = world.state.gpr[4].wrapping_sub(setting.scratch) as usize;
    if flags && offset + 8 <= SCRATCH_LEN {
        let slot = &mut world.scratch[offset..offset + 8];
        let image = u64::from_le_bytes((&*slot).try_into().unwrap());
        slot.copy_from_slice(&(image & u64::from(ALL_FLAGS)).to_le_bytes());
    }
}

pub(crate) fn segment_base(setting: Setting, segment: Register) -> u64 {
    match segment {
        Register::FS => setting.fs_base,
        Register::GS => setting.gs_base,
        _ => 0,
    }
}

/// The part of general register `number` that `register` names.
fn value(state: &State, register: Register, number: usize) -> u64 {
    let word = state.gpr[number];
    match register.size() {
        1 if matches!(
            register,
            Register::AH | Register::CH | Register::DH | Register::BH
        ) =>
        {
            word >> 8 & 0xff
        }
        1 => word & 0xff,
        2 => word & 0xffff,
        4 => word & 0xffff_ffff,
        _ => word,
    }
}

/// Linear address of element `element` of a memory operand.
pub(crate) fn linear(
    setting: Setting,
    state: &State,
    memory: &UsedMemory,
    element: usize,
) -> Option<u64> {
    memory.virtual_address(element, |register, element, size| {
        if register.is_segment_register() {
            return Some(segment_base(setting, register));
        }
        if register.is_vector_register() {
            let vector = &state.vector[register.number()];
            return Some(match size {
                4 => vector[element / 2] >> (element % 2 * 32) & 0xffff_ffff,
                _ => vector[element],
            });
        }
        gpr(register).map(|n| value(state, register, n))
    })
}

fn operands_within(setting: Setting, info: &InstructionInfo, state: &State) -> bool {
    // Room on both sides for what iced does not size: bit offsets, string counts, ENTER frames.
    const MARGIN: u64 = 256;
    info.used_memory().iter().all(|memory| {
        linear(setting, state, memory, 0).is_some_and(|address| {
            let offset = address.wrapping_sub(setting.scratch);
            (MARGIN..SCRATCH_LEN as u64 - MARGIN).contains(&offset)
        })
    })
}

/// The byte that a bit test with an offset in a register reaches, which iced does not compute.
fn bit_within(
    setting: Setting,
    instruction: &Instruction,
    info: &InstructionInfo,
    state: &State,
) -> bool {
    let (Some(memory), true) = (info.used_memory().first(), is_bit_test(instruction)) else {
        return true;
    };
    let register = instruction.op_register(1);
    let (Some(number), Some(base)) = (gpr(register), linear(setting, state, memory, 0)) else {
        return true;
    };
    let shift = 64 - 8 * register.size() as u32;
    let offset = (state.gpr[number] << shift) as i64 >> shift;
    let at = base
        .wrapping_add((offset >> 3) as u64)
        .wrapping_sub(setting.scratch);
    (16..SCRATCH_LEN as u64 - 16).contains(&at)
}
