//! One wrong rule for each family of `lift/x86/`, which some judge must notice.
//!
//! A wrong rule is a right one of another instruction: `add` lowered as if it were `sub`. What
//! must be noticed is noticed on the very states on which the right meaning passes.

use crate::emulate::Emulator;
use crate::forms::{Instance, Place};
use crate::machine::Machine;
use crate::random::Random;
use crate::silicon::Processor;
use crate::witness::{Objector, Witness};
use iced_x86::{Decoder, DecoderOptions, OpKind};
use rept_recover::lift::{ALL_FLAGS, lift};
use rept_trace::Address;
use std::collections::BTreeSet;

/// States per instruction.
const STATES: usize = 200;

/// An instruction, and the one whose meaning it is given.
pub(crate) struct Sabotage {
    pub(crate) family: &'static str,
    is: &'static str,
    taken_for: &'static str,
    ground: Ground,
}

/// Where the instruction can be run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ground {
    Silicon,
    /// The emulator: few processors have it.
    Manual,
    /// Nowhere: iced's access table is the judge.
    Table,
}

/// What came of a sabotage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Noticed(Objector),
    Unnoticed,
    /// The judges object to the right meaning.
    RightIsWrong,
    /// There is no processor to run anything on.
    NotRun,
}

const fn row(
    family: &'static str,
    ground: Ground,
    is: &'static str,
    taken_for: &'static str,
) -> Sabotage {
    Sabotage {
        family,
        is,
        taken_for,
        ground,
    }
}

use Ground::{Manual, Silicon, Table};

/// Every file under `lift/x86/` has a row; [`without_sabotage`] names those that do not.
#[rustfmt::skip]
pub(crate) const SABOTAGE: &[Sabotage] = &[
    row("arithmetic", Silicon, "48 01 d8", "48 29 d8"), // add rax,rbx: sub
    row("arithmetic", Silicon, "48 11 d8", "48 01 d8"), // adc rax,rbx: add
    row("atomic", Manual, "0f 38 fc 03", "f2 0f 38 fc 03"), // aadd [rbx],eax: aor
    row("atomic", Manual, "c4 e2 71 e6 03", "c4 e2 71 e2 03"), // cmpbexadd [rbx],eax,ecx: cmpbxadd
    row("bits", Silicon, "f3 48 0f b8 c3", "f3 48 0f bd c3"), // popcnt rax,rbx: lzcnt
    row("conditional", Silicon, "0f 94 c0", "0f 95 c0"), // sete al: setne
    row("conditional", Silicon, "48 0f 4c c3", "48 0f 48 c3"), // cmovl rax,rbx: cmovs
    row("control", Silicon, "7c 05", "72 05"), // jl: jb
    row("extended_state", Table, "0f ae 03", "0f ae 0b"), // fxsave [rbx]: fxrstor
    row("extended_state", Table, "0f c7 23", "0f ae 2b"), // xsavec [rbx]: xrstor
    row("flags", Silicon, "9f", "9e"), // lahf: sahf
    row("flags", Silicon, "f8", "f9"), // clc: stc
    row("logic", Silicon, "48 21 d8", "48 09 d8"), // and rax,rbx: or
    row("move_data", Silicon, "0f b6 c3", "0f be c3"), // movzx eax,bl: movsx
    row("move_data", Silicon, "48 89 d8", "48 89 c3"), // mov rax,rbx: mov rbx,rax
    row("multiply", Silicon, "48 f7 e3", "48 f7 eb"), // mul rbx: imul
    row("opmask", Manual, "c5 ec 41 cb", "c5 ec 45 cb"), // kandw k1,k2,k3: korw
    row("opmask", Manual, "c5 f8 98 ca", "c5 f8 99 ca"), // kortestw k1,k2: ktestw
    row("shift", Silicon, "48 d3 e0", "48 d3 e8"), // shl rax,cl: shr
    row("stack", Silicon, "50", "53"), // push rax: push rbx
    row("stack", Silicon, "5b", "58"), // pop rbx: pop rax
    row("string", Silicon, "a4", "a5"), // movsb: movsd
    row("string", Silicon, "48 ab", "48 a5"), // stosq: movsq
    row("system", Silicon, "0f 31", "0f a2"), // rdtsc: cpuid
    row("system", Silicon, "0f ae 1b", "0f ae 13"), // stmxcsr [rbx]: ldmxcsr
    row("vector_block", Silicon, "c4 e3 7d 39 c8 01", "c4 e3 7d 39 c8 00"), // vextracti128 xmm0,ymm1,1: 0
    row("vector_convert", Silicon, "f2 48 0f 2a c3", "f3 48 0f 2a c3"), // cvtsi2sd xmm0,rbx: cvtsi2ss
    row("vector_crypto", Silicon, "66 0f 38 dc c1", "66 0f 38 dd c1"), // aesenc xmm0,xmm1: aesenclast
    row("vector_dot", Manual, "62 f2 75 48 50 c2", "62 f2 75 48 52 c2"), // vpdpbusd zmm0,zmm1,zmm2: vpdpwssd
    row("vector_field", Silicon, "66 0f 78 c0 08 04", "66 0f 78 c0 08 05"), // extrq xmm0,8,4: xmm0,8,5
    row("vector_galois", Manual, "62 f3 f5 48 ce c2 01", "62 f3 f5 48 cf c2 01"), // vgf2p8affineqb zmm0,zmm1,zmm2,1: vgf2p8affineinvqb
    row("vector_half", Manual, "62 f5 76 08 10 c2", "62 f5 76 08 58 c2"), // vmovsh xmm0,xmm1,xmm2: vaddsh
    row("vector_float", Manual, "62 f5 74 48 58 c2", "62 f5 74 48 5c c2"), // vaddph zmm0,zmm1,zmm2: vsubph
    row("vector_float", Silicon, "f2 0f 58 c1", "f2 0f 5c c1"), // addsd xmm0,xmm1: subsd
    row("vector_float", Silicon, "f2 0f c2 c1 01", "f2 0f c2 c1 02"), // cmpltsd xmm0,xmm1: cmplesd
    row("vector_fused", Silicon, "c4 e2 f1 b9 c2", "c4 e2 f1 bb c2"), // vfmadd231sd xmm0,xmm1,xmm2: vfmsub231sd
    row("vector_gather", Silicon, "c4 e2 69 90 04 8b", "c4 e2 69 91 04 8b"), // vpgatherdd xmm0,[rbx+xmm1*4],xmm2: vpgatherqd
    row("vector_integer", Silicon, "66 0f fc c1", "66 0f f8 c1"), // paddb xmm0,xmm1: psubb
    row("vector_integer", Silicon, "66 0f da c1", "66 0f de c1"), // pminub xmm0,xmm1: pmaxub
    row("vector_mask", Silicon, "66 0f d7 c1", "66 0f 50 c1"), // pmovmskb eax,xmm1: movmskpd
    row("vector_mask", Manual, "62 f3 75 48 3e ca 01", "62 f3 75 48 3f ca 01"), // vpcmpltub k1,zmm1,zmm2: vpcmpltb
    row("vector_move", Silicon, "0f 12 c1", "0f 16 c1"), // movhlps xmm0,xmm1: movlhps
    row("vector_permute", Silicon, "c4 e3 fd 00 c1 1b", "c4 e3 fd 00 c1 4e"), // vpermq ymm0,ymm1,27: 78
    row("vector_permute", Manual, "62 f2 75 48 8d c2", "62 f2 6d 48 8d c1"), // vpermb zmm0,zmm1,zmm2: zmm0,zmm2,zmm1
    row("vector_shuffle", Silicon, "66 0f 60 c1", "66 0f 68 c1"), // punpcklbw xmm0,xmm1: punpckhbw
    row("vector_special", Manual, "62 f2 f5 48 2c c2", "62 f3 f5 48 50 c2 00"), // vscalefpd zmm0,zmm1,zmm2: vrangepd
    row("vector_gather", Manual, "62 f2 7d 49 90 04 8b", "62 f2 7d 49 91 04 8b"), // vpgatherdd zmm0{k1},[rbx+zmm1*4]: vpgatherqd
    row("vector_convert", Manual, "62 f1 7c 48 5b c1", "62 f1 7f 48 7a c1"), // vcvtdq2ps zmm0,zmm1: vcvtudq2ps
    row("vector_string", Silicon, "66 0f 3a 63 c1 00", "66 0f 3a 63 c1 04"), // pcmpistri equal any: ranges
    row("vector_sum", Silicon, "66 0f 38 01 c1", "66 0f 38 05 c1"), // phaddw xmm0,xmm1: phsubw
    row("x87", Silicon, "dd 03", "df 2b"), // fld qword [rbx]: fild
    row("x87", Silicon, "d9 c1", "d9 c9"), // fld st1: fxch
];

