//! How much of what recorded programs executed is modelled, and what narrowing it costs.
//!
//! `cargo run --release -p rept-core --example modelled -- DIRECTORY...` prints a table with one
//! line for each recording: steps, distinct mnemonics, the share of steps whose instruction has
//! a stated meaning, which mnemonics merely forget, and the time to narrow one step's relations
//! on random partial knowledge (best of several
//! passes) and in a whole recovery (processor time).

use iced_x86::{Decoder, DecoderOptions, Mnemonic};
use rept_core::Session;
use rept_recover::bits::Bits;
use rept_recover::effect::Effect;
use rept_recover::lift::{FlagUse, flag_use, lift};
use rept_trace::{Block, Trace};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// CF, ZF, SF and OF: what a conditional in the next block may read.
const LIVE: u16 = 0x8c1;

fn main() -> ExitCode {
    let directories: Vec<String> = std::env::args().skip(1).collect();
    if directories.is_empty() {
        eprintln!("usage: modelled DIRECTORY...");
        return ExitCode::from(2);
    }
    println!(
        "| recording | steps | mnemonics | modelled | forgotten | narrowing, ns | visits a step | ns a visit |"
    );
    println!("|---|---:|---:|---:|---|---:|---:|---:|");
    let mut failed = false;
    for directory in &directories {
        match Session::builder().directory(directory).open() {
            Ok(session) => print_row(Path::new(directory), &session),
            Err(error) => {
                eprintln!("modelled: {error}");
                failed = true;
            }
        }
    }
    ExitCode::from(u8::from(failed))
}

fn print_row(directory: &Path, session: &Session) {
    let blocks = lowered(session.decode());
    let census = Census::of(session.decode(), &blocks);
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let share = 100.0 * (census.steps - census.forgotten.values().sum::<u64>()) as f64
        / census.steps.max(1) as f64;
    let forgotten: Vec<String> = census
        .forgotten
        .iter()
        .map(|(mnemonic, count)| format!("{mnemonic} ({count})"))
        .collect();
    let narrowing = narrowing_time(session.decode(), &blocks);
    let started = processor_time();
    let history = session.recover(&rept_core::RecoverOptions::default());
    let elapsed = processor_time() - started;
    let statistics = history.statistics();
    println!(
        "| {name} | {} | {} | {share:.4} % | {} | {narrowing:.0} | {:.1} | {:.0} |",
        census.steps,
        census.mnemonics.len(),
        forgotten.join(" "),
        statistics.visits as f64 / statistics.steps.max(1) as f64,
        elapsed / statistics.visits.max(1) as f64,
    );
}

/// The instructions of one block: what they are and what they do.
type Lowered = Vec<(Mnemonic, Effect)>;

fn lowered(trace: &Trace) -> Vec<Lowered> {
    trace.code.blocks().iter().map(lower).collect()
}

fn lower(block: &Block) -> Lowered {
    let mut live = LIVE;
    let mut instructions: Lowered = (0..block.instructions())
        .rev()
        .map(|index| {
            let (at, bytes) = (block.address(index), block.instruction_bytes(index));
            let mnemonic =
                Decoder::with_ip(block.bitness.into(), bytes, at.0, DecoderOptions::NONE)
                    .decode()
                    .mnemonic();
            let effect = lift(bytes, at, block.bitness, live);
            let FlagUse { reads, overwrites } = flag_use(bytes, at, block.bitness);
            live = reads | live & !overwrites;
            (mnemonic, effect)
        })
        .collect();
    instructions.reverse();
    instructions
}

/// Steps counted by instruction.
#[derive(Default)]
struct Census {
    steps: u64,
    mnemonics: BTreeMap<String, u64>,
    forgotten: BTreeMap<String, u64>,
}

impl Census {
    fn of(trace: &Trace, blocks: &[Lowered]) -> Census {
        let mut counts: Vec<Vec<u64>> = blocks.iter().map(|block| vec![0; block.len()]).collect();
        for run in trace.threads.iter().flat_map(|thread| thread.runs()) {
            let executed = &mut counts[run.block.0 as usize][..usize::from(run.count)];
            executed.iter_mut().for_each(|count| *count += 1);
        }
        let mut census = Census::default();
        for ((mnemonic, effect), &count) in blocks.iter().flatten().zip(counts.iter().flatten()) {
            let name = format!("{mnemonic:?}").to_lowercase();
            census.steps += count;
            *census.mnemonics.entry(name.clone()).or_default() += count;
            if !effect.modelled && count > 0 {
                *census.forgotten.entry(name).or_default() += count;
            }
        }
        census.mnemonics.retain(|_, count| *count > 0);
        census
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0.rotate_left(23) ^ self.0 >> 29
    }

    /// A quarter of the words unknown, a quarter known, the rest in part.
    fn bits(&mut self) -> Bits {
        let value = self.next();
        match self.next() >> 62 {
            0 => Bits::UNKNOWN,
            1 => Bits::constant(value),
            _ => Bits::new(self.next(), value),
        }
    }
}

/// Nanoseconds that this thread has run: other load on the machine does not count.
fn processor_time() -> f64 {
    let scheduled = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    scheduled
        .and_then(|fields| fields.split(' ').next()?.parse().ok())
        .unwrap_or(0.0)
}

/// Steps narrowed for the measurement, and how many at once: their words stay in the cache.
const MEASURED: usize = 200_000;
const AT_ONCE: usize = 1000;
const PASSES: usize = 20;

/// Nanoseconds to narrow a step's relations, over the first steps of the trace as they ran.
fn narrowing_time(trace: &Trace, blocks: &[Lowered]) -> f64 {
    let mut random = Random(1);
    let runs = trace.threads.iter().flat_map(|thread| thread.runs());
    let steps: Vec<(&Effect, Vec<Bits>)> = runs
        .flat_map(|run| &blocks[run.block.0 as usize][..usize::from(run.count)])
        .take(MEASURED)
        .map(|(_, effect)| (effect, knowledge(effect, &mut random)))
        .collect();
    let longest = steps.iter().map(|(_, words)| words.len()).max();
    let mut buffer = vec![Bits::UNKNOWN; longest.unwrap_or(0)];
    let mut best = |chunk: &[(&Effect, Vec<Bits>)]| {
        let passes = (0..PASSES).map(|_| {
            let started = Instant::now();
            for (effect, words) in chunk {
                let visited = &mut buffer[..words.len()];
                visited.copy_from_slice(words);
                black_box(effect.narrow(visited).is_ok());
            }
            started.elapsed().as_nanos() as f64
        });
        passes.fold(f64::INFINITY, f64::min)
    };
    let total: f64 = steps.chunks(AT_ONCE).map(&mut best).sum();
    total / steps.len().max(1) as f64
}

/// Random knowledge of the inputs that does not contradict the relations.
fn knowledge(effect: &Effect, random: &mut Random) -> Vec<Bits> {
    for _ in 0..64 {
        let mut words = effect.template.to_vec();
        for word in words.iter_mut().take(effect.inputs()) {
            *word = random.bits();
        }
        if effect.narrow(&mut words.clone()).is_ok() {
            return words;
        }
    }
    effect.template.to_vec()
}
