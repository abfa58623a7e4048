//! Holds the truth of one recording against those of two others of the same program:
//! `cargo run --release -p rept-capture --example compare -- MINE ONE OTHER [STEPS]`, each a recording's
//! directory; of the first so many steps.

use rept_capture::truth::{Comparison, Ended, compare};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let most = |text: &std::ffi::OsString| text.to_str()?.parse().ok();
    let (directories, most) = match arguments.as_slice() {
        [directories @ .., steps] if directories.len() == 3 => (directories, most(steps)),
        directories => (directories, Some(u64::MAX)),
    };
    let truths: Vec<_> = directories
        .iter()
        .map(|directory| Path::new(&directory).join("truth"))
        .collect();
    let ([mine, one, other], Some(most)) = (truths.as_slice(), most) else {
        eprintln!("compare: three recordings are wanted, and perhaps a number of steps");
        return ExitCode::FAILURE;
    };
    match compare(mine, one, other, most) {
        Ok(compared) => say(&compared),
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn say(compared: &Comparison) -> ExitCode {
    let Comparison {
        steps,
        values,
        by_chance,
        ended,
    } = compared;
    print!("the same in {steps} steps, {values} values but {by_chance} that differ by chance");
    match ended {
        None => println!(),
        Some(ended) => println!("; then {ended}"),
    }
    match ended {
        Some(Ended::Different { .. }) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}
