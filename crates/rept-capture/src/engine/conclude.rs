//! What a stop tells: whether the attempted instruction ran, and what else happened.

use super::{Attempt, Engine, State, Stop, TRAP_FLAG, VSYSCALL, program_registers};
use crate::error::Error;
use crate::instruction::{Instruction, Kind};
use crate::maps;
use crate::sys::{self, Resume, Wait};
use crate::truth::Access;
use libc::user_regs_struct as Registers;
use std::rc::Rc;

impl Engine {
    /// Draws the conclusion from a stop or end of a thread.
    pub(super) fn conclude(&mut self, tid: i32, wait: Wait) -> Result<(), Error> {
        let Some(thread) = self.threads.get(&tid) else {
            // The end of a thread that `exec` removed, or the first stop of a new one.
            self.comes_early(tid, wait);
            return Ok(());
        };
        if thread.state == State::Running {
            return self.stopped_in_cache(tid, wait);
        }
        match wait {
            Wait::Exited(_) | Wait::Killed { .. } => {
                self.process_ended(tid, wait);
                Ok(())
            }
            Wait::Event { event, signal } => self.event(tid, event, signal),
            Wait::Signal(signal) => self.signalled(tid, signal),
            Wait::Syscall => self.signalled(tid, libc::SIGTRAP),
        }
    }

    fn event(&mut self, tid: i32, event: i32, signal: i32) -> Result<(), Error> {
        match event {
            libc::PTRACE_EVENT_CLONE => {
                self.cloned(tid)?;
                sys::resume(tid, Resume::Step, 0)
            }
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => {
                self.forked(tid, event)?;
                sys::resume(tid, Resume::Step, 0)
            }
            libc::PTRACE_EVENT_EXEC => self.exec(tid),
            libc::PTRACE_EVENT_EXIT => self.leaves(tid),
            libc::PTRACE_EVENT_STOP if signal != libc::SIGTRAP => {
                if let Some(thread) = self.thread(tid) {
                    thread.state = State::Halted;
                }
                sys::resume(tid, Resume::Listen, 0)
            }
            // An interruption that was asked for, or the end of a job control stop.
            _ => self.stopped_clean(tid),
        }
    }

    fn stopped_clean(&mut self, tid: i32) -> Result<(), Error> {
        let registers = program_registers(tid)?;
        let in_syscall = registers.orig_rax as i64 >= 0;
        if in_syscall && self.threads[&tid].tried_syscall() {
            return self.completed(tid, registers);
        }
        self.stands(tid, registers, Stop::Clean);
        Ok(())
    }

    pub(super) fn stands(&mut self, tid: i32, registers: Registers, stop: Stop) {
        let Some(thread) = self.thread(tid) else {
            return;
        };
        thread.registers = registers;
        thread.state = State::Ready;
        thread.stop = stop;
        if std::mem::take(&mut thread.asleep) {
            self.recording.wakes(tid);
        }
    }

    // `execve` succeeded: its system call ends in another program.
    fn exec(&mut self, tid: i32) -> Result<(), Error> {
        let former = sys::event_message(tid)? as i32;
        self.commit_syscall(former)?;
        self.replaced(tid)
    }

    // The thread has begun to exit; it will not run again.
    fn leaves(&mut self, tid: i32) -> Result<(), Error> {
        if sys::registers(tid)?.orig_rax as i64 >= 0 {
            self.commit_syscall(tid)?;
        }
        // Before anything else is concluded: others that leave with it must not wait for it.
        if let Some(thread) = self.thread(tid) {
            thread.state = State::Leaving;
        }
        self.before_exit(tid)?;
        sys::resume(tid, Resume::Run, 0)?;
        // Whoever joins it is woken while it leaves: wait, so that the run can be repeated.
        // The first thread's end is not reported before the process's.
        if tid != self.pid {
            self.await_stop(tid)?;
            self.collect_woken()?;
        }
        Ok(())
    }

