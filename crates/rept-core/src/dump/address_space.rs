//! What the process's memory was made of in the end, and what the kernel had laid out of it before the
//! first instruction (fs/binfmt_elf.c, `load_elf_binary`).

use super::memory::loaded_by_kernel;
use super::{Dump, auxiliary, modules};
use crate::layout::{Segment, page_down, page_up};
use rept_recover::{AddressSpace, Area, Backing, FileIdentity, MappedFile};
use rept_trace::{Address, Mapping, Memory};
use std::collections::{BTreeMap, BTreeSet};

/// Numbers of files, by their paths.
type Numbers<'a> = BTreeMap<&'a str, u32>;

/// Entry of the auxiliary vector: where the vDSO is.
const AT_SYSINFO_EHDR: u64 = 33;
/// The page of the system calls of old.
const VSYSCALL: u64 = 0xffff_ffff_ff60_0000;
/// The kernel makes so much room below what it puts onto the stack (`setup_arg_pages`).
const STACK_ROOM: u64 = 128 << 10;

impl Dump {
    /// What memory was made of, before the first instruction and in the end. `identity` tells which file
    /// lies under a path.
    pub(crate) fn address_space(
        &self,
        identity: impl Fn(&str) -> Option<FileIdentity>,
    ) -> Option<AddressSpace> {
        let mut space = AddressSpace {
            heap: self.initial_break(),
            ..AddressSpace::default()
        };
        let paths: BTreeSet<&str> = self.files.iter().map(|part| part.path.as_str()).collect();
        let numbers: Numbers<'_> = paths.iter().copied().zip(0..).collect();
        space.files = paths
            .into_iter()
            .map(|path| MappedFile {
                path: path.as_bytes().to_vec(),
                identity: identity(path),
            })
            .collect();
        let lent = self.lent();
        let mappings = self.memory.mappings().iter();
        space.last = mappings
            .map(|mapping| self.last_area(mapping, &numbers, &lent))
            .collect();
        let kernel = |name: &str| Backing::Kernel(name.to_owned());
        let has = |name: &str| space.last.iter().any(|area| area.backing == kernel(name));
        if has("[vdso]") != has("[vvar]") {
            // The dump is of a tool that leaves out what the kernel lends.
            return None;
        }
        let of_kernel = |area: &&Area| matches!(area.backing, Backing::Kernel(_));
        space.first = space.last.iter().filter(of_kernel).cloned().collect();
        space.first.push(self.first_stack(&space.last)?);
        self.first_files(&numbers, &mut space.first)?;
        space.first.sort_by_key(|area| area.start);
        let apart = |pair: &[Area]| pair[0].end <= pair[1].start;
        space.first.windows(2).all(apart).then_some(space)
    }

    fn last_area(&self, mapping: &Mapping, numbers: &Numbers<'_>, lent: &[Address]) -> Area {
        let start = mapping.start.0;
        let part = modules::part_at(&self.files, start);
        let of_file = part.and_then(|part| {
            let file = *numbers.get(part.path.as_str())?;
            let offset = part.file_offset.wrapping_add(start - part.start);
            Some(Backing::File { file, offset })
        });
        Area {
            start: mapping.start,
            end: mapping.end,
            read: mapping.read,
            write: mapping.write,
            execute: mapping.execute,
            backing: of_file.unwrap_or_else(|| self.backing_without_file(mapping, lent)),
        }
    }

    fn backing_without_file(&self, mapping: &Mapping, lent: &[Address]) -> Backing {
        let holds = |at: u64| (mapping.start.0..mapping.end.0).contains(&at);
        let stack = self.entry_stack().map(|stack| stack.pointer);
        let vdso = auxiliary(&self.auxv, AT_SYSINFO_EHDR);
        let kernel = |name: &str| Backing::Kernel(name.to_owned());
        match (stack, vdso) {
            (Some(pointer), _) if holds(pointer) => Backing::Stack,
            (_, Some(vdso)) if holds(vdso) => kernel("[vdso]"),
            _ if holds(VSYSCALL) => kernel("[vsyscall]"),
            _ => match lent.binary_search(&mapping.start).ok() {
                Some(0) => kernel("[vvar]"),
                // Since Linux 6.13 those of virtual clocks are an area of their own.
                Some(_) => kernel("[vvar_vclock]"),
                None => Backing::Anonymous,
            },
        }
    }

    /// Where the mappings of the kernel's clocks begin, which end where the vDSO begins, by ascending address.
    fn lent(&self) -> Vec<Address> {
        let mut lent = Vec::new();
        let Some(mut end) = auxiliary(&self.auxv, AT_SYSINFO_EHDR) else {
            return lent;
        };
        for mapping in self.memory.mappings().iter().rev() {
            if mapping.end.0 == end && !mapping.write && mapping.read && mapping.file.is_none() {
                lent.push(mapping.start);
                end = mapping.start.0;
            }
        }
        lent.reverse();
        lent
    }

    /// The stack as the kernel made it: it grows when that is not enough.
    fn first_stack(&self, last: &[Area]) -> Option<Area> {
        let stack = self.entry_stack()?;
        let last = last.iter().find(|area| area.backing == Backing::Stack)?;
        // The strings of the arguments are the lowest of what was there when it was made.
        let lowest = match stack.first_string() {
            Some(first) => first,
            None => {
                let first_argument = Address(stack.pointer.checked_add(8)?);
                u64::from_le_bytes(*self.memory.bytes(first_argument)?.first_chunk()?)
            }
        };
        if !(stack.pointer..last.end.0).contains(&lowest) {
            return None;
        }
        let start = page_down(lowest).saturating_sub(STACK_ROOM);
        Some(Area {
            start: Address(start.max(last.start.0)),
            ..last.clone()
        })
    }

    /// The program and its interpreter.
    fn first_files(&self, numbers: &Numbers<'_>, areas: &mut Vec<Area>) -> Option<()> {
        for entry in loaded_by_kernel(&self.auxv) {
            let mut modules = self.modules.iter();
            let module = modules.find(|of| of.start.0 <= entry && entry < of.end.0)?;
            let file = *numbers.get(module.path.as_str())?;
            for segment in &module.layout()?.segments {
                areas.extend(loaded(segment, module.bias, file).into_iter().flatten());
            }
        }
        Some(())
    }
}

/// What the kernel makes of a segment: pages of the file, and pages of nothing.
fn loaded(segment: &Segment, bias: u64, file: u32) -> [Option<Area>; 2] {
    let start = segment.address.wrapping_add(bias);
    let of_file = (
        page_down(start),
        page_up(start.saturating_add(segment.file_size)),
    );
    let end = page_up(start.saturating_add(segment.memory_size));
    let of_file = match segment.file_size {
        0 => (of_file.0, of_file.0),
        _ => of_file,
    };
    let area = |(start, end): (u64, u64), backing: Backing| Area {
        start: Address(start),
        end: Address(end),
        read: segment.read,
        write: segment.write,
        execute: segment.execute,
        backing,
    };
    let offset = page_down(segment.offset);
    let first = area(of_file, Backing::File { file, offset });
    let mut rest = area((of_file.1, end), Backing::Anonymous);
    (rest.read, rest.write) = (true, true);
    [first, rest].map(|area| Some(area).filter(|area| area.start < area.end))
}
