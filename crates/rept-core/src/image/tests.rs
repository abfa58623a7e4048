//! Which bytes an address has at which time.

use super::*;
use crate::capture::{KernelSymbol, MappingEvent, TaskEvent, TaskKind, TextPoke};
use std::path::{Path, PathBuf};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("rept-core-image-{name}-{}", std::process::id());
        let folder = Folder(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&folder.0).unwrap();
        folder
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_string_lossy().into_owned()
    }

    /// An ELF file without segments, whose bytes from 64 on are all `fill`.
    fn library(&self, name: &str, fill: u8) -> String {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(64, 0);
        file[52] = 64;
        file.resize(0x2000, fill);
        self.write(name, &file)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The page at 0x1000, of the file's second page.
fn mapping(time: Option<u64>, name: String) -> MappingEvent {
    mapped(time, 0x1000, 0x1000, name)
}

fn mapped(time: Option<u64>, start: u64, len: u64, name: String) -> MappingEvent {
    MappingEvent {
        time: time.map(Timestamp),
        process: Some(1),
        thread: None,
        device: None,
        inode: None,
        start: Address(start),
        len,
        file_offset: 0x1000,
        execute: true,
        name,
        build_id: None,
    }
}

fn capture() -> Capture {
    let mut capture = Capture::empty(FileBytes::from_vec(Path::new("perf.data"), Vec::new()));
    capture.clock.comparable = true;
    capture
}

fn image(capture: &Capture, jit: &[Jit]) -> ProcessImage<'static> {
    ProcessImage::new(capture, Some(1), None, &Binaries::default(), jit)
}

/// The bytes at an address at a time, up to where they may differ; or why there are none.
fn bytes(image: &ProcessImage<'_>, at: u64, time: u64) -> Result<Vec<u8>, String> {
    let found = image.code(Address(at), Some(Timestamp(time)));
    found
        .map(|found| found.bytes.to_vec())
        .map_err(|missing| missing.wanted)
}

#[test]
fn code_is_that_of_its_time() {
    let folder = Folder::new("time");
    let mut capture = capture();
    capture.mappings = vec![
        mapping(None, folder.library("old.so", 0x11)),
        mapping(Some(100), folder.library("new.so", 0x22)),
        mapping(Some(200), "/nowhere/gone.so".to_owned()),
    ];
    let image = image(&capture, &[]);
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
        bytes(&image, 0x2000, 99)
            .unwrap_err()
            .contains("nothing is known to be mapped")
    );
    assert_eq!(image.changes(), [Timestamp(100), Timestamp(200)]);
    let other = ProcessImage::new(&capture, Some(2), None, &Binaries::default(), &[]);
    assert!(
        other.code(Address(0x1000), None).is_err(),
        "another process has its own"
    );
}

/// What happened to a process at a time.
fn task(time: u64, process: u32, kind: TaskKind) -> TaskEvent {
    TaskEvent {
        time: Some(Timestamp(time)),
        process,
        thread: rept_trace::ThreadId(process),
        kind,
    }
}

#[test]
fn another_program_begins_with_nothing_mapped() {
    let folder = Folder::new("exec");
    let mut capture = capture();
    let exec = || TaskKind::Named {
        name: "new".to_owned(),
        exec: true,
    };
    let by = rept_trace::ThreadId(1);
    capture.tasks = vec![
        task(100, 1, exec()),
        task(150, 2, TaskKind::Born { parent: 1, by }),
        task(170, 2, exec()),
    ];
    capture.mappings = vec![
        mapping(None, folder.library("old.so", 0x11)),
        mapped(Some(100), 0x3000, 0x1000, folder.library("new.so", 0x22)),
        MappingEvent {
            process: Some(2),
            ..mapping(Some(180), folder.library("child.so", 0x33))
        },
    ];
    let at = |process, at, time| {
        let image = ProcessImage::new(&capture, Some(process), None, &Binaries::default(), &[]);
        bytes(&image, at, time).map(|bytes| bytes[0])
    };
    let nothing = |at| Err(format!("nothing is known to be mapped at {at:#x}"));
    assert_eq!(at(1, 0x1ff0, 99), Ok(0x11));
    assert_eq!(at(1, 0x3000, 99), nothing(0x3000));
    assert_eq!(at(1, 0x1ff0, 100), nothing(0x1ff0));
    assert_eq!(at(1, 0x3000, 100), Ok(0x22));
    // A child has its parent's programs up to its birth, and its own from then on.
    assert_eq!(at(2, 0x1ff0, 99), Ok(0x11));
    assert_eq!(at(2, 0x1ff0, 160), nothing(0x1ff0));
    assert_eq!(at(2, 0x3000, 160), Ok(0x22));
    assert_eq!(at(2, 0x3000, 170), nothing(0x3000));
    assert_eq!(at(2, 0x1ff0, 180), Ok(0x33));
}

