//! Small files, built field by field.

use super::super::{Capture, TaskKind};
use super::record::kind;
use rept_trace::{Address, ThreadId, Timestamp};
use std::path::Path;

pub(super) const TID: u64 = 1 << 1;
pub(super) const TIME: u64 = 1 << 2;
pub(super) const CPU: u64 = 1 << 7;
pub(super) const IDENTIFIER: u64 = 1 << 16;
const AUX: u64 = 1 << 20;
const PMU: u32 = 8;

/// Little-endian bytes of a list of numbers.
macro_rules! bytes {
    ($($field:expr),* $(,)?) => {{
        let mut bytes: Vec<u8> = Vec::new();
        $(bytes.extend($field.to_le_bytes());)*
        bytes
    }};
}
pub(super) use bytes;

pub(super) fn record(kind: u32, misc: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = bytes![kind, misc, (body.len() + 8) as u16];
    bytes.extend(body);
    bytes
}

/// A record of the kernel's, with the id fields of thread 7 of process 7 on cpu 0.
pub(super) fn kernel(kind: u32, misc: u16, body: &[u8], time: u64) -> Vec<u8> {
    let mut body = body.to_vec();
    body.extend(bytes![7u32, 7u32, time, 0u64, 99u64]);
    record(kind, misc, &body)
}

fn padded(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize((text.len() + 1).next_multiple_of(8), 0);
    bytes
}

fn mmap2(start: u64, len: u64, name: &str, time: u64) -> Vec<u8> {
    let mut body = bytes![7u32, 7u32, start, len, 0x2000u64];
    body.extend([3, 0, 0, 0, 0xab, 0xcd, 0xef]);
    body.extend([0; 17]);
    body.extend(bytes![5u32, 2u32]);
    body.extend(padded(name));
    kernel(kind::MMAP2, 1 << 14, &body, time)
}

pub(super) fn info() -> Vec<u8> {
    info_of(&INFO)
}

/// Of a recording of snapshots of rings.
fn snapshots() -> Vec<u8> {
    let mut words = INFO;
    words[8] = 1;
    info_of(&words)
}

fn info_of(words: &[u64]) -> Vec<u8> {
    let mut body = bytes![1u32, 0u32];
    body.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    record(kind::AUXTRACE_INFO, 0, &body)
}

/// AUXTRACE_INFO as perf 6 writes it: PMU, shift, multiplier, zero and that it is known, bits of the
/// configuration, no snapshots, the crystal clock's ratio, the maximum non-turbo ratio.
const INFO: [u64; 17] = [
    PMU as u64,
    0,
    1,
    1000,
    1,
    1 << 10,
    0,
    0,
    0,
    0,
    0,
    0,
    84,
    2,
    0,
    27,
    0,
];

pub(super) fn auxtrace(offset: u64, thread: u32, cpu: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = record(
        kind::AUXTRACE,
        0,
        &bytes![data.len() as u64, offset, 5u64, 0u32, thread, cpu, 0u32],
    );
    bytes.extend(data);
    bytes
}

fn aux(offset: u64, size: u64, flags: u64) -> Vec<u8> {
    kernel(kind::AUX, 0, &bytes![offset, size, flags], 2000)
}

pub(super) fn attr(sample_type: u64) -> Vec<u8> {
    attr_of_size(sample_type, 128)
}

fn attr_of_size(sample_type: u64, size: u32) -> Vec<u8> {
    let sample_id_all = 1u64 << 18;
    let mut attr = bytes![
        PMU,
        size,
        3u64 << 14 | 1 << 11,
        0u64,
        sample_type,
        0u64,
        sample_id_all
    ];
    attr.resize(size as usize, 0);
    attr
}

fn file_of(sample_type: u64, records: &[Vec<u8>]) -> Vec<u8> {
    file_with(attr(sample_type), records)
}

