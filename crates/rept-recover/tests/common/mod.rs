//! What tests that lay out their own code share.

use rept_trace::{Address, Block, Run, ThreadTrace, Trace};

/// Runs instructions, which become a block at `at`; returns the address behind it.
pub(crate) fn run_block<I: AsRef<[u8]>>(
    trace: &mut Trace,
    thread: &mut ThreadTrace,
    at: u64,
    code: &[I],
) -> u64 {
    let (mut bytes, mut starts) = (Vec::new(), Vec::new());
    for instruction in code {
        starts.push(bytes.len() as u16);
        bytes.extend_from_slice(instruction.as_ref());
    }
    let (count, size) = (starts.len() as u16, bytes.len() as u64);
    let block = trace.code.push(Block {
        at: Address(at),
        bytes: bytes.into(),
        starts: starts.into(),
        bitness: 64,
    });
    thread.push(Run { block, count });
    at + size
}
