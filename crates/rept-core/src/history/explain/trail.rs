//! One question after the other: what a value was made of, and what chose the places it went through.
//!
//! Breadth first, values before addresses. Where a chain ends because several values meet, each of
//! them is asked about. When those are used up, the registers are asked about that chose the places
//! which the chains load from and store to: behind a dangling pointer or an overrun, the value found
//! is only what happens to lie there, and the mistake is in the address. Nothing is asked twice, so
//! it ends; each answer is found when it is asked for.

use super::address_registers;
use super::{Explanation, History, Link, Location, Origin, Past, Position, Trust, Trusted};
use std::collections::{BTreeSet, VecDeque};

/// Why a question was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Asked {
    /// It is one of those asked from outside.
    First,
    /// The value went into the one that the chain of this answer ends with.
    Value {
        /// Index of the answer.
        of: usize,
    },
    /// It chose the place that a link of this answer's chain loads from or stores to.
    Address {
        /// Index of the answer.
        of: usize,
        /// Index of the link.
        link: usize,
    },
}

/// A question with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// What was asked about …
    pub location: Location,
    /// … just before this step.
    pub before: Position,
    /// Why.
    pub asked: Asked,
    /// The answer.
    pub explanation: Explanation,
}

impl Answer {
    /// The links from the first question to link `link` of answer `index`, in that order.
    ///
    /// `answers` are those of one [`Trail`], all from the first.
    pub fn way(answers: &[Answer], mut index: usize, link: usize) -> Vec<Link> {
        let mut parts = Vec::new();
        let mut links = link + 1;
        while let Some(answer) = answers.get(index) {
            let chain = &answer.explanation.links;
            parts.push(&chain[..links.min(chain.len())]);
            match answer.asked {
                Asked::First => break,
                Asked::Value { of } => (index, links) = (of, usize::MAX),
                Asked::Address { of, link } => (index, links) = (of, link + 1),
            }
        }
        parts.into_iter().rev().flatten().cloned().collect()
    }
}

/// Answers, each found when it is asked for; none after cancellation. Ends by itself, though perhaps
/// after thousands: take as many as are of use.
pub struct Trail<'a> {
    past: Trusted<'a>,
    values: VecDeque<(Location, Position, Asked)>,
    addresses: VecDeque<(Location, Position, Asked)>,
    seen: BTreeSet<(Location, u32, u64)>,
    answered: usize,
}

impl History {
    /// Follows several values back through everything that went into them, each just before a step,
    /// by addresses known at grade `trust` or better.
    pub fn trail(&self, from: &[(Location, Position)], trust: Trust) -> Trail<'_> {
        let first = |&(location, before): &(_, _)| (location, before, Asked::First);
        Trail {
            past: Trusted {
                history: self,
                trust,
            },
            values: from.iter().map(first).collect(),
            addresses: VecDeque::new(),
            seen: BTreeSet::new(),
            answered: 0,
        }
    }
}

impl Trail<'_> {
    /// Makes the questions that an answer leads to.
    fn take(&mut self, explanation: &Explanation) {
        let of = self.answered;
        if let Origin::Computed { at, inputs } = &explanation.origin {
            let asked = Asked::Value { of };
            self.values
                .extend(inputs.iter().map(|&input| (input, *at, asked)));
        }
        for (index, link) in explanation.links.iter().enumerate() {
            let in_memory =
                |location: Option<Location>| matches!(location, Some(Location::Mem { .. }));
            if !in_memory(Some(link.to)) && !in_memory(link.from) {
                continue;
            }
            let instruction = self.past.instruction_of(link.at);
            let registers = instruction.map(|instruction| address_registers(&instruction));
            let asked = Asked::Address { of, link: index };
            self.addresses.extend(
                registers
                    .unwrap_or_default()
                    .into_iter()
                    .map(|register| (register, link.at, asked)),
            );
        }
    }
}

impl Iterator for Trail<'_> {
    type Item = Answer;

    fn next(&mut self) -> Option<Answer> {
        loop {
            let next = self.values.pop_front();
            let (location, before, asked) = next.or_else(|| self.addresses.pop_front())?;
            if self.past.is_cancelled() {
                return None;
            }
            if !self.seen.insert((location, before.thread.0, before.step)) {
                continue;
            }
            let (history, trust) = (self.past.history, self.past.trust);
            let Some(explanation) = history.explain_by(location, before, trust) else {
                continue;
            };
            self.take(&explanation);
            self.answered += 1;
            return Some(Answer {
                location,
                before,
                asked,
                explanation,
            });
        }
    }
}
