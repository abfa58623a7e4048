//! The flow of random programs, whole, in pieces and damaged.

use crate::program::{BASE, Choice, Ending, Piece, Program, Run, Tracer};
use proptest::prelude::*;
use rept_decode::{
    Chunk, CodeBuilder, DecodeOptions, Decoder, Limits, Resync, StaticImage, Stream, decode,
    decode_thread,
};
use rept_trace::{Address, GapReason, ThreadId, ThreadTrace, Trace};

pub fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let ending = prop_oneof![
        2 => Just(Ending::FallThrough),
        6 => any::<usize>().prop_map(Ending::Branch),
        2 => any::<usize>().prop_map(Ending::Jump),
        3 => any::<usize>().prop_map(Ending::Call),
        1 => Just(Ending::JumpIndirect),
        1 => Just(Ending::CallIndirect),
        3 => Just(Ending::Return),
        1 => Just(Ending::SystemCall),
    ];
    // An empty piece would begin where the next one does.
    let piece = (prop::collection::vec(1u8..=9, 1..6), ending)
        .prop_map(|(plain, ending)| Piece { plain, ending });
    prop::collection::vec(piece, 1..24)
}

pub fn choices() -> impl Strategy<Value = Vec<Choice>> {
    let choice =
        (any::<bool>(), any::<usize>(), 0u8..40).prop_map(|(taken, target, event)| Choice {
            taken,
            target,
            event,
        });
    prop::collection::vec(choice, 0..400)
}

pub fn image(program: &Program) -> StaticImage<'_> {
    let mut image = StaticImage::new();
    image.add(Address(BASE), &program.code);
    image
}

fn trace(program: &Program, packets: &[u8], options: &DecodeOptions) -> Trace {
    decode(
        &[Stream::new(ThreadId(7), packets)],
        &image(program),
        options,
    )
}

fn addresses(trace: &Trace) -> Vec<u64> {
    trace.threads[0]
        .addresses(&trace.code, 0)
        .map(|at| at.0)
        .collect()
}

/// What must hold of any path, however damaged the stream.
fn check_sound(thread: &ThreadTrace, stream_len: usize) {
    let ascending = |steps: Vec<u64>| {
        steps.is_sorted() && steps.last().is_none_or(|&last| last <= thread.steps())
    };
    assert!(ascending(thread.gaps.iter().map(|gap| gap.step).collect()));
    assert!(ascending(
        thread.events.iter().map(|event| event.step).collect()
    ));
    assert!(ascending(
        thread.times.iter().map(|mark| mark.step).collect()
    ));
    assert!(
        thread
            .gaps
            .iter()
            .all(|gap| gap.offset <= stream_len as u64)
    );
    assert_eq!(
        thread.steps(),
        thread
            .runs()
            .iter()
            .map(|run| u64::from(run.count))
            .sum::<u64>()
    );
    assert!(thread.runs().iter().all(|run| run.count > 0));
}

