//! One command from a crash to its cause.

use crate::common::{Scratch, succeed};

#[test]
fn the_demo_ends_with_the_step_that_planted_the_bad_value() {
    let scratch = Scratch::new("demo");
    let directory = scratch.join("recording");
    let text = succeed("demo -o", &directory);
    assert!(text.contains("SIGSEGV"), "{text}");
    // The victim's own names; the command does not know them.
    assert!(text.contains("sensors::average"), "{text}");
    let (_, planted) = text.split_once("planted by this step").expect(&text);
    assert!(planted.contains("keep_reading"), "{planted}");
    assert!(planted.contains("victim/sensors.rs:"), "{planted}");
    assert!(planted.contains("0x215 "), "{planted}");
    for file in ["core", "perf.data", "truth"] {
        assert!(directory.join(file).metadata().unwrap().len() > 0, "{file}");
    }
}

#[test]
fn the_commands_of_the_readme_work_on_its_recording() {
    let scratch = Scratch::new("readme");
    let directory = scratch.join("recording");
    succeed("demo -o", &directory);

    let report = succeed("report --last 5", &directory);
    assert!(
        report.starts_with("SIGSEGV (address not mapped) at address 0x21d"),
        "{report}"
    );
    let json = succeed("score --json", &directory);
    let score: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(score["schema"], "rept-score/1");
    assert_eq!(score["wrong"]["certain"], 0, "{json}");
    assert_eq!(score["steps"], score["steps_judged"]);
    assert!(score["steps"].as_u64().unwrap() > 10_000);

    let decoded = succeed("decode", &directory);
    let steps = decoded
        .lines()
        .filter(|line| !line.contains("gap:"))
        .count();
    assert_eq!(score["steps"], steps);
    let packets = succeed("packets", &directory.join("perf.data"));
    assert!(packets.contains("PSBEND"));

    let explained = succeed("explain", &directory);
    assert!(explained.contains("keep_reading"), "{explained}");
    let planted = explained
        .lines()
        .find(|line| line.contains("stored to"))
        .unwrap();
    let position = planted.split_whitespace().next().unwrap();
    let state = succeed(&format!("at --position {position}"), &directory);
    assert!(
        state.contains("rsi     ") && state.contains("0x215"),
        "{state}"
    );
    let address = planted
        .split_once("stored to [")
        .unwrap()
        .1
        .split_once(']')
        .unwrap()
        .0;
    let last = succeed(&format!("last-write --address {address}"), &directory);
    assert!(last.contains(position), "{last}");
    let moved = succeed(
        &format!("explain --location rsi --at {position}"),
        &directory,
    );
    assert!(moved.contains("parse_line"), "{moved}");
}
