//! The process's code over time, from the trace's mappings, files, and the dump.

use crate::binaries::{Binaries, Binary, Located, Wanted};
use crate::capture::{Capture, MappingEvent, TaskKind};
use crate::dump::Dump;
use rept_decode::{CodeBytes, CodeImage, MissingCode};
use rept_trace::{Address, Timestamp};
use std::sync::Arc;

/// The code of one process.
///
/// An address is answered by the newest mapping of its time. Where that mapping is still
/// there at the end, the dump's own bytes go first (they are what ran, breakpoints and
/// relocations included); then the file, which must have the build-id that the trace or the
/// dump names, if either does. Code without a file (`[vdso]`, JIT) comes from the dump only.
pub(crate) struct ProcessImage<'a> {
    /// By ascending time; later ones replace earlier ones where they overlap.
    versions: Vec<Version>,
    changes: Vec<Timestamp>,
    dump: Option<&'a Dump>,
}

/// One mapping while it lasts.
struct Version {
    time: Option<Timestamp>,
    start: u64,
    /// Last address, so that a mapping may reach the top of the address space.
    last: u64,
    file_offset: u64,
    code: Code,
}

enum Code {
    File(Arc<Binary>),
    InDump,
    Missing(String),
}

impl<'a> ProcessImage<'a> {
    /// The image of `process`; every process's mappings when `None`.
    pub(crate) fn new(
        capture: &Capture,
        process: Option<u32>,
        dump: Option<&'a Dump>,
        binaries: &Binaries,
    ) -> ProcessImage<'a> {
        let mut events = own_mappings(capture, process);
        if let Some(dump) = dump {
            events.splice(0..0, dumped_mappings(dump));
        }
        let versions: Vec<Version> = events
            .iter()
            .map(|event| Version::new(event, dump, binaries))
            .collect();
        let mut changes: Vec<Timestamp> =
            versions.iter().filter_map(|version| version.time).collect();
        changes.dedup();
        ProcessImage {
            versions,
            changes,
            dump,
        }
    }

    /// The newest mapping of `at` by `time`, its index and whether a later one replaces it.
    fn version(&self, at: u64, time: Option<Timestamp>) -> (Option<usize>, bool) {
        let holds = |version: &Version| version.start <= at && at <= version.last;
        let mut replaced = false;
        for (index, version) in self
            .versions
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, version)| holds(version))
        {
            let then = time.is_none_or(|time| version.time.is_none_or(|start| start <= time));
            if then {
                return (Some(index), replaced);
            }
            replaced = true;
        }
        (None, replaced)
    }

    fn dumped(&self, at: Address) -> Option<&[u8]> {
        self.dump?.memory().bytes(at)
    }

    fn missing(&self, at: Address, version: Option<&Version>) -> MissingCode {
        let wanted = match version.map(|version| &version.code) {
            Some(Code::Missing(wanted)) => wanted.clone(),
            Some(Code::File(binary)) => format!("{} ends before {at}", binary.path().display()),
            Some(Code::InDump) => {
                format!("a dump that holds the memory at {at}, which is backed by no file")
            }
            None => format!("nothing is known to be mapped at {at}"),
        };
        MissingCode { wanted }
    }
}

impl CodeImage for ProcessImage<'_> {
    fn code(&self, at: Address, time: Option<Timestamp>) -> Result<CodeBytes<'_>, MissingCode> {
        let (index, replaced) = self.version(at.0, time);
        let version = index.map(|index| &self.versions[index]);
        let generation = index.map_or(0, |index| index as u64 + 1);
        let dumped = if replaced { None } else { self.dumped(at) };
        let bytes = dumped.or_else(|| version?.bytes(at.0));
        match bytes.filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => Ok(CodeBytes { bytes, generation }),
            None => Err(self.missing(at, version)),
        }
    }

    fn changes(&self) -> &[Timestamp] {
        &self.changes
    }
}

impl Version {
    fn new(event: &MappingEvent, dump: Option<&Dump>, binaries: &Binaries) -> Version {
        let start = event.start.0;
        Version {
            time: event.time,
            start,
            last: start.saturating_add(event.len.saturating_sub(1)),
            file_offset: event.file_offset,
            code: find_code(event, dump, binaries),
        }
    }

    fn bytes(&self, at: u64) -> Option<&[u8]> {
        let Code::File(binary) = &self.code else {
            return None;
        };
        let start = usize::try_from(self.file_offset.checked_add(at - self.start)?).ok()?;
        let rest = binary.bytes().get(start..)?;
        let len = (self.last - at).saturating_add(1).min(rest.len() as u64);
        Some(&rest[..len as usize])
    }
}

