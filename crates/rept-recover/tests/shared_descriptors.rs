//! Descriptors that threads share: a new one has the lowest free number as long as it is known which
//! thread made and closed which before.

mod common;
#[path = "common/nothing.rs"]
mod nothing;

use common::run_block;
use nothing::Nothing;
use rept_order::{Edge, EdgeKind, Order, Point};
use rept_recover::history::{Position, Recovered, Value};
use rept_recover::{Anchor, AnchorPoint, Creation, Options, recover};
use rept_trace::{Address, FinalState, RegWord, Registers, ThreadId, ThreadTrace, Trace};

/// mov eax,number; syscall; cmp rax,-4096; ja, not taken; mov rbx,rax
fn call(number: u16) -> [Vec<u8>; 5] {
    let [low, high] = number.to_le_bytes();
    let code: [&[u8]; 5] = [
        &[0xb8, low, high, 0, 0],
        &[0x0f, 0x05],
        &[0x48, 0x3d, 0, 0xf0, 0xff, 0xff],
        &[0x77, 0x7f],
        &[0x48, 0x89, 0xc3],
    ];
    code.map(<[u8]>::to_vec)
}

const STEPS: u64 = 5;
const CLONE: u16 = 56;
/// eventfd2
const MAKE: u16 = 290;

fn thread(trace: &mut Trace, id: u32, at: u64, calls: &[u16]) {
    let mut thread = ThreadTrace::new(ThreadId(id));
    let mut at = at;
    for &number in calls {
        let code = call(number);
        for code in [&code[..4], &code[4..]] {
            at = run_block(trace, &mut thread, at, code);
        }
    }
    trace.threads.push(thread);
}

/// The first thread makes the second, which makes one descriptor; the first makes another, before that
/// (`Some(true)`), after it, or nobody knows. What each call returns as far as is known.
fn numbers(first_before: Option<bool>, traced: bool) -> [Option<u64>; 2] {
    let mut trace = Trace::default();
    thread(&mut trace, 1, 0x1000, &[CLONE, MAKE]);
    thread(&mut trace, 2, 0x8000, &[MAKE]);
    let (made, own) = (Point { thread: 0, step: 2 }, Point { thread: 1, step: 0 });
    let edge = |kind: EdgeKind, from: Point, to: Point| Edge { kind, from, to };
    let mut edges = vec![edge(EdgeKind::ThreadCreate, made, own)];
    let end = |thread: u32, step: u64| Point { thread, step };
    match first_before {
        Some(true) => edges.push(edge(EdgeKind::FutexWake, end(0, 2 * STEPS - 1), own)),
        Some(false) => {
            let wakes = end(1, STEPS - 1);
            edges.push(edge(EdgeKind::FutexWake, wakes, end(0, STEPS)));
        }
        None => {}
    }
    let order = Order::with_edges(&trace, &edges);
    let last = FinalState {
        threads: vec![
            Registers::new(ThreadId(1), Address(0x9000)),
            Registers::new(ThreadId(2), Address(0x9000)),
        ],
        fault: None,
        memory: &Nothing,
        auxv: Vec::new(),
    };
    let mut options = Options::default();
    options.anchors.push(Anchor {
        thread: ThreadId(1),
        at: AnchorPoint::Entry,
        words: vec![(RegWord::RDI, 0x10f00)],
        measured: false,
    });
    if traced {
        options.creations.push(Creation {
            parent: ThreadId(1),
            step: 1,
            child: ThreadId(2),
        });
    }
    let history = recover(&trace, &order, &last, &options);
    let known = |thread: u32, step: u64| {
        let value: Value = history.register(Position { thread, step }, RegWord::RBX);
        (value.known == u64::MAX).then_some(value.bits)
    };
    [known(0, 2 * STEPS), known(1, STEPS)]
}

#[test]
fn the_order_of_threads_tells_the_numbers() {
    assert_eq!(numbers(Some(true), true), [Some(3), Some(4)]);
    assert_eq!(numbers(Some(false), true), [Some(4), Some(3)]);
}

#[test]
fn without_an_order_they_are_not_told() {
    assert_eq!(numbers(None, true), [None, None]);
}

#[test]
fn a_thread_that_is_not_traced_may_do_anything() {
    assert_eq!(numbers(Some(true), false), [None, None]);
}
