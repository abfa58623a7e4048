//! AES, SHA and carry-less products.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::gather::Byte;
use crate::lift::value::Val;
use crate::lift::vector::Lanes;
use crate::op::Op;
use iced_x86::Mnemonic as M;

/// Truth table of `a ? b : c`.
const CHOOSE: u16 = 0xca;
/// Truth table of the majority of three.
const MAJORITY: u16 = 0xe8;
/// Truth table of the exclusive or of three.
const ODD: u16 = 0x96;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    match m {
        M::Aesenc | M::Vaesenc => encrypt(b, true),
        M::Aesenclast | M::Vaesenclast => encrypt(b, false),
        M::Aesdec | M::Vaesdec => decrypt(b, true),
        M::Aesdeclast | M::Vaesdeclast => decrypt(b, false),
        M::Aesimc | M::Vaesimc => unmix(b),
        M::Aeskeygenassist | M::Vaeskeygenassist => expand_key(b),
        M::Pclmulqdq | M::Vpclmulqdq => multiply(b),
        M::Sha1nexte => sha1_next(b),
        M::Sha1msg1 => sha1_message_first(b),
        M::Sha1msg2 => sha1_message_second(b),
        M::Sha1rnds4 => sha1_rounds(b),
        M::Sha256msg1 => sha256_message_first(b),
        M::Sha256msg2 => sha256_message_second(b),
        M::Sha256rnds2 => sha256_rounds(b),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

fn on_words<'b>(words: &[Val<'b>], op: Op, width: u32, imm: u16) -> Lanes<'b> {
    words
        .iter()
        .map(|&word| word.packed(op, width, imm, word))
        .collect()
}

/// Row `r` of each block's state goes round by `r` columns, to the left or to the right.
fn shift_rows<'b>(b: &'b Builder, x: &[Val<'b>], left: bool) -> Lanes<'b> {
    b.assemble(x.len(), |at| {
        let (block, row, column) = (at / 16 * 16, at % 4, at / 4 % 4);
        let from = if left { column + row } else { column + 4 - row } % 4;
        Byte::of(x, block + from * 4 + row)
    })
}

fn keyed<'b>(b: &'b Builder, state: &[Val<'b>], key: &[Val<'b>]) {
    let result: Lanes<'b> = state.iter().zip(key).map(|(&x, &y)| x ^ y).collect();
    b.set_lanes(0, &result);
}

fn encrypt(b: &Builder, mixes: bool) {
    let (state, key) = b.sources(64);
    let substituted = on_words(&shift_rows(b, &state, true), Op::SubstituteByte, 8, 0);
    let state = if mixes {
        on_words(&substituted, Op::MixColumn, 32, 0)
    } else {
        substituted
    };
    keyed(b, &state, &key);
}

fn decrypt(b: &Builder, mixes: bool) {
    let (state, key) = b.sources(64);
    let substituted = on_words(&shift_rows(b, &state, false), Op::SubstituteByte, 8, 1);
    let state = if mixes {
        on_words(&substituted, Op::MixColumn, 32, 1)
    } else {
        substituted
    };
    keyed(b, &state, &key);
}

fn unmix(b: &Builder) {
    let key = b.lanes(1);
    b.set_lanes(0, &on_words(&key, Op::MixColumn, 32, 1));
}

/// AESKEYGENASSIST: the odd doublewords substituted, and the same turned and with the constant.
fn expand_key(b: &Builder) {
    let substituted = on_words(&b.lanes(1), Op::SubstituteByte, 8, 0);
    let constant = b.constant(u64::from(b.instruction.immediate8()) << 32, 64);
    let result: Lanes<'_> = substituted
        .iter()
        .map(|word| {
            let high = word.extract(32, 32);
            high.zero_extended(64).insert(32, high.rol(24)) ^ constant
        })
        .collect();
    b.set_lanes(0, &result);
}

/// The carry-less product of one quadword of each source, in each block.
fn multiply(b: &Builder) {
    let (x, y) = b.sources(64);
    let choice = usize::from(b.instruction.immediate8());
    let mut result = Lanes::new();
    for block in (0..x.len()).step_by(2) {
        let (x, y) = (x[block + choice % 2], y[block + choice / 16 % 2]);
        result.extend([x.with(Op::ClmulLow, y), x.with(Op::ClmulHigh, y)]);
    }
    b.set_lanes(0, &result);
}

