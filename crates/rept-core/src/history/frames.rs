//! Who called whom at a position.
//!
//! Calls made inside the window are known by the trace alone: the frames above them are
//! those of the calling steps, with the registers they had then. Beyond the outermost of
//! them, call-frame information unwinds over what is known of registers and stack; where
//! something is not known the backtrace ends, and says why.

use super::{History, StateView, Trust};
use crate::cfi::{FrameRegisters, UnwoundFrame};
use crate::position::Position;
use rept_trace::{Address, RegWord};
use std::sync::PoisonError;

/// Frames of one backtrace at most.
const MAX_FRAMES: usize = 1024;

/// The open function calls at a position, innermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backtrace {
    /// Frames.
    pub frames: Vec<Frame>,
    /// Why there may be more frames than these; `None` when the outermost is the last.
    pub truncated: Option<String>,
}

/// One open function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// The instruction that runs next in it; for outer frames, the one behind the call.
    pub pc: Address,
    /// The calling step, for calls made inside the window.
    pub call: Option<Position>,
    /// `pc` is where the frame was interrupted, not behind a call: the innermost frame, and what
    /// a signal handler interrupted.
    pub interrupted: bool,
    pub(crate) registers: FrameRegisters,
}

impl Frame {
    /// An address inside the instruction that the frame is at: behind a call, the call.
    /// This is what to look symbols and lines up with.
    pub fn lookup_address(&self) -> Address {
        Address(self.pc.0.wrapping_sub(u64::from(!self.interrupted)))
    }

    pub(super) fn innermost(state: &StateView<'_>, pc: Address, trust: Trust) -> Frame {
        Frame {
            pc,
            call: None,
            interrupted: true,
            registers: state.frame_registers(pc, trust),
        }
    }

    fn unwound(inner: &UnwoundFrame) -> Frame {
        Frame {
            pc: inner.caller.pc,
            call: None,
            interrupted: inner.signal,
            registers: inner.caller,
        }
    }
}

impl History {
    /// The open function calls at a position, by values known at grade `trust` or better.
    ///
    /// `None` when there is no such position.
    pub fn backtrace(&self, position: Position, trust: Trust) -> Option<Backtrace> {
        let state = self.at(position)?;
        let mut backtrace = Backtrace::default();
        let Some(pc) = state.pc() else {
            backtrace.truncated = Some("the instruction pointer is not known".to_owned());
            return Some(backtrace);
        };
        backtrace.frames.push(Frame::innermost(&state, pc, trust));
        let mut outermost = state;
        for index in self.open_calls(position).into_iter().rev() {
            let site = Position::new(position.thread, self.calls(position.thread)[index].site);
            let Some((state, instruction)) = self.at(site).zip(self.instruction(site)) else {
                break;
            };
            let pc = instruction.at.offset(instruction.bytes.len() as u64);
            backtrace.frames.push(Frame {
                pc,
                call: Some(site),
                interrupted: false,
                registers: state.frame_registers(pc, trust),
            });
            outermost = state;
        }
        self.unwind(&outermost, trust, &mut backtrace);
        Some(backtrace)
    }

    /// Adds the frames around that of `state`.
    fn unwind(&self, state: &StateView<'_>, trust: Trust, backtrace: &mut Backtrace) {
        // The outermost frame known so far is at its own instruction, not behind a call.
        let Some(pc) = state.pc() else { return };
        let memory = |address: Address, size: usize| state.read_number(address, size, trust);
        let unwinder = self.session.unwinder();
        let mut unwinder = unwinder.lock().unwrap_or_else(PoisonError::into_inner);
        let mut walk = unwinder.walk(state.frame_registers(pc, trust), &memory);
        let room = MAX_FRAMES.saturating_sub(backtrace.frames.len());
        let outer = walk.by_ref().take(room);
        backtrace
            .frames
            .extend(outer.map(|inner| Frame::unwound(&inner)));
        backtrace.truncated = match walk.end() {
            _ if backtrace.frames.len() >= MAX_FRAMES => {
                Some(format!("more than {MAX_FRAMES} frames"))
            }
            end => end.map(|why| why.to_string()),
        };
    }
}

impl StateView<'_> {
    /// The general-purpose registers that are wholly known.
    pub(super) fn frame_registers(&self, pc: Address, trust: Trust) -> FrameRegisters {
        FrameRegisters::new(pc, |word: RegWord| {
            let value = self.reg(word);
            (trust.known(&value) == u64::MAX).then_some(value.bits)
        })
    }
}
