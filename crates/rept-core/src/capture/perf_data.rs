//! `perf.data`, as written by `perf record -e intel_pt//`.
//!
//! The layout is in the Linux source, `tools/perf/Documentation/perf.data-file-format.txt`
//! and `include/uapi/linux/perf_event.h`. Records are typed here rather than through a
//! general reader because of what a trace of a crash needs: records are taken in file
//! order, each one located, a damaged tail does not take the rest with it, and the PT
//! bytes inside samples (`PERF_SAMPLE_AUX`) are wanted.
//!
//! ```text
//!  container:   header, attributes, features, where records lie, decompression
//!  attr:        one event's configuration, and the id fields behind each record
//!  record:      the bodies of the records that matter
//!  samples:     registers, PT bytes and tracepoints' records inside samples
//!  tracepoints: context switches where there are no records of them
//!  streams:     AUXTRACE pieces to buffers
//! ```

mod attr;
mod container;
mod record;
mod samples;
mod streams;
mod tracepoints;

#[cfg(test)]
mod tests;

use super::{
    Capture, Clock, CpuModel, KernelSymbol, MappingEvent, RegisterSample, Switch, TaskEvent,
    TaskKind, TextPoke, TimeConversion,
};
use crate::mmap::FileBytes;
use crate::{BuildId, Error};
use attr::{Attr, SampleId};
use container::{Container, Visit};
use record::{PtInfo, RawRecord, Record};
use rept_trace::{Address, ThreadId, Timestamp};
use samples::Sample;
use std::collections::BTreeMap;
use std::path::Path;
use streams::Streams;
use tracepoints::SwitchFormat;

/// Most damaged places reported; the rest are counted in the last message.
const MAX_PROBLEMS: usize = 100;

/// Whether a file begins as perf.data does, of whatever version and byte order.
pub(super) fn is_container(first: &[u8]) -> bool {
    const MAGICS: [&[u8]; 3] = [b"PERFILE2", b"2ELIFREP", b"PERFFILE"];
    MAGICS.iter().any(|magic| first.starts_with(magic))
}

/// Reads a container.
pub(super) fn read(file: FileBytes) -> Result<Capture, Error> {
    let path = file.path().to_owned();
    let mut reading = Reading::new(&path);
    let build_ids;
    let cpu;
    {
        let mut container = Container::open(&path, &file)?;
        reading.attrs = container.attrs().to_vec();
        reading.switch_format = container.tracepoints().and_then(SwitchFormat::find);
        container.records(&mut reading);
        build_ids = container.build_ids();
        cpu = container.cpuid().and_then(|text| cpu_model(&text));
    }
    reading.finish(file, build_ids, cpu)
}

/// What has been gathered while walking through the records; times are still perf's nanoseconds.
struct Reading<'p> {
    path: &'p Path,
    attrs: Vec<Attr>,
    info: Option<PtInfo>,
    foreign_trace: Option<u32>,
    conversion: Option<TimeConversion>,
    streams: Streams,
    mappings: Vec<(Option<u64>, MappingEvent)>,
    tasks: Vec<(Option<u64>, TaskEvent)>,
    switches: Vec<(u64, Switch)>,
    switch_format: Option<SwitchFormat>,
    traced_switches: Vec<TracedSwitch>,
    pokes: Vec<(Option<u64>, TextPoke)>,
    kernel_symbols: Vec<(Option<u64>, KernelSymbol)>,
    samples: Vec<(u64, RegisterSample)>,
    problems: Vec<Error>,
    dropped_problems: u64,
}

/// A context switch of which a tracepoint told.
struct TracedSwitch {
    time: u64,
    cpu: Option<u32>,
    /// Process and thread that the kernel sampled: that which left.
    sampled: (u32, u32),
    /// The threads that left and came.
    threads: (u32, u32),
}

impl Visit for Reading<'_> {
    fn attr(&mut self, attr: Attr) {
        self.attrs.push(attr);
    }

    fn record(&mut self, raw: RawRecord<'_>) {
        let id = self.sample_id(&raw);
        match record::parse(&raw, &self.attrs) {
            Some(record) => self.take(record, &raw, id),
            None => {
                let what = format!("record of type {} is shorter than its fields", raw.kind);
                self.problem(Error::malformed(self.path, raw.offset, what));
            }
        }
    }

    fn problem(&mut self, problem: Error) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.dropped_problems += 1;
        }
    }
}

