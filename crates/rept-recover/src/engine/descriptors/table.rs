//! The descriptors of a process.

use super::super::graph::NONE;
use std::collections::BTreeMap;

/// An open file.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenFile {
    /// Of the graph's files, if its contents are at hand.
    pub(super) file: Option<u32>,
    /// It is one of those that the kernel makes up as they are read.
    pub(super) of_kernel: bool,
    /// It is the kernel's list of the process's memory.
    pub(super) lists_memory: bool,
    /// The call that read it first, if it is made up as it is read.
    pub(super) made_for: u32,
    /// The thread that opened it.
    pub(super) thread: u32,
    /// Where the next read begins, if that is known.
    pub(super) position: Option<u64>,
}

/// The descriptors that are open before a system call.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Descriptor to open file: duplicates share one.
    pub(super) descriptors: BTreeMap<u32, usize>,
    open: Vec<OpenFile>,
    /// No other descriptor is open.
    pub(super) whole: bool,
    /// Several threads have it.
    pub(super) shared: bool,
}

impl Table {
    pub(super) fn new(whole: bool) -> Table {
        Table {
            whole,
            ..Table::default()
        }
    }

    /// All may be otherwise from here on.
    pub(super) fn lose(&mut self) {
        self.descriptors.clear();
        self.whole = false;
    }

    pub(super) fn lowest_free(&self, from: u32) -> Option<u32> {
        let free = |number: &u32| !self.descriptors.contains_key(number);
        self.whole.then(|| (from..=u32::MAX).find(free)).flatten()
    }

    pub(super) fn insert(
        &mut self,
        descriptor: u32,
        file: Option<u32>,
        position: u64,
        thread: u32,
    ) {
        let position = Some(position);
        let of_kernel = false;
        self.enter(
            descriptor,
            OpenFile {
                file,
                of_kernel,
                lists_memory: false,
                made_for: NONE,
                thread,
                position,
            },
        );
    }

    pub(super) fn enter(&mut self, descriptor: u32, open: OpenFile) {
        self.descriptors.insert(descriptor, self.open.len());
        self.open.push(open);
    }

    /// The open file that a thread means by a number. Of one that another thread opened, it is not
    /// known where the next read begins, nor, unless the table is whole, that it still is that.
    pub(super) fn file(&mut self, descriptor: u64, thread: u32) -> Option<&mut OpenFile> {
        let descriptor = u32::try_from(descriptor).ok()?;
        let index = *self.descriptors.get(&descriptor)?;
        let open = self.open.get_mut(index)?;
        if self.shared && open.thread != thread {
            open.position = None;
        }
        let known = !self.shared || self.whole || open.thread == thread;
        known.then_some(open)
    }

    /// Something was read, nobody knows from which.
    pub(super) fn move_on(&mut self) {
        for file in &mut self.open {
            file.position = None;
        }
    }
}
