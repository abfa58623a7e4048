//! Programs that write code anew where other code ran before, and tell no one: the dump has the last
//! version only.

use crate::common::{Scratch, build, record_way, score, succeed};

#[test]
fn code_that_was_written_anew_is_not_taken_for_that_of_before() {
    let scratch = Scratch::new("rewritten");
    let Some(program) = build("rewritten.c", &scratch) else {
        return;
    };
    for engine in ["step", "fast"] {
        let recording = record_way(&program, &scratch, engine, "path");
        let decoded = succeed("decode", &recording);
        assert!(decoded.contains("which was written anew later"), "{engine}");
        let score = score(&recording);
        for grade in ["certain", "assumed", "inferred"] {
            assert_eq!(score["wrong"][grade], 0, "{engine}: {}", score["wrong"]);
        }
        let judged = score["steps_judged"].as_u64().unwrap();
        assert!(judged > 1_000, "{engine}: {judged} steps judged");
    }
}

#[test]
fn nothing_is_sure_by_code_that_is_seen_to_be_written_anew() {
    let scratch = Scratch::new("rewritten-constant");
    let Some(program) = build("rewritten.c", &scratch) else {
        return;
    };
    for engine in ["step", "fast"] {
        let recording = record_way(&program, &scratch, engine, "constant");
        let score = score(&recording);
        for grade in ["certain", "assumed"] {
            assert_eq!(score["wrong"][grade], 0, "{engine}: {}", score["wrong"]);
        }
        let right = &score["measures"]["register_reads"]["all"]["correct"];
        assert!(right["inferred"].as_u64().unwrap() > 1_000, "{engine}");
    }
}
