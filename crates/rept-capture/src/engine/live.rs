//! Recording a process that lives before and after: taking it over, saving what is recorded
//! while it goes on, and letting it go.

use super::{Engine, Exit, State, Stop, Tracee};
use crate::core_file::CoreWriter;
use crate::error::Error;
use crate::recording::Recording;
use crate::schedule::Scheduler;
use crate::sys::{self, Request, Wait};
use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;

impl Engine {
    /// Takes over a process that runs.
    ///
    /// # Errors
    /// There is none, or it may not be traced.
    pub(crate) fn attach(
        pid: i32,
        recording: Recording,
        scheduler: Scheduler,
        core: CoreWriter,
    ) -> Result<Engine, Error> {
        let mut engine = Engine::of(pid, recording, scheduler, core);
        engine.tracee.attached = true;
        engine.recording.program(pid);
        let mut seen = BTreeSet::new();
        // Threads that run make others, until all are stopped.
        while let Some(tid) = threads(pid).into_iter().find(|&tid| seen.insert(tid)) {
            engine.take_over(tid)?;
        }
        sys::allow_core(pid);
        if engine.threads.is_empty() {
            return Err(no_process(pid));
        }
        engine.read_mappings(pid)?;
        Ok(engine)
    }

    fn take_over(&mut self, tid: i32) -> Result<(), Error> {
        let is_first = tid == self.pid;
        match sys::seize_running(tid).map_err(|source| refused(self.pid, source)) {
            // A thread that has ended meanwhile.
            Err(error) if !is_first && error.is_gone() => return Ok(()),
            other => other?,
        }
        sys::interrupt(tid)?;
        let Some((_, wait)) = sys::wait(tid, true)? else {
            return Ok(());
        };
        if !matches!(wait, Wait::Exited(_) | Wait::Killed { .. }) {
            self.adopt(tid, (!is_first).then_some(self.pid))?;
            self.halt(tid, wait)?;
        }
        Ok(())
    }

    /// Does what signals to the recorder ask for. Breaks when the process was let go.
    ///
    /// # Errors
    /// The files cannot be written, or tracing fails.
    pub(super) fn answer_requests(&mut self) -> Result<ControlFlow<()>, Error> {
        match sys::take_request() {
            Some(Request::Save) => self.save()?,
            Some(Request::LetGo) => {
                self.let_go_alive()?;
                return Ok(ControlFlow::Break(()));
            }
            None => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    // What is recorded so far goes to a directory of its own, with a core of the process as it
    // is now; then it goes on.
    fn save(&mut self) -> Result<(), Error> {
        self.saved += 1;
        let directory = self
            .recording
            .directory()
            .join(format!("save.{}", self.saved));
        fs::create_dir_all(&directory).map_err(|source| Error::io("create", &directory, source))?;
        let had_cache = self.fast.is_some();
        self.quiesce()?;
        self.recording.save(&directory)?;
        self.core_now(directory)?;
        if had_cache && !self.threads.is_empty() {
            self.use_cache()?;
        }
        Ok(())
    }

    // Every thread stops as the program's own, and nothing of the recorder is in it.
    fn quiesce(&mut self) -> Result<(), Error> {
        self.stop_running()?;
        for tid in self.in_state(State::Syscall) {
            match sys::interrupt(tid) {
                Err(error) if !error.is_gone() => return Err(error),
                _ => {}
            }
            while self
                .threads
                .get(&tid)
                .is_some_and(|thread| thread.state == State::Syscall)
            {
                self.await_stop(tid)?;
            }
        }
        let by = self.any_stopped();
        self.evict(by)?;
        if let Some(journal) = &mut self.recording.journal {
            journal.forget_areas();
        }
        for tid in self.in_state(State::Ready) {
            let ip = self.threads[&tid].registers.rip;
            self.recording.interrupted(tid, ip, false);
        }
        Ok(())
    }

    fn core_now(&mut self, directory: PathBuf) -> Result<(), Error> {
        let kept = std::mem::replace(&mut self.core, CoreWriter::new(&directory));
        let written = self.write_own_core(self.pid, 0);
        (self.core, self.core_bytes) = (kept, 0);
        written
    }

    fn let_go_alive(&mut self) -> Result<(), Error> {
        self.quiesce()?;
        self.write_own_core(self.pid, 0)?;
        for (&tid, thread) in &self.threads {
            let signal = match thread.stop {
                Stop::Signal(signal) if thread.state == State::Ready => signal,
                _ => 0,
            };
            sys::detach(tid, signal);
        }
        self.threads.clear();
        self.exit = Some(Exit::Running);
        self.tracee.ended = true;
        Ok(())
    }

    /// Recording has failed: a process that was attached to goes on alone.
    pub(crate) fn abandon(&mut self) {
        if self.tracee.attached && !self.tracee.ended {
            // The error that led here is the one to tell.
            let _ = self.let_go_alive();
        }
    }
}

impl Tracee {
    /// A process that was there before must outlive the recorder.
    pub(super) fn is_ours(&self) -> bool {
        !self.attached
    }
}

fn threads(pid: i32) -> Vec<i32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut tids: Vec<i32> = names
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect();
    tids.sort_unstable();
    tids
}

fn no_process(pid: i32) -> Error {
    Error::option(format!("there is no process {pid}"))
}

// Why a process cannot be traced.
fn refused(pid: i32, source: std::io::Error) -> Error {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let tracer = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    match (source.raw_os_error(), tracer.map(str::trim)) {
        (Some(libc::ESRCH), _) => Error::system("attach to a thread", source),
        (_, Some(tracer)) if tracer != "0" => Error::option(format!(
            "process {pid} is already traced, by process {tracer}"
        )),
        _ => Error::option(format!(
            "process {pid} cannot be traced: {source} (another user's, or ptrace is restricted: /proc/sys/kernel/yama/ptrace_scope)"
        )),
    }
}
