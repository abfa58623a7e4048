//! The program's instructions, decoded once per address.

use crate::instruction::{Instruction, MAX_BYTES};
use crate::maps::Mapping;
use crate::sys;
use std::collections::HashMap;
use std::rc::Rc;

/// Instructions by address. Those in constant mappings are trusted until mappings
/// change; all others (JIT code, writable or shared mappings) are compared with memory
/// each time.
#[derive(Debug, Default)]
pub(crate) struct CodeCache {
    known: HashMap<u64, Rc<Instruction>>,
    constant: Vec<(u64, u64)>,
}

impl CodeCache {
    /// Takes note of the mappings as they are now.
    pub(crate) fn mappings_changed(&mut self, mappings: &[Mapping]) {
        let constant = mappings.iter().filter(|mapping| mapping.is_constant_code());
        self.constant = constant
            .map(|mapping| (mapping.start, mapping.end))
            .collect();
        self.known.clear();
    }

    /// The instruction at `at`, or `None` when there is none (running it will fault).
    pub(crate) fn get(&mut self, tid: i32, at: u64) -> Option<Rc<Instruction>> {
        match self.known.get(&at) {
            Some(known) if self.is_constant(at) => Some(Rc::clone(known)),
            _ => self.fetch(tid, at),
        }
    }

    fn is_constant(&self, at: u64) -> bool {
        let index = self.constant.partition_point(|range| range.1 <= at);
        self.constant.get(index).is_some_and(|range| range.0 <= at)
    }

    fn fetch(&mut self, tid: i32, at: u64) -> Option<Rc<Instruction>> {
        let mut bytes = [0; MAX_BYTES];
        let got = sys::read(tid, at, &mut bytes);
        if let Some(known) = self.known.get(&at) {
            let length = usize::from(known.length);
            if got >= length && known.bytes[..length] == bytes[..length] {
                return Some(Rc::clone(known));
            }
        }
        let instruction = Rc::new(Instruction::decode(&bytes[..got], at)?);
        self.known.insert(at, Rc::clone(&instruction));
        Some(instruction)
    }
}
