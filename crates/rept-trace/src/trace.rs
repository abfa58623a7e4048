use crate::{Code, ThreadId, ThreadTrace};

/// What was decoded: the code that ran and each thread's path through it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Static code of all threads.
    pub code: Code,
    /// Threads, by ascending id.
    pub threads: Vec<ThreadTrace>,
}

impl Trace {
    /// The path of this thread.
    pub fn thread(&self, id: ThreadId) -> Option<&ThreadTrace> {
        self.threads.iter().find(|thread| thread.thread == id)
    }
}
