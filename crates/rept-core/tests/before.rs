//! What a client of the gdb stub sees of a crash is the same before there is a history and after.
#![cfg(feature = "gdb")]

#[path = "support/client.rs"]
mod client;
#[path = "support/gate.rs"]
mod gate;
#[path = "support/slow.rs"]
mod slow;
#[path = "support/victim.rs"]
mod victim;

use client::Client;
use rept_core::{GdbOptions, History, Position, RecoverOptions, Session, Trust};
use rept_trace::{Address, RegWord};
use slow::Slow;
use std::os::unix::net::UnixStream;
use std::path::Path;
use victim::record_source;

/// One thread waits in a call, one runs, and the third crashes.
const THREADS: &str = r#"
#include <pthread.h>
#include <unistd.h>
static volatile long turns;
static int ends[2];
static void *wait(void *unused) { char byte; return (void *)read(ends[0], &byte, 1); }
static void *run(void *unused) { for (;;) turns++; }
static void *crash(void *unused) { while (turns < 100) ; return *(void *volatile *)0x10; }
int main(void) {
    pthread_t threads[3];
    if (pipe(ends)) return 1;
    pthread_create(&threads[0], 0, wait, 0);
    pthread_create(&threads[1], 0, run, 0);
    pthread_create(&threads[2], 0, crash, 0);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], 0);
    return 0;
}
"#;

/// Numbers of the registers that are asked for, one by one.
const REGISTERS: u64 = 160;

/// Everything that a client can ask at the crash, and the answers.
fn look(client: &mut Client, session: &Session) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    let mut ask = |client: &mut Client, packet: String| {
        let answer = client.ask(&packet);
        seen.push((packet, answer.clone()));
        answer
    };
    let dump = session.dump().expect("there is a dump");
    for packet in ["?", "qC", "vCont?", "qfThreadInfo", "qsThreadInfo"] {
        ask(client, packet.to_owned());
    }
    for thread in dump.threads() {
        let id = format!("p1.{:x}", thread.thread.0);
        ask(client, format!("T{id}"));
        ask(client, format!("Hg{id}"));
        ask(client, "g".to_owned());
        for number in 0..REGISTERS {
            ask(client, format!("p{number:x}"));
        }
        let stack = thread.get(RegWord::RSP).unwrap_or(0);
        for at in [stack.wrapping_sub(0x100), stack, stack + 0x800] {
            ask(client, format!("m{at:x},400"));
        }
        ask(client, format!("m{:x},40", thread.rip.0));
    }
    for mapping in dump.memory().mappings() {
        // From before its start, over it, and across its end.
        for at in [
            mapping.start.0.wrapping_sub(8),
            mapping.start.0,
            mapping.end.0 - 8,
        ] {
            ask(client, format!("m{at:x},10"));
        }
        ask(client, format!("m{:x},fff", mapping.start.0));
    }
    for module in dump.modules() {
        ask(client, format!("m{:x},200", module.start.0));
    }
    for object in ["features:read:target.xml", "auxv:read:", "exec-file:read:"] {
        let whole = client.whole(object);
        seen.push((object.to_owned(), whole));
    }
    seen
}

#[track_caller]
fn assert_same(before: &[(String, String)], after: &[(String, String)]) {
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(after) {
        assert_eq!(before, after);
    }
}

/// What a client saw of a crash before there was a history, held against what it sees then.
fn check_same(slow: &Slow) {
    let mut seen = Vec::new();
    let served = slow.serve(|client, recovery| {
        client.ask("qSupported:multiprocess+;xmlRegisters=i386");
        let before = look(client, &slow.session);
        assert!(recovery.history().is_none(), "it waits at the gate");
        slow.gate.open();
        recovery.wait().expect("it is recovered");
        client.monitor("where");
        assert_same(&before, &look(client, &slow.session));
        let races = client.monitor("races");
        assert!(races.contains("places in the code race"), "{races}");
        seen = before;
    });
    assert_eq!(served, Ok(()));
    assert!(
        seen.iter()
            .filter(|(_, answer)| !answer.starts_with('E'))
            .count()
            > 200
    );
    let history = slow.session.recover(&RecoverOptions::default());
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    std::thread::scope(|scope| {
        let stub = scope.spawn(|| {
            let input = theirs.try_clone().expect("the socket can be shared");
            history.serve_gdb(input, theirs, GdbOptions::default())
        });
        let mut client = Client(ours);
        client.ask("qSupported:multiprocess+;xmlRegisters=i386");
        assert_same(&seen, &look(&mut client, &slow.session));
        drop(client);
        stub.join().expect("no panic").expect("the client left");
    });
    agrees_with_the_dump(&history);
}

/// What the dump has of its moment, the history has too: with certainty.
fn agrees_with_the_dump(history: &History) {
    let dump = history.session().dump().expect("there is a dump");
    let mut words = 0;
    for registers in dump.threads() {
        let Some(steps) = history.lifetime(registers.thread) else {
            continue;
        };
        let end = Position::new(registers.thread, steps.end);
        let state = history.at(end).expect("the end of a thread");
        assert_eq!(state.pc(), Some(registers.rip));
        for word in (0..RegWord::COUNT as u16).map(RegWord) {
            let value = state.reg(word);
            match registers.get(word) {
                Some(bits) if value.certain != 0 => {
                    assert_eq!(value.bits, bits & value.certain, "{}", word.name());
                    words += 1;
                }
                _ => {}
            }
        }
        let stack = registers.get(RegWord::RSP).unwrap_or(0);
        for at in (stack..stack + 0x400).map(Address) {
            let last = dump.memory().bytes(at).and_then(|run| run.first().copied());
            let known = Trust::Certain.known(&state.byte(at)) == 0xff;
            assert_eq!(known.then_some(state.byte(at).bits as u8), last, "{at}");
        }
    }
    assert!(words > 20, "{words}");
}

#[test]
fn the_crash_looks_the_same_before_and_after() {
    let Some(slow) = Slow::victim("waiting-same") else {
        return;
    };
    check_same(&slow);
}

#[test]
fn the_crash_of_several_threads_looks_the_same_before_and_after() {
    let build = ["cc", "-O1", "-g", "-pthread"];
    let record = |folder: &Path| Some(record_source(folder, "threads.c", THREADS, &build, None)?.0);
    let Some(slow) = Slow::new("waiting-threads", record, |_| true) else {
        return;
    };
    assert_eq!(
        slow.session.dump().map(|dump| dump.threads().len()),
        Some(4)
    );
    check_same(&slow);
}
