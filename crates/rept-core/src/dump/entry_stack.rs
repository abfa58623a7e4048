//! What the kernel put onto the stack before the first instruction of a process.
//!
//! Upwards from rsp (System V ABI, AMD64 supplement, figure 3.9): argc, argv and a null, envp and a
//! null, the auxiliary vector; above them the strings of both lists, one behind the other, and the
//! path that was executed. The vector's bytes are in the dump (`NT_AUXV`), so that it can be found
//! again in the final stack. Programs exchange the pointers below it (`getopt` puts options first,
//! `unsetenv` moves variables down), but seldom write into the strings, which tell where the
//! pointers pointed.

use super::{AT_EXECFN, auxiliary};
use rept_trace::{Address, Memory};
use std::ops::Range;

const AT_PLATFORM: u64 = 15;
const AT_BASE_PLATFORM: u64 = 24;
const AT_RANDOM: u64 = 25;
/// Bytes that AT_RANDOM points to.
const RANDOM_BYTES: u64 = 16;

/// Lowest address that an argument or environment string can have (`vm.mmap_min_addr`).
const LOWEST: u64 = 0x1000;

/// The stack of the process's first instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntryStack {
    /// The stack pointer: the address of argc.
    pub(crate) pointer: u64,
    /// What is below it in the final mapping, never written yet.
    pub(crate) below: Range<u64>,
    /// argc and both lists as the kernel laid them, little endian, from `pointer` on; empty if their
    /// strings do not lie any more as it laid them.
    pub(crate) lists: Vec<u8>,
    /// What the final memory holds as it was then, ascending: the auxiliary vector, and, if the strings
    /// lie as they were laid, all to the end of the stack but for the nulls that cut a string in two.
    pub(crate) unchanged: Vec<Range<u64>>,
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
        let words = &words[..index];
        let strings = strings(memory, auxv);
        let whole = strings.as_ref().and_then(|strings| lists(words, strings));
        let laid = whole
            .map(|lists| (lists, Vec::new()))
            .or_else(|| lists_of_cut(words, strings.as_ref()?));
        let argc = match &laid {
            Some((lists, _)) => index - lists.len(),
            None => argument_count_below(words)?,
        };
        let at = |index: usize| start.checked_add(8 * index as u64);
        let pointer = at(argc).filter(|at| at % 16 == 0)?;
        Some(EntryStack {
            pointer,
            below: stack.start.0..pointer,
            unchanged: match &laid {
                Some((_, cuts)) => between(at(index)?, cuts, stack.end.0),
                None => between(at(index)?, &[], at(index + vector.len())?),
            },
            lists: laid
                .into_iter()
                .flat_map(|(lists, _)| lists)
                .flat_map(u64::to_le_bytes)
                .collect(),
        })
    }

    /// Where the strings of the arguments and the environment begin, if they lie as they were laid.
    pub(crate) fn first_string(&self) -> Option<u64> {
        let first = self.lists.get(8..)?.first_chunk()?;
        Some(u64::from_le_bytes(*first))
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

/// Where each string of the arguments and the environment begins: one behind the other, as the kernel
/// copies them, up to the path that was executed. Below them is nothing but the random bytes, the names
/// of the platform and zeros.
fn strings(memory: &dyn Memory, auxv: &[(u64, u64)]) -> Option<Vec<u64>> {
    let end = auxiliary(auxv, AT_EXECFN)?;
    let names = [AT_PLATFORM, AT_BASE_PLATFORM].into_iter();
    let names = names.filter_map(|name| behind_string(memory, auxiliary(auxv, name)?));
    let above = auxiliary(auxv, AT_RANDOM)?.checked_add(RANDOM_BYTES)?;
    let above = names.filter(|&name| name < end).fold(above, u64::max);
    let len: usize = end.checked_sub(above)?.try_into().ok()?;
    let run = memory.bytes(Address(above))?.get(..len)?;
    let (&0, text) = run.split_last()? else {
        return None;
    };
    let first = text.iter().position(|&byte| byte != 0)?;
    let nulls = (first..)
        .zip(&text[first..])
        .filter(|&(_, &byte)| byte == 0);
    let starts = std::iter::once(first).chain(nulls.map(|(at, _)| at + 1));
    Some(starts.map(|at| above + at as u64).collect())
}

/// argc, the arguments, a null, the environment and a null, of these strings, that lay where `words` end.
/// The name of the program, which no one exchanges, must still be in its place.
fn lists(words: &[u64], strings: &[u64]) -> Option<Vec<u64>> {
    let now = &words[words.len().checked_sub(strings.len() + 3)?..];
    let count = usize::try_from(*now.first()?).ok()?;
    let (arguments, environment) = strings.split_at_checked(count)?;
    if arguments.first() != now.get(1) {
        return None;
    }
    let mut laid = vec![count as u64];
    laid.extend(arguments);
    laid.push(0);
    laid.extend(environment);
    laid.push(0);
    Some(laid)
}

/// The same where the program wrote nulls into strings (`strtok`), and where those are: there are more
/// strings then than the lists tell of, which still lie as they were laid, in the order of their strings.
fn lists_of_cut(words: &[u64], strings: &[u64]) -> Option<(Vec<u64>, Vec<u64>)> {
    let lists = &words[argument_count_below(words)?..];
    let mut listed = lists[1..].iter().filter(|&&word| word != 0).peekable();
    // argc, and one null behind each list: `unsetenv` leaves more.
    if listed.clone().count() + 3 != lists.len() || listed.peek() != strings.first().as_ref() {
        return None;
    }
    let mut cuts = Vec::new();
    for &string in strings {
        if listed.next_if_eq(&&string).is_none() {
            cuts.push(string - 1);
        }
    }
    listed.next().is_none().then(|| (lists.to_vec(), cuts))
}

/// What lies between `start` and `end` but for these bytes, ascending.
fn between(start: u64, but: &[u64], end: u64) -> Vec<Range<u64>> {
    let starts = std::iter::once(start).chain(but.iter().map(|at| at + 1));
    let ends = but.iter().copied().chain([end]);
    starts.zip(ends).map(|(start, end)| start..end).collect()
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

    /// `prog x` with one variable, its strings laid from 0xf00 on, both lists as given.
    fn stack(lists: [u64; 5]) -> (Stack, Vec<(u64, u64)>) {
        let auxv = vec![(AT_RANDOM, RANDOM), (AT_EXECFN, BASE + 0xf0b)];
        let mut page = vec![0u8; 0x1000];
        page[0xe00..0xe10].fill(7);
        page[0xf00..0xf10].copy_from_slice(b"prog\0x\0A=1\0path\0");
        let vector = [AT_RANDOM, RANDOM, AT_EXECFN, BASE + 0xf0b, 0, 0];
        let words = [2].iter().chain(&lists).chain(&vector);
        for (word, at) in words.zip((0x800..).step_by(8)) {
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

    /// Starts and ends in the page.
    fn unchanged(found: &EntryStack) -> Vec<(u64, u64)> {
        let ranges = found.unchanged.iter();
        ranges.map(|of| (of.start - BASE, of.end - BASE)).collect()
    }

    const LAID: [u64; 5] = [BASE + 0xf00, BASE + 0xf05, 0, BASE + 0xf07, 0];

    #[track_caller]
    fn check_lists(now: [u64; 5], laid: bool) {
        let (memory, auxv) = stack(now);
        let found = EntryStack::find(&memory, &auxv).unwrap();
        assert_eq!(found.pointer, BASE + 0x800);
        assert_eq!(found.below, BASE..BASE + 0x800);
        let words = [2].into_iter().chain(LAID).flat_map(u64::to_le_bytes);
        let lists: Vec<u8> = words.filter(|_| laid).collect();
        assert_eq!(found.lists, lists);
        assert_eq!(found.first_string(), laid.then_some(BASE + 0xf00));
        let end = if laid { 0x1000 } else { 0x860 };
        assert_eq!(unchanged(&found), [(0x830, end)]);
    }

    #[test]
    fn what_lies_as_the_kernel_laid_it_is_unchanged() {
        check_lists(LAID, true);
    }

    #[test]
    fn arguments_and_variables_that_were_exchanged_are_found_by_their_strings() {
        check_lists([BASE + 0xf00, 0, 0, BASE + 0xf07, 0], true);
        check_lists([BASE + 0xf00, BASE + 0xf05, 0, 0, 0], true);
    }

    #[test]
    fn without_the_program_s_name_the_vector_is_left() {
        check_lists([BASE + 0xf05, BASE + 0xf00, 0, BASE + 0xf07, 0], false);
    }

    #[test]
    fn nulls_that_cut_strings_in_two_are_not_the_kernel_s() {
        let (mut memory, auxv) = stack(LAID);
        memory.0[0xf08] = 0;
        let found = EntryStack::find(&memory, &auxv).unwrap();
        assert_eq!(found.pointer, BASE + 0x800);
        assert_eq!(found.first_string(), Some(BASE + 0xf00));
        assert_eq!(unchanged(&found), [(0x830, 0xf08), (0xf09, 0x1000)]);
    }

    #[test]
    fn strings_that_were_cut_in_two_tell_nothing_of_lists_that_were_exchanged() {
        let (mut memory, auxv) = stack([BASE + 0xf05, BASE + 0xf00, 0, BASE + 0xf07, 0]);
        memory.0[0xf08] = 0;
        let found = EntryStack::find(&memory, &auxv).unwrap();
        assert_eq!(found.pointer, BASE + 0x800);
        assert!(found.lists.is_empty());
        assert_eq!(unchanged(&found), [(0x830, 0x860)]);
    }
}
