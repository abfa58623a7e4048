//! The records that matter, typed (`enum perf_event_type`, `enum perf_user_event_type`).

use super::super::{KernelSymbol, MappingEvent, TaskEvent, TaskKind, TextPoke, TimeConversion};
use super::attr::{self, Attr};
use super::samples::Sample;
use super::task_kind;
use crate::fields::Fields;
use crate::{BuildId, Error};
use rept_trace::{Address, ThreadId};
use std::path::Path;

/// Record types.
pub(super) mod kind {
    pub(crate) const MMAP: u32 = 1;
    pub(crate) const LOST: u32 = 2;
    pub(crate) const COMM: u32 = 3;
    pub(crate) const EXIT: u32 = 4;
    pub(crate) const FORK: u32 = 7;
    pub(crate) const SAMPLE: u32 = 9;
    pub(crate) const MMAP2: u32 = 10;
    pub(crate) const AUX: u32 = 11;
    pub(crate) const ITRACE_START: u32 = 12;
    pub(crate) const LOST_SAMPLES: u32 = 13;
    pub(crate) const SWITCH: u32 = 14;
    pub(crate) const SWITCH_CPU_WIDE: u32 = 15;
    pub(crate) const KSYMBOL: u32 = 17;
    pub(crate) const TEXT_POKE: u32 = 20;
    /// First type that the perf tool, not the kernel, writes.
    pub(crate) const FIRST_USER: u32 = 64;
    pub(crate) const HEADER_ATTR: u32 = 64;
    pub(crate) const HEADER_TRACING_DATA: u32 = 66;
    pub(crate) const HEADER_BUILD_ID: u32 = 67;
    pub(crate) const AUXTRACE_INFO: u32 = 70;
    pub(crate) const AUXTRACE: u32 = 71;
    pub(crate) const AUXTRACE_ERROR: u32 = 72;
    pub(crate) const TIME_CONV: u32 = 79;
    pub(crate) const HEADER_FEATURE: u32 = 80;
    pub(crate) const COMPRESSED: u32 = 81;
    pub(crate) const COMPRESSED2: u32 = 83;
}

/// A record as it lies in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawRecord<'a> {
    pub(super) kind: u32,
    pub(super) misc: u16,
    /// Without the 8 bytes of the record header.
    pub(super) body: &'a [u8],
    /// Bytes that follow the record without being counted in its size (AUXTRACE, HEADER_TRACING_DATA).
    pub(super) payload: &'a [u8],
    /// Offset of the record in the file; of the containing record when it was compressed.
    pub(super) offset: u64,
}

/// Why there is no record.
pub(super) enum NoRecord {
    /// Bytes missing.
    Short(u64),
    /// A size smaller than the record header.
    Size(u16),
}

impl NoRecord {
    pub(super) fn is_short(&self) -> bool {
        matches!(self, NoRecord::Short(_))
    }

    pub(super) fn located(&self, path: &Path, at: u64) -> Error {
        match self {
            NoRecord::Short(missing) => Error::truncated(path, at, "a record", *missing),
            NoRecord::Size(size) => {
                let what = format!("a record of {size} bytes cannot be; what follows is not read");
                Error::malformed(path, at, what)
            }
        }
    }
}

impl<'a> RawRecord<'a> {
    /// The record at the start of `bytes`, which lie at `offset`.
    pub(super) fn split(bytes: &'a [u8], offset: u64) -> Result<RawRecord<'a>, NoRecord> {
        let mut cursor = Fields::new(bytes);
        let header = (|| Some((cursor.u32()?, cursor.u16()?, cursor.u16()?)))();
        let (kind, misc, size) =
            header.ok_or(NoRecord::Short(8u64.saturating_sub(bytes.len() as u64)))?;
        if size < 8 {
            return Err(NoRecord::Size(size));
        }
        let missing = u64::from(size).saturating_sub(bytes.len() as u64);
        let body = bytes
            .get(8..usize::from(size))
            .ok_or(NoRecord::Short(missing))?;
        Ok(RawRecord {
            kind,
            misc,
            body,
            payload: &[],
            offset,
        })
    }

    /// Written by the perf tool, without id fields.
    pub(super) fn is_user(&self) -> bool {
        self.kind >= kind::FIRST_USER
    }

    /// Bytes that ought to follow the record.
    pub(super) fn payload_len(&self) -> u64 {
        let mut cursor = Fields::new(self.body);
        match self.kind {
            kind::AUXTRACE => cursor.u64().unwrap_or(0),
            kind::HEADER_TRACING_DATA => u64::from(cursor.u32().unwrap_or(0)).next_multiple_of(8),
            _ => 0,
        }
    }

    /// Bytes from this record to the next.
    pub(super) fn whole_len(&self) -> u64 {
        8 + self.body.len() as u64 + self.payload.len() as u64
    }
}

/// A record, typed.
pub(super) enum Record<'a> {
    Mapping(MappingEvent),
    Task(TaskEvent),
    Switch {
        out: bool,
        other: Option<(u32, u32)>,
    },
    TextPoke(TextPoke),
    KernelSymbol(KernelSymbol),
    Aux {
        offset: u64,
        size: u64,
        flags: u64,
    },
    TraceInfo(PtInfo),
    ForeignTrace(u32),
    Trace(TracePiece),
    Sample(Sample<'a>),
    TimeConversion(TimeConversion),
    Tracepoints(&'a [u8]),
    TraceError {
        what: String,
    },
    Lost(u64),
    Other,
}

/// AUXTRACE_INFO of Intel PT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PtInfo {
    pub(super) pmu: u64,
    pub(super) conversion: Option<TimeConversion>,
    pub(super) tsc_per_ctc: Option<(u32, u32)>,
    pub(super) max_nonturbo_ratio: Option<u8>,
    /// The trace is in snapshots of rings.
    pub(super) snapshots: bool,
}

/// AUXTRACE without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TracePiece {
    pub(super) offset: u64,
    pub(super) reference: u64,
    pub(super) thread: Option<u32>,
    pub(super) cpu: Option<u32>,
}

