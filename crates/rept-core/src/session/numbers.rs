//! The numbers of system calls, as far as the code in front of them tells.

use rept_recover::syscall::{number_along, number_before};
use rept_trace::{BlockId, Code, ThreadTrace};
use std::collections::BTreeMap;

/// Steps in front of a call that are looked at.
const MAX_BACK: usize = 256;

/// The numbers of system calls by place in the code, each looked up once.
#[derive(Default)]
pub(super) struct Numbers {
    known: BTreeMap<(BlockId, usize), Option<Option<u32>>>,
}

impl Numbers {
    /// What the last instruction of a thread's run is, which is this step. `None`: no system call;
    /// an inner `None`: one whose number the code on the way to it does not tell.
    pub(super) fn of(
        &mut self,
        code: &Code,
        thread: &ThreadTrace,
        run: usize,
        step: u64,
    ) -> Option<Option<u32>> {
        let last = thread.runs()[run];
        let number = self.in_block(code, last.block, usize::from(last.count) - 1)?;
        Some(number.or_else(|| number_along(path(code, thread, run, step))))
    }

    fn in_block(&mut self, code: &Code, id: BlockId, index: usize) -> Option<Option<u32>> {
        let look = || {
            let block = code.block(id);
            let syscall = block.instruction_bytes(index) == [0x0f, 0x05];
            syscall.then(|| number_before(block, index))
        };
        *self.known.entry((id, index)).or_insert_with(look)
    }
}

/// The instructions that a thread ran before the last of a run, newest first, as far back as none is
/// missing and nothing came between: behind a signal, registers are others.
fn path<'a>(
    code: &'a Code,
    thread: &'a ThreadTrace,
    run: usize,
    step: u64,
) -> impl Iterator<Item = (&'a rept_trace::Block, usize)> {
    let events = &thread.events[..thread.events.partition_point(|event| event.step <= step)];
    let gaps = thread.gaps.iter().filter(|gap| gap.step <= step);
    let floor = gaps.map(|gap| gap.step).max().unwrap_or(0);
    let floor = events.last().map_or(0, |event| event.step).max(floor);
    let runs = thread.runs()[..=run].iter().rev();
    let instructions = runs.flat_map(|run| {
        let block = code.block(run.block);
        (0..usize::from(run.count))
            .rev()
            .map(move |index| (block, index))
    });
    let behind = usize::try_from(step - floor).unwrap_or(usize::MAX);
    instructions.skip(1).take(behind.min(MAX_BACK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_trace::{Address, Block, Event, EventKind, Interval, Run, ThreadId, Timestamp};

    /// What the C library's `syscall` does: the number comes in a register of the caller's.
    fn moved() -> (Code, ThreadTrace) {
        let block = |at, bytes: &[u8], starts: &[u16]| Block {
            at: Address(at),
            bytes: bytes.into(),
            starts: starts.into(),
            bitness: 64,
        };
        let mut code = Code::default();
        let mut thread = ThreadTrace::new(ThreadId(1));
        // mov edi,202; call; then mov rax,rdi; syscall.
        let caller = block(
            0x1000,
            &[0xbf, 0xca, 0, 0, 0, 0xe8, 0xf1, 0x0f, 0, 0],
            &[0, 5],
        );
        let callee = block(0x2000, &[0x48, 0x89, 0xf8, 0x0f, 0x05], &[0, 3]);
        for block in [caller, callee] {
            let count = block.instructions() as u16;
            let block = code.push(block);
            thread.push(Run { block, count });
        }
        (code, thread)
    }

    #[test]
    fn a_number_that_the_caller_gave() {
        let (code, thread) = moved();
        let mut numbers = Numbers::default();
        assert_eq!(numbers.of(&code, &thread, 0, 1), None);
        assert_eq!(numbers.of(&code, &thread, 1, 3), Some(Some(202)));
    }

    #[test]
    fn what_a_signal_came_between_is_not_known() {
        let (code, mut thread) = moved();
        let time = Interval {
            earliest: Timestamp(0),
            latest: Timestamp(5),
        };
        thread.events.push(Event {
            step: 2,
            time,
            kind: EventKind::Enabled {
                ip: Address(0x2000),
            },
        });
        let mut numbers = Numbers::default();
        assert_eq!(numbers.of(&code, &thread, 1, 3), Some(None));
    }
}
