//! What an instruction reads, by iced's own tables: a judge that shares nothing with the
//! relations by which values were recovered.

use iced_x86::{
    Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, Register,
    UsedRegister,
};
use rept_trace::{Block, BlockId, Code};

/// What matters of one static instruction.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// General-purpose registers of which any part is read; bit `i` is encoding number `i`.
    pub(crate) reads: u16,
    /// The same for registers written.
    pub(crate) writes: u16,
    /// For tallies by mnemonic.
    pub(crate) mnemonic: Mnemonic,
    /// A string instruction with a repeat prefix: its operands have no fixed number of bytes.
    pub(crate) repeated: bool,
    /// XSAVE, XRSTOR and their kin.
    pub(crate) state_area: bool,
    /// Its memory operand may be touched in parts.
    pub(crate) masked: bool,
}

/// Facts of all static code of a trace.
#[derive(Debug)]
pub(crate) struct Judge {
    blocks: Vec<Vec<Facts>>,
}

impl Judge {
    /// Decodes each static instruction once.
    pub(crate) fn new(code: &Code) -> Judge {
        let mut factory = InstructionInfoFactory::new();
        let blocks = code
            .blocks()
            .iter()
            .map(|block| facts_of_block(block, &mut factory));
        Judge {
            blocks: blocks.collect(),
        }
    }

    /// Facts of instruction `index` of a block.
    pub(crate) fn facts(&self, block: BlockId, index: usize) -> &Facts {
        &self.blocks[block.0 as usize][index]
    }
}

fn facts_of_block(block: &Block, factory: &mut InstructionInfoFactory) -> Vec<Facts> {
    (0..block.instructions())
        .map(|index| facts(&decode(block, index), factory))
        .collect()
}

/// Instruction `index` of a block.
pub(crate) fn decode(block: &Block, index: usize) -> Instruction {
    Decoder::with_ip(
        u32::from(block.bitness),
        block.instruction_bytes(index),
        block.address(index).0,
        DecoderOptions::NONE,
    )
    .decode()
}

fn facts(instruction: &Instruction, factory: &mut InstructionInfoFactory) -> Facts {
    let (mut reads, mut writes) = (0, 0);
    for used in factory.info(instruction).used_registers() {
        let Some(bit) = gpr_bit(used) else { continue };
        if is_read(used.access()) {
            reads |= bit;
        }
        if is_write(used.access()) {
            writes |= bit;
        }
    }
    Facts {
        reads,
        writes,
        mnemonic: instruction.mnemonic(),
        repeated: instruction.is_string_instruction()
            && (instruction.has_rep_prefix() || instruction.has_repne_prefix()),
        state_area: is_state_area(instruction.mnemonic()),
        masked: instruction.has_op_mask() || instruction.is_vsib() || is_mask_move(instruction),
    }
}

fn gpr_bit(used: &UsedRegister) -> Option<u16> {
    let full = used.register().full_register();
    (Register::RAX..=Register::R15)
        .contains(&full)
        .then(|| 1 << (full as u32 - Register::RAX as u32))
}

/// Reads, surely or perhaps.
pub(crate) fn is_read(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Read | OpAccess::CondRead | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

/// Writes, surely or perhaps.
pub(crate) fn is_write(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

fn is_mask_move(instruction: &Instruction) -> bool {
    use Mnemonic::*;
    matches!(
        instruction.mnemonic(),
        Maskmovq | Maskmovdqu | Vmaskmovdqu | Vpmaskmovd | Vpmaskmovq | Vmaskmovps | Vmaskmovpd
    )
}

fn is_state_area(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        mnemonic,
        Xsave
            | Xsave64
            | Xsavec
            | Xsavec64
            | Xsaveopt
            | Xsaveopt64
            | Xsaves
            | Xsaves64
            | Xrstor
            | Xrstor64
            | Xrstors
            | Xrstors64
            | Fxsave
            | Fxsave64
            | Fxrstor
            | Fxrstor64
            | Fnsave
            | Frstor
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_trace::{Address, RegWord};

    fn facts_of(bytes: &[u8]) -> Facts {
        let block = Block {
            at: Address(0x1000),
            bytes: bytes.into(),
            starts: [0].into(),
            bitness: 64,
        };
        Judge::new(&Code::new(vec![block]))
            .facts(BlockId(0), 0)
            .clone()
    }

    fn bits(words: &[RegWord]) -> u16 {
        words.iter().map(|word| 1 << word.0).sum()
    }

    #[test]
    fn sub_registers_count_as_their_container() {
        // movzx ecx, ah
        let facts = facts_of(&[0x0f, 0xb6, 0xcc]);
        assert_eq!(facts.reads, bits(&[RegWord::RAX]));
        assert_eq!(facts.writes, bits(&[RegWord::RCX]));
    }

    #[test]
    fn addressing_and_implied_registers_are_reads() {
        // push qword ptr [rbx+r9*4]
        let facts = facts_of(&[0x42, 0xff, 0x34, 0x8b]);
        assert_eq!(
            facts.reads,
            bits(&[RegWord::RBX, RegWord::gpr(9), RegWord::RSP])
        );
        // rep movsb
        let facts = facts_of(&[0xf3, 0xa4]);
        assert_eq!(
            facts.reads,
            bits(&[RegWord::RCX, RegWord::RSI, RegWord::RDI])
        );
        assert!(facts.repeated);
    }

    #[test]
    fn clearing_a_register_does_not_read_it() {
        // xor eax, eax
        assert_eq!(facts_of(&[0x31, 0xc0]).reads, 0);
    }

    #[test]
    fn state_areas_are_known_by_mnemonic() {
        // xrstor [rsp+64]
        assert!(facts_of(&[0x0f, 0xae, 0x6c, 0x24, 0x40]).state_area);
    }
}
