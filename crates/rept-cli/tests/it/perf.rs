//! Stock perf must read what the recorder wrote, and find the same instructions.

use crate::common::{Scratch, build, record, rept, succeed};
use rept_core::{Moment, Position, Session};
use rept_trace::ThreadId;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// Instruction addresses of each thread, oldest first.
pub(crate) type Paths = BTreeMap<u32, Vec<u64>>;

fn by_perf(directory: &Path) -> Option<Paths> {
    by_perf_file(&directory.join("perf.data"))
}

/// What `perf script` finds; none when there is no perf.
pub(crate) fn by_perf_file(trace: &Path) -> Option<Paths> {
    let output = Command::new("perf")
        .args(["script", "--itrace=i0ns", "-F", "tid,ip", "-i"])
        .arg(trace)
        .output();
    match output {
        Ok(output) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "perf script: {stderr}");
            Some(paths(&String::from_utf8(output.stdout).unwrap(), 1))
        }
        Err(error) => {
            eprintln!("SKIPPED: no perf to compare with: {error}");
            None
        }
    }
}

/// What `rept decode` finds.
pub(crate) fn by_rept(directory: &Path) -> Paths {
    paths(&succeed("decode", directory), 2)
}

/// Lines `tid … ip`, the address in the given column.
fn paths(text: &str, column: usize) -> Paths {
    let mut paths = Paths::new();
    for line in text.lines().filter(|line| !line.contains("gap:")) {
        let mut words = line.split_whitespace();
        let tid = words.next().unwrap().parse().unwrap();
        let ip = words.nth(column - 1).unwrap();
        paths
            .entry(tid)
            .or_default()
            .push(u64::from_str_radix(ip, 16).unwrap());
    }
    paths
}

/// Both find the same, of so many threads.
#[track_caller]
pub(crate) fn check(directory: &Path, threads: usize) {
    let ours = by_rept(directory);
    assert_eq!(ours.len(), threads);
    assert!(
        ours.values().all(|path| path.len() > 1_000),
        "too short to prove anything"
    );
    let Some(theirs) = by_perf(directory) else {
        return;
    };
    for (tid, path) in &ours {
        let other = theirs.get(tid).map(Vec::as_slice).unwrap_or_default();
        let same = path.iter().zip(other).take_while(|(a, b)| a == b).count();
        let next = |path: &[u64]| {
            path[same..]
                .iter()
                .take(4)
                .map(|ip| format!("{ip:x}"))
                .collect::<Vec<_>>()
        };
        assert!(
            same == path.len() && same == other.len(),
            "thread {tid}: {same} of {} steps agree, then {:?}, perf {:?} of {}",
            path.len(),
            next(path),
            next(other),
            other.len()
        );
    }
}

#[test]
fn the_demo_is_decoded_alike() {
    let scratch = Scratch::new("perf-demo");
    succeed("demo -o", &scratch.join("recording"));
    check(&scratch.join("recording"), 1);
}

#[test]
fn three_threads_are_decoded_alike() {
    let scratch = Scratch::new("perf-threads");
    let Some(program) = build("threads.c", &scratch) else {
        return;
    };
    record(&program, "start", &scratch.join("recording"));
    check(&scratch.join("recording"), 3);
}

#[test]
fn signals_jumps_and_tables_are_decoded_alike() {
    let scratch = Scratch::new("perf-signals");
    let Some(program) = build("signals.c", &scratch) else {
        return;
    };
    record(&program, "start", &scratch.join("recording"));
    check(&scratch.join("recording"), 1);
}

// The thread that comes to the starting point has a clock ahead of the one that made it, which
// runs mapped code before that.
#[test]
fn from_within_a_thread_is_decoded_alike() {
    let scratch = Scratch::new("perf-within");
    let Some(program) = build("threads/producer_consumer.c", &scratch) else {
        return;
    };
    record(&program, "producer", &scratch.join("recording"));
    check(&scratch.join("recording"), 2);
}

/// When perf has each step of each thread, in nanoseconds; none when there is no perf.
fn times_by_perf(trace: &Path) -> Option<Paths> {
    let mut perf = Command::new("perf");
    perf.args(["script", "--itrace=i0ns", "--ns", "-F", "tid,time", "-i"]);
    let output = match perf.arg(trace).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("SKIPPED: no perf to compare with: {error}");
            return None;
        }
    };
    let mut times = Paths::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (tid, time) = line.trim().trim_end_matches(':').split_once(' ').unwrap();
        let of_thread = times.entry(tid.parse().unwrap()).or_default();
        of_thread.push(time.trim().replace('.', "").parse().unwrap());
    }
    Some(times)
}

/// perf's time of each step lies within the bounds; the lower one does not count when cycles do.
#[track_caller]
fn check_times(timing: &str) {
    let scratch = Scratch::new(&format!("perf-times-{timing}"));
    let Some(program) = build("threads.c", &scratch) else {
        return;
    };
    let directory = scratch.join("recording");
    let line = format!("record --from main --timing {timing} -o");
    let mut arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    arguments.extend([directory.clone().into(), "--".into(), program.into()]);
    assert!(rept(&arguments).status.success());
    let Some(theirs) = times_by_perf(&directory.join("perf.data")) else {
        return;
    };
    let opened = Session::builder().directory(&directory).open();
    let session = opened.expect("the recording opens");
    let nanoseconds = |bound: Option<Moment>| bound.and_then(|moment| moment.nanoseconds);
    let mut compared = 0;
    for (&tid, times) in &theirs {
        for (step, &time) in (0..).zip(times) {
            let at = Position::new(ThreadId(tid), step);
            let ours = session.time(at).expect("a step");
            let (earliest, latest) = (nanoseconds(ours.earliest), nanoseconds(ours.latest));
            let early = timing != "cycles" && earliest.is_none_or(|bound| time < bound);
            let late = latest.is_some_and(|bound| time > bound);
            assert!(!early && !late, "{at}: {time} by perf, {ours:?}");
            compared += 1;
        }
    }
    assert!(compared > 10_000, "too short to prove anything");
}

#[test]
fn steps_ran_when_perf_says() {
    check_times("mtc");
}

// perf counts the cycles behind a TSC packet only when a CYC stands directly before it, as none
// does in a PSB+: its clock is then behind until the next MTC.
#[test]
fn with_cycles_steps_ran_no_sooner_than_perf_says() {
    check_times("cycles");
}
