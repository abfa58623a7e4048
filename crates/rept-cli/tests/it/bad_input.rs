//! Files that are missing, damaged or not what they should be: one sentence that names the
//! file, exit code 1, never a panic, and what can still be shown is shown.

use crate::common::{Scratch, rept, succeed};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;

/// One recording that all tests copy from.
fn recording() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bad-input-recording");
        let _ = fs::remove_dir_all(&directory);
        succeed("demo -o", &directory);
        directory
    })
}

/// A copy of the recording, to be damaged.
fn copy(scratch: &Scratch) -> PathBuf {
    let to = scratch.join("copy");
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(recording()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    to
}

fn run(command: &str, path: &Path) -> Output {
    let mut arguments: Vec<OsString> = command.split_whitespace().map(OsString::from).collect();
    arguments.push(path.into());
    rept(&arguments)
}

/// The command fails with one sentence that holds all of `parts`; returns what it still shows.
#[track_caller]
fn fails(output: &Output, parts: &[&str]) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let complaints: Vec<&str> = stderr
        .lines()
        .filter(|line| line.starts_with("rept: "))
        .collect();
    assert!(!stderr.contains("panicked"), "{stderr}");
    let told = complaints
        .iter()
        .any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(told, "no sentence holds all of {parts:?}:\n{stderr}");
    assert!(
        complaints.iter().all(|line| line.len() < 400),
        "not one clear sentence: {stderr}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn cut(file: &Path, share: f64) {
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..(bytes.len() as f64 * share) as usize]).unwrap();
}

#[test]
fn missing_files_are_named() {
    let scratch = Scratch::new("missing");
    let nowhere = scratch.join("nowhere");
    for command in ["report", "decode", "score"] {
        fails(&run(command, &nowhere), &["nowhere"]);
    }
    fails(&run("packets", &nowhere), &["nowhere"]);
}

#[test]
fn without_a_core_the_path_is_still_shown() {
    let scratch = Scratch::new("no-core");
    let directory = copy(&scratch);
    fs::remove_file(directory.join("core")).unwrap();
    let shown = fails(&run("report", &directory), &["core"]);
    assert!(shown.contains("sensors::average"), "{shown}");
    let output = run("decode", &directory);
    assert!(String::from_utf8_lossy(&output.stdout).lines().count() > 10_000);
}

#[test]
fn without_a_trace_the_crash_is_still_shown() {
    let scratch = Scratch::new("no-trace");
    let directory = copy(&scratch);
    fs::remove_file(directory.join("perf.data")).unwrap();
    let shown = fails(&run("report", &directory), &["perf.data"]);
    assert!(
        shown.contains("SIGSEGV (address not mapped) at address 0x21d"),
        "{shown}"
    );
    assert!(shown.contains("sensors::average"), "{shown}");
}

#[test]
fn empty_files_are_named() {
    let scratch = Scratch::new("empty");
    for (file, other) in [("core", "perf.data"), ("perf.data", "core")] {
        let directory = copy(&scratch);
        fs::write(directory.join(file), b"").unwrap();
        let output = run("report", &directory);
        fails(&output, &[&format!("copy/{file}"), "empty"]);
        assert!(!String::from_utf8_lossy(&output.stderr).contains(&format!("copy/{other}:")));
    }
}

#[test]
fn foreign_files_are_named() {
    let scratch = Scratch::new("foreign");
    for file in ["core", "perf.data", "truth"] {
        let directory = copy(&scratch);
        fs::write(
            directory.join(file),
            "something else altogether, and long enough\n".repeat(100),
        )
        .unwrap();
        fails(&run("score", &directory), &[&format!("copy/{file}")]);
    }
    // One for the other.
    let directory = copy(&scratch);
    fs::copy(directory.join("perf.data"), directory.join("core")).unwrap();
    fails(&run("report", &directory), &["copy/core", "perf.data"]);
}

#[test]
fn truncated_files_are_named_and_never_panic() {
    let scratch = Scratch::new("truncated");
    for file in ["core", "perf.data"] {
        for share in [0.9, 0.5, 0.1, 0.001] {
            let directory = copy(&scratch);
            cut(&directory.join(file), share);
            let output = run("report", &directory);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(!stderr.contains("panicked"), "{stderr}");
            assert!(
                stderr.contains(&format!("copy/{file}")),
                "{file} {share}: {stderr}"
            );
        }
    }
}

