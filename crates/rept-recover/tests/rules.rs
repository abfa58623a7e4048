//! Every rule against its definition, by exhaustion.
//!
//! For each operation at a small width, each combination of known-zero, known-one and unknown
//! bits of all its words is narrowed and compared with the truth, which is what all solutions
//! (found by trying all values through `MicroOp::eval`) have in common. A rule must never
//! exclude a solution; the share of forced bits it finds is its precision.

use rept_recover::bits::{Bits, Contradiction, mask};
use rept_recover::effect::Word;
use rept_recover::op::{Arity, MicroOp, NEGATE, Op};

/// Scatters the low bits of `x` to the ones of `places`.
fn scatter(x: u64, places: u64) -> u64 {
    (0..64)
        .filter(|i| places >> i & 1 == 1)
        .enumerate()
        .fold(0, |out, (at, i)| out | (x >> at & 1) << i)
}

/// All tri-state words over the bits of `places`.
fn tristates(places: u64) -> Vec<Bits> {
    let n = places.count_ones();
    let mut all = Vec::new();
    for known in 0..1u64 << n {
        for value in 0..1u64 << n {
            if value & !known == 0 {
                all.push(Bits::new(scatter(known, places), scatter(value, places)));
            }
        }
    }
    all
}

/// All values over the bits of `places` that a tri-state word admits.
fn values(word: Bits, places: u64) -> Vec<u64> {
    (0..1u64 << places.count_ones())
        .map(|x| scatter(x, places))
        .filter(|&x| word.admits(x))
        .collect()
}

#[derive(Default)]
struct Score {
    cases: u64,
    forced: u64,
    found: u64,
    missed_contradictions: u64,
}

impl Score {
    fn exact(&self) -> bool {
        self.forced == self.found && self.missed_contradictions == 0
    }
}

/// The immediates worth trying for `op` at `width`.
fn immediates(op: Op, width: u8) -> Vec<u16> {
    let w = u16::from(width);
    match op {
        Op::Shl | Op::Shr | Op::Sar => (0..w).collect(),
        Op::Funnel | Op::Rcl => (0..=w).collect(),
        Op::SignExtend => (1..=w).collect(),
        Op::Extract | Op::Insert => (0..w)
            .flat_map(|at| (1..=w - at).map(move |length| length << 8 | at))
            .collect(),
        Op::Keep => vec![0b0101, 0b0010],
        Op::Ternary => vec![0x96, 0xe8, 0xca, 0xd8, 0x80, 0x1f, 0xf0, 0x00],
        Op::Crc32 => vec![1, w],
        Op::Expand => vec![0, 3],
        Op::Bit => (0..w)
            .flat_map(|bit| [bit << 8, bit << 8 | NEGATE | 1])
            .collect(),
        Op::TopBits => [0x42, 0x18, 0x96, 0xe8]
            .iter()
            .map(|table| table << 8)
            .collect(),
        Op::Condition => (0..8)
            .flat_map(|code| [code << 8, code << 8 | NEGATE])
            .collect(),
        Op::FloatMulAdd => vec![0, 0xa043],
        Op::ExtendedSignificand | Op::ExtendedExponent => vec![w, 0x80 | w],
        Op::FloatFromExtended | Op::IntFromExtended => vec![w],
        Op::FloatRound => (0..4).collect(),
        Op::FloatResize | Op::FloatFromInt => vec![w << 8 | w, w << 8 | (w - 1)],
        Op::FloatToInt => vec![w << 8 | w, w << 8 | 0x80 | w],
        Op::FloatCompare => (0..16).map(|outcomes| outcomes << 8).collect(),
        _ if op.is_predicate() => vec![0, NEGATE | 3],
        _ => vec![0],
    }
}

fn width(op: Op) -> u8 {
    match op {
        Op::Condition => 16,
        _ if op.arity() == Arity::Three => 3,
        _ => 4,
    }
}

/// What is judged: the rule of an operation, or a wrong one.
type Narrow<'a> = &'a dyn Fn(&MicroOp, &mut [Bits]) -> Result<bool, Contradiction>;

fn right(op: &MicroOp, words: &mut [Bits]) -> Result<bool, Contradiction> {
    op.narrow(words)
}

