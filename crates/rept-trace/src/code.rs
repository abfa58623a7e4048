use crate::Address;

/// Index of a [`Block`] in its [`Code`] table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub u32);

/// Straight-line code, decoded once: ends at the first instruction that may divert control.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Block {
    /// Address of the first instruction.
    pub at: Address,
    /// The bytes of all instructions, as they were when the block ran.
    pub bytes: Box<[u8]>,
    /// Offset of each instruction in `bytes`, ascending from 0; its length is the number of instructions.
    pub starts: Box<[u16]>,
    /// Width of the execution mode: 16, 32 or 64 bits.
    pub bitness: u8,
}

impl Block {
    /// Number of instructions.
    pub fn instructions(&self) -> usize {
        self.starts.len()
    }

    /// Address of instruction `index` (0-based; panics when out of range).
    pub fn address(&self, index: usize) -> Address {
        self.at.offset(u64::from(self.starts[index]))
    }

    /// Bytes of instruction `index` (0-based; panics when out of range).
    pub fn instruction_bytes(&self, index: usize) -> &[u8] {
        let end = self
            .starts
            .get(index + 1)
            .map_or(self.bytes.len(), |&start| usize::from(start));
        &self.bytes[usize::from(self.starts[index])..end]
    }

    /// Address behind the last instruction.
    pub fn end(&self) -> Address {
        self.at.offset(self.bytes.len() as u64)
    }
}

/// All static code of a trace, each block once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Code {
    blocks: Vec<Block>,
}

impl Code {
    /// The table with these blocks; block `i` gets the id `BlockId(i)`.
    pub fn new(blocks: Vec<Block>) -> Code {
        Code { blocks }
    }

    /// Appends a block and returns its id. The caller keeps blocks unique.
    pub fn push(&mut self, block: Block) -> BlockId {
        self.blocks.push(block);
        BlockId((self.blocks.len() - 1) as u32)
    }

    /// The block with this id (panics when it is not of this table).
    pub fn block(&self, id: BlockId) -> &Block {
        &self.blocks[id.0 as usize]
    }

    /// All blocks, by ascending id.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }
}
