//! The packet parser: total, one packet a call, no allocation.
//!
//! A packet is told by its first byte, some by their second and third ("Packet
//! definitions" in the SDM, in the order of the opcode tables). BIP shares its
//! encoding with TNT and is told from it only by the BBP before it.

use super::{IpCompression, IpPayload, PSB, Packet};
use crate::Errata;
use std::fmt;

/// No packet is longer than a PSB's 16 bytes.
pub const MAX_PACKET_BYTES: usize = 16;

/// Why bytes are no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseErrorKind {
    /// The bytes end inside a packet.
    Truncated,
    /// No packet begins like this.
    Unknown,
}

/// Bytes that are no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError {
    kind: ParseErrorKind,
    opcode: [u8; 2],
}

impl ParseError {
    /// Why.
    pub fn kind(&self) -> ParseErrorKind {
        self.kind
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.opcode;
        match self.kind {
            ParseErrorKind::Truncated => write!(f, "packet {first:02x} is cut off"),
            ParseErrorKind::Unknown => write!(f, "no packet begins with {first:02x} {second:02x}"),
        }
    }
}

impl std::error::Error for ParseError {}

type Parsed = Result<(Packet, usize), ParseErrorKind>;

/// Bytes that a packet with an IP needs behind it to be read in one go.
const IP_ROOM: usize = 9;

/// Padding, short TNT and packets with an IP, of which most of a stream is made; `None` for any
/// other packet, and where there is not enough room to tell. Errata leave them alone.
#[inline(always)]
pub(crate) fn common(bytes: &[u8], item_bytes: Option<u8>) -> Option<(Packet, usize)> {
    let &first = bytes.first()?;
    if first & 1 == 0 {
        return match first {
            0x00 => Some((Packet::Pad, 1)),
            0x02 => None,
            _ if item_bytes.is_some() => None,
            _ => Some((short_tnt(first), 1)),
        };
    }
    let word = bytes.get(1..IP_ROOM)?;
    let word = u64::from_le_bytes(word.try_into().expect("eight bytes were taken"));
    let head = &IP_HEADS[usize::from(first)];
    let payload = IpPayload {
        compression: head.compression,
        bits: word & head.mask,
    };
    let packet = match head.kind {
        IpKind::Tip => Packet::Tip(payload),
        IpKind::Enable => Packet::TipPge(payload),
        IpKind::Disable => Packet::TipPgd(payload),
        IpKind::Update => Packet::Fup(payload),
        IpKind::None => return None,
    };
    Some((packet, usize::from(head.len)))
}

/// Which packet with an IP begins with a byte, if one does.
#[derive(Clone, Copy)]
pub(super) enum IpKind {
    Tip,
    Enable,
    Disable,
    Update,
    None,
}

/// What the first byte of a packet with an IP tells.
#[derive(Clone, Copy)]
pub(super) struct IpHead {
    mask: u64,
    pub(super) kind: IpKind,
    pub(super) compression: IpCompression,
    pub(super) len: u8,
}

/// By the first byte.
static IP_HEADS: [IpHead; 256] = {
    let mut heads = [ip_head(0); 256];
    let mut first = 1;
    while first < 256 {
        heads[first] = ip_head(first as u8);
        first += 1;
    }
    heads
};

pub(super) const fn ip_head(first: u8) -> IpHead {
    let kind = match first & 0x1f {
        0x0d => IpKind::Tip,
        0x11 => IpKind::Enable,
        0x01 => IpKind::Disable,
        0x1d => IpKind::Update,
        _ => IpKind::None,
    };
    let (kind, compression) = match first >> 5 {
        0 => (kind, IpCompression::Suppressed),
        1 => (kind, IpCompression::Update16),
        2 => (kind, IpCompression::Update32),
        3 => (kind, IpCompression::SignExtend48),
        4 => (kind, IpCompression::Update48),
        6 => (kind, IpCompression::Full),
        _ => (IpKind::None, IpCompression::Full),
    };
    let len = compression.payload_bytes();
    IpHead {
        mask: if len == 0 {
            0
        } else {
            u64::MAX >> (64 - 8 * len)
        },
        kind,
        compression,
        len: 1 + len as u8,
    }
}

