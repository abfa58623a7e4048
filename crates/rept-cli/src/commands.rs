//! One function for each command: opens, asks, prints.

use crate::args::{
    Command, DecodeArgs, DemoArgs, GdbArgs, Input, RacesArgs, ReportArgs, ScoreArgs, Threshold,
};
use crate::calls::calls;
use crate::case::Case;
use crate::decode::{Lines, Printer, decode};
use crate::demo;
use crate::export::export;
use crate::failure::Failure;
use crate::open::{Opened, Recovered};
use crate::packets::packets;
use crate::query;
use crate::races::races;
use crate::record;
use crate::report;
use crate::score::{self, Score, Subject, Table, TruthFile, experiment};
use crate::story::Story;
use rept_capture::RecordOptions;
use rept_core::{GDB_PYTHON, GdbOptions, History, Trust};
use rept_trace::{Code, ThreadId, ThreadTrace};
use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Runs a command.
///
/// # Errors
/// One sentence; what could be shown has been shown.
pub(crate) fn run(command: &Command, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
    match command {
        Command::Record(wanted) => record::record(wanted, out),
        Command::Decode(wanted) => run_decode(wanted, out),
        Command::Packets(wanted) => packets(wanted, out),
        Command::Report(wanted) => run_report(wanted, out),
        Command::Score(wanted) => run_score(wanted, out),
        Command::At(wanted) => ask(&wanted.input, wanted.trust, |history| {
            query::at(history, wanted, out)
        }),
        Command::Races(wanted) => run_races(wanted, out),
        Command::LastWrite(wanted) => ask(&wanted.input, wanted.trust, |history| {
            query::last_write(history, wanted, out)
        }),
        Command::Explain(wanted) => ask(&wanted.input, wanted.trust, |history| {
            query::explain(history, wanted, out)
        }),
        Command::Calls(wanted) => ask(&wanted.input, Threshold::ALL, |history| {
            calls(history, wanted, out)
        }),
        Command::Export(wanted) => ask(&wanted.input, wanted.trust, |history| {
            export(history, wanted, out)
        }),
        Command::Gdb(wanted) => run_gdb(wanted, out),
        Command::Demo(wanted) => run_demo(wanted, out),
    }
}

fn run_gdb(wanted: &GdbArgs, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
    if wanted.print_python {
        return write!(out, "{GDB_PYTHON}").map_err(Failure::output);
    }
    let opened = Opened::new(&wanted.input)?;
    let mut options = GdbOptions::default();
    options.trust = wanted.trust.into();
    let recovery = match wanted.port {
        // gdb has the terminal.
        None => opened.session.start_recovery(&wanted.trust.options()),
        Some(_) => opened.start_recovery(&wanted.trust.options()),
    };
    let served = match wanted.port {
        None => recovery.serve_gdb(io::stdin(), out, options),
        Some(port) => {
            let failed =
                |error: io::Error| Failure::new(format!("port {port} of 127.0.0.1: {error}"));
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(failed)?;
            let (stream, _) = listener.accept().map_err(failed)?;
            let input = stream.try_clone().map_err(failed)?;
            recovery.serve_gdb(input, stream, options)
        }
    };
    served.map_err(|error| Failure::new(error.to_string()))?;
    match recovery.history() {
        Some(Ok(_)) => opened.verdict(),
        Some(Err(error)) => Err(Failure::new(error.to_string())),
        // The client left before: what it did not wait for is not made to tell what is wrong with it.
        None => opened.verdict_on_files(),
    }
}

