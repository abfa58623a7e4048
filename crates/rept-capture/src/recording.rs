//! What a run leaves behind, gathered step by step: PT streams, side band, truth.
//!
//! Engines say what happened; how they found out is their affair.

use crate::clock;
use crate::error::Error;
use crate::instruction::Instruction;
use crate::journal::Journal;
use crate::maps::{self, Mapping};
use crate::perfdata::{self, AuxArea, Owner, Setup, SideBand, Stamp};
use crate::schedule::Timing;
use crate::stream::{self, Stream};
use crate::sys;
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
    per_cpu: bool,
    // Threads are told in long turns, in the order in which these really ran.
    in_turns: bool,
    timing: Timing,
    side_band: SideBand,
    truth: Option<truth::Writer>,
    threads: BTreeMap<i32, Lane>,
    // By thread, or by core.
    streams: BTreeMap<u32, Stream>,
    // Which thread each shared core runs.
    running: BTreeMap<u32, i32>,
    executable: Vec<Mapping>,
    pid: u32,
    steps: u64,
    now: u64,
    notes: Vec<String>,
    /// The threads' logs, when the fast engine records: then time is the processor's own.
    pub(crate) journal: Option<Journal>,
}

/// One thread's place and time.
#[derive(Debug)]
struct Lane {
    // The core that runs it, where cores are shared.
    cpu: Option<u32>,
    clock: u64,
    steps: u64,
    // Address of the step that comes next.
    next_ip: u64,
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
            per_cpu: false,
            in_turns: false,
            timing: Timing::default(),
            side_band: SideBand::default(),
            truth,
            threads: BTreeMap::new(),
            streams: BTreeMap::new(),
            running: BTreeMap::new(),
            executable: Vec::new(),
            pid: 0,
            steps: 0,
            now: clock::EPOCH,
            notes: Vec::new(),
            journal: None,
        })
    }

    /// Samples the registers of each thread every `period` steps.
    pub(crate) fn sample_registers(&mut self, period: u64) {
        self.sample_period = Some(period.max(1));
    }

    /// Writes one stream for each core, as perf does when it records a whole machine.
    pub(crate) fn per_cpu(&mut self) {
        self.per_cpu = true;
    }

    /// Each turn begins when all that was told before is over: what one thread did in its turn
    /// the next one saw, however long both were.
    pub(crate) fn in_turns(&mut self) {
        self.in_turns = true;
    }

    /// Writes these timing packets.
    pub(crate) fn timing(&mut self, timing: Timing) {
        self.timing = timing;
    }

    /// Steps are logged in real time, and become packets at the end.
    pub(crate) fn log_in_real_time(&mut self) {
        self.side_band.rate = clock::Rate::of(sys::time_stamp_rate());
        self.journal = Some(Journal::new(self.buffer));
        self.timing = Timing::Boundaries;
    }

    pub(crate) fn wants_truth(&self) -> bool {
        self.truth.is_some()
    }

    /// Steps so far; of the fast engine, blocks of them.
    pub(crate) fn steps(&self) -> u64 {
        self.steps + self.journal.as_ref().map_or(0, Journal::written)
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads.len()
    }

    pub(crate) fn clock(&self, tid: i32) -> u64 {
        if self.journal.is_some() {
            return sys::time_stamp();
        }
        self.threads.get(&tid).map_or(self.now, |lane| lane.clock)
    }

    // The time at which the thread does what is told of it next.
    fn moment(&self, tid: i32) -> u64 {
        match self.in_turns {
            true => self.clock(tid).max(self.now),
            false => self.clock(tid),
        }
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
        let mut stamp = self.stamp(tid);
        if self.journal.is_none() && self.steps == 0 {
            // What is there at the starting point is there for all threads, of which some have
            // clocks behind this one's.
            stamp.tsc = self.now;
        } else if !self.executable.is_empty() {
            stamp = self.stamp_in_kernel(tid);
        }
        let executable: Vec<Mapping> = mappings.iter().filter(|m| m.execute).cloned().collect();
        for mapping in executable.iter().filter(|m| !self.executable.contains(m)) {
            let build_id = maps::build_id(mapping);
            self.side_band.mmap(stamp, mapping, build_id.as_deref());
        }
        self.executable = executable;
    }

    /// The system call that `tid` just made gave the process memory that is not executable.
    pub(crate) fn data_mapped(&mut self, tid: i32, mapping: &Mapping) {
        let stamp = self.stamp_in_kernel(tid);
        self.side_band.mmap(stamp, mapping, None);
    }

    // The kernel did it in the midst of the system call: clearly before what runs next, whose time is
    // known to a tick or so.
    fn stamp_in_kernel(&self, tid: i32) -> Stamp {
        let mut stamp = self.stamp(tid);
        if self.journal.is_none() {
            stamp.tsc = stamp.tsc.saturating_sub(clock::SYSCALL_COST / 2);
        }
        stamp
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
            Some(parent) => self.moment(parent) + clock::CLONE_COST,
            None => self.now,
        };
        self.threads.insert(tid, Lane::new(clock));
        if let Some(parent) = parent {
            let stamp = self.stamp(tid);
            self.side_band.fork(stamp, parent as u32);
        }
        if !self.per_cpu {
            let stamp = self.stamp(tid);
            self.side_band.trace_start(stamp);
        }
    }

    pub(crate) fn thread_ends(&mut self, tid: i32) {
        let stamp = self.stamp(tid);
        self.side_band.exit(stamp);
        if let Some(journal) = &mut self.journal {
            journal.convert(tid);
        }
    }

    /// Turns what was logged into packets, when that is how steps were recorded; tells how
    /// many words of the logs were overwritten.
    pub(crate) fn convert(&mut self) -> u64 {
        let Some(mut journal) = self.journal.take() else {
            return 0;
        };
        journal.convert_all();
        self.now = sys::time_stamp();
        let lost = journal.lost();
        for (tid, stream, steps) in journal.finish() {
            self.steps += steps;
            self.streams.insert(tid as u32, stream);
        }
        lost
    }

    /// The thread was not on a core until now.
    pub(crate) fn wakes(&mut self, tid: i32) {
        let now = self.now;
        if let Some(lane) = self.threads.get_mut(&tid) {
            lane.clock = lane.clock.max(now);
            lane.switched_out = true;
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
    ) {
        if let Some(journal) = &mut self.journal {
            return journal.step(tid, instruction, before, next_ip);
        }
        self.sample(tid, before);
        let sequence = self.steps;
        self.steps += 1;
        let (lane, stream) = self.packets_on(tid, before.rip);
        lane.clock += cost;
        lane.steps += 1;
        lane.next_ip = next_ip;
        stream.retire(instruction.flow(before, next_ip), next_ip, lane.clock);
        let now = lane.clock;
        self.now = self.now.max(now);
        if let Some(truth) = &mut self.truth {
            let step = truth::Step {
                sequence,
                ip: before.rip,
                length: instruction.length,
                words: words(before),
                accesses,
            };
            let written = truth.step(tid as u32, &step);
            if let Err(error) = written {
                self.gives_up_truth(&error);
            }
        }
    }

    // A truth that is not whole would be taken for another run's: there is none. The run, and
    // all else that is recorded of it, goes on.
    fn gives_up_truth(&mut self, error: &Error) {
        self.truth = None;
        // Left behind, it is refused by readers, as it has no end.
        let _ = fs::remove_file(self.directory.join("truth"));
        self.notes.push(format!("there is no truth: {error}"));
    }

    /// Whether the truth was in the way of the file that this error tells of: then it is given
    /// up, and the file has a second try.
    pub(crate) fn makes_room(&mut self, error: &Error) -> bool {
        let gives = self.truth.is_some() && error.is_disk_full();
        if gives {
            self.gives_up_truth(error);
        }
        gives
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

    /// The thread's next steps ran after what was told of the process last.
    pub(crate) fn comes_after(&mut self, tid: i32) {
        if let Some(journal) = &mut self.journal {
            journal.time(tid);
        }
    }

    /// The instruction that just ran was a system call: packets stop.
    pub(crate) fn enters_kernel(&mut self, tid: i32) {
        if let Some(journal) = &mut self.journal {
            return journal.enters_kernel(tid);
        }
        let (lane, stream) = self.lane(tid);
        lane.clock += 1;
        stream.disable(lane.clock);
        lane.clock += clock::SYSCALL_COST;
        if self.in_turns {
            // What the kernel did is over before another thread's turn.
            self.now = self.moment(tid);
        }
    }

    /// A signal or fault takes control at `ip`, which does not run. `reached` tells
    /// whether the program had come there: after a system call it has not.
    pub(crate) fn interrupted(&mut self, tid: i32, ip: u64, reached: bool) {
        if let Some(journal) = &mut self.journal {
            return journal.interrupted(tid, ip, reached);
        }
        if reached {
            self.packets_on(tid, ip);
        }
        let (lane, stream) = self.lane(tid);
        if stream.enabled() && !lane.switched_out {
            lane.clock += 1;
            stream.disable_at(ip, lane.clock);
            lane.clock += clock::SIGNAL_COST;
        }
    }

    fn packets_on(&mut self, tid: i32, ip: u64) -> (&mut Lane, &mut Stream) {
        let moment = self.moment(tid);
        let (lane, stream) = self.lane(tid);
        lane.clock = moment;
        if !stream.enabled() {
            match lane.switched_out {
                true => stream.switch_in(ip, lane.clock),
                false => stream.enable(ip, lane.clock),
            }
            lane.switched_out = false;
        }
        (lane, stream)
    }

    fn place(&mut self, tid: i32) -> &mut Lane {
        let now = self.now;
        self.threads.entry(tid).or_insert_with(|| Lane::new(now))
    }

    // A thread and the stream that its packets go to.
    fn lane(&mut self, tid: i32) -> (&mut Lane, &mut Stream) {
        let (now, buffer, timing) = (self.now, self.buffer, self.timing);
        let lane = self.threads.entry(tid).or_insert_with(|| Lane::new(now));
        let key = match lane.cpu {
            Some(cpu) if self.per_cpu => cpu,
            _ => tid as u32,
        };
        let stream = self
            .streams
            .entry(key)
            .or_insert_with(|| Stream::new(buffer, timing));
        (lane, stream)
    }

    /// The thread runs on this core from now on; false when it did already.
    pub(crate) fn runs_on(&mut self, tid: i32, cpu: u32) -> bool {
        let before = self.running.get(&cpu).copied();
        if before == Some(tid) {
            return false;
        }
        if let Some(elsewhere) = self.threads.get(&tid).and_then(|lane| lane.cpu) {
            self.switched_out(tid, elsewhere, 0);
        }
        if let Some(before) = before {
            self.switched_out(before, cpu, tid as u32);
        }
        let (now, is_new) = (self.now, !self.streams.contains_key(&cpu));
        let lane = self.place(tid);
        lane.cpu = Some(cpu);
        lane.switched_out = true;
        lane.clock = lane.clock.max(now) + clock::SWITCH_COST / 2;
        if before.is_none() {
            self.leaves_idle(tid);
        }
        self.switch_record(tid, before.unwrap_or(0) as u32, false);
        if self.per_cpu && is_new {
            let stamp = self.stamp(tid);
            self.side_band.trace_start(stamp);
        }
        self.place(tid).clock += clock::SWITCH_COST / 2;
        self.running.insert(cpu, tid);
        true
    }

    // The thread leaves its core, where `next` (0: nobody) comes after it.
    fn switched_out(&mut self, tid: i32, cpu: u32, next: u32) {
        let (lane, stream) = self.lane(tid);
        if stream.enabled() {
            lane.clock += 1;
            stream.disable_at(lane.next_ip, lane.clock);
        }
        lane.clock += clock::SWITCH_COST / 2;
        let left_at = lane.clock;
        self.switch_record(tid, next, true);
        self.now = self.now.max(left_at);
        let lane = self.place(tid);
        lane.switched_out = true;
        lane.cpu = None;
        self.running.remove(&cpu);
    }

    // A core that did nothing leaves that, which has no process, to the thread.
    fn leaves_idle(&mut self, tid: i32) {
        if self.per_cpu {
            let idle = Stamp {
                pid: 0,
                tid: 0,
                ..self.stamp(tid)
            };
            self.side_band.switch(idle, (self.pid, tid as u32), true);
        }
    }

    fn switch_record(&mut self, tid: i32, other: u32, out: bool) {
        if self.per_cpu {
            let stamp = self.stamp(tid);
            let pid = if other == 0 { 0 } else { self.pid };
            self.side_band.switch(stamp, (pid, other), out);
        }
    }

    fn stamp(&self, tid: i32) -> Stamp {
        Stamp {
            pid: self.pid,
            tid: tid as u32,
            tsc: self.moment(tid),
            cpu: self.threads.get(&tid).and_then(|lane| lane.cpu),
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes `perf.data`, of what was recorded so far, to a directory; returns its size in
    /// bytes. Logs must have been converted.
    pub(crate) fn save(&self, directory: &Path) -> Result<u64, Error> {
        let logged = self.journal.as_ref().map(Journal::streams);
        let streams = logged.as_ref().unwrap_or(&self.streams);
        self.write(directory, streams, self.side_band.clone())
    }

    /// Writes `perf.data` and closes `truth`; returns the bytes of both, and what a user
    /// should know.
    pub(crate) fn finish(mut self) -> Result<(u64, Vec<String>), Error> {
        let mut saved = self.save(&self.directory);
        if let Err(error) = &saved
            && self.makes_room(error)
        {
            saved = self.save(&self.directory);
        }
        let truth_bytes = match self.truth.take().map(truth::Writer::finish) {
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => {
                self.gives_up_truth(&error);
                0
            }
            None => 0,
        };
        Ok((saved? + truth_bytes, self.notes))
    }

    fn write(
        &self,
        directory: &Path,
        streams: &BTreeMap<u32, Stream>,
        side_band: SideBand,
    ) -> Result<u64, Error> {
        let areas: Vec<AuxArea<'_>> = streams
            .iter()
            .filter(|(_, stream)| stream.ring().written() != 0)
            .map(|(&key, stream)| AuxArea {
                owner: match self.per_cpu {
                    true => Owner::Cpu(key),
                    false => Owner::Thread(key),
                },
                written: stream.ring().written(),
                halves: stream.ring().halves(),
            })
            .collect();
        let clocks = self.threads.values().map(|lane| lane.clock);
        let now = match self.journal {
            Some(_) => sys::time_stamp(),
            None => self.now,
        };
        let end = clocks.max().unwrap_or(now).max(now) + 1;
        let path = directory.join("perf.data");
        let setup = Setup {
            pid: self.pid,
            psb_period_exponent: stream::psb_period_exponent(self.buffer),
            sample_period: self.sample_period,
            per_cpu: self.per_cpu,
            timing: self.timing,
        };
        perfdata::write(&path, setup, side_band, &areas, end)
    }
}

impl Lane {
    fn new(clock: u64) -> Lane {
        Lane {
            cpu: None,
            clock,
            steps: 0,
            next_ip: 0,
            switched_out: true,
        }
    }
}

// In the order of `rept_trace::RegWord`.
fn words(r: &Registers) -> [u64; WORDS] {
    // How a debugger suppresses its own breakpoint is no affair of the program.
    const RESUME_FLAG: u64 = 1 << 16;
    let flags = r.eflags & !RESUME_FLAG;
    [
        r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11, r.r12,
        r.r13, r.r14, r.r15, flags, r.fs_base, r.gs_base,
    ]
}
