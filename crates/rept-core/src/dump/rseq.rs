//! Where the kernel tells each thread its processor: the areas of restartable sequences.
//!
//! A thread registers its area by rseq(2) when it begins. From then on the kernel writes it whenever
//! it lets the thread run on another processor, and no trace shows that. Of a thread whose beginning
//! is not in the trace, the C library (glibc since 2.35) says where the area is: at `__rseq_offset`
//! from the thread pointer, if `__rseq_size` is not 0. Areas that a program registers by itself, with
//! glibc told not to or with another C library, are known only where the trace shows the call.

use super::{AT_BASE, Dump, Module, auxiliary};
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSymbol};
use rept_trace::{Address, Memory, RegWord};
use std::ops::Range;

/// Bytes that are registered at least: the kernel's first `struct rseq`. Later glibc counts in
/// `__rseq_size` only those that are in use.
const LEAST: u64 = 32;
/// Bytes that are believed at most.
const MOST: u64 = 4096;

impl Dump {
    /// The areas of the threads that live at the end, as far as the C library tells them.
    pub(crate) fn rseq_areas(&self) -> Vec<Range<Address>> {
        let Some((offset, bytes)) = self.rseq_place() else {
            return Vec::new();
        };
        let pointers = self.threads.iter();
        let pointers = pointers.filter_map(|thread| thread.get(RegWord::FS_BASE));
        let areas = pointers.filter(|&pointer| pointer != 0).map(|pointer| {
            let start = pointer.wrapping_add(offset);
            Address(start)..Address(start.saturating_add(bytes))
        });
        areas.collect()
    }

    /// How far from the thread pointer the area is, modulo 2^64, and how long.
    fn rseq_place(&self) -> Option<(u64, u64)> {
        let module = self.loader()?;
        let places = places_of(module.binary()?.bytes(), ["__rseq_offset", "__rseq_size"]);
        let [offset, size] = places.map(|own| Some(own?.wrapping_add(module.bias)));
        let offset = u64::from_le_bytes(self.read(offset?)?);
        let size = u64::from(u32::from_le_bytes(self.read(size?)?));
        (1..=MOST)
            .contains(&size)
            .then(|| (offset, size.max(LEAST)))
    }

    /// The module that sets up threads: the interpreter, or the program when that has none.
    fn loader(&self) -> Option<&Module> {
        match auxiliary(&self.auxv, AT_BASE)? {
            0 => self.program(),
            base => self.modules.iter().find(|module| module.start.0 == base),
        }
    }

    fn read<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let bytes = self.memory.bytes(Address(at))?;
        bytes.get(..N)?.try_into().ok()
    }
}

/// Where variables of these names are in a file's own addresses.
fn places_of<const N: usize>(file: &[u8], names: [&str; N]) -> [Option<u64>; N] {
    let mut places = [None; N];
    let Ok(file) = ElfFile64::<LittleEndian>::parse(file) else {
        return places;
    };
    let symbols = file.dynamic_symbols().chain(file.symbols());
    for symbol in symbols.filter(ObjectSymbol::is_definition) {
        let name = symbol.name_bytes().unwrap_or_default();
        if let Some(index) = names.iter().position(|of| of.as_bytes() == name) {
            places[index].get_or_insert(symbol.address());
            if places.iter().all(Option::is_some) {
                break;
            }
        }
    }
    places
}
