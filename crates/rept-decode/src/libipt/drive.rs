//! Drives libipt's decoders over a piece of a stream: synchronise, drain events, step, again.

use crate::{AddressFilter, DecodeOptions};
use ::libipt::block::{Block, BlockDecoder};
use ::libipt::enc_dec_builder::{
    AddrFilter, AddrFilterType, AddrFilters, Cpu, EncoderDecoderBuilder, Frequency,
    PtEncoderDecoder,
};
use ::libipt::error::{PtError, PtErrorCode};
use ::libipt::event::Event;
use ::libipt::insn::{Insn, InsnDecoder};
use ::libipt::status::Status;

pub(super) type Instructions<'a> = InsnDecoder<'a>;
pub(super) type Blocks<'a> = BlockDecoder<'a>;

/// One of libipt's decoders.
pub(super) trait Engine: PtEncoderDecoder {
    type Item;
    fn sync(&mut self) -> Result<Status, PtError>;
    fn offset(&self) -> Option<u64>;
    fn event(&mut self) -> Result<(Event, Status), PtError>;
    fn step(&mut self) -> Result<(Self::Item, Status), PtError>;
}

macro_rules! engine {
    ($decoder:ident, $item:ty) => {
        impl Engine for $decoder<'_> {
            type Item = $item;

            fn sync(&mut self) -> Result<Status, PtError> {
                self.sync_forward()
            }

            fn offset(&self) -> Option<u64> {
                $decoder::offset(self).ok()
            }

            fn event(&mut self) -> Result<(Event, Status), PtError> {
                $decoder::event(self)
            }

            #[inline]
            fn step(&mut self) -> Result<($item, Status), PtError> {
                self.decode_next()
            }
        }
    };
}

engine!(InsnDecoder, Insn);
engine!(BlockDecoder, Block);

/// Takes what a decoder yields. Offsets are those in the piece.
pub(super) trait Visitor<Item> {
    fn item(&mut self, item: &Item);
    fn event(&mut self, offset: u64, event: Event);
    fn failed(&mut self, offset: u64, error: PtError);
    /// Steps went on without a packet until they were stopped.
    fn endless(&mut self, offset: u64);
}

/// A decoder over `bytes`, which must outlive it.
#[allow(unsafe_code)]
pub(super) fn open<T: PtEncoderDecoder>(
    bytes: &[u8],
    options: &DecodeOptions,
) -> Result<T, PtError> {
    let time = options.time;
    let mut builder = EncoderDecoderBuilder::<T>::new()
        .freq(Frequency::new(
            time.mtc_shift,
            time.max_nonturbo_ratio,
            time.tsc_ctc_numerator,
            time.tsc_ctc_denominator,
        ))
        .filter(filters(&options.filter)?);
    if let Some(cpu) = options.cpu {
        builder = builder.cpu(Cpu::intel(cpu.family, cpu.model, cpu.stepping));
    }
    // SAFETY: libipt's decoders only read the buffer; each caller in this module keeps `bytes`
    // borrowed until the decoder is dropped.
    unsafe { builder.buffer_from_raw(bytes.as_ptr().cast_mut(), bytes.len()) }.build()
}

fn filters(filter: &AddressFilter) -> Result<AddrFilters, PtError> {
    let used: Vec<AddrFilter> = filter
        .ranges
        .iter()
        .flatten()
        .map(|(first, last)| AddrFilter::new(first.0, last.0, AddrFilterType::FILTER))
        .collect();
    AddrFilters::new(&used)
}

/// Decodes to the end; after each failure from the next PSB on.
pub(super) fn run<D: Engine>(
    decoder: &mut D,
    options: &DecodeOptions,
    visitor: &mut impl Visitor<D::Item>,
) {
    // Steps after which a packet must have been used up.
    let patience = options
        .limits
        .blocks_without_packet
        .max(256)
        .saturating_mul(4);
    let mut reached = None;
    loop {
        let result = decoder.sync().and_then(|status| {
            reached = decoder.offset();
            section(decoder, status, patience, visitor)
        });
        match result {
            Ok(End::Stream) => return,
            Ok(End::Endless) => visitor.endless(decoder.offset().unwrap_or(0)),
            Err(error) if error.code() == PtErrorCode::Eos => return,
            Err(error) => {
                let offset = decoder.offset();
                visitor.failed(offset.or(reached).unwrap_or(0), error);
                // Without a place there is none to go on from.
                if offset.is_none() {
                    return;
                }
            }
        }
    }
}

/// Why a section ended without an error.
enum End {
    Stream,
    Endless,
}

fn section<D: Engine>(
    decoder: &mut D,
    mut status: Status,
    patience: u32,
    visitor: &mut impl Visitor<D::Item>,
) -> Result<End, PtError> {
    let mut steps = 0;
    let mut checked = decoder.offset();
    loop {
        while status.event_pending() {
            let (event, next) = decoder.event()?;
            visitor.event(decoder.offset().unwrap_or(0), event);
            status = next;
        }
        if status.eos() {
            return Ok(End::Stream);
        }
        let (item, next) = decoder.step()?;
        visitor.item(&item);
        status = next;
        steps += 1;
        if steps == patience {
            let offset = decoder.offset();
            if offset == checked {
                return Ok(End::Endless);
            }
            (steps, checked) = (0, offset);
        }
    }
}
