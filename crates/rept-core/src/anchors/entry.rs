//! The first instruction of a process: the kernel cleared the registers, and the stack pointer is
//! where it put the argument count.
//!
//! Stack at entry (System V ABI, AMD64 supplement, figure 3.9), upwards from rsp: argc, argv and a
//! null, envp and a null, the auxiliary vector. The vector's bytes are in the dump (NT_AUXV), so
//! that it can be found again in the final stack, and argc below it.

use super::number;
use crate::dump::Dump;
use rept_recover::{Anchor, AnchorPoint};
use rept_trace::{Address, Memory, RegWord, ThreadId, Trace};

const AT_BASE: u64 = 7;
const AT_ENTRY: u64 = 9;
const AT_RANDOM: u64 = 25;

/// Lowest address that an argument or environment string can have (`vm.mmap_min_addr`).
const LOWEST: u64 = 0x1000;

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
    let stack_pointer = argument_count(dump.memory(), dump.auxv())?;
    Some(Anchor {
        thread,
        at: AnchorPoint::Entry,
        words: initial_words(stack_pointer).collect(),
        measured: false,
    })
}

/// Registers as `ELF_PLAT_INIT`, `start_thread` and `fpu_flush_thread` of Linux leave them.
fn initial_words(stack_pointer: u64) -> impl Iterator<Item = (RegWord, u64)> {
    let general = (0..16).map(RegWord::gpr);
    let vectors = (0..16).flat_map(|number| (0..4).map(move |lane| RegWord::vector(number, lane)));
    let others = [RegWord::FLAGS, RegWord::FS_BASE, RegWord::GS_BASE];
    let words = general.chain(others).chain(vectors);
    words
        .map(move |word| match word {
            RegWord::RSP => (word, stack_pointer),
            _ => (word, 0),
        })
        .chain([(RegWord::MXCSR, INITIAL_MXCSR)])
}

fn auxiliary(auxv: &[(u64, u64)], wanted: u64) -> Option<u64> {
    let found = auxv.iter().find(|&&(kind, _)| kind == wanted);
    found.map(|&(_, value)| value)
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

/// The address of argc: the stack pointer at entry.
fn argument_count(memory: &dyn Memory, auxv: &[(u64, u64)]) -> Option<u64> {
    // The kernel puts the random bytes above the vector, in the same mapping.
    let above = auxiliary(auxv, AT_RANDOM)?;
    let mappings = memory.mappings().iter();
    let stack = mappings
        .rev()
        .find(|mapping| mapping.start.0 <= above && above < mapping.end.0)?;
    let start = stack.start.0.next_multiple_of(16);
    let words = words_below(memory, start, above)?;
    let vector: Vec<u64> = auxv
        .iter()
        .chain([&(0, 0)])
        .flat_map(|&(kind, value)| [kind, value])
        .collect();
    let index = words
        .windows(vector.len())
        .rposition(|window| window == vector)?;
    let below = argument_count_below(&words[..index])?;
    let at = start.checked_add(8 * below as u64)?;
    (at % 16 == 0).then_some(at)
}

/// The stack's 8-byte words from `start` to `end`.
fn words_below(memory: &dyn Memory, start: u64, end: u64) -> Option<Vec<u64>> {
    let len = end.checked_sub(start)?.try_into().ok()?;
    let run = memory.bytes(Address(start))?;
    let words = run.get(..len)?.chunks_exact(8);
    Some(
        words
            .map(|word| u64::from_le_bytes(word.try_into().expect("chunks of eight")))
            .collect(),
    )
}

/// Index of argc, going down from the vector: nulls, environment strings, a null, as many argument
/// strings as the word below them says. (`unsetenv` moves strings down and leaves more nulls.)
fn argument_count_below(words: &[u64]) -> Option<usize> {
    let (mut nulls, mut strings) = (0, 0u64);
    for (index, &word) in words.iter().enumerate().rev() {
        match word {
            0 => (nulls, strings) = (nulls + 1, 0),
            count if count == strings && nulls >= 2 => return Some(index),
            string if string >= LOWEST => strings += 1,
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::argument_count_below;

    #[track_caller]
    fn check(words: &[u64], expect: Option<usize>) {
        assert_eq!(argument_count_below(words), expect, "{words:x?}");
    }

    #[test]
    fn two_arguments_and_an_environment() {
        check(
            &[9, 9, 2, 0x7000, 0x7010, 0, 0x7020, 0x7030, 0x7040, 0],
            Some(2),
        );
    }

    #[test]
    fn no_environment() {
        check(&[1, 0x7000, 0, 0], Some(0));
    }

    #[test]
    fn a_variable_was_unset() {
        check(&[1, 0x7000, 0, 0x7020, 0, 0], Some(0));
    }

    #[test]
    fn a_count_that_does_not_fit_is_none() {
        check(&[3, 0x7000, 0x7010, 0, 0x7020, 0], None);
        check(&[0x7000, 0, 0], None);
        check(&[], None);
    }
}
