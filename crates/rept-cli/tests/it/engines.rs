//! Programs that are hard to run as copies: whatever runs them, they run the same.
//!
//! Each is recorded by single-step with truth, by the fast engine with truth, and by the fast
//! engine alone: the same instructions in the same order, the same output, the same end, and
//! the same registers and accesses where two runs by single-step have the same.

use crate::common::{Scratch, rept};
use crate::perf::by_rept;
use rept_capture::truth::{Reader, compare};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How much of two runs is the same.
#[derive(Clone, Copy, PartialEq)]
enum Same {
    /// Every value that does not depend on chance.
    Values,
    /// The addresses of instructions: what is made of secrets is too much to tell apart.
    Addresses,
    /// What they print, and how they end: time and the kernel's answers differ.
    Output,
    /// How they end: signals come at any time, or single-step takes too long.
    End,
}

/// A program of `tests/programs/engines`, how to build it, and what is said of its end.
struct Case {
    source: &'static str,
    flags: &'static str,
    same: Same,
    end: &'static str,
    note: &'static str,
    /// Further options of the recorder.
    options: &'static str,
}

const fn case(source: &'static str, same: Same, end: &'static str) -> Case {
    Case {
        source,
        flags: "",
        same,
        end,
        note: "",
        options: "",
    }
}

/// What differs from run to run is answered alike.
const fn repeatable(case: Case) -> Case {
    Case {
        options: " --repeatable",
        ..case
    }
}

#[track_caller]
fn check(case: Case) {
    let name =
        format!("engines-{}{}{}", case.source, case.flags, case.options).replace(['/', ' '], "");
    let scratch = Scratch::new(&name);
    let Some(program) = build(&case, &scratch) else {
        return;
    };
    let run = |tag: &str, options: &str| {
        let directory = scratch.join(tag);
        let options = format!("{options}{}", case.options);
        let said = record(&options, &program, &directory, case.end);
        let noted = case.note.is_empty() || tag.starts_with("step") || said.contains(case.note);
        assert!(noted, "{tag}: {said}");
        (directory, said)
    };
    let (fast, said) = run("fast", "--engine fast");
    let (exact, said_exact) = run("exact", "--engine fast --truth");
    if case.same == Same::End {
        return;
    }
    let (step, said_step) = run("step", "--truth");
    assert_eq!(printed(&said), printed(&said_step));
    assert_eq!(printed(&said_exact), printed(&said_step));
    if case.same == Same::Output {
        return;
    }
    let decoded = |directory: &Path| -> Vec<Vec<u64>> {
        let paths = by_rept(directory);
        paths.into_values().collect()
    };
    let (fast, step_path) = (decoded(&fast), decoded(&step));
    assert_eq!(lengths(&fast), lengths(&step_path), "without truth");
    assert!(fast == step_path, "other instructions without truth");
    if case.same == Same::Values {
        let truth = |directory: &Path| directory.join("truth");
        let again = run("step-again", "--truth").0;
        let compared = compare(&truth(&exact), &truth(&step), &truth(&again), u64::MAX).unwrap();
        assert_eq!(compared.ended, None, "after {} steps", compared.steps);
        assert!(compared.steps > 2_000, "too short to prove anything");
    }
    let (exact, step) = (addresses(&exact), addresses(&step));
    assert_eq!(lengths(&exact), lengths(&step), "with truth");
    assert!(exact == step, "other instructions with truth");
}

// What the program wrote before the recorder's summary.
fn printed(said: &str) -> Vec<&str> {
    let lines = said.lines();
    lines
        .take_while(|line| !line.contains(" steps of "))
        .collect()
}

fn lengths(all: &[Vec<u64>]) -> Vec<usize> {
    all.iter().map(Vec::len).collect()
}

/// `None`, said aloud, when there is no compiler.
#[track_caller]
fn build(case: &Case, into: &Scratch) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/programs/engines")
        .join(case.source);
    let program = into.join("program");
    let (compiler, options) = match source.extension().and_then(|e| e.to_str()) {
        Some("rs") => ("rustc", "-O"),
        Some("cpp") => ("c++", "-O1 -g -w"),
        _ => ("cc", "-O2 -g -w -pthread"),
    };
    let flags = options.split(' ').chain(case.flags.split_whitespace());
    let status = Command::new(compiler)
        .args(flags)
        .arg("-o")
        .args([&program, &source])
        .status();
    match status {
        Ok(status) => {
            assert!(status.success(), "cannot build {}", case.source);
            Some(program)
        }
        Err(error) => {
            eprintln!("SKIPPED: no {compiler}: {error}");
            None
        }
    }
}

