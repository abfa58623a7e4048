//! What narrowing costs: per operation, and per instruction visited.
//!
//! The mix is what real programs execute (weights per thousand of their dynamic instructions),
//! lowered once as the engine does, with the flags live that compilers use. Knowledge is
//! random: a quarter of the words wholly known, a quarter unknown, the rest in part.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rept_recover::bits::Bits;
use rept_recover::effect::{Effect, Word};
use rept_recover::lift::lift;
use rept_recover::op::{MicroOp, Op};
use rept_trace::Address;
use std::hint::black_box;

/// Weight, bytes.
const MIX: &[(usize, &str)] = &[
    (90, "48 8b 43 18"),      // mov rax,[rbx+0x18]
    (60, "48 89 7c 24 20"),   // mov [rsp+0x20],rdi
    (70, "48 89 e5"),         // mov rbp,rsp
    (31, "be 01 00 00 00"),   // mov esi,0x1
    (60, "48 39 c8"),         // cmp rax,rcx
    (36, "80 3f 00"),         // cmp [rdi],0x0
    (60, "48 83 c0 08"),      // add rax,0x8
    (30, "01 c8"),            // add eax,ecx
    (70, "74 1e"),            // je rel
    (56, "75 1e"),            // jne rel
    (51, "48 85 c0"),         // test rax,rax
    (10, "a8 04"),            // test al,0x4
    (39, "0f b6 04 0a"),      // movzx eax,[rdx+rcx]
    (34, "48 8d 7c 80 08"),   // lea rdi,[rax+rax*4+0x8]
    (27, "53"),               // push rbx
    (23, "5b"),               // pop rbx
    (26, "25 ff 00 00 00"),   // and eax,0xff
    (21, "48 83 ec 28"),      // sub rsp,0x28
    (15, "31 c0"),            // xor eax,eax
    (4, "48 33 07"),          // xor rax,[rdi]
    (18, "48 c1 e8 04"),      // shr rax,0x4
    (17, "eb 1e"),            // jmp rel
    (11, "e8 1b 00 00 00"),   // call rel
    (11, "c3"),               // ret
    (7, "48 0f af c1"),       // imul rax,rcx
    (3, "6b c2 64"),          // imul eax,edx,0x64
    (9, "48 c1 e0 03"),       // shl rax,0x3
    (7, "73 1e"),             // jae rel
    (7, "c4 e1 f9 6e c0"),    // vmovq xmm0,rax
    (7, "48 63 c1"),          // movsxd rax,ecx
    (5, "c4 e3 79 16 c0 01"), // vpextrd eax,xmm0,0x1
    (4, "09 d0"),             // or eax,edx
    (2, "c5 f9 70 c1 55"),    // vpshufd xmm0,xmm1,0x55
    (2, "66 0f 74 c1"),       // pcmpeqb xmm0,xmm1
    (2, "66 0f ef c0"),       // pxor xmm0,xmm0
    (2, "c1 f8 1f"),          // sar eax,0x1f
    (2, "0f 94 c0"),          // sete al
    (2, "0f be 07"),          // movsx eax,[rdi]
    (1, "0f 10 06"),          // movups xmm0,[rsi]
    (1, "0f 29 44 24 10"),    // movaps [rsp+0x10],xmm0
    (1, "f7 d0"),             // not eax
    (1, "66 0f d7 c0"),       // pmovmskb eax,xmm0
    (1, "66 0f f8 c1"),       // psubb xmm0,xmm1
    (1, "f3 0f bc c0"),       // tzcnt eax,eax
    (1, "0f bc c0"),          // bsf eax,eax
    (1, "48 0f 46 c2"),       // cmovbe rax,rdx
    (1, "48 0f 45 c2"),       // cmovne rax,rdx
    (1, "66 0f 6c c0"),       // punpcklqdq xmm0,xmm0
    (1, "48 f7 f1"),          // div rcx
    (1, "87 07"),             // xchg [rdi],eax
    (1, "48 f7 d8"),          // neg rax
    (1, "48 98"),             // cdqe
    (1, "19 c0"),             // sbb eax,eax
    (1, "48 c1 c0 05"),       // rol rax,0x5
    (1, "c4 e2 70 f5 c2"),    // bzhi eax,edx,ecx
    (1, "f0 0f b1 37"),       // lock cmpxchg [rdi],esi
    (1, "48 0f a3 c8"),       // bt rax,rcx
    (1, "f3 48 ab"),          // rep stos [rdi],rax
];

