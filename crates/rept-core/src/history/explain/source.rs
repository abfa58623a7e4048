//! What an instruction made a value of.

mod conditions;
mod lanes;

use super::{Place, WORD};
use crate::history::Location;
use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};
use rept_recover::history::{AccessView, Value};
use rept_trace::{Address, RegWord};

/// Where a step took a value from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// It moved it from here.
    Copy(Place),
    /// It computed it from these.
    Computed(Vec<Location>),
    /// It is in the code.
    Constant,
    /// The kernel's answer.
    SystemCall,
    /// It was loaded, nobody knows from where.
    AddressUnknown,
    /// The step wrote other bytes of the register.
    Untouched,
}

/// What `place` was made of by a step that wrote it, with the flags from before it.
pub(super) fn source_of(
    instruction: &Instruction,
    place: Place,
    accesses: &[AccessView],
    flags: Value,
) -> Source {
    if instruction.mnemonic() == Mnemonic::Syscall {
        return Source::SystemCall;
    }
    let calls = instruction.is_call_near() || instruction.is_call_near_indirect();
    let stack_pointer = Location::Reg(RegWord::RSP);
    if place.location() == stack_pointer && (calls || instruction.mnemonic() == Mnemonic::Ret) {
        return Source::Computed(vec![stack_pointer]);
    }
    if calls || is_zeroing(instruction) {
        return Source::Constant;
    }
    if instruction.mnemonic() == Mnemonic::Xchg {
        return exchanged(instruction, place, accesses);
    }
    let taken = match conditions::moves_if(instruction, flags) {
        Some(false) => return Source::Untouched,
        taken => taken.is_some(),
    };
    if let Some(source) = of_lanes(instruction, place, accesses) {
        return source;
    }
    if !taken && !moves(instruction) {
        return Source::Computed(inputs(instruction, place.location(), accesses));
    }
    match place {
        Place::Reg { word, offset, size } => loaded(instruction, word, offset, size, accesses),
        Place::Mem { address, size } => stored(instruction, address, size, accesses),
    }
}

/// Of a move to a register.
fn loaded(
    instruction: &Instruction,
    word: RegWord,
    offset: u64,
    size: u64,
    accesses: &[AccessView],
) -> Source {
    let Some((operand, start)) = destination(instruction, word) else {
        // Moves by the way: the stack pointer of PUSH and POP, the pointers of string moves.
        return Source::Computed(vec![Location::Reg(word)]);
    };
    let register = instruction.op_register(operand);
    let Some(from) = (start + offset).checked_sub(skipped(register)) else {
        return Source::Untouched;
    };
    if from >= register.size() as u64 {
        // Writing 32 bits clears the rest; writing 8 or 16 leaves it.
        return match register.size() {
            1 | 2 => Source::Untouched,
            _ => Source::Constant,
        };
    }
    moved(instruction, from, size, accesses)
}

/// Of a move of lanes.
fn of_lanes(instruction: &Instruction, place: Place, accesses: &[AccessView]) -> Option<Source> {
    let (byte, size) = match place {
        Place::Reg { word, offset, size } => {
            let (_, start) = destination(instruction, word)?;
            (start + offset, size)
        }
        Place::Mem { address, size } => {
            let store = accesses.iter().find(|access| access.store)?;
            (address.0.checked_sub(store.address?.0)?, size)
        }
    };
    lanes::source_of(instruction, byte, size, accesses)
}

/// Of XCHG: each operand was the other.
fn exchanged(instruction: &Instruction, place: Place, accesses: &[AccessView]) -> Source {
    let (wanted, offset, size) = match place {
        Place::Reg { word, offset, size } => (word, offset, size),
        Place::Mem { address, size } => return stored(instruction, address, size, accesses),
    };
    let is = |register: Register| word(register, 0) == Some(wanted);
    let first = instruction.op0_kind() == OpKind::Register && is(instruction.op0_register());
    let (own, other) = if first { (0, 1) } else { (1, 0) };
    let register = instruction.op_register(own);
    let width = register.size() as u64;
    match offset.checked_sub(skipped(register)) {
        Some(from) if from < width => match instruction.op_kind(other) {
            OpKind::Register => {
                of_register(instruction, instruction.op_register(other), from, size)
            }
            _ => of_memory(instruction, from, size, accesses),
        },
        // Writing 32 bits clears the rest; writing 8 or 16 leaves it.
        Some(_) if width > 2 => Source::Constant,
        _ => Source::Untouched,
    }
}

