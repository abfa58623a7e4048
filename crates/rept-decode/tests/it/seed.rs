//! The seed of random cases that are held against other decoders.
//!
//! The same cases each time, so that a change is to blame for a failure; `REPT_SEED` names others, to
//! look for what is not known yet. What was found so is kept as a case of its own.

use proptest::test_runner::{Config, RngSeed};

/// Any number would do.
const USUAL: u64 = 215_595;

/// The seed, which is said aloud.
pub fn seed() -> u64 {
    let seed = std::env::var("REPT_SEED").map_or(USUAL, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("REPT_SEED is no number: {text}"))
    });
    println!("REPT_SEED={seed}");
    seed
}

/// So many cases of that seed.
pub fn config(cases: u32) -> Config {
    Config {
        rng_seed: RngSeed::Fixed(seed()),
        max_shrink_iters: 500,
        failure_persistence: None,
        ..Config::with_cases(cases)
    }
}
