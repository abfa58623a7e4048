//! A thread's log: a ring of chunks in memory shared with it.
//!
//! The thread writes where the area says. Near a chunk's end a hardware watchpoint stops
//! it, and the log goes on in the next chunk, the oldest, which begins with the time.

use super::TIME;
use crate::cache::area::{LOG_AT, RING_AT};
use crate::sys::{Shared, time_stamp};
use std::ops::Range;

/// Chunks of a log.
const CHUNKS: u64 = 128;
/// Bytes before a chunk's end at which the watchpoint stands.
const SLACK: u64 = 64;
/// Longest record, in bytes.
const LONGEST_RECORD: u64 = 16;

/// Size of a log that fills a ring of `buffer` bytes of packets: a block gives a bit or more.
pub(crate) fn log_bytes(buffer: usize) -> usize {
    (chunk_bytes(buffer) * CHUNKS as usize).next_multiple_of(4096)
}

// A block gives seven bytes of packets at most, so a chunk less than half a ring: there is
// always a time, and a PSB with it, in a ring.
fn chunk_bytes(buffer: usize) -> usize {
    (buffer / 4).next_multiple_of(1024)
}

#[derive(Debug)]
pub(crate) struct Log {
    area: Shared,
    chunk: u64,
    // Number of the chunk that is written, from 0 on; it stands at this modulo `CHUNKS`.
    current: u64,
    // Where each chunk's records end, from its beginning.
    ends: [u64; CHUNKS as usize],
}

impl Log {
    pub(super) fn new(area: Shared, buffer: usize) -> Log {
        let mut log = Log {
            area,
            chunk: chunk_bytes(buffer) as u64,
            current: 0,
            ends: [0; CHUNKS as usize],
        };
        log.start(0);
        log
    }

    pub(crate) fn area(&self) -> &Shared {
        &self.area
    }

    pub(super) fn into_area(self) -> Shared {
        self.area
    }

    // Offset of a chunk in the area.
    fn begins(&self, number: u64) -> u64 {
        RING_AT as u64 + number % CHUNKS * self.chunk
    }

    fn position(&self) -> u64 {
        self.area.quad(LOG_AT as usize) - self.area.remote
    }

    fn set_position(&self, at: u64) {
        self.area.set_quad(LOG_AT as usize, self.area.remote + at);
    }

    fn watched(&self) -> u64 {
        self.begins(self.current) + self.chunk - SLACK
    }

    /// Address of the word whose writing means that the chunk is full.
    pub(crate) fn watch(&self) -> u64 {
        self.area.remote + self.watched()
    }

    /// The same, or, when that comes first, of the word that will be the `number`th of all; it must not
    /// have been written yet.
    pub(crate) fn watch_at(&self, number: u64) -> u64 {
        let behind = (number * 4).saturating_sub(self.current * self.chunk);
        let at = self.begins(self.current) + behind;
        self.area.remote + at.clamp(self.position(), self.watched())
    }

    fn start(&mut self, number: u64) {
        self.current = number;
        self.set_position(self.begins(number));
        let now = time_stamp();
        self.append(&[TIME, now as u32, (now >> 32) as u32]);
    }

    /// Goes on in the next chunk when this one is full. The thread must be stopped, and
    /// its state of the log be in the area.
    pub(crate) fn turn(&mut self) {
        if self.position() + LONGEST_RECORD > self.watched() {
            let current = self.current;
            self.ends[(current % CHUNKS) as usize] = self.position() - self.begins(current);
            self.start(current + 1);
        }
    }

    fn append(&self, words: &[u32]) {
        let mut at = self.position();
        for &word in words {
            self.area.set_word(at as usize, word);
            at += 4;
        }
        self.set_position(at);
    }

    /// Appends a record.
    pub(super) fn write(&mut self, words: &[u32]) {
        self.turn();
        self.append(words);
    }

    /// The word written last.
    pub(crate) fn last(&self) -> u32 {
        self.area.word(self.position() as usize - 4)
    }

    /// The words written last, at most so many in this chunk and in the one before, while the thread may
    /// write more.
    pub(crate) fn newest(&self, count: u64) -> impl Iterator<Item = u32> {
        let last =
            |begin: u64, end: u64| (begin.max(end.saturating_sub(count * 4))..end).step_by(4);
        let before = self.current.checked_sub(1).map(|number| {
            let begin = self.begins(number);
            last(begin, begin + self.ends[(number % CHUNKS) as usize])
        });
        let now = last(self.begins(self.current), self.position());
        let places = before.into_iter().flatten().chain(now);
        places.map(|at| self.area.word(at as usize))
    }

    /// Words written so far.
    pub(crate) fn written(&self) -> u64 {
        (self.current * self.chunk + self.position() - self.begins(self.current)) / 4
    }

    /// Words that were overwritten.
    pub(super) fn lost(&self) -> u64 {
        self.chunks().start * self.chunk / 4
    }

    /// Numbers of the chunks that are left, the oldest first.
    pub(super) fn chunks(&self) -> Range<u64> {
        (self.current + 1).saturating_sub(CHUNKS)..self.current + 1
    }

    /// The words of a chunk that is left.
    pub(super) fn words(&self, number: u64) -> impl Iterator<Item = u32> {
        let begins = self.begins(number);
        let end = match number == self.current {
            true => self.position() - begins,
            false => self.ends[(number % CHUNKS) as usize],
        };
        (0..end / 4).map(move |n| self.area.word((begins + n * 4) as usize))
    }
}
