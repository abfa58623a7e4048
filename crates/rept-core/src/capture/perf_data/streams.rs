//! PT bytes, from AUXTRACE records or from samples, to one stream a buffer.

use super::super::{Part, Piece, Stream};
use super::attr::{Attr, SampleId, format};
use super::record::{RawRecord, Record, TracePiece};
use crate::fields::Fields;
use rept_trace::{ThreadId, Timestamp};
use std::collections::BTreeMap;

/// A buffer's owner: processor, thread.
type Owner = (Option<u32>, Option<u32>);

/// Buffers in the making.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pieces: BTreeMap<Owner, Vec<Piece>>,
    /// Buffer offsets at which data was lost.
    lost: Vec<(SampleId, u64)>,
}

impl Streams {
    /// Bytes of an AUXTRACE record; its payload lies behind it in the file.
    pub(super) fn push(&mut self, piece: TracePiece, raw: &RawRecord<'_>) {
        let len = raw.payload.len();
        if len == 0 {
            return;
        }
        let at = raw.offset as usize + 8 + raw.body.len();
        // A buffer of a processor is told by the processor; its thread is whoever ran.
        let owner = (
            piece.cpu,
            if piece.cpu.is_some() {
                None
            } else {
                piece.thread
            },
        );
        self.pieces.entry(owner).or_default().push(Piece {
            parts: vec![Part::InFile(at..at + len)],
            offset: piece.offset,
            len: len as u64,
            reference: Timestamp(piece.reference),
        });
    }

    /// Bytes of a sample (`perf record --aux-sample`): each a snapshot of its own.
    pub(super) fn push_sample(&mut self, id: SampleId, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let owner = (
            id.cpu,
            if id.cpu.is_some() {
                None
            } else {
                id.task.map(|task| task.1)
            },
        );
        let pieces = self.pieces.entry(owner).or_default();
        // Leaves a hole, so that two samples are never taken for consecutive bytes.
        let offset = pieces.last().map_or(0, |last| {
            last.offset.saturating_add(last.len).saturating_add(1)
        });
        pieces.push(Piece {
            parts: vec![Part::Copied(bytes.to_vec())],
            offset,
            len: bytes.len() as u64,
            reference: Timestamp(0),
        });
    }

    /// The recorder lost data behind byte `end` of the buffer that `id` names.
    pub(super) fn lost(&mut self, id: SampleId, end: u64) {
        self.lost.push((id, end));
    }

    pub(super) fn finish(self) -> Vec<Stream> {
        let lost = self.lost;
        let streams = self.pieces.into_iter().map(|((cpu, thread), pieces)| {
            let is_lost = |end: u64| {
                lost.iter().any(|(id, at)| {
                    let same_thread =
                        thread.is_none() || id.task.is_none_or(|task| Some(task.1) == thread);
                    let same_cpu = cpu.is_none() || id.cpu.is_none() || id.cpu == cpu;
                    *at == end && same_thread && same_cpu
                })
            };
            Stream {
                cpu,
                thread: thread.map(ThreadId),
                pieces: join(pieces, is_lost),
            }
        });
        streams.collect()
    }
}

/// Orders pieces by buffer offset, drops what an earlier one already has (snapshots
/// overlap), and joins those that follow each other without loss.
fn join(mut pieces: Vec<Piece>, lost: impl Fn(u64) -> bool) -> Vec<Piece> {
    pieces.sort_by_key(|piece| piece.offset);
    let mut joined: Vec<Piece> = Vec::new();
    for piece in pieces {
        let Some(last) = joined.last_mut() else {
            joined.push(piece);
            continue;
        };
        let end = last.offset.saturating_add(last.len);
        let known = end.saturating_sub(piece.offset);
        let Some(piece) = piece.without_first(known) else {
            continue;
        };
        if piece.offset == end && !lost(end) {
            last.len += piece.len;
            last.parts.extend(piece.parts);
        } else {
            joined.push(piece);
        }
    }
    joined
}

impl Piece {
    /// Without its first `count` bytes; `None` when nothing is left. Only for pieces of one part.
    fn without_first(mut self, count: u64) -> Option<Piece> {
        self.len = self.len.checked_sub(count).filter(|&left| left > 0)?;
        self.offset = self.offset.saturating_add(count);
        match self.parts.first_mut()? {
            Part::InFile(range) => range.start += count as usize,
            Part::Copied(bytes) => drop(bytes.drain(..count as usize)),
        }
        Some(self)
    }
}

/// The PT bytes of a sample. `None` when it has none or is damaged.
///
/// `PERF_SAMPLE_AUX` is the last field, behind others of variable length
/// (`perf_event_open(2)`, `PERF_RECORD_SAMPLE`).
pub(super) fn sample<'a>(attr: &Attr, body: &'a [u8]) -> Option<Record<'a>> {
    if !attr.has(format::AUX) {
        return None;
    }
    let mut cursor = Fields::new(body);
    let id = sample_head(attr, &mut cursor)?;
    skip_variable(attr, &mut cursor)?;
    let len = cursor.u64()?;
    let bytes = cursor.take(usize::try_from(len).ok()?)?;
    Some(Record::SampleTrace { id, bytes })
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

/// The fields between the fixed ones and the PT bytes.
fn skip_variable(attr: &Attr, cursor: &mut Fields<'_>) -> Option<()> {
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
    if attr.has(RAW) {
        let size = cursor.u32()?;
        cursor.take(size as usize)?;
    }
    if attr.has(BRANCH_STACK) {
        let count = cursor.u64()?;
        const HARDWARE_INDEX: u64 = 1 << 17;
        words(
            cursor,
            u64::from(attr.branch_sample_type & HARDWARE_INDEX != 0),
        )?;
        words(cursor, count.checked_mul(3)?)?;
    }
    skip_registers(attr.has(REGS_USER), attr.regs_user, cursor)?;
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
    skip_registers(attr.has(REGS_INTR), attr.regs_intr, cursor)?;
    let fixed = [PHYS_ADDR, CGROUP, DATA_PAGE_SIZE, CODE_PAGE_SIZE];
    words(
        cursor,
        fixed.iter().filter(|&&bit| attr.has(bit)).count() as u64,
    )
}

/// Registers: an ABI word, and one word a register unless the ABI is none.
fn skip_registers(present: bool, mask: u64, cursor: &mut Fields<'_>) -> Option<()> {
    if present && cursor.u64()? != 0 {
        cursor.take(mask.count_ones() as usize * 8)?;
    }
    Some(())
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
