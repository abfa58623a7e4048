//! Whether two engines record the same: a run is held against two others of the same program.
//!
//! One other run would not do. The stack guard and other secrets differ between any two runs, and
//! what is made of them; where two runs by one engine differ, a third may differ from both.

use super::{Access, Reader, Step, Steps};
use crate::error::Error;
use std::path::Path;

/// Steps after which flags are no longer those of a secret.
const FLAGS_LIVE: usize = 16;
/// Number of the flags among the words of a step.
const FLAGS: usize = 16;

/// What came of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Steps of all threads that were held against each other.
    pub steps: u64,
    /// Why that are not all.
    pub ended: Option<Ended>,
}

/// Why a comparison ended before the runs did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The two others go different ways: chance decides.
    Chance,
    /// The run has not what the two others have in common; `None` is the end of a thread.
    Different {
        /// Its step.
        mine: Option<Box<Step>>,
        /// That of one of the two.
        one: Option<Box<Step>>,
    },
}

/// Holds the run whose truth is `mine` against `one` and `other`: the same instructions in the
/// same order, and each register, access and flag that is the same in both of them. Threads are
/// taken in the order of their ids, which differ from run to run.
///
/// # Errors
/// A file cannot be read or is damaged.
pub fn compare(mine: &Path, one: &Path, other: &Path) -> Result<Comparison, Error> {
    let mut readers = [
        Reader::open(mine)?,
        Reader::open(one)?,
        Reader::open(other)?,
    ];
    let threads = readers.each_ref().map(|reader| reader.threads().len());
    let mut compared = Comparison {
        steps: 0,
        ended: None,
    };
    for index in 0..threads.into_iter().max().unwrap_or(0) {
        let [mine, one, other] = &mut readers;
        compared.thread([nth(mine, index)?, nth(one, index)?, nth(other, index)?])?;
        if compared.ended.is_some() {
            break;
        }
    }
    Ok(compared)
}

// The steps of a thread; none when there are not so many.
fn nth(reader: &mut Reader, index: usize) -> Result<Steps<'_>, Error> {
    let thread = reader.threads().get(index).copied().unwrap_or_default();
    reader.read_from(thread, 0)
}

impl Comparison {
    // Until the thread ends in all three, or they differ.
    fn thread(&mut self, [mut mine, mut one, mut other]: [Steps<'_>; 3]) -> Result<(), Error> {
        let mut since_secret = usize::MAX;
        loop {
            let steps = [mine.advance()?, one.advance()?, other.advance()?];
            let [mine, one, other] = match steps {
                [None, None, None] => return Ok(()),
                [Some(mine), Some(one), Some(other)] => [mine, one, other],
                [mine, one, other] => {
                    self.differ(mine, one, other);
                    return Ok(());
                }
            };
            since_secret = match one == other {
                true => since_secret.saturating_add(1),
                false => 0,
            };
            if !same(mine, one, other, since_secret > FLAGS_LIVE) {
                self.differ(Some(mine), Some(one), Some(other));
                return Ok(());
            }
            self.steps += 1;
        }
    }

    fn differ(&mut self, mine: Option<&Step>, one: Option<&Step>, other: Option<&Step>) {
        let boxed = |step: Option<&Step>| step.cloned().map(Box::new);
        self.ended = Some(match one.map(head) == other.map(head) {
            false => Ended::Chance,
            true => Ended::Different {
                mine: boxed(mine),
                one: boxed(one),
            },
        });
    }
}

fn head(step: &Step) -> (u64, u64, u8, usize) {
    (step.sequence, step.ip, step.length, step.accesses.len())
}

// Whether `mine` has all that `one` and `other` have in common. Of a secret some bytes and
// flags may be the same in two runs: accesses are compared as wholes, and flags when asked.
fn same(mine: &Step, one: &Step, other: &Step, flags: bool) -> bool {
    let words = mine.words.iter().zip(&one.words).zip(&other.words);
    let mut words = words.enumerate();
    let accesses = mine.accesses.iter().zip(&one.accesses);
    let mut accesses = accesses.zip(&other.accesses);
    head(mine) == head(one)
        && head(one) == head(other)
        && words.all(|(n, ((m, a), b))| a != b || m == a || n == FLAGS && !flags)
        && accesses.all(|((m, a), b)| {
            let place = |access: &Access| (access.address, access.kind, access.bytes.len());
            (a != b && place(a) != place(b)) || (place(m) == place(a) && (a != b || m == a))
        })
}

#[cfg(test)]
mod tests {
    use super::super::{AccessKind, WORDS, Writer};
    use super::*;

    fn step(n: u64, secret: u64) -> Step {
        let mut words = [0; WORDS];
        (words[1], words[2]) = (n * 8, secret);
        Step {
            sequence: n,
            ip: 0x1000 + n * 4,
            length: 4,
            words,
            accesses: vec![Access {
                address: 0x7000 + n,
                kind: AccessKind::Read,
                bytes: vec![n as u8; 2],
            }],
        }
    }

    // Three runs of a hundred steps, of which `change` alters the first.
    #[track_caller]
    fn check(name: &str, change: fn(&mut Vec<Step>, &mut Vec<Step>), expected: &Comparison) {
        let run = |secret| (0..100).map(|n| step(n, secret)).collect::<Vec<_>>();
        let (mut mine, one, mut other) = (run(5), run(6), run(7));
        change(&mut mine, &mut other);
        let paths = [("mine", mine), ("one", one), ("other", other)].map(|(which, steps)| {
            let file = format!("rept-compare-{}-{name}-{which}", std::process::id());
            let path = std::env::temp_dir().join(file);
            let mut writer = Writer::create(&path).unwrap();
            steps.iter().for_each(|step| writer.step(1, step).unwrap());
            writer.finish().unwrap();
            path
        });
        let found = compare(&paths[0], &paths[1], &paths[2]).unwrap();
        let brief = |found: &Comparison| (found.steps, found.ended.as_ref().map(kind));
        assert_eq!(brief(&found), brief(expected));
        paths
            .iter()
            .for_each(|path| std::fs::remove_file(path).unwrap());
    }

    fn kind(ended: &Ended) -> &'static str {
        match ended {
            Ended::Chance => "chance",
            Ended::Different { .. } => "different",
        }
    }

    #[test]
    fn what_two_runs_have_in_common_a_third_must_have() {
        let different = |steps| Comparison {
            steps,
            ended: Some(Ended::Different {
                mine: None,
                one: None,
            }),
        };
        let (all, chance) = (
            Comparison {
                steps: 100,
                ended: None,
            },
            Comparison {
                steps: 40,
                ended: Some(Ended::Chance),
            },
        );
        check("same", |_, _| (), &all);
        check("secret", |mine, _| mine[40].words[2] = 1, &all);
        check("word", |mine, _| mine[40].words[1] = 1, &different(40));
        check(
            "byte",
            |mine, _| mine[40].accesses[0].bytes[0] ^= 1,
            &different(40),
        );
        check(
            "place",
            |mine, _| mine[40].accesses[0].address += 1,
            &different(40),
        );
        check("path", |mine, _| mine[40].ip += 1, &different(40));
        check("short", |mine, _| mine.truncate(40), &different(40));
        check("chance", |_, other| other[40].ip += 1, &chance);
        check("shorter", |_, other| other.truncate(40), &chance);
    }
}
