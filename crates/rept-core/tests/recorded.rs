//! A small C program, recorded as it crashes, opened and questioned.

#[path = "recorded/session.rs"]
mod session;
#[path = "recorded/strings.rs"]
mod strings;
#[path = "recorded/suspects.rs"]
mod suspects;
#[path = "support/victim.rs"]
mod victim;

use rept_core::{
    Cursor, Direction, Location, Origin, Position, RecoverOptions, Session, StopReason, StopSet,
    Subject, Trust, Unknown,
};
use rept_trace::{Address, RegWord, ThreadId};
use victim::{Folder, record};

fn function_at(history: &rept_core::History, position: Position) -> String {
    let symbol = history.source(position).expect("the position exists");
    symbol.name().unwrap_or("?").to_owned()
}

#[test]
fn a_recorded_crash_is_opened_and_questioned() {
    let folder = Folder::new("recorded");
    let Some((recording, steps)) = record(&folder.0) else {
        return;
    };
    let session = Session::builder()
        .directory(&recording)
        .open()
        .expect("the recording opens");
    assert!(
        session.failures().is_empty() && !session.is_mismatched(),
        "{:?}",
        session.diagnostics()
    );
    let trace = session.decode();
    let decoded: u64 = trace.threads.iter().map(|thread| thread.steps()).sum();
    assert_eq!(
        decoded, steps,
        "every recorded step is decoded: {:?}",
        trace.threads[0].gaps
    );
    assert!(
        !session.final_state().threads.is_empty(),
        "the trace ends where the core has the thread"
    );

    let history = session.recover(&RecoverOptions::default());
    let crash = history.crash().expect("the core has the signal");
    assert_eq!(
        (crash.signal, crash.address.map(|at| at.0)),
        (11, Some(0x10))
    );
    let symbol = session.symbols().lookup(crash.pc);
    assert_eq!(symbol.name(), Some("use_it"));
    assert!(
        symbol
            .line()
            .is_some_and(|(file, line)| file.ends_with("victim.c") && line == 7),
        "{symbol:?}"
    );

    let frames = history
        .backtrace(crash.position, Trust::Certain)
        .expect("the position exists");
    let names: Vec<_> = frames
        .frames
        .iter()
        .map(|frame| {
            session
                .symbols()
                .lookup(frame.lookup_address())
                .name()
                .unwrap_or("?")
                .to_owned()
        })
        .collect();
    assert_eq!(names[..2], ["use_it", "main"], "{frames:?}");

    walks(&history, crash.position);
}

/// Calls, executions and cursors at the crash.
fn walks(history: &rept_core::History, crash: Position) {
    let plant = history.session().symbols().addresses_of("plant");
    assert_eq!(plant.len(), 1);
    let planted: Vec<_> = history.executions(crash.thread, plant[0], 0).collect();
    assert_eq!(planted.len(), 1, "plant ran once");
    assert_eq!(function_at(history, planted[0]), "plant");
    let call = history
        .calls(crash.thread)
        .iter()
        .find(|call| call.callee == plant[0])
        .expect("a call of plant");
    assert_eq!(call.site + 1, planted[0].step);
    assert!(call.returned.is_some());

    let mut cursor = Cursor::new(history, crash.thread).expect("the thread was traced");
    let stops = StopSet {
        breakpoints: plant.clone(),
        watches: Vec::new(),
    };
    let stop = cursor.run(Direction::Backward, &stops);
    assert_eq!(
        (stop.at, stop.reason),
        (planted[0], StopReason::Breakpoint(plant[0]))
    );
    assert_eq!(
        cursor.step_out(Direction::Forward).at.step,
        call.returned.expect("checked") + 1
    );
    assert_eq!(function_at(history, cursor.position()), "main");
    let caller = cursor.step_out(Direction::Backward);
    assert_ne!(
        function_at(history, caller.at),
        "main",
        "main's caller, in libc"
    );
    assert!(
        history
            .at(Position::new(crash.thread, crash.step + 1))
            .is_none()
    );
    assert!(history.at(Position::new(ThreadId(1), 0)).is_none());
}

