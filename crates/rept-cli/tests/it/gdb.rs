//! Stock gdb, started as the documentation says, walks back to the store that planted the bad value.

use crate::common::{Scratch, succeed};
use std::process::Command;

#[test]
fn gdb_runs_backward_to_the_culprit_store() {
    let scratch = Scratch::new("gdb");
    let directory = scratch.join("recording");
    succeed("demo -o", &directory);
    let explained = succeed("explain", &directory);
    let store = explained
        .lines()
        .find(|line| line.contains("stored to"))
        .unwrap();
    let place = store
        .split("[0x")
        .nth(1)
        .and_then(|rest| rest.split(']').next())
        .unwrap();

    let server = format!(
        "target remote | {} gdb {}",
        env!("CARGO_BIN_EXE_rept"),
        directory.display()
    );
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch"]).arg(directory.join("sensors"));
    let watch = format!("watch *(long *) 0x{place}");
    let commands = [
        "set pagination off",
        "set debuginfod enabled off",
        "set language c",
        &server,
        "bt",
        &watch,
        "reverse-continue",
        "x/i $pc",
        "info registers rsi rdi",
        "delete",
        "reverse-finish",
        "monitor where",
        "continue",
    ];
    gdb.args(commands.iter().flat_map(|command| ["-ex", command]));
    let Ok(output) = gdb.output() else {
        return eprintln!("skipped: no gdb");
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    let mut rest: &str = &printed;
    for text in [
        "#0",
        "in sensors::average",
        "in sensors::main",
        "Old value = 533",
        "sensors::keep_reading",
        "mov    %rsi,",
        "0x215",
        "rdi            <unavailable>",
        "in sensors::main",
        "SIGSEGV",
    ] {
        let at = rest.find(text);
        let at = at.unwrap_or_else(|| {
            let errors = String::from_utf8_lossy(&output.stderr);
            panic!("{text:?} is not where it should be in:\n{printed}\n{errors}")
        });
        rest = &rest[at + text.len()..];
    }
}
