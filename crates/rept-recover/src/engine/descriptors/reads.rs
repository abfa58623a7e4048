//! What calls read of open files, and from where on.

use super::super::Engine;
use super::super::address_space::made_up;
use super::super::contents::Contents;
use super::super::graph::{KernelCall, ReadOf};
use super::table::{OpenFile, Table};
use super::{Outcome, SEEK_CUR, SEEK_END, SEEK_SET};

impl Engine<'_> {
    /// The open file that a call's first argument names.
    pub(super) fn file_at(&self, table: &mut Table, call: &KernelCall) -> Option<OpenFile> {
        let descriptor = self.int(call.arguments[1])?;
        let thread = self.graph.thread_of(call.access);
        table.file(descriptor.into(), thread).map(|open| *open)
    }

    /// A call reads a file from an offset of its own on.
    pub(super) fn read_at(&mut self, table: &mut Table, call: &KernelCall) {
        let file = self.file_at(table, call);
        self.reads(call, file.and_then(|open| open.file), 0);
        let offset = self.number(call.arguments[4]);
        let count = file
            .zip(offset)
            .and_then(|(file, at)| self.count(call, file, at));
        self.foretell_count(call, count);
    }

    pub(super) fn read(&mut self, table: &mut Table, call: &KernelCall, one_buffer: bool) {
        let Some(descriptor) = self.int(call.arguments[1]) else {
            return table.move_on();
        };
        let thread = self.graph.thread_of(call.access);
        let Some(&mut open) = table.file(descriptor.into(), thread) else {
            return;
        };
        let open = self.as_read(table, descriptor, open, call);
        let known = self.number(call.result);
        let mut count = None;
        if let Some(position) = open.position.filter(|_| one_buffer) {
            count = self.count(call, open, position);
            if known > count && count.is_some() {
                // It was longer than what is at hand.
                if let Some(open) = table.file(descriptor.into(), thread) {
                    (open.file, open.position) = (None, None);
                }
                return;
            }
            self.reads(call, open.file, position);
            self.foretell_count(call, count);
        }
        let moved = match self.outcome_of(call) {
            Outcome::Failed => Some(0),
            _ => known.or(count),
        };
        if let Some(open) = table.file(descriptor.into(), thread) {
            open.position = open.position.zip(moved).map(|(at, by)| at.wrapping_add(by));
        }
    }

    /// What the kernel makes up is made when it is read first, and read no longer when that changed.
    pub(super) fn as_read(
        &mut self,
        table: &mut Table,
        descriptor: u32,
        mut open: OpenFile,
        call: &KernelCall,
    ) -> OpenFile {
        if !open.lists_memory {
            return open;
        }
        match open.file {
            None if open.position == Some(0) => {
                (open.file, open.made_for) = (self.listed_for(call), call.access);
            }
            Some(_) if !self.keeps_areas(open.made_for, call.access) => {
                (open.file, open.position) = (None, None);
            }
            _ => return open,
        }
        if let Some(entry) = table.file(descriptor.into(), open.thread) {
            *entry = open;
        }
        open
    }

    /// A call reads a file from an offset on.
    pub(super) fn reads(&mut self, call: &KernelCall, file: Option<u32>, offset: u64) {
        if file.is_none() || self.graph.file_reads.contains_key(&call.access) {
            return;
        }
        let of = ReadOf {
            base: None,
            file,
            offset,
        };
        self.graph.file_reads.insert(call.access, of);
        self.work
            .insert(self.graph.accesses[call.access as usize].step);
    }

    /// What a call reads of a file: as much as is asked for, or what is left of it.
    pub(super) fn count(&self, call: &KernelCall, open: OpenFile, position: u64) -> Option<u64> {
        let file: &Contents = &self.graph.files[open.file? as usize];
        let asked = self.number(call.arguments[3])?;
        if file.is_made_up() {
            return Some(made_up(
                file.bytes(),
                usize::try_from(position).ok()?,
                asked,
            ));
        }
        Some((file.len() as u64).saturating_sub(position).min(asked))
    }

    pub(super) fn foretell_count(&mut self, call: &KernelCall, count: Option<u64>) {
        let open = self.outcome_of(call) != Outcome::Failed && self.number(call.result).is_none();
        if let Some(count) = count.filter(|_| open) {
            self.foretell(call, count);
        }
    }

    pub(super) fn seek(&mut self, table: &mut Table, call: &KernelCall) {
        let Some(descriptor) = self.int(call.arguments[1]) else {
            return table.move_on();
        };
        let thread = self.graph.thread_of(call.access);
        let (offset, whence) = (
            self.number(call.arguments[2]),
            self.number(call.arguments[3]),
        );
        let outcome = self.outcome_of(call);
        let known = self.number(call.result);
        let Some(&mut open) = table.file(descriptor.into(), thread) else {
            return;
        };
        let length = open
            .file
            .map(|file| self.graph.files[file as usize].len() as u64);
        let from = match whence {
            Some(SEEK_SET) => Some(0),
            Some(SEEK_CUR) => open.position,
            Some(SEEK_END) => length,
            _ => None,
        };
        // Of what is no file, nobody knows whether it has positions; lists are read from anywhere on.
        let target = from.zip(offset).map(|(from, by)| from.wrapping_add(by));
        let target = target.filter(|_| length.is_some() || open.lists_memory);
        let position = match (outcome, known, target) {
            (Outcome::Failed, ..) => open.position,
            (Outcome::Succeeded, Some(known), _) => Some(known),
            (Outcome::Succeeded, None, Some(target)) => {
                self.foretell(call, target);
                Some(target)
            }
            _ => None,
        };
        if let Some(open) = table.file(descriptor.into(), thread) {
            open.position = position;
        }
    }
}
