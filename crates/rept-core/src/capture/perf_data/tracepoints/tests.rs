//! Tracepoints as perf describes and samples them, built field by field.

use super::super::super::Capture;
use super::super::container::Container;
use super::super::record::kind;
use super::super::tests::{
    CPU, IDENTIFIER, TID, TIME, attr, auxtrace, bytes, file, info, kernel, read, record,
};
use super::*;
use std::path::Path;

/// What perf writes of the tracepoints that it recorded: two of one system, as the kernel describes them.
fn tracepoints() -> Vec<u8> {
    let sized = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let format = |name: &str, id: u32, fields: &str| {
        let common = "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n";
        let shown = "print fmt: \"prev_pid=%d\", REC->prev_pid\n";
        sized(&format!(
            "name: {name}\nID: {id}\nformat:\n{common}\n{fields}\n{shown}"
        ))
    };
    let field = |kind: &str, name: &str, offset: u32, size: u32| {
        format!("\tfield:{kind} {name};\toffset:{offset};\tsize:{size};\tsigned:1;\n")
    };
    let switch = [
        field("char", "prev_comm[16]", 8, 16),
        field("pid_t", "prev_pid", 24, 4),
        field("int", "prev_prio", 28, 4),
        field("pid_t", "next_pid", 56, 4),
    ];
    let mut bytes = b"\x17\x08\x44tracing0.6\0\0\x08".to_vec();
    bytes.extend(bytes![4096u32]);
    for header in ["header_page\0", "header_event\0"] {
        bytes.extend(header.as_bytes());
        bytes.extend(sized("\tfield: u64 timestamp;\n"));
    }
    bytes.extend([bytes![1u32], sized("name: function\nID: 1\n")].concat());
    bytes.extend([bytes![1u32], b"sched\0".to_vec(), bytes![2u32]].concat());
    bytes.extend(format("sched_wakeup", 315, &field("pid_t", "pid", 24, 4)));
    bytes.extend(format("sched_switch", 316, &switch.concat()));
    bytes
}

/// Events of PT and of a tracepoint, and context switches of processor 2 at the latter.
fn traced_switches(switches: &[(u64, u32, u32)]) -> (Vec<u8>, Vec<u8>) {
    const RAW: u64 = 1 << 10;
    const TRACEPOINT: u32 = 2;
    let mut traced = attr(TID | TIME | CPU | IDENTIFIER | RAW);
    traced[..4].copy_from_slice(&TRACEPOINT.to_le_bytes());
    traced[8..16].copy_from_slice(&316u64.to_le_bytes());
    let attrs = [
        record(
            kind::HEADER_ATTR,
            0,
            &[attr(TID | TIME | CPU | IDENTIFIER), bytes![99u64]].concat(),
        ),
        record(kind::HEADER_ATTR, 0, &[traced, bytes![100u64]].concat()),
    ];
    let sample = |&(time, left, came): &(u64, u32, u32)| {
        let mut raw = vec![0; 60];
        raw[24..28].copy_from_slice(&left.to_le_bytes());
        raw[56..60].copy_from_slice(&came.to_le_bytes());
        let process = if left == 9 { 9 } else { 7 };
        let mut body = bytes![100u64, process as u32, left, time, 2u64, raw.len() as u32];
        body.extend(raw);
        record(kind::SAMPLE, 0, &body)
    };
    let fork = kernel(
        kind::FORK,
        0,
        &bytes![7u32, 7u32, 8u32, 7u32, 1600u64],
        1600,
    );
    let rest = [info(), fork, auxtrace(0, u32::MAX, 2, b"bytes")];
    let samples: Vec<u8> = switches.iter().flat_map(sample).collect();
    (attrs.concat(), [rest.concat(), samples].concat())
}

#[test]
fn tracepoints_tell_of_context_switches() {
    let (attrs, records) =
        traced_switches(&[(2000, 7, 8), (3000, 8, 9), (4000, 9, 5), (5000, 5, 0)]);
    let mut described = tracepoints();
    let length = described.len() as u32;
    described.resize(described.len().next_multiple_of(8), 0);
    let header = [b"PERFILE2".to_vec(), bytes![16u64]].concat();
    let told = [
        record(kind::HEADER_TRACING_DATA, 0, &bytes![length]),
        described,
    ]
    .concat();
    let capture = read([header.clone(), attrs.clone(), told.clone(), records.clone()].concat());
    assert_eq!(capture.problems.len(), 0, "{:?}", capture.problems);
    let found = |capture: &Capture| -> Vec<(u64, u32, u32, bool)> {
        let switches = capture.switches.iter();
        assert!(switches.clone().all(|switch| switch.cpu == Some(2)));
        switches
            .map(|s| (s.time.0, s.process, s.thread.0, s.out))
            .collect()
    };
    let expected = [
        (1000, 7, 7, true),
        (1000, 7, 8, false),
        (2000, 7, 8, true),
        (2000, 9, 9, false),
        (3000, 9, 9, true),
        (3000, 7, 5, false),
        (4000, 7, 5, true),
        (4000, 0, 0, false),
    ];
    assert_eq!(found(&capture), expected);
    // Records of switches are better, and a tracepoint that nobody describes tells nothing.
    let mut switch = kernel(kind::SWITCH, 1 << 13, &[], 4000);
    let cpu = switch.len() - 16;
    switch[cpu] = 2;
    let both = read([header.clone(), attrs.clone(), told, records.clone(), switch].concat());
    assert_eq!(found(&both), [(3000, 7, 7, true)]);
    let undescribed = read([header, attrs, records].concat());
    assert_eq!(found(&undescribed), []);
}

#[test]
fn damaged_descriptions_of_tracepoints_are_of_no_use() {
    let whole = tracepoints();
    assert!(SwitchFormat::find(&whole).is_some());
    for length in 0..whole.len() {
        assert_eq!(SwitchFormat::find(&whole[..length]), None, "{length}");
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        // Found or not: a place is where it is, and nothing panics.
        let found = SwitchFormat::find(&bytes);
        let _ = found.and_then(|format| format.threads(&[0; 60]));
    }
}

// The same in a file that is not a pipe: a feature of the header, behind the records.
#[test]
fn the_header_describes_tracepoints() {
    let (described, data) = (tracepoints(), info());
    let mut file = file(&[data, auxtrace(0, 7, u32::MAX, b"bytes")]);
    let end = file.len() as u64 + 16;
    file.extend(bytes![end, described.len() as u64]);
    file.extend(&described);
    file[72] = 1 << 1;
    let container = Container::open(Path::new("perf.data"), &file).unwrap();
    let told = container.tracepoints().expect("the feature");
    assert_eq!(SwitchFormat::find(told), SwitchFormat::find(&described));
}
