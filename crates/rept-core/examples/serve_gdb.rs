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
    let history = session.recover(&RecoverOptions::default());
    let Some(crash) = history.crash() else {
        return Err(format!("{directory}: no signal ended the program").into());
    };
    let symbol = session.symbols().lookup(crash.pc);
    println!(
        "crashed with signal {} in {}",
        crash.signal,
        symbol.name().unwrap_or("?")
    );

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("gdb -ex 'target remote {}'", listener.local_addr()?);
    let (stream, _) = listener.accept()?;
    history.serve_gdb(stream.try_clone()?, stream, GdbOptions::default())?;
    Ok(())
}
