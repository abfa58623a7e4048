//! Recovery of control flow that does not come from Intel PT: steps from an emulator, another
//! tracer, or as here made by hand, and the state that they ended in.
//!
//! `cargo run -p rept-core --example own_steps`

use rept_order::Order;
use rept_recover::history::{Position, Recovered};
use rept_recover::{Options, recover};
use rept_trace::{Address, Block, FinalState, Mapping, Memory, RegWord, Registers, Run};
use rept_trace::{ThreadId, ThreadTrace, Trace};

/// No memory is known.
struct Nothing;

impl Memory for Nothing {
    fn bytes(&self, _: Address) -> Option<&[u8]> {
        None
    }

    fn constant_len(&self, _: Address) -> u64 {
        0
    }

    fn mappings(&self) -> &[Mapping] {
        &[]
    }
}

fn main() {
    // mov rbx,rax; add rax,8; xor eax,eax
    let code: [u8; 9] = [0x48, 0x89, 0xc3, 0x48, 0x83, 0xc0, 0x08, 0x31, 0xc0];
    let mut trace = Trace::default();
    let block = trace.code.push(Block {
        at: Address(0x1000),
        bytes: code.into(),
        starts: [0, 3, 7].into(),
        bitness: 64,
    });
    let mut thread = ThreadTrace::new(ThreadId(1));
    thread.push(Run { block, count: 3 });
    trace.threads.push(thread);

    let mut last = Registers::new(ThreadId(1), Address(0x1009));
    last.set(RegWord::RAX, 0);
    last.set(RegWord::RBX, 0x2a);
    let end = FinalState {
        threads: vec![last],
        fault: None,
        memory: &Nothing,
        auxv: Vec::new(),
    };

    let history = recover(&trace, &Order::new(&trace), &end, &Options::default());
    for step in 0..=3 {
        let at = Position { thread: 0, step };
        let rax = history.register(at, RegWord::RAX);
        let how = if rax.certain == u64::MAX {
            "certain"
        } else {
            "not certain"
        };
        println!("before step {step}: rax = {:#x} ({how})", rax.bits);
    }
    let first = Position { thread: 0, step: 0 };
    assert_eq!(history.register(first, RegWord::RAX).bits, 0x2a);
}
