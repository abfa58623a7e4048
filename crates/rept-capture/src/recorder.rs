use crate::core_file::CoreWriter;
use crate::engine::{Engine, Exit, Pauses, Start};
use crate::error::Error;
use crate::family::{Child, Family};
use crate::from::StartPoint;
use crate::inherited;
use crate::recording::Recording;
use crate::schedule::{Schedule, Scheduler, Timing};
use crate::sys::{self, ExecResult, FileLimit, Launch, Parked, Requests, Wait};
use crate::target;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// Least size of a ring: four PSB periods of 2 KiB, so that a reader always finds a PSB.
pub const LEAST_BUFFER_BYTES: usize = 8 << 10;

/// How steps are obtained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// One trap for each instruction: the reference, slow.
    #[default]
    Step,
    /// Threads run copied code that logs where it goes, in real time.
    Fast,
}

/// How to record.
#[derive(Clone, Debug)]
pub struct RecordOptions {
    /// Directory for `perf.data`, `core` and `truth`; made when it is not there.
    pub output: PathBuf,
    /// How steps are obtained.
    pub engine: EngineKind,
    /// Size of each thread's ring of PT packets, in bytes; only the newest survive.
    pub buffer: usize,
    /// Whether to write `truth`.
    pub truth: bool,
    /// Seed of everything that is left to chance.
    pub seed: u64,
    /// Where recording starts; `None`: at the program's first instruction.
    pub from: Option<StartPoint>,
    /// How threads are interleaved.
    pub schedule: Schedule,
    /// Writes one PT stream for each core instead of each thread, with records of context
    /// switches; only with [`Schedule::Cpus`].
    pub per_cpu: bool,
    /// Which timing packets are written.
    pub timing: Timing,
    /// Writes the registers of each thread into `perf.data` every so many of its steps, as
    /// `perf record -e instructions:u --user-regs` does; `None`: never.
    pub sample_registers: Option<u64>,
    /// Signal to the recording process that asks to save what is recorded so far, with a core
    /// of the program as it is, in `save.1`, `save.2` … of the directory; it goes on.
    pub save_on: Option<i32>,
    /// Records the processes that the program makes, and those that they make, each into
    /// `child.1`, `child.2` … of its parent's directory, from its beginning.
    pub follow_forks: bool,
    /// Ends the recording, and the program, after so many steps of all threads, perhaps with some more;
    /// `None`: with the program. The fast engine counts them only when it records the truth.
    pub most_steps: Option<u64>,
    /// Whether the fast engine, where it runs threads all at once, pauses one now and then for some
    /// microseconds, at places drawn from the seed: so that races end as they may without a recorder.
    pub pauses: bool,
    /// Whether the kernel may place mappings at random. Without, runs can be repeated.
    pub aslr: bool,
    /// Answers system calls for random numbers, the time and what it took alike in every run, and hides
    /// the vDSO: two recordings of a program of one thread then differ in little more than process ids.
    pub repeatable: bool,
}

impl RecordOptions {
    /// The defaults, writing into `output`: rings of 256 KiB, no truth, seed 0, from the
    /// program's beginning, a core for each thread, pauses, no address randomisation.
    pub fn new(output: impl Into<PathBuf>) -> RecordOptions {
        RecordOptions {
            output: output.into(),
            engine: EngineKind::Step,
            buffer: 256 << 10,
            truth: false,
            seed: 0,
            from: None,
            schedule: Schedule::Cores,
            per_cpu: false,
            timing: Timing::default(),
            sample_registers: None,
            save_on: None,
            follow_forks: false,
            most_steps: None,
            pauses: true,
            aslr: false,
            repeatable: false,
        }
    }

    // Whether more is asked for than the fast engine sees in real time: then it logs
    // everything, and time is virtual.
    fn is_exact(&self) -> bool {
        self.truth || self.sample_registers.is_some() || self.timing != Timing::default()
    }
}

/// What has been done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Steps recorded.
    pub steps: u64,
    /// Threads seen.
    pub threads: usize,
    /// Time since the program was started.
    pub elapsed: Duration,
}