fn file_with(attr: Vec<u8>, records: &[Vec<u8>]) -> Vec<u8> {
    let data: Vec<u8> = records.concat();
    let attrs = 104u64;
    let entry = attr.len() as u64 + 16;
    let data_at = attrs + entry;
    let mut file = b"PERFILE2".to_vec();
    file.extend(bytes![
        104u64,
        entry,
        attrs,
        entry,
        data_at,
        data.len() as u64,
        0u64,
        0u64
    ]);
    file.resize(104, 0);
    file.extend(attr);
    file.extend(bytes![0u64, 0u64]);
    file.extend(data);
    file
}

pub(super) fn file(records: &[Vec<u8>]) -> Vec<u8> {
    file_of(TID | TIME | CPU | IDENTIFIER, records)
}

pub(super) fn read(bytes: Vec<u8>) -> Capture {
    open(bytes).unwrap_or_else(|error| panic!("{error}"))
}

fn open(bytes: Vec<u8>) -> Result<Capture, crate::Error> {
    Capture::from_bytes(Path::new("perf.data"), bytes)
}

fn pieces(capture: &Capture) -> Vec<Vec<u8>> {
    let all = capture.streams.iter().flat_map(|stream| &stream.pieces);
    all.map(|piece| capture.bytes(piece).into_owned()).collect()
}

fn whole() -> Vec<u8> {
    file(&[
        info(),
        mmap2(0x40_0000, 0x1000, "/bin/true", 0),
        kernel(
            kind::COMM,
            1 << 13,
            &[bytes![7u32, 7u32], padded("true")].concat(),
            1500,
        ),
        mmap2(0x50_0000, 0x1000, "/lib/late.so", 3000),
        kernel(
            kind::FORK,
            0,
            &bytes![7u32, 7u32, 8u32, 7u32, 1600u64],
            1600,
        ),
        kernel(kind::ITRACE_START, 0, &bytes![7u32, 7u32], 1550),
        auxtrace(0, 7, u32::MAX, b"first"),
        auxtrace(5, 7, u32::MAX, b"second"),
        kernel(kind::SWITCH, 1 << 13, &[], 4000),
    ])
}

#[test]
fn everything_in_a_file_is_found() {
    let capture = read(whole());
    assert_eq!(capture.problems.len(), 0, "{:?}", capture.problems);
    assert_eq!(capture.streams.len(), 1);
    assert_eq!(capture.streams[0].thread, Some(ThreadId(7)));
    assert_eq!(pieces(&capture), [b"firstsecond".to_vec()]);
    assert_eq!(capture.clock.tsc_per_ctc, Some((84, 2)));
    assert_eq!(capture.clock.mtc_period, 3);
    assert_eq!(capture.clock.max_nonturbo_ratio, Some(27));
    assert!(capture.uncompressed_returns);
    let [early, late] = capture.mappings.as_slice() else {
        panic!("{:?}", capture.mappings)
    };
    assert_eq!(
        (early.time, late.time),
        (None, Some(Timestamp(2000))),
        "ns less the conversion's zero"
    );
    assert_eq!(
        (late.start, late.len, late.file_offset),
        (Address(0x50_0000), 0x1000, 0x2000)
    );
    assert_eq!(late.build_id.as_ref().unwrap().to_string(), "abcdef");
    assert_eq!(capture.names().get(&ThreadId(7)), Some(&"true"));
    assert_eq!(capture.processes().get(&ThreadId(8)), Some(&7));
    assert_eq!(capture.tasks[1].kind, TaskKind::Traced);
    assert!(capture.switches[0].out && capture.switches[0].time == Timestamp(3000));
}

/// The same as a pipe, and with its records compressed.
fn forms() -> [Vec<u8>; 3] {
    let mut pipe = b"PERFILE2".to_vec();
    pipe.extend(bytes![16u64]);
    let attr = attr(TID | TIME | CPU | IDENTIFIER);
    pipe.extend(record(
        kind::HEADER_ATTR,
        0,
        &[attr, bytes![99u64]].concat(),
    ));
    let file = whole();
    pipe.extend(&file[248..]);
    let mapping = mmap2(0x50_0000, 0x1000, "/lib/late.so", 3000);
    let compressed = [
        info(),
        record(kind::COMPRESSED, 0, &open_frame(&[&mapping, &mapping])),
        auxtrace(0, 7, u32::MAX, b"firstsecond"),
        record(kind::COMPRESSED, 0, &open_frame(&[&mapping])[6..]),
    ];
    [file, pipe, self::file(&compressed)]
}

