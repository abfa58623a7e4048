//! Commands that ask a history, on the demo's recording: what they answer, and what they say to
//! questions that have no answer.

use crate::common::{Scratch, rept, succeed};
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The command's complaint; it must fail.
#[track_caller]
fn complaint(line: &str, path: &Path) -> String {
    let mut arguments: Vec<OsString> = line.split(' ').map(Into::into).collect();
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

    let open = succeed(&format!("calls --from {inside}"), &directory);
    assert!(
        open.contains("keep_reading  (7 steps, made before)"),
        "{open}"
    );

    let score: serde_json::Value =
        serde_json::from_str(&succeed("score --json", &directory)).unwrap();
    let explained: serde_json::Value =
        serde_json::from_str(&succeed("explain --json", &directory)).unwrap();
    let planted = &score["planted"];
    assert_eq!(planted["at"], explained["planted"]["step"]["at"]);
    assert_eq!(
        (&planted["right"], &planted["other"]),
        (&true.into(), &serde_json::Value::Null),
        "{score}"
    );

    let state = succeed(&format!("at --position {inside}"), &directory);
    let at = |more: &[&str]| {
        let words = ["at".into(), directory.clone().into_os_string()];
        let more = more.iter().map(OsString::from);
        rept(&words.into_iter().chain(more).collect::<Vec<_>>())
    };
    let named = at(&[&inside]);
    assert_eq!(String::from_utf8_lossy(&named.stdout), state);
    let twice = at(&[&inside, "--position", &inside]);
    let complaint = String::from_utf8_lossy(&twice.stderr);
    assert!(complaint.contains("cannot be used with"), "{complaint}");
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
    check("last-write --address 7ff0", "behind 0x");
    check("last-write --address 100", "written [0x64]");
    check("last-write --location 100:4", "written [0x64]");
    check(
        "explain --location nothing",
        "nothing is no register, and no variable",
    );
    check("explain --location 0x:", "no location");
    check(
        "last-write --location nothing",
        "nothing is no register, and no variable",
    );
    check("last-write --location rax --at 1:0", "no steps of thread 1");
    check("last-write", "required");
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

#[test]
fn the_report_is_there_for_scripts() {
    let scratch = Scratch::new("report-json");
    let directory = scratch.join("recording");
    succeed("demo -o", &directory);
    let report = json("report --json --last 6", &directory);
    assert_eq!(report["schema"], "rept-report/1");
    let crash = &report["crash"];
    assert_eq!(crash["signal_name"], "SIGSEGV");
    assert_eq!(crash["address"], "0x21d");
    assert_eq!(crash["step"]["function"], "sensors::average");
    let frames = report["backtrace"]["frames"].as_array().unwrap();
    let functions: Vec<_> = frames.iter().map(|frame| &frame["function"]).collect();
    assert_eq!(functions[0], "sensors::average");
    assert!(
        functions.iter().any(|name| *name == "main"),
        "{functions:?}"
    );
    let lines = report["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 6);
    let file = lines[5]["file"].as_str().unwrap();
    assert!(file.ends_with("sensors.rs"), "{file}");
    let variables = lines[5]["variables"].as_array().unwrap();
    assert!(
        variables.iter().any(|it| it["name"] == "mean"),
        "{variables:?}"
    );
    assert!(report["calls_in_all"].as_u64().unwrap() > 40);
    assert_eq!(report["calls"].as_array().unwrap().len(), 40);

    let report = json("report --json -i --last 3 --func keep_reading", &directory);
    let steps = report["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 3);
    for step in steps {
        assert_eq!(step["function"], "sensors::keep_reading");
        assert!(step["registers"].is_array() && step["memory"].is_array());
    }
    let state = json("at --json --var mean", &directory);
    let mean = &state["named"][0];
    assert_eq!(mean["name"], "mean", "{state}");
    let gone = complaint("at --var nowhere", &directory);
    assert!(gone.contains("no variable nowhere"), "{gone}");
    let failed = complaint("report --json --thread 1", &directory);
    assert!(failed.contains("no steps of thread 1"), "{failed}");
}

/// A command's answer as JSON.
#[track_caller]
fn json(line: &str, path: &Path) -> serde_json::Value {
    let text = succeed(line, path);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error}: {text}"))
}

#[test]
fn scripts_are_told_what_people_are() {
    let scratch = Scratch::new("scripts");
    let directory = scratch.join("recording");
    succeed("demo -o", &directory);

    let told = succeed("explain", &directory);
    let story = json("explain --json", &directory);
    assert_eq!(story["schema"], "rept-explain/1");
    assert!(story["suspects"].as_str().unwrap().contains("rcx"));
    let planted = &story["planted"];
    let at = planted["step"]["at"].as_str().unwrap();
    assert!(
        told.split("planted by this step")
            .nth(1)
            .unwrap()
            .contains(at),
        "{told}"
    );
    assert_eq!(planted["value"], "0x215");
    let around = planted["step"]["inlined_in"].as_array().unwrap();
    assert_eq!(around.last().unwrap(), "sensors::keep_reading");
    let links = story["answers"][0]["links"].as_array().unwrap();
    let told_links = told
        .lines()
        .filter(|line| line.contains("loaded from"))
        .count();
    let loads = links.iter().filter(|link| {
        let is_memory = |place: &str| {
            link[place]
                .as_str()
                .is_some_and(|text| text.starts_with('['))
        };
        is_memory("from") && !is_memory("to")
    });
    assert_eq!(loads.count(), told_links, "{story:#}");

    // The copies on the way are left out, what made the value is not.
    let short = json("explain --json --skip-copies", &directory);
    let computed = &short["answers"][0]["links"];
    assert_eq!(computed.as_array().unwrap().len(), 1, "{computed:#}");
    assert_eq!(computed[0]["computed"], true);
    let short = succeed("explain --skip-copies", &directory);
    assert!(
        !short.contains("loaded from") && short.contains("computed from"),
        "{short}"
    );
    assert!(short.contains("planted by this step"), "{short}");

    let one = json("explain --json --location rcx", &directory);
    assert_eq!(one["links"], story["answers"][0]["links"]);
    assert!(!one["why"].as_array().unwrap().is_empty());

    let address = planted["address"].as_str().unwrap();
    let written = json(
        &format!("last-write --json --location {address}:8"),
        &directory,
    );
    assert_eq!(
        written["writer"]["at"], planted["step"]["at"],
        "{written:#}"
    );
    let loaded = json("last-write --json --location rcx", &directory);
    assert_eq!(loaded["writer"]["at"], links[0]["at"], "{loaded:#}");
    let text = succeed("last-write --location rcx", &directory);
    assert!(text.contains(links[0]["at"].as_str().unwrap()), "{text}");
    let nowhere = json("last-write --json --location 1", &directory);
    assert!(nowhere["writer"].is_null(), "{nowhere:#}");
}

#[test]
fn scripts_are_told_what_was_recorded_and_what_ran() {
    let scratch = Scratch::new("scripts-record");
    let directory = scratch.join("recording");
    succeed("demo -o", &directory);
    let again = scratch.join("again");
    let words = ["record", "--json", "--from", "main", "-o"].map(OsStr::new);
    let program = directory.join("sensors");
    let names = [again.as_os_str(), OsStr::new("--"), program.as_os_str()];
    let output = rept(&[&words[..], &names].concat());
    let told = String::from_utf8_lossy(&output.stdout);
    let told: serde_json::Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!(told["schema"], "rept-record/1");
    assert_eq!(told["directory"], again.display().to_string());
    assert_eq!(told["signal_name"], "SIGSEGV", "{told:#}");
    assert!(told["status"].is_null() && told["children"].as_array().unwrap().is_empty());

    let columns = succeed("decode", &again);
    let lines = succeed("decode --json", &again);
    let gap = "bytes before the first PSB packet";
    let has_gap = |text: &str| text.lines().next().unwrap().contains(gap);
    assert!(has_gap(&columns) && has_gap(&lines), "{gap}");
    let (columns, lines) = (columns.lines().skip(1), lines.lines().skip(1));
    let steps = told["steps"].as_u64().unwrap();
    assert_eq!(lines.clone().count() as u64, steps);
    for (index, (line, columns)) in lines.zip(columns).enumerate() {
        let step: serde_json::Value = serde_json::from_str(line).unwrap();
        let mut columns = columns.split_whitespace();
        let thread = columns.next().unwrap();
        assert_eq!(step["at"], format!("{thread}:{index}"));
        let time = columns.next().unwrap().parse::<u64>().ok();
        assert_eq!(step["tsc"].as_u64(), time, "{line}");
        assert_eq!(step["pc"], format!("0x{}", columns.next().unwrap()));
    }
}

#[test]
fn colours_are_for_terminals_and_for_who_asks() {
    let scratch = Scratch::new("colours");
    let directory = scratch.join("recording");
    succeed("demo -o", &directory);
    for command in ["report", "report -i", "calls", "explain"] {
        let plain = succeed(command, &directory);
        assert!(!plain.contains('\x1b'), "{command}: {plain}");
        let painted = succeed(&format!("{command} --color always"), &directory);
        assert!(painted.contains("\x1b["), "{command}: {painted}");
        assert_eq!(without_colours(&painted), plain, "{command}");
    }
}

/// The text without what colours it.
fn without_colours(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| part.split_once('m').map_or(part, |(_, text)| text));
    rest.fold(first, |all, part| all + part)
}
