//! Places in a thread's path where the program's own instructions do not say what happened.

use rept_trace::{Address, BlockId, Event, EventKind, Gap, GapReason, ThreadTrace};

/// What a cut does to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutKind {
    /// A signal handler starts: the kernel set some registers and wrote a frame.
    /// The interrupted instruction is at the address.
    SignalEntry(Address),
    /// Control resumes where a system call did not lead by itself: a return from a signal
    /// handler, a new program, a handler entered at the end of a system call.
    Resumed {
        /// Behind the call.
        behind: Address,
        /// Where it resumes.
        ip: Address,
    },
    /// A part of an instruction may have run, the first one of the block.
    Part(BlockId),
    /// Rounds of a loop may be missing: number of the thread's gap.
    Rounds(usize),
    /// Steps are missing: nothing is known of what happened.
    Unknown,
}

/// A cut before step `step` of its thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) step: u64,
    pub(crate) kind: CutKind,
}

/// The cuts of a thread by ascending step, as they happened. `after_syscall(step)` is the
/// address behind the instruction of a step, when that is a system call.
pub(crate) fn cuts(
    thread: &ThreadTrace,
    after_syscall: impl Fn(u64) -> Option<Address>,
) -> Vec<Cut> {
    let mut cuts = Vec::new();
    let mut events = thread.events.as_slice();
    let mut gaps = thread.gaps.as_slice();
    let mut passed = 0;
    loop {
        let next = [events.first().map(|e| e.step), gaps.first().map(|g| g.step)];
        let Some(step) = next.into_iter().flatten().min() else {
            return cuts;
        };
        let (here, later) = events.split_at(events.partition_point(|e| e.step <= step));
        let (lost, more) = gaps.split_at(gaps.partition_point(|g| g.step <= step));
        (events, gaps) = (later, more);
        let first = passed;
        passed += lost.len();
        if step == 0 {
            continue;
        }
        let next = after_syscall(step - 1);
        let kinds = match lost {
            [] => [transition(here, next), None, None],
            [gap] => around(gap, first, here, next),
            _ => [Some(CutKind::Unknown), None, None],
        };
        let kinds = kinds.into_iter().flatten();
        cuts.extend(kinds.map(|kind| Cut { step, kind }));
    }
}

/// What happened at a gap and the events beside it, in order.
fn around(
    gap: &Gap,
    number: usize,
    events: &[Event],
    after_syscall: Option<Address>,
) -> [Option<CutKind>; 3] {
    let unknown = [Some(CutKind::Unknown), None, None];
    match &gap.reason {
        GapReason::PartialInstruction(block) => {
            let stops = |event: &Event| match event.kind {
                EventKind::AsyncDisabled { at, .. } => Some(at) == gap.at,
                _ => false,
            };
            // Stopped more than once, it had gone on in between.
            let Some(stopped) = events.iter().rposition(stops) else {
                return unknown;
            };
            let (before, behind) = events.split_at(stopped);
            let reached = transition(before, after_syscall);
            match reached {
                Some(CutKind::Unknown) => unknown,
                _ => [
                    reached,
                    Some(CutKind::Part(*block)),
                    transition(behind, None),
                ],
            }
        }
        // What happened first, rounds or events, is not told.
        GapReason::UncountedLoop { round }
            if !round.is_empty() && transition(events, after_syscall).is_none() =>
        {
            [Some(CutKind::Rounds(number)), None, None]
        }
        _ => unknown,
    }
}

/// What the events between two steps amount to; `None` when the second plainly follows the first.
fn transition(events: &[Event], after_syscall: Option<Address>) -> Option<CutKind> {
    let mut left = None;
    let mut cut = None;
    for event in events {
        match event.kind {
            EventKind::Disabled { .. } => left = Some(Left::Branch(after_syscall)),
            EventKind::AsyncDisabled { at, .. } => left = Some(Left::At(at)),
            EventKind::Enabled { ip } => match left.take() {
                Some(Left::At(at)) if at == ip => {}
                Some(Left::At(at)) => cut = Some(CutKind::SignalEntry(at)),
                Some(Left::Branch(Some(next))) if next == ip => {}
                Some(Left::Branch(Some(behind))) => cut = Some(CutKind::Resumed { behind, ip }),
                Some(Left::Branch(None)) | None => return Some(CutKind::Unknown),
            },
            EventKind::AsyncBranch { .. } | EventKind::Overflow { .. } => {
                return Some(CutKind::Unknown);
            }
            EventKind::Transaction { aborted: true, .. } => return Some(CutKind::Unknown),
            _ => {}
        }
    }
    cut
}

