//! The limit on the size of files, which holds for the whole process: a test of its own.

use rept_capture::{EngineKind, RecordOptions, Recorder};
use std::fs;

/// Puts a limit on files that this process writes.
fn limit(bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: reads a value on the stack.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
}

#[test]
fn what_is_too_long_is_told_and_the_rest_is_kept() {
    let directory = std::env::temp_dir().join(format!("rept-limit-{}", std::process::id()));
    let mut options = RecordOptions::new(&directory);
    options.truth = true;
    options.engine = EngineKind::Step;
    // The truth is longer, the packets are not. The program lifts its own limit, or the kernel
    // would cut its core.
    limit(500_000);
    let script = "ulimit -f unlimited; kill -SEGV $$";
    let result = Recorder::new(options, "/bin/sh", ["-c", script]).run(|_| ());
    limit(libc::RLIM_INFINITY);
    let notes = result.unwrap().notes;
    let told = notes
        .iter()
        .any(|note| note.contains("there is no truth") && note.contains("File too large"));
    assert!(told, "{notes:?}");
    assert!(!directory.join("truth").exists());
    assert!(fs::metadata(directory.join("perf.data")).unwrap().len() > 1000);
    assert!(fs::metadata(directory.join("core")).unwrap().len() > 1000);
    fs::remove_dir_all(&directory).unwrap();

    // The memory that the fast engine shares with the program is a file, too.
    let mut options = RecordOptions::new(&directory);
    options.engine = EngineKind::Fast;
    limit(500_000);
    let result = Recorder::new(options, "/bin/sh", ["-c", script]).run(|_| ());
    limit(libc::RLIM_INFINITY);
    let error = result.unwrap_err().to_string();
    let parts = ["ulimit -f", "is too low for", "use --engine step"];
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    fs::remove_dir_all(directory).unwrap();
}
