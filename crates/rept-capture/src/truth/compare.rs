//! Whether two engines record the same: a run is held against two others of the same program.
//!
//! One other run would not do. The stack guard and other secrets differ between any two runs, and
//! what is made of them; where two runs by one engine differ, a third may differ from both.

use super::{Access, AccessKind, Reader, Step, Steps};
use crate::error::Error;
use rept_trace::RegWord;
use std::fmt::{self, Display, Formatter};
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
    /// Registers and accesses of these steps.
    pub values: u64,
    /// Those of them that are not the same in the two others, and so may be anything in the third.
    pub by_chance: u64,
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
        /// That of the other.
        other: Option<Box<Step>>,
    },
}

/// Holds the run whose truth is `mine` against `one` and `other`: the same instructions in the
/// same order, and each register, access and flag that is the same in both of them, in the first
/// `most` steps of all. Threads are taken in the order of their ids, which differ from run to run.
///
/// # Errors
/// A file cannot be read or is damaged.
pub fn compare(mine: &Path, one: &Path, other: &Path, most: u64) -> Result<Comparison, Error> {
    let mut readers = [
        Reader::open(mine)?,
        Reader::open(one)?,
        Reader::open(other)?,
    ];
    let threads = readers.each_ref().map(|reader| reader.threads().len());
    let mut compared = Comparison {
        steps: 0,
        values: 0,
        by_chance: 0,
        ended: None,
    };
    for index in 0..threads.into_iter().max().unwrap_or(0) {
        let [mine, one, other] = &mut readers;
        let steps = [nth(mine, index)?, nth(one, index)?, nth(other, index)?];
        compared.thread(steps, most)?;
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
    // Until the thread ends in all three, they differ, or it is enough.
    fn thread(
        &mut self,
        [mut mine, mut one, mut other]: [Steps<'_>; 3],
        most: u64,
    ) -> Result<(), Error> {
        let mut since_secret = usize::MAX;
        while self.steps < most {
            let steps = [mine.advance()?, one.advance()?, other.advance()?];
            let [mine, one, other] = match steps {
                [None, None, None] => return Ok(()),
                [Some(mine), Some(one), Some(other)] => [mine, one, other],
                [mine, one, other] => {
                    self.differ(mine, one, other);
                    return Ok(());
                }
            };
            let by_chance = differing(one, other);
            since_secret = match by_chance {
                0 => since_secret.saturating_add(1),
                _ => 0,
            };
            if !same(mine, one, other, since_secret > FLAGS_LIVE) {
                self.differ(Some(mine), Some(one), Some(other));
                return Ok(());
            }
            self.steps += 1;
            self.values += (one.words.len() + one.accesses.len()) as u64;
            self.by_chance += by_chance;
        }
        Ok(())
    }

    fn differ(&mut self, mine: Option<&Step>, one: Option<&Step>, other: Option<&Step>) {
        let boxed = |step: Option<&Step>| step.cloned().map(Box::new);
        self.ended = Some(match one.map(head) == other.map(head) {
            false => Ended::Chance,
            true => Ended::Different {
                mine: boxed(mine),
                one: boxed(one),
                other: boxed(other),
            },
        });
    }
}

// Registers and accesses that two steps do not have in common.
fn differing(one: &Step, other: &Step) -> u64 {
    let words = one.words.iter().zip(&other.words);
    let accesses = one.accesses.iter().zip(&other.accesses);
    let differing =
        words.filter(|(a, b)| a != b).count() + accesses.filter(|(a, b)| a != b).count();
    differing as u64
}

impl Display for Ended {
    /// One sentence: the address, and each place with both values.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (mine, one, other) = match self {
            Ended::Chance => return f.write_str("the two others go different ways"),
            Ended::Different { mine, one, other } => {
                (mine.as_deref(), one.as_deref(), other.as_deref())
            }
        };
        match (mine, one) {
            (Some(mine), Some(one)) if mine.ip == one.ip => {
                write!(f, "at {:#x} (step {})", one.ip, one.sequence)?;
                differences(mine, one, other.unwrap_or(one))
                    .into_iter()
                    .try_for_each(|text| write!(f, ", {text}"))
            }
            (Some(mine), Some(one)) => write!(
                f,
                "at {:#x} instead of {:#x} (step {})",
                mine.ip, one.ip, one.sequence
            ),
            (Some(mine), None) => write!(f, "at {:#x}, where the others have ended", mine.ip),
            (None, Some(one)) => write!(f, "it has ended, the others are at {:#x}", one.ip),
            (None, None) => f.write_str("all have ended"),
        }
    }
}

