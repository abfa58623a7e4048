//! The process's code over time, from the trace's mappings, files, the dump, and what kernel and
//! JITs told of code that they made or changed.
//!
//! There are two layers. What was *mapped*, or poked into the kernel, replaces what was there
//! before it, range by range. Above lies the code that a JIT told of: it lasts until other such code
//! replaces it, or a file is mapped in its place. Mappings of anonymous memory do not replace it, as
//! every change of protection is told as one (`perf inject --jit` leaves them out for that reason).

mod changeable;
mod jit;
mod sources;
mod timeline;

pub(crate) use jit::{Jit, open as open_jit};

use crate::binaries::Binaries;
use crate::capture::Capture;
use crate::dump::Dump;
use crate::mmap::FileBytes;
use changeable::{Changeable, State};
use rept_decode::{CodeBytes, CodeImage, MissingCode};
use rept_trace::{Address, Timestamp};
use sources::Sources;
use std::sync::Arc;
use timeline::{Cover, Span, Timeline};

/// The code of one process.
///
/// An address is answered by the newest version of its time. Where that mapping is still
/// there at the end, the dump's own bytes go first (they are what ran, breakpoints and
/// relocations included); then the file, which must have the build-id that the trace or the
/// dump names, if either does. Code without a file (`[vdso]`, anonymous) comes from the dump only.
pub(crate) struct ProcessImage<'a> {
    mapped: Layer,
    made: Layer,
    changes: Vec<Timestamp>,
    dump: Option<&'a Dump>,
    /// Times of records count the packets' clock.
    timed: bool,
    changeable: Changeable,
    /// When the process began another program, ascending.
    execs: Vec<Timestamp>,
}

/// Versions of code, later ones replacing earlier ones where they overlap.
#[derive(Default)]
struct Layer {
    versions: Vec<Version>,
    timeline: Timeline,
}

/// What was at a range of addresses from a time on.
struct Version {
    time: Option<Timestamp>,
    first: u64,
    /// Last address, so that a range may reach the top of the address space.
    last: u64,
    code: Code,
    /// The trace tells since when it is there.
    told: bool,
}

enum Code {
    /// In a file, from this offset on.
    Held(Arc<FileBytes>, u64),
    InDump,
    /// The process began anew, with an empty address space (exec).
    Nothing,
    /// Not here, and why.
    Missing(String),
}

/// What answers for an address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// What the dump holds there.
    Dump,
    /// The same, which may have been other code at the time.
    Changeable,
    /// It was other code at the time.
    Rewritten,
    Mapped(usize),
    Made(usize),
    Nothing,
}

/// As much as one answer needs at most: a block is shorter.
const MAX_EXTENT_BYTES: u64 = 1 << 16;
/// Pieces that are looked at for it.
const MAX_EXTENT_PIECES: usize = 1 << 10;
/// Longest x86 instruction.
const MAX_INSTRUCTION_BYTES: u64 = 15;

