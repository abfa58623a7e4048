//! The chain of moves that brought a value where it was used.

use super::past::Past;
use crate::score::{is_read, is_write};
use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};
use rept_recover::history::{AccessView, Position};
use rept_trace::Address;

/// Links followed at most.
const MAX_LINKS: usize = 64;

/// One step on the way of a value, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// The step copied it from a register.
    Copy { at: Position, from: Register },
    /// The step loaded it from memory.
    Load { at: Position, load: AccessView },
    /// The step stored it to memory; so many stores with unknown addresses came after.
    Store {
        at: Position,
        store: AccessView,
        uncertain: u64,
    },
}

/// Why the chain goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The step made the value: a computation, a constant, the result of a system call.
    Made { at: Position },
    /// The register was not written since the trace begins.
    RegisterBefore { register: Register },
    /// No store to the address since the trace begins.
    MemoryBefore { address: Address },
    /// The step loaded it from an address that is not known.
    AddressUnknown { at: Position },
    /// The chain is longer than anybody wants to read.
    TooLong,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trail {
    pub(crate) links: Vec<Link>,
    pub(crate) end: End,
}

/// Where the bytes in question are: at most 8 of them.
#[derive(Clone, Copy)]
enum Place {
    /// `size` bytes of a register from byte `offset` on.
    Register {
        register: Register,
        offset: u64,
        size: u64,
    },
    Memory {
        address: Address,
        size: u64,
    },
}

/// Follows the value that `register` holds at `at` back to where it was made.
pub(crate) fn trail(past: &Past<'_>, at: Position, register: Register) -> Trail {
    let size = register.size().min(8) as u64;
    let register = register.full_register();
    follow(
        past,
        at,
        Place::Register {
            register,
            offset: 0,
            size,
        },
    )
}

/// The same for `size` bytes of memory, 1 to 8.
pub(crate) fn memory_trail(past: &Past<'_>, at: Position, address: Address, size: u64) -> Trail {
    follow(past, at, Place::Memory { address, size })
}

fn follow(past: &Past<'_>, mut before: Position, mut place: Place) -> Trail {
    let mut links = Vec::new();
    while links.len() < MAX_LINKS {
        let found = match place {
            Place::Register {
                register,
                offset,
                size,
            } => definition(past, before, register, offset, size),
            Place::Memory { address, size } => store(past, before, address, size),
        };
        match found {
            Ok((link, at, next)) => {
                links.push(link);
                (before, place) = (at, next);
            }
            Err((link, end)) => {
                links.extend(link);
                return Trail { links, end };
            }
        }
    }
    Trail {
        links,
        end: End::TooLong,
    }
}

/// A link, its position and where to look on; or perhaps a last link, and the end.
type Found = Result<(Link, Position, Place), (Option<Link>, End)>;

fn definition(
    past: &Past<'_>,
    before: Position,
    register: Register,
    offset: u64,
    size: u64,
) -> Found {
    let Some(at) = past.last_definition(before, register) else {
        return Err((None, End::RegisterBefore { register }));
    };
    let made = Err((None, End::Made { at }));
    let Some(instruction) = past.instruction(at) else {
        return made;
    };
    if !moves(&instruction) || !writes_destination(&instruction, register) {
        return made;
    }
    match source(&instruction) {
        Source::Register(from) => {
            let register = from.full_register();
            let size = size.min(from.size() as u64);
            Ok((
                Link::Copy { at, from },
                at,
                Place::Register {
                    register,
                    offset,
                    size,
                },
            ))
        }
        Source::Memory => {
            let accesses = past.history.accesses(at);
            let load = accesses.into_iter().find(|view| !view.store);
            let Some((load, start)) = load.and_then(|load| Some((load, load.address?))) else {
                return Err((None, End::AddressUnknown { at }));
            };
            let address = start.offset(offset);
            let size = size.min(u64::from(load.size));
            Ok((Link::Load { at, load }, at, Place::Memory { address, size }))
        }
        Source::Other => made,
    }
}