/// Goes over all combinations; the first lie ends it.
fn exhaust(op: MicroOp, narrow: Narrow<'_>, score: &mut Score) -> Result<(), String> {
    let [d_places, a_places, b_places, c_places] = op.masks();
    let (all_a, all_b, all_c) = (
        tristates(a_places),
        tristates(b_places),
        tristates(c_places),
    );
    let all_d = tristates(d_places);
    for &a in &all_a {
        for &b in &all_b {
            for &c in &all_c {
                let mut solutions = Vec::new();
                for &x in &values(a, a_places) {
                    for &y in &values(b, b_places) {
                        for &z in &values(c, c_places) {
                            solutions.push([op.eval(x, y, z), x, y, z]);
                        }
                    }
                }
                for &d in &all_d {
                    judge(&op, narrow, [d, a, b, c], &solutions, score)?;
                }
            }
        }
    }
    Ok(())
}

fn judge(
    op: &MicroOp,
    narrow: Narrow<'_>,
    words: [Bits; 4],
    solutions: &[[u64; 4]],
    score: &mut Score,
) -> Result<(), String> {
    let truth = solutions
        .iter()
        .filter(|solution| words[0].admits(solution[0]))
        .map(|solution| solution.map(Bits::constant))
        .reduce(|x, y| [0, 1, 2, 3].map(|i| x[i].join(y[i])));
    let mut narrowed = words;
    let outcome = narrow(op, &mut narrowed);
    score.cases += 1;
    let Some(truth) = truth else {
        score.missed_contradictions += u64::from(outcome.is_ok());
        return Ok(());
    };
    let lies = |what: &str| Err(format!("{op:?} {what}: {words:?} became {narrowed:?}"));
    if outcome.is_err() {
        return lies("refuses what has solutions");
    }
    for (i, places) in op.masks().into_iter().enumerate() {
        let claimed = narrowed[i].known & places;
        if claimed & !truth[i].known != 0 {
            return lies("claims bits that are not forced");
        }
        if (truth[i].value ^ narrowed[i].value) & claimed != 0 {
            return lies("claims bits that are otherwise");
        }
        if narrowed[i].known & !places & !words[i].known != 0 {
            return lies("touches foreign bits");
        }
        let new = truth[i].known & places & !words[i].known;
        score.forced += u64::from(new.count_ones());
        score.found += u64::from((new & narrowed[i].known).count_ones());
    }
    Ok(())
}

fn operation(op: Op, width: u8, lanes: u8, imm: u16) -> MicroOp {
    let arity = op.arity();
    MicroOp {
        op,
        width,
        lanes,
        imm,
        d: Word(0),
        a: Word(1),
        b: Word(if arity >= Arity::Two { 2 } else { 1 }),
        c: Word(if arity >= Arity::Three { 3 } else { 1 }),
    }
}

/// Operations that may find less than everything at this width; each says why in its rule.
/// Floating point joins them: it is learned forward only.
const INEXACT: &[Op] = &[
    Op::Popcnt,
    Op::Quotient,
    Op::QuotientSigned,
    Op::FloatMulAdd,
    Op::ExtendedSignificand,
    Op::ExtendedExponent,
    Op::FloatFromExtended,
    Op::IntFromExtended,
];

/// Operations of a width of their own, with tests of their own.
const FIXED: &[Op] = &[Op::Bswap, Op::Shuffle, Op::SubstituteByte, Op::MixColumn];

#[test]
fn rules_are_sound_and_precise() {
    for &op in Op::ALL {
        let width = width(op);
        let mut score = Score::default();
        if !FIXED.contains(&op) {
            for imm in immediates(op, width) {
                exhaust(operation(op, width, 1, imm), &right, &mut score).unwrap();
            }
        }
        let share = if score.forced == 0 {
            100.0
        } else {
            100.0 * score.found as f64 / score.forced as f64
        };
        println!(
            "{op:?}: width {width}, {} cases, {share:.2} % of {} forced bits, {} contradictions missed",
            score.cases, score.forced, score.missed_contradictions
        );
        assert!(
            score.exact() || INEXACT.contains(&op) || op.is_float(),
            "{op:?} is not exact"
        );
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