/// What was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Executed instructions, of all threads.
    pub steps: u64,
    /// Threads that ran.
    pub threads: usize,
    /// Time from the program's start to the last byte written, in seconds.
    pub seconds: f64,
    /// Size of all files written, in bytes.
    pub bytes: u64,
    /// How the program ended.
    pub exit: Exit,
    /// What a user should know beyond that, one sentence each.
    pub notes: Vec<String>,
    /// The processes that it made, when they were followed, in that order.
    pub children: Vec<Child>,
}

/// Records one run of a program.
#[derive(Debug)]
pub struct Recorder {
    options: RecordOptions,
    subject: Subject,
}

#[derive(Debug)]
enum Subject {
    /// A program to be run, with its arguments.
    Program(OsString, Vec<OsString>),
    /// A process that runs.
    Process(i32),
}

impl Recorder {
    /// A recorder of `program` (a path, or a name to be looked up in `PATH`) with these
    /// arguments. Environment, working directory and standard streams are the caller's.
    pub fn new<I, S>(options: RecordOptions, program: impl AsRef<OsStr>, arguments: I) -> Recorder
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let arguments = arguments.into_iter();
        let arguments = arguments.map(|argument| argument.as_ref().to_owned());
        Recorder {
            options,
            subject: Subject::Program(program.as_ref().to_owned(), arguments.collect()),
        }
    }

    /// A recorder of a process that runs already, until that ends, or until SIGINT or SIGTERM
    /// ask the recording process to let it go.
    pub fn attach(options: RecordOptions, pid: u32) -> Recorder {
        Recorder {
            options,
            // No process has a larger number: the kernel says that there is none.
            subject: Subject::Process(i32::try_from(pid).unwrap_or(i32::MAX)),
        }
    }

    /// Runs the program to its end. `progress` is called every few thousand steps.
    ///
    /// # Errors
    /// The program cannot be run (missing, not executable, not 64-bit, set-user-ID), the
    /// system forbids ptrace, the starting point is never reached, or the output
    /// directory cannot be written.
    pub fn run(self, mut progress: impl FnMut(Progress)) -> Result<Summary, Error> {
        let begun = Instant::now();
        let options = &self.options;
        if options.buffer < LEAST_BUFFER_BYTES {
            return Err(Error::option(format!(
                "a buffer of {} bytes holds no whole PSB period: give at least {LEAST_BUFFER_BYTES}",
                options.buffer
            )));
        }
        if options.per_cpu && !matches!(options.schedule, Schedule::Cpus { .. }) {
            return Err(Error::option(
                "per-CPU streams need a schedule with a number of CPUs",
            ));
        }
        if options.engine == EngineKind::Fast {
            check_fast(options)?;
        }
        let attached = matches!(self.subject, Subject::Process(_));
        if options.follow_forks && (attached || options.save_on.is_some()) {
            return Err(Error::option(
                "children are followed only of a program that is recorded whole: not with --attach or --on-signal",
            ));
        }
        if options.repeatable && (attached || options.follow_forks) {
            return Err(Error::option(
                "answers are the same in every run only for one process that is recorded from its beginning: not with --attach or --follow-forks",
            ));
        }
        let _file_limit = FileLimit::reported()?;
        let requests = Requests::new(options.save_on, attached)?;
        let engine = self.engine()?;
        let mut on_progress = |steps, threads| {
            progress(Progress {
                steps,
                threads,
                elapsed: begun.elapsed(),
            });
        };
        complete(options, engine, Some(requests), begun, &mut on_progress)
    }

    // The process, stopped, and what is to be recorded of it.
    fn engine(&self) -> Result<Engine, Error> {
        let options = &self.options;
        let path = match &self.subject {
            Subject::Program(program, _) => Some(target::find(program)?),
            Subject::Process(pid) => {
                target::check_process(*pid)?;
                None
            }
        };
        let (recording, scheduler, core) = parts(options)?;
        match (&self.subject, path) {
            (Subject::Program(program, arguments), Some(path)) => {
                let pid = self.launch(path, program, arguments)?;
                inherited::write(pid, &options.output);
                Engine::new(pid, recording, scheduler, core)
            }
            (Subject::Process(pid), _) => {
                inherited::forget(&options.output);
                Engine::attach(*pid, recording, scheduler, core)
            }
            (Subject::Program(..), None) => unreachable!("a program has a path"),
        }
    }

    // Starts the program; returns its process, stopped at the end of `exec`.
    fn launch(&self, path: PathBuf, program: &OsStr, arguments: &[OsString]) -> Result<i32, Error> {
        let c_string = |text: &OsStr| {
            CString::new(text.as_bytes())
                .map_err(|_| Error::option("an argument holds a zero byte"))
        };
        let words = std::iter::once(program).chain(arguments.iter().map(OsString::as_os_str));
        let arguments = words.map(c_string).collect::<Result<_, _>>()?;
        let launch = Launch {
            path: c_string(path.as_os_str())?,
            arguments,
            aslr: self.options.aslr,
            follow: self.options.follow_forks,
        };
        let (pid, result) = sys::launch(&launch)?;
        await_exec(pid, result, &path)?;
        Ok(pid)
    }
}

