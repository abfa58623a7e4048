//! The gdb stub while the history is in the making, spoken to packet by packet.
#![cfg(feature = "gdb")]

#[path = "support/client.rs"]
mod client;
#[path = "support/gate.rs"]
mod gate;
#[path = "support/slow.rs"]
mod slow;
#[path = "support/victim.rs"]
mod victim;

use client::packet;
use rept_core::{Position, RecoverOptions};
use slow::Slow;
use std::io::Read;
use std::path::Path;
use victim::record;

#[test]
fn what_needs_the_history_waits_for_it() {
    let Some(slow) = Slow::victim("waiting-held") else {
        return;
    };
    let served = slow.serve(|client, recovery| {
        client.ask("qSupported:multiprocess+");
        // What is sent again is answered once, and what comes meanwhile waits behind it.
        for sent in [&packet("bs"), &packet("bs"), "-", "\x03"] {
            client.send(sent.as_bytes());
        }
        let first = client.answer();
        assert!(client.listen(first).1.starts_with("T02"));
        client.send(packet("bs").as_bytes());
        client.send(packet("vCont?").as_bytes());
        assert!(recovery.history().is_none());
        slow.gate.open();
        let first = client.answer();
        let (_, stop) = client.listen(first);
        assert!(stop.starts_with("T05thread"), "{stop}");
        let behind = client.answer();
        assert!(behind.starts_with("vCont;"), "{behind}");
        let position = recovery
            .wait()
            .expect("it is there")
            .crash()
            .expect("a signal")
            .position;
        let back = Position::new(position.thread, position.step - 1);
        assert!(client.monitor("where").starts_with(&back.to_string()));
        let (_, end) = client.ask_and_listen("c");
        assert!(end.starts_with("T0b"), "{end}");
    });
    assert_eq!(served, Ok(()));
}

#[test]
fn a_command_waits_and_is_answered() {
    let Some(slow) = Slow::victim("waiting-monitor") else {
        return;
    };
    let served = slow.serve(|client, _| {
        client.ask("qSupported:multiprocess+");
        // These have nothing to wait for.
        assert!(client.monitor("help").contains("last-write"));
        assert!(client.monitor("trust certain").contains("certain"));
        let hex: String = "where".bytes().map(|byte| format!("{byte:02x}")).collect();
        client.send(packet(&format!("qRcmd,{hex}")).as_bytes());
        slow.gate.open();
        let first = client.answer();
        let (text, answer) = client.listen(first);
        assert!(text.contains("use_it"), "{text}");
        assert_eq!(answer, "OK");
    });
    assert_eq!(served, Ok(()));
}

#[test]
fn an_interrupt_ends_the_waiting_and_not_the_recovery() {
    let Some(slow) = Slow::victim("waiting-interrupt") else {
        return;
    };
    let served = slow.serve(|client, recovery| {
        client.ask("qSupported:multiprocess+");
        for resumption in ["bc", "vCont;c", "s"] {
            client.send(packet(resumption).as_bytes());
            client.send(b"\x03");
            let first = client.answer();
            let (text, stop) = client.listen(first);
            assert!(text.contains("interrupted"), "{resumption}: {text}");
            assert!(stop.starts_with("T02"), "{resumption}: {stop}");
        }
        let hex: String = "where".bytes().map(|byte| format!("{byte:02x}")).collect();
        client.send(packet(&format!("qRcmd,{hex}")).as_bytes());
        client.send(b"\x03");
        let first = client.answer();
        let (text, answer) = client.listen(first);
        assert!(text.contains("interrupted"), "{text}");
        assert_eq!(answer, "OK");
        assert!(recovery.history().is_none());
        slow.gate.open();
        let (_, stop) = client.ask_and_listen("bs");
        assert!(stop.starts_with("T05"), "{stop}");
    });
    assert_eq!(served, Ok(()));
}

#[test]
fn a_client_that_leaves_while_it_waits_is_let_go() {
    let Some(slow) = Slow::victim("waiting-leaves") else {
        return;
    };
    // The gate is shut until the stub has ended.
    let hangs_up = slow.serve(|client, _| {
        client.send(packet("bc").as_bytes());
        // It is held back, and acknowledged.
        let acknowledged = client.0.read_exact(&mut [0]);
        acknowledged.expect("an acknowledgement");
    });
    assert_eq!(hangs_up, Ok(()));
}

#[test]
fn a_client_that_says_farewell_while_it_waits_is_let_go() {
    let Some(slow) = Slow::victim("waiting-detaches") else {
        return;
    };
    let detaches = slow.serve(|client, recovery| {
        client.ask("qSupported:multiprocess+");
        client.send(packet("bc").as_bytes());
        assert_eq!(client.ask("D;1"), "OK");
        assert_eq!(client.answer(), "", "the stub hung up");
        assert!(recovery.history().is_none());
    });
    assert_eq!(detaches, Ok(()));
}

