//! Recordings of programs that go on: saved on a signal, attached to, let go.

use crate::common::{Scratch, build, succeed};
use crate::perf::by_rept;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

const SIGSEGV: i32 = 11;

/// A process that does not outlive its test.
struct Running(Child);

impl Running {
    fn start(program: &Path, arguments: &[&str], place: &Scratch) -> Running {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(place.join(""));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(command.spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.unwrap().success());
    }

    // Whether a process traces it.
    fn is_traced(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()));
        status.is_ok_and(|text| !text.contains("TracerPid:\t0\n"))
    }

    fn end(mut self) -> Output {
        let mut output = Output {
            status: self.0.wait().unwrap(),
            stdout: Vec::new(),
            stderr: Vec::new(),
        };
        let pipes = (self.0.stdout.take(), self.0.stderr.take());
        std::io::Read::read_to_end(&mut pipes.0.unwrap(), &mut output.stdout).unwrap();
        std::io::Read::read_to_end(&mut pipes.1.unwrap(), &mut output.stderr).unwrap();
        output
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    const LONGEST: usize = 6000;
    let held = (0..LONGEST).any(|_| {
        let held = holds();
        if !held {
            sleep(Duration::from_millis(20));
        }
        held
    });
    assert!(held, "{what}: waited in vain");
}

fn rept() -> PathBuf {
    env!("CARGO_BIN_EXE_rept").into()
}

#[track_caller]
fn is_decoded(directory: &Path) {
    let steps: usize = by_rept(directory).values().map(Vec::len).sum();
    assert!(steps > 1_000, "{steps} steps in {}", directory.display());
}

#[track_caller]
fn saves(engine: &str) {
    let scratch = Scratch::new(&format!("live-saves-{engine}"));
    let Some(program) = build("busy.c", &scratch) else {
        return;
    };
    let (directory, place) = (scratch.join("recording"), scratch.join(""));
    let line = format!(
        "record --engine {engine} --on-signal USR1 -o {} -- {} {}",
        directory.display(),
        program.display(),
        place.display()
    );
    let words: Vec<&str> = line.split(' ').collect();
    let recorder = Running::start(&rept(), &words, &scratch);
    until("start", || scratch.join("ready").exists());
    recorder.signal("USR1");
    until("first", || directory.join("save.1/core").exists());
    recorder.signal("USR1");
    until("second", || directory.join("save.2/core").exists());
    fs::write(scratch.join("stop"), "").unwrap();
    let output = recorder.end();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("SIGSEGV"), "{said}");
    is_decoded(&directory.join("save.1"));
    is_decoded(&directory.join("save.2"));
    assert!(succeed("report", &directory).contains("SIGSEGV"));
}

#[test]
fn what_copies_recorded_is_saved_on_a_signal() {
    saves("fast");
}

#[test]
fn what_was_stepped_is_saved_on_a_signal() {
    saves("step");
}

#[test]
fn a_save_that_cannot_be_written_is_told_of_and_all_goes_on() {
    let scratch = Scratch::new("live-unsaved");
    let Some(program) = build("busy.c", &scratch) else {
        return;
    };
    let (directory, place) = (scratch.join("recording"), scratch.join(""));
    fs::create_dir(&directory).unwrap();
    // Where the first save wants a directory.
    fs::write(directory.join("save.1"), "").unwrap();
    let line = format!(
        "record --engine fast --on-signal USR1 -o {} -- {} {}",
        directory.display(),
        program.display(),
        place.display()
    );
    let words: Vec<&str> = line.split(' ').collect();
    let recorder = Running::start(&rept(), &words, &scratch);
    until("start", || scratch.join("ready").exists());
    // Each is asked for until it is there, as the first leaves no trace.
    until("second", || {
        recorder.signal("USR1");
        sleep(Duration::from_millis(500));
        directory.join("save.2/core").exists()
    });
    fs::write(scratch.join("stop"), "").unwrap();
    let output = recorder.end();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("SIGSEGV"), "{said}");
    assert!(said.contains("not everything was saved: "), "{said}");
    assert!(said.contains("save.1"), "{said}");
    assert!(succeed("report", &directory).contains("SIGSEGV"));
}

#[track_caller]
fn attaches(engine: &str) {
    let scratch = Scratch::new(&format!("live-attaches-{engine}"));
    let Some(program) = build("busy.c", &scratch) else {
        return;
    };
    let place = scratch.join("");
    let running = Running::start(&program, &[place.to_str().unwrap()], &scratch);
    until("start", || scratch.join("ready").exists());
    let directory = scratch.join("recording");
    let line = format!(
        "record --engine {engine} --attach {} -o {}",
        running.0.id(),
        directory.display()
    );
    let words: Vec<&str> = line.split(' ').collect();
    let recorder = Running::start(&rept(), &words, &scratch);
    until("attach", || running.is_traced());
    is_refused(running.0.id(), "is already traced, by process");
    sleep(Duration::from_millis(500));
    recorder.signal("INT");
    let output = recorder.end();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("runs on"), "{said}");
    assert!(!running.is_traced());
    is_decoded(&directory);
    fs::write(scratch.join("stop"), "").unwrap();
    assert_eq!(running.end().status.signal(), Some(SIGSEGV));
}

#[test]
fn a_process_is_recorded_by_copies_and_let_go() {
    attaches("fast");
}

#[test]
fn a_process_is_stepped_and_let_go() {
    attaches("step");
}

#[track_caller]
fn is_refused(pid: u32, why: &str) {
    let output = crate::common::rept(&["record", "--attach", &pid.to_string()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains(why), "{said}");
}

#[test]
fn no_process_to_attach_to() {
    is_refused(u32::MAX, "there is no process");
}
