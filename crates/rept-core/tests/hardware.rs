//! Containers with packets of real hardware, from `$REPT_PT_CAPTURES`: trace bundles of LLDB, perf.data,
//! bare packets.

use rept_core::{Builder, CpuModel, ImageFile, Session};
use rept_trace::{Address, Code, Gap, ThreadTrace};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// The folder of captures, when it is there.
fn captures() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/pt-real");
    let folder = std::env::var_os("REPT_PT_CAPTURES").map_or(default, PathBuf::from);
    if folder.join("lldb").is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no captures in {}", folder.display());
    None
}

/// A bundle put together again: its description, its files by their names in it.
struct Bundle(PathBuf);

impl Bundle {
    fn new(captures: &Path, description: &str, files: &[(&str, &str)], modules: &[&str]) -> Bundle {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(description);
        let _ = fs::remove_dir_all(&folder);
        let put = |from: &Path, name: &str| {
            let to = folder.join(name);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(from, to).unwrap();
        };
        put(&captures.join("lldb").join(description), "trace.json");
        for (from, name) in files {
            put(&captures.join("lldb").join(from), name);
        }
        for capture in modules {
            for image in index(captures, capture)["image"].as_array().unwrap() {
                let elf = image["elf"].as_str().unwrap();
                let name = if elf == "m.out" { "modules/m.out" } else { elf };
                put(&captures.join(image["file"].as_str().unwrap()), name);
            }
        }
        Bundle(folder)
    }

