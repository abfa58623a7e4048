//! Where versions of code come from.

use super::{Code, Jit, Version};
use crate::binaries::{Binaries, Located, Wanted};
use crate::capture::{Capture, KernelSymbol, MappingEvent, TaskKind, TextPoke};
use crate::dump::Dump;
use crate::layout::{Layout, Segment};
use crate::mmap::FileBytes;
use rept_trace::{Address, Timestamp};
use std::path::Path;
use std::sync::Arc;

/// What an image is made from.
pub(super) struct Sources<'a> {
    pub(super) capture: &'a Capture,
    pub(super) process: Option<u32>,
    pub(super) dump: Option<&'a Dump>,
    pub(super) binaries: &'a Binaries,
}

/// Whose address spaces a process had: its parent's up to a fork.
struct Lineage {
    process: u32,
    parent: Option<(u32, Option<Timestamp>)>,
}

/// Addresses from here on are the kernel's.
const KERNEL: u64 = 1 << 63;

impl Sources<'_> {
    /// What was mapped, or changed in place.
    pub(super) fn mapped(&self) -> Vec<Version> {
        let dumped = self.dump.map(dumped_mappings).unwrap_or_default();
        let version = |event: &MappingEvent| {
            Version::new(event.time, event.start, event.len, self.code(event))
        };
        let emptied = |exec| Version::new(Some(exec), Address(0), KERNEL, Code::Nothing).untold();
        let mut versions: Vec<Version> = self.execs().map(emptied).collect();
        // What the dump tells is of the last program.
        let last = self.execs().max();
        versions.extend(dumped.iter().map(|event| Version {
            time: last,
            ..version(event).untold()
        }));
        versions.extend(self.own_mappings().map(version));
        versions.extend(self.capture.kcore.iter().flat_map(kernel));
        versions.extend(before_pokes(&self.capture.text_pokes));
        versions.extend(self.capture.text_pokes.iter().filter_map(poked));
        versions.extend(self.capture.kernel_symbols.iter().map(made_by_kernel));
        versions
    }

    /// What JITs told of.
    pub(super) fn made(&self, jit: &[Jit]) -> Vec<Version> {
        let lineage = self
            .process
            .map(|process| Lineage::of(self.capture, process));
        let mut versions = Vec::new();
        for jit in jit {
            let had = jit.functions().filter(|&(time, _)| match &lineage {
                Some(lineage) => lineage.had(jit.process, time),
                None => true,
            });
            versions.extend(had.map(|(time, function)| {
                let (start, len) = (function.code.start as u64, function.code.len() as u64);
                let code = Code::Held(jit.file().clone(), start);
                Version::new(time, function.at, len, code)
            }));
        }
        versions
    }

    /// When the process, or a parent of it before it was born, began another program.
    pub(super) fn execs(&self) -> impl Iterator<Item = Timestamp> {
        let lineage = self
            .process
            .map(|process| Lineage::of(self.capture, process));
        let tasks = self.capture.tasks.iter().filter(move |task| {
            let had = |lineage: &Lineage| lineage.had(Some(task.process), task.time);
            let is_exec = matches!(task.kind, TaskKind::Named { exec: true, .. });
            is_exec && lineage.as_ref().is_some_and(had)
        });
        tasks.filter_map(|task| task.time)
    }

    /// The mappings that the process had, in order, and the kernel's.
    fn own_mappings(&self) -> impl Iterator<Item = &MappingEvent> {
        let lineage = self
            .process
            .map(|process| Lineage::of(self.capture, process));
        self.capture.mappings.iter().filter(move |mapping| {
            let of_kernel = mapping.process.is_none();
            let had = |lineage: &Lineage| lineage.had(mapping.process, mapping.time);
            of_kernel || lineage.as_ref().is_none_or(had)
        })
    }

    fn code(&self, event: &MappingEvent) -> Code {
        let path = event.name.clone();
        if event.process.is_none() {
            let what = "the kernel's code, which a recording with --kcore would hold";
            return Code::Missing(format!("{path}, {what}"));
        }
        if path == "[vdso]" {
            let wanted = Wanted {
                path,
                build_id: event.build_id.clone(),
            };
            let known = self
                .binaries
                .find(&wanted)
                .ok()
                .filter(|found| found.verified);
            return known.map_or(Code::InDump, |found| {
                Code::Held(found.binary.shared().clone(), event.file_offset)
            });
        }
        if !path.starts_with('/') || path.starts_with("//anon") || path.starts_with("/memfd:") {
            return Code::InDump;
        }
        let of_dump = || {
            let modules = self.dump?.modules();
            let module = modules.iter().find(|module| {
                module.path == path && (module.start..module.end).contains(&event.start)
            })?;
            module.build_id.clone()
        };
        let build_id = event.build_id.clone().or_else(of_dump);
        let wanted = Wanted { path, build_id };
        match self.binaries.find(&wanted) {
            Ok(Located { binary, .. }) => Code::Held(binary.shared().clone(), event.file_offset),
            Err(missing) => match self.plain(&wanted) {
                Some(file) => Code::Held(file, event.file_offset),
                None => Code::Missing(missing.to_string()),
            },
        }
    }

    /// Code runs from files of other formats as well; none of them has a build-id.
    fn plain(&self, wanted: &Wanted) -> Option<Arc<FileBytes>> {
        let mut candidates = self.binaries.candidates(wanted);
        let found = candidates.find(|candidate| candidate.is_file());
        let file = found.filter(|_| wanted.build_id.is_none())?;
        FileBytes::open_regular(&file).ok().map(Arc::new)
    }
}

