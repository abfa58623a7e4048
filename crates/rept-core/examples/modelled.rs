//! How much of what recorded programs executed is modelled.
//!
//! `cargo run --release -p rept-core --example modelled -- DIRECTORY...` prints a table with one
//! line for each recording: steps, distinct mnemonics, the share of steps whose instruction has
//! a stated meaning, and which mnemonics merely forget.

use iced_x86::{Decoder, DecoderOptions};
use rept_core::Session;
use rept_recover::lift::{FlagUse, flag_use, lift};
use rept_trace::{Block, Trace};
use std::collections::BTreeMap;
use std::path::Path;

/// CF, ZF, SF and OF: what a conditional in the next block may read.
const LIVE: u16 = 0x8c1;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("| recording | steps | mnemonics | modelled | forgotten |");
    println!("|---|---:|---:|---:|---|");
    for directory in std::env::args().skip(1) {
        let session = Session::builder().directory(&directory).open()?;
        let name = Path::new(&directory).file_name().unwrap_or_default();
        println!("| {} {}", name.to_string_lossy(), row(session.decode()));
    }
    Ok(())
}

fn row(trace: &Trace) -> String {
    let mut all = BTreeMap::new();
    let mut forgotten = BTreeMap::new();
    let counts = executed(trace);
    for (block, counts) in trace.code.blocks().iter().zip(&counts) {
        for ((mnemonic, modelled), count) in lower(block).into_iter().zip(counts) {
            if *count > 0 && !modelled {
                *forgotten.entry(mnemonic.clone()).or_insert(0) += count;
            }
            if *count > 0 {
                *all.entry(mnemonic).or_insert(0) += count;
            }
        }
    }
    let steps: u64 = all.values().sum();
    let share = 100.0 * (steps - forgotten.values().sum::<u64>()) as f64 / steps.max(1) as f64;
    let show = |(mnemonic, count)| format!("{mnemonic} ({count})");
    let list: Vec<String> = forgotten.iter().map(show).collect();
    let (kinds, list) = (all.len(), list.join(" "));
    format!("| {steps} | {kinds} | {share:.4} % | {list} |")
}

/// How often each instruction of each block was executed.
fn executed(trace: &Trace) -> Vec<Vec<u64>> {
    let blocks = trace.code.blocks().iter();
    let mut counts: Vec<Vec<u64>> = blocks.map(|block| vec![0; block.instructions()]).collect();
    for run in trace.threads.iter().flat_map(|thread| thread.runs()) {
        let executed = &mut counts[run.block.0 as usize][..usize::from(run.count)];
        executed.iter_mut().for_each(|count| *count += 1);
    }
    counts
}

/// The instructions of a block: their mnemonics, and whether what they do is stated.
fn lower(block: &Block) -> Vec<(String, bool)> {
    let (mut live, bitness) = (LIVE, block.bitness);
    let mut instructions = Vec::new();
    for index in (0..block.instructions()).rev() {
        let (at, bytes) = (block.address(index), block.instruction_bytes(index));
        let mut decoder = Decoder::with_ip(bitness.into(), bytes, at.0, DecoderOptions::NONE);
        let mnemonic = format!("{:?}", decoder.decode().mnemonic()).to_lowercase();
        instructions.push((mnemonic, lift(bytes, at, bitness, live).modelled));
        let FlagUse { reads, overwrites } = flag_use(bytes, at, bitness);
        live = reads | live & !overwrites;
    }
    instructions.reverse();
    instructions
}
