//! Bytes and knowledge that no compiler made.

use crate::forms::{self, Place};
use crate::random::Random;
use iced_x86::{Code, Decoder, DecoderOptions};
use proptest::prelude::*;
use rept_recover::bits::{Bits, mask};
use rept_recover::effect::Effect;
use rept_recover::lift::{ALL_FLAGS, lift};
use rept_trace::{Address, RegWord};

/// An effect keeps its own invariants, whatever it was lifted from.
pub(crate) fn check_well_formed(effect: &Effect) {
    let words = effect.template.len();
    assert!(effect.nodes() <= words, "more nodes than words");
    for (word, bits) in effect.template.iter().enumerate() {
        assert_eq!(
            bits.value & !bits.known,
            0,
            "word {word} breaks the lattice's invariant"
        );
        if word < effect.inputs() {
            assert_eq!(
                *bits,
                Bits::UNKNOWN,
                "input {word} is not unknown to begin with"
            );
        }
    }
    let mut read = [false; RegWord::COUNT];
    for register in &effect.reads {
        assert!(
            !std::mem::replace(&mut read[usize::from(register.0)], true),
            "{} read twice",
            register.name()
        );
    }
    let mut written = [false; RegWord::COUNT];
    for (register, word) in &effect.writes {
        assert!(
            usize::from(word.0) < effect.nodes(),
            "{} written from a temporary",
            register.name()
        );
        assert!(
            !std::mem::replace(&mut written[usize::from(register.0)], true),
            "{} written twice",
            register.name()
        );
    }
    for access in &effect.accesses {
        assert!(
            (1..=8).contains(&access.size),
            "access of {} bytes",
            access.size
        );
        assert!(
            usize::from(access.address.0) < words && usize::from(access.data.0) < effect.nodes()
        );
        assert!(access.condition.is_none_or(|w| usize::from(w.0) < words));
    }
    for op in &effect.ops {
        assert!((1..=64).contains(&op.width), "width {}", op.width);
        assert!(
            [op.d, op.a, op.b, op.c]
                .iter()
                .all(|w| usize::from(w.0) < words),
            "{op:?} names no word"
        );
    }
}

/// Narrows random knowledge, which may contradict itself, and looks at what comes out.
pub(crate) fn check_narrow(effect: &Effect, random: &mut Random) {
    let mut words = effect.template.to_vec();
    for word in words.iter_mut().take(effect.nodes()) {
        // Known bits of the template stay; an excluded value is a contradiction like any other.
        let _ = word.learn(Bits::new(random.mask(), random.lane()));
    }
    if effect.narrow(&mut words).is_ok() {
        assert!(words.iter().all(|bits| bits.value & !bits.known == 0));
    }
}

/// Nothing that follows from no knowledge but constants: bytes that are no instruction claim nothing.
pub(crate) fn check_claims_nothing(effect: &Effect) {
    assert!(!effect.modelled);
    let mut words = effect.template.to_vec();
    effect.narrow(&mut words).unwrap();
    for (register, word) in &effect.writes {
        // Sign and exponent of an x87 register have 16 bits.
        let width = if (32..48).contains(&register.0) && register.0 % 2 == 1 {
            16
        } else {
            64
        };
        assert_eq!(
            words[usize::from(word.0)].known & mask(width),
            0,
            "{} claimed",
            register.name()
        );
    }
}

fn check_bytes(bytes: &[u8], bitness: u8, flags: u16) {
    let effect = lift(bytes, Address(0x1000), bitness, flags);
    check_well_formed(&effect);
    let mut decoder = Decoder::with_ip(u32::from(bitness), bytes, 0x1000, DecoderOptions::NONE);
    let instruction = decoder.decode();
    if instruction.is_invalid() || instruction.len() != bytes.len() {
        check_claims_nothing(&effect);
    }
    check_narrow(&effect, &mut Random::new(bytes.len() as u64));
}

/// Forgets every register and all memory, and says nothing.
#[track_caller]
fn check_forgets_everything(bytes: &[u8]) {
    let effect = lift(bytes, Address(0x1fff), 64, ALL_FLAGS);
    check_well_formed(&effect);
    assert!(!effect.modelled, "{bytes:02x?} has a meaning");
    check_claims_nothing(&effect);
    let all = effect.writes.len() == RegWord::COUNT && effect.clobbers_memory;
    assert!(all, "{bytes:02x?} keeps something");
}