    /// A thread is inside the system call that it was resumed for: the instruction ran.
    pub(super) fn commit_syscall(&mut self, tid: i32) -> Result<(), Error> {
        let Some(thread) = self.thread(tid).filter(|thread| thread.tried_syscall()) else {
            return Ok(());
        };
        let Some(attempt) = thread.attempt.as_mut().filter(|a| !a.committed) else {
            return Ok(());
        };
        attempt.committed = true;
        let attempt = attempt.clone();
        let instruction = attempt.instruction.clone().expect("a system call");
        let next = instruction.next(attempt.before.rip);
        thread.registers = in_kernel(&attempt.before, next);
        self.record(tid, &attempt, &instruction, next, Vec::new())?;
        self.recording.enters_kernel(tid);
        Ok(())
    }

    // A stop with a signal: the trap of stepping, or a signal about to be delivered.
    fn signalled(&mut self, tid: i32, signal: i32) -> Result<(), Error> {
        let registers = program_registers(tid)?;
        let Some(attempt) = self.threads[&tid].attempt.as_ref() else {
            self.stands(tid, registers, Stop::Signal(signal));
            return Ok(());
        };
        if attempt.breakpoint {
            sys::breakpoint(tid, None)?;
        }
        if signal == libc::SIGTRAP && is_step_trap(tid, attempt, &registers)? {
            return self.trapped(tid, registers);
        }
        // Not executed, unless it is a system call that a signal interrupted.
        if attempt.is_syscall() && registers.rip != attempt.before.rip {
            self.commit_syscall(tid)?;
        }
        self.stands(tid, registers, Stop::Signal(signal));
        Ok(())
    }

    fn trapped(&mut self, tid: i32, registers: Registers) -> Result<(), Error> {
        let attempt = self.threads[&tid]
            .attempt
            .as_ref()
            .expect("checked by the caller");
        if attempt.to_handler {
            self.stands(tid, registers, Stop::Clean);
            self.threads.get_mut(&tid).expect("present").attempt = None;
            return Ok(());
        }
        let iterates = attempt.instruction.as_ref().is_some_and(|i| i.repeats);
        if iterates && registers.rip == attempt.before.rip && registers.rcx != 0 {
            sys::resume(tid, Resume::Step, 0)?;
            return self.await_stop(tid);
        }
        self.completed(tid, registers)
    }

    // The attempted instruction ran to its end.
    fn completed(&mut self, tid: i32, after: Registers) -> Result<(), Error> {
        if self.threads[&tid].tried_syscall() {
            self.commit_syscall(tid)?;
        }
        let thread = self.thread(tid).expect("checked by the caller");
        let attempt = thread.attempt.take();
        self.stands(tid, after, Stop::Clean);
        let Some(attempt) = attempt else {
            return Ok(());
        };
        let Some(instruction) = attempt.instruction.clone() else {
            self.ran_unseen(tid, &attempt, &after);
            return Ok(());
        };
        // A new thread's first trap comes before its first instruction.
        let stood_still =
            after.rip == attempt.before.rip && !instruction.leads_to(after.rip, after.rip);
        if stood_still && !instruction.repeats {
            return Ok(());
        }
        if instruction.kind == Kind::PushFlags && !attempt.breakpoint {
            clear_pushed_trap_flag(tid, after.rsp)?;
        }
        if instruction.kind == Kind::Syscall {
            self.hide_mappings(tid, &attempt.before)?;
            self.hide_kind_of_list(tid, &attempt.before, after.rax)?;
            let result = self.answered(tid, &attempt.before, after.rax)?;
            if let Some(thread) = self.thread(tid) {
                thread.registers.rax = result;
            }
            return self.after_syscall(tid, &attempt.before, result);
        }
        if let Some(chance) = instruction.chance {
            self.answered_itself(tid, chance)?;
        }
        let accesses = self.accesses(tid, &attempt, &instruction, &after);
        self.record(tid, &attempt, &instruction, after.rip, accesses)
    }