// What an engine takes to record into.
fn parts(options: &RecordOptions) -> Result<(Recording, Scheduler, CoreWriter), Error> {
    let mut recording = Recording::create(&options.output, options.buffer, options.truth)?;
    if options.per_cpu {
        recording.per_cpu();
    }
    recording.timing(options.timing);
    match (options.engine, options.is_exact()) {
        (EngineKind::Fast, false) => recording.log_in_real_time(),
        (EngineKind::Fast, true) => recording.in_turns(),
        (EngineKind::Step, _) => {}
    }
    if let Some(period) = options.sample_registers {
        recording.sample_registers(period);
    }
    let scheduler = Scheduler::new(options.schedule, options.seed);
    Ok((recording, scheduler, CoreWriter::new(&options.output)))
}

/// Records a child of a recorded program, of which the calling thread becomes the tracer, and
/// says so to `taken`. Before it has a program of its own, one that shares its parent's memory
/// just runs: `None` when it ends so.
///
/// # Errors
/// Those of [`Recorder::run`].
pub(crate) fn record_child(
    options: &RecordOptions,
    child: &Parked,
    shares_memory: bool,
    taken: &Sender<()>,
) -> Result<Option<Summary>, Error> {
    let begun = Instant::now();
    let is_there = child.take();
    // The other end waits.
    let _ = taken.send(());
    match is_there {
        Err(error) if error.is_gone() => return Ok(None),
        other => other?,
    }
    if shares_memory && !sys::run_to_exec(child.pid)? {
        return Ok(None);
    }
    let engine = target::check_process(child.pid)
        .and_then(|()| parts(options))
        .and_then(|(recording, scheduler, core)| {
            inherited::write(child.pid, &options.output);
            Engine::new(child.pid, recording, scheduler, core)
        });
    match engine {
        Ok(engine) => complete(options, engine, None, begun, &mut |_, _| ()).map(Some),
        Err(error) => {
            sys::detach(child.pid, 0);
            Err(error)
        }
    }
}

// Records what the engine has taken over to its end, and writes what there is, whatever happens.
fn complete(
    options: &RecordOptions,
    mut engine: Engine,
    requests: Option<Requests>,
    begun: Instant,
    on_progress: &mut dyn FnMut(u64, usize),
) -> Result<Summary, Error> {
    engine.family = options.follow_forks.then(|| Family::new(options));
    let ran = run(options, &mut engine, on_progress);
    drop(requests);
    let Err(error) = ran else {
        return finish(engine, begun);
    };
    engine.abandon();
    if engine.recording.steps() == 0 {
        return Err(error);
    }
    match finish(engine, begun) {
        Ok(_) => Err(error.but_kept(&options.output)),
        Err(_) => Err(error),
    }
}