/// Types a record; `None` when it is too short.
pub(super) fn parse<'a>(raw: &RawRecord<'a>, attrs: &[Attr]) -> Option<Record<'a>> {
    let mut cursor = Fields::new(raw.body);
    let record = match raw.kind {
        kind::MMAP | kind::MMAP2 => mapping(cursor, raw)?.map_or(Record::Other, Record::Mapping),
        kind::COMM | kind::EXIT | kind::FORK | kind::ITRACE_START => task(cursor, raw)?,
        kind::LOST => {
            cursor.u64()?;
            Record::Lost(cursor.u64()?)
        }
        kind::LOST_SAMPLES => Record::Lost(cursor.u64()?),
        kind::SWITCH | kind::SWITCH_CPU_WIDE => switch(cursor, raw)?,
        kind::TEXT_POKE => text_poke(cursor)?,
        kind::AUX => Record::Aux {
            offset: cursor.u64()?,
            size: cursor.u64()?,
            flags: cursor.u64()?,
        },
        kind::SAMPLE => match attr::for_sample(attrs, raw.body) {
            Some(attr) => {
                super::samples::parse(attr, raw.body).map_or(Record::Other, Record::Sample)
            }
            None => Record::Other,
        },
        kind::AUXTRACE_INFO => trace_info(cursor)?,
        kind::AUXTRACE => Record::Trace(trace_piece(cursor)?),
        kind::AUXTRACE_ERROR => trace_error(cursor)?,
        kind::TIME_CONV => conversion(cursor.u64()?, cursor.u64()?, cursor.u64()?)
            .map_or(Record::Other, Record::TimeConversion),
        kind::HEADER_TRACING_DATA => Record::Tracepoints(raw.payload),
        kind::KSYMBOL => kernel_symbol(cursor)?.map_or(Record::Other, Record::KernelSymbol),
        _ => Record::Other,
    };
    Some(record)
}

/// MMAP and MMAP2. Empty ones are not wanted, which is `Some(None)`.
fn mapping(mut cursor: Fields<'_>, raw: &RawRecord<'_>) -> Option<Option<MappingEvent>> {
    const DATA: u16 = 1 << 13;
    const HAS_BUILD_ID: u16 = 1 << 14;
    const EXECUTE: u32 = 4;
    let process = cursor.u32()?;
    let thread = cursor.u32()?;
    let (start, len, file_offset) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
    let (mut build_id, mut device, mut inode) = (None, None, None);
    let mut execute = raw.misc & DATA == 0;
    if raw.kind == kind::MMAP2 {
        let identity = cursor.take(24)?;
        if raw.misc & HAS_BUILD_ID != 0 {
            let len = usize::from(identity[0]).min(20);
            build_id = BuildId::new(&identity[4..4 + len]);
        } else {
            let mut identity = Fields::at(identity, 0);
            let numbers = (identity.u32()?, identity.u32()?);
            inode = identity.u64().filter(|&inode| inode != 0);
            device = inode.map(|_| numbers);
        }
        let (protection, _flags) = (cursor.u32()?, cursor.u32()?);
        // Synthesized records carry no protection at all.
        execute = execute && (protection == 0 || protection & EXECUTE != 0);
    }
    let mapping = MappingEvent {
        time: None,
        process: (process != u32::MAX).then_some(process),
        thread: (thread != u32::MAX).then_some(ThreadId(thread)),
        start: Address(start),
        len,
        file_offset,
        execute,
        name: cursor.text(),
        build_id,
        device,
        inode,
    };
    Some((len > 0).then_some(mapping))
}

