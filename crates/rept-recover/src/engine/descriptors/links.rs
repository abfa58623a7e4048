//! What links of `/proc` name that the program asks about: of `exe`, the program itself. A C library that
//! is linked in asks at its start where it lies, and the length decides what it allocates first.

use super::super::Engine;
use super::super::contents::Contents;
use super::super::graph::KernelCall;
use super::Outcome;
use crate::experiment::Technique;

const READLINK: u64 = 89;
const READLINKAT: u64 = 267;
const EXECVE: u64 = 59;
const EXECVEAT: u64 = 322;

/// Where a call that reads a link puts it, and how many bytes it has room for (an int that is positive).
pub(in super::super) fn link_buffer(arguments: [Option<u64>; 7]) -> Option<(u64, u64)> {
    let buffer = match arguments[0]? {
        READLINK => 2,
        READLINKAT => 3,
        _ => return None,
    };
    let room = arguments[buffer + 1].filter(|room| (1..=i32::MAX as u64).contains(room));
    arguments[buffer].zip(room)
}

impl Engine<'_> {
    /// Links to the program that were read are assumed to name it as the dump does.
    pub(super) fn assume_links(&mut self) {
        if self.inputs.program.is_none() || self.without.has(Technique::Files) {
            return;
        }
        for index in 0..self.graph.kernel_calls.len() {
            let call = self.graph.kernel_calls[index];
            let number = self.number(call.arguments[0]);
            if !matches!(number, Some(READLINK | READLINKAT))
                || self.outcome_of(&call) == Outcome::Failed
            {
                continue;
            }
            let path = self.path_of(&call);
            if path.is_some_and(|path| self.leads_to_program(&path))
                && !self.begins_another_program(&call)
            {
                let file = self.link_to_program();
                self.reads(&call, file, 0);
                let length = self.length_of_link(&call);
                self.foretell_count(&call, length);
            }
        }
    }

    /// How many bytes a call reads of a link: no more than it has room for, and no null behind them.
    pub(in super::super) fn length_of_link(&self, call: &KernelCall) -> Option<u64> {
        let file = self.graph.file_reads.get(&call.access)?.file?;
        let (_, room) = link_buffer(call.arguments.map(|node| self.number(node)))?;
        let length = self.graph.files.get(file as usize)?.len() as u64;
        Some(length.min(room))
    }

    /// The path is that of a link to the process's program.
    fn leads_to_program(&self, path: &[u8]) -> bool {
        let own = self.inputs.process.map(|own| format!("/proc/{own}/exe"));
        [&b"/proc/self/exe"[..], b"/proc/thread-self/exe"].contains(&path)
            || own.is_some_and(|own| path == own.as_bytes())
    }

    /// The process runs another program later, as far as is known.
    fn begins_another_program(&self, call: &KernelCall) -> bool {
        let calls = &self.graph.kernel_calls;
        let later = calls.partition_point(|other| other.access <= call.access);
        calls[later..].iter().any(|other| {
            let number = self.number(other.arguments[0]);
            matches!(number, Some(EXECVE | EXECVEAT)) && self.outcome_of(other) != Outcome::Failed
        })
    }

    /// The number of the file that stands for what the link holds.
    fn link_to_program(&mut self) -> Option<u32> {
        if self.inputs.program_link.is_none() {
            let mut text = Contents::default();
            text.add(self.inputs.program.as_deref()?, &[]);
            self.graph.files.push(text);
            self.inputs.program_link = Some(self.graph.files.len() as u32 - 1);
        }
        self.inputs.program_link
    }
}