/// How tracing stopped before it was enabled again.
enum Left {
    /// After a step, which leads to the address if it is a system call.
    Branch(Option<Address>),
    /// Before the instruction at the address.
    At(Address),
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_trace::{Interval, Run, ThreadId};

    /// A thread with these events and gaps before one step.
    fn thread(kinds: &[EventKind], reasons: &[&GapReason]) -> ThreadTrace {
        let mut thread = ThreadTrace::new(ThreadId(1));
        let event = |kind: &EventKind| Event {
            step: 5,
            time: Interval::UNKNOWN,
            kind: kind.clone(),
        };
        let gap = |reason: &&GapReason| Gap {
            step: 5,
            offset: 0,
            at: Some(Address(0x10)),
            reason: (*reason).clone(),
        };
        thread.events = kinds.iter().map(event).collect();
        thread.gaps = reasons.iter().map(gap).collect();
        thread
    }

    #[track_caller]
    fn check(kinds: &[EventKind], syscall: Option<u64>, expect: Option<CutKind>) {
        let found = cuts(&thread(kinds, &[]), |_| syscall.map(Address));
        assert_eq!(found.first().map(|cut| cut.kind), expect);
    }

    /// What is found where gaps and events are at one step.
    fn at_gaps(kinds: &[EventKind], reasons: &[&GapReason]) -> Vec<CutKind> {
        let found = cuts(&thread(kinds, reasons), |_| None).into_iter();
        found.map(|cut| cut.kind).collect()
    }

    #[test]
    fn what_repeats_is_told_from_what_is_missing() {
        use EventKind::{AsyncDisabled, Enabled};
        let part = GapReason::PartialInstruction(BlockId(3));
        let run = Run {
            block: BlockId(3),
            count: 1,
        };
        let round = GapReason::UncountedLoop { round: vec![run] };
        let untold = GapReason::UncountedLoop { round: Vec::new() };
        let fault = |at| AsyncDisabled {
            at: Address(at),
            ip: None,
        };
        let enabled = |ip| Enabled { ip: Address(ip) };
        let is_part = CutKind::Part(BlockId(3));
        let entered = CutKind::SignalEntry(Address(0x10));
        let unknown = [CutKind::Unknown];
        assert_eq!(at_gaps(&[fault(0x10)], &[&part]), [is_part]);
        let handler = [fault(0x10), enabled(0x50)];
        assert_eq!(at_gaps(&handler, &[&part]), [is_part, entered]);
        // It was stopped twice, and went on once.
        let twice = [fault(0x10), enabled(0x10), fault(0x10), enabled(0x50)];
        assert_eq!(at_gaps(&twice, &[&part]), [is_part, entered]);
        // Where it was stopped is not told.
        assert_eq!(at_gaps(&[], &[&part]), unknown);
        assert_eq!(at_gaps(&[fault(0x20)], &[&part]), unknown);
        assert_eq!(at_gaps(&[fault(0x10)], &[&round]), [CutKind::Rounds(0)]);
        // A handler in between: what came first is not told.
        assert_eq!(at_gaps(&handler, &[&round]), unknown);
        assert_eq!(at_gaps(&[fault(0x10)], &[&untold]), unknown);
        assert_eq!(at_gaps(&[fault(0x10)], &[&GapReason::BadPacket]), unknown);
        assert_eq!(at_gaps(&[fault(0x10)], &[&part, &round]), unknown);
    }

    #[test]
    fn transitions() {
        use EventKind::{AsyncDisabled, Disabled, Enabled, Overflow};
        let enabled = |ip| Enabled { ip: Address(ip) };
        let off = Disabled { ip: None };
        let fault = AsyncDisabled {
            at: Address(0x10),
            ip: None,
        };
        check(&[off.clone(), enabled(0x20)], Some(0x20), None);
        check(
            &[off.clone(), enabled(0x30)],
            Some(0x20),
            Some(CutKind::Resumed {
                behind: Address(0x20),
                ip: Address(0x30),
            }),
        );
        check(&[off, enabled(0x30)], None, Some(CutKind::Unknown));
        check(&[fault.clone(), enabled(0x10)], None, None);
        check(
            &[fault, enabled(0x50)],
            None,
            Some(CutKind::SignalEntry(Address(0x10))),
        );
        check(&[Overflow { ip: None }], None, Some(CutKind::Unknown));
        check(&[], None, None);
    }
}
