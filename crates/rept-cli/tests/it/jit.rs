//! Code that a program makes at run time is decoded with the bytes of its time.

use crate::common::{Scratch, build, rept, succeed};
use crate::perf::by_perf_file;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where `jit.c` puts its code.
const PLACE: u64 = 0x7a00_0000_0000;

/// The recording of `jit.c`, with its jitdump beside.
fn recording(scratch: &Scratch) -> Option<PathBuf> {
    let program = build("jit.c", scratch)?;
    let directory = scratch.join("recording");
    let mut arguments: Vec<OsString> = ["record", "--engine", "fast", "-o"]
        .map(OsString::from)
        .into();
    arguments.extend([
        directory.clone().into(),
        "--".into(),
        program.into(),
        scratch.join(".").into(),
    ]);
    let output = rept(&arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    Some(directory)
}

fn jitdump(scratch: &Scratch) -> PathBuf {
    let found = fs::read_dir(scratch.join(".")).unwrap();
    let mut paths = found.map(|entry| entry.unwrap().path());
    let dump = paths.find(|path| path.extension().is_some_and(|end| end == "dump"));
    dump.expect("the program writes a jitdump")
}

/// A loop of the instructions at these offsets, between a first and a last one.
fn calls(start: u64, times: u64, body: &[u64], last: u64) -> Vec<u64> {
    let bodies = (0..times).flat_map(|_| body.iter().copied());
    let offsets = std::iter::once(0).chain(bodies).chain([last]);
    offsets.map(|offset| PLACE + start + offset).collect()
}

/// What `jit.c` runs of its own making.
fn expected() -> Vec<u64> {
    let first = calls(0, 40, &[5, 8, 10], 12);
    let second = calls(0, 30, &[5, 6, 9, 11], 13);
    let moved = calls(256, 30, &[5, 6, 9, 11], 13);
    // The load behind it never retires.
    let last = vec![PLACE + 512];
    [first, second, moved, last].concat()
}

/// Instruction addresses in the code that was made, and the gaps.
fn decoded(directory: &Path) -> (Vec<u64>, Vec<String>) {
    let text = succeed("decode", directory);
    let gaps = text.lines().filter(|line| line.contains("gap:"));
    let addresses = text.lines().filter(|line| !line.contains("gap:"));
    let addresses = addresses.map(|line| line.rsplit(' ').next().unwrap());
    let addresses = addresses.map(|ip| u64::from_str_radix(ip, 16).unwrap());
    let made = addresses.filter(|ip| (PLACE..PLACE + 4096).contains(ip));
    (made.collect(), gaps.map(str::to_owned).collect())
}

#[test]
fn each_version_runs_its_own_bytes() {
    let scratch = Scratch::new("jit");
    let Some(directory) = recording(&scratch) else {
        return;
    };
    let (made, gaps) = decoded(&directory);
    assert_eq!(gaps, [""; 0]);
    let expected = expected();
    let same = made
        .iter()
        .zip(&expected)
        .take_while(|(a, b)| a == b)
        .count();
    assert_eq!((same, made.len()), (expected.len(), expected.len()));
    let report = succeed("report", &directory);
    assert!(report.contains("last"), "{report}");
    assert!(report.contains("made.lua:33"), "{report}");
    perf_agrees(&scratch, &directory, &expected);
    without_the_jitdump(&scratch, &directory);
}

/// perf, which is given the code by `perf inject --jit`, and rept on that file.
fn perf_agrees(scratch: &Scratch, directory: &Path, expected: &[u64]) {
    let injected = scratch.join("injected");
    fs::create_dir_all(&injected).unwrap();
    let trace = injected.join("perf.data");
    let inject = Command::new("perf")
        .args(["inject", "--jit", "-i"])
        .arg(directory.join("perf.data"))
        .arg("-o")
        .arg(&trace)
        .output();
    match inject {
        Err(error) => eprintln!("SKIPPED: no perf to compare with: {error}"),
        Ok(output) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "perf inject: {stderr}");
            let paths = by_perf_file(&trace).expect("perf is there");
            let theirs: Vec<u64> = paths.into_values().flatten().collect();
            let made = theirs
                .iter()
                .filter(|ip| (PLACE..PLACE + 4096).contains(ip));
            let made: Vec<u64> = made.copied().collect();
            assert_eq!(made.len(), expected.len());
            assert_eq!(made, expected);
            fs::copy(directory.join("core"), injected.join("core")).unwrap();
            let (made, gaps) = decoded(&injected);
            assert_eq!((made.as_slice(), gaps.len()), (expected, 0), "{gaps:?}");
        }
    }
}

/// The core has the last versions only; the rest is a gap that names what is wanted.
fn without_the_jitdump(scratch: &Scratch, directory: &Path) {
    fs::remove_file(jitdump(scratch)).unwrap();
    let output = rept(&[OsString::from("decode"), directory.into()]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(".dump: was not found"), "{stderr}");
    let text = String::from_utf8_lossy(&output.stdout);
    let wanted = format!("a dump that holds the memory at {PLACE:#x}");
    assert!(text.contains(&wanted), "{stderr}");
    let (made, _) = decoded(directory);
    let last = [PLACE + 512];
    let known: [&[u64]; 2] = [&[], &last];
    assert!(known.contains(&made.as_slice()), "{made:x?}");
}
