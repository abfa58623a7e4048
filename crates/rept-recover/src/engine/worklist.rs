//! Steps that may have something to learn, visited in alternating sweeps.

/// A set of steps with ordered removal: one bit a step, and one for each word of them that has any.
pub(crate) struct Worklist {
    bits: Vec<u64>,
    words: Vec<u64>,
}

impl Worklist {
    /// All of `steps` steps are in.
    pub(crate) fn full(steps: u32) -> Worklist {
        let bits = ones(steps as usize);
        let words = ones(steps.div_ceil(64) as usize);
        Worklist { bits, words }
    }

    #[inline]
    pub(crate) fn insert(&mut self, step: u32) {
        let word = step as usize / 64;
        self.bits[word] |= 1 << (step % 64);
        self.words[word / 64] |= 1 << (word % 64);
    }

    /// Takes out the last step at or before `cursor`.
    pub(crate) fn pop_backward(&mut self, cursor: u32) -> Option<u32> {
        let mut word = cursor as usize / 64;
        let mut bits = self.bits[word] & (u64::MAX >> (63 - cursor % 64));
        if bits == 0 {
            word = self.last_word_before(word)?;
            bits = self.bits[word];
        }
        Some(self.take(word, 63 - bits.leading_zeros()))
    }

    /// Takes out the first step at or after `cursor`.
    pub(crate) fn pop_forward(&mut self, cursor: u32) -> Option<u32> {
        let mut word = cursor as usize / 64;
        let mut bits = self.bits.get(word)? & (u64::MAX << (cursor % 64));
        if bits == 0 {
            word = self.first_word_after(word)?;
            bits = self.bits[word];
        }
        Some(self.take(word, bits.trailing_zeros()))
    }

    fn last_word_before(&self, word: usize) -> Option<usize> {
        let mut index = word / 64;
        let mut words = self.words[index] & ((1 << (word % 64)) - 1);
        while words == 0 {
            index = index.checked_sub(1)?;
            words = self.words[index];
        }
        Some(index * 64 + 63 - words.leading_zeros() as usize)
    }

    fn first_word_after(&self, word: usize) -> Option<usize> {
        let mut index = word / 64;
        let mut words = self.words[index] & (u64::MAX << (word % 64)) & !(1 << (word % 64));
        while words == 0 {
            index += 1;
            words = *self.words.get(index)?;
        }
        Some(index * 64 + words.trailing_zeros() as usize)
    }

    fn take(&mut self, word: usize, bit: u32) -> u32 {
        self.bits[word] &= !(1 << bit);
        if self.bits[word] == 0 {
            self.words[word / 64] &= !(1 << (word % 64));
        }
        word as u32 * 64 + bit
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|&words| words == 0)
    }
}

/// So many ones, and zeros behind them to the end of a word.
fn ones(count: usize) -> Vec<u64> {
    let mut words = vec![u64::MAX; count / 64 + 1];
    if let Some(last) = words.last_mut() {
        *last = (1 << (count % 64)) - 1;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(
            steps in 1u32..20_000,
            acts in proptest::collection::vec((0u8..4, 0u32..20_000), 1..200),
        ) {
            let mut list = Worklist::full(steps);
            let mut model: BTreeSet<u32> = (0..steps).collect();
            // Few are left, so that what is next is far.
            while let Some(step) = list.pop_forward(0) {
                model.remove(&step);
            }
            for (act, at) in acts {
                let at = at % steps;
                match act {
                    0 | 1 => {
                        list.insert(at);
                        model.insert(at);
                    }
                    2 => {
                        let expect = model.range(at..).next().copied();
                        prop_assert_eq!(list.pop_forward(at), expect);
                        expect.map(|step| model.remove(&step));
                    }
                    _ => {
                        let expect = model.range(..=at).next_back().copied();
                        prop_assert_eq!(list.pop_backward(at), expect);
                        expect.map(|step| model.remove(&step));
                    }
                }
                prop_assert_eq!(list.is_empty(), model.is_empty());
            }
        }
    }

    #[test]
    fn sweeps_visit_in_order_and_see_what_is_added_ahead() {
        let mut list = Worklist::full(130);
        let mut cursor = 129;
        let mut seen = Vec::new();
        while let Some(step) = list.pop_backward(cursor) {
            seen.push(step);
            if step == 100 {
                list.insert(7);
                list.insert(129);
            }
            let Some(next) = step.checked_sub(1) else {
                break;
            };
            cursor = next;
        }
        assert_eq!(seen, (0..130).rev().collect::<Vec<_>>());
        assert_eq!(list.pop_forward(0), Some(129));
        assert_eq!(list.pop_forward(0), None);
        assert!(list.is_empty());
    }
}
