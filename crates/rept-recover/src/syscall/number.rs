//! Which system call it is, by the code in front of it.

use iced_x86::{
    Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register,
};
use rept_trace::Block;

/// The number of the system call at `index` of a block, when the block itself sets it.
pub fn number_before(block: &Block, index: usize) -> Option<u32> {
    number_along((0..index).rev().map(|index| (block, index)))
}

/// The number of a system call that was reached through these instructions (the `usize`-th of the
/// block), newest first, with none between them: `None` when they do not put a constant into eax.
pub fn number_along<'a>(newest_first: impl Iterator<Item = (&'a Block, usize)>) -> Option<u32> {
    let mut factory = InstructionInfoFactory::new();
    let mut register = Register::RAX;
    for (block, index) in newest_first {
        let instruction = decode(block, index);
        if enters_kernel(&instruction) {
            return None;
        }
        if writes(&mut factory, &instruction, register) {
            match source(&instruction, register)? {
                Source::Constant(number) => return Some(number),
                Source::Register(from) => register = from,
            }
        }
    }
    None
}

/// Where an instruction takes the low half of a register from.
enum Source {
    Constant(u32),
    /// The 64-bit register.
    Register(Register),
}

fn decode(block: &Block, index: usize) -> Instruction {
    let bytes = block.instruction_bytes(index);
    Decoder::new(block.bitness.into(), bytes, DecoderOptions::NONE).decode()
}

/// The kernel may leave other registers.
fn enters_kernel(instruction: &Instruction) -> bool {
    use Mnemonic::{Int, Int1, Int3, Syscall, Sysenter};
    matches!(
        instruction.mnemonic(),
        Syscall | Sysenter | Int | Int1 | Int3
    )
}

fn writes(
    factory: &mut InstructionInfoFactory,
    instruction: &Instruction,
    register: Register,
) -> bool {
    let info = factory.info(instruction);
    let mut used = info.used_registers().iter();
    used.any(|used| {
        used.register().full_register() == register
            && !matches!(used.access(), OpAccess::Read | OpAccess::CondRead)
    })
}

/// What the instruction puts into the low half of `register`, if it is of those that compilers use.
fn source(instruction: &Instruction, register: Register) -> Option<Source> {
    let into = instruction.op0_register();
    if into.full_register() != register || into.size() < 4 {
        return None;
    }
    let from = instruction.op1_register();
    match (instruction.mnemonic(), instruction.op1_kind()) {
        (Mnemonic::Mov, OpKind::Immediate32 | OpKind::Immediate32to64 | OpKind::Immediate64) => {
            Some(Source::Constant(instruction.immediate(1) as u32))
        }
        (Mnemonic::Xor, OpKind::Register) if into == from => Some(Source::Constant(0)),
        (Mnemonic::Mov, OpKind::Register) if from.is_gpr() => {
            Some(Source::Register(from.full_register()))
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

    #[test]
    fn a_constant_that_was_moved() {
        let edi: &[u8] = &[0xbf, 0xca, 0, 0, 0];
        // mov esi,edi; mov edi,edx; mov eax,esi
        let moved: [&[u8]; 3] = [&[0x89, 0xfe], &[0x89, 0xd7], &[0x89, 0xf0]];
        check(&[edi, moved[0], moved[1], moved[2]], Some(202));
        // lea, xchg and a load say another thing.
        check(&[edi, &[0x48, 0x8d, 0x07]], None);
        check(&[edi, &[0x97]], None);
        check(&[edi, &[0x8b, 0x3e], &[0x89, 0xf8]], None);
        // mov edi,ds is no general register; mov di,ax a part.
        check(&[edi, &[0x8c, 0xdf], &[0x89, 0xf8]], None);
        check(&[edi, &[0x66, 0x89, 0xc7], &[0x89, 0xf8]], None);
        // Another call between.
        check(&[edi, &[0x0f, 0x05], &[0x89, 0xf8]], None);
    }
}
