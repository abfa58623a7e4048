//! Holds the truth of one recording against those of two others of the same program:
//! `cargo run --release -p rept-capture --example compare -- MINE ONE OTHER`, each a recording's
//! directory.

use rept_capture::truth::{Comparison, Ended, compare};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let truths: Vec<_> = std::env::args_os()
        .skip(1)
        .map(|directory| Path::new(&directory).join("truth"))
        .collect();
    let [mine, one, other] = truths.as_slice() else {
        eprintln!("compare: three recordings are wanted");
        return ExitCode::FAILURE;
    };
    match compare(mine, one, other) {
        Ok(compared) => say(&compared),
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn say(Comparison { steps, ended }: &Comparison) -> ExitCode {
    match ended {
        None => println!("the same in all {steps} steps"),
        Some(Ended::Chance) => {
            println!("the same in {steps} steps; then the two others go different ways");
        }
        Some(Ended::Different { mine, one }) => {
            println!("other than the two others after {steps} steps:\n{mine:x?}\n{one:x?}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
