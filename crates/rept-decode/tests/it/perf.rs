//! Random programs and damaged streams in a `perf.data` file, by stock perf and by us.
//!
//! `docs/conformance.md` says where the two may differ.

use crate::encode::encode;
use crate::flow::{choices, image, pieces};
use crate::program::{BASE, Choice, Ending, Piece, Program, Tracer};
use crate::seed::{config, seed};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use rept_decode::packet::{IpCompression, IpPayload, Packet, Packets};
use rept_decode::{DecodeOptions, Stream, decode};
use rept_trace::{Gap, ThreadId};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs of one file, half of them with damage.
const PROGRAMS: usize = 1000;

/// Code of a program takes whole pages of the file that is mapped.
const PAGE: usize = 4096;

/// One program's run.
struct Case {
    program: Program,
    packets: Vec<u8>,
    /// Addresses of all steps; `None` when the packets are damaged.
    steps: Option<Vec<u64>>,
}

impl Case {
    fn pages(&self) -> Vec<u8> {
        let mut code = self.program.code.clone();
        code.resize(code.len().next_multiple_of(PAGE), 0xcc);
        code
    }
}

/// A program, and what is to become of its packets.
type Draw = (Vec<Piece>, Vec<Choice>, Vec<(Index, u8)>);

fn case((pieces, choices, flips): Draw, damaged: bool) -> Case {
    let program = Program::new(match damaged {
        true => without_direct_ways(pieces),
        false => pieces,
    });
    let run = Tracer::run(&program, true, &choices);
    let mut packets = in_full(&run.packets);
    if damaged {
        // Behind the first PSB+, whose mode both must know.
        const BEGUN: usize = 40;
        let begun = BEGUN.min(packets.len() - 1);
        for (place, bit) in flips {
            let at = begun + place.index(packets.len() - begun);
            packets[at] ^= 1 << bit;
        }
    }
    Case {
        program,
        packets,
        steps: (!damaged).then_some(run.steps),
    }
}

/// Damage leads into loops without packets, which perf follows for very long: here are none.
fn without_direct_ways(mut pieces: Vec<Piece>) -> Vec<Piece> {
    for piece in &mut pieces {
        match piece.ending {
            Ending::Jump(_) => piece.ending = Ending::JumpIndirect,
            Ending::Call(_) => piece.ending = Ending::CallIndirect,
            _ => {}
        }
    }
    pieces[0].ending = Ending::Branch(0);
    pieces
}

/// The same packets, the first address behind a PSB in full: perf 6.1 looks for it ahead of time
/// with the last address before the PSB at hand.
fn in_full(packets: &[u8]) -> Vec<u8> {
    let mut first = false;
    let mut out = Vec::new();
    for (_, packet) in Packets::new(packets, 0) {
        let packet = packet.expect("a packet of ours");
        let full = |payload: IpPayload| IpPayload {
            compression: IpCompression::SignExtend48,
            ..payload
        };
        let said = match packet {
            Packet::Fup(ip) if first => Some(Packet::Fup(full(ip))),
            Packet::TipPge(ip) if first => Some(Packet::TipPge(full(ip))),
            _ => None,
        };
        first = said.is_none() && (first || packet == Packet::Psb);
        out.extend(encode(&said.unwrap_or(packet)));
    }
    out
}

/// Little-endian bytes of a list of numbers.
macro_rules! bytes {
    ($($field:expr),* $(,)?) => {{
        let mut bytes: Vec<u8> = Vec::new();
        $(bytes.extend($field.to_le_bytes());)*
        bytes
    }};
}

const PMU: u32 = 8;

fn record(kind: u32, misc: u16, body: &[u8]) -> Vec<u8> {
    [&bytes![kind, misc, (body.len() + 8) as u16][..], body].concat()
}

/// A record of the kernel's, with the id fields of a process of one thread.
fn kernel(kind: u32, misc: u16, id: u32, body: &[u8]) -> Vec<u8> {
    record(
        kind,
        misc,
        &[body, &bytes![id, id, 0u64, 0u64, 99u64]].concat(),
    )
}

/// A recording of processes of one thread each, without times: each runs a part of one file.
fn perf_data(cases: &[Case], code: &Path) -> Vec<u8> {
    let mut name = code.to_str().expect("a path of text").as_bytes().to_vec();
    name.resize((name.len() + 1).next_multiple_of(8), 0);
    let info: Vec<u8> = [u64::from(PMU)]
        .into_iter()
        .chain([0; 16])
        .flat_map(u64::to_le_bytes)
        .collect();
    let mut data = record(70, 0, &[bytes![1u32, 0u32], info].concat());
    let mut page = 0u64;
    for (index, case) in cases.iter().enumerate() {
        let id = id(index);
        let (len, packets) = (case.pages().len() as u64, case.packets.len() as u64);
        let place = bytes![id, id, BASE, len, page, 8u32, 1u32, 5u64, 0u64, 5u32, 2u32];
        data.extend(kernel(
            3,
            0,
            id,
            &[&bytes![id, id][..], b"random\0\0"].concat(),
        ));
        data.extend(kernel(10, 2, id, &[&place[..], &name].concat()));
        data.extend(kernel(12, 0, id, &bytes![id, id]));
        data.extend(kernel(11, 0, id, &bytes![0u64, packets, 0u64]));
        let owner = bytes![packets, 0u64, 0u64, index as u32, id, u32::MAX, 0u32];
        data.extend(record(71, 0, &owner));
        data.extend(&case.packets);
        page += len;
    }
    // IP, TID, TIME, CPU and IDENTIFIER; branches traced; sample_id_all.
    let sampled = 1u64 | 1 << 1 | 1 << 2 | 1 << 7 | 1 << 16;
    let mut attr = bytes![PMU, 128u32, 1u64 << 13, 0u64, sampled, 0u64, 1u64 << 18];
    attr.resize(128, 0);
    let head = bytes![
        104u64,
        144u64,
        104u64,
        144u64,
        256u64,
        data.len() as u64,
        0u64,
        0u64
    ];
    let ids = bytes![248u64, 8u64, 99u64];
    [&b"PERFILE2"[..], &head, &[0; 32], &attr, &ids, &data].concat()
}

