//! What the kernel put onto the stack before the first instruction of a process.
//!
//! Upwards from rsp (System V ABI, AMD64 supplement, figure 3.9): argc, argv and a null, envp and a
//! null, the auxiliary vector. The vector's bytes are in the dump (`NT_AUXV`), so that it can be
//! found again in the final stack, and argc below it.

use super::auxiliary;
use rept_trace::{Address, Memory};
use std::ops::Range;

const AT_RANDOM: u64 = 25;

/// Lowest address that an argument or environment string can have (`vm.mmap_min_addr`).
const LOWEST: u64 = 0x1000;

/// The stack of the process's first instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntryStack {
    /// The stack pointer: the address of argc.
    pub(crate) pointer: u64,
    /// What is below it in the final mapping, never written yet.
    pub(crate) below: Range<u64>,
    /// What the final memory holds as it was then: the auxiliary vector, or, if the strings of both
    /// lists still lie as the kernel laid them, all from argc to the end of the stack.
    pub(crate) unchanged: Range<u64>,
}

impl EntryStack {
    /// Looks for it in the final memory.
    pub(crate) fn find(memory: &dyn Memory, auxv: &[(u64, u64)]) -> Option<EntryStack> {
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
        let argc = argument_count_below(&words[..index])?;
        let at = |index: usize| start.checked_add(8 * index as u64);
        let pointer = at(argc).filter(|at| at % 16 == 0)?;
        let as_laid = lists_as_laid(memory, &words[argc..index]);
        Some(EntryStack {
            pointer,
            below: stack.start.0..pointer,
            unchanged: match as_laid {
                true => pointer..stack.end.0,
                false => at(index)?..at(index + vector.len())?,
            },
        })
    }
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

/// `words` is argc, the arguments, a null, the environment, a null, and each string begins where the
/// one before it ends, as the kernel copies them; whoever changed a list left a hole.
fn lists_as_laid(memory: &dyn Memory, words: &[u64]) -> bool {
    let Some(([count], lists)) = words.split_first_chunk() else {
        return false;
    };
    let (Ok(count), Some((0, lists))) = (usize::try_from(*count), lists.split_last()) else {
        return false;
    };
    if lists.get(count) != Some(&0) {
        return false;
    }
    let strings = lists[..count].iter().chain(&lists[count + 1..]);
    let mut expected = None;
    for &string in strings {
        if string == 0 || expected.is_some_and(|expected| expected != string) {
            return false;
        }
        expected = behind_string(memory, string);
        if expected.is_none() {
            return false;
        }
    }
    true
}

/// Where the memory behind a null-terminated string begins.
fn behind_string(memory: &dyn Memory, at: u64) -> Option<u64> {
    let run = memory.bytes(Address(at))?;
    let len = run.iter().position(|&byte| byte == 0)?;
    at.checked_add(len as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_trace::Mapping;

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

    /// A page of stack at [`BASE`].
    struct Stack(Vec<u8>, [Mapping; 1]);

    const BASE: u64 = 0x7fff_0000;
    const RANDOM: u64 = BASE + 0xe00;

    impl Memory for Stack {
        fn bytes(&self, at: Address) -> Option<&[u8]> {
            self.0.get(at.0.checked_sub(BASE)? as usize..)
        }

        fn constant_len(&self, _: Address) -> u64 {
            0
        }

        fn mappings(&self) -> &[Mapping] {
            &self.1
        }
    }

    /// `prog x` with one variable, its strings laid from 0xf00 on, the arguments' addresses as given.
    fn stack(arguments: [u64; 2]) -> (Stack, Vec<(u64, u64)>) {
        let auxv = vec![(9, 0x40_1000), (AT_RANDOM, RANDOM)];
        let mut page = vec![0u8; 0x1000];
        page[0xf00..0xf0b].copy_from_slice(b"prog\0x\0A=1\0");
        let [program, argument] = arguments;
        let words = [2, program, argument, 0, BASE + 0xf07, 0];
        let vector = [9, 0x40_1000, AT_RANDOM, RANDOM, 0, 0];
        for (word, at) in words.iter().chain(&vector).zip((0x800..).step_by(8)) {
            page[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        let mapping = Mapping {
            start: Address(BASE),
            end: Address(BASE + 0x1000),
            read: true,
            write: true,
            execute: false,
            file: None,
        };
        (Stack(page, [mapping]), auxv)
    }

    #[test]
    fn what_lies_as_the_kernel_laid_it_is_unchanged() {
        let (memory, auxv) = stack([BASE + 0xf00, BASE + 0xf05]);
        let found = EntryStack::find(&memory, &auxv).unwrap();
        assert_eq!(found.pointer, BASE + 0x800);
        assert_eq!(found.below, BASE..BASE + 0x800);
        assert_eq!(found.unchanged, BASE + 0x800..BASE + 0x1000);
    }

    #[test]
    fn of_arguments_that_were_exchanged_the_vector_is_left() {
        let (memory, auxv) = stack([BASE + 0xf05, BASE + 0xf00]);
        let found = EntryStack::find(&memory, &auxv).unwrap();
        assert_eq!(found.pointer, BASE + 0x800);
        assert_eq!(found.unchanged, BASE + 0x830..BASE + 0x860);
    }
}