/// An ELF file with a build-id, as a PT_NOTE at its begin, filled up with `fill`.
fn identified(fill: u8) -> Vec<u8> {
    let mut file = kcore(0, &[]);
    file[64] = 4;
    let note = [4u32, 4, 3, 0x0055_4e47, 0xefcd_ab89];
    file.extend(note.iter().flat_map(|word| word.to_le_bytes()));
    for (at, word) in [(96, 20), (104, 20), (112, 4)] {
        file[at..at + 8].copy_from_slice(&u64::to_le_bytes(word));
    }
    file.resize(0x2000, fill);
    file
}

#[test]
fn files_are_found_in_the_cache_of_perf() {
    let folder = Folder::new("cache");
    let link = folder.0.join(".build-id/89/abcdef");
    std::fs::create_dir_all(&link).unwrap();
    std::fs::write(link.join("elf"), identified(0x44)).unwrap();
    let mut capture = capture();
    let build_id = crate::BuildId::new(&[0x89, 0xab, 0xcd, 0xef]);
    let known = |start: u64, name: &str| MappingEvent {
        build_id: build_id.clone(),
        ..mapped(None, start, 0x1000, name.to_owned())
    };
    capture.mappings = vec![known(0x1000, "/nowhere/lib.so"), known(0x2000, "[vdso]")];
    let binaries = Binaries::new(vec![folder.0.clone()], Vec::new());
    let image = ProcessImage::new(&capture, Some(1), None, &binaries, &[]);
    assert_eq!(bytes(&image, 0x1ff8, 1).unwrap(), [0x44; 8]);
    assert_eq!(bytes(&image, 0x2000, 1).unwrap()[..4], [0x44; 4]);
    let bare = ProcessImage::new(&capture, Some(1), None, &Binaries::default(), &[]);
    assert!(
        bytes(&bare, 0x2000, 1)
            .unwrap_err()
            .contains("a dump that holds")
    );
    let wanted = bytes(&bare, 0x1000, 1).unwrap_err();
    assert_eq!(
        wanted,
        "/nowhere/lib.so with build-id 89abcdef was not found"
    );
}

#[test]
fn times_of_another_clock_are_not_compared() {
    let folder = Folder::new("clock");
    let mut capture = capture();
    capture.clock.comparable = false;
    capture.mappings = vec![
        mapping(None, folder.library("old.so", 0x11)),
        mapping(Some(100), folder.library("new.so", 0x22)),
    ];
    let image = image(&capture, &[]);
    assert_eq!(bytes(&image, 0x1ff0, 1), Ok(vec![0x22; 16]));
    assert_eq!(image.changes(), []);
}

#[test]
fn a_mapping_inside_another_cuts_it() {
    let folder = Folder::new("overlap");
    let mut capture = capture();
    capture.mappings = vec![
        mapped(None, 0x1000, 0x1000, folder.library("below.so", 0x11)),
        mapped(Some(100), 0x1800, 4, folder.library("within.so", 0x22)),
    ];
    let image = image(&capture, &[]);
    assert_eq!(bytes(&image, 0x17f0, 99).unwrap(), vec![0x11; 0x810]);
    assert_eq!(bytes(&image, 0x17f0, 100).unwrap(), [0x11; 16]);
    assert_eq!(bytes(&image, 0x1800, 100).unwrap(), [0x22; 4]);
    assert_eq!(bytes(&image, 0x1804, 100).unwrap(), vec![0x11; 0x7fc]);
    let generation = |at: u64, time: u64| {
        let found = image.code(Address(at), Some(Timestamp(time)));
        found.unwrap().generation
    };
    // A block that begins before the cut may reach into it, and an instruction behind it.
    assert_ne!(generation(0x17f0, 99), generation(0x17f0, 100));
    assert_ne!(generation(0x17ff, 99), generation(0x17ff, 100));
    assert_eq!(generation(0x1900, 99), generation(0x1900, 100));
}

