//! Programs that end in a loop without packets: how often it ran is not told, and nothing is claimed that
//! depends on it.

use crate::common::{Scratch, build, record_way, score, succeed};
use std::path::Path;

#[track_caller]
fn check(program: &Path, scratch: &Scratch, engine: &str, way: &str) {
    let recording = record_way(program, scratch, engine, way);
    let decoded = succeed("decode", &recording);
    let gap = match way {
        "fill" => "gap: an instruction was stopped midway",
        _ => "gap: a loop without packets",
    };
    assert_eq!(decoded.matches(gap).count(), 1, "{engine}, {way}");
    let score = score(&recording);
    for grade in ["certain", "assumed"] {
        assert_eq!(score["wrong"][grade], 0, "{engine}, {way}: {grade}");
    }
    let judged = score["steps_judged"].as_u64().unwrap();
    assert!(judged > 1_000, "{engine}, {way}: {judged} steps judged");
}

#[test]
fn nothing_is_claimed_across_rounds_that_are_not_counted() {
    let scratch = Scratch::new("rounds");
    let Some(program) = build("rounds.c", &scratch) else {
        return;
    };
    for engine in ["step", "fast"] {
        for way in ["walk", "count", "recurse", "fill"] {
            check(&program, &scratch, engine, way);
        }
    }
}
