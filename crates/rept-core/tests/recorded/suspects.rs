//! What a crash is about, of kinds that have no faulting access; and where it came from.

use super::victim::{Folder, open, record_source};
use rept_core::{Answer, History, Suspicion, Trust};

/// A number goes through memory to where it does harm; which harm, the compiler is told.
const PROGRAM: &str = r#"
#include <stdio.h>
#include <stdlib.h>
static volatile long kept, others[8];
__attribute__((noinline)) static void plant(long value) { kept = value; }
__attribute__((noinline)) static void complain(void) { abort(); }
__attribute__((noinline)) static long use(void) {
#if defined DIVIDE
    return 1000 / kept;
#elif defined JUMP
    return ((long (*)(void))kept)() + 1;
#elif defined REFUSED
    return ((long (*)(void))(kept + 0x4141414141414141))() + 1;
#elif defined TRAP
    if (kept < 3) __builtin_trap();
    return 1;
#else
    if (kept < 3) { puts("too small"); complain(); }
    return 1;
#endif
}
int main(void) {
    plant(7);
    for (int i = 0; i < 8; i++) others[i] = i;
    plant(0);
    return (int)use();
}
"#;

/// The way from the crash to the store that planted the value, in functions.
fn planted(history: &History, answers: &[Answer]) -> Option<String> {
    let name = |at| {
        let symbol = history.source(at).unwrap_or_default();
        symbol.name().unwrap_or_default().to_owned()
    };
    let found = answers.iter().enumerate().find_map(|(index, answer)| {
        let links = &answer.explanation.links;
        let link = links.iter().position(|link| name(link.at) == "plant")?;
        Some((index, link))
    });
    let (index, link) = found?;
    let way = Answer::way(answers, index, link);
    Some(name(way.last()?.at))
}

#[test]
fn crashes_without_a_faulting_access_have_suspects() {
    for (kind, expect) in [
        ("-DDIVIDE", Suspicion::Divisor),
        ("-DJUMP", Suspicion::JumpTarget),
        ("-DREFUSED", Suspicion::JumpTarget),
        ("-DTRAP", Suspicion::Comparison),
        ("-DABORT", Suspicion::Comparison),
    ] {
        let folder = Folder::new(&format!("suspects{kind}"));
        let compiler = ["cc", "-O1", "-g", kind];
        let recorded = record_source(&folder.0, "harm.c", PROGRAM, &compiler, Some("main"));
        let Some((recording, _)) = recorded else {
            return;
        };
        let history = open(&recording);
        let suspects = history.suspects();
        let suspects = suspects.unwrap_or_else(|| panic!("{kind}: nothing is suspected"));
        assert_eq!(suspects.what, expect, "{kind}");
        assert!(!history.is_stack_used_up(), "{kind}");
        let answers: Vec<Answer> = history
            .trail(&suspects.places, Trust::Inferred)
            .take(16)
            .collect();
        let reached = planted(&history, &answers);
        assert_eq!(reached.as_deref(), Some("plant"), "{kind}: {answers:?}");
    }
}

/// Recurses without end.
const RECURSION: &str = r#"
__attribute__((noinline)) static long deep(long n) {
    volatile char room[65536];
    room[n & 1023] = 1;
    return deep(n + 1) + room[0];
}
int main(void) { return (int)deep(0); }
"#;

#[test]
fn a_stack_that_is_used_up_is_told() {
    let folder = Folder::new("recursion");
    let compiler = ["cc", "-O1", "-g"];
    let recorded = record_source(&folder.0, "deep.c", RECURSION, &compiler, Some("main"));
    let Some((recording, _)) = recorded else {
        return;
    };
    let history = open(&recording);
    assert!(history.is_stack_used_up(), "{:?}", history.crash());
}
