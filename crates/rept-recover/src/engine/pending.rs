//! Which accesses may write memory at a place not yet known.

/// A set of access ids with ordered queries: a bit per access and a Fenwick tree over words of bits.
#[derive(Clone, Default)]
pub(crate) struct PendingSet {
    bits: Vec<u64>,
    // Fenwick tree: number of members in words before, one entry a word of `bits`.
    tree: Vec<u32>,
    count: u32,
}

impl PendingSet {
    /// The set of those `0..len` for which `member` says so.
    pub(crate) fn new(len: usize, member: impl Fn(usize) -> bool) -> PendingSet {
        let words = len.div_ceil(64);
        let mut set = PendingSet {
            bits: vec![0; words],
            tree: vec![0; words + 1],
            count: 0,
        };
        for id in (0..len).filter(|&id| member(id)) {
            set.bits[id / 64] |= 1 << (id % 64);
            set.tree[id / 64 + 1] += 1;
            set.count += 1;
        }
        for index in 1..=words {
            let parent = index + (index & index.wrapping_neg());
            if parent <= words {
                set.tree[parent] += set.tree[index];
            }
        }
        set
    }

    pub(crate) fn len(&self) -> u32 {
        self.count
    }

    /// There are members.
    pub(crate) fn any(&self) -> bool {
        self.count > 0
    }

    /// Nothing can be a member.
    pub(crate) fn is_empty(&self) -> bool {
        self.bits.is_empty()
    }

    pub(crate) fn contains(&self, id: u32) -> bool {
        self.bits[id as usize / 64] >> (id % 64) & 1 == 1
    }

    pub(crate) fn insert(&mut self, id: u32) {
        if !self.contains(id) {
            self.bits[id as usize / 64] |= 1 << (id % 64);
            self.add(id, 1);
        }
    }

    pub(crate) fn remove(&mut self, id: u32) {
        if self.contains(id) {
            self.bits[id as usize / 64] &= !(1 << (id % 64));
            self.add(id, u32::MAX);
        }
    }

    fn add(&mut self, id: u32, delta: u32) {
        self.count = self.count.wrapping_add(delta);
        let mut index = id as usize / 64 + 1;
        while index < self.tree.len() {
            self.tree[index] = self.tree[index].wrapping_add(delta);
            index += index & index.wrapping_neg();
        }
    }

    /// Members below `id`.
    fn rank(&self, id: u32) -> u32 {
        let word = (id as usize / 64).min(self.bits.len());
        let mut index = word;
        let mut sum = 0u32;
        while index > 0 {
            sum = sum.wrapping_add(self.tree[index]);
            index &= index - 1;
        }
        let rest = self
            .bits
            .get(word)
            .map_or(0, |bits| (bits & ((1u64 << (id % 64)) - 1)).count_ones());
        sum + rest
    }

    /// The last member strictly between `after` and `before`.
    pub(crate) fn last_between(&self, after: u32, before: u32) -> Option<u32> {
        let mut word = (before as usize).checked_sub(1)? / 64;
        let mut bits = self.bits.get(word)? & (u64::MAX >> (63 - (before - 1) % 64));
        while bits == 0 {
            word = word.checked_sub(1)?;
            bits = self.bits[word];
            if word < after as usize / 64 {
                return None;
            }
        }
        let last = word as u32 * 64 + bits.ilog2();
        Some(last).filter(|&last| last > after)
    }

    /// Number of members from `first` on and before `before`.
    pub(crate) fn within(&self, first: u32, before: u32) -> u32 {
        let own = first < before && self.contains(first);
        u32::from(own) + self.between(first, before)
    }

    /// Number of members strictly between `after` and `before`.
    pub(crate) fn between(&self, after: u32, before: u32) -> u32 {
        if before <= after.saturating_add(1) {
            return 0;
        }
        // Neighbours in a timeline are mostly near in the trace: the same word answers most queries.
        if after / 64 == (before - 1) / 64 {
            let low = u64::MAX.checked_shl(after % 64 + 1).unwrap_or(0);
            let high = u64::MAX >> (63 - (before - 1) % 64);
            return (self.bits[after as usize / 64] & low & high).count_ones();
        }
        self.rank(before) - self.rank(after + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_a_plain_list(
            members in proptest::collection::btree_set(0u32..500, 0..200),
            removed in proptest::collection::btree_set(0u32..500, 0..100),
            added in proptest::collection::btree_set(0u32..500, 0..100),
            queries in proptest::collection::vec((0u32..500, 0u32..=500), 50),
        ) {
            let mut set = PendingSet::new(500, |id| members.contains(&(id as u32)));
            let mut model = members;
            for &id in &removed { set.remove(id); model.remove(&id); }
            for &id in &added { set.insert(id); model.insert(id); }
            prop_assert!((0..500).all(|id| set.contains(id) == model.contains(&id)));
            prop_assert_eq!(set.len() as usize, model.len());
            for (after, before) in queries {
                let expect = model.iter().filter(|&&id| id > after && id < before).count();
                prop_assert_eq!(set.between(after, before) as usize, expect);
                let expect = model.iter().filter(|&&id| id >= after && id < before).count();
                prop_assert_eq!(set.within(after, before) as usize, expect);
                let expect = model.iter().copied().filter(|&id| id > after && id < before).max();
                prop_assert_eq!(set.last_between(after, before), expect);
            }
        }
    }
}
