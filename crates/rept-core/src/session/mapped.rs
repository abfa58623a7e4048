//! Which system call made which mapping.
//!
//! The kernel writes a record for each mapping made or grown, on the thread that asks for it and
//! while it is in the system call (of mappings that cannot be executed if perf was told `--data`).
//! The call is the only one among those that can make mappings that may have run at that time.

use super::files::Files;
use super::numbers::Numbers;
use crate::capture::{Capture, MappingEvent};
use rept_recover::{FileRead, Mapped};
use rept_trace::{Address, ThreadTrace, TimeMark, Timestamp, Trace};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// System calls in which the kernel writes records of mappings: mmap, mprotect, brk, mremap, shmat,
/// execve, remap_file_pages, execveat, pkey_mprotect.
const MAKERS: [u32; 9] = [9, 10, 12, 25, 30, 59, 216, 322, 329];
/// mmap and brk: what their result says is in the record.
const TOLD: [u32; 2] = [9, 12];
/// Steps of which one may be the call; where timing packets are rarer, it is not looked for.
const MAX_STEPS: u64 = 1 << 16;

/// What records of mappings say.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// The mappings of which the call is known.
    pub(super) mapped: Vec<Mapped>,
    /// The others: where, and how many bytes.
    pub(super) elsewhere: Vec<(Address, u64)>,
}

/// The mappings, and the calls that made them.
pub(super) fn mapped(capture: &Capture, trace: &Trace, files: &mut Files) -> Records {
    let mut found = Records::default();
    if !capture.clock.comparable {
        return found;
    }
    let mut numbers = Numbers::default();
    let mut known: BTreeMap<Option<u32>, Ranges> = BTreeMap::new();
    for mapping in &capture.mappings {
        let new = known.entry(mapping.process).or_default().add(mapping);
        if let Some(time) = mapping.time
            && let Some(thread) = mapping.thread.and_then(|id| trace.thread(id))
            && let Some(step) = call(trace, thread, time, &mut numbers)
        {
            found.mapped.push(Mapped {
                thread: thread.thread,
                step,
                start: mapping.start,
                bytes: mapping.len,
                before: new.before,
                behind: new.behind,
                fresh: new.fresh,
                file_offset: is_file(mapping).then_some(mapping.file_offset),
                file: files.of(mapping),
            });
        } else {
            found.elsewhere.push((mapping.start, mapping.len));
        }
    }
    found
}

/// Anonymous memory is `//anon`, and names in brackets are no files.
fn is_file(mapping: &MappingEvent) -> bool {
    mapping.name.starts_with('/') && !mapping.name.starts_with("//")
}

/// Addresses that were ever mapped, as far as records tell: start and end, disjoint.
#[derive(Default)]
struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds a mapping, and tells how much of it had been mapped before.
    fn add(&mut self, mapping: &MappingEvent) -> Joined {
        let start = mapping.start.0;
        let end = start.saturating_add(mapping.len);
        let mut joined = start..end;
        let mut found = Joined {
            fresh: end - start,
            ..Joined::default()
        };
        let below = self.0.range(..start).next_back();
        let below = below.filter(|&(_, &behind)| behind >= start);
        let below = below.map(|(&first, &behind)| (first, behind));
        let within = self.0.range(start..=end);
        let within = within.map(|(&first, &behind)| (first, behind));
        let touched: Vec<(u64, u64)> = below.into_iter().chain(within).collect();
        for (first, behind) in touched {
            self.0.remove(&first);
            joined = joined.start.min(first)..joined.end.max(behind);
            let (first, behind) = (first.max(start), behind.min(end));
            found.fresh -= behind - first;
            if first == start {
                found.before = behind - start;
            }
            if behind == end {
                found.behind = end - first;
            }
        }
        self.0.insert(joined.start, joined.end);
        found
    }
}

/// How much of a mapping had been mapped before, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Joined {
    /// At its beginning.
    before: u64,
    /// At its end.
    behind: u64,
    /// Never, in one piece or more.
    fresh: u64,
}

/// The step of the call in which a thread was at a time.
fn call(
    trace: &Trace,
    thread: &ThreadTrace,
    time: Timestamp,
    numbers: &mut Numbers,
) -> Option<u64> {
    let steps = around(&thread.times, time)?;
    if steps.end() - steps.start() > MAX_STEPS
        || thread.gaps.iter().any(|gap| steps.contains(&gap.step))
    {
        return None;
    }
    let mut makers = calls_between(trace, thread, &steps, numbers);
    makers.retain(|(_, number)| number.is_none_or(|number| MAKERS.contains(&number)));
    let (step, number) = match *makers.as_slice() {
        [only] => only,
        // The mark that the steps begin with was made when this call was over.
        [first, second] if first.0 == *steps.start() => second,
        _ => return None,
    };
    number
        .is_some_and(|number| TOLD.contains(&number))
        .then_some(step)
}

