//! From a capture to a trace.

use super::agree::{self, End};
use super::files::Files;
use super::watch::{Limits, Progress};
use super::workers::{self, Share};
use super::{Decoded, births, ends, mapped, percpu, rewritten};
use crate::capture::{Capture, Stream};
use crate::diagnostics::{Diagnostic, Subject};
use crate::dump::Dump;
use crate::image::ProcessImage;
use rept_decode::{Chunk, CodeBuilder, CpuModel, DecodeOptions, Resync, TimeParameters};
use rept_trace::{Gap, GapReason, ThreadId, ThreadTrace, Trace};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// How much of the streams is decoded, and who is told how far it is.
pub(super) struct Pace<'a> {
    limits: Limits,
    tell: &'a dyn Fn(Progress) -> ControlFlow<()>,
    done: Cell<u64>,
    of: u64,
}

impl<'a> Pace<'a> {
    /// Of decoding these streams.
    pub(super) fn of(
        streams: &[Stream],
        limits: Limits,
        tell: &'a dyn Fn(Progress) -> ControlFlow<()>,
    ) -> Pace<'a> {
        let lengths = streams.iter().map(bytes_of);
        Pace {
            limits,
            tell,
            done: Cell::new(0),
            of: lengths.map(|bytes| bytes.min(limits.stream_bytes)).sum(),
        }
    }

    /// Oldest bytes of a stream that are left out.
    pub(super) fn skipped(&self, stream: &Stream) -> u64 {
        bytes_of(stream).saturating_sub(self.limits.stream_bytes)
    }

    /// Tells of so many bytes more.
    pub(super) fn advance(&self, bytes: u64) -> ControlFlow<()> {
        self.done.update(|done| done + bytes);
        let (bytes, of) = (self.done.get(), self.of);
        (self.tell)(Progress::Decoding { bytes, of })
    }
}

fn bytes_of(stream: &Stream) -> u64 {
    stream.pieces.iter().map(|piece| piece.len).sum()
}

/// The paths of all threads of the process.
pub(super) struct Paths {
    trace: Trace,
    stretches: Vec<Vec<percpu::Stretch>>,
    diagnostics: Vec<Diagnostic>,
}

/// Decodes all threads of the process, and joins their ends to the dump. Once it was told to stop,
/// what it gives is of no use.
pub(super) fn decode(
    capture: &Capture,
    dump: Option<&Dump>,
    mut image: ProcessImage<'_>,
    process: Option<u32>,
    limits: Limits,
    tell: &dyn Fn(Progress) -> ControlFlow<()>,
) -> Decoded {
    let Paths {
        mut trace,
        stretches,
        mut diagnostics,
    } = settle(capture, &mut image, process, limits, tell);
    diagnostics.extend(rewritten::findings(&image));
    let joined = join(&mut trace, dump, &mut diagnostics);
    if let Some(dump) = dump {
        diagnostics.extend(agree::missing_from_dump(&trace, dump, capture));
    }
    ends::bound(capture, &mut trace);
    let mut files = Files::new(capture);
    let mapped = mapped::mapped(capture, &trace, &mut files);
    let births = births::births(capture, &trace);
    let mut edges = births::edges(&births, &trace);
    edges.extend(percpu::edges(&stretches, &trace));
    let file_reads = mapped::file_reads(&mapped.mapped, &trace);
    Decoded {
        trace,
        diagnostics,
        joined,
        edges,
        creations: births::creations(&births),
        file_reads,
        files: files.into_contents(),
        mapped,
        code_may_differ: image.gave_changeable(),
    }
}

/// Decodes all threads, once more whenever their paths prove that code was written anew.
pub(super) fn settle(
    capture: &Capture,
    image: &mut ProcessImage<'_>,
    process: Option<u32>,
    limits: Limits,
    tell: &dyn Fn(Progress) -> ControlFlow<()>,
) -> Paths {
    let mut round = 0;
    // It ends: of each range of memory only so much can be learned.
    loop {
        let pace = Pace::of(&capture.streams, limits, tell);
        let paths = paths(capture, image, process, &pace);
        if !rewritten::learn(image, &paths.trace, round) {
            return paths;
        }
        round += 1;
    }
}

fn paths(
    capture: &Capture,
    image: &ProcessImage<'_>,
    process: Option<u32>,
    pace: &Pace<'_>,
) -> Paths {
    let options = options(capture);
    let mut code = CodeBuilder::new();
    let mut diagnostics = Vec::new();
    let mut threads: Vec<ThreadTrace> = Vec::new();
    let mut per_cpu: Vec<(u32, ThreadTrace)> = Vec::new();
    let processes = capture.processes();
    for stream in &capture.streams {
        let thread = stream.thread.unwrap_or_default();
        let mut options = options;
        if stream.cpu.is_some() {
            // Programs of which there is no code take turns with the process on the processor.
            options.resync = Resync::NextEnable;
        }
        let mut path_of = |thread| one(capture, stream, thread, image, &options, &mut code, pace);
        match stream.cpu {
            Some(cpu) => per_cpu.push((cpu, path_of(ThreadId(cpu)))),
            None if is_of(process, &processes, thread) => threads.push(path_of(thread)),
            None => {}
        }
    }
    let mut stretches = Vec::new();
    if !per_cpu.is_empty() {
        let split = percpu::split(
            &per_cpu,
            &capture.switches,
            percpu::only_thread(capture, process),
            process,
            &mut diagnostics,
        );
        threads.extend(split.threads);
        stretches = split.stretches;
    }
    threads.sort_by_key(|thread| thread.thread);
    Paths {
        trace: Trace {
            code: code.finish(),
            threads,
        },
        stretches,
        diagnostics,
    }
}

