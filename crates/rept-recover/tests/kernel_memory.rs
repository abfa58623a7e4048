//! Memory that the kernel writes whenever it likes: nothing that was loaded from it is known from before,
//! from afterwards, or from the dump.

mod common;
#[path = "common/page.rs"]
mod page;

use common::run_block;
use page::Page;
use rept_order::Order;
use rept_recover::history::{Position, Recovered, Value};
use rept_recover::{Options, recover};
use rept_trace::{Address, FinalState, RegWord, Registers, ThreadId, ThreadTrace, Trace};

const THREAD: ThreadId = ThreadId(1);
const PAGE_AT: u64 = 0x50_0000;

const MEMORY: Page = Page {
    at: PAGE_AT,
    protected: false,
};

/// mov ebx,[PAGE_AT+4]; mov ebx,0; mov ecx,[PAGE_AT+4]; mov ecx,0
const CODE: &[&[u8]] = &[
    &[0x8b, 0x1c, 0x25, 4, 0, 0x50, 0],
    &[0xbb, 0, 0, 0, 0],
    &[0x8b, 0x0c, 0x25, 4, 0, 0x50, 0],
    &[0xb9, 0, 0, 0, 0],
];

/// What the two loads are known to have read, and what the place held before the second one.
fn loaded(kernel_memory: &[(u64, u64)]) -> [Value; 3] {
    let mut trace = Trace::default();
    let mut thread = ThreadTrace::new(THREAD);
    run_block(&mut trace, &mut thread, 0x40_1000, CODE);
    trace.threads.push(thread);
    let order = Order::new(&trace);
    let last = FinalState {
        threads: vec![Registers::new(THREAD, Address(0x40_2000))],
        fault: None,
        memory: &MEMORY,
        auxv: Vec::new(),
    };
    let mut options = Options::default();
    let areas = kernel_memory.iter();
    options.kernel_memory = areas
        .map(|&(start, end)| Address(start)..Address(end))
        .collect();
    let history = recover(&trace, &order, &last, &options);
    let at = |step| Position { thread: 0, step };
    [
        history.register(at(1), RegWord::RBX),
        history.register(at(3), RegWord::RCX),
        history.memory(at(2), Address(PAGE_AT + 4), &MEMORY),
    ]
}

#[track_caller]
fn check(kernel_memory: &[(u64, u64)], certain: u64) {
    let [first, second, byte] = loaded(kernel_memory);
    for value in [first, second] {
        assert_eq!(value.certain as u32, certain as u32, "{value:x?}");
        assert_eq!(value.known as u32, certain as u32, "{value:x?}");
        assert_eq!(value.bits & certain, 0x0707_0707 & certain, "{value:x?}");
    }
    assert_eq!(byte.known, certain & 0xff, "{byte:x?}");
    assert_eq!(byte.certain, certain & 0xff, "{byte:x?}");
}

#[test]
fn what_the_kernel_may_write_is_not_known() {
    check(&[(PAGE_AT, PAGE_AT + 32)], 0);
    check(&[(0, 8), (PAGE_AT + 4, PAGE_AT + 5)], 0);
}

#[test]
fn elsewhere_memory_is_as_in_the_dump() {
    check(&[], 0xffff_ffff);
    let around = [(PAGE_AT + 8, PAGE_AT + 32), (PAGE_AT - 8, PAGE_AT)];
    check(&around, 0xffff_ffff);
    check(&[(PAGE_AT + 32, PAGE_AT)], 0xffff_ffff);
}
