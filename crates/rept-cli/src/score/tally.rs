//! Counting: what share of the values is right, partly known, unknown, wrong.

use rept_recover::history::Value;
use serde::Serialize;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// 64-bit containers of the general-purpose registers that a step reads, without rsp.
    RegisterReads,
    /// The same for rsp alone.
    StackPointerReads,
    /// Linear addresses of memory operands.
    Addresses,
    /// Values of memory operands read, in chunks of at most 8 bytes.
    MemoryReads,
    /// The same for the state areas of XRSTOR and its kin: hundreds of chunks in one step.
    StateAreaReads,
    /// The 16 general-purpose registers before each step.
    RegisterFile,
}

impl Measure {
    pub(crate) const ALL: [Measure; 6] = [
        Measure::RegisterReads,
        Measure::StackPointerReads,
        Measure::Addresses,
        Measure::MemoryReads,
        Measure::StateAreaReads,
        Measure::RegisterFile,
    ];

    /// Name in the table.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Measure::RegisterReads => "register reads",
            Measure::StackPointerReads => "rsp reads",
            Measure::Addresses => "addresses",
            Measure::MemoryReads => "memory reads",
            Measure::StateAreaReads => "state area reads",
            Measure::RegisterFile => "register file",
        }
    }

    /// Key in the machine-readable form.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Measure::RegisterReads => "register_reads",
            Measure::StackPointerReads => "rsp_reads",
            Measure::Addresses => "addresses",
            Measure::MemoryReads => "memory_reads",
            Measure::StateAreaReads => "state_area_reads",
            Measure::RegisterFile => "register_file",
        }
    }
}

/// Distance from the crash: how many steps of the crashing thread come after, in sequence order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Distance(pub(crate) u64);

/// Names of the distance classes.
pub(crate) const DISTANCES: [&str; 5] = ["0-1 K", "1-10 K", "10-100 K", "100 K-1 M", "over 1 M"];

impl Distance {
    /// Index into [`DISTANCES`].
    pub(crate) const fn class(self) -> usize {
        match self.0 {
            0..1_000 => 0,
            1_000..10_000 => 1,
            10_000..100_000 => 2,
            100_000..1_000_000 => 3,
            _ => 4,
        }
    }
}

/// How a value is known; the order is that of trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grade {
    Certain,
    Assumed,
    Inferred,
}

/// One recovered value held against the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All bits known and right; the grade of the least trusted bit.
    Correct(Grade),
    /// Some bits known, all of those right; the grade of the least trusted of them.
    Partial(Grade),
    /// No bit known.
    Unknown,
    /// A known bit is wrong; the grade of the most trusted wrong bit.
    Wrong(Grade),
}

/// Judges the bits of `value` within `mask` against `truth`.
pub(crate) fn judge(value: Value, truth: u64, mask: u64) -> Verdict {
    let wrong = (value.bits ^ truth) & value.known & mask;
    let known = value.known & mask;
    if wrong & value.certain != 0 {
        Verdict::Wrong(Grade::Certain)
    } else if wrong & value.assumed != 0 {
        Verdict::Wrong(Grade::Assumed)
    } else if wrong != 0 {
        Verdict::Wrong(Grade::Inferred)
    } else if known == 0 {
        Verdict::Unknown
    } else if known == mask {
        Verdict::Correct(weakest(value, known))
    } else {
        Verdict::Partial(weakest(value, known))
    }
}

fn weakest(value: Value, known: u64) -> Grade {
    if known & !value.certain == 0 {
        Grade::Certain
    } else if known & !value.assumed == 0 {
        Grade::Assumed
    } else {
        Grade::Inferred
    }
}

/// Number of values by grade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ByGrade {
    pub(crate) certain: u64,
    pub(crate) assumed: u64,
    pub(crate) inferred: u64,
}

impl ByGrade {
    pub(crate) const fn total(self) -> u64 {
        self.certain + self.assumed + self.inferred
    }

    fn count(&mut self, grade: Grade) {
        match grade {
            Grade::Certain => self.certain += 1,
            Grade::Assumed => self.assumed += 1,
            Grade::Inferred => self.inferred += 1,
        }
    }

