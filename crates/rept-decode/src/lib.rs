#![cfg_attr(not(feature = "libipt"), forbid(unsafe_code))]
#![deny(unsafe_code)]
//! An instruction-accurate decoder of Intel Processor Trace, in Rust alone.
//!
//! The processor writes down only what cannot be known from the code: which way
//! conditional branches went (TNT), where indirect ones led (TIP), where it was
//! interrupted (FUP), and when (TSC, MTC, CYC). This crate walks over the code with
//! these packets and yields every instruction that ran, with events and time:
//!
//! ```text
//!  PT bytes ─▶ packets ─▶ flow ─────────────▶ ThreadTrace: runs of blocks,
//!  (Stream)    packet     │  ▲                events, gaps, time marks
//!                         ▼  │
//!               CodeImage ─▶ code: blocks, each decoded once
//! ```
//!
//! It promises
//! - never to fail as a whole: where bytes, packets or code are missing or wrong, there is
//!   a [`rept_trace::Gap`] with its reason, and decoding goes on behind it;
//! - never to invent a step: an instruction is yielded once packets imply that it ran,
//!   and all that they imply are yielded;
//! - to take time and memory linear in the bytes given, whatever they are;
//! - the same output for the same input.
//!
//! It does not know any file format: streams and code come from the caller.
//!
//! Source throughout: Intel SDM volume 3C, chapter "Intel Processor Trace" ("SDM" below).

mod clock;
mod code;
mod decoder;
pub mod dump;
mod errata;
mod flow;
mod image;
#[cfg(feature = "libipt")]
pub mod libipt;
mod options;
pub mod packet;
pub mod parts;
mod reader;
mod returns;

pub use code::CodeBuilder;
pub use decoder::{Chunk, Decoder, Stream};
pub use errata::Errata;
pub use image::{CodeBytes, CodeImage, MissingCode, StaticImage};
pub use options::{AddressFilter, CpuModel, DecodeOptions, Limits, Resync, TimeParameters};

use rept_trace::{ThreadTrace, Trace};

/// Decodes the stream of one thread.
///
/// `code` collects the blocks; use one for all threads of a trace, with one image.
pub fn decode_thread(
    stream: &Stream<'_>,
    image: &(impl CodeImage + ?Sized),
    options: &DecodeOptions,
    code: &mut CodeBuilder,
) -> ThreadTrace {
    let mut decoder = Decoder::new(stream.thread, image, options, code);
    decoder.expect_bytes(stream.chunks.iter().map(|chunk| chunk.bytes.len()).sum());
    for chunk in &stream.chunks {
        if chunk.lost_before {
            decoder.lost_data();
        }
        decoder.feed(chunk.bytes);
    }
    decoder.finish()
}

/// Decodes the streams of all threads.
pub fn decode(
    streams: &[Stream<'_>],
    image: &(impl CodeImage + ?Sized),
    options: &DecodeOptions,
) -> Trace {
    decode_each(streams, |stream, code| {
        decode_thread(stream, image, options, code)
    })
}

/// The trace of all streams, each decoded by `decode_thread` with one code table.
fn decode_each<'a>(
    streams: &[Stream<'a>],
    mut decode_thread: impl FnMut(&Stream<'a>, &mut CodeBuilder) -> ThreadTrace,
) -> Trace {
    let mut code = CodeBuilder::new();
    let mut threads: Vec<ThreadTrace> = streams
        .iter()
        .map(|stream| decode_thread(stream, &mut code))
        .collect();
    threads.sort_by_key(|thread| thread.thread);
    Trace {
        code: code.finish(),
        threads,
    }
}
