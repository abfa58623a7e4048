//! Opens a crash and prints who wrote the pointer that it followed, and where that came from.
//!
//! `cargo run -p rept-core --example last_writer -- DIR`, with DIR from `rept record -o DIR`.

use rept_core::{History, Location, Position, RecoverOptions, Session};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).ok_or("usage: last_writer DIR")?;
    let session = Session::builder().directory(directory).open()?;
    for finding in session.diagnostics() {
        eprintln!("note: {finding}");
    }
    let history = session.recover(&RecoverOptions::default());
    let crash = history.crash().ok_or("the dump names no signal")?;
    println!(
        "signal {} {}",
        crash.signal,
        place(&history, crash.position)
    );
    let register = crash.pointer.ok_or("no pointer was followed")?;

    // The register was loaded from memory; the last store to that place is the one that matters.
    let pointer = Location::Reg(register);
    let explanation = history
        .explain(pointer, crash.position)
        .ok_or("the crash is in no traced thread")?;
    for link in &explanation.links {
        println!("{}  {}", link.to, place(&history, link.at));
    }
    println!("{:?}", explanation.origin);

    let in_memory = |link: &&rept_core::Link| matches!(link.to, Location::Mem { .. });
    match explanation.links.iter().find(in_memory) {
        Some(link) => println!("last writer: {}", place(&history, link.at)),
        None => println!("no store in the window"),
    }
    Ok(())
}

/// `TID:STEP in function, inlined in …, line` of the last of them.
fn place(history: &History, at: Position) -> String {
    let symbol = history.source(at).unwrap_or_default();
    let frames = symbol.frames.iter();
    let names: Vec<&str> = frames.filter_map(|f| f.function.as_deref()).collect();
    let line = symbol.frames.last().and_then(|outermost| outermost.line);
    match line {
        Some(line) => format!("{at} in {}, line {line}", names.join(", inlined in ")),
        None => format!("{at} in {}", symbol.name().unwrap_or("?")),
    }
}