// Each place of which `mine` has not what two others at its address have, with both values.
fn differences(mine: &Step, one: &Step, other: &Step) -> Vec<String> {
    let mut found = Vec::new();
    if (mine.sequence, mine.length) != (one.sequence, one.length) {
        let place = |step: &Step| format!("step {} of {} bytes", step.sequence, step.length);
        found.push(format!("{} instead of {}", place(mine), place(one)));
    }
    let words = mine.words.iter().zip(&one.words).zip(&other.words);
    for (word, ((a, b), _)) in (0..).zip(words).filter(|(_, ((a, b), c))| a != b && b == c) {
        let name = RegWord(word).name();
        found.push(format!("{name} {a:#x} instead of {b:#x}"));
    }
    if mine.accesses.len() != one.accesses.len() {
        let (a, b) = (mine.accesses.len(), one.accesses.len());
        found.push(format!("{a} accesses instead of {b}"));
    }
    let accesses = mine.accesses.iter().zip(&one.accesses);
    for ((a, b), _) in accesses
        .zip(&other.accesses)
        .filter(|((a, b), c)| a != b && b == c)
    {
        found.push(format!("{} instead of {}", access(a), access(b)));
    }
    found
}

fn access(access: &Access) -> String {
    let kind = match access.kind {
        AccessKind::Read => "reads",
        AccessKind::Write => "writes",
    };
    let bytes = access.bytes.iter().map(|byte| format!("{byte:02x}"));
    let bytes: String = bytes.collect();
    format!("{kind} [{:#x}] {bytes}", access.address)
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

    /// Alters the run that is held against two others, and the second of these.
    type Change = fn(&mut Vec<Step>, &mut Vec<Step>);

    // Three runs of a hundred steps, of which `change` alters the first.
    #[track_caller]
    fn check(name: &str, change: Change, most: u64, expected: (u64, &str)) -> Comparison {
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
        let found = compare(&paths[0], &paths[1], &paths[2], most).unwrap();
        let said = found.ended.as_ref().map(ToString::to_string);
        let said = said.unwrap_or_else(|| "the same".to_owned());
        assert_eq!((found.steps, said.as_str()), expected);
        paths
            .iter()
            .for_each(|path| std::fs::remove_file(path).unwrap());
        found
    }

    const ALL: u64 = u64::MAX;

    #[test]
    fn what_two_runs_have_in_common_a_third_must_have() {
        let same = check("same", |_, _| (), ALL, (100, "the same"));
        // Nineteen registers and an access a step, of which one register is a secret.
        assert_eq!((same.values, same.by_chance), (2000, 100));
        check(
            "secret",
            |mine, _| mine[40].words[2] = 1,
            ALL,
            (100, "the same"),
        );
        check("first", |mine, _| mine[40].ip += 1, 40, (40, "the same"));
        let checks: [(&str, Change, &str); 7] = [
            (
                "word",
                |mine, _| mine[40].words[1] = 1,
                "at 0x10a0 (step 40), rcx 0x1 instead of 0x140",
            ),
            (
                "byte",
                |mine, _| mine[40].accesses[0].bytes[0] ^= 1,
                "at 0x10a0 (step 40), reads [0x7028] 2928 instead of reads [0x7028] 2828",
            ),
            (
                "place",
                |mine, _| mine[40].accesses[0].address += 1,
                "at 0x10a0 (step 40), reads [0x7029] 2828 instead of reads [0x7028] 2828",
            ),
            (
                "path",
                |mine, _| mine[40].ip += 1,
                "at 0x10a1 instead of 0x10a0 (step 40)",
            ),
            (
                "short",
                |mine, _| mine.truncate(40),
                "it has ended, the others are at 0x10a0",
            ),
            (
                "chance",
                |_, other| other[40].ip += 1,
                "the two others go different ways",
            ),
            (
                "shorter",
                |_, other| other.truncate(40),
                "the two others go different ways",
            ),
        ];
        for (name, change, said) in checks {
            check(name, change, ALL, (40, said));
        }
    }
}
