//! Memory at the end: the core's own bytes, and binaries' where the core has none.

use super::entry_stack::EntryStack;
use super::modules::Module;
use super::{AT_BASE, AT_ENTRY};
use crate::binaries::Binary;
use crate::layout::{Segment, page_up};
use crate::mmap::FileBytes;
use rept_trace::{Address, Mapping, Memory};
use std::sync::Arc;

/// Consecutive addresses whose bytes lie together in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) source: Source,
    /// Offset in the file of the byte at `start`.
    pub(super) offset: usize,
}

/// Which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Core,
    Binary(usize),
    /// None: the lists of [`EntryStack`].
    Lists,
    /// None: zeros.
    Zero,
}

/// As many zeros as one run of them has.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// See [`Memory`]. Chunks are sorted and disjoint; so are the constant ranges.
#[derive(Debug)]
pub(crate) struct DumpMemory {
    core: FileBytes,
    binaries: Vec<Arc<Binary>>,
    chunks: Vec<Chunk>,
    constant: Vec<(u64, u64)>,
    /// Written by the loader, then protected.
    protected: Vec<(u64, u64)>,
    /// What the process began with.
    initial: Vec<Chunk>,
    entry_stack: Option<EntryStack>,
    /// What the files hold that are mapped.
    files: Vec<Chunk>,
    mappings: Vec<Mapping>,
}

impl DumpMemory {
    pub(super) fn new(core: FileBytes, chunks: Vec<Chunk>, mappings: Vec<Mapping>) -> DumpMemory {
        DumpMemory {
            core,
            binaries: Vec::new(),
            chunks: disjoint(chunks),
            constant: Vec::new(),
            protected: Vec::new(),
            initial: Vec::new(),
            entry_stack: None,
            files: Vec::new(),
            mappings,
        }
    }

    /// Adds what cannot have been written, from binaries that are verified to be the ones mapped.
    pub(super) fn overlay(&mut self, modules: &[Module], auxv: &[(u64, u64)]) {
        let loaded = loaded_by_kernel(auxv);
        let mut chunks = std::mem::take(&mut self.chunks);
        for module in modules {
            let layout = module.layout();
            let constant = layout.map_or_else(Vec::new, |of| self.read_only(module, of.constant()));
            let relro = layout.and_then(|layout| layout.relro());
            self.protected.extend(self.read_only(module, relro));
            if let Some(binary) = module.verified() {
                let source = Source::Binary(self.binaries.len());
                self.binaries.push(binary.clone());
                let pieces = constant
                    .iter()
                    .filter_map(|&range| file_chunk(module, binary, source, range));
                chunks.extend(pieces);
                let mapped = module.mapped();
                let mapped = mapped.filter_map(|range| file_chunk(module, binary, source, range));
                self.files.extend(mapped);
                if loaded
                    .iter()
                    .any(|&at| module.start.0 <= at && at < module.end.0)
                {
                    for segment in &binary.layout.segments {
                        self.initial
                            .extend(loaded_chunks(module, binary, source, segment));
                    }
                }
            }
            self.constant.extend(constant);
        }
        self.chunks = disjoint(chunks);
        self.files = disjoint(std::mem::take(&mut self.files));
        self.begin_stack(auxv);
        self.initial = disjoint(std::mem::take(&mut self.initial));
        join(&mut self.constant);
        join(&mut self.protected);
    }

    /// Adds what the process began with on its stack.
    fn begin_stack(&mut self, auxv: &[(u64, u64)]) {
        self.entry_stack = EntryStack::find(self, auxv);
        let Some(stack) = &self.entry_stack else {
            return;
        };
        for unchanged in &stack.unchanged {
            let first = self
                .chunks
                .partition_point(|chunk| chunk.end <= unchanged.start);
            let held = self.chunks[first..]
                .iter()
                .take_while(|chunk| chunk.start < unchanged.end);
            self.initial.extend(held.map(|chunk| {
                let start = chunk.start.max(unchanged.start);
                Chunk {
                    start,
                    end: chunk.end.min(unchanged.end),
                    offset: chunk.offset + (start - chunk.start) as usize,
                    ..*chunk
                }
            }));
        }
        self.initial.push(Chunk {
            start: stack.pointer,
            end: stack.pointer + stack.lists.len() as u64,
            source: Source::Lists,
            offset: 0,
        });
        self.initial.push(Chunk {
            start: stack.below.start,
            end: stack.below.end,
            source: Source::Zero,
            offset: 0,
        });
    }

