//! Recordings of several threads in which one side of something is missing: it is named, and the
//! rest is recovered.

use crate::common::Scratch;
use crate::threads::{open, record};
use rept_capture::Schedule;
use rept_core::{Position, RecoverOptions, Session, Subject};
use rept_trace::{RegWord, ThreadId};
use std::path::Path;

const SWITCH: u32 = 14;
const SWITCH_CPU_WIDE: u32 = 15;
const AUXTRACE: u32 = 71;
/// A kind that nobody writes.
const UNHEARD_OF: u32 = 0x7eee;
/// Where the thread is in an AUXTRACE record: header, size, offset, reference, index.
const AUXTRACE_THREAD: usize = 8 + 8 + 8 + 8 + 4;
/// Where a perf.data file says where its records are.
const DATA_SECTION: usize = 40;

fn word(file: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"))
}

fn long(file: &[u8], at: usize) -> usize {
    u64::from_le_bytes(file[at..at + 8].try_into().expect("eight bytes")) as usize
}

/// Goes over the records of a perf.data file, which may be changed, and returns how many `change`
/// says that it changed.
fn change_records(recording: &Path, mut change: impl FnMut(u32, &mut [u8]) -> bool) -> usize {
    let path = recording.join("perf.data");
    let mut file = std::fs::read(&path).expect("a trace");
    let mut at = long(&file, DATA_SECTION);
    let end = at + long(&file, DATA_SECTION + 8);
    let mut changed = 0;
    while at < end {
        let kind = word(&file, at);
        let bytes = usize::from(u16::from_le_bytes([file[at + 6], file[at + 7]]));
        let behind = if kind == AUXTRACE {
            long(&file, at + 8)
        } else {
            0
        };
        changed += usize::from(change(kind, &mut file[at..at + bytes]));
        at += bytes + behind;
    }
    std::fs::write(&path, file).expect("writable");
    changed
}

#[track_caller]
fn says(session: &Session, subject: &Subject, part: &str) {
    let said = session.diagnostics();
    let found = said
        .iter()
        .any(|one| one.subject == *subject && one.message.contains(part));
    assert!(found, "{part}: {said:#?}");
}

// The trace of one thread is given to a thread that there is not: the core has a thread without a
// trace, and the trace one that the core does not know.
#[test]
fn threads_of_one_side_only_are_named_and_the_rest_is_recovered() {
    const NOBODY: u32 = 0x00ab_cdef;
    let scratch = Scratch::new("one-sided");
    let Some(recording) = record("threads/publication.c", &scratch, "r", |_| ()) else {
        return;
    };
    let whole = open(&recording);
    let crashed = whole
        .recover(&RecoverOptions::default())
        .crash()
        .expect("a crash")
        .position;
    let threads: Vec<ThreadId> = whole
        .decode()
        .threads
        .iter()
        .map(|one| one.thread)
        .collect();
    let other = *threads
        .iter()
        .find(|&&id| id != crashed.thread)
        .expect("two threads");
    let changed = change_records(&recording, |kind, record| {
        let of_other = kind == AUXTRACE && word(record, AUXTRACE_THREAD) == other.0;
        if of_other {
            record[AUXTRACE_THREAD..AUXTRACE_THREAD + 4].copy_from_slice(&NOBODY.to_le_bytes());
        }
        of_other
    });
    assert!(changed > 0);
    let session = open(&recording);
    let history = session.recover(&RecoverOptions::default());
    says(&session, &Subject::Thread(other), "has no trace in");
    says(
        &session,
        &Subject::Thread(ThreadId(NOBODY)),
        "its registers at the end are not known",
    );
    let steps = |session: &Session, id| session.decode().thread(id).map(|one| one.steps());
    assert_eq!(
        steps(&session, ThreadId(NOBODY)),
        steps(&whole, other),
        "its path is still shown"
    );
    assert_eq!(steps(&session, other), None);
    let at = |step| {
        history
            .at(Position::new(crashed.thread, step))
            .expect("traced")
    };
    let stack = at(crashed.step - 1).reg(RegWord::RSP);
    assert_eq!(
        stack.certain,
        u64::MAX,
        "the thread that died is recovered from the core"
    );
}

// The same run with and without the records that say who was on which processor when.
#[test]
fn processors_without_switch_records_give_their_steps_to_nobody() {
    let scratch = Scratch::new("no-sideband");
    let recorded = record("threads/publication.c", &scratch, "r", |options| {
        options.schedule = Schedule::Cpus {
            count: 2,
            longest: 300,
        };
        options.per_cpu = true;
    });
    let Some(recording) = recorded else { return };
    assert!(open(&recording).decode().threads.len() > 1);
    let changed = change_records(&recording, |kind, record| {
        let switch = kind == SWITCH || kind == SWITCH_CPU_WIDE;
        if switch {
            record[..4].copy_from_slice(&UNHEARD_OF.to_le_bytes());
        }
        switch
    });
    assert!(changed > 0);
    let session = open(&recording);
    assert_eq!(
        session
            .decode()
            .threads
            .iter()
            .map(|one| one.steps())
            .sum::<u64>(),
        0
    );
    says(
        &session,
        &Subject::Trace,
        "steps cannot be given to a thread",
    );
    let history = session.recover(&RecoverOptions::default());
    assert!(
        history.crash().is_some(),
        "what the core says is still there"
    );
}
