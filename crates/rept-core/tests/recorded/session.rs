//! A session says how far it is, stops when asked to, and keeps within its limits.

use super::victim::{Folder, record};
use rept_core::{
    Cancellation, Cursor, Direction, Limits, Position, Progress, RecoverOptions, Session,
    StopReason, StopSet,
};
use rept_trace::{Code, RegWord, ThreadId, ThreadTrace};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A session that cancels itself when told of something that fits.
fn cancelled_when(recording: &Path, fits: fn(&Progress) -> bool) -> Session {
    let cancellation = Cancellation::default();
    let own = cancellation.clone();
    let stop = move |progress| {
        if fits(&progress) {
            own.cancel();
        }
    };
    Session::builder()
        .directory(recording)
        .progress(stop)
        .cancellation(&cancellation)
        .open()
        .expect("the recording opens")
}

#[test]
fn progress_is_told_and_work_can_be_stopped() {
    let folder = Folder::new("session");
    let Some((recording, steps)) = record(&folder.0) else {
        return;
    };
    let told: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let list = Arc::clone(&told);
    let session = Session::builder()
        .directory(&recording)
        .progress(move |progress| list.lock().expect("no panic").push(progress))
        .open()
        .expect("the recording opens");
    let history = session
        .try_recover(&RecoverOptions::default())
        .expect("nobody stops it");
    history.prepare().expect("nobody stops it");
    let told = told.lock().expect("no panic");
    let last = |fits: fn(&Progress) -> bool| told.iter().rfind(|progress| fits(progress));
    let decoded = last(|progress| matches!(progress, Progress::Decoding { .. }));
    assert!(
        matches!(decoded, Some(Progress::Decoding { bytes, of }) if bytes == of && *of > 0),
        "{decoded:?}"
    );
    let built = last(|progress| matches!(progress, Progress::Building { .. }));
    assert!(
        matches!(built, Some(Progress::Building { of, .. }) if *of == steps),
        "{built:?}"
    );
    let indexed = last(|progress| matches!(progress, Progress::Indexing { .. }));
    assert!(indexed.is_some(), "{told:?}");

    let stops: [fn(&Progress) -> bool; 3] = [
        |progress| matches!(progress, Progress::Decoding { .. }),
        |progress| matches!(progress, Progress::Building { .. }),
        |progress| matches!(progress, Progress::Learning { phase: 2.., .. }),
    ];
    for fits in stops {
        let session = cancelled_when(&recording, fits);
        let error = session
            .try_recover(&RecoverOptions::default())
            .expect_err("it was cancelled");
        assert!(error.is_cancelled());
        assert_eq!(error.to_string(), "the work was cancelled");
        assert!(session.try_decode().is_err(), "and stays so");
    }
    let session = cancelled_when(&recording, |progress| {
        matches!(progress, Progress::Indexing { .. })
    });
    let history = session
        .try_recover(&RecoverOptions::default())
        .expect("only queries are stopped");
    assert!(history.prepare().is_err_and(|error| error.is_cancelled()));
    let thread = history.threads().next().expect("one thread");
    let mut cursor = Cursor::new(&history, thread).expect("it was traced");
    let end = cursor.position();
    for stop in [
        cursor.step_line(Direction::Backward),
        cursor.run(Direction::Backward, &StopSet::default()),
    ] {
        assert_eq!((stop.at, stop.reason), (end, StopReason::Cancelled));
    }
    let start = Position::new(thread, 0);
    assert!(
        history
            .diff(start, end, usize::MAX)
            .is_some_and(|found| found.more)
    );
    let opened = Session::builder()
        .directory(&recording)
        .cancellation(&{
            let cancellation = Cancellation::default();
            cancellation.cancel();
            cancellation
        })
        .open();
    assert!(opened.is_err_and(|error| error.is_cancelled()));
}

#[test]
fn a_thread_is_followed_while_it_is_decoded() {
    let folder = Folder::new("follow");
    let Some((recording, steps)) = record(&folder.0) else {
        return;
    };
    let session = Session::builder()
        .directory(&recording)
        .open()
        .expect("the recording opens");
    let trace = session.decode();
    let whole = &trace.threads[0];
    let mut found = Vec::new();
    let mut keep = |code: &Code, piece: &ThreadTrace| {
        found.extend(piece.addresses(code, 0));
        ControlFlow::Continue(())
    };
    let followed = session
        .follow(None, &mut keep)
        .expect("there is one thread");
    assert!(whole.addresses(&trace.code, 0).eq(found.into_iter()));
    assert_eq!(followed.steps, steps);
    assert_eq!(followed.gap.as_ref(), whole.gaps.first());
    assert_eq!(followed.diagnostics, []);
    let mut pieces = 0;
    let mut stop = |_: &Code, _: &ThreadTrace| {
        pieces += 1;
        ControlFlow::Break(())
    };
    assert!(session.follow(Some(whole.thread), &mut stop).is_some());
    let other = ThreadId(whole.thread.0 + 1);
    assert!(session.follow(Some(other), &mut stop).is_none());
    assert_eq!(pieces, 1, "whoever had enough is told nothing more");
}

#[test]
fn limits_cut_off_what_is_oldest() {
    let folder = Folder::new("limits");
    let Some((recording, steps)) = record(&folder.0) else {
        return;
    };
    let open = |limits| {
        let session = Session::builder().directory(&recording).limits(limits);
        session.open().expect("the recording opens")
    };
    let mut limits = Limits::default();
    limits.recovered_steps = 1000;
    let history = open(limits).recover(&RecoverOptions::default());
    assert_eq!(history.statistics().steps, 1000);
    let thread = history.threads().next().expect("one thread");
    let lifetime = history.lifetime(thread).expect("it was traced");
    assert_eq!(lifetime.end, steps, "all are decoded");
    let state = history.at(Position::new(thread, 0)).expect("it exists");
    assert_eq!(state.reg(RegWord::RAX).known, 0);

    let mut limits = Limits::default();
    limits.stream_bytes = 16 << 10;
    let session = open(limits);
    let decoded = session.decode().threads[0].steps();
    assert!(0 < decoded && decoded < steps, "{decoded} of {steps}");
    assert_eq!(session.final_state().threads.len(), 1, "the end is there");
}
