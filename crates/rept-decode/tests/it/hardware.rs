//! Traces of real Intel hardware: every instruction's address and every event as Intel's
//! own decoder gives them.
//!
//! The captures belong to other projects and are not part of this one. They are looked for
//! in `$REPT_PT_CAPTURES`, else in `../shared/pt-real` beside the workspace; without them
//! the test says so and passes.

use crate::captures::{Expected, captures};
use rept_decode::{DecodeOptions, Resync};
use rept_trace::{Event, EventKind};

/// Each capture's address stream equals that of `key` in the index.
fn check_streams(resync: Resync, key: &str) {
    let mut failed = Vec::new();
    for capture in captures() {
        let Some(expected) = Expected::of(&capture, key) else {
            continue;
        };
        let options = DecodeOptions {
            resync,
            ..capture.options()
        };
        let trace = capture.decode(&options);
        let found = Expected::found(&trace);
        println!(
            "{:<28} {:>8} instructions, {} gaps",
            capture.name,
            found.instructions,
            trace.threads[0].gaps.len()
        );
        if found != expected {
            let place = capture.first_difference(&trace);
            println!(
                "  expected {}; {place}; gaps {:?}",
                expected.instructions, trace.threads[0].gaps
            );
            failed.push(capture.name.clone());
        }
    }
    assert!(failed.is_empty(), "address streams differ: {failed:?}");
}

#[test]
fn every_instruction_as_recorded() {
    check_streams(Resync::Boundary, "insn");
}

#[test]
fn every_instruction_behind_damage() {
    check_streams(Resync::NextAddress, "insn_resync_on_error");
}

#[test]
fn every_event_as_recorded() {
    for capture in captures() {
        let trace = capture.decode(&capture.options());
        crate::events::check(&capture, &trace);
    }
}

/// MTC and CYC packets bound an event to some 20 ns at 3.7 GHz; the reference's estimate is inside.
#[test]
fn times_enclose_the_reference() {
    const WIDEST: u64 = 80;
    for capture in captures() {
        let reference = capture.timestamps();
        let trace = capture.decode(&capture.options());
        let moved = |event: &&Event| !matches!(event.kind, EventKind::ExecMode { .. });
        let newest_first = trace.threads[0].events.iter().filter(moved).rev();
        for (event, tsc) in newest_first.zip(reference.iter().rev()) {
            let (earliest, latest) = (event.time.earliest.0, event.time.latest.0);
            assert!(
                earliest <= *tsc && *tsc <= latest,
                "{}: {event:?} is not at {tsc:#x}",
                capture.name
            );
            assert!(
                latest - earliest <= WIDEST,
                "{}: {event:?} is wide",
                capture.name
            );
        }
    }
}
