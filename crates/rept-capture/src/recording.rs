//! What a run leaves behind, gathered step by step: PT streams, side band, truth.
//!
//! Engines say what happened; how they found out is their affair.

use crate::clock;
use crate::error::Error;
use crate::instruction::Instruction;
use crate::maps::{self, Mapping};
use crate::perfdata::{self, AuxArea, Setup, SideBand, Stamp};
use crate::stream::{self, Stream};
use crate::truth::{self, Access, WORDS};
use libc::user_regs_struct as Registers;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(crate) struct Recording {
    directory: PathBuf,
    buffer: usize,
    sample_period: Option<u64>,
    side_band: SideBand,
    truth: Option<truth::Writer>,
    threads: BTreeMap<i32, Lane>,
    executable: Vec<Mapping>,
    pid: u32,
    steps: u64,
    now: u64,
}

/// One thread's stream and clock.
#[derive(Debug)]
struct Lane {
    stream: Stream,
    clock: u64,
    steps: u64,
    // It left its core: packets begin again with a PSB+ group.
    switched_out: bool,
}

impl Recording {
    pub(crate) fn create(directory: &Path, buffer: usize, truth: bool) -> Result<Recording, Error> {
        let failed = |source| Error::io("create", directory, source);
        fs::create_dir_all(directory).map_err(failed)?;
        let truth = match truth {
            true => Some(truth::Writer::create(&directory.join("truth"))?),
            false => None,
        };
        Ok(Recording {
            directory: directory.to_owned(),
            buffer,
            sample_period: None,
            side_band: SideBand::default(),
            truth,
            threads: BTreeMap::new(),
            executable: Vec::new(),
            pid: 0,
            steps: 0,
            now: clock::EPOCH,
        })
    }

    /// Samples the registers of each thread every `period` steps.
    pub(crate) fn sample_registers(&mut self, period: u64) {
        self.sample_period = Some(period.max(1));
    }

    pub(crate) fn wants_truth(&self) -> bool {
        self.truth.is_some()
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads.len()
    }

    pub(crate) fn clock(&self, tid: i32) -> u64 {
        self.threads.get(&tid).map_or(self.now, |lane| lane.clock)
    }

    /// The process runs a new program, whose first thread is `pid`.
    pub(crate) fn program(&mut self, pid: i32) {
        self.pid = pid as u32;
        self.executable.clear();
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let stamp = self.stamp(pid);
        self.side_band
            .comm(stamp, name.trim_end_matches('\n'), true);
    }

    /// Executable mappings changed; those that are new go to the side band.
    pub(crate) fn mappings_changed(&mut self, tid: i32, mappings: &[Mapping]) {
        let stamp = self.stamp(tid);
        let executable: Vec<Mapping> = mappings.iter().filter(|m| m.execute).cloned().collect();
        for mapping in executable.iter().filter(|m| !self.executable.contains(m)) {
            let build_id = maps::build_id(mapping);
            self.side_band.mmap(stamp, mapping, build_id.as_deref());
        }
        self.executable = executable;
    }

    /// Whether `start..start + length` holds executable memory.
    pub(crate) fn is_executable(&self, start: u64, length: u64) -> bool {
        let end = start.saturating_add(length);
        self.executable
            .iter()
            .any(|m| m.start < end && start < m.end)
    }

    /// A thread begins; `parent` made it, unless it is the first.
    pub(crate) fn thread_begins(&mut self, tid: i32, parent: Option<i32>) {
        let clock = match parent {
            Some(parent) => self.clock(parent) + clock::CLONE_COST,
            None => self.now,
        };
        let lane = Lane {
            stream: Stream::new(self.buffer),
            clock,
            steps: 0,
            switched_out: true,
        };
        self.threads.insert(tid, lane);
        if let Some(parent) = parent {
            let stamp = self.stamp(tid);
            self.side_band.fork(stamp, parent as u32);
        }
        let stamp = self.stamp(tid);
        self.side_band.trace_start(stamp);
    }

    pub(crate) fn thread_ends(&mut self, tid: i32) {
        let stamp = self.stamp(tid);
        self.side_band.exit(stamp);
    }

    /// The thread was not on a core until now.
    pub(crate) fn wakes(&mut self, tid: i32) {
        let now = self.now;
        if let Some(lane) = self.threads.get_mut(&tid) {
            lane.clock = lane.clock.max(now);
            lane.switched_out = true;
        }
    }