#[test]
fn the_planting_store_explains_the_faulting_pointer() {
    let Some((_folder, history)) = victim::recover("explain") else {
        return;
    };
    let crash = history.crash().expect("the core has the signal");
    let faulting = crash.pointer.expect("a memory operand faulted");
    assert_eq!(faulting, RegWord::RAX);
    let explanation = history
        .explain(Location::Reg(faulting), crash.position)
        .expect("the position exists");
    let Origin::Constant(at) = explanation.origin else {
        // Needs the engine to resolve the load of the pointer.
        panic!("{explanation:?}");
    };
    assert_eq!(function_at(&history, at), "plant", "{explanation:?}");

    let why = history.why_known_back(Location::Reg(faulting), crash.position, 8);
    assert!(
        !why.is_empty() && why[0].known_at == crash.position,
        "{why:?}"
    );
    assert!(
        history
            .why_unknown(Location::Reg(faulting), crash.position)
            .is_none()
    );
    let nowhere = Location::Mem {
        address: Address(0x10),
        size: 8,
    };
    assert!(history.why_known(nowhere, crash.position).is_none());
    assert_eq!(
        history.why_unknown(nowhere, crash.position),
        Some(Unknown::NotInDump)
    );
}

#[test]
fn a_difference_names_what_a_call_changed() {
    let Some((_folder, history)) = victim::recover("diff") else {
        return;
    };
    let crash = history.crash().expect("the core has the signal");
    let thread = crash.position.thread;
    let plant = history.session().symbols().addresses_of("plant")[0];
    let mut calls = history.calls(thread).iter();
    let call = calls.find(|call| call.callee == plant).expect("it ran");
    let before = Position::new(thread, call.site);
    let after = Position::new(thread, call.returned.expect("it returned") + 1);
    let found = history.diff(after, before, 1000).expect("both exist");
    let planted = found.changes.iter().filter(|change| {
        let memory = matches!(change.location, Location::Mem { .. });
        memory && change.after.known == u64::MAX && change.after.bits == 0x10
    });
    assert_eq!(planted.count(), 1, "{found:?}");
    assert!(!found.more);
    let registers = [RegWord::RBX, RegWord::RBP, RegWord::RSP].map(Location::Reg);
    let kept = |change: &rept_core::Change| registers.contains(&change.location);
    assert!(!found.changes.iter().any(kept), "{found:?}");
    let one = history.diff(before, after, 1).expect("both exist");
    assert!(one.more && one.changes.len() == 1);
    let elsewhere = Position::new(ThreadId(1), 0);
    assert!(history.diff(before, elsewhere, 1).is_none());
}

#[test]
fn files_that_do_not_belong_together_are_told() {
    let folder = Folder::new("mismatch");
    let Some((first, _)) = record(&folder.0) else {
        return;
    };
    let other = Folder::new("mismatch-other");
    let Some((second, _)) = record(&other.0) else {
        return;
    };
    let session = Session::builder()
        .dump(first.join("core"))
        .trace(second.join("perf.data"))
        .open()
        .expect("both open");
    assert!(session.is_mismatched());
    let said = session.diagnostics();
    let mismatch = said
        .iter()
        .find(|finding| finding.subject == Subject::Mismatch)
        .expect("it is said");
    for file in [first.join("core"), second.join("perf.data")] {
        assert!(
            mismatch.message.contains(&*file.to_string_lossy()),
            "{mismatch}"
        );
    }
    assert!(
        session.final_state().threads.is_empty(),
        "nothing of the dump is used"
    );

    std::fs::write(folder.0.join("junk"), b"not a trace").expect("the file can be written");
    let session = Session::builder()
        .dump(first.join("core"))
        .trace(folder.0.join("junk"))
        .open()
        .expect("the core opens");
    let [failure] = session.failures() else {
        panic!("{:?}", session.failures())
    };
    assert!(
        failure
            .to_string()
            .contains("junk: at offset 0x0: expected a perf.data file"),
        "{failure}"
    );
    assert!(
        session.dump().is_some_and(|dump| dump.fault().is_some()),
        "what can be shown is there"
    );
}
