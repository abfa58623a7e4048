//! A stream in parts that are decoded on their own, in any order and by whomever, and joined to
//! the very path that the whole stream gives.
//!
//! ```text
//!  split ─▶ Part ─▶ Part::decode ─┐            PSB+ of the next part
//!           Part ─▶ Part::decode ─┼─▶ Join     ────────┐
//!           Part ─▶ Part::decode ─┘     part k: …steps │state A
//!                                       part k+1:      │state B, steps…     A = B?
//! ```
//!
//! A part begins at a PSB, where the processor states everything anew and the call stack of
//! return compression is empty. It is decoded through the PSB+ that begins the next part, which
//! also checks its end, and says in which state it ends; the next part, which knows nothing of
//! what was before but the clock, says in which state it is behind that PSB+. Where the two
//! states are the same, so is all that follows, and the parts are put together. Where they
//! differ (damage, an overflow that is not over, a mode that the PSB+ does not restate), the
//! join decodes the part again, from the state in which the one before ended. So nothing rests
//! on a belief about streams, and the cost is at most twice that of the whole.
//!
//! Two things run through that a PSB+ may not restate: the clock, and the execution mode while
//! tracing is off. [`split`] walks over all packets and notes them at each cut. That walk costs a
//! fraction of decoding.

mod join;

pub use join::Join;

use crate::clock::Clock;
use crate::flow::{Flow, Next, Path, State, exec_bitness};
use crate::packet::{Brief, Packet, each_brief};
use crate::reader::{Reader, Sink};
use crate::{Chunk, CodeBuilder, CodeImage, DecodeOptions, Stream};
use rept_trace::{GapReason, ThreadId};

/// A chunk, and its place in the stream.
#[derive(Clone, Copy, Debug)]
struct Placed<'a> {
    at: u64,
    chunk: Chunk<'a>,
}

impl Placed<'_> {
    fn end(&self) -> u64 {
        self.at + self.chunk.bytes.len() as u64
    }
}

/// Where decoding of a part begins.
#[derive(Clone, Debug)]
enum Begin {
    /// At the begin of the stream.
    Stream,
    /// At a PSB.
    Boundary(u64, Before),
    /// Behind a PSB+, at this offset.
    State(u64, Box<State>),
}

/// What is known before a PSB without having decoded what leads there.
#[derive(Clone, Debug)]
pub(crate) struct Before {
    pub(crate) clock: Clock,
    /// Width that the last MODE.Exec packet announced, unless packets were lost since.
    pub(crate) bitness: Option<u8>,
}

/// A part of a stream.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    thread: ThreadId,
    begin: Begin,
    chunks: Vec<Placed<'a>>,
    // The next part: its PSB, and the bytes from there on, as far as it reaches.
    next: Option<u64>,
    ahead: Vec<Placed<'a>>,
}

/// What a part gave; [`Join`] puts it in its place.
#[derive(Debug)]
pub struct DecodedPart {
    // Behind the PSB+ that it begins with.
    entry: Option<State>,
    path: Path,
    code: CodeBuilder,
    // Behind the PSB+ of the next part.
    exit: Option<(u64, State)>,
}

/// Cuts a stream into parts of at least `part_bytes` bytes, as far as there are PSBs.
pub fn split<'a>(stream: &Stream<'a>, options: &DecodeOptions, part_bytes: u64) -> Vec<Part<'a>> {
    let mut at = 0;
    let chunks: Vec<Placed<'a>> = stream
        .chunks
        .iter()
        .map(|&chunk| {
            let placed = Placed { at, chunk };
            at += chunk.bytes.len() as u64;
            placed
        })
        .collect();
    let cuts = Cuts::of(&chunks, options, part_bytes);
    let ends = cuts.iter().map(|&(cut, _)| cut).chain([u64::MAX]);
    let mut rest = &chunks[..];
    let pieces: Vec<Vec<Placed<'a>>> = std::iter::once(0)
        .chain(cuts.iter().map(|&(cut, _)| cut))
        .zip(ends)
        .map(|(begin, end)| cut_out(&mut rest, begin, end))
        .collect();
    let begins = std::iter::once(Begin::Stream).chain(
        cuts.iter()
            .map(|(cut, before)| Begin::Boundary(*cut, before.clone())),
    );
    begins
        .enumerate()
        .map(|(index, begin)| Part {
            thread: stream.thread,
            begin,
            chunks: pieces[index].clone(),
            next: cuts.get(index).map(|&(cut, _)| cut),
            ahead: pieces.get(index + 1).cloned().unwrap_or_default(),
        })
        .collect()
}

/// What of the chunks lies from `begin` on and before `end`; `rest` goes on to what begins behind.
fn cut_out<'a>(rest: &mut &[Placed<'a>], begin: u64, end: u64) -> Vec<Placed<'a>> {
    let mut piece = Vec::new();
    while let Some((first, more)) = rest.split_first() {
        if first.at >= end {
            break;
        }
        let from = begin.saturating_sub(first.at) as usize;
        let to = first.chunk.bytes.len().min((end - first.at) as usize);
        piece.push(Placed {
            at: first.at.max(begin),
            chunk: Chunk {
                bytes: &first.chunk.bytes[from..to],
                lost_before: first.chunk.lost_before && from == 0,
            },
        });
        if first.end() > end {
            break;
        }
        *rest = more;
    }
    piece
}

