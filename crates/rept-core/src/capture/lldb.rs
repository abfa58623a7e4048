//! Trace bundles of LLDB: `trace.json` and the files that it names.
//!
//! The layout is in LLVM's source, `lldb/source/Plugins/Trace/intel-pt`
//! (`TraceIntelPTJSONStructs.h`, `TraceIntelPTBundleLoader.cpp`). A bundle has one file of packets for
//! each thread, or one for each processor with a file of perf's records of context switches beside
//! it. Modules are named with their load addresses; what of them was mapped where is in the files.

mod description;
mod modules;

#[cfg(test)]
mod tests;

use super::{
    Capture, Clock, CpuModel, Part, Piece, Stream, Switch, TaskEvent, TaskKind, TimeConversion,
    perf_data,
};
use crate::Error;
use crate::binaries::Binaries;
use crate::mmap::FileBytes;
use description::{Bundle, Processor};
use rept_trace::{ThreadId, Timestamp};
use std::path::{Path, PathBuf};

/// Name of the description in a bundle's folder.
pub(super) const DESCRIPTION: &str = "trace.json";

/// Whether a file may be a bundle's description.
pub(super) fn is_description(bytes: &[u8]) -> bool {
    let mut text = bytes.iter().filter(|byte| !byte.is_ascii_whitespace());
    text.next() == Some(&b'{') && matches!(text.next(), Some(b'"' | b'}'))
}

/// Reads a bundle by its description.
pub(super) fn read(description: FileBytes, binaries: &Binaries) -> Result<Capture, Error> {
    let path = description.path().to_owned();
    let bundle = Bundle::parse(&path, &description)?;
    let mut capture = Capture::empty(description);
    let mut reading = Reading {
        folder: path.parent().unwrap_or(Path::new("")).to_owned(),
        capture: &mut capture,
    };
    reading.clock(&bundle);
    reading.tasks(&bundle);
    reading.threads(&bundle);
    for processor in &bundle.cpus {
        reading.processor(processor);
    }
    for process in &bundle.processes {
        let (mappings, problems) = modules::mappings(&reading.folder, process, binaries);
        reading.capture.mappings.extend(mappings);
        let problems = problems.into_iter().map(|what| Error::missing(&path, what));
        reading.capture.problems.extend(problems);
    }
    if capture.streams.is_empty() {
        let nothing = || Error::missing(&path, "it names no file of Intel PT packets");
        return Err(capture.problems.into_iter().next().unwrap_or_else(nothing));
    }
    capture.switches.sort_by_key(|switch| switch.time);
    capture
        .streams
        .sort_by_key(|stream| (stream.cpu, stream.thread));
    Ok(capture)
}

struct Reading<'c> {
    folder: PathBuf,
    capture: &'c mut Capture,
}

impl Reading<'_> {
    fn clock(&mut self, bundle: &Bundle) {
        let conversion = bundle.conversion.as_ref().map(|told| TimeConversion {
            shift: told.shift,
            mult: told.mult,
            zero: told.zero.0,
        });
        self.capture.clock = Clock {
            conversion: conversion.filter(|told| told.mult != 0 && told.shift < 64),
            // There are no times but those of switches, which are converted or left out.
            comparable: true,
            ..Clock::default()
        };
        self.capture.cpu = Some(CpuModel {
            intel: bundle.cpu.vendor == "GenuineIntel",
            family: bundle.cpu.family,
            model: bundle.cpu.model,
            stepping: bundle.cpu.stepping,
        });
    }

    fn tasks(&mut self, bundle: &Bundle) {
        for process in &bundle.processes {
            let traced = process.threads.iter().map(|thread| TaskEvent {
                time: None,
                process: process.pid,
                thread: ThreadId(thread.tid),
                kind: TaskKind::Traced,
            });
            self.capture.tasks.extend(traced);
        }
    }

    fn threads(&mut self, bundle: &Bundle) {
        let threads = bundle.processes.iter().flat_map(|process| &process.threads);
        for thread in threads {
            if let Some(trace) = &thread.trace {
                self.stream(trace, None, Some(ThreadId(thread.tid)));
            }
        }
    }

    fn processor(&mut self, processor: &Processor) {
        self.stream(&processor.trace, Some(processor.id), None);
        let Some(file) = self.open(&processor.switches) else {
            return;
        };
        let Some(conversion) = self.capture.clock.conversion else {
            let what = "nothing says how perf's clock and the time-stamp counter relate (tscPerfZeroConversion): context switches are not used";
            self.problem(Error::missing(file.path(), what));
            return;
        };
        let (switches, problem) = perf_data::switches(&file, processor.id);
        self.capture.problems.extend(problem);
        let switches = switches.into_iter().map(|switch| Switch {
            time: conversion.to_tsc(switch.time.0),
            ..switch
        });
        self.capture.switches.extend(switches);
    }

    fn stream(&mut self, name: &str, cpu: Option<u32>, thread: Option<ThreadId>) {
        let Some(file) = self.open(name) else {
            return;
        };
        if file.is_empty() {
            let empty = Error::empty(file.path());
            return self.problem(empty);
        }
        let len = file.len() as u64;
        self.capture.streams.push(Stream {
            cpu,
            thread,
            pieces: vec![Piece {
                parts: vec![Part::Beside(file.into(), 0..len as usize)],
                offset: 0,
                len,
                reference: Timestamp(0),
            }],
        });
    }

    fn open(&mut self, name: &str) -> Option<FileBytes> {
        let opened = FileBytes::open_regular(&self.folder.join(name));
        opened.map_err(|error| self.problem(error)).ok()
    }

    fn problem(&mut self, problem: Error) {
        self.capture.problems.push(problem);
    }
}
