//! The readers of trace containers: any file is refused in one sentence, or read as far as it goes.

use crate::input::bytes;
use rept_core::Capture;
use std::path::Path;

/// Reads a file, and every byte that it claims to hold.
pub fn run(data: &[u8]) {
    match Capture::from_bytes(Path::new("perf.data"), data.to_vec()) {
        Ok(capture) => {
            let pieces = capture.streams.iter().flat_map(|stream| &stream.pieces);
            let total: usize = pieces.map(|piece| capture.bytes(piece).len()).sum();
            assert!(total <= data.len(), "streams hold what the file holds");
            let _ = (capture.processes(), capture.names());
            for problem in &capture.problems {
                assert!(!problem.to_string().contains('\n'));
            }
        }
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
}

/// Small files with one stream each.
pub fn seeds() -> Vec<Vec<u8>> {
    let stream = &crate::packets::seeds()[0];
    let info = [
        8u64,
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
    let info: Vec<u8> = info.iter().flat_map(|word| word.to_le_bytes()).collect();
    let len = stream.len() as u64;
    let records = [
        record(70, &[bytes![1u32, 0u32], info].concat()),
        kernel(3, &[&bytes![7u32, 7u32][..], b"victim\0\0"].concat()), // COMM
        kernel(10, &mmap2()),
        kernel(12, &bytes![7u32, 7u32]),      // ITRACE_START
        kernel(11, &bytes![0u64, len, 0u64]), // AUX
        [
            record(71, &bytes![len, 0u64, 5u64, 0u32, 7u32, u32::MAX, 0u32]),
            stream.clone(),
        ]
        .concat(),
        record(72, &trace_error()),
    ];
    let bundle = br#"{"type":"intel-pt","cpuInfo":{"vendor":"GenuineIntel","family":6,"model":85,"stepping":4},
        "processes":[{"pid":7,"threads":[{"tid":7,"iptTrace":"7.trace"}],
            "modules":[{"systemPath":"/bin/victim","loadAddress":"0x400000","uuid":"AB-CD"}]}],
        "cpus":[{"id":0,"iptTrace":"0.trace","contextSwitchTrace":"0.switches"}],
        "tscPerfZeroConversion":{"timeMult":1,"timeShift":0,"timeZero":1000}}"#;
    vec![file(&records), file(&records[..3]), bundle.to_vec()]
}

fn file(records: &[Vec<u8>]) -> Vec<u8> {
    let data = records.concat();
    // TID, TIME, CPU, IDENTIFIER; sample_id_all.
    let sample_type = 1u64 << 1 | 1 << 2 | 1 << 7 | 1 << 16;
    let mut attr = bytes![
        8u32,
        128u32,
        3u64 << 14 | 1 << 11,
        0u64,
        sample_type,
        0u64,
        1u64 << 18
    ];
    attr.resize(128, 0);
    let mut file = b"PERFILE2".to_vec();
    file.extend(bytes![
        104u64,
        144u64,
        104u64,
        144u64,
        248u64,
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

fn record(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = bytes![kind, 0u16, (body.len() + 8) as u16];
    bytes.extend(body);
    bytes
}

/// With the id fields of thread 7 of process 7.
fn kernel(kind: u32, body: &[u8]) -> Vec<u8> {
    record(
        kind,
        &[body, &bytes![7u32, 7u32, 2000u64, 0u64, 99u64]].concat(),
    )
}

/// With a message of two lines.
fn trace_error() -> Vec<u8> {
    let mut body = bytes![1u32, 1u32, 0u32, 7u32, 7u32, 0u32, 0x40_1000u64, 2000u64];
    body.extend(b"lost\nor not\0\0\0\0\0");
    body
}

fn mmap2() -> Vec<u8> {
    let mut body = bytes![7u32, 7u32, 0x40_1000u64, 0x1000u64, 0u64];
    body.extend([0; 24]);
    body.extend(bytes![5u32, 2u32]);
    body.extend(b"/bin/victim\0\0\0\0\0");
    body
}
