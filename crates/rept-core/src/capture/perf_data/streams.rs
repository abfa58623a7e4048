//! PT bytes, from AUXTRACE records or from samples, to one stream a buffer.
//!
//! *Full traces*: an offset counts the bytes that the buffer ever had, so pieces are ordered by it.
//! perf pads a piece to eight bytes with zeros and counts them in its size but not in the next
//! offset (`__auxtrace_mmap__read`).
//!
//! *Snapshots and samples*: each is the newest part of a ring, and its offset says nothing of where
//! it belongs among the others (`intel_pt_find_snapshot`). They come in order of time, and may hold
//! what an earlier one held: that is found by its bytes.

mod overlap;

use super::super::{Part, Piece, Stream};
use super::attr::SampleId;
use super::record::{RawRecord, TracePiece};
use overlap::Overlap;
use rept_trace::{ThreadId, Timestamp};
use std::collections::BTreeMap;

/// A buffer's owner: processor, thread.
type Owner = (Option<u32>, Option<u32>);

/// Buffers in the making.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pieces: BTreeMap<Owner, Vec<Piece>>,
    samples: BTreeMap<Owner, Vec<Piece>>,
    /// Buffer offsets at which data was lost.
    lost: Vec<(SampleId, u64)>,
}

/// Bytes that perf may add to a piece.
const MAX_PADDING_BYTES: u64 = 7;

impl Streams {
    /// Bytes of an AUXTRACE record; its payload lies behind it in the file.
    pub(super) fn push(&mut self, piece: TracePiece, raw: &RawRecord<'_>) {
        let len = raw.payload.len();
        if len == 0 {
            return;
        }
        let at = raw.offset as usize + 8 + raw.body.len();
        let owner = owner(piece.cpu, piece.thread);
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
        let owner = owner(id.cpu, id.task.map(|task| task.1));
        self.samples.entry(owner).or_default().push(Piece {
            parts: vec![Part::Copied(bytes.to_vec())],
            offset: 0,
            len: bytes.len() as u64,
            reference: Timestamp(id.time.unwrap_or(0)),
        });
    }

    /// The recorder lost data behind byte `end` of the buffer that `id` names.
    pub(super) fn lost(&mut self, id: SampleId, end: u64) {
        self.lost.push((id, end));
    }

    /// The streams; `file` holds the bytes of AUXTRACE records.
    pub(super) fn finish(mut self, file: &[u8], snapshots: bool) -> Vec<Stream> {
        let mut joined: BTreeMap<Owner, Vec<Piece>> = BTreeMap::new();
        for (owner, pieces) in std::mem::take(&mut self.pieces) {
            let pieces = match snapshots {
                true => join_snapshots(pieces, file),
                false => join_full(pieces, file, &self.lost_of(owner)),
            };
            joined.insert(owner, pieces);
        }
        for (owner, mut samples) in std::mem::take(&mut self.samples) {
            samples.sort_by_key(|sample| sample.reference);
            let samples = join_snapshots(samples, file);
            let pieces = joined.entry(owner).or_default();
            pieces.extend(samples);
        }
        let streams = joined.into_iter().map(|((cpu, thread), pieces)| Stream {
            cpu,
            thread: thread.map(ThreadId),
            pieces,
        });
        streams.collect()
    }

    /// The offsets at which data of this buffer was lost, ascending.
    fn lost_of(&self, (cpu, thread): Owner) -> Vec<u64> {
        let own = self.lost.iter().filter(|(id, _)| {
            let same_thread = thread.is_none() || id.task.is_none_or(|task| Some(task.1) == thread);
            let same_cpu = cpu.is_none() || id.cpu.is_none() || id.cpu == cpu;
            same_thread && same_cpu
        });
        let mut offsets: Vec<u64> = own.map(|&(_, offset)| offset).collect();
        offsets.sort_unstable();
        offsets
    }
}

/// A buffer of a processor is told by the processor; its thread is whoever ran.
fn owner(cpu: Option<u32>, thread: Option<u32>) -> Owner {
    (cpu, thread.filter(|_| cpu.is_none()))
}

