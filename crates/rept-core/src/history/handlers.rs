//! Signal handlers that ran and returned: what the thread held before is what it holds after.
//!
//! A signal is delivered at an instruction that did not run (tracing stops there and goes on
//! elsewhere); the handler's `rt_sigreturn` leads back to that instruction with the registers
//! that the kernel had saved. A program that catches its own fatal signal, as every program of
//! Rust's standard library does, ends with such a handler: the instruction faults again, now
//! for good, and the registers in the dump are those from before the handler.
//!
//! A handler may change the saved registers; that is for the caller to notice by the values.

use rept_trace::{Address, Code, EventKind, ThreadTrace};

/// A handler that returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handled {
    /// Its first step; the thread's registers from before are those before this step.
    pub(super) delivered: u64,
    /// The first step after it.
    pub(super) resumed: u64,
}

/// Handlers of a thread that returned to where they interrupted it, by ascending return.
pub(super) fn handled(code: &Code, thread: &ThreadTrace) -> Vec<Handled> {
    let mut open: Vec<(Address, u64)> = Vec::new();
    let mut found = Vec::new();
    let mut left = None;
    for event in &thread.events {
        match event.kind {
            EventKind::AsyncDisabled { at, .. } => left = Some(at),
            EventKind::Disabled { .. } => left = None,
            EventKind::AsyncBranch { from, .. } => open.push((from, event.step)),
            EventKind::Enabled { ip } => match left.take() {
                Some(at) if at != ip => open.push((at, event.step)),
                Some(_) => {}
                None if calls_kernel(code, thread, event.step) => {
                    // Handlers above the one that returns here were left by a jump.
                    let back = open.iter().rposition(|&(at, _)| at == ip);
                    if let Some(back) = back {
                        let delivered = open[back].1;
                        open.truncate(back);
                        let resumed = event.step;
                        found.push(Handled { delivered, resumed });
                    }
                }
                None => {}
            },
            EventKind::Overflow { .. } => open.clear(),
            _ => {}
        }
    }
    found
}

/// The step before `step` is a system call.
fn calls_kernel(code: &Code, thread: &ThreadTrace, step: u64) -> bool {
    const SYSCALL: [u8; 2] = [0x0f, 0x05];
    let place = step.checked_sub(1).and_then(|step| thread.locate(step));
    place.is_some_and(|(run, index)| {
        code.block(thread.runs()[run].block)
            .instruction_bytes(index)
            == SYSCALL
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_trace::{Block, Event, Interval, Run, ThreadId};

    const FAULT: Address = Address(0x1003);
    const HANDLER: Address = Address(0x2000);

    /// Two steps, a handler of `mov eax,0xf; syscall`, and the events given.
    fn thread(events: Vec<(u64, EventKind)>) -> (Code, ThreadTrace) {
        let mut code = Code::default();
        let mut push = |at, bytes: &[u8], starts: &[u16]| {
            code.push(Block {
                at,
                bytes: bytes.into(),
                starts: starts.into(),
                bitness: 64,
            })
        };
        let before = push(Address(0x1000), &[0x90, 0x90], &[0, 1]);
        let handler = push(HANDLER, &[0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05], &[0, 5]);
        let mut thread = ThreadTrace::new(ThreadId(1));
        for block in [before, handler] {
            thread.push(Run { block, count: 2 });
        }
        let time = Interval::UNKNOWN;
        let events = events.into_iter();
        thread.events = events
            .map(|(step, kind)| Event { step, time, kind })
            .collect();
        (code, thread)
    }

    #[track_caller]
    fn check(events: Vec<(u64, EventKind)>, expect: &[(u64, u64)]) {
        let (code, thread) = thread(events);
        let found = handled(&code, &thread).into_iter();
        let found: Vec<_> = found.map(|one| (one.delivered, one.resumed)).collect();
        assert_eq!(found, expect);
    }

    fn stopped(step: u64) -> (u64, EventKind) {
        let kind = EventKind::AsyncDisabled {
            at: FAULT,
            ip: None,
        };
        (step, kind)
    }

    fn called() -> (u64, EventKind) {
        (4, EventKind::Disabled { ip: None })
    }

    fn enabled(step: u64, ip: u64) -> (u64, EventKind) {
        (step, EventKind::Enabled { ip: Address(ip) })
    }

    #[test]
    fn a_handler_that_returns_is_found() {
        let start = enabled(2, HANDLER.0);
        let back = enabled(4, FAULT.0);
        check(
            vec![stopped(2), start, called(), back, stopped(4)],
            &[(2, 4)],
        );
    }

    #[test]
    fn an_open_handler_and_a_plain_system_call_are_not() {
        let start = || enabled(2, HANDLER.0);
        check(vec![stopped(2), start(), called()], &[]);
        check(vec![stopped(2), start(), called(), enabled(4, 0x2007)], &[]);
        let resumed = enabled(2, FAULT.0);
        check(
            vec![stopped(2), resumed, called(), enabled(4, FAULT.0)],
            &[],
        );
    }
}
