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
        let mut set = PendingSet::without_members(len);
        set.refill((0..len as u32).filter(|&id| member(id as usize)));
        set
    }

    /// A set of which any of `0..len` may become a member.
    pub(crate) fn without_members(len: usize) -> PendingSet {
        let words = len.div_ceil(64);
        PendingSet {
            bits: vec![0; words],
            tree: vec![0; words + 1],
            count: 0,
        }
    }

    /// These are the members from now on, each said once. Costs next to nothing where there were none and
    /// will be none.
    pub(crate) fn refill(&mut self, members: impl Iterator<Item = u32>) {
        if self.any() {
            self.bits.fill(0);
            self.tree.fill(0);
            self.count = 0;
        }
        for id in members {
            self.bits[id as usize / 64] |= 1 << (id % 64);
            self.tree[id as usize / 64 + 1] += 1;
            self.count += 1;
        }
        let sums = if self.any() { self.tree.len() } else { 0 };
        for index in 1..sums {
            let parent = index + (index & index.wrapping_neg());
            if parent < sums {
                self.tree[parent] += self.tree[index];
            }
        }
    }

    /// The members, ascending.
    pub(crate) fn members(&self) -> impl Iterator<Item = u32> + '_ {
        let words = (0..).zip(&self.bits);
        words.flat_map(|(word, &bits)| {
            let mut left = bits;
            std::iter::from_fn(move || {
                let first = left.trailing_zeros();
                left &= left.wrapping_sub(1);
                (first < u64::BITS).then_some(word * u64::BITS + first)
            })
        })
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
        if !self.any() {
            return 0;
        }
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
            again in any::<bool>(),
            queries in proptest::collection::vec((0u32..500, 0u32..=500), 50),
        ) {
            let mut set = PendingSet::new(500, |id| members.contains(&(id as u32)));
            let mut model = members;
            for &id in &removed { set.remove(id); model.remove(&id); }
            for &id in &added { set.insert(id); model.insert(id); }
            prop_assert!((0..500).all(|id| set.contains(id) == model.contains(&id)));
            prop_assert_eq!(set.len() as usize, model.len());
            prop_assert!(set.members().eq(model.iter().copied()));
            if again {
                set.refill(added.iter().copied());
                model = added;
            }
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
