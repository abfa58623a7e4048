//! The command line.

use crate::colour::When;
use crate::failure::Failure;
use crate::raw;
use clap::{Args, Parser, Subcommand};
use rept_capture::{Schedule, StartPoint, Timing};
use rept_core::{CpuModel, History, ImageFile, Location, Position, RecoverOptions, Trust};
use rept_trace::{Address, ThreadId};
use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What happened before a crash: record it, or recover it from a dump and a control-flow trace.
#[derive(Debug, Parser)]
#[command(name = "rept", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Whether to colour what is printed.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) color: When,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a program until it dies or exits, and keep its control flow and core dump.
    Record(RecordArgs),
    /// Print thread, time and address of every step.
    Decode(DecodeArgs),
    /// Print the packets of a trace file.
    Packets(PacketsArgs),
    /// Print the crash and the steps before it, with the values that were recovered.
    Report(ReportArgs),
    /// Hold what was recovered against what was true (recordings made with --truth).
    Score(ScoreArgs),
    /// Print the registers at a position.
    At(AtArgs),
    /// Print which accesses of the same bytes by two threads nothing orders.
    Races(RacesArgs),
    /// Print the step that last wrote a register or a place in memory.
    LastWrite(LastWriteArgs),
    /// Print the calls that a thread made, as a tree.
    Calls(CallsArgs),
    /// Print every step with what it defined, one JSON record a line.
    Export(ExportArgs),
    /// Print where a value came from, back through copies, loads and stores.
    Explain(ExplainArgs),
    /// Serve gdb over the history: gdb PROGRAM -ex 'target remote | rept gdb DIR'.
    Gdb(GdbArgs),
    /// Record a small program that crashes, and find the step that planted the bad value.
    Demo(DemoArgs),
}

/// What to open.
#[derive(Args, Debug)]
pub(crate) struct Input {
    /// Directory written by `rept record`, with `core` and `perf.data`; or a trace alone: a perf.data
    /// file, or a trace bundle of LLDB (its folder, or the trace.json in it).
    #[arg(value_name = "DIR", required_unless_present = "trace")]
    pub(crate) directory: Option<PathBuf>,
    /// Core dump, instead of DIR/core.
    #[arg(long, value_name = "FILE")]
    pub(crate) core: Option<PathBuf>,
    /// Intel PT trace (perf.data, or a trace bundle of LLDB), instead of DIR/perf.data.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Where to look for binaries before the paths that the core names; may be repeated.
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub(crate) binaries: Vec<PathBuf>,
    /// The process to look at, in a trace of several; without it, that of the core.
    #[arg(long, value_name = "PID")]
    pub(crate) process: Option<u32>,
    /// The trace is a file of bare packets, and this code ran: `FILE[:OFFSET[:LENGTH]]@ADDRESS`; may be repeated.
    #[arg(long, value_name = "CODE", num_args = 1.., value_parser = raw::image)]
    pub(crate) image: Vec<ImageFile>,
    /// The processor that made a trace which does not say so: FAMILY/MODEL[/STEPPING].
    #[arg(long, value_name = "CPU", value_parser = raw::processor)]
    pub(crate) cpu: Option<CpuModel>,
}

impl Input {
    /// A recording.
    pub(crate) fn of(directory: &Path) -> Input {
        Input {
            directory: Some(directory.to_owned()),
            core: None,
            trace: None,
            binaries: Vec::new(),
            process: None,
            image: Vec::new(),
            cpu: None,
        }
    }

    fn within(&self, name: &str) -> PathBuf {
        self.directory.clone().unwrap_or_default().join(name)
    }
}

/// How `rept record` obtains steps.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub(crate) enum EngineName {
    /// One trap for each instruction: slow, exact to the step, the reference.
    Step,
    /// Runs copied code that logs where it goes, in real time, or with everything that it does
    /// (--truth, --sample-registers, --timing), one thread at a time.
    Fast,
}

