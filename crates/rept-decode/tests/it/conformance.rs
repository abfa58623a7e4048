//! Runs produced cases of the reference decoder's own test suite, when a folder of them is given.
//!
//! `$REPT_PT_CASES` names a folder with one subfolder a case: one `*.pt` file (packets), one
//! `*.bin` file (code), `*ptxed*.exp` (instructions and events expected), `*ptdump*.exp`
//! (packets expected), and `meta`, lines of `org ADDRESS`, `cpu FAMILY/MODEL`, `ptxed OPTIONS`,
//! `ptdump OPTIONS`.
//! `docs/conformance.md` says what is compared and which cases differ, and why.

use crate::listing;
use rept_decode::{AddressFilter, CpuModel, DecodeOptions, Resync, StaticImage, Stream, decode};
use rept_trace::{Address, EventKind, ThreadId, Trace};
use std::fs;
use std::path::{Path, PathBuf};

struct Case {
    name: String,
    pt: Vec<u8>,
    code: Vec<u8>,
    org: u64,
    cpu: Option<CpuModel>,
    options: String,
    dump_options: String,
    instructions: Option<String>,
    packets: Option<String>,
}

fn cases() -> Vec<Case> {
    let Some(folder) = std::env::var_os("REPT_PT_CASES") else {
        println!("SKIPPED: no conformance cases (set REPT_PT_CASES)");
        return Vec::new();
    };
    let mut folders: Vec<PathBuf> = fs::read_dir(folder)
        .expect("a folder of cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
        .iter()
        .filter_map(|folder| Case::open(folder))
        .collect()
}

/// The file of `folder` whose name ends and contains so.
fn file(folder: &Path, contains: &str, ends: &str) -> Option<Vec<u8>> {
    let entries = fs::read_dir(folder).ok()?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    let path = paths.find(|path| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        name.contains(contains) && name.ends_with(ends)
    })?;
    fs::read(path).ok()
}

fn hexadecimal(text: &str) -> u64 {
    u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).unwrap_or(0)
}

