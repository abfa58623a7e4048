//! The same recording in other containers that stock perf makes of it.

use crate::common::{Scratch, build, record, rept};
use crate::perf::{Paths, by_rept, check};
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A recording of three threads, and the path of each.
fn recording(scratch: &Scratch) -> Option<(PathBuf, Paths)> {
    let program = build("threads.c", scratch)?;
    let directory = scratch.join("recording");
    record(&program, "start", &directory);
    let paths = by_rept(&directory);
    assert_eq!(paths.len(), 3);
    Some((directory, paths))
}

/// Runs perf; `false` when there is none.
#[track_caller]
fn perf(arguments: &[&str], from: &Path, to: &Path) -> bool {
    let (input, output) = (File::open(from).unwrap(), File::create(to).unwrap());
    let run = Command::new("perf")
        .args(arguments)
        .stdin(input)
        .stdout(output)
        .stderr(Stdio::piped())
        .spawn();
    match run {
        Ok(child) => {
            let output = child.wait_with_output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "perf {arguments:?}: {stderr}");
            true
        }
        Err(error) => {
            eprintln!("SKIPPED: no perf to convert with: {error}");
            false
        }
    }
}

/// A folder with the core of a recording, for another trace.
fn beside(recording: &Path, scratch: &Scratch, name: &str) -> PathBuf {
    let directory = scratch.join(name);
    fs::create_dir_all(&directory).unwrap();
    fs::copy(recording.join("core"), directory.join("core")).unwrap();
    directory
}

#[test]
fn a_pipe_holds_what_the_file_held() {
    let scratch = Scratch::new("containers-pipe");
    let Some((recording, paths)) = recording(&scratch) else {
        return;
    };
    let piped = beside(&recording, &scratch, "piped");
    let trace = recording.join("perf.data");
    let inject = ["inject", "-i", trace.to_str().unwrap(), "-o", "-"];
    if perf(&inject, &trace, &piped.join("perf.data")) {
        let bytes = fs::read(piped.join("perf.data")).unwrap();
        assert_eq!(
            bytes[8..16],
            16u64.to_le_bytes(),
            "perf writes a pipe's header"
        );
        assert_eq!(by_rept(&piped), paths);
        let packets = rept(&["packets".as_ref(), piped.join("perf.data").as_os_str()]);
        assert!(String::from_utf8_lossy(&packets.stdout).contains("PSB"));
    }
}

#[test]
fn a_file_that_perf_rewrote_holds_the_same() {
    let scratch = Scratch::new("containers-rewritten");
    let Some((recording, paths)) = recording(&scratch) else {
        return;
    };
    let rewritten = beside(&recording, &scratch, "rewritten");
    let (trace, to) = (recording.join("perf.data"), rewritten.join("perf.data"));
    let inject = [
        "inject",
        "-b",
        "-i",
        trace.to_str().unwrap(),
        "-o",
        to.to_str().unwrap(),
    ];
    if perf(&inject, &trace, &rewritten.join("said")) {
        assert_eq!(by_rept(&rewritten), paths);
    }
}

