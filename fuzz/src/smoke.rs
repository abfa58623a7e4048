//! Runs fuzz targets on stable Rust for a while: `smoke [--seconds N] [--seed N] [TARGET…]`.
//! With `--corpus DIR` it writes their seeds instead, as files of `DIR/TARGET`, for libFuzzer.

use rept_fuzz::{Mutator, TARGETS, Target};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

struct Arguments {
    seconds: u64,
    seed: u64,
    corpus: Option<PathBuf>,
    targets: Vec<Target>,
}

fn main() -> ExitCode {
    let arguments = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(complaint) => {
            eprintln!("smoke: {complaint}");
            return ExitCode::from(2);
        }
    };
    let each = |target| match &arguments.corpus {
        Some(folder) => write_seeds(target, folder),
        None => smoke(target, &arguments),
    };
    let sound = arguments.targets.iter().all(each);
    if sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn arguments(words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        seconds: 10,
        seed: 1,
        corpus: None,
        targets: Vec::new(),
    };
    let mut words = words;
    while let Some(word) = words.next() {
        let mut number = || {
            words
                .next()
                .and_then(|word| word.parse().ok())
                .ok_or(format!("{word} needs a number"))
        };
        match word.as_str() {
            "--seconds" => arguments.seconds = number()?,
            "--seed" => arguments.seed = number()?,
            "--corpus" => {
                let folder = words.next().ok_or("--corpus needs a folder")?;
                arguments.corpus = Some(folder.into());
            }
            name => {
                let target = TARGETS.iter().find(|target| target.name == name);
                arguments
                    .targets
                    .push(*target.ok_or(format!("no target is called {name}"))?);
            }
        }
    }
    if arguments.targets.is_empty() {
        arguments.targets = TARGETS.to_vec();
    }
    Ok(arguments)
}

/// Tries inputs until the time is over; `false` when one was too much for the target.
fn smoke(target: &Target, arguments: &Arguments) -> bool {
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    let mut mutator = Mutator::new(arguments.seed, (target.seeds)());
    let (mut inputs, mut slowest) = (0u64, Duration::ZERO);
    while Instant::now() < end {
        let input = mutator.input();
        let start = Instant::now();
        if catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err() {
            eprintln!(
                "{}: input {inputs} panics, kept as {}",
                target.name,
                keep(target, &input).display()
            );
            return false;
        }
        slowest = slowest.max(start.elapsed());
        inputs += 1;
    }
    println!(
        "{:<10} {inputs} inputs, slowest {:.1} ms",
        target.name,
        slowest.as_secs_f64() * 1e3
    );
    true
}

/// Writes the seeds of a target into a folder of its name; `false` when that fails.
fn write_seeds(target: &Target, folder: &Path) -> bool {
    let folder = folder.join(target.name);
    let write = || -> io::Result<()> {
        std::fs::create_dir_all(&folder)?;
        let mut seeds = (target.seeds)().into_iter().enumerate();
        seeds.try_for_each(|(index, seed)| {
            std::fs::write(folder.join(format!("seed-{index}")), seed)
        })
    };
    let written = write();
    if let Err(error) = &written {
        eprintln!("smoke: {}: {error}", folder.display());
    }
    written.is_ok()
}

/// Where cargo-fuzz keeps such inputs too.
fn keep(target: &Target, input: &[u8]) -> PathBuf {
    let folder = PathBuf::from("fuzz/artifacts").join(target.name);
    let file = folder.join("smoke");
    if let Err(error) = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, input))
    {
        eprintln!("{}: {error}", file.display());
    }
    file
}
