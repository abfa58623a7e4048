//! Recording a process that lives before and after: taking it over, saving what is recorded
//! while it goes on, and letting it go.

use super::{Engine, Exit, State, Stop, Tracee};
use crate::core_file::CoreWriter;
use crate::error::Error;
use crate::recording::Recording;
use crate::schedule::Scheduler;
use crate::sys::{self, Request, Wait};
use crate::target;
use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

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
        let had_cache = self.fast.is_some();
        self.quiesce()?;
        if let Err(error) = self.save_in(&directory) {
            self.note(format!("not everything was saved: {error}"));
        }
        if had_cache && !self.threads.is_empty() {
            self.use_cache()?;
        }
        Ok(())
    }

    // Every thread stops as the program's own, and nothing of the recorder is in it.
    fn quiesce(&mut self) -> Result<(), Error> {
        self.stop_running()?;
        self.interrupt_all(State::Syscall, Engine::await_stop)?;
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

    fn save_in(&self, directory: &Path) -> Result<(), Error> {
        fs::create_dir_all(directory).map_err(|source| Error::io("create", directory, source))?;
        self.recording.save(directory)?;
        self.own_core(self.pid, 0, &directory.join("core"))
            .map(drop)
    }

    fn let_go_alive(&mut self) -> Result<(), Error> {
        self.quiesce()?;
        self.write_own_core(self.pid, 0);
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

    /// Whether as many steps are recorded as were asked for. Then a core of the process as it is was
    /// written, and it has ended, or goes on alone if it was there before.
    ///
    /// # Errors
    /// Tracing fails.
    pub(super) fn is_enough(&mut self) -> Result<bool, Error> {
        if self.threads.is_empty() || self.recording.steps() < self.most_steps {
            return Ok(false);
        }
        if self.tracee.attached {
            self.let_go_alive()?;
            return Ok(true);
        }
        self.quiesce()?;
        self.write_own_core(self.pid, 0);
        self.threads.clear();
        self.tracee.end();
        self.exit = Some(Exit::Signal(libc::SIGKILL));
        self.note("the recorder ended the program after as many steps as were asked for".into());
        Ok(true)
    }

    /// Recording has failed: a process that was attached to goes on alone, any other ends.
    pub(crate) fn abandon(&mut self) {
        if self.tracee.attached && !self.tracee.ended {
            // The error that led here is the one to tell.
            let _ = self.let_go_alive();
        }
        self.tracee.end();
    }
}

impl Tracee {
    // A process that was there before must outlive the recorder.
    fn is_ours(&self) -> bool {
        !self.attached
    }

    /// It ends, unless it has, or must not.
    pub(super) fn end(&mut self) {
        if !self.ended && self.is_ours() {
            sys::kill(self.pid);
        }
        self.ended = true;
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
    let tracer = target::status(pid, "TracerPid:");
    match (source.raw_os_error(), tracer.as_deref()) {
        (Some(libc::ESRCH), _) => Error::system("attach to a thread", source),
        (_, Some(tracer)) if tracer != "0" => Error::option(format!(
            "process {pid} is already traced, by process {tracer}"
        )),
        _ => target::untraceable(pid, &source),
    }
}
