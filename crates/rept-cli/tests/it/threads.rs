//! Programs of several threads: one history whatever the form of the recording, races told,
//! inputs of which something is missing.

use crate::common::{Scratch, build, rept};
use rept_capture::truth::{Reader, Step};
use rept_capture::{EngineKind, RecordOptions, Recorder, Schedule, Timing};
use rept_core::{History, Position, RecoverOptions, Session, Value};
use rept_trace::{RegWord, ThreadId};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Builds and records a program from its `main` on.
pub(crate) fn record(
    source: &str,
    scratch: &Scratch,
    name: &str,
    change: impl FnOnce(&mut RecordOptions),
) -> Option<PathBuf> {
    let program = build(source, scratch)?;
    let mut options = RecordOptions::new(scratch.join(name));
    options.truth = true;
    options.from = Some("main".parse().expect("a symbol"));
    change(&mut options);
    let output = options.output.clone();
    Recorder::new(options, &program, [""; 0])
        .run(|_| ())
        .expect("a recording");
    Some(output)
}

pub(crate) fn open(directory: &Path) -> Session {
    let opened = Session::builder().directory(directory).open();
    opened.expect("the recording opens")
}

fn recover(directory: &Path) -> History {
    open(directory).recover(&RecoverOptions::default())
}

/// How many values there are, and how many are inferred in one form only, or differently: the
/// kernel gives each run other thread ids and random bytes, and what is inferred may hang on them.
#[derive(Default)]
struct Tally {
    values: u64,
    otherwise_inferred: u64,
}

impl Tally {
    /// Certain and assumed bits are the same, and, where both runs really had the same value, say
    /// the same.
    #[track_caller]
    fn compare(&mut self, what: &str, a: Value, b: Value, same: bool) {
        let told = |value: Value| (value.assumed, value.certain);
        assert_eq!(told(a), told(b), "{what}: {a:x?} against {b:x?}");
        let differs = (a.bits ^ b.bits) & a.known;
        assert!(
            !same || differs & a.assumed == 0,
            "{what}: {a:x?} against {b:x?}"
        );
        self.values += 1;
        let inferred_so = a.known == b.known && (!same || differs == 0);
        self.otherwise_inferred += u64::from(!inferred_so);
    }

    /// One step of the same run in two recordings.
    fn compare_step(&mut self, histories: &[History; 2], at: [Position; 2], truth: [&Step; 2]) {
        let states = [0, 1].map(|form| histories[form].at(at[form]).expect("a step"));
        assert_eq!(states[0].pc(), states[1].pc(), "{}", at[0]);
        for word in 0..19 {
            let same = truth[0].words[word] == truth[1].words[word];
            let word = RegWord(word as u16);
            let what = format!("{} at {}", word.name(), at[0]);
            self.compare(&what, states[0].reg(word), states[1].reg(word), same);
        }
        let accesses = [0, 1].map(|form| histories[form].accesses(at[form]));
        assert_eq!(accesses[0].len(), accesses[1].len(), "{}", at[0]);
        let bytes = |form: usize| truth[form].accesses.iter().map(|access| &access.bytes);
        // Of what the kernel wrote, as the numbers of threads, the truth says nothing.
        let same = bytes(0).eq(bytes(1)) && !truth[0].accesses.is_empty();
        for (a, b) in accesses[0].iter().zip(&accesses[1]) {
            self.compare(&format!("access at {}", at[0]), a.value, b.value, same);
        }
    }
}

