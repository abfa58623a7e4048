//! Parts that are decoded on their own give, joined, what the whole gives: every step, event, gap
//! and time, and the same table of code.

use crate::captures::captures;
use crate::encode::encode;
use crate::flow::{choices, image, pieces, resyncs};
use crate::program::{Program, Tracer};
use proptest::prelude::*;
use rept_decode::packet::{Packet, Packets};
use rept_decode::parts::{Join, split};
use rept_decode::{
    Chunk, CodeBuilder, CodeImage, DecodeOptions, Resync, Stream, TimeParameters, decode,
};
use rept_trace::{ThreadId, Trace};

/// The parts decoded in reverse, so that none can lean on the one before it.
fn joined(
    stream: &Stream<'_>,
    image: &impl CodeImage,
    options: &DecodeOptions,
    part_bytes: u64,
) -> (Trace, usize) {
    let parts = split(stream, options, part_bytes);
    let count = parts.len();
    let mut decoded: Vec<_> = parts
        .iter()
        .rev()
        .map(|part| part.decode(image, options))
        .collect();
    let mut code = CodeBuilder::new();
    let mut join = Join::new(stream.thread, image, options, &mut code);
    for part in parts {
        join.add(part, decoded.pop().expect("one for each part"));
    }
    let thread = join.finish();
    let code = code.finish();
    (
        Trace {
            code,
            threads: vec![thread],
        },
        count,
    )
}

#[track_caller]
fn check(stream: &Stream<'_>, image: &impl CodeImage, options: &DecodeOptions, part_bytes: u64) {
    let whole = decode(std::slice::from_ref(stream), image, options);
    let (found, _) = joined(stream, image, options, part_bytes);
    assert_eq!(found.threads, whole.threads);
    assert_eq!(found.code, whole.code);
}

fn options(timed: bool, resync: Resync) -> DecodeOptions {
    let mut options = DecodeOptions::default();
    options.limits.blocks_without_packet = 1000;
    options.resync = resync;
    if timed {
        options.time = TimeParameters {
            tsc_ctc_numerator: 84,
            tsc_ctc_denominator: 2,
            mtc_shift: 3,
            max_nonturbo_ratio: 27,
            ..TimeParameters::default()
        };
    }
    options
}

/// The same packets with the time behind every PSB.
fn timed(packets: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut tsc = 1000;
    for (_, packet) in Packets::new(packets, 0) {
        let packet = packet.expect("a packet of ours");
        bytes.extend(encode(&packet));
        if packet == Packet::Psb {
            tsc += 100_000;
            bytes.extend(encode(&Packet::Tsc { tsc }));
            let fast_counter = 3;
            bytes.extend(encode(&Packet::Tma {
                ctc: (tsc / 42) as u16,
                fast_counter,
            }));
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn parts_of_programs(
        pieces in pieces(),
        choices in choices(),
        compress in any::<bool>(),
        with_time in any::<bool>(),
        part_bytes in 1u64..200,
    ) {
        let program = Program::new(pieces);
        let mut packets = Tracer::run(&program, compress, &choices).packets;
        if with_time {
            packets = timed(&packets);
        }
        let stream = Stream::new(ThreadId(7), &packets);
        check(&stream, &image(&program), &options(with_time, Resync::Boundary), part_bytes);
    }

    #[test]
    fn parts_of_damaged_streams(
        pieces in pieces(),
        choices in choices(),
        with_time: bool,
        resync in resyncs(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        overflows in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..4),
        part_bytes in 1u64..100,
    ) {
        let program = Program::new(pieces);
        let mut packets = Tracer::run(&program, true, &choices).packets;
        if with_time {
            packets = timed(&packets);
        }
        for (place, value) in &flips {
            let at = place.index(packets.len());
            packets[at] ^= value;
        }
        for place in &overflows {
            let at = place.index(packets.len() - 1);
            packets[at..at + 2].copy_from_slice(&[0x02, 0xf3]);
        }
        let mut cuts: Vec<(usize, bool)> = cuts.iter().map(|(cut, lost)| (cut.index(packets.len()), *lost)).collect();
        cuts.sort_unstable();
        let begins: Vec<(usize, bool)> = [(0, false)].into_iter().chain(cuts).collect();
        let ends = begins[1..].iter().map(|&(cut, _)| cut).chain([packets.len()]);
        let chunks = begins
            .iter()
            .zip(ends)
            .map(|(&(begin, lost_before), end)| Chunk { bytes: &packets[begin..end], lost_before })
            .collect();
        let stream = Stream { thread: ThreadId(7), chunks };
        check(&stream, &image(&program), &options(with_time, resync), part_bytes);
    }
}

#[test]
fn parts_of_captures() {
    for capture in captures() {
        let options = capture.options();
        let whole = capture.decode(&options);
        let stream = Stream::new(ThreadId(1), &capture.pt);
        for part_bytes in [1, 1 << 14] {
            let (found, parts) = joined(&stream, &capture.image(), &options, part_bytes);
            println!("{}: {parts} parts", capture.name);
            assert!(found == whole, "{}: {parts} parts differ", capture.name);
        }
    }
}

#[test]
fn a_path_can_be_taken_as_it_grows() {
    for capture in captures() {
        let options = capture.options();
        let whole = capture.decode(&options);
        let image = capture.image();
        let stream = Stream::new(ThreadId(1), &capture.pt);
        let mut code = CodeBuilder::new();
        let mut join = Join::new(stream.thread, &image, &options, &mut code);
        let mut addresses = whole.threads[0].addresses(&whole.code, 0);
        let mut next = 0;
        let parts = split(&stream, &options, 1);
        let count = parts.len();
        for part in parts {
            let decoded = part.decode(&image, &options);
            join.add(part, decoded);
            let (first, taken) = join.take();
            assert_eq!(first, next, "{}", capture.name);
            next += taken.steps();
            let expected = addresses.by_ref().take(taken.steps() as usize);
            assert!(
                taken.addresses(join.code(), 0).eq(expected),
                "{}",
                capture.name
            );
        }
        // What it is worth: most parts need no other.
        let again = join.decoded_again();
        println!("{}: {again} of {count} parts decoded again", capture.name);
        assert!(again * 4 <= count, "{}: {again} of {count}", capture.name);
        next += join.finish().steps();
        assert_eq!(next, whole.threads[0].steps(), "{}", capture.name);
    }
}
