//! Records beside the trace: mappings, names, lives of threads, samples of registers.

use super::attr::{SAMPLES_ID, SIDE_BAND_ID};
use super::record::Record;
use crate::clock::Rate;
use crate::maps::Mapping;
use libc::user_regs_struct as Registers;

const RECORD_COMM: u32 = 3;
const RECORD_EXIT: u32 = 4;
const RECORD_FORK: u32 = 7;
const RECORD_SAMPLE: u32 = 9;
const RECORD_MMAP2: u32 = 10;
const RECORD_AUX: u32 = 11;
const RECORD_ITRACE_START: u32 = 12;
const RECORD_SWITCH_CPU_WIDE: u32 = 15;

const MISC_USER: u16 = 2;
const MISC_COMM_EXEC: u16 = 1 << 13;
const MISC_SWITCH_OUT: u16 = 1 << 13;
const MISC_MMAP_BUILD_ID: u16 = 1 << 14;
/// Not executable; of old the same bit as the one for `exec`.
const MISC_MMAP_DATA: u16 = 1 << 13;
const AUX_OVERWRITE: u64 = 2;

/// Who and when: what the trailer of every side-band record says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) tsc: u64,
    /// The core, where cores are shared.
    pub(crate) cpu: Option<u32>,
}

/// The side band, gathered while the program runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct SideBand {
    pub(super) records: Vec<u8>,
    /// See [`Rate`].
    pub(crate) rate: Rate,
}

impl SideBand {
    pub(crate) fn comm(&mut self, stamp: Stamp, name: &str, exec: bool) {
        let misc = MISC_USER | if exec { MISC_COMM_EXEC } else { 0 };
        let mut record = Record::new(RECORD_COMM, misc);
        record.u32s(&[stamp.pid, stamp.tid]).text(name);
        self.finish(record, stamp);
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
        let mut record = Record::new(kind, MISC_USER);
        record.u32s(&[stamp.pid, stamp.pid, stamp.tid, parent]);
        record.u64s(&[self.rate.nanoseconds(stamp.tsc)]);
        self.finish(record, stamp);
    }

    pub(crate) fn mmap(&mut self, stamp: Stamp, mapping: &Mapping, build_id: Option<&[u8]>) {
        let mut misc = MISC_USER;
        if build_id.is_some() {
            misc |= MISC_MMAP_BUILD_ID;
        }
        if !mapping.execute {
            misc |= MISC_MMAP_DATA;
        }
        let mut record = Record::new(RECORD_MMAP2, misc);
        record.u32s(&[stamp.pid, stamp.tid]);
        record.u64s(&[mapping.start, mapping.end - mapping.start, mapping.offset]);
        match build_id {
            Some(id) => record.build_id(id),
            None => record
                .u32s(&[mapping.device.0, mapping.device.1])
                .u64s(&[mapping.inode, 0]),
        };
        record.u32s(&[protection(mapping), if mapping.shared { 1 } else { 2 }]);
        record.text(if mapping.name.is_empty() {
            "//anon"
        } else {
            &mapping.name
        });
        self.finish(record, stamp);
    }

    pub(crate) fn trace_start(&mut self, stamp: Stamp) {
        let mut record = Record::new(RECORD_ITRACE_START, 0);
        record.u32s(&[stamp.pid, stamp.tid]);
        self.finish(record, stamp);
    }

    /// PT bytes `offset..offset + length` of a stream were kept.
    pub(super) fn aux(&mut self, stamp: Stamp, offset: u64, length: u64) {
        let mut record = Record::new(RECORD_AUX, 0);
        record.u64s(&[offset, length, AUX_OVERWRITE]);
        self.finish(record, stamp);
    }

    /// Thread `stamp.tid` gets its core from `other` (process and thread), or leaves it to
    /// that; both are 0 for a core that does nothing.
    pub(crate) fn switch(&mut self, stamp: Stamp, other: (u32, u32), out: bool) {
        let misc = if out { MISC_SWITCH_OUT } else { 0 };
        let mut record = Record::new(RECORD_SWITCH_CPU_WIDE, misc);
        record.u32s(&[other.0, other.1]);
        self.finish(record, stamp);
    }

    /// The registers before the step that comes next.
    pub(crate) fn sample(&mut self, stamp: Stamp, registers: &Registers) {
        const ABI_64: u64 = 2;
        let mut record = Record::new(RECORD_SAMPLE, MISC_USER);
        record.u64s(&[SAMPLES_ID, registers.rip]);
        record.u32s(&[stamp.pid, stamp.tid]);
        record
            .u64s(&[self.rate.nanoseconds(stamp.tsc)])
            .u32s(&[stamp.cpu.unwrap_or(0), 0]);
        record.u64s(&[ABI_64]).u64s(&sampled(registers));
        self.records.extend(record.done());
    }

    fn finish(&mut self, mut record: Record, stamp: Stamp) {
        record.u32s(&[stamp.pid, stamp.tid]);
        record
            .u64s(&[self.rate.nanoseconds(stamp.tsc)])
            .u32s(&[stamp.cpu.unwrap_or(0), 0])
            .u64s(&[SIDE_BAND_ID]);
        self.records.extend(record.done());
    }
}

// In the order of the bits of `SAMPLED_REGISTERS` (`asm/perf_regs.h`).
fn sampled(r: &Registers) -> [u64; 20] {
    [
        r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.rsp, r.rip, r.eflags, r.cs, r.ss, r.r8,
        r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15,
    ]
}

fn protection(mapping: &Mapping) -> u32 {
    u32::from(mapping.read) | u32::from(mapping.write) << 1 | u32::from(mapping.execute) << 2
}
