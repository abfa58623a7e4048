//! The fast engine when every value counts: the copied code logs registers and accesses of
//! each instruction, threads take turns, and time is virtual, so that a recording is what
//! the stepping engine would have made of the same run, truth included.
//!
//! A thread runs until its log is full, or until it must be stepped; then its log is read,
//! and each step told to the recording as if it had been stepped. System calls are always
//! stepped. A turn is some hundred steps where the stepping engine's is one: threads are
//! interleaved more coarsely, and virtual time passes for all of them in each turn
//! ([`Recording::in_turns`](crate::recording::Recording::in_turns)).

use super::operands::gather;
use super::{Engine, OnProgress, State};
use crate::cache::area::{LOG_AT, RECORD_AT, RING_AT};
use crate::cache::{FLAGS, FULL_WINDOW, LoggedStep, REGISTERS_AT, Span};
use crate::error::Error;
use crate::instruction::Operand;
use crate::maps::Mapping;
use crate::sys::Shared;
use crate::truth::Access;
use libc::user_regs_struct as Registers;
use std::collections::BTreeMap;
use std::ops::Range;

/// Where a log is full.
const FULL_AT: usize = (FULL_WINDOW as usize) << 16;
/// Size of a thread's area: the log, and the window in which the last block's may end.
pub(super) const AREA_BYTES: usize = FULL_AT + (2 << 16);
/// Bytes of a log in a turn, when several threads can run: some hundred steps.
const TURN_BYTES: usize = 64 << 10;
/// Turns between two calls of the progress function.
const PROGRESS_TURNS: u64 = 1 << 6;

/// The threads' areas.
#[derive(Debug, Default)]
pub(super) struct Exact {
    areas: BTreeMap<i32, Shared>,
    free: Vec<Shared>,
    blocks: u32,
}

impl Exact {
    pub(super) fn area(&self, tid: i32) -> Option<&Shared> {
        self.areas.get(&tid)
    }

    /// All areas.
    pub(super) fn areas(&self) -> impl Iterator<Item = &Shared> {
        self.areas.values().chain(&self.free)
    }

    pub(super) fn free_area(&mut self) -> Option<Shared> {
        self.free.pop()
    }

    pub(super) fn begin(&mut self, tid: i32, area: Shared) {
        self.areas.insert(tid, area);
    }

    /// The thread has ended; another may have its area.
    pub(super) fn ended(&mut self, tid: i32) {
        self.free.extend(self.areas.remove(&tid));
    }

    /// A number for a block.
    pub(super) fn block(&mut self, id: u32) -> u32 {
        match id {
            0 => {
                self.blocks += 1;
                self.blocks
            }
            id => id,
        }
    }

    /// The thread is about to run, until it has written so much.
    pub(super) fn rewind(&self, tid: i32, alone: bool) {
        let begins = if alone { RING_AT } else { FULL_AT - TURN_BYTES };
        if let Some(area) = self.area(tid) {
            area.set_quad(LOG_AT as usize, area.remote + begins as u64);
            area.set_quad(BEGAN_AT, begins as u64);
        }
    }

    /// The block that the thread entered last; none since it was told.
    pub(super) fn last_block(&self, tid: i32) -> Option<u32> {
        let area = self.area(tid)?;
        let end = area.quad(LOG_AT as usize) - area.remote;
        let at = area.quad(RECORD_AT as usize).checked_sub(area.remote)?;
        let written = area.quad(BEGAN_AT)..end;
        written.contains(&at).then(|| area.word(at as usize))
    }

    /// What the thread has written since.
    fn written(&self, tid: i32) -> Vec<u8> {
        let Some(area) = self.area(tid) else {
            return Vec::new();
        };
        let begins = area.quad(BEGAN_AT) as usize;
        let end = (area.quad(LOG_AT as usize) - area.remote) as usize;
        area.read(begins, end.saturating_sub(begins))
    }
}

impl Engine {
    /// Runs the program, one thread at a time, until it ends, or until the cache was taken
    /// out of it.
    ///
    /// # Errors
    /// Tracing fails, or the recording cannot be written.
    pub(super) fn run_in_turns(&mut self, progress: OnProgress<'_>) -> Result<(), Error> {
        let mut turns = 0u64;
        while self.fast.is_some() && !self.threads.is_empty() {
            turns += 1;
            if self.answer_requests()?.is_break() || self.is_enough()? {
                break;
            }
            self.collect()?;
            match self.pick() {
                Some(tid) => self.forgive_gone(tid, Self::take_turn)?,
                None => self.wait_for_any()?,
            }
            if turns.is_multiple_of(PROGRESS_TURNS) {
                progress(self.recording.steps(), self.recording.threads());
            }
        }
        Ok(())
    }

    fn take_turn(&mut self, tid: i32) -> Result<(), Error> {
        self.go_on(tid)?;
        while self
            .threads
            .get(&tid)
            .is_some_and(|thread| thread.state == State::Running)
        {
            self.await_stop(tid)?;
        }
        Ok(())
    }

