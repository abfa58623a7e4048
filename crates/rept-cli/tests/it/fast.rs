//! The fast engine and the stepping one record the same run of a program.

use crate::common::{Scratch, build, rept, succeed};
use crate::perf::{Paths, by_rept, check};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Records a whole run of a program with an engine.
#[track_caller]
fn record(engine: &str, program: &Path, directory: &Path) -> String {
    let mut arguments: Vec<OsString> = ["record", "--buffer", "2M", "--engine", engine, "-o"]
        .map(OsString::from)
        .into();
    arguments.extend([directory.into(), "--".into(), program.into()]);
    let output = rept(&arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{engine}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

// Thread ids differ from run to run; their order does not.
fn in_order(paths: Paths) -> Vec<Vec<u64>> {
    paths.into_values().collect()
}

#[track_caller]
fn same_by_both_engines(source: &str, scratch: &str) -> Option<(Scratch, PathBuf)> {
    let scratch = Scratch::new(scratch);
    let program = build(source, &scratch)?;
    let run = |engine: &str| -> (PathBuf, Vec<Vec<u64>>) {
        // The program sees its own name: both runs are of the same one.
        let directory = scratch.join(engine);
        record(engine, &program, &directory);
        let paths = in_order(by_rept(&directory));
        (directory, paths)
    };
    let (_, stepped) = run("step");
    let (fast_directory, fast) = run("fast");
    assert_eq!(fast.len(), stepped.len());
    for (fast, stepped) in fast.iter().zip(&stepped) {
        let differs = fast.iter().zip(stepped).position(|(a, b)| a != b);
        let place =
            differs.map(|at| format!("{:x?} {:x?}", &fast[at..at + 1], &stepped[at..at + 1]));
        assert_eq!((place, fast.len()), (None, stepped.len()));
    }
    let report = succeed("report", &fast_directory);
    assert!(report.contains("SIGSEGV"), "{report}");
    Some((scratch, fast_directory))
}

#[test]
fn signals_jumps_and_tables() {
    if let Some((_scratch, recording)) = same_by_both_engines("signals.c", "fast-signals") {
        check(&recording, 1);
    }
}

// perf has no image of code that a program writes: only the engines are compared.
#[test]
fn faults_short_branches_and_written_code() {
    same_by_both_engines("irregular.c", "fast-irregular");
}

#[test]
fn threads_are_decoded_as_perf_does() {
    let scratch = Scratch::new("fast-threads");
    let Some(program) = build("threads.c", &scratch) else {
        return;
    };
    let directory = scratch.join("recording");
    let said = record("fast", &program, &directory);
    assert!(said.contains("SIGSEGV"), "{said}");
    check(&directory, 3);
}

#[test]
fn what_the_fast_engine_cannot_do_is_refused() {
    let scratch = Scratch::new("fast-refused");
    let schedule = "the fast engine cannot record a schedule of threads: use the step engine";
    let refused = [
        ("--schedule quanta:50", schedule),
        ("--schedule cpus:2 --truth", schedule),
        ("--per-cpu 2", schedule),
        (
            "--seed 7 --no-pauses",
            "the kernel schedule the threads, which no seed changes",
        ),
        ("--buffer 4096", "holds no whole PSB period"),
    ];
    for (options, why) in refused {
        let directory = scratch.join("recording");
        let line = format!("record --engine fast {options} -o");
        let mut arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        arguments.extend([directory.clone().into(), "--".into(), "/bin/true".into()]);
        let output = rept(&arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{options}");
        assert!(stderr.contains(why), "{options}: {stderr}");
        assert!(!directory.exists(), "{options}: something ran");
    }
}

// The same seed gives the same turns.
#[test]
fn turns_of_the_fast_engine_follow_the_seed() {
    let scratch = Scratch::new("fast-seed");
    let Some(program) = build("threads.c", &scratch) else {
        return;
    };
    let run = |tag: &str, options: &str| {
        let directory = scratch.join(tag);
        let line = format!("record --buffer 2M --engine fast --truth {options} -o");
        let mut arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        arguments.extend([directory.clone().into(), "--".into(), (&program).into()]);
        assert!(rept(&arguments).status.success());
        in_order(by_rept(&directory))
    };
    assert!(run("one", "--seed 7") == run("other", "--seed 7"));
}