pub(crate) fn resyncs() -> impl Strategy<Value = Resync> {
    prop::sample::select(vec![
        Resync::Boundary,
        Resync::NextAddress,
        Resync::NextEnable,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn every_step_and_nothing_else(pieces in pieces(), choices in choices(), compress: bool) {
        let program = Program::new(pieces);
        let Run { packets, steps, rounds } = Tracer::run(&program, compress, &choices);
        let trace = trace(&program, &packets, &DecodeOptions::default());
        let gaps = &trace.threads[0].gaps;
        prop_assert!(gaps.iter().all(|gap| gap.reason.repeats()), "{:?}", gaps);
        for (first, last) in rounds {
            let between = gaps.iter().any(|gap| first <= gap.step && gap.step <= last);
            prop_assert!(between, "rounds in {}..={}: {:?}", first, last, gaps);
        }
        prop_assert_eq!(addresses(&trace), steps);
        check_sound(&trace.threads[0], packets.len());
    }

    #[test]
    fn chunks_make_no_difference(pieces in pieces(), choices in choices(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30)) {
        let program = Program::new(pieces);
        let packets = Tracer::run(&program, true, &choices).packets;
        let whole = trace(&program, &packets, &DecodeOptions::default());
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(packets.len())).collect();
        cuts.sort_unstable();
        let bounds: Vec<usize> = [0].into_iter().chain(cuts).chain([packets.len()]).collect();
        let chunk = |pair: &[usize]| Chunk { bytes: &packets[pair[0]..pair[1]], lost_before: false };
        let stream = Stream { thread: ThreadId(7), chunks: bounds.windows(2).map(chunk).collect() };
        let cut_up = decode(&[stream], &image(&program), &DecodeOptions::default());
        prop_assert_eq!(cut_up, whole);
    }

    #[test]
    fn packets_that_come_alone_lead_where_those_in_a_row_do(
        pieces in pieces(),
        choices in choices(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        limits in prop::sample::select(vec![3, 40, 1 << 16]),
        resync in resyncs(),
        compression in prop::option::of(any::<bool>()),
    ) {
        let program = Program::new(pieces);
        let mut packets = Tracer::run(&program, compression != Some(false), &choices).packets;
        for (place, value) in &flips {
            let at = place.index(packets.len());
            packets[at] ^= value;
        }
        let mut options = DecodeOptions::default();
        options.limits.blocks_without_packet = limits;
        options.return_compression = compression;
        options.resync = resync;
        let whole = trace(&program, &packets, &options);
        let chunk = |bytes| Chunk { bytes, lost_before: false };
        let stream = Stream { thread: ThreadId(7), chunks: packets.chunks(1).map(chunk).collect() };
        prop_assert_eq!(decode(&[stream], &image(&program), &options), whole);
    }

    #[test]
    fn a_path_can_be_taken_piece_by_piece(pieces in pieces(), choices in choices(), piece_bytes in 1usize..40) {
        let program = Program::new(pieces);
        let packets = Tracer::run(&program, true, &choices).packets;
        let whole = trace(&program, &packets, &DecodeOptions::default());
        let image = image(&program);
        let mut code = CodeBuilder::new();
        let mut decoder = Decoder::new(ThreadId(7), &image, &DecodeOptions::default(), &mut code);
        let (mut found, mut events) = (Vec::new(), Vec::new());
        for piece in packets.chunks(piece_bytes) {
            decoder.feed(piece);
            let (first, taken) = decoder.take();
            prop_assert_eq!(first, found.len() as u64);
            // What is kept is what these bytes told, at most eight outcomes a byte.
            prop_assert!(taken.runs().len() <= (piece_bytes + 16) * 8 * 25);
            found.extend(taken.addresses(decoder.code(), 0).map(|at| at.0));
            events.extend(taken.events.into_iter().map(|event| (first + event.step, event.kind)));
        }
        prop_assert_eq!(decoder.finish().steps(), 0);
        prop_assert_eq!(found, addresses(&whole));
        let expected = whole.threads[0].events.iter().map(|event| (event.step, event.kind.clone()));
        prop_assert_eq!(events, expected.collect::<Vec<_>>());
    }

    #[test]
    fn damage_is_survived(pieces in pieces(), choices in choices(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), resync in resyncs()) {
        let program = Program::new(pieces);
        let mut packets = Tracer::run(&program, true, &choices).packets;
        for (place, value) in &flips {
            let at = place.index(packets.len());
            packets[at] ^= value;
        }
        let mut options = DecodeOptions::default();
        options.limits.blocks_without_packet = 1000;
        options.resync = resync;
        let trace = trace(&program, &packets, &options);
        check_sound(&trace.threads[0], packets.len());
    }

    #[test]
    fn a_cut_stream_gives_a_prefix(pieces in pieces(), choices in choices(), cut in any::<prop::sample::Index>()) {
        let program = Program::new(pieces);
        let Run { packets, steps, .. } = Tracer::run(&program, true, &choices);
        let part = trace(&program, &packets[..cut.index(packets.len())], &DecodeOptions::default());
        let found = addresses(&part);
        prop_assert!(steps.starts_with(&found), "invented steps: {found:x?} of {steps:x?}");
    }

    #[test]
    fn any_bytes_over_any_code(code in prop::collection::vec(any::<u8>(), 1..200), packets in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut image = StaticImage::new();
        image.add(Address(0), &code);
        let stream = [&rept_decode::packet::PSB[..], &[0x02, 0x23, 0x71, 0, 0, 0, 0, 0, 0], &packets].concat();
        let mut options = DecodeOptions::default();
        options.limits.blocks_without_packet = 100;
        let mut blocks = CodeBuilder::new();
        let thread = decode_thread(&Stream::new(ThreadId(1), &stream), &image, &options, &mut blocks);
        check_sound(&thread, stream.len());
        // Each outcome and each packet runs at most so many blocks.
        prop_assert!(thread.runs().len() <= (stream.len() * 8 + 1) * 102);
    }
}

fn straight() -> Program {
    let plain = vec![1, 2, 3];
    Program::new(vec![Piece {
        plain,
        ending: Ending::Branch(0),
    }])
}

fn turns(count: usize) -> Vec<Choice> {
    vec![
        Choice {
            taken: true,
            target: 0,
            event: 9
        };
        count
    ]
}

#[test]
fn a_ring_buffer_begins_in_the_middle() {
    let program = straight();
    let run = Tracer::run(&program, true, &turns(20));
    let ring = [&run.packets[3..], &run.packets[..]].concat();
    let trace = trace(&program, &ring, &DecodeOptions::default());
    let gaps = &trace.threads[0].gaps;
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].reason, GapReason::BeforeFirstPsb);
    assert_eq!(gaps[0].offset, run.packets.len() as u64 - 3);
    assert_eq!(addresses(&trace), run.steps);
}

