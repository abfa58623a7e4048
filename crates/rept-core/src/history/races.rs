//! Which accesses of the same bytes by different threads nothing orders.
//!
//! Two accesses race when they are of different threads, share a byte, one of them writes,
//! and the order of segments proves neither to be the first. Only accesses whose address is
//! known are found. Pairs of the same two instructions at the same place are told once: the
//! newest pair that decides the crash, or else the newest, for all.
//!
//! Cost: for each store, the accesses of its cell inside its window of the sequence, at most
//! [`MAX_NEAR`] to each side.

mod behind;

use super::accesses::Entry;
use super::{History, Trust};
use crate::position::Position;
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind};
use rept_order::{Point, Relation};
use rept_recover::history::{AccessView, Value};
use rept_trace::Address;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Accesses of a cell looked at on either side of a store.
const MAX_NEAR: usize = 256;

/// Accesses of two threads that nothing orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Race {
    /// First byte that both touch.
    pub address: Address,
    /// Number of bytes that both touch.
    pub size: u64,
    /// The two accesses, in the order of the sequence, which proves nothing.
    pub sides: [RaceSide; 2],
    /// Pairs of the same two instructions at this place.
    pub occurrences: u64,
    /// The value of one of them, in this pair or another, went into what the process died of
    /// ([`History::suspects`]), or chose the place from which that was loaded.
    pub decides_crash: bool,
    /// The values show that the load read what the store wrote: the store was first. Inferred,
    /// and of the pair that is shown only.
    pub observed: bool,
}

/// One access of a [`Race`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaceSide {
    /// The step.
    pub position: Position,
    /// Address of its instruction.
    pub pc: Address,
    /// It writes.
    pub store: bool,
    /// The instruction is atomic (`lock`, or `xchg` with memory): meant to race.
    pub atomic: bool,
    /// First byte of the access.
    pub address: Address,
    /// Its bytes.
    pub size: u8,
    /// What is known of the value that it read or wrote.
    pub value: Value,
}

impl Race {
    /// Both are atomic: they do not race as a language sees it, but their order is open.
    pub fn is_atomic(&self) -> bool {
        self.sides.iter().all(|side| side.atomic)
    }
}

/// The pair of two instructions that is told, and how many there were.
struct Pair {
    /// The newest of those that decide the crash, or else of all.
    told: (u64, u64),
    decides: bool,
    count: u64,
}

/// Cell, the bytes of it that both touch, the two instructions.
type Key = (u64, u8, Address, Address);

impl History {
    /// Accesses of the same bytes by different threads, one of them a write, that nothing orders:
    /// those that decide the crash first, then those that are not atomic, the newest first. When it
    /// is cancelled, those that it found by then.
    pub fn races(&self) -> Vec<Race> {
        self.races_by(Trust::Inferred)
    }

    /// The same by addresses known at grade `trust` or better, with what of the values is known so.
    pub fn races_by(&self, trust: Trust) -> Vec<Race> {
        if self.trace().threads.len() < 2 {
            return Vec::new();
        }
        let mut pairs: BTreeMap<Key, Pair> = BTreeMap::new();
        let deciding = self.numbers_behind_crash(trust);
        for (cell, entries) in self.access_index().cells() {
            if self.is_cancelled() {
                break;
            }
            let trusted = entries.iter().filter(|entry| entry.grade <= trust);
            let entries: Vec<Entry> = trusted.copied().collect();
            self.races_of_cell(cell, &entries, &deciding, &mut pairs);
        }
        let observed = match trust {
            Trust::Inferred => self.observed_orders(),
            _ => BTreeSet::new(),
        };
        let mut races: Vec<(u64, Race)> = pairs
            .iter()
            .filter_map(|(&key, pair)| {
                let newest = pair.told.0.max(pair.told.1);
                Some((newest, self.race(key, pair, &observed, trust)?))
            })
            .collect();
        races.sort_by_key(|(newest, race)| {
            let rank = (!race.decides_crash, race.is_atomic());
            (rank, std::cmp::Reverse(*newest), race.address)
        });
        races.into_iter().map(|(_, race)| race).collect()
    }

