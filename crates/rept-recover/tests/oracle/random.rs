//! Reproducible random numbers with a taste for edges.

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to pick test values.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `n - 1`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// An integer that a programmer would try: ends of ranges, single bits, small numbers, noise.
    pub(crate) fn integer(&mut self) -> u64 {
        const EDGES: [u64; 12] = [
            0,
            1,
            u64::MAX,
            0x7fff_ffff_ffff_ffff,
            0x8000_0000_0000_0000,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            0x7fff,
            0x8000,
            0x7f,
            0x80,
        ];
        match self.below(6) {
            0 => self.pick(&EDGES),
            1 => 1 << self.below(64),
            2 => self.below(256),
            3 => self.below(256).wrapping_neg(),
            _ => self.next(),
        }
    }

    /// A 64-bit vector lane: noise, repeated bytes, integers, and one or two floating point edges.
    pub(crate) fn lane(&mut self) -> u64 {
        match self.below(6) {
            0 => self.below(256) * 0x0101_0101_0101_0101,
            1 => self.integer(),
            2 => self.double(),
            3 => u64::from(self.single()) << 32 | u64::from(self.single()),
            4 => self.next() & self.next() & self.next(),
            _ => self.next(),
        }
    }

    fn double(&mut self) -> u64 {
        const EDGES: [u64; 10] = [
            0,
            1,
            0x000f_ffff_ffff_ffff,
            0x0010_0000_0000_0000,
            0x3ff0_0000_0000_0000,
            0x41df_ffff_ffc0_0000,
            0x43e0_0000_0000_0000,
            0x7fef_ffff_ffff_ffff,
            0x7ff0_0000_0000_0000,
            0x7ff8_0000_0000_0000,
        ];
        match self.below(3) {
            0 => self.pick(&EDGES) | self.below(2) << 63,
            1 => (self.integer() as i64 as f64).to_bits(),
            _ => (self.next() as i32 as f64 / 64.0).to_bits(),
        }
    }

    fn single(&mut self) -> u32 {
        const EDGES: [u32; 9] = [
            0,
            1,
            0x007f_ffff,
            0x0080_0000,
            0x3f80_0000,
            0x4f00_0000,
            0x7f7f_ffff,
            0x7f80_0000,
            0x7fc0_0000,
        ];
        match self.below(3) {
            0 => self.pick(&EDGES) | (self.below(2) as u32) << 31,
            1 => (self.integer() as i64 as f32).to_bits(),
            _ => (self.next() as i16 as f32 / 16.0).to_bits(),
        }
    }

    /// Which bits to reveal: none, all, a half, few, many, or a run of them.
    pub(crate) fn mask(&mut self) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => u64::MAX,
            2 => self.next(),
            3 => self.next() & self.next() & self.next(),
            4 => self.next() | self.next() | self.next(),
            _ => u64::MAX << self.below(64) >> self.below(64),
        }
    }
}