#[test]
fn every_truncation_gives_an_error_or_what_is_there() {
    for (form, whole) in forms().into_iter().enumerate() {
        let complete = read(whole.clone());
        assert_eq!(
            complete.problems.len(),
            0,
            "{form}: {:?}",
            complete.problems
        );
        let mut delivered = 0;
        for len in 0..whole.len() {
            match open(whole[..len].to_vec()) {
                Ok(capture) => {
                    delivered += 1;
                    let pieces = pieces(&capture).concat();
                    assert!(
                        b"firstsecond".starts_with(&pieces[..]),
                        "{form}, cut at {len}"
                    );
                    // A pipe may end behind any record.
                    let told = !capture.problems.is_empty() || form == 1;
                    assert!(told, "{form}: the cut at {len} goes unnoticed");
                }
                Err(error) => assert!(error.to_string().starts_with("perf.data: "), "{error}"),
            }
        }
        assert!(
            delivered > 50,
            "{form}: only {delivered} cuts left something"
        );
    }
}

#[test]
fn what_follows_a_file_is_noted() {
    let unfinished = {
        let mut bytes = whole();
        bytes[48..56].fill(0);
        bytes
    };
    for (form, first) in forms().into_iter().chain([unfinished]).enumerate() {
        let alone = read(first.clone());
        let another = format!(
            "perf.data: at offset {:#x}: another perf.data file begins here; its {} bytes are not read",
            first.len(),
            whole().len()
        );
        let capture = read([first, whole()].concat());
        let last = capture.problems.last().map(ToString::to_string);
        assert!(last == Some(another), "{form}: {:?}", capture.problems);
        assert_eq!(capture.problems.len(), alone.problems.len() + 1, "{form}");
        assert_eq!(pieces(&capture), pieces(&alone), "{form}");
    }
    let capture = read([whole(), vec![0; 7]].concat());
    let noted = format!("{:?}", capture.problems);
    assert!(noted.contains("7 bytes are not read"), "{noted}");
}

#[test]
fn one_flipped_byte_never_panics() {
    let whole = whole();
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            let _ = open(bytes);
        }
    }
}

#[test]
fn foreign_and_empty_files_are_named() {
    let say = |bytes: &[u8]| open(bytes.to_vec()).unwrap_err().to_string();
    assert_eq!(say(b""), "perf.data: the file is empty");
    assert_eq!(
        say(b"\x7fELF\x02"),
        "perf.data: at offset 0x0: expected a perf.data file, found an ELF file"
    );
    assert!(say(b"2ELIFREP\0\0\0\0\0\0\0\x68").contains("big-endian machine"));
    assert!(say(b"PERFILE2\x68").contains("the file ends inside the header"));
    assert_eq!(
        say(&file(&[info()])),
        "perf.data: there is no Intel PT data in it (no AUXTRACE record)"
    );
    let arm = record(kind::AUXTRACE_INFO, 0, &bytes![3u32, 0u32, 0u64]);
    assert!(say(&file(&[arm])).contains("not Intel PT (AUXTRACE type 3)"));
}

#[test]
fn pieces_that_overlap_are_joined_and_holes_are_kept() {
    let capture = read(file(&[
        info(),
        auxtrace(100, 7, u32::MAX, b"abcdef"),
        auxtrace(103, 7, u32::MAX, b"defgh"),
        auxtrace(300, 7, u32::MAX, b"later"),
    ]));
    assert_eq!(pieces(&capture), [b"abcdefgh".to_vec(), b"later".to_vec()]);
}