    // Something ran for which there is no instruction.
    fn ran_unseen(&mut self, tid: i32, attempt: &Attempt, after: &Registers) {
        let at = attempt.before.rip;
        if VSYSCALL.contains(&at) {
            // The page cannot be executed: the kernel does the call's work in the fault, and
            // the trap comes after the instruction that the call returns to.
            self.recording.interrupted(tid, at, true);
            self.note("the vsyscall page was called: the trace misses the instruction after each such call".into());
        } else if after.rip != at {
            self.note(format!(
                "an instruction at {at:#x} ran that is not known: the trace misses it"
            ));
        }
    }

    fn record(
        &mut self,
        tid: i32,
        attempt: &Attempt,
        instruction: &Rc<Instruction>,
        next: u64,
        accesses: Vec<Access>,
    ) -> Result<(), Error> {
        let cost = self.scheduler.cost();
        self.recording
            .step(tid, instruction, &attempt.before, next, cost, accesses);
        if !instruction.leads_to(attempt.before.rip, next) {
            self.note("control went where no instruction leads (a restartable sequence?): see the step engine".into());
        }
        Ok(())
    }

    // Mappings may have changed.
    fn after_syscall(&mut self, tid: i32, before: &Registers, result: u64) -> Result<(), Error> {
        const MAP_FIXED: u64 = libc::MAP_FIXED as u64;
        const PROT_EXEC: u64 = libc::PROT_EXEC as u64;
        let (start, length) = (before.rdi, before.rsi);
        let touches_code = match before.rax as i64 {
            libc::SYS_mmap => {
                before.rdx & PROT_EXEC != 0
                    || before.r10 & MAP_FIXED != 0 && self.recording.is_executable(start, length)
            }
            libc::SYS_mprotect | libc::SYS_pkey_mprotect => {
                before.rdx & PROT_EXEC != 0 || self.recording.is_executable(start, length)
            }
            libc::SYS_munmap => self.recording.is_executable(start, length),
            libc::SYS_mremap | libc::SYS_shmat | libc::SYS_shmdt | libc::SYS_remap_file_pages => {
                true
            }
            _ => false,
        };
        if touches_code {
            self.read_mappings(tid)?;
            self.recording.comes_after(tid);
        }
        self.data_mapped(tid, before, result);
        Ok(())
    }

    // As the kernel tells perf (`perf record --data`): the whole area that new memory became part of.
    fn data_mapped(&mut self, tid: i32, before: &Registers, result: u64) {
        const LAST_ERROR: u64 = -4095i64 as u64;
        let at = match before.rax as i64 {
            libc::SYS_mmap if result < LAST_ERROR => result,
            libc::SYS_brk if result == before.rdi => result.wrapping_sub(1),
            _ => return,
        };
        let mappings = maps::read(self.pid);
        let mut holding = mappings.iter().filter(|m| m.start <= at && at < m.end);
        if let Some(mapping) = holding.next().filter(|mapping| !mapping.execute) {
            self.recording.data_mapped(tid, mapping);
            self.recording.comes_after(tid);
        }
    }
}

// How the kernel shows a thread that it runs on behalf of: SYSCALL saved the program
// counter and the flags, and there is no result yet.
fn in_kernel(before: &Registers, next: u64) -> Registers {
    Registers {
        rip: next,
        rcx: next,
        r11: before.eflags,
        orig_rax: before.rax,
        rax: -i64::from(libc::ENOSYS) as u64,
        ..*before
    }
}

// Only an instruction that stays where it is, or one that raises SIGTRAP itself, leaves a
// doubt whether the program received a signal of its own.
fn is_step_trap(tid: i32, attempt: &Attempt, after: &Registers) -> Result<bool, Error> {
    const SI_KERNEL: i32 = 0x80;
    let interrupts = attempt
        .instruction
        .as_ref()
        .is_none_or(|i| i.kind == Kind::Interrupt);
    if attempt.to_handler || interrupts || after.rip == attempt.before.rip {
        let code = sys::signal_info(tid)?.si_code;
        return Ok(code > 0 && code != SI_KERNEL);
    }
    Ok(true)
}

fn clear_pushed_trap_flag(tid: i32, top: u64) -> Result<(), Error> {
    match sys::read_word(tid, top) {
        Some(image) => sys::write_word(tid, top, image & !TRAP_FLAG),
        None => Ok(()),
    }
}
