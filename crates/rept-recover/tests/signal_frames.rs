//! Signal frames: what the kernel writes before a handler lies above the handler's first stack pointer,
//! and holds the registers that were interrupted.

use rept_order::Order;
use rept_recover::history::{Position, Recovered, Value};
use rept_recover::{Anchor, AnchorPoint, History, Options, recover};
use rept_trace::{
    Address, Block, Event, EventKind, FinalState, Interval, Mapping, Memory, RegWord, Registers,
    Run, ThreadId, ThreadTrace, Trace,
};

const THREAD: ThreadId = ThreadId(1);
/// The handler's first stack pointer, and where rbx is in the frame there.
const FRAME: u64 = 0x7000_1008;
const SAVED_RBX: u64 = FRAME + 48 + 11 * 8;
const EXTENDED_STATE: u64 = 0x240;
/// `siginfo_t`: a signal's number, and something else.
const INFORMATION: u64 = FRAME + 312;

/// The dump: rbx in the frame, and a word elsewhere.
struct Dump(Vec<(u64, [u8; 8])>);

impl Memory for Dump {
    fn bytes(&self, at: Address) -> Option<&[u8]> {
        self.0.iter().find_map(|(start, bytes)| {
            let offset = at.0.checked_sub(*start)?;
            bytes.get(offset as usize..).filter(|rest| !rest.is_empty())
        })
    }

    fn constant_len(&self, _: Address) -> u64 {
        0
    }

    fn mappings(&self) -> &[Mapping] {
        &[]
    }
}

/// mov [402000h],rcx
const STORE: &[u8] = &[0x48, 0x89, 0x0c, 0x25, 0, 0x20, 0x40, 0];
/// movups [402020h],xmm0
const STORE_VECTOR: &[u8] = &[0x0f, 0x11, 0x04, 0x25, 0x20, 0x20, 0x40, 0];

/// A store; then interrupted at the next instruction; the handler: nop; nop.
fn trace(store: &[u8]) -> Trace {
    let mut trace = Trace::default();
    let mut block = |at: u64, bytes: &[u8], starts: &[u16]| {
        trace.code.push(Block {
            at: Address(at),
            bytes: bytes.into(),
            starts: starts.into(),
            bitness: 64,
        })
    };
    let store = block(0x40_1000, store, &[0]);
    let handler = block(0x40_1100, &[0x90, 0x90], &[0, 1]);
    let mut thread = ThreadTrace::new(THREAD);
    thread.push(Run {
        block: store,
        count: 1,
    });
    thread.push(Run {
        block: handler,
        count: 2,
    });
    let event = |kind| Event {
        step: 1,
        time: Interval::UNKNOWN,
        kind,
    };
    let at = Address(0x40_1008);
    thread.events = vec![
        event(EventKind::AsyncDisabled { at, ip: None }),
        event(EventKind::Enabled {
            ip: Address(0x40_1100),
        }),
    ];
    trace.threads.push(thread);
    trace
}

/// Recovers it, the handler's stack pointer known or not.
fn run(stack_pointer: Option<u64>, extended_state: Option<u64>) -> History {
    run_of(&trace(STORE), stack_pointer, extended_state)
}

fn run_of(trace: &Trace, stack_pointer: Option<u64>, extended_state: Option<u64>) -> History {
    let order = Order::new(trace);
    let memory = Dump(vec![
        (SAVED_RBX, 77u64.to_le_bytes()),
        (INFORMATION, [11, 0, 0, 0, 1, 2, 3, 4]),
        (0x40_2000, 55u64.to_le_bytes()),
    ]);
    let mut registers = Registers::new(THREAD, Address(0x40_1102));
    registers.set(RegWord::vector(0, 0), 9);
    registers.set(RegWord::gpr(12), 3);
    let last = FinalState {
        threads: vec![registers],
        fault: None,
        memory: &memory,
        auxv: Vec::new(),
    };
    let mut options = Options::default();
    options.extended_state_bytes = extended_state;
    options.anchors.extend(stack_pointer.map(|value| Anchor {
        thread: THREAD,
        at: AnchorPoint::Step(1),
        words: vec![(RegWord::RSP, value)],
        measured: true,
    }));
    recover(trace, &order, &last, &options)
}

/// A register before a step, if it is certain or assumed.
fn assumed(history: &History, step: u64, word: RegWord) -> Option<u64> {
    let Value { bits, assumed, .. } = history.register(Position { thread: 0, step }, word);
    (assumed == u64::MAX).then_some(bits)
}

/// The same, if it is certain.
fn certain(history: &History, step: u64, word: RegWord) -> Option<u64> {
    let Value { bits, certain, .. } = history.register(Position { thread: 0, step }, word);
    (certain == u64::MAX).then_some(bits)
}

#[test]
fn a_handler_begins_with_pointers_into_its_frame() {
    let history = run(Some(FRAME), Some(EXTENDED_STATE));
    assert_eq!(assumed(&history, 1, RegWord::RSI), Some(FRAME + 312));
    assert_eq!(assumed(&history, 1, RegWord::RDX), Some(FRAME + 8));
    assert_eq!(assumed(&history, 1, RegWord::RAX), Some(0));
}

#[test]
fn a_handler_has_vectors_of_its_own() {
    let history = run_of(&trace(STORE_VECTOR), Some(FRAME), Some(EXTENDED_STATE));
    let vector = RegWord::vector(0, 0);
    assert_eq!(certain(&history, 3, vector), Some(9));
    assert_eq!(assumed(&history, 0, vector), None);
}

#[test]
fn a_handler_is_told_the_signal() {
    let history = run(Some(FRAME), Some(EXTENDED_STATE));
    assert_eq!(assumed(&history, 1, RegWord::RDI), Some(11));
    assert_eq!(certain(&history, 1, RegWord::RDI), None);
    // Another frame, in which there is no such number.
    let history = run(Some(FRAME - 0x100), Some(EXTENDED_STATE));
    assert_eq!(assumed(&history, 1, RegWord::RDI), None);
}

#[test]
fn the_frame_holds_what_was_interrupted() {
    let history = run(Some(FRAME), Some(EXTENDED_STATE));
    assert_eq!(assumed(&history, 1, RegWord::RBX), Some(77));
    assert_eq!(assumed(&history, 0, RegWord::RBX), Some(77));
}

#[test]
fn what_lies_elsewhere_is_not_in_the_frame() {
    let history = run(Some(FRAME), Some(EXTENDED_STATE));
    assert_eq!(certain(&history, 0, RegWord::RCX), Some(55));
    // Where the frame is not known, or how long it is, it may be anywhere.
    assert_eq!(
        certain(&run(None, Some(EXTENDED_STATE)), 0, RegWord::RCX),
        None
    );
    assert_eq!(certain(&run(Some(FRAME), None), 0, RegWord::RCX), None);
}

#[test]
fn a_frame_over_it_hides_it() {
    let below = 0x40_2000 - 0x100;
    let history = run(Some(below + 8 - below % 16), Some(EXTENDED_STATE));
    assert_eq!(certain(&history, 0, RegWord::RCX), None);
}