#[test]
fn lost_data_parts_what_would_follow() {
    let capture = read(file(&[
        info(),
        aux(0, 5, 1),
        auxtrace(0, 7, u32::MAX, b"first"),
        auxtrace(5, 7, u32::MAX, b"second"),
    ]));
    assert_eq!(pieces(&capture), [b"first".to_vec(), b"second".to_vec()]);
    assert!(
        capture.problems[0]
            .to_string()
            .contains("trace data was lost")
    );
}

#[test]
fn processors_have_streams_of_their_own() {
    let capture = read(file(&[
        info(),
        auxtrace(0, 7, 1, b"one"),
        auxtrace(0, 9, 0, b"zero"),
    ]));
    let cpus: Vec<_> = capture
        .streams
        .iter()
        .map(|stream| (stream.cpu, stream.thread))
        .collect();
    assert_eq!(cpus, [(Some(0), None), (Some(1), None)]);
    assert_eq!(pieces(&capture), [b"zero".to_vec(), b"one".to_vec()]);
}

#[test]
fn trace_bytes_inside_samples_are_found() {
    let callchain = 1 << 5;
    let sample = |data: &[u8]| {
        let mut body = bytes![
            99u64,
            7u32,
            7u32,
            2500u64,
            0u64,
            2u64,
            1u64,
            2u64,
            data.len() as u64
        ];
        body.extend(data);
        record(kind::SAMPLE, 0, &body)
    };
    let sample_type = TID | TIME | CPU | IDENTIFIER | AUX | callchain;
    let capture = read(file_of(
        sample_type,
        &[info(), sample(b"snapshot"), sample(b"another!")],
    ));
    assert_eq!(
        pieces(&capture),
        [b"snapshot".to_vec(), b"another!".to_vec()]
    );
    assert_eq!(capture.streams[0].cpu, Some(0));
}

#[test]
fn a_pipe_is_read_to_its_end() {
    let mut pipe = b"PERFILE2".to_vec();
    pipe.extend(bytes![16u64]);
    let mut body = attr(TID | TIME | CPU | IDENTIFIER);
    body.extend(bytes![99u64]);
    pipe.extend(record(kind::HEADER_ATTR, 0, &body));
    pipe.extend(info());
    pipe.extend(mmap2(0x50_0000, 0x1000, "/lib/late.so", 3000));
    pipe.extend(auxtrace(0, 7, u32::MAX, b"bytes"));
    let capture = read(pipe);
    assert_eq!(capture.mappings[0].time, Some(Timestamp(2000)));
    assert_eq!(capture.clock.mtc_period, 3);
    assert_eq!(pieces(&capture), [b"bytes".to_vec()]);
}

/// A zstd frame of raw blocks that never ends, as perf's do.
fn open_frame(blocks: &[&[u8]]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x50];
    for block in blocks {
        frame.extend(&((block.len() as u32) << 3).to_le_bytes()[..3]);
        frame.extend(*block);
    }
    frame
}

#[test]
fn compressed_records_are_unpacked_wherever_they_are_cut() {
    let mapping = mmap2(0x50_0000, 0x1000, "/lib/late.so", 3000);
    let (head, tail) = mapping.split_at(30);
    let frame = open_frame(&[head, tail, &mapping]);
    for cut in 6..frame.len() {
        let (first, second) = frame.split_at(cut);
        let capture = read(file(&[
            info(),
            record(kind::COMPRESSED, 0, first),
            auxtrace(0, 7, u32::MAX, b"bytes"),
            record(kind::COMPRESSED, 0, second),
        ]));
        assert_eq!(
            capture.problems.len(),
            0,
            "cut at {cut}: {:?}",
            capture.problems
        );
        assert_eq!(capture.mappings.len(), 2, "cut at {cut}");
    }
}

#[test]
fn damaged_compression_is_told_and_the_rest_is_read() {
    let capture = read(file(&[
        info(),
        record(kind::COMPRESSED, 0, b"no such frame"),
        auxtrace(0, 7, u32::MAX, b"bytes"),
    ]));
    assert!(
        capture.problems[0]
            .to_string()
            .contains("cannot be unpacked")
    );
    assert_eq!(pieces(&capture), [b"bytes".to_vec()]);
}

