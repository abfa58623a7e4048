use super::pauses::Pause;
use crate::instruction::{Instruction, Operand};
use libc::user_regs_struct as Registers;
use std::rc::Rc;

/// Kernel-internal results of a system call that is to be made again: ERESTARTSYS,
/// ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK (`include/linux/errno.h`).
const RESTARTS: [i64; 4] = [-512, -513, -514, RESTART_BLOCK];
const RESTART_BLOCK: i64 = -516;
const SYS_RESTART_SYSCALL: u64 = 219;
const SYSCALL_BYTES: u64 = 2;

#[derive(Debug)]
pub(super) struct Thread {
    pub(super) state: State,
    pub(super) stop: Stop,
    /// As of the last stop.
    pub(super) registers: Registers,
    /// What was tried when the thread was last resumed.
    pub(super) attempt: Option<Attempt>,
    /// It was seen to sleep in its system call.
    pub(super) asleep: bool,
    /// Its next instruction must not be run in the cache.
    pub(super) steps_next: bool,
    /// It came here by an indirect branch that found no block.
    pub(super) branched: bool,
    /// It has not been given `registers`, but still has those of the cache.
    pub(super) unwritten: bool,
    /// Address that its hardware watches.
    pub(super) watching: Option<u64>,
    /// When it was paused, and will be.
    pub(super) pause: Pause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Stopped, may go on.
    Ready,
    /// Resumed onto a system call, which may take long.
    Syscall,
    /// In the cache.
    Running,
    /// Stopped by job control.
    Halted,
    /// Past its last instruction; its end is yet to be reported.
    Leaving,
}

/// Why a ready thread is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Between two instructions.
    Clean,
    /// This signal is about to be delivered.
    Signal(i32),
}

/// An instruction that a thread was resumed for.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) before: Registers,
    /// `None` when there is no instruction at that address: it will fault.
    pub(super) instruction: Option<Rc<Instruction>>,
    pub(super) operands: Vec<Operand>,
    /// Bytes of the operands that are read, one after the other.
    pub(super) found: Vec<Vec<u8>>,
    /// A signal handler is entered instead.
    pub(super) to_handler: bool,
    /// Breakpoint 0 stands behind the instruction.
    pub(super) breakpoint: bool,
    /// A system call that is recorded, though it has not ended.
    pub(super) committed: bool,
}

impl Thread {
    pub(super) fn stopped(registers: Registers) -> Thread {
        Thread {
            state: State::Ready,
            stop: Stop::Clean,
            registers,
            attempt: None,
            asleep: false,
            steps_next: false,
            branched: false,
            unwritten: false,
            watching: None,
            pause: Pause::default(),
        }
    }

    /// The registers with which the next instruction runs: a system call that the kernel
    /// is about to make again is still ahead.
    pub(super) fn next_registers(&self) -> Registers {
        let mut registers = self.registers;
        if self.calls_again() {
            registers.rip -= SYSCALL_BYTES;
            registers.rax = match registers.rax as i64 {
                RESTART_BLOCK => SYS_RESTART_SYSCALL,
                _ => registers.orig_rax,
            };
        }
        registers
    }

    /// Whether the kernel is about to make a system call again, or, when a signal comes
    /// first, perhaps not.
    pub(super) fn calls_again(&self) -> bool {
        self.in_kernel() && RESTARTS.contains(&(self.registers.rax as i64))
    }

    /// Whether the thread is on its way out of a system call.
    pub(super) fn in_kernel(&self) -> bool {
        self.registers.orig_rax as i64 >= 0
    }

    pub(super) fn tried_syscall(&self) -> bool {
        let attempt = self.attempt.as_ref();
        attempt.is_some_and(|attempt| !attempt.to_handler && attempt.is_syscall())
    }
}

impl Attempt {
    pub(super) fn is_syscall(&self) -> bool {
        let kind = self
            .instruction
            .as_ref()
            .map(|instruction| instruction.kind);
        kind == Some(crate::instruction::Kind::Syscall)
    }
}
