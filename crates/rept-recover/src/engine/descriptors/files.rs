//! Which file is at a path.

use super::super::Engine;
use super::super::graph::{AccessKind, KernelCall, NONE};
use super::role::{Role, role};
use super::{AT_FDCWD, MAX_LISTINGS, O_ACCMODE, O_TRUNC};
use crate::experiment::Technique;
use hashbrown::HashSet;

impl Engine<'_> {
    /// Paths that the program opened in ways that may change the file.
    pub(super) fn written_paths(&self) -> HashSet<Vec<u8>> {
        let calls = self.graph.kernel_calls.iter();
        calls
            .filter_map(|call| {
                let Role::Open(_, flags) = role(self.number(call.arguments[0])?) else {
                    return None;
                };
                let path = self.path_of(call)?;
                (!self.only_reads(call.arguments[flags])).then_some(path)
            })
            .collect()
    }

    /// The file that a call opens, if it only reads it and its contents are at hand.
    pub(super) fn opened_by(
        &mut self,
        call: &KernelCall,
        directory: Option<usize>,
        flags: usize,
        written: &HashSet<Vec<u8>>,
    ) -> Option<u32> {
        let path = self.path_of(call)?;
        let here = path.starts_with(b"/")
            || directory.is_none_or(|index| self.int(call.arguments[index]) == Some(AT_FDCWD));
        let wanted = here && self.only_reads(call.arguments[flags]) && !written.contains(&path);
        wanted.then(|| self.file_of(path)).flatten()
    }

    /// The number of the file at a path.
    pub(super) fn file_of(&mut self, path: Vec<u8>) -> Option<u32> {
        if let Some(&known) = self.inputs.by_path.get(&path) {
            return known;
        }
        let files = self.inputs.files.as_ref()?;
        if self.without.has(Technique::Files) {
            return None;
        }
        let contents = files.contents(&path);
        let number = contents.map(|contents| {
            self.graph.files.push(contents.into());
            self.graph.files.len() as u32 - 1
        });
        self.inputs.by_path.insert(path, number);
        number
    }

    /// The path is that of the kernel's list of the process's memory.
    pub(super) fn lists_memory(&self, path: &[u8]) -> bool {
        let own = self.inputs.process.map(|own| format!("/proc/{own}/maps"));
        path == b"/proc/self/maps" || own.is_some_and(|own| path == own.as_bytes())
    }

    /// The list of the process's memory, as the first read found it.
    pub(super) fn listed_for(&mut self, call: &KernelCall) -> Option<u32> {
        if let Some(&made) = self.inputs.listed.get(&call.access) {
            return Some(made);
        }
        if self.without.has(Technique::Files) || self.inputs.listed.len() >= MAX_LISTINGS {
            return None;
        }
        let listing = self.memory_listing(call)?;
        self.graph.files.push(listing);
        let made = self.graph.files.len() as u32 - 1;
        self.inputs.listed.insert(call.access, made);
        Some(made)
    }

    /// What the kernel read as the path of a call, up to its null.
    pub(super) fn path_of(&self, call: &KernelCall) -> Option<Vec<u8>> {
        let step = self.graph.accesses[call.access as usize].step;
        let mut path = Vec::new();
        for id in self.graph.accesses_of(step) {
            let access = &self.graph.accesses[id as usize];
            if access.kind != AccessKind::Load || access.node == NONE {
                continue;
            }
            let bits = self.graph.nodes.bits[access.node as usize];
            for byte in 0..u64::from(access.size) {
                match (
                    bits.known >> (8 * byte) & 0xff,
                    bits.value >> (8 * byte) & 0xff,
                ) {
                    (0xff, 0) => return Some(path).filter(|path| !path.is_empty()),
                    (0xff, value) => path.push(value as u8),
                    _ => return None,
                }
            }
        }
        None
    }

    fn only_reads(&self, flags: u32) -> bool {
        let bits = self.graph.nodes.bits[flags as usize];
        (bits.known & !bits.value) & (O_ACCMODE | O_TRUNC) == O_ACCMODE | O_TRUNC
    }
}
