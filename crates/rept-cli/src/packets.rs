//! `rept packets`: the packets of a trace file, one a line.

use crate::args::PacketsArgs;
use crate::failure::Failure;
use rept_core::{Capture, CpuModel, Stream};
use rept_decode::dump::{DumpOptions, Entry, dump, entries};
use rept_decode::packet::{Packet, Packets};
use serde::Serialize;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;

/// One packet, for scripts (docs/json.md): fields are added, never renamed.
#[derive(Serialize)]
struct Line {
    /// Absent for bare packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processor: Option<u32>,
    offset: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    packet: Option<&'static str>,
    /// The packet with its fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// How packets are read and printed, and of which stream they are.
#[derive(Clone, Copy)]
struct Form<'a> {
    /// The processor that made them: errata change how some packets are read.
    cpu: Option<CpuModel>,
    json: bool,
    stream: Option<&'a Stream>,
}

/// Prints the packets of a trace container, stream by stream, or of a file of bare packets.
///
/// # Errors
/// The file cannot be read, or holds no trace, or no PSB.
pub(crate) fn packets(wanted: &PacketsArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let path = &wanted.file;
    let form = Form {
        cpu: wanted.cpu,
        json: wanted.json,
        stream: None,
    };
    if !Capture::is_container(path) {
        let bytes = std::fs::read(path).map_err(|error| Failure::file("read", path, error))?;
        if bytes.is_empty() {
            return Err(Failure::new(format!(
                "{}: the file is empty",
                path.display()
            )));
        }
        list(&bytes, 0, form, out).map_err(Failure::output)?;
        return some_psb(path, [&bytes[..]]);
    }
    let capture = Capture::open(path).map_err(|error| Failure::new(error.to_string()))?;
    for problem in &capture.problems {
        eprintln!("rept: note: {problem}");
    }
    streams(&capture, form, out).map_err(Failure::output)?;
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

fn streams(capture: &Capture, form: Form<'_>, out: &mut dyn Write) -> io::Result<()> {
    for stream in &capture.streams {
        let form = Form {
            cpu: capture.cpu.or(form.cpu),
            stream: Some(stream),
            ..form
        };
        for piece in &stream.pieces {
            if !form.json {
                let (len, offset) = (piece.len, piece.offset);
                writeln!(out, "{}: {len} bytes from offset {offset:#x}", of(stream))?;
            }
            list(&capture.bytes(piece), piece.offset, form, out)?;
        }
    }
    Ok(())
}

fn of(stream: &Stream) -> String {
    match (stream.thread, stream.cpu) {
        (Some(thread), _) => format!("thread {thread}"),
        (None, Some(cpu)) => format!("processor {cpu}"),
        (None, None) => "unknown thread".to_owned(),
    }
}

/// Lists packets that begin at an offset of their stream.
fn list(bytes: &[u8], start: u64, form: Form<'_>, out: &mut dyn Write) -> io::Result<()> {
    let cpu = form.cpu.filter(|cpu| cpu.intel);
    let options = DumpOptions {
        no_pad: true,
        cpu: cpu.map(|cpu| rept_decode::CpuModel {
            family: cpu.family,
            model: cpu.model,
            stepping: cpu.stepping,
        }),
        ..DumpOptions::default()
    };
    if form.json {
        for entry in entries(bytes, options) {
            serde_json::to_writer(&mut *out, &line(entry, start, form))?;
            writeln!(out)?;
        }
        return Ok(());
    }
    let mut adapter = Adapter { out, error: None };
    let _ = dump(bytes, options, &mut adapter);
    adapter.error.map_or(Ok(()), Err)
}

fn line(entry: Entry, start: u64, form: Form<'_>) -> Line {
    let thread = form.stream.and_then(|stream| stream.thread);
    let processor = form.stream.and_then(|stream| stream.cpu);
    let packet = entry.found.as_ref().ok();
    Line {
        thread: thread.map(|thread| thread.0),
        processor: processor.filter(|_| thread.is_none()),
        offset: format!("{:#x}", start.saturating_add(entry.offset as u64)),
        packet: packet.map(Packet::name),
        text: packet.map(Packet::to_string),
        ip: entry.ip.map(|ip| ip.to_string()),
        error: entry.found.err().map(|error| error.to_string()),
    }
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
