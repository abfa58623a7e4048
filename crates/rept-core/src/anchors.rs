//! Register values known from elsewhere than the end of a thread: frames open at the crash, and
//! the kernel's initial state.
//!
//! Both are assumptions with good standing rather than facts: call-frame information says what
//! the callee's code hands back, the kernel's ABI what a process starts with. Registers that the
//! recording sampled are facts.

mod entry;
mod samples;
mod signal_frames;

use crate::cfi::{FrameRegisters, PRESERVED, Unwinder};
use crate::dump::Dump;
use rept_recover::{Anchor, AnchorPoint};
use rept_trace::{Address, Memory, RegWord, Registers, ThreadId, Trace};
pub(crate) use samples::samples;

/// The anchors for these threads of a dump that belongs to the trace.
pub(crate) fn anchors(trace: &Trace, dump: &Dump, threads: &[Registers]) -> Vec<Anchor> {
    let mut unwinder = Unwinder::new(dump);
    let mut found: Vec<Anchor> = entry::anchor(trace, dump).into_iter().collect();
    found.extend(signal_frames::anchors(trace, dump.memory(), threads));
    for thread in threads {
        found.extend(open_calls(thread, dump.memory(), &mut unwinder));
    }
    found
}

/// The calls open at the end of a thread, innermost first.
///
/// What a signal interrupted did not call the handler, but has all its registers in the kernel's frame.
fn open_calls(thread: &Registers, memory: &dyn Memory, unwinder: &mut Unwinder) -> Vec<Anchor> {
    let id = thread.thread;
    let innermost = FrameRegisters::new(thread.rip, |word| thread.get(word));
    let read = |at, size| number(memory, at, size);
    let frames = unwinder.walk(innermost, &read);
    frames
        .map(|frame| match frame.signal {
            true => interrupted(id, &frame.caller),
            false => open_call(id, &frame.caller),
        })
        .collect()
}

fn open_call(thread: ThreadId, caller: &FrameRegisters) -> Anchor {
    let words = std::iter::once(RegWord::RSP).chain(PRESERVED);
    concluded(thread, AnchorPoint::OpenCall(caller.pc), caller, words)
}

fn interrupted(thread: ThreadId, registers: &FrameRegisters) -> Anchor {
    let words = (0..16).map(RegWord::gpr);
    let at = AnchorPoint::Interrupted(registers.pc);
    concluded(thread, at, registers, words)
}

fn concluded(
    thread: ThreadId,
    at: AnchorPoint,
    registers: &FrameRegisters,
    words: impl Iterator<Item = RegWord>,
) -> Anchor {
    Anchor {
        thread,
        at,
        words: words
            .filter_map(|word| Some((word, registers.get(word)?)))
            .collect(),
        measured: false,
    }
}

/// A little-endian number of 1 to 8 bytes.
fn number(memory: &dyn Memory, at: Address, size: usize) -> Option<u64> {
    let mut bytes = [0; 8];
    let wanted = bytes.get_mut(..size)?;
    match memory.bytes(at).and_then(|run| run.get(..size)) {
        Some(run) => wanted.copy_from_slice(run),
        None => {
            for (distance, byte) in wanted.iter_mut().enumerate() {
                *byte = *memory.bytes(at.offset(distance as u64))?.first()?;
            }
        }
    }
    Some(u64::from_le_bytes(bytes))
}
