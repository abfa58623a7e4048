//! The cache of lowered blocks: each static instruction is lowered once for each set of flags
//! that somebody may read after it.

use crate::effect::Effect;
use crate::lift::{ALL_FLAGS, lift};
use hashbrown::HashMap;
use iced_x86::{Code as X86, Decoder, DecoderOptions, Instruction, OpKind, Register, RflagsBits};
use rept_trace::{Address, Block, BlockId, Code};

/// What a stretch of code does to flags, seen from before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FlagUse {
    /// Read before they are written.
    exposed: u16,
    /// Written on every path.
    killed: u16,
}

impl FlagUse {
    fn live_before(self, live_after: u16) -> u16 {
        self.exposed | (live_after & !self.killed)
    }
}

/// Key of a lowered stretch: block, instructions executed, flags live behind it.
type Stretch = (BlockId, u16, u16);

/// Effects of static code, by block and live flags.
pub(crate) struct Lowered<'a> {
    code: &'a Code,
    /// All effects.
    pub(crate) effects: Vec<Effect>,
    /// Number of the static instruction of each effect.
    pub(crate) instructions: Vec<u32>,
    by_address: HashMap<Address, u32>,
    by_instruction: HashMap<(Address, u16), u32>,
    flag_uses: Vec<Option<Box<[FlagUse]>>>,
    stretches: HashMap<Stretch, Box<[u32]>>,
}

impl<'a> Lowered<'a> {
    pub(crate) fn new(code: &'a Code) -> Lowered<'a> {
        Lowered {
            code,
            effects: Vec::new(),
            instructions: Vec::new(),
            by_address: HashMap::new(),
            by_instruction: HashMap::new(),
            flag_uses: vec![None; code.blocks().len()],
            stretches: HashMap::new(),
        }
    }

    /// Flags live before the first `count` instructions of a block, given those live after.
    pub(crate) fn live_before(&mut self, id: BlockId, count: u16, live_after: u16) -> u16 {
        self.flag_uses(id)[..usize::from(count)]
            .iter()
            .rev()
            .fold(live_after, |live, flags| flags.live_before(live))
    }

    /// Effect numbers of the first `count` instructions of a block.
    pub(crate) fn stretch(&mut self, id: BlockId, count: u16, live_after: u16) -> &[u32] {
        let key = (id, count, live_after);
        if !self.stretches.contains_key(&key) {
            let numbers = self.lower(id, count, live_after);
            self.stretches.insert(key, numbers);
        }
        &self.stretches[&key]
    }

    fn lower(&mut self, id: BlockId, count: u16, live_after: u16) -> Box<[u32]> {
        let mut live = live_after;
        let mut numbers: Vec<u32> = (0..usize::from(count))
            .rev()
            .map(|index| {
                let number = self.instruction(id, index, live);
                live = self.flag_uses(id)[index].live_before(live);
                number
            })
            .collect();
        numbers.reverse();
        numbers.into()
    }

    fn instruction(&mut self, id: BlockId, index: usize, live: u16) -> u32 {
        let block = self.code.block(id);
        let (at, bytes) = (block.address(index), block.instruction_bytes(index));
        let effect = lift(bytes, at, block.bitness, live);
        // Overlapping blocks hold the same instruction twice; code that changed holds another there.
        if let Some(&number) = self.by_instruction.get(&(at, live))
            && self.effects[number as usize] == effect
        {
            return number;
        }
        let number = self.effects.len() as u32;
        self.effects.push(effect);
        let instructions = self.by_address.len() as u32;
        self.instructions
            .push(*self.by_address.entry(at).or_insert(instructions));
        self.by_instruction.insert((at, live), number);
        number
    }

    fn flag_uses(&mut self, id: BlockId) -> &[FlagUse] {
        let slot = &mut self.flag_uses[id.0 as usize];
        slot.get_or_insert_with(|| flag_uses(self.code.block(id)))
    }
}

fn flag_uses(block: &Block) -> Box<[FlagUse]> {
    (0..block.instructions())
        .map(|index| flag_use(&decode(block, index)))
        .collect()
}

/// The instruction at `index` of a block, decoded.
pub(crate) fn decode(block: &Block, index: usize) -> Instruction {
    Decoder::with_ip(
        u32::from(block.bitness),
        block.instruction_bytes(index),
        block.address(index).0,
        DecoderOptions::NONE,
    )
    .decode()
}

fn flag_use(instruction: &Instruction) -> FlagUse {
    if instruction.is_invalid() {
        return FlagUse {
            exposed: ALL_FLAGS,
            killed: 0,
        };
    }
    // A count in CL or RCX may be zero, and then nothing is written.
    let counted = (1..instruction.op_count()).any(|op| zero_count(instruction, op))
        || instruction.has_rep_prefix()
        || instruction.has_repne_prefix();
    let bits = |flags: u32| rflags(flags);
    FlagUse {
        exposed: bits(instruction.rflags_read())
            | if reads_all(instruction) { ALL_FLAGS } else { 0 },
        killed: if counted {
            0
        } else {
            bits(instruction.rflags_modified())
        },
    }
}

/// The operand may be a shift count of zero.
fn zero_count(instruction: &Instruction, op: u32) -> bool {
    match instruction.op_kind(op) {
        OpKind::Register => instruction.op_register(op) == Register::CL,
        OpKind::Immediate8 => instruction.immediate8() & 0x1f == 0,
        _ => false,
    }
}

/// The kernel saves RFLAGS, and shows them in R11.
fn reads_all(instruction: &Instruction) -> bool {
    matches!(
        instruction.code(),
        X86::Syscall | X86::Int_imm8 | X86::Int3 | X86::Sysenter
    )
}

/// RFLAGS bits of a set of iced's flag bits.
fn rflags(bits: u32) -> u16 {
    [
        (RflagsBits::CF, 0x001),
        (RflagsBits::PF, 0x004),
        (RflagsBits::AF, 0x010),
        (RflagsBits::ZF, 0x040),
        (RflagsBits::SF, 0x080),
        (RflagsBits::DF, 0x400),
        (RflagsBits::OF, 0x800),
    ]
    .into_iter()
    .filter(|&(bit, _)| bits & bit != 0)
    .fold(0, |all, (_, flag)| all | flag)
}