/// Of a move to memory.
fn stored(
    instruction: &Instruction,
    address: Address,
    size: u64,
    accesses: &[AccessView],
) -> Source {
    let mut before = 0;
    for store in accesses.iter().filter(|access| access.store) {
        let Some(start) = store.address else {
            return Source::AddressUnknown;
        };
        let end = start.0.wrapping_add(store.size.into());
        // A store that begins behind the place replaced a part of it: that part is the answer.
        let first = address.0.max(start.0);
        let last = address.0.saturating_add(size).min(end);
        if first < last {
            return moved(
                instruction,
                before + (first - start.0),
                last - first,
                accesses,
            );
        }
        before += u64::from(store.size);
    }
    Source::Computed(Vec::new())
}

/// `size` bytes of what a move moves, from byte `from` on.
fn moved(instruction: &Instruction, from: u64, size: u64, accesses: &[AccessView]) -> Source {
    // Each element that STOS stores is the accumulator.
    let from = match instruction.mnemonic() {
        Mnemonic::Stosb | Mnemonic::Stosw | Mnemonic::Stosd | Mnemonic::Stosq => {
            from % instruction.op_register(1).size().max(1) as u64
        }
        _ => from,
    };
    if let Some(source) = source_operand(instruction) {
        return match instruction.op_kind(source) {
            OpKind::Register => {
                of_register(instruction, instruction.op_register(source), from, size)
            }
            OpKind::Memory => of_memory(instruction, from, size, accesses),
            _ => Source::Constant,
        };
    }
    of_memory(instruction, from, size, accesses)
}

fn of_register(instruction: &Instruction, register: Register, from: u64, size: u64) -> Source {
    let width = register.size() as u64;
    let Some(from) = within(instruction, from, width) else {
        return Source::Constant;
    };
    let byte = from + skipped(register);
    match word(register, (byte / WORD) as u16) {
        Some(word) => Source::Copy(Place::Reg {
            word,
            offset: byte % WORD,
            size: size.min(width - from).min(WORD - byte % WORD),
        }),
        None => Source::Computed(Vec::new()),
    }
}

fn of_memory(instruction: &Instruction, from: u64, size: u64, accesses: &[AccessView]) -> Source {
    let loads = || accesses.iter().filter(|access| !access.store);
    let width = loads().map(|load| u64::from(load.size)).sum();
    let Some(from) = within(instruction, from, width) else {
        return Source::Constant;
    };
    let mut before = 0;
    for load in loads() {
        let offset = from - before;
        if offset < u64::from(load.size) {
            let size = size.min(u64::from(load.size) - offset);
            return load.address.map_or(Source::AddressUnknown, |address| {
                let address = address.offset(offset);
                Source::Copy(Place::Mem { address, size })
            });
        }
        before += u64::from(load.size);
    }
    Source::Computed(Vec::new())
}

/// The byte of a source of `width` bytes that byte `from` of the destination comes from: `None`
/// for zeros put in front; the sign comes from the last byte.
fn within(instruction: &Instruction, from: u64, width: u64) -> Option<u64> {
    use Mnemonic::{Cdqe, Movsx, Movsxd};
    match instruction.mnemonic() {
        _ if from < width => Some(from),
        Movsx | Movsxd | Cdqe => width.checked_sub(1),
        _ => None,
    }
}

/// The operand that a move reads; `None` where it is memory that no operand names.
fn source_operand(instruction: &Instruction) -> Option<u32> {
    use Mnemonic::*;
    match instruction.mnemonic() {
        Pop | Leave | Movsb | Movsw | Movsq | Lodsb | Lodsw | Lodsd | Lodsq => None,
        Movsd if instruction.is_string_instruction() => None,
        Push => Some(0),
        _ => Some(1),
    }
}

/// The operand by which the instruction moves something to a word, and the word's first byte in
/// that register.
fn destination(instruction: &Instruction, wanted: RegWord) -> Option<(u32, u64)> {
    if instruction.op_count() == 0 || instruction.op_kind(0) != OpKind::Register {
        return None;
    }
    if instruction.mnemonic() == Mnemonic::Push {
        return None;
    }
    let register = instruction.op_register(0);
    // VEX moves clear lanes above their own, which counts as a write of them.
    let lanes = if register.is_vector_register() { 8 } else { 1 };
    (0..lanes)
        .find(|&lane| word(register, lane) == Some(wanted))
        .map(|lane| (0, u64::from(lane) * WORD))
}

/// Bytes of the full register below a register: 1 for AH to BH.
fn skipped(register: Register) -> u64 {
    use Register::{AH, BH, CH, DH};
    u64::from(matches!(register, AH | BH | CH | DH))
}

/// `xor r, r` and `sub r, r`.
fn is_zeroing(instruction: &Instruction) -> bool {
    use Mnemonic::{Pxor, Sub, Vpxor, Vxorps, Xor, Xorps};
    let register = |operand| {
        (instruction.op_kind(operand) == OpKind::Register).then(|| instruction.op_register(operand))
    };
    match instruction.mnemonic() {
        Xor | Sub | Pxor | Xorps => register(1).is_some_and(|second| register(0) == Some(second)),
        Vpxor | Vxorps => register(2).is_some_and(|third| register(1) == Some(third)),
        _ => false,
    }
}

