//! Stepping by lines: over calls, inlined calls and recursion, there and back.

#[path = "support/victim.rs"]
mod victim;

use rept_core::{Cursor, Direction, History, Position, StopReason};
use victim::{Folder, open, record_source};

/// Lines are told by their number: the first is 1.
const SOURCE: &str = "\
#include <unistd.h>
volatile int sink;
__attribute__((noinline)) static int twice(int n) {
    sink = n;
    return 2 * n;
}
static inline __attribute__((always_inline)) int inner(int n) {
    sink = n + 1;
    sink = n + 2;
    return n * sink;
}
__attribute__((noinline)) static int sum(int n) { sink = n; return n ? n + sum(n - 1) : 0; }
int main(void) {
    sink = 1;
    sink = twice(3);
    sink = inner(sink) + 1;
    sink = 2;
    sink = sum(2);
    sink = getpid() != sink;
    sink = 3;
    *(volatile int *)16 = sink;
    return 0;
}
";

/// Function, inlined ones first, and line.
fn place(history: &History, at: Position) -> String {
    let symbol = history.source(at).unwrap_or_default();
    let names = symbol.frames.iter().filter_map(|f| f.function.as_deref());
    let names: Vec<&str> = names.collect();
    let line = symbol.line().map_or(0, |(_, line)| line);
    format!("{}:{line}", names.join("<"))
}

type Step<'a> = fn(&mut Cursor<'a>, Direction) -> rept_core::Stop;

/// Places at which steps stop, from one on until `end`.
fn stops<'a>(
    cursor: &mut Cursor<'a>,
    history: &History,
    step: Step<'a>,
    way: Direction,
) -> Vec<String> {
    let mut found = Vec::new();
    while found.len() < 40 {
        let stop = step(cursor, way);
        if stop.reason != StopReason::Done {
            break;
        }
        let place = place(history, stop.at);
        // The C library's own lines are there or not, as its debug information is.
        let is_ours = ["main", "twice", "inner", "sum"]
            .iter()
            .any(|own| place.starts_with(own));
        if !is_ours {
            assert!(!place.starts_with("_dl_"), "the loader's: {place}");
            continue;
        }
        let is_end = place.ends_with(":21") || place.ends_with(":13");
        found.push(place);
        if is_end {
            break;
        }
    }
    found
}

fn recorded(name: &str, optimised: &str) -> Option<(Folder, History)> {
    let folder = Folder::new(name);
    let compiler = ["cc", optimised, "-g", "-fno-stack-protector"];
    let (recording, _) = record_source(&folder.0, "victim.c", SOURCE, &compiler, Some("main"))?;
    let history = open(&recording);
    Some((folder, history))
}

/// A cursor at the first step on a line.
fn at_line<'a>(history: &'a History, line: &str) -> Cursor<'a> {
    let thread = history.threads().next().expect("one thread");
    let mut cursor = Cursor::new(history, thread).expect("it was traced");
    let steps = history.lifetime(thread).expect("it was traced");
    let mut on_line = steps.filter(|&step| place(history, Position::new(thread, step)) == line);
    assert!(
        cursor.seek(
            on_line
                .next()
                .unwrap_or_else(|| panic!("nothing ran on {line}"))
        )
    );
    cursor
}

#[test]
fn stepping_over_stays_in_the_function_in_both_directions() {
    for (name, optimised) in [("step-over-0", "-O0"), ("step-over-1", "-O1")] {
        let Some((_folder, history)) = recorded(name, optimised) else {
            return;
        };
        let mut cursor = at_line(&history, "main:14");
        let mut lines = stops(&mut cursor, &history, Cursor::step_over, Direction::Forward);
        lines.dedup();
        let expect = [15, 16, 17, 18, 19, 20, 21].map(|line| format!("main:{line}"));
        assert_eq!(lines, expect, "{optimised}");
        let mut lines = stops(
            &mut cursor,
            &history,
            Cursor::step_over,
            Direction::Backward,
        );
        lines.dedup();
        lines.reverse();
        let all = [13, 14, 15, 16, 17, 18, 19, 20].map(|line| format!("main:{line}"));
        assert_eq!(lines, all, "{optimised}");
    }
}