/// The packet at the begin of `bytes` and its length in bytes.
///
/// `item_bytes` is `None` outside of a group of block items; inside (after a BBP, until
/// BEP, OVF or PSB) it is the payload size of a BIP, 4 or 8. [`super::Packets`] keeps track of it.
pub fn parse(bytes: &[u8], item_bytes: Option<u8>) -> Result<(Packet, usize), ParseError> {
    let parsed = match (bytes.first(), item_bytes) {
        (None, _) => Err(ParseErrorKind::Truncated),
        (Some(&first), Some(size)) if first & 7 == 4 => block_item(bytes, first, size),
        (Some(&first), _) => by_first_byte(bytes, first),
    };
    parsed.map_err(|kind| ParseError {
        kind,
        opcode: [0, 1].map(|index| bytes.get(index).copied().unwrap_or(0)),
    })
}

/// As [`parse`], on a processor with these errata: an OVF that cut a CYC off (SKD007) is an
/// OVF, a corrupted TMA with its bogus byte (SKZ84) is padding.
pub fn parse_with_errata(
    bytes: &[u8],
    item_bytes: Option<u8>,
    errata: &Errata,
) -> Result<(Packet, usize), ParseError> {
    let parsed = parse(bytes, item_bytes);
    match parsed {
        Ok((Packet::Cyc { .. }, 2..)) if errata.skd007 && bytes[1..].starts_with(&[0x02, 0xf3]) => {
            Ok((Packet::Ovf, 3))
        }
        Err(error)
            if errata.skz84
                && error.kind == ParseErrorKind::Unknown
                && bytes.starts_with(&[0x02, 0x73]) =>
        {
            match bytes.len() {
                8.. => Ok((Packet::Pad, 8)),
                _ => Err(ParseError {
                    kind: ParseErrorKind::Truncated,
                    ..error
                }),
            }
        }
        _ => parsed,
    }
}

fn by_first_byte(bytes: &[u8], first: u8) -> Parsed {
    match first {
        0x00 => Ok((Packet::Pad, 1)),
        0x02 => extended(bytes),
        0x19 => Ok((
            Packet::Tsc {
                tsc: little(bytes, 1, 7)?,
            },
            8,
        )),
        0x59 => Ok((
            Packet::Mtc {
                ctc: byte(bytes, 1)?,
            },
            2,
        )),
        0x99 => mode(byte(bytes, 1)?),
        0xd9 => trigger(bytes),
        _ if first & 1 == 0 => Ok((short_tnt(first), 1)),
        _ if first & 3 == 3 => cycles(bytes),
        _ => with_ip(bytes, first),
    }
}

/// Second byte of the packets that begin with 02.
fn extended(bytes: &[u8]) -> Parsed {
    let second = byte(bytes, 1)?;
    match second {
        0x82 => boundary(bytes),
        0x23 => Ok((Packet::PsbEnd, 2)),
        0xf3 => Ok((Packet::Ovf, 2)),
        0x83 => Ok((Packet::TraceStop, 2)),
        0xa3 => long_tnt(little(bytes, 2, 6)?),
        0x43 => page_table(little(bytes, 2, 6)?),
        0xc8 => Ok((
            Packet::Vmcs {
                base: little(bytes, 2, 5)? << 12,
            },
            7,
        )),
        0x03 => little(bytes, 2, 2).map(|ratio| (Packet::Cbr { ratio: ratio as u8 }, 4)),
        0x73 => alignment(bytes),
        0xc3 => maintenance(bytes),
        0x12 | 0x32 | 0x92 | 0xb2 => ptwrite(bytes, second),
        0x62 | 0xe2 => Ok((
            Packet::ExStop {
                ip: second & 0x80 != 0,
            },
            2,
        )),
        0xc2 => mwait(little(bytes, 2, 8)?),
        0x22 => power_entry(bytes),
        0xa2 => power_exit(little(bytes, 2, 5)?),
        0x63 => block_begin(byte(bytes, 2)?),
        0x33 | 0xb3 => Ok((
            Packet::Bep {
                ip: second & 0x80 != 0,
            },
            2,
        )),
        0x13 => control_flow_event(bytes),
        0x53 => event_data(bytes),
        _ => Err(ParseErrorKind::Unknown),
    }
}

