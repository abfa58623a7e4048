//! PT bytes, from AUXTRACE records or from samples, to one stream a buffer.

use super::super::{Part, Piece, Stream};
use super::attr::SampleId;
use super::record::{RawRecord, TracePiece};
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
