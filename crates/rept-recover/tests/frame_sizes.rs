//! A frame that was made before the window: how far its rsp is below rbp, its code tells and no step does.

mod common;
#[path = "common/nothing.rs"]
mod nothing;

use common::run_block;
use nothing::Nothing;
use rept_order::Order;
use rept_recover::history::{Position, Recovered, Value};
use rept_recover::{FrameSizes, Options, recover};
use rept_trace::{Address, FinalState, RegWord, Registers};
use rept_trace::{ThreadId, ThreadTrace, Trace};
use std::sync::Arc;

const THREAD: ThreadId = ThreadId(1);
const CODE: u64 = 0x40_1000;
const LEAVE: u64 = CODE + 4;
const STACK: u64 = 0x7000_0000;
const SIZE: u64 = 0x40;

#[derive(Debug)]
struct Leave;

impl FrameSizes for Leave {
    fn frame_size(&self, at: Address) -> Option<u64> {
        (at.0 == LEAVE).then_some(SIZE)
    }
}

/// rsp before what ran: a store at rsp, `leave` and `ret`, behind which rsp is `STACK`.
fn stack_pointer(change: impl FnOnce(&mut Options)) -> Value {
    let mut trace = Trace::default();
    let mut thread = ThreadTrace::new(THREAD);
    // mov [rsp],rdi; leave; ret
    let code: [&[u8]; 3] = [&[0x48, 0x89, 0x3c, 0x24], &[0xc9], &[0xc3]];
    run_block(&mut trace, &mut thread, CODE, &code);
    trace.threads.push(thread);
    let mut registers = Registers::new(THREAD, Address(0x40_2000));
    registers.set(RegWord::RSP, STACK);
    let last = FinalState {
        threads: vec![registers],
        fault: None,
        memory: &Nothing,
        auxv: Vec::new(),
    };
    let mut options = Options::default();
    change(&mut options);
    let history = recover(&trace, &Order::new(&trace), &last, &options);
    let at = Position { thread: 0, step: 0 };
    history.register(at, RegWord::RSP)
}

#[test]
fn the_size_of_a_frame_that_is_left_is_assumed() {
    assert_eq!(stack_pointer(|_| {}).known, 0);
    let found = stack_pointer(|options| options.frame_sizes = Some(Arc::new(Leave)));
    // Behind `leave` and `ret`, rsp is 16 above rbp.
    assert_eq!((found.known, found.bits), (u64::MAX, STACK - 16 - SIZE));
    assert_eq!((found.assumed, found.certain), (u64::MAX, 0));
}

#[test]
fn without_assumptions_it_is_not_known() {
    let found = stack_pointer(|options| {
        options.frame_sizes = Some(Arc::new(Leave));
        options.pairing = false;
    });
    assert_eq!(found.known, 0);
}
