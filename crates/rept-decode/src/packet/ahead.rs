//! Looking ahead: where packets begin in the next 256 bytes.
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
//! Known here are the packets that come in brief (`brief.rs`): they cannot be wrong, no erratum concerns
//! them, and they change nothing in how others are read. Before any other packet the walk ends, after at
//! most [`STEP`] bytes of it, so that a stream of such packets costs little more than without it.

use super::brief::{BRIEF_BYTES, Brief, Kind, behind_second, by_byte, head};
use super::{MAX_PACKET_BYTES, PSB};
use std::hint::select_unpredictable;

/// Bytes that are walked over at once; a place is one byte.
const WINDOW: usize = 256;

/// Bytes that must be there, so that the last packet can be read as if it were as long as any.
const ROOM: usize = WINDOW - 1 + BRIEF_BYTES;

// What is read together where two pieces of a stream meet is shorter (`Reader::feed`).
const _: () = assert!(ROOM > 3 * MAX_PACKET_BYTES);

/// Bytes between two looks whether the walk is over.
const STEP: usize = 8;

// States, named by the bit at which what follows them stands in a row; six bits are a name. That of
// `BEGIN` alone is odd.

/// At a packet that is not known, for ever.
const UNKNOWN: u64 = 0;
/// The second byte of a CYC is to come.
const CYCLES: u64 = 38;
/// The second byte of a mode is to come.
const MODE: u64 = 44;
/// The second byte of a packet that begins with 02 is to come.
const SECOND: u64 = 50;
/// A packet begins.
const BEGIN: u64 = 57;

/// So many bytes of a packet are to come, 0 to 7. What follows these states, and `UNKNOWN`, is the same
/// in all rows, so that there they can share bits: lest all states have no room in a word, they do.
const LACKS: [u64; 8] = [BEGIN, 6, 12, 16, 2, 22, 32, 24];

const fn lacks(bytes: u8) -> u64 {
    LACKS[bytes as usize]
}

