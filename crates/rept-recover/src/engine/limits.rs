//! What calls told the program of its limits: the C library makes the stacks of threads as large as
//! `RLIMIT_STACK` says, so that where each lies hangs on it.

use super::Engine;
use super::cells::CELL;
use super::graph::KernelCall;

const GETRLIMIT: u64 = 97;
const SETRLIMIT: u64 = 160;
const PRLIMIT64: u64 = 302;

/// What a call asks of a limit.
enum Question {
    /// Which it is: the resource, and where to put the answer.
    Ask(u64, u64),
    /// It may change that of a resource, or of any.
    Change(Option<u64>),
    Nothing,
}

impl Engine<'_> {
    /// Calls that asked for a limit are assumed to have been told what the process began with, as long as
    /// no call may have changed it.
    pub(super) fn assume_limits(&mut self) {
        let mut limits = self.inputs.limits.clone();
        for index in 0..self.graph.kernel_calls.len() {
            if limits.is_empty() {
                return;
            }
            let call = self.graph.kernel_calls[index];
            match self.question(&call) {
                Question::Ask(resource, place) => {
                    let limit = limits.iter().find(|of| u64::from(of.resource) == resource);
                    if let Some(&limit) = limit {
                        self.tell_limit(&call, place, [limit.soft, limit.hard]);
                    }
                }
                Question::Change(resource) => limits.retain(|of| {
                    resource.is_some_and(|resource| u64::from(of.resource) != resource)
                }),
                Question::Nothing => {}
            }
        }
    }

    fn question(&self, call: &KernelCall) -> Question {
        let [number, first, second, third, fourth, ..] =
            call.arguments.map(|node| self.number(node));
        match number {
            None => Question::Change(None),
            Some(SETRLIMIT) => Question::Change(first),
            Some(GETRLIMIT) => match (first, second) {
                (Some(resource), Some(place)) => Question::Ask(resource, place),
                _ => Question::Nothing,
            },
            Some(PRLIMIT64) if third != Some(0) => Question::Change(second),
            Some(PRLIMIT64) => {
                let own = first == Some(0) || first == self.inputs.process.map(u64::from);
                match (second, fourth) {
                    (Some(resource), Some(place)) if own => Question::Ask(resource, place),
                    _ => Question::Nothing,
                }
            }
            Some(_) => Question::Nothing,
        }
    }

    /// A call put these words where it was told to (`struct rlimit`).
    fn tell_limit(&mut self, call: &KernelCall, place: u64, words: [u64; 2]) {
        if !self.is_placed(call.access)
            || !place.is_multiple_of(CELL)
            || self.inputs.limits_told.contains(&call.access)
        {
            return;
        }
        for (word, at) in words.into_iter().zip((place..).step_by(8)) {
            if let Some(entry) = self.cells.entry_at(at, call.access) {
                let node = self.cells.entries[entry as usize].node;
                self.assume(node, word);
                self.inputs.limits_told.insert(call.access);
            }
        }
    }
}
