//! Places in a thread's path where the program's own instructions do not say what happened.

use rept_trace::{Address, EventKind, ThreadTrace};

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
    /// Steps are missing: nothing is known of what happened.
    Unknown,
}

/// A cut before step `step` of its thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) step: u64,
    pub(crate) kind: CutKind,
}

/// The cuts of a thread by ascending step, at most one a step. `fallthrough(step)` is the
/// address behind the instruction of a step, when that is a system call.
pub(crate) fn cuts(
    thread: &ThreadTrace,
    after_syscall: impl Fn(u64) -> Option<Address>,
) -> Vec<Cut> {
    let mut cuts = Vec::new();
    let mut events = thread.events.as_slice();
    let mut gaps = thread.gaps.as_slice();
    loop {
        let next = [events.first().map(|e| e.step), gaps.first().map(|g| g.step)];
        let Some(step) = next.into_iter().flatten().min() else {
            return cuts;
        };
        let (here, later) = events.split_at(events.partition_point(|e| e.step <= step));
        let (lost, more) = gaps.split_at(gaps.partition_point(|g| g.step <= step));
        (events, gaps) = (later, more);
        if step == 0 {
            continue;
        }
        let kinds = here.iter().map(|event| &event.kind);
        let kind = if lost.is_empty() {
            transition(kinds, after_syscall(step - 1))
        } else {
            Some(CutKind::Unknown)
        };
        cuts.extend(kind.map(|kind| Cut { step, kind }));
    }
}

/// What the events between two steps amount to; `None` when the second plainly follows the first.
fn transition<'a>(
    events: impl Iterator<Item = &'a EventKind>,
    after_syscall: Option<Address>,
) -> Option<CutKind> {
    let mut left = None;
    let mut cut = None;
    for event in events {
        match *event {
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
    use rept_trace::{Event, Interval, ThreadId};

    #[track_caller]
    fn check(kinds: &[EventKind], syscall: Option<u64>, expect: Option<CutKind>) {
        let mut thread = ThreadTrace::new(ThreadId(1));
        let event = |kind: &EventKind| Event {
            step: 5,
            time: Interval::UNKNOWN,
            kind: kind.clone(),
        };
        thread.events = kinds.iter().map(event).collect();
        let found = cuts(&thread, |_| syscall.map(Address));
        assert_eq!(found.first().map(|cut| cut.kind), expect);
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
