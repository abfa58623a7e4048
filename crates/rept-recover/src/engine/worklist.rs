//! Steps that may have something to learn, visited in alternating sweeps.

/// A set of steps with ordered removal. One bit a step; a sweep costs a look at each word of 64.
pub(crate) struct Worklist {
    bits: Vec<u64>,
}

impl Worklist {
    /// All of `steps` steps are in.
    pub(crate) fn full(steps: u32) -> Worklist {
        let mut bits = vec![u64::MAX; steps as usize / 64 + 1];
        if let Some(last) = bits.last_mut() {
            *last = (1 << (steps % 64)) - 1;
        }
        Worklist { bits }
    }

    pub(crate) fn insert(&mut self, step: u32) {
        self.bits[step as usize / 64] |= 1 << (step % 64);
    }

    /// Takes out the last step at or before `cursor`.
    pub(crate) fn pop_backward(&mut self, cursor: u32) -> Option<u32> {
        let mut word = cursor as usize / 64;
        let mut bits = self.bits[word] & (u64::MAX >> (63 - cursor % 64));
        while bits == 0 {
            word = word.checked_sub(1)?;
            bits = self.bits[word];
        }
        Some(self.take(word, 63 - bits.leading_zeros()))
    }

    /// Takes out the first step at or after `cursor`.
    pub(crate) fn pop_forward(&mut self, cursor: u32) -> Option<u32> {
        let mut word = cursor as usize / 64;
        let mut bits = self.bits.get(word)? & (u64::MAX << (cursor % 64));
        while bits == 0 {
            word += 1;
            bits = *self.bits.get(word)?;
        }
        Some(self.take(word, bits.trailing_zeros()))
    }

    fn take(&mut self, word: usize, bit: u32) -> u32 {
        self.bits[word] &= !(1 << bit);
        word as u32 * 64 + bit
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bits.iter().all(|&bits| bits == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
