//! A `perf.data` file as `perf record --snapshot -e intel_pt/cyc=1/u` leaves it: side-band
//! records of what was mapped and which threads lived, and one AUX area per thread.
//!
//! Layout: Linux, `tools/perf/Documentation/perf.data-file-format.txt` and
//! `include/uapi/linux/perf_event.h`; the AUXTRACE_INFO words are those of
//! `tools/perf/arch/x86/util/intel-pt.c`.

use crate::clock;
use crate::error::Error;
use crate::maps::Mapping;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

const HEADER_BYTES: u64 = 104;
const ATTR_BYTES: u32 = 128;
/// Attribute, then the (offset, size) of its ids.
const ATTR_ENTRY_BYTES: u64 = ATTR_BYTES as u64 + 16;
/// The `intel_pt` PMU's number is assigned when the kernel starts; this one is typical.
const PMU_TYPE: u32 = 8;
/// Event ids: the PT event, and the dummy event that carries the side band.
const IDS: [u64; 2] = [1, 2];

const SAMPLE_IP: u64 = 1 << 0;
const SAMPLE_TID: u64 = 1 << 1;
const SAMPLE_TIME: u64 = 1 << 2;
const SAMPLE_CPU: u64 = 1 << 7;
const SAMPLE_IDENTIFIER: u64 = 1 << 16;
const SAMPLE_TYPE: u64 = SAMPLE_IP | SAMPLE_TID | SAMPLE_TIME | SAMPLE_CPU | SAMPLE_IDENTIFIER;

const RECORD_COMM: u32 = 3;
const RECORD_EXIT: u32 = 4;
const RECORD_FORK: u32 = 7;
const RECORD_MMAP2: u32 = 10;
const RECORD_AUX: u32 = 11;
const RECORD_ITRACE_START: u32 = 12;
const RECORD_AUXTRACE_INFO: u32 = 70;
const RECORD_AUXTRACE: u32 = 71;

const MISC_USER: u16 = 2;
const MISC_COMM_EXEC: u16 = 1 << 13;
const MISC_MMAP_BUILD_ID: u16 = 1 << 14;
const AUX_OVERWRITE: u64 = 2;
const FEATURE_AUXTRACE: u32 = 18;

/// Who and when: what the trailer of every side-band record says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) tsc: u64,
}

/// One thread's PT bytes.
pub(crate) struct AuxArea<'a> {
    pub(crate) tid: u32,
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

/// The side band, gathered while the program runs.
#[derive(Debug, Default)]
pub(crate) struct SideBand {
    records: Vec<u8>,
}

impl SideBand {
    pub(crate) fn comm(&mut self, stamp: Stamp, name: &str, exec: bool) {
        let misc = MISC_USER | if exec { MISC_COMM_EXEC } else { 0 };
        let mut body = Body::new(RECORD_COMM, misc);
        body.u32s(&[stamp.pid, stamp.tid]).text(name);
        self.finish(body, stamp);
    }

    /// Thread `stamp.tid` begins, made by `parent`.
    pub(crate) fn fork(&mut self, stamp: Stamp, parent: u32) {
        self.life(RECORD_FORK, stamp, parent);
    }

    /// Thread `stamp.tid` ends.
    pub(crate) fn exit(&mut self, stamp: Stamp) {
        self.life(RECORD_EXIT, stamp, stamp.pid);
    }

    fn life(&mut self, kind: u32, stamp: Stamp, parent: u32) {
        let mut body = Body::new(kind, MISC_USER);
        body.u32s(&[stamp.pid, stamp.pid, stamp.tid, parent]);
        body.u64s(&[clock::nanoseconds(stamp.tsc)]);
        self.finish(body, stamp);
    }

    pub(crate) fn mmap(&mut self, stamp: Stamp, mapping: &Mapping, build_id: Option<&[u8]>) {
        let misc = MISC_USER
            | if build_id.is_some() {
                MISC_MMAP_BUILD_ID
            } else {
                0
            };
        let mut body = Body::new(RECORD_MMAP2, misc);
        body.u32s(&[stamp.pid, stamp.tid]);
        body.u64s(&[mapping.start, mapping.end - mapping.start, mapping.offset]);
        match build_id {
            Some(id) => body.build_id(id),
            None => body
                .u32s(&[mapping.device.0, mapping.device.1])
                .u64s(&[mapping.inode, 0]),
        };
        body.u32s(&[protection(mapping), if mapping.shared { 1 } else { 2 }]);
        body.text(if mapping.name.is_empty() {
            "//anon"
        } else {
            &mapping.name
        });
        self.finish(body, stamp);
    }