#[test]
fn the_core_of_another_process_is_refused() {
    let scratch = Scratch::new("other-process");
    let directory = copy(&scratch);
    let other = scratch.join("other");
    succeed("demo -o", &other);
    fs::copy(other.join("core"), directory.join("core")).unwrap();
    fails(&run("report", &directory), &["core", "process"]);
}

#[test]
fn a_binary_that_changed_is_named() {
    let scratch = Scratch::new("changed");
    let directory = scratch.join("recording");
    succeed("demo -o", &directory);
    // The program is kept beside the recording; another build of it has another build-id.
    let program = directory.join("sensors");
    let mut bytes = fs::read(&program).unwrap();
    // NT_GNU_BUILD_ID: name size 4, descriptor size 20, type 3, "GNU".
    let head: Vec<u8> = [4u32, 20, 3]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .chain(*b"GNU\0")
        .collect();
    let note = bytes
        .windows(head.len())
        .position(|window| window == head)
        .expect("a build-id");
    bytes[note + head.len()] ^= 0xff;
    fs::remove_file(&program).unwrap();
    fs::write(&program, bytes).unwrap();
    let stdout = fails(&run("report", &directory), &["sensors", "build-id"]);
    assert!(stdout.contains("SIGSEGV"), "{stdout}");
}

#[test]
fn a_program_that_cannot_run_is_named() {
    let scratch = Scratch::new("cannot-run");
    let text = scratch.join("text");
    fs::write(&text, "not a program\n").unwrap();
    let record = |program: &Path| {
        let output = scratch.join("out");
        rept(&[
            OsString::from("record"),
            "-o".into(),
            output.into(),
            "--".into(),
            program.into(),
        ])
    };
    fails(&record(&text), &["text"]);
    fails(&record(&scratch.join("nowhere")), &["nowhere"]);
}

#[test]
fn a_trace_without_a_psb_is_said_to_have_none() {
    let scratch = Scratch::new("no-psb");
    let directory = copy(&scratch);
    let file = directory.join("perf.data");
    let mut bytes = fs::read(&file).unwrap();
    let psb: Vec<u8> = [0x02, 0x82].repeat(8);
    let places: Vec<usize> = (0..bytes.len() - 16)
        .filter(|&at| bytes[at..].starts_with(&psb))
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + 16].fill(0);
    }
    fs::write(&file, bytes).unwrap();
    let shown = fails(&run("report", &directory), &["perf.data", "PSB"]);
    assert!(
        shown.contains("SIGSEGV (address not mapped) at address 0x21d"),
        "{shown}"
    );
    fails(
        &run("packets", &directory.join("perf.data")),
        &["perf.data", "PSB"],
    );
    let bare = scratch.join("bare.pt");
    fs::write(&bare, [0x90; 64]).unwrap();
    let listed = fails(&run("packets", &bare), &["bare.pt", "PSB"]);
    assert!(listed.contains("no PSB in 64 bytes"), "{listed}");
}

#[test]
fn errata_of_the_processor_change_how_packets_are_read() {
    let scratch = Scratch::new("errata");
    let bare = scratch.join("bare.pt");
    // On some processors an overflow may cut a CYC off.
    let behind: &[u8] = &[0x02, 0x23, 0x07, 0x02, 0xf3, 0x00];
    fs::write(&bare, [&[0x02, 0x82].repeat(8), behind].concat()).unwrap();
    let listed = |command| String::from_utf8(run(command, &bare).stdout).unwrap();
    let (without, with) = (listed("packets"), listed("packets --cpu 6/94"));
    assert!(
        without.contains("CYC") && !without.contains("OVF"),
        "{without}"
    );
    assert!(with.contains("OVF"), "{with}");
}

#[test]
fn a_second_file_behind_the_first_is_not_passed_over_in_silence() {
    let scratch = Scratch::new("concatenated");
    let directory = copy(&scratch);
    let file = directory.join("perf.data");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, bytes.repeat(2)).unwrap();
    let at = format!("offset {:#x}", bytes.len());
    let ignored = format!("{} bytes are not read", bytes.len());
    let parts = ["perf.data", "another perf.data file", &at, &ignored];
    for output in [run("report", &directory), run("packets", &file)] {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let noted = stderr
            .lines()
            .any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(output.status.success() && noted, "{stderr}");
    }
}

#[test]
fn a_wrong_command_line_is_another_kind_of_failure() {
    assert_eq!(rept(&["report"]).status.code(), Some(2));
    assert_eq!(
        rept(&["report", "x", "--last", "many"]).status.code(),
        Some(2)
    );
}
