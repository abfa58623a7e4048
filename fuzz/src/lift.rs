//! Lowering: any bytes have an effect whose parts refer to each other, and whose
//! relations can be narrowed from any knowledge.

use crate::input::Input;
use rept_recover::bits::Bits;
use rept_recover::effect::{Effect, Flow, Word};
use rept_recover::lift::{ALL_FLAGS, lift};
use rept_trace::Address;

/// Lowers an instruction and narrows its relations over some words.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let bitness = [64, 32, 16][usize::from(input.byte() % 3)];
    let live = u16::from(input.byte()) << 8 | u16::from(input.byte());
    let instruction = input.bytes(15);
    let effect = lift(instruction, Address(0x40_1000), bitness, live & ALL_FLAGS);
    check(&effect);
    let mut words = effect.template.to_vec();
    for word in words.iter_mut().take(effect.nodes()) {
        let (known, value) = (input.number(), input.number());
        let _ = word.learn(Bits::new(known, value & known));
    }
    let before = words.clone();
    if effect.narrow(&mut words).is_ok() {
        let kept = |(old, new): (&Bits, &Bits)| {
            old.known & !new.known == 0 && (old.value ^ new.value) & old.known == 0
        };
        assert!(
            before.iter().zip(&words).all(kept),
            "narrowing never forgets"
        );
    }
}

/// Instructions of many kinds.
pub fn seeds() -> Vec<Vec<u8>> {
    let instructions: [&[u8]; 16] = [
        &[0x48, 0x01, 0xd8],                   // add rax,rbx
        &[0x0f, 0xaf, 0xc3],                   // imul eax,ebx
        &[0x48, 0x8b, 0x44, 0xb5, 0x10],       // mov rax,[rbp+rsi*4+10h]
        &[0x66, 0x83, 0x04, 0x24, 0x01],       // add word [rsp],1
        &[0xf3, 0xa4],                         // rep movsb
        &[0xf3, 0x48, 0xab],                   // rep stosq
        &[0x0f, 0x44, 0xc8],                   // cmove ecx,eax
        &[0x48, 0xc1, 0xe8, 0x05],             // shr rax,5
        &[0x48, 0xf7, 0xf3],                   // div rbx
        &[0xf0, 0x0f, 0xb1, 0x0f],             // lock cmpxchg [rdi],ecx
        &[0x66, 0x0f, 0xef, 0xc1],             // pxor xmm0,xmm1
        &[0xc5, 0xfd, 0xd7, 0xc1],             // vpmovmskb eax,ymm1
        &[0x62, 0xf1, 0x7d, 0x48, 0x6f, 0x07], // vmovdqa32 zmm0,[rdi]
        &[0xff, 0x15, 0x01, 0x02, 0x00, 0x00], // call [rip+201h]
        &[0x0f, 0x05],                         // syscall
        &[0xc3],                               // ret
    ];
    let seed =
        |bytes: &&[u8]| [&[0, 0xff, 0xff, bytes.len() as u8][..], bytes, &[0xff; 20]].concat();
    instructions.iter().map(seed).collect()
}

fn check(effect: &Effect) {
    let words = effect.template.len();
    let exists = |word: Word| assert!(usize::from(word.0) < words, "{word:?} of {words}");
    assert!(effect.nodes() <= words);
    effect.writes.iter().for_each(|&(_, word)| exists(word));
    for op in &effect.ops {
        [op.a, op.b, op.c, op.d].into_iter().for_each(exists);
        assert!(matches!(op.width, 1..=64));
    }
    for access in &effect.accesses {
        assert!(matches!(access.size, 1..=8));
        [access.address, access.data]
            .into_iter()
            .chain(access.condition)
            .for_each(exists);
    }
    match effect.flow {
        Flow::Branch { taken: word, .. }
        | Flow::Indirect { target: word }
        | Flow::Return { target: word } => exists(word),
        Flow::Call { target } => target.into_iter().for_each(exists),
        Flow::Next | Flow::Jump | Flow::Syscall | Flow::Other => {}
    }
}