/// The states that follow, if this is the byte.
const fn row(byte: u8) -> u64 {
    let head = head(byte);
    let first = match (head.kind, head.behind) {
        (Kind::Long, _) => UNKNOWN,
        (Kind::Extended, _) => SECOND,
        (Kind::Mode, _) => MODE,
        (Kind::Cyc, 1) => CYCLES,
        (_, behind) => lacks(behind),
    };
    let second = match behind_second(byte) {
        Some(behind) => lacks(behind),
        None => UNKNOWN,
    };
    // The highest three bits say which mode; there are two.
    let mode = if byte >> 5 < 2 { BEGIN } else { UNKNOWN };
    // A longer CYC may be wrong, and one that ends with 02 may have been cut off (SKD007).
    let cycles = match byte & 1 == 1 || byte == 2 {
        true => UNKNOWN,
        false => BEGIN,
    };
    let mut row = first << BEGIN | second << SECOND | mode << MODE | cycles << CYCLES;
    let mut bytes = 1;
    while bytes < LACKS.len() {
        row |= LACKS[bytes - 1] << LACKS[bytes];
        bytes += 1;
    }
    // What shares bits is as it should be.
    bytes = 1;
    while bytes < LACKS.len() {
        assert!(row >> LACKS[bytes] & 63 == LACKS[bytes - 1]);
        bytes += 1;
    }
    assert!(row >> UNKNOWN & 63 == UNKNOWN && row >> BEGIN & 63 == first);
    assert!(row >> SECOND & 63 == second && row >> MODE & 63 == mode);
    assert!(row >> CYCLES & 63 == cycles);
    row
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

/// All that is looked up on the walk; in one table, so that one register tells where it is.
struct Tables {
    rows: [u64; 256],
    places: [u64; 256],
    counts: [u8; 256],
}

static TABLES: Tables = Tables {
    rows: by_byte!(u64, byte => row(byte)),
    places: by_byte!(u64, bits => places(bits).0),
    counts: by_byte!(u8, bits => places(bits).1),
};

/// Hands out the packets in brief that `bytes` begin with, which are outside of a group of block items,
/// with their offsets, as far as there is room to look ahead; says how many bytes these had.
#[inline(always)]
pub(crate) fn each_brief(bytes: &[u8], mut visit: impl FnMut(usize, Brief)) -> usize {
    // Room for places is not made for nothing.
    if next(bytes, 0).is_none() {
        return 0;
    }
    let mut begins = Begins::new();
    let mut at = 0;
    while let Some(next) = next(bytes, at) {
        let window = match next {
            Next::Known(window) => window,
            Next::Boundary(bytes) => {
                visit(at, Brief::new(bytes));
                at += PSB.len();
                continue;
            }
        };
        begins.find(window);
        let mut brief = |&place: &u8| {
            let place = usize::from(place);
            let bytes = window[place..].first_chunk().expect("there is room");
            visit(at + place, Brief::new(bytes));
        };
        // By fours, so that the loop costs little beside what is done in it.
        let (fours, rest) = begins.places[..begins.len].as_chunks::<4>();
        fours
            .iter()
            .for_each(|four| four.iter().for_each(&mut brief));
        rest.iter().for_each(brief);
        at += begins.bytes;
    }
    at
}

/// What can be told in brief at a place.
enum Next<'a> {
    /// A window that begins with a known packet.
    Known(&'a [u8; ROOM]),
    /// A PSB, of which these are the first bytes.
    Boundary(&'a [u8; BRIEF_BYTES]),
}

#[inline(always)]
fn next(bytes: &[u8], at: usize) -> Option<Next<'_>> {
    let window: &[u8; ROOM] = bytes.get(at..)?.first_chunk()?;
    let first = step(BEGIN, window[0]);
    if first == BEGIN || first != UNKNOWN && step(first, window[1]) != UNKNOWN {
        return Some(Next::Known(window));
    }
    match window.starts_with(&PSB) {
        true => window.first_chunk().map(Next::Boundary),
        false => None,
    }
}

/// The state behind a byte.
#[inline(always)]
fn step(state: u64, byte: u8) -> u64 {
    TABLES.rows[usize::from(byte)] >> state & 63
}

/// Where known packets begin in a window.
struct Begins {
    places: [u8; WINDOW + STEP],
    len: usize,
    // What they have together.
    bytes: usize,
}

impl Begins {
    fn new() -> Begins {
        Begins {
            places: [0; WINDOW + STEP],
            len: 0,
            bytes: 0,
        }
    }

    #[inline(always)]
    fn find(&mut self, window: &[u8; ROOM]) {
        (self.len, self.bytes) = (0, 0);
        // Six bits are the state, and what is above does no harm.
        let mut state = BEGIN;
        for step in window[..WINDOW].as_chunks::<STEP>().0 {
            let mut begins = 0;
            for &byte in step {
                begins = begins << 1 | state as u8 & 1;
                state = TABLES.rows[usize::from(byte)] >> (state & 63);
            }
            self.add(begins);
            if state & 63 == UNKNOWN {
                break;
            }
        }
        // The last one is not known, or not whole; which of the two no processor predicts.
        let cut = state & 63 != BEGIN;
        self.len -= usize::from(cut);
        let last = usize::from(self.places[self.len & (WINDOW - 1)]);
        self.bytes = select_unpredictable(cut, last, self.bytes);
    }

    /// Adds the places of the next step, of which there is a bit for each byte.
    #[inline(always)]
    fn add(&mut self, begins: u8) {
        let from = self.bytes as u64 * 0x0101_0101_0101_0101;
        let places = (TABLES.places[usize::from(begins)] + from).to_le_bytes();
        // At most one for each byte before; the mask only tells the compiler.
        let at = self.len & (WINDOW - 1);
        self.places[at..at + STEP].copy_from_slice(&places);
        self.len += usize::from(TABLES.counts[usize::from(begins)]);
        self.bytes += STEP;
    }
}