    fn races_of_cell(
        &self,
        cell: u64,
        entries: &[Entry],
        deciding: &BTreeSet<u64>,
        pairs: &mut BTreeMap<Key, Pair>,
    ) {
        let places: Vec<Option<(usize, u64)>> = entries
            .iter()
            .map(|entry| self.sequence().step(entry.number))
            .collect();
        let mut threads = places.iter().flatten().map(|&(thread, _)| thread);
        let first = threads.next();
        let shared = threads.any(|thread| Some(thread) != first);
        if !shared || !entries.iter().any(|entry| entry.store) {
            return;
        }
        for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.store) {
            let Some(window) = places[at].and_then(|place| self.window(place)) else {
                continue;
            };
            let before = entries[..at].iter().enumerate().rev();
            let before = before.take_while(|(_, other)| window.start <= other.number);
            let behind = entries.iter().enumerate().skip(at + 1);
            let behind = behind.take_while(|(_, other)| other.number < window.end);
            for (near, other) in before.take(MAX_NEAR).chain(behind.take(MAX_NEAR)) {
                let bytes = entry.bytes & other.bytes;
                // Two stores are seen from both: the later one tells.
                let told = other.store && near > at;
                if bytes != 0 && !told && self.is_open(places[at], places[near]) {
                    let (first, second) = (near.min(at), near.max(at));
                    let numbers = (entries[first].number, entries[second].number);
                    let decides = deciding.contains(&numbers.0) || deciding.contains(&numbers.1);
                    self.note((cell, bytes), numbers, decides, pairs);
                }
            }
        }
    }

    /// Numbers of the steps that may be concurrent with a step.
    pub(super) fn window(&self, (thread, step): (usize, u64)) -> Option<Range<u64>> {
        let order = self.session.order();
        let thread = thread as u32;
        let segment = order.segment_at(Point { thread, step })?;
        let window = order.concurrent_window(segment);
        let number = |segment: u32| self.sequence().first_of(segment as usize);
        Some(number(window.start)..number(window.end))
    }

    pub(super) fn is_open(&self, a: Option<(usize, u64)>, b: Option<(usize, u64)>) -> bool {
        let (Some((thread, step)), Some((other, later))) = (a, b) else {
            return false;
        };
        let point = |thread: usize, step| Point {
            thread: thread as u32,
            step,
        };
        let order = self.session.order();
        thread != other
            && order.relation_of_steps(point(thread, step), point(other, later))
                == Some(Relation::Concurrent)
    }

    fn note(
        &self,
        (cell, bytes): (u64, u8),
        numbers: (u64, u64),
        decides: bool,
        pairs: &mut BTreeMap<Key, Pair>,
    ) {
        let pc = |number: u64| {
            let at = self.position_of(number)?;
            Some(self.instruction(at)?.at)
        };
        let (Some(a), Some(b)) = (pc(numbers.0), pc(numbers.1)) else {
            return;
        };
        let pair = pairs.entry((cell, bytes, a.min(b), a.max(b)));
        let pair = pair.or_insert(Pair {
            told: numbers,
            decides,
            count: 0,
        });
        pair.count += 1;
        (pair.decides, pair.told) = (pair.decides, pair.told).max((decides, numbers));
    }

    /// Stores and the loads that read them, as far as values show.
    fn observed_orders(&self) -> BTreeSet<(Position, Position)> {
        let threads = &self.trace().threads;
        let position = |at: rept_recover::history::Position| {
            Position::new(threads[at.thread as usize].thread, at.step)
        };
        let pairs = self.recovered.observed_orders();
        pairs
            .map(|(store, load)| (position(store), position(load)))
            .collect()
    }

    fn race(
        &self,
        key: Key,
        pair: &Pair,
        observed: &BTreeSet<(Position, Position)>,
        trust: Trust,
    ) -> Option<Race> {
        let (cell, bytes, _, _) = key;
        let address = Address(super::accesses::CELL * cell + u64::from(bytes.trailing_zeros()));
        let size = u64::from(bytes.count_ones());
        let (first, second) = pair.told;
        let side = |number: u64| self.side(number, address, size, trust);
        let sides = [side(first)?, side(second)?];
        let [a, b] = sides.map(|side| side.position);
        let observed = observed.contains(&(a, b)) || observed.contains(&(b, a));
        Some(Race {
            address,
            size,
            sides,
            occurrences: pair.count,
            decides_crash: pair.decides,
            observed,
        })
    }

    /// The access of a step that touches the bytes; its write, when it reads and writes them.
    fn side(&self, number: u64, address: Address, size: u64, trust: Trust) -> Option<RaceSide> {
        let position = self.position_of(number)?;
        let touching = self.overlapping(position, address, size, trust);
        let access = touching.iter().find(|access| access.store);
        let access = access.or(touching.first())?;
        let ran = self.instruction(position)?;
        let instruction = decode(ran.bytes, ran.at);
        Some(RaceSide {
            position,
            pc: ran.at,
            store: access.store,
            atomic: instruction.has_lock_prefix() || is_exchange(&instruction),
            address: access.address?,
            size: access.size,
            value: trust.limit(access.value),
        })
    }

    /// The accesses of a step that touch the bytes, by addresses known well enough.
    fn overlapping(
        &self,
        at: Position,
        address: Address,
        size: u64,
        trust: Trust,
    ) -> Vec<AccessView> {
        let overlaps = |access: &AccessView| {
            access.address.is_some_and(|start| {
                start.0 < address.0.saturating_add(size)
                    && address.0 < start.0.saturating_add(access.size.into())
            })
        };
        let accesses = self.accesses(at).into_iter();
        let trusted = accesses.filter(|access| Trust::of_address(access) <= trust);
        trusted.filter(overlaps).collect()
    }
}

fn decode(bytes: &[u8], at: Address) -> Instruction {
    Decoder::with_ip(64, bytes, at.0, DecoderOptions::NONE).decode()
}

fn is_exchange(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Xchg && instruction.op0_kind() == OpKind::Memory
}
