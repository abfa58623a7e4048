use crate::Edge;
use rept_trace::{ThreadId, Timestamp};
use std::fmt;

/// Something in the input that the order could not use; the rest is ordered without it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Diagnostic {
    /// A thread's clock runs backwards. None of its times is used: after one jump there
    /// is no telling which part agrees with the other threads' clocks.
    ClockBackwards {
        /// The thread.
        thread: ThreadId,
        /// Step before which the offending timing packet stands.
        step: u64,
        /// The time already reached there, in TSC ticks.
        reached: Timestamp,
        /// The latest time that the packet allows, in TSC ticks.
        claimed: Timestamp,
    },
    /// A thread has steps but no timing packet, while other threads run beside it:
    /// only program order and edges place it.
    NoTime {
        /// The thread.
        thread: ThreadId,
    },
    /// An edge names a thread or a step that the trace does not have.
    EdgeOutOfRange {
        /// The edge.
        edge: Edge,
    },
    /// An edge leads back in time, or in its thread.
    EdgeContradicted {
        /// The edge.
        edge: Edge,
    },
    /// An edge is part of a cycle, or leads out of one.
    EdgeCycle {
        /// The edge.
        edge: Edge,
    },
    /// So many edges were left that their closure would outgrow its memory limit; the
    /// order is weaker than the edges say, never wrong.
    EdgesBeyondLimit {
        /// Number of edges ignored.
        ignored: u64,
    },
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Diagnostic::ClockBackwards {
                thread,
                step,
                reached,
                claimed,
            } => write!(
                f,
                "clock of thread {thread} runs backwards before step {step}: {} after {}; its times are not used",
                claimed.0, reached.0
            ),
            Diagnostic::NoTime { thread } => write!(f, "thread {thread} has no timing packets"),
            Diagnostic::EdgeOutOfRange { edge } => {
                write!(f, "{edge} names a step that the trace does not have")
            }
            Diagnostic::EdgeContradicted { edge } => {
                write!(f, "{edge} leads back in time; ignored")
            }
            Diagnostic::EdgeCycle { edge } => {
                write!(f, "{edge} depends on a cycle of edges; ignored")
            }
            Diagnostic::EdgesBeyondLimit { ignored } => {
                write!(
                    f,
                    "{ignored} edges ignored: their closure exceeds its memory limit"
                )
            }
        }
    }
}
