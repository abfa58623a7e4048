//! The lowering, instruction by instruction: bytes, a state before, the state expected after.

use rept_recover::bits::Bits;
use rept_recover::effect::{Effect, Flow, Word};
use rept_recover::lift::{ALL_FLAGS, lift};
use rept_trace::{Address, RegWord};

const AT: u64 = 0x40_1000;

/// Bytes written as in a listing.
fn bytes(listing: &str) -> Vec<u8> {
    listing
        .split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

#[track_caller]
fn lifted(listing: &str) -> Effect {
    lift(&bytes(listing), Address(AT), 64, ALL_FLAGS)
}

/// The effect with these register values before and operands in memory (by load order),
/// narrowed to what follows.
#[track_caller]
fn run(effect: &Effect, before: &[(RegWord, u64)], loads: &[u64]) -> Vec<Bits> {
    let mut words = effect.template.to_vec();
    for (index, register) in effect.reads.iter().enumerate() {
        if let Some(value) = before.iter().find(|entry| entry.0 == *register) {
            words[index].learn(Bits::constant(value.1)).unwrap();
        }
    }
    for (access, &value) in effect
        .accesses
        .iter()
        .filter(|access| !access.store)
        .zip(loads)
    {
        words[usize::from(access.data.0)]
            .learn(Bits::constant(value).low(u32::from(access.size) * 8))
            .unwrap();
    }
    effect.narrow(&mut words).unwrap();
    words
}

#[track_caller]
fn register(effect: &Effect, words: &[Bits], register: RegWord) -> Bits {
    let written = effect
        .writes
        .iter()
        .find(|write| write.0 == register)
        .map(|write| usize::from(write.1.0));
    let read = effect.reads.iter().position(|&read| read == register);
    words[written.or(read).expect("the register takes no part")]
}

#[track_caller]
fn check(listing: &str, before: &[(RegWord, u64)], after: &[(RegWord, u64)]) {
    let effect = lifted(listing);
    assert!(effect.modelled, "{listing}");
    let words = run(&effect, before, &[]);
    for &(word, value) in after {
        let found = register(&effect, &words, word);
        let shown = if word == FLAGS { found.low(32) } else { found };
        let found = Bits::new(
            if word == FLAGS { !0 << 32 } else { 0 } | shown.known,
            shown.value,
        );
        assert_eq!(
            found.get(),
            Some(value),
            "{listing}: {} {found:?}, not {value:#x}: {effect:#?}",
            word.name()
        );
    }
}

const RAX: RegWord = RegWord::RAX;
const RBX: RegWord = RegWord::RBX;
const RCX: RegWord = RegWord::RCX;
const RDX: RegWord = RegWord::RDX;
const RSP: RegWord = RegWord::RSP;
const FLAGS: RegWord = RegWord::FLAGS;
const ONES: u64 = u64::MAX;

#[test]
fn sub_registers_merge_and_extend() {
    check("b0 12", &[(RAX, ONES)], &[(RAX, 0xffff_ffff_ffff_ff12)]); // mov al,12h
    check("b4 12", &[(RAX, ONES)], &[(RAX, 0xffff_ffff_ffff_12ff)]); // mov ah,12h
    check("89 d8", &[(RBX, ONES)], &[(RAX, 0xffff_ffff)]); // mov eax,ebx
    check("86 e0", &[(RAX, 0x1122)], &[(RAX, 0x2211)]); // xchg al,ah
    check("0f be c4", &[(RAX, 0x8000)], &[(RAX, 0xffff_ff80)]); // movsx eax,ah
    check(
        "48 63 c3",
        &[(RBX, 0x8000_0000)],
        &[(RAX, 0xffff_ffff_8000_0000)],
    ); // movsxd rax,ebx
}

#[test]
fn plain_copies_share_a_word() {
    let effect = lifted("48 89 d8"); // mov rax,rbx
    assert_eq!(
        (effect.fresh, effect.ops.len(), effect.template.len()),
        (0, 0, 1)
    );
    let effect = lifted("8b 43 08"); // mov eax,[rbx+8]
    assert_eq!(
        (effect.fresh, effect.ops.len(), effect.accesses[0].offset),
        (1, 0, 8)
    );
    assert_eq!(effect.writes[0].1, effect.accesses[0].data);
    let effect = lifted("89 43 08"); // mov [rbx+8],eax
    assert_eq!(
        (effect.fresh, effect.writes.len(), effect.accesses[0].size),
        (0, 0, 4)
    );
}

#[test]
fn arithmetic_and_flags() {
    // CF|PF|AF|ZF = 0x55 beside the reserved bit 1 that was set before.
    check(
        "48 01 d8",
        &[(RAX, 1), (RBX, ONES), (FLAGS, 2)],
        &[(RAX, 0), (FLAGS, 0x57)],
    ); // add rax,rbx
    check(
        "28 d8",
        &[(RAX, 0x80), (RBX, 1), (FLAGS, 2)],
        &[(RAX, 0x7f), (FLAGS, 0x812)],
    ); // sub al,bl
    check(
        "48 19 c0",
        &[(RAX, 5), (FLAGS, 3)],
        &[(RAX, ONES), (FLAGS, 0x97)],
    ); // sbb rax,rax
    check(
        "ff c8",
        &[(RAX, 0), (FLAGS, 3)],
        &[(RAX, 0xffff_ffff), (FLAGS, 0x97)],
    ); // dec eax keeps CF
    check(
        "f7 d8",
        &[(RAX, 1), (FLAGS, 2)],
        &[(RAX, 0xffff_ffff), (FLAGS, 0x97)],
    ); // neg eax
    check("48 8d 04 5b", &[(RBX, 7)], &[(RAX, 21)]); // lea rax,[rbx+rbx*2]
    check(
        "0f c1 d8",
        &[(RAX, 2), (RBX, 3), (FLAGS, 2)],
        &[(RAX, 5), (RBX, 2)],
    ); // xadd eax,ebx
    check(
        "48 f7 e3",
        &[(RAX, ONES), (RBX, 16)],
        &[(RAX, ONES << 4), (RDX, 15)],
    ); // mul rbx
    check(
        "48 f7 f3",
        &[(RAX, 100), (RDX, 0), (RBX, 7)],
        &[(RAX, 14), (RDX, 2)],
    ); // div rbx
    check(
        "48 f7 fb",
        &[(RAX, (-100i64) as u64), (RDX, ONES), (RBX, 7)],
        &[(RAX, (-14i64) as u64), (RDX, (-2i64) as u64)],
    ); // idiv rbx
    check("f6 f3", &[(RAX, 0x0164), (RBX, 7)], &[(RAX, 0x0632)]); // div bl: 356 = 50·7 + 6
}

#[test]
fn shifts() {
    check("d3 e0", &[(RAX, 1), (RCX, 33), (FLAGS, 2)], &[(RAX, 2)]); // shl eax,cl: 33 is 1
    check(
        "d3 e0",
        &[(RAX, 9), (RCX, 32), (FLAGS, 0x93)],
        &[(RAX, 9), (FLAGS, 0x93)],
    ); // by 0: flags stay
    check(
        "d2 c8",
        &[(RAX, 0x81), (RCX, 9), (FLAGS, 2)],
        &[(RAX, 0xc0)],
    ); // ror al,cl
    check("c0 d0 03", &[(RAX, 0x81), (FLAGS, 3)], &[(RAX, 0x0e)]); // rcl al,3: 1000 0001 with carry 1
    check(
        "0f a4 d8 04",
        &[(RAX, 0x8000_0001), (RBX, 0xa000_0000)],
        &[(RAX, 0x1a)],
    ); // shld eax,ebx,4
    check(
        "d1 f8",
        &[(RAX, 0x8000_0001), (FLAGS, 2)],
        &[(RAX, 0xc000_0000)],
    ); // sar eax,1
}

#[test]
fn branches_teach_their_operands() {
    // cmp eax,5; the flags say equal.
    let effect = lifted("83 f8 05");
    let mut words = effect.template.to_vec();
    let flags = effect
        .writes
        .iter()
        .find(|write| write.0 == FLAGS)
        .unwrap()
        .1;
    words[usize::from(flags.0)]
        .learn(Bits::new(0x40, 0x40))
        .unwrap();
    effect.narrow(&mut words).unwrap();
    assert_eq!(
        register(&effect, &words, RAX).low(32),
        Bits::constant(5).low(32)
    );
    // je taken says ZF.
    let effect = lifted("74 10");
    let Flow::Branch { taken, target } = effect.flow else {
        panic!("{effect:?}")
    };
    assert_eq!(target, Address(AT + 0x12));
    let mut words = effect.template.to_vec();
    words[usize::from(taken.0)]
        .learn(Bits::constant(1))
        .unwrap();
    effect.narrow(&mut words).unwrap();
    assert_eq!(words[0], Bits::new(0x40, 0x40));
}

/// `cmp eax,7; ja` not taken: no flag is known, but eax is at most 7.
#[test]
fn relations_pass_the_flags() {
    let effect = lifted("77 10");
    let Flow::Branch { taken, .. } = effect.flow else {
        panic!("{effect:?}")
    };
    let mut words = effect.template.to_vec();
    words[usize::from(taken.0)]
        .learn(Bits::constant(0))
        .unwrap();
    effect.narrow(&mut words).unwrap();
    let flags = words[0];
    let effect = lifted("83 f8 07");
    let mut words = effect.template.to_vec();
    let written = effect
        .writes
        .iter()
        .find(|write| write.0 == FLAGS)
        .unwrap()
        .1;
    words[usize::from(written.0)].learn(flags).unwrap();
    effect.narrow(&mut words).unwrap();
    assert_eq!(
        register(&effect, &words, RAX).low(32),
        Bits::new(0xffff_fff8, 0)
    );
}

/// Whether a condition code holds of the flags, as the manual's table has it.
fn holds(code: u8, flags: u64) -> bool {
    let flag = |at: u32| flags >> at & 1 == 1;
    let (cf, pf, zf, sf, of) = (flag(0), flag(2), flag(6), flag(7), flag(11));
    let truth = match code >> 1 {
        0 => of,
        1 => cf,
        2 => zf,
        3 => cf || zf,
        4 => sf,
        5 => pf,
        6 => sf != of,
        _ => zf || sf != of,
    };
    truth != (code & 1 == 1)
}

/// The RFLAGS word with the bits of our own for conditions on several flags.
fn whole_flags(flags: u64) -> u64 {
    [(7, 32), (13, 33), (15, 34)]
        .into_iter()
        .fold(flags, |word, (code, at)| {
            word | u64::from(!holds(code, flags)) << at
        })
}

/// jcc, setcc and cmovcc say the same of the flags, forward and backward.
#[test]
fn conditions_agree() {
    for code in 0..16u8 {
        let jump = lifted(&format!("{:02x} 10", 0x70 | code));
        let set = lifted(&format!("0f {:02x} c1", 0x90 | code)); // setcc cl
        let moved = lifted(&format!("48 0f {:02x} c3", 0x40 | code)); // cmovcc rax,rbx
        let Flow::Branch { taken, .. } = jump.flow else {
            panic!("{jump:?}")
        };
        for choice in 0..32u64 {
            let bit = |from: u32, to: u32| (choice >> from & 1) << to;
            let flags = bit(0, 0) | bit(1, 2) | bit(2, 6) | bit(3, 7) | bit(4, 11) | 2;
            let (truth, word) = (holds(code, flags), whole_flags(flags));
            let words = run(&jump, &[(FLAGS, word)], &[]);
            assert_eq!(
                words[usize::from(taken.0)].value & 1,
                u64::from(truth),
                "j {code}"
            );
            let words = run(&set, &[(FLAGS, word), (RCX, 0)], &[]);
            assert_eq!(
                register(&set, &words, RCX).get(),
                Some(u64::from(truth)),
                "set {code}"
            );
            let words = run(&moved, &[(FLAGS, word), (RAX, 5), (RBX, 6)], &[]);
            let expected = if truth { 6 } else { 5 };
            assert_eq!(
                register(&moved, &words, RAX).get(),
                Some(expected),
                "cmov {code}"
            );
        }
        for truth in [false, true] {
            let learned = [
                backward(&jump, taken, u64::from(truth), &[]),
                backward(&set, output(&set, RCX), u64::from(truth), &[]),
                backward(
                    &moved,
                    output(&moved, RAX),
                    5 + u64::from(truth),
                    &[(RAX, 5), (RBX, 6)],
                ),
            ];
            assert_eq!(learned[0], learned[1], "code {code}, {truth}");
            assert_eq!(learned[0], learned[2], "code {code}, {truth}");
            assert!(
                learned[0].known != 0 || code >> 1 == 3 || code >> 1 >= 6,
                "{code}"
            );
        }
    }
}

fn output(effect: &Effect, register: RegWord) -> Word {
    effect
        .writes
        .iter()
        .find(|write| write.0 == register)
        .unwrap()
        .1
}

/// What a known low byte of a word says about the flags before.
fn backward(effect: &Effect, word: Word, value: u64, before: &[(RegWord, u64)]) -> Bits {
    let mut words = effect.template.to_vec();
    for (index, register) in effect.reads.iter().enumerate() {
        if let Some(entry) = before.iter().find(|entry| entry.0 == *register) {
            words[index] = Bits::constant(entry.1);
        }
    }
    words[usize::from(word.0)]
        .learn(Bits::new(0xff, value))
        .unwrap();
    effect.narrow(&mut words).unwrap();
    words[effect.reads.iter().position(|&read| read == FLAGS).unwrap()]
}

#[test]
fn the_stack() {
    let effect = lifted("e8 00 01 00 00"); // call
    let words = run(&effect, &[(RSP, 0x7000)], &[]);
    assert_eq!(register(&effect, &words, RSP).get(), Some(0x6ff8));
    let store = &effect.accesses[0];
    assert_eq!(words[usize::from(store.data.0)].get(), Some(AT + 5));
    assert_eq!(words[usize::from(store.address.0)].get(), Some(0x6ff8));
    let effect = lifted("c3"); // ret
    let words = run(&effect, &[(RSP, 0x6ff8)], &[0x1234]);
    let Flow::Return { target } = effect.flow else {
        panic!("{effect:?}")
    };
    assert_eq!(words[usize::from(target.0)].get(), Some(0x1234));
    let effect = lifted("8f 44 24 08"); // pop [rsp+8]: the address is that after the pop
    let words = run(&effect, &[(RSP, 0x6ff8)], &[0x1234]);
    let store = &effect.accesses[1];
    assert_eq!(
        words[usize::from(store.address.0)].get().unwrap() + u64::from(store.offset),
        0x7008
    );
}

#[test]
fn addresses() {
    for (listing, before, expected) in [
        ("8b 05 10 00 00 00", &[][..], AT + 6 + 0x10), // [rip+10h]
        ("8b 04 25 00 00 00 80", &[], 0xffff_ffff_8000_0000), // [disp32]
        ("67 8b 04 25 00 00 00 80", &[], 0x8000_0000), // 32-bit addresses
        (
            "64 8b 04 25 10 00 00 00",
            &[(RegWord::FS_BASE, 0x1000)],
            0x1010,
        ), // fs:[10h]
        ("8b 44 8b f8", &[(RBX, 0x100), (RCX, 2)], 0x100), // [rbx+rcx*4-8]
        (
            "67 8b 44 0b f8",
            &[(RBX, 4), (RCX, 0x1_0000_0000)],
            0xffff_fffc,
        ), // [ebx+ecx-8]
        ("0f a3 0b", &[(RBX, 0x100), (RCX, (-1i64) as u64)], 0xfc), // bt [rbx],ecx
    ] {
        let effect = lifted(listing);
        let words = run(&effect, before, &[]);
        let access = &effect.accesses[0];
        let address = words[usize::from(access.address.0)].get().expect(listing);
        assert_eq!(
            address.wrapping_add(u64::from(access.offset)),
            expected,
            "{listing}"
        );
    }
}

/// A killed flag is not computed, a flag that is not written survives.
#[test]
fn dead_flags_cost_nothing() {
    let effect = lift(&bytes("48 01 d8"), Address(AT), 64, 0); // add rax,rbx
    assert!(effect.kills_flags);
    assert_eq!(
        (effect.ops.len(), effect.reads.len(), effect.writes.len()),
        (1, 2, 1)
    );
    let effect = lift(&bytes("48 ff c0"), Address(AT), 64, 1); // inc rax with CF live
    assert!(!effect.kills_flags);
    assert_eq!(effect.writes.len(), 1);
}

/// XRSTOR of nothing changes nothing; of absent components, it zeroes them.
#[test]
fn extended_state_moves_as_requested() {
    const XMM0: RegWord = RegWord::vector(0, 0);
    let effect = lifted("0f ae 2b"); // xrstor [rbx]
    assert!(effect.modelled && !effect.clobbers_memory);
    let words = run(
        &effect,
        &[(RAX, 0), (XMM0, 7), (RegWord::opmask(1), 9)],
        &[],
    );
    assert_eq!(register(&effect, &words, XMM0).get(), Some(7));
    assert_eq!(register(&effect, &words, RegWord::opmask(1)).get(), Some(9));
    // XSTATE_BV, XCOMP_BV: nothing is present.
    let words = run(&effect, &[(RAX, 0xe6), (XMM0, 7)], &[0, 1 << 63]);
    assert_eq!(register(&effect, &words, XMM0).get(), Some(0));
    let effect = lifted("0f c7 23"); // xsavec [rbx]
    assert!(effect.modelled && !effect.clobbers_memory);
    let words = run(&effect, &[(RAX, 0)], &[]);
    assert!(effect.accesses.iter().all(|access| {
        access
            .condition
            .is_none_or(|bit| words[usize::from(bit.0)].get() == Some(0))
    }));
}

/// Packed operations through all the encodings of one idea.
#[test]
fn vectors() {
    let xmm = |number: u16, lane: u16| RegWord::vector(number, lane);
    let (x, y) = (0x00ff_1280_7f01_0203, 0x0001_1280_8001_0300);
    // pcmpeqb xmm0,xmm1; pmovmskb eax,xmm0; psubb; pshufd; vpcmpeqb k1,ymm0,ymm1; punpcklbw
    check(
        "66 0f 74 c1",
        &[(xmm(0, 0), x), (xmm(1, 0), y)],
        &[(xmm(0, 0), 0xff00_ffff_00ff_0000)],
    );
    check(
        "66 0f d7 c0",
        &[(xmm(0, 0), 0x80ff_0000_0000_0080), (xmm(0, 1), 1 << 63)],
        &[(RAX, 0x80c1)],
    );
    check(
        "66 0f f8 c1",
        &[(xmm(0, 0), x), (xmm(1, 0), y)],
        &[(xmm(0, 0), 0x00fe_0000_ff00_ff03)],
    );
    check(
        "66 0f 70 c1 4e",
        &[(xmm(1, 0), x), (xmm(1, 1), y)],
        &[(xmm(0, 0), y), (xmm(0, 1), x)],
    );
    check(
        "66 0f 60 c1",
        &[(xmm(0, 0), 0x0403_0201), (xmm(1, 0), 0x1413_1211)],
        &[(xmm(0, 0), 0x1404_1303_1202_1101)],
    );
    check(
        "66 0f 73 f8 03",
        &[(xmm(0, 0), x), (xmm(0, 1), y)],
        &[(xmm(0, 0), x << 24), (xmm(0, 1), y << 24 | x >> 40)],
    );
    check("c5 f9 ef c0", &[], &[(xmm(0, 0), 0), (xmm(0, 7), 0)]); // vpxor xmm0,xmm0,xmm0
    check(
        "66 0f dd c1",
        &[(xmm(0, 0), 0xfff0_0005), (xmm(1, 0), 0x0020_0003)],
        &[(xmm(0, 0), 0xffff_0008)],
    ); // paddusw
    check("66 0f 67 c1", &[(xmm(0, 0), 0x8000_0100_00fe_0001)], &[]); // packuswb
}

/// Bytes that are no instruction, and prefixes piled up, forget or refuse without a panic.
#[test]
fn noise_never_panics() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..20_000 {
        let mut code = [0u8; 15];
        for byte in &mut code {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            *byte = seed as u8;
        }
        for length in 1..=15 {
            let effect = lift(&code[..length], Address(AT), 64, ALL_FLAGS);
            if effect.writes.len() < RegWord::COUNT {
                assert!(effect.nodes() <= effect.template.len());
                break;
            }
        }
    }
    assert_eq!(
        lift(&[], Address(AT), 64, ALL_FLAGS).writes.len(),
        RegWord::COUNT
    );
}
