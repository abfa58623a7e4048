//! What is missing or does not fit, one finding each.

use rept_trace::ThreadId;
use std::fmt;

/// A finding about the inputs; displays as one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What it is about.
    pub subject: Subject,
    /// The finding.
    pub message: String,
}

/// What a [`Diagnostic`] is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Subject {
    /// The dump does not belong to the trace. Nothing of it is used for recovery.
    Mismatch,
    /// The dump file.
    Dump,
    /// The trace file.
    Trace,
    /// A thread.
    Thread(ThreadId),
    /// A binary, by its path as recorded.
    Module(String),
    /// A binary that changed since the run, by its path as recorded: its code and data are missing.
    Changed(String),
    /// The order of threads.
    Order,
}

impl Diagnostic {
    pub(crate) fn new(subject: Subject, message: impl Into<String>) -> Diagnostic {
        let message = message.into();
        Diagnostic { subject, message }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Subject::Thread(thread) => write!(f, "thread {thread}: {}", self.message),
            _ => f.write_str(&self.message),
        }
    }
}
