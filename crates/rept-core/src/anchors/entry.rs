//! The first instruction of a process: the kernel cleared the registers, and the stack pointer is
//! where it put the argument count.

use super::number;
use crate::dump::{AT_BASE, AT_ENTRY, Dump, auxiliary};
use rept_recover::{Anchor, AnchorPoint};
use rept_trace::{Address, RegWord, ThreadId, Trace};

/// MXCSR as the kernel initialises it: all exceptions masked.
const INITIAL_MXCSR: u64 = 0x1f80;

/// The anchor at the process's first instruction, when the main thread's trace begins there.
pub(super) fn anchor(trace: &Trace, dump: &Dump) -> Option<Anchor> {
    let thread = ThreadId(dump.process()?);
    let main = trace.thread(thread)?;
    let first = main.address(&trace.code, 0)?;
    // It is executed once: what was lost before it was not this program.
    if first != entry(dump)? {
        return None;
    }
    // A stack that was overrun does not show any more where it began.
    let stack_pointer = dump.entry_stack().map(|stack| stack.pointer);
    Some(Anchor {
        thread,
        at: AnchorPoint::Entry,
        words: initial_words(stack_pointer).collect(),
        measured: false,
    })
}

/// Registers as `ELF_PLAT_INIT`, `start_thread` and `fpu_flush_thread` of Linux leave them.
fn initial_words(stack_pointer: Option<u64>) -> impl Iterator<Item = (RegWord, u64)> {
    let general = (0..16).map(RegWord::gpr);
    let vectors = (0..16).flat_map(|number| (0..4).map(move |lane| RegWord::vector(number, lane)));
    let others = [RegWord::FLAGS, RegWord::FS_BASE, RegWord::GS_BASE];
    let words = general.chain(others).chain(vectors);
    words
        .filter_map(move |word| match word {
            RegWord::RSP => Some((word, stack_pointer?)),
            _ => Some((word, 0)),
        })
        .chain([(RegWord::MXCSR, INITIAL_MXCSR)])
}

/// Where the kernel started the process: in its interpreter, or in the program when that has none.
fn entry(dump: &Dump) -> Option<Address> {
    match auxiliary(dump.auxv(), AT_BASE)? {
        0 => auxiliary(dump.auxv(), AT_ENTRY).map(Address),
        base => interpreter_entry(dump, base),
    }
}

/// `e_entry` of the file at `base`, in the address space.
fn interpreter_entry(dump: &Dump, base: u64) -> Option<Address> {
    const E_ENTRY: u64 = 24;
    const MAGIC: u64 = u32::from_le_bytes(*b"\x7fELF") as u64;
    let memory = dump.memory();
    if number(memory, Address(base), 4)? != MAGIC {
        return None;
    }
    let own = number(memory, Address(base).offset(E_ENTRY), 8)?;
    let module = dump.modules().iter().find(|module| module.start.0 == base);
    let bias = module.map_or(base, |module| module.bias);
    Some(Address(own.wrapping_add(bias)))
}
