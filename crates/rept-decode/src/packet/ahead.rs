//! Looking ahead: where packets begin in the next 256 bytes, and each of them in brief.
//!
//! Read one by one, a packet tells only by its length where the next one begins: a byte is loaded, its
//! length looked up, and nothing of the next can be done before; and whether outcomes or an address come
//! next is a jump that no processor predicts. So where packets begin is found first, without a jump. An
//! automaton walks over all bytes, whose states are the bytes that a packet still lacks. The row of a
//! byte is one word, in which at bit `s` stands the state that follows state `s`, so that a step is one
//! shift of one word that did not have to wait ("shift-based automaton", Geoff Langdale and Per
//! Vognsen). A bit for each byte is left, whether a packet begins there; of eight bits a table gives the
//! places. The packets there can be read without waiting for each other.
//!
//! Known here are padding, short TNT, packets with an IP of up to six bytes, MTC, TSC, and CYC of up to
//! two bytes. Their first byte tells what they are, they cannot be wrong, no erratum concerns them, and
//! they change nothing in how others are read. Before any other packet the walk ends, after at most
//! [`STEP`] bytes of it, so that a stream of such packets costs little more than without it.

use super::parse::{IpKind, ip_head, short_outcomes};
use super::{IpCompression, IpPayload, MAX_PACKET_BYTES, Packet};

/// Bytes that are walked over at once; a place is one byte.
const WINDOW: usize = 256;

/// Bytes that must be there, so that the last packet can be read as if it were as long as any.
const ROOM: usize = WINDOW + 8;

// What is read together where two pieces of a stream meet is shorter (`Reader::feed`).
const _: () = assert!(ROOM > 3 * MAX_PACKET_BYTES);

/// Bytes between two looks whether the walk is over.
const STEP: usize = 8;

/// Bytes of the longest known packet behind the first.
const MAX_BEHIND: u64 = 7;

// States, named by the bit at which what follows them stands in a row; six bits are a name. That of
// `BEGIN` alone is odd.

/// At a packet that is not known, for ever.
const UNKNOWN: u64 = 0;
/// So many bytes of a packet are to come, 1 to 7.
const fn lacks(bytes: u64) -> u64 {
    6 * bytes
}
/// The second byte of a CYC is to come.
const CYCLES: u64 = 6 * (MAX_BEHIND + 1);
/// A packet begins.
const BEGIN: u64 = CYCLES + 7;

/// What the first byte of a packet tells.
#[derive(Clone, Copy)]
struct Head {
    kind: Kind,
    compression: IpCompression,
    // Bytes behind it; of a CYC at least.
    behind: u8,
}

/// The known packets; first those that only lead on.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Pad,
    Tnt,
    Tip,
    Enable,
    Disable,
    Update,
    Mtc,
    Tsc,
    Cyc,
    Unknown,
}

const fn head(first: u8) -> Head {
    let ip = ip_head(first);
    let (kind, behind) = match (first, ip.kind) {
        (0x00, _) => (Kind::Pad, 0),
        (0x02, _) => (Kind::Unknown, 0),
        (0x19, _) => (Kind::Tsc, 7),
        (0x59, _) => (Kind::Mtc, 1),
        _ if first & 1 == 0 => (Kind::Tnt, 0),
        _ if first & 3 == 3 => (Kind::Cyc, first >> 2 & 1),
        _ if ip.len as u64 > MAX_BEHIND => (Kind::Unknown, 0),
        (_, IpKind::Tip) => (Kind::Tip, ip.len - 1),
        (_, IpKind::Enable) => (Kind::Enable, ip.len - 1),
        (_, IpKind::Disable) => (Kind::Disable, ip.len - 1),
        (_, IpKind::Update) => (Kind::Update, ip.len - 1),
        (_, IpKind::None) => (Kind::Unknown, 0),
    };
    Head {
        kind,
        compression: ip.compression,
        behind,
    }
}

/// The states that follow, if this is the byte.
const fn row(byte: u8) -> u64 {
    let head = head(byte);
    let first = match (head.kind, head.behind) {
        (Kind::Unknown, _) => UNKNOWN,
        (Kind::Cyc, 1) => CYCLES,
        (_, 0) => BEGIN,
        (_, behind) => lacks(behind as u64),
    };
    // A longer CYC may be wrong, and one that ends with 02 may have been cut off (SKD007).
    let cycles = match byte & 1 == 1 || byte == 2 {
        true => UNKNOWN,
        false => BEGIN,
    };
    let mut row = first << BEGIN | cycles << CYCLES | BEGIN << lacks(1);
    let mut bytes = 2;
    while bytes <= MAX_BEHIND {
        row |= lacks(bytes - 1) << lacks(bytes);
        bytes += 1;
    }
    row
}

/// How a payload is read: of the eight bytes behind the first those that `mask` leaves, times `factor`,
/// plus `bits`. That serves all, so that their kinds need not be told apart.
#[derive(Clone, Copy)]
struct Reading {
    mask: u64,
    factor: u64,
    bits: u64,
}

const fn reading(first: u8) -> Reading {
    let head = head(first);
    let mask = (1 << (8 * head.behind)) - 1;
    match head.kind {
        // Five bits in the first byte, seven in the second, above the one that says whether more follow.
        Kind::Cyc => Reading {
            mask: mask & !1,
            factor: 1 << 4,
            bits: first as u64 >> 3,
        },
        _ => Reading {
            mask,
            factor: 1,
            bits: outcomes(first).0,
        },
    }
}

/// The outcomes of a short TNT and their number.
const fn outcomes(first: u8) -> (u64, u8) {
    match head(first).kind {
        Kind::Tnt => short_outcomes(first),
        _ => (0, 0),
    }
}

