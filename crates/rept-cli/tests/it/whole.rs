//! A run that is recorded from its first instruction on: recovery goes forward from what the kernel made,
//! and hardly anything has to be inferred.

use crate::common::{Scratch, build, succeed};
use serde_json::Value;

/// Of the register reads in a recording, per cent that are right and certain or assumed; wrong ones of
/// these grades are not forgiven.
fn sure(engine: &str) -> Option<f64> {
    let scratch = Scratch::new(&format!("whole-{engine}"));
    let program = build("deep.c", &scratch)?;
    let recording = scratch.join("recording");
    let record = format!(
        "record --truth --engine {engine} --buffer 4M -o {} --",
        recording.display()
    );
    succeed(&record, &program);
    let score: Value = serde_json::from_str(&succeed("score --json", &recording)).unwrap();
    assert_eq!(score["wrong"]["certain"], 0, "{engine}");
    assert_eq!(score["wrong"]["assumed"], 0, "{engine}");
    let reads = &score["measures"]["register_reads"]["all"];
    let sum = |verdict: &str| -> f64 {
        let grades = reads[verdict].as_object().unwrap().values();
        grades.map(|count| count.as_f64().unwrap()).sum()
    };
    let all = sum("correct") + sum("partial") + sum("wrong") + reads["unknown"].as_f64().unwrap();
    let right = &reads["correct"];
    let sure = right["certain"].as_f64().unwrap() + right["assumed"].as_f64().unwrap();
    Some(100.0 * sure / all)
}

#[test]
fn a_whole_run_is_recovered_without_trust() {
    for engine in ["step", "fast"] {
        let Some(sure) = sure(engine) else {
            eprintln!("SKIPPED: no C compiler");
            return;
        };
        assert!(sure > 95.0, "{engine}: {sure:.1} %");
    }
}
