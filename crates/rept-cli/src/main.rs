#![forbid(unsafe_code)]
//! The `rept` command: what happened before a crash.
//!
//! ```text
//!  rept record ─▶ DIR/{core, perf.data, truth} ─▶ rept decode   the path: tid, time, ip
//!                                              ─▶ rept report   the path with values
//!                                              ─▶ rept explain  where a value came from
//!                                              ─▶ rept races    accesses that nothing orders
//!                                              ─▶ rept score    values against the truth
//!  rept demo     all of it on a program of ours, to the step that planted the bad value
//! ```
//!
//! Everything is read through `rept-core`; nothing here knows a file format or an
//! instruction's meaning. Results go to the standard output, plain unless it is a terminal;
//! what is wrong with the inputs goes to the standard error stream, one sentence each, and
//! makes the exit code 1 after what can be shown was shown (2: the command line is wrong).
//! Progress is drawn on terminals only.

mod args;
mod calls;
mod case;
mod colour;
mod commands;
mod decode;
mod demo;
mod export;
mod failure;
mod open;
mod packets;
mod query;
mod races;
mod raw;
mod record;
mod report;
mod score;
mod story;
#[cfg(test)]
mod testing;
mod text;

use clap::Parser;
use failure::Failure;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = args::Arguments::parse();
    colour::decide(arguments.color);
    let mut out = BufWriter::new(io::stdout());
    let result = commands::run(&arguments.command, &mut out);
    let flushed = out.flush().map_err(Failure::output);
    match result.and(flushed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.reader_is_gone() => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("rept: {failure}");
            ExitCode::FAILURE
        }
    }
}
