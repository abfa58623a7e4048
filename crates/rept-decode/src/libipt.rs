//! The same traces through Intel's own decoder: a second engine to judge the first one by.
//!
//! libipt, by the crate of that name, walks over the code; what it yields is put into the
//! types that [`crate::decode`] fills, so that the two can be held against each other:
//!
//! ```text
//!  PT bytes ─▶ libipt's instruction decoder ─▶ ThreadTrace
//!                  ▲ CodeImage, or files with a section cache ([`Files`])
//! ```
//!
//! What differs by nature:
//! - it needs the bytes between two losses of data in one piece, and copies them where they are not;
//! - it knows no resynchronisation but the next PSB: [`crate::Resync`] is not heeded;
//! - its times are estimates without bounds: an event is given as not before the estimate, and
//!   there are no time marks;
//! - behind the last packet it runs on to the next branch;
//! - event trace, PEBS and trigger packets, which the crate does not know, give no events.
//!
//! Built with the feature `libipt` only. It is no part of the decoder proper, and slower.

mod drive;
mod event;
mod files;

pub use files::{Files, OpenError, Section};

use crate::code::CodeBuilder;
use crate::{CodeImage, DecodeOptions, Stream};
use ::libipt::error::{PtError, PtErrorCode};
use ::libipt::event::ExecModeType;
use ::libipt::image::Image;
use ::libipt::insn::Insn;
use ::libipt::packet::{Packet, PacketDecoder};
use drive::{Instructions, Visitor};
use rept_trace::{
    Address, BlockId, Event, EventKind, Gap, GapReason, Interval, Run, ThreadTrace, Timestamp,
    Trace,
};
use std::cell::Cell;
use std::rc::Rc;

/// Decodes the streams of all threads, as [`crate::decode`] does.
pub fn decode(
    streams: &[Stream<'_>],
    image: &(impl CodeImage + ?Sized),
    options: &DecodeOptions,
) -> Trace {
    crate::decode_each(streams, |stream, code| {
        decode_thread(stream, image, options, code)
    })
}

/// Decodes the stream of one thread, as [`crate::decode_thread`] does.
///
/// `code` must not be shared with the other engine: instructions that only libipt knows enter it.
pub fn decode_thread(
    stream: &Stream<'_>,
    image: &(impl CodeImage + ?Sized),
    options: &DecodeOptions,
    code: &mut CodeBuilder,
) -> ThreadTrace {
    let mut path = Path {
        image,
        options,
        code,
        out: ThreadTrace::new(stream.thread),
        open: None,
        last: None,
        base: 0,
        time: Rc::default(),
    };
    let mut rest = &stream.chunks[..];
    while let Some((first, more)) = rest.split_first() {
        if first.lost_before {
            path.gap(path.base, None, GapReason::LostData);
        }
        let joined = more.iter().take_while(|chunk| !chunk.lost_before).count();
        let mut bytes = first.bytes.to_vec();
        for chunk in &more[..joined] {
            bytes.extend_from_slice(chunk.bytes);
        }
        path.piece(&bytes);
        path.base += bytes.len() as u64;
        rest = &more[joined..];
    }
    path.flush();
    path.out
}

/// Hands out the payload of every packet from the first PSB on: outcomes, or the bits of an IP, and of
/// any other packet 0. Of a long TNT the crate tells eight outcomes. Damage is passed over up to the next PSB.
pub fn packets(bytes: &[u8], options: &DecodeOptions, mut visit: impl FnMut(u64)) {
    let Ok(mut decoder) = drive::open::<PacketDecoder<()>>(bytes, options) else {
        return;
    };
    while decoder.sync_forward().is_ok() {
        while let Ok(packet) = decoder.decode_next() {
            visit(match packet {
                Packet::Tnt8(outcomes) => outcomes.payload().into(),
                Packet::Tnt64(outcomes) => outcomes.payload().into(),
                Packet::Tip(ip) => ip.tip(),
                Packet::TipPge(ip) => ip.tippge(),
                Packet::TipPgd(ip) => ip.tippgd(),
                Packet::Fup(ip) => ip.fup(),
                _ => 0,
            });
        }
    }
}

/// The path of one thread in the making.
struct Path<'a, I: ?Sized> {
    image: &'a I,
    options: &'a DecodeOptions,
    code: &'a mut CodeBuilder,
    out: ThreadTrace,
    // The run that the next instruction may go on with.
    open: Option<Run>,
    // Where the instruction before ended.
    last: Option<Address>,
    // Stream offset of the piece in hand.
    base: u64,
    // The time that events told last, for the image.
    time: Rc<Cell<Option<Timestamp>>>,
}

