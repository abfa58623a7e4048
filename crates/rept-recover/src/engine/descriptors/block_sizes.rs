//! In how large blocks files lie: by that the C library sizes its buffers.

use super::super::Engine;
use super::super::graph::{AccessState, KernelCall};
use super::super::kernel::PAGE;
use super::super::known_calls::{FSTAT, NEWFSTATAT, stat_buffer};
use super::AT_EMPTY_PATH;
use super::role::{Role, role};
use hashbrown::HashMap;

/// The path is one of the files that the kernel makes up as they are read.
pub(super) fn is_of_kernel(path: &[u8]) -> bool {
    path.starts_with(b"/proc/")
}

impl Engine<'_> {
    /// A call of the stat family asks about a path, or may do so.
    pub(super) fn names_a_path(&self, call: &KernelCall) -> bool {
        let flags = self.graph.nodes.bits[call.arguments[4] as usize];
        match self.number(call.arguments[0]) {
            Some(FSTAT) => false,
            Some(NEWFSTATAT) => flags.known & flags.value & AT_EMPTY_PATH == 0,
            _ => true,
        }
    }

    /// Of the first call, or of all, that asks about a file of which nothing else is known, it is
    /// assumed that it is the file that the thread opened last. True if there was such a call.
    pub(super) fn assume_block_sizes(&mut self, all: bool) -> bool {
        let mut some = false;
        let mut of_kernel = HashMap::new();
        for index in 0..self.graph.kernel_calls.len() {
            let call = self.graph.kernel_calls[index];
            let thread = self.graph.thread_of(call.access);
            if let Some(Role::Open(..)) = self.number(call.arguments[0]).map(role) {
                let path = self.path_of(&call).unwrap_or_default();
                of_kernel.insert(thread, is_of_kernel(&path));
            }
            let of_kernel = of_kernel.get(&thread).copied().unwrap_or(false);
            some |= self.assume_block_size(&call, of_kernel);
            if some && !all {
                return true;
            }
        }
        some
    }

    /// Assumed: files have blocks of a page, as those of most file systems, pipes and sockets, and what
    /// the kernel makes up those of `/proc`. By that the C library sizes its buffers, so that the whole
    /// heap behind one hangs on it. True if it is new.
    pub(super) fn assume_block_size(&mut self, call: &KernelCall, of_kernel: bool) -> bool {
        /// Offset of `st_blksize` in the kernel's `struct stat` (x86-64).
        const BLOCK_SIZE: u64 = 56;
        const OF_KERNEL: u64 = 1024;
        let value = |node: u32| self.graph.nodes.bits[node as usize].get();
        let placed = self.graph.accesses[call.access as usize].state == AccessState::Placed;
        let Some(buffer) = stat_buffer(call.arguments.map(value)).filter(|_| placed) else {
            return false;
        };
        let place = buffer.wrapping_add(BLOCK_SIZE);
        let Some(entry) = self.cells.entry_at(place, call.access) else {
            return false;
        };
        if !self.inputs.block_sizes.insert(call.access) {
            return false;
        }
        let node = self.cells.entries[entry as usize].node;
        self.assume(node, if of_kernel { OF_KERNEL } else { PAGE });
        true
    }
}
