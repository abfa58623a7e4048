//! Events beside the flow: where in the path they stand, and what they name.

use crate::encode::encode;
use crate::program::BASE;
use rept_decode::packet::{IpCompression, IpPayload, Packet};
use rept_decode::{DecodeOptions, Resync, StaticImage, Stream, decode};
use rept_trace::{Address, EventKind, GapReason, ThreadId, ThreadTrace};

fn ip(offset: u64) -> IpPayload {
    IpPayload {
        compression: IpCompression::SignExtend48,
        bits: BASE + offset,
    }
}

fn mode(long: bool, interrupts: bool) -> Packet {
    Packet::ModeExec {
        long,
        default_32: !long,
        interrupts,
    }
}

fn event(kind: u8, ip: bool) -> Packet {
    let vector = 14;
    Packet::Cfe { kind, ip, vector }
}

fn data(kind: u8) -> Packet {
    let payload = 0xf00;
    Packet::Evd { kind, payload }
}

const INTR: u8 = 1;
const IRET: u8 = 2;
const VMEXIT: u8 = 8;
const PIP: Packet = Packet::Pip {
    cr3: 0x20,
    non_root: false,
};
const PTWRITE: Packet = Packet::Ptw {
    payload: 7,
    size: 4,
    ip: true,
};

/// A trigger that counts so many instructions.
fn trigger(count: u16) -> Packet {
    Packet::Trig {
        ip: false,
        multiple: false,
        triggers: 1,
        instructions: Some(count),
    }
}

/// NOPs at 0 and 1, IRETQ at 2, PTWRITE at 4, NOPs from 8 to 14, RET at 15.
const CODE: [u8; 16] = [
    0x90, 0x90, 0x48, 0xcf, 0xf3, 0x0f, 0xae, 0xe0, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xc3,
];

fn run(packets: &[Packet], resync: Resync) -> (ThreadTrace, Vec<u64>) {
    let begin = [Packet::Psb, mode(true, false), Packet::PsbEnd];
    let bytes: Vec<u8> = begin.iter().chain(packets).flat_map(encode).collect();
    let mut image = StaticImage::new();
    image.add(Address(BASE), &CODE);
    let options = DecodeOptions {
        resync,
        ..DecodeOptions::default()
    };
    let mut trace = decode(&[Stream::new(ThreadId(1), &bytes)], &image, &options);
    let thread = trace.threads.remove(0);
    let steps = thread.addresses(&trace.code, 0).map(|at| at.0 - BASE);
    let steps = steps.collect();
    (thread, steps)
}

/// Events by the step behind them, and the address that they name, without those of tracing itself.
fn events(thread: &ThreadTrace) -> Vec<(u64, String)> {
    let named = |name: &str, ip: &Option<Address>| match ip {
        Some(ip) => format!("{name} {}", ip.0 - BASE),
        None => name.to_owned(),
    };
    let text = |kind: &EventKind| {
        Some(match kind {
            EventKind::Enabled { .. } | EventKind::Disabled { .. } => return None,
            EventKind::AsyncBranch { from, .. } => named("branch", &Some(*from)),
            EventKind::AsyncDisabled { at, .. } => named("stop", &Some(*at)),
            EventKind::ExecMode { bitness } => format!("{bitness} bits"),
            EventKind::Ptwrite { ip, .. } => named("PTW", ip),
            EventKind::Other { name, ip, .. } => named(name, ip),
            other => format!("{other:?}"),
        })
    };
    let events = thread.events.iter();
    events
        .filter_map(|event| Some((event.step, text(&event.kind)?)))
        .collect()
}

/// What is told of code that begins to run at `from`.
#[track_caller]
fn check(from: u64, packets: &[Packet], steps: &[u64], told: &[(u64, &str)]) {
    let packets = [&[Packet::TipPge(ip(from))], packets].concat();
    let (thread, found) = run(&packets, Resync::Boundary);
    assert_eq!(found, steps, "{:?}", thread.gaps);
    let told: Vec<_> = told
        .iter()
        .map(|&(step, text)| (step, text.to_owned()))
        .collect();
    assert_eq!(events(&thread), told);
    assert_eq!(thread.gaps, []);
}

#[test]
fn an_interrupt_stands_where_the_fup_says() {
    let branch = [Packet::Fup(ip(1)), Packet::Tip(ip(8))];
    let told = [(1, "EVD.CR2 1"), (1, "CFE 1"), (1, "branch 1")];
    for asked_for in [false, true] {
        let packets = [&[data(0), event(INTR, asked_for)][..], &branch].concat();
        check(0, &packets, &[0], &told);
    }
    let exit = [data(2), data(1), event(VMEXIT, false)];
    let told = [(1, "EVD.VMXR 1"), (1, "EVD.VMXQ 1"), (1, "CFE 1")];
    let told = [&told[..], &[(1, "branch 1")]].concat();
    check(0, &[&exit[..], &branch].concat(), &[0], &told);
}

