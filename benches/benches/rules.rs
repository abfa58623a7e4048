//! What narrowing costs: per operation, and per instruction visited.
//!
//! The mix is what real programs execute (weights per thousand of their dynamic instructions),
//! lowered once as the engine does, with the flags live that compilers use; and the steps of a
//! program that is built and recorded here. Of their operands nothing, everything, or part is
//! known at random.

use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main,
};
use iced_x86::{Decoder, DecoderOptions, InstructionInfoFactory};
use rept_benches::{Knowledge, Lowered, Random, Recorded, lowered as lowered_blocks, steps, visit};
use rept_recover::bits::Bits;
use rept_recover::effect::{Effect, Word};
use rept_recover::lift::lift;
use rept_recover::op::{MicroOp, Op};
use rept_trace::Address;
use std::hint::black_box;
use std::time::Instant;

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

fn decode_hex(text: &str) -> Vec<u8> {
    text.split(' ')
        .map(|byte| u8::from_str_radix(byte, 16).expect("a byte in hexadecimal"))
        .collect()
}

fn lowered() -> Vec<Lowered> {
    let mut instructions = Vec::new();
    for &(weight, text) in MIX {
        let bytes = decode_hex(text);
        // cmp, test and bt; jcc and the rest leave their flags dead.
        let compares = matches!(
            bytes[..],
            [0x48, 0x39 | 0x85, ..] | [0x80 | 0xa8, ..] | [0x48, 0x0f, 0xa3, ..]
        );
        let (at, live) = (Address(0x1000), if compares { COMPARED } else { 0 });
        let effect = lift(&bytes, at, 64, live);
        let instruction = Lowered { bytes, at, effect };
        instructions.extend(std::iter::repeat_n(instruction, weight));
    }
    instructions
}

fn instructions(c: &mut Criterion) {
    let instructions = lowered();
    let mut group = c.benchmark_group("rules");
    let mix: Vec<&Lowered> = instructions.iter().collect();
    narrow(&mut group, "mix", &mix);
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

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// Visits all instructions, with nothing, everything and part known of their operands.
fn narrow(group: &mut Group<'_>, name: &str, instructions: &[&Lowered]) {
    group.throughput(Throughput::Elements(instructions.len() as u64));
    let iced = least(instructions.len(), || look_up(instructions));
    group.bench_function(format!("{name}, iced's decoder and register table"), |b| {
        b.iter(|| look_up(instructions));
    });
    for knowledge in [Knowledge::None, Knowledge::All, Knowledge::Mixed] {
        let mut random = Random(1);
        let visits: Vec<(&Effect, Vec<Bits>)> = instructions
            .iter()
            .map(|i| (&i.effect, visit(&i.effect, knowledge, &mut random)))
            .collect();
        let longest = visits.iter().map(|visit| visit.1.len()).max().unwrap_or(0);
        let mut buffer = vec![Bits::UNKNOWN; longest];
        let mut visit_all = || {
            for (effect, words) in &visits {
                let visited = &mut buffer[..words.len()];
                visited.copy_from_slice(words);
                black_box(effect.narrow(visited).is_ok());
            }
        };
        let ours = least(instructions.len(), &mut visit_all);
        eprintln!(
            "{name}, known: {knowledge:?}: at best {ours:.1} ns a visit, {:.2} of iced's {iced:.1} ns",
            ours / iced
        );
        group.bench_function(format!("{name}, known: {knowledge:?}"), |b| {
            b.iter(&mut visit_all);
        });
    }
}

/// The yardstick, so that figures of different machines compare: iced decodes each instruction
/// and tells the registers that it uses.
fn look_up(instructions: &[&Lowered]) {
    let mut factory = InstructionInfoFactory::new();
    for Lowered { bytes, at, .. } in instructions {
        let instruction = Decoder::with_ip(64, bytes, at.0, DecoderOptions::NONE).decode();
        black_box(factory.info(&instruction).used_registers().len());
    }
}

/// Nanoseconds for each of `count` elements in the fastest of many batches, which other work on
/// the machine disturbs least.
fn least(count: usize, mut batch: impl FnMut()) -> f64 {
    const BATCHES: usize = 4000;
    let mut time = || {
        let start = Instant::now();
        batch();
        start.elapsed()
    };
    let best = (0..BATCHES).map(|_| time()).min().unwrap_or_default();
    best.as_nanos() as f64 / count as f64
}

/// The steps of a program recorded on the spot, as they ran.
fn recording(c: &mut Criterion) {
    const STEPS: usize = 1000;
    let recorded = match Recorded::make("mixture") {
        Ok(recorded) => recorded,
        Err(reason) => return eprintln!("recording: skipped: {reason}"),
    };
    let trace = recorded.session.decode();
    let blocks = lowered_blocks(trace);
    let all = steps(trace, &blocks, usize::MAX);
    // As many as stay in the cache, from all over the recording.
    let apart = (all.len() / STEPS).max(1);
    let sample: Vec<&Lowered> = all.into_iter().step_by(apart).take(STEPS).collect();
    let mut group = c.benchmark_group("recording");
    narrow(&mut group, "steps", &sample);
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
            let [a, b, c] = [(); 3].map(|()| low(random.word(Knowledge::Mixed)));
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

criterion_group!(benches, instructions, recording, operations);
criterion_main!(benches);