// Threads share two processors and move between them. Recorded by thread, no switch is seen;
// recorded by processor, the trace must be taken apart at the switches and put together again.
#[test]
fn one_run_in_both_forms_has_one_history() {
    let scratch = Scratch::new("both-forms");
    let form = |per_cpu: bool, name: &str| {
        record("threads.c", &scratch, name, |options| {
            options.schedule = Schedule::Cpus {
                count: 2,
                longest: 300,
            };
            options.per_cpu = per_cpu;
        })
    };
    let (Some(by_thread), Some(by_cpu)) = (form(false, "by-thread"), form(true, "by-cpu")) else {
        return;
    };
    let histories = [recover(&by_thread), recover(&by_cpu)];
    let gaps = |history: &History| {
        let threads: Vec<ThreadId> = history.threads().collect();
        let all = threads.into_iter().map(|thread| history.gaps(thread).len());
        all.sum::<usize>()
    };
    assert_eq!(gaps(&histories[1]), 0, "no step is missing at a switch");
    let threads = [0, 1].map(|form: usize| histories[form].threads().collect::<Vec<_>>());
    assert_eq!(threads[0].len(), 3);
    let mut truths =
        [&by_thread, &by_cpu].map(|form| Reader::open(&form.join("truth")).expect("a truth file"));
    let [truth_a, truth_b] = &mut truths;
    let mut tally = Tally::default();
    for (&a, &b) in threads[0].iter().zip(&threads[1]) {
        let steps = histories[0].lifetime(a).expect("traced");
        assert_eq!(Some(steps.clone()), histories[1].lifetime(b));
        let mut true_a = truth_a.read_from(a, 0).expect("steps");
        let mut true_b = truth_b.read_from(b, 0).expect("steps");
        for step in steps {
            let next = [&mut true_a, &mut true_b]
                .map(|steps| steps.advance().expect("undamaged").expect("a step"));
            let at = [Position::new(a, step), Position::new(b, step)];
            tally.compare_step(&histories, at, next);
        }
    }
    let (values, others) = (tally.values, tally.otherwise_inferred);
    assert!(others * 100 <= values, "{others} of {values}");
}