fn id(index: usize) -> u32 {
    1000 + index as u32
}

/// What perf finds of a program.
#[derive(Debug, Default)]
struct Found {
    /// Addresses, up to the first damage that it sees.
    path: Vec<u64>,
    damaged: bool,
}

/// What perf finds of each program; `None`, said aloud, when there is no perf.
fn by_perf(trace: &Path) -> Option<BTreeMap<u32, Found>> {
    let output = Command::new("perf")
        .args(["script", "--itrace=i0nse", "-F", "tid,ip", "-i"])
        .arg(trace)
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            eprintln!("SKIPPED: no perf to compare with: {error}");
            return None;
        }
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "perf script: {stderr}");
    let mut all: BTreeMap<u32, Found> = BTreeMap::new();
    let number = |text: &str| text.parse::<u32>().expect("a number");
    for line in String::from_utf8(output.stdout).expect("text").lines() {
        if line.contains("error type") {
            let (_, id) = line.split_once(" tid ").expect("a thread's error");
            let id = number(id.split(' ').next().unwrap_or_default());
            all.entry(id).or_default().damaged = true;
            continue;
        }
        let (id, ip) = line.trim().split_once(' ').expect("two columns");
        let found = all.entry(number(id)).or_default();
        if !found.damaged {
            let ip = u64::from_str_radix(ip.trim(), 16).expect("an address");
            found.path.push(ip);
        }
    }
    Some(all)
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn random_programs_by_perf() {
    let seed = seed();
    let mut runner = TestRunner::new(config(1));
    let flips = prop::collection::vec((any::<Index>(), 0u8..8), 1..4);
    let draws = (pieces(), choices(), flips);
    let cases: Vec<Case> = (0..PROGRAMS)
        .map(|index| {
            let draw = draws.new_tree(&mut runner).expect("any draw will do");
            case(draw.current(), index % 2 == 1)
        })
        .collect();
    let folder = Folder(std::env::temp_dir().join(format!("rept-random-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0).expect("the temporary folder can be made");
    let (code, trace) = (folder.0.join("code"), folder.0.join("perf.data"));
    let all: Vec<u8> = cases.iter().flat_map(Case::pages).collect();
    std::fs::write(&code, all).expect("the code can be written");
    std::fs::write(&trace, perf_data(&cases, &code)).expect("the trace can be written");
    let Some(theirs) = by_perf(&trace) else {
        return;
    };
    let none = Found::default();
    let mut compared = 0;
    for (index, case) in cases.iter().enumerate() {
        let place = format!("REPT_SEED={seed}, program {index}");
        compared += compare(
            case,
            id(index),
            theirs.get(&id(index)).unwrap_or(&none),
            &place,
        );
    }
    println!("{PROGRAMS} programs, {compared} steps");
    assert!(compared > 50_000, "{compared} steps prove little");
}

/// The number of steps that are the same, which must be all up to the first damage that either sees.
#[track_caller]
fn compare(case: &Case, id: u32, theirs: &Found, place: &str) -> usize {
    let streams = [Stream::new(ThreadId(id), &case.packets)];
    let decoded = decode(&streams, &image(&case.program), &DecodeOptions::default());
    let thread = &decoded.threads[0];
    let ours: Vec<u64> = thread.addresses(&decoded.code, 0).map(|ip| ip.0).collect();
    // Rounds that are not counted are a gap in ours, and the path is the same.
    let counted = |gap: &&Gap| !gap.reason.repeats();
    let damage = thread.gaps.iter().find(counted);
    let mut reached = [ours.len(), theirs.path.len()];
    if let Some(steps) = &case.steps {
        assert!(ours == *steps, "{place}: ours is not what ran");
        assert!(damage.is_none() && !theirs.damaged, "{place}: {damage:?}");
    } else if damage.is_some() || theirs.damaged {
        let whole = damage.map_or(ours.len(), |gap| gap.step as usize);
        reached = [whole.min(theirs.path.len()); 2];
    }
    let [ours, theirs] = [&ours[..reached[0]], &theirs.path[..reached[1]]];
    let same = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
    assert!(
        same == ours.len() && same == theirs.len(),
        "{place}, {damage:?}: {same} steps are the same, then {:x?} of {}, perf's {:x?} of {}",
        &ours[same..ours.len().min(same + 4)],
        ours.len(),
        &theirs[same..theirs.len().min(same + 4)],
        theirs.len()
    );
    same
}