    /// Tells the recording what the thread ran in the cache, up to the instruction at
    /// `next_ip`; of its last block only the first `ran` instructions.
    ///
    /// # Errors
    /// The truth cannot be written.
    pub(super) fn tell_logged(
        &mut self,
        tid: i32,
        ran: Option<u8>,
        next_ip: u64,
    ) -> Result<(), Error> {
        let Engine {
            fast: Some(fast),
            recording,
            scheduler,
            threads,
            mappings,
            ..
        } = self
        else {
            return Ok(());
        };
        let Some(exact) = &fast.exact else {
            return Ok(());
        };
        let log = exact.written(tid);
        exact.rewind(tid, true);
        let mut reader = Reader {
            registers: threads[&tid].registers,
            unreadable: unreadable(mappings),
        };
        let mut rest = &log[..];
        while let Some((steps, bytes)) = number(rest).and_then(|id| fast.cache.logged(id)) {
            let Some((record, behind)) = rest.split_at_checked(bytes) else {
                break;
            };
            let following = number(behind).and_then(|id| fast.cache.logged(id));
            let (ran, next_ip) = match following {
                Some((next, _)) => (steps.len(), next.first().map_or(next_ip, |step| step.ip)),
                None => (ran.map_or(steps.len(), usize::from), next_ip),
            };
            reader.enter(record);
            for (index, step) in steps[..ran.min(steps.len())].iter().enumerate() {
                let next_ip = match steps.get(index + 1) {
                    Some(next) if index + 1 < ran => next.ip,
                    _ => next_ip,
                };
                let (before, accesses) = reader.step(record, step);
                let (instruction, cost) = (&step.instruction, scheduler.cost());
                recording.step(tid, instruction, &before, next_ip, cost, accesses);
            }
            rest = behind;
        }
        Ok(())
    }
}

/// In the area: where in it the log began.
const BEGAN_AT: usize = 0x90;

fn number(log: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(log.first_chunk().copied()?))
}

// The kernel's clock pages cannot be read from outside: see `docs/truth-format.md`.
fn unreadable(mappings: &[Mapping]) -> Vec<Range<u64>> {
    let clocks = mappings.iter().filter(|m| m.name.starts_with("[vvar"));
    clocks.map(|m| m.start..m.end).collect()
}

/// Reads the log of a thread, step by step.
struct Reader {
    // Before the next step, but for the address.
    registers: Registers,
    unreadable: Vec<Range<u64>>,
}

impl Reader {
    // A block begins: its log has all registers.
    fn enter(&mut self, record: &[u8]) {
        for number in 0..=FLAGS {
            let at = REGISTERS_AT + usize::from(number) * 8;
            self.set(number, quad(record, at));
        }
    }

    // The registers before a step, and what it accessed.
    fn step(&mut self, record: &[u8], step: &LoggedStep) -> (Registers, Vec<Access>) {
        let before = Registers {
            rip: step.ip,
            ..self.registers
        };
        let accesses = match step.reads.is_empty() && step.writes.is_empty() {
            true => Vec::new(),
            false => self.accesses(record, step, &before),
        };
        for &(number, at) in &step.left {
            self.set(number, quad(record, at as usize));
        }
        (before, accesses)
    }

    fn accesses(&self, record: &[u8], step: &LoggedStep, before: &Registers) -> Vec<Access> {
        // Vector registers are asked for by gathers and masked operands only, which are stepped.
        let operands = step.instruction.operands(before, |_, _, _| None);
        let bytes = |spans: &[Span], operands: &mut dyn Iterator<Item = &Operand>| {
            let both = spans.iter().zip(operands);
            both.map(|(&(at, length), operand)| {
                let hidden = self.unreadable.iter().any(|r| r.contains(&operand.address));
                let length = if hidden { 0 } else { length as usize };
                record[at as usize..at as usize + length].to_vec()
            })
            .collect::<Vec<_>>()
        };
        let found = bytes(&step.reads, &mut operands.iter().filter(|o| o.read));
        let left = bytes(&step.writes, &mut operands.iter().filter(|o| o.write));
        gather(&operands, &operands, &found, left)
    }

    fn set(&mut self, number: u8, value: u64) {
        if let Some(place) = register(&mut self.registers, number) {
            *place = value;
        }
    }
}

/// One of the general-purpose registers, or behind them the flags.
pub(super) fn register(r: &mut Registers, number: u8) -> Option<&mut u64> {
    let places = [
        &mut r.rax,
        &mut r.rcx,
        &mut r.rdx,
        &mut r.rbx,
        &mut r.rsp,
        &mut r.rbp,
        &mut r.rsi,
        &mut r.rdi,
        &mut r.r8,
        &mut r.r9,
        &mut r.r10,
        &mut r.r11,
        &mut r.r12,
        &mut r.r13,
        &mut r.r14,
        &mut r.r15,
        &mut r.eflags,
    ];
    places.into_iter().nth(usize::from(number))
}

fn quad(record: &[u8], at: usize) -> u64 {
    let bytes = record.get(at..).and_then(|rest| rest.first_chunk());
    bytes.copied().map_or(0, u64::from_le_bytes)
}
