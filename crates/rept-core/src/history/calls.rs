//! Calls and returns of one thread: its call tree over the window.
//!
//! A return closes the innermost open call that it fits, and those inside of that one with it. Where
//! control goes elsewhere (`longjmp`, an exception's landing pad) the stack pointer tells which calls are
//! still open: those whose return address lies at or above it. A signal handler that returned, on whatever
//! stack, left the calls alone that were open when it began. Linear in the runs of the thread; a call is
//! taken from the stack of open ones once.

use super::handlers::Handled;
use iced_x86::{Code as Form, Decoder, DecoderOptions, FlowControl};
use rept_trace::{Address, Block, Code, ThreadTrace};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a return address.
const SLOT: u64 = 8;
/// Bytes of `syscall`.
const SYSCALL: u64 = 2;

/// One call that was made inside the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// The step that called.
    pub site: u64,
    /// Address called: the first step inside is `site + 1`.
    pub callee: Address,
    /// The step that returned; `None` when the call is still open at the end, or was left by other means.
    pub returned: Option<u64>,
    /// The last step of the call, which returned or left it by other means (`longjmp`, an exception, the
    /// return of a call around it); `None` when it is still open at the end.
    pub left: Option<u64>,
    /// The call it was made from, as an index into the thread's list; `None` for those made
    /// by a function that was entered before the window.
    pub parent: Option<u32>,
    /// Number of calls around it.
    pub depth: u32,
}

/// Return addresses of open calls, innermost last.
struct Open {
    call: u32,
    return_to: Address,
}

/// How a block ends, as far as calls go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Call,
    Return,
    Jump,
    /// A system call.
    Kernel,
    Other,
}

/// A signal handler that runs.
struct Handling {
    /// The step behind its last one, where that was found out before.
    ends: Option<u64>,
    /// Where it returns to, when it was called on the way back from a system call.
    interrupted: Option<Address>,
    /// How many calls were open when it began.
    open: usize,
}

/// The calls of a thread as they are found, step after step.
struct Calls<'a> {
    calls: Vec<Call>,
    open: Vec<Open>,
    /// Where calls returned to: `setjmp` among them, to which `longjmp` leads back.
    returned_to: BTreeSet<Address>,
    /// Handlers that are running, innermost last.
    handling: Vec<Handling>,
    stack: &'a dyn Fn(u64) -> Option<u64>,
}

/// All calls of a thread, by ascending site. `handlers` are those that returned; behind its last step the
/// thread `stands` there; `stack` tells the stack pointer before a step, where it is known.
pub(super) fn calls(
    code: &Code,
    thread: &ThreadTrace,
    handlers: &[Handled],
    stands: Option<Address>,
    stack: &dyn Fn(u64) -> Option<u64>,
) -> Vec<Call> {
    let mut found = Calls {
        calls: Vec::new(),
        open: Vec::new(),
        returned_to: BTreeSet::new(),
        handling: Vec::new(),
        stack,
    };
    let mut handlers: Vec<Handled> = handlers.to_vec();
    handlers.sort_unstable_by_key(|handler| std::cmp::Reverse(handler.delivered));
    let mut kinds: BTreeMap<u32, Last> = BTreeMap::new();
    let mut end = 0u64;
    for (index, run) in thread.runs().iter().enumerate() {
        found.handle(&mut handlers, end);
        end += u64::from(run.count);
        let block = code.block(run.block);
        if usize::from(run.count) < block.instructions() {
            continue;
        }
        let kind = *kinds.entry(run.block.0).or_insert_with(|| last(block));
        let next = thread.runs().get(index + 1);
        let Some(next) = next.map(|run| code.block(run.block).at).or(stands) else {
            break;
        };
        match kind {
            Last::Call | Last::Kernel if next == block.end() => {}
            Last::Call => found.call(end - 1, next, block.end()),
            Last::Return => found.ret(end - 1, next),
            Last::Jump => found.jump(end - 1, next),
            Last::Kernel => found.signal(end - 1, next, block.end()),
            Last::Other => {}
        }
    }
    found.handle(&mut handlers, end);
    found.calls
}

