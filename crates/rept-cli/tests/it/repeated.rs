//! The same recording, asked again and again: each process seeds its hash maps anew, and each says the same.

use crate::common::{Scratch, succeed};
use crate::threads::record;

/// Processes, each with seeds of its own.
const TIMES: usize = 20;

#[test]
fn twenty_processes_say_the_same_bytes() {
    for (source, name) in [
        ("overrun.c", "repeated-one"),
        ("threads/use_after_free.c", "repeated-threads"),
    ] {
        let scratch = Scratch::new(name);
        let Some(recording) = record(source, &scratch, "r", |_| ()) else {
            return;
        };
        for question in ["export", "races"] {
            let first = succeed(question, &recording);
            let again = (1..TIMES).map(|_| succeed(question, &recording));
            for (time, said) in again.enumerate() {
                assert!(said == first, "{source}, {question}: time {time} differs");
            }
        }
    }
}
