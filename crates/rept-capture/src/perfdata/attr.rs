//! What was recorded and how: event attributes, and the parameters of Intel PT.

use super::Setup;
use super::record::Record;
use crate::clock::{self, Rate};
use crate::schedule::Timing;

/// Size of an attribute, in bytes: the version that perf 6.1 writes at most.
pub(super) const ATTR_BYTES: u32 = 128;
/// Ids of the PT event, of the dummy event that carries the side band, and of the
/// sampling event.
pub(super) const PT_ID: u64 = 1;
/// See [`PT_ID`].
pub(super) const SIDE_BAND_ID: u64 = 2;
/// See [`PT_ID`].
pub(super) const SAMPLES_ID: u64 = 3;
/// The `intel_pt` PMU's number is assigned when the kernel starts; this one is typical.
const PMU_TYPE: u32 = 8;
const SAMPLE_IP: u64 = 1 << 0;
const SAMPLE_TID: u64 = 1 << 1;
const SAMPLE_TIME: u64 = 1 << 2;
const SAMPLE_CPU: u64 = 1 << 7;
const SAMPLE_REGISTERS: u64 = 1 << 12;
const SAMPLE_IDENTIFIER: u64 = 1 << 16;
const SAMPLE_TYPE: u64 = SAMPLE_IP | SAMPLE_TID | SAMPLE_TIME | SAMPLE_CPU | SAMPLE_IDENTIFIER;

const CONFIG_PT: u64 = 1 << 0;
const CONFIG_CYC: u64 = 1 << 1;
const CONFIG_MTC: u64 = 1 << 9;
const CONFIG_TSC: u64 = 1 << 10;
const CONFIG_NO_RETURN_COMPRESSION: u64 = 1 << 11;
const CONFIG_BRANCH: u64 = 1 << 13;
const CONFIG_MTC_PERIOD: u64 = 0xf << 14;

fn config(psb_period_exponent: u32, timing: Timing) -> u64 {
    let timing = match timing {
        Timing::Cycles => CONFIG_CYC | CONFIG_MTC,
        Timing::Mtc => CONFIG_MTC,
        Timing::Boundaries => 0,
    };
    CONFIG_PT
        | timing
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
    pub(super) const MMAP_DATA: u64 = 1 << 17;
    pub(super) const SAMPLE_ID_ALL: u64 = 1 << 18;
    pub(super) const MMAP2: u64 = 1 << 23;
    pub(super) const COMM_EXEC: u64 = 1 << 24;
    pub(super) const CONTEXT_SWITCH: u64 = 1 << 26;
    pub(super) const BUILD_ID: u64 = 1 << 34;
}

pub(super) type Attr = [u8; ATTR_BYTES as usize];

/// The attributes and their ids, in file order; with a sample period, one for samples.
pub(super) fn attrs(setup: Setup) -> Vec<(u64, Attr)> {
    let config = config(setup.psb_period_exponent, setup.timing);
    let mut attrs = vec![
        (PT_ID, pt_attr(config)),
        (SIDE_BAND_ID, dummy_attr(setup.per_cpu)),
    ];
    attrs.extend(
        setup
            .sample_period
            .map(|period| (SAMPLES_ID, samples_attr(period))),
    );
    attrs
}

fn pt_attr(config: u64) -> Attr {
    let flags = flag::DISABLED | flag::EXCLUDE_KERNEL | flag::EXCLUDE_HV | flag::SAMPLE_ID_ALL;
    attr(PMU_TYPE, config, 1, SAMPLE_TYPE, flags)
}

fn dummy_attr(switches: bool) -> Attr {
    const SOFTWARE: u32 = 1;
    const DUMMY: u64 = 9;
    let switches = if switches { flag::CONTEXT_SWITCH } else { 0 };
    let flags = switches
        | flag::EXCLUDE_KERNEL
        | flag::EXCLUDE_HV
        | flag::MMAP
        | flag::COMM
        | flag::TASK
        | flag::MMAP_DATA
        | flag::SAMPLE_ID_ALL
        | flag::MMAP2
        | flag::COMM_EXEC
        | flag::BUILD_ID;
    attr(SOFTWARE, DUMMY, 1, SAMPLE_TYPE, flags)
}

// Instructions, with user registers at each `period`-th.
fn samples_attr(period: u64) -> Attr {
    const HARDWARE: u32 = 0;
    const INSTRUCTIONS: u64 = 1;
    // All but DS, ES, FS, GS, as perf asks for on x86-64.
    const SAMPLED_REGISTERS: u64 = 0xff_0fff;
    let flags = flag::DISABLED | flag::EXCLUDE_KERNEL | flag::EXCLUDE_HV | flag::SAMPLE_ID_ALL;
    let sample_type = SAMPLE_TYPE | SAMPLE_REGISTERS;
    let mut bytes = attr(HARDWARE, INSTRUCTIONS, period, sample_type, flags);
    bytes[80..88].copy_from_slice(&SAMPLED_REGISTERS.to_le_bytes());
    bytes
}

fn attr(kind: u32, config: u64, period: u64, sample_type: u64, flags: u64) -> Attr {
    let mut bytes = [0; ATTR_BYTES as usize];
    bytes[0..4].copy_from_slice(&kind.to_le_bytes());
    bytes[4..8].copy_from_slice(&ATTR_BYTES.to_le_bytes());
    for (position, word) in [config, period, sample_type, 0, flags].iter().enumerate() {
        let at = 8 + position * 8;
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// The TIME_CONV record, which perf's own tools want beside the words of AUXTRACE_INFO.
pub(super) fn time_conversion(rate: Rate) -> Vec<u8> {
    const RECORD_TIME_CONV: u32 = 79;
    let mut record = Record::new(RECORD_TIME_CONV, 0);
    // Of the short counters there are none; their mask is that of a whole word.
    record.u64s(&[clock::TIME_SHIFT, rate.multiplier, 0, 0, u64::MAX, 1]);
    record.done()
}

/// The AUXTRACE_INFO record.
pub(super) fn auxtrace_info(per_cpu: bool, rate: Rate) -> Vec<u8> {
    const RECORD_AUXTRACE_INFO: u32 = 70;
    const INTEL_PT: u32 = 1;
    const SNAPSHOT_MODE: u64 = 1;
    const SWITCH_CPU_WIDE: u64 = 3;
    let have_sched_switch = if per_cpu { SWITCH_CPU_WIDE } else { 0 };
    let words = [
        u64::from(PMU_TYPE),
        clock::TIME_SHIFT,
        rate.multiplier,
        0,
        1,
        CONFIG_TSC,
        CONFIG_NO_RETURN_COMPRESSION,
        have_sched_switch,
        SNAPSHOT_MODE,
        u64::from(per_cpu),
        CONFIG_MTC,
        CONFIG_MTC_PERIOD,
        clock::CTC_NUMERATOR,
        clock::CTC_DENOMINATOR,
        CONFIG_CYC,
        u64::from(clock::CORE_BUS_RATIO),
        0,
        0,
    ];
    let mut record = Record::new(RECORD_AUXTRACE_INFO, 0);
    record.u32s(&[INTEL_PT, 0]).u64s(&words);
    record.done()
}