#[test]
fn a_client_is_told_that_there_will_be_no_history() {
    let Some(slow) = Slow::victim("waiting-cancelled") else {
        return;
    };
    let served = slow.serve(|client, recovery| {
        client.ask("qSupported:multiprocess+");
        client.send(packet("bc").as_bytes());
        slow.cancellation.cancel();
        slow.gate.open();
        let first = client.answer();
        let check = |(text, stop): (String, String), reason: &str| {
            let why = "could not be recovered: the work was cancelled";
            assert!(text.contains(why), "{text}");
            assert!(stop.contains(reason), "{stop}");
        };
        check(client.listen(first), "replaylog:begin");
        check(client.ask_and_listen("c"), "T0b");
        check(client.ask_and_listen("bs"), "replaylog:begin");
        let text = client.monitor("explain rax");
        check((text, String::new()), "");
        // The crash is still there.
        assert!(client.ask("g").len() > 16);
        assert!(recovery.wait().is_err_and(|error| error.is_cancelled()));
    });
    assert_eq!(served, Ok(()));
}

#[test]
fn without_a_dump_everything_waits() {
    let record = |folder: &Path| Some(record(folder)?.0);
    let Some(slow) = Slow::new("waiting-no-dump", record, |_| false) else {
        return;
    };
    let served = slow.serve(|client, recovery| {
        // As gdb does, which hears nothing.
        for _ in 0..3 {
            client.send(packet("qSupported:multiprocess+").as_bytes());
        }
        assert!(recovery.history().is_none());
        slow.gate.open();
        assert!(client.answer().contains("ReverseStep+"));
        assert!(client.ask("?").starts_with("T05thread"));
        let (_, stop) = client.ask_and_listen("bs");
        assert!(stop.starts_with("T05"), "{stop}");
    });
    assert_eq!(served, Ok(()));
}

#[test]
fn without_a_dump_and_a_history_the_session_ends() {
    let record = |folder: &Path| Some(record(folder)?.0);
    let Some(slow) = Slow::new("waiting-nothing", record, |_| false) else {
        return;
    };
    let served = slow.serve(|client, _| {
        client.send(packet("?").as_bytes());
        client.send(b"\x03");
        assert!(client.answer().starts_with("E.interrupted"));
    });
    assert!(served.is_err_and(|error| error.contains("interrupted")));
    slow.cancellation.cancel();
    let served = slow.serve(|client, _| {
        let answer = client.ask("?");
        let why = "could not be recovered: the work was cancelled";
        assert!(answer.contains(why), "{answer}");
    });
    assert!(served.is_err_and(|error| error.contains("cancelled")));
}

#[test]
fn a_client_that_does_not_wait_is_hung_up_on() {
    let Some(slow) = Slow::victim("waiting-flood") else {
        return;
    };
    let served = slow.serve(|client, _| {
        client.send(packet("bs").as_bytes());
        (0..40_000).for_each(|_| client.send(b"$g#67"));
        while !client.answer().is_empty() {}
    });
    assert!(served.is_err_and(|error| error.contains("does not wait")));
}

#[test]
fn a_client_that_wants_no_acknowledgements_gets_none() {
    let Some(slow) = Slow::victim("waiting-no-ack") else {
        return;
    };
    let served = slow.serve(|client, _| {
        assert_eq!(client.ask("QStartNoAckMode"), "OK");
        client.send(packet("bs").as_bytes());
        client.send(b"\x03");
        let mut first = [0];
        client.0.read_exact(&mut first).expect("an answer");
        assert_eq!(&first, b"$");
        // The words for the user end with their sum.
        while client.0.read_exact(&mut first).is_ok() && &first != b"#" {}
        let _ = client.0.read_exact(&mut [0; 2]);
        assert!(client.answer().starts_with("T02"));
    });
    assert_eq!(served, Ok(()));
}

#[test]
fn a_recovery_gives_the_history_that_recovering_gives() {
    let Some(slow) = Slow::victim("waiting-join") else {
        return;
    };
    let recovery = slow.session.start_recovery(&RecoverOptions::default());
    let (said, heard) = std::sync::mpsc::channel();
    let again = said.clone();
    recovery.when_done(move || said.send(1).expect("somebody listens"));
    assert!(recovery.history().is_none());
    slow.gate.open();
    assert_eq!(heard.recv(), Ok(1));
    recovery.when_done(move || again.send(2).expect("somebody listens"));
    assert_eq!(heard.try_recv(), Ok(2));
    assert!(recovery.progress().is_some());
    let history = recovery.join().expect("nothing stopped it");
    let other = slow.session.recover(&RecoverOptions::default());
    assert_eq!(history.statistics(), other.statistics());
}

#[test]
fn a_recovery_that_is_cancelled_does_not_cancel_others() {
    let Some(slow) = Slow::victim("waiting-cancel") else {
        return;
    };
    let cancelled = slow.session.start_recovery(&RecoverOptions::default());
    cancelled.cancel();
    slow.gate.open();
    assert!(cancelled.join().is_err_and(|error| error.is_cancelled()));
    let other = slow.session.try_recover(&RecoverOptions::default());
    assert!(other.is_ok());
}

#[test]
fn a_panic_in_the_recovery_is_an_error() {
    let Some(slow) = Slow::victim("waiting-panic") else {
        return;
    };
    slow.gate.break_down();
    let recovery = slow.session.start_recovery(&RecoverOptions::default());
    let error = recovery.wait().err().map(ToString::to_string);
    assert!(error.is_some_and(|error| error.contains("panicked")));
}
