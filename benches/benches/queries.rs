//! What questions cost: a state at a random position, who wrote last, where a value came from, one
//! step backward through gdb's protocol.
//!
//! `REPT_RECORDINGS=DIR[:DIR…] cargo bench -p rept-benches --bench queries` asks recordings made by
//! `rept record`; without, a small program is recorded here. Indices are made before measuring.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rept_capture::{RecordOptions, Recorder};
use rept_core::{GdbOptions, History, Location, Position, RecoverOptions, Session};
use rept_trace::RegWord;
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// So many turns of a loop of about 11 steps, then a crash.
const PROGRAM: &str = r#"
static long table[64];
int main(void) {
    for (long i = 0; i < TURNS; i++) table[i % 64] += table[(i * 7) % 64] + i;
    return *(volatile int *)(table[5] & 1 | 16);
}
"#;
/// For about 10^5 and 10^6 steps.
const TURNS: [u32; 2] = [9_000, 90_000];

/// Removed at the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Records the program; `None`, said aloud, where that is impossible.
fn record(folder: &Path, turns: u32) -> Option<PathBuf> {
    let folder = folder.join(turns.to_string());
    std::fs::create_dir_all(&folder).ok()?;
    let (source, program) = (folder.join("loop.c"), folder.join("loop"));
    std::fs::write(&source, PROGRAM).ok()?;
    let mut cc = Command::new("cc");
    cc.args(["-O1", &format!("-DTURNS={turns}"), "-o"]);
    let built = cc.arg(&program).arg(&source).status();
    if !built.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no C compiler");
        return None;
    }
    let output = folder.join("recording");
    let mut options = RecordOptions::new(&output);
    options.buffer = 16 << 20;
    let recorded = Recorder::new(options, &program, [""; 0]).run(|_| ());
    recorded
        .map_err(|error| eprintln!("skipped: cannot record here: {error}"))
        .ok()?;
    Some(output)
}

/// A step, by a fixed pseudo-random sequence (Knuth's multiplier).
fn scatter(seed: &mut u64, steps: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    (*seed >> 20) % steps.max(1)
}

fn ask(criterion: &mut Criterion, history: &History) {
    let thread = history.threads().next().expect("a thread was traced");
    let thread = history
        .crash()
        .map_or(thread, |crash| crash.position.thread);
    let steps = history.lifetime(thread).expect("it was traced").end;
    let mut group = criterion.benchmark_group("queries");
    let id = |name| BenchmarkId::new(name, steps);
    let mut seed = 1;
    let mut position = || Position::new(thread, scatter(&mut seed, steps));
    let rsp = Location::Reg(RegWord::RSP);
    history.prepare().expect("nobody stops it");
    let memory = stored(history, thread, steps);
    let end = Position::new(thread, steps);
    // Makes the indices of the registers that are asked about.
    history.last_write(rsp, end);
    history.explain(memory, end);

    group.bench_function(id("state: 16 registers"), |bencher| {
        bencher.iter(|| {
            let state = history.at(position()).expect("it exists");
            for number in 0..16 {
                black_box(state.reg(RegWord::gpr(number)));
            }
        });
    });
    group.bench_function(id("state: 64 bytes of stack"), |bencher| {
        bencher.iter(|| {
            let state = history.at(position()).expect("it exists");
            let top = rept_trace::Address(state.reg(RegWord::RSP).bits);
            black_box(state.read(top, &mut [0; 64], rept_core::Trust::Inferred));
        });
    });
    group.bench_function(id("last write of memory"), |bencher| {
        bencher.iter(|| black_box(history.last_write(memory, position())));
    });
    group.bench_function(id("last write of a register"), |bencher| {
        bencher.iter(|| black_box(history.last_write(rsp, position())));
    });
    group.bench_function(id("explain"), |bencher| {
        bencher.iter(|| black_box(history.explain(memory, position())));
    });
    group.finish();
    reverse_step(criterion, history, steps);
}

/// The place that some step in the middle stored to.
fn stored(history: &History, thread: rept_trace::ThreadId, steps: u64) -> Location {
    let mut accesses = (steps / 2..steps).flat_map(|step| {
        let accesses = history.accesses(Position::new(thread, step));
        accesses.into_iter().filter(|access| access.store)
    });
    let found = accesses.find_map(|access| Some((access.address?, access.size)));
    let (address, size) = found.expect("something is stored");
    let size = size.into();
    Location::Mem { address, size }
}

/// `bs` and the answer to it, over a pair of sockets.
fn reverse_step(criterion: &mut Criterion, history: &History, steps: u64) {
    let (mut client, stub) = UnixStream::pair().expect("a pair of sockets");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let input = stub.try_clone().expect("it can be shared");
            let _ = history.serve_gdb(input, stub, GdbOptions::default());
        });
        let mut group = criterion.benchmark_group("queries");
        group.bench_function(BenchmarkId::new("gdb: reverse step", steps), |bencher| {
            bencher.iter(|| {
                client.write_all(b"$bs#d5").expect("the stub listens");
                let mut byte = [0];
                while byte != *b"#" {
                    client.read_exact(&mut byte).expect("the stub answers");
                }
                client.read_exact(&mut [0; 2]).expect("a checksum");
                client.write_all(b"+").expect("the stub listens");
            });
        });
        group.finish();
        drop(client);
    });
}

fn queries(criterion: &mut Criterion) {
    let named = std::env::var("REPT_RECORDINGS").unwrap_or_default();
    let mut recordings: Vec<PathBuf> = std::env::split_paths(&named).collect();
    recordings.retain(|path| !path.as_os_str().is_empty());
    let folder = Folder(std::env::temp_dir().join(format!("rept-bench-{}", std::process::id())));
    if recordings.is_empty() {
        recordings.extend(
            TURNS
                .into_iter()
                .filter_map(|turns| record(&folder.0, turns)),
        );
    }
    for recording in recordings {
        let session = Session::builder().directory(&recording).open();
        let session = session.expect("the recording opens");
        ask(criterion, &session.recover(&RecoverOptions::default()));
    }
}

criterion_group!(benches, queries);
criterion_main!(benches);
