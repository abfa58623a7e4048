//! A small seeded mutator: what libFuzzer does without coverage.

/// Numbers at which things change.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 47,
    i64::MAX as u64,
    u64::MAX,
];
/// Bytes of an input at most.
const MAX_BYTES: usize = 1 << 16;

/// Makes inputs from seeds, the same ones for the same number.
#[derive(Clone, Debug)]
pub struct Mutator {
    state: u64,
    seeds: Vec<Vec<u8>>,
}

impl Mutator {
    /// A mutator of these inputs (and the empty one).
    pub fn new(seed: u64, mut seeds: Vec<Vec<u8>>) -> Mutator {
        seeds.push(Vec::new());
        Mutator {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            seeds,
        }
    }

    /// The next input.
    pub fn input(&mut self) -> Vec<u8> {
        let mut input = self.pick_seed();
        for _ in 0..self.below(8) {
            self.mutate(&mut input);
        }
        input.truncate(MAX_BYTES);
        input
    }

    fn pick_seed(&mut self) -> Vec<u8> {
        let index = self.below(self.seeds.len());
        self.seeds[index].clone()
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let len = self.below((input.len() - at).min(64) + 1);
        match self.below(7) {
            0 => self.flip(input, at),
            1 => self.overwrite(input, at),
            2 => drop(input.drain(at..at + len)),
            3 => {
                let copy = input[at..at + len].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            4 => {
                let noise: Vec<u8> = (0..self.below(16)).map(|_| self.next() as u8).collect();
                input.splice(at..at, noise);
            }
            5 => input.truncate(at),
            _ => {
                let other = self.pick_seed();
                let from = self.below(other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
        }
    }

    fn flip(&mut self, input: &mut [u8], at: usize) {
        if let Some(byte) = input.get_mut(at) {
            *byte ^= 1 << self.below(8);
        }
    }

    /// Writes a number of 1, 2, 4 or 8 bytes.
    fn overwrite(&mut self, input: &mut [u8], at: usize) {
        let number = match self.below(3) {
            0 => self.next(),
            1 => u64::from(self.next() as u8),
            _ => EDGES[self.below(EDGES.len())],
        };
        let size = 1 << self.below(4);
        let to = input.len().min(at + size);
        input[at..to].copy_from_slice(&number.to_le_bytes()[..to - at]);
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// xorshift64*, G. Marsaglia 2003.
    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