    pub(crate) fn trace_start(&mut self, stamp: Stamp) {
        let mut body = Body::new(RECORD_ITRACE_START, 0);
        body.u32s(&[stamp.pid, stamp.tid]);
        self.finish(body, stamp);
    }

    fn aux(&mut self, stamp: Stamp, area: &AuxArea<'_>) {
        let mut body = Body::new(RECORD_AUX, 0);
        body.u64s(&[area.offset(), area.len(), AUX_OVERWRITE]);
        self.finish(body, stamp);
    }

    fn finish(&mut self, mut body: Body, stamp: Stamp) {
        body.u32s(&[stamp.pid, stamp.tid]);
        body.u64s(&[clock::nanoseconds(stamp.tsc)])
            .u32s(&[0, 0])
            .u64s(&[IDS[1]]);
        self.records.extend(body.done());
    }
}

/// Writes the file; `now` is the TSC at which recording ended. Returns its size in bytes.
pub(crate) fn write(
    path: &Path,
    mut side_band: SideBand,
    areas: &[AuxArea<'_>],
    pid: u32,
    psb_period_exponent: u32,
    now: u64,
) -> Result<u64, Error> {
    for area in areas {
        side_band.aux(
            Stamp {
                pid,
                tid: area.tid,
                tsc: now,
            },
            area,
        );
    }
    let attrs_at = HEADER_BYTES;
    let ids_at = attrs_at + 2 * ATTR_ENTRY_BYTES;
    let data_at = ids_at + 16;
    let info = auxtrace_info();
    let mut at = data_at + (info.len() + side_band.records.len()) as u64;
    let index: Vec<(u64, u64)> = areas
        .iter()
        .map(|area| {
            let entry = (at, AUXTRACE_BYTES);
            at += AUXTRACE_BYTES + area.len();
            entry
        })
        .collect();
    let data_bytes = at - data_at;
    let features = auxtrace_index(at, &index);
    let total = at + features.len() as u64;

    let save = || -> io::Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        out.write_all(&header(attrs_at, data_at, data_bytes))?;
        let config = config(psb_period_exponent);
        out.write_all(&attr_entry(&pt_attr(config), ids_at))?;
        out.write_all(&attr_entry(&dummy_attr(), ids_at + 8))?;
        out.write_all(&IDS.map(u64::to_le_bytes).concat())?;
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
    Ok(total)
}

fn protection(mapping: &Mapping) -> u32 {
    u32::from(mapping.read) | u32::from(mapping.write) << 1 | u32::from(mapping.execute) << 2
}

/// One record under construction.
struct Body(Vec<u8>);

impl Body {
    fn new(kind: u32, misc: u16) -> Body {
        let mut body = Body(Vec::new());
        body.u32s(&[kind]);
        body.0.extend(misc.to_le_bytes());
        body.0.extend([0, 0]);
        body
    }

    fn u32s(&mut self, values: &[u32]) -> &mut Body {
        values
            .iter()
            .for_each(|value| self.0.extend(value.to_le_bytes()));
        self
    }

    fn u64s(&mut self, values: &[u64]) -> &mut Body {
        values
            .iter()
            .for_each(|value| self.0.extend(value.to_le_bytes()));
        self
    }

    /// Zero-terminated, padded to eight bytes.
    fn text(&mut self, text: &str) -> &mut Body {
        // A record's size has 16 bits; PATH_MAX keeps real names far below.
        self.0.extend(&text.as_bytes()[..text.len().min(4096)]);
        self.0.push(0);
        while !self.0.len().is_multiple_of(8) {
            self.0.push(0);
        }
        self
    }

    /// Takes the place of device, inode and generation: size, padding, 20 bytes.
    fn build_id(&mut self, id: &[u8]) -> &mut Body {
        let mut field = [0; 24];
        let length = id.len().min(20);
        field[0] = length as u8;
        field[4..4 + length].copy_from_slice(&id[..length]);
        self.0.extend(field);
        self
    }

    fn done(mut self) -> Vec<u8> {
        let size = self.0.len() as u16;
        self.0[6..8].copy_from_slice(&size.to_le_bytes());
        self.0
    }
}

fn header(attrs_at: u64, data_at: u64, data_bytes: u64) -> Vec<u8> {
    let mut out = b"PERFILE2".to_vec();
    let sections = [attrs_at, 2 * ATTR_ENTRY_BYTES, data_at, data_bytes, 0, 0];
    for word in [HEADER_BYTES, ATTR_ENTRY_BYTES].iter().chain(&sections) {
        out.extend(word.to_le_bytes());
    }
    let mut features = [0u8; 32];
    features[FEATURE_AUXTRACE as usize / 8] |= 1 << (FEATURE_AUXTRACE % 8);
    out.extend(features);
    out
}

const CONFIG_PT: u64 = 1 << 0;
const CONFIG_CYC: u64 = 1 << 1;
const CONFIG_MTC: u64 = 1 << 9;
const CONFIG_TSC: u64 = 1 << 10;
const CONFIG_NO_RETURN_COMPRESSION: u64 = 1 << 11;
const CONFIG_BRANCH: u64 = 1 << 13;
const CONFIG_MTC_PERIOD: u64 = 0xf << 14;

fn config(psb_period_exponent: u32) -> u64 {
    CONFIG_PT
        | CONFIG_CYC
        | CONFIG_MTC
        | CONFIG_TSC
        | CONFIG_BRANCH
        | u64::from(clock::MTC_PERIOD) << 14
        | u64::from(psb_period_exponent) << 24
}

/// Attribute flag bits, by position.
mod flag {
    pub(super) const DISABLED: u64 = 1 << 0;
    pub(super) const EXCLUDE_KERNEL: u64 = 1 << 5;
    pub(super) const EXCLUDE_HV: u64 = 1 << 6;
    pub(super) const MMAP: u64 = 1 << 8;
    pub(super) const COMM: u64 = 1 << 9;
    pub(super) const TASK: u64 = 1 << 13;
    pub(super) const SAMPLE_ID_ALL: u64 = 1 << 18;
    pub(super) const MMAP2: u64 = 1 << 23;
    pub(super) const COMM_EXEC: u64 = 1 << 24;
    pub(super) const BUILD_ID: u64 = 1 << 34;
}

fn pt_attr(config: u64) -> [u8; ATTR_BYTES as usize] {
    let flags = flag::DISABLED | flag::EXCLUDE_KERNEL | flag::EXCLUDE_HV | flag::SAMPLE_ID_ALL;
    attr(PMU_TYPE, config, flags)
}

fn dummy_attr() -> [u8; ATTR_BYTES as usize] {
    const SOFTWARE: u32 = 1;
    const DUMMY: u64 = 9;
    let flags = flag::EXCLUDE_KERNEL
        | flag::EXCLUDE_HV
        | flag::MMAP
        | flag::COMM
        | flag::TASK
        | flag::SAMPLE_ID_ALL
        | flag::MMAP2
        | flag::COMM_EXEC
        | flag::BUILD_ID;
    attr(SOFTWARE, DUMMY, flags)
}

fn attr(kind: u32, config: u64, flags: u64) -> [u8; ATTR_BYTES as usize] {
    let mut bytes = [0; ATTR_BYTES as usize];
    bytes[0..4].copy_from_slice(&kind.to_le_bytes());
    bytes[4..8].copy_from_slice(&ATTR_BYTES.to_le_bytes());
    let period = 1u64;
    for (position, word) in [config, period, SAMPLE_TYPE, 0, flags].iter().enumerate() {
        let at = 8 + position * 8;
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

fn attr_entry(attr: &[u8], ids_at: u64) -> Vec<u8> {
    [attr, &ids_at.to_le_bytes(), &8u64.to_le_bytes()].concat()
}

fn auxtrace_info() -> Vec<u8> {
    const INTEL_PT: u32 = 1;
    let words = [
        u64::from(PMU_TYPE),
        clock::TIME_SHIFT,
        clock::TIME_MULT,
        0,
        1,
        CONFIG_TSC,
        CONFIG_NO_RETURN_COMPRESSION,
        0,
        1,
        0,
        CONFIG_MTC,
        CONFIG_MTC_PERIOD,
        clock::CTC_NUMERATOR,
        clock::CTC_DENOMINATOR,
        CONFIG_CYC,
        u64::from(clock::CORE_BUS_RATIO),
        0,
        0,
    ];
    let mut body = Body::new(RECORD_AUXTRACE_INFO, 0);
    body.u32s(&[INTEL_PT, 0]).u64s(&words);
    body.done()
}

const AUXTRACE_BYTES: u64 = 48;

// The record's size does not count the PT bytes that follow it.
fn auxtrace(area: &AuxArea<'_>, index: u32, now: u64) -> Vec<u8> {
    const ANY_CPU: u32 = u32::MAX;
    let mut body = Body::new(RECORD_AUXTRACE, 0);
    body.u64s(&[area.len(), area.offset(), now]);
    body.u32s(&[index, area.tid, ANY_CPU, 0]);
    body.done()
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
