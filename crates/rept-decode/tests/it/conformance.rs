//! Runs produced cases of the reference decoder's own test suite, when a folder of them is given.
//!
//! `$REPT_PT_CASES` names a folder with one subfolder a case: one `*.pt` file (packets), one
//! `*.bin` file (code), `*ptxed*.exp` (instructions and events expected), `*ptdump*.exp`
//! (packets expected), and `meta`, lines of `org ADDRESS`, `cpu FAMILY/MODEL`, `ptxed OPTIONS`,
//! `ptdump OPTIONS`.
//! `docs/conformance.md` says what is compared and which cases differ, and why.

use crate::events::Words;
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
            // Where perf's records tell what code is where, this runner does not know.
            instructions: text("-ptxed").filter(|_| file(folder, "", ".sb").is_none()),
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
];

/// Cases in which the flow is as expected, and another event is not.
const EVENT_EXCEPTIONS: &[&str] = &[
    // Lists an overflow where its address is told.
    "ovf-mnt-fup",
    "ovf-timing-fup",
    // Lists that interrupts are disabled, which is what ours begins with.
    "ptet-mode_exec-if",
    // Lists no mode that is told anew after damage.
    "ptxed-resync-nomap-mode_exec-fup",
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

/// Compares the flows, or where `all` the flows with all events.
fn check_flows(what: &str, all: bool, exceptions: &[&str]) {
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
            None => {
                let full = all && case.options.contains("--event:ip");
                let kept = |lines: Vec<String>| kept(lines, all, full);
                difference(&kept(flow(&trace)), &kept(expected_flow(expected)))
            }
        };
        differing.extend(differs.map(|differs| {
            (
                case.name,
                format!("{differs}\n  gaps {:?}", trace.threads[0].gaps),
            )
        }));
    }
    judge(what, compared, &differing, exceptions);
}

#[test]
fn flow_as_expected() {
    check_flows("flow", false, FLOW_EXCEPTIONS);
}

#[test]
fn events_as_expected() {
    let exceptions = [FLOW_EXCEPTIONS, EVENT_EXCEPTIONS].concat();
    check_flows("events", true, &exceptions);
}

/// Addresses, and between them the events in the reference's words.
fn flow(trace: &Trace) -> Vec<String> {
    let thread = &trace.threads[0];
    let mut words = Words::of(trace);
    let mut lines = Vec::new();
    let mut written = Vec::new();
    let mut events = thread.events.iter().peekable();
    for step in 0..=thread.steps() {
        let at = thread.address(&trace.code, step);
        while let Some(event) = events.next_if(|event| event.step <= step) {
            let Some(text) = words.event(event) else {
                continue;
            };
            // In ours a PTWRITE stands before its instruction, and names it.
            match event.kind {
                EventKind::Ptwrite { ip: Some(ip), .. } if Some(ip) == at => {
                    written.extend(text.split(", ip").next().map(str::to_owned));
                }
                _ => lines.push(text),
            }
        }
        lines.extend(at.map(|at| format!("{:x}", at.0)));
        lines.append(&mut written);
    }
    lines
}

/// The same of a listing; lines in brackets are events, a `?` marks speculation.
fn expected_flow(listing: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in listing.lines() {
        let Some(event) = line.strip_prefix('[') else {
            let address = u64::from_str_radix(line.trim_start_matches("? ").trim(), 16);
            lines.extend(address.ok().map(|at| format!("{at:x}")));
            continue;
        };
        let event = event.trim_end_matches(']');
        let event = event.rsplit("  ").next().unwrap_or("");
        let not_events = ["block", "tick", "end of trace"];
        if !event.contains("error: ") && !not_events.iter().any(|word| event.starts_with(word)) {
            lines.push(event.to_owned());
        }
    }
    lines
}

/// What of a flow is compared: addresses and what moves execution, or `all` events, with addresses of
/// their own if `full`. Of the events between two of those that move execution the order is left open.
fn kept(lines: Vec<String>, all: bool, full: bool) -> Vec<String> {
    let mut kept = Vec::new();
    let mut beside = Vec::new();
    for line in lines {
        let line = shown(&line, full);
        let is_address = u64::from_str_radix(&line, 16).is_ok();
        if is_address
            || MOVING
                .iter()
                .any(|word| line.split(',').next() == Some(word))
        {
            kept.append(&mut beside);
            kept.push(line);
        } else if all {
            beside.push(line);
            beside.sort();
        }
    }
    kept.append(&mut beside);
    kept
}

/// The reference's words for what moves execution.
const MOVING: [&str; 7] = [
    "enabled",
    "disabled",
    "interrupt",
    "overflow",
    "aborted",
    "begin transaction",
    "committed",
];

/// An event's text, without its addresses unless `full`. Those of modes and transactions are told by
/// their place alone.
fn shown(text: &str, full: bool) -> String {
    const BY_PLACE: [&str; 5] = [
        "exec mode",
        "interrupts ",
        "aborted",
        "begin transaction",
        "committed",
    ];
    let full = full && !BY_PLACE.iter().any(|word| text.starts_with(word));
    let address = |part: &&str| {
        let label = part.split_once(": ").map(|(label, _)| label);
        matches!(label, Some("ip" | "at" | "from" | "to"))
    };
    let parts = text.split(", ").filter(|part| full || !address(part));
    let text = parts.collect::<Vec<_>>().join(", ");
    // Whether tracing goes on where it was left is told by the addresses.
    text.replace("resumed", "enabled")
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
