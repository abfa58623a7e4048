//! What a session is made of.

use super::inherited::Inherited;
use super::{Cancellation, Inner, Limits, Progress, Session, Watch, agree, module_findings};
use crate::Error;
use crate::binaries::{Binaries, BinaryProvider};
use crate::capture::{Capture, CpuModel, ImageFile, open_raw};
use crate::diagnostics::{Diagnostic, Subject};
use crate::dump::Dump;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Says what to open; see [`Session::builder`].
#[derive(Default)]
pub struct Builder {
    dump: Option<PathBuf>,
    trace: Option<PathBuf>,
    raw_image: Option<Vec<ImageFile>>,
    processor: Option<CpuModel>,
    directories: Vec<PathBuf>,
    providers: Vec<Box<dyn BinaryProvider>>,
    process: Option<u32>,
    ignores_inputs: bool,
    watch: Watch,
    limits: Limits,
}

impl Builder {
    /// The dump: an ELF core file.
    pub fn dump(mut self, path: impl Into<PathBuf>) -> Builder {
        self.dump = Some(path.into());
        self
    }

    /// The trace: what [`Capture::open`] takes.
    pub fn trace(mut self, path: impl Into<PathBuf>) -> Builder {
        self.trace = Some(path.into());
        self
    }

    /// The trace: a file of bare PT packets, and the code that ran.
    pub fn raw_trace(mut self, path: impl Into<PathBuf>, image: Vec<ImageFile>) -> Builder {
        self.trace = Some(path.into());
        self.raw_image = Some(image);
        self
    }

    /// The processor that made the trace, for its errata, where the trace does not say.
    pub fn processor(mut self, processor: CpuModel) -> Builder {
        self.processor = Some(processor);
        self
    }

    /// A recording's folder: `core` and `perf.data` in it, unless named otherwise. Or a trace
    /// container, with the `core` in it if it is a folder that has one.
    pub fn directory(mut self, path: impl AsRef<Path>) -> Builder {
        let path = path.as_ref();
        // A file that is none is opened as one, too, which says what it is instead.
        if Capture::is_container(path) || path.is_file() {
            let core = path.join("core");
            self.trace.get_or_insert_with(|| path.to_owned());
            self.dump = self.dump.or(core.is_file().then_some(core));
            return self;
        }
        self.dump.get_or_insert_with(|| path.join("core"));
        self.trace.get_or_insert_with(|| path.join("perf.data"));
        self
    }

    /// A folder to look for binaries and debug files in, before the recorded paths.
    pub fn binaries(mut self, directory: impl Into<PathBuf>) -> Builder {
        self.directories.push(directory.into());
        self
    }

    /// Another way to find binaries, asked last.
    pub fn provider(mut self, provider: Box<dyn BinaryProvider>) -> Builder {
        self.providers.push(provider);
        self
    }

    /// The process to look at, in a trace of several; by default the dump's.
    pub fn process(mut self, process: u32) -> Builder {
        self.process = Some(process);
        self
    }

    /// Whether files that the program read are read again, to know what it saw: if the run was on this
    /// machine, and for those that did not change since. What is learned so is assumed, not certain.
    /// By default they are.
    pub fn input_files(mut self, read_again: bool) -> Builder {
        self.ignores_inputs = !read_again;
        self
    }

    /// Is told how far decoding, recovery and [`History::prepare`](crate::History::prepare) are,
    /// from whatever thread works.
    pub fn progress(mut self, told: impl Fn(Progress) + Send + Sync + 'static) -> Builder {
        self.watch.progress = Some(Box::new(told));
        self
    }

    /// By which work is stopped that heeds it; see [`Cancellation`].
    pub fn cancellation(mut self, cancellation: &Cancellation) -> Builder {
        self.watch.cancellation = cancellation.clone();
        self
    }

    /// What the work may cost.
    pub fn limits(mut self, limits: Limits) -> Builder {
        self.limits = limits;
        self
    }

    /// Opens the files. When one of dump and trace cannot be opened and the other can, the
    /// session holds the other and [`Session::failures`] the reason.
    ///
    /// # Errors
    /// When nothing was named, or nothing of it can be opened, or it was cancelled.
    pub fn open(self) -> Result<Session, Error> {
        self.watch.check()?;
        let binaries = Binaries::new(self.directories, self.providers);
        let mut failures = Vec::new();
        let dump = self.dump.map(|path| Dump::open(&path, &binaries));
        let dump = dump.and_then(|opened| keep(opened, &mut failures));
        let capture = self.trace.map(|path| match &self.raw_image {
            Some(image) => open_raw(&path, image),
            None => Capture::open_with(&path, &binaries),
        });
        let mut capture = capture.and_then(|opened| keep(opened, &mut failures));
        if let Some(capture) = &mut capture {
            capture.cpu = capture.cpu.or(self.processor);
        }
        if dump.is_none() && capture.is_none() {
            let nothing =
                || Error::missing(Path::new("rept"), "neither a dump nor a trace was named");
            return Err(failures.into_iter().next().unwrap_or_else(nothing));
        }
        let process = self
            .process
            .or_else(|| agree::process(dump.as_ref(), capture.as_ref()));
        let mut opened = findings(dump.as_ref(), capture.as_ref(), process);
        let open_jit = |capture: &Capture| crate::image::open_jit(capture, &binaries);
        let (jit, said) = capture.as_ref().map(open_jit).unwrap_or_default();
        opened.extend(said);
        let (inherited, wrong) = match &capture {
            Some(capture) => Inherited::beside(capture.path()),
            None => Default::default(),
        };
        opened.extend(wrong.map(|wrong| Diagnostic::new(Subject::Trace, wrong.to_string())));
        Ok(Session {
            inner: Arc::new(Inner {
                dump,
                capture,
                failures,
                binaries,
                process,
                inherited,
                ignores_inputs: self.ignores_inputs,
                watch: self.watch,
                limits: self.limits,
                jit,
                opened,
                decoded: OnceLock::new(),
                order: OnceLock::new(),
                symbols: OnceLock::new(),
                unwinder: OnceLock::new(),
            }),
        })
    }
}

fn keep<T>(opened: Result<T, Error>, failures: &mut Vec<Error>) -> Option<T> {
    opened.map_err(|error| failures.push(error)).ok()
}

fn findings(
    dump: Option<&Dump>,
    capture: Option<&Capture>,
    process: Option<u32>,
) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if let Some(dump) = dump {
        found.extend(
            dump.problems()
                .iter()
                .map(|problem| Diagnostic::new(Subject::Dump, problem.to_string())),
        );
        found.extend(module_findings(dump));
    }
    if let Some(capture) = capture {
        found.extend(
            capture
                .problems
                .iter()
                .map(|problem| Diagnostic::new(Subject::Trace, problem.to_string())),
        );
    }
    if let Some(capture) = capture.filter(|_| process.is_none()) {
        found.extend(agree::several_processes(capture));
    }
    if let (Some(dump), Some(capture)) = (dump, capture) {
        found.extend(agree::mismatches(dump, capture, process));
    }
    found
}
