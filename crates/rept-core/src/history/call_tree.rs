//! The calls of a part of a thread's history, as a tree.

use super::History;
use super::calls::Call;
use crate::position::Position;
use rept_trace::{Address, ThreadId};
use std::iter::FusedIterator;
use std::ops::Range;

/// How a call ended, in the whole window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallEnd {
    /// This step returned.
    Returned(Position),
    /// Behind this step it is no longer open, though it did not return: `longjmp`, an exception, or a
    /// return of a call around it.
    Left(Position),
    /// It is open where the thread's history ends.
    Open,
}

/// One call of a [`CallTree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallNode {
    /// The step that called: [`History::source`] there names the functions, inlined ones too, that it
    /// was made from. The first step inside is the next.
    pub entry: Position,
    /// Address called.
    pub callee: Address,
    /// How it ended.
    pub end: CallEnd,
    /// Number of calls around it, in the whole window: children follow their parent, one deeper.
    pub depth: u32,
    /// It was made before the steps asked for, and is open when they begin.
    pub open_before: bool,
    /// It is open behind the steps asked for.
    pub open_behind: bool,
}

/// The calls of some steps of a thread, in the order in which they were made: first those that are open
/// when the steps begin, the outermost first, then those that the steps make. Made when asked for, from
/// either side.
#[derive(Clone, Debug)]
pub struct CallTree<'a> {
    calls: &'a [Call],
    thread: ThreadId,
    /// Steps asked for.
    steps: Range<u64>,
    /// Indices of calls that are open when the steps begin.
    open: std::vec::IntoIter<usize>,
    /// Indices of calls that the steps make.
    made: Range<usize>,
}

impl History {
    /// The call tree of these steps of a thread; steps that do not exist have no calls. A look-up, and
    /// each call is made when it is asked for.
    ///
    /// `None` when the thread was not traced.
    pub fn call_tree(&self, thread: ThreadId, steps: Range<u64>) -> Option<CallTree<'_>> {
        let last = self.lifetime(thread)?.end;
        let steps = steps.start.min(last)..steps.end.min(last);
        let calls = self.calls(thread);
        let before = |step| calls.partition_point(|call| call.site < step);
        let (start, end) = (before(steps.start), before(steps.end));
        let open = match steps.is_empty() {
            true => Vec::new(),
            false => self.open_calls(Position::new(thread, steps.start)),
        };
        Some(CallTree {
            calls,
            thread,
            steps,
            open: open.into_iter(),
            made: start..end.max(start),
        })
    }
}

impl CallTree<'_> {
    /// Only the calls that the steps make, without those that are open when they begin.
    pub fn made(mut self) -> Self {
        self.open = Vec::new().into_iter();
        self
    }

    fn node(&self, index: usize) -> CallNode {
        let call = &self.calls[index];
        let place = |step| Position::new(self.thread, step);
        CallNode {
            entry: place(call.site),
            callee: call.callee,
            end: match (call.returned, call.left) {
                (Some(step), _) => CallEnd::Returned(place(step)),
                (None, Some(step)) => CallEnd::Left(place(step)),
                (None, None) => CallEnd::Open,
            },
            depth: call.depth,
            open_before: call.site < self.steps.start,
            open_behind: call.left.is_none_or(|step| step >= self.steps.end),
        }
    }
}

impl Iterator for CallTree<'_> {
    type Item = CallNode;

    fn next(&mut self) -> Option<CallNode> {
        let index = self.open.next().or_else(|| self.made.next())?;
        Some(self.node(index))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.open.len() + self.made.len();
        (left, Some(left))
    }
}

impl DoubleEndedIterator for CallTree<'_> {
    fn next_back(&mut self) -> Option<CallNode> {
        let index = self.made.next_back().or_else(|| self.open.next_back())?;
        Some(self.node(index))
    }
}

impl ExactSizeIterator for CallTree<'_> {}

impl FusedIterator for CallTree<'_> {}
