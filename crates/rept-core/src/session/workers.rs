//! A stream decoded by several threads at once.
//!
//! Long streams are cut at PSBs; threads decode the parts, and one puts them together in order, so
//! that what comes out does not depend on how many there are. Parts are taken in waves, which
//! bounds what waits to be put together.

use rept_decode::parts::{DecodedPart, Join, Part, split};
use rept_decode::{CodeBuilder, CodeImage, DecodeOptions, Decoder, Stream};
use rept_trace::ThreadTrace;
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Parts of a wave, for each thread.
const PARTS_PER_WORKER: usize = 4;

/// Bytes decoded by one thread between two words to the observer.
const CHUNK: usize = 1 << 14;

/// How the work is shared out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Threads that decode.
    pub(super) workers: usize,
    /// Least bytes of a part; a stream that is shorter than two is not worth the trouble.
    pub(super) part_bytes: u64,
}

impl Share {
    /// With parts of a usual size.
    pub(super) fn among(workers: usize) -> Share {
        Share {
            workers,
            part_bytes: 1 << 18,
        }
    }
}

/// Decodes `stream`; `advance` is told of bytes that were decoded, and may end the work.
pub(super) fn decode<I: CodeImage + Sync + ?Sized>(
    stream: &Stream<'_>,
    image: &I,
    options: &DecodeOptions,
    code: &mut CodeBuilder,
    share: Share,
    advance: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> ThreadTrace {
    let bytes: usize = stream.chunks.iter().map(|chunk| chunk.bytes.len()).sum();
    if share.workers < 2 || (bytes as u64) < 2 * share.part_bytes {
        return by_one(stream, image, options, code, advance);
    }
    let mut parts = split(stream, options, share.part_bytes).into_iter();
    let mut join = Join::new(stream.thread, image, options, code);
    loop {
        let wave: Vec<Part<'_>> = parts
            .by_ref()
            .take(share.workers * PARTS_PER_WORKER)
            .collect();
        let decoded = decode_wave(&wave, image, options, share.workers);
        let bytes = wave.iter().map(Part::bytes).sum();
        let last = wave.is_empty();
        for (part, decoded) in wave.into_iter().zip(decoded) {
            join.add(part, decoded);
        }
        if last || advance(bytes).is_break() {
            return join.finish();
        }
    }
}

fn by_one<I: CodeImage + ?Sized>(
    stream: &Stream<'_>,
    image: &I,
    options: &DecodeOptions,
    code: &mut CodeBuilder,
    advance: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> ThreadTrace {
    let mut decoder = Decoder::new(stream.thread, image, options, code);
    for chunk in &stream.chunks {
        if chunk.lost_before {
            decoder.lost_data();
        }
        for bytes in chunk.bytes.chunks(CHUNK) {
            decoder.feed(bytes);
            if advance(bytes.len() as u64).is_break() {
                return decoder.finish();
            }
        }
    }
    decoder.finish()
}

/// Each part of the wave decoded, in its order.
fn decode_wave<I: CodeImage + Sync + ?Sized>(
    wave: &[Part<'_>],
    image: &I,
    options: &DecodeOptions,
    workers: usize,
) -> Vec<DecodedPart> {
    let next = AtomicUsize::new(0);
    let slots: Vec<OnceLock<DecodedPart>> = wave.iter().map(|_| OnceLock::new()).collect();
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(part) = wave.get(index) else { return };
            let _ = slots[index].set(part.decode(image, options));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..workers.min(wave.len()) {
            scope.spawn(work);
        }
    });
    slots.into_iter().filter_map(OnceLock::into_inner).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_decode::{StaticImage, decode_thread};
    use rept_trace::{Address, ThreadId};

    /// je to itself; jmp back to it.
    const CODE: [u8; 4] = [0x74, 0xfe, 0xeb, 0xfc];
    const AT: [u8; 6] = [0x00, 0x10, 0x40, 0, 0, 0];

    /// Sections that begin with a PSB+ and the time, some of them damaged or overflown.
    fn stream() -> Vec<u8> {
        let mut bytes = Vec::new();
        for section in 0..300u32 {
            bytes.extend([0x02, 0x82].repeat(8));
            bytes.extend([0x19, 0, section as u8, (section >> 8) as u8, 0, 0, 0, 0]);
            bytes.extend([0x99, 0x01, 0x7d]);
            bytes.extend(AT);
            bytes.extend([0x02, 0x23]);
            bytes.extend((0..section % 50).map(|tnt| 0x40 | ((section * 7 + tnt) as u8 % 32 * 2)));
            match section % 40 {
                11 => bytes.extend([0x05, 0x05]),
                23 => bytes.extend([0x02, 0xf3]),
                31 => bytes.extend([0x2d, 0x00, 0x20]),
                _ => {}
            }
        }
        bytes
    }

    #[test]
    fn any_number_of_workers_gives_the_same() {
        let bytes = stream();
        let stream = Stream::new(ThreadId(3), &bytes);
        let mut image = StaticImage::new();
        image.add(Address(0x40_1000), &CODE);
        let options = DecodeOptions::default();
        let mut code = CodeBuilder::new();
        let whole = decode_thread(&stream, &image, &options, &mut code);
        let whole = (whole, code.finish());
        assert!(
            whole.0.steps() > 1000 && whole.0.gaps.len() > 10,
            "{:?}",
            whole.0.gaps
        );
        for workers in [1, 2, 3, 8] {
            for part_bytes in [1, 100, 1000] {
                let share = Share {
                    workers,
                    part_bytes,
                };
                let mut code = CodeBuilder::new();
                let mut done = 0;
                let mut advance = |bytes| {
                    done += bytes;
                    ControlFlow::Continue(())
                };
                let found = decode(&stream, &image, &options, &mut code, share, &mut advance);
                assert!((found, code.finish()) == whole, "{share:?}");
                assert_eq!(done, bytes.len() as u64);
            }
        }
    }
}
