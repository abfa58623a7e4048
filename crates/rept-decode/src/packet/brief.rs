//! A packet in brief: its first bytes, which are all that it has.
//!
//! What it is and its payload are told when asked for. The payload of those that lead on, and of those
//! that tell time, is read in one way for all, by a table. So nothing hangs on which packet comes next,
//! which no processor predicts.

use super::parse::{IpKind, ip_head, short_outcomes};
use super::{IpCompression, IpPayload, Packet, parse};

/// A table by a byte.
macro_rules! by_byte {
    ($type:ty, $byte:ident => $entry:expr) => {{
        let mut table: [$type; 256] = [{
            let $byte = 0u8;
            $entry
        }; 256];
        let mut index = 1;
        while index < 256 {
            table[index] = {
                let $byte = index as u8;
                $entry
            };
            index += 1;
        }
        table
    }};
}
pub(super) use by_byte;

/// Bytes of a brief.
pub(super) const BRIEF_BYTES: usize = 9;

/// What the first byte of a packet tells.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) kind: Kind,
    compression: IpCompression,
    /// Bytes behind it; of a CYC at least.
    pub(super) behind: u8,
}

/// What comes in brief, told by the first byte.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Pad,
    Tnt,
    Tip,
    Enable,
    Disable,
    Update,
    Mtc,
    Tsc,
    Cyc,
    /// A mode, if the second byte is one.
    Mode,
    /// Told by the second byte, if it comes in brief.
    Extended,
    /// Never comes in brief.
    Long,
}

pub(super) const fn head(first: u8) -> Head {
    let ip = ip_head(first);
    let (kind, behind) = match (first, ip.kind) {
        (0x00, _) => (Kind::Pad, 0),
        (0x02, _) => (Kind::Extended, 1),
        (0x19, _) => (Kind::Tsc, 7),
        (0x59, _) => (Kind::Mtc, 1),
        (0x99, _) => (Kind::Mode, 1),
        _ if first & 1 == 0 => (Kind::Tnt, 0),
        _ if first & 3 == 3 => (Kind::Cyc, first >> 2 & 1),
        _ if ip.len > 7 => (Kind::Long, 0),
        (_, IpKind::Tip) => (Kind::Tip, ip.len - 1),
        (_, IpKind::Enable) => (Kind::Enable, ip.len - 1),
        (_, IpKind::Disable) => (Kind::Disable, ip.len - 1),
        (_, IpKind::Update) => (Kind::Update, ip.len - 1),
        (_, IpKind::None) => (Kind::Long, 0),
    };
    Head {
        kind,
        compression: ip.compression,
        behind,
    }
}

/// Bytes behind the second of a packet that begins with 02, if that comes in brief: it cannot be wrong,
/// has at most eight bytes, no erratum concerns it, and it changes nothing in how others are read. A PSB, which is longer, is told by the pattern.
pub(super) const fn behind_second(second: u8) -> Option<u8> {
    match second {
        // PSBEND, OVF, TraceStop, EXSTOP, BEP.
        0x23 | 0xf3 | 0x83 | 0x62 | 0xe2 | 0x33 | 0xb3 => Some(0),
        // CBR, PWRE, CFE.
        0x03 | 0x22 | 0x13 => Some(2),
        // PTW of four bytes.
        0x12 | 0x92 => Some(4),
        // VMCS, PWRX.
        0xc8 | 0xa2 => Some(5),
        // PIP.
        0x43 => Some(6),
        _ => None,
    }
}

/// The outcomes of a short TNT and their number.
const fn outcomes(first: u8) -> (u64, u8) {
    match head(first).kind {
        Kind::Tnt => short_outcomes(first),
        _ => (0, 0),
    }
}

/// How a payload is read: of the eight bytes behind the first the bits that `mask` leaves, `shift`ed up,
/// plus `bits`. That serves all, so that their kinds need not be told apart.
struct Reading {
    mask: u64,
    shift: u64,
    bits: u64,
}