/// Orders pieces by buffer offset, takes padding off, drops what an earlier one already has, and
/// joins those that follow each other without loss.
fn join_full(mut pieces: Vec<Piece>, file: &[u8], lost: &[u64]) -> Vec<Piece> {
    pieces.sort_by_key(|piece| piece.offset);
    let mut parted: Vec<Piece> = Vec::new();
    for piece in pieces {
        let piece = match parted.last_mut() {
            Some(last) => unpadded(last, piece, file),
            None => Some(piece),
        };
        parted.extend(piece);
    }
    let mut joined: Vec<Piece> = Vec::new();
    for piece in parted.into_iter().flat_map(|piece| piece.cut_at(lost)) {
        let follows =
            |last: &Piece| last.end() == piece.offset && lost.binary_search(&piece.offset).is_err();
        match joined.last_mut() {
            Some(last) if follows(last) => last.append(piece),
            _ => joined.push(piece),
        }
    }
    joined
}

/// The part of `piece` behind `last`, from which the padding is taken.
fn unpadded(last: &mut Piece, piece: Piece, file: &[u8]) -> Option<Piece> {
    let known = last.end().saturating_sub(piece.offset);
    let ending = last.last_part(file);
    let padding = (1..=MAX_PADDING_BYTES).contains(&known)
        && known < ending.len() as u64
        && ending[ending.len() - known as usize..]
            .iter()
            .all(|&byte| byte == 0);
    match padding {
        true => {
            last.without_last(known);
            Some(piece)
        }
        false => piece.without_first(known),
    }
}

/// Snapshots in order of time: those that overlap are joined.
fn join_snapshots(pieces: Vec<Piece>, file: &[u8]) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::new();
    for mut piece in pieces {
        let Some(last) = joined.last_mut() else {
            joined.push(piece);
            continue;
        };
        let end = last.end();
        let overlap = Overlap::find(last.last_part(file), piece.last_part(file));
        piece.offset = end.wrapping_sub(overlap.bytes as u64);
        let Some(mut piece) = piece.without_first(overlap.bytes as u64) else {
            continue;
        };
        match overlap.certain {
            true => last.append(piece),
            false => {
                // A hole, so that two snapshots are never taken for consecutive bytes.
                piece.offset = end.saturating_add(1);
                joined.push(piece);
            }
        }
    }
    joined
}

impl Piece {
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }

    /// The bytes that came last, of one record.
    fn last_part<'a>(&'a self, file: &'a [u8]) -> &'a [u8] {
        match self.parts.last() {
            Some(Part::InFile(range)) => file.get(range.clone()).unwrap_or_default(),
            Some(Part::Copied(bytes)) => bytes,
            Some(Part::Beside(other, range)) => other.get(range.clone()).unwrap_or_default(),
            None => &[],
        }
    }

    fn append(&mut self, piece: Piece) {
        self.len += piece.len;
        self.parts.extend(piece.parts);
    }

    /// Without its first `count` bytes; `None` when nothing is left. Only for pieces of one part.
    fn without_first(mut self, count: u64) -> Option<Piece> {
        self.len = self.len.checked_sub(count).filter(|&left| left > 0)?;
        self.offset = self.offset.saturating_add(count);
        match self.parts.first_mut()? {
            Part::InFile(range) | Part::Beside(_, range) => range.start += count as usize,
            Part::Copied(bytes) => drop(bytes.drain(..count as usize)),
        }
        Some(self)
    }

    /// Without its last `count` bytes, which are fewer than the last part has.
    fn without_last(&mut self, count: u64) {
        self.len -= count;
        match self.parts.last_mut() {
            Some(Part::InFile(range) | Part::Beside(_, range)) => range.end -= count as usize,
            Some(Part::Copied(bytes)) => bytes.truncate(bytes.len() - count as usize),
            None => {}
        }
    }

    /// Cut at those of `offsets`, which ascend, that lie inside. Only for pieces of one part.
    fn cut_at(self, offsets: &[u64]) -> Vec<Piece> {
        let first = offsets.partition_point(|&at| at <= self.offset);
        let end = self.end();
        let inside = offsets[first..].iter().take_while(|&&at| at < end);
        let mut cut = Vec::new();
        let mut rest = Some(self);
        for &at in inside {
            let Some(mut piece) = rest.take() else {
                break;
            };
            let behind = piece.clone().without_first(at.saturating_sub(piece.offset));
            piece.without_last(piece.end() - at);
            cut.extend((piece.len > 0).then_some(piece));
            rest = behind;
        }
        cut.extend(rest);
        cut
    }
}
