//! A small C program that crashes, and its recording.

use rept_capture::{RecordOptions, Recorder};
use rept_core::{History, RecoverOptions, Session};
use std::path::{Path, PathBuf};
use std::process::Command;

/// `plant` overwrites a pointer that `use_it` follows later.
const VICTIM: &str = r#"
#include <stdlib.h>
#include <string.h>
struct item { char name[8]; long *value; };
__attribute__((noinline)) static void plant(struct item *it) { memset(it->name, 0, 8); it->value = (long *)0x10; }
__attribute__((noinline)) static long busy(long n) { long s = 0; for (long i = 0; i < n; i++) s += i * 7; return s; }
__attribute__((noinline)) static long use_it(struct item *it) { long *p = it->value; return *p; }
int main(void) {
    struct item *it = calloc(1, sizeof *it);
    it->value = malloc(sizeof(long));
    plant(it);
    long s = busy(100);
    return (int)(use_it(it) + s);
}
"#;

/// A folder that is removed at the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    /// Makes it.
    pub(crate) fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("rept-core-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary folder can be made");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Builds and records the victim; `None`, said aloud, where that is impossible.
pub(crate) fn record(folder: &Path) -> Option<(PathBuf, u64)> {
    record_source(folder, "victim.c", VICTIM, &["cc", "-O1", "-g"], None)
}

/// Builds a source with a compiler's command line as `victim`, and records it, from a function on.
pub(crate) fn record_source(
    folder: &Path,
    name: &str,
    text: &str,
    compiler: &[&str],
    from: Option<&str>,
) -> Option<(PathBuf, u64)> {
    let (source, program) = (folder.join(name), folder.join("victim"));
    std::fs::write(&source, text).expect("the source can be written");
    let built = Command::new(compiler[0])
        .args(&compiler[1..])
        .arg("-o")
        .arg(&program)
        .arg(&source)
        .status();
    match built {
        Ok(status) => assert!(status.success(), "{compiler:?} cannot build {name}"),
        Err(error) => {
            eprintln!("skipped: no compiler {}: {error}", compiler[0]);
            return None;
        }
    }
    let output = folder.join("recording");
    let mut options = RecordOptions::new(&output);
    options.buffer = 4 << 20;
    options.from = from.map(|from| from.parse().expect("a symbol"));
    match Recorder::new(options, &program, [] as [&str; 0]).run(|_| ()) {
        Ok(summary) => Some((output, summary.steps)),
        Err(error) => {
            eprintln!("skipped: cannot record here: {error}");
            None
        }
    }
}

/// Opens a recording and recovers its history.
#[allow(dead_code, reason = "each test file uses a part")]
pub(crate) fn open(recording: &Path) -> History {
    let session = Session::builder()
        .directory(recording)
        .open()
        .expect("the recording opens");
    session.recover(&RecoverOptions::default())
}

/// Records the victim and recovers its history; `None`, said aloud, where that is impossible.
#[allow(dead_code, reason = "each test file uses a part")]
pub(crate) fn recover(name: &str) -> Option<(Folder, History)> {
    let folder = Folder::new(name);
    let (recording, _) = record(&folder.0)?;
    let history = open(&recording);
    Some((folder, history))
}
