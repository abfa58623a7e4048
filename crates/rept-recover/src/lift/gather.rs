//! Words put together from bytes of other words: the common form of all shuffles.

use crate::lift::builder::Builder;
use crate::lift::value::Val;
use crate::lift::vector::Lanes;
use crate::op::Op;

/// Where a byte comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Byte<'b> {
    Zero,
    /// Byte `1` of the word.
    Of(Val<'b>, u32),
}

impl<'b> Byte<'b> {
    /// Byte `at` of a vector.
    pub(super) fn of(lanes: &[Val<'b>], at: usize) -> Byte<'b> {
        Byte::Of(lanes[at / 8], at as u32 % 8)
    }
}

/// A control byte of the shuffle that makes zero.
const ZERO: u64 = 0x80;

impl Builder {
    /// `lanes` words whose byte `i` is `source(i)`.
    pub(super) fn assemble<'b>(
        &'b self,
        lanes: usize,
        source: impl Fn(usize) -> Byte<'b>,
    ) -> Lanes<'b> {
        (0..lanes)
            .map(|lane| self.word_of([0, 1, 2, 3, 4, 5, 6, 7].map(|byte| source(lane * 8 + byte))))
            .collect()
    }

    /// One word. Whole words cost nothing, two halves one relation, the rest a shuffle of each
    /// pair of source words.
    fn word_of<'b>(&'b self, bytes: [Byte<'b>; 8]) -> Val<'b> {
        let mut sources: Vec<Val<'b>> = Vec::new();
        for byte in bytes {
            if let Byte::Of(word, _) = byte
                && !sources.iter().any(|seen| seen.word == word.word)
            {
                sources.push(word);
            }
        }
        let in_place = |word: Val<'b>| {
            (0u32..)
                .zip(bytes)
                .all(|(at, byte)| matches!(byte, Byte::Of(w, i) if w.word == word.word && i == at))
        };
        match sources[..] {
            [] => self.constant(0, 64),
            [word] if in_place(word) => word.low(64),
            _ => self
                .halves(bytes)
                .unwrap_or_else(|| self.shuffled(bytes, &sources)),
        }
    }

    /// Both halves of the word are whole halves of sources.
    fn halves<'b>(&'b self, bytes: [Byte<'b>; 8]) -> Option<Val<'b>> {
        let half = |at: usize| -> Option<(Val<'b>, u32)> {
            let Byte::Of(word, from) = bytes[at] else {
                return None;
            };
            let whole = (0..4).all(|i| matches!(bytes[at + i], Byte::Of(w, f) if w.word == word.word && f == from + i as u32));
            (from % 4 == 0 && whole).then_some((word.low(64), from))
        };
        let ((low, low_from), (high, high_from)) = (half(0)?, half(4)?);
        Some(match (low_from, high_from) {
            (0, 0) => low.insert(32, high.low(32)),
            (4, 0) => self.apply(Op::Funnel, 64, 32, [high, low, high], 64),
            (0, _) => high.insert(0, low.low(32)),
            _ => self
                .apply(Op::Extract, 64, crate::op::field_imm(32, 32), [low; 3], 32)
                .low(64)
                .insert(32, high.extract(32, 32)),
        })
    }

    fn shuffled<'b>(&'b self, bytes: [Byte<'b>; 8], sources: &[Val<'b>]) -> Val<'b> {
        let mut word: Option<Val<'b>> = None;
        for pair in sources.chunks(2) {
            let control = (0u32..).zip(bytes).fold(0, |control, (at, byte)| {
                let choice = match byte {
                    Byte::Of(word, from) => {
                        match pair.iter().position(|source| source.word == word.word) {
                            Some(which) => u64::from(from) + which as u64 * 8,
                            None => ZERO,
                        }
                    }
                    Byte::Zero => ZERO,
                };
                control | choice << (at * 8)
            });
            let second = pair.last().copied().unwrap_or(pair[0]);
            let part = self.apply(
                Op::Shuffle,
                64,
                0,
                [pair[0], second, self.constant(control, 64)],
                64,
            );
            word = Some(word.map_or(part, |word| word | part));
        }
        word.unwrap_or_else(|| self.constant(0, 64))
    }
}
