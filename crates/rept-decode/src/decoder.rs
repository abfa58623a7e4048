//! From bytes to packets to the flow: pieces of a stream, lost data, damage, a new begin.

use crate::flow::{Flow, Next};
use crate::packet::{
    MAX_PACKET_BYTES, ParseErrorKind, find_psb, item_bytes_after, parse_with_errata,
};
use crate::{CodeBuilder, CodeImage, DecodeOptions, Errata};
use rept_trace::{GapReason, ThreadId, ThreadTrace};

/// A piece of a thread's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// PT bytes as recorded. A packet may begin in one chunk and end in the next.
    pub bytes: &'a [u8],
    /// The recording lost data between the chunk before and this one.
    pub lost_before: bool,
}

/// The PT bytes of one thread, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream<'a> {
    /// The thread.
    pub thread: ThreadId,
    /// Its bytes, in order.
    pub chunks: Vec<Chunk<'a>>,
}

impl<'a> Stream<'a> {
    /// A stream in one piece.
    pub fn new(thread: ThreadId, bytes: &'a [u8]) -> Stream<'a> {
        let whole = Chunk {
            bytes,
            lost_before: false,
        };
        Stream {
            thread,
            chunks: vec![whole],
        }
    }
}

/// Decodes the stream of one thread as its bytes come in.
pub struct Decoder<'c, I: ?Sized> {
    flow: Flow<'c, I>,
    errata: Errata,
    // Bytes of a packet that is not complete yet, or of what may be a PSB.
    carry: Vec<u8>,
    // Stream offset of the first byte in `carry`, or of the next one to come.
    offset: u64,
    item_bytes: Option<u8>,
    searching: Option<Search>,
}

/// A search for the next PSB.
#[derive(Clone, Copy, Debug)]
struct Search {
    // Nothing was decoded yet, and of the bytes passed over not all were padding.
    skipped_data: bool,
    at_start: bool,
}

impl<'c, I: CodeImage + ?Sized> Decoder<'c, I> {
    /// A decoder that has seen no bytes. `code` must have been used with this image only.
    pub fn new(
        thread: ThreadId,
        image: &'c I,
        options: &DecodeOptions,
        code: &'c mut CodeBuilder,
    ) -> Decoder<'c, I> {
        Decoder {
            flow: Flow::new(thread, image, *options, code),
            errata: options.cpu.map(Errata::of).unwrap_or_default(),
            carry: Vec::new(),
            offset: 0,
            item_bytes: None,
            searching: Some(Search {
                skipped_data: false,
                at_start: true,
            }),
        }
    }

    /// Takes in the next bytes of the stream.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        let old = self.carry.len();
        if old > 0 {
            let take = bytes.len().min(2 * MAX_PACKET_BYTES);
            let mut seam = std::mem::take(&mut self.carry);
            seam.extend_from_slice(&bytes[..take]);
            let used = self.consume(&seam, old);
            if used < old {
                // Not even with what came is the packet complete: it has all been taken.
                self.carry = seam.split_off(used);
                return;
            }
            bytes = &bytes[used - old..];
        }
        let used = self.consume(bytes, bytes.len());
        self.carry.extend_from_slice(&bytes[used..]);
    }

    /// The recording lost data here.
    pub fn lost_data(&mut self) {
        self.carry_is_cut();
        self.flow.broken(self.offset, GapReason::LostData);
        self.search(false);
    }

    /// The end of the stream: the thread's path.
    pub fn finish(mut self) -> ThreadTrace {
        self.carry_is_cut();
        if let Some(search) = self.searching
            && search.at_start
            && search.skipped_data
        {
            self.flow.broken(self.offset, GapReason::BeforeFirstPsb);
        }
        self.flow.finish()
    }

    /// What was kept of an incomplete packet will not be completed.
    fn carry_is_cut(&mut self) {
        let carry = std::mem::take(&mut self.carry);
        if carry.is_empty() {
            return;
        }
        match &mut self.searching {
            Some(search) => search.skipped_data |= carry.iter().any(|&byte| byte != 0),
            None => self.flow.broken(self.offset, GapReason::BadPacket),
        }
        self.offset += carry.len() as u64;
    }

    /// Uses up the packets that begin before `limit`; returns the number of bytes used.
    fn consume(&mut self, bytes: &[u8], limit: usize) -> usize {
        let base = self.offset;
        let mut at = 0;
        while at < limit {
            let used = match self.searching {
                Some(search) => self.find_boundary(search, bytes, at),
                // Much of a stream is padding.
                None if bytes[at] == 0 => Some(1),
                None => self.step(base + at as u64, &bytes[at..]),
            };
            match used {
                Some(used) => at += used,
                None => break,
            }
        }
        self.offset = base + at as u64;
        at
    }

    /// Uses up one packet; `None` when it is not complete.
    #[inline]
    fn step(&mut self, offset: u64, bytes: &[u8]) -> Option<usize> {
        match parse_with_errata(bytes, self.item_bytes, &self.errata) {
            Ok((packet, len)) => {
                self.item_bytes = item_bytes_after(&packet, self.item_bytes);
                if self.flow.packet(offset, &packet) == Next::Boundary {
                    self.search(false);
                }
                Some(len)
            }
            Err(error) if error.kind() == ParseErrorKind::Truncated => None,
            Err(_) => {
                self.flow.broken(offset, GapReason::BadPacket);
                self.search(false);
                Some(1)
            }
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
            self.flow
                .broken(self.offset + end as u64, GapReason::BeforeFirstPsb);
        }
        (end > at || found.is_some()).then_some(end - at)
    }
}
