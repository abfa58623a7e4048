//! Where did this value come from?
//!
//! Backwards from writer to writer: plain moves hand the question on to their source, so do
//! computations that have one varying input; where several values meet the chain ends and
//! names them. Each link is older than the one before, so it ends.

use super::History;
use super::queries::{Location, Write};
use crate::position::Position;
use iced_x86::{
    Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register,
};
use rept_trace::{Address, RegWord};

/// Links followed at most.
const MAX_LINKS: usize = 256;

/// The way of a value, newest link first, and its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Steps that handed the value on.
    pub links: Vec<Link>,
    /// Where it began, as far as the window tells.
    pub origin: Origin,
}

/// A step that put a value where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The step.
    pub at: Position,
    /// Where it put the value.
    pub to: Location,
    /// Where it took it from; nothing for the step at which the value began.
    pub from: Option<Location>,
    /// It computed a new value from the old, rather than copied it.
    pub computed: bool,
    /// Nothing unknown can have written `to` after it.
    pub sure: bool,
}

/// Where a value began.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A constant in the code of the step.
    Constant(Position),
    /// The step made it from several values.
    Computed {
        /// The step.
        at: Position,
        /// What went in.
        inputs: Vec<Location>,
    },
    /// The kernel answered a system call with it.
    SystemCall(Position),
    /// Bytes of a file that nothing wrote to.
    File {
        /// Where they lie.
        address: Address,
    },
    /// It was there before the window.
    BeforeWindow(Location),
    /// Taken from memory at an address that is not known.
    AddressUnknown(Position),
    /// Steps are missing, or the kernel set registers here.
    Barrier(Position),
    /// The chain is longer than is followed.
    TooLong,
}

/// Where a step took the value from.
enum Source {
    Copy(Location),
    Computed(Vec<Location>),
    Constant,
    SystemCall,
    AddressUnknown,
}

impl History {
    /// Where the value of a location just before a position came from. `None` for no such position.
    pub fn explain(&self, location: Location, position: Position) -> Option<Explanation> {
        self.at(position)?;
        let mut links = Vec::new();
        let (mut place, mut before) = (location, position);
        while links.len() < MAX_LINKS {
            let written = self.last_write(place, before)?;
            let Some(at) = written.position() else {
                let origin = self.unwritten(place, &written);
                return Some(Explanation { links, origin });
            };
            if let Write::Uncertain {
                barrier: Some(barrier),
                ..
            } = written
            {
                let origin = Origin::Barrier(barrier);
                return Some(Explanation { links, origin });
            }
            let source = self.source_of(place, at);
            let next = match &source {
                Source::Copy(from) => Some(*from),
                Source::Computed(inputs) if inputs.len() == 1 => Some(inputs[0]),
                _ => None,
            };
            links.push(Link {
                at,
                to: place,
                from: next,
                computed: matches!(source, Source::Computed(_)),
                sure: matches!(written, Write::Found(_)),
            });
            match (next, source) {
                (Some(from), _) => (place, before) = (from, at),
                (None, source) => {
                    let origin = origin(source, at);
                    return Some(Explanation { links, origin });
                }
            }
        }
        let origin = Origin::TooLong;
        Some(Explanation { links, origin })
    }

    fn unwritten(&self, place: Location, written: &Write) -> Origin {
        match (place, written) {
            (
                _,
                Write::Uncertain {
                    barrier: Some(barrier),
                    ..
                },
            ) => Origin::Barrier(*barrier),
            (Location::Mem { address, .. }, _)
                if self.session.final_memory().constant_len(address) > 0 =>
            {
                Origin::File { address }
            }
            _ => Origin::BeforeWindow(place),
        }
    }

    fn source_of(&self, place: Location, at: Position) -> Source {
        let Some(ran) = self.instruction(at) else {
            return Source::Computed(Vec::new());
        };
        let mut decoder = Decoder::with_ip(
            ran.bitness.into(),
            ran.bytes,
            ran.at.0,
            DecoderOptions::NONE,
        );
        let instruction = decoder.decode();
        let load = self.load(at);
        if instruction.mnemonic() == Mnemonic::Syscall {
            return Source::SystemCall;
        }
        if instruction.is_call_near()
            || instruction.is_call_near_indirect()
            || is_zeroing(&instruction)
        {
            return Source::Constant;
        }
        if copies(instruction.mnemonic()) {
            return copied(&instruction, place, load);
        }
        Source::Computed(inputs(&instruction, place, load))
    }

    /// Everything that the step at `at` made the value of a location from.
    pub(super) fn inputs_of(&self, place: Location, at: Position) -> Vec<Location> {
        match self.source_of(place, at) {
            Source::Copy(from) => vec![from],
            Source::Computed(inputs) => inputs,
            Source::Constant | Source::SystemCall | Source::AddressUnknown => Vec::new(),
        }
    }

    /// What the step at `at` reads from memory: `None` when it reads nothing, an inner `None` when the place is not known.
    fn load(&self, at: Position) -> Option<Option<Location>> {
        let load = self.accesses(at).into_iter().find(|access| !access.store)?;
        let size = load.size.into();
        Some(load.address.map(|address| Location::Mem { address, size }))
    }
}

