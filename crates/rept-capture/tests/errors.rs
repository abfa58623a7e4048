//! What goes wrong before a program runs is said in one sentence.

use rept_capture::{EngineKind, RecordOptions, Recorder};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn temporary(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("rept-{}-{name}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    directory
}

#[track_caller]
fn fails(options: RecordOptions, program: &Path, words: &str) {
    let no_arguments: [&str; 0] = [];
    let error = Recorder::new(options, program, no_arguments)
        .run(|_| ())
        .unwrap_err()
        .to_string();
    assert!(error.contains(words), "{error}");
}

#[test]
fn programs_that_cannot_run() {
    let directory = temporary("errors");
    let options = || RecordOptions::new(directory.join("out"));
    fails(
        options(),
        Path::new("no-such-program-anywhere"),
        "not found in PATH",
    );
    fails(options(), &directory.join("missing"), "No such file");
    fails(options(), &directory, "not a file");

    let plain = directory.join("plain");
    fs::write(&plain, "text").unwrap();
    fails(options(), &plain, "not executable");
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o755)).unwrap();
    fails(options(), &plain, "not an ELF program");

    // Statically linked, as any that needs no 32-bit library.
    fs::write(&plain, small_elf32()).unwrap();
    fails(options(), &plain, "not a 64-bit x86 program");
    fs::remove_dir_all(directory).unwrap();
}

// A 32-bit program that exits with status 3.
fn small_elf32() -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    let code = [0xb8, 1, 0, 0, 0, 0xbb, 3, 0, 0, 0, 0xcd, 0x80];
    let mut elf = b"\x7fELF\x01\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([2, 0, 3, 0]);
    let length = 52 + 32 + code.len() as u32;
    for word in [1, BASE + 52 + 32, 52, 0, 0] {
        elf.extend(u32::to_le_bytes(word));
    }
    for half in [52u16, 32, 1, 0, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    for word in [1, 0, BASE, BASE, length, length, 5, 0x1000] {
        elf.extend(u32::to_le_bytes(word));
    }
    elf.extend(code);
    elf
}

#[test]
fn a_program_that_becomes_a_32_bit_one() {
    let directory = temporary("becomes");
    let program = directory.join("elf32");
    fs::write(&program, small_elf32()).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let runs = std::process::Command::new(&program).status();
    if !runs.is_ok_and(|status| status.code() == Some(3)) {
        eprintln!("SKIPPED: no 32-bit programs here");
        fs::remove_dir_all(directory).unwrap();
        return;
    }
    for engine in [EngineKind::Step, EngineKind::Fast] {
        let mut options = RecordOptions::new(directory.join(format!("{engine:?}")));
        options.engine = engine;
        let (script, file) = (format!("exec {}", program.display()), &options.output);
        let data = file.join("perf.data");
        let error = Recorder::new(options, "/bin/sh", ["-c", &script])
            .run(|_| ())
            .unwrap_err()
            .to_string();
        let said = error.contains("elf32: not a 64-bit x86 program (what was recorded before");
        assert!(said, "{error}");
        assert!(fs::metadata(data).unwrap().len() > 1000);
    }
    fs::remove_dir_all(directory).unwrap();
}

// As root: others cannot give files away.
#[test]
fn programs_of_another_user() {
    let directory = temporary("set-id");
    let program = directory.join("program");
    fs::copy("/bin/true", &program).unwrap();
    if std::os::unix::fs::chown(&program, Some(65534), None).is_ok() {
        fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
        let options = RecordOptions::new(directory.join("out"));
        fails(options, &program, "set-user-ID");
    } else {
        eprintln!("SKIPPED: a set-user-ID program of another user");
    }
    fs::remove_dir_all(directory).unwrap();
}

