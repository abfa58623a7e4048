//! Every rule against its definition, by exhaustion.
//!
//! For each operation at a small width, each combination of known-zero, known-one and unknown
//! bits of all its words is narrowed and compared with the truth, which is what all solutions
//! (found by trying all values through `MicroOp::eval`) have in common. A rule must never
//! exclude a solution; the share of forced bits it finds is its precision.

#[path = "rules/judge.rs"]
mod judge;
#[path = "rules/sabotage.rs"]
mod sabotage;

use judge::{
    Score, exhaust, judge, may_be_inexact, operation, right, trial, tristates, values, width,
};
use rept_recover::bits::{Bits, mask};
use rept_recover::op::Op;

#[test]
fn rules_are_sound_and_precise() {
    for &op in Op::ALL {
        let width = width(op);
        let score = trial(op, &right).unwrap();
        let share = if score.forced == 0 {
            100.0
        } else {
            100.0 * score.found as f64 / score.forced as f64
        };
        println!(
            "{op:?}: width {width}, {} cases, {share:.2} % of {} forced bits, {} contradictions missed",
            score.cases, score.forced, score.missed_contradictions
        );
        assert!(score.exact() || may_be_inexact(op), "{op:?} is not exact");
    }
}

/// Packed operations: two lanes of two bits, against the definition.
#[test]
fn lanes_are_independent() {
    for op in [Op::Add, Op::Eq, Op::Ult, Op::And] {
        let mut score = Score::default();
        exhaust(operation(op, 2, 2, 0), &right, &mut score).unwrap();
        assert!(score.exact(), "{op:?}");
    }
}

/// A shuffle with a known control is wires; with an unknown one, what all choices share.
#[test]
fn shuffles_choose_bytes() {
    let op = operation(Op::Shuffle, 64, 1, 0);
    let (a, b, control) = (
        0x0706_0504_0302_0100,
        0x0f0e_0d0c_0b0a_0908,
        0x8000_0f08_0703_0180,
    );
    assert_eq!(op.eval(a, b, control), 0x0000_0f08_0703_0100);
    let mut words = [
        Bits::UNKNOWN,
        Bits::constant(a),
        Bits::constant(b),
        Bits::constant(control),
    ];
    op.narrow(&mut words).unwrap();
    assert_eq!(words[0].get(), Some(0x0000_0f08_0703_0100));
    let mut back = [
        words[0],
        Bits::UNKNOWN,
        Bits::UNKNOWN,
        Bits::constant(control),
    ];
    op.narrow(&mut back).unwrap();
    assert_eq!(back[1], Bits::new(0xff00_0000_ff00_ffff, a));
    assert_eq!(back[2], Bits::new(0xff00_0000_0000_00ff, b));
    // Bytes 2 or 3 of a source that has the high nibble of both zero.
    let either = Bits::new(!1, 2);
    let mut words = [Bits::UNKNOWN, Bits::constant(a), Bits::constant(b), either];
    op.narrow(&mut words).unwrap();
    assert_eq!(words[0].field(0, 8), Bits::new(0xfe, 2));
}

/// A byte swap moves bits; one bit at a time shows where each goes.
#[test]
fn bswap_moves_every_bit() {
    for width in [16, 32, 64u8] {
        let op = operation(Op::Bswap, width, 1, 0);
        for bit in 0..width {
            let x = 1u64 << bit;
            let mut words = [Bits::UNKNOWN, Bits::new(x, x), Bits::UNKNOWN, Bits::UNKNOWN];
            op.narrow(&mut words).unwrap();
            assert_eq!(words[0].value, op.eval(x, 0, 0));
            let mut back = [words[0], Bits::UNKNOWN, Bits::UNKNOWN, Bits::UNKNOWN];
            op.narrow(&mut back).unwrap();
            assert_eq!(back[1], Bits::new(x, x));
        }
    }
    let swap = operation(Op::Bswap, 64, 1, 0);
    assert_eq!(
        swap.eval(0x0102_0304_0506_0708, 0, 0),
        0x0807_0605_0403_0201
    );
    assert_eq!(swap.masks()[0], mask(64));
}

/// The S-box of AES and its inverse undo each other and find all that follows.
#[test]
fn bytes_are_substituted() {
    let op = |imm| operation(Op::SubstituteByte, 8, 1, imm);
    // FIPS 197, section 5.1.1.
    assert_eq!(
        [0x53, 0x00, 0xff].map(|x| op(0).eval(x, 0, 0)),
        [0xed, 0x63, 0x16]
    );
    let mut score = Score::default();
    for word in tristates(0xff) {
        let solutions: Vec<[u64; 4]> = values(word, 0xff)
            .into_iter()
            .map(|x| [op(0).eval(x, 0, 0), x, x, x])
            .collect();
        let operand = Bits::new(0xff, 0).join(word);
        let words = [Bits::UNKNOWN, word, operand, operand];
        judge(&op(0), &right, words, &solutions, &mut score).unwrap();
        for x in values(word, 0xff) {
            assert_eq!(op(1).eval(op(0).eval(x, 0, 0), 0, 0), x);
        }
    }
    assert!(score.exact());
}

/// The columns of AES: the standard's example, and each bit on its own in both directions.
#[test]
fn columns_are_mixed() {
    let op = |imm| operation(Op::MixColumn, 32, 1, imm);
    assert_eq!(op(0).eval(0x4553_13db, 0, 0), 0xbca1_4d8e);
    for bit in 0..32 {
        let x = 1 << bit;
        let y = op(0).eval(x, 0, 0);
        assert_eq!(op(1).eval(y, 0, 0), x);
        let mut words = [
            Bits::constant(y),
            Bits::UNKNOWN,
            Bits::UNKNOWN,
            Bits::UNKNOWN,
        ];
        op(0).narrow(&mut words).unwrap();
        assert_eq!(words[1].low(32), Bits::constant(x).low(32));
        let mut words = [
            Bits::UNKNOWN,
            Bits::new(!x, 0),
            Bits::UNKNOWN,
            Bits::UNKNOWN,
        ];
        op(0).narrow(&mut words).unwrap();
        assert_eq!(
            words[0].known & mask(32),
            mask(32) & !y,
            "what the bit reaches is unknown"
        );
    }
}
