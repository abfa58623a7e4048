//! What experiments change, and what they must not.
#![cfg(feature = "experiments")]

#[path = "cases/format.rs"]
#[expect(dead_code, reason = "the format of `cases.rs`, which uses all of it")]
mod format;

use format::{Case, Column, column_of, parse, position};
use rept_order::{Edge, EdgeKind, Order, Point};
use rept_recover::experiment::{GivenOperand, Technique};
use rept_recover::history::{Position, Recovered, Value};
use rept_recover::{History, Options, recover};
use rept_trace::{Address, Block, Memory, RegWord, Run, ThreadId, ThreadTrace, Trace};

/// A store through a pointer that is overwritten hides what was there before.
const HIDDEN: &str = "
code 0x401000
48 8b 04 25 00 20 40 00            mov rax,[402000h]
48 89 37                           mov [rdi],rsi
31 ff                              xor edi,edi
48 8b 1c 25 00 20 40 00            mov rbx,[402000h]
31 f6                              xor esi,esi
final rax=1 rbx=2 rdi=0 rsi=0
memory 0x402000 02 00 00 00 00 00 00 00
expect  rax
0       ?
";

fn run(case: &Case, change: impl FnOnce(&mut Options)) -> History {
    let mut options = Options::default();
    change(&mut options);
    let order = Order::new(&case.trace);
    recover(&case.trace, &order, &case.final_state(), &options)
}

fn stored_through_rdi(address: u64) -> Vec<Vec<GivenOperand>> {
    let operand = GivenOperand {
        step: 1,
        address: Address(address),
        bytes: 8,
        store: true,
    };
    vec![vec![operand]]
}

#[test]
fn a_given_place_teaches_values_but_neither_registers_nor_the_address() {
    let case = parse(HIDDEN);
    let history = run(&case, |options| {
        options.experiment.given = stored_through_rdi(0x402000);
    });
    let at = |step, word| history.register(position(step), word);
    assert_eq!(
        at(1, RegWord::RSI).bits,
        2,
        "what was stored is what was loaded later"
    );
    assert_eq!(at(1, RegWord::RSI).certain, u64::MAX);
    assert_eq!(at(1, RegWord::RDI).known, 0, "the base register");
    assert_eq!(history.accesses(position(1))[0].address, None);
}

#[test]
fn nothing_given_changes_nothing() {
    let case = parse(HIDDEN);
    let plain = run(&case, |_| {});
    assert_eq!(plain.register(position(1), RegWord::RSI).known, 0);
    assert_eq!(plain.accesses(position(1))[0].address, None);
}

/// Registers and memory of `case` of which less is known, or less surely, without `technique`.
fn lost(case: &Case, technique: Technique) -> usize {
    let whole = run(case, |_| {});
    let part = run(case, |options| {
        options.experiment.without = [technique].into_iter().collect();
    });
    let mut lost = 0;
    for step in 0..=case.steps() {
        for name in &case.columns {
            let [whole, part] = [&whole, &part].map(|history| match column_of(name) {
                Column::Register(word) => history.register(position(step), word),
                Column::Memory(address) => history.memory(
                    position(step),
                    Address(address),
                    &case.memory as &dyn Memory,
                ),
            });
            let bits = |value: Value| {
                value.known.count_ones() + value.assumed.count_ones() + value.certain.count_ones()
            };
            lost += usize::from(bits(part) < bits(whole));
        }
    }
    lost
}

#[test]
fn every_technique_is_missed_in_some_case() {
    let cases = [
        include_str!("cases/alloca.txt"),
        include_str!("cases/candidate.txt"),
        include_str!("cases/frame-reuse.txt"),
        include_str!("cases/list-walk.txt"),
        include_str!("cases/longjmp.txt"),
        include_str!("cases/missing-write.txt"),
        include_str!("cases/overlapping-writes.txt"),
        include_str!("cases/pending-chain.txt"),
        include_str!("cases/retraction-cascades.txt"),
        include_str!("cases/slides.txt"),
        include_str!("cases/string-copy.txt"),
        include_str!("cases/syscall-buffer.txt"),
        include_str!("cases/unplaced.txt"),
        BRANCH,
        CALL,
        SYSTEM_CALL,
    ]
    .map(parse);
    let useless: Vec<&str> = Technique::ALL
        .into_iter()
        // These are about what is wrong, not about what is unknown; files have a case in `known_calls.rs`.
        .filter(|one| {
            use Technique::{Correction, Files, Races, Staging};
            !matches!(one, Correction | Files | Races | Staging)
        })
        .filter(|&one| cases.iter().all(|case| lost(case, one) == 0))
        .map(Technique::name)
        .collect();
    assert_eq!(useless, [""; 0]);
}