fn run_decode(wanted: &DecodeArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let opened = Opened::new(&wanted.input)?;
    let session = &opened.session;
    let mut printed = Ok(());
    let mut printer = Printer::new(Lines::new(out, wanted.json));
    let mut print = |code: &Code, piece: &ThreadTrace| {
        printed = printer.piece(code, piece);
        match printed {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    };
    // One thread alone is printed while it is decoded; several must be ordered first.
    if let Some(followed) = session.follow(wanted.thread.map(ThreadId), &mut print) {
        printed.map_err(Failure::output)?;
        return opened.verdict_on(&followed);
    }
    decode(
        session.decode(),
        session.order().sequence(),
        wanted.thread,
        &mut Lines::new(out, wanted.json),
    )
    .map_err(Failure::output)?;
    opened.verdict()
}

fn run_report(wanted: &ReportArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let opened = Opened::new(&wanted.input)?;
    let recovered = opened.recover_with(&wanted.trust.options());
    let history = recovered.history();
    if wanted.json {
        let shown = report::json(recovered.case(), history, wanted, out);
        return opened.verdict().and(shown);
    }
    if let Some(doubt) = history.disagreement() {
        writeln!(out, "warning: {doubt}\n").map_err(Failure::output)?;
    }
    let races = history.races();
    let case = Case {
        races: &races,
        ..recovered.case()
    };
    let shown = match wanted.instructions {
        true => report::report(case, wanted, out),
        false => report::source(case, history, wanted, out),
    };
    // What is wrong with the files explains why something cannot be shown, so it goes first.
    opened.verdict().and(shown)
}

fn run_races(wanted: &RacesArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let opened = Opened::new(&wanted.input)?;
    let recovered = opened.recover_with(&wanted.trust.options());
    let found = recovered.history().races_by(wanted.trust.into());
    races(recovered.case(), &found, wanted.json, out)?;
    opened.verdict()
}

/// Recovers and asks one question.
fn ask(
    input: &Input,
    trust: Threshold,
    question: impl FnOnce(&History) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let opened = Opened::new(input)?;
    let recovered = opened.recover_with(&trust.options());
    let answered = question(recovered.history());
    opened.verdict().and(answered)
}

fn run_score(wanted: &ScoreArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let opened = Opened::new(&wanted.input)?;
    let recovered = opened.recover_with(&experiment::leaving_out(&wanted.without)?);
    let mut truth = TruthFile::open(&wanted.truth())?;
    if wanted.naive {
        let naive = experiment::naive(opened.session.decode(), &opened.session.final_state())?;
        let score = judge_history(&recovered, &*naive, &mut truth, wanted.why)?;
        show_score(&score, wanted.json, out)?;
        return opened.verdict();
    }
    let mut score = judge(&recovered, &mut truth, wanted.why)?;
    score.without.clone_from(&wanted.without);
    score.statistics = Some(*recovered.history().statistics());
    score.planting = score::planting(recovered.history(), &mut truth)?;
    if wanted.ceiling {
        let given = experiment::given(opened.session.decode(), &mut truth)?;
        let ceiling = opened.recover_with(&given);
        score.ceiling = Some(judge(&ceiling, &mut truth, false)?.board);
    }
    show_score(&score, wanted.json, out)?;
    opened.verdict()
}

fn show_score(score: &Score, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if json {
        let text = score::json(score).map_err(|error| Failure::new(error.to_string()))?;
        return writeln!(out, "{text}").map_err(Failure::output);
    }
    write!(out, "{}", Table(score)).map_err(Failure::output)?;
    if let Some(planting) = &score.planting {
        writeln!(out, "\n{planting}").map_err(Failure::output)?;
    }
    Ok(())
}

fn judge(recovered: &Recovered, truth: &mut TruthFile, why: bool) -> Result<Score, Failure> {
    judge_history(recovered, recovered.case().history, truth, why)
}

/// The same of another history of the same trace.
fn judge_history(
    recovered: &Recovered,
    history: &dyn rept_recover::history::Recovered,
    truth: &mut TruthFile,
    why: bool,
) -> Result<Score, Failure> {
    let case = recovered.case();
    let subject = Subject {
        trace: case.trace,
        sequence: case.sequence,
        history,
        crashing: case.crashing().unwrap_or(ThreadId(0)),
    };
    score::score(&subject, truth, why)
}

fn run_demo(wanted: &DemoArgs, out: &mut dyn Write) -> Result<(), Failure> {
    if demo::VICTIM.is_empty() {
        return Err(Failure::new(
            "the demo's program can be recorded on x86-64 Linux only",
        ));
    }
    let directory = Directory::new(wanted.output.as_deref())?;
    let program = demo::install(&directory.path)?;
    demo_record(&directory.path, &program, out)?;
    demo_show(&directory.path, out)
}

fn demo_record(directory: &Path, program: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(
        out,
        "recording a program that crashes: {}",
        program.display()
    )
    .map_err(Failure::output)?;
    // The program writes to the same stream.
    out.flush().map_err(Failure::output)?;
    let mut options = RecordOptions::new(directory);
    options.truth = true;
    options.from = Some(
        demo::START
            .parse()
            .map_err(|error: rept_capture::Error| Failure::new(error.to_string()))?,
    );
    let summary = record::run(options, &[program.into()])?;
    record::print(&summary, directory, out).map_err(Failure::output)
}

fn demo_show(directory: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let opened = Opened::directory(directory)?;
    let recovered = opened.recover();
    let case = recovered.case();
    writeln!(out, "\nrecovered from core and perf.data alone:\n").map_err(Failure::output)?;
    report::report(case, &ReportArgs::last(directory, 12), out)?;
    writeln!(out, "\nhow good that is:\n").map_err(Failure::output)?;
    let mut truth = TruthFile::open(&directory.join("truth"))?;
    write!(out, "{}", Table(&judge(&recovered, &mut truth, false)?)).map_err(Failure::output)?;
    writeln!(out).map_err(Failure::output)?;
    let story = Story::of(recovered.history(), Trust::Inferred);
    story
        .print(recovered.history(), false, out)
        .map_err(Failure::output)?;
    opened.verdict()
}

/// Where the demo's files are; a temporary one is removed in the end.
struct Directory {
    path: PathBuf,
    temporary: bool,
}

impl Directory {
    fn new(wanted: Option<&Path>) -> Result<Directory, Failure> {
        let temporary = || std::env::temp_dir().join(format!("rept-demo-{}", std::process::id()));
        let path = wanted.map_or_else(temporary, Path::to_owned);
        fs::create_dir_all(&path).map_err(|error| Failure::file("create", &path, error))?;
        Ok(Directory {
            path,
            temporary: wanted.is_none(),
        })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.temporary {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