/// Looks for places to cut at, and keeps what is known there.
struct Cuts {
    before: Before,
    // The mode that an open PSB+ said.
    boundary: Option<Option<u8>>,
    least: u64,
    last: u64,
    found: Vec<(u64, Before)>,
}

impl Cuts {
    fn of(chunks: &[Placed<'_>], options: &DecodeOptions, part_bytes: u64) -> Vec<(u64, Before)> {
        let cuts = Cuts {
            before: Before {
                clock: Clock::new(options.time),
                bitness: None,
            },
            boundary: None,
            least: part_bytes.max(1),
            last: 0,
            found: Vec::new(),
        };
        let mut reader = Reader::new(cuts, options);
        feed(&mut reader, chunks, 0, |_| true);
        reader.finish().found
    }
}

impl Cuts {
    /// Apart, so that to pass over what only leads on stays a small loop.
    #[inline(never)]
    fn brief(&mut self, offset: u64, brief: Brief) {
        // No packet is answered by asking for anything.
        let _ = self.packet(offset, &brief.packet());
    }

    fn heed_mode(&mut self, packet: &Packet) {
        match (packet, &mut self.boundary) {
            // The flow is lost behind both.
            (
                Packet::Ovf
                | Packet::ModeExec {
                    long: true,
                    default_32: true,
                    ..
                },
                _,
            ) => {
                self.boundary = None;
                self.before.bitness = None;
            }
            (Packet::PsbEnd, _) => {
                if let Some(Some(bitness)) = self.boundary.take() {
                    self.before.bitness = Some(bitness);
                }
            }
            (
                Packet::ModeExec {
                    long, default_32, ..
                },
                boundary,
            ) => {
                let bitness = Some(exec_bitness(*long, *default_32));
                match boundary {
                    Some(mode) => *mode = bitness,
                    None => self.before.bitness = bitness,
                }
            }
            _ => {}
        }
    }
}

impl Sink for Cuts {
    #[inline]
    fn packet(&mut self, offset: u64, packet: &Packet) -> Next {
        match packet {
            Packet::Tnt { .. } | Packet::Tip(_) | Packet::TipPge(_) | Packet::TipPgd(_) => {}
            Packet::Psb => {
                self.boundary = Some(None);
                if offset - self.last >= self.least {
                    self.last = offset;
                    self.found.push((offset, self.before.clone()));
                }
            }
            packet => {
                self.before.clock.heed(packet);
                self.heed_mode(packet);
            }
        }
        Next::Packet
    }

    #[inline(always)]
    fn briefs(&mut self, offset: u64, bytes: &[u8]) -> usize {
        each_brief(bytes, |at, brief| {
            if !brief.leads_on() {
                self.brief(offset + at as u64, brief);
            }
        })
    }

    fn broken(&mut self, _: u64, _: GapReason) {
        self.boundary = None;
        self.before.bitness = None;
    }
}

/// Feeds chunks from byte `from` of the stream on. Whenever the sink asks to stop, `goes_on`
/// says whether to go on.
fn feed<S: Sink>(
    reader: &mut Reader<S>,
    chunks: &[Placed<'_>],
    from: u64,
    mut goes_on: impl FnMut(&mut Reader<S>) -> bool,
) {
    for placed in chunks {
        if placed.at < from && placed.end() <= from {
            continue;
        }
        if placed.chunk.lost_before && placed.at >= from {
            reader.lost_data();
        }
        let mut at = from.max(placed.at);
        loop {
            reader.feed(&placed.chunk.bytes[(at - placed.at) as usize..]);
            if !reader.take_stop() {
                break;
            }
            if !goes_on(reader) {
                return;
            }
            at = reader.offset();
        }
    }
}

impl Part<'_> {
    /// Its length.
    pub fn bytes(&self) -> u64 {
        let chunks = self.chunks.iter();
        chunks.map(|placed| placed.chunk.bytes.len() as u64).sum()
    }

    /// Decodes the part, without any other.
    pub fn decode(
        &self,
        image: &(impl CodeImage + ?Sized),
        options: &DecodeOptions,
    ) -> DecodedPart {
        let mut code = CodeBuilder::new();
        let flow = Flow::new(self.thread, image, *options, &mut code);
        let mut reader = Reader::new(flow, options);
        let mut from = 0;
        match &self.begin {
            Begin::Stream => {}
            Begin::Boundary(psb, before) => {
                from = *psb;
                reader.sink.begin_behind(before);
                reader.sink.watch(from);
            }
            Begin::State(offset, state) => {
                from = *offset;
                reader.sink.set(State::clone(state));
            }
        }
        if from > 0 {
            reader.go_to(from);
        }
        let mut entry = None;
        feed(&mut reader, &self.chunks, from, |reader| {
            entry = reader.sink.state();
            reader.sink.begin_path();
            true
        });
        let (path, exit) = self.end(reader, from);
        DecodedPart {
            entry,
            path,
            code,
            exit,
        }
    }

    /// Through the PSB+ of the next part, or to the end of the stream.
    fn end<I: CodeImage + ?Sized>(
        &self,
        mut reader: Reader<Flow<'_, I>>,
        from: u64,
    ) -> (Path, Option<(u64, State)>) {
        let Some(next) = self.next else {
            return (reader.finish().end(), None);
        };
        reader.sink.watch(next);
        let mut exit = None;
        feed(&mut reader, &self.ahead, from, |reader| {
            let state = reader.sink.state().filter(|_| !reader.in_group());
            exit = state.map(|state| (reader.offset(), state));
            false
        });
        (reader.sink.into_path(), exit)
    }
}