#[test]
fn a_mapping_that_changes_nothing_parts_nothing() {
    let folder = Folder::new("parts");
    let mut capture = capture();
    capture.mappings = vec![
        mapped(None, 0x1800, 4, folder.library("early.so", 0x22)),
        mapped(Some(1), 0x1000, 0x1000, folder.library("late.so", 0x11)),
    ];
    assert_eq!(
        bytes(&image(&capture, &[]), 0x1000, 1).unwrap().len(),
        0x1000
    );
}

#[test]
fn pokes_tell_what_was_there_before_and_after() {
    let poke = |time: u64, old: &[u8], new: &[u8]| TextPoke {
        time: Some(Timestamp(time)),
        at: Address(0xffff_ffff_8100_0000),
        old: old.to_vec(),
        new: new.to_vec(),
    };
    let mut capture = capture();
    capture.text_pokes = vec![
        poke(100, &[0x90; 5], &[0xcc, 0x90, 0x90, 0x90, 0x90]),
        poke(101, &[0xcc, 0x90, 0x90, 0x90, 0x90], &[0xe9, 1, 2, 3, 4]),
        poke(300, &[0xe9, 1, 2, 3, 4], &[]),
    ];
    let kernel = MappingEvent {
        process: None,
        thread: None,
        device: None,
        inode: None,
        ..mapped(
            None,
            0xffff_ffff_8000_0000,
            1 << 25,
            "[kernel.kallsyms]_text".to_owned(),
        )
    };
    capture.mappings = vec![kernel];
    let image = image(&capture, &[]);
    let at = |time: u64| bytes(&image, 0xffff_ffff_8100_0000, time);
    assert_eq!(at(5).unwrap(), [0x90; 5]);
    assert_eq!(at(100).unwrap(), [0xcc, 0x90, 0x90, 0x90, 0x90]);
    assert_eq!(at(200).unwrap(), [0xe9, 1, 2, 3, 4]);
    assert!(at(300).unwrap_err().contains("removed"));
    let beside = bytes(&image, 0xffff_ffff_8100_0005, 200).unwrap_err();
    assert!(beside.starts_with("[kernel.kallsyms]_text"), "{beside}");
}

/// An ELF core of one segment.
fn kcore(address: u64, bytes: &[u8]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(120, 0);
    file[16] = 4;
    file[32] = 64;
    file[52..54].copy_from_slice(&[64, 0]);
    file[54..57].copy_from_slice(&[56, 0, 1]);
    file[64] = 1;
    let len = bytes.len() as u64;
    for (at, word) in [(72, 120), (80, address), (96, len), (104, len)] {
        file[at..at + 8].copy_from_slice(&u64::to_le_bytes(word));
    }
    file.extend(bytes);
    file
}

#[test]
fn a_copy_of_the_kernels_memory_is_used_under_what_changed() {
    let folder = Folder::new("kcore");
    let at = 0xffff_ffff_8100_0000;
    std::fs::create_dir_all(folder.0.join("kcore_dir")).unwrap();
    folder.write("kcore_dir/kcore", &kcore(at, &[1, 2, 3, 4]));
    let text = r#"{"type":"intel-pt","cpuInfo":{"vendor":"GenuineIntel","family":6,"model":85,
        "stepping":4},"processes":[{"pid":1,"threads":[{"tid":1,"iptTrace":"1"}]}]}"#;
    folder.write("trace.json", text.as_bytes());
    folder.write("1", b"packets");
    let mut capture = Capture::open(&folder.0).unwrap();
    capture.text_pokes = vec![TextPoke {
        time: Some(Timestamp(100)),
        at: Address(at + 1),
        old: vec![2],
        new: vec![9],
    }];
    let image = image(&capture, &[]);
    assert_eq!(bytes(&image, at, 99).unwrap(), [1]);
    assert_eq!(bytes(&image, at + 1, 99).unwrap(), [2]);
    assert_eq!(bytes(&image, at + 1, 100).unwrap(), [9]);
    assert_eq!(bytes(&image, at + 2, 100).unwrap(), [3, 4]);
}

