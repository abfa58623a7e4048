//! What a second thread costs: one amount of work by one thread and by two at once, recovered.
//!
//! `cargo bench -p rept-benches --bench threads` measures both; with `-- ratios`, both in turn in
//! one process, in processor time, and by how much a step of the second costs more.

use criterion::{BenchmarkId, Criterion, Throughput};
use rept_benches::{Recorded, processor_time};
use rept_capture::Schedule;
use rept_core::RecoverOptions;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Numbers of threads that share the work.
const THREADS: [u32; 2] = [1, 2];
/// Each side is measured so often; the shortest time counts.
const ROUNDS: usize = 5;

struct Side {
    threads: u32,
    recorded: Recorded,
    steps: u64,
}

impl Side {
    /// `None`, said aloud, where no recording can be made.
    fn make(threads: u32) -> Option<Side> {
        let define = format!("-DTHREADS={threads}");
        let made = Recorded::make_with("turns", &["-pthread", "-Wl,-z,now", &define], |options| {
            options.schedule = Schedule::Cores;
        });
        let recorded = made.map_err(|error| eprintln!("skipped: {error}")).ok()?;
        let traced = &recorded.session.decode().threads;
        assert_eq!(traced.len(), threads as usize);
        let steps = traced.iter().map(|thread| thread.steps()).sum();
        recorded.session.order();
        Some(Side {
            threads,
            recorded,
            steps,
        })
    }

    fn recover(&self) {
        black_box(self.recorded.session.recover(&RecoverOptions::default()));
    }

    /// Time that one recovery took.
    fn time(&self) -> Duration {
        let begin = (processor_time(), Instant::now());
        self.recover();
        match (begin.0, processor_time()) {
            (Some(begin), Some(end)) => end - begin,
            _ => begin.1.elapsed(),
        }
    }
}

fn ratios(sides: &[Side]) {
    let mut best = vec![Duration::MAX; sides.len()];
    for _ in 0..ROUNDS {
        for (side, best) in sides.iter().zip(&mut best) {
            *best = side.time().min(*best);
        }
    }
    println!("| threads | steps | ns a step | against one thread |\n|---:|---:|---:|---:|");
    let cost = |at: usize| best[at].as_secs_f64() * 1e9 / sides[at].steps as f64;
    for (at, side) in sides.iter().enumerate() {
        println!(
            "| {} | {} | {:.0} | {:.2} |",
            side.threads,
            side.steps,
            cost(at),
            cost(at) / cost(0)
        );
    }
}

fn main() {
    let sides: Option<Vec<Side>> = THREADS.into_iter().map(Side::make).collect();
    let Some(sides) = sides else { return };
    if std::env::args().any(|argument| argument == "ratios") {
        return ratios(&sides);
    }
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    let mut group = criterion.benchmark_group("recovery");
    for side in &sides {
        group.throughput(Throughput::Elements(side.steps));
        let id = BenchmarkId::new("threads", side.threads);
        group.bench_function(id, |bencher| bencher.iter(|| side.recover()));
    }
    group.finish();
    criterion.final_summary();
}