/// A thread of these instructions, one run each, in code of its own.
fn thread(trace: &mut Trace, id: u32, instructions: &[&[u8]]) {
    let mut made = ThreadTrace::new(ThreadId(id));
    for (place, bytes) in instructions.iter().enumerate() {
        let block = trace.code.push(Block {
            at: Address(0x1000 * u64::from(id) + 0x10 * place as u64),
            bytes: (*bytes).into(),
            starts: [0].into(),
            bitness: 64,
        });
        made.push(Run { block, count: 1 });
    }
    trace.threads.push(made);
}

/// Memory at the end.
const SEVEN: &str = "
code 0x401000
31 c0                              xor eax,eax
final rax=0
memory 0x402000 07 00 00 00 00 00 00 00
expect  rax
0       ?
";

// One thread stores 7, the other loads and forgets; no clock tells who came first. The sequence
// puts the store first: without the handling of races the load would have found 7, for certain.
#[test]
fn without_races_a_guess_is_called_certain() {
    let mut trace = Trace::default();
    // mov qword [402000h],7
    thread(
        &mut trace,
        1,
        &[&[0x48, 0xc7, 4, 0x25, 0, 0x20, 0x40, 0, 7, 0, 0, 0]],
    );
    // mov rax,[402000h]; xor eax,eax
    let load: &[u8] = &[0x48, 0x8b, 4, 0x25, 0, 0x20, 0x40, 0];
    thread(&mut trace, 2, &[load, &[0x31, 0xc0]]);
    let case = parse(SEVEN);
    let order = Order::new(&trace);
    let loaded = |without: &[Technique]| {
        let mut options = Options::default();
        options.experiment.without = without.iter().copied().collect();
        let history = recover(&trace, &order, &case.final_state(), &options);
        history.register(Position { thread: 1, step: 1 }, RegWord::RAX)
    };
    assert_eq!(loaded(&[]).known, 0);
    let guessed = loaded(&[Technique::Races]);
    assert_eq!((guessed.certain, guessed.bits), (u64::MAX, 7));
}

// However often a thread stores at a place of its own, a thread elsewhere does not race with it.
#[test]
fn own_accesses_are_no_race_however_many() {
    let mut trace = Trace::default();
    let store: &[u8] = &[0x48, 0xc7, 4, 0x25, 0, 0x20, 0x40, 0, 7, 0, 0, 0];
    let load: &[u8] = &[0x48, 0x8b, 4, 0x25, 0, 0x20, 0x40, 0];
    let forget: &[u8] = &[0x31, 0xc0];
    let round = [store, load, forget];
    thread(&mut trace, 1, &round.repeat(200));
    // mov rax,[402008h]
    thread(
        &mut trace,
        2,
        &[&[0x48, 0x8b, 4, 0x25, 8, 0x20, 0x40, 0], forget],
    );
    let case = parse(SEVEN);
    // The first thread makes the other: nothing ran before what is seen.
    let made = Edge {
        kind: EdgeKind::ThreadCreate,
        from: Point { thread: 0, step: 1 },
        to: Point { thread: 1, step: 0 },
    };
    let order = Order::with_edges(&trace, &[made]);
    let history = recover(&trace, &order, &case.final_state(), &Options::default());
    for step in (2..600).step_by(3) {
        let loaded = history.register(Position { thread: 0, step }, RegWord::RAX);
        assert_eq!((loaded.certain, loaded.bits), (u64::MAX, 7), "at {step}");
    }
}

/// A branch that was not taken says what was compared.
const BRANCH: &str = "
code 0x401000
48 83 f8 05                        cmp rax,5
75 02                              jne short 401008h
31 c0                              xor eax,eax
final rax=0
expect  rax
0       ?
";

/// A callee saves rbx somewhere and restores it.
const CALL: &str = "
code 0x401000
e8 1b 00 00 00                     call 401020h
31 ff                              xor edi,edi
code 0x401020
48 89 1f                           mov [rdi],rbx
31 db                              xor ebx,ebx
48 8b 1f                           mov rbx,[rdi]
c3                                 ret
path 0 2-5 1
final rbx=5 rdi=0 rsp=0x70001000
memory 0x70000ff8 05 10 40 00 00 00 00 00
expect  rbx
0       ~5
";

/// What `read` does not write is the same before it.
const SYSTEM_CALL: &str = "
code 0x401000
48 8b 0c 25 10 20 40 00            mov rcx,[402010h]
ba 08 00 00 00                     mov edx,8
be 00 20 40 00                     mov esi,402000h
31 ff                              xor edi,edi
31 c0                              xor eax,eax
0f 05                              syscall
final rax=4 rdx=8 rsi=0x402000 rdi=0
memory 0x402010 01 00 00 00 00 00 00 00
expect  rcx
1       1
";
