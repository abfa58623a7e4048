//! The two readings of "accuracy of the values at each step".

use crate::score::{DISTANCES, Score, Tally};

/// Values of one reading of accuracy.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    pub(super) title: &'static str,
    measures: &'static [&'static str],
}

/// The state: what the publication's figure may be of.
pub(super) const FILE: Reading = Reading {
    title: "all 16 registers at each step",
    measures: &["register_file"],
};
/// What the instructions used: what it may be of as well.
pub(super) const OPERANDS: Reading = Reading {
    title: "operands used at each step",
    measures: &["register_reads", "rsp_reads", "memory_reads"],
};

impl Reading {
    /// Values at one distance or at all.
    pub(super) fn tally(self, score: &Score, distance: Option<&str>) -> Tally {
        let mut sum = Tally::default();
        for measure in self.measures {
            sum.add(score.tally(measure, distance));
        }
        sum
    }

    /// Up to 100 K steps from the crash, as in the publication.
    pub(super) fn near(self, score: &Score) -> Tally {
        let mut sum = Tally::default();
        for distance in &DISTANCES[..3] {
            sum.add(self.tally(score, Some(distance)));
        }
        sum
    }

    /// Per cent of the values that are right when all places are given that are right without, at one
    /// distance or at all.
    pub(super) fn of_ceiling(self, score: &Score, distance: Option<&str>) -> Option<f64> {
        let all = &DISTANCES[..];
        let wanted = all
            .iter()
            .filter(|&&class| distance.is_none_or(|wanted| wanted == class));
        let (mut right, mut possible) = (0, 0);
        for class in wanted {
            for measure in self.measures {
                let rows = score.measures.get(*measure);
                let Some(given) = rows.and_then(|rows| rows.ceiling.as_ref()) else {
                    continue;
                };
                let given = given.by_distance.get(*class).copied().unwrap_or_default();
                possible += given.correct.total();
                right += score.tally(measure, Some(class)).correct.total();
            }
        }
        (possible > 0).then(|| right as f64 * 100.0 / possible as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::{ByGrade, Ceiling, Rows};

    fn right(values: u64) -> Tally {
        let correct = ByGrade {
            inferred: values,
            ..ByGrade::default()
        };
        Tally {
            correct,
            ..Tally::default()
        }
    }

    #[test]
    fn the_share_of_the_ceiling_is_of_the_distances_asked_for() {
        let by_distance = |near, far| {
            let of = |(class, values): (&str, u64)| (class.to_owned(), right(values));
            [(DISTANCES[0], near), (DISTANCES[1], far)].map(of).into()
        };
        let rows = Rows {
            all: right(60),
            by_distance: by_distance(40, 20),
            ceiling: Some(Ceiling {
                by_distance: by_distance(40, 80),
            }),
        };
        let mut score = Score::default();
        score.measures.insert("register_file".to_owned(), rows);
        assert_eq!(FILE.of_ceiling(&score, None), Some(50.0));
        assert_eq!(FILE.of_ceiling(&score, Some(DISTANCES[0])), Some(100.0));
        assert_eq!(FILE.of_ceiling(&score, Some(DISTANCES[2])), None);
        assert_eq!(OPERANDS.of_ceiling(&score, None), None);
    }
}