impl Calls<'_> {
    /// Handlers end and begin before a step; of `handlers`, those to come, the next is the last.
    fn handle(&mut self, handlers: &mut Vec<Handled>, step: u64) {
        let ended = |one: &Handling| one.ends.is_some_and(|ends| ends <= step);
        if let Some(index) = self.handling.iter().position(ended) {
            self.end_handler(index, step - 1);
        }
        while let Some(begun) = handlers.pop_if(|handler| handler.delivered <= step) {
            self.begin_handler(Some(begun.resumed), None);
        }
    }

    /// The system call of a step did not go on behind itself: a handler was called on the way back, or
    /// it was the one by which a handler ends.
    fn signal(&mut self, step: u64, next: Address, behind: Address) {
        // A system call that was interrupted may be made again.
        let resumes = |at: Address| at == next || at.0.wrapping_sub(SYSCALL) == next.0;
        let returns = |one: &Handling| one.interrupted.is_some_and(resumes);
        if let Some(index) = self.handling.iter().rposition(returns) {
            self.end_handler(index, step);
        } else if !self.handling.iter().any(|one| one.ends == Some(step + 1)) {
            self.begin_handler(None, Some(behind));
        }
    }

    fn begin_handler(&mut self, ends: Option<u64>, interrupted: Option<Address>) {
        let open = self.open.len();
        self.handling.push(Handling {
            ends,
            interrupted,
            open,
        });
    }

    /// A handler, and those that interrupted it, end by a step.
    fn end_handler(&mut self, index: usize, step: u64) {
        let open = self.handling[index].open;
        self.handling.truncate(index);
        self.leave(open, step);
    }

    /// How many of the open calls were interrupted by the handler that is running: they are not its own.
    fn interrupted(&self) -> usize {
        self.handling.last().map_or(0, |handling| handling.open)
    }

    fn call(&mut self, site: u64, callee: Address, return_to: Address) {
        let parent = self.open.last().map(|open| open.call);
        let depth = self.open.len() as u32;
        let call = self.calls.len() as u32;
        self.open.push(Open { call, return_to });
        self.calls.push(Call {
            site,
            callee,
            returned: None,
            left: None,
            parent,
            depth,
        });
    }

    fn ret(&mut self, step: u64, next: Address) {
        let own = &self.open[self.interrupted()..];
        let fits = own.iter().rposition(|open| open.return_to == next);
        let Some(fits) = fits.map(|index| self.interrupted() + index) else {
            return self.elsewhere(step);
        };
        self.calls[self.open[fits].call as usize].returned = Some(step);
        self.returned_to.insert(next);
        self.leave(fits, step);
    }

    /// `longjmp` leads back to behind a call that returned before, out of handlers too.
    fn jump(&mut self, step: u64, next: Address) {
        if !self.returned_to.contains(&next) {
            return;
        }
        if let Some(kept) = self.on_stack(0, step) {
            self.handling.retain(|handling| handling.open <= kept);
            self.leave(kept, step);
        }
    }

    /// A return to where no open call says. One of which nothing is known leaves a function that was
    /// entered before the window, and all calls with it; that of a handler leads to what ends it.
    fn elsewhere(&mut self, step: u64) {
        let own = self.interrupted();
        let kept = self.on_stack(own, step).unwrap_or(own);
        self.leave(kept, step);
    }

    /// How many of the open calls, from `floor` on, have their return addresses on the stack behind a step;
    /// `None` when that is not known.
    fn on_stack(&self, floor: usize, step: u64) -> Option<usize> {
        let now = (self.stack)(step + 1)?;
        for (index, open) in self.open.iter().enumerate().skip(floor).rev() {
            let site = self.calls[open.call as usize].site;
            if (self.stack)(site)?.wrapping_sub(SLOT) >= now {
                return Some(index + 1);
            }
        }
        Some(floor)
    }

    /// Only so many of the calls are open behind a step.
    fn leave(&mut self, open: usize, step: u64) {
        for left in self.open.drain(open.min(self.open.len())..) {
            self.calls[left.call as usize].left = Some(step);
        }
    }
}

/// Steps of the returns of these calls, with the indices of the calls, ascending.
pub(super) fn returns(calls: &[Call]) -> Vec<(u64, u32)> {
    let numbered = calls.iter().zip(0..);
    let mut returns: Vec<(u64, u32)> = numbered
        .filter_map(|(call, index)| Some((call.returned?, index)))
        .collect();
    returns.sort_unstable();
    returns
}

