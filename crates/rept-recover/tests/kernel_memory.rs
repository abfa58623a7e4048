//! Memory that the kernel writes whenever it likes: nothing that was loaded from it is known from before,
//! from afterwards, or from the dump.

use rept_order::Order;
use rept_recover::history::{Position, Recovered, Value};
use rept_recover::{Options, recover};
use rept_trace::{
    Address, Block, FinalState, Mapping, Memory, RegWord, Registers, Run, ThreadId, ThreadTrace,
    Trace,
};

const THREAD: ThreadId = ThreadId(1);
const PAGE_AT: u64 = 0x50_0000;

/// A page that holds the same everywhere.
struct OnePage;

static PAGE: [u8; 4096] = [7; 4096];

impl Memory for OnePage {
    fn bytes(&self, at: Address) -> Option<&[u8]> {
        let offset = at.0.checked_sub(PAGE_AT)?;
        PAGE.get(offset as usize..).filter(|rest| !rest.is_empty())
    }

    fn constant_len(&self, _: Address) -> u64 {
        0
    }

    fn mappings(&self) -> &[Mapping] {
        &[]
    }
}

/// mov ebx,[PAGE_AT+4]; mov ebx,0; mov ecx,[PAGE_AT+4]; mov ecx,0
const CODE: &[&[u8]] = &[
    &[0x8b, 0x1c, 0x25, 4, 0, 0x50, 0],
    &[0xbb, 0, 0, 0, 0],
    &[0x8b, 0x0c, 0x25, 4, 0, 0x50, 0],
    &[0xb9, 0, 0, 0, 0],
];

/// What the two loads are known to have read, and what the place held before the second one.
fn loaded(kernel_memory: &[(u64, u64)]) -> [Value; 3] {
    let starts = CODE.iter().scan(0, |end, instruction| {
        let start = *end;
        *end += instruction.len() as u16;
        Some(start)
    });
    let mut trace = Trace::default();
    let mut thread = ThreadTrace::new(THREAD);
    let block = trace.code.push(Block {
        at: Address(0x40_1000),
        bytes: CODE.concat().into(),
        starts: starts.collect::<Vec<u16>>().into(),
        bitness: 64,
    });
    let count = CODE.len() as u16;
    thread.push(Run { block, count });
    trace.threads.push(thread);
    let order = Order::new(&trace);
    let last = FinalState {
        threads: vec![Registers::new(THREAD, Address(0x40_2000))],
        fault: None,
        memory: &OnePage,
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
        history.memory(at(2), Address(PAGE_AT + 4), &OnePage),
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
