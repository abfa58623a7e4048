//! Where unknown and wrong values come from, for whoever improves recovery.
//!
//! Values live in *versions*: a register's value from the step that wrote it to the one
//! that writes it next. A wrong version whose writer had no wrong input is a *root*;
//! the others are its consequences.

use super::judge::Facts;
use super::operands::Pair;
use super::tally::{Grade, Verdict, judge};
use super::walk::{GPRS, Seen};
use iced_x86::Mnemonic;
use rept_recover::history::{Position, Recovered};
use rept_trace::{Address, RegWord};
use std::collections::BTreeMap;

/// Examples kept of each kind: the newest ones.
const EXAMPLES: usize = 24;
/// Of so many unknown reads one is asked for its reason.
const REASON_STRIDE: u64 = 7;

/// A wrong value.
#[derive(Clone, Debug)]
pub(crate) struct Wrong {
    pub(crate) at: Position,
    /// Instruction of the step at `at`.
    pub(crate) address: Address,
    /// `rax`, or `[7ffe…]`.
    pub(crate) what: String,
    pub(crate) recovered: u64,
    pub(crate) known: u64,
    pub(crate) truth: u64,
    pub(crate) grade: Grade,
}

/// Counts by cause.
#[derive(Debug, Default)]
pub(crate) struct Blame {
    /// Reasons that the history gives for unknown or partly known register reads (a sample).
    pub(crate) reasons: BTreeMap<String, u64>,
    /// Unknown or partly known register reads by what wrote the register.
    pub(crate) unknown_writers: BTreeMap<String, u64>,
    /// Roots of wrong registers by what wrote the register.
    pub(crate) wrong_writers: BTreeMap<String, u64>,
    /// Wrong values loaded from addresses not known to be wrong, by mnemonic.
    pub(crate) wrong_loads: BTreeMap<String, u64>,
    /// Wrong addresses by mnemonic, and accesses that were not made.
    pub(crate) wrong_addresses: BTreeMap<String, u64>,
    /// Newest wrong addresses.
    pub(crate) wrong_places: Ring,
    /// Newest roots of wrong registers; `at` is just after the write.
    pub(crate) wrong_registers: Ring,
    /// Newest wrong loads.
    pub(crate) wrong_cells: Ring,
    /// Newest wrong values that were called certain, in registers and memory.
    pub(crate) wrong_certain: Ring,
    unknown_reads: u64,
    writers: [Option<Writer>; GPRS],
    before: Option<Before>,
}

#[derive(Clone, Copy, Debug)]
struct Writer {
    mnemonic: Mnemonic,
    loads: bool,
}

/// What matters of the step before.
#[derive(Clone, Copy, Debug)]
struct Before {
    wrong: u16,
    writes: u16,
    inputs_wrong: bool,
}

/// The newest examples.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ring(std::collections::VecDeque<Wrong>);

impl Ring {
    fn push(&mut self, wrong: Wrong) {
        if self.0.len() == EXAMPLES {
            self.0.pop_front();
        }
        self.0.push_back(wrong);
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Wrong> {
        self.0.iter()
    }
}

impl Blame {
    /// The next step does not follow the one before.
    pub(crate) fn enter(&mut self) {
        self.writers = [None; GPRS];
        self.before = None;
    }

    /// Takes note of a step; steps of a thread come in order.
    pub(crate) fn observe(&mut self, seen: &Seen<'_>, history: &dyn Recovered) {
        self.unknowns(seen, history);
        self.wrongs(seen);
        self.cells(seen);
        self.places(seen);
        self.advance(seen);
    }

    fn unknowns(&mut self, seen: &Seen<'_>, history: &dyn Recovered) {
        for number in bits(seen.facts.reads) {
            if !matches!(
                seen.verdicts[number],
                Verdict::Unknown | Verdict::Partial(_)
            ) {
                continue;
            }
            *self
                .unknown_writers
                .entry(name(self.writers[number]))
                .or_default() += 1;
            if self.unknown_reads.is_multiple_of(REASON_STRIDE) {
                let reason = history.why_unknown(seen.at, RegWord::gpr(number as u16));
                *self.reasons.entry(format!("{reason:?}")).or_default() += 1;
            }
            self.unknown_reads += 1;
        }
    }