impl EngineName {
    /// As the recorder names it.
    pub(crate) fn kind(self) -> rept_capture::EngineKind {
        match self {
            EngineName::Step => rept_capture::EngineKind::Step,
            EngineName::Fast => rept_capture::EngineKind::Fast,
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct RecordArgs {
    /// Directory to write; made when missing
    #[arg(short, long, value_name = "DIR", default_value = "rept.data")]
    pub(crate) output: PathBuf,
    /// How to run the program.
    #[arg(long, value_name = "ENGINE", default_value = "step")]
    pub(crate) engine: EngineName,
    /// Trace bytes kept per thread, the newest ones; K and M may follow the number.
    #[arg(long, value_name = "BYTES", default_value = "256K", value_parser = bytes)]
    pub(crate) buffer: usize,
    /// Also write `truth`: all registers and memory accesses, for `rept score`.
    #[arg(long)]
    pub(crate) truth: bool,
    /// Seed of the scheduler that takes turns between threads; or, where the fast engine runs them at
    /// once, of the places where it pauses them.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// How threads take turns: cores (each has its own), quanta (one core for all) or cpus:COUNT;
    /// quanta:LONGEST and cpus:COUNT:LONGEST say how many steps a turn lasts at most.
    #[arg(long, value_name = "SCHEDULE")]
    pub(crate) schedule: Option<Schedule>,
    /// Trace N processors that the threads share, instead of each thread, as perf does for a
    /// whole machine.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) per_cpu: Option<u32>,
    /// Timing packets: cycles (CYC, MTC, TSC), mtc (MTC, TSC) or boundaries (TSC at PSB only).
    #[arg(long, value_name = "PACKETS", default_value = "cycles")]
    pub(crate) timing: Timing,
    /// Run at full speed until here: SYMBOL, LIBRARY!SYMBOL or ADDRESS, and :COUNT for a later arrival.
    #[arg(long, value_name = "PLACE")]
    pub(crate) from: Option<StartPoint>,
    /// Sample the registers of each thread every N steps, as perf can beside a trace; recovery
    /// takes them as facts.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) sample_registers: Option<u64>,
    /// Record a process that runs already, until it ends or Ctrl-C lets it go.
    #[arg(long, value_name = "PID", conflicts_with_all = ["program", "aslr"])]
    pub(crate) attach: Option<u32>,
    /// Save what is recorded so far, with a core of the program as it is, each time this signal
    /// (a name or number) comes to rept; the program goes on.
    #[arg(long, value_name = "SIGNAL", value_parser = signal)]
    pub(crate) on_signal: Option<i32>,
    /// Also record the processes that the program makes, each into `child.1`, `child.2` … of its
    /// parent's directory; ends when the last of them has.
    #[arg(long)]
    pub(crate) follow_forks: bool,
    /// End the recording, and the program, after N steps, perhaps some more; with the fast engine
    /// only together with --truth.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) steps: Option<u64>,
    /// Let threads run on. Otherwise the fast engine, when there are several, pauses one now and then
    /// for some microseconds, so that races end as they may without a recorder.
    #[arg(long)]
    pub(crate) no_pauses: bool,
    /// Let the kernel place mappings at random; without, runs can be repeated.
    #[arg(long)]
    pub(crate) aslr: bool,
    /// Answer system calls for random numbers and the time alike in every run, so that runs differ in
    /// little more than process ids; not with --attach or --follow-forks.
    #[arg(long, conflicts_with = "aslr")]
    pub(crate) repeatable: bool,
    /// Say what was recorded as JSON (docs/json.md).
    #[arg(long)]
    pub(crate) json: bool,
    /// The program and its arguments.
    #[arg(
        value_name = "PROGRAM",
        required_unless_present = "attach",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) program: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct DecodeArgs {
    #[command(flatten)]
    pub(crate) input: Input,
    /// Only this thread.
    #[arg(long, value_name = "TID")]
    pub(crate) thread: Option<u32>,
    /// As JSON, one step a line (docs/json.md).
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct PacketsArgs {
    /// A perf.data file, a trace bundle of LLDB, or a file of bare Intel PT packets.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The processor that made a trace which does not say so: FAMILY/MODEL[/STEPPING].
    #[arg(long, value_name = "CPU", value_parser = raw::processor)]
    pub(crate) cpu: Option<CpuModel>,
    /// As JSON, one packet a line (docs/json.md).
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which steps.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RangeArgs {
    /// Only this thread; without it, the one that crashed.
    #[arg(long, value_name = "TID")]
    pub(crate) thread: Option<u32>,
    /// The first step, as TID:STEP.
    #[arg(long, value_name = "POSITION")]
    pub(crate) from: Option<Position>,
    /// The steps before this one, as TID:STEP; without it, those before the crash.
    #[arg(long, value_name = "POSITION")]
    pub(crate) to: Option<Position>,
    /// Only of functions whose name holds this.
    #[arg(long = "func", value_name = "NAME")]
    pub(crate) function: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct CallsArgs {
    #[command(flatten)]
    pub(crate) input: Input,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    /// Print JSON, one call a line (schema rept-calls/1).
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) input: Input,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    /// The form of the output.
    #[arg(long, value_enum, default_value_t = ExportFormat::Jsonl)]
    pub(crate) format: ExportFormat,
    /// Values known at this grade or better; weaker ones are exported as unknown.
    #[arg(long, value_name = "GRADE", default_value = "inferred")]
    pub(crate) trust: Threshold,
}

/// What `rept export` writes.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub(crate) enum ExportFormat {
    /// One JSON object a line (docs/export.md).
    Jsonl,
}

#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    pub(crate) input: Input,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    /// How many source lines (with --instructions: steps) to print, the newest.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) last: u64,
    /// Print instructions with the values they read and wrote, instead of source lines.
    #[arg(short, long)]
    pub(crate) instructions: bool,
    /// Print JSON (schema rept-report/1).
    #[arg(long)]
    pub(crate) json: bool,
    /// Values known at this grade or better: certain, assumed, inferred, or inferred:N for the first N
    /// stages of what is inferred.
    #[arg(long, value_name = "GRADE", default_value = "inferred")]
    pub(crate) trust: Threshold,
}

impl RangeArgs {
    /// The steps of a thread that are asked for.
    ///
    /// # Errors
    /// A position that does not exist; the first is behind the last.
    pub(crate) fn steps(&self, history: &History, thread: ThreadId) -> Result<Range<u64>, Failure> {
        self.check_direction()?;
        let end = history.lifetime(thread).map_or(0, |steps| steps.end);
        let step = |position: Option<Position>, otherwise: u64| match position {
            Some(position) => crate::query::position(history, Some(position)).map(|at| at.step),
            None => Ok(otherwise),
        };
        let (from, to) = (step(self.from, 0)?, step(self.to, end)?);
        Ok(from.min(to)..to)
    }

    /// The steps run forward.
    ///
    /// # Errors
    /// The first is behind the last.
    pub(crate) fn check_direction(&self) -> Result<(), Failure> {
        match (self.from, self.to) {
            (Some(from), Some(to)) if from.thread == to.thread && from.step > to.step => Err(
                Failure::new(format!("there is nothing from {from} on before {to}")),
            ),
            _ => Ok(()),
        }
    }

    /// Functions of this name are asked for.
    pub(crate) fn fits(&self, function: &str) -> bool {
        self.function
            .as_ref()
            .is_none_or(|name| function.contains(name.as_str()))
    }
}

impl ReportArgs {
    /// The last steps of a recording.
    pub(crate) fn last(directory: &Path, last: u64) -> ReportArgs {
        let input = Input::of(directory);
        ReportArgs {
            input,
            last,
            range: RangeArgs::default(),
            instructions: true,
            json: false,
            trust: Threshold::ALL,
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct ScoreArgs {
    #[command(flatten)]
    pub(crate) input: Input,
    /// The truth, instead of DIR/truth.
    #[arg(long, value_name = "FILE")]
    pub(crate) truth: Option<PathBuf>,
    /// Print JSON (schema rept-score/1).
    #[arg(long)]
    pub(crate) json: bool,
    /// Also print where unknown and wrong values come from.
    #[arg(long)]
    pub(crate) why: bool,
    /// Also recover with the true place of every access given, and print each figure as a share
    /// of that ceiling (builds with the feature `experiments`).
    #[arg(long)]
    pub(crate) ceiling: bool,
    /// Recover without a technique; may be repeated (builds with the feature `experiments`).
    #[arg(long, value_name = "TECHNIQUE")]
    pub(crate) without: Vec<String>,
    /// Judge a naive engine instead, straight from the paper, whole words and each thread alone (builds with
    /// the feature `experiments`).
    #[arg(long, conflicts_with_all = ["ceiling", "without"])]
    pub(crate) naive: bool,
}

impl ScoreArgs {
    /// Path of the truth.
    pub(crate) fn truth(&self) -> PathBuf {
        self.truth
            .clone()
            .unwrap_or_else(|| self.input.within("truth"))
    }
}

#[derive(Args, Debug)]
pub(crate) struct GdbArgs {
    #[command(flatten)]
    pub(crate) input: Input,
    /// Print gdb commands that wrap the stub's monitor commands, for `source`, and do nothing else.
    #[arg(long, exclusive = true)]
    pub(crate) print_python: bool,
    /// Listen on this port of the loopback address instead of standard input and output.
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Show gdb values known at this grade or better; gdb cannot mark them.
    #[arg(long, value_name = "GRADE", default_value = "assumed")]
    pub(crate) trust: Threshold,
}

/// How a value is known at least: `certain`, `assumed`, `inferred` or `inferred:N`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Threshold {
    pub(crate) grade: Trust,
    /// Of what is inferred, only the first so many stages.
    pub(crate) stages: u8,
}

impl Threshold {
    pub(crate) const ALL: Threshold = Threshold {
        grade: Trust::Inferred,
        stages: RecoverOptions::STAGES,
    };

    /// Recovery that goes no further.
    pub(crate) fn options(self) -> RecoverOptions {
        let mut options = RecoverOptions::default();
        options.stages = self.stages;
        options
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Threshold, String> {
        let grade = |grade| {
            Ok(Threshold {
                grade,
                ..Threshold::ALL
            })
        };
        let last = RecoverOptions::STAGES;
        match (text, text.strip_prefix("inferred:").map(str::parse)) {
            ("certain", _) => grade(Trust::Certain),
            ("assumed", _) => grade(Trust::Assumed),
            ("inferred", _) => grade(Trust::Inferred),
            (_, Some(Ok(stages))) if (1..=last).contains(&stages) => Ok(Threshold {
                stages,
                ..Threshold::ALL
            }),
            (_, Some(_)) => Err(format!("there are stages 1 to {last} of what is inferred")),
            _ => Err("expected certain, assumed, inferred or inferred:N".to_owned()),
        }
    }
}

impl From<Threshold> for Trust {
    fn from(threshold: Threshold) -> Trust {
        threshold.grade
    }
}

#[derive(Args, Debug)]
pub(crate) struct AtArgs {
    #[command(flatten)]
    pub(crate) input: Input,
    /// Where, as TID:STEP; without it, the crash.
    #[arg(value_name = "POSITION")]
    pub(crate) at: Option<Position>,
    /// The same, where no DIR stands before it.
    #[arg(long, value_name = "POSITION", conflicts_with = "at")]
    pub(crate) position: Option<Position>,
    /// Values known at this grade or better: certain, assumed, inferred, or inferred:N for the first N
    /// stages of what is inferred.
    #[arg(long, value_name = "GRADE", default_value = "inferred")]
    pub(crate) trust: Threshold,
    /// Also print the variables of this name: of the function there, and those that are no function's own
    /// (also NAMESPACE::NAME); may be repeated.
    #[arg(long = "var", value_name = "NAME")]
    pub(crate) variables: Vec<String>,
    /// Also print how this register, or `ADDRESS[:BYTES]`, came to be known, or why
    /// it did not.
    #[arg(long, value_name = "LOCATION")]
    pub(crate) why: Option<Location>,
    /// Print JSON (schema rept-at/1).
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RacesArgs {
    #[command(flatten)]
    pub(crate) input: Input,
    /// Believe addresses, and print values, known at this grade or better.
    #[arg(long, value_name = "GRADE", default_value = "inferred")]
    pub(crate) trust: Threshold,
    /// Print JSON (schema rept-races/1).
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct LastWriteArgs {
    #[command(flatten)]
    pub(crate) input: Input,
    /// A register, `ADDRESS[:BYTES]`, or a variable's name.
    #[arg(long, value_name = "LOCATION", required_unless_present = "address", conflicts_with_all = ["address", "size"])]
    pub(crate) location: Option<Place>,
    /// First address, decimal, or hexadecimal behind 0x.
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(crate) address: Option<Address>,
    /// Number of bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) size: u64,
    /// Before this position, as TID:STEP; without it, before the crash.
    #[arg(long, value_name = "POSITION")]
    pub(crate) at: Option<Position>,
    /// Believe addresses and values known at this grade or better.
    #[arg(long, value_name = "GRADE", default_value = "inferred")]
    pub(crate) trust: Threshold,
    /// Print JSON (schema rept-last-write/1).
    #[arg(long)]
    pub(crate) json: bool,
}

impl LastWriteArgs {
    /// What is asked about.
    pub(crate) fn place(&self) -> Option<Place> {
        let size = self.size;
        let at = |address| Place::At(Location::Mem { address, size });
        self.location.clone().or(self.address.map(at))
    }
}

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) input: Input,
    /// A register, `ADDRESS[:BYTES]`, or a variable's name; without it, the pointer behind the crash.
    #[arg(long, value_name = "LOCATION")]
    pub(crate) location: Option<Place>,
    /// At this position, as TID:STEP; without it, at the crash.
    #[arg(long, value_name = "POSITION")]
    pub(crate) at: Option<Position>,
    /// Believe addresses and values known at this grade or better.
    #[arg(long, value_name = "GRADE", default_value = "inferred")]
    pub(crate) trust: Threshold,
    /// Leave out steps that only handed a value on: plain moves, loads and stores.
    #[arg(long)]
    pub(crate) skip_copies: bool,
    /// Print JSON (schema rept-explain/1).
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    At(Location),
    /// A variable, by name.
    Named(String),
}

impl FromStr for Place {
    type Err = rept_core::ParseLocationError;

    fn from_str(text: &str) -> Result<Place, rept_core::ParseLocationError> {
        let letter = |first: char| first.is_alphabetic() || first == '_';
        let is_name = text.chars().next().is_some_and(letter);
        match text.parse() {
            Ok(location) => Ok(Place::At(location)),
            Err(_) if is_name => Ok(Place::Named(text.to_owned())),
            Err(error) => Err(error),
        }
    }
}

/// `0x7fff1000` or `2147422208`.
fn address(text: &str) -> Result<Address, String> {
    text.parse()
        .map_err(|_| "an address is a decimal number, or a hexadecimal one behind 0x".to_owned())
}

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Keep the recording in this directory.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
}

/// A signal's name, with or without SIG, or its number.
fn signal(text: &str) -> Result<i32, String> {
    if let Ok(number) = text.parse::<i32>()
        && (1..=64).contains(&number)
    {
        return Ok(number);
    }
    let name = format!("SIG{}", text.trim_start_matches("SIG").to_uppercase());
    (1..32)
        .find(|&number| crate::report::signal_name(number) == name)
        .ok_or_else(|| format!("'{text}' is no signal: expected a name, as USR1, or a number"))
}

/// `65536`, `64K`, `1M`.
fn bytes(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.strip_suffix(['K', 'k']) {
        Some(digits) => (digits, 1 << 10),
        None => text
            .strip_suffix(['M', 'm'])
            .map_or((text, 1), |digits| (digits, 1 << 20)),
    };
    digits
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| "a number of bytes, with K or M behind it or not".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_follows_the_program_is_its_own() {
        let arguments =
            Arguments::try_parse_from(["rept", "record", "--truth", "--", "ls", "-o", "x"]);
        let Command::Record(record) = arguments.unwrap().command else {
            panic!("not record")
        };
        assert!(record.truth);
        assert_eq!(record.program, ["ls", "-o", "x"]);
        assert_eq!(record.buffer, 256 << 10);
    }

    #[test]
    fn a_directory_or_a_trace_must_be_given() {
        let parse = |line: &str| Arguments::try_parse_from(line.split(' '));
        assert!(parse("rept report").is_err());
        assert!(parse("rept report --core a").is_err());
        assert!(parse("rept report --core a --trace b").is_ok());
        assert!(parse("rept report d --core a").is_ok());
        assert!(parse("rept gdb").is_err());
        assert!(parse("rept gdb --print-python").is_ok());
    }

    #[test]
    fn thresholds_are_grades_and_stages() {
        let read = |text: &str| {
            text.parse::<Threshold>()
                .map(|read| (read.grade, read.stages))
        };
        let last = RecoverOptions::STAGES;
        assert_eq!(read("certain"), Ok((Trust::Certain, last)));
        assert_eq!(read("inferred"), Ok((Trust::Inferred, last)));
        assert_eq!(read("inferred:1"), Ok((Trust::Inferred, 1)));
        for text in [
            "",
            "sure",
            "inferred:",
            "inferred:0",
            "inferred:999",
            "assumed:1",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn signals_are_read() {
        assert_eq!(signal("USR1"), Ok(10));
        assert_eq!(signal("SIGHUP"), Ok(1));
        assert_eq!(signal("12"), Ok(12));
        assert!(signal("0").is_err());
        assert!(signal("USR9").is_err());
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(bytes("64K"), Ok(65536));
        assert_eq!(bytes("2M"), Ok(2 << 20));
        assert!(bytes("many").is_err());
        assert!(bytes("99999999999999999999M").is_err());
    }
}
