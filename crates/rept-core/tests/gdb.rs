//! Stock gdb walks backward through a recorded crash.
#![cfg(feature = "gdb")]

#[path = "support/gate.rs"]
mod gate;
#[path = "support/victim.rs"]
mod victim;

use gate::Gate;
use rept_core::{GDB_PYTHON, GdbOptions, History, RecoverOptions, Session};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What serves a connection.
type Server<'a> = dyn Fn(TcpStream) + Sync + 'a;

/// Serves one gdb that runs these commands; gives what it printed, and what `monitor` commands
/// did, which gdb prints to standard error. `None`, said aloud, without gdb.
fn gdb(history: &History, program: &Path, commands: &[&str]) -> Option<(String, String)> {
    serve(&of_history(history), |port| {
        stock_gdb(port, program, commands)
    })
}

fn stock_gdb(port: u16, program: &Path, commands: &[&str]) -> Command {
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch"]).arg(program);
    let target = format!("target remote 127.0.0.1:{port}");
    let first = ["set pagination off", "set debuginfod enabled off", &target];
    let all = first.iter().chain(commands);
    gdb.args(all.flat_map(|command| ["-ex", command]));
    gdb
}

fn of_history(history: &History) -> impl Fn(TcpStream) + Sync + '_ {
    |stream| {
        let input = stream.try_clone().expect("the socket can be shared");
        let _ = history.serve_gdb(input, stream, GdbOptions::default());
    }
}

/// Serves one client that is told the port of the loopback address; gives what it printed.
fn serve(server: &Server<'_>, client: impl FnOnce(u16) -> Command) -> Option<(String, String)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    let port = listener.local_addr().expect("it is bound").port();
    let mut client = client(port);
    client
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let Ok(client) = client.spawn() else {
        eprintln!("skipped: no {:?}", client.get_program());
        return None;
    };
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            let (stream, _) = listener.accept().expect("the client connects");
            server(stream);
        });
        let output = client.wait_with_output().expect("the client ends");
        // Should it never have connected, the server is still waiting.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        output
    });
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Some((text(output.stdout), text(output.stderr)))
}

/// Every text is printed, in this order.
#[track_caller]
fn assert_in_order(printed: &str, texts: &[&str]) {
    let mut rest = printed;
    for text in texts {
        let at = rest
            .find(text)
            .unwrap_or_else(|| panic!("{text:?} is not printed where it should be in:\n{printed}"));
        rest = &rest[at + text.len()..];
    }
}

#[test]
fn stock_gdb_goes_backward_and_forward() {
    let Some((folder, history)) = victim::recover("gdb") else {
        return;
    };
    let program = folder.0.join("victim");
    let commands = [
        "bt",
        "break plant",
        "reverse-continue",
        "monitor where",
        "info registers rip",
        "stepi",
        "reverse-stepi",
        "monitor seek 1:0",
        "monitor nonsense",
        "delete",
        "continue",
        "reverse-continue",
        "info registers k1",
    ];
    let Some((printed, monitor)) = gdb(&history, &program, &commands) else {
        return;
    };
    assert_in_order(
        &printed,
        &[
            "use_it",
            "main",
            "Breakpoint 1",
            "plant",
            "<plant",
            "SIGSEGV",
            "No more reverse-execution history",
            "<unavailable>",
        ],
    );
    assert_in_order(
        &monitor,
        &[" in plant at ", "there is no position 1:0", "last-write"],
    );
}

/// gdb remembers memory of the stack: after a seek it must not unwind over that of another time.
#[test]
fn gdb_python_commands_seek_and_forget() {
    let Some((folder, history)) = victim::recover("gdb-python") else {
        return;
    };
    let python = folder.0.join("rept.py");
    std::fs::write(&python, GDB_PYTHON).expect("the file can be written");
    let thread = history.crash().expect("a signal").position.thread;
    let first = |function: &str| {
        let at = history.session().symbols().addresses_of(function)[0];
        history.executions(thread, at, 0).next().expect("it ran")
    };
    let commands = [
        format!("source {}", python.display()),
        "bt".to_owned(),
        format!("rept seek {}", first("busy")),
        "bt".to_owned(),
        "rept locals".to_owned(),
        format!("rept seek {}", first("plant")),
        "info args".to_owned(),
        "rept mem $rsp 8".to_owned(),
        "rept trust inferred".to_owned(),
        "rept trust".to_owned(),
        "rept seek 1:0".to_owned(),
        "info registers cs".to_owned(),
    ];
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    let Some((printed, errors)) = gdb(&history, &folder.0.join("victim"), &commands) else {
        return;
    };
    let expect = [
        "#0",
        "use_it",
        "#1",
        "main",
        "busy (n=",
        "#0",
        "busy",
        "#1",
        "main",
        "n = ",
        "plant (it=",
        "it = 0x",
        "inferred values are shown",
        "inferred",
        "there is no position 1:0",
        "<unavailable>",
    ];
    assert_in_order(&printed, &expect);
    assert!(!errors.contains("Traceback"), "{errors}");
}

