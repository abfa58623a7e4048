//! The accuracy table on real bugs.
//!
//! Each case is a historical bug of real software, whose source comes from a package registry
//! at an exact version by the registry's ordinary client; the tree holds only a manifest and a
//! small driver or input. For each case the harness fetches, builds, records with truth,
//! recovers, and scores:
//!
//! ```text
//!  cases/NAME/case.toml ─▶ fetch ─▶ build ─▶ record (truth) ─▶ score ───▶ docs/accuracy.md
//!       drivers, inputs                            └─▶ examine ─┘          docs/accuracy.json, plots
//! ```
//!
//! Everything is made in a work folder outside the tree, and each stage is kept under a key of
//! its inputs, so that an interrupted run goes on where it was. *Scoring* is that of
//! `rept score`. *Examining* asks, from the crash alone, where the faulting value came from
//! (`examine`), and holds the answer against the cause that the manifest names and against the
//! truth; recovery never sees either.
//!
//! Programs with known races have tables of their own (`threads`), and so have the two engines of the
//! recorder (`engines`).

mod arguments;
mod build;
mod case;
mod cost;
mod engines;
mod examine;
mod fetch;
mod key;
mod plot;
mod process;
mod record;
mod report;
mod result;
mod score;
mod stages;
mod threads;

use arguments::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;

/// One sentence about what went wrong.
pub(crate) type Failure = String;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.command {
        Some(Command::Examine(wanted)) => examine::print(wanted),
        Some(Command::Threads(wanted)) => threads::run(wanted),
        Some(Command::Engines(wanted)) => engines::run(wanted),
        None => stages::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("rept-eval: {failure}");
            ExitCode::FAILURE
        }
    }
}
