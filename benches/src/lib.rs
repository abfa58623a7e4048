//! Criterion suites of rept; run `cargo bench -p rept-benches`.
//!
//! Here is what the suites share: a source of knowledge for relations to be narrowed, and
//! recordings of a program that the suites build and record themselves.

mod recording;

pub use recording::{Lowered, Recorded, lowered, steps};

use rept_recover::bits::Bits;
use rept_recover::effect::Effect;
use std::time::Duration;

/// Time that this thread ran on a processor; `None` where the kernel does not tell.
pub fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

/// Reproducible noise: a linear congruential generator (Knuth's MMIX constants).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0.rotate_left(23) ^ self.0 >> 29
    }

    /// A word of which this much is known.
    pub fn word(&mut self, knowledge: Knowledge) -> Bits {
        let value = self.bits();
        match (knowledge, self.bits() >> 62) {
            (Knowledge::None, _) | (Knowledge::Mixed, 0) => Bits::UNKNOWN,
            (Knowledge::All, _) | (Knowledge::Mixed, 1) => Bits::constant(value),
            _ => Bits::new(self.bits(), value),
        }
    }
}

/// How much is known of an instruction's operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// Nothing.
    None,
    /// Everything.
    All,
    /// A quarter of the words unknown, a quarter known, the rest in part.
    Mixed,
}

/// The words of an effect before a visit: random knowledge of its inputs that does not
/// contradict the relations; none where no such knowledge turns up.
pub fn visit(effect: &Effect, knowledge: Knowledge, random: &mut Random) -> Vec<Bits> {
    for _ in 0..64 {
        let mut words = effect.template.to_vec();
        for word in words.iter_mut().take(effect.inputs()) {
            *word = random.word(knowledge);
        }
        if effect.narrow(&mut words.clone()).is_ok() {
            return words;
        }
    }
    effect.template.to_vec()
}
