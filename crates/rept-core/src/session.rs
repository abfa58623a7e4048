//! Opening a crash, and the pipeline from files to history.

mod agree;
mod births;
mod builder;
mod decode;
mod ends;
mod files;
mod follow;
mod inherited;
mod inputs;
mod mapped;
mod numbers;
mod percpu;
mod recovery;
mod rewritten;
mod time;
mod watch;
mod workers;

use crate::Error;
use crate::binaries::Binaries;
use crate::capture::Capture;
use crate::cfi::Unwinder;
use crate::diagnostics::{Diagnostic, Subject};
use crate::dump::{Dump, Module, ModuleFile};
use crate::frame_sizes::CodeOfFrames;
use crate::history::History;
use crate::image::{Jit, ProcessImage};
use crate::symbols::Symbols;
pub use builder::Builder;
pub use follow::{Followed, Follower};
use inherited::Inherited;
use inputs::{Identities, Inputs};
pub use recovery::Recovery;
use rept_order::{Edge, Order};
use rept_trace::{Address, FinalState, Mapping, Memory, ThreadId, Trace};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, OnceLock};
pub use time::{Moment, StepTime};
pub(crate) use watch::Watch;
pub use watch::{Cancellation, Limits, Progress};

/// A crash that was opened: dump, trace, and the binaries they name.
///
/// Cheap to clone; all clones share what was read and decoded.
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

struct Inner {
    dump: Option<Dump>,
    capture: Option<Capture>,
    failures: Vec<Error>,
    binaries: Binaries,
    process: Option<u32>,
    inherited: Inherited,
    ignores_inputs: bool,
    watch: Watch,
    limits: Limits,
    /// Code that the traced processes made.
    jit: Vec<Jit>,
    /// Findings from opening; decoding adds its own.
    opened: Vec<Diagnostic>,
    decoded: OnceLock<Decoded>,
    order: OnceLock<Order>,
    symbols: OnceLock<Symbols>,
    unwinder: OnceLock<Mutex<Unwinder>>,
}

/// The trace, and what was noticed on the way.
struct Decoded {
    trace: Trace,
    diagnostics: Vec<Diagnostic>,
    /// Threads whose registers in the dump are those at the end of their trace.
    joined: Vec<ThreadId>,
    /// What control flow and switches say of the order.
    edges: Vec<Edge>,
    /// Threads of which it is known which system call made them.
    creations: Vec<rept_recover::Creation>,
    /// Mappings of which it is known which system call made them.
    mapped: mapped::Records,
    /// Files of which it is assumed which system calls read them.
    file_reads: Vec<rept_recover::FileRead>,
    /// The bytes of files that were mapped.
    files: Vec<Arc<[u8]>>,
    /// Code ran of which only the dump tells, and which may have been other code when it ran.
    code_may_differ: bool,
}

impl Session {
    /// What to open.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The dump, when there is one that can be read.
    pub fn dump(&self) -> Option<&Dump> {
        self.inner.dump.as_ref()
    }

    /// The trace container, when there is one that can be read.
    pub fn capture(&self) -> Option<&Capture> {
        self.inner.capture.as_ref()
    }

    /// Files that were asked for and could not be opened; the session holds the rest.
    pub fn failures(&self) -> &[Error] {
        &self.inner.failures
    }

    /// The process looked at.
    pub fn process(&self) -> Option<u32> {
        self.inner.process
    }

    /// Where binaries were looked for.
    pub fn binaries(&self) -> &Binaries {
        &self.inner.binaries
    }

    /// The dump belongs to another run than the trace: it is not used for recovery.
    pub fn is_mismatched(&self) -> bool {
        self.inner
            .opened
            .iter()
            .any(|found| found.subject == Subject::Mismatch)
    }

    /// What ran, by thread. Decodes at the first call, to the end even when that is cancelled;
    /// empty without a trace.
    pub fn decode(&self) -> &Trace {
        &self.decoded().trace
    }

    /// The same, until it is cancelled.
    ///
    /// # Errors
    /// When [`Builder::cancellation`] asked to stop; a later call begins anew.
    pub fn try_decode(&self) -> Result<&Trace, Error> {
        self.decode_until(&Cancellation::default(), &|_| ())
    }

    /// The same, until this or whoever opened the session asks to stop; both are told how far it is.
    fn decode_until(&self, stop: &Cancellation, told: &dyn Fn(Progress)) -> Result<&Trace, Error> {
        let watch = &self.inner.watch;
        watch.check_with(stop)?;
        if self.inner.decoded.get().is_none() {
            let decoded = self.inner.decode(&|progress| {
                told(progress);
                watch.tell_with(stop, progress)
            });
            watch.check_with(stop)?;
            // Another thread may have been faster; both decoded the same.
            let _ = self.inner.decoded.set(decoded);
        }
        Ok(self.decode())
    }

