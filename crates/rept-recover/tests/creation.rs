//! A thread begins with what the thread that made it had.

#[path = "common/nothing.rs"]
mod nothing;

use nothing::Nothing;
use rept_order::{Edge, EdgeKind, Order, Point};
use rept_recover::history::{Position, Recovered};
use rept_recover::{Creation, Options, recover};
use rept_trace::{
    Address, Block, BlockId, FinalState, RegWord, Registers, Run, ThreadId, ThreadTrace, Trace,
};

fn block(trace: &mut Trace, at: u64, bytes: &[u8], starts: &[u16]) -> BlockId {
    trace.code.push(Block {
        at: Address(at),
        bytes: bytes.into(),
        starts: starts.into(),
        bitness: 64,
    })
}

fn thread(trace: &mut Trace, id: u32, runs: &[Run]) {
    let mut thread = ThreadTrace::new(ThreadId(id));
    runs.iter().for_each(|&run| thread.push(run));
    trace.threads.push(thread);
}

/// What is known of a register of the child at its start; it runs `child_at` first.
#[track_caller]
fn check(child_at: u64, word: RegWord, expect: Option<u64>) {
    let mut trace = Trace::default();
    // mov eax,56; syscall
    let make = block(&mut trace, 0x1000, &[0xb8, 56, 0, 0, 0, 0x0f, 5], &[0, 5]);
    // xor ebx,ebx; xor esp,esp; xor eax,eax; xor ebp,ebp
    let forget: &[u8] = &[0x31, 0xdb, 0x31, 0xe4, 0x31, 0xc0, 0x31, 0xed];
    let forget = block(&mut trace, child_at, forget, &[0, 2, 4, 6]);
    thread(
        &mut trace,
        1,
        &[Run {
            block: make,
            count: 2,
        }],
    );
    thread(
        &mut trace,
        2,
        &[Run {
            block: forget,
            count: 4,
        }],
    );
    let made = Edge {
        kind: EdgeKind::ThreadCreate,
        from: Point { thread: 0, step: 2 },
        to: Point { thread: 1, step: 0 },
    };
    let order = Order::with_edges(&trace, &[made]);
    let mut registers = Registers::new(ThreadId(1), Address(0x1007));
    for (word, value) in [
        (RegWord::RAX, 2),
        (RegWord::RBX, 5),
        (RegWord::RSI, 0x7000),
        (RegWord::RSP, 0x9000),
    ] {
        registers.set(word, value);
    }
    let last = FinalState {
        threads: vec![registers],
        fault: None,
        memory: &Nothing,
        auxv: Vec::new(),
    };
    let mut options = Options::default();
    options.creations.push(Creation {
        parent: ThreadId(1),
        step: 1,
        child: ThreadId(2),
    });
    let history = recover(&trace, &order, &last, &options);
    let found = history.register(Position { thread: 1, step: 0 }, word);
    let known = (found.known == u64::MAX).then_some(found.bits);
    assert_eq!(known, expect);
    assert_eq!(found.certain, 0, "it is assumed");
}

#[test]
fn a_thread_begins_with_the_registers_of_its_maker() {
    check(0x1007, RegWord::RBX, Some(5));
}

#[test]
fn its_stack_is_the_one_that_the_call_names() {
    check(0x1007, RegWord::RSP, Some(0x7000));
}

#[test]
fn it_finds_zero_where_its_maker_finds_its_number() {
    check(0x1007, RegWord::RAX, Some(0));
}

#[test]
fn what_nobody_knows_of_the_maker_nobody_knows_of_the_thread() {
    check(0x1007, RegWord::RBP, None);
}

#[test]
fn a_trace_that_begins_elsewhere_inherits_nothing() {
    check(0x2000, RegWord::RBX, None);
}