/// The instruction puts what it takes, widened at most, somewhere else.
fn moves(instruction: &Instruction) -> bool {
    use Mnemonic::*;
    matches!(
        instruction.mnemonic(),
        Mov | Movzx
            | Movsx
            | Movsxd
            | Movd
            | Movq
            | Movaps
            | Movups
            | Movapd
            | Movupd
            | Movdqa
            | Movdqu
            | Lddqu
            | Vmovaps
            | Vmovups
            | Vmovapd
            | Vmovupd
            | Vmovdqa
            | Vmovdqu
            | Vmovdqu8
            | Vmovdqu32
            | Vmovdqa32
            | Vmovdqu64
            | Vmovdqa64
            | Vmovq
            | Vmovd
            | Push
            | Pop
            | Leave
            | Movnti
            | Movsb
            | Movsw
            | Movsq
            | Lodsb
            | Lodsw
            | Lodsd
            | Lodsq
            | Stosb
            | Stosw
            | Stosd
            | Stosq
    ) || instruction.mnemonic() == Movsd && instruction.op_count() == 2
        || instruction.mnemonic() == Movss
}

/// Everything that goes into what the instruction computes, each once; the stack and
/// instruction pointers and address registers of loads are no part of the value.
fn inputs(instruction: &Instruction, place: Location, accesses: &[AccessView]) -> Vec<Location> {
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(instruction);
    let lea = instruction.mnemonic() == Mnemonic::Lea;
    let address_only = |register: Register| {
        let in_memory = [instruction.memory_base(), instruction.memory_index()].contains(&register);
        let in_operand = (0..instruction.op_count()).any(|op| {
            instruction.op_kind(op) == OpKind::Register && instruction.op_register(op) == register
        });
        in_memory && !in_operand && !lea
    };
    let read = info.used_registers().iter().filter(|used| {
        let access = matches!(
            used.access(),
            OpAccess::Read | OpAccess::ReadWrite | OpAccess::CondRead | OpAccess::ReadCondWrite
        );
        access && !address_only(used.register())
    });
    let mut found: Vec<Location> = read
        .filter_map(|used| word(used.register(), 0).map(Location::Reg))
        .collect();
    if place != Location::Reg(RegWord::RSP) && !lea {
        found.retain(|&input| input != Location::Reg(RegWord::RSP));
    }
    let load = accesses.iter().find(|access| !access.store);
    found.extend(load.and_then(|load| {
        let size = load.size.into();
        load.address.map(|address| Location::Mem { address, size })
    }));
    found.sort_unstable();
    found.dedup();
    found
}