/// PSB, TSC, PSBEND, TNT.
fn synchronised(tsc: u8) -> Vec<u8> {
    let mut bytes = rept_decode::packet::PSB.to_vec();
    bytes.extend([0x19, tsc, 0, 0, 0, 0, 0, 0, 0x02, 0x23, 0x06]);
    bytes
}

#[test]
fn padding_between_pieces_is_taken_off() {
    let capture = read(file(&[
        info(),
        auxtrace(0, 7, u32::MAX, b"first\0\0\0"),
        auxtrace(5, 7, u32::MAX, b"second\0\0"),
        auxtrace(11, 7, u32::MAX, b"third\0\0\0"),
    ]));
    assert_eq!(pieces(&capture), [b"firstsecondthird\0\0\0".to_vec()]);
}

#[test]
fn data_lost_within_a_piece_parts_it() {
    let capture = read(file(&[
        info(),
        aux(0, 5, 1),
        aux(5, 6, 1),
        auxtrace(0, 7, u32::MAX, b"firstsecond\0\0\0\0\0"),
        auxtrace(11, 7, u32::MAX, b"third\0\0\0"),
    ]));
    let parted: [&[u8]; 3] = [b"first", b"second", b"third\0\0\0"];
    assert_eq!(pieces(&capture), parted);
}

#[test]
fn snapshots_are_joined_by_what_they_hold() {
    let whole = [synchronised(1), synchronised(2), synchronised(3)].concat();
    let second = synchronised(1).len();
    let capture = read(file(&[
        snapshots(),
        // The ring's offsets say nothing of which is older.
        auxtrace(4096, 7, u32::MAX, &whole[..2 * second]),
        auxtrace(0, 7, u32::MAX, &whole[second - 3..]),
        auxtrace(0, 7, u32::MAX, &synchronised(9)),
    ]));
    assert_eq!(pieces(&capture), [whole, synchronised(9)]);
}

#[test]
fn samples_that_overlap_are_joined() {
    let whole = [synchronised(1), synchronised(2), synchronised(3)].concat();
    let third = 2 * synchronised(1).len();
    let sample = |time: u64, data: &[u8]| {
        let mut body = bytes![99u64, 7u32, 7u32, time, 2u64, data.len() as u64];
        body.extend(data);
        record(kind::SAMPLE, 0, &body)
    };
    let sample_type = TID | TIME | CPU | IDENTIFIER | AUX;
    let records = [
        info(),
        sample(3000, &whole[3..]),
        sample(2000, &whole[..third]),
    ];
    let capture = read(file_of(sample_type, &records));
    assert_eq!(pieces(&capture), [whole]);
}

#[test]
fn older_and_newer_attributes_are_read() {
    for size in [64, 72, 80, 96, 104, 112, 120, 128, 136, 200] {
        let attr = attr_of_size(TID | TIME | CPU | IDENTIFIER, size);
        let records = [
            info(),
            mmap2(0x50_0000, 0x1000, "/lib/late.so", 3000),
            auxtrace(0, 7, u32::MAX, b"bytes"),
        ];
        let capture = read(file_with(attr.clone(), &records));
        let problems = &capture.problems;
        assert_eq!(
            (problems.len(), capture.clock.mtc_period),
            (0, 3),
            "{size}: {problems:?}"
        );
        assert_eq!(capture.mappings[0].time, Some(Timestamp(2000)), "{size}");
        let mut pipe = b"PERFILE2".to_vec();
        pipe.extend(bytes![16u64]);
        pipe.extend(record(
            kind::HEADER_ATTR,
            0,
            &[attr, bytes![99u64]].concat(),
        ));
        pipe.extend(records.concat());
        assert_eq!(read(pipe).mappings[0].time, Some(Timestamp(2000)), "{size}");
    }
}

