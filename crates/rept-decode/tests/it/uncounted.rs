//! Loops that leave no packets: what is known of the steps around them, and what is not.

use crate::encode::encode;
use crate::program::BASE;
use rept_decode::packet::{IpCompression, IpPayload, Packet};
use rept_decode::{DecodeOptions, StaticImage, Stream, decode};
use rept_trace::{Address, Gap, GapReason, Run, ThreadId, ThreadTrace, Trace};

/// What happens while the code runs; addresses count from its begin.
#[derive(Clone, Copy)]
enum Then {
    /// An interrupt, or a fault: tracing stops before the instruction.
    Stop(u64),
    /// The same, and tracing goes on there.
    Interrupt(u64),
    /// A signal: tracing goes on elsewhere.
    Signal(u64, u64),
    /// A PSB+ before the instruction.
    Boundary(u64),
    /// A PTWRITE, with its address.
    Ptwrite(u64),
    /// The same, without.
    PtwriteAlone,
    /// Branches, all taken.
    Taken(u8),
    /// An indirect branch leads there.
    Tip(u64),
    /// Time passes.
    Time,
}
use Then::{Boundary, Interrupt, Ptwrite, PtwriteAlone, Signal, Stop, Taken, Time, Tip};

fn ip(offset: u64) -> IpPayload {
    IpPayload {
        compression: IpCompression::SignExtend48,
        bits: BASE + offset,
    }
}

const MODE_64: Packet = Packet::ModeExec {
    long: true,
    default_32: false,
    interrupts: false,
};

fn ptwrite(ip: bool) -> Packet {
    Packet::Ptw {
        payload: 1,
        size: 8,
        ip,
    }
}

fn packets(then: Then) -> Vec<Packet> {
    let off = Packet::TipPgd(IpPayload::SUPPRESSED);
    match then {
        Stop(at) => vec![Packet::Fup(ip(at)), off],
        Interrupt(at) => packets(Signal(at, at)),
        Signal(at, to) => vec![Packet::Fup(ip(at)), off, Packet::TipPge(ip(to))],
        Boundary(at) => vec![Packet::Psb, MODE_64, Packet::Fup(ip(at)), Packet::PsbEnd],
        Ptwrite(at) => vec![ptwrite(true), Packet::Fup(ip(at))],
        PtwriteAlone => vec![ptwrite(false)],
        Taken(len) => vec![Packet::Tnt {
            bits: (1 << len) - 1,
            len,
            long: false,
        }],
        Tip(to) => vec![Packet::Tip(ip(to))],
        Time => vec![
            Packet::Tsc { tsc: 1000 },
            Packet::Cyc { cycles: 9 },
            Packet::Mtc { ctc: 3 },
        ],
    }
}

fn run(code: &[u8], then: &[Then]) -> Trace {
    let begun = [Packet::Psb, MODE_64, Packet::PsbEnd, Packet::TipPge(ip(0))];
    let then = then.iter().copied().flat_map(packets);
    let stream: Vec<u8> = begun
        .into_iter()
        .chain(then)
        .flat_map(|packet| encode(&packet))
        .collect();
    let mut image = StaticImage::new();
    image.add(Address(BASE), code);
    let streams = [Stream::new(ThreadId(7), &stream)];
    decode(&streams, &image, &DecodeOptions::default())
}

/// The steps, and the gaps by the step behind them and their address.
#[track_caller]
fn check(code: &[u8], then: &[Then], steps: &[u64], gaps: &[(u64, u64)]) {
    let trace = run(code, then);
    let thread = &trace.threads[0];
    let found: Vec<u64> = thread
        .addresses(&trace.code, 0)
        .map(|at| at.0 - BASE)
        .collect();
    assert_eq!(found, steps, "{:?}", thread.gaps);
    let at = |at: Option<Address>| at.expect("an address").0 - BASE;
    let parted: Vec<_> = thread
        .gaps
        .iter()
        .map(|gap| (gap.step, at(gap.at)))
        .collect();
    assert_eq!(parted, gaps, "{:?}", thread.gaps);
    for gap in &thread.gaps {
        match &gap.reason {
            GapReason::PartialInstruction(block) => {
                assert_eq!(Some(trace.code.block(*block).at), gap.at);
            }
            GapReason::UncountedLoop { round } => assert!(names(&trace, round, gap)),
            other => panic!("{other}"),
        }
    }
}

