//! Hand-made traces and histories for tests.

use rept_order::Segment;
use rept_recover::history::{AccessView, Position, Recovered, Unknown, Value};
use rept_trace::{Address, Block, Interval, Memory, RegWord, Run, ThreadId, ThreadTrace, Trace};
use std::collections::BTreeMap;

/// A history that knows what it was told and nothing else.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) accesses: BTreeMap<Position, Vec<AccessView>>,
    pub(crate) registers: BTreeMap<(Position, RegWord), Value>,
}

impl Recovered for Told {
    fn register(&self, at: Position, word: RegWord) -> Value {
        self.registers.get(&(at, word)).copied().unwrap_or_default()
    }

    fn why_unknown(&self, _: Position, _: RegWord) -> Unknown {
        Unknown::Overwritten
    }

    fn accesses(&self, at: Position) -> Vec<AccessView> {
        self.accesses.get(&at).cloned().unwrap_or_default()
    }

    fn memory(&self, _: Position, _: Address, _: &dyn Memory) -> Value {
        Value::default()
    }
}

/// An access about which all is certain but the value, which is unknown.
pub(crate) fn access(store: bool, address: Option<u64>, size: u8) -> AccessView {
    AccessView {
        address: address.map(Address),
        address_certain: true,
        address_assumed: true,
        size,
        store,
        value: Value::default(),
    }
}

/// A trace and its history.
pub(crate) struct Made {
    pub(crate) trace: Trace,
    pub(crate) sequence: Vec<Segment>,
    pub(crate) history: Told,
}

/// An instruction's bytes and what it accesses.
pub(crate) type Instruction<'a> = (&'a [u8], &'a [AccessView]);

/// One thread for each list of instructions, with ids from 1; each is one segment, in this
/// order. Every instruction is at 0x1000.
pub(crate) fn run(threads: &[&[Instruction<'_>]]) -> Made {
    let mut made = Made {
        trace: Trace::default(),
        sequence: Vec::new(),
        history: Told::default(),
    };
    for (index, instructions) in threads.iter().enumerate() {
        let mut thread = ThreadTrace::new(ThreadId(index as u32 + 1));
        for (step, (bytes, accesses)) in instructions.iter().enumerate() {
            let block = made.trace.code.push(Block {
                at: Address(0x1000),
                bytes: (*bytes).into(),
                starts: [0].into(),
                bitness: 64,
            });
            thread.push(Run { block, count: 1 });
            let at = Position {
                thread: index as u32,
                step: step as u64,
            };
            made.history.accesses.insert(at, accesses.to_vec());
        }
        let steps = thread.steps();
        made.trace.threads.push(thread);
        let time = Interval::UNKNOWN;
        made.sequence.push(Segment {
            thread: index as u32,
            first: 0,
            steps,
            time,
        });
    }
    made
}
