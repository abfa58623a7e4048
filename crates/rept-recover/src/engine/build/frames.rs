//! The shadow stack of a thread: which calls are open, and the registers that are handed back when
//! one returns, when a jump returns from a call a second time (`setjmp`), or when a signal handler
//! returns. What should be equal becomes a pair.

use super::super::graph::{NONE, Pair, PairKind};
use super::{Builder, Cursor};
use rept_trace::{Address, RegWord};

/// Registers that a called function hands back as it found them (System V ABI), and rsp.
pub(super) const PRESERVED: [RegWord; 7] = [
    RegWord::RSP,
    RegWord::RBX,
    RegWord::RBP,
    RegWord::gpr(12),
    RegWord::gpr(13),
    RegWord::gpr(14),
    RegWord::gpr(15),
];

/// The nodes of the preserved registers.
pub(super) type Saved = [u32; PRESERVED.len()];

/// Calls that may be open between a call and its return before the search for it ends.
const MAX_UNMATCHED: usize = 64;
/// Open calls remembered a thread; older ones are forgotten, a deep recursion stays bounded.
const MAX_FRAMES: usize = 1 << 20;

/// A call that has not returned yet.
pub(super) struct Frame {
    pub(super) returns_to: Address,
    pub(super) saved: Saved,
    /// The activation of the function that was called.
    activation: u32,
}

/// A call that returned, and the activation that had made it.
#[derive(Clone, Copy)]
pub(super) struct Returned {
    caller: u32,
    saved: Saved,
}

/// A signal handler that has not returned yet: the registers it interrupted.
pub(super) struct Interrupted {
    pub(super) at: Address,
    /// Where a system call that it interrupted is made again.
    pub(super) again: Option<Address>,
    pub(super) saved: [u32; 17],
}

impl Cursor<'_> {
    fn new_activation(&mut self) -> u32 {
        self.activations += 1;
        self.activations
    }

    /// The activation below so many of the open calls: the one that made the next of them.
    fn activation(&self, depth: usize) -> u32 {
        match depth.checked_sub(1) {
            Some(index) => self.frames[index].activation,
            None => self.outermost,
        }
    }

    /// Number of open calls around an activation; `None` when it is over.
    fn depth_of(&self, activation: u32) -> Option<usize> {
        if activation == self.outermost {
            return Some(0);
        }
        let frames = &self.frames;
        // Activations ascend from the outermost frame on.
        let index = frames.binary_search_by_key(&activation, |frame| frame.activation);
        index.ok().map(|index| index + 1)
    }

    /// Nothing is known any more of the calls that are open.
    pub(super) fn lose_frames(&mut self) {
        self.frames.clear();
        self.interrupted.clear();
        self.outermost = self.new_activation();
    }
}

impl Builder<'_> {
    pub(super) fn call(&mut self, thread: usize, saved: Saved, returns_to: Address) {
        let cursor = &mut self.cursors[thread];
        if cursor.frames.len() == MAX_FRAMES {
            let forgotten = cursor.frames.drain(..MAX_FRAMES / 2).next_back();
            if let Some(last) = forgotten {
                cursor.outermost = last.activation;
            }
        }
        let activation = cursor.new_activation();
        cursor.frames.push(Frame {
            returns_to,
            saved,
            activation,
        });
    }

    /// A return to where an open call said: the callee handed the preserved registers back.
    pub(super) fn returned(&mut self, thread: usize, next: Option<Address>) {
        let Some(next) = next else { return };
        let cursor = &mut self.cursors[thread];
        let recent = cursor.frames.len().saturating_sub(MAX_UNMATCHED);
        let Some(index) = cursor.frames[recent..]
            .iter()
            .rposition(|frame| frame.returns_to == next)
        else {
            if cursor.frames.is_empty() {
                cursor.outermost = cursor.new_activation();
            }
            return;
        };
        let saved = cursor.frames[recent + index].saved;
        cursor.frames.truncate(recent + index);
        let caller = cursor.activation(recent + index);
        cursor.returned.insert(next, Returned { caller, saved });
        self.hand_back(thread, saved);
    }

    /// A jump out of calls that are open, to where a call returned to that their caller, or one of
    /// its callers, had made before: `longjmp` hands the registers back that `setjmp` was called with.
    pub(super) fn jumped(&mut self, thread: usize, next: Option<Address>) {
        let cursor = &mut self.cursors[thread];
        let Some(&Returned { caller, saved }) = next.and_then(|next| cursor.returned.get(&next))
        else {
            return;
        };
        // Within one activation a jump to behind a call is an ordinary one.
        if let Some(depth) = cursor.depth_of(caller)
            && depth < cursor.frames.len()
        {
            cursor.frames.truncate(depth);
            self.hand_back(thread, saved);
        }
    }

    fn hand_back(&mut self, thread: usize, saved: Saved) {
        for (word, before) in PRESERVED.into_iter().zip(saved) {
            let after = self.current(thread, word);
            self.pair(before, after);
        }
    }

    /// A handler returned to where it was called: if it left the saved context alone, all registers are as before.
    pub(super) fn resume(&mut self, thread: usize, ip: Address) {
        let interrupted = &mut self.cursors[thread].interrupted;
        let resumes = |frame: &Interrupted| frame.at == ip || frame.again == Some(ip);
        let Some(index) = interrupted.iter().rposition(resumes) else {
            return;
        };
        let Interrupted { at, saved, .. } = interrupted[index];
        interrupted.truncate(index);
        // Made again, it has its number in rax, not its result.
        let kept = |word: usize| at == ip || word != usize::from(RegWord::RAX.0);
        for (word, &node) in saved.iter().enumerate().filter(|&(word, _)| kept(word)) {
            let now = self.current(thread, RegWord(word as u16));
            self.pair(node, now);
        }
    }

    /// Before a step that takes rsp from rbp: if nothing in the window made the frame that it leaves, the code of
    /// the function says how far below rbp its rsp is.
    pub(super) fn leave_old_frame(&mut self, thread: usize, effect: u32, at: Address) {
        let Some(sizes) = self
            .frame_sizes
            .filter(|_| self.cursors[thread].frames.is_empty())
        else {
            return;
        };
        let effect = &self.lowered.effects[effect as usize];
        let sets = effect.writes.iter().any(|&(word, _)| word == RegWord::RSP);
        let leaves =
            sets && effect.reads.contains(&RegWord::RBP) && !effect.reads.contains(&RegWord::RSP);
        if let Some(more) = leaves.then(|| sizes.frame_size(at)).flatten() {
            let nodes = [RegWord::RSP, RegWord::RBP].map(|word| self.current(thread, word));
            self.graph.add_pair(Pair {
                nodes,
                more,
                kind: PairKind::Convention,
                refuted: false,
            });
        }
    }

    /// Two nodes are equal if code keeps to the ABI.
    pub(super) fn pair(&mut self, a: u32, b: u32) {
        debug_assert!(a != NONE && b != NONE, "nodes that are there");
        if a != b {
            self.graph.pair(a, b);
        }
    }
}
