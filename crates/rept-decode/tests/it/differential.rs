//! The same bytes through our engine and through Intel's: the same flow.
//!
//! `docs/conformance.md` says where the two may differ, and why.

use crate::captures::{Expected, captures};
use crate::encode::encode;
use crate::flow::{choices, image, pieces};
use crate::program::{BASE, Ending, Piece, Program, Tracer};
use crate::seed::config;
use proptest::prelude::*;
use rept_decode::dump::{DumpOptions, dump};
use rept_decode::packet::{IpCompression, IpPayload, Packet};
use rept_decode::{DecodeOptions, Limits, Stream, decode, libipt};
use rept_trace::{Address, EventKind, GapReason, ThreadId, Trace};

fn both(program: &Program, packets: &[u8]) -> [Trace; 2] {
    let streams = [Stream::new(ThreadId(7), packets)];
    let image = image(program);
    let options = DecodeOptions {
        limits: Limits {
            blocks_without_packet: 1000,
            ..Limits::default()
        },
        ..DecodeOptions::default()
    };
    [
        decode(&streams, &image, &options),
        libipt::decode(&streams, &image, &options),
    ]
}

/// Steps up to the first return that went elsewhere than behind the last call: it takes that call
/// off the stack in ours, in perf and in the processor, but not in libipt.
fn up_to_strange_return(trace: &Trace) -> usize {
    let mut calls = Vec::new();
    let mut returning = None;
    for (step, (at, bytes)) in steps(trace).enumerate() {
        if returning.take().is_some_and(|to| to != at) {
            return step;
        }
        match bytes {
            [0xe8, 0, 0, 0, 0] => {}
            [0xe8, ..] | [0xff, 0xd0] => calls.push(at.offset(bytes.len() as u64)),
            [0xc3] => returning = calls.pop(),
            _ => {}
        }
    }
    trace.threads[0].steps() as usize
}

fn steps(trace: &Trace) -> impl Iterator<Item = (Address, &[u8])> {
    trace.threads[0].runs().iter().flat_map(|run| {
        let block = trace.code.block(run.block);
        (0..usize::from(run.count))
            .map(|index| (block.address(index), block.instruction_bytes(index)))
    })
}

/// Steps between two gaps, and what ends them: an overflow (`true`), or damage or the end. Rounds that
/// are not counted are a gap in ours alone, and the path is the same.
fn sections(trace: &Trace, steps: usize) -> Vec<(Vec<Address>, bool)> {
    let thread = &trace.threads[0];
    let ends = thread
        .gaps
        .iter()
        .filter(|gap| !gap.reason.repeats())
        .map(|gap| (gap.step, gap.reason == GapReason::Overflow));
    let mut addresses = thread.addresses(&trace.code, 0).take(steps);
    let mut first = 0;
    ends.chain([(thread.steps(), false)])
        .map(|(end, overflow)| {
            let len = (end - first) as usize;
            first = end;
            (addresses.by_ref().take(len).collect(), overflow)
        })
        .collect()
}

/// Sections are equal up to the first damage that either sees, but for their ends: behind the
/// last packet that it understood libipt runs on to the next branch, ours does not.
fn agree(packets: &[u8], [ours, theirs]: &[Trace; 2]) -> Result<(), TestCaseError> {
    let comparable = up_to_strange_return(ours);
    let found = sections(ours, comparable);
    let expected = sections(theirs, comparable);
    for ((found, goes_on), (expected, also)) in found.into_iter().zip(expected) {
        let common = found.len().min(expected.len());
        if found[..common] != expected[..common] {
            let mut listing = String::new();
            dump(packets, DumpOptions::default(), &mut listing).expect("a string takes all");
            let gaps = [&ours.threads[0].gaps, &theirs.threads[0].gaps];
            prop_assert_eq!(
                &found[..common],
                &expected[..common],
                "{:?}\n{}",
                gaps,
                listing
            );
        }
        if !(goes_on && also) {
            break;
        }
    }
    Ok(())
}

/// Programs that never return: in a damaged stream the two may disagree on what is on the stack.
fn without_returns() -> impl Strategy<Value = Vec<Piece>> {
    let jumps = |mut piece: Piece| {
        if matches!(piece.ending, Ending::Return) {
            piece.ending = Ending::JumpIndirect;
        }
        piece
    };
    pieces().prop_map(move |pieces| pieces.into_iter().map(jumps).collect())
}

/// PSB+, mode and address, as every run of a program begins.
fn begun() -> Vec<u8> {
    let mut packets = Tracer::run(&Program::new(Vec::new()), true, &[]).packets;
    packets.truncate(packets.len() - 4);
    packets
}