/// Whether a thread may be one of the process looked at.
pub(super) fn is_of(
    process: Option<u32>,
    processes: &BTreeMap<ThreadId, u32>,
    thread: ThreadId,
) -> bool {
    match (process, processes.get(&thread)) {
        (Some(process), Some(&of_thread)) => process == of_thread,
        _ => true,
    }
}

/// The bytes of a stream without the first `skip`, as they lie in the container.
pub(super) fn chunks<'a>(
    capture: &'a Capture,
    stream: &'a Stream,
    mut skip: u64,
) -> Vec<Chunk<'a>> {
    let mut chunks = Vec::new();
    for (index, piece) in stream.pieces.iter().enumerate() {
        let mut lost_before = index > 0;
        for bytes in capture.parts(piece) {
            let skipped = skip.min(bytes.len() as u64);
            skip -= skipped;
            chunks.push(Chunk {
                bytes: &bytes[skipped as usize..],
                lost_before,
            });
            lost_before = false;
        }
    }
    chunks
}

fn one(
    capture: &Capture,
    stream: &Stream,
    thread: ThreadId,
    image: &ProcessImage<'_>,
    options: &DecodeOptions,
    code: &mut CodeBuilder,
    pace: &Pace<'_>,
) -> ThreadTrace {
    let skip = pace.skipped(stream);
    let whole = skip == 0 && stream.pieces.first().is_some_and(|first| first.offset == 0);
    let chunks = chunks(capture, stream, skip);
    let bytes = rept_decode::Stream { thread, chunks };
    let share = Share::among(pace.limits.workers);
    let mut trace = workers::decode(&bytes, image, options, code, share, &mut |bytes| {
        pace.advance(bytes)
    });
    // In a thread's own trace such a gap parts nothing.
    if stream.cpu.is_some() && whole {
        trace.gaps.retain(|gap| !before_the_beginning(gap));
    }
    trace
}

/// Of a buffer that has its beginning, the bytes before the first PSB are too few for a TIP.PGE,
/// without which there are no steps.
fn before_the_beginning(gap: &Gap) -> bool {
    const LEAST_ENABLE_BYTES: u64 = 3;
    gap.step == 0 && gap.reason == GapReason::BeforeFirstPsb && gap.offset < LEAST_ENABLE_BYTES
}

pub(super) fn options(capture: &Capture) -> DecodeOptions {
    let clock = &capture.clock;
    let (numerator, denominator) = clock.tsc_per_ctc.unwrap_or_default();
    let cpu = capture.cpu.filter(|cpu| cpu.intel).map(|cpu| CpuModel {
        family: cpu.family,
        model: cpu.model,
        stepping: cpu.stepping,
    });
    DecodeOptions {
        cpu,
        time: TimeParameters {
            tsc_ctc_numerator: numerator,
            tsc_ctc_denominator: denominator,
            mtc_shift: clock.mtc_period,
            max_nonturbo_ratio: clock.max_nonturbo_ratio.unwrap_or(0),
            ..TimeParameters::default()
        },
        return_compression: capture.uncompressed_returns.then_some(false),
        ..DecodeOptions::default()
    }
}

/// The threads whose trace ends where the dump has them. A thread that does not gets a gap
/// at its end, so that nothing is concluded across the steps that are missing.
pub(super) fn join(
    trace: &mut Trace,
    dump: Option<&Dump>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<ThreadId> {
    let mut joined = Vec::new();
    for registers in dump.map(Dump::threads).unwrap_or_default() {
        let id = registers.thread;
        match agree::end_of(trace, id, registers.rip) {
            End::Same | End::Unknown => joined.push(id),
            End::Differs(at) => {
                let message = format!(
                    "its trace ends at {at}, the dump has it at {}: its registers in the dump are not used",
                    registers.rip
                );
                diagnostics.push(Diagnostic::new(Subject::Thread(id), message));
                mark_end(trace, id);
            }
        }
    }
    joined
}

fn mark_end(trace: &mut Trace, id: ThreadId) {
    let Some(thread) = trace.threads.iter_mut().find(|thread| thread.thread == id) else {
        return;
    };
    let step = thread.steps();
    thread.gaps.push(Gap {
        step,
        offset: 0,
        at: None,
        reason: GapReason::LostData,
    });
}
