//! How much of what recorded programs executed is modelled.
//!
//! `cargo run --release -p rept-core --example modelled -- DIRECTORY...` prints a table with one
//! line for each recording: steps, distinct mnemonics, the share of steps whose instruction has
//! a stated meaning, and which mnemonics merely forget.

use iced_x86::{Decoder, DecoderOptions, Mnemonic};
use rept_core::Session;
use rept_recover::effect::Effect;
use rept_recover::lift::{FlagUse, flag_use, lift};
use rept_trace::{Block, Trace};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

/// CF, ZF, SF and OF: what a conditional in the next block may read.
const LIVE: u16 = 0x8c1;

fn main() -> ExitCode {
    let directories: Vec<String> = std::env::args().skip(1).collect();
    if directories.is_empty() {
        eprintln!("usage: modelled DIRECTORY...");
        return ExitCode::from(2);
    }
    println!("| recording | steps | mnemonics | modelled | forgotten |");
    println!("|---|---:|---:|---:|---|");
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
    println!(
        "| {name} | {} | {} | {share:.4} % | {} |",
        census.steps,
        census.mnemonics.len(),
        forgotten.join(" "),
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