/// Packets that may follow anywhere as far as their bytes go, with addresses near the program.
fn stray() -> impl Strategy<Value = Vec<Packet>> {
    let ip = (0u64..64).prop_map(|offset| IpPayload {
        compression: IpCompression::SignExtend48,
        bits: BASE + offset,
    });
    let mode = Packet::ModeExec {
        long: true,
        default_32: false,
        interrupts: false,
    };
    prop_oneof![
        8 => (1u8..7, any::<u64>()).prop_map(|(len, bits)| vec![Packet::Tnt { bits: bits & ((1 << len) - 1), len, long: false }]),
        8 => ip.clone().prop_map(|ip| vec![Packet::Tip(ip)]),
        2 => ip.clone().prop_map(|ip| vec![Packet::Fup(ip)]),
        2 => ip.clone().prop_map(|ip| vec![Packet::TipPgd(ip)]),
        2 => ip.clone().prop_map(|ip| vec![Packet::TipPge(ip)]),
        2 => ip.clone().prop_map(move |ip| vec![Packet::Psb, mode, Packet::Fup(ip), Packet::PsbEnd]),
        2 => ip.clone().prop_map(|ip| vec![Packet::Ovf, Packet::Fup(ip)]),
        2 => (ip.clone(), ip.clone()).prop_map(|(from, to)| vec![Packet::Fup(from), Packet::Tip(to)]),
        2 => ip.clone().prop_map(|ip| vec![Packet::Fup(ip), Packet::TipPgd(IpPayload::SUPPRESSED), Packet::TipPge(ip)]),
        1 => Just(vec![Packet::TipPgd(IpPayload::SUPPRESSED)]),
        1 => Just(vec![Packet::Psb, Packet::PsbEnd]),
        1 => Just(vec![Packet::Ovf]),
        1 => any::<u8>().prop_map(|ratio| vec![Packet::Cbr { ratio }]),
        1 => (0u64..1 << 56).prop_map(|tsc| vec![Packet::Tsc { tsc }]),
    ]
}

/// Real hardware's traces: every address, and every event that moves execution.
#[test]
fn captures_by_both() {
    for capture in captures() {
        let ours = capture.decode(&capture.options());
        let streams = [Stream::new(ThreadId(1), &capture.pt)];
        let theirs = libipt::decode(&streams, &capture.image(), &capture.options());
        // Its instruction decoder stops where a TIP.PGD without address ends an indirect call.
        if capture.name.starts_with("arcus/") {
            let reached = theirs.threads[0]
                .gaps
                .first()
                .map_or(u64::MAX, |gap| gap.step);
            let found = ours.threads[0].addresses(&ours.code, 0);
            let expected = theirs.threads[0].addresses(&theirs.code, 0);
            assert!(reached > 100_000, "{}: {reached} steps", capture.name);
            assert!(
                expected
                    .take(reached as usize)
                    .eq(found.take(reached as usize)),
                "{}",
                capture.name
            );
            continue;
        }
        assert_eq!(
            Expected::found(&ours),
            Expected::found(&theirs),
            "{}",
            capture.name
        );
        assert_eq!(flow(&ours), flow(&theirs), "{}", capture.name);
    }
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn programs_by_both(pieces in pieces(), choices in choices(), compress: bool) {
        let program = Program::new(pieces);
        let packets = Tracer::run(&program, compress, &choices).packets;
        let traces = both(&program, &packets);
        let [ours, theirs] = &traces;
        if compress && up_to_strange_return(ours) < ours.threads[0].steps() as usize {
            return agree(&packets, &traces);
        }
        prop_assert_eq!(flow(ours), flow(theirs));
        prop_assert_eq!(&theirs.threads[0].gaps, &[]);
    }

    #[test]
    fn damage_by_both(pieces in without_returns(), choices in choices(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let program = Program::new(pieces);
        let mut packets = Tracer::run(&program, true, &choices).packets;
        // The mode stays known: without it the two assume different ones.
        let known = begun().len();
        for (place, value) in &flips {
            let at = known + place.index(packets.len() - known);
            packets[at] ^= value;
        }
        agree(&packets, &both(&program, &packets))?;
    }

    #[test]
    fn any_packets_by_both(pieces in pieces(), packets in prop::collection::vec(stray(), 0..60)) {
        let program = Program::new(pieces);
        let bytes: Vec<u8> = packets.iter().flatten().flat_map(encode).collect();
        let packets = [begun(), bytes].concat();
        agree(&packets, &both(&program, &packets))?;
    }
}

/// Addresses, and between them the events that move execution.
fn flow(trace: &Trace) -> Vec<String> {
    let thread = &trace.threads[0];
    let mut events = thread.events.iter().peekable();
    let mut lines = Vec::new();
    for step in 0..=thread.steps() {
        while let Some(event) = events.next_if(|event| event.step <= step) {
            lines.extend(word(&event.kind).map(str::to_owned));
        }
        lines.extend(
            thread
                .address(&trace.code, step)
                .map(|at| format!("{:x}", at.0)),
        );
    }
    lines
}

/// A word for an event.
fn word(event: &EventKind) -> Option<&'static str> {
    Some(match event {
        EventKind::Enabled { .. } => "enabled",
        EventKind::Disabled { .. } | EventKind::AsyncDisabled { .. } => "disabled",
        EventKind::AsyncBranch { .. } => "interrupt",
        EventKind::Overflow { .. } => "overflow",
        EventKind::Transaction { aborted: true, .. } => "aborted",
        EventKind::Transaction {
            in_transaction: true,
            ..
        } => "begin transaction",
        EventKind::Transaction { .. } => "committed",
        _ => return None,
    })
}
