//! The stepping engine: one trap for each instruction.
//!
//! Each turn the scheduler picks a stopped thread; it is resumed for one instruction, and
//! the stop that follows tells whether that instruction ran. A thread that was resumed
//! onto a system call is not waited for: it may sleep until another thread wakes it.
//! Packets are switched on again only when a thread is seen to run in user mode, so that
//! whatever the kernel does at the end of a system call (restart, handler, death) costs
//! no special case.

use super::signals::{self, Disposition};
use super::{Attempt, Engine, OnProgress, State, Stop, TRAP_FLAG, program_registers};
use crate::error::Error;
use crate::instruction::{Instruction, Kind, Operand};
use crate::sys::{self, Resume, Wait};
use crate::truth::{Access, AccessKind};
use libc::user_regs_struct as Registers;
use std::ops::Range;
use std::rc::Rc;

/// The page of the obsolete fast system calls: fixed by the ABI.
const VSYSCALL: Range<u64> = 0xffff_ffff_ff60_0000..0xffff_ffff_ff60_1000;
/// Steps between two calls of the progress function.
const PROGRESS_STEPS: u64 = 1 << 12;
/// Turns between two looks for threads whose system call ended.
const POLL_TURNS: u64 = 64;
/// Looks at a system call before asking whether its thread sleeps.
const BRIEF_LOOKS: u32 = 50;
/// REP iterations from which on a breakpoint is cheaper than a trap each.
const REP_BREAKPOINT: u64 = 8;

impl Engine {
    /// Steps the program until it ends.
    ///
    /// # Errors
    /// Tracing fails, or the recording cannot be written.
    pub(crate) fn step_to_end(&mut self, progress: OnProgress<'_>) -> Result<(), Error> {
        let mut turn = 0u64;
        while !self.threads.is_empty() {
            turn += 1;
            if turn.is_multiple_of(POLL_TURNS) {
                self.collect()?;
            }
            match self.pick() {
                Some(tid) => self.forgive_gone(tid, Self::advance)?,
                None => self.wait_for_any()?,
            }
            if turn.is_multiple_of(PROGRESS_STEPS) {
                progress(self.recording.steps(), self.recording.threads());
            }
        }
        Ok(())
    }

    fn pick(&mut self) -> Option<i32> {
        let ready: Vec<(i32, u64)> = self
            .threads
            .iter()
            .filter(|(_, thread)| thread.state == State::Ready)
            .map(|(&tid, _)| (tid, self.recording.clock(tid)))
            .collect();
        let tid = self.scheduler.pick(&ready)?;
        if self.scheduler.one_core() {
            self.recording.takes_core(tid);
        }
        Some(tid)
    }

    // A thread can be killed at any moment, by a thread that left its system call: then
    // every request fails, and its end is the next thing to be reported.
    fn forgive_gone(
        &mut self,
        tid: i32,
        act: fn(&mut Self, i32) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match act(self, tid) {
            Err(error) if error.is_gone() => {
                if let Some(thread) = self.thread(tid) {
                    thread.state = State::Leaving;
                }
                Ok(())
            }
            other => other,
        }
    }

    fn advance(&mut self, tid: i32) -> Result<(), Error> {
        let stop = self.threads[&tid].stop;
        match stop {
            Stop::Clean => self.attempt(tid, 0),
            Stop::Signal(signal) => self.deliver(tid, signal),
        }
    }

    // The thread stands before the delivery of a signal.
    fn deliver(&mut self, tid: i32, signal: i32) -> Result<(), Error> {
        self.fault_or_interrupt(tid)?;
        let disposition = signals::disposition(self.pid, signal);
        match disposition {
            Disposition::Dies { core } => return self.dies(tid, signal, core),
            Disposition::Ignored | Disposition::Stops => return self.attempt(tid, signal),
            Disposition::Handler => {}
        }
        let thread = self.thread(tid).expect("a picked thread");
        thread.attempt = Some(Attempt {
            before: thread.registers,
            instruction: None,
            operands: Vec::new(),
            found: Vec::new(),
            to_handler: true,
            breakpoint: false,
            committed: false,
        });
        sys::resume(tid, Resume::Step, signal)?;
        self.await_stop(tid)
    }

    // Control left the program at the instruction that was about to run. After a system
    // call the program is not there yet, unless the instruction itself faulted.
    fn fault_or_interrupt(&mut self, tid: i32) -> Result<(), Error> {
        let faulted = sys::signal_info(tid)?.si_code > 0;
        let thread = &self.threads[&tid];
        let mut ip = thread.registers.rip;
        if let Some(attempt) = thread.attempt.as_ref().filter(|a| !a.to_handler) {
            // INT3 and INT n trap behind themselves, but the trace says that they did not run.
            if attempt
                .instruction
                .as_ref()
                .is_some_and(|i| i.kind == Kind::Interrupt)
            {
                ip = attempt.before.rip;
            }
        }
        let reached = faulted && !thread.in_kernel();
        self.recording.interrupted(tid, ip, reached);
        Ok(())
    }