#[test]
fn padding_before_the_first_boundary_is_no_gap() {
    let program = straight();
    let run = Tracer::run(&program, true, &turns(3));
    let padded = [&[0; 100][..], &run.packets].concat();
    let trace = trace(&program, &padded, &DecodeOptions::default());
    assert_eq!(trace.threads[0].gaps, []);
    assert_eq!(addresses(&trace), run.steps);
}

#[test]
fn a_stream_without_boundary_is_one_gap() {
    let trace = trace(&straight(), &[0x06; 50], &DecodeOptions::default());
    let gaps = &trace.threads[0].gaps;
    assert_eq!((gaps.len(), gaps[0].offset), (1, 50));
    assert_eq!(gaps[0].reason, GapReason::BeforeFirstPsb);
}

#[test]
fn lost_data_is_a_gap_and_decoding_goes_on() {
    let program = straight();
    let run = Tracer::run(&program, true, &turns(12));
    let chunk = |lost_before| Chunk {
        bytes: &run.packets,
        lost_before,
    };
    let stream = Stream {
        thread: ThreadId(7),
        chunks: vec![chunk(false), chunk(true)],
    };
    let trace = decode(&[stream], &image(&program), &DecodeOptions::default());
    let gaps = &trace.threads[0].gaps;
    assert_eq!(gaps.len(), 1);
    assert_eq!(
        (gaps[0].step, &gaps[0].reason),
        (run.steps.len() as u64, &GapReason::LostData)
    );
    assert_eq!(addresses(&trace), [&run.steps[..], &run.steps].concat());
}

#[test]
fn missing_code_names_what_is_wanted() {
    let program = straight();
    let run = Tracer::run(&program, true, &turns(2));
    let trace = decode(
        &[Stream::new(ThreadId(7), &run.packets)],
        &StaticImage::new(),
        &DecodeOptions::default(),
    );
    let gap = &trace.threads[0].gaps[0];
    assert_eq!(gap.at, Some(Address(BASE)));
    assert_eq!(
        gap.reason,
        GapReason::MissingCode {
            wanted: "nothing is mapped at 0x400000".to_owned()
        }
    );
}

/// The end of a mapping anywhere: the instruction that it cuts is refused with its address, and
/// whole where the next mapping goes on.
#[test]
fn an_instruction_cut_by_the_end_of_a_mapping_is_named() {
    let program = straight();
    let run = Tracer::run(&program, true, &turns(3));
    // Three instructions and a branch of six bytes.
    let ends = [1, 3, 6, 12];
    for cut in 1..12 {
        let (mapped, rest) = program.code.split_at(cut);
        let decoded = |image: &StaticImage<'_>| {
            let stream = Stream::new(ThreadId(7), &run.packets);
            decode(&[stream], image, &DecodeOptions::default())
        };
        let mut image = StaticImage::new();
        image.add(Address(BASE), mapped);
        let trace = decoded(&image);
        let whole = ends.iter().filter(|&&end| end <= cut).count();
        assert_eq!(addresses(&trace)[..whole], run.steps[..whole]);
        let gap = &trace.threads[0].gaps[0];
        assert_eq!(
            (gap.step, gap.at),
            (whole as u64, Some(Address(run.steps[whole])))
        );
        match ends.contains(&cut) {
            true => assert!(
                matches!(gap.reason, GapReason::MissingCode { .. }),
                "{gap:?}"
            ),
            false => assert_eq!(gap.reason, GapReason::BadInstruction),
        }
        image.add(Address(BASE + cut as u64), rest);
        assert_eq!(addresses(&decoded(&image)), run.steps);
    }
}