impl<'a> ProcessImage<'a> {
    /// The image of `process`; every process's mappings when `None`.
    pub(crate) fn new(
        capture: &Capture,
        process: Option<u32>,
        dump: Option<&'a Dump>,
        binaries: &Binaries,
        jit: &[Jit],
    ) -> ProcessImage<'a> {
        let sources = Sources {
            capture,
            process,
            dump,
            binaries,
        };
        let mapped = Layer::new(sources.mapped());
        let made = Layer::new(sources.made(jit));
        let all = mapped.versions.iter().chain(&made.versions);
        let mut changes: Vec<Timestamp> = all.filter_map(|version| version.time).collect();
        changes.sort_unstable();
        changes.dedup();
        let timed = capture.clock.comparable;
        let mut execs: Vec<Timestamp> = sources.execs().collect();
        execs.sort_unstable();
        ProcessImage {
            execs,
            changeable: Changeable::new(dump, &mapped, timed),
            mapped,
            made,
            changes: if timed { changes } else { Vec::new() },
            dump,
            timed,
        }
    }

    /// What answers for `at`, and the last address for which the same answer is sure.
    fn answer(&self, at: u64, time: Option<Timestamp>) -> (Answer, u64) {
        let (mapped, last_mapped) = self.mapped.cover(at, time);
        let (made, last_made) = self.made.cover(at, time);
        let last = last_mapped.min(last_made);
        if let Some(made) = made
            .newest
            .filter(|&made| self.is_on_top(made, mapped.newest, time))
        {
            return (Answer::Made(made), last);
        }
        let in_dump = !mapped.replaced && self.dumped(Address(at)).is_some();
        match mapped.newest {
            _ if in_dump => {
                let (state, last_alike) = self.changeable.state(at, time);
                (Answer::of_dump(state), last.min(last_alike))
            }
            Some(index) => (Answer::Mapped(index), last),
            None => (Answer::Nothing, last),
        }
    }

    /// Where the memory begins that holds `at`, if its code is the dump's and may have been other code
    /// before.
    pub(crate) fn changeable(&self, at: Address) -> Option<Address> {
        self.changeable.start(at)
    }

    /// There is memory that may be run, whose code is the dump's and may have been other code before.
    pub(crate) fn has_changeable(&self) -> bool {
        self.changeable.runs()
    }

    /// The code in memory that begins at `start` ([`ProcessImage::changeable`]) was not the dump's before
    /// `until`; or, if that is not known, perhaps never. Whether that was not known yet.
    pub(crate) fn rewritten(&mut self, start: Address, until: Option<Timestamp>) -> bool {
        let until = until.filter(|_| self.timed);
        let is_new = self.changeable.rewritten(start, until);
        if let Some(until) = until.filter(|_| is_new) {
            let index = self.changes.partition_point(|&change| change < until);
            self.changes.insert(index, until);
            self.changes.dedup();
        }
        is_new
    }

    /// Where code was rewritten as far as is known, and before when that was.
    pub(crate) fn all_rewritten(&self) -> impl Iterator<Item = (Address, Option<Timestamp>)> + '_ {
        self.changeable.changes()
    }

    /// Code was given that may have been other code at the time.
    pub(crate) fn gave_changeable(&self) -> bool {
        self.changeable.is_used()
    }

    /// Code that a JIT made is not replaced by what is mapped there, unless by another program.
    fn is_on_top(&self, made: usize, mapped: Option<usize>, time: Option<Timestamp>) -> bool {
        let made = &self.made.versions[made];
        let begun = |exec: &Timestamp| time.is_none_or(|time| *exec <= time);
        let program = self.execs[..self.execs.partition_point(begun)].last();
        if program.is_some_and(|&program| made.time < Some(program)) {
            return false;
        }
        let mapped = mapped.map(|index| &self.mapped.versions[index]);
        mapped.is_none_or(|mapped| matches!(mapped.code, Code::InDump) || mapped.time <= made.time)
    }

    /// Last address up to which the answer stays the same.
    fn extent(&self, answer: Answer, mut last: u64, first: u64, time: Option<Timestamp>) -> u64 {
        for _ in 0..MAX_EXTENT_PIECES {
            let Some(next) = last.checked_add(1) else {
                break;
            };
            let (same, end) = self.answer(next, time);
            if same != answer || last - first >= MAX_EXTENT_BYTES {
                break;
            }
            last = end;
        }
        last
    }

    /// Tells contents apart: which version, how far it reaches, and what is behind it when an
    /// instruction may reach there.
    fn generation(&self, answer: Answer, at: u64, last: u64, time: Option<Timestamp>) -> u64 {
        let mut mixed = mix(mix(FNV_OFFSET, answer.number()), last);
        if last - at < MAX_INSTRUCTION_BYTES
            && let Some(next) = last.checked_add(1)
        {
            mixed = mix(mixed, self.answer(next, time).0.number());
        }
        mixed
    }

    fn dumped(&self, at: Address) -> Option<&[u8]> {
        self.dump?
            .memory()
            .bytes(at)
            .filter(|bytes| !bytes.is_empty())
    }

    fn missing(&self, at: Address, answer: Answer) -> MissingCode {
        let code = match answer {
            Answer::Mapped(index) => Some(&self.mapped.versions[index].code),
            Answer::Made(index) => Some(&self.made.versions[index].code),
            Answer::Rewritten => {
                let wanted = format!("the code of the time at {at}, which was written anew later");
                return MissingCode { wanted };
            }
            Answer::Dump | Answer::Changeable | Answer::Nothing => None,
        };
        let wanted = match code {
            Some(Code::Missing(wanted)) => wanted.clone(),
            Some(Code::Held(file, _)) => format!("{} ends before {at}", file.path().display()),
            Some(Code::InDump) => {
                format!("a dump that holds the memory at {at}, which is backed by no file")
            }
            Some(Code::Nothing) | None => format!("nothing is known to be mapped at {at}"),
        };
        MissingCode { wanted }
    }
}

