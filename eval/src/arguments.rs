//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Records, recovers and scores real crashing programs, and writes the accuracy table.
#[derive(Debug, Parser)]
#[command(name = "rept-eval", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Only these cases; may be repeated. The table still shows all that were ever scored.
    #[arg(long = "case", value_name = "NAME")]
    pub(crate) cases: Vec<String>,
    /// Only the cases of a subset.
    #[arg(long, value_enum)]
    pub(crate) subset: Option<Subset>,
    /// How programs are compiled; may be repeated.
    #[arg(long = "variant", value_enum, default_values_t = [Variant::O2])]
    pub(crate) variants: Vec<Variant>,
    /// Folder for sources, programs, recordings and results.
    #[arg(long, value_name = "DIR")]
    pub(crate) work: Option<PathBuf>,
    /// The `rept` command; without it, it is built, and ceilings are computed as well.
    #[arg(long, value_name = "FILE")]
    pub(crate) rept: Option<PathBuf>,
    /// Folder that the table and the plots are written to.
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Seconds of the processor that the ceiling of one case may take; 0 for none.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub(crate) ceiling: u64,
    /// Also score each case with single techniques switched off (a few cases).
    #[arg(long)]
    pub(crate) ablations: bool,
    /// Also measure what recording costs.
    #[arg(long)]
    pub(crate) cost: bool,
    /// Write the table from what is there, and run nothing.
    #[arg(long)]
    pub(crate) table: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Recover one recording, explain its crash, and print JSON.
    Examine(ExamineArgs),
    /// Record and score programs with known races over many seeds, and print the tables of
    /// docs/threads.md.
    Threads(ThreadsArgs),
    /// Hold what both engines record of each case and test program against each other, record the
    /// cases whole, and print the tables of docs/tracer.md.
    Engines(EnginesArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ExamineArgs {
    /// A recording with truth.
    pub(crate) recording: PathBuf,
    /// Source lines of the cause: FILE:LINE or FILE:FIRST-LAST.
    #[arg(long = "cause", value_name = "PLACE")]
    pub(crate) causes: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct ThreadsArgs {
    /// Seeds of the recorder's scheduler: 1 to this.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) seeds: u64,
    /// Folder for programs, recordings and results.
    #[arg(long, value_name = "DIR")]
    pub(crate) work: Option<PathBuf>,
    /// The `rept` command, built with the feature `experiments`; without it, it is built.
    #[arg(long, value_name = "FILE")]
    pub(crate) rept: Option<PathBuf>,
    /// Folder in which recordings are kept, and taken from where they are there.
    #[arg(long, value_name = "DIR")]
    pub(crate) recordings: Option<PathBuf>,
    /// Folder that the sums are written to, as threads.json; the page of the cases takes them from
    /// docs/.
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Sum up the runs that were made last, and run nothing.
    #[arg(long)]
    pub(crate) table: bool,
}

#[derive(Args, Debug)]
pub(crate) struct EnginesArgs {
    /// Which tables; without, all.
    #[arg(value_enum)]
    pub(crate) tables: Vec<Table>,
    /// Only these cases and test programs; may be repeated.
    #[arg(long = "case", value_name = "NAME")]
    pub(crate) cases: Vec<String>,
    /// Steps of a program that are compared at most.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) steps: u64,
    /// Runs of each program with threads.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) runs: u32,
    /// Folder for sources, programs and recordings.
    #[arg(long, value_name = "DIR")]
    pub(crate) work: Option<PathBuf>,
    /// The `rept` command; without it, it is built.
    #[arg(long, value_name = "FILE")]
    pub(crate) rept: Option<PathBuf>,
}

/// What is shown of the engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Table {
    /// Both engines record the same.
    Same,
    /// Cases recorded whole, as stock perf decodes them.
    Whole,
    /// Cases with threads, many times with the recorder and without.
    Races,
}

/// A selection of cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subset {
    /// Small ones, a few minutes in all: what `.ci/run` runs.
    Ci,
}

/// How programs are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Variant {
    /// -O0 -g
    O0,
    /// -O2 -g
    O2,
    /// -O3 -march=native -g
    O3,
}

impl Variant {
    /// Name in files and tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Variant::O0 => "O0",
            Variant::O2 => "O2",
            Variant::O3 => "O3",
        }
    }

    /// Options of the C compiler.
    pub(crate) const fn c_flags(self) -> &'static str {
        match self {
            Variant::O0 => "-O0 -g",
            Variant::O2 => "-O2 -g",
            Variant::O3 => "-O3 -march=native -g",
        }
    }
}
