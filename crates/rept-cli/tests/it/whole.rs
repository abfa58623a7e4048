//! Runs that are recorded from their first instruction on: recovery goes forward from what the kernel made,
//! and hardly anything has to be inferred.

use crate::common::{Scratch, build, succeed, sure};

#[track_caller]
fn check(source: &str, engine: &str) {
    let scratch = Scratch::new(&format!("whole-{source}-{engine}"));
    let Some(program) = build(source, &scratch) else {
        return;
    };
    let recording = scratch.join("recording");
    let record = format!(
        "record --truth --engine {engine} --buffer 4M -o {} --",
        recording.display()
    );
    succeed(&record, &program);
    let sure = sure(&recording);
    assert!(sure > 95.0, "{source}, {engine}: {sure:.1} %");
}

#[test]
fn a_whole_run_is_recovered_without_trust() {
    check("deep.c", "step");
    check("deep.c", "fast");
}

/// The instruction that faults has written most of what there was to overwrite.
#[test]
fn so_is_one_that_ends_within_a_copy() {
    check("overrun.c", "step");
    check("overrun.c", "fast");
}
