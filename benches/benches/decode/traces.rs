//! What is decoded: captures of real hardware, and a trace made by software.

use crate::program::{Choice, Ending, Piece, Program, Tracer};
use rept_decode::{CodeBuilder, DecodeOptions, StaticImage, Stream, decode_thread};
use rept_trace::{Address, ThreadId};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Captures of `$REPT_PT_CAPTURES`, default `../shared/pt-real` beside the workspace.
const CAPTURES: [&str; 2] = ["libxdc/mruby", "arcus/cve-2018-12327-poc"];

/// Instructions of the trace made by software.
const MADE_INSTRUCTIONS: u64 = 50_000_000;

/// Code of a sample: a part of a file, and where it was mapped.
pub(crate) struct Section {
    pub(crate) file: PathBuf,
    #[cfg_attr(
        not(feature = "baselines"),
        expect(dead_code, reason = "the baselines map files themselves")
    )]
    pub(crate) offset: u64,
    pub(crate) at: Address,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) packets: Vec<u8>,
    pub(crate) sections: Vec<Section>,
    pub(crate) instructions: u64,
    bytes_per_instruction: f64,
}

pub(crate) fn samples() -> Vec<Sample> {
    let mut samples = captures();
    samples.push(made());
    samples
}

impl Sample {
    fn new(name: &str, packets: Vec<u8>, sections: Vec<Section>) -> Sample {
        let mut sample = Sample {
            name: name.to_owned(),
            packets,
            sections,
            instructions: 0,
            bytes_per_instruction: 0.0,
        };
        let mut code = CodeBuilder::new();
        let thread = decode_thread(
            &Stream::new(ThreadId(1), &sample.packets),
            &sample.image(),
            &DecodeOptions::default(),
            &mut code,
        );
        let runs = size_of_val(thread.runs());
        // One number for each 64 runs.
        let index = thread.runs().len().div_ceil(64) * size_of::<u64>();
        let instructions = thread.steps();
        drop(thread);
        sample.instructions = instructions;
        sample.bytes_per_instruction = (runs + index) as f64 / instructions as f64;
        sample
    }

    pub(crate) fn image(&self) -> StaticImage<'_> {
        let mut image = StaticImage::new();
        for section in &self.sections {
            image.add(section.at, &section.bytes);
        }
        image
    }

    pub(crate) fn facts(&self) -> String {
        format!(
            "{}: {} instructions in {} bytes of packets; decoded, {:.2} bytes an instruction",
            self.name,
            self.instructions,
            self.packets.len(),
            self.bytes_per_instruction
        )
    }
}

fn captures() -> Vec<Sample> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/pt-real");
    let folder = std::env::var_os("REPT_PT_CAPTURES").map_or(beside, PathBuf::from);
    let Ok(index) = fs::read_to_string(folder.join("INDEX.json")) else {
        println!(
            "SKIPPED: no captures in {} (set REPT_PT_CAPTURES)",
            folder.display()
        );
        return Vec::new();
    };
    let index: Vec<Value> = serde_json::from_str(&index).expect("INDEX.json is a list");
    index
        .iter()
        .filter(|entry| CAPTURES.contains(&entry["name"].as_str().unwrap_or("")))
        .map(|entry| capture(&folder, entry))
        .collect()
}

fn capture(folder: &Path, entry: &Value) -> Sample {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let packets = fs::read(folder.join(text(&entry["pt"]))).expect("packets");
    let images = entry["image"].as_array().expect("a list of images");
    let sections = images.iter().map(|image| {
        let file = folder.join(text(&image["file"]));
        let (offset, len) = (number(&image["off"]), number(&image["len"]));
        let bytes = fs::read(&file).expect("an image");
        let end = bytes.len().min((offset + len) as usize);
        Section {
            bytes: bytes[offset as usize..end].to_vec(),
            at: Address(number(&image["vaddr"])),
            file,
            offset,
        }
    });
    Sample::new(&text(&entry["name"]), packets, sections.collect())
}

fn number(value: &Value) -> u64 {
    match value {
        Value::String(hex) => {
            u64::from_str_radix(hex.trim_start_matches("0x"), 16).expect("hexadecimal")
        }
        other => other.as_u64().expect("a number"),
    }
}

/// A program of 2 000 pieces, run again and again with other choices.
fn made() -> Sample {
    let mut random = Random(1);
    let program = Program::new((0..2000).map(|index| piece(index, &mut random)).collect());
    let mut packets = Vec::new();
    let mut instructions = 0;
    while instructions < MADE_INSTRUCTIONS {
        let choices: Vec<Choice> = (0..4000).map(|_| choice(&mut random)).collect();
        let run = Tracer::run(&program, true, &choices);
        packets.extend(run.packets);
        instructions += run.steps.len() as u64;
    }
    let file = std::env::temp_dir().join(format!("rept-bench-{}.bin", std::process::id()));
    fs::write(&file, &program.code).expect("a file for the code");
    let section = Section {
        file,
        offset: 0,
        at: Address(crate::program::BASE),
        bytes: program.code,
    };
    let sample = Sample::new("made by software", packets, vec![section]);
    assert_eq!(sample.instructions, instructions, "all that ran is decoded");
    sample
}

/// Every other piece ends with a branch, and jumps and calls go to those, so that no loop runs
/// without packets. A call never goes to the next instruction.
fn piece(index: usize, random: &mut Random) -> Piece {
    let plain = (0..1 + random.below(6))
        .map(|_| 1 + random.below(7) as u8)
        .collect();
    let branching = |random: &mut Random| (index + 3 + random.below(400)) / 2 * 2;
    let ending = match index % 2 {
        0 => Ending::Branch(index + random.below(60)),
        _ => match random.below(20) {
            0 => Ending::JumpIndirect,
            1 => Ending::CallIndirect,
            2..=6 => Ending::Call(branching(random)),
            7..=13 => Ending::Return,
            14..=16 => Ending::Jump(branching(random)),
            _ => Ending::FallThrough,
        },
    };
    Piece { plain, ending }
}

fn choice(random: &mut Random) -> Choice {
    Choice {
        taken: random.below(3) == 0,
        target: random.below(2000),
        event: if random.below(1000) == 0 { 0 } else { u8::MAX },
    }
}

/// Numbers that are the same in every run (Knuth's linear congruence).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        let made = self
            .sections
            .iter()
            .filter(|section| section.file.starts_with(std::env::temp_dir()));
        for section in made {
            let _ = fs::remove_file(&section.file);
        }
    }
}