/// Longer than all the time that gdb gives to an answer, with what it sends again.
const HELD: Duration = Duration::from_secs(10);
/// How long gdb may take to look at the crash: whoever waits for ever tells nobody what is wrong.
const PATIENCE: Duration = Duration::from_secs(120);

/// The recovery is held back until gdb has looked at the crash, and for a while after: gdb, which is told
/// nothing of its time limit, connects, looks, waits, and goes backward.
#[test]
fn gdb_looks_at_the_crash_while_the_history_is_in_the_making() {
    let folder = victim::Folder::new("gdb-waits");
    let Some((recording, _)) = victim::record(&folder.0) else {
        return;
    };
    let looked = folder.0.join("looked");
    let (gate, until) = (Gate::default(), looked.clone());
    let waiting = gate.clone();
    let builder = Session::builder().directory(&recording);
    let session = builder.progress(move |_| waiting.pass()).open();
    let session = session.expect("the recording opens");
    let recovery = session.start_recovery(&RecoverOptions::default());
    let touch = format!("shell touch {}", looked.display());
    let commands = [
        "bt",
        "info threads",
        "info registers rip",
        "x/i $pc",
        &touch,
        "reverse-stepi",
        "monitor where",
        "reverse-continue",
        "continue",
    ];
    let serve_one = |stream: TcpStream| {
        let input = stream.try_clone().expect("the socket can be shared");
        let _ = recovery.serve_gdb(input, stream, GdbOptions::default());
    };
    let program = folder.0.join("victim");
    let opener = std::thread::spawn(move || {
        let begin = Instant::now();
        while !until.exists() && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(HELD);
        gate.open();
        until.exists()
    });
    let served = serve(&serve_one, |port| stock_gdb(port, &program, &commands));
    let has_looked = opener.join().expect("no panic");
    let Some((printed, errors)) = served else {
        return;
    };
    assert!(has_looked, "{printed}\n{errors}");
    let expect = [
        "use_it",
        "main",
        "Thread 1.",
        "use_it",
        "rip",
        "=> 0x",
        "use_it",
        "No more reverse-execution history",
        "SIGSEGV",
    ];
    assert_in_order(&printed, &expect);
    for trouble in ["packet error", "Timed out", "timed out", "Remote"] {
        assert!(
            !errors.contains(trouble) && !printed.contains(trouble),
            "{printed}\n{errors}"
        );
    }
    assert_in_order(&errors, &["rept: decoding", " in use_it"]);
}

/// What lldb prints to these commands, and its complaints; `None`, said aloud, without lldb.
fn lldb(history: &History, program: &Path, commands: &[&str]) -> Option<(String, String)> {
    serve(&of_history(history), |port| {
        let mut lldb = Command::new("lldb");
        lldb.args(["--no-lldbinit", "--batch"]).arg(program);
        // Its cache asks for 512 bytes where 8 are wanted, of which some may not be known.
        lldb.args([
            "-o",
            "settings set target.process.disable-memory-cache true",
        ]);
        lldb.args(["-o", &format!("gdb-remote 127.0.0.1:{port}")]);
        lldb.args(commands.iter().flat_map(|command| ["-o", command]));
        lldb
    })
}

#[test]
fn stock_lldb_connects_and_looks_around() {
    let Some((folder, history)) = victim::recover("lldb") else {
        return;
    };
    let busy = history.session().symbols().addresses_of("busy")[0];
    let thread = history.crash().expect("a signal").position.thread;
    let inside = history.executions(thread, busy, 0).next().expect("it ran");
    let seek = format!("process plugin packet monitor seek {inside}");
    let commands = [
        "bt",
        "register read rip rax",
        // lldb has no reverse step of its own; a seek is carried out by the next step.
        &seek,
        "thread step-inst",
        "bt",
        "register read",
        "frame variable n",
        "memory read -c 8 $rsp",
        "breakpoint set -n use_it",
        "continue",
        "process plugin packet monitor seek -3",
        "thread step-inst",
        "thread step-inst",
        "process plugin packet monitor where",
        "detach",
    ];
    let Some((printed, errors)) = lldb(&history, &folder.0.join("victim"), &commands) else {
        return;
    };
    let expect = [
        "frame #0",
        "use_it",
        "frame #1",
        "main",
        "rax = 0x0000000000000010",
        "stop reason = instruction step into",
        "busy",
        "frame #1",
        "main",
        "rip = 0x",
        "registers were unavailable",
        "(long) n = 100",
        "0x7ff",
        "stop reason = breakpoint",
        "use_it",
        "stop reason = instruction step into",
        "detached",
    ];
    assert_in_order(&printed, &expect);
    assert!(!printed.contains("0xcccc"), "{printed}");
    assert!(!errors.contains("error:"), "{errors}");
}
