//! Commands that ask a history, on the demo's recording: what they answer, and what they say to
//! questions that have no answer.

use crate::common::{Scratch, rept, succeed};
use std::path::Path;

/// The command's complaint; it must fail.
#[track_caller]
fn complaint(line: &str, path: &Path) -> String {
    let mut arguments: Vec<std::ffi::OsString> = line.split(' ').map(Into::into).collect();
    arguments.push(path.into());
    let output = rept(&arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{line}: {stderr}");
    assert!(!stderr.contains("panicked"), "{line}: {stderr}");
    stderr
}

#[test]
fn questions_are_answered() {
    let scratch = Scratch::new("questions");
    let directory = scratch.join("recording");
    succeed("demo -o", &directory);

    let report = succeed("report", &directory);
    for part in [
        "calls of thread",
        "sensors::average",
        "source lines",
        "mean",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    let only = succeed("report --func keep_reading --last 3", &directory);
    assert!(only.contains("reading = "), "{only}");

    let calls = succeed("calls --func keep_reading", &directory);
    assert_eq!(calls.matches("keep_reading").count(), 25, "{calls}");
    let json = succeed("calls --json --func keep_reading", &directory);
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    let at = first["at"].as_str().unwrap();
    let (thread, site) = at.split_once(':').unwrap();
    let inside = format!("{thread}:{}", site.parse::<u64>().unwrap() + 1);

    let state = succeed(&format!("at --position {inside}"), &directory);
    assert!(state.contains("reading u64 = "), "{state}");
    assert!(state.contains("  between 100.0"), "{state}");
    let json = succeed(&format!("at --json --position {inside}"), &directory);
    let state: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(state["schema"], "rept-at/1");
    assert_eq!(state["at"], inside);
    for clock in ["tsc", "perf_nanoseconds"] {
        let bound = |side: usize| state["time"][clock][side].as_u64();
        assert!(bound(0).is_some() && bound(0) <= bound(1), "{clock}");
    }
    let variables = state["variables"].as_array().unwrap();
    assert!(
        variables
            .iter()
            .any(|variable| variable["name"] == "reading")
    );

    assert!(state["registers"][4]["stage"].is_string(), "{state}");
    let why = succeed("at --why rsp", &directory);
    assert!(
        why.contains("rsp before") && why.contains("level 0"),
        "{why}"
    );
    let why = succeed(&format!("explain --location rsi --at {inside}"), &directory);
    assert!(why.contains("rsi before"), "{why}");

    let few = succeed("export --trust inferred:1", &directory);
    let all = succeed("export", &directory);
    let inferred = |text: &str| text.matches("inferred").count();
    assert!(0 < inferred(&few) && inferred(&few) <= inferred(&all));
    let stages = |text: &str| {
        let header: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        (header["trust"].clone(), header.get("stages").cloned())
    };
    assert_eq!(stages(&few), ("inferred".into(), Some(1.into())));
    assert_eq!(stages(&all), ("inferred".into(), None));

    let certain = succeed("report -i --trust certain --last 200", &directory);
    assert!(
        !certain.split("why\n").nth(1).unwrap().contains('~'),
        "{certain}"
    );
    let all = succeed("report -i --last 200", &directory);
    assert!(all.split("why\n").nth(1).unwrap().contains('~'), "{all}");
}

#[test]
fn questions_without_an_answer_are_told_so() {
    let scratch = Scratch::new("no-answer");
    let directory = scratch.join("recording");
    succeed("demo -o", &directory);
    let check = |line: &str, part: &str| {
        let said = complaint(line, &directory);
        assert!(said.contains(part), "{line}: {said}");
    };
    check("at --position 1:0", "no steps of thread 1");
    check("at --position nowhere", "no position");
    check("calls --thread 1", "no steps of thread 1");
    check("calls --func no_such_function", "makes no such call");
    check("export --from 1:0", "no steps of thread 1");
    check("report --thread 1", "no steps of thread 1");
    check("last-write --address 1", "no step of the trace");
    check("last-write --address zz", "hexadecimal");
    check("explain --location nothing", "no location");
    check("explain --location rax --at 1:0", "no steps of thread 1");
    check("report --trust blindly", "invalid value");
    check("report --trust inferred:99", "there are stages 1 to 6");

    let end = succeed("at --json", &directory);
    let end: serde_json::Value = serde_json::from_str(&end).unwrap();
    let (thread, step) = end["at"].as_str().unwrap().split_once(':').unwrap();
    let backwards = format!("--from {thread}:9 --to {thread}:5");
    for command in ["report", "report -i", "calls", "export"] {
        check(&format!("{command} {backwards}"), "there is nothing from");
    }
    let nothing = succeed("report --func no_such_function", &directory);
    assert!(nothing.contains("no step of functions named"), "{nothing}");
    let beyond = format!("{thread}:{}", step.parse::<u64>().unwrap() + 1);
    check(&format!("at --position {beyond}"), "does not exist");
    check(&format!("calls --to {beyond}"), "does not exist");
    check(
        &format!("calls --thread {thread} --to 1:0"),
        "is not of thread",
    );
}
