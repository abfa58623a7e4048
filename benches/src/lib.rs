//! Criterion suites of rept; run `cargo bench -p rept-benches`.
