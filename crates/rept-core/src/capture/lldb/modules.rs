//! From a module and its load address to what was mapped where.

use super::super::MappingEvent;
use super::description::{Module, Process};
use crate::binaries::{Binaries, Binary, Wanted};
use crate::layout::page_down;
use rept_trace::Address;
use std::path::Path;

/// Where a module whose file is missing ends at the latest: only for naming what is wanted.
const MISSING_BYTES: u64 = 1 << 24;

/// The mappings of a process's modules, and what is wrong with them.
pub(super) fn mappings(
    folder: &Path,
    process: &Process,
    binaries: &Binaries,
) -> (Vec<MappingEvent>, Vec<String>) {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    let mut modules: Vec<&Module> = process.modules.iter().collect();
    modules.sort_by_key(|module| module.load_address.0);
    for (index, module) in modules.iter().enumerate() {
        let wanted = wanted(folder, module);
        match binaries.find(&wanted) {
            Ok(located) => {
                let segments = segments(&located.binary, module.load_address.0);
                found.extend(
                    segments.map(|(start, len, offset)| {
                        event(process.pid, &wanted, start, len, offset)
                    }),
                );
            }
            Err(missing) => {
                problems.push(missing.to_string());
                let start = module.load_address.0;
                let next = modules.get(index + 1).map(|next| next.load_address.0);
                let len = next.map_or(MISSING_BYTES, |next| (next - start).min(MISSING_BYTES));
                found.extend((len > 0).then(|| event(process.pid, &wanted, start, len, 0)));
            }
        }
    }
    (found, problems)
}

/// The copy in the bundle, when it is there; else the file by its name on the machine.
fn wanted(folder: &Path, module: &Module) -> Wanted {
    let copy = module.file.as_ref().map(|file| folder.join(file));
    let copy = copy.filter(|copy| copy.is_file());
    let copy = copy.and_then(|copy| Some(copy.canonicalize().ok()?.to_str()?.to_owned()));
    Wanted {
        path: copy.unwrap_or_else(|| module.system_path.clone()),
        build_id: module.build_id(),
    }
}

/// Address, length and file offset of what is loaded from the file, by whole pages.
fn segments(binary: &Binary, load_address: u64) -> impl Iterator<Item = (u64, u64, u64)> {
    let segments = &binary.layout.segments;
    let first = segments.iter().map(|segment| segment.address).min();
    let bias = load_address.wrapping_sub(page_down(first.unwrap_or(0)));
    let loaded = segments.iter().filter(|segment| segment.file_size > 0);
    loaded.map(move |segment| {
        let before = segment.address - page_down(segment.address);
        let start = segment.address.wrapping_sub(before).wrapping_add(bias);
        let offset = segment.offset.saturating_sub(before);
        (start, segment.file_size.saturating_add(before), offset)
    })
}

fn event(process: u32, wanted: &Wanted, start: u64, len: u64, file_offset: u64) -> MappingEvent {
    MappingEvent {
        time: None,
        process: Some(process),
        thread: None,
        device: None,
        inode: None,
        start: Address(start),
        len,
        file_offset,
        execute: true,
        name: wanted.path.clone(),
        build_id: wanted.build_id.clone(),
    }
}