impl CodeImage for ProcessImage<'_> {
    fn code(&self, at: Address, time: Option<Timestamp>) -> Result<CodeBytes<'_>, MissingCode> {
        let time = time.filter(|_| self.timed);
        let (answer, last) = self.answer(at.0, time);
        let bytes = match answer {
            Answer::Dump => self.dumped(at),
            Answer::Changeable => {
                self.changeable.mark_used();
                self.dumped(at)
            }
            Answer::Rewritten => None,
            Answer::Mapped(index) => self.mapped.versions[index].bytes(at.0),
            Answer::Made(index) => self.made.versions[index].bytes(at.0),
            Answer::Nothing => None,
        };
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
            return Err(self.missing(at, answer));
        };
        let last = self.extent(answer, last, at.0, time);
        let len = (last - at.0).saturating_add(1).min(bytes.len() as u64);
        Ok(CodeBytes {
            bytes: &bytes[..len as usize],
            generation: self.generation(answer, at.0, last, time),
        })
    }

    fn changes(&self) -> &[Timestamp] {
        &self.changes
    }
}

impl Answer {
    fn of_dump(state: State) -> Answer {
        match state {
            State::Constant => Answer::Dump,
            State::Changeable => Answer::Changeable,
            State::Rewritten => Answer::Rewritten,
        }
    }

    fn number(self) -> u64 {
        match self {
            Answer::Nothing => 0,
            Answer::Dump => 1,
            Answer::Changeable => 2,
            Answer::Rewritten => 3,
            Answer::Mapped(index) => 4 + 2 * index as u64,
            Answer::Made(index) => 5 + 2 * index as u64,
        }
    }
}

/// Start value of the FNV-1a hash.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// One step of FNV-1a, by words.
fn mix(hash: u64, word: u64) -> u64 {
    const FNV_PRIME: u64 = 0x0100_0000_01b3;
    (hash ^ word).wrapping_mul(FNV_PRIME).rotate_left(29)
}

impl Layer {
    /// Versions in any order; of the same time, later ones replace earlier ones.
    fn new(mut versions: Vec<Version>) -> Layer {
        versions.sort_by_key(|version| version.time);
        let spans: Vec<Span> = versions
            .iter()
            .map(|version| Span {
                time: version.time,
                first: version.first,
                last: version.last,
            })
            .collect();
        Layer {
            timeline: Timeline::new(&spans),
            versions,
        }
    }

    /// What covers an address, and the last one for which it is the same.
    fn cover(&self, at: u64, time: Option<Timestamp>) -> (Cover, u64) {
        let piece = self.timeline.piece(at);
        (self.timeline.cover(piece, time), self.timeline.last(piece))
    }

    /// All of a range is of versions of which is known since when they are there.
    fn is_told(&self, first: u64, last: u64) -> bool {
        let mut at = first;
        loop {
            let (cover, end) = self.cover(at, None);
            let version = cover.newest.map(|index| &self.versions[index]);
            if version.is_none_or(|version| version.time.is_none() || !version.told) {
                return false;
            }
            match end.checked_add(1).filter(|&next| next <= last) {
                Some(next) => at = next,
                None => return true,
            }
        }
    }
}

impl Version {
    fn new(time: Option<Timestamp>, at: Address, len: u64, code: Code) -> Version {
        Version {
            time,
            first: at.0,
            last: at.0.saturating_add(len.saturating_sub(1)),
            code,
            told: true,
        }
    }

    /// The same, of whose begin the trace does not tell.
    fn untold(self) -> Version {
        Version {
            told: false,
            ..self
        }
    }

    fn bytes(&self, at: u64) -> Option<&[u8]> {
        let Code::Held(file, offset) = &self.code else {
            return None;
        };
        let start = usize::try_from(offset.checked_add(at - self.first)?).ok()?;
        let rest = file.get(start..)?;
        let len = (self.last - at).saturating_add(1).min(rest.len() as u64);
        Some(&rest[..len as usize])
    }
}

#[cfg(test)]
mod tests;