    /// Which thread's steps ran before which.
    pub fn order(&self) -> &Order {
        let decoded = self.decoded();
        let order = &self.inner.order;
        order.get_or_init(|| Order::with_edges(&decoded.trace, &decoded.edges))
    }

    /// Functions and lines.
    pub fn symbols(&self) -> &Symbols {
        let inner = &self.inner;
        let capture = inner.capture.as_ref();
        inner.symbols.get_or_init(|| {
            let (dump, jit) = (inner.dump.as_ref(), &inner.jit);
            Symbols::new(capture, dump, &inner.binaries, jit, inner.process)
        })
    }

    /// Call-frame information of all modules.
    pub(crate) fn unwinder(&self) -> &Mutex<Unwinder> {
        let make = || Mutex::new(Unwinder::for_files(self.symbols().files()));
        self.inner.unwinder.get_or_init(make)
    }

    /// Recovers the data of the run, to the end even when that is cancelled. Takes seconds for
    /// millions of steps.
    ///
    /// To the anchors of `options` come those that the dump gives, the frames open at the end and
    /// the kernel's initial registers when the trace begins with the process, and the registers
    /// that the recording sampled.
    pub fn recover(&self, options: &rept_recover::Options) -> History {
        let mut to_the_end = |progress| {
            let _ = self.inner.watch.tell(progress);
            ControlFlow::Continue(())
        };
        self.recovered(options, &mut to_the_end)
            .expect("nothing stops it")
    }

    /// The same, until it is cancelled.
    ///
    /// # Errors
    /// When [`Builder::cancellation`] asked to stop.
    pub fn try_recover(&self, options: &rept_recover::Options) -> Result<History, Error> {
        self.recover_until(options, &Cancellation::default(), &|_| ())
    }

    /// The same, until this or whoever opened the session asks to stop; both are told how far it is.
    fn recover_until(
        &self,
        options: &rept_recover::Options,
        stop: &Cancellation,
        told: &dyn Fn(Progress),
    ) -> Result<History, Error> {
        self.decode_until(stop, told)?;
        let mut until_stopped = |progress| {
            told(progress);
            self.inner.watch.tell_with(stop, progress)
        };
        let recovered = self.recovered(options, &mut until_stopped);
        recovered.ok_or_else(Error::cancelled)
    }

    fn recovered(
        &self,
        options: &rept_recover::Options,
        tell: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Option<History> {
        let last = self.final_state();
        let mut options = options.clone();
        options.max_steps = options.max_steps.min(self.inner.limits.recovered_steps);
        if let Some(dump) = self.inner.dump.as_ref().filter(|_| !self.is_mismatched()) {
            let known = crate::anchors::anchors(self.decode(), dump, &last.threads);
            options.anchors.extend(known);
            options.frame_sizes = Some(Arc::new(CodeOfFrames::new(self)));
            options.initial_break = dump.initial_break();
            options.kernel_memory.extend(dump.rseq_areas());
            options.process = dump.process();
            options.program = dump.program_path().map(|path| path.as_bytes().to_vec());
            options.extended_state_bytes = dump.extended_state_bytes();
            options.processor_set_bytes = self.inner.inherited.processor_set_bytes;
            options.limits.clone_from(&self.inner.inherited.limits);
            let identities = self.inner.capture.as_ref().map(Identities::new);
            let identity = |path: &str| identities.as_ref()?.of(path);
            let space = dump.address_space(identity);
            options.address_space = space.map(Arc::new);
        }
        if let Some(capture) = &self.inner.capture {
            let samples = crate::anchors::samples(self.decode(), &capture.samples);
            options.anchors.extend(samples);
        }
        options
            .creations
            .extend(self.decoded().creations.iter().copied());
        let records = &self.decoded().mapped;
        options.mapped.extend(&records.mapped);
        options.mapped_elsewhere.extend(&records.elsewhere);
        options.file_reads.extend(&self.decoded().file_reads);
        options.files.clone_from(&self.decoded().files);
        options.code_may_differ |= self.decoded().code_may_differ;
        if options.opened_files.is_none() {
            options.opened_files = self.inputs().map(|inputs| Arc::new(inputs) as _);
            let descriptors = &self.inner.inherited.descriptors;
            options.descriptors.clone_from(descriptors);
        }
        let mut observer = |progress| tell(Progress::from(progress));
        let (trace, order) = (self.decode(), self.order());
        let recovered =
            rept_recover::recover_observed(trace, order, &last, &options, &mut observer)?;
        Some(History::new(self.clone(), recovered))
    }

    /// What the program read of files, if they are at hand.
    fn inputs(&self) -> Option<Inputs> {
        let inner = &self.inner;
        let dump = inner.dump.as_ref().filter(|_| !self.is_mismatched())?;
        let capture = inner.capture.as_ref().filter(|_| !inner.ignores_inputs)?;
        let directory = inner.inherited.directory.clone();
        let directory = directory.or_else(|| dump.directory_of_start());
        Inputs::new(capture, self.decode(), directory)
    }

    /// Who is told how far things are.
    pub(crate) fn watch(&self) -> &Watch {
        &self.inner.watch
    }

    /// The end of the run as recovery takes it: what the dump says of the threads whose trace
    /// ends where the dump has them, and nothing when the dump belongs to another run.
    pub fn final_state(&self) -> FinalState<'_> {
        match self.inner.dump.as_ref().filter(|_| !self.is_mismatched()) {
            Some(dump) => {
                let mut state = dump.final_state();
                state.threads.retain(|thread| self.is_joined(thread.thread));
                state
            }
            None => FinalState {
                threads: Vec::new(),
                fault: None,
                memory: &NoMemory,
                auxv: Vec::new(),
            },
        }
    }