    fn add(&mut self, other: ByGrade) {
        self.certain += other.certain;
        self.assumed += other.assumed;
        self.inferred += other.inferred;
    }
}

/// Number of values by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    pub(crate) correct: ByGrade,
    pub(crate) partial: ByGrade,
    pub(crate) unknown: u64,
    pub(crate) wrong: ByGrade,
}

impl Tally {
    pub(crate) fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Correct(grade) => self.correct.count(grade),
            Verdict::Partial(grade) => self.partial.count(grade),
            Verdict::Unknown => self.unknown += 1,
            Verdict::Wrong(grade) => self.wrong.count(grade),
        }
    }

    /// Number of values judged.
    pub(crate) const fn total(self) -> u64 {
        self.correct.total() + self.partial.total() + self.unknown + self.wrong.total()
    }

    fn add(&mut self, other: Tally) {
        self.correct.add(other.correct);
        self.partial.add(other.partial);
        self.unknown += other.unknown;
        self.wrong.add(other.wrong);
    }
}

/// One tally for each measure and distance class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Board([[Tally; DISTANCES.len()]; Measure::ALL.len()]);

impl Board {
    pub(crate) fn count(&mut self, measure: Measure, at: Distance, verdict: Verdict) {
        self.0[measure as usize][at.class()].count(verdict);
    }

    pub(crate) fn tally(&self, measure: Measure, class: usize) -> Tally {
        self.0[measure as usize][class]
    }

    /// Over all distances.
    pub(crate) fn total(&self, measure: Measure) -> Tally {
        let mut total = Tally::default();
        for &tally in &self.0[measure as usize] {
            total.add(tally);
        }
        total
    }

    /// Wrong values of all measures, by grade.
    pub(crate) fn wrong(&self) -> ByGrade {
        let mut wrong = ByGrade::default();
        for measure in Measure::ALL {
            wrong.add(self.total(measure).wrong);
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = u64::MAX;

    fn value(bits: u64, known: u64, assumed: u64, certain: u64) -> Value {
        Value {
            bits,
            known,
            certain,
            assumed,
        }
    }

    #[track_caller]
    fn check(given: Value, truth: u64, expect: Verdict) {
        assert_eq!(judge(given, truth, ALL), expect);
    }

    #[test]
    fn a_value_is_right_only_when_all_its_bits_are_known() {
        check(value(7, ALL, ALL, ALL), 7, Verdict::Correct(Grade::Certain));
        check(
            value(7, ALL, ALL, 0xff),
            7,
            Verdict::Correct(Grade::Assumed),
        );
        check(
            value(7, ALL, 0xff, 0xff),
            7,
            Verdict::Correct(Grade::Inferred),
        );
        check(
            value(7, 0xff, 0xff, 0xff),
            7,
            Verdict::Partial(Grade::Certain),
        );
        check(
            value(7, 0xff, 0xff, 0xf),
            7,
            Verdict::Partial(Grade::Assumed),
        );
        check(value(0, 0, 0, 0), 7, Verdict::Unknown);
    }

    #[test]
    fn one_wrong_bit_is_wrong_and_has_the_grade_of_that_bit() {
        check(value(6, ALL, ALL, ALL), 7, Verdict::Wrong(Grade::Certain));
        check(
            value(6, ALL, ALL, ALL << 1),
            7,
            Verdict::Wrong(Grade::Assumed),
        );
        check(
            value(6, ALL, ALL << 1, ALL << 1),
            7,
            Verdict::Wrong(Grade::Inferred),
        );
        check(value(6, 1, 0, 0), 7, Verdict::Wrong(Grade::Inferred));
    }

    #[test]
    fn bits_outside_the_operand_do_not_count() {
        assert_eq!(
            judge(value(0xff07, ALL, ALL, ALL), 7, 0xff),
            Verdict::Correct(Grade::Certain)
        );
    }

    #[test]
    fn distances_fall_into_half_open_classes() {
        let classes = [
            0, 999, 1_000, 9_999, 10_000, 99_999, 100_000, 999_999, 1_000_000,
        ];
        let expect = [0, 0, 1, 1, 2, 2, 3, 3, 4];
        assert_eq!(classes.map(|steps| Distance(steps).class()), expect);
    }
}