impl Case {
    fn open(folder: &Path) -> Option<Case> {
        let meta = String::from_utf8(file(folder, "meta", "meta")?).ok()?;
        let value = |key: &str| {
            meta.lines()
                .find_map(|line| line.strip_prefix(key))
                .unwrap_or("")
                .trim()
                .to_owned()
        };
        let text = |tool: &str| {
            file(folder, tool, ".exp").map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        Some(Case {
            name: folder.file_name()?.to_string_lossy().into_owned(),
            pt: file(folder, "", ".pt")?,
            code: file(folder, "", ".bin")?,
            org: hexadecimal(&value("org")),
            cpu: cpu(&value("cpu")),
            options: value("ptxed"),
            dump_options: value("ptdump"),
            instructions: text("-ptxed"),
            packets: text("-ptdump"),
        })
    }

    /// The word behind `name` in the options.
    fn option(&self, name: &str) -> Option<&str> {
        let mut words = self.options.split_whitespace();
        words.find(|word| *word == name)?;
        words.next()
    }

    fn filter(&self) -> AddressFilter {
        let mut filter = AddressFilter::default();
        if self.option("--filter:addr0_cfg") == Some("1") {
            let bound = |name| Address(self.option(name).map_or(0, hexadecimal));
            filter.ranges[0] = Some((bound("--filter:addr0_a"), bound("--filter:addr0_b")));
        }
        filter
    }

    fn decode(&self) -> Trace {
        let mut image = StaticImage::new();
        image.add(Address(self.org), &self.code);
        let resync = match self.options.contains("--resync-on-error") {
            true => Resync::NextAddress,
            false => Resync::Boundary,
        };
        let options = DecodeOptions {
            cpu: self.cpu,
            filter: self.filter(),
            resync,
            ..DecodeOptions::default()
        };
        decode(&[Stream::new(ThreadId(1), &self.pt)], &image, &options)
    }
}

fn cpu(text: &str) -> Option<CpuModel> {
    let mut parts = text.split('/').map(|part| part.parse::<u16>().ok());
    Some(CpuModel {
        family: parts.next()??,
        model: parts.next()?? as u8,
        stepping: 0,
    })
}

/// Cases in which ours is not the expected flow; `docs/conformance.md` says why.
const FLOW_EXCEPTIONS: &[&str] = &[
    // Runs on behind the last packet to the end of the code.
    "pip-pip_mov_cr3-fail",
    // A conditional branch whose outcome no packet tells is listed as run.
    "ptxed-resync-bad_query-fup-tip",
    "ptxed-resync-bad_query-ovf",
    "ptxed-resync-bad_query-tip",
    // A PSB+ that contradicts the mode is not resumed at, its successor is.
    "ptxed-resync-psb-bad_status-psb",
    // Lists an end of tracing that no packet tells.
    "ptxed-resync-nomap-tip_pge",
    // An EVD without the CFE it belongs to ends the section.
    "ptet-evd_cr2-cfe_iret",
    "ptet-evd_cr2-evd_vmxq",
    "ptet-evd_vmxq-cfe_intr",
    "ptet-evd_vmxr-cfe_rsm",
    "ptet-evd_vmxr-evd-cr2",
];

/// Cases in which ours is not the expected packet listing; `docs/conformance.md` says why.
const PACKET_EXCEPTIONS: &[&str] = &[];

/// Fails unless exactly the cases listed differ.
fn judge(what: &str, compared: usize, differing: &[(String, String)], exceptions: &[&str]) {
    println!("{what}: {compared} compared, {} differ", differing.len());
    let base = |name: &str| name.split('@').next().unwrap_or("").to_owned();
    let surprising: Vec<_> = differing
        .iter()
        .filter(|(name, _)| !exceptions.contains(&base(name).as_str()))
        .collect();
    for (name, difference) in &surprising {
        println!("== {name}\n{difference}");
    }
    assert!(
        surprising.is_empty(),
        "{what}: {} cases differ unexpectedly",
        surprising.len()
    );
}

/// The first place where two listings differ, with both sides.
fn difference(found: &[String], expected: &[String]) -> Option<String> {
    let longer = found.len().max(expected.len());
    let at = (0..longer).find(|&line| found.get(line) != expected.get(line))?;
    Some(format!(
        "  line {at}\n  found    {:?}\n  expected {:?}",
        &found[at.min(found.len())..],
        &expected[at.min(expected.len())..]
    ))
}

#[test]
fn flow_as_expected() {
    let mut differing = Vec::new();
    let mut compared = 0;
    for case in cases() {
        let Some(expected) = &case.instructions else {
            continue;
        };
        let trace = case.decode();
        compared += 1;
        let differs = match expected.lines().find_map(|line| line.strip_prefix("insn:")) {
            Some(count) => {
                let count = count.trim().trim_end_matches('.').to_owned();
                difference(&[trace.threads[0].steps().to_string()], &[count])
            }
            None => difference(&flow(&trace), &expected_flow(expected)),
        };
        differing.extend(differs.map(|differs| {
            (
                case.name,
                format!("{differs}\n  gaps {:?}", trace.threads[0].gaps),
            )
        }));
    }
    judge("flow", compared, &differing, FLOW_EXCEPTIONS);
}

/// Addresses, and between them the events that move execution.
pub fn flow(trace: &Trace) -> Vec<String> {
    let thread = &trace.threads[0];
    let mut events = thread.events.iter().peekable();
    let mut lines = Vec::new();
    for step in 0..=thread.steps() {
        while let Some(event) = events.next_if(|event| event.step <= step) {
            lines.extend(word(&event.kind).map(str::to_owned));
        }
        lines.extend(
            thread
                .address(&trace.code, step)
                .map(|at| format!("{:x}", at.0)),
        );
    }
    lines
}

/// The reference's word for an event.
fn word(event: &EventKind) -> Option<&'static str> {
    Some(match event {
        EventKind::Enabled { .. } => "enabled",
        EventKind::Disabled { .. } | EventKind::AsyncDisabled { .. } => "disabled",
        EventKind::AsyncBranch { .. } => "interrupt",
        EventKind::Overflow { .. } => "overflow",
        EventKind::Transaction { aborted: true, .. } => "aborted",
        EventKind::Transaction {
            in_transaction: true,
            ..
        } => "begin transaction",
        EventKind::Transaction { .. } => "committed",
        _ => return None,
    })
}

/// The same of a listing; lines in brackets are events, a `?` marks speculation.
fn expected_flow(listing: &str) -> Vec<String> {
    const WORDS: [&str; 7] = [
        "enabled",
        "disabled",
        "interrupt",
        "overflow",
        "aborted",
        "begin transaction",
        "committed",
    ];
    let mut lines = Vec::new();
    for line in listing.lines() {
        match line.strip_prefix('[') {
            Some(event) => {
                let event = event
                    .trim_end_matches(']')
                    .rsplit("  ")
                    .next()
                    .unwrap_or("");
                let word = event
                    .split(',')
                    .next()
                    .unwrap_or("")
                    .replace("resumed", "enabled");
                lines.extend(WORDS.contains(&word.as_str()).then_some(word));
            }
            None => {
                let address = u64::from_str_radix(line.trim_start_matches("? ").trim(), 16);
                lines.extend(address.ok().map(|at| format!("{at:x}")));
            }
        }
    }
    lines
}

#[test]
fn packets_as_expected() {
    let mut differing = Vec::new();
    let mut compared = 0;
    for case in cases() {
        let Some(expected) = &case.packets else {
            continue;
        };
        compared += 1;
        let differs = listing::difference(&case.pt, case.cpu, &case.dump_options, expected);
        differing.extend(differs.map(|differs| (case.name, differs)));
    }
    judge("packets", compared, &differing, PACKET_EXCEPTIONS);
}
