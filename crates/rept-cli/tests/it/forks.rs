//! Children of the program, recorded beside it: by both engines the same.

use crate::common::{Scratch, build, rept, succeed};
use crate::perf::{by_rept, check};
use std::ffi::OsString;
use std::path::Path;

/// Where each process of `family.c` is recorded, and how it ends.
const FAMILY: [(&str, &str); 4] = [
    ("", "was killed by SIGABRT"),
    ("child.1", "was killed by SIGSEGV"),
    ("child.1/child.1", "exited with status 5"),
    ("child.2", "exited with status 7"),
];

#[track_caller]
fn record(options: &str, program: &Path, directory: &Path) -> String {
    let line = format!("record --buffer 2M {options} -o");
    let mut arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
    arguments.extend([directory.into(), "--".into(), program.into()]);
    let output = rept(&arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{options}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn path(directory: &Path) -> Vec<Vec<u64>> {
    by_rept(directory).into_values().collect()
}

#[test]
fn each_process_is_recorded_by_both_engines_alike() {
    let scratch = Scratch::new("forks");
    let Some(program) = build("family.c", &scratch) else {
        return;
    };
    let engines = ["step", "fast"].map(|engine| {
        let directory = scratch.join(engine);
        let options = format!("--follow-forks --engine {engine}");
        let said = record(&options, &program, &directory);
        for (place, end) in FAMILY {
            assert!(said.contains(end), "{engine} {place}: {said}");
        }
        directory
    });
    for (place, _) in FAMILY {
        let [step, fast] = engines.each_ref().map(|d| path(&d.join(place)));
        assert_eq!(step.len(), 1, "{place}: a thread each");
        assert!(step[0].len() > 2_000, "{place}: {} steps", step[0].len());
        let differs = step[0].iter().zip(&fast[0]).position(|(a, b)| a != b);
        assert_eq!((differs, fast[0].len()), (None, step[0].len()), "{place}");
    }
    let crash = succeed("report", &engines[1].join("child.1"));
    assert!(crash.contains("crashes"), "{crash}");
    check(&engines[1].join("child.1"), 1);
}

#[test]
fn the_truth_is_recorded_of_each() {
    let scratch = Scratch::new("forks-truth");
    let Some(program) = build("family.c", &scratch) else {
        return;
    };
    let directory = scratch.join("recording");
    record("--follow-forks --engine fast --truth", &program, &directory);
    for (place, _) in FAMILY {
        let truth = directory.join(place).join("truth");
        let truth = rept_capture::truth::Reader::open(&truth).unwrap();
        assert_eq!(truth.threads().len(), 1, "{place}");
    }
    let score = succeed("score", &directory.join("child.1"));
    assert!(score.contains("100"), "{score}");
}

#[test]
fn who_is_not_asked_for_is_not_recorded() {
    let scratch = Scratch::new("forks-not");
    let Some(program) = build("family.c", &scratch) else {
        return;
    };
    let directory = scratch.join("recording");
    let said = record("--engine fast", &program, &directory);
    assert!(said.contains("SIGABRT"), "{said}");
    assert!(!directory.join("child.1").exists());
}

#[test]
fn children_before_the_start_are_recorded_too() {
    let scratch = Scratch::new("forks-from");
    let Some(program) = build("family.c", &scratch) else {
        return;
    };
    let directory = scratch.join("recording");
    let options = "--follow-forks --engine fast --from abort";
    let said = record(options, &program, &directory);
    for (place, end) in FAMILY {
        assert!(said.contains(end), "{place}: {said}");
    }
}