fn instance(text: &str, place: Place) -> Instance {
    let bytes: Vec<u8> = text
        .split(' ')
        .map(|byte| u8::from_str_radix(byte, 16).expect("a byte in hexadecimal"))
        .collect();
    let mut decoder = Decoder::with_ip(place.bitness, &bytes, place.at, DecoderOptions::NONE);
    let instruction = decoder.decode();
    assert_eq!(instruction.len(), bytes.len(), "{text}");
    Instance {
        instruction,
        code: instruction.code(),
        memory: instruction.op_kinds().any(|kind| kind == OpKind::Memory),
        bytes,
        place,
    }
}

impl Sabotage {
    /// Gives the instruction its own meaning, then the wrong one.
    pub(crate) fn judge(&self) -> Verdict {
        match self.ground {
            Silicon => Machine::new().map_or(Verdict::NotRun, |machine| self.judge_on(machine)),
            Manual | Table => self.judge_on(Emulator::new()),
        }
    }

    fn judge_on(&self, mut processor: impl Processor) -> Verdict {
        let place = Place {
            at: processor.at(),
            data: processor.setting().scratch + 512,
            bitness: 64,
        };
        let mut random = Random::new(11);
        let subject = instance(self.is, place);
        let witness = match self.ground {
            Table => Some(Witness::of_access(processor.setting(), &subject)),
            _ => Witness::record(&mut processor, &subject, STATES, &mut random),
        };
        let Some(witness) = witness else {
            return Verdict::Unnoticed;
        };
        let meaning = |bytes: &[u8]| lift(bytes, Address(place.at), 64, ALL_FLAGS);
        let right = meaning(&subject.bytes);
        if !right.modelled || witness.objection(&right, &mut random).is_some() {
            return Verdict::RightIsWrong;
        }
        let wrong = meaning(&instance(self.taken_for, place).bytes);
        witness
            .objection(&wrong, &mut random)
            .map_or(Verdict::Unnoticed, Verdict::Noticed)
    }
}

/// Files under `lift/x86/` without a row, and rows without a file.
pub(crate) fn without_sabotage() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/lift/x86");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .expect("the families' folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    let rows: BTreeSet<String> = SABOTAGE.iter().map(|row| row.family.to_owned()).collect();
    files.symmetric_difference(&rows).cloned().collect()
}
