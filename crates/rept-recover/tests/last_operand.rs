//! Knowing all but one operand of an instruction gives the last.
//!
//! Each row is run forward on random states; then one operand is hidden, and what the relations
//! say of it from all others, the results included, must be all that the instruction keeps of it.

use rept_recover::bits::Bits;
use rept_recover::effect::{Effect, Word};
use rept_recover::lift::{ALL_FLAGS, lift};
use rept_recover::op::{MicroOp, Op};
use rept_trace::{Address, RegWord};

const ALL: u64 = u64::MAX;
const LOW: u64 = 0xffff_ffff;
const CARRY: u64 = 1;
const OVERFLOW: u64 = 1 << 11;
const RAX: RegWord = RegWord::RAX;
const RBX: RegWord = RegWord::RBX;
const RCX: RegWord = RegWord::RCX;
const FLAGS: RegWord = RegWord::FLAGS;

/// Bytes, the operand hidden, and the bits of it that must follow.
#[rustfmt::skip]
const ROWS: &[(&str, RegWord, u64)] = &[
    ("48 01 d8", RAX, ALL),                   // add rax,rbx
    ("48 01 d8", RBX, ALL),
    ("01 d8", RBX, LOW),                      // add eax,ebx
    ("00 d8", RBX, 0xff),                     // add al,bl
    ("48 29 d8", RAX, ALL),                   // sub rax,rbx
    ("48 29 d8", RBX, ALL),
    ("48 01 c0", RAX, ALL >> 1),              // add rax,rax
    ("48 11 d8", RAX, ALL),                   // adc rax,rbx
    ("48 11 d8", RBX, ALL),
    ("48 11 d8", FLAGS, CARRY),
    ("48 19 d8", RAX, ALL),                   // sbb rax,rbx
    ("48 19 d8", RBX, ALL),
    ("48 19 d8", FLAGS, CARRY),
    ("48 19 c0", FLAGS, CARRY),               // sbb rax,rax
    ("66 48 0f 38 f6 c3", RBX, ALL),          // adcx rax,rbx
    ("66 48 0f 38 f6 c3", FLAGS, CARRY),
    ("f3 48 0f 38 f6 c3", RAX, ALL),          // adox rax,rbx
    ("f3 48 0f 38 f6 c3", FLAGS, OVERFLOW),
    ("48 0f c1 d8", RAX, ALL),                // xadd rax,rbx
    ("48 0f c1 d8", RBX, ALL),
    ("0f c1 d8", RBX, LOW),                   // xadd eax,ebx
    ("48 0f c1 c0", RAX, ALL >> 1),           // xadd rax,rax
    ("48 0f c1 03", RAX, ALL),                // xadd [rbx],rax
    ("48 8d 44 8b 08", RBX, ALL),             // lea rax,[rbx+rcx*4+8]
    ("48 8d 44 8b 08", RCX, ALL >> 2),
    ("48 8d 04 0b", RCX, ALL),                // lea rax,[rbx+rcx]
    ("8d 04 0b", RBX, LOW),                   // lea eax,[rbx+rcx]
    ("48 8d 04 1b", RBX, ALL >> 1),           // lea rax,[rbx+rbx]
    ("48 8d 44 5b f8", RBX, ALL),             // lea rax,[rbx+rbx*2-8]
    ("48 8d 04 9b", RBX, ALL),                // lea rax,[rbx+rbx*4]
    ("48 8d 04 db", RBX, ALL),                // lea rax,[rbx+rbx*8]
    ("67 48 8d 04 9b", RBX, LOW),             // lea rax,[ebx+ebx*4]
    ("48 6b c3 0d", RBX, ALL),                // imul rax,rbx,13
    ("48 69 c3 ff ff ff 7f", RBX, ALL),       // imul rax,rbx,0x7fffffff
    ("48 6b c3 0c", RBX, ALL >> 2),           // imul rax,rbx,12
    ("48 f7 d8", RAX, ALL),                   // neg rax
    ("48 ff c8", RAX, ALL),                   // dec rax
    ("48 31 d8", RBX, ALL),                   // xor rax,rbx
    ("48 c1 e0 0d", RAX, ALL >> 13),          // shl rax,13
    ("48 c1 e8 0d", RAX, ALL << 13),          // shr rax,13
    ("48 c1 f8 0d", RAX, ALL << 13),          // sar rax,13
    ("48 c1 c0 0d", RAX, ALL),                // rol rax,13
    ("48 d1 d0", RAX, ALL),                   // rcl rax,1
    ("48 d1 d0", FLAGS, CARRY),
    ("48 0f a4 d8 0d", RAX, ALL >> 13),       // shld rax,rbx,13
    ("48 0f a4 d8 0d", RBX, ALL << 51),
    ("48 0f c8", RAX, ALL),                   // bswap rax
];