#[test]
fn stepping_into_visits_what_has_lines() {
    let Some((_folder, history)) = recorded("step-into", "-O0") else {
        return;
    };
    let mut cursor = at_line(&history, "main:15");
    let mut there = stops(&mut cursor, &history, Cursor::step_line, Direction::Forward);
    // Where the C library has lines, its function was visited between.
    there.dedup_by(|place, before| place == before && place == "main:19");
    let expect = [
        "twice:3",
        "twice:4",
        "twice:5",
        "twice:6",
        "main:15",
        "main:16",
        "inner<main:8",
        "inner<main:9",
        "inner<main:10",
        "main:16",
        "main:17",
        "main:18",
        // A recursion on one line is three runs of it, there and back.
        "sum:12",
        "sum:12",
        "sum:12",
        "sum:12",
        "sum:12",
        "main:18",
        "main:19",
        "main:20",
        "main:21",
    ];
    assert_eq!(there, expect);
    let mut back = stops(
        &mut cursor,
        &history,
        Cursor::step_line,
        Direction::Backward,
    );
    back.reverse();
    // The rest of a line behind a call is passed with the function that was called.
    let expect = [
        "main:13",
        "main:14",
        "main:15",
        "twice:3",
        "twice:4",
        "twice:5",
        "twice:6",
        "main:16",
        "inner<main:8",
        "inner<main:9",
        "inner<main:10",
        "main:16",
        "main:17",
        "main:18",
        "sum:12",
        "sum:12",
        "sum:12",
        "main:19",
        "main:20",
    ];
    assert_eq!(back, expect);
}

#[test]
fn stepping_out_leaves_calls_and_inlined_calls() {
    let Some((_folder, history)) = recorded("step-out", "-O0") else {
        return;
    };
    let out = |line: &str, way: Direction| {
        let mut cursor = at_line(&history, line);
        let from = cursor.position();
        let stop = cursor.step_out(way);
        let ordered = match way {
            Direction::Forward => stop.at.step > from.step,
            Direction::Backward => stop.at.step < from.step,
        };
        assert!(ordered, "{line}: {stop:?}");
        (place(&history, stop.at), stop.reason)
    };
    let done = |place: &str| (place.to_owned(), StopReason::Done);
    for way in [Direction::Forward, Direction::Backward] {
        assert_eq!(out("twice:5", way), done("main:15"), "{way:?}");
        assert_eq!(out("inner<main:9", way), done("main:16"), "{way:?}");
        assert_eq!(out("sum:12", way), done("main:18"), "{way:?}");
    }
    assert_eq!(out("main:17", Direction::Forward).1, StopReason::End);
    assert_eq!(out("main:17", Direction::Backward).1, StopReason::Begin);
}

/// The window begins inside of a function that returns in it.
#[test]
fn stepping_out_of_a_function_entered_before_the_window() {
    let folder = Folder::new("step-out-before");
    let compiler = ["cc", "-O0", "-g", "-fno-stack-protector"];
    let from = Some("twice");
    let Some((recording, _)) = record_source(&folder.0, "victim.c", SOURCE, &compiler, from) else {
        return;
    };
    let history = open(&recording);
    let mut cursor = at_line(&history, "twice:4");
    let stop = cursor.step_out(Direction::Forward);
    assert_eq!(stop.reason, StopReason::Done);
    assert_eq!(place(&history, stop.at), "main:15");
    assert_eq!(
        cursor.step_over(Direction::Forward).reason,
        StopReason::Done
    );
    assert_eq!(place(&history, cursor.position()), "main:16");
}
