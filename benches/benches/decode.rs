//! Decoding: packets, blocks, addresses; with the feature `baselines`, beside other decoders.
//!
//! ```sh
//! cargo bench -p rept-benches --features baselines --bench decode            # criterion
//! cargo bench -p rept-benches --features baselines --bench decode -- ratios  # one table
//! ```
//!
//! What counts is the time that the thread had a processor, since machines are shared; the table
//! takes all contenders in turn, round by round, and the shortest of each.

// Shared with the decoder's tests: programs run by a tracer that shares nothing with the decoder.
#[path = "../../crates/rept-decode/tests/it/encode.rs"]
#[allow(dead_code, unreachable_pub)]
mod encode;
#[path = "../../crates/rept-decode/tests/it/program.rs"]
#[allow(dead_code, unreachable_pub)]
mod program;

#[path = "decode/contenders.rs"]
mod contenders;
#[path = "decode/traces.rs"]
mod traces;

use contenders::{Contender, Work, contenders};
use criterion::{Criterion, Throughput};
use rept_benches::processor_time;
use std::time::{Duration, Instant};
use traces::Sample;

/// Rounds of the table.
const ROUNDS: usize = 5;

fn main() {
    let samples = traces::samples();
    for sample in &samples {
        println!("{}", sample.facts());
    }
    if !std::env::args().any(|argument| argument == "ratios") {
        criterion(&samples);
    }
    for sample in &samples {
        table(sample);
    }
}

fn criterion(samples: &[Sample]) {
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    for sample in samples {
        let mut group = criterion.benchmark_group(&sample.name);
        for mut contender in contenders(sample) {
            group.throughput(match contender.work {
                Work::Packets => Throughput::Bytes(sample.packets.len() as u64),
                Work::Blocks | Work::Addresses => Throughput::Elements(sample.instructions),
            });
            group.bench_function(contender.name, |bencher| {
                bencher.iter_custom(|times| (0..times).map(|_| time(&mut contender)).sum());
            });
        }
        group.finish();
    }
    criterion.final_summary();
}

/// All contenders in turn: the shortest time of each, and how many times faster the first of
/// its kind (ours) is.
fn table(sample: &Sample) {
    let mut contenders = contenders(sample);
    let mut best = vec![Duration::MAX; contenders.len()];
    for _ in 0..ROUNDS {
        for (contender, best) in contenders.iter_mut().zip(&mut best) {
            *best = time(contender).min(*best);
        }
    }
    println!(
        "\n| {} | per second | ours is faster by |\n|---|---:|---:|",
        sample.name
    );
    for (contender, time) in contenders.iter().zip(&best) {
        let ours = contenders
            .iter()
            .position(|other| other.work == contender.work)
            .expect("ours is there");
        let ratio = time.as_secs_f64() / best[ours].as_secs_f64();
        let rate = match contender.work {
            Work::Packets => format!(
                "{:.2} GB",
                sample.packets.len() as f64 / time.as_secs_f64() / 1e9
            ),
            Work::Blocks | Work::Addresses => {
                format!(
                    "{:.0} M steps",
                    sample.instructions as f64 / time.as_secs_f64() / 1e6
                )
            }
        };
        println!("| {} | {rate} | {ratio:.1} |", contender.name);
    }
}

/// Time of one piece of work, from as many as take long enough to be measured: the kernel books
/// time by the tick.
fn time(contender: &mut Contender<'_>) -> Duration {
    const LEAST: Duration = Duration::from_millis(300);
    let begin = (processor_time(), Instant::now());
    let mut times = 0;
    while times == 0 || begin.1.elapsed() < LEAST {
        let found = (contender.run)();
        assert_eq!(
            found, contender.expected,
            "{} did not do all",
            contender.name
        );
        times += 1;
    }
    let taken = match (begin.0, processor_time()) {
        (Some(begin), Some(end)) => end - begin,
        _ => begin.1.elapsed(),
    };
    taken / times
}
