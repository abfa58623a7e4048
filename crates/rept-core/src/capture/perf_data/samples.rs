//! What samples hold beside the event that made them: registers of the program, PT bytes, and
//! records of tracepoints.

use super::attr::{Attr, SampleId, format};
use crate::fields::Fields;
use rept_trace::RegWord;

/// RIP, and the general-purpose registers.
pub(super) type Registers = (u64, Vec<(RegWord, u64)>);

/// A sample.
pub(super) struct Sample<'a> {
    pub(super) id: SampleId,
    /// Type and configuration of the event.
    pub(super) event: (u32, u64),
    /// The user registers, when the program was a 64-bit one.
    pub(super) registers: Option<Registers>,
    /// The record of a tracepoint.
    pub(super) raw: Option<&'a [u8]>,
    /// PT bytes.
    pub(super) trace: Option<&'a [u8]>,
}

/// The parts of a sample that matter. `None` when it has none of them or is damaged.
///
/// `PERF_SAMPLE_AUX` is the last field, behind others of variable length
/// (`perf_event_open(2)`, `PERF_RECORD_SAMPLE`).
pub(super) fn parse<'a>(attr: &Attr, body: &'a [u8]) -> Option<Sample<'a>> {
    if !attr.has(format::AUX | format::REGS_USER | format::RAW) {
        return None;
    }
    let mut cursor = Fields::new(body);
    let id = sample_head(attr, &mut cursor)?;
    let (raw, registers) = variable(attr, &mut cursor)?;
    let trace = match attr.has(format::AUX) {
        true => {
            let len = cursor.u64()?;
            Some(cursor.take(usize::try_from(len).ok()?)?)
        }
        false => None,
    };
    Some(Sample {
        id,
        event: (attr.pmu, attr.config),
        registers,
        raw,
        trace,
    })
}

/// The fields of fixed length at the start of a sample.
fn sample_head(attr: &Attr, cursor: &mut Fields<'_>) -> Option<SampleId> {
    use format::{ADDR, CPU, ID, IDENTIFIER, IP, PERIOD, STREAM_ID, TID, TIME};
    let mut id = SampleId::default();
    for bit in [IDENTIFIER, IP, TID, TIME, ADDR, ID, STREAM_ID, CPU, PERIOD] {
        if !attr.has(bit) {
            continue;
        }
        let word = cursor.u64()?;
        match bit {
            TID => id.task = Some((word as u32, (word >> 32) as u32)),
            TIME => id.time = Some(word),
            CPU => id.cpu = Some(word as u32),
            _ => {}
        }
    }
    Some(id)
}

/// Of the fields between the fixed ones and the PT bytes: a tracepoint's record, the user registers.
type Variable<'a> = (Option<&'a [u8]>, Option<Registers>);

fn variable<'a>(attr: &Attr, cursor: &mut Fields<'a>) -> Option<Variable<'a>> {
    use format::*;
    let words = |cursor: &mut Fields<'_>, count: u64| {
        cursor
            .take(usize::try_from(count.checked_mul(8)?).ok()?)
            .map(drop)
    };
    if attr.has(READ) {
        skip_read(attr.read_format, cursor)?;
    }
    if attr.has(CALLCHAIN) {
        let count = cursor.u64()?;
        words(cursor, count)?;
    }
    let raw = match attr.has(RAW) {
        true => {
            let size = cursor.u32()?;
            Some(cursor.take(size as usize)?)
        }
        false => None,
    };
    if attr.has(BRANCH_STACK) {
        let count = cursor.u64()?;
        const HARDWARE_INDEX: u64 = 1 << 17;
        words(
            cursor,
            u64::from(attr.branch_sample_type & HARDWARE_INDEX != 0),
        )?;
        words(cursor, count.checked_mul(3)?)?;
    }
    let user = registers(attr.has(REGS_USER), attr.regs_user, cursor)?;
    if attr.has(STACK_USER) {
        let size = cursor.u64()?;
        cursor.take(usize::try_from(size).ok()?)?;
        words(cursor, u64::from(size != 0))?;
    }
    let fixed = [WEIGHT | WEIGHT_STRUCT, DATA_SRC, TRANSACTION];
    words(
        cursor,
        fixed.iter().filter(|&&bits| attr.has(bits)).count() as u64,
    )?;
    registers(attr.has(REGS_INTR), attr.regs_intr, cursor)?;
    let fixed = [PHYS_ADDR, CGROUP, DATA_PAGE_SIZE, CODE_PAGE_SIZE];
    words(
        cursor,
        fixed.iter().filter(|&&bit| attr.has(bit)).count() as u64,
    )?;
    Some((raw, user))
}

/// Registers: an ABI word, and one word a register unless the ABI is none.
fn registers(present: bool, mask: u64, cursor: &mut Fields<'_>) -> Option<Option<Registers>> {
    const ABI_64: u64 = 2;
    let abi = if present { cursor.u64()? } else { 0 };
    if abi == 0 {
        return Some(None);
    }
    let (mut rip, mut words) = (None, Vec::new());
    for number in (0..u64::BITS).filter(|&number| mask >> number & 1 == 1) {
        let value = cursor.u64()?;
        match number {
            IP => rip = Some(value),
            _ => words.extend(word(number).map(|word| (word, value))),
        }
    }
    Some(rip.filter(|_| abi == ABI_64).map(|rip| (rip, words)))
}

/// Number of RIP in `asm/perf_regs.h`.
const IP: u32 = 8;

/// The general-purpose registers by their numbers in `asm/perf_regs.h`.
fn word(number: u32) -> Option<RegWord> {
    const FIRST: [RegWord; 8] = [
        RegWord::RAX,
        RegWord::RBX,
        RegWord::RCX,
        RegWord::RDX,
        RegWord::RSI,
        RegWord::RDI,
        RegWord::RBP,
        RegWord::RSP,
    ];
    const R8: u32 = 16;
    match number {
        R8..24 => Some(RegWord::gpr((number - R8) as u16 + 8)),
        _ => FIRST.get(number as usize).copied(),
    }
}

/// Counter values: one, or a group of `nr`, each with what `read_format` asks for.
fn skip_read(read_format: u64, cursor: &mut Fields<'_>) -> Option<()> {
    const TIMES: u64 = 3;
    const ID: u64 = 1 << 2;
    const GROUP: u64 = 1 << 3;
    const LOST: u64 = 1 << 4;
    let times = u64::from((read_format & TIMES).count_ones());
    let each = 1 + u64::from((read_format & (ID | LOST)).count_ones());
    let count = if read_format & GROUP != 0 {
        cursor.u64()?
    } else {
        1
    };
    let words = count.checked_mul(each)?.checked_add(times)?;
    cursor
        .take(usize::try_from(words.checked_mul(8)?).ok()?)
        .map(drop)
}