    // Resumes the thread for one instruction, handing it `signal` (0: none), which has no handler.
    fn attempt(&mut self, tid: i32, signal: i32) -> Result<(), Error> {
        let before = self.threads[&tid].next_registers();
        let instruction = match VSYSCALL.contains(&before.rip) {
            true => None,
            false => self.code.get(tid, before.rip),
        };
        let (operands, found) = match &instruction {
            Some(instruction) if self.recording.wants_truth() => {
                self.operands(tid, instruction, &before)
            }
            _ => Default::default(),
        };
        let breakpoint = runs_free(tid, instruction.as_deref(), &before);
        let attempt = Attempt {
            before,
            instruction,
            operands,
            found,
            to_handler: false,
            breakpoint,
            committed: false,
        };
        let is_syscall = attempt.is_syscall();
        let thread = self.thread(tid).expect("a picked thread");
        thread.attempt = Some(attempt);
        let how = if breakpoint {
            Resume::Run
        } else {
            Resume::Step
        };
        if is_syscall {
            thread.state = State::Syscall;
            sys::resume(tid, how, signal)?;
            return self.await_syscall(tid);
        }
        sys::resume(tid, how, signal)?;
        self.await_stop(tid)
    }

    // What the instruction is about to touch, and the bytes that it will read.
    fn operands(
        &mut self,
        tid: i32,
        instruction: &Instruction,
        before: &Registers,
    ) -> (Vec<Operand>, Vec<Vec<u8>>) {
        let mut lanes = VectorLanes::new(tid);
        let operands = instruction.operands(before, |register, lane, bytes| {
            lanes.get(register, lane, bytes)
        });
        let found = self.read_operands(tid, &operands, |operand| operand.read);
        (operands, found)
    }

    fn read_operands(
        &mut self,
        tid: i32,
        operands: &[Operand],
        wanted: fn(&Operand) -> bool,
    ) -> Vec<Vec<u8>> {
        self.ranges.clear();
        let wanted = |operand: &&Operand| wanted(operand);
        let places: Vec<(usize, usize)> = operands
            .iter()
            .filter(wanted)
            .map(|operand| {
                (
                    self.ranges.push(operand.address, operand.length),
                    operand.length,
                )
            })
            .collect();
        if !self.ranges.is_empty() {
            self.ranges.read(tid);
        }
        places
            .iter()
            .map(|&(at, length)| self.ranges.get(at, length).to_vec())
            .collect()
    }

    fn await_stop(&mut self, tid: i32) -> Result<(), Error> {
        match sys::wait(tid, true)? {
            Some((_, wait)) => self.conclude(tid, wait),
            None => {
                self.ended(tid);
                Ok(())
            }
        }
    }

    // Most system calls end at once. One whose thread sleeps is left alone, unless there
    // is no other thread to run.
    fn await_syscall(&mut self, tid: i32) -> Result<(), Error> {
        let mut looks = 0;
        while self
            .threads
            .get(&tid)
            .is_some_and(|thread| thread.state == State::Syscall)
        {
            if let Some((_, wait)) = sys::wait(tid, false)? {
                self.conclude(tid, wait)?;
                continue;
            }
            looks += 1;
            if looks >= BRIEF_LOOKS && is_asleep(self.pid, tid) {
                return self.falls_asleep(tid);
            }
            std::thread::yield_now();
        }
        self.collect_woken()
    }

    fn falls_asleep(&mut self, tid: i32) -> Result<(), Error> {
        self.commit_syscall(tid)?;
        if let Some(thread) = self.thread(tid) {
            thread.asleep = true;
        }
        Ok(())
    }

    // A system call may have woken others: wait until they have left theirs, so that the
    // run depends on the program and the seed, not on the machine's load.
    fn collect_woken(&mut self) -> Result<(), Error> {
        for tid in self.in_state(State::Syscall) {
            while self
                .threads
                .get(&tid)
                .is_some_and(|thread| thread.state == State::Syscall)
            {
                match sys::wait(tid, false)? {
                    Some((_, wait)) => self.conclude(tid, wait)?,
                    None if is_asleep(self.pid, tid) => break,
                    None => std::thread::yield_now(),
                }
            }
        }
        Ok(())
    }

    pub(super) fn in_state(&self, state: State) -> Vec<i32> {
        let with = self
            .threads
            .iter()
            .filter(|(_, thread)| thread.state == state);
        with.map(|(&tid, _)| tid).collect()
    }