/// CF, ZF, SF and OF, for instructions that exist to set them.
const COMPARED: u16 = 0x8c1;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0.rotate_left(23) ^ self.0 >> 29
    }

    fn bits(&mut self) -> Bits {
        let value = self.next();
        match self.next() >> 62 {
            0 => Bits::UNKNOWN,
            1 => Bits::constant(value),
            _ => Bits::new(self.next(), value),
        }
    }
}

fn decode_hex(text: &str) -> Vec<u8> {
    text.split(' ')
        .map(|byte| u8::from_str_radix(byte, 16).expect("a byte in hexadecimal"))
        .collect()
}

fn lowered() -> Vec<Effect> {
    let mut effects = Vec::new();
    for &(weight, text) in MIX {
        let bytes = decode_hex(text);
        // cmp, test and bt; jcc and the rest leave their flags dead.
        let compares = matches!(
            bytes[..],
            [0x48, 0x39 | 0x85, ..] | [0x80 | 0xa8, ..] | [0x48, 0x0f, 0xa3, ..]
        );
        let effect = lift(
            &bytes,
            Address(0x1000),
            64,
            if compares { COMPARED } else { 0 },
        );
        effects.extend(std::iter::repeat_n(effect, weight));
    }
    effects
}

/// The words of an effect before a visit: nodes known in part, consistent with the relations
/// where narrowing from scratch finds them so.
fn visit(effect: &Effect, random: &mut Random) -> Vec<Bits> {
    loop {
        let mut words = effect.template.to_vec();
        for word in words.iter_mut().take(effect.inputs()) {
            *word = random.bits();
        }
        if effect.narrow(&mut words.clone()).is_ok() {
            return words;
        }
    }
}

fn instructions(c: &mut Criterion) {
    let effects = lowered();
    let mut random = Random(1);
    let words: Vec<Vec<Bits>> = effects
        .iter()
        .map(|effect| visit(effect, &mut random))
        .collect();
    let longest = words.iter().map(Vec::len).max().unwrap_or(0);
    let mut group = c.benchmark_group("rules");
    group.throughput(Throughput::Elements(effects.len() as u64));
    group.bench_function("mix", |b| {
        let mut buffer = vec![Bits::UNKNOWN; longest];
        b.iter(|| {
            for (effect, words) in effects.iter().zip(&words) {
                let visited = &mut buffer[..words.len()];
                visited.copy_from_slice(words);
                black_box(effect.narrow(visited).is_ok());
            }
        });
    });
    group.bench_function("lift", |b| {
        let bytes: Vec<Vec<u8>> = MIX.iter().map(|&(_, text)| decode_hex(text)).collect();
        b.iter(|| {
            bytes
                .iter()
                .map(|bytes| lift(black_box(bytes), Address(0x1000), 64, 0).ops.len())
                .sum::<usize>()
        });
    });
    group.finish();
}

/// Each operation at 32 bits, on operands known in part and an unknown result.
fn operations(c: &mut Criterion) {
    const CASES: usize = 256;
    let mut group = c.benchmark_group("op");
    group.throughput(Throughput::Elements(CASES as u64));
    for &op in Op::ALL {
        let relation = MicroOp {
            op,
            width: 32,
            lanes: 1,
            imm: 3,
            d: Word(3),
            a: Word(0),
            b: Word(1),
            c: Word(2),
        };
        let mut random = Random(op as u64);
        let mut cases = Vec::new();
        while cases.len() < CASES {
            let low = |bits: Bits| Bits::new(bits.known | !0xffff_ffff, bits.value & 0xffff_ffff);
            let [a, b, c] = [random.bits(), random.bits(), random.bits()].map(low);
            let case = [a, b, c, Bits::unknown(32)];
            if relation.narrow(&mut case.clone()).is_ok() {
                cases.push(case);
            }
        }
        group.bench_function(format!("{op:?}"), |b| {
            b.iter_batched_ref(
                || cases.clone(),
                |cases| {
                    cases
                        .iter_mut()
                        .filter_map(|words| relation.narrow(words).ok())
                        .count()
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, instructions, operations);
criterion_main!(benches);