/// Doublewords of a 128-bit operand, the lowest first.
fn doublewords(b: &Builder, operand: u32) -> [Val<'_>; 4] {
    let lanes = b.lanes(operand);
    [0, 1, 2, 3].map(|at| lanes[at / 2].extract(at as u32 % 2 * 32, 32))
}

fn set_doublewords(b: &Builder, words: [Val<'_>; 4]) {
    b.set_lanes(
        0,
        &b.side_by_side(&words.map(|word| b.value(word.word, 32))),
    );
}

fn ternary<'b>(table: u16, [x, y, z]: [Val<'b>; 3]) -> Val<'b> {
    x.builder.apply(Op::Ternary, 32, table, [x, y, z], 32)
}

fn sha1_next(b: &Builder) {
    let (x, mut y) = (doublewords(b, 0), doublewords(b, 1));
    y[3] = y[3] + x[3].rol(30);
    set_doublewords(b, y);
}

fn sha1_message_first(b: &Builder) {
    let (x, y) = (doublewords(b, 0), doublewords(b, 1));
    set_doublewords(b, [x[0] ^ y[2], x[1] ^ y[3], x[2] ^ x[0], x[3] ^ x[1]]);
}

/// The highest doubleword comes first: the lowest one depends on its outcome.
fn sha1_message_second(b: &Builder) {
    let (x, y) = (doublewords(b, 0), doublewords(b, 1));
    let w16 = (x[3] ^ y[2]).rol(1);
    let (w17, w18) = ((x[2] ^ y[1]).rol(1), (x[1] ^ y[0]).rol(1));
    set_doublewords(b, [(x[0] ^ w16).rol(1), w18, w17, w16]);
}

fn sha1_rounds(b: &Builder) {
    const CONSTANTS: [u64; 4] = [0x5a82_7999, 0x6ed9_eba1, 0x8f1b_bcdc, 0xca62_c1d6];
    let (state, message) = (doublewords(b, 0), doublewords(b, 1));
    let phase = usize::from(b.instruction.immediate8() & 3);
    let constant = b.constant(CONSTANTS[phase], 32);
    let table = [CHOOSE, ODD, MAJORITY, ODD][phase];
    let [mut d, mut c, mut x, mut a] = state;
    // The first doubleword of the message has E added already.
    let mut e = b.constant(0, 32);
    for word in message.into_iter().rev() {
        let next = ternary(table, [x, c, d]) + a.rol(5) + word + e + constant;
        (e, d, c, x, a) = (d, c, x.rol(30), a, next);
    }
    set_doublewords(b, [d, c, x, a]);
}

/// Rotations to the right by two counts and a third, which may be a shift.
fn sigma<'b>(x: Val<'b>, counts: [u32; 2], third: Val<'b>) -> Val<'b> {
    ternary(ODD, [x.rol(32 - counts[0]), x.rol(32 - counts[1]), third])
}

fn sha256_message_first(b: &Builder) {
    let (x, y) = (doublewords(b, 0), doublewords(b, 1));
    let next = [x[1], x[2], x[3], y[0]];
    let sum = |at: usize| x[at] + sigma(next[at], [7, 18], next[at].shr(3));
    set_doublewords(b, [sum(0), sum(1), sum(2), sum(3)]);
}

fn sha256_message_second(b: &Builder) {
    let (x, y) = (doublewords(b, 0), doublewords(b, 1));
    let small = |word: Val<'_>, x| {
        sigma(
            b.value(word.word, 32),
            [17, 19],
            b.value(word.word, 32).shr(10),
        ) + x
    };
    let w16 = small(y[2], x[0]);
    let w17 = small(y[3], x[1]);
    set_doublewords(b, [w16, w17, small(w16, x[2]), small(w17, x[3])]);
}

fn sha256_rounds(b: &Builder) {
    let (low, high) = (doublewords(b, 0), doublewords(b, 1));
    let keys = b.input(rept_trace::RegWord::vector(0, 0));
    let [mut f, mut e, mut x, mut a] = high;
    let [mut h, mut g, mut d, mut c] = low;
    for round in 0..2 {
        let key = keys.extract(round * 32, 32);
        let sum = ternary(CHOOSE, [e, f, g]) + sigma(e, [6, 11], e.rol(7)) + key + h;
        let top = sum + ternary(MAJORITY, [a, x, c]) + sigma(a, [2, 13], a.rol(10));
        (h, g, f, e, d, c, x, a) = (g, f, e, sum + d, c, x, a, top);
    }
    let _ = (c, d, g, h);
    set_doublewords(b, [f, e, x, a]);
}