#[test]
fn traces_of_processors_are_split_as_perf_does() {
    let scratch = Scratch::new("containers-processors");
    let Some(program) = build("threads.c", &scratch) else {
        return;
    };
    let directory = scratch.join("recording");
    let line = "record --from start --schedule cpus:2 --per-cpu 2 -o";
    let mut arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    arguments.extend([directory.clone().into(), "--".into(), program.into()]);
    let output = rept(&arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    check(&directory, 3);
}

#[test]
fn a_trace_is_opened_alone() {
    let scratch = Scratch::new("containers-alone");
    let Some((recording, paths)) = recording(&scratch) else {
        return;
    };
    let trace = recording.join("perf.data");
    assert_eq!(
        by_rept(&trace),
        paths,
        "the file itself stands for the folder"
    );
    let output = rept(&["decode".as_ref(), "--trace".as_ref(), trace.as_os_str()]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "no core was asked for: {stderr}");
}

#[test]
fn a_file_of_another_build_is_named_and_not_used() {
    let scratch = Scratch::new("containers-build");
    let Some(program) = build("threads.c", &scratch) else {
        return;
    };
    let directory = scratch.join("recording");
    record(&program, "start", &directory);
    let other = build("signals.c", &scratch).expect("there is a compiler");
    fs::copy(other, &program).unwrap();
    let trace = directory.join("perf.data");
    let output = rept(&["decode".as_ref(), "--trace".as_ref(), trace.as_os_str()]);
    let text = String::from_utf8_lossy(&output.stdout);
    let path = program.display();
    let gap = text.lines().find(|line| line.contains("gap: no code"));
    let gap = gap.expect("the program's code is missing");
    assert!(gap.contains(&format!("{path} with build-id ")), "{gap}");
    assert!(
        gap.contains(&format!("was not found; {path} has build-id ")),
        "{gap}"
    );
}

#[test]
fn packets_are_listed_of_every_container() {
    let scratch = Scratch::new("containers-packets");
    // PSB, PSBEND.
    let packets = [[0x02, 0x82].repeat(8), vec![0x02, 0x23]].concat();
    let cpu = r#""cpuInfo":{"vendor":"GenuineIntel","family":6,"model":85,"stepping":4}"#;
    let threads = r#"[{"tid":9,"iptTrace":"9.trace"}]"#;
    let text =
        format!(r#"{{"type":"intel-pt",{cpu},"processes":[{{"pid":7,"threads":{threads}}}]}}"#);
    fs::write(scratch.join("trace.json"), text).unwrap();
    fs::write(scratch.join("9.trace"), packets).unwrap();
    for name in [".", "trace.json", "9.trace"] {
        let output = rept(&["packets".as_ref(), scratch.join(name).as_os_str()]);
        let listing = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}");
        assert!(listing.contains("PSBEND"), "{name}: {listing}");
        assert_eq!(
            listing.contains("thread 9"),
            name != "9.trace",
            "{name}: {listing}"
        );
        let file = scratch.join(name);
        let output = rept(&["packets".as_ref(), "--json".as_ref(), file.as_os_str()]);
        let of = if name == "9.trace" {
            ""
        } else {
            r#""thread":9,"#
        };
        let expected = format!(
            "{{{of}\"offset\":\"0x0\",\"packet\":\"PSB\",\"text\":\"PSB\"}}\n\
             {{{of}\"offset\":\"0x10\",\"packet\":\"PSBEND\",\"text\":\"PSBEND\"}}\n"
        );
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{name}");
    }
    let big_endian = scratch.join("big-endian");
    fs::write(&big_endian, b"2ELIFREP\0\0\0\0\0\0\0\x68").unwrap();
    let output = rept(&["packets".as_ref(), big_endian.as_os_str()]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && stderr.contains("big-endian machine"),
        "{stderr}"
    );
}

/// Packets and code without a container: what ran is told by the command line.
#[test]
fn bare_packets_are_decoded_over_an_image_list() {
    let scratch = Scratch::new("containers-bare");
    let (trace, code) = (scratch.join("trace.pt"), scratch.join("code:1"));
    // PSB, PSBEND, MODE.Exec of 64 bits, TIP.PGE 401000, FUP 401002, TIP.PGD.
    let begin = [0x02, 0x82].repeat(8);
    let then = [
        &[0x02, 0x23, 0x99, 0x01][..],
        &[0x71, 0x00, 0x10, 0x40, 0, 0, 0],
        &[0x7d, 0x02, 0x10, 0x40, 0, 0, 0],
        &[0x01],
    ];
    fs::write(&trace, [begin, then.concat()].concat()).unwrap();
    // NOPs and a RET, behind a byte that did not run.
    fs::write(&code, [0xcc, 0x90, 0x90, 0xc3]).unwrap();
    let image = format!("{}:1:0x3@0x401000", code.display());
    let run = |arguments: &[&str]| {
        let mut all: Vec<OsString> = vec!["decode".into(), trace.clone().into()];
        all.extend(arguments.iter().map(OsString::from));
        rept(&all)
    };
    let output = run(&["--image", &image, "--cpu", "6/94"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    let words: Vec<&str> = words.split_whitespace().collect();
    assert_eq!(words, ["1", "-", "401000", "1", "-", "401001"]);

    let output = run(&[]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    let found = "found bare Intel PT packets, which do not say what code ran";
    assert!(
        stderr.contains("trace.pt: ") && stderr.contains(found),
        "{stderr}"
    );
}