impl Lineage {
    fn of(capture: &Capture, process: u32) -> Lineage {
        let parent = capture.tasks.iter().find_map(|task| match task.kind {
            TaskKind::Born { parent, .. } if task.process == process && parent != process => {
                Some((parent, task.time))
            }
            _ => None,
        });
        Lineage { process, parent }
    }

    /// The process had what happened to `process` at `time`.
    fn had(&self, process: Option<u32>, time: Option<Timestamp>) -> bool {
        let inherited = |(parent, born)| process == Some(parent) && time <= born;
        process == Some(self.process) || self.parent.is_some_and(inherited)
    }
}

/// What the dump says was mapped at the end: answers for what the trace does not mention.
fn dumped_mappings(dump: &Dump) -> Vec<MappingEvent> {
    let mut events = Vec::new();
    for mapping in dump
        .memory()
        .mappings()
        .iter()
        .filter(|mapping| mapping.execute)
    {
        let Some(name) = mapping.file.clone() else {
            continue;
        };
        let module = dump
            .modules()
            .iter()
            .find(|module| (module.start..module.end).contains(&mapping.start));
        let Some((module, file_offset)) =
            module.and_then(|module| Some((module, module.file_offset(mapping.start.0)?)))
        else {
            continue;
        };
        events.push(MappingEvent {
            time: None,
            process: dump.process(),
            thread: None,
            device: None,
            inode: None,
            start: mapping.start,
            len: mapping.end.0 - mapping.start.0,
            file_offset,
            execute: true,
            name,
            build_id: module.build_id.clone(),
        });
    }
    events
}

/// The kernel's code as a copy of `/proc/kcore` has it (`perf record --kcore`).
fn kernel(kcore: &Arc<FileBytes>) -> Vec<Version> {
    let layout = Layout::parse(kcore).unwrap_or_default();
    let segments = layout
        .segments
        .iter()
        .filter(|segment| segment.file_size > 0);
    let version = |segment: &Segment| {
        let code = Code::Held(kcore.clone(), segment.offset);
        Version::new(None, Address(segment.address), segment.file_size, code)
    };
    segments.map(version).collect()
}

/// What was there before the first change at each place; of two changes the first one knows.
fn before_pokes(pokes: &[TextPoke]) -> impl Iterator<Item = Version> {
    let known = pokes.iter().rev().filter(|poke| !poke.old.is_empty());
    known.map(|poke| Version::new(None, poke.at, poke.old.len() as u64, text(&poke.old)))
}

/// What was there from the change on: nothing, when bytes were taken away only.
fn poked(poke: &TextPoke) -> Option<Version> {
    if poke.new.is_empty() {
        let gone = format!("the kernel removed the code at {}", poke.at);
        let len = poke.old.len() as u64;
        return (len > 0).then(|| Version::new(poke.time, poke.at, len, Code::Missing(gone)));
    }
    let len = poke.new.len() as u64;
    Some(Version::new(poke.time, poke.at, len, text(&poke.new)))
}

fn text(bytes: &[u8]) -> Code {
    let name = Path::new("TEXT_POKE record");
    Code::Held(Arc::new(FileBytes::from_vec(name, bytes.to_vec())), 0)
}

/// Code that the kernel made: its name is known, and its bytes where a poke tells them.
fn made_by_kernel(symbol: &KernelSymbol) -> Version {
    let KernelSymbol { name, gone, .. } = symbol;
    let wanted = match gone {
        true => format!("{name} was removed by the kernel"),
        false => format!(
            "{name}, which the kernel made while running: the recording does not hold its code"
        ),
    };
    Version::new(symbol.time, symbol.at, symbol.len, Code::Missing(wanted))
}