fn origin(source: Source, at: Position) -> Origin {
    match source {
        Source::SystemCall => Origin::SystemCall(at),
        Source::AddressUnknown => Origin::AddressUnknown(at),
        Source::Computed(inputs) if !inputs.is_empty() => Origin::Computed { at, inputs },
        _ => Origin::Constant(at),
    }
}

/// `xor r, r` and `sub r, r`.
fn is_zeroing(instruction: &Instruction) -> bool {
    let zeroes = matches!(
        instruction.mnemonic(),
        Mnemonic::Xor | Mnemonic::Sub | Mnemonic::Pxor | Mnemonic::Xorps
    );
    zeroes
        && instruction.op1_kind() == OpKind::Register
        && instruction.op0_register() == instruction.op1_register()
}

/// Instructions that put what they take, widened at most, somewhere else.
fn copies(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        mnemonic,
        Mov | Movzx
            | Movsx
            | Movsxd
            | Push
            | Pop
            | Movaps
            | Movups
            | Movapd
            | Movupd
            | Movdqa
            | Movdqu
            | Movq
            | Movd
            | Movss
            | Movsd
            | Vmovdqa
            | Vmovdqu
            | Vmovaps
            | Vmovups
            | Vmovq
            | Vmovd
            | Movsb
            | Movsw
            | Movsq
            | Lodsb
            | Lodsd
            | Lodsq
            | Stosb
            | Stosd
            | Stosq
            | Leave
            | Cdqe
    )
}

fn copied(instruction: &Instruction, place: Location, load: Option<Option<Location>>) -> Source {
    let stack_pointer = Location::Reg(RegWord::RSP);
    if place == stack_pointer {
        // PUSH, POP and LEAVE move the stack pointer by a constant.
        return Source::Computed(vec![stack_pointer]);
    }
    if let Some(load) = load {
        return load.map_or(Source::AddressUnknown, Source::Copy);
    }
    let last = instruction.op_count().saturating_sub(1);
    match instruction.op_kind(last) {
        OpKind::Register => register(instruction.op_register(last))
            .map_or(Source::Computed(Vec::new()), Source::Copy),
        _ => Source::Constant,
    }
}

/// Everything that goes into what the instruction computes, each once; the stack and
/// instruction pointers and address registers of loads are no part of the value.
fn inputs(
    instruction: &Instruction,
    place: Location,
    load: Option<Option<Location>>,
) -> Vec<Location> {
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(instruction);
    let address_only = |register: Register| {
        let in_memory = [instruction.memory_base(), instruction.memory_index()].contains(&register);
        let in_operand = (0..instruction.op_count()).any(|op| {
            instruction.op_kind(op) == OpKind::Register && instruction.op_register(op) == register
        });
        in_memory && !in_operand && instruction.mnemonic() != Mnemonic::Lea
    };
    let read = info.used_registers().iter().filter(|used| {
        let access = matches!(
            used.access(),
            OpAccess::Read | OpAccess::ReadWrite | OpAccess::CondRead | OpAccess::ReadCondWrite
        );
        access && !address_only(used.register())
    });
    let mut found: Vec<Location> = read.filter_map(|used| register(used.register())).collect();
    if place != Location::Reg(RegWord::RSP) && instruction.mnemonic() != Mnemonic::Lea {
        found.retain(|&input| input != Location::Reg(RegWord::RSP));
    }
    found.extend(load.flatten());
    found.sort_unstable();
    found.dedup();
    found
}

fn register(register: Register) -> Option<Location> {
    let word = if register.is_gpr() {
        RegWord::gpr(register.full_register().number() as u16)
    } else if register.is_vector_register() {
        RegWord::vector(register.number() as u16, 0)
    } else {
        return None;
    };
    Some(Location::Reg(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Instruction {
        Decoder::with_ip(64, bytes, 0x1000, DecoderOptions::NONE).decode()
    }

    const RAX: Location = Location::Reg(RegWord::RAX);
    const RBX: Location = Location::Reg(RegWord::RBX);
    const RCX: Location = Location::Reg(RegWord::RCX);

    #[test]
    fn address_registers_are_no_input_of_a_load_but_of_a_lea() {
        let memory = Location::Mem {
            address: Address(0x10),
            size: 8,
        };
        // add rax,[rbx+rcx]
        assert_eq!(
            inputs(&decode(&[0x48, 0x03, 0x04, 0x0b]), RAX, Some(Some(memory))),
            [RAX, memory]
        );
        // lea rax,[rbx+rcx]
        assert_eq!(
            inputs(&decode(&[0x48, 0x8d, 0x04, 0x0b]), RAX, None),
            [RCX, RBX]
        );
    }

    #[test]
    fn zeroing_reads_nothing() {
        assert!(is_zeroing(&decode(&[0x31, 0xc0])));
        assert!(!is_zeroing(&decode(&[0x31, 0xd8])));
    }

    #[test]
    fn moves_hand_on_their_source() {
        let source = |bytes: &[u8]| match copied(&decode(bytes), RAX, None) {
            Source::Copy(from) => Some(from),
            _ => None,
        };
        assert_eq!(source(&[0x48, 0x89, 0xd8]), Some(RBX));
        assert_eq!(source(&[0xb8, 1, 0, 0, 0]), None);
    }
}
