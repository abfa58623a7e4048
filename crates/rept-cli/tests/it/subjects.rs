//! Programs and processes that are recorded with less than others, or not at all.

use crate::common::{Scratch, build, rept};
use crate::perf::by_rept;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A user without rights, whatever its name.
const NOBODY: u32 = 65534;
/// The owner of a program that is not root's.
const OWNER: u32 = 1;

/// Runs `rept` in `place` as another user; `None`, said aloud, where that cannot be.
fn as_nobody(place: &Scratch, arguments: &[&str]) -> Option<Output> {
    let directory = place.join("");
    let output = chown(&directory, Some(NOBODY), Some(NOBODY)).and_then(|()| {
        Command::new(env!("CARGO_BIN_EXE_rept"))
            .uid(NOBODY)
            .gid(NOBODY)
            .current_dir(&directory)
            .args(arguments)
            .output()
    });
    let skipped = |error| eprintln!("SKIPPED: cannot run as another user: {error}");
    output.map_err(skipped).ok()
}

#[test]
fn a_process_of_another_user_is_refused() {
    let scratch = Scratch::new("subjects-another-user");
    let own = std::process::id().to_string();
    for engine in ["step", "fast"] {
        let line = ["record", "--engine", engine, "--attach", &own];
        let Some(output) = as_nobody(&scratch, &line) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let why = format!("process {own} cannot be traced: Permission denied");
        assert!(said.contains(&why), "{said}");
        assert!(said.contains("another user's, with user ID 0"), "{said}");
    }
}

#[test]
fn a_process_that_forbids_it_is_refused() {
    let scratch = Scratch::new("subjects-aloof");
    let Some(program) = build("aloof.c", &scratch) else {
        return;
    };
    let mut command = Command::new(program);
    command.uid(NOBODY).gid(NOBODY).stdout(Stdio::piped());
    let mut process = match command.spawn() {
        Ok(process) => process,
        Err(error) => return eprintln!("SKIPPED: cannot run as another user: {error}"),
    };
    let mut said = String::new();
    let output = BufReader::new(process.stdout.take().unwrap()).read_line(&mut said);
    let refused = ["step", "fast"].map(|engine| {
        let pid = process.id().to_string();
        as_nobody(&scratch, &["record", "--engine", engine, "--attach", &pid])
    });
    process.kill().unwrap();
    process.wait().unwrap();
    output.unwrap();
    for output in refused.into_iter().flatten() {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let why = "cannot be traced: Permission denied (os error 13) (it forbids to be traced";
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn a_program_that_loses_its_owners_rights_is_told_of() {
    let scratch = Scratch::new("subjects-set-id");
    let program = scratch.join("owned");
    fs::copy("/bin/true", &program).unwrap();
    if let Err(error) = chown(&program, Some(OWNER), None) {
        eprintln!("SKIPPED: a set-user-ID program of another user: {error}");
        return;
    }
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    let script = ["record", "-o", "recording", "--engine", "fast", "--"];
    let line = [&script[..], &["/bin/sh", "-c", "exec ./owned"]].concat();
    let Some(output) = as_nobody(&scratch, &line) else {
        return;
    };
    let (succeeded, said) = (
        output.status.success(),
        [output.stderr, output.stdout].concat(),
    );
    let said = String::from_utf8_lossy(&said);
    assert!(succeeded, "{said}");
    let note = "owned is a set-ID program that runs without its owner's rights";
    assert!(said.contains(note), "{said}");
}

/// Records a program from a place; what was said.
fn from(place: &OsStr, engine: &str, program: &Path, directory: &Path) -> Output {
    let mut arguments: Vec<OsString> = ["record", "--buffer", "2M", "--engine", engine, "--from"]
        .map(OsString::from)
        .into();
    let rest = [place, "-o".as_ref(), directory.as_os_str(), "--".as_ref()];
    arguments.extend(rest.map(OsString::from));
    arguments.push(program.into());
    rept(&arguments)
}

#[test]
fn stripped_programs_are_recorded_like_others() {
    let scratch = Scratch::new("subjects-stripped");
    let Some(program) = build("signals.c", &scratch) else {
        return;
    };
    let whole = scratch.join("whole");
    let output = from("start".as_ref(), "fast", &program, &whole);
    assert!(output.status.success());
    let paths = |directory: &Path| by_rept(directory).into_values().collect::<Vec<_>>();
    let expected = paths(&whole);
    let start = format!("{:#x}", expected[0][0]);
    match Command::new("strip").arg(&program).status() {
        Ok(status) => assert!(status.success()),
        Err(error) => return eprintln!("SKIPPED: no strip: {error}"),
    }
    for engine in ["step", "fast"] {
        let directory = scratch.join(engine);
        let output = from("start".as_ref(), engine, &program, &directory);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("no such symbol was ever mapped"), "{said}");
        let output = from(start.as_ref(), engine, &program, &directory);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{engine}: {said}");
        assert!(paths(&directory) == expected, "{engine}: other steps");
    }
}
