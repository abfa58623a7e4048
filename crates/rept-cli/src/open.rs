//! Opening what the command line names, and saying what is wrong with it.

use crate::args::Input;
use crate::case::{Case, Program, Spot};
use crate::failure::Failure;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rept_core::{Diagnostic, Followed, Progress, RecoverOptions, Recovery, Session, Subject};
use rept_trace::{Address, Fault, Gap, Registers};
use std::path::Path;

/// An opened crash.
pub(crate) struct Opened {
    pub(crate) session: Session,
    bar: ProgressBar,
}

/// An opened crash and its history.
pub(crate) struct Recovered {
    session: Session,
    history: rept_core::History,
    program: Binaries,
    fault: Option<Fault>,
    registers: Vec<Registers>,
}

impl Opened {
    /// Opens dump and trace; one of them is enough.
    ///
    /// # Errors
    /// When neither can be opened.
    pub(crate) fn new(input: &Input) -> Result<Opened, Failure> {
        let bar = ProgressBar::hidden();
        let told = bar.clone();
        let mut builder = Session::builder().progress(move |progress| show(&told, progress));
        if let Some(core) = &input.core {
            builder = builder.dump(core);
        }
        builder = match (&input.trace, &input.directory) {
            (Some(trace), None) | (None, Some(trace)) if !input.image.is_empty() => {
                builder.raw_trace(trace, input.image.clone())
            }
            (trace, directory) => {
                let builder = trace
                    .iter()
                    .fold(builder, |builder, path| builder.trace(path));
                directory
                    .iter()
                    .fold(builder, |builder, path| builder.directory(path))
            }
        };
        if let Some(cpu) = input.cpu {
            builder = builder.processor(cpu);
        }
        if let Some(process) = input.process {
            builder = builder.process(process);
        }
        let builder = input
            .binaries
            .iter()
            .fold(builder, |builder, path| builder.binaries(path));
        let session = builder
            .open()
            .map_err(|error| Failure::new(error.to_string()))?;
        Ok(Opened { session, bar })
    }

    /// Opens a recording.
    ///
    /// # Errors
    /// As [`Opened::new`].
    pub(crate) fn directory(path: &Path) -> Result<Opened, Failure> {
        Opened::new(&Input::of(path))
    }

    /// Recovers the data; a bar on a terminal says how far it is.
    pub(crate) fn recover(&self) -> Recovered {
        self.recover_with(&RecoverOptions::default())
    }

    /// The same, with options.
    pub(crate) fn recover_with(&self, options: &RecoverOptions) -> Recovered {
        self.bar.set_style(bar_style());
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        let history = self.session.recover(options);
        self.bar.finish_and_clear();
        let dump = self.session.dump();
        Recovered {
            history,
            program: Binaries(self.session.clone()),
            fault: dump.and_then(|dump| dump.fault()),
            registers: dump.map(|dump| dump.threads().to_vec()).unwrap_or_default(),
            session: self.session.clone(),
        }
    }

    /// Begins to recover the data; a bar on a terminal says how far it is.
    pub(crate) fn start_recovery(&self, options: &RecoverOptions) -> Recovery {
        self.bar.set_style(bar_style());
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        let recovery = self.session.start_recovery(options);
        let bar = self.bar.clone();
        recovery.when_done(move || bar.finish_and_clear());
        recovery
    }

    /// Prints notes about the inputs to the standard error stream and says whether the
    /// command can be said to have succeeded: all that was named could be used.
    ///
    /// # Errors
    /// A file could not be opened, belongs to another run, or holds nothing of use.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        self.judge(&self.session.diagnostics(), self.nothing_decoded())
    }

    /// The same, before anything was decoded.
    ///
    /// # Errors
    /// A file could not be opened, or belongs to another run.
    pub(crate) fn verdict_on_files(&self) -> Result<(), Failure> {
        self.judge(&self.session.diagnostics(), None)
    }

    /// The same, of a thread that was followed.
    ///
    /// # Errors
    /// As [`Opened::verdict`].
    pub(crate) fn verdict_on(&self, followed: &Followed) -> Result<(), Failure> {
        let mut found = self.session.diagnostics();
        found.extend_from_slice(&followed.diagnostics);
        let nothing = (followed.steps == 0).then(|| self.no_step(followed.gap.as_ref()));
        self.judge(&found, nothing.flatten())
    }

    fn judge(&self, found: &[Diagnostic], nothing: Option<String>) -> Result<(), Failure> {
        let mut failures: Vec<String> = self
            .session
            .failures()
            .iter()
            .map(ToString::to_string)
            .collect();
        for finding in found {
            match finding.subject {
                Subject::Mismatch | Subject::Changed(_) => failures.push(finding.to_string()),
                _ => eprintln!("rept: note: {finding}"),
            }
        }
        failures.extend(nothing);
        let last = failures.pop();
        failures
            .iter()
            .for_each(|failure| eprintln!("rept: {failure}"));
        last.map_or(Ok(()), |failure| Err(Failure::new(failure)))
    }

    /// Why a trace that could be opened holds no step.
    fn nothing_decoded(&self) -> Option<String> {
        self.session.capture()?;
        let threads = &self.session.decode().threads;
        if threads.iter().any(|thread| thread.steps() > 0) {
            return None;
        }
        self.no_step(threads.iter().find_map(|thread| thread.gaps.first()))
    }

    /// Says that there is no step, and the first reason for it.
    fn no_step(&self, gap: Option<&Gap>) -> Option<String> {
        let path = self.session.capture()?.path();
        let cause = gap.map_or_else(
            || "it holds no packets".to_owned(),
            |gap| gap.reason.to_string(),
        );
        Some(format!(
            "{}: no step can be decoded: {cause}",
            path.display()
        ))
    }
}

fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template("{msg:<18} {bar:40} {percent:>3} %")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn show(bar: &ProgressBar, progress: Progress) {
    let (what, done, of) = match progress {
        Progress::Decoding { bytes, of } => ("decoding", bytes, of),
        Progress::Building { steps, of } => ("relating steps", steps, of),
        Progress::Learning { phase, of, .. } => {
            ("learning values", u64::from(phase) - 1, of.into())
        }
        _ => return,
    };
    bar.set_message(what);
    bar.set_length(of);
    bar.set_position(done);
}

impl Recovered {
    /// The history, to be asked directly.
    pub(crate) fn history(&self) -> &rept_core::History {
        &self.history
    }

    /// As the commands see it.
    pub(crate) fn case(&self) -> Case<'_> {
        Case {
            trace: self.session.decode(),
            sequence: self.session.order().sequence(),
            history: self.history.recovered(),
            program: &self.program,
            fault: self.fault,
            races: &[],
            registers: &self.registers,
        }
    }
}

struct Binaries(Session);

impl Program for Binaries {
    fn spot(&self, address: Address) -> Spot {
        Spot::from(self.0.symbols().lookup(address))
    }

    fn bytes(&self, address: Address, buffer: &mut [u8]) -> usize {
        let dump = self.0.dump().map(|dump| dump.memory());
        let found = dump
            .and_then(|memory| memory.bytes(address))
            .unwrap_or_default();
        let length = found.len().min(buffer.len());
        buffer[..length].copy_from_slice(&found[..length]);
        length
    }
}