/// Registers that the addresses of the instruction's memory operands are made of, the stack pointer
/// left out: it says where a frame lies, not which object was meant.
pub(super) fn address_registers(instruction: &Instruction) -> Vec<Location> {
    if instruction.mnemonic() == Mnemonic::Lea {
        return Vec::new();
    }
    let mut factory = InstructionInfoFactory::new();
    let memory = factory.info(instruction).used_memory().iter();
    let registers = memory.flat_map(|memory| [memory.base(), memory.index()]);
    let mut found: Vec<Location> = registers
        .filter(|register| register.is_gpr())
        .filter_map(|register| word(register, 0).map(Location::Reg))
        .filter(|&register| register != Location::Reg(RegWord::RSP))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// A 64-bit word of a register: lanes for vectors.
fn word(register: Register, lane: u16) -> Option<RegWord> {
    if register.is_gpr() {
        return (lane == 0).then(|| RegWord::gpr(register.full_register().number() as u16));
    }
    if register.is_vector_register() {
        return Some(RegWord::vector(register.number() as u16, lane));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions};

    fn of(bytes: &[u8], word: RegWord, accesses: &[AccessView]) -> Source {
        with_flags(bytes, word, accesses, Value::default())
    }

    fn with_flags(bytes: &[u8], word: RegWord, accesses: &[AccessView], flags: Value) -> Source {
        let instruction = Decoder::with_ip(64, bytes, 0x1000, DecoderOptions::NONE).decode();
        source_of(
            &instruction,
            Place::of(Location::Reg(word)),
            accesses,
            flags,
        )
    }

    fn register(word: RegWord, offset: u64, size: u64) -> Source {
        Source::Copy(Place::Reg { word, offset, size })
    }

    const RAX: Location = Location::Reg(RegWord::RAX);
    const RBX: Location = Location::Reg(RegWord::RBX);
    const RCX: Location = Location::Reg(RegWord::RCX);

    #[test]
    fn address_registers_are_no_input_of_a_load_but_of_a_lea() {
        let load = AccessView {
            address: Some(Address(0x10)),
            address_certain: true,
            address_assumed: true,
            size: 8,
            store: false,
            value: Value::default(),
        };
        let memory = Location::Mem {
            address: Address(0x10),
            size: 8,
        };
        // add rax,[rbx+rcx]
        assert_eq!(
            of(&[0x48, 0x03, 0x04, 0x0b], RegWord::RAX, &[load]),
            Source::Computed(vec![RAX, memory])
        );
        // lea rax,[rbx+rcx]
        assert_eq!(
            of(&[0x48, 0x8d, 0x04, 0x0b], RegWord::RAX, &[]),
            Source::Computed(vec![RCX, RBX])
        );
    }

    #[test]
    fn moves_hand_on_the_bytes_they_move() {
        let check = |bytes: &[u8], expect| assert_eq!(of(bytes, RegWord::RAX, &[]), expect);
        check(&[0x48, 0x89, 0xd8], register(RegWord::RBX, 0, 8)); // mov rax,rbx
        check(&[0x89, 0xd8], register(RegWord::RBX, 0, 4)); // mov eax,ebx
        check(&[0x0f, 0xb6, 0xc7], register(RegWord::RBX, 1, 1)); // movzx eax,bh
        check(&[0xb8, 1, 0, 0, 0], Source::Constant); // mov eax,1
        check(&[0x31, 0xc0], Source::Constant); // xor eax,eax
        check(&[0x31, 0xd8], Source::Computed(vec![RAX, RBX])); // xor eax,ebx
        check(&[0xb4, 0x01], Source::Untouched); // mov ah,1
        check(&[0x0f, 0x05], Source::SystemCall);
    }

    #[test]
    fn lanes_are_followed_one_by_one() {
        let (low, high) = (RegWord::vector(0, 0), RegWord::vector(0, 1));
        let check = |bytes: &[u8], word, expect| assert_eq!(of(bytes, word, &[]), expect);
        let lane = |register, lane| self::register(RegWord::vector(register, lane), 0, 8);
        // punpcklqdq xmm0,xmm1
        check(&[0x66, 0x0f, 0x6c, 0xc1], low, Source::Untouched);
        check(&[0x66, 0x0f, 0x6c, 0xc1], high, lane(1, 0));
        // vpunpckhqdq xmm0,xmm1,xmm2
        check(&[0xc5, 0xf1, 0x6d, 0xc2], low, lane(1, 1));
        check(&[0xc5, 0xf1, 0x6d, 0xc2], high, lane(2, 1));
        // pinsrq xmm0,rbx,1
        let insert = [0x66, 0x48, 0x0f, 0x3a, 0x22, 0xc3, 1];
        check(&insert, high, register(RegWord::RBX, 0, 8));
        check(&insert, low, Source::Untouched);
        // vextracti128 xmm0,ymm1,1
        let extract = [0xc4, 0xe3, 0x7d, 0x39, 0xc8, 1];
        check(&extract, low, lane(1, 2));
        check(&extract, RegWord::vector(0, 2), Source::Constant);
    }

    #[test]
    fn conditional_moves_and_exchanges_have_one_source_where_it_is_known() {
        let cmove = [0x48, 0x0f, 0x44, 0xc3]; // cmove rax,rbx
        let zero = |bits| Value {
            bits,
            known: 1 << 6,
            certain: 1 << 6,
            assumed: 1 << 6,
        };
        let taken = with_flags(&cmove, RegWord::RAX, &[], zero(1 << 6));
        assert_eq!(taken, register(RegWord::RBX, 0, 8));
        let left = with_flags(&cmove, RegWord::RAX, &[], zero(0));
        assert_eq!(left, Source::Untouched);
        assert!(matches!(of(&cmove, RegWord::RAX, &[]), Source::Computed(_)));
        let xchg = [0x48, 0x87, 0xd8]; // xchg rax,rbx
        assert_eq!(of(&xchg, RegWord::RAX, &[]), register(RegWord::RBX, 0, 8));
        assert_eq!(of(&xchg, RegWord::RBX, &[]), register(RegWord::RAX, 0, 8));
    }

    #[test]
    fn the_stack_pointer_moves_by_a_constant() {
        let own = || vec![Location::Reg(RegWord::RSP)];
        let check = |bytes: &[u8], accesses: &[AccessView]| {
            let found = of(bytes, RegWord::RSP, accesses);
            assert_eq!(found, Source::Computed(own()), "{bytes:x?}");
        };
        let top = AccessView {
            address: Some(Address(0x7000)),
            address_certain: true,
            address_assumed: true,
            size: 8,
            store: false,
            value: Value::default(),
        };
        check(&[0x50], &[]); // push rax
        check(&[0xc3], &[top]); // ret
        check(&[0xe8, 0, 0, 0, 0], &[]); // call
    }
}
