//! Memory that the loader wrote and then protected is as in the dump from then on.

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
const PROTECTED_AT: u64 = 0x50_0000;

const RELRO: Page = Page {
    at: PROTECTED_AT,
    protected: true,
};

/// mov edi,PROTECTED_AT; mov esi,1000h; mov edx,PROT_READ
const THE_PAGE: &[&[u8]] = &[
    &[0xbf, 0, 0, 0x50, 0],
    &[0xbe, 0, 0x10, 0, 0],
    &[0xba, 1, 0, 0, 0],
];
/// mov rdi,[rbp]; mov rdx,[rbp]: nothing is known of rbp
const ANYTHING: &[&[u8]] = &[&[0x48, 0x8b, 0x7d, 0], &[0x48, 0x8b, 0x55, 0]];
/// mov eax,10; syscall
const MPROTECT: &[&[u8]] = &[&[0xb8, 10, 0, 0, 0], &[0x0f, 0x05]];
/// mov rbx,[PROTECTED_AT]
const LOAD: &[&[u8]] = &[&[0x48, 0x8b, 0x1c, 0x25, 0, 0, 0x50, 0]];
/// mov [r8],r9: it may be anywhere, so that what the dump has was not necessarily there before
const STORE: &[&[u8]] = &[&[0x4d, 0x89, 0x08]];

/// What is known of what is loaded, between these instructions.
fn loaded(before: &[&[&[u8]]], after: &[&[&[u8]]]) -> Value {
    let before = before.concat();
    let code: Vec<&[u8]> = [&before[..], LOAD, &after.concat(), STORE].concat();
    let mut trace = Trace::default();
    let mut thread = ThreadTrace::new(THREAD);
    run_block(&mut trace, &mut thread, 0x40_1000, &code);
    trace.threads.push(thread);
    let order = Order::new(&trace);
    let last = FinalState {
        threads: vec![Registers::new(THREAD, Address(0x40_2000))],
        fault: None,
        memory: &RELRO,
        auxv: Vec::new(),
    };
    let mut options = Options::default();
    options.optimism = false;
    let history = recover(&trace, &order, &last, &options);
    let step = before.len() as u64 + 1;
    history.register(Position { thread: 0, step }, RegWord::RBX)
}

#[test]
fn protection_by_calls_before_is_certain() {
    for before in [&[THE_PAGE, MPROTECT][..], &[ANYTHING, MPROTECT]] {
        let known = loaded(before, &[]);
        assert_eq!(known.bits, 0x0707_0707_0707_0707);
        assert_eq!(known.certain, u64::MAX);
    }
}

#[test]
fn what_was_protected_is_assumed_not_to_be_protected_again() {
    let known = loaded(&[THE_PAGE, MPROTECT], &[ANYTHING, MPROTECT]);
    assert_eq!((known.certain, known.assumed), (0, u64::MAX));
    let known = loaded(&[THE_PAGE, MPROTECT], &[THE_PAGE, MPROTECT]);
    assert_eq!(known.assumed, 0, "it was");
}

#[test]
fn what_may_have_been_protected_later_is_open() {
    assert_eq!(loaded(&[], &[THE_PAGE, MPROTECT]).assumed, 0);
    assert_eq!(loaded(&[], &[ANYTHING, MPROTECT]).assumed, 0);
    assert_eq!(
        loaded(&[ANYTHING, MPROTECT], &[ANYTHING, MPROTECT]).assumed,
        0
    );
}

/// mov edi,PROTECTED_AT-1000h; mov esi,1000h; mov edx,PROT_READ: the page before
const THE_PAGE_BEFORE: &[&[u8]] = &[
    &[0xbf, 0, 0xf0, 0x4f, 0],
    &[0xbe, 0, 0x10, 0, 0],
    &[0xba, 1, 0, 0, 0],
];
/// mov edi,PROTECTED_AT; mov esi,1000h; mov edx,PROT_READ|PROT_WRITE
const THE_PAGE_WRITABLE: &[&[u8]] = &[
    &[0xbf, 0, 0, 0x50, 0],
    &[0xbe, 0, 0x10, 0, 0],
    &[0xba, 3, 0, 0, 0],
];
/// mov r10d,MAP_FIXED|MAP_PRIVATE; mov eax,9; syscall
const MMAP_FIXED: &[&[u8]] = &[
    &[0x41, 0xba, 0x12, 0, 0, 0],
    &[0xb8, 9, 0, 0, 0],
    &[0x0f, 0x05],
];

#[test]
fn what_was_protected_beside_it_or_mapped_to_be_written_says_nothing() {
    for first in [
        &[THE_PAGE_BEFORE, MPROTECT],
        &[THE_PAGE_WRITABLE, MMAP_FIXED],
    ] {
        let known = loaded(first, &[ANYTHING, MPROTECT]);
        assert_eq!(known.assumed, 0);
    }
}
