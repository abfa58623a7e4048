//! Runs that are recorded from their first instruction on: recovery goes forward from what the kernel made,
//! and hardly anything has to be inferred. And one of which a ring kept the end.

use crate::common::{Scratch, build, succeed, sure};
use serde_json::Value;

#[track_caller]
fn check(source: &str, engine: &str, cause: Option<&str>) {
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
    if let Some(cause) = cause {
        let explained = succeed("explain", &recording);
        assert!(explained.contains(cause), "{explained}");
    }
}

#[test]
fn a_whole_run_is_recovered_without_trust() {
    check("deep.c", "step", None);
    check("deep.c", "fast", None);
}

/// The instruction that faults has written most of what there was to overwrite; too much of it was asked
/// for where a record was parsed.
#[test]
fn so_is_one_that_ends_within_a_copy() {
    check("overrun.c", "step", Some("overrun.c:17"));
    check("overrun.c", "fast", Some("overrun.c:17"));
}

/// The frame of the function in which most of it ran was made before the window, and left in it.
#[test]
fn of_a_run_longer_than_its_ring_stack_pointers_are_known() {
    let scratch = Scratch::new("cut");
    let Some(program) = build("cut.c", &scratch) else {
        return;
    };
    let recording = scratch.join("recording");
    let record = "record --truth --engine fast --buffer 16K -o";
    succeed(&format!("{record} {} --", recording.display()), &program);
    let board: Value = serde_json::from_str(&succeed("score --json", &recording)).unwrap();
    let steps = board["steps"].as_u64().unwrap();
    let stack_pointers = &board["measures"]["rsp_reads"]["all"];
    assert!(steps > 50_000, "{steps}");
    assert_eq!(stack_pointers["unknown"], 0, "{stack_pointers}");
    for grade in ["certain", "assumed"] {
        assert_eq!(board["wrong"][grade], 0, "{}", board["wrong"]);
    }
}