/// Every form that 64-bit mode has, cut at each of its bytes, as by the end of a page.
#[test]
fn cut_instructions_forget_everything() {
    let place = Place {
        at: 0x1fff,
        data: 0x30_0000,
        bitness: 64,
    };
    let mut cuts = 0;
    for code in Code::values().filter(|code| code.op_code().mode64()) {
        for instance in forms::instances(code, place, 1, &mut Random::new(5)) {
            // FSTENV and its kin begin with an FWAIT, which is an instruction by itself.
            let waits = code.op_code().op_code_string().contains("9B ");
            for cut in (0..instance.bytes.len()).filter(|_| !instance.is_foreign()) {
                if waits && instance.bytes[..cut].last() == Some(&0x9b) {
                    continue;
                }
                check_forgets_everything(&instance.bytes[..cut]);
                cuts += 1;
            }
        }
    }
    assert!(cuts > 30_000, "{cuts} cuts");
}

/// Fourteen prefixes leave room for an opcode of one byte; one more is too many.
#[test]
fn prefixes_may_fill_fifteen_bytes() {
    for prefix in [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67] {
        let mut bytes = vec![prefix; 14];
        bytes.push(0x58); // pop
        let effect = lift(&bytes, Address(0x1000), 64, ALL_FLAGS);
        assert!(effect.modelled, "{prefix:02x}");
        assert!(effect.writes.iter().any(|write| write.0 == RegWord::RAX));
        bytes.insert(0, prefix);
        check_forgets_everything(&bytes);
        check_forgets_everything(&[prefix; 15]);
    }
}

/// Opcodes that 64-bit mode leaves undefined, or that are newer than the decoder.
#[test]
fn unknown_opcodes_forget_everything() {
    let rows: [&[u8]; 14] = [
        &[0x06],                                     // push es
        &[0x27],                                     // daa
        &[0x62, 0x00],                               // bound, an EVEX prefix cut short
        &[0x9a, 0, 0, 0, 0, 0, 0],                   // call far
        &[0xd6],                                     // salc
        &[0x0f, 0x04],                               // no instruction
        &[0x0f, 0x0a],                               // no instruction
        &[0x0f, 0x24, 0xc0],                         // mov from a test register
        &[0x0f, 0xc7, 0x08 | 0xc0],                  // cmpxchg8b of a register
        &[0xf0, 0x01, 0xc0],                         // lock add eax,eax
        &[0xd5, 0x10, 0x01, 0xc0],                   // REX2 of APX: add eax,r16d
        &[0xd5, 0x00, 0xa1, 0, 0, 0, 0, 0, 0, 0, 0], // jmpabs
        &[0x62, 0xf4, 0x7c, 0x18, 0x01, 0xc3],       // APX: add with a new destination
        &[0xc4, 0xe7, 0x78, 0xf6, 0xc0, 1, 0, 0, 0], // VEX map 7: uwrmsr
    ];
    for bytes in rows {
        check_forgets_everything(bytes);
    }
}

fn bitness() -> impl Strategy<Value = u8> {
    prop_oneof![8 => Just(64u8), 1 => Just(32u8), 1 => Just(16u8)]
}

/// Every legacy prefix and REX, in piles.
fn prefixes() -> impl Strategy<Value = Vec<u8>> {
    const PREFIXES: [u8; 13] = [
        0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x48, 0x4f,
    ];
    prop::collection::vec(prop::sample::select(&PREFIXES[..]), 0..15)
}

/// Opcodes with escapes, so that all maps get their share.
fn opcode() -> impl Strategy<Value = Vec<u8>> {
    let escape = prop_oneof![
        Just(vec![]),
        Just(vec![0x0f]),
        Just(vec![0x0f, 0x38]),
        Just(vec![0x0f, 0x3a]),
        any::<[u8; 1]>().prop_map(|p| vec![0xc5, p[0]]),
        any::<[u8; 2]>().prop_map(|p| vec![0xc4, p[0], p[1]]),
        any::<[u8; 3]>().prop_map(|p| vec![0x62, p[0], p[1], p[2]]),
        any::<[u8; 2]>().prop_map(|p| vec![0x8f, p[0], p[1]]),
    ];
    (escape, prop::collection::vec(any::<u8>(), 0..10)).prop_map(|(mut escape, rest)| {
        escape.extend(rest);
        escape
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..=16), bitness in bitness()) {
        check_bytes(&bytes, bitness, ALL_FLAGS);
    }

    #[test]
    fn piles_of_prefixes_never_panic(prefixes in prefixes(), opcode in opcode(), bitness in bitness(), flags: u16) {
        let mut bytes = prefixes;
        bytes.extend(opcode);
        bytes.truncate(15);
        check_bytes(&bytes, bitness, flags & ALL_FLAGS);
    }

    #[test]
    fn truncated_instructions_never_panic(opcode in opcode(), keep in 0usize..15, bitness in bitness()) {
        let keep = keep.min(opcode.len());
        check_bytes(&opcode[..keep], bitness, ALL_FLAGS);
    }
}