    /// Those of a module's addresses that are mapped without write permission.
    fn read_only(
        &self,
        module: &Module,
        wanted: impl IntoIterator<Item = (u64, u64)>,
    ) -> Vec<(u64, u64)> {
        let mut ranges = Vec::new();
        for (start, end) in wanted {
            let (start, end) = (
                start.wrapping_add(module.bias),
                end.wrapping_add(module.bias),
            );
            let first = self
                .mappings
                .partition_point(|mapping| mapping.end.0 <= start);
            let mapped = self.mappings[first..]
                .iter()
                .take_while(|mapping| mapping.start.0 < end);
            for mapping in mapped.filter(|mapping| !mapping.write && module.owns(mapping)) {
                ranges.push((start.max(mapping.start.0), end.min(mapping.end.0)));
            }
        }
        ranges
    }

    /// The bytes from `at` on that some chunks hold.
    fn run(&self, chunks: &[Chunk], at: u64) -> Option<&[u8]> {
        chunk(chunks, at).and_then(|chunk| self.held(chunk, at))
    }

    /// The bytes from `at` on that a chunk holds.
    fn held(&self, chunk: &Chunk, at: u64) -> Option<&[u8]> {
        let skip = (at - chunk.start) as usize;
        let len = (chunk.end - chunk.start) as usize;
        let file: &[u8] = match chunk.source {
            Source::Core => &self.core,
            Source::Binary(index) => self.binaries[index].bytes(),
            Source::Lists => &self.entry_stack.as_ref()?.lists,
            Source::Zero => return ZEROS.get(..(len - skip).min(ZEROS.len())),
        };
        file.get(chunk.offset + skip..chunk.offset + len)
    }

    /// See [`EntryStack`].
    pub(super) fn entry_stack(&self) -> Option<&EntryStack> {
        self.entry_stack.as_ref()
    }

    /// The mapping that holds `at`.
    pub(crate) fn mapping(&self, at: Address) -> Option<&Mapping> {
        let index = self.mappings.partition_point(|mapping| mapping.end <= at);
        self.mappings
            .get(index)
            .filter(|mapping| mapping.start <= at)
    }
}

impl Memory for DumpMemory {
    fn bytes(&self, at: Address) -> Option<&[u8]> {
        self.run(&self.chunks, at.0)
    }

    fn initial_bytes(&self, at: Address) -> Option<&[u8]> {
        self.run(&self.initial, at.0)
    }

    fn file_bytes(&self, at: Address, offset: u64) -> Option<&[u8]> {
        let chunk = chunk(&self.files, at.0)?;
        let mapped = chunk.offset as u64 + (at.0 - chunk.start);
        self.held(chunk, at.0).filter(|_| mapped == offset)
    }

    fn constant_len(&self, at: Address) -> u64 {
        rest(&self.constant, at)
    }

    fn protected_len(&self, at: Address) -> u64 {
        rest(&self.protected, at)
    }

    fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }
}

/// The chunk that holds an address.
fn chunk(chunks: &[Chunk], at: u64) -> Option<&Chunk> {
    let index = chunks.partition_point(|chunk| chunk.end <= at);
    chunks.get(index).filter(|chunk| chunk.start <= at)
}

/// Bytes from an address to the end of the range that holds it; 0 without one.
fn rest(ranges: &[(u64, u64)], at: Address) -> u64 {
    let index = ranges.partition_point(|&(_, end)| end <= at.0);
    match ranges.get(index) {
        Some(&(start, end)) if start <= at.0 => end - at.0,
        _ => 0,
    }
}

/// Sorts ranges, and joins those that meet.
fn join(ranges: &mut Vec<(u64, u64)>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, last| {
        let joins = next.0 <= last.1;
        if joins {
            last.1 = last.1.max(next.1);
        }
        joins
    });
}

