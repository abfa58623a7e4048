//! From bytes to packets: pieces of a stream, lost data, damage, a new begin.

use crate::flow::Next;
use crate::packet::{
    MAX_PACKET_BYTES, Packet, ParseErrorKind, common, find_psb, is_short_tnt, item_bytes_after,
    parse_with_errata, short_tnt,
};
use crate::{DecodeOptions, Errata};
use rept_trace::GapReason;

/// What packets are handed to.
pub(crate) trait Sink {
    /// The packet at byte `offset` of the stream.
    fn packet(&mut self, offset: u64, packet: &Packet) -> Next;

    /// The short TNT packet at byte `offset`, which `bytes` begin with, and as many packets behind it
    /// as the sink likes; says how many bytes these had.
    #[inline]
    fn outcomes(&mut self, offset: u64, bytes: &[u8]) -> (usize, Next) {
        (1, self.packet(offset, &short_tnt(bytes[0])))
    }

    /// Packets from byte `offset` on, which `bytes` begin with, outside of a group of block items, for a
    /// sink to which it is enough to be told of most in brief; says how many bytes these had.
    #[inline]
    fn briefs(&mut self, _offset: u64, _bytes: &[u8]) -> usize {
        0
    }

    /// The stream has a hole or is unreadable at `offset`; the next packet is a PSB.
    fn broken(&mut self, offset: u64, reason: GapReason);
}

/// Finds the packets of a stream whose bytes come in piece by piece.
pub(crate) struct Reader<S> {
    pub(crate) sink: S,
    errata: Errata,
    // Bytes of a packet that is not complete yet, or of what may be a PSB.
    carry: Vec<u8>,
    // Stream offset of the first byte in `carry`, or of the next one to come.
    offset: u64,
    item_bytes: Option<u8>,
    searching: Option<Search>,
    stopped: bool,
}

/// A search for the next PSB.
#[derive(Clone, Copy, Debug)]
struct Search {
    // Nothing was decoded yet, and of the bytes passed over not all were padding.
    skipped_data: bool,
    at_start: bool,
}

impl<S: Sink> Reader<S> {
    /// A reader that has seen no bytes.
    pub(crate) fn new(sink: S, options: &DecodeOptions) -> Reader<S> {
        Reader {
            sink,
            errata: options.cpu.map(Errata::of).unwrap_or_default(),
            carry: Vec::new(),
            offset: 0,
            item_bytes: None,
            searching: Some(Search {
                skipped_data: false,
                at_start: true,
            }),
            stopped: false,
        }
    }

    /// Goes on at `offset`, where a packet begins.
    pub(crate) fn go_to(&mut self, offset: u64) {
        self.offset = offset;
        self.searching = None;
    }

    /// Whether the sink asked to stop. What was fed from [`Reader::offset`] on was not used then.
    pub(crate) fn take_stop(&mut self) -> bool {
        std::mem::take(&mut self.stopped)
    }

    /// Whether a group of block items is open.
    pub(crate) fn in_group(&self) -> bool {
        self.item_bytes.is_some()
    }