    /// Steps, and the sum of their addresses, by thread.
    fn decode(&self) -> BTreeMap<u32, (u64, String)> {
        let session = Session::builder().trace(&self.0).open().unwrap();
        for finding in session.diagnostics() {
            eprintln!("{finding}");
        }
        paths(&session)
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A thread with a buffer of its own is the same when it is handed out in pieces.
fn check_followed(session: &Session, whole: &ThreadTrace) {
    let code = &session.decode().code;
    let mut expected = whole.addresses(code, 0);
    let (mut steps, mut gaps, mut events) = (0, Vec::new(), 0);
    let mut compare = |code: &Code, piece: &ThreadTrace| {
        let next = expected.by_ref().take(piece.steps() as usize);
        assert!(piece.addresses(code, 0).eq(next), "from step {steps} on");
        let moved = |gap: &Gap| Gap {
            step: steps + gap.step,
            ..gap.clone()
        };
        gaps.extend(piece.gaps.iter().map(moved));
        events += piece.events.len();
        steps += piece.steps();
        ControlFlow::Continue(())
    };
    let Some(followed) = session.follow(Some(whole.thread), &mut compare) else {
        return;
    };
    assert_eq!((steps, followed.steps), (whole.steps(), whole.steps()));
    assert_eq!((&gaps, events), (&whole.gaps, whole.events.len()));
    assert_eq!(followed.gap.as_ref(), whole.gaps.first());
    eprintln!("{} followed", whole.thread);
}

/// Steps, and the sum of their addresses, by thread.
fn paths(session: &Session) -> BTreeMap<u32, (u64, String)> {
    let trace = session.decode();
    let threads = trace.threads.iter().map(|thread| {
        let mut sum = Sha256::new();
        for ip in thread.addresses(&trace.code, 0) {
            sum.update(ip.0.to_le_bytes());
        }
        let digits = sum
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        eprintln!("{} {} {:?}", thread.thread, thread.steps(), thread.gaps);
        check_followed(session, thread);
        (thread.thread.0, (thread.steps(), digits))
    });
    threads.collect()
}

fn index(captures: &Path, name: &str) -> Value {
    let text = fs::read(captures.join("INDEX.json")).unwrap();
    let index: Value = serde_json::from_slice(&text).unwrap();
    let found = index.as_array().unwrap().iter();
    let mut found = found.filter(|capture| capture["name"] == name);
    found.next().unwrap().clone()
}

/// What Intel's decoder finds.
fn expected(captures: &Path, name: &str) -> (u64, String) {
    let insn = &index(captures, name)["expected"]["insn"];
    let sum = insn["ip_stream_sha256"].as_str().unwrap();
    (insn["instructions"].as_u64().unwrap(), sum.to_owned())
}

#[test]
fn bundles_of_threads() {
    let Some(captures) = captures() else {
        return;
    };
    let files = [("intelpt-trace/trace.pt", "3842849.trace")];
    let bundle = Bundle::new(
        &captures,
        "intelpt-trace-trace.json",
        &files,
        &["lldb/intelpt-trace"],
    );
    let expect = expected(&captures, "lldb/intelpt-trace");
    assert_eq!(bundle.decode(), BTreeMap::from([(3842849, expect)]));

    let files = [("multi-file/trace.pt", "multi-file.trace")];
    let description = "intelpt-trace-multi-file-multi-file-no-ld.json";
    let bundle = Bundle::new(&captures, description, &files, &["lldb/multi-file"]);
    let expect = expected(&captures, "lldb/multi-file");
    assert_eq!(bundle.decode(), BTreeMap::from([(815455, expect)]));
}

#[test]
fn a_bundle_of_processors_is_split_by_context_switches() {
    let Some(captures) = captures() else {
        return;
    };
    let files = [
        ("multi-core-45/trace.pt", "cores/45.intelpt_trace"),
        (
            "multi-core-45/perf_context_switch_trace",
            "cores/45.perf_context_switch_trace",
        ),
        ("multi-core-51/trace.pt", "cores/51.intelpt_trace"),
        (
            "multi-core-51/perf_context_switch_trace",
            "cores/51.perf_context_switch_trace",
        ),
    ];
    let description = "intelpt-multi-core-trace-trace.json";
    let bundle = Bundle::new(&captures, description, &files, &["lldb/multi-core-45"]);
    let expect = BTreeMap::from([
        (3497496, expected(&captures, "lldb/multi-core-51")),
        (3497497, expected(&captures, "lldb/multi-core-45")),
    ]);
    assert_eq!(bundle.decode(), expect);
}

/// The code of a capture, from the index.
fn image(captures: &Path, entry: &Value) -> Vec<ImageFile> {
    let number = |value: &Value| match value.as_str() {
        Some(digits) => u64::from_str_radix(digits.trim_start_matches("0x"), 16).unwrap(),
        None => value.as_u64().unwrap(),
    };
    let file = |image: &Value| ImageFile {
        path: captures.join(image["file"].as_str().unwrap()),
        offset: number(&image["off"]),
        len: number(&image["len"]),
        address: Address(number(&image["vaddr"])),
    };
    entry["image"]
        .as_array()
        .unwrap()
        .iter()
        .map(file)
        .collect()
}

/// The processor that the index gives a capture.
fn processor(entry: &Value) -> Option<CpuModel> {
    let options = entry["ptxed_options"].as_array()?;
    let named = options.iter().position(|option| option == "--cpu")?;
    let text = options.get(named + 1)?.as_str()?;
    let mut parts = text.split('/').map(|part| part.parse::<u16>().unwrap());
    Some(CpuModel {
        intel: true,
        family: parts.next()?,
        model: parts.next()? as u8,
        stepping: parts.next().unwrap_or(0) as u8,
    })
}

#[test]
fn bare_packets_over_an_image_list() {
    let Some(captures) = captures() else {
        return;
    };
    let text = fs::read(captures.join("INDEX.json")).unwrap();
    let entries: Value = serde_json::from_slice(&text).unwrap();
    for entry in entries.as_array().unwrap() {
        let name = entry["name"].as_str().unwrap();
        let trace = captures.join(entry["pt"].as_str().unwrap());
        let builder = Session::builder().raw_trace(trace, image(&captures, entry));
        let builder = processor(entry)
            .into_iter()
            .fold(builder, Builder::processor);
        let found = paths(&builder.open().unwrap());
        let expect = expected(&captures, name);
        assert_eq!(found, BTreeMap::from([(1, expect)]), "{name}");
    }
}

#[test]
fn perf_data_holds_what_perf_finds_in_it() {
    let Some(captures) = captures() else {
        return;
    };
    let text = fs::read(captures.join("perf-data/INDEX.json")).unwrap();
    let files: Value = serde_json::from_slice(&text).unwrap();
    for file in files.as_array().unwrap() {
        let trace = captures.join(file["file"].as_str().unwrap());
        let sum = file["ip_stream_sha256"].as_str().unwrap().to_owned();
        let expect = (file["instructions"].as_u64().unwrap(), sum);
        let thread = file["tid"].as_u64().unwrap() as u32;
        let session = Session::builder().trace(&trace).binaries(&captures).open();
        let found = paths(&session.unwrap());
        assert_eq!(
            found,
            BTreeMap::from([(thread, expect)]),
            "{}",
            trace.display()
        );
    }
}