#[test]
fn threads_share_their_code() {
    let program = straight();
    let run = Tracer::run(&program, true, &turns(30));
    let streams = [
        Stream::new(ThreadId(9), &run.packets),
        Stream::new(ThreadId(2), &run.packets),
    ];
    let both = decode(&streams, &image(&program), &DecodeOptions::default());
    let one = trace(&program, &run.packets, &DecodeOptions::default());
    assert_eq!(both.code, one.code);
    assert_eq!(
        both.threads
            .iter()
            .map(|thread| thread.thread.0)
            .collect::<Vec<_>>(),
        [2, 9]
    );
}

#[test]
fn a_loop_without_packets_ends() {
    // jmp to itself, and a TIP that never comes to be used.
    let program = Program::new(vec![Piece {
        plain: vec![1],
        ending: Ending::Jump(0),
    }]);
    let mut packets = Tracer::run(&program, true, &[]).packets;
    let end = packets.len() - 4;
    packets.truncate(end);
    packets.extend([0x2d, 0x00, 0x00]);
    let trace = trace(&program, &packets, &DecodeOptions::default());
    assert_eq!(
        trace.threads[0].gaps.last().map(|gap| &gap.reason),
        Some(&GapReason::Limit)
    );
    assert_eq!(trace.threads[0].steps(), 0);
}

/// A chain of so many direct jumps, then a branch back to its begin; PSB+ leads there, and `rest` follows.
fn chain(jumps: usize, rest: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut code = [0xeb, 0x00].repeat(jumps);
    let back = -(code.len() as i32 + 6);
    code.extend([0x0f, 0x84]);
    code.extend(back.to_le_bytes());
    let begun = [
        &rept_decode::packet::PSB[..],
        &[0x99, 0x01, 0x7d, 0x00, 0x00, 0x40, 0, 0, 0, 0x02, 0x23],
    ];
    (code, [&begun.concat(), rest].concat())
}

fn decode_chain(
    code: &[u8],
    stream: &[u8],
    limits: Limits,
    blocks: &mut CodeBuilder,
) -> ThreadTrace {
    let mut image = StaticImage::new();
    image.add(Address(BASE), code);
    let options = DecodeOptions {
        limits,
        ..DecodeOptions::default()
    };
    decode_thread(&Stream::new(ThreadId(7), stream), &image, &options, blocks)
}

/// What a stream can ask for is bounded by its length, and the bound does not depend on what was
/// decoded before.
#[test]
fn long_walks_are_paid_for_by_packets() {
    const JUMPS: usize = 5000;
    let rounds = 40;
    // Six outcomes a byte, all taken.
    let (code, stream) = chain(JUMPS, &vec![0xfe; rounds]);
    let all = (rounds * 6 * (JUMPS + 1)) as u64;
    let mut blocks = CodeBuilder::new();
    let generous = Limits {
        blocks_per_byte: 6 * JUMPS as u32,
        ..Limits::default()
    };
    let whole = decode_chain(&code, &stream, generous, &mut blocks);
    assert_eq!((whole.steps(), whole.gaps.len()), (all, 0));
    let limits = Limits {
        blocks_without_packet: 3 * JUMPS as u32,
        blocks_per_byte: 2 * JUMPS as u32,
        ..Limits::default()
    };
    let first = decode_chain(&code, &stream, limits, &mut CodeBuilder::new());
    assert_eq!(
        decode_chain(&code, &stream, limits, &mut blocks).gaps,
        first.gaps
    );
    let gap = &first.gaps[0];
    assert_eq!(gap.reason, GapReason::Limit);
    assert_eq!(gap.at, Some(Address(BASE)), "behind the last outcome");
    assert_eq!(first.steps() % (JUMPS as u64 + 1), 0);
    // The PSBEND is two bytes, the packet in hand one.
    let paid = 3 * JUMPS as u64 + (gap.offset - 25 + 1) * 2 * JUMPS as u64;
    assert_eq!(first.steps() / (JUMPS as u64 + 1), paid / JUMPS as u64);
}