/// Steps that may have run, or been in the kernel, at a time.
fn around(times: &[TimeMark], time: Timestamp) -> Option<RangeInclusive<u64>> {
    let behind = times.partition_point(|mark| mark.time.latest < time);
    let before = times.get(behind.checked_sub(1)?)?;
    let mut behind = times[behind..].iter();
    let behind = behind.find(|mark| mark.time.earliest > time)?;
    // A call ends before the step that follows it.
    Some(before.step.saturating_sub(1)..=behind.step.checked_sub(1)?)
}

/// The system calls among some steps, and their numbers.
fn calls_between(
    trace: &Trace,
    thread: &ThreadTrace,
    steps: &RangeInclusive<u64>,
    numbers: &mut Numbers,
) -> Vec<(u64, Option<u32>)> {
    let mut found = Vec::new();
    let Some((run, index)) = thread.locate(*steps.start()) else {
        return found;
    };
    let mut first = steps.start() - index as u64;
    for (index, run) in thread.runs().iter().enumerate().skip(run) {
        if first > *steps.end() {
            break;
        }
        // A system call ends its block.
        let last = usize::from(run.count) - 1;
        let step = first + last as u64;
        first = step + 1;
        let number = numbers.of(&trace.code, thread, index, step);
        if let Some(number) = number
            && steps.contains(&step)
        {
            found.push((step, number));
        }
    }
    found
}

const READ: u32 = 0;
const OPEN: u32 = 2;
const FSTAT: u32 = 5;
const MMAP: u32 = 9;
const PREAD64: u32 = 17;
const OPENAT: u32 = 257;
const NEWFSTATAT: u32 = 262;