// /dev/full takes no byte.
#[test]
fn a_full_disk() {
    let directory = temporary("full");
    let run = |file: &str, engine: EngineKind| {
        let out = directory.join(format!("{file}-{engine:?}"));
        fs::create_dir_all(&out).unwrap();
        std::os::unix::fs::symlink("/dev/full", out.join(file)).unwrap();
        let mut options = RecordOptions::new(&out);
        options.truth = true;
        options.engine = engine;
        let arguments = ["-c", "kill -SEGV $$"];
        let result = Recorder::new(options, "/bin/sh", arguments).run(|_| ());
        (out, result)
    };
    for engine in [EngineKind::Step, EngineKind::Fast] {
        let (_, result) = run("perf.data", engine);
        let error = result.unwrap_err().to_string();
        assert!(error.contains("perf.data: No space left"), "{error}");
        // All else is kept.
        let (out, result) = run("truth", engine);
        let notes = result.unwrap().notes;
        let told = notes
            .iter()
            .any(|n| n.contains("there is no truth: cannot write"));
        assert!(told, "{notes:?}");
        assert!(!out.join("truth").exists());
        assert!(fs::metadata(out.join("perf.data")).unwrap().len() > 1000);
        assert!(fs::metadata(out.join("core")).unwrap().len() > 1000);
    }
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn output_and_options() {
    let directory = temporary("options");
    let file = directory.join("file");
    fs::write(&file, "").unwrap();
    fails(
        RecordOptions::new(file.join("out")),
        Path::new("/bin/true"),
        "file/out",
    );
    let mut options = RecordOptions::new(directory.join("out"));
    options.buffer = 100;
    fails(options, Path::new("/bin/true"), "holds no whole PSB period");
    let mut options = RecordOptions::new(directory.join("out"));
    options.per_cpu = true;
    fails(options, Path::new("/bin/true"), "need a schedule");
    let mut options = RecordOptions::new(directory.join("out"));
    options.engine = EngineKind::Fast;
    options.most_steps = Some(1000);
    fails(options, Path::new("/bin/true"), "counts no steps");
    let mut options = RecordOptions::new(directory.join("out"));
    options.repeatable = true;
    options.follow_forks = true;
    fails(options, Path::new("/bin/true"), "not with --attach");
    let mut options = RecordOptions::new(directory.join("out"));
    options.from = Some("no_such_function_at_all".parse().unwrap());
    fails(
        options,
        Path::new("/bin/true"),
        "no such symbol was ever mapped",
    );
    let mut options = RecordOptions::new(directory.join("out"));
    options.from = Some("libc.so!exit:9".parse().unwrap());
    fails(options, Path::new("/bin/true"), "it came there 1 times");
    fs::remove_dir_all(directory).unwrap();
}

// A recording that fails takes the program with it.
#[test]
fn nothing_stays_behind() {
    let directory = temporary("behind");
    let mut options = RecordOptions::new(directory.join("out"));
    options.from = Some("libc.so!kill:2".parse().unwrap());
    let mark = format!("kill -SEGV $$ # {}", directory.display());
    let error = Recorder::new(options, "/bin/sh", ["-c", &mark])
        .run(|_| ())
        .unwrap_err();
    assert!(error.to_string().contains("died of signal 11"), "{error}");
    let runs = fs::read_dir("/proc").unwrap().flatten().any(|process| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&mark)
    });
    assert!(!runs, "the program still runs");
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn no_kernel_core() {
    let directory = temporary("own-core");
    let mut options = RecordOptions::new(directory.join("out"));
    options.from = Some("libc.so!kill".parse().unwrap());
    // SIGTERM leaves no kernel core.
    let arguments = ["-c", "kill -TERM $$"];
    let summary = Recorder::new(options, "/bin/sh", arguments)
        .run(|_| ())
        .unwrap();
    assert_eq!(summary.exit, rept_capture::Exit::Signal(15));
    assert!(
        summary.notes[0].contains("no core for signal 15"),
        "{:?}",
        summary.notes
    );
    let core = fs::read(directory.join("out/core")).unwrap();
    assert_eq!(&core[..4], b"\x7fELF");
    fs::remove_dir_all(directory).unwrap();
}