// To the starting point, and from there to the end.
fn run(
    options: &RecordOptions,
    engine: &mut Engine,
    on_progress: &mut dyn FnMut(u64, usize),
) -> Result<(), Error> {
    if options.repeatable {
        engine.answer_alike()?;
    }
    engine.most_steps = options.most_steps.unwrap_or(u64::MAX);
    if let Some(point) = &options.from {
        engine.approach(Start::new(point))?;
    }
    if options.engine == EngineKind::Fast {
        engine.pauses = options.pauses.then(|| Pauses::new(options.seed));
        engine.use_cache()?;
        engine.run_in_cache(on_progress)?;
    }
    engine.step_to_end(on_progress)
}

fn await_exec(pid: i32, result: ExecResult, path: &std::path::Path) -> Result<(), Error> {
    loop {
        match sys::wait(pid, true)? {
            Some((
                _,
                Wait::Event {
                    event: libc::PTRACE_EVENT_EXEC,
                    ..
                },
            )) => return Ok(()),
            Some((_, Wait::Exited(_) | Wait::Killed { .. })) | None => {
                return Err(Error::io("run", path, result.error()));
            }
            Some((_, Wait::Signal(signal))) => sys::resume(pid, sys::Resume::Run, signal)?,
            Some(_) => sys::resume(pid, sys::Resume::Run, 0)?,
        }
    }
}

// What the fast engine cannot do is refused, not ignored.
fn check_fast(options: &RecordOptions) -> Result<(), Error> {
    if options.schedule != Schedule::Cores {
        return Err(Error::option(
            "the fast engine cannot record a schedule of threads: use the step engine",
        ));
    }
    if options.most_steps.is_some() && !options.is_exact() {
        return Err(Error::option(
            "the fast engine counts no steps while the program runs: use the step engine, or record the truth",
        ));
    }
    if options.seed != 0 && !options.pauses && !options.is_exact() {
        return Err(Error::option(
            "the fast engine lets the kernel schedule the threads, which no seed changes when there are no pauses: use the step engine, or record the truth",
        ));
    }
    Ok(())
}

fn finish(mut engine: Engine, begun: Instant) -> Result<Summary, Error> {
    let exit = engine.exit().unwrap_or(Exit::Signal(libc::SIGKILL));
    let lost = engine.recording.convert();
    let (steps, threads) = (engine.recording.steps(), engine.recording.threads());
    let core_bytes = engine.core_bytes;
    let mut notes = engine.notes;
    if lost > 0 {
        notes.push(overwritten(lost));
    }
    if engine.stepped > 0 {
        notes.push(stepped(engine.stepped));
    }
    if let Some(pauses) = engine.pauses.filter(|pauses| pauses.count > 0) {
        notes.push(paused(pauses.count));
    }
    let finished = engine.recording.finish();
    let children = engine.family.map_or_else(Vec::new, Family::join);
    let (bytes, more) = finished?;
    notes.extend(more);
    Ok(Summary {
        steps,
        threads,
        seconds: begun.elapsed().as_secs_f64(),
        bytes: bytes + core_bytes,
        exit,
        notes,
        children,
    })
}

fn stepped(count: u64) -> String {
    match count {
        1 => "1 instruction was stepped, as it cannot run as a copy or faulted".to_owned(),
        _ => format!("{count} instructions were stepped, as they cannot run as copies or faulted"),
    }
}

fn paused(count: u64) -> String {
    let times = match count {
        1 => "once".to_owned(),
        _ => format!("{count} times"),
    };
    format!(
        "threads were paused {times}, as waits pause them without a recorder: not with --no-pauses"
    )
}

fn overwritten(blocks: u64) -> String {
    let which = match blocks {
        1 => "1 block before them was".to_owned(),
        _ => format!("some {blocks} blocks before them were"),
    };
    format!("only the newest steps were kept and counted: {which} overwritten")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_have_numbers_in_words_that_fit() {
        assert!(stepped(1).starts_with("1 instruction was stepped, as it cannot"));
        assert!(stepped(2).starts_with("2 instructions were stepped, as they cannot"));
        assert!(paused(1).starts_with("threads were paused once, as"));
        assert!(paused(2).starts_with("threads were paused 2 times, as"));
        assert!(overwritten(1).ends_with("1 block before them was overwritten"));
        assert!(overwritten(2).ends_with("some 2 blocks before them were overwritten"));
    }
}