/// A linear congruential generator (Knuth's MMIX constants), high bits first.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0.rotate_left(23) ^ self.0 >> 29
    }
}

fn lifted(listing: &str) -> Effect {
    let bytes: Vec<u8> = listing
        .split(' ')
        .map(|byte| u8::from_str_radix(byte, 16).expect("a byte in hexadecimal"))
        .collect();
    let effect = lift(&bytes, Address(0x1000), 64, ALL_FLAGS);
    assert!(effect.modelled, "{listing}");
    effect
}

/// All words of an execution on random registers and memory.
fn executed(effect: &Effect, noise: &mut Noise) -> Vec<Bits> {
    let mut words = effect.template.to_vec();
    for (word, register) in words.iter_mut().zip(&effect.reads) {
        // The processor's flags only: those above follow from them.
        let bits = if *register == FLAGS { 0xcd5 } else { ALL };
        *word = Bits::new(bits, noise.next());
    }
    for access in effect.accesses.iter().filter(|access| !access.store) {
        let data = Bits::constant(noise.next()).low(u32::from(access.size) * 8);
        words[usize::from(access.data.0)]
            .learn(data)
            .expect("an operand of its size");
    }
    effect.narrow(&mut words).expect("an execution");
    words
}

#[test]
fn all_but_one_give_the_last() {
    for &(listing, hidden, bits) in ROWS {
        let effect = lifted(listing);
        let place = effect.reads.iter().position(|&read| read == hidden);
        let place = place.unwrap_or_else(|| panic!("{listing} does not read {}", hidden.name()));
        let mut noise = Noise(place as u64);
        for _ in 0..64 {
            let truth = executed(&effect, &mut noise);
            let mut words = effect.template.to_vec();
            let nodes = truth.iter().take(effect.nodes()).enumerate();
            for (index, bits_known) in nodes.filter(|&(index, _)| index != place) {
                words[index].learn(*bits_known).expect("the template holds");
            }
            if hidden == FLAGS {
                words[place] = Bits::new(truth[place].known & !bits, truth[place].value);
            }
            effect.narrow(&mut words).expect("what happened");
            let missing = bits & !words[place].known;
            assert_eq!(
                missing,
                0,
                "{listing}: {} lacks {missing:#x}",
                hidden.name()
            );
            assert!(words[place].compatible(truth[place]), "{listing}");
        }
    }
}

/// At full width: a product with an odd constant tells as many low bits of the factor as are
/// known of it, and the factor those of the product.
#[test]
fn odd_factors_divide_out_at_full_width() {
    let mut noise = Noise(3);
    for known in 0..=64 {
        let (x, factor) = (noise.next(), noise.next() | 1);
        let low = ALL.checked_shr(64 - known).unwrap_or(0);
        let product = x.wrapping_mul(factor);
        let op = MicroOp {
            op: Op::MulLow,
            width: 64,
            lanes: 1,
            imm: 0,
            d: Word(0),
            a: Word(1),
            b: Word(2),
            c: Word(1),
        };
        let factor = Bits::constant(factor);
        let mut back = [Bits::new(low, product), Bits::UNKNOWN, factor];
        op.narrow(&mut back).expect("a product");
        assert_eq!((back[1].known & low, back[1].value & low), (low, x & low));
        let mut forward = [Bits::UNKNOWN, Bits::new(low, x), factor];
        op.narrow(&mut forward).expect("a product");
        assert_eq!(
            (forward[0].known & low, forward[0].value & low),
            (low, product & low)
        );
    }
}
