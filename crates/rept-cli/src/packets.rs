//! `rept packets`: the packets of a trace file, one a line.

use crate::failure::Failure;
use rept_core::{Capture, CpuModel};
use rept_decode::dump::{DumpOptions, dump};
use rept_decode::packet::Packets;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;

/// Prints the packets of a trace container, stream by stream, or of a file of bare packets. `cpu` made
/// them, if they do not say: errata change how some packets are read.
///
/// # Errors
/// The file cannot be read, or holds no trace, or no PSB.
pub(crate) fn packets(
    path: &Path,
    cpu: Option<CpuModel>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if !Capture::is_container(path) {
        let bytes = std::fs::read(path).map_err(|error| Failure::file("read", path, error))?;
        if bytes.is_empty() {
            return Err(Failure::new(format!(
                "{}: the file is empty",
                path.display()
            )));
        }
        list(&bytes, cpu, out).map_err(Failure::output)?;
        return some_psb(path, [&bytes[..]]);
    }
    let capture = Capture::open(path).map_err(|error| Failure::new(error.to_string()))?;
    for problem in &capture.problems {
        eprintln!("rept: note: {problem}");
    }
    streams(&capture, cpu, out).map_err(Failure::output)?;
    let pieces = capture.streams.iter().flat_map(|stream| &stream.pieces);
    some_psb(path, pieces.map(|piece| capture.bytes(piece)))
}

/// Fails when nothing could be listed, for want of a PSB.
fn some_psb(path: &Path, streams: impl IntoIterator<Item: AsRef<[u8]>>) -> Result<(), Failure> {
    let mut streams = streams.into_iter();
    if streams.any(|bytes| Packets::new(bytes.as_ref(), 0).sync(0)) {
        return Ok(());
    }
    let sentence = format!("{}: there is no PSB to begin at", path.display());
    Err(Failure::new(sentence))
}

fn streams(capture: &Capture, cpu: Option<CpuModel>, out: &mut dyn Write) -> io::Result<()> {
    let cpu = capture.cpu.or(cpu);
    for stream in &capture.streams {
        let of = match (stream.thread, stream.cpu) {
            (Some(thread), _) => format!("thread {thread}"),
            (None, Some(cpu)) => format!("processor {cpu}"),
            (None, None) => "unknown thread".to_owned(),
        };
        for piece in &stream.pieces {
            writeln!(
                out,
                "{of}: {} bytes from offset {:#x}",
                piece.len, piece.offset
            )?;
            list(&capture.bytes(piece), cpu, out)?;
        }
    }
    Ok(())
}

fn list(bytes: &[u8], cpu: Option<CpuModel>, out: &mut dyn Write) -> io::Result<()> {
    let cpu = cpu.filter(|cpu| cpu.intel);
    let options = DumpOptions {
        no_pad: true,
        cpu: cpu.map(|cpu| rept_decode::CpuModel {
            family: cpu.family,
            model: cpu.model,
            stepping: cpu.stepping,
        }),
        ..DumpOptions::default()
    };
    let mut adapter = Adapter { out, error: None };
    let _ = dump(bytes, options, &mut adapter);
    adapter.error.map_or(Ok(()), Err)
}

/// Lets text be written to a byte stream; keeps the stream's error.
struct Adapter<'a> {
    out: &'a mut dyn Write,
    error: Option<io::Error>,
}

impl fmt::Write for Adapter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.out.write_all(text.as_bytes()).map_err(|error| {
            self.error = Some(error);
            fmt::Error
        })
    }
}
