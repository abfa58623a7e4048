//! A `perf.data` file as `perf record --snapshot -e intel_pt/cyc=1/u` leaves it: side-band
//! records of what was mapped and which threads lived, and one AUX area per thread.
//!
//! Layout: Linux, `tools/perf/Documentation/perf.data-file-format.txt` and
//! `include/uapi/linux/perf_event.h`; the AUXTRACE_INFO words are those of
//! `tools/perf/arch/x86/util/intel-pt.c`.

mod attr;
mod record;
mod side_band;

use crate::error::Error;
use crate::schedule::Timing;
use attr::{ATTR_BYTES, Attr};
use record::Record;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

pub(crate) use side_band::{SideBand, Stamp};

const HEADER_BYTES: u64 = 104;
/// Attribute, then the (offset, size) of its ids.
const ATTR_ENTRY_BYTES: u64 = ATTR_BYTES as u64 + 16;
const FEATURE_AUXTRACE: u32 = 18;

/// Whose PT bytes they are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner {
    Thread(u32),
    Cpu(u32),
}

impl Owner {
    // As AUXTRACE names it: (thread, core), -1 for any.
    fn ids(self) -> (u32, u32) {
        match self {
            Owner::Thread(tid) => (tid, u32::MAX),
            Owner::Cpu(cpu) => (u32::MAX, cpu),
        }
    }
}

/// The PT bytes of one thread or core.
pub(crate) struct AuxArea<'a> {
    pub(crate) owner: Owner,
    /// Bytes that the stream had in all; those before the surviving ones were overwritten.
    pub(crate) written: u64,
    pub(crate) halves: (&'a [u8], &'a [u8]),
}

impl AuxArea<'_> {
    fn len(&self) -> u64 {
        (self.halves.0.len() + self.halves.1.len()) as u64
    }

    fn offset(&self) -> u64 {
        self.written - self.len()
    }
}

/// What the file says about how it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) pid: u32,
    /// PSB packets are 2^(11 + n) bytes apart.
    pub(crate) psb_period_exponent: u32,
    /// Steps of a thread between two samples of its registers.
    pub(crate) sample_period: Option<u64>,
    /// Streams are those of cores.
    pub(crate) per_cpu: bool,
    /// Which timing packets the streams hold.
    pub(crate) timing: Timing,
}

/// Writes the file; `now` is the TSC at which recording ended. Returns its size in bytes.
pub(crate) fn write(
    path: &Path,
    setup: Setup,
    mut side_band: SideBand,
    areas: &[AuxArea<'_>],
    now: u64,
) -> Result<u64, Error> {
    for area in areas {
        let (tid, cpu) = match area.owner {
            Owner::Thread(tid) => (tid, None),
            Owner::Cpu(cpu) => (setup.pid, Some(cpu)),
        };
        let stamp = Stamp {
            pid: setup.pid,
            tid,
            tsc: now,
            cpu,
        };
        side_band.aux(stamp, area.offset(), area.len());
    }
    let attrs = attr::attrs(setup);
    let data_at = HEADER_BYTES + attrs.len() as u64 * (ATTR_ENTRY_BYTES + 8);
    let mut info = attr::auxtrace_info(setup.per_cpu, side_band.rate);
    info.extend(attr::time_conversion(side_band.rate));
    let mut at = data_at + (info.len() + side_band.records.len()) as u64;
    let mut index = Vec::with_capacity(areas.len());
    for area in areas {
        index.push((at, AUXTRACE_BYTES));
        at += AUXTRACE_BYTES + area.len();
    }
    let features = auxtrace_index(at, &index);

    let save = || -> io::Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        out.write_all(&header(&attrs, data_at, at - data_at))?;
        out.write_all(&info)?;
        out.write_all(&side_band.records)?;
        for (position, area) in areas.iter().enumerate() {
            out.write_all(&auxtrace(area, position as u32, now))?;
            out.write_all(area.halves.0)?;
            out.write_all(area.halves.1)?;
        }
        out.write_all(&features)?;
        out.flush()
    };
    save().map_err(|source| Error::io("write", path, source))?;
    Ok(at + features.len() as u64)
}

// The file's header, the attributes, and the one id of each.
fn header(attrs: &[(u64, Attr)], data_at: u64, data_bytes: u64) -> Vec<u8> {
    let count = attrs.len() as u64;
    let ids_at = HEADER_BYTES + count * ATTR_ENTRY_BYTES;
    let mut out = b"PERFILE2".to_vec();
    let mut words = |words: &[u64]| words.iter().for_each(|w| out.extend(w.to_le_bytes()));
    words(&[HEADER_BYTES, ATTR_ENTRY_BYTES]);
    words(&[
        HEADER_BYTES,
        count * ATTR_ENTRY_BYTES,
        data_at,
        data_bytes,
        0,
        0,
    ]);
    let mut features = [0u8; 32];
    features[FEATURE_AUXTRACE as usize / 8] |= 1 << (FEATURE_AUXTRACE % 8);
    out.extend(features);
    for (position, (_, attr)) in (0u64..).zip(attrs) {
        out.extend(attr);
        out.extend((ids_at + position * 8).to_le_bytes());
        out.extend(8u64.to_le_bytes());
    }
    attrs
        .iter()
        .for_each(|(id, _)| out.extend(id.to_le_bytes()));
    out
}

const AUXTRACE_BYTES: u64 = 48;

// The record's size does not count the PT bytes that follow it.
fn auxtrace(area: &AuxArea<'_>, index: u32, now: u64) -> Vec<u8> {
    const RECORD_AUXTRACE: u32 = 71;
    let (tid, cpu) = area.owner.ids();
    let mut record = Record::new(RECORD_AUXTRACE, 0);
    record.u64s(&[area.len(), area.offset(), now]);
    record.u32s(&[index, tid, cpu, 0]);
    record.done()
}

// The feature section of a table with one entry, and its data: where the AUXTRACE records are.
fn auxtrace_index(at: u64, index: &[(u64, u64)]) -> Vec<u8> {
    let mut data = (index.len() as u64).to_le_bytes().to_vec();
    for (offset, size) in index {
        data.extend(offset.to_le_bytes());
        data.extend(size.to_le_bytes());
    }
    let mut out = (at + 16).to_le_bytes().to_vec();
    out.extend((data.len() as u64).to_le_bytes());
    out.extend(data);
    out
}