impl<I: CodeImage + ?Sized> Path<'_, I> {
    fn piece(&mut self, bytes: &[u8]) {
        let Ok(mut memory) = Image::new(None) else {
            return self.gap(self.base, None, GapReason::Limit);
        };
        let (image, time) = (self.image, Rc::clone(&self.time));
        memory.set_callback(Some(move |buffer: &mut [u8], at, _| {
            read(image, time.get(), buffer, Address(at))
        }));
        let Ok(mut decoder) = drive::open::<Instructions<'_>>(bytes, self.options) else {
            return self.gap(self.base, None, GapReason::Limit);
        };
        if decoder.set_image(Some(&mut memory)).is_ok() {
            drive::run(&mut decoder, self.options, self);
        }
        self.flush();
    }

    fn step(&mut self, at: Address, bitness: u8, raw: &[u8]) {
        self.last = Some(at.offset(raw.len() as u64));
        if let Some(run) = &mut self.open {
            let block = self.code.block(run.block);
            let index = usize::from(run.count);
            if index < block.instructions()
                && block.bitness == bitness
                && block.address(index) == at
                && block.instruction_bytes(index) == raw
            {
                run.count += 1;
                return;
            }
        }
        self.flush();
        let block = self.block(at, bitness, raw);
        self.open = Some(Run { block, count: 1 });
    }

    /// The block that begins with this instruction.
    fn block(&mut self, at: Address, bitness: u8, raw: &[u8]) -> BlockId {
        let max = self.options.limits.block_instructions;
        self.code
            .lookup(at, bitness, self.time.get(), self.image, max)
            .ok()
            .filter(|&id| self.code.block(id).instruction_bytes(0) == raw)
            .unwrap_or_else(|| self.code.single(at, bitness, raw))
    }

    fn flush(&mut self) {
        if let Some(run) = self.open.take() {
            self.out.push(run);
        }
    }

    fn gap(&mut self, offset: u64, at: Option<Address>, reason: GapReason) {
        self.flush();
        let step = self.out.steps();
        self.out.gaps.push(Gap {
            step,
            offset,
            at,
            reason,
        });
        self.last = None;
    }

    /// What is wanted at the address behind the last instruction, or at the branch that led on.
    fn missing(&self) -> GapReason {
        let at = self.last.unwrap_or_default();
        let found = self.image.code(at, self.time.get());
        let wanted = found.err().map_or_else(
            || "code that the last branch led to".to_owned(),
            |missing| missing.wanted,
        );
        GapReason::MissingCode { wanted }
    }
}

impl<I: CodeImage + ?Sized> Visitor<Insn> for Path<'_, I> {
    fn item(&mut self, instruction: &Insn) {
        let bitness = match instruction.mode() {
            ExecModeType::Bit16 => 16,
            ExecModeType::Bit32 => 32,
            ExecModeType::Bit64 | ExecModeType::Unknown => 64,
        };
        self.step(Address(instruction.ip()), bitness, instruction.raw());
    }

    fn event(&mut self, offset: u64, event: ::libipt::event::Event) {
        self.flush();
        if let Some(tsc) = event.tsc() {
            self.time.set(Some(Timestamp(tsc)));
        }
        let Some(kind) = event::kind(event) else {
            return;
        };
        let time = Interval {
            earliest: Timestamp(event.tsc().unwrap_or(0)),
            latest: Timestamp(u64::MAX),
        };
        let overflow = matches!(kind, EventKind::Overflow { .. });
        self.out.events.push(Event {
            step: self.out.steps(),
            time,
            kind,
        });
        if overflow {
            self.gap(self.base + offset, None, GapReason::Overflow);
        }
    }

    fn failed(&mut self, offset: u64, error: PtError) {
        let unexpected = |expected| GapReason::UnexpectedPacket {
            packet: "packet",
            expected,
        };
        let reason = match error.code() {
            PtErrorCode::Nomap => self.missing(),
            PtErrorCode::BadInsn => GapReason::BadInstruction,
            PtErrorCode::BadOpc | PtErrorCode::BadPacket => GapReason::BadPacket,
            PtErrorCode::BadRetcomp => unexpected("TNT with a taken bit for the return"),
            PtErrorCode::RetstackEmpty => unexpected("call for the compressed return"),
            _ => unexpected("another packet"),
        };
        self.gap(self.base + offset, self.last, reason);
    }

    fn endless(&mut self, offset: u64) {
        self.gap(self.base + offset, self.last, GapReason::Limit);
    }
}

/// Answers libipt's question for code: the number of bytes, or its negative error.
fn read(
    image: &(impl CodeImage + ?Sized),
    time: Option<Timestamp>,
    buffer: &mut [u8],
    at: Address,
) -> i32 {
    let mut filled = 0;
    while filled < buffer.len() {
        let Ok(found) = image.code(at.offset(filled as u64), time) else {
            break;
        };
        let len = found.bytes.len().min(buffer.len() - filled);
        if len == 0 {
            break;
        }
        buffer[filled..filled + len].copy_from_slice(&found.bytes[..len]);
        filled += len;
    }
    match filled {
        0 => -(PtErrorCode::Nomap as i32),
        // An instruction has 15 bytes at most; libipt asks for no more.
        _ => filled as i32,
    }
}