#[inline]
fn byte(bytes: &[u8], at: usize) -> Result<u8, ParseErrorKind> {
    bytes.get(at).copied().ok_or(ParseErrorKind::Truncated)
}

/// `len` (at most 8) bytes from `at`, little-endian.
#[inline(always)]
fn little(bytes: &[u8], at: usize, len: usize) -> Result<u64, ParseErrorKind> {
    if let Some(word) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(word.try_into().expect("eight bytes were taken"));
        return Ok(if len == 0 {
            0
        } else {
            word & (u64::MAX >> (64 - 8 * len))
        });
    }
    let field = bytes.get(at..at + len).ok_or(ParseErrorKind::Truncated)?;
    Ok(field
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

/// The highest set bit is the stop bit; the outcomes are below it.
fn outcomes(stop_and_bits: u64, long: bool) -> Option<Packet> {
    let len = stop_and_bits.checked_ilog2()?;
    Some(Packet::Tnt {
        bits: stop_and_bits & !(1 << len),
        len: len as u8,
        long,
    })
}

/// Whether a byte is a short TNT, where it is not an item of a block.
#[inline(always)]
pub(crate) fn is_short_tnt(first: u8) -> bool {
    first & 1 == 0 && first > 2
}

#[inline(always)]
pub(crate) fn short_tnt(first: u8) -> Packet {
    let (bits, len) = short_outcomes(first);
    Packet::Tnt {
        bits,
        len,
        long: false,
    }
}

/// The outcomes of a short TNT, and their number.
#[inline(always)]
pub(crate) const fn short_outcomes(first: u8) -> (u64, u8) {
    let len = (first >> 1).ilog2();
    ((first >> 1) as u64 & !(1 << len), len as u8)
}

/// A stop bit alone, or none, is no long TNT.
fn long_tnt(payload: u64) -> Parsed {
    match outcomes(payload, true) {
        Some(packet @ Packet::Tnt { len: 1.., .. }) => Ok((packet, 8)),
        _ => Err(ParseErrorKind::Unknown),
    }
}

fn with_ip(bytes: &[u8], first: u8) -> Parsed {
    let head = &IP_HEADS[usize::from(first)];
    let packet = match head.kind {
        IpKind::Tip => Packet::Tip,
        IpKind::Enable => Packet::TipPge,
        IpKind::Disable => Packet::TipPgd,
        IpKind::Update => Packet::Fup,
        IpKind::None => return Err(ParseErrorKind::Unknown),
    };
    let compression = head.compression;
    let bits = little(bytes, 1, compression.payload_bytes())?;
    Ok((
        packet(IpPayload { compression, bits }),
        usize::from(head.len),
    ))
}

/// Five bits in the first byte, seven in each further one; a bit in each says whether more follow.
fn cycles(bytes: &[u8]) -> Parsed {
    let first = byte(bytes, 0)?;
    let mut cycles = u64::from(first >> 3);
    let mut more = first & 4 != 0;
    let mut len = 1;
    while more {
        let next = byte(bytes, len)?;
        let shift = 5 + 7 * (len as u32 - 1);
        let part = u64::from(next >> 1);
        if shift >= 64 || part << shift >> shift != part {
            return Err(ParseErrorKind::Unknown);
        }
        cycles |= part << shift;
        more = next & 1 != 0;
        len += 1;
    }
    Ok((Packet::Cyc { cycles }, len))
}

fn mode(payload: u8) -> Parsed {
    let bit = |index: u8| payload >> index & 1 == 1;
    let packet = match payload >> 5 {
        0 => Packet::ModeExec {
            long: bit(0),
            default_32: bit(1),
            interrupts: bit(2),
        },
        1 => Packet::ModeTsx {
            in_transaction: bit(0),
            aborted: bit(1),
        },
        _ => return Err(ParseErrorKind::Unknown),
    };
    Ok((packet, 2))
}

fn boundary(bytes: &[u8]) -> Parsed {
    let present = &bytes[..bytes.len().min(PSB.len())];
    match PSB.starts_with(present) {
        true if present.len() == PSB.len() => Ok((Packet::Psb, PSB.len())),
        true => Err(ParseErrorKind::Truncated),
        false => Err(ParseErrorKind::Unknown),
    }
}

fn page_table(payload: u64) -> Parsed {
    let packet = Packet::Pip {
        cr3: (payload >> 1) << 5,
        non_root: payload & 1 == 1,
    };
    Ok((packet, 8))
}

/// Byte 4 is reserved; the fast counter has nine bits, the seven behind it are reserved. A
/// corrupted TMA (SKZ84) shows by reserved bits.
fn alignment(bytes: &[u8]) -> Parsed {
    const RESERVED: u64 = 0xfe_00ff_0000;
    let payload = little(bytes, 2, 5)?;
    if payload & RESERVED != 0 {
        return Err(ParseErrorKind::Unknown);
    }
    let packet = Packet::Tma {
        ctc: payload as u16,
        fast_counter: (payload >> 24) as u16,
    };
    Ok((packet, 7))
}

fn maintenance(bytes: &[u8]) -> Parsed {
    match byte(bytes, 2)? {
        0x88 => Ok((
            Packet::Mnt {
                payload: little(bytes, 3, 8)?,
            },
            11,
        )),
        _ => Err(ParseErrorKind::Unknown),
    }
}

fn ptwrite(bytes: &[u8], second: u8) -> Parsed {
    let size = if second & 0x60 == 0 { 4 } else { 8 };
    let packet = Packet::Ptw {
        payload: little(bytes, 2, size)?,
        size: size as u8,
        ip: second & 0x80 != 0,
    };
    Ok((packet, 2 + size))
}

fn mwait(payload: u64) -> Parsed {
    let packet = Packet::Mwait {
        hints: payload as u32 & 0xff,
        extensions: (payload >> 32) as u32 & 3,
    };
    Ok((packet, 10))
}

fn power_entry(bytes: &[u8]) -> Parsed {
    let states = byte(bytes, 3)?;
    let packet = Packet::Pwre {
        state: states >> 4,
        sub_state: states & 15,
        // Bit 7 in the manual, bit 3 in Intel's own decoder; the others are reserved.
        hardware: byte(bytes, 2)? & 0x88 != 0,
    };
    Ok((packet, 4))
}

fn power_exit(payload: u64) -> Parsed {
    let packet = Packet::Pwrx {
        last: (payload >> 4) as u8 & 15,
        deepest: payload as u8 & 15,
        reason: (payload >> 8) as u8 & 15,
    };
    Ok((packet, 7))
}

fn block_begin(payload: u8) -> Parsed {
    let packet = Packet::Bbp {
        kind: payload & 0x1f,
        short: payload & 0x80 != 0,
    };
    Ok((packet, 3))
}

fn block_item(bytes: &[u8], first: u8, size: u8) -> Parsed {
    let packet = Packet::Bip {
        id: first >> 3,
        payload: little(bytes, 1, usize::from(size))?,
        size,
    };
    Ok((packet, 1 + usize::from(size)))
}

fn control_flow_event(bytes: &[u8]) -> Parsed {
    let vector = byte(bytes, 3)?;
    let head = byte(bytes, 2)?;
    let packet = Packet::Cfe {
        kind: head & 0x1f,
        ip: head & 0x80 != 0,
        vector,
    };
    Ok((packet, 4))
}

fn event_data(bytes: &[u8]) -> Parsed {
    let payload = little(bytes, 3, 8)?;
    let packet = Packet::Evd {
        kind: byte(bytes, 2)? & 0x3f,
        payload,
    };
    Ok((packet, 11))
}

fn trigger(bytes: &[u8]) -> Parsed {
    let triggers = byte(bytes, 2)?;
    let flags = byte(bytes, 1)?;
    let counted = flags & 0x40 != 0;
    let instructions = if counted {
        Some(little(bytes, 3, 2)? as u16)
    } else {
        None
    };
    let packet = Packet::Trig {
        ip: flags & 0x80 != 0,
        multiple: flags & 0x20 != 0,
        triggers,
        instructions,
    };
    Ok((packet, if counted { 5 } else { 3 }))
}
