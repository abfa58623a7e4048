//! Prints `tid ip` of every step in a truth file, thread by thread; with `-v` all registers and accesses.

use rept_capture::truth::Reader;
use std::error::Error;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let verbose = arguments.iter().any(|argument| argument == "-v");
    let path = arguments
        .iter()
        .find(|argument| *argument != "-v")
        .ok_or("usage: truth [-v] FILE")?;
    let mut reader = Reader::open(&PathBuf::from(path))?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for thread in reader.threads() {
        let mut steps = reader.read_from(thread, 0)?;
        while let Some(step) = steps.advance()? {
            match verbose {
                true => writeln!(out, "{thread} {step:x?}")?,
                false => writeln!(out, "{thread} {:x}", step.ip)?,
            }
        }
    }
    Ok(())
}
