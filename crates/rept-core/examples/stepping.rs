//! A debugger that goes both ways: `s`tep, `n`ext line over calls, `o`ut, `r` turns round, `p`rint
//! variables, `b`acktrace, `q`uit. Commands come from standard input, one a line.
//!
//! `cargo run -p rept-core --example stepping -- DIR`

use rept_core::{Cursor, Direction, RecoverOptions, Session, Trust};
use std::io::BufRead;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).ok_or("usage: stepping DIR")?;
    let session = Session::builder().directory(directory).open()?;
    let history = session.recover(&RecoverOptions::default());
    let thread = match history.crash() {
        Some(crash) => crash.position.thread,
        None => history.threads().next().ok_or("nothing was traced")?,
    };
    let mut cursor = Cursor::new(&history, thread).ok_or("the thread was not traced")?;
    let mut direction = Direction::Backward;
    for command in std::io::stdin().lock().lines() {
        match command?.trim() {
            "s" => drop(cursor.step(direction)),
            "n" => drop(cursor.step_over(direction)),
            "o" => drop(cursor.step_out(direction)),
            "r" => {
                direction = match direction {
                    Direction::Forward => Direction::Backward,
                    Direction::Backward => Direction::Forward,
                }
            }
            "p" => {
                let variables = history.variables(cursor.position(), Trust::Inferred);
                for variable in variables.unwrap_or_default().all() {
                    println!("  {variable}");
                }
            }
            "b" => {
                let backtrace = history.backtrace(cursor.position(), Trust::Inferred);
                for frame in backtrace.unwrap_or_default().frames {
                    let symbol = session.symbols().lookup(frame.lookup_address());
                    println!("  {} {}", frame.pc, symbol.name().unwrap_or("?"));
                }
            }
            "q" => break,
            other => println!("{other:?}? one of s n o r p b q"),
        }
        let symbol = history.source(cursor.position()).unwrap_or_default();
        let (file, line) = symbol.line().unwrap_or(("?", 0));
        let name = symbol.name().unwrap_or("?");
        println!("{} {name} {file}:{line}", cursor.position());
    }
    Ok(())
}