    /// Time did not pass for the thread while others ran on its core.
    pub(crate) fn takes_core(&mut self, tid: i32) {
        let now = self.now;
        if let Some(lane) = self.threads.get_mut(&tid) {
            lane.clock = lane.clock.max(now);
        }
    }

    /// One instruction ran with `before`, in `cost` cycles, and led to `next_ip`.
    pub(crate) fn step(
        &mut self,
        tid: i32,
        instruction: &Instruction,
        before: &Registers,
        next_ip: u64,
        cost: u64,
        accesses: Vec<Access>,
    ) -> Result<(), Error> {
        self.sample(tid, before);
        let sequence = self.steps;
        self.steps += 1;
        let now = {
            let lane = self.packets_on(tid, before.rip);
            lane.clock += cost;
            lane.steps += 1;
            let flow = instruction.flow(before, next_ip);
            lane.stream.retire(flow, next_ip, lane.clock);
            lane.clock
        };
        self.now = self.now.max(now);
        if let Some(truth) = &mut self.truth {
            let step = truth::Step {
                sequence,
                ip: before.rip,
                length: instruction.length,
                words: words(before),
                accesses,
            };
            truth.step(tid as u32, &step)?;
        }
        Ok(())
    }

    fn sample(&mut self, tid: i32, before: &Registers) {
        let steps = self.threads.get(&tid).map_or(0, |lane| lane.steps);
        if self
            .sample_period
            .is_some_and(|period| steps.is_multiple_of(period))
        {
            let stamp = self.stamp(tid);
            self.side_band.sample(stamp, before);
        }
    }

    /// The instruction that just ran was a system call: packets stop.
    pub(crate) fn enters_kernel(&mut self, tid: i32) {
        if let Some(lane) = self.threads.get_mut(&tid) {
            lane.clock += 1;
            lane.stream.disable(lane.clock);
            lane.clock += clock::SYSCALL_COST;
        }
    }

    /// A signal or fault takes control at `ip`, which does not run. `reached` tells
    /// whether the program had come there: after a system call it has not.
    pub(crate) fn interrupted(&mut self, tid: i32, ip: u64, reached: bool) {
        if reached {
            self.packets_on(tid, ip);
        }
        if let Some(lane) = self
            .threads
            .get_mut(&tid)
            .filter(|lane| lane.stream.enabled())
        {
            lane.clock += 1;
            lane.stream.disable_at(ip, lane.clock);
            lane.clock += clock::SIGNAL_COST;
        }
    }

    fn packets_on(&mut self, tid: i32, ip: u64) -> &mut Lane {
        let buffer = self.buffer;
        let now = self.now;
        let lane = self.threads.entry(tid).or_insert_with(|| Lane {
            stream: Stream::new(buffer),
            clock: now,
            steps: 0,
            switched_out: true,
        });
        if !lane.stream.enabled() {
            match lane.switched_out {
                true => lane.stream.switch_in(ip, lane.clock),
                false => lane.stream.enable(ip, lane.clock),
            }
            lane.switched_out = false;
        }
        lane
    }

    fn stamp(&self, tid: i32) -> Stamp {
        Stamp {
            pid: self.pid,
            tid: tid as u32,
            tsc: self.clock(tid),
        }
    }

    /// Writes `perf.data` and closes `truth`; returns the bytes of both.
    pub(crate) fn finish(self) -> Result<u64, Error> {
        let areas: Vec<AuxArea<'_>> = self
            .threads
            .iter()
            .map(|(&tid, lane)| AuxArea {
                tid: tid as u32,
                written: lane.stream.ring().written(),
                halves: lane.stream.ring().halves(),
            })
            .collect();
        let end = self
            .threads
            .values()
            .map(|lane| lane.clock)
            .max()
            .unwrap_or(self.now)
            + 1;
        let path = self.directory.join("perf.data");
        let setup = Setup {
            pid: self.pid,
            psb_period_exponent: stream::psb_period_exponent(self.buffer),
            sample_period: self.sample_period,
        };
        let mut bytes = perfdata::write(&path, setup, self.side_band, &areas, end)?;
        if let Some(truth) = self.truth {
            bytes += truth.finish()?;
        }
        Ok(bytes)
    }
}

// In the order of `rept_trace::RegWord`.
fn words(r: &Registers) -> [u64; WORDS] {
    [
        r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11, r.r12,
        r.r13, r.r14, r.r15, r.eflags, r.fs_base, r.gs_base,
    ]
}
