//! The fast engine pauses threads: then a race of two instructions is lost as without a recorder, what is
//! recorded is what ran, and nobody who sleeps is woken.

use crate::common::{Scratch, build, rept};
use crate::perf::check;
use std::ffi::OsString;
use std::path::PathBuf;

const PAUSED: &str = "threads were paused";

/// Records `pauses.c`, with these options and, if it is to be calm, an argument; `None` without a compiler.
/// Also what `rept` said.
#[track_caller]
fn record(name: &str, options: &str, calm: bool) -> Option<(Scratch, PathBuf, String)> {
    let scratch = Scratch::new(name);
    let program = build("pauses.c", &scratch)?;
    let directory = scratch.join("recording");
    let line = format!("record --engine fast --buffer 16K {options} -o");
    let mut words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
    words.extend([directory.clone().into(), "--".into(), program.into()]);
    words.extend(calm.then(|| "calm".into()));
    let output = rept(&words);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    Some((
        scratch,
        directory,
        String::from_utf8(output.stdout).unwrap(),
    ))
}

/// By copies alone it takes minutes until one reads the two words torn; then the status would be 3. A call
/// that was woken would end the program with status 4.
#[test]
fn a_race_of_two_instructions_is_lost() {
    let Some((_scratch, directory, said)) = record("pauses", "--seed 5", false) else {
        return;
    };
    assert!(said.contains("SIGSEGV") && said.contains(PAUSED), "{said}");
    // Where all of them went, as perf has it.
    check(&directory, 3);
}

#[test]
fn who_wants_no_pauses_has_none() {
    for (options, expected) in [("", true), ("--no-pauses", false)] {
        let name = format!("pauses-calm{options}");
        let Some((_scratch, _, said)) = record(&name, options, true) else {
            return;
        };
        assert!(said.contains("status 0"), "{options}: {said}");
        assert_eq!(said.contains(PAUSED), expected, "{options}: {said}");
    }
}
