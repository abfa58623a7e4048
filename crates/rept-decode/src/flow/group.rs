//! Several packets at once: short TNTs in a row, and the TIP behind them.
//!
//! Where the path goes on does not hang on how outcomes are shared out among packets, but each packet
//! that is used alone ends a walk, and where a walk ends the processor that runs us cannot predict. So
//! short TNTs (and the padding among them) are taken together, as many as there are outcomes for, and
//! when a TIP comes next, the walk goes on to its branch. Where anything but known blocks is met, the
//! packet in which that happened is used as if it had come alone, and the rest after it.

use super::effort::Begun;
use super::walk::Outcomes;
use super::{Flow, Next, Place};
use crate::CodeImage;
use crate::packet::{IpCompression, IpPayload, Packet, common, short_outcomes, short_tnt};
use crate::reader::Sink;

/// The outcomes of the short TNTs that `bytes` begin with, and the bytes of these and of the padding
/// among and behind them.
#[inline(always)]
fn gather(bytes: &[u8]) -> (Outcomes, usize) {
    let mut all = Outcomes::default();
    for (index, &byte) in bytes.iter().enumerate() {
        let fits = match byte {
            0 => true,
            2 => false,
            _ if byte & 1 == 1 => false,
            _ => {
                let (bits, len) = short_outcomes(byte);
                all.append(bits, len)
            }
        };
        if !fits {
            return (all, index);
        }
    }
    (all, bytes.len())
}

/// The TIP with an address that `bytes` begin with, and its length.
#[inline(always)]
fn tip(bytes: &[u8]) -> Option<(IpPayload, usize)> {
    match common(bytes, None)? {
        (Packet::Tip(ip), len) if ip.compression != IpCompression::Suppressed => Some((ip, len)),
        _ => None,
    }
}

impl<I: CodeImage + ?Sized> Flow<'_, I> {
    /// Uses the short TNT that `bytes` begin with and what of the rest it can take at once; says how
    /// many bytes that were.
    #[inline(always)]
    pub(super) fn group(&mut self, offset: u64, bytes: &[u8]) -> (usize, Next) {
        if !self.takes_groups() {
            return (1, self.packet(offset, &short_tnt(bytes[0])));
        }
        let begun = self.begun();
        let (outcomes, used) = gather(bytes);
        let tip = tip(&bytes[used..]);
        self.pending = outcomes;
        match tip {
            Some(_) => self.use_linked::<true>(),
            None => self.use_linked::<false>(),
        }
        if self.pending.len > 0 {
            let walked = outcomes.len - self.pending.len;
            return self.use_alone(offset, &bytes[..used], begun, walked);
        }
        self.at_boundary = false;
        match tip {
            Some((ip, len)) => {
                self.offset = offset + used as u64;
                (used + len, self.tip(ip, Some(begun)))
            }
            None => {
                self.offset = offset + used as u64 - 1;
                (used, Next::Packet)
            }
        }
    }

    /// A TNT does nothing here but lead on: it is expected, and tells nothing about time.
    #[inline]
    fn takes_groups(&self) -> bool {
        self.place == Place::Traced
            && self.boundary.is_none()
            && self.next_mode.is_none()
            && self.interrupted.is_none()
            && !self.waiting.for_fup()
            && self.pending.len == 0
            && !self.timing.is_told_by_outcomes()
    }

    /// Uses the packet of a group to which the outcome behind the first `walked` belongs.
    #[inline(never)]
    fn use_alone(
        &mut self,
        offset: u64,
        bytes: &[u8],
        group: Begun,
        mut walked: u32,
    ) -> (usize, Next) {
        for (index, &byte) in bytes.iter().enumerate().filter(|&(_, &byte)| byte != 0) {
            let len = u32::from(short_outcomes(byte).1);
            if walked < len {
                self.offset = offset + index as u64;
                self.pending.keep(len - walked);
                let walk = self.use_unlinked(group);
                self.at_boundary = false;
                return (index + 1, self.walked("TNT", walk));
            }
            walked -= len;
        }
        (bytes.len(), Next::Packet)
    }
}
