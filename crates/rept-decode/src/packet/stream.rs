//! Walking over a buffer of packets, and finding a place to begin.

use super::ahead::each_brief;
use super::brief::Brief;
use super::parse::common;
use super::{Packet, ParseError, parse_with_errata};
use crate::Errata;

/// The bytes of a PSB packet: the one pattern that cannot occur inside other packets.
pub const PSB: [u8; 16] = [
    0x02, 0x82, 0x02, 0x82, 0x02, 0x82, 0x02, 0x82, 0x02, 0x82, 0x02, 0x82, 0x02, 0x82, 0x02, 0x82,
];

/// Offset of the first PSB in `bytes` at or behind `from`.
///
/// A PSB cannot be told from the tail of a longer run of its two bytes; the earliest
/// place that parses is taken.
pub fn find_psb(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        // The window's last byte decides how far to jump: 82 may end a PSB, 02 be its last but one.
        let window = bytes.get(at..at + PSB.len())?;
        match window[PSB.len() - 1] {
            0x82 if window == PSB => return Some(at),
            0x82 => at += 2,
            0x02 => at += 1,
            _ => at += PSB.len(),
        }
    }
}

/// The packets of a buffer with their offsets, until the first error or the end.
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    bytes: &'a [u8],
    offset: usize,
    item_bytes: Option<u8>,
    errata: Errata,
}

impl<'a> Packets<'a> {
    /// The packets of `bytes` from `offset` on, which must be the first byte of a packet.
    pub fn new(bytes: &'a [u8], offset: usize) -> Packets<'a> {
        Packets {
            bytes,
            offset: offset.min(bytes.len()),
            item_bytes: None,
            errata: Errata::default(),
        }
    }

    /// The same packets, made by a processor with these errata.
    pub fn with_errata(self, errata: Errata) -> Packets<'a> {
        Packets { errata, ..self }
    }

    /// Offset of the next packet.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Goes on at the first PSB at or behind `from`; `false`, and at the end, when there is none.
    pub fn sync(&mut self, from: usize) -> bool {
        let found = find_psb(self.bytes, from);
        self.offset = found.unwrap_or(self.bytes.len());
        self.item_bytes = None;
        found.is_some()
    }

    /// Goes on behind an error, at the first PSB that ends behind it: what was taken for a packet
    /// before the error may have begun as one that was cut, and have swallowed the PSB's begin.
    pub fn resync(&mut self) -> bool {
        self.sync(self.offset.saturating_sub(PSB.len() - 1))
    }
}

impl Packets<'_> {
    /// Goes over the packets from here on that can be told in brief, if any, and hands them out with
    /// their offsets. What comes behind them is up to [`Packets::next`], as is all that is close to the
    /// end of the buffer; both in turn give every packet, two to three times as fast as one by one:
    ///
    /// ```
    /// use rept_decode::packet::Packets;
    ///
    /// # let bytes = [&rept_decode::packet::PSB[..], &[2, 0x23], &[6; 500]].concat();
    /// let mut packets = Packets::new(&bytes, 0);
    /// let mut outcomes = 0;
    /// loop {
    ///     packets.briefs(|_, brief| outcomes += brief.payload());
    ///     match packets.next() {
    ///         Some((_, Ok(packet))) => println!("{packet}"),
    ///         Some((_, Err(_))) => _ = packets.resync(),
    ///         None => break,
    ///     }
    /// }
    /// ```
    #[inline]
    pub fn briefs(&mut self, mut visit: impl FnMut(usize, Brief)) {
        if self.item_bytes.is_none() {
            let from = self.offset;
            self.offset += each_brief(&self.bytes[from..], |at, brief| visit(from + at, brief));
        }
    }

    /// The next packet, whatever it is.
    #[inline(never)]
    fn other(&mut self) -> Option<(usize, Result<Packet, ParseError>)> {
        let offset = self.offset;
        let rest = &self.bytes[offset..];
        if rest.is_empty() {
            return None;
        }
        let parsed = parse_with_errata(rest, self.item_bytes, &self.errata).map(|(packet, len)| {
            self.item_bytes = item_bytes_after(&packet, self.item_bytes);
            self.offset += len;
            packet
        });
        Some((offset, parsed))
    }
}

/// What [`super::parse`] must know behind `packet`, given what it knew before.
#[inline]
pub(crate) fn item_bytes_after(packet: &Packet, before: Option<u8>) -> Option<u8> {
    match packet {
        Packet::Bbp { short, .. } => Some(if *short { 4 } else { 8 }),
        Packet::Bep { .. } | Packet::Ovf | Packet::Psb => None,
        _ => before,
    }
}

impl Iterator for Packets<'_> {
    type Item = (usize, Result<Packet, ParseError>);

    /// The next packet; an error is yielded again and again until [`Packets::resync`] or [`Packets::sync`].
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        match common(&self.bytes[offset..], self.item_bytes) {
            Some((packet, len)) => {
                self.offset += len;
                Some((offset, Ok(packet)))
            }
            None => self.other(),
        }
    }
}