fn store(past: &Past<'_>, before: Position, address: Address, size: u64) -> Found {
    let Some(last) = past.last_write(before, address, size) else {
        return Err((None, End::MemoryBefore { address }));
    };
    let at = last.at;
    let link = Link::Store {
        at,
        store: last.store,
        uncertain: last.uncertain,
    };
    let made = Err((Some(link), End::Made { at }));
    let Some(instruction) = past.instruction(at).filter(moves) else {
        return made;
    };
    let accesses = past.history.accesses(at);
    let start = accesses
        .iter()
        .find(|view| view.store)
        .and_then(|view| view.address);
    // A store that begins behind the place replaced a part of it: that part is the answer.
    let Some(offset) = start.and_then(|start| address.0.checked_sub(start.0)) else {
        return made;
    };
    match source(&instruction) {
        Source::Register(from) => {
            let register = from.full_register();
            Ok((
                link,
                at,
                Place::Register {
                    register,
                    offset,
                    size,
                },
            ))
        }
        Source::Memory => match twin(&accesses, address) {
            Some(address) => Ok((link, at, Place::Memory { address, size })),
            None => Err((Some(link), End::AddressUnknown { at })),
        },
        Source::Other => made,
    }
}

/// For a memory-to-memory move: where the byte stored to `address` was loaded from.
fn twin(accesses: &[AccessView], address: Address) -> Option<Address> {
    let loads = accesses.iter().filter(|view| !view.store);
    let stores = accesses.iter().filter(|view| view.store);
    loads.zip(stores).find_map(|(load, store)| {
        let offset = address.0.wrapping_sub(store.address?.0);
        (offset < u64::from(store.size)).then_some(load.address?.offset(offset))
    })
}

enum Source {
    Register(Register),
    Memory,
    Other,
}

/// What a move moves.
fn source(instruction: &Instruction) -> Source {
    use Mnemonic::{Movsb, Movsd, Movsq, Movsw, Pop, Push};
    let operand = match instruction.mnemonic() {
        Pop | Movsb | Movsw | Movsq => return Source::Memory,
        Movsd if instruction.is_string_instruction() => return Source::Memory,
        Push => 0,
        _ => 1,
    };
    match instruction.op_kind(operand) {
        OpKind::Register => Source::Register(instruction.op_register(operand)),
        OpKind::Memory => Source::Memory,
        _ => Source::Other,
    }
}

/// The instruction moves data without changing it.
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
            | Movdqa
            | Movdqu
            | Movapd
            | Movupd
            | Vmovaps
            | Vmovups
            | Vmovdqa
            | Vmovdqu
            | Vmovdqu8
            | Vmovdqu64
            | Vmovdqa64
            | Vmovq
            | Vmovd
            | Push
            | Pop
            | Movbe
            | Movsb
            | Movsw
            | Movsq
            | Movsd
            | Movnti
    )
}

/// `register` is what the move is for, not a side effect (`pop` also writes rsp).
fn writes_destination(instruction: &Instruction, register: Register) -> bool {
    instruction.op_kind(0) == OpKind::Register
        && instruction.op_register(0).full_register() == register
}

/// The register by which the faulting instruction got its address: the base of the memory
/// operand that covers the fault, of whose address `value` gives the registers' values.
pub(crate) fn faulting_operand(
    instruction: &Instruction,
    fault: Option<Address>,
    value: impl Fn(Register) -> Option<u64>,
) -> Option<Register> {
    let mut factory = InstructionInfoFactory::new();
    let accessed = |access: OpAccess| is_read(access) || is_write(access);
    let operands = factory.info(instruction).used_memory().iter();
    let candidates: Vec<_> = operands
        .filter(|memory| accessed(memory.access()))
        .collect();
    let covers = |memory: &&&iced_x86::UsedMemory| {
        let start = memory.virtual_address(0, |register, _, _| value(register));
        let size = memory.memory_size().size().max(1) as u64;
        fault
            .zip(start)
            .is_some_and(|(fault, start)| fault.0.wrapping_sub(start) < size)
    };
    let memory = candidates.iter().find(covers).or(candidates.first())?;
    [memory.base(), memory.index()]
        .into_iter()
        .find(|&register| register != Register::None && register != Register::RIP)
}