#[test]
fn an_event_of_a_far_transfer_stands_behind_it() {
    let steps = [0, 1, 2];
    let tip = Packet::Tip(ip(8));
    let alone = [event(IRET, false), PIP, tip];
    check(0, &alone, &steps, &[(3, "CFE"), (3, "PIP")]);
    let asked_for = [event(IRET, true), Packet::Fup(ip(2)), tip];
    check(0, &asked_for, &steps, &[(3, "CFE 2")]);
    let ends = [
        Packet::Vmcs { base: 0x1000 },
        Packet::TipPgd(IpPayload::SUPPRESSED),
    ];
    check(0, &ends, &steps, &[(3, "VMCS")]);
    let interrupted = [Packet::Fup(ip(1)), PIP, Packet::Tip(ip(8))];
    check(0, &interrupted, &[0], &[(1, "branch 1"), (1, "PIP")]);
}

#[test]
fn power_events_stand_where_the_core_stopped() {
    let packets = [
        Packet::Mwait {
            hints: 1,
            extensions: 0,
        },
        Packet::Pwre {
            state: 1,
            sub_state: 0,
            hardware: false,
        },
        Packet::ExStop { ip: true },
        Packet::Fup(ip(1)),
    ];
    let told = [(1, "MWAIT 1"), (1, "PWRE"), (1, "EXSTOP 1")];
    check(0, &packets, &[0], &told);
}

#[test]
fn a_trigger_counts_from_the_last_packet_that_led_on() {
    let fup = Packet::Fup(ip(9));
    let stop = [fup, Packet::TipPgd(IpPayload::SUPPRESSED)];
    let counted = |counts: &[u16]| {
        let triggers = counts.iter().map(|&count| trigger(count));
        triggers.chain(stop).collect::<Vec<_>>()
    };
    check(
        4,
        &counted(&[1, 0]),
        &[4, 8],
        &[(1, "TRIG 8"), (1, "TRIG 8"), (2, "stop 9")],
    );
    // A PTWRITE led on before.
    let ptwrite = Packet::Ptw {
        payload: 7,
        size: 4,
        ip: false,
    };
    let packets = [&[ptwrite][..], &counted(&[2])].concat();
    let told = [(0, "PTW 4"), (2, "TRIG 9"), (2, "stop 9")];
    check(4, &packets, &[4, 8], &told);
    // No branch is gone through for it.
    let tip = Packet::Tip(ip(8));
    check(0, &[trigger(9), tip], &[0, 1, 2], &[(2, "TRIG 2")]);
}

#[test]
fn the_interrupt_flag_is_told_where_it_changes() {
    let packets = [
        mode(true, true),
        Packet::Fup(ip(1)),
        mode(true, true),
        Packet::Fup(ip(2)),
        mode(true, false),
        Packet::Tip(ip(8)),
    ];
    check(0, &packets, &[0, 1, 2], &[(1, "IF"), (3, "IF")]);
}

#[test]
fn addresses_are_told_while_tracing_is_off() {
    let packets = [
        PTWRITE,
        Packet::Fup(ip(4)),
        event(INTR, true),
        Packet::Fup(ip(8)),
    ];
    let (thread, _) = run(&packets, Resync::Boundary);
    let told = [(0, "PTW 4".to_owned()), (0, "CFE 8".to_owned())];
    assert_eq!(events(&thread), told);
}

#[test]
fn event_data_of_another_event_is_damage() {
    for (first, second) in [
        (data(0), event(IRET, false)),
        (data(1), event(INTR, false)),
        (data(0), data(2)),
        (data(2), data(2)),
    ] {
        let packets = [Packet::TipPge(ip(0)), first, second];
        let (thread, _) = run(&packets, Resync::Boundary);
        let reasons: Vec<_> = thread.gaps.iter().map(|gap| &gap.reason).collect();
        let reason = GapReason::UnexpectedPacket {
            packet: second.name(),
            expected: "CFE of the event data before it",
        };
        assert_eq!(reasons, [&reason]);
    }
}

/// The packet that shows the damage tells the mode, too, in which decoding goes on.
#[test]
fn the_mode_is_kept_where_decoding_goes_on() {
    let packets = [
        Packet::TipPge(ip(0)),
        mode(false, false),
        Packet::Fup(ip(9)),
        PTWRITE,
        Packet::Fup(ip(10)),
    ];
    let (thread, steps) = run(&packets, Resync::NextAddress);
    assert_eq!(steps, [9]);
    assert_eq!(thread.gaps.len(), 1);
    let told = [(0, "32 bits".to_owned()), (1, "PTW 10".to_owned())];
    assert_eq!(events(&thread), told);
}
