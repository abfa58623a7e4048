//! Signal frames: what the kernel puts onto a stack before a handler runs, and into the handler's
//! registers (`struct rt_sigframe`, `x64_setup_rt_frame` of Linux, arch/x86).
//!
//! All of it lies from the handler's first stack pointer upward; once that is known, the frame is in
//! nobody else's way. It is assumed to be a signal that led elsewhere, not the end of a restartable
//! sequence (rseq(2)), which writes nothing: then the frame holds the registers that were interrupted.

use super::graph::{AccessState, SignalFrame};
use super::tracking::Cause;
use super::{Engine, Grade};
use crate::bits::{Bits, Contradiction, mask};
use rept_trace::RegWord;

/// Offset of `struct ucontext` (the handler's third argument), behind the return address.
const CONTEXT: u64 = 8;
/// Offset of `siginfo_t` (the second).
const INFORMATION: u64 = CONTEXT + 304;
/// Bytes up to the extended state.
const FRAME: u64 = INFORMATION + 128;
/// Offset of the general registers in the frame.
const SAVED: u64 = CONTEXT + 40;
/// Their order (`struct sigcontext_64`).
const ORDER: [RegWord; 16] = [
    RegWord::gpr(8),
    RegWord::gpr(9),
    RegWord::gpr(10),
    RegWord::gpr(11),
    RegWord::gpr(12),
    RegWord::gpr(13),
    RegWord::gpr(14),
    RegWord::gpr(15),
    RegWord::RDI,
    RegWord::RSI,
    RegWord::RBP,
    RegWord::RBX,
    RegWord::RDX,
    RegWord::RAX,
    RegWord::RCX,
    RegWord::RSP,
];
/// The frame is aligned to 16 below the extended state, whose end is marked by a number of four bytes.
const BESIDE_STATE: u64 = 8 + 15 + 4;
/// Signals have numbers up to this one.
const LAST_SIGNAL: u64 = 64;
/// Bit of RFLAGS: the direction flag.
const DIRECTION: u64 = 1 << 10;

impl Engine<'_> {
    /// Looks whether it is known by now where the signal frames lie that were made behind a step.
    pub(super) fn visit_signal_frames(&mut self, step: u32) {
        let frames = &self.graph.signal_frames;
        let ids = self.graph.accesses_of(step);
        let first = frames.partition_point(|frame| frame.access < ids.start);
        for index in first..frames.len() {
            let frame = self.graph.signal_frames[index];
            if frame.access >= ids.end {
                return;
            }
            if self.visit_signal_frame(step, &frame).is_err() {
                self.conflict_at(step);
            }
        }
    }

    fn visit_signal_frame(&mut self, step: u32, frame: &SignalFrame) -> Result<(), Contradiction> {
        if self.grade > Grade::Certain {
            self.learn_entry(step, frame)?;
        }
        let Some(start) = self.graph.nodes.bits[frame.stack_pointer as usize].get() else {
            return Ok(());
        };
        if self.graph.accesses[frame.access as usize].state == AccessState::Pending
            && let Some(state) = self.graph.extended_state
        {
            self.place_wide(frame.access, &[(start, FRAME + BESIDE_STATE + state)]);
        }
        if self.grade > Grade::Certain {
            self.exchange_saved(step, frame, start)?;
            self.learn_number(step, frame, start)?;
            self.tell_wide(frame.access);
        }
        Ok(())
    }

    /// A handler finds rax and the direction flag cleared, and pointers to parts of its frame.
    fn learn_entry(&mut self, step: u32, frame: &SignalFrame) -> Result<(), Contradiction> {
        let cause = Cause::Step(step);
        self.learn(frame.result, Bits::ZERO, cause)?;
        self.learn(frame.flags, Bits::new(DIRECTION, 0), cause)?;
        let pointers = [
            (frame.stack_pointer, 0),
            (frame.information, INFORMATION),
            (frame.context, CONTEXT),
        ];
        let known = pointers.iter().find_map(|&(node, offset)| {
            let value = self.graph.nodes.bits[node as usize].get()?;
            Some(value.wrapping_sub(offset))
        });
        let Some(start) = known else { return Ok(()) };
        for (node, offset) in pointers {
            let value = Bits::constant(start.wrapping_add(offset));
            self.learn(node, value, cause)?;
        }
        Ok(())
    }

    /// The handler's first argument is the number that `siginfo_t` begins with, if the kernel wrote that
    /// (SA_SIGINFO), which what stands there makes likely.
    fn learn_number(
        &mut self,
        step: u32,
        frame: &SignalFrame,
        start: u64,
    ) -> Result<(), Contradiction> {
        let at = start.wrapping_add(INFORMATION);
        let Some(held) = self.cells.entry_at(at, frame.access) else {
            return Ok(());
        };
        let held = self.cells.entries[held as usize].node;
        let held = self.graph.nodes.bits[held as usize];
        let number = Bits::new(held.known | !mask(32), held.value & mask(32));
        if let Some(number @ 1..=LAST_SIGNAL) = number.get() {
            self.learn(frame.number, Bits::constant(number), Cause::Step(step))?;
        }
        Ok(())
    }

    /// What is assumed of handlers was not, so far: they are looked at again.
    pub(super) fn assume_handlers(&mut self) {
        for frame in &self.graph.signal_frames {
            let step = self.graph.accesses[frame.access as usize].step;
            self.work.insert(step);
        }
    }

    /// The registers that were interrupted, and what the frame holds, are the same.
    fn exchange_saved(
        &mut self,
        step: u32,
        frame: &SignalFrame,
        start: u64,
    ) -> Result<(), Contradiction> {
        for (index, word) in (0..).zip(ORDER) {
            let saved = frame.saved[usize::from(word.0)];
            let Some(held) = self
                .cells
                .entry_at(start.wrapping_add(SAVED + 8 * index), frame.access)
            else {
                continue;
            };
            let held = self.cells.entries[held as usize].node;
            let bits = |node: u32| self.graph.nodes.bits[node as usize];
            let (inside, outside) = (bits(held), bits(saved));
            self.learn(held, outside, Cause::Step(step))?;
            self.learn(saved, inside, Cause::Step(step))?;
        }
        Ok(())
    }
}
