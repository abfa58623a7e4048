//! The order of real accesses never contradicts what the order of segments claims.
//!
//! Programs of several threads are recorded with the truth, which numbers the steps of
//! all threads as they really ran. What timestamps prove must agree with these numbers. Copies that
//! run in real time have no truth: there a token tells who came when, as one thread has it at a time.
//! `REPT_ORDER_ROUNDS=100` does it with a hundred times the seeds.

use rept_capture::truth::Reader;
use rept_capture::{EngineKind, RecordOptions, Recorder, Schedule, Timing};
use rept_core::Session;
use rept_order::{Order, Point, Relation, SegmentId};
use rept_trace::Trace;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAMS: [&str; 6] = [
    "lost_update",
    "publication",
    "double_checked",
    "use_after_free",
    "deadlock",
    "producer_consumer",
];

/// A place for one recording, gone when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a writable target directory");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How a run is recorded.
#[derive(Clone, Copy, Debug)]
struct Form {
    engine: EngineKind,
    seed: u64,
    schedule: Schedule,
    timing: Timing,
    per_cpu: bool,
}

impl Form {
    fn new(seed: u64, schedule: Schedule) -> Form {
        Form {
            engine: EngineKind::Step,
            seed,
            schedule,
            timing: Timing::Cycles,
            per_cpu: false,
        }
    }
}

/// Builds a program and records it from its `main` on, with truth.
fn record(name: &str, form: Form, scratch: &Scratch) -> PathBuf {
    let program = build(&format!("threads/{name}.c"), scratch);
    let mut options = RecordOptions::new(scratch.0.join("recording"));
    options.truth = true;
    options.engine = form.engine;
    options.seed = form.seed;
    options.schedule = form.schedule;
    options.timing = form.timing;
    options.per_cpu = form.per_cpu;
    options.from = Some("main".parse().expect("a symbol"));
    run(options, &program)
}

fn build(source: &str, scratch: &Scratch) -> PathBuf {
    let name = source;
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/programs")
        .join(source);
    let program = scratch.0.join("program");
    let mut cc = Command::new("cc");
    let built = cc
        .args(["-O1", "-g", "-pthread", "-o"])
        .arg(&program)
        .arg(source)
        .status();
    assert!(built.expect("a C compiler").success(), "{name} builds");
    program
}

/// Where the recording is.
fn run(options: RecordOptions, program: &Path) -> PathBuf {
    let output = options.output.clone();
    Recorder::new(options, program, [""; 0])
        .run(|_| ())
        .expect("a recording");
    output
}

/// For each segment of the sequence, the real places of its first and last step.
fn real_places(trace: &Trace, order: &Order, truth: &Path) -> Vec<(u64, u64)> {
    let mut reader = Reader::open(truth).expect("a truth file");
    let places: Vec<Vec<u64>> = trace
        .threads
        .iter()
        .map(|thread| {
            // The trace may have lost the oldest steps, never the last.
            let lost = reader
                .steps(thread.thread)
                .checked_sub(thread.steps())
                .expect("no more than ran");
            let mut steps = reader.read_from(thread.thread, lost).expect("steps");
            std::iter::from_fn(|| {
                steps
                    .advance()
                    .expect("undamaged")
                    .map(|step| step.sequence)
            })
            .collect()
        })
        .collect();
    let place = |thread: u32, step: u64| places[thread as usize][step as usize];
    let segments = order.sequence().iter();
    segments
        .map(|s| (place(s.thread, s.first), place(s.thread, s.end() - 1)))
        .collect()
}

/// Checks every claim that could be wrong; returns how many segments are claimed to be
/// ordered against some other.
fn check(order: &Order, real: &[(u64, u64)]) -> usize {
    let mut first_behind: Vec<u64> = real.iter().map(|&(first, _)| first).collect();
    for at in (1..real.len()).rev() {
        first_behind[at - 1] = first_behind[at - 1].min(first_behind[at]);
    }
    for (a, &(_, last)) in real.iter().enumerate() {
        let later = (a + 1..real.len()).take_while(|&b| first_behind[b] < last);
        for b in later.filter(|&b| real[b].0 < last) {
            let relation = order.relation(SegmentId(a as u32), SegmentId(b as u32));
            let (x, y) = (order.sequence()[a], order.sequence()[b]);
            assert_ne!(
                relation,
                Relation::Before,
                "{x:?} at {:?}, {y:?} at {:?}",
                real[a],
                real[b]
            );
        }
    }
    let whole = 0..real.len() as u32;
    let windows = whole.clone().map(|a| order.concurrent_window(SegmentId(a)));
    windows.filter(|window| *window != whole).count()
}

/// The seeds from `first` on, one for each of these, as often as it is asked for.
fn seeded<T: Copy>(first: u64, cases: impl IntoIterator<Item = T>) -> Vec<(u64, T)> {
    let asked = std::env::var("REPT_ORDER_ROUNDS").ok();
    let rounds = asked.and_then(|text| text.parse().ok()).unwrap_or(1);
    let cases: Vec<T> = cases.into_iter().collect();
    let rounds = (0..rounds).flat_map(|round| cases.iter().map(move |&case| (round, case)));
    let numbered = rounds.zip(first..);
    numbered
        .map(|((round, case), seed)| (seed + 100 * round, case))
        .collect()
}

