//! The cache of lowered blocks: each static instruction is lowered once for each set of flags
//! that somebody may read after it.

use crate::effect::Effect;
use crate::lift::{
    ALL_FLAGS, FlagUse, flag_use, lift, lift_part, lift_path_reader, lift_reader, lift_thread_maker,
};
use crate::syscall::number_before;
use hashbrown::HashMap;
use iced_x86::{Decoder, DecoderOptions, Instruction};
use rept_trace::{Address, Block, BlockId, Code};

const SYSCALL: [u8; 2] = [0x0f, 0x05];

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
            .fold(live_after, |live, flags| live_before(*flags, live))
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
                live = live_before(self.flag_uses(id)[index], live);
                number
            })
            .collect();
        numbers.reverse();
        numbers.into()
    }

    fn instruction(&mut self, id: BlockId, index: usize, live: u16) -> u32 {
        let block = self.code.block(id);
        let (at, bytes) = (block.address(index), block.instruction_bytes(index));
        let effect = number_of(block, index)
            .and_then(|number| {
                lift_thread_maker(bytes, at, number, live)
                    .or_else(|| lift_path_reader(bytes, at, number, live))
                    .or_else(|| lift_reader(bytes, at, number, live))
            })
            .unwrap_or_else(|| lift(bytes, at, block.bitness, live));
        // Overlapping blocks hold the same instruction twice; code that changed holds another there.
        if let Some(&number) = self.by_instruction.get(&(at, live))
            && self.effects[number as usize] == effect
        {
            return number;
        }
        let number = self.add(at, effect);
        self.by_instruction.insert((at, live), number);
        number
    }

    /// Effect number of a part of the first instruction of a block.
    pub(crate) fn part(&mut self, block: &Block) -> u32 {
        let effect = lift_part(block.instruction_bytes(0), block.at, block.bitness);
        self.add(block.at, effect)
    }

    /// Effect number of the instruction at `index` of a block, all flags told.
    pub(crate) fn single(&mut self, id: BlockId, index: usize) -> u32 {
        self.instruction(id, index, ALL_FLAGS)
    }

    fn add(&mut self, at: Address, effect: Effect) -> u32 {
        let number = self.effects.len() as u32;
        self.effects.push(effect);
        let instructions = self.by_address.len() as u32;
        self.instructions
            .push(*self.by_address.entry(at).or_insert(instructions));
        number
    }

    fn flag_uses(&mut self, id: BlockId) -> &[FlagUse] {
        let slot = &mut self.flag_uses[id.0 as usize];
        slot.get_or_insert_with(|| flag_uses(self.code.block(id)))
    }
}

/// The number of the system call that an instruction is, if the code tells.
fn number_of(block: &Block, index: usize) -> Option<u32> {
    let is_call = block.bitness == 64 && block.instruction_bytes(index) == SYSCALL;
    is_call.then(|| number_before(block, index)).flatten()
}

fn live_before(flags: FlagUse, live_after: u16) -> u16 {
    flags.reads | (live_after & !flags.overwrites)
}

fn flag_uses(block: &Block) -> Box<[FlagUse]> {
    (0..block.instructions())
        .map(|index| {
            let bytes = block.instruction_bytes(index);
            flag_use(bytes, block.address(index), block.bitness)
        })
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
