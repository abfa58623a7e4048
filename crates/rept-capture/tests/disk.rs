//! A disk that is full, in a mount namespace of the test's own: only the superuser has that.

use rept_capture::{EngineKind, RecordOptions, Recorder, Summary};
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

/// From here on, mounts and the working directory are the calling thread's own.
fn stands_alone() -> bool {
    // SAFETY: no memory is involved.
    let alone = unsafe { libc::unshare(libc::CLONE_NEWNS) } == 0;
    alone && mount(None, Path::new("/"), libc::MS_REC | libc::MS_PRIVATE, "")
}

fn mount(kind: Option<&str>, at: &Path, flags: libc::c_ulong, options: &str) -> bool {
    let text = |text: &str| CString::new(text).unwrap();
    let (kind, at) = (text(kind.unwrap_or("none")), text(at.to_str().unwrap()));
    let options = text(options);
    // SAFETY: strings that end in zero and outlive the call.
    let result = unsafe {
        let options = options.as_ptr().cast();
        libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), flags, options)
    };
    result == 0
}

fn unmount(at: &Path) {
    let at = CString::new(at.to_str().unwrap()).unwrap();
    // SAFETY: a string that ends in zero and outlives the call.
    assert_eq!(unsafe { libc::umount2(at.as_ptr(), libc::MNT_DETACH) }, 0);
}

/// Records a shell that crashes onto a disk of so many bytes.
fn record(directory: &Path, name: &str, bytes: usize, engine: EngineKind) -> (PathBuf, Summary) {
    let disk = directory.join(name);
    fs::create_dir_all(&disk).unwrap();
    assert!(mount(Some("tmpfs"), &disk, 0, &format!("size={bytes}")));
    let mut options = RecordOptions::new(disk.join("out"));
    options.truth = true;
    options.engine = engine;
    options.buffer = 8 << 10;
    let script = "i=0; while [ $i -lt 500 ]; do i=$((i+1)); done; kill -SEGV $$";
    let recorder = Recorder::new(options, "/bin/sh", ["-c", script]);
    (disk.join("out"), recorder.run(|_| ()).unwrap())
}

fn length(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |data| data.len())
}

#[track_caller]
fn is_told<'a>(summary: &'a Summary, parts: [&str; 2]) -> &'a str {
    let holds = |note: &&String| parts.iter().all(|part| note.contains(part));
    let note = summary.notes.iter().find(holds);
    note.unwrap_or_else(|| panic!("{parts:?} not in {:?}", summary.notes))
}

#[test]
fn what_fits_is_kept() {
    if !stands_alone() {
        eprintln!("SKIPPED: no mount namespace");
        return;
    }
    let directory = std::env::temp_dir().join(format!("rept-disk-{}", std::process::id()));
    let work = directory.join("work");
    fs::create_dir_all(&work).unwrap();
    // Where the kernel writes the core.
    std::env::set_current_dir(&work).unwrap();

    let (out, _) = record(&directory, "all", 256 << 20, EngineKind::Fast);
    let (truth, core) = (length(&out.join("truth")), length(&out.join("core")));

    // The truth fits, and gives way to the core.
    let room = (truth + core / 4) as usize;
    let (out, summary) = record(&directory, "both", room, EngineKind::Fast);
    is_told(&summary, ["there is no truth", "core: No space left"]);
    assert!(!out.join("truth").exists());
    assert!(length(&out.join("perf.data")) > 1000);
    assert_eq!(length(&out.join("core")), core);

    // The truth does not even fit itself.
    let (out, summary) = record(&directory, "truth", 4 << 20, EngineKind::Fast);
    is_told(&summary, ["there is no truth", "No space left"]);
    assert!(!out.join("truth").exists());
    assert!(length(&out.join("perf.data")) > 1000);
    assert!(length(&out.join("core")) > 100_000);

    // The core finds no room either: it is left where it is.
    let (out, summary) = record(&directory, "core", 64 << 10, EngineKind::Fast);
    is_told(&summary, ["there is no truth", "No space left"]);
    let note = is_told(&summary, ["the core ", "No space left"]);
    assert!(length(&out.join("perf.data")) > 1000);
    if note.contains("the core stays at ") {
        let core = fs::read_dir(&work).unwrap().next().unwrap().unwrap().path();
        assert!(note.contains(core.to_str().unwrap()), "{note}");
        assert!(length(&core) > 100_000);
    }
    for name in ["all", "both", "truth", "core"] {
        unmount(&directory.join(name));
    }
    fs::remove_dir_all(directory).unwrap();
}