/// Holds the claims of one recording against what happened; returns how many there are.
#[track_caller]
fn never_contradicts(name: &str, form: Form) -> usize {
    let scratch = Scratch::new(&format!("order-{name}-{:?}-{}", form.engine, form.seed));
    let recording = record(name, form, &scratch);
    let session = Session::builder()
        .directory(&recording)
        .open()
        .expect("a session");
    let (trace, order) = (session.decode(), session.order());
    assert!(trace.threads.len() > 1);
    assert_eq!(order.diagnostics(), [], "{name}");
    let real = real_places(trace, order, &recording.join("truth"));
    check(order, &real)
}

/// The last segment of a thread.
fn last_of(order: &Order, thread: usize) -> SegmentId {
    let mut segments = order.sequence().iter();
    let last = segments.rposition(|segment| segment.thread as usize == thread);
    SegmentId(last.expect("it has steps") as u32)
}

#[test]
fn a_thread_that_had_ended_came_before_what_is_later() {
    let scratch = Scratch::new("order-ended");
    let recording = record("../relay", Form::new(3, Schedule::Cores), &scratch);
    let session = Session::builder()
        .directory(&recording)
        .open()
        .expect("a session");
    let (trace, order) = (session.decode(), session.order());
    let first = trace.threads.iter().map(|thread| thread.thread).min();
    let (waiting, ended): (Vec<usize>, Vec<usize>) =
        (0..trace.threads.len()).partition(|&at| Some(trace.threads[at].thread) == first);
    let relation = order.relation(last_of(order, ended[0]), last_of(order, waiting[0]));
    assert_eq!(relation, Relation::Before);
}

#[test]
fn what_really_happened_when_threads_overlap() {
    for (seed, name) in seeded(1, PROGRAMS) {
        let claims = never_contradicts(name, Form::new(seed, Schedule::Cores));
        assert!(claims > 0, "{name}: nothing is ordered");
    }
}

#[test]
fn what_really_happened_when_threads_take_turns() {
    for (seed, name) in seeded(11, ["lost_update", "publication"]) {
        let claims = never_contradicts(name, Form::new(seed, Schedule::Quanta { longest: 200 }));
        assert!(claims > 0, "{name}: nothing is ordered");
    }
}

// A turn is hundreds of steps, in which no other thread runs.
#[test]
fn what_really_happened_in_the_turns_of_the_fast_engine() {
    let timings = [Timing::Cycles, Timing::Mtc];
    let cases = PROGRAMS.into_iter().zip(timings.into_iter().cycle());
    for (seed, (name, timing)) in seeded(41, cases) {
        let engine = EngineKind::Fast;
        let form = Form::new(seed, Schedule::Cores);
        let claims = never_contradicts(
            name,
            Form {
                engine,
                timing,
                ..form
            },
        );
        assert!(claims > 0, "{name}: nothing is ordered");
    }
}

// The processor's own counter, of threads that run at once.
#[test]
fn what_really_happened_in_real_time() {
    let scratch = Scratch::new("order-relay");
    let program = build("relay.c", &scratch);
    let mut options = RecordOptions::new(scratch.0.join("recording"));
    options.engine = EngineKind::Fast;
    options.buffer = 32 << 20;
    options.from = Some("main".parse().expect("a symbol"));
    let recording = run(options, &program);
    let session = Session::builder()
        .directory(&recording)
        .open()
        .expect("a session");
    let place = session.symbols().addresses_of("handed")[0];
    let (trace, order) = (session.decode(), session.order());
    assert_eq!(order.diagnostics(), []);
    let turns = (0..).zip(&trace.threads).map(|(index, thread)| {
        let steps = (0..).zip(thread.addresses(&trace.code, 0));
        let turns = steps.filter(|(_, at)| *at == place);
        turns
            .map(|(step, _)| Point {
                thread: index,
                step,
            })
            .collect::<Vec<_>>()
    });
    let [first, second] = &turns.collect::<Vec<_>>()[..] else {
        panic!("two threads");
    };
    // While one is kept from running, the other asks so often that its oldest turns may be lost,
    // never the newest; the second thread has the last.
    let kept = first.len().min(second.len());
    assert!((1..=300).contains(&kept), "{kept}");
    let newest = |turns: &[Point]| turns[turns.len() - kept..].to_vec();
    // As the token went.
    let real: Vec<Point> = newest(first)
        .into_iter()
        .zip(newest(second))
        .flat_map(|(a, b)| [a, b])
        .collect();
    let relations = real
        .windows(2)
        .map(|pair| order.relation_of_steps(pair[0], pair[1]));
    let relations: Vec<Relation> = relations.map(|relation| relation.expect("steps")).collect();
    assert!(!relations.contains(&Relation::After), "{relations:?}");
    let proved = relations.iter().filter(|&&r| r == Relation::Before).count();
    assert!(
        proved > relations.len() / 2,
        "{proved} of {}",
        relations.len()
    );
}

#[test]
fn what_really_happened_when_clocks_are_coarse() {
    let timings = [Timing::Mtc, Timing::Boundaries];
    let cases = PROGRAMS.into_iter().zip(timings.into_iter().cycle());
    for (seed, (name, timing)) in seeded(21, cases) {
        let form = Form::new(seed, Schedule::Cores);
        never_contradicts(name, Form { timing, ..form });
    }
}

// The order of a processor's stream orders threads where no clock does.
#[test]
fn what_really_happened_on_processors() {
    for (seed, name) in seeded(31, ["lost_update", "producer_consumer", "deadlock"]) {
        let schedule = Schedule::Cpus {
            count: 2,
            longest: 150,
        };
        let form = Form::new(seed, schedule);
        let claims = never_contradicts(
            name,
            Form {
                per_cpu: true,
                ..form
            },
        );
        assert!(claims > 0, "{name}: nothing is ordered");
    }
}
