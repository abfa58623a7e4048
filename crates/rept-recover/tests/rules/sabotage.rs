//! Wrong rules on purpose, in each family of `op/`: the exhaustive judge must notice.

use crate::judge::{FIXED, Narrow, may_be_inexact, trial};
use rept_recover::bits::{Bits, Contradiction};
use rept_recover::op::{MicroOp, Op};
use std::collections::BTreeSet;

/// The files of `op/` and the operations whose rules are there.
const FAMILIES: &[(&str, &[Op])] = &[
    ("add", &[Op::Add, Op::AddCarry]),
    ("bitfield", &[Op::Pdep, Op::Pext, Op::Crc32]),
    (
        "compare",
        &[
            Op::Eq,
            Op::Zero,
            Op::Ult,
            Op::Slt,
            Op::Carry,
            Op::Bit,
            Op::TopBits,
            Op::Parity,
            Op::Condition,
        ],
    ),
    ("count", &[Op::Popcnt, Op::Tzcnt, Op::Lzcnt, Op::UpToLowest]),
    ("crypto", &[Op::SubstituteByte, Op::MixColumn]),
    (
        "float",
        &[
            Op::FloatAdd,
            Op::FloatSub,
            Op::FloatMul,
            Op::FloatDiv,
            Op::FloatMin,
            Op::FloatMax,
            Op::FloatSqrt,
            Op::FloatRound,
            Op::FloatExponent,
            Op::FloatMantissa,
            Op::FloatReduce,
            Op::FloatScale,
            Op::FloatRange,
            Op::FloatFixUp,
            Op::FloatResize,
            Op::FloatFromInt,
            Op::FloatToInt,
            Op::FloatMulAdd,
            Op::ExtendedSignificand,
            Op::ExtendedExponent,
            Op::FloatFromExtended,
            Op::IntFromExtended,
            Op::FloatCompare,
            Op::FloatClass,
        ],
    ),
    (
        "logic",
        &[Op::Not, Op::And, Op::Or, Op::Xor, Op::Ternary, Op::Select],
    ),
    (
        "multiply",
        &[
            Op::MulLow,
            Op::MulHigh,
            Op::MulHighSigned,
            Op::Quotient,
            Op::QuotientSigned,
        ],
    ),
    (
        "shift",
        &[
            Op::ShlBy,
            Op::ShrBy,
            Op::SarBy,
            Op::RolBy,
            Op::RclBy,
            Op::FunnelBy,
        ],
    ),
    (
        "vector",
        &[Op::Expand, Op::Shuffle, Op::ClmulLow, Op::ClmulHigh],
    ),
    (
        "wire",
        &[
            Op::Copy,
            Op::Extract,
            Op::Insert,
            Op::Keep,
            Op::SignExtend,
            Op::Bswap,
            Op::Shl,
            Op::Shr,
            Op::Sar,
            Op::Funnel,
            Op::Rcl,
        ],
    ),
];

/// Learns what holds, and that the lowest and highest unknown bit of the result are zero.
fn overclaiming(op: &MicroOp, words: &mut [Bits]) -> Result<bool, Contradiction> {
    op.narrow(words)?;
    let open = op.masks()[0] & !words[0].known;
    let highest = open.checked_ilog2().map_or(0, |at| 1 << at);
    words[0].learn(Bits::new(open & open.wrapping_neg() | highest, 0))
}

/// Learns what holds, and excludes what is possible: that the first operand is odd.
fn excluding(op: &MicroOp, words: &mut [Bits]) -> Result<bool, Contradiction> {
    let changed = op.narrow(words)?;
    let places = op.masks()[1];
    if words[1].value & places & places.wrapping_neg() != 0 {
        return Err(Contradiction);
    }
    Ok(changed)
}

fn noticed(op: Op, narrow: Narrow<'_>) -> bool {
    trial(op, narrow).map_or(true, |score| !score.exact() && !may_be_inexact(op))
}

/// Another operation over the same number of operands, whose rule may be run in place of `op`'s.
fn alike(op: Op) -> Option<Op> {
    let alike = |other: &&Op| {
        **other != op
            && other.arity() == op.arity()
            && other.is_predicate() == op.is_predicate()
            && other.is_float() == op.is_float()
            && !FIXED.contains(other)
    };
    Op::ALL.iter().rev().find(alike).copied()
}

/// Each operation with a rule that learns too much, with one that refuses too much, and with
/// the rule of another operation: in each family all are noticed.
#[test]
fn wrong_rules_are_noticed_in_each_family() {
    for &(family, ops) in FAMILIES {
        for &op in ops {
            assert!(
                noticed(op, &overclaiming),
                "{family}: {op:?} overclaims unnoticed"
            );
            assert!(
                noticed(op, &excluding),
                "{family}: {op:?} refuses unnoticed"
            );
            if let Some(another) = alike(op) {
                let exchanged =
                    |op: &MicroOp, words: &mut [Bits]| MicroOp { op: another, ..*op }.narrow(words);
                assert!(
                    noticed(op, &exchanged),
                    "{family}: {op:?} as {another:?} goes unnoticed"
                );
            }
        }
    }
}

/// No family and no operation is left out.
#[test]
fn every_family_is_sabotaged() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/op");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .expect("the families' folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    let families: BTreeSet<String> = FAMILIES.iter().map(|row| row.0.to_owned()).collect();
    assert_eq!(files, families);
    let ops: BTreeSet<Op> = FAMILIES.iter().flat_map(|row| row.1).copied().collect();
    assert_eq!(ops, Op::ALL.iter().copied().collect());
}