fn json(command: &[&OsStr]) -> serde_json::Value {
    let output = rept(command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn the_lost_update_is_told_with_both_sides() {
    let scratch = Scratch::new("races");
    let Some(recording) = record("threads/lost_update.c", &scratch, "r", |_| ()) else {
        return;
    };
    let told = json(&["races".as_ref(), recording.as_os_str(), "--json".as_ref()]);
    assert_eq!(told["schema"], "rept-races/1");
    let races = told["races"].as_array().expect("races");
    let of_counter = races.iter().filter(|race| {
        let place = |side: usize| race["sides"][side]["place"].as_str().unwrap_or_default();
        let inside =
            |side| place(side).starts_with("add_slowly") || place(side).starts_with("worker");
        inside(0) && inside(1) && race["size"] == 8
    });
    let of_counter: Vec<_> = of_counter.collect();
    assert!(!of_counter.is_empty(), "{races:#?}");
    // The counter becomes the index of the pointer that it dies of.
    let mut deciding = of_counter.iter();
    assert!(
        deciding.any(|race| race["decides_crash"] == true),
        "{races:#?}"
    );
    for race in of_counter {
        assert_ne!(race["sides"][0]["thread"], race["sides"][1]["thread"]);
        let store = |side: usize| race["sides"][side]["store"] == true;
        assert!(store(0) || store(1), "{race:#?}");
    }
    let arguments = ["races", "--json", "--trust", "certain"].map(OsStr::new);
    let told = json(&[&arguments[..], &[recording.as_os_str()]].concat());
    let certain = told["races"].as_array().expect("races");
    assert!(!certain.is_empty() && certain.len() <= races.len());
    for race in certain {
        assert_eq!(race["observed"], false);
        let sides = race["sides"].as_array().expect("two sides");
        let is_certain =
            |side: &serde_json::Value| side["value"]["known"] == side["value"]["certain"];
        assert!(sides.iter().all(is_certain), "{race:#?}");
    }
}

#[test]
fn a_program_of_one_thread_has_no_race() {
    let scratch = Scratch::new("no-races");
    let Some(recording) = record("signals.c", &scratch, "r", |_| ()) else {
        return;
    };
    let told = json(&["races".as_ref(), recording.as_os_str(), "--json".as_ref()]);
    assert_eq!(told["races"].as_array().map(Vec::len), Some(0));
}

// Less is known of the order, never something wrong: no certain or assumed value is, and the
// claims of the order are held against what really happened in `order.rs`.
#[test]
fn coarser_clocks_know_less_and_nothing_wrong() {
    let scratch = Scratch::new("clocks");
    for timing in [Timing::Cycles, Timing::Mtc, Timing::Boundaries] {
        let name = format!("{timing:?}");
        let recorded = record("threads/publication.c", &scratch, &name, |options| {
            options.timing = timing;
            options.seed = 3;
        });
        let Some(recording) = recorded else { return };
        let score = json(&["score".as_ref(), "--json".as_ref(), recording.as_os_str()]);
        for grade in ["certain", "assumed"] {
            assert_eq!(score["wrong"][grade], 0, "{name}: {}", score["wrong"]);
        }
    }
}

// Of the thread that runs more, less is left: what it wrote before is not in the trace.
#[test]
fn rings_that_reach_back_differently() {
    let scratch = Scratch::new("short-rings");
    let recorded = record("threads/use_after_free.c", &scratch, "r", |options| {
        options.engine = EngineKind::Fast;
        options.buffer = 16 << 10;
    });
    let Some(recording) = recorded else { return };
    let score = json(&["score".as_ref(), "--json".as_ref(), recording.as_os_str()]);
    for grade in ["certain", "assumed"] {
        assert_eq!(score["wrong"][grade], 0, "{}", score["wrong"]);
    }
}

#[test]
fn a_thousand_threads_of_a_thousand_steps() {
    let scratch = Scratch::new("many");
    let recorded = record("threads/many.c", &scratch, "r", |options| {
        options.engine = EngineKind::Fast;
        options.truth = false;
    });
    let Some(recording) = recorded else { return };
    let session = open(&recording);
    let threads = &session.decode().threads;
    assert_eq!(threads.len(), 1000);
    let short = threads.iter().find(|thread| thread.steps() < 1000);
    assert_eq!(short.map(|thread| (thread.thread, thread.steps())), None);
    // Each thread began after the one before it was made, and its segments are as few as that.
    assert!(session.order().sequence().len() >= threads.len());
    let history = session.recover(&RecoverOptions::default());
    let steps: u64 = threads.iter().map(|thread| thread.steps()).sum();
    assert_eq!(history.statistics().steps, steps);
    assert_eq!(history.statistics().certain_conflicts, 0);
    let crash = history.crash().expect("a crash");
    let faulted = history
        .at(crash.position)
        .map(|state| state.reg(RegWord::RAX));
    assert_eq!(
        faulted.map(|value| (value.certain, value.bits & !1)),
        Some((u64::MAX, 16))
    );
}

#[test]
fn schedules_of_the_command_line() {
    let scratch = Scratch::new("schedule-line");
    let complaint = |arguments: &[&str]| {
        let output = rept(arguments);
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let out = scratch.join("r");
    let out = out.to_str().expect("a path in UTF-8");
    let bad = complaint(&["record", "-o", out, "--schedule", "cpus:0", "true"]);
    assert!(bad.contains("schedule `cpus:0` is not"), "{bad}");
    let clash = [
        "record",
        "-o",
        out,
        "--schedule",
        "cores",
        "--per-cpu",
        "2",
        "true",
    ];
    let bad = complaint(&clash);
    assert!(bad.contains("--per-cpu 2 needs --schedule cpus:2"), "{bad}");
}

// Nothing is pending between the load and the end, so that the dump's value would be certain.
#[test]
fn the_processor_that_the_kernel_tells_is_not_known_from_the_dump() {
    let scratch = Scratch::new("processor");
    let Some(recording) = record("processor.c", &scratch, "r", |_| ()) else {
        return;
    };
    let history = recover(&recording);
    let Some(crash) = history.crash() else {
        eprintln!("SKIPPED: the C library registers no rseq area");
        return;
    };
    let forget = history.session().symbols().addresses_of("forget")[0];
    let load = history.last_execution(crash.position.thread, forget, crash.position.step);
    let load = load.expect("the load is traced");
    let accesses = history.accesses(load);
    assert!(accesses[0].address_certain, "{accesses:?}");
    assert_eq!(accesses[0].value.known, 0, "{accesses:?}");
    let state = history.at(load).expect("the position exists");
    let address = accesses[0].address.expect("certain");
    assert_eq!(state.byte(address).known, 0);
}
