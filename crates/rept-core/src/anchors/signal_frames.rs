//! Where signal frames lie: a handler that has returned leaves its frame in the memory below, often on
//! a stack of its own that nothing used since. It is found again by the interrupted address among
//! the registers that the kernel saved.
//!
//! Layout: `struct rt_sigframe`, `struct sigcontext_64` and `struct _fpx_sw_bytes` of Linux.

use super::number;
use rept_recover::{Anchor, AnchorPoint};
use rept_trace::{Address, EventKind, Memory, RegWord, Registers, ThreadTrace, Trace};

/// Offsets from the frame's first byte, the handler's first stack pointer.
const REGISTERS: u64 = 48;
const RIP: u64 = REGISTERS + 16 * 8;
const RFLAGS: u64 = RIP + 8;
const CS: u64 = RFLAGS + 8;
const EXTENDED_STATE: u64 = CS + 40;
/// Bytes of the frame, and those of its alignment, below the extended state.
const BELOW_STATE: std::ops::RangeInclusive<u64> = 448..=463;
/// Offset of `magic1` in the extended state, and its value.
const MAGIC_AT: u64 = 464;
const MAGIC: u64 = 0x4650_5853;
const USER_CODE: u64 = 0x33;
/// Numbers of the general registers, as the frame has them.
const ORDER: [u16; 16] = [8, 9, 10, 11, 12, 13, 14, 15, 7, 6, 5, 3, 2, 0, 1, 4];
/// Bytes of memory that are searched at most.
const MAX_BYTES: u64 = 1 << 30;

/// For the last handler of each thread, its first stack pointer.
pub(super) fn anchors(trace: &Trace, memory: &dyn Memory, threads: &[Registers]) -> Vec<Anchor> {
    let last = threads.iter().filter_map(|last| {
        let (step, at) = last_handler(trace.thread(last.thread)?)?;
        Some((last, step, at))
    });
    let wanted: Vec<(&Registers, u64, Address)> = last.collect();
    let places: Vec<Address> = wanted.iter().map(|&(_, _, at)| at).collect();
    let mut frames = frames(memory, &places);
    frames.sort_unstable();
    let anchor = |&(last, step, at): &(&Registers, u64, Address)| {
        let mut of_thread = frames.iter().filter(|frame| frame.rip == at);
        let frame = of_thread.next().filter(|_| of_thread.next().is_none())?;
        // Who died where it was interrupted, with the same registers, was interrupted there last.
        let general = (0..16).map(RegWord::gpr);
        let same = general.map(|word| last.get(word)).eq(frame.saved.map(Some));
        Some(Anchor {
            thread: last.thread,
            at: AnchorPoint::Step(step),
            words: vec![(RegWord::RSP, frame.start)],
            measured: same && last.rip == at,
        })
    };
    wanted.iter().filter_map(anchor).collect()
}

/// The first step of the thread's last handler that began between two of its instructions, and where it
/// interrupted the thread.
fn last_handler(thread: &ThreadTrace) -> Option<(u64, Address)> {
    let pairs = thread.events.windows(2).rev();
    let mut handlers = pairs.filter_map(|pair| match (&pair[0].kind, &pair[1].kind) {
        (&EventKind::AsyncDisabled { at, .. }, &EventKind::Enabled { ip })
            if at != ip && pair[0].step == pair[1].step && pair[0].step > 0 =>
        {
            Some((pair[0].step, at))
        }
        _ => None,
    });
    handlers.next()
}

/// A signal frame in memory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Frame {
    start: u64,
    rip: Address,
    /// By number.
    saved: [u64; 16],
}

/// The frames of what was interrupted at one of these places.
fn frames(memory: &dyn Memory, places: &[Address]) -> Vec<Frame> {
    let mut found = Vec::new();
    let mut left = MAX_BYTES;
    if places.is_empty() {
        return found;
    }
    for mapping in memory.mappings().iter().filter(|mapping| mapping.write) {
        let mut next = mapping.start.0.checked_next_multiple_of(8);
        while let Some(at) = next.filter(|&at| at < mapping.end.0 && left > 0) {
            let run = memory.bytes(Address(at)).unwrap_or_default();
            let run = &run[..run.len().min((mapping.end.0 - at) as usize)];
            for (index, word) in (0..).zip(run.chunks_exact(8)) {
                let word = Address(u64::from_le_bytes(word.try_into().expect("eight bytes")));
                if places.contains(&word) {
                    found.extend(frame(memory, (at + 8 * index).wrapping_sub(RIP), word));
                }
            }
            // Where nothing is known, on to the next page.
            let bytes = match run.len() as u64 {
                0 => 0x1000 - at % 0x1000,
                bytes => bytes.next_multiple_of(8),
            };
            left = left.saturating_sub(bytes);
            next = at.checked_add(bytes);
        }
    }
    found
}

/// The frame that begins at an address, if there is one.
fn frame(memory: &dyn Memory, start: u64, rip: Address) -> Option<Frame> {
    let word = |offset: u64| number(memory, Address(start.wrapping_add(offset)), 8);
    let state = word(EXTENDED_STATE)?;
    let magic = number(memory, Address(state.wrapping_add(MAGIC_AT)), 4);
    let is_frame = start % 16 == 8
        && word(CS)? & 0xffff == USER_CODE
        && word(RFLAGS)? >> 32 == 0
        && state % 64 == 0
        && BELOW_STATE.contains(&state.wrapping_sub(start))
        && magic == Some(MAGIC);
    let mut saved = [0; 16];
    for (index, register) in (0..).zip(ORDER) {
        saved[usize::from(register)] = word(REGISTERS + 8 * index)?;
    }
    is_frame.then_some(Frame { start, rip, saved })
}