    // Reports of threads that had been left alone.
    pub(super) fn collect(&mut self) -> Result<(), Error> {
        while let Some((tid, wait)) = sys::wait(-1, false)? {
            self.conclude(tid, wait)?;
        }
        Ok(())
    }

    fn wait_for_any(&mut self) -> Result<(), Error> {
        match sys::wait(-1, true)? {
            Some((tid, wait)) => self.conclude(tid, wait),
            None => {
                self.threads.clear();
                Ok(())
            }
        }
    }

    /// Draws the conclusion from a stop or end of a thread.
    pub(super) fn conclude(&mut self, tid: i32, wait: Wait) -> Result<(), Error> {
        if !self.threads.contains_key(&tid) {
            // The end of a thread that `exec` removed, or the first stop of a new one.
            return Ok(());
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
        self.before_exit(tid)?;
        if let Some(thread) = self.thread(tid) {
            thread.state = State::Leaving;
        }
        sys::resume(tid, Resume::Run, 0)
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
            return self.after_syscall(tid, &attempt.before);
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
            .step(tid, instruction, &attempt.before, next, cost, accesses)?;
        if !instruction.leads_to(attempt.before.rip, next) {
            self.note("control went where no instruction leads (a restartable sequence?): see the step engine".into());
        }
        Ok(())
    }

    // The bytes that the instruction read and wrote.
    fn accesses(
        &mut self,
        tid: i32,
        attempt: &Attempt,
        instruction: &Instruction,
        after: &Registers,
    ) -> Vec<Access> {
        let mut operands = attempt.operands.clone();
        if instruction.repeats {
            operands
                .iter_mut()
                .for_each(|o| instruction.trim(o, &attempt.before, after.rcx));
        }
        let left = self.read_operands(tid, &operands, |operand| operand.write);
        let (mut found, mut left) = (attempt.found.iter(), left.into_iter());
        let mut accesses = Vec::with_capacity(operands.len());
        for (operand, whole) in operands.iter().zip(&attempt.operands) {
            if operand.read {
                let skipped = (operand.address - whole.address) as usize;
                let bytes = found.next().map_or(&[][..], Vec::as_slice);
                let bytes = bytes
                    .get(skipped..bytes.len().min(skipped + operand.length))
                    .unwrap_or(&[]);
                push_access(&mut accesses, operand, AccessKind::Read, bytes.to_vec());
            }
            if operand.write {
                push_access(
                    &mut accesses,
                    operand,
                    AccessKind::Write,
                    left.next().unwrap_or_default(),
                );
            }
        }
        accesses
    }

    // Mappings may have changed.
    fn after_syscall(&mut self, tid: i32, before: &Registers) -> Result<(), Error> {
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
            self.read_mappings(tid);
        }
        Ok(())
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

fn push_access(accesses: &mut Vec<Access>, operand: &Operand, kind: AccessKind, bytes: Vec<u8>) {
    if !bytes.is_empty() {
        accesses.push(Access {
            address: operand.address,
            kind,
            bytes,
        });
    }
}

// Some instructions are better run than stepped, up to a breakpoint behind them: long REP
// instructions, which trap in each iteration, and those that see the trap flag.
fn runs_free(tid: i32, instruction: Option<&Instruction>, before: &Registers) -> bool {
    instruction.is_some_and(|instruction| {
        let long = instruction.repeats && before.rcx >= REP_BREAKPOINT;
        let flags = matches!(instruction.kind, Kind::PushFlags | Kind::PopFlags);
        let behind = instruction.next(before.rip);
        (long || flags) && sys::breakpoint(tid, Some(behind)).is_ok()
    })
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
    match read_word(tid, top) {
        Some(image) => sys::write_word(tid, top, image & !TRAP_FLAG),
        None => Ok(()),
    }
}

fn read_word(tid: i32, at: u64) -> Option<u64> {
    let mut word = [0; 8];
    let got = sys::read(tid, at, &mut word);
    (got == word.len()).then(|| u64::from_le_bytes(word))
}

// Whether the kernel has put the thread to sleep (or stopped it for good).
fn is_asleep(pid: i32, tid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('S' | 'D' | 'I') | None)
}

/// Elements of a thread's vector registers, fetched when first asked for.
struct VectorLanes {
    tid: i32,
    state: Option<Vec<u8>>,
}

impl VectorLanes {
    fn new(tid: i32) -> VectorLanes {
        VectorLanes { tid, state: None }
    }

    fn get(&mut self, register: iced_x86::Register, lane: usize, bytes: usize) -> Option<u64> {
        if self.state.is_none() {
            self.state = sys::register_set(self.tid, crate::xstate::NT_X86_XSTATE).ok();
        }
        crate::xstate::lane(self.state.as_ref()?, register, lane, bytes)
    }
}
