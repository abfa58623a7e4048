//! Values known from elsewhere than the end of a thread: anchors, and operands of PTWRITE.

use super::super::graph::{AccessKind, NONE};
use super::super::lower::decode;
use super::super::{Anchor, AnchorPoint};
use super::frames::PRESERVED;
use super::{Builder, of_word};
use crate::bits::{Bits, mask};
use iced_x86::{Instruction, Mnemonic, OpKind, Register};
use rept_trace::{Address, Code, Event, EventKind, RegWord, ThreadTrace};

impl Builder<'_> {
    /// Applies the anchors just before the thread's next step.
    pub(super) fn anchors(&mut self, thread: usize) {
        let step = self.cursors[thread].step;
        while let Some((_, anchor)) = self.cursors[thread].anchored.pop_if(|(at, _)| *at <= step) {
            if anchor.at == AnchorPoint::Entry {
                if step > 0 {
                    continue;
                }
                self.graph.begins = true;
                // A stack that was overrun does not tell where it began, but so much (System V ABI,
                // AMD64 supplement, section 3.4.1).
                let aligned = Bits::new(mask(4), 0);
                let pointer = self.current(thread, RegWord::RSP);
                self.anchor(pointer, aligned, anchor.measured);
                if let Some(at) = self.initial_break {
                    let constant = Bits::constant(at.0);
                    self.end_of_heap = Some(self.graph.nodes.push(constant, NONE));
                }
            }
            for &(word, value) in &anchor.words {
                let node = self.current(thread, word);
                self.anchor(node, of_word(word, value), anchor.measured);
            }
        }
    }

    /// A node has this value, as a fact or as an assumption.
    fn anchor(&mut self, node: u32, value: Bits, measured: bool) {
        if measured {
            return self.learn_bits(node, value);
        }
        let constant = self.graph.nodes.push(value, NONE);
        self.pair(node, constant);
    }

    /// Applies the anchors of calls that are open at the end, innermost first.
    pub(super) fn open_calls(&mut self, anchors: &[Anchor]) {
        for thread in 0..self.cursors.len() {
            let id = self.cursors[thread].trace.thread;
            let mut open = self.cursors[thread].frames.len();
            for anchor in anchors.iter().filter(|anchor| anchor.thread == id) {
                let returns_to = match anchor.at {
                    AnchorPoint::OpenCall(returns_to) => returns_to,
                    AnchorPoint::Interrupted(at) => {
                        self.anchor_interrupted(thread, at, anchor);
                        continue;
                    }
                    AnchorPoint::Step(_) | AnchorPoint::Entry => continue,
                };
                let frames = &self.cursors[thread].frames[..open];
                let Some(index) = frames
                    .iter()
                    .rposition(|frame| frame.returns_to == returns_to)
                else {
                    continue;
                };
                open = index;
                let saved = frames[index].saved;
                for &(word, value) in &anchor.words {
                    if let Some(slot) = PRESERVED.iter().position(|&preserved| preserved == word) {
                        self.anchor(saved[slot], of_word(word, value), anchor.measured);
                    }
                }
            }
        }
    }

    /// Applies an anchor where an open signal handler interrupted the thread, the innermost first.
    fn anchor_interrupted(&mut self, thread: usize, at: Address, anchor: &Anchor) {
        let interrupted = &mut self.cursors[thread].interrupted;
        let Some(index) = interrupted.iter().rposition(|frame| frame.at == at) else {
            return;
        };
        let saved = interrupted[index].saved;
        interrupted.truncate(index);
        for &(word, value) in &anchor.words {
            if let Some(&node) = saved.get(usize::from(word.0)) {
                self.anchor(node, of_word(word, value), anchor.measured);
            }
        }
    }

    /// The operand of the PTWRITE that just ran is in the trace.
    pub(super) fn ptwrite(&mut self, thread: usize, instruction: &Instruction, operand: Bits) {
        let node = match instruction.op_kind(0) {
            OpKind::Register => {
                let register = instruction.op_register(0).full_register();
                let number = register as u16 - Register::RAX as u16;
                self.current(thread, RegWord::gpr(number))
            }
            _ => match self.graph.accesses.last() {
                Some(load) if load.kind == AccessKind::Load => load.node,
                _ => return,
            },
        };
        self.learn_bits(node, operand);
    }
}

/// The step of a PTWRITE and what is known of its operand, if the event names the instruction.
pub(super) fn written_out(thread: &ThreadTrace, code: &Code, event: &Event) -> Option<(u64, Bits)> {
    let EventKind::Ptwrite { ip, payload, size } = event.kind else {
        return None;
    };
    let is_it = |step: &u64| {
        thread.locate(*step).is_some_and(|(run, index)| {
            let block = code.block(thread.runs()[run].block);
            Some(block.address(index)) == ip && decode(block, index).mnemonic() == Mnemonic::Ptwrite
        })
    };
    let near = [Some(event.step), event.step.checked_sub(1)];
    let step = near.into_iter().flatten().find(is_it)?;
    Some((step, Bits::new(mask(u32::from(size) * 8), payload)))
}
