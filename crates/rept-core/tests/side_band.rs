//! Cases of the reference decoder's own test suite whose code is told by perf's records, from
//! `$REPT_PT_CASES`: each is made a perf.data file, and read as any other.
//!
//! A case's folder is that of `rept-decode/tests/it/conformance.rs`; files `*.sb` hold the records, their
//! names the fields behind each (`sample-type=0x4`). `docs/conformance.md` says how they fare.

#[path = "side_band/perf_data.rs"]
mod perf_data;

use perf_data::{Channel, CodeFile, Writer, bytes};
use rept_core::Session;
use rept_trace::{Code, EventKind, ThreadTrace};
use std::fs;
use std::path::{Path, PathBuf};

/// The code lies behind an ELF header, as files that are mapped do.
const CODE_AT: usize = 0x1000;
/// Cases whose flow is not as expected; `docs/conformance.md` says why.
const EXCEPTIONS: &[&str] = &[];

struct Case {
    name: String,
    packets: Vec<u8>,
    code: Vec<u8>,
    org: u64,
    channels: Vec<Channel>,
    expected: String,
}

impl Case {
    /// `None` for a case without perf's records, or without a flow.
    fn open(folder: &Path) -> Option<Case> {
        let entries = fs::read_dir(folder).ok()?.flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        let named = |part: &str, end: &str| {
            let fits = |path: &&PathBuf| {
                let name = path.to_string_lossy();
                name.contains(part) && name.ends_with(end)
            };
            paths.iter().filter(fits).collect::<Vec<_>>()
        };
        let read = |part, end| fs::read(named(part, end).first()?).ok();
        let expected = String::from_utf8(read("-ptxed", ".exp")?).ok()?;
        let records = named("-primary", ".sb").into_iter();
        let channels = records
            .chain(named("-secondary", ".sb"))
            .map(|path| channel(path));
        let channels = channels.collect::<Option<Vec<Channel>>>()?;
        let meta = String::from_utf8(read("meta", "meta")?).ok()?;
        let org = meta.lines().find_map(|line| line.strip_prefix("org 0x"))?;
        (!channels.is_empty()).then_some(Case {
            name: folder.file_name()?.to_str()?.split('@').next()?.to_owned(),
            packets: read("", ".pt")?,
            code: read("", ".bin")?,
            org: u64::from_str_radix(org, 16).ok()?,
            channels,
            expected,
        })
    }

    /// The code as a file that can be mapped: a shared library for x86-64, without sections, of one segment.
    fn elf(&self) -> Vec<u8> {
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(16, 0);
        elf.extend(bytes![3u16, 62u16, 1u32, 0u64, 64u64, 0u64, 0u32]);
        elf.extend(bytes![64u16, 56u16, 1u16, 64u16, 0u16, 0u16]);
        let (at, len) = (CODE_AT as u64, self.code.len() as u64);
        elf.extend(bytes![1u32, 5u32, at, at, at, len, len, at]);
        elf.resize(CODE_AT, 0);
        elf.extend(&self.code);
        elf
    }

    /// The flow as found; of several processes one after the other.
    fn flow(&self) -> Vec<String> {
        let name = format!("{}.bin", self.name);
        let code = CodeFile {
            name: &name,
            org: self.org,
            len: self.code.len() as u64,
            offset: CODE_AT as u64,
        };
        let writer = Writer::new(code, &self.channels);
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("side-band-{}", self.name));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(&name), self.elf()).unwrap();
        fs::write(folder.join("perf.data"), writer.file(&self.packets)).unwrap();
        let mut lines = Vec::new();
        for &process in &writer.processes {
            let builder = Session::builder().trace(folder.join("perf.data"));
            let session = builder.binaries(&folder).process(process).open().unwrap();
            let trace = session.decode();
            for thread in &trace.threads {
                println!("{} {:?}", thread.thread, thread.gaps);
                lines.extend(listed(thread, &trace.code));
            }
            for finding in session.diagnostics() {
                println!("{finding}");
            }
        }
        let _ = fs::remove_dir_all(&folder);
        lines
    }

    /// The flow as expected: addresses, and where tracing was turned on and off.
    fn expected(&self) -> Vec<String> {
        let lines = self.expected.lines().map(str::trim);
        let flow = lines.filter_map(|line| match line {
            "[enabled]" | "[resumed]" => Some("[enabled]".to_owned()),
            "[disabled]" => Some("[disabled]".to_owned()),
            _ => (line.len() == 16 && !line.starts_with('[')).then(|| line.to_owned()),
        });
        flow.collect()
    }
}

/// A file of records; `None` when its name does not say what they are.
fn channel(path: &Path) -> Option<Channel> {
    let (_, layout) = path.to_str()?.split_once("sample-type=0x")?;
    Some(Channel {
        sample_type: u64::from_str_radix(layout.split(',').next()?, 16).ok()?,
        records: fs::read(path).ok()?,
    })
}

/// A thread's path, as the expected ones are listed.
fn listed(thread: &ThreadTrace, code: &Code) -> Vec<String> {
    let mut lines = Vec::new();
    let mut events = thread.events.iter().peekable();
    let mut addresses = thread.addresses(code, 0);
    for step in 0..=thread.steps() {
        while let Some(event) = events.next_if(|event| event.step <= step) {
            lines.extend(match event.kind {
                EventKind::Enabled { .. } => Some("[enabled]".to_owned()),
                EventKind::Disabled { .. } | EventKind::AsyncDisabled { .. } => {
                    Some("[disabled]".to_owned())
                }
                _ => None,
            });
        }
        lines.extend(addresses.next().map(|at| format!("{:016x}", at.0)));
    }
    lines
}

#[test]
fn code_told_by_perf_records() {
    let Some(folder) = std::env::var_os("REPT_PT_CASES") else {
        println!("SKIPPED: no conformance cases (set REPT_PT_CASES)");
        return;
    };
    let entries = fs::read_dir(folder).expect("a folder of cases").flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    folders.sort();
    let (mut compared, mut differing) = (0, Vec::new());
    for case in folders.iter().filter_map(|folder| Case::open(folder)) {
        println!("== {}", case.name);
        let (found, expected) = (case.flow(), case.expected());
        compared += 1;
        if found != expected {
            println!("found    {found:?}\nexpected {expected:?}");
            differing.push(case.name);
        }
    }
    println!("side band: {compared} compared, {} differ", differing.len());
    differing.retain(|name| !EXCEPTIONS.contains(&name.as_str()));
    assert!(differing.is_empty(), "not listed: {differing:?}");
}
