//! Holds a rule against all solutions of its relation.

use rept_recover::bits::{Bits, Contradiction};
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
pub(crate) fn tristates(places: u64) -> Vec<Bits> {
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
pub(crate) fn values(word: Bits, places: u64) -> Vec<u64> {
    (0..1u64 << places.count_ones())
        .map(|x| scatter(x, places))
        .filter(|&x| word.admits(x))
        .collect()
}

#[derive(Default)]
pub(crate) struct Score {
    pub(crate) cases: u64,
    pub(crate) forced: u64,
    pub(crate) found: u64,
    pub(crate) missed_contradictions: u64,
}

impl Score {
    pub(crate) fn exact(&self) -> bool {
        self.forced == self.found && self.missed_contradictions == 0
    }
}

/// The immediates worth trying for `op` at `width`.
pub(crate) fn immediates(op: Op, width: u8) -> Vec<u16> {
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
        Op::ExtendedSignificand | Op::ExtendedExponent => vec![64, 32, 0x80 | 16],
        Op::FloatFromExtended => vec![64, 32],
        Op::IntFromExtended => vec![64, 0x80 | 32],
        Op::FloatRound => (0..4).chain([0x10, 0x23]).collect(),
        Op::FloatMantissa => (0..16).collect(),
        Op::FloatReduce => (0..4).chain([0x10, 0x23, 4]).collect(),
        Op::FloatRange => (0..16).collect(),
        Op::FloatFixUp => vec![64, 32],
        Op::FloatClass => (0..8).map(|kind| 1 << kind << 8).collect(),
        Op::FloatResize | Op::FloatFromInt => vec![w << 8 | w, w << 8 | (w - 1)],
        Op::FloatToInt => vec![w << 8 | w, w << 8 | 0x80 | w],
        Op::FloatCompare => (0..16).map(|outcomes| outcomes << 8).collect(),
        Op::SubstituteByte => vec![0, 1, 2],
        Op::MixColumn => vec![0, 1],
        _ if op.is_predicate() => vec![0, NEGATE | 3],
        _ => vec![0],
    }
}

pub(crate) fn width(op: Op) -> u8 {
    match op {
        Op::SubstituteByte => 8,
        Op::Condition => 16,
        Op::MixColumn => 32,
        _ if FIXED.contains(&op) => 64,
        _ if op.arity() == Arity::Three => 3,
        _ => 4,
    }
}

/// What is judged: the rule of an operation, or a wrong one.
pub(crate) type Narrow<'a> = &'a dyn Fn(&MicroOp, &mut [Bits]) -> Result<bool, Contradiction>;

pub(crate) fn right(op: &MicroOp, words: &mut [Bits]) -> Result<bool, Contradiction> {
    op.narrow(words)
}

/// Goes over all combinations; the first lie ends it.
pub(crate) fn exhaust(op: MicroOp, narrow: Narrow<'_>, score: &mut Score) -> Result<(), String> {
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

pub(crate) fn judge(
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

pub(crate) fn operation(op: Op, width: u8, lanes: u8, imm: u16) -> MicroOp {
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

/// Operations of a width of their own.
pub(crate) const FIXED: &[Op] = &[
    Op::Bswap,
    Op::Shuffle,
    Op::SubstituteByte,
    Op::MixColumn,
    Op::ExtendedSignificand,
    Op::ExtendedExponent,
    Op::FloatFromExtended,
    Op::IntFromExtended,
    Op::FloatFixUp,
];

/// Words of full width, of which few bits are unknown, so that all solutions can be tried.
pub(crate) fn sample(op: MicroOp, narrow: Narrow<'_>, score: &mut Score) -> Result<(), String> {
    const CASES: u32 = 2000;
    let mut noise = Noise(u64::from(op.imm) + 1);
    for _ in 0..CASES {
        let places = op.masks();
        let mut word = |places: u64| {
            let few = (0..noise.next() % 4).fold(0, |open, _| open | 1 << (noise.next() & 63));
            let open = if noise.next().is_multiple_of(3) {
                0
            } else {
                few
            };
            Bits::new(places & !open, noise.next() & places)
        };
        let [a, b, c] = [places[1], places[2], places[3]].map(&mut word);
        let admitted = |word: Bits, places: u64| {
            let open = places & !word.known;
            (0..1u64 << open.count_ones()).map(move |x| scatter(x, open) | word.value)
        };
        let mut solutions = Vec::new();
        for x in admitted(a, places[1]) {
            for y in admitted(b, places[2]) {
                let all = admitted(c, places[3]).map(|z| [op.eval(x, y, z), x, y, z]);
                solutions.extend(all);
            }
        }
        let shown = noise.next() & noise.next() & places[0];
        let of = solutions[(noise.next() % solutions.len() as u64) as usize][0];
        // Now and then a result that cannot be.
        let flipped = if noise.next().is_multiple_of(8) {
            shown
        } else {
            0
        };
        let d = Bits::new(shown, (of ^ flipped) & shown);
        judge(&op, narrow, [d, a, b, c], &solutions, score)?;
    }
    Ok(())
}

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

/// Operations that may find less than everything at this width; each says why in its rule.
/// Floating point joins them: it is learned forward only.
const INEXACT: &[Op] = &[
    Op::Popcnt,
    Op::Quotient,
    Op::QuotientSigned,
    Op::Shuffle,
    Op::MixColumn,
    Op::FloatMulAdd,
    Op::ExtendedSignificand,
    Op::ExtendedExponent,
    Op::FloatFromExtended,
    Op::IntFromExtended,
    Op::FloatFixUp,
];

/// The rule of `op` need not find everything.
pub(crate) fn may_be_inexact(op: Op) -> bool {
    INEXACT.contains(&op) || op.is_float()
}

/// All immediates of an operation, each by exhaustion, or where it is too wide for that by samples.
pub(crate) fn trial(op: Op, narrow: Narrow<'_>) -> Result<Score, String> {
    let mut score = Score::default();
    for imm in immediates(op, width(op)) {
        let relation = operation(op, width(op), 1, imm);
        match FIXED.contains(&op) {
            true => sample(relation, narrow, &mut score)?,
            false => exhaust(relation, narrow, &mut score)?,
        }
    }
    Ok(score)
}