impl<'p> Reading<'p> {
    fn new(path: &'p Path) -> Reading<'p> {
        Reading {
            path,
            attrs: Vec::new(),
            info: None,
            foreign_trace: None,
            conversion: None,
            streams: Streams::default(),
            mappings: Vec::new(),
            tasks: Vec::new(),
            switches: Vec::new(),
            switch_format: None,
            traced_switches: Vec::new(),
            pokes: Vec::new(),
            kernel_symbols: Vec::new(),
            samples: Vec::new(),
            problems: Vec::new(),
            dropped_problems: 0,
        }
    }

    fn sample_id(&self, raw: &RawRecord<'_>) -> SampleId {
        if raw.is_user() {
            return SampleId::default();
        }
        attr::for_record(&self.attrs, raw.body)
            .map_or_else(SampleId::default, |attr| attr.trailer(raw.body))
    }

    fn take(&mut self, record: Record<'_>, raw: &RawRecord<'_>, id: SampleId) {
        match record {
            Record::Mapping(mapping) => self.mappings.push((id.time, mapping)),
            Record::Task(task) => self.tasks.push((id.time, task)),
            Record::Switch { out, other } => self.switch(id, out, other),
            Record::TextPoke(poke) => self.pokes.push((id.time, poke)),
            Record::KernelSymbol(symbol) => self.kernel_symbols.push((id.time, symbol)),
            Record::Aux {
                offset,
                size,
                flags,
            } => self.aux(raw, id, offset.wrapping_add(size), flags),
            Record::TraceInfo(info) => {
                self.conversion = self.conversion.or(info.conversion);
                self.info = Some(info);
            }
            Record::ForeignTrace(kind) => self.foreign_trace = Some(kind),
            Record::Trace(piece) => self.streams.push(piece, raw),
            Record::Sample(sample) => self.sample(sample),
            Record::Tracepoints(described) => {
                self.switch_format = self.switch_format.or(SwitchFormat::find(described));
            }
            Record::TimeConversion(conversion) => self.conversion = Some(conversion),
            Record::TraceError { what } => {
                self.problem(Error::malformed(self.path, raw.offset, what))
            }
            Record::Lost(count) => {
                let what = format!("{count} records were lost while recording");
                self.problem(Error::malformed(self.path, raw.offset, what));
            }
            Record::Other => {}
        }
    }

    fn sample(&mut self, sample: Sample<'_>) {
        if let Some(bytes) = sample.trace {
            self.streams.push_sample(sample.id, bytes);
        }
        let (Some(time), Some(task)) = (sample.id.time, sample.id.task) else {
            return;
        };
        let thread = task.1;
        let format = self
            .switch_format
            .filter(|format| format.is_of(sample.event));
        let switched = format.and_then(|format| format.threads(sample.raw?));
        self.traced_switches
            .extend(switched.map(|threads| TracedSwitch {
                time,
                cpu: sample.id.cpu,
                sampled: task,
                threads,
            }));
        if let Some((rip, words)) = sample.registers {
            let taken = RegisterSample {
                time: Timestamp(time),
                thread: ThreadId(thread),
                rip: Address(rip),
                words,
            };
            self.samples.push((time, taken));
        }
    }

    fn switch(&mut self, id: SampleId, out: bool, _other: Option<(u32, u32)>) {
        let (Some(time), Some((process, thread))) = (id.time, id.task) else {
            return;
        };
        let switch = Switch {
            time: Timestamp(time),
            cpu: id.cpu,
            process,
            thread: ThreadId(thread),
            out,
        };
        self.switches.push((time, switch));
    }

    /// Tracepoints name threads only: a switch to one whose process is not known is left out, and
    /// nobody is on the processor until the next.
    fn use_traced_switches(&mut self) {
        const IDLE: u32 = 0;
        let traced = std::mem::take(&mut self.traced_switches);
        let mut processes: BTreeMap<u32, u32> = BTreeMap::from([(IDLE, IDLE)]);
        processes.extend(
            self.tasks
                .iter()
                .map(|(_, task)| (task.thread.0, task.process)),
        );
        processes.extend(
            traced
                .iter()
                .map(|traced| (traced.sampled.1, traced.sampled.0)),
        );
        for traced in traced {
            let (left, came) = traced.threads;
            for (thread, out) in [(left, true), (came, false)] {
                let process = processes.get(&thread);
                self.switches.extend(process.map(|&process| {
                    let switch = Switch {
                        time: Timestamp(traced.time),
                        cpu: traced.cpu,
                        process,
                        thread: ThreadId(thread),
                        out,
                    };
                    (traced.time, switch)
                }));
            }
        }
    }

    fn aux(&mut self, raw: &RawRecord<'_>, id: SampleId, end: u64, flags: u64) {
        const TRUNCATED: u64 = 1;
        const PARTIAL: u64 = 4;
        const COLLISION: u64 = 8;
        let lost = [
            (
                TRUNCATED,
                "the trace buffer was full and trace data was lost",
            ),
            (
                PARTIAL,
                "the trace has gaps: tracing was interrupted (AUX partial)",
            ),
            (
                COLLISION,
                "another user of the trace hardware interfered (AUX collision)",
            ),
        ];
        for (flag, what) in lost {
            if flags & flag != 0 {
                self.problem(Error::malformed(self.path, raw.offset, what));
            }
        }
        if flags & TRUNCATED != 0 {
            self.streams.lost(id, end);
        }
    }

    fn finish(
        mut self,
        file: FileBytes,
        build_ids: Vec<(String, BuildId)>,
        cpu: Option<CpuModel>,
    ) -> Result<Capture, Error> {
        let snapshots = self.info.as_ref().is_some_and(|info| info.snapshots);
        let streams = std::mem::take(&mut self.streams).finish(&file, snapshots);
        if streams.is_empty() {
            return Err(self.no_trace());
        }
        if self.info.is_none() {
            let what = "there is no AUXTRACE_INFO record: packets are taken for Intel PT, and their clock is not known";
            self.problem(Error::missing(self.path, what));
        }
        if self.switches.is_empty() {
            self.use_traced_switches();
        }
        let clock = self.clock();
        let timed = self.switches.len() + self.samples.len() > 0;
        if timed && !clock.comparable {
            let what = "nothing says how perf's clock and the time-stamp counter relate: context switches and sampled registers are not used";
            self.problem(Error::missing(self.path, what));
            self.switches.clear();
            self.samples.clear();
        }
        if self.dropped_problems > 0 {
            let what = format!(
                "{} more damaged places are not listed",
                self.dropped_problems
            );
            self.problems.push(Error::missing(self.path, what));
        }
        let uncompressed_returns = self.uncompressed_returns();
        let tsc = |time: u64| {
            clock
                .conversion
                .map_or(Timestamp(time), |conversion| conversion.to_tsc(time))
        };
        let when = |time: Option<u64>| time.filter(|&time| time != 0).map(tsc);
        let mut capture = Capture::empty(file);
        capture.streams = streams;
        capture.mappings = in_order(self.mappings, |mapping, time| mapping.time = when(time));
        capture.tasks = in_order(self.tasks, |task, time| task.time = when(time));
        capture.text_pokes = in_order(self.pokes, |poke, time| poke.time = when(time));
        capture.kernel_symbols = in_order(self.kernel_symbols, |symbol, time| {
            symbol.time = when(time);
        });
        capture.switches = in_order(self.switches, |switch, time| switch.time = tsc(time));
        capture.samples = in_order(self.samples, |sample, time| sample.time = tsc(time));
        capture.problems = self.problems;
        capture.clock = clock;
        capture.cpu = cpu;
        capture.uncompressed_returns = uncompressed_returns;
        add_build_ids(&mut capture.mappings, &build_ids);
        Ok(capture)
    }

    fn no_trace(mut self) -> Error {
        if let Some(kind) = self.foreign_trace {
            let what = format!("the trace in it is not Intel PT (AUXTRACE type {kind})");
            return Error::missing(self.path, what);
        }
        if self.problems.is_empty() {
            return Error::missing(
                self.path,
                "there is no Intel PT data in it (no AUXTRACE record)",
            );
        }
        self.problems.swap_remove(0)
    }

    fn pt_attr(&self) -> Option<&Attr> {
        let pmu = self.info.as_ref()?.pmu;
        self.attrs.iter().find(|attr| u64::from(attr.pmu) == pmu)
    }

    fn clock(&self) -> Clock {
        let info = self.info.as_ref();
        let period = |attr: &Attr| (attr.config >> 14 & 0xf) as u8;
        Clock {
            conversion: self.conversion,
            comparable: self.conversion.is_some()
                && !self.attrs.iter().any(Attr::has_foreign_clock),
            tsc_per_ctc: info.and_then(|info| info.tsc_per_ctc),
            mtc_period: self.pt_attr().map_or(0, period),
            max_nonturbo_ratio: info.and_then(|info| info.max_nonturbo_ratio),
        }
    }

    fn uncompressed_returns(&self) -> bool {
        const NO_RETURN_COMPRESSION: u64 = 1 << 11;
        self.pt_attr()
            .is_some_and(|attr| attr.config & NO_RETURN_COMPRESSION != 0)
    }
}

/// Context switches from bare records whose id fields are task and time, as LLDB keeps them for each
/// processor; times are perf's nanoseconds. A damaged end is told.
pub(super) fn switches(file: &FileBytes, cpu: u32) -> (Vec<Switch>, Option<Error>) {
    let attr = Attr::of_switches();
    let mut found = Vec::new();
    let mut at = 0;
    while at < file.len() {
        let raw = match RawRecord::split(&file[at..], at as u64) {
            Ok(raw) => raw,
            Err(what) => return (found, Some(what.located(file.path(), at as u64))),
        };
        let id = attr.trailer(raw.body);
        let parsed = record::parse(&raw, &[]);
        if let (Some(Record::Switch { out, .. }), Some((process, thread))) = (parsed, id.task) {
            found.extend(id.time.map(|time| Switch {
                time: Timestamp(time),
                cpu: Some(cpu),
                process,
                thread: ThreadId(thread),
                out,
            }));
        }
        at += raw.whole_len() as usize;
    }
    (found, None)
}

/// Sorts by time, keeping file order among equals, and stores the time in each event.
fn in_order<T, K: Ord + Copy>(mut events: Vec<(K, T)>, stamp: impl Fn(&mut T, K)) -> Vec<T> {
    events.sort_by_key(|&(time, _)| time);
    let stamped = events.into_iter().map(|(time, mut event)| {
        stamp(&mut event, time);
        event
    });
    stamped.collect()
}

/// Gives mappings the ids of the header's table where the record had none.
fn add_build_ids(mappings: &mut [MappingEvent], build_ids: &[(String, BuildId)]) {
    let table: BTreeMap<&str, &BuildId> = build_ids
        .iter()
        .map(|(name, id)| (name.as_str(), id))
        .collect();
    for mapping in mappings
        .iter_mut()
        .filter(|mapping| mapping.build_id.is_none())
    {
        mapping.build_id = table.get(mapping.name.as_str()).map(|&id| id.clone());
    }
}

/// `GenuineIntel,6,79,1` as in the header's CPUID feature.
fn cpu_model(text: &str) -> Option<CpuModel> {
    let mut fields = text.trim().split(',');
    let vendor = fields.next()?;
    let mut number = || fields.next()?.trim().parse::<u16>().ok();
    Some(CpuModel {
        intel: vendor == "GenuineIntel",
        family: number()?,
        model: number()?.try_into().ok()?,
        stepping: number()?.try_into().ok()?,
    })
}

/// A task's identity as `pid, tid` fields, -1 standing for none.
fn task_kind(named: Option<(String, bool)>, died: bool, parent: (u32, u32)) -> TaskKind {
    match (named, died) {
        (Some((name, exec)), _) => TaskKind::Named { name, exec },
        (None, true) => TaskKind::Died,
        (None, false) => TaskKind::Born {
            parent: parent.0,
            by: ThreadId(parent.1),
        },
    }
}