/// Nor does the place where a limit is reached, whichever of several packets the walk was taken for
/// and however much of it went over blocks that were known.
#[test]
fn limits_are_reached_at_one_place() {
    let tip = [0x2d, 0, 0];
    let packets = [
        vec![0xfe; 3],
        [&[0xfe; 12][..], &tip].concat(),
        tip.to_vec(),
    ];
    for (jumps, packets) in [3, 700, 2500, 4000]
        .iter()
        .flat_map(|&jumps| packets.iter().map(move |packets| (jumps, packets)))
    {
        // The first outcome is the branch's behind the chain, so that no limit is reached for it.
        let (code, mut stream) = chain(jumps, &[&[0x06], &packets[..]].concat());
        let branch = (BASE + 2 * jumps as u64).to_le_bytes();
        stream[19..25].copy_from_slice(&branch[..6]);
        let mut blocks = CodeBuilder::new();
        decode_chain(&code, &stream, Limits::default(), &mut blocks);
        let near = jumps.saturating_sub(2)..jumps + 2;
        for most in [0, 1, 2, 100, 512, 1200].into_iter().chain(near) {
            let limits = Limits {
                blocks_without_packet: most as u32,
                blocks_per_byte: 0,
                ..Limits::default()
            };
            let place = |blocks: &mut CodeBuilder| {
                let thread = decode_chain(&code, &stream, limits, blocks);
                (thread.steps(), thread.gaps)
            };
            let unknown = place(&mut CodeBuilder::new());
            assert_eq!(place(&mut blocks), unknown, "{jumps}, {packets:x?}, {most}");
            let reached = unknown.1.iter().any(|gap| gap.reason == GapReason::Limit);
            assert!(reached || most >= jumps, "{jumps}, {most}, {unknown:?}");
        }
    }
}

/// More cycles, and more wraps of the TSC, than a clock counts.
#[test]
fn times_beyond_all_clocks_are_bounds() {
    let tsc = |byte: u8| [&[0x19][..], &[byte; 7]].concat();
    let times = |rest: &[u8]| {
        let (code, stream) = chain(1, &[rest, &[0x06]].concat());
        let mut image = StaticImage::new();
        image.add(Address(BASE), &code);
        let mut options = DecodeOptions::default();
        options.time.max_nonturbo_ratio = 27;
        let mut trace = decode(&[Stream::new(ThreadId(7), &stream)], &image, &options);
        assert_eq!(trace.threads[0].gaps, []);
        std::mem::take(&mut trace.threads[0].times)
    };
    let wraps = |count| [tsc(0xff), tsc(0x01)].concat().repeat(count);
    // A CBR of one, then some 2^63 cycles.
    let cycles = [&[0xff][..], &[0xff; 8], &[0x06, 0x06]].concat();
    let slow = times(&[&wraps(20)[..], &[0x02, 0x03, 1, 0], &cycles].concat());
    assert!(
        slow.iter()
            .all(|mark| mark.time.earliest <= mark.time.latest)
    );
    assert!(
        slow.last()
            .is_some_and(|mark| mark.time.earliest.0 > 1 << 60),
        "{slow:?}"
    );
    assert!(times(&wraps(300)).len() > 1);
}

/// A loop that no packet can end is found by itself.
#[test]
fn loops_are_found_without_limits() {
    let limits = Limits {
        blocks_without_packet: u32::MAX,
        blocks_per_byte: u32::MAX,
        ..Limits::default()
    };
    let rests: [(&str, &[u8]); 5] = [
        ("TNT", &[0xfe]),
        ("TIP", &[0x2d, 0, 0]),
        ("FUP", &[0x3d, 0x77, 0x77]),
        ("TIP.PGD", &[0x21, 0x77, 0x77]),
        ("PTW", &[0x02, 0x12, 1, 2, 3, 4]),
    ];
    for jumps in [1, 2, 3, 700] {
        for (name, rest) in rests {
            let (mut code, stream) = chain(jumps, rest);
            // The branch becomes a jump that leads behind the first one.
            code.truncate(2 * jumps);
            let back = -(code.len() as i32 + 5) + if jumps > 1 { 2 } else { 0 };
            code.push(0xe9);
            code.extend(back.to_le_bytes());
            let mut blocks = CodeBuilder::new();
            for _ in 0..2 {
                let thread = decode_chain(&code, &stream, limits, &mut blocks);
                assert_eq!(thread.steps(), 0, "{name}, {jumps}");
                let reasons: Vec<_> = thread.gaps.iter().map(|gap| &gap.reason).collect();
                let expected = if name == "PTW" {
                    vec![]
                } else {
                    vec![&GapReason::Limit]
                };
                assert_eq!(reasons, expected, "{name}, {jumps}");
                assert!(thread.gaps.iter().all(|gap| gap.at == Some(Address(BASE))));
            }
        }
    }
}
