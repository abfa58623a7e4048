//! Stock gdb walks backward through a recorded crash.
#![cfg(feature = "gdb")]

#[path = "support/victim.rs"]
mod victim;

use rept_core::{GdbOptions, History};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;

/// Serves one gdb that runs these commands; gives what it printed, and what `monitor` commands
/// did, which gdb prints to standard error. `None`, said aloud, without gdb.
fn gdb(
    history: &History,
    program: &std::path::Path,
    commands: &[&str],
) -> Option<(String, String)> {
    serve(history, |port| {
        let mut gdb = Command::new("gdb");
        gdb.args(["-nx", "-batch"]).arg(program);
        gdb.args([
            "-ex",
            "set pagination off",
            "-ex",
            "set debuginfod enabled off",
        ]);
        gdb.args(["-ex", &format!("target remote 127.0.0.1:{port}")]);
        gdb.args(commands.iter().flat_map(|command| ["-ex", command]));
        gdb
    })
}

/// Serves one client that is told the port of the loopback address; gives what it printed.
fn serve(history: &History, client: impl FnOnce(u16) -> Command) -> Option<(String, String)> {
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
            let input = stream.try_clone().expect("the socket can be shared");
            history.serve_gdb(input, stream, GdbOptions::default())
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
        "info registers xmm3",
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