/// What `rept record` and the program said.
#[track_caller]
fn record(options: &str, program: &Path, directory: &Path, end: &str) -> String {
    let line = format!("record --buffer 8M --from main {options} -o");
    let mut arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    arguments.extend([directory.into(), "--".into(), program.into()]);
    let output = rept(&arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{options}: {said}");
    assert!(said.contains(end), "{options}: {said}");
    said
}

/// Addresses of steps, by thread, from the truth.
fn addresses(directory: &Path) -> Vec<Vec<u64>> {
    let mut reader = Reader::open(&directory.join("truth")).unwrap();
    let threads = reader.threads().into_iter();
    threads
        .map(|thread| {
            let mut steps = reader.read_from(thread, 0).unwrap();
            let mut all = Vec::new();
            while let Some(step) = steps.advance().unwrap() {
                all.push(step.ip);
            }
            all
        })
        .collect()
}

#[test]
fn operands_of_every_kind() {
    check(case("operands.c", Same::Values, "SIGSEGV"));
}

#[test]
fn looking_at_itself() {
    let linkings = ["", "-static", "-static-pie", "-no-pie"];
    for flags in linkings {
        // How it reads the clock depends on the time.
        let itself = case("itself.c", Same::Output, "SIGFPE");
        check(Case { flags, ..itself });
    }
}

#[test]
fn what_chance_and_the_clock_decide() {
    for flags in ["", "-static"] {
        let chance = case("chance.c", Same::Values, "SIGSEGV");
        check(repeatable(Case { flags, ..chance }));
    }
}

#[test]
fn other_programs_and_children() {
    // Threads race: one replaces the program while the other begins to wait for it.
    check(case("again.c", Same::End, "SIGILL"));
}

#[test]
fn signals_at_any_time() {
    check(case("alarms.c", Same::End, "SIGABRT"));
}

#[test]
fn libraries_that_come_and_go() {
    // The loader compares the processor's name with 16 bytes at a time, and so random bytes before it.
    check(repeatable(case("plugins.c", Same::Values, "SIGSEGV")));
}

#[test]
fn code_that_is_written() {
    check(case("jit.c", Same::Values, "SIGSEGV"));
}

#[test]
fn code_that_is_written_is_copied_with_truth_too() {
    let case = case("jit.c", Same::End, "SIGSEGV");
    let scratch = Scratch::new("engines-copied");
    let Some(program) = build(&case, &scratch) else {
        return;
    };
    let said = record(
        "--engine fast --truth",
        &program,
        &scratch.join("exact"),
        case.end,
    );
    let mut notes = said.lines().filter_map(|line| line.strip_prefix("note: "));
    let note = notes.find(|note| note.contains("stepped, as"));
    let stepped = note.and_then(|note| note.split(' ').next()?.parse().ok());
    // In code that it made it runs 202 instructions before the one that faults.
    assert!(stepped.is_some_and(|count: u32| count < 100), "{said}");
}

#[test]
fn code_that_is_written_over() {
    check(case("rewrites.c", Same::Values, "SIGSEGV"));
    check(Case {
        flags: "-DTHREADS",
        ..case("rewrites.c", Same::Output, "SIGSEGV")
    });
}

#[test]
fn exceptions() {
    check(repeatable(case("unwinds.cpp", Same::Values, "SIGABRT")));
}

#[test]
fn panics() {
    // The runtime reads the list of mappings, in pieces as large as its file system wants.
    check(case("panics.rs", Same::Output, "SIGABRT"));
}

#[test]
fn confined_system_calls() {
    for flags in ["", "-DCALL", "-DSTRICT"] {
        check(Case {
            flags,
            note: "confines its system calls",
            ..case("confined.c", Same::Values, "SIGSEGV")
        });
    }
}

#[test]
fn traced_and_not_to_be_looked_at() {
    check(case("traced.c", Same::Addresses, "core written by rept"));
}

#[test]
fn jumps_out_of_calls_and_handlers() {
    check(case("../signals.c", Same::Values, "SIGSEGV"));
}

#[test]
fn restartable_sequences_that_are_aborted() {
    // By stops, which are nowhere the same.
    check(case("percpu.c", Same::Output, "SIGSEGV"));
}

#[test]
fn restartable_sequences_are_told_of() {
    check(Case {
        note: "restartable sequences",
        ..case("sequences.c", Same::End, "SIGSEGV")
    });
}