    fn wrongs(&mut self, seen: &Seen<'_>) {
        let (mut old, mut inherited) = (0, false);
        if let Some(before) = self.before {
            old = before.wrong & !before.writes;
            inherited = before.inputs_wrong;
        }
        for number in bits(wrong_mask(&seen.verdicts) & !old) {
            let Verdict::Wrong(grade) = seen.verdicts[number] else {
                continue;
            };
            let value = seen.values[number];
            let wrong = Wrong {
                at: seen.at,
                address: seen.address,
                what: RegWord::gpr(number as u16).name(),
                recovered: value.bits,
                known: value.known,
                truth: seen.truth.registers[number],
                grade,
            };
            if grade == Grade::Certain {
                self.wrong_certain.push(wrong.clone());
            }
            if !inherited {
                *self
                    .wrong_writers
                    .entry(name(self.writers[number]))
                    .or_default() += 1;
                self.wrong_registers.push(wrong);
            }
        }
    }

    fn cells(&mut self, seen: &Seen<'_>) {
        for pair in &seen.loads.pairs {
            let Verdict::Wrong(grade) = verdict(pair) else {
                continue;
            };
            let wrong = Wrong {
                at: seen.at,
                address: seen.address,
                what: format!("[{:x}]", pair.chunk.address),
                recovered: pair.value.bits,
                known: pair.value.known,
                truth: pair.chunk.truth,
                grade,
            };
            if grade == Grade::Certain {
                self.wrong_certain.push(wrong.clone());
            }
            if !matches!(pair.address, Verdict::Wrong(_)) {
                let mnemonic = format!("{:?}", seen.facts.mnemonic).to_lowercase();
                *self.wrong_loads.entry(mnemonic).or_default() += 1;
                self.wrong_cells.push(wrong);
            }
        }
    }

    fn places(&mut self, seen: &Seen<'_>) {
        let (loads, stores) = (&seen.loads, &seen.stores);
        let mnemonic = || format!("{:?}", seen.facts.mnemonic).to_lowercase();
        for pair in loads
            .pairs
            .iter()
            .chain(&stores.pairs)
            .filter(|pair| pair.chunk.first)
        {
            let Verdict::Wrong(grade) = pair.address else {
                continue;
            };
            let truth = pair.chunk.address.0;
            self.place(seen, mnemonic(), ("address", pair.claimed, truth, grade));
        }
        for &(address, grade) in loads.spurious.iter().chain(&stores.spurious) {
            let what = format!("{} (not made)", mnemonic());
            self.place(seen, what, ("access not made", Some(address), 0, grade));
        }
    }

    fn place(
        &mut self,
        seen: &Seen<'_>,
        cause: String,
        (what, claimed, truth, grade): (&str, Option<Address>, u64, Grade),
    ) {
        *self.wrong_addresses.entry(cause).or_default() += 1;
        let wrong = Wrong {
            at: seen.at,
            address: seen.address,
            what: what.to_owned(),
            recovered: claimed.unwrap_or_default().0,
            known: u64::MAX,
            truth,
            grade,
        };
        if grade == Grade::Certain {
            self.wrong_certain.push(wrong.clone());
        }
        self.wrong_places.push(wrong);
    }

    fn advance(&mut self, seen: &Seen<'_>) {
        let loads = !seen.loads.pairs.is_empty();
        for number in bits(seen.facts.writes) {
            self.writers[number] = Some(Writer {
                mnemonic: seen.facts.mnemonic,
                loads,
            });
        }
        let wrong = wrong_mask(&seen.verdicts);
        self.before = Some(Before {
            wrong,
            writes: seen.facts.writes,
            inputs_wrong: inputs_wrong(wrong, seen.facts, &seen.loads.pairs),
        });
    }
}

fn inputs_wrong(wrong: u16, facts: &Facts, loads: &[Pair]) -> bool {
    wrong & facts.reads != 0
        || loads.iter().any(|pair| {
            matches!(verdict(pair), Verdict::Wrong(_)) || matches!(pair.address, Verdict::Wrong(_))
        })
}

fn verdict(pair: &Pair) -> Verdict {
    judge(pair.value, pair.chunk.truth, pair.chunk.mask())
}

fn wrong_mask(verdicts: &[Verdict; GPRS]) -> u16 {
    let wrong = |verdict: &Verdict| matches!(verdict, Verdict::Wrong(_));
    (0..GPRS)
        .filter(|&number| wrong(&verdicts[number]))
        .map(|number| 1 << number)
        .sum()
}

fn bits(mask: u16) -> impl Iterator<Item = usize> {
    (0..GPRS).filter(move |number| mask & 1 << number != 0)
}

/// `mov (load)`, `add`, or where the window begins.
fn name(writer: Option<Writer>) -> String {
    match writer {
        None => "before the window".to_owned(),
        Some(Writer { mnemonic, loads }) => {
            let mnemonic = format!("{mnemonic:?}").to_lowercase();
            if loads {
                format!("{mnemonic} (load)")
            } else {
                mnemonic
            }
        }
    }
}
