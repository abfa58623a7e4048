//! Stock gdb, started as the documentation says, walks back to the store that planted the bad value.

use crate::common::{Scratch, rept, succeed};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// Runs gdb with these commands on a recording's history, and looks for texts in what it prints, in
/// this order. Says aloud when there is no gdb.
#[track_caller]
pub(crate) fn session(program: &Path, directory: &Path, commands: &[&str], texts: &[&str]) {
    let server = format!(
        "target remote | {} gdb {}",
        env!("CARGO_BIN_EXE_rept"),
        directory.display()
    );
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch"]).arg(program);
    let first = [
        "set pagination off",
        "set debuginfod enabled off",
        "set language c",
        &server,
    ];
    let all = first.iter().chain(commands);
    gdb.args(all.flat_map(|command| ["-ex", command]));
    let Ok(output) = gdb.output() else {
        return eprintln!("skipped: no gdb");
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    let mut rest: &str = &printed;
    for text in texts {
        let at = rest.find(text);
        let at = at.unwrap_or_else(|| {
            let errors = String::from_utf8_lossy(&output.stderr);
            panic!("{text:?} is not where it should be in:\n{printed}\n{errors}")
        });
        rest = &rest[at + text.len()..];
    }
}

/// The places that steps of an explanation stored to, newest first.
fn stored_to(explained: &str) -> impl Iterator<Item = &str> {
    explained.lines().filter_map(|line| {
        let place = line.split("stored to [0x").nth(1)?;
        place.split(']').next()
    })
}

#[test]
fn gdb_runs_backward_to_the_culprit_store() {
    let scratch = Scratch::new("gdb");
    let directory = scratch.join("recording");
    succeed("demo -o", &directory);
    let explained = succeed("explain", &directory);
    let place = stored_to(&explained).next().unwrap();
    let watch = format!("watch -l *(long *) 0x{place}");
    let commands = [
        "bt",
        &watch,
        "reverse-continue",
        "x/i $pc",
        "info args",
        "info registers rsi rdi",
        "delete",
        "reverse-finish",
        "info locals",
        "monitor where",
        "info registers fctrl fs_base cs",
        "continue",
    ];
    let texts = [
        "#0",
        "in sensors::average",
        "in sensors::main",
        "Old value = 533",
        "sensors::keep_reading",
        "mov    %rsi,",
        "sensor = <unavailable>",
        "reading = 533",
        "0x215",
        "rdi            <unavailable>",
        "in sensors::main",
        "reading = 533",
        "fctrl          0x37f",
        "fs_base        0x7",
        "cs             <unavailable>",
        "SIGSEGV",
    ];
    session(&directory.join("sensors"), &directory, &commands, &texts);
}

/// Perl reads a string at address 16, a number that it packed before.
const SCRIPT: &str = "my $number = 16; unpack('p', pack('Q', $number))";

#[test]
fn gdb_walks_back_through_a_real_program() {
    let perl = Path::new("/usr/bin/perl");
    let scratch = Scratch::new("gdb-perl");
    let directory = scratch.join("recording");
    let words = ["record", "--from", "perl_run", "-o"].map(OsStr::new);
    let arguments = [
        &words[..],
        &[directory.as_os_str(), OsStr::new("--"), perl.as_os_str()],
        &["-e", SCRIPT].map(OsStr::new),
    ];
    let recorded = rept(&arguments.concat());
    if !recorded.status.success() {
        let said = String::from_utf8_lossy(&recorded.stderr);
        return eprintln!("skipped: perl cannot be recorded from perl_run: {said}");
    }
    let explained = succeed("explain", &directory);
    let mut places = stored_to(&explained).filter(|place| !place.starts_with("7ff"));
    let watch = format!("watch -l *(long *) 0x{}", places.next().unwrap());
    let commands = [
        "bt",
        "break Perl_unpackstring",
        "reverse-continue",
        "stepi",
        "delete",
        "reverse-finish",
        "x/i $pc",
        &watch,
        "reverse-continue",
        "x/i $pc",
        "bt 2",
        "info registers rip eflags r11",
        "delete",
        "reverse-stepi",
        "continue",
        "info registers rdi",
    ];
    let texts = [
        "#0",
        "Perl_newSVpv",
        "Perl_pp_unpack",
        "perl_run",
        "main",
        "Perl_unpackstring",
        " in Perl_pp_unpack",
        "call",
        "Old value = 16",
        "mov",
        "Perl_packlist",
        "<unavailable>",
        "SIGSEGV",
        "0x10",
    ];
    session(perl, &directory, &commands, &texts);
}