/// The system calls that read a file before it was mapped, as loaders do: those between the call
/// that opened the last file before and the one that mapped one first. Assumed: it is the same file.
pub(super) fn file_reads(mapped: &[Mapped], trace: &Trace) -> Vec<FileRead> {
    let mut numbers = Numbers::default();
    let mut found: Vec<FileRead> = Vec::new();
    for mapping in mapped {
        let Some(thread) = trace.thread(mapping.thread) else {
            continue;
        };
        let Some(offset) = mapping.file_offset else {
            continue;
        };
        let mut reads = Vec::new();
        let first = mapping.step.saturating_sub(MAX_STEPS);
        let calls = calls_between(trace, thread, &(first..=mapping.step), &mut numbers);
        let mut opened = false;
        for (step, number) in calls.into_iter().rev().skip(1) {
            match number {
                Some(READ | PREAD64 | FSTAT | NEWFSTATAT) => reads.push((step, number)),
                Some(OPEN | OPENAT) => {
                    opened = true;
                    break;
                }
                // Another file's mapping, or one of this file: its reads are known already.
                Some(MMAP) | None => break,
                Some(_) => {}
            }
        }
        if !opened {
            continue;
        }
        reads.reverse();
        let mut at_beginning = true;
        for (step, number) in reads {
            if number != Some(READ) || std::mem::take(&mut at_beginning) {
                found.push(FileRead {
                    thread: mapping.thread,
                    step,
                    base: Address(mapping.start.0.wrapping_sub(offset)),
                    file: mapping.file,
                });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_trace::{Block, Interval, Run, ThreadId};

    /// `mov eax,imm; syscall` for each number, `syscall` alone for none, each a block, run once each.
    fn trace(numbers: &[Option<u32>]) -> Trace {
        let mut trace = Trace::default();
        let mut thread = ThreadTrace::new(ThreadId(1));
        for (place, number) in numbers.iter().enumerate() {
            let mut bytes = number.map_or(Vec::new(), |number| {
                let mut bytes = vec![0xb8];
                bytes.extend(number.to_le_bytes());
                bytes
            });
            let mut starts = vec![0];
            if !bytes.is_empty() {
                starts.push(5);
            }
            bytes.extend([0x0f, 0x05]);
            let count = starts.len() as u16;
            let block = trace.code.push(Block {
                at: Address(0x1000 + 0x100 * place as u64),
                bytes: bytes.into(),
                starts: starts.into(),
                bitness: 64,
            });
            thread.push(Run { block, count });
        }
        trace.threads.push(thread);
        trace
    }

    /// A mark before a step, at a time known to a tick.
    fn mark(step: u64, time: u64) -> TimeMark {
        let at = Timestamp(time);
        TimeMark {
            step,
            time: Interval {
                earliest: at,
                latest: at,
            },
        }
    }

    /// The step of the call of the time 50.
    fn found(numbers: &[Option<u32>], marks: &[TimeMark]) -> Option<u64> {
        let mut trace = trace(numbers);
        trace.threads[0].times = marks.to_vec();
        let thread = &trace.threads[0];
        call(&trace, thread, Timestamp(50), &mut Numbers::default())
    }

    #[test]
    fn a_call_between_two_marks_is_the_one() {
        assert_eq!(found(&[Some(9)], &[mark(0, 10), mark(2, 60)]), Some(1));
        assert_eq!(found(&[Some(12)], &[mark(2, 10), mark(2, 60)]), Some(1));
    }

    #[test]
    fn calls_that_map_nothing_are_not_taken() {
        let marks = [mark(0, 10), mark(6, 60)];
        assert_eq!(found(&[Some(1), Some(9), Some(3)], &marks), Some(3));
        assert_eq!(found(&[Some(1), Some(3), Some(3)], &marks), None);
        let protects = [Some(1), Some(10), Some(3)];
        assert_eq!(
            found(&protects, &marks),
            None,
            "mprotect writes a record too"
        );
    }

    #[test]
    fn of_two_calls_none_is_taken_unless_the_first_was_over() {
        assert_eq!(
            found(&[Some(9), Some(9)], &[mark(0, 10), mark(4, 60)]),
            None
        );
        assert_eq!(found(&[Some(9), None], &[mark(0, 10), mark(3, 60)]), None);
        let over = [mark(2, 10), mark(4, 60)];
        assert_eq!(found(&[Some(9), Some(9)], &over), Some(3));
    }

    #[test]
    fn without_marks_on_both_sides_nothing_is_known() {
        assert_eq!(found(&[Some(9)], &[mark(0, 10)]), None);
        assert_eq!(found(&[Some(9)], &[mark(2, 60)]), None);
    }

    #[test]
    fn files_that_were_read_are_those_opened_last() {
        let numbers = [257, 0, 257, 0, 17, 0, 5, 9, 0, 9].map(Some);
        let trace = trace(&numbers);
        let of_call = |call: u64, file_offset| Mapped {
            thread: ThreadId(1),
            step: 2 * call + 1,
            start: Address(0x7000),
            bytes: 0x1000,
            before: 0,
            behind: 0,
            fresh: 0x1000,
            file_offset,
            file: Some(4),
        };
        let reads = file_reads(&[of_call(7, Some(0x2000)), of_call(9, Some(0))], &trace);
        // The second read(2) of the file does not begin at its beginning, and what was read between
        // the mappings may be of any file.
        let steps: Vec<(u64, Address)> = reads.iter().map(|read| (read.step, read.base)).collect();
        assert_eq!(steps, [7, 9, 13].map(|step| (step, Address(0x5000))));
        assert_eq!(file_reads(&[of_call(7, None)], &trace), []);
    }

    #[test]
    fn what_is_new_of_a_mapping_is_told_from_what_it_joined() {
        let mut ranges = Ranges::default();
        let mut add = |start: u64, len: u64| {
            let Joined {
                before,
                behind,
                fresh,
            } = ranges.add(&MappingEvent {
                time: None,
                process: None,
                thread: None,
                start: Address(start),
                len,
                file_offset: 0,
                execute: false,
                name: String::new(),
                build_id: None,
                device: None,
                inode: None,
            });
            (before, behind, fresh)
        };
        assert_eq!(add(0x5000, 0x1000), (0, 0, 0x1000));
        assert_eq!(add(0x3000, 0x3000), (0, 0x1000, 0x2000), "below");
        assert_eq!(add(0x3000, 0x4000), (0x3000, 0, 0x1000), "above");
        assert_eq!(add(0x3000, 0x4000), (0x4000, 0x4000, 0), "again");
        assert_eq!(add(0x9000, 0x1000), (0, 0, 0x1000));
        assert_eq!(add(0x3000, 0x7000), (0x4000, 0x1000, 0x2000), "between");
        assert_eq!(add(0x1000, 0xa000), (0, 0, 0x3000), "on both sides");
    }
}