fn find_code(event: &MappingEvent, dump: Option<&Dump>, binaries: &Binaries) -> Code {
    let path = event.name.clone();
    if !path.starts_with('/') || path.starts_with("//anon") || path.starts_with("/memfd:") {
        return Code::InDump;
    }
    let of_dump = || {
        let modules = dump?.modules();
        let module = modules.iter().find(|module| {
            module.path == path && (module.start..module.end).contains(&event.start)
        })?;
        module.build_id.clone()
    };
    let build_id = event.build_id.clone().or_else(of_dump);
    match binaries.find(&Wanted { path, build_id }) {
        Ok(Located { binary, .. }) => Code::File(binary),
        Err(missing) => Code::Missing(missing.to_string()),
    }
}

/// The mappings that a process had, in order: its parent's before a fork, none from before an exec.
fn own_mappings(capture: &Capture, process: Option<u32>) -> Vec<MappingEvent> {
    let Some(process) = process else {
        return capture
            .mappings
            .iter()
            .filter(|mapping| mapping.process.is_some())
            .cloned()
            .collect();
    };
    let exec = capture.tasks.iter().rev().find(|task| {
        task.process == process
            && task.time.is_some()
            && matches!(task.kind, TaskKind::Named { exec: true, .. })
    });
    let born = capture.tasks.iter().find_map(|task| match task.kind {
        TaskKind::Born { parent, .. } if task.process == process && parent != process => {
            Some((parent, task.time))
        }
        _ => None,
    });
    let since = exec.and_then(|task| task.time);
    let inherited = |mapping: &&MappingEvent| {
        since.is_none()
            && born.is_some_and(|(parent, time)| {
                mapping.process == Some(parent) && mapping.time <= time
            })
    };
    let own = |mapping: &&MappingEvent| mapping.process == Some(process) && mapping.time >= since;
    let inherited = capture.mappings.iter().filter(inherited);
    inherited
        .chain(capture.mappings.iter().filter(own))
        .cloned()
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmap::FileBytes;
    use rept_decode::CodeImage;
    use std::path::{Path, PathBuf};

    /// An ELF file without segments, whose bytes from 64 on are all `fill`.
    fn library(folder: &Path, name: &str, fill: u8) -> String {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(64, 0);
        file[52] = 64;
        file.resize(0x2000, fill);
        let path = folder.join(name);
        std::fs::write(&path, file).unwrap();
        path.to_string_lossy().into_owned()
    }

    fn mapping(time: Option<u64>, name: String) -> MappingEvent {
        MappingEvent {
            time: time.map(Timestamp),
            process: Some(1),
            start: Address(0x1000),
            len: 0x1000,
            file_offset: 0x1000,
            execute: true,
            name,
            build_id: None,
        }
    }

    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn code_is_that_of_its_time() {
        let folder =
            Folder(std::env::temp_dir().join(format!("rept-core-image-{}", std::process::id())));
        std::fs::create_dir_all(&folder.0).unwrap();
        let mut capture = Capture::empty(FileBytes::from_vec(Path::new("perf.data"), Vec::new()));
        capture.mappings = vec![
            mapping(None, library(&folder.0, "old.so", 0x11)),
            mapping(Some(100), library(&folder.0, "new.so", 0x22)),
            mapping(Some(200), "/nowhere/gone.so".to_owned()),
        ];
        let image = ProcessImage::new(&capture, Some(1), None, &Binaries::default());
        let at = |time: u64| image.code(Address(0x1ff0), Some(Timestamp(time)));
        assert_eq!(at(99).unwrap().bytes, [0x11; 16]);
        assert_eq!(at(100).unwrap().bytes, [0x22; 16]);
        assert_ne!(at(99).unwrap().generation, at(100).unwrap().generation);
        assert!(at(200).unwrap_err().wanted.contains("/nowhere/gone.so"));
        assert!(
            image.code(Address(0x1ff0), None).is_err(),
            "without a time, what was there last"
        );
        assert!(
            image
                .code(Address(0x2000), Some(Timestamp(99)))
                .unwrap_err()
                .wanted
                .contains("nothing is known to be mapped")
        );
        assert_eq!(image.changes(), [Timestamp(100), Timestamp(200)]);
        let other = ProcessImage::new(&capture, Some(2), None, &Binaries::default());
        assert!(
            other.code(Address(0x1000), None).is_err(),
            "another process has its own"
        );
    }
}
