//! What the kernel reads of memory that decides where a system call writes and how much: pointers and
//! lengths in structures, arrays of buffers. Which those are, the table of system calls says.

use crate::effect::Effect;
use crate::lift::builder::{Builder, Place};
use crate::lift::system_call;
use crate::syscall::{Argument, Case, Length, Operand, Write, lookup};
use rept_trace::Address;

/// Entries of a `struct iovec` array that are looked at: the kernel takes more (UIO_MAXIOV), programs
/// seldom have them.
const MAX_BUFFERS: u32 = 8;

/// Lowers `syscall` where what its number writes depends on memory; `None` where it does not.
pub(crate) fn lift_reader(
    bytes: &[u8],
    at: Address,
    number: u32,
    live_flags: u16,
) -> Option<Effect> {
    let call = lookup(u64::from(number))?;
    let builder = system_call(bytes, at, live_flags)?;
    for case in &call.cases {
        read_for(&builder, case);
    }
    let reads = !builder.parts.borrow().accesses.is_empty();
    reads.then(|| builder.finish(true))
}

fn read_for(builder: &Builder, case: &Case) {
    for condition in &case.when {
        read_operand(builder, condition.operand);
    }
    for write in &case.writes {
        read_operand(builder, write.pointer);
        match write.length {
            Length::At(argument) => {
                builder.load(place(builder, argument, 0), 4);
            }
            Length::Pointed(argument, offset) => {
                read_operand(builder, Operand::Pointed(argument, offset));
            }
            Length::Vector(count) => {
                read_operand(builder, count);
                read_vector(builder, write);
            }
            _ => {}
        }
    }
}

fn read_operand(builder: &Builder, operand: Operand) {
    if let Operand::Pointed(argument, offset) = operand {
        builder.load(place(builder, argument, offset as u32), 8);
    }
}

/// Pointers and lengths of the first buffers.
fn read_vector(builder: &Builder, write: &Write) {
    let array = match write.pointer {
        Operand::Argument(argument) => place(builder, argument, write.offset as u32),
        Operand::Pointed(argument, offset) => Place {
            address: builder
                .load(place(builder, argument, offset as u32), 8)
                .word,
            offset: write.offset as u32,
        },
    };
    for offset in (0..16 * MAX_BUFFERS).step_by(8) {
        builder.load(array.at(offset), 8);
    }
}

fn place(builder: &Builder, argument: Argument, offset: u32) -> Place {
    Place {
        address: builder.input(argument.word()).word,
        offset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_trace::RegWord;

    /// What is read, as register (none: a pointer that was read itself), offset and bytes.
    fn reads(number: u32) -> Vec<(Option<RegWord>, u32, u8)> {
        let effect = lift_reader(&[0x0f, 0x05], Address(0x1000), number, 0);
        let effect = effect.expect("depends on memory");
        assert!(effect.accesses.iter().all(|access| !access.store));
        let register = |word: u16| effect.reads.get(usize::from(word)).copied();
        let accesses = effect.accesses.iter();
        accesses
            .map(|access| (register(access.address.0), access.offset, access.size))
            .collect()
    }

    #[test]
    fn the_array_of_buffers_is_read() {
        let expect: Vec<_> = (0..16).map(|n| (Some(RegWord::RSI), 8 * n, 8)).collect();
        assert_eq!(reads(19), expect, "readv");
    }

    #[test]
    fn lengths_and_pointers_in_structures_are_read() {
        assert_eq!(reads(55), [(Some(RegWord::gpr(8)), 0, 4)], "getsockopt");
        let message = reads(47);
        let header = message.iter().filter(|of| of.0.is_some());
        let mut header: Vec<_> = header.copied().collect();
        header.sort_unstable_by_key(|of| of.1);
        let expect = [0, 16, 24, 32, 40].map(|offset| (Some(RegWord::RSI), offset, 8));
        assert_eq!(header, expect, "recvmsg");
        assert_eq!(message.len(), expect.len() + 16);
    }

    #[test]
    fn calls_that_read_no_such_thing_are_as_any() {
        for number in [0, 1, 9, u32::MAX] {
            assert_eq!(lift_reader(&[0x0f, 0x05], Address(0), number, 0), None);
        }
    }
}
