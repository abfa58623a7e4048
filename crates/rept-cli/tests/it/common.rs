//! Running the command and building programs for it.

use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A directory that is gone when the test is over.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Scratch {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs `rept` with these arguments, in a directory of its own: the kernel may write cores
/// to the working directory, where tests that run at the same time would find each other's.
pub(crate) fn rept<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Output {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let place = Scratch::new(&format!("run-{}-{run}", std::process::id()));
    Command::new(env!("CARGO_BIN_EXE_rept"))
        .current_dir(&place.0)
        .args(arguments)
        .output()
        .unwrap()
}

/// Runs `rept` with the words of a line and a path at the end; it must succeed.
#[track_caller]
pub(crate) fn succeed(line: &str, path: &Path) -> String {
    let mut arguments: Vec<_> = line.split_whitespace().map(OsString::from).collect();
    arguments.push(path.into());
    let output = rept(&arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "rept {line} {}: {stderr}",
        path.display()
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Builds a C program of `tests/programs`; none when there is no C compiler.
pub(crate) fn build(source: &str, into: &Scratch) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/programs")
        .join(source);
    let program = into.join(source.file_stem().unwrap().to_str().unwrap());
    let status = Command::new("cc")
        .args(["-O2", "-g", "-w", "-pthread", "-o"])
        .arg(&program)
        .arg(&source)
        .status();
    match status {
        Ok(status) => {
            assert!(status.success(), "cc cannot build {}", source.display());
            Some(program)
        }
        Err(error) => {
            eprintln!("SKIPPED: no C compiler (cc): {error}");
            None
        }
    }
}

/// Records a program from `from` on, with truth.
#[track_caller]
pub(crate) fn record(program: &Path, from: &str, directory: &Path) {
    let mut arguments: Vec<OsString> = ["record", "--truth", "--from", from, "-o"]
        .map(OsString::from)
        .into();
    arguments.extend([directory.into(), "--".into(), program.into()]);
    let output = rept(&arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "recording {}: {stderr}",
        program.display()
    );
}

/// Of the register reads in the recording, per cent that are right and assumed or certain; wrong ones of
/// these grades are not forgiven.
#[track_caller]
pub(crate) fn sure(recording: &Path) -> f64 {
    let score = score(recording);
    for grade in ["certain", "assumed"] {
        assert_eq!(score["wrong"][grade], 0, "{}: {grade}", recording.display());
    }
    let reads = &score["measures"]["register_reads"]["all"];
    let count = |value: &Value| value.as_f64().unwrap();
    let sum = |verdict: &str| -> f64 {
        let grades = reads[verdict].as_object().unwrap().values();
        grades.map(count).sum()
    };
    let all = sum("correct") + sum("partial") + sum("wrong") + count(&reads["unknown"]);
    let right = &reads["correct"];
    100.0 * (count(&right["certain"]) + count(&right["assumed"])) / all
}

/// Records what a program does when it is told one word, from its `main` on, with the truth.
pub(crate) fn record_way(program: &Path, scratch: &Scratch, engine: &str, way: &str) -> PathBuf {
    let recording = scratch.join(&format!("{engine}-{way}"));
    // The words of the line end with the program's argument.
    let record = format!(
        "record --truth --engine {engine} --from main --buffer 4M -o {} -- {}",
        recording.display(),
        program.display()
    );
    succeed(&record, Path::new(way));
    recording
}

/// A recording held against its truth.
pub(crate) fn score(recording: &Path) -> Value {
    serde_json::from_str(&succeed("score --json", recording)).unwrap()
}
