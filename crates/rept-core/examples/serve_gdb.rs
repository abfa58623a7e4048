//! A program's own crash handling that ends in a reverse debugger: runs a command, and when a
//! signal ends it, serves gdb over the recording that the command left.
//!
//! `cargo run -p rept-core --features gdb --example serve_gdb -- DIR COMMAND...`, where COMMAND
//! writes `core` and `perf.data` to DIR (as `rept record -o DIR -- PROGRAM` does). Without a
//! command what DIR holds is served.

use rept_core::{GdbOptions, RecoverOptions, Session};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments
        .next()
        .ok_or("usage: serve_gdb DIR [COMMAND...]")?;
    if let Some(program) = arguments.next() {
        Command::new(program).args(arguments).status()?;
    }

    let session = Session::builder().directory(&directory).open()?;
    // gdb sees the crash at once, and waits for the history where it goes back.
    let recovery = session.start_recovery(&RecoverOptions::default());
    let dump = session.dump().ok_or("there is no core")?;
    let Some(fault) = dump.fault() else {
        return Err(format!("{directory}: no signal ended the program").into());
    };
    let symbol = dump
        .thread(fault.thread)
        .map(|registers| session.symbols().lookup(registers.rip));
    println!(
        "crashed with signal {} in {}",
        fault.signal,
        symbol
            .as_ref()
            .and_then(|symbol| symbol.name())
            .unwrap_or("?")
    );

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("gdb -ex 'target remote {}'", listener.local_addr()?);
    let (stream, _) = listener.accept()?;
    recovery.serve_gdb(stream.try_clone()?, stream, GdbOptions::default())?;
    Ok(())
}
