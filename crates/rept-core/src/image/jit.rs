//! Code that the traced processes made, as their jitdump files tell it.

use crate::Error;
use crate::binaries::{Binaries, Wanted};
use crate::capture::{Capture, JitDump, JitFunction, MappingEvent};
use crate::diagnostics::{Diagnostic, Subject};
use crate::mmap::FileBytes;
use rept_trace::Timestamp;
use std::path::Path;
use std::sync::Arc;

/// The jitdump of one process.
#[derive(Debug)]
pub(crate) struct Jit {
    pub(crate) process: Option<u32>,
    dump: JitDump,
}

/// Opens the jitdump files that the recorded processes mapped.
pub(crate) fn open(capture: &Capture, binaries: &Binaries) -> (Vec<Jit>, Vec<Diagnostic>) {
    let (mut found, mut said) = (Vec::new(), Vec::new());
    let mut seen: Vec<(Option<u32>, &str)> = Vec::new();
    for mapping in capture.mappings.iter().filter(|mapping| is_marker(mapping)) {
        let key = (mapping.process, mapping.name.as_str());
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        let subject = || Subject::Module(mapping.name.clone());
        let mut say = |what: String| said.push(Diagnostic::new(subject(), what));
        match one(mapping, binaries) {
            Err(error) => say(format!("{error}: code made at run time is missing")),
            Ok(dump) => {
                let path = dump.file.path().display();
                for problem in &dump.problems {
                    say(problem.to_string());
                }
                if !dump.times_are_tsc {
                    say(format!(
                        "{path}: its times are not those of the time-stamp counter, by which the trace goes: the last code at an address is taken for all of its time"
                    ));
                }
                found.push(Jit {
                    process: mapping.process,
                    dump,
                });
            }
        }
    }
    (found, said)
}

/// The executable mapping by which a JIT tells of its file: `jit-PID.dump`.
fn is_marker(mapping: &MappingEvent) -> bool {
    let base = mapping.name.rsplit('/').next().unwrap_or_default();
    let number = base
        .strip_prefix("jit-")
        .and_then(|rest| rest.strip_suffix(".dump"));
    number.is_some_and(|pid| !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()))
}

fn one(mapping: &MappingEvent, binaries: &Binaries) -> Result<JitDump, Error> {
    let wanted = Wanted {
        path: mapping.name.clone(),
        build_id: None,
    };
    let mut candidates = binaries.candidates(&wanted);
    match candidates.find(|candidate| candidate.is_file()) {
        Some(path) => JitDump::open(&path),
        None => Err(Error::missing(Path::new(&wanted.path), "was not found")),
    }
}

impl Jit {
    /// The functions, and when each came to be where it is, on the trace's clock.
    pub(crate) fn functions(&self) -> impl Iterator<Item = (Option<Timestamp>, &JitFunction)> {
        let functions = self.dump.functions.iter();
        functions.map(|function| {
            let time = self.dump.times_are_tsc.then_some(Timestamp(function.time));
            (time, function)
        })
    }

    pub(crate) fn file(&self) -> &Arc<FileBytes> {
        &self.dump.file
    }
}
