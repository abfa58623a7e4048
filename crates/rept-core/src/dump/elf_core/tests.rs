//! Small cores, built field by field.

use crate::binaries::Binaries;
use crate::dump::{Dump, ModuleFile};
use rept_trace::{Address, RegWord, ThreadId};
use std::path::{Path, PathBuf};

macro_rules! bytes {
    ($($field:expr),* $(,)?) => {{
        let mut bytes: Vec<u8> = Vec::new();
        $(bytes.extend($field.to_le_bytes());)*
        bytes
    }};
}

const R: u32 = 4;
const W: u32 = 2;
const X: u32 = 1;

/// A load segment: flags, address, size in memory, bytes in the file.
struct Load(u32, u64, u64, Vec<u8>);

fn note(owner: &str, kind: u32, desc: &[u8]) -> Vec<u8> {
    let mut note = bytes![owner.len() as u32 + 1, desc.len() as u32, kind];
    note.extend(owner.as_bytes());
    note.resize((note.len() + 1).next_multiple_of(4), 0);
    note.extend(desc);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

fn prstatus(thread: u32, orig_rax: i64, rip: u64) -> Vec<u8> {
    let mut desc = vec![0; 336];
    desc[32..36].copy_from_slice(&thread.to_le_bytes());
    for index in 0..27u64 {
        let value = match index {
            15 => orig_rax as u64,
            16 => rip,
            _ => 0x100 + index,
        };
        let at = 112 + index as usize * 8;
        desc[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    note("CORE", 1, &desc)
}

fn siginfo(signal: i32, code: i32, address: u64) -> Vec<u8> {
    note(
        "CORE",
        0x5349_4749,
        &bytes![signal, 0i32, code, 0i32, address],
    )
}

fn nt_file(files: &[(u64, u64, u64, &str)]) -> Vec<u8> {
    let mut desc = bytes![files.len() as u64, 4096u64];
    files
        .iter()
        .for_each(|&(start, end, page, _)| desc.extend(bytes![start, end, page]));
    for (_, _, _, name) in files {
        desc.extend(name.as_bytes());
        desc.push(0);
    }
    note("CORE", 0x4649_4c45, &desc)
}

fn program_header(
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    file_size: u64,
    memory_size: u64,
) -> Vec<u8> {
    bytes![
        kind,
        flags,
        offset,
        address,
        0u64,
        file_size,
        memory_size,
        0x1000u64
    ]
}

fn elf(kind: u16, headers: &[Vec<u8>]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend(bytes![
        kind,
        62u16,
        1u32,
        0u64,
        64u64,
        0u64,
        0u32,
        64u16,
        56u16,
        headers.len() as u16,
        0u16,
        0u16,
        0u16
    ]);
    file.extend(headers.concat());
    file
}

fn core(notes: &[Vec<u8>], loads: &[Load]) -> Vec<u8> {
    let notes = notes.concat();
    let mut offset = 64 + 56 * (loads.len() as u64 + 1);
    let mut headers = vec![program_header(4, 0, offset, 0, notes.len() as u64, 0)];
    let mut contents = notes;
    offset += contents.len() as u64;
    for Load(flags, address, size, data) in loads {
        headers.push(program_header(
            1,
            *flags,
            offset,
            *address,
            data.len() as u64,
            *size,
        ));
        offset += data.len() as u64;
        contents.extend(data);
    }
    let mut file = elf(4, &headers);
    file.extend(contents);
    file
}

fn open(bytes: Vec<u8>) -> Result<Dump, crate::Error> {
    open_with(bytes, &Binaries::default())
}

fn open_with(bytes: Vec<u8>, binaries: &Binaries) -> Result<Dump, crate::Error> {
    Dump::from_bytes(Path::new("core"), bytes, binaries)
}

/// An ELF file: two read-only pages, the second RELRO's neighbour, then a writable one.
fn library(build_id: &[u8]) -> Vec<u8> {
    let id = note("GNU", 3, build_id);
    let at = 64 + 56 * 4;
    let mut file = elf(
        3,
        &[
            program_header(1, R, 0, 0, 0x1000, 0x1000),
            program_header(1, R | X, 0x1000, 0x1000, 0x1000, 0x1000),
            program_header(1, R | W, 0x2000, 0x3000, 0x1000, 0x1800),
            program_header(4, R, at, at, id.len() as u64, id.len() as u64),
        ],
    );
    file.extend(id);
    file.resize(0x1000, 0);
    file.resize(0x2000, 0x90);
    file.resize(0x3000, 0x77);
    file
}

const BASE: u64 = 0x7000_0000;

/// A core whose library's first page is dumped and the others are not.
fn core_with_library(path: &str, build_id: &[u8]) -> Vec<u8> {
    core_of(path, build_id, None)
}

/// The same; the process was started at `entry`.
fn core_of(path: &str, build_id: &[u8], entry: Option<u64>) -> Vec<u8> {
    const AT_ENTRY: u64 = 9;
    let first_page = library(build_id)[..0x1000].to_vec();
    let mut notes = vec![
        prstatus(7, -1, BASE + 0x1000),
        nt_file(&[
            (BASE, BASE + 0x1000, 0, path),
            (BASE + 0x1000, BASE + 0x2000, 1, path),
            (BASE + 0x3000, BASE + 0x4000, 2, path),
        ]),
    ];
    notes.extend(
        entry.map(|entry| note("CORE", 6, &[AT_ENTRY, entry].map(u64::to_le_bytes).concat())),
    );
    let loads = [
        Load(R, BASE, 0x1000, first_page),
        Load(R | X, BASE + 0x1000, 0x1000, Vec::new()),
        Load(R | W, BASE + 0x3000, 0x1000, Vec::new()),
    ];
    core(&notes, &loads)
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("rept-core-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn registers_signal_and_memory_are_read() {
    let memory = (0..0x20u8).collect::<Vec<u8>>();
    let dump = open(core(
        &[
            prstatus(7, -1, 0x1234),
            siginfo(11, 1, 0xdead),
            prstatus(8, -1, 0x5678),
        ],
        &[Load(R | W, 0x8000, 0x1000, memory)],
    ))
    .unwrap();
    let thread = &dump.threads()[0];
    assert_eq!((thread.thread, thread.rip), (ThreadId(7), Address(0x1234)));
    assert_eq!(thread.get(RegWord::gpr(15)), Some(0x100));
    assert_eq!(thread.get(RegWord::RDI), Some(0x100 + 14));
    assert_eq!(thread.get(RegWord::RSP), Some(0x100 + 19));
    assert_eq!(thread.get(RegWord::GS_BASE), Some(0x100 + 22));
    assert_eq!(thread.get(RegWord::vector(0, 0)), None);
    let fault = dump.fault().unwrap();
    assert_eq!(
        (fault.thread, fault.signal, fault.address),
        (ThreadId(7), 11, Some(Address(0xdead)))
    );
    assert_eq!(
        dump.memory().bytes(Address(0x801e)),
        Some(&[0x1e, 0x1f][..])
    );
    assert_eq!(
        dump.memory().bytes(Address(0x8020)),
        None,
        "not in the file: unknown, not zero"
    );
    assert_eq!(dump.memory().bytes(Address(0x7fff)), None);
    assert_eq!(dump.memory().mappings()[0].end, Address(0x9000));
}

#[test]
fn a_general_protection_fault_has_no_address() {
    let dump = open(core(&[prstatus(7, -1, 0), siginfo(11, 0x80, 0)], &[])).unwrap();
    assert_eq!(dump.fault().unwrap().address, None);
    let dump = open(core(&[prstatus(7, -1, 0), siginfo(6, -6, 0x7)], &[])).unwrap();
    assert_eq!(
        dump.fault().unwrap().address,
        None,
        "abort() has a pid there"
    );
}

#[test]
fn a_thread_inside_a_system_call_has_no_rax_and_r11() {
    let code = vec![0x0f, 0x05, 0xc3, 0x90, 0xc3];
    let check = |orig_rax, rip, known| {
        let dump = open(core(
            &[prstatus(7, orig_rax, rip)],
            &[Load(R | X, 0x1000, 0x1000, code.clone())],
        ))
        .unwrap();
        let thread = &dump.threads()[0];
        assert_eq!(
            thread.get(RegWord::RAX).is_some(),
            known,
            "orig_rax {orig_rax} rip {rip:#x}"
        );
        assert_eq!(thread.get(RegWord::R11).is_some(), known);
        assert!(thread.get(RegWord::RCX).is_some());
    };
    check(202, 0x1002, false);
    check(-1, 0x1002, true);
    check(202, 0x1004, true);
    check(202, 0x9000, false);
}

#[test]
fn vector_registers_come_from_the_standard_format() {
    let component = |area: &mut Vec<u8>, at: usize, words: usize, first: u64| {
        for index in 0..words {
            let at = at + index * 8;
            area[at..at + 8].copy_from_slice(&(first + index as u64).to_le_bytes());
        }
    };
    // (length, offsets of AVX, opmask, upper halves, upper registers): Intel's and AMD's.
    for (len, opmask, hi256, hi16) in [(2696, 1088, 1152, 1664), (2440, 832, 896, 1408)] {
        let mut area = vec![0; len];
        area[2..4].copy_from_slice(&(3u16 << 11).to_le_bytes());
        area[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
        component(&mut area, 464, 1, 0x2e7);
        component(&mut area, 512, 1, 0x0e3 | 1 << 5);
        component(&mut area, 32, 1, 0xabc);
        component(&mut area, 160, 32, 1000);
        component(&mut area, 576, 32, 2000);
        component(&mut area, opmask, 8, 3000);
        component(&mut area, hi256, 64, 4000);
        component(&mut area, hi16, 128, 5000);
        let dump = open(core(
            &[prstatus(7, -1, 0), note("LINUX", 0x202, &area)],
            &[],
        ))
        .unwrap();
        let get = |word| dump.threads()[0].get(word);
        assert_eq!(get(RegWord::vector(3, 1)), Some(1007));
        assert_eq!(
            get(RegWord::vector(3, 2)),
            Some(0),
            "AVX is not in use: its initial state"
        );
        assert_eq!(get(RegWord::opmask(2)), Some(3002));
        assert_eq!(get(RegWord::vector(2, 5)), Some(4009));
        assert_eq!(get(RegWord::vector(17, 1)), Some(5009));
        assert_eq!(get(RegWord::MXCSR), Some(0x1f80));
        assert_eq!(
            get(RegWord::x87(3, 0)),
            Some(0xabc),
            "st(0) is register TOP"
        );
    }
}

#[test]
fn a_process_begins_with_the_data_of_its_program() {
    let folder = Folder::new("began");
    std::fs::write(folder.0.join("libx.so"), library(b"right build id")).unwrap();
    let binaries = Binaries::new(vec![folder.0.clone()], Vec::new());
    let open = |entry| {
        let core = core_of("/gone/libx.so", b"right build id", entry);
        open_with(core, &binaries).unwrap()
    };
    let (data, zeros) = (Address(BASE + 0x3000), Address(BASE + 0x4000));

    let dump = open(Some(BASE + 0x1000));
    assert_eq!(dump.memory().initial_bytes(data).unwrap(), [0x77; 0x1000]);
    assert_eq!(dump.memory().initial_bytes(zeros).unwrap(), [0; 0x1000]);
    assert_eq!(dump.memory().initial_bytes(Address(BASE + 0x5000)), None);

    let dump = open(None);
    assert_eq!(dump.memory().initial_bytes(data), None, "a library");
    let inside = Address(BASE + 0x3ff8);
    assert_eq!(dump.memory().file_bytes(inside, 0x2ff8).unwrap(), [0x77; 8]);
    assert_eq!(dump.memory().file_bytes(inside, 0x1ff8), None);
    assert_eq!(dump.memory().file_bytes(zeros, 0x3000), None);
}

#[test]
fn text_comes_from_the_binary_with_the_right_build_id_only() {
    let folder = Folder::new("overlay");
    let file = folder.0.join("libx.so");
    std::fs::write(&file, library(b"right build id")).unwrap();
    let binaries = Binaries::new(vec![folder.0.clone()], Vec::new());
    let text = Address(BASE + 0x1000);

    let dump = open_with(
        core_with_library("/gone/libx.so", b"right build id"),
        &binaries,
    )
    .unwrap();
    assert!(matches!(dump.modules()[0].file, ModuleFile::Verified(_)));
    assert_eq!(dump.memory().bytes(text).unwrap(), [0x90; 0x1000]);
    assert_eq!(dump.memory().constant_len(Address(BASE + 0x1ff0)), 0x10);
    assert_eq!(dump.memory().constant_len(Address(BASE)), 0x2000);
    assert_eq!(
        dump.memory().bytes(Address(BASE + 0x3000)),
        None,
        "writable: may have been written"
    );
    assert_eq!(dump.memory().constant_len(Address(BASE + 0x3000)), 0);

    let dump = open_with(
        core_with_library("/gone/libx.so", b"wrong build id"),
        &binaries,
    )
    .unwrap();
    let ModuleFile::Missing(missing) = &dump.modules()[0].file else {
        panic!("{:?}", dump.modules())
    };
    assert_eq!(missing.mismatched.len(), 1);
    assert!(
        missing
            .to_string()
            .contains("libx.so has build-id 7269676874"),
        "{missing}"
    );
    assert_eq!(dump.memory().bytes(text), None);
}

#[test]
fn every_truncation_gives_an_error_or_what_is_there() {
    let whole = core_with_library("/gone/libx.so", b"some id");
    let mut delivered = 0;
    for len in 0..whole.len() {
        match open(whole[..len].to_vec()) {
            Ok(dump) => {
                delivered += 1;
                assert!(
                    !dump.problems().is_empty(),
                    "the cut at {len} goes unnoticed"
                );
            }
            Err(error) => assert!(error.to_string().starts_with("core: "), "{error}"),
        }
    }
    assert!(delivered > 1000, "only {delivered} cuts left something");
}

#[test]
fn one_flipped_byte_never_panics() {
    let whole = core_with_library("/gone/libx.so", b"some id");
    for at in 0..0x500 {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            let _ = open(bytes);
        }
    }
}

#[test]
fn foreign_files_are_named() {
    let say = |bytes: Vec<u8>| open(bytes).unwrap_err().to_string();
    assert_eq!(say(Vec::new()), "core: the file is empty");
    assert_eq!(
        say(b"PERFILE2".to_vec()),
        "core: at offset 0x0: expected an ELF core file, found a perf.data file"
    );
    assert!(say(elf(3, &[])).contains("an ELF file of type 3, not a core (4)"));
    assert!(say(core(&[], &[])).contains("names no thread"));
    let mut arm = core(&[prstatus(7, -1, 0)], &[]);
    arm[18] = 183;
    assert!(say(arm).contains("the machine is 183, not x86-64"));
}

#[test]
fn the_link_to_the_program_names_what_holds_the_entry() {
    let path = |path: &str, entry| {
        let dump = open(core_of(path, &[7; 20], entry)).unwrap();
        dump.program_path().map(str::to_owned)
    };
    let entry = Some(BASE + 0x1010);
    assert_eq!(path("/opt/p", entry).as_deref(), Some("/opt/p"));
    assert_eq!(path("/opt/p", Some(BASE - 8)), None);
    assert_eq!(path("/opt/p", None), None);
    assert_eq!(path("/opt/p (deleted)", entry), None);
}