#[test]
fn sizes_of_events_that_lie_are_noted_with_their_place() {
    let lie = |at: usize, word: u64, expect: &str| {
        let mut bytes = whole();
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        let problems = read(bytes).problems;
        let said = problems.iter().any(|problem| {
            let said = problem.to_string();
            said.contains(expect) && said.contains("at offset 0x")
        });
        assert!(said, "{expect}: {problems:?}");
    };
    let [attrs_at, entry] = [24, 16].map(|at| {
        let word = whole()[at..at + 8].try_into().unwrap();
        u64::from_le_bytes(word) as usize
    });
    lie(16, 1 << 60, "cannot hold events of 1152921504606846976");
    lie(16, entry as u64 - 1, "cannot hold events of");
    lie(16, 79, "cannot hold events of 79");
    lie(24, 1 << 40, "the table of events lies outside the file");
    lie(attrs_at, 0xffff_0000_0008, "an event of 65535 bytes");
    let ids = attrs_at + entry - 16;
    lie(
        ids + 8,
        1 << 40,
        "the identifiers of the event lie outside the file",
    );
}

#[test]
fn older_perf_tells_less_of_the_clock() {
    let capture = read(file(&[
        info_of(&INFO[..9]),
        auxtrace(0, 7, u32::MAX, b"bytes"),
    ]));
    assert!(capture.problems.is_empty(), "{:?}", capture.problems);
    assert!(capture.clock.conversion.is_some());
    assert_eq!(
        (capture.clock.tsc_per_ctc, capture.clock.max_nonturbo_ratio),
        (None, None)
    );
}

#[test]
fn without_a_conversion_no_times_are_compared() {
    let mut words = INFO;
    words[4] = 0;
    let capture = read(file(&[
        info_of(&words),
        mmap2(0x50_0000, 0x1000, "/lib/late.so", 3000),
        auxtrace(0, 7, u32::MAX, b"bytes"),
        kernel(kind::SWITCH, 1 << 13, &[], 4000),
    ]));
    assert!(!capture.clock.comparable && capture.switches.is_empty());
    assert!(capture.problems[0].to_string().contains("context switches"));
    assert_eq!(pieces(&capture), [b"bytes".to_vec()]);
}

#[test]
fn times_of_another_clock_are_not_compared() {
    let mut attr = attr(TID | TIME | CPU | IDENTIFIER);
    attr[43] |= 1 << 1; // use_clockid, bit 25 of the flags
    let records = [
        info(),
        auxtrace(0, 7, u32::MAX, b"bytes"),
        kernel(kind::SWITCH, 1 << 13, &[], 4000),
    ];
    let capture = read(file_with(attr, &records));
    assert!(!capture.clock.comparable && capture.switches.is_empty());
    assert!(capture.problems[0].to_string().contains("context switches"));
    assert!(read(file(&records)).clock.comparable);
}

#[test]
fn what_the_kernel_made_and_patched_is_found() {
    let mut made = bytes![0xffff_ffff_c000_0000u64, 64u32, 1u16, 0u16];
    made.extend(padded("bpf_prog_1"));
    let gone = [&made[..14], &bytes![1u16], &made[16..]].concat();
    let mut poke = bytes![0xffff_ffff_8100_0000u64, 2u16, 1u16, 0x90u8, 0x90u8, 0xccu8];
    poke.resize(16, 0);
    let capture = read(file(&[
        info(),
        kernel(kind::KSYMBOL, 0, &made, 2000),
        kernel(kind::KSYMBOL, 0, &gone, 3000),
        kernel(kind::TEXT_POKE, 0, &poke, 2500),
        auxtrace(0, 7, u32::MAX, b"bytes"),
    ]));
    let symbols: Vec<_> = capture
        .kernel_symbols
        .iter()
        .map(|s| (s.time.unwrap().0, s.len, s.name.as_str(), s.gone))
        .collect();
    assert_eq!(
        symbols,
        [
            (1000, 64, "bpf_prog_1", false),
            (2000, 64, "bpf_prog_1", true)
        ]
    );
    let poke = &capture.text_pokes[0];
    assert_eq!(
        (&poke.old[..], &poke.new[..]),
        (&[0x90, 0x90][..], &[0xcc][..])
    );
}
