//! The call tree: what returned, what was left by other means, what was open before and behind.

#[path = "support/victim.rs"]
mod victim;

use rept_core::{CallEnd, CallNode, Cursor, Direction, History, Position, Trust};
use rept_trace::ThreadId;
use victim::{Folder, open, record_source};

const SOURCE: &str = r#"
#include <setjmp.h>
#include <signal.h>
#include <unistd.h>
static jmp_buf back;
static volatile int sink;
__attribute__((noinline)) static void leaf(int n) { sink = n; }
__attribute__((noinline)) static void thrower(int n) { leaf(n); longjmp(back, 1); }
__attribute__((noinline)) static void deep(int n) { thrower(n); sink = 0; }
__attribute__((noinline)) static void on_signal(int number) { leaf(number); }
__attribute__((noinline)) static void interrupted(void) { raise(SIGUSR1); leaf(7); }
__attribute__((noinline)) static void after(int n) { leaf(n); *(volatile int *)16 = n; }
__attribute__((noinline)) static void all(void) {
    if (!setjmp(back)) deep(1);
    leaf(2);
    interrupted();
    leaf(3);
    after(4);
    sink = 5;
}
int main(void) { signal(SIGUSR1, on_signal); all(); return 0; }
"#;

/// The program, recorded from `all` on.
fn recorded(name: &str) -> Option<(Folder, History, ThreadId)> {
    let folder = Folder::new(name);
    let compiler = ["cc", "-O1", "-g", "-fno-optimize-sibling-calls"];
    let (recording, _) = record_source(&folder.0, "calls.c", SOURCE, &compiler, None)?;
    let history = open(&recording);
    let thread = history.threads().next().expect("one was traced");
    Some((folder, history, thread))
}

fn name(history: &History, call: &CallNode) -> String {
    let symbol = history.session().symbols().lookup(call.callee);
    symbol.name().unwrap_or("?").to_owned()
}

/// Calls of the program's own functions.
fn own<'a>(
    history: &'a History,
    calls: impl Iterator<Item = CallNode> + 'a,
) -> impl Iterator<Item = (String, CallNode)> + 'a {
    const OWN: [&str; 7] = [
        "all",
        "leaf",
        "thrower",
        "deep",
        "on_signal",
        "interrupted",
        "after",
    ];
    let named = calls.map(|call| (name(history, &call), call));
    named.filter(|(name, _)| OWN.contains(&name.as_str()))
}

/// Each call as `name`, `name!` when it was left without a return, and `name…` when it is open, behind
/// a `.` for each own call around it.
fn drawn(history: &History, calls: impl Iterator<Item = CallNode>) -> Vec<String> {
    let all: Vec<_> = own(history, calls).collect();
    let least = all.iter().map(|(_, call)| call.depth).min().unwrap_or(0);
    let draw = |(name, call): &(String, CallNode)| {
        let end = match call.end {
            CallEnd::Returned(_) => "",
            CallEnd::Left(_) => "!",
            _ => "…",
        };
        format!("{}{name}{end}", ".".repeat((call.depth - least) as usize))
    };
    all.iter().map(draw).collect()
}

#[test]
fn what_is_left_by_a_jump_or_interrupted_by_a_signal_stays_in_its_place() {
    let Some((_folder, history, thread)) = recorded("call-tree") else {
        return;
    };
    let tree = history
        .call_tree(thread, 0..u64::MAX)
        .expect("it was traced");
    assert!(tree.clone().all(|call| !call.open_before));
    let drawn = drawn(&history, tree.clone());
    // How deep in the C library a handler runs is the library's affair.
    let place = drawn
        .iter()
        .position(|line| line == "..leaf")
        .expect("interrupted's");
    let expected = [
        "all…",
        ".deep!",
        "..thrower!",
        "...leaf",
        ".leaf",
        ".interrupted",
        "..leaf",
        ".leaf",
        ".after…",
        "..leaf",
    ];
    let within =
        |line: &String| line.ends_with("leaf") && line.starts_with("...") && line.len() > 7;
    let handlers: Vec<&String> = drawn[..place].iter().filter(|&line| within(line)).collect();
    assert_eq!(handlers.len(), 1, "{drawn:?}");
    let others: Vec<&String> = drawn.iter().filter(|&line| !within(line)).collect();
    assert_eq!(
        others,
        expected.map(str::to_owned).iter().collect::<Vec<_>>()
    );

    // From either side the same.
    let mut backward: Vec<CallNode> = tree.clone().rev().collect();
    backward.reverse();
    assert_eq!(backward.len(), tree.len());
    assert_eq!(backward, tree.collect::<Vec<_>>());
    assert!(history.call_tree(ThreadId(1), 0..1).is_none());
}

#[test]
fn what_is_open_before_the_steps_asked_for_comes_first() {
    let Some((_folder, history, thread)) = recorded("call-tree-range") else {
        return;
    };
    let whole = || {
        history
            .call_tree(thread, 0..u64::MAX)
            .expect("it was traced")
    };
    let thrower = own(&history, whole()).find(|(name, _)| name == "thrower");
    let thrower = thrower.expect("it was called").1;
    let CallEnd::Left(left) = thrower.end else {
        panic!("{thrower:?}")
    };
    let inside = thrower.entry.step + 1..left.step;
    let tree = history
        .call_tree(thread, inside.clone())
        .expect("it was traced");
    let own: Vec<_> = own(&history, tree.clone()).collect();
    let names: Vec<_> = own
        .iter()
        .map(|(name, call)| (name.as_str(), call.open_before, call.open_behind))
        .collect();
    assert_eq!(
        names,
        [
            ("all", true, true),
            ("deep", true, true),
            ("thrower", true, true),
            ("leaf", false, false)
        ]
    );
    let made = tree.made();
    assert!(made.clone().all(|call| inside.contains(&call.entry.step)));
    assert_eq!(made.len(), made.count());
    let nothing = u64::MAX - 1..u64::MAX;
    assert_eq!(
        history.call_tree(thread, nothing).map(|tree| tree.len()),
        Some(0)
    );

    // Behind the jump nothing of what it left is shown any more, and stepping out of it stops there.
    let behind = Position::new(thread, left.step + 1);
    let shown = history
        .backtrace(behind, Trust::Assumed)
        .expect("it exists");
    let of = |pc| {
        history
            .session()
            .symbols()
            .lookup(pc)
            .name()
            .map(str::to_owned)
    };
    let shown: Vec<_> = shown
        .frames
        .iter()
        .filter_map(|frame| of(frame.lookup_address()))
        .collect();
    assert_eq!(shown[..2], ["all", "main"], "{shown:?}");
    let mut cursor = Cursor::new(&history, thread).expect("it was traced");
    assert!(cursor.seek(thrower.entry.step + 1));
    assert_eq!(cursor.step_out(Direction::Forward).at, behind);
}