    /// Stream offset of the next packet.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes in the next bytes of the stream.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        let old = self.carry.len();
        if old > 0 {
            let take = bytes.len().min(2 * MAX_PACKET_BYTES);
            let mut seam = std::mem::take(&mut self.carry);
            seam.extend_from_slice(&bytes[..take]);
            let used = self.consume(&seam, old);
            if self.stopped {
                return;
            }
            if used < old {
                // Not even with what came is the packet complete: it has all been taken.
                self.carry = seam.split_off(used);
                return;
            }
            bytes = &bytes[used - old..];
        }
        let used = self.consume(bytes, bytes.len());
        if !self.stopped {
            self.carry.extend_from_slice(&bytes[used..]);
        }
    }

    /// The recording lost data here.
    pub(crate) fn lost_data(&mut self) {
        self.carry_is_cut();
        self.sink.broken(self.offset, GapReason::LostData);
        self.search(false);
    }

    /// The end of the stream.
    pub(crate) fn finish(mut self) -> S {
        self.carry_is_cut();
        if let Some(search) = self.searching
            && search.at_start
            && search.skipped_data
        {
            self.sink.broken(self.offset, GapReason::BeforeFirstPsb);
        }
        self.sink
    }

    /// What was kept of an incomplete packet will not be completed.
    fn carry_is_cut(&mut self) {
        let carry = std::mem::take(&mut self.carry);
        if carry.is_empty() {
            return;
        }
        match &mut self.searching {
            Some(search) => search.skipped_data |= carry.iter().any(|&byte| byte != 0),
            None => self.sink.broken(self.offset, GapReason::BadPacket),
        }
        self.offset += carry.len() as u64;
    }

    /// Uses up the packets that begin before `limit`; returns the number of bytes used.
    fn consume(&mut self, bytes: &[u8], limit: usize) -> usize {
        let base = self.offset;
        let mut at = 0;
        while at < limit && !self.stopped {
            let used = match self.searching {
                Some(search) => self.find_boundary(search, bytes, at),
                None => self.step(base + at as u64, bytes, at),
            };
            match used {
                Some(used) => at += used,
                None => break,
            }
        }
        self.offset = base + at as u64;
        at
    }

    /// Uses up the packet at `at`; `None` when it is not complete.
    #[inline(always)]
    fn step(&mut self, offset: u64, bytes: &[u8], at: usize) -> Option<usize> {
        let rest = &bytes[at..];
        // Near a seam, where not all of `rest` may be used up, there is no room for these.
        if self.item_bytes.is_none() {
            let used = self.sink.briefs(offset, rest);
            if used > 0 {
                return Some(used);
            }
        }
        if is_short_tnt(rest[0]) && self.item_bytes.is_none() {
            let (used, next) = self.sink.outcomes(offset, rest);
            self.heed(next);
            return Some(used);
        }
        let Some((packet, len)) = common(rest, self.item_bytes) else {
            return self.step_any(offset, bytes, at);
        };
        let next = self.sink.packet(offset, &packet);
        self.heed(next);
        Some(len)
    }

    /// As [`Reader::step`], whatever the packet.
    #[inline(never)]
    fn step_any(&mut self, offset: u64, bytes: &[u8], at: usize) -> Option<usize> {
        match parse_with_errata(&bytes[at..], self.item_bytes, &self.errata) {
            Ok((packet, len)) => {
                self.item_bytes = item_bytes_after(&packet, self.item_bytes);
                let next = self.sink.packet(offset, &packet);
                self.heed(next);
                Some(len)
            }
            Err(error) if error.kind() == ParseErrorKind::Truncated => None,
            Err(_) => {
                self.sink.broken(offset, GapReason::BadPacket);
                self.search(false);
                Some(1)
            }
        }
    }

    /// Does what the sink asks for.
    #[inline(always)]
    fn heed(&mut self, next: Next) {
        match next {
            Next::Packet => {}
            Next::Boundary => self.search(false),
            Next::Stop => self.stopped = true,
        }
    }

    fn search(&mut self, at_start: bool) {
        self.item_bytes = None;
        self.searching = Some(Search {
            skipped_data: false,
            at_start,
        });
    }

    /// Goes to the next PSB; `None` when it is not in `bytes`, of which the last 15 may begin one.
    fn find_boundary(&mut self, search: Search, bytes: &[u8], at: usize) -> Option<usize> {
        let found = find_psb(bytes, at);
        let end = found.unwrap_or(bytes.len().saturating_sub(MAX_PACKET_BYTES - 1).max(at));
        let skipped_data = search.skipped_data || bytes[at..end].iter().any(|&byte| byte != 0);
        self.searching = match found {
            Some(_) => None,
            None => Some(Search {
                skipped_data,
                ..search
            }),
        };
        if found.is_some() && search.at_start && skipped_data {
            self.sink
                .broken(self.offset + end as u64, GapReason::BeforeFirstPsb);
        }
        (end > at || found.is_some()).then_some(end - at)
    }
}