fn last(block: &Block) -> Last {
    let Some(last) = block.instructions().checked_sub(1) else {
        return Last::Other;
    };
    let bytes = block.instruction_bytes(last);
    let decoded = Decoder::new(block.bitness.into(), bytes, DecoderOptions::NONE).decode();
    match decoded.flow_control() {
        _ if decoded.code() == Form::Syscall => Last::Kernel,
        FlowControl::Call | FlowControl::IndirectCall => Last::Call,
        FlowControl::Return => Last::Return,
        FlowControl::IndirectBranch => Last::Jump,
        _ => Last::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_trace::{Run, ThreadId};

    /// Blocks: 0x10 `call`, 0x15 `nop; call`, 0x1b `ret`; 0x100 `nop; ret`; 0x200 `ret`; 0x300 `call`; 0x400 `jmp rax`.
    /// The stack pointer before each step is known where `stack` has it.
    fn thread(blocks: &[u64], stack: &[u64], handlers: &[Handled]) -> Vec<Call> {
        let bytes: BTreeMap<u64, (&[u8], &[u16])> = BTreeMap::from([
            (0x10, (&[0xe8, 0xeb, 0, 0, 0][..], &[0][..])),
            (0x15, (&[0x90, 0xe8, 0, 0, 0, 0], &[0, 1])),
            (0x1b, (&[0xc3], &[0])),
            (0x100, (&[0x90, 0xc3], &[0, 1])),
            (0x200, (&[0xc3], &[0])),
            (0x300, (&[0xe8, 0, 0, 0, 0], &[0])),
            (0x400, (&[0xff, 0xe0], &[0])),
        ]);
        let mut code = Code::default();
        let mut thread = ThreadTrace::new(ThreadId(1));
        let mut ids = BTreeMap::new();
        for at in blocks {
            let (block_bytes, starts) = bytes[at];
            let id = *ids.entry(*at).or_insert_with(|| {
                code.push(Block {
                    at: Address(*at),
                    bytes: block_bytes.into(),
                    starts: starts.into(),
                    bitness: 64,
                })
            });
            thread.push(Run {
                block: id,
                count: starts.len() as u16,
            });
        }
        calls(&code, &thread, handlers, None, &|step| {
            stack.get(step as usize).copied()
        })
    }

    #[test]
    fn a_return_closes_its_call() {
        let calls = thread(&[0x10, 0x100, 0x15, 0x200, 0x1b], &[], &[]);
        let [first, second] = calls.as_slice() else {
            panic!("{calls:?}")
        };
        assert_eq!(
            (first.site, first.callee, first.returned),
            (0, Address(0x100), Some(2))
        );
        assert_eq!(
            (second.site, second.callee, second.returned, second.parent),
            (4, Address(0x200), Some(5), None)
        );
    }

    #[test]
    fn calls_nest_and_a_far_return_leaves_several() {
        let calls = thread(&[0x10, 0x300, 0x200, 0x15, 0x200, 0x1b], &[], &[]);
        assert_eq!(calls[1].parent, Some(0));
        assert_eq!(calls[1].depth, 1);
        assert_eq!(
            calls[0].returned,
            Some(2),
            "the return to 0x15 fits the outer call"
        );
        assert_eq!((calls[1].returned, calls[1].left), (None, Some(2)));
        assert_eq!(calls[2].parent, None);
    }

    /// `setjmp` at 0x10 returns to 0x15, which calls 0x300, which calls the jump at 0x400 back to there.
    #[test]
    fn a_jump_back_leaves_the_calls_whose_stack_is_gone() {
        let path = [0x10, 0x100, 0x15, 0x300, 0x400, 0x15, 0x200];
        let stack = [80, 72, 72, 80, 80, 72, 64, 80, 80, 72];
        let check = |stack: &[u64], left: [Option<u64>; 4], parent| {
            let calls = thread(&path, stack, &[]);
            let found: Vec<_> = calls.iter().map(|call| call.left).collect();
            assert_eq!(found, left);
            assert_eq!(calls[3].parent, parent);
        };
        check(&stack, [Some(2), Some(6), Some(6), None], None);
        // A jump within a function to behind a call leaves none, nor does one of which nothing is known.
        let within = [80, 72, 72, 80, 80, 72, 64, 64, 64, 56];
        check(&within, [Some(2), None, None, None], Some(2));
        check(&[], [Some(2), None, None, None], Some(2));
    }

    #[test]
    fn a_return_that_fits_no_call_leaves_those_whose_stack_is_gone() {
        let path = [0x300, 0x300, 0x200, 0x400];
        let left = |stack: &[u64]| {
            let calls = thread(&path, stack, &[]);
            [calls[0].left, calls[1].left]
        };
        assert_eq!(left(&[]), [Some(2), Some(2)]);
        assert_eq!(left(&[80, 72, 40, 48]), [None, None]);
        assert_eq!(left(&[80, 72, 64, 72]), [None, Some(2)]);
        assert_eq!(left(&[80, 72, 64, 88]), [Some(2), Some(2)]);
    }

    /// The call made at 0x300 is interrupted by a handler (0x15), which calls, and returns to what ends it
    /// (0x400), on a stack of its own.
    #[test]
    fn a_handler_leaves_the_calls_alone_that_it_interrupted() {
        let path = [0x300, 0x400, 0x15, 0x200, 0x1b, 0x400, 0x200];
        let stack = [80, 72, 900, 900, 892, 900, 908, 72];
        let left = |handlers: &[Handled]| {
            let calls = thread(&path, &stack, handlers);
            [calls[0].left, calls[1].left]
        };
        let handler = Handled {
            delivered: 2,
            resumed: 7,
        };
        assert_eq!(left(&[handler]), [None, Some(4)]);
        assert_eq!(left(&[]), [Some(5), Some(4)]);
    }
}
