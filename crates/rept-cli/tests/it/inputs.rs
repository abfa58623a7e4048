//! A program that reads a file: what it read is known as long as the file is as it was.

use crate::common::{Scratch, build, sure};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

/// The text that is read: words enough for a page and more.
fn text() -> String {
    let words = [
        "one", "seven", "trees", "between", "the", "river", "and", "every",
    ];
    (0..900u32)
        .map(|n| format!("{}{} ", words[(n * n % 8) as usize], n * n % 97))
        .collect()
}

/// Records a run, its file given as an argument or on the standard input.
fn record(program: &Path, folder: &Scratch, engine: &str, as_argument: bool) {
    let mut record = Command::new(env!("CARGO_BIN_EXE_rept"));
    record
        .current_dir(folder.join("."))
        .args(["record", "--truth", "--engine", engine, "--buffer", "4M"])
        .args(["-o", "recording", "--"])
        .arg(program);
    match as_argument {
        true => record.arg("input"),
        false => record.stdin(Stdio::from(File::open(folder.join("input")).unwrap())),
    };
    let output = record.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
}

#[test]
fn what_was_read_is_known_while_the_file_is_as_it_was() {
    for (engine, as_argument) in [("step", true), ("fast", true), ("fast", false)] {
        let folder = Scratch::new(&format!("inputs-{engine}-{as_argument}"));
        let Some(program) = build("words.c", &folder) else {
            return;
        };
        std::fs::write(folder.join("input"), text()).unwrap();
        record(&program, &folder, engine, as_argument);
        let known = sure(&folder.join("recording"));
        assert!(known > 95.0, "{engine}, {as_argument}: {known:.1} %");
        // The length is the same; only the age tells.
        std::fs::write(folder.join("input"), text().to_uppercase()).unwrap();
        let changed = sure(&folder.join("recording"));
        assert!(
            changed < known - 8.0,
            "{engine}, {as_argument}: {changed:.1} %"
        );
    }
}
