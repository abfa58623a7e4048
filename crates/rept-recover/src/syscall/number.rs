//! Which system call it is, by the code in front of it.

use iced_x86::{
    Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register,
};
use rept_trace::Block;

/// The number of the system call at `index` of a block, when the block itself sets it.
pub fn number_before(block: &Block, index: usize) -> Option<u32> {
    let mut factory = InstructionInfoFactory::new();
    let before = (0..index).rev().map(|index| decode(block, index));
    before
        .filter(|instruction| writes_rax(&mut factory, instruction))
        .map(|instruction| constant(&instruction))
        .next()?
}

fn decode(block: &Block, index: usize) -> Instruction {
    let bytes = block.instruction_bytes(index);
    Decoder::new(block.bitness.into(), bytes, DecoderOptions::NONE).decode()
}

fn writes_rax(factory: &mut InstructionInfoFactory, instruction: &Instruction) -> bool {
    let info = factory.info(instruction);
    let mut used = info.used_registers().iter();
    used.any(|used| {
        used.register().full_register() == Register::RAX
            && !matches!(used.access(), OpAccess::Read | OpAccess::CondRead)
    })
}

/// The constant that the instruction puts into eax, if it is of those that compilers use.
fn constant(instruction: &Instruction) -> Option<u32> {
    let whole = matches!(instruction.op0_register(), Register::EAX | Register::RAX);
    match (instruction.mnemonic(), instruction.op1_kind()) {
        (Mnemonic::Mov, OpKind::Immediate32 | OpKind::Immediate32to64) if whole => {
            Some(instruction.immediate32())
        }
        (Mnemonic::Xor, OpKind::Register)
            if whole && instruction.op0_register() == instruction.op1_register() =>
        {
            Some(0)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_trace::Address;

    #[track_caller]
    fn check(code: &[&[u8]], expect: Option<u32>) {
        let mut starts = Vec::new();
        let mut bytes: Vec<u8> = Vec::new();
        for instruction in code.iter().chain([&&[0x0f, 0x05][..]]) {
            starts.push(bytes.len() as u16);
            bytes.extend(*instruction);
        }
        let block = Block {
            at: Address(0x1000),
            bytes: bytes.into(),
            starts: starts.into(),
            bitness: 64,
        };
        assert_eq!(number_before(&block, code.len()), expect);
    }

    #[test]
    fn constants_in_front() {
        let clone3: &[u8] = &[0xb8, 0xb3, 1, 0, 0];
        check(&[clone3], Some(435));
        // mov r8,rcx and test rdi,rdi in between say nothing of rax.
        check(
            &[clone3, &[0x49, 0x89, 0xc8], &[0x48, 0x85, 0xff]],
            Some(435),
        );
        check(&[&[0x31, 0xc0]], Some(0));
        check(&[], None);
        // mov rax,rdi
        check(&[clone3, &[0x48, 0x89, 0xf8]], None);
        // cpuid writes eax without naming it; mov al,1 writes a part.
        check(&[clone3, &[0x0f, 0xa2]], None);
        check(&[clone3, &[0xb0, 1]], None);
    }
}