/// What runs in a round, if it is told, includes the place of its gap.
fn names(trace: &Trace, round: &[Run], gap: &Gap) -> bool {
    let mut all = round.iter().flat_map(|run| {
        let block = trace.code.block(run.block);
        (0..usize::from(run.count)).map(|index| block.address(index))
    });
    round.is_empty() || all.any(|at| Some(at) == gap.at)
}

/// nop; jmp into the loop; hlt; loop: mov (%rax),%rax; mov (%rbx),%rbx; jmp loop
const LOOP: [u8; 12] = [
    0x90, 0xeb, 0x01, 0xf4, 0x48, 0x8b, 0x00, 0x48, 0x8b, 0x1b, 0xeb, 0xf8,
];

#[test]
fn a_gap_says_what_runs_in_a_round() {
    let trace = run(&LOOP, &[Stop(7)]);
    let [gap] = &trace.threads[0].gaps[..] else {
        panic!("one gap")
    };
    let GapReason::UncountedLoop { round } = &gap.reason else {
        panic!("{}", gap.reason)
    };
    let mut steps = ThreadTrace::new(ThreadId(1));
    round.iter().for_each(|&run| steps.push(run));
    let addresses: Vec<u64> = steps.addresses(&trace.code, 0).map(|at| at.0).collect();
    assert_eq!(addresses, [4, 7, 10].map(|at| BASE + at));
}

#[test]
fn a_fault_in_a_loop_parts_what_came_before_from_the_last_round() {
    // At the first instruction of the loop nothing of the last round is known to have run.
    check(&LOOP, &[Stop(4)], &[0, 1], &[(2, 4)]);
    check(&LOOP, &[Stop(7)], &[0, 1, 4], &[(2, 4)]);
    check(&LOOP, &[Stop(10)], &[0, 1, 4, 7], &[(2, 4)]);
    check(&LOOP, &[Time, Stop(7)], &[0, 1, 4], &[(2, 4)]);
    // Before it comes to the loop there is no doubt.
    check(&LOOP, &[Stop(1)], &[0], &[]);
    check(&LOOP, &[Stop(0)], &[], &[]);
}

#[test]
fn a_loop_that_is_fallen_into_is_parted_inside_of_a_block() {
    // nop; nop; loop: mov (%rax),%rax; rep movsb; jmp loop; and room behind it
    let code = [0x90, 0x90, 0x48, 0x8b, 0x00, 0xf3, 0xa4, 0xeb, 0xf9];
    let code = [&code[..], &[0xf4; 20]].concat();
    check(&code, &[Stop(2)], &[0, 1], &[(2, 2)]);
    check(&code, &[Stop(5)], &[0, 1, 2], &[(2, 2), (3, 5)]);
    check(&code, &[Stop(7)], &[0, 1, 2, 5], &[(2, 2)]);
    let trace = run(&code, &[Stop(7)]);
    let counts = trace.threads[0].runs().iter().map(|run| run.count);
    assert_eq!(counts.collect::<Vec<_>>(), [2, 2], "a run is on one side");
}

#[test]
fn all_of_the_path_may_be_in_the_loop() {
    // jmp to itself
    check(&[0xeb, 0xfe], &[Stop(0)], &[], &[(0, 0)]);
    // a: nop; jmp b; c: nop; jmp a; b: nop; jmp c
    let code = [0x90, 0xeb, 0x03, 0x90, 0xeb, 0xfa, 0x90, 0xeb, 0xfa];
    check(&code, &[Stop(3)], &[0, 1, 6, 7], &[(0, 0)]);
}

#[test]
fn a_part_of_a_repeated_instruction_may_have_run() {
    // nop; rep movsb; nop; vpgatherdd (%rax,%ymm1),%ymm2; xsave (%rax); movsb; ret
    let code = [
        &[0x90, 0xf3, 0xa4, 0x90][..],
        &[0xc4, 0xe2, 0x65, 0x90, 0x14, 0x08, 0x0f, 0xae, 0x20, 0xa4],
        &[0xc3; 20],
    ]
    .concat();
    check(&code, &[Stop(1)], &[0], &[(1, 1)]);
    check(&code, &[Signal(1, 3), Stop(4)], &[0, 3], &[(1, 1), (2, 4)]);
    check(&code, &[Stop(10)], &[0, 1, 3, 4], &[(4, 10)]);
    // When it goes on, or does not repeat, there is no doubt.
    check(&code, &[Interrupt(1), Stop(3)], &[0, 1], &[]);
    check(&code, &[Stop(13)], &[0, 1, 3, 4, 10], &[]);
}