#[test]
fn code_that_the_kernel_made_is_named() {
    let symbol = |time: u64, gone: bool| KernelSymbol {
        time: Some(Timestamp(time)),
        at: Address(0xffff_ffff_c000_0000),
        len: 64,
        name: "bpf_prog_6deef7357e7b4530".to_owned(),
        gone,
    };
    let mut capture = capture();
    capture.kernel_symbols = vec![symbol(100, false), symbol(200, true)];
    capture.text_pokes = vec![TextPoke {
        time: Some(Timestamp(150)),
        at: Address(0xffff_ffff_c000_0008),
        old: Vec::new(),
        new: vec![0xc3],
    }];
    let image = image(&capture, &[]);
    let at = |time: u64| bytes(&image, 0xffff_ffff_c000_0008, time);
    assert!(at(99).unwrap_err().contains("nothing is known"));
    assert!(
        at(100)
            .unwrap_err()
            .starts_with("bpf_prog_6deef7357e7b4530, which the kernel made")
    );
    assert_eq!(at(150).unwrap(), [0xc3]);
    assert!(at(200).unwrap_err().contains("was removed"));
}

/// A jitdump with the functions (time, address, code).
fn jitdump(tsc: bool, functions: &[(u64, u64, &[u8])]) -> Vec<u8> {
    let mut file = b"DTiJ".to_vec();
    file.extend([1u32, 40, 62, 0, 1].iter().flat_map(|w| w.to_le_bytes()));
    file.extend([0, u64::from(tsc)].iter().flat_map(|w| w.to_le_bytes()));
    for (index, &(time, at, code)) in functions.iter().enumerate() {
        file.extend(0u32.to_le_bytes());
        file.extend((16 + 40 + 2 + code.len() as u32).to_le_bytes());
        let words = [time, 1, at, at, code.len() as u64, index as u64];
        file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        file.extend(b"f\0");
        file.extend(code);
    }
    file
}

#[test]
fn jit_code_lasts_until_it_or_a_file_replaces_it() {
    let folder = Folder::new("jit");
    let (one, two): (&[u8], &[u8]) = (&[1; 8], &[2; 4]);
    let functions = [(100, 0x1010, one), (200, 0x1010, two)];
    let marker = folder.write("jit-1.dump", &jitdump(true, &functions));
    let mut capture = capture();
    capture.mappings = vec![
        mapped(Some(10), 0x9000, 0x1000, marker.clone()),
        mapping(Some(50), "//anon".to_owned()),
        mapping(Some(150), "//anon".to_owned()),
        mapping(Some(300), folder.library("file.so", 0x33)),
    ];
    let (jit, said) = open_jit(&capture, &Binaries::default());
    assert_eq!((jit.len(), said), (1, Vec::new()));
    let image = image(&capture, &jit);
    assert!(
        bytes(&image, 0x1010, 99)
            .unwrap_err()
            .contains("a dump that holds")
    );
    assert_eq!(bytes(&image, 0x1010, 199).unwrap(), [1; 8]);
    assert_eq!(bytes(&image, 0x1010, 200).unwrap(), [2; 4]);
    assert_eq!(
        bytes(&image, 0x1014, 200).unwrap(),
        [1; 4],
        "not written over"
    );
    assert_eq!(bytes(&image, 0x1010, 300).unwrap()[..8], [0x33; 8]);
    assert_eq!(image.changes().len(), 6);
    let child = ProcessImage::new(&capture, Some(2), None, &Binaries::default(), &jit);
    assert!(bytes(&child, 0x1010, 199).is_err(), "another process's");
}

#[test]
fn a_jitdump_that_is_not_there_or_of_another_clock_is_named() {
    let folder = Folder::new("jit-named");
    let code: &[u8] = &[0xc3];
    let marker = folder.write("jit-1.dump", &jitdump(false, &[(5, 0x1000, code)]));
    let mut capture = capture();
    capture.mappings = vec![
        mapped(None, 0x9000, 0x1000, marker.clone()),
        mapped(None, 0x9000, 0x1000, marker),
        mapped(None, 0xa000, 0x1000, "/nowhere/jit-2.dump".to_owned()),
        mapped(None, 0xa000, 0x1000, "/nowhere/jit-x.dump".to_owned()),
    ];
    let (jit, said) = open_jit(&capture, &Binaries::default());
    let said: Vec<_> = said.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("not those of the time-stamp counter"));
    assert!(said[1].contains("/nowhere/jit-2.dump: was not found"));
    let image = image(&capture, &jit);
    assert_eq!(bytes(&image, 0x1000, 1).unwrap(), [0xc3]);
}
