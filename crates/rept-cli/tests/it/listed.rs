//! A program that reads the kernel's list of its memory: what it read follows from what was mapped.

use crate::common::{Scratch, build, sure};
use std::process::Command;

#[test]
fn the_list_of_memory_is_known() {
    for engine in ["step", "fast"] {
        let folder = Scratch::new(&format!("listed-{engine}"));
        let Some(program) = build("listed.c", &folder) else {
            return;
        };
        let mut record = Command::new(env!("CARGO_BIN_EXE_rept"));
        record
            .args(["record", "--truth", "--engine", engine, "--buffer", "4M"])
            .arg("-o")
            .arg(folder.join("recording"))
            .arg("--")
            .arg(&program);
        let output = record.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        let known = sure(&folder.join("recording"));
        assert!(known > 97.0, "{engine}: {known:.1} %");
        // A dump whose areas are others: the program's first is executable.
        let core = folder.join("recording").join("core");
        let mut bytes = std::fs::read(&core).unwrap();
        execute_first(&mut bytes);
        std::fs::write(&core, bytes).unwrap();
        let other = sure(&folder.join("recording"));
        assert!(other < known - 5.0, "{engine}: {other:.1} %");
    }
}

/// Makes the first PT_LOAD of a core executable.
fn execute_first(core: &mut [u8]) {
    const HEADERS: usize = 64;
    const HEADER: usize = 56;
    const PT_LOAD: u32 = 1;
    const PF_X: u8 = 1;
    let mut headers = core[HEADERS..].chunks_exact_mut(HEADER);
    let is_load = |header: &&mut [u8]| header[..4] == PT_LOAD.to_le_bytes();
    let first = headers.find(is_load).unwrap();
    first[4] |= PF_X;
}