#[test]
fn each_event_in_a_loop_has_its_gap() {
    let events = [Interrupt(7), Boundary(10), Interrupt(10), Stop(4)];
    let steps = [0, 1, 4, 7, 10];
    check(&LOOP, &events, &steps, &[(2, 4), (3, 7), (4, 10), (4, 10)]);
}

#[test]
fn where_the_way_is_told_there_is_no_gap() {
    // loop: mov (%rax),%rax; jne loop; jmp loop
    let code = [0x48, 0x8b, 0x00, 0x75, 0xfb, 0xeb, 0xf9];
    check(&code, &[Taken(2), Stop(3)], &[0, 3, 0, 3, 0], &[]);
    // loop: nop; jmp *%rax
    let code = [0x90, 0xff, 0xe0];
    check(&code, &[Tip(0), Interrupt(1), Stop(1)], &[0, 1, 0], &[]);
    // loop: nop; ptwrite %rax; jmp loop
    let code = [0x90, 0xf3, 0x48, 0x0f, 0xae, 0xe0, 0xeb, 0xf8];
    check(&code, &[Ptwrite(1), Ptwrite(1)], &[0, 1, 6, 0, 1], &[]);
    check(&code, &[PtwriteAlone, PtwriteAlone], &[0, 1, 6, 0, 1], &[]);
}

#[test]
fn code_behind_a_loop_that_does_not_come_back_is_none_of_it() {
    // nop; jmp over; hlt; over: jmp to itself
    let code = [0x90, 0xeb, 0x01, 0xf4, 0xeb, 0xfe];
    check(&code, &[Stop(1)], &[0], &[]);
    check(&code, &[Stop(4)], &[0, 1], &[(2, 4)]);
}

#[test]
fn how_deep_a_recursion_went_is_not_known() {
    // call f; hlt; f: nop; call f; ret
    let code = [
        0xe8, 0x01, 0, 0, 0, 0xf4, 0x90, 0xe8, 0xfa, 0xff, 0xff, 0xff, 0xc3,
    ];
    check(&code, &[Stop(7)], &[0, 6], &[(1, 6)]);
    // A handler that returns from calls: of those there are, the processor may know another number.
    let trace = run(&code, &[Signal(7, 12), Taken(2), Stop(12)]);
    let thread = &trace.threads[0];
    assert_eq!(thread.steps(), 2);
    let last = thread.gaps.last().map(|gap| &gap.reason);
    let expected = "call for the compressed return";
    let packet = "TNT";
    assert_eq!(
        last,
        Some(&GapReason::UnexpectedPacket { packet, expected })
    );
}

#[test]
fn a_loop_is_not_excluded_where_it_cannot_be_seen() {
    // nop; jmp to code that is missing: it may lead back.
    let code = [0x90, 0xeb, 0x40];
    check(&code, &[Stop(1)], &[0], &[(1, 1)]);
    // What is stopped at the missing code itself never ran it.
    let nothing = run(&code, &[Stop(0x43)]);
    assert_eq!(nothing.threads[0].steps(), 2);
    assert_eq!(nothing.threads[0].gaps, []);
    // More direct jumps than anyone looks at, and back; or on.
    for (last, back) in [(0xe9, true), (0xc3, false)] {
        let mut code = [0xeb, 0x00].repeat(3000);
        code.push(last);
        code.extend((-(code.len() as i32) - 4).to_le_bytes());
        check(&code, &[Stop(2)], &[0], &[(1, 2)]);
        if back {
            let near_the_end = 2 * 2990;
            let steps: Vec<u64> = (0..2990).map(|jump| 2 * jump).collect();
            check(
                &code,
                &[Stop(near_the_end)],
                &steps,
                &[(2990, near_the_end)],
            );
        }
    }
    let mut code = [0xeb, 0x00].repeat(500);
    code.push(0xe9);
    code.extend((-(code.len() as i32) - 4).to_le_bytes());
    let steps: Vec<u64> = (0..499).map(|jump| 2 * jump).collect();
    check(&code, &[Stop(2 * 499)], &steps, &[(0, 0)]);
}