const fn reading(first: u8) -> Reading {
    let head = head(first);
    let mask = (1 << (8 * head.behind)) - 1;
    let (mask, shift, bits) = match head.kind {
        // Five bits in the first byte, seven in the second, above the one that says whether more follow.
        Kind::Cyc => (mask & !1, 4, first as u64 >> 3),
        Kind::Mode | Kind::Extended => (0, 0, 0),
        _ => (mask, 0, outcomes(first).0),
    };
    Reading { mask, shift, bits }
}

/// Where in a mask the shift is, too: what this leaves of a payload, the shift pushes out.
const SHIFT: u32 = 60;

/// How payloads are read, by the first byte; in one table, so that one register tells where it is.
struct Readings {
    masks: [u64; 256],
    bits: [u64; 256],
}

static READINGS: Readings = Readings {
    masks: by_byte!(u64, first => {
        let Reading { mask, shift, .. } = reading(first);
        assert!(mask >> SHIFT == 0 && (shift << SHIFT) << shift == 0);
        mask | shift << SHIFT
    }),
    bits: by_byte!(u64, first => reading(first).bits),
};

static KINDS: [Kind; 256] = by_byte!(Kind, first => head(first).kind);
static COMPRESSIONS: [IpCompression; 256] =
    by_byte!(IpCompression, first => head(first).compression);
static LENGTHS: [u8; 256] = by_byte!(u8, first => outcomes(first).1);

/// A packet in brief: what it is and its payload are told when asked for.
#[derive(Clone, Copy, Debug)]
pub struct Brief {
    first: u8,
    /// The bytes behind the first, which may be more than it has; of a PSB not all.
    behind: u64,
}

impl Brief {
    #[inline(always)]
    pub(super) fn new(bytes: &[u8; BRIEF_BYTES]) -> Brief {
        let [first, behind @ ..] = *bytes;
        Brief {
            first,
            behind: u64::from_le_bytes(behind),
        }
    }

    #[inline(always)]
    fn first(self) -> usize {
        usize::from(self.first)
    }

    /// The payload: outcomes as [`Packet::Tnt`] has them, an IP's bits, a time stamp, a counter, cycles.
    /// Of any other packet 0.
    #[inline(always)]
    pub fn payload(self) -> u64 {
        let mask = READINGS.masks[self.first()];
        ((self.behind & mask) << (mask >> SHIFT)) + READINGS.bits[self.first()]
    }

    /// Whether it does no more than tell where execution goes on, or nothing: TNT, TIP, TIP.PGE, TIP.PGD,
    /// padding.
    #[inline(always)]
    pub fn leads_on(self) -> bool {
        matches!(
            self.kind(),
            Kind::Pad | Kind::Tnt | Kind::Tip | Kind::Enable | Kind::Disable
        )
    }

    /// The packet.
    #[inline]
    pub fn packet(self) -> Packet {
        let ip = IpPayload {
            compression: COMPRESSIONS[self.first()],
            bits: self.payload(),
        };
        match self.kind() {
            Kind::Tnt => Packet::Tnt {
                bits: self.payload(),
                len: LENGTHS[self.first()],
                long: false,
            },
            Kind::Tip => Packet::Tip(ip),
            Kind::Enable => Packet::TipPge(ip),
            Kind::Disable => Packet::TipPgd(ip),
            Kind::Update => Packet::Fup(ip),
            Kind::Mtc => Packet::Mtc {
                ctc: self.payload() as u8,
            },
            Kind::Tsc => Packet::Tsc {
                tsc: self.payload(),
            },
            Kind::Cyc => Packet::Cyc {
                cycles: self.payload(),
            },
            Kind::Pad | Kind::Long => Packet::Pad,
            Kind::Mode | Kind::Extended => self.parsed(),
        }
    }

    #[inline(never)]
    fn parsed(self) -> Packet {
        let mut bytes = [self.first; BRIEF_BYTES];
        bytes[1..].copy_from_slice(&self.behind.to_le_bytes());
        // Of these only a PSB has more bytes.
        parse(&bytes, None).map_or(Packet::Psb, |(packet, _)| packet)
    }

    #[inline(always)]
    fn kind(self) -> Kind {
        KINDS[self.first()]
    }
}