/// Of the bits of a byte, from the highest on, the places of those that are set, and their number.
const fn places(bits: u8) -> (u64, u8) {
    let (mut places, mut count) = (0, 0);
    let mut place = 0;
    while place < 8 {
        if bits << place & 0x80 != 0 {
            places |= (place as u64) << (8 * count);
            count += 1;
        }
        place += 1;
    }
    (places, count)
}

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

static ROWS: [u64; 256] = by_byte!(u64, byte => row(byte));
// What is used together for each packet is apart, so that an entry's address is no computation.
static MASKS: [u64; 256] = by_byte!(u64, first => reading(first).mask);
static FACTORS: [u64; 256] = by_byte!(u64, first => reading(first).factor);
static BITS: [u64; 256] = by_byte!(u64, first => reading(first).bits);
static KINDS: [Kind; 256] = by_byte!(Kind, first => head(first).kind);
static COMPRESSIONS: [IpCompression; 256] =
    by_byte!(IpCompression, first => head(first).compression);
static LENGTHS: [u8; 256] = by_byte!(u8, first => outcomes(first).1);
static PLACES: [u64; 256] = by_byte!(u64, bits => places(bits).0);
static COUNTS: [u8; 256] = by_byte!(u8, bits => places(bits).1);

/// A packet in brief: what it is and its payload are told when asked for, each without a jump.
#[derive(Clone, Copy, Debug)]
pub struct Brief {
    first: u8,
    behind: u64,
}

impl Brief {
    /// The payload: outcomes as [`Packet::Tnt`] has them, an IP's bits, a time stamp, a counter, cycles.
    #[inline(always)]
    pub fn payload(self) -> u64 {
        let first = usize::from(self.first);
        (self.behind & MASKS[first]) * FACTORS[first] + BITS[first]
    }

    /// Whether it does no more than lead on, as TNT, TIP and padding do.
    #[inline(always)]
    pub fn leads_on(self) -> bool {
        matches!(self.kind(), Kind::Pad | Kind::Tnt | Kind::Tip)
    }

    /// The packet.
    #[inline]
    pub fn packet(self) -> Packet {
        let payload = self.payload();
        let ip = IpPayload {
            compression: COMPRESSIONS[usize::from(self.first)],
            bits: payload,
        };
        let len = LENGTHS[usize::from(self.first)];
        match self.kind() {
            Kind::Tnt => Packet::Tnt {
                bits: payload,
                len,
                long: false,
            },
            Kind::Tip => Packet::Tip(ip),
            Kind::Enable => Packet::TipPge(ip),
            Kind::Disable => Packet::TipPgd(ip),
            Kind::Update => Packet::Fup(ip),
            Kind::Mtc => Packet::Mtc { ctc: payload as u8 },
            Kind::Tsc => Packet::Tsc { tsc: payload },
            Kind::Cyc => Packet::Cyc { cycles: payload },
            Kind::Pad | Kind::Unknown => Packet::Pad,
        }
    }

    #[inline(always)]
    fn kind(self) -> Kind {
        KINDS[usize::from(self.first)]
    }
}

/// Hands out the known packets that `bytes` begin with, which are outside of a group of block items,
/// with their offsets, as far as there is room to look ahead; says how many bytes these had.
#[inline(always)]
pub(crate) fn each_brief(bytes: &[u8], mut visit: impl FnMut(usize, Brief)) -> usize {
    let mut at = 0;
    let mut begins = Begins {
        places: [0; WINDOW + STEP],
        len: 0,
        bytes: 0,
    };
    while let Some(window) = window(bytes, at) {
        begins.find(window);
        for &place in &begins.places[..begins.len] {
            let place = usize::from(place);
            let mut behind = [0; 8];
            behind.copy_from_slice(&window[place + 1..place + 9]);
            let behind = u64::from_le_bytes(behind);
            let first = window[place];
            visit(at + place, Brief { first, behind });
        }
        if begins.bytes == 0 {
            break;
        }
        at += begins.bytes;
    }
    at
}

/// The window at `at`, if a known packet begins there.
#[inline(always)]
fn window(bytes: &[u8], at: usize) -> Option<&[u8; ROOM]> {
    let window = bytes.get(at..)?.first_chunk()?;
    let known = KINDS[usize::from(window[0])] != Kind::Unknown;
    known.then_some(window)
}

/// Where known packets begin in a window.
struct Begins {
    places: [u8; WINDOW + STEP],
    len: usize,
    // What they have together.
    bytes: usize,
}

impl Begins {
    #[inline(always)]
    fn find(&mut self, window: &[u8; ROOM]) {
        (self.len, self.bytes) = (0, 0);
        let mut state = BEGIN;
        for step in window[..WINDOW].as_chunks::<STEP>().0 {
            let mut begins = 0;
            for &byte in step {
                begins = begins << 1 | state as u8 & 1;
                state = ROWS[usize::from(byte)] >> (state & 63);
            }
            self.add(begins);
            if state & 63 == UNKNOWN {
                break;
            }
        }
        if state & 63 != BEGIN {
            // The last one is not known, or not whole.
            self.len -= 1;
            self.bytes = usize::from(self.places[self.len]);
        }
    }

    /// Adds the places of the next step, of which there is a bit for each byte.
    #[inline(always)]
    fn add(&mut self, begins: u8) {
        let from = self.bytes as u64 * 0x0101_0101_0101_0101;
        let places = (PLACES[usize::from(begins)] + from).to_le_bytes();
        // At most one for each byte before; the mask only tells the compiler.
        let at = self.len & (WINDOW - 1);
        self.places[at..at + STEP].copy_from_slice(&places);
        self.len += usize::from(COUNTS[usize::from(begins)]);
        self.bytes += STEP;
    }
}
