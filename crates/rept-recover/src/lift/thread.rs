//! System calls that make a thread: what the kernel reads for it, and what it begins with
//! (clone(2); `kernel_clone` and `copy_thread` of Linux).

use crate::effect::{Effect, NewThread};
use crate::lift::builder::{Builder, Place};
use crate::lift::system_call;
use rept_trace::{Address, RegWord};

const CLONE: u32 = 56;
const CLONE3: u32 = 435;
/// Bit of the flags: the new thread gets an FS base of its own (CLONE_SETTLS).
const SET_TLS: u32 = 19;
/// Fields of `struct clone_args`.
const PIDFD: u32 = 8;
const CHILD_TID: u32 = 16;
const PARENT_TID: u32 = 24;
const STACK: u32 = 40;
const STACK_SIZE: u32 = 48;
const TLS: u32 = 56;

/// Lowers `syscall` where its number is one that makes threads; `None` where it is not.
pub(crate) fn lift_thread_maker(
    bytes: &[u8],
    at: Address,
    number: u32,
    live_flags: u16,
) -> Option<Effect> {
    let builder = system_call(bytes, at, live_flags)?;
    match number {
        CLONE => by_registers(&builder),
        CLONE3 => by_structure(&builder),
        _ => return None,
    }
    Some(builder.finish(true))
}

/// clone: flags in rdi, the stack pointer in rsi, the FS base in r8.
fn by_registers(builder: &Builder) {
    let [flags, stack, tls] =
        [RegWord::RDI, RegWord::RSI, RegWord::gpr(8)].map(|word| builder.input(word));
    let own = builder.select(flags.bit(SET_TLS), tls, builder.input(RegWord::FS_BASE));
    builder.new_thread(stack, own);
}

/// clone3: `struct clone_args` at rdi.
fn by_structure(builder: &Builder) {
    let arguments = Place {
        address: builder.input(RegWord::RDI).word,
        offset: 0,
    };
    let field = |offset| builder.load(arguments.at(offset), 8);
    let (flags, tls) = (field(0), field(TLS));
    // Where the kernel will write, the table of system calls finds there.
    for pointer in [PIDFD, CHILD_TID, PARENT_TID] {
        field(pointer);
    }
    let stack = field(STACK) + field(STACK_SIZE);
    let own = builder.select(flags.bit(SET_TLS), tls, builder.input(RegWord::FS_BASE));
    builder.new_thread(stack, own);
}

impl Builder {
    /// States what a new thread begins with.
    fn new_thread(&self, stack_pointer: super::value::Val<'_>, fs_base: super::value::Val<'_>) {
        self.promote(stack_pointer.word);
        self.promote(fs_base.word);
        self.parts.borrow_mut().new_thread = Some(NewThread {
            stack_pointer: stack_pointer.word,
            fs_base: fs_base.word,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::Bits;

    const SYSCALL: &[u8] = &[0x0f, 0x05];

    /// What the new thread begins with, by the inputs and the fields that the kernel reads.
    fn begins(number: u32, inputs: &[(RegWord, u64)], fields: &[(u32, u64)]) -> [Option<u64>; 2] {
        let effect = lift_thread_maker(SYSCALL, Address(0x1000), number, 0).expect("makes threads");
        let mut words = effect.template.to_vec();
        for (word, register) in words.iter_mut().zip(&effect.reads) {
            if let Some(&(_, value)) = inputs.iter().find(|(name, _)| name == register) {
                *word = Bits::constant(value);
            }
        }
        for access in &effect.accesses {
            if let Some(&(_, value)) = fields.iter().find(|(at, _)| *at == access.offset) {
                words[usize::from(access.data.0)] = Bits::constant(value);
            }
        }
        effect.narrow(&mut words).expect("no contradiction");
        let new = effect.new_thread.expect("it is said");
        [new.stack_pointer, new.fs_base].map(|word| words[usize::from(word.0)].get())
    }

    #[test]
    fn clone_takes_registers() {
        let set_tls = |flags| {
            [
                (RegWord::RDI, flags),
                (RegWord::RSI, 0x7000),
                (RegWord::gpr(8), 0x8000),
                (RegWord::FS_BASE, 0x9000),
            ]
        };
        assert_eq!(
            begins(CLONE, &set_tls(0x3d_0f00), &[]),
            [Some(0x7000), Some(0x8000)]
        );
        assert_eq!(
            begins(CLONE, &set_tls(0x5_0f00), &[]),
            [Some(0x7000), Some(0x9000)]
        );
    }

    #[test]
    fn clone3_takes_a_structure() {
        let fields = [(0, 0x3d_0f00), (40, 0x7000), (48, 0x800), (56, 0x8000)];
        assert_eq!(
            begins(CLONE3, &[(RegWord::FS_BASE, 0x9000)], &fields),
            [Some(0x7800), Some(0x8000)]
        );
    }

    #[test]
    fn other_calls_make_none() {
        assert_eq!(lift_thread_maker(SYSCALL, Address(0), 57, 0), None);
    }

    #[test]
    fn registers_are_written_as_by_any_call() {
        let plain = crate::lift::lift(SYSCALL, Address(0), 64, 0);
        for number in [CLONE, CLONE3] {
            let maker = lift_thread_maker(SYSCALL, Address(0), number, 0).expect("makes threads");
            let written = |effect: &Effect| effect.writes.iter().map(|w| w.0).collect::<Vec<_>>();
            assert_eq!(written(&maker), written(&plain));
            assert_eq!(maker.flow, plain.flow);
        }
    }
}
