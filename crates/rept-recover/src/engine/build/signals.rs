//! Signal handlers: what they interrupt, and what they begin with.

use super::super::graph::SignalFrame;
use super::Builder;
use super::frames::Interrupted;
use rept_trace::{Address, RegWord};

/// Words that are not of the extended state that a signal frame keeps.
fn is_kept(word: RegWord) -> bool {
    let general = (0..16).map(RegWord::gpr).any(|general| general == word);
    let others = [
        RegWord::FLAGS,
        RegWord::FS_BASE,
        RegWord::GS_BASE,
        RegWord::XCR0,
    ];
    general || others.contains(&word)
}

impl Builder<'_> {
    /// A handler begins, and the thread was interrupted at an address: the kernel writes a frame, and
    /// some registers.
    pub(super) fn enter_handler(&mut self, thread: usize, at: Address, again: Option<Address>) {
        let barrier = self.barrier();
        let saved = std::array::from_fn(|word| self.current(thread, RegWord(word as u16)));
        let interrupted = Interrupted { at, again, saved };
        self.cursors[thread].interrupted.push(interrupted);
        let set = [
            RegWord::RAX,
            RegWord::RDX,
            RegWord::RSP,
            RegWord::RSI,
            RegWord::RDI,
            RegWord::FLAGS,
        ];
        let [result, context, stack_pointer, information, number, flags] = set.map(|word| {
            self.forget(thread, word);
            self.current(thread, word)
        });
        // The handler begins with a new extended state (Linux: `fpu__clear_user_states`).
        self.forget_all_but(thread, is_kept);
        let Some(access) = barrier else { return };
        // What is learned of any of them brings the step before the handler back.
        let before = self.graph.accesses[access as usize].step;
        let general = &saved[..16];
        for &node in [context, stack_pointer, information].iter().chain(general) {
            self.add_use(node, before);
        }
        self.graph.signal_frames.push(SignalFrame {
            access,
            stack_pointer,
            number,
            information,
            context,
            result,
            flags,
            saved,
        });
    }
}
