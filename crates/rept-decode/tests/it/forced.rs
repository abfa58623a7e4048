//! Packets by hand: how tracing ends, and packets that no processor makes.

use crate::encode::encode;
use crate::flow::image;
use crate::program::{BASE, Ending, Piece, Program};
use rept_decode::packet::{IpCompression, IpPayload, Packet};
use rept_decode::{AddressFilter, DecodeOptions, Resync, Stream, decode};
use rept_trace::{Address, EventKind, GapReason, ThreadId, ThreadTrace};

fn ip(offset: u64) -> IpPayload {
    IpPayload {
        compression: IpCompression::SignExtend48,
        bits: BASE + offset,
    }
}

fn mode(long: bool, default_32: bool) -> Packet {
    Packet::ModeExec {
        long,
        default_32,
        interrupts: false,
    }
}

fn tnt(bits: u64, len: u8) -> Packet {
    Packet::Tnt {
        bits,
        len,
        long: false,
    }
}

/// Three plain instructions at 0, 1 and 3, and one at 6 that ends like this.
fn program(ending: Ending) -> Program {
    let piece = |plain, ending| Piece { plain, ending };
    let behind = piece(vec![9, 9], Ending::FallThrough);
    Program::new(vec![piece(vec![1, 2, 3], ending), behind])
}

/// Decodes `packets` behind a PSB+; the addresses, from the program's begin on.
#[track_caller]
fn check(
    ending: Ending,
    options: &DecodeOptions,
    packets: &[Packet],
    steps: &[u64],
) -> ThreadTrace {
    let program = program(ending);
    let begin = [Packet::Psb, Packet::PsbEnd, mode(true, false)];
    let bytes: Vec<u8> = begin.iter().chain(packets).flat_map(encode).collect();
    let streams = [Stream::new(ThreadId(1), &bytes)];
    let mut trace = decode(&streams, &image(&program), options);
    let addresses = trace.threads[0].addresses(&trace.code, 0);
    let found: Vec<u64> = addresses.map(|at| at.0 - BASE).collect();
    assert_eq!(found, steps, "{:?}", trace.threads[0].gaps);
    trace.threads.remove(0)
}

fn unexpected(packet: &'static str, expected: &'static str) -> GapReason {
    GapReason::UnexpectedPacket { packet, expected }
}

fn reasons(thread: &ThreadTrace) -> Vec<GapReason> {
    thread.gaps.iter().map(|gap| gap.reason.clone()).collect()
}

#[test]
fn straight_code_does_not_end_tracing() {
    let packets = [Packet::TipPge(ip(0)), Packet::TipPgd(ip(3))];
    let options = DecodeOptions::default();
    let thread = check(Ending::JumpIndirect, &options, &packets, &[0, 1, 3, 6]);
    assert_eq!(reasons(&thread), []);
    let ended = EventKind::Disabled {
        ip: Some(Address(BASE + 3)),
    };
    assert_eq!(thread.events.last().map(|event| &event.kind), Some(&ended));
    // A conditional branch that leads elsewhere does not, either.
    let thread = check(Ending::Branch(0), &options, &packets, &[]);
    let reason = unexpected("TIP.PGD", "TNT for a conditional branch");
    assert_eq!(reasons(&thread), [reason]);
}

#[test]
fn a_conditional_branch_out_of_the_filter_tells_no_address() {
    let packets = [Packet::TipPge(ip(1)), Packet::TipPgd(IpPayload::SUPPRESSED)];
    let inside = Some((Address(BASE + 1), Address(BASE + 11)));
    let filter = AddressFilter {
        ranges: [inside, None, None, None],
    };
    let options = DecodeOptions {
        filter,
        ..DecodeOptions::default()
    };
    let thread = check(Ending::Branch(0), &options, &packets, &[1, 3, 6]);
    assert_eq!(reasons(&thread), []);
}

#[test]
fn a_mode_forces_out_what_is_deferred() {
    // An outcome for the branch behind the indirect one, whose TIP must come before any other packet.
    let deferred = [
        Packet::TipPge(ip(0)),
        tnt(1, 1),
        mode(false, false),
        Packet::Tip(ip(0)),
    ];
    let options = DecodeOptions::default();
    let thread = check(Ending::JumpIndirect, &options, &deferred, &[]);
    assert_eq!(reasons(&thread), [unexpected("MODE.Exec", "TIP")]);
}

#[test]
fn a_reserved_mode_is_damage() {
    let packets = [
        Packet::TipPge(ip(0)),
        mode(true, true),
        Packet::Tip(ip(0)),
        Packet::Tip(ip(0)),
    ];
    let options = DecodeOptions::default();
    let thread = check(Ending::JumpIndirect, &options, &packets, &[]);
    let reason = unexpected("MODE.Exec of a reserved mode", "16, 32 or 64 bits");
    assert_eq!(reasons(&thread), [reason]);
}

#[test]
fn behind_missing_code_tracing_may_begin_anew() {
    let away = |packet: fn(IpPayload) -> Packet| packet(ip(0x10_0000));
    let packets = [
        away(Packet::TipPge),
        tnt(1, 1),
        Packet::Tip(ip(0)),
        Packet::Fup(ip(1)),
        Packet::TipPgd(ip(1)),
        Packet::TipPge(ip(0)),
        Packet::Tip(ip(3)),
        Packet::TipPgd(ip(0)),
    ];
    let options = |resync| DecodeOptions {
        resync,
        ..DecodeOptions::default()
    };
    let behind = |resync, steps: &[u64]| {
        let thread = check(Ending::JumpIndirect, &options(resync), &packets, steps);
        thread.gaps.len()
    };
    assert_eq!(behind(Resync::Boundary, &[]), 1);
    assert_eq!(behind(Resync::NextEnable, &[0, 1, 3, 6, 3, 6]), 1);
    assert_eq!(behind(Resync::NextAddress, &[0, 0, 1, 3, 6, 3, 6]), 1);
}

#[test]
fn a_mode_is_told_with_an_address() {
    let behind = [Packet::TipPgd(IpPayload::SUPPRESSED), tnt(1, 1)];
    for packet in behind {
        let packets = [Packet::TipPge(ip(0)), mode(false, false), packet];
        let options = DecodeOptions::default();
        let thread = check(Ending::Branch(0), &options, &packets, &[]);
        let reason = unexpected(packet.name(), "TIP behind MODE.Exec");
        assert_eq!(reasons(&thread), [reason]);
    }
}

#[test]
fn a_mode_holds_for_code_that_was_met_before_it() {
    let program = program(Ending::JumpIndirect);
    let packets = [
        Packet::Psb,
        Packet::PsbEnd,
        mode(true, false),
        Packet::TipPge(ip(0)),
        Packet::Tip(ip(1)),
        mode(false, true),
        Packet::Fup(ip(1)),
        Packet::Tip(ip(0)),
    ];
    let bytes: Vec<u8> = packets.iter().flat_map(encode).collect();
    let streams = [Stream::new(ThreadId(1), &bytes)];
    let trace = decode(&streams, &image(&program), &DecodeOptions::default());
    let runs = trace.threads[0].runs().iter();
    let widths: Vec<u8> = runs
        .map(|run| trace.code.block(run.block).bitness)
        .collect();
    assert_eq!(widths, [64, 32]);
}
