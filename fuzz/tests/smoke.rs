//! A fixed number of seeded inputs through every target.

use rept_fuzz::{Mutator, TARGETS};

#[test]
fn no_input_breaks_a_promise() {
    for target in TARGETS {
        for seed in (target.seeds)() {
            (target.run)(&seed);
        }
        let mut mutator = Mutator::new(7, (target.seeds)());
        for _ in 0..2000 {
            (target.run)(&mutator.input());
        }
    }
}

#[test]
fn inputs_are_the_same_for_the_same_seed() {
    let inputs = |seed| {
        let mut mutator = Mutator::new(seed, (TARGETS[0].seeds)());
        (0..50).map(|_| mutator.input()).collect::<Vec<_>>()
    };
    assert_eq!(inputs(3), inputs(3));
    assert_ne!(inputs(3), inputs(4));
}