    /// Memory at the end, as [`Session::final_state`] has it.
    pub(crate) fn final_memory(&self) -> &(dyn Memory + Sync) {
        match self.inner.dump.as_ref().filter(|_| !self.is_mismatched()) {
            Some(dump) => dump.memory(),
            None => &NoMemory,
        }
    }

    /// Everything noticed about the inputs so far: decoding and looking up symbols add to it.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let inner = &self.inner;
        let mut found = inner.opened.clone();
        found.extend(
            inner
                .decoded
                .get()
                .iter()
                .flat_map(|decoded| decoded.diagnostics.iter().cloned()),
        );
        if let Some(order) = inner.order.get() {
            found.extend(
                order
                    .diagnostics()
                    .iter()
                    .map(|finding| Diagnostic::new(Subject::Order, finding.to_string())),
            );
        }
        let degraded = inner
            .symbols
            .get()
            .map(Symbols::degraded)
            .unwrap_or_default();
        let known: Vec<String> = found
            .iter()
            .map(|finding| finding.message.clone())
            .collect();
        let degraded = degraded
            .into_iter()
            .filter(|degraded| !known.contains(&degraded.reason));
        found
            .extend(degraded.map(|degraded| {
                Diagnostic::new(Subject::Module(degraded.module), degraded.reason)
            }));
        found
    }

    fn is_joined(&self, thread: ThreadId) -> bool {
        self.decoded().joined.contains(&thread)
    }

    fn decoded(&self) -> &Decoded {
        let inner = &self.inner;
        let to_the_end = |progress| {
            let _ = inner.watch.tell(progress);
            ControlFlow::Continue(())
        };
        inner.decoded.get_or_init(|| inner.decode(&to_the_end))
    }
}

impl Inner {
    fn decode(&self, tell: &dyn Fn(Progress) -> ControlFlow<()>) -> Decoded {
        match &self.capture {
            Some(capture) => {
                let dump = self.dump.as_ref();
                let (binaries, process) = (&self.binaries, self.process);
                let image = ProcessImage::new(capture, process, dump, binaries, &self.jit);
                decode::decode(capture, dump, image, process, self.limits, tell)
            }
            None => Decoded {
                trace: Trace::default(),
                diagnostics: Vec::new(),
                joined: Vec::new(),
                edges: Vec::new(),
                creations: Vec::new(),
                mapped: mapped::Records::default(),
                file_reads: Vec::new(),
                files: Vec::new(),
                code_may_differ: false,
            },
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("dump", &self.dump().map(Dump::path))
            .field("capture", &self.capture().map(Capture::path))
            .finish_non_exhaustive()
    }
}

/// Where each thread is in `Trace::threads`.
fn thread_indices(trace: &Trace) -> BTreeMap<ThreadId, u32> {
    let ids = trace.threads.iter().map(|thread| thread.thread);
    ids.zip(0..).collect()
}

/// Findings about the dump's modules.
fn module_findings(dump: &Dump) -> Vec<Diagnostic> {
    let finding = |module: &Module| match &module.file {
        ModuleFile::Missing(missing) => Some(missing.to_string()),
        ModuleFile::Unverified(binary) => Some(format!(
            "{}: the dump has no build-id of it; {} is taken for its code, not for its data",
            module.path,
            binary.path().display()
        )),
        _ => None,
    };
    let found = dump.modules().iter().filter_map(|module| {
        let message = finding(module)?;
        let path = module.path.clone();
        let subject = match &module.file {
            ModuleFile::Missing(missing) if !missing.mismatched.is_empty() => {
                Subject::Changed(path)
            }
            _ => Subject::Module(path),
        };
        Some(Diagnostic::new(subject, message))
    });
    found.collect()
}

/// Memory about which nothing is known.
struct NoMemory;

impl Memory for NoMemory {
    fn bytes(&self, _: Address) -> Option<&[u8]> {
        None
    }

    fn constant_len(&self, _: Address) -> u64 {
        0
    }

    fn mappings(&self) -> &[Mapping] {
        &[]
    }
}