fn task<'a>(mut cursor: Fields<'a>, raw: &RawRecord<'a>) -> Option<Record<'a>> {
    const EXEC: u16 = 1 << 13;
    let process = cursor.u32()?;
    let second = cursor.u32()?;
    let (thread, kind) = match raw.kind {
        kind::COMM => (
            second,
            task_kind(Some((cursor.text(), raw.misc & EXEC != 0)), false, (0, 0)),
        ),
        kind::ITRACE_START => (second, TaskKind::Traced),
        died_or_born => (
            cursor.u32()?,
            task_kind(None, died_or_born == kind::EXIT, (second, cursor.u32()?)),
        ),
    };
    if process == u32::MAX || thread == u32::MAX {
        return Some(Record::Other);
    }
    Some(Record::Task(TaskEvent {
        time: None,
        process,
        thread: ThreadId(thread),
        kind,
    }))
}

fn switch<'a>(mut cursor: Fields<'a>, raw: &RawRecord<'a>) -> Option<Record<'a>> {
    const OUT: u16 = 1 << 13;
    let other = match raw.kind {
        kind::SWITCH_CPU_WIDE => Some((cursor.u32()?, cursor.u32()?)),
        _ => None,
    };
    Some(Record::Switch {
        out: raw.misc & OUT != 0,
        other,
    })
}

fn text_poke<'a>(mut cursor: Fields<'a>) -> Option<Record<'a>> {
    let at = Address(cursor.u64()?);
    let (old_len, new_len) = (cursor.u16()?, cursor.u16()?);
    Some(Record::TextPoke(TextPoke {
        time: None,
        at,
        old: cursor.take(old_len.into())?.to_vec(),
        new: cursor.take(new_len.into())?.to_vec(),
    }))
}

/// KSYMBOL; `Some(None)` for one without code.
fn kernel_symbol(mut cursor: Fields<'_>) -> Option<Option<KernelSymbol>> {
    const UNREGISTER: u16 = 1;
    let at = Address(cursor.u64()?);
    let len = u64::from(cursor.u32()?);
    let (_kind, flags) = (cursor.u16()?, cursor.u16()?);
    let symbol = KernelSymbol {
        time: None,
        at,
        len,
        name: cursor.text(),
        gone: flags & UNREGISTER != 0,
    };
    Some((len > 0).then_some(symbol))
}

/// Type 1 is Intel PT; older perf writes fewer words, of which nine are needed.
fn trace_info<'a>(mut cursor: Fields<'a>) -> Option<Record<'a>> {
    const INTEL_PT: u32 = 1;
    let kind = cursor.u32()?;
    let _reserved = cursor.u32()?;
    if kind != INTEL_PT {
        return Some(Record::ForeignTrace(kind));
    }
    let mut words = [0u64; 17];
    let mut count = 0;
    while let Some((slot, word)) = words.get_mut(count).zip(cursor.u64()) {
        *slot = word;
        count += 1;
    }
    if count < 9 {
        return None;
    }
    let [pmu, shift, mult, zero, has_zero, ..] = words;
    let conversion = if has_zero != 0 {
        conversion(shift, mult, zero)
    } else {
        None
    };
    let tsc_per_ctc = (words[12] as u32, words[13] as u32);
    Some(Record::TraceInfo(PtInfo {
        pmu,
        conversion,
        tsc_per_ctc: (tsc_per_ctc.0 != 0 && tsc_per_ctc.1 != 0).then_some(tsc_per_ctc),
        snapshots: words[8] != 0,
        max_nonturbo_ratio: u8::try_from(words[15]).ok().filter(|&ratio| ratio != 0),
    }))
}

fn trace_piece(mut cursor: Fields<'_>) -> Option<TracePiece> {
    let told = |id: u32| (id != u32::MAX).then_some(id);
    let (_size, offset, reference) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
    let (_index, thread, cpu) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
    Some(TracePiece {
        offset,
        reference,
        thread: told(thread),
        cpu: told(cpu),
    })
}

fn trace_error<'a>(mut cursor: Fields<'a>) -> Option<Record<'a>> {
    let (_kind, _code) = (cursor.u32()?, cursor.u32()?);
    let (cpu, _pid, thread) = (cursor.i32()?, cursor.i32()?, cursor.i32()?);
    let _reserved = cursor.u32()?;
    let ip = cursor.u64()?;
    let _time = cursor.u64();
    let message = cursor.text();
    let what = format!(
        "the recorder noted a trace error at {ip:#x} (thread {thread}, cpu {cpu}): {message}"
    );
    Some(Record::TraceError { what })
}

/// A conversion that can be used: shift below 64 and multiplier of 32 bits, not 0.
fn conversion(shift: u64, mult: u64, zero: u64) -> Option<TimeConversion> {
    let shift = u16::try_from(shift).ok().filter(|&shift| shift < 64)?;
    let mult = u32::try_from(mult).ok().filter(|&mult| mult != 0)?;
    Some(TimeConversion { shift, mult, zero })
}
