//! How values are known can be asked, of every value, back to where nothing is left to ask.

#[path = "cases/format.rs"]
#[expect(dead_code, reason = "the format of `cases.rs`, which uses all of it")]
mod format;

use format::{Case, parse, position};
use rept_recover::History;
use rept_recover::history::{Evidence, Place, Position, Recovered, Rule, Stage};
use rept_trace::{Address, RegWord};
use std::collections::BTreeSet;

const CASES: [&str; 13] = [
    include_str!("cases/alloca.txt"),
    include_str!("cases/equal-levels.txt"),
    include_str!("cases/frame-reuse.txt"),
    include_str!("cases/list-walk.txt"),
    include_str!("cases/longjmp.txt"),
    include_str!("cases/missing-write.txt"),
    include_str!("cases/overlapping-writes.txt"),
    include_str!("cases/pending-chain.txt"),
    include_str!("cases/retraction-cascades.txt"),
    include_str!("cases/signal-handler.txt"),
    include_str!("cases/slides.txt"),
    include_str!("cases/string-copy.txt"),
    include_str!("cases/syscall-buffer.txt"),
];

fn ask(case: &Case, history: &History, at: Position, place: Place) -> Option<Evidence> {
    match place {
        Place::Register(word) => history.why_known(at, word),
        Place::Memory(address) => history.why_memory_known(at, address, &case.memory),
    }
}

/// Walks from a value to all it rests on; every source must have evidence of its own.
#[track_caller]
fn walk(case: &Case, history: &History, from: (Position, Place)) {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    let mut ends = 0;
    while let Some((at, place)) = open.pop() {
        if !seen.insert(format!("{at:?} {place:?}")) {
            continue;
        }
        let found = ask(case, history, at, place);
        let found = found.unwrap_or_else(|| panic!("{place:?} at {at:?} is a source and unknown"));
        ends += u32::from(found.sources.is_empty());
        open.extend(found.sources.iter().map(|source| (source.at, source.place)));
    }
    assert!(ends > 0, "{from:?} rests on itself");
}

#[test]
fn every_known_register_has_evidence_that_ends() {
    let mut known = 0;
    for text in CASES {
        let case = parse(text);
        let history = case.run();
        for step in 0..=case.steps() {
            for word in (0..16).map(RegWord::gpr) {
                let at = position(step);
                let shown = history.register(at, word).known != 0;
                let evidence = history.why_known(at, word);
                assert_eq!(evidence.is_some(), shown, "{word:?} at {step}");
                if shown {
                    known += 1;
                    walk(&case, &history, (at, Place::Register(word)));
                }
            }
        }
    }
    assert!(known > 100, "{known}");
}

/// `rbx` is loaded from what `rdi` points at, a callee hides `rbp`, `rax` is a constant.
const RULES: &str = "
code 0x401000
48 8b 1f                           mov rbx,[rdi]
b8 03 00 00 00                     mov eax,3
e8 13 00 00 00                     call 401020h
31 c0                              xor eax,eax
code 0x401020
48 89 2e                           mov [rsi],rbp
48 8b 2e                           mov rbp,[rsi]
31 f6                              xor esi,esi
c3                                 ret
path 0-2 4-7 3
final rax=0 rbx=7 rsi=0 rbp=5 rdi=0x402000 rsp=0x70001000
memory 0x402000 07 00 00 00 00 00 00 00
memory 0x70000ff8 0d 10 40 00 00 00 00 00
expect  rax
1       ?
";

#[track_caller]
fn check(step: u64, word: RegWord, rule: Rule, at: u64, stage: Stage) {
    let case = parse(RULES);
    let found = case.run().why_known(position(step), word).expect("known");
    assert_eq!((found.rule, found.at.step, found.stage), (rule, at, stage));
}

#[test]
fn rules_are_named_with_the_step_they_were_applied_to() {
    check(8, RegWord::RDI, Rule::FinalState, 8, Stage::Certain);
    check(2, RegWord::RAX, Rule::Code, 1, Stage::Certain);
    check(0, RegWord::RSP, Rule::Instruction, 2, Stage::Certain);
    check(0, RegWord::RBP, Rule::Convention, 0, Stage::Assumed);
}

#[test]
fn levels_count_dereferences() {
    let case = parse(
        "
code 0x401000
48 8b 1f                           mov rbx,[rdi]
48 8b 0b                           mov rcx,[rbx]
48 8d 51 01                        lea rdx,[rcx+1]
31 c9                              xor ecx,ecx
31 db                              xor ebx,ebx
final rbx=0 rcx=0 rdi=0x402000
memory 0x402000 08 20 40 00 00 00 00 00 09 00 00 00 00 00 00 00
expect  rdx
3       10
",
    );
    let history = case.run();
    let level = |step, word| {
        history
            .why_known(position(step), word)
            .map(|found| found.level)
    };
    assert_eq!(level(0, RegWord::RDI), Some(0));
    assert_eq!(level(1, RegWord::RBX), Some(1));
    assert_eq!(level(2, RegWord::RCX), Some(2));
    assert_eq!(level(3, RegWord::RDX), Some(2));
    let memory = history.why_memory_known(position(0), Address(0x402008), &case.memory);
    assert_eq!(memory.map(|found| found.rule), Some(Rule::Unwritten));
}