/// Addresses in what the kernel loads before a program runs: the program and its interpreter.
pub(super) fn loaded_by_kernel(auxv: &[(u64, u64)]) -> Vec<u64> {
    let wanted = |&&(kind, value): &&(u64, u64)| matches!(kind, AT_BASE | AT_ENTRY) && value != 0;
    auxv.iter()
        .filter(wanted)
        .map(|&(_, value)| value)
        .collect()
}

/// What the kernel makes of a segment: the file's bytes, then zeros up to the end of the last page.
fn loaded_chunks(
    module: &Module,
    binary: &Binary,
    source: Source,
    segment: &Segment,
) -> impl Iterator<Item = Chunk> {
    let start = segment.address.wrapping_add(module.bias);
    let filled = start.saturating_add(segment.file_size);
    let end = page_up(start.saturating_add(segment.memory_size));
    let zeros = Chunk {
        start: filled,
        end,
        source: Source::Zero,
        offset: 0,
    };
    let bytes = file_chunk(module, binary, source, (start, filled));
    let grown = segment.write && segment.memory_size > segment.file_size && filled < end;
    bytes.into_iter().chain(grown.then_some(zeros))
}

/// The bytes of `range` in the module's file; bytes behind its end are not known.
fn file_chunk(
    module: &Module,
    binary: &Binary,
    source: Source,
    range: (u64, u64),
) -> Option<Chunk> {
    let (start, end) = range;
    let offset = module.file_offset(start)?;
    let len = (binary.bytes().len() as u64).checked_sub(offset)?;
    let end = end.min(start.saturating_add(len));
    let offset = usize::try_from(offset).ok()?;
    (start < end).then_some(Chunk {
        start,
        end,
        source,
        offset,
    })
}

/// Sorts by address and cuts overlaps; what came first in the list stays whole.
fn disjoint(chunks: Vec<Chunk>) -> Vec<Chunk> {
    let mut placed: std::collections::BTreeMap<u64, Chunk> = std::collections::BTreeMap::new();
    for chunk in chunks {
        let mut at = chunk.start;
        let before = placed
            .range(..=at)
            .next_back()
            .map_or(at, |(_, chunk)| chunk.end);
        at = at.max(before);
        while at < chunk.end {
            let next = placed
                .range(at..chunk.end)
                .next()
                .map(|(_, chunk)| (chunk.start, chunk.end));
            let end = next.map_or(chunk.end, |(start, _)| start);
            if at < end {
                let offset = chunk.offset + (at - chunk.start) as usize;
                placed.insert(
                    at,
                    Chunk {
                        start: at,
                        end,
                        offset,
                        ..chunk
                    },
                );
            }
            at = next.map_or(chunk.end, |(_, end)| end);
        }
    }
    placed.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core(start: u64, end: u64, offset: usize) -> Chunk {
        Chunk {
            start,
            end,
            source: Source::Core,
            offset,
        }
    }

    #[test]
    fn earlier_chunks_win_and_later_ones_fill_the_holes() {
        let binary = Chunk {
            start: 0,
            end: 100,
            source: Source::Binary(0),
            offset: 1000,
        };
        let placed = disjoint(vec![core(10, 20, 0), core(30, 40, 10), binary]);
        let starts: Vec<_> = placed
            .iter()
            .map(|chunk| (chunk.start, chunk.end, chunk.offset))
            .collect();
        assert_eq!(
            starts,
            [
                (0, 10, 1000),
                (10, 20, 0),
                (20, 30, 1020),
                (30, 40, 10),
                (40, 100, 1040)
            ]
        );
    }

    #[test]
    fn a_chunk_inside_another_adds_nothing() {
        assert_eq!(
            disjoint(vec![core(10, 40, 0), core(20, 30, 500)]),
            [core(10, 40, 0)]
        );
        assert_eq!(
            disjoint(vec![core(10, 40, 0), core(35, 50, 500)]),
            [core(10, 40, 0), core(40, 50, 505)]
        );
    }
}
