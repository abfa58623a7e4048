//! Walks the steps of a thread beside the truth and judges each.

use super::align::Stretch;
use super::blame::Blame;
use super::distance::Distances;
use super::judge::{Facts, Judge};
use super::operands::{Matched, TrueOperand, pair, pair_bytes};
use super::tally::{Board, Distance, Measure, Verdict, judge};
use rept_recover::history::{Position, Recovered, Value};
use rept_trace::{Address, RegWord, ThreadTrace};

/// General-purpose registers.
pub(crate) const GPRS: usize = 16;

/// One step as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TrueStep {
    pub(crate) at: Address,
    /// Before the step, by encoding number.
    pub(crate) registers: [u64; GPRS],
    /// Memory operands in the processor's order.
    pub(crate) operands: Vec<TrueOperand>,
}

/// One step judged.
pub(crate) struct Seen<'a> {
    pub(crate) at: Position,
    pub(crate) address: Address,
    pub(crate) facts: &'a Facts,
    pub(crate) truth: &'a TrueStep,
    pub(crate) values: [Value; GPRS],
    pub(crate) verdicts: [Verdict; GPRS],
    pub(crate) loads: Matched,
    pub(crate) stores: Matched,
}

/// Judges steps and counts.
pub(crate) struct Walk<'a> {
    pub(crate) history: &'a dyn Recovered,
    pub(crate) judge: &'a Judge,
    pub(crate) board: Board,
    pub(crate) blame: Option<Blame>,
    /// Steps judged.
    pub(crate) judged: u64,
}

impl Walk<'_> {
    /// Judges the steps of one thread that are in `stretches`; `truth` is the thread's, from
    /// the first step of the first stretch on.
    ///
    /// # Errors
    /// Those of reading the truth.
    pub(crate) fn thread<E>(
        &mut self,
        thread: (u32, &ThreadTrace),
        distances: &Distances,
        stretches: &[Stretch],
        mut truth: impl Iterator<Item = Result<TrueStep, E>>,
    ) -> Result<(), E> {
        let mut next = stretches.first().map_or(0, |stretch| stretch.truth);
        for stretch in stretches {
            let mut places = places(thread.1, stretch.trace.start);
            if let Some(blame) = &mut self.blame {
                blame.enter();
            }
            for step in stretch.trace.clone() {
                let wanted = stretch.truth + (step - stretch.trace.start);
                let Some(true_step) = truth.by_ref().nth(wanted - next) else {
                    return Ok(());
                };
                next = wanted + 1;
                let Some((block, index)) = places.next() else {
                    return Ok(());
                };
                let at = Position {
                    thread: thread.0,
                    step: step as u64,
                };
                let facts = self.judge.facts(block, index);
                self.step(at, distances.of(at.step), facts, &true_step?);
            }
        }
        Ok(())
    }

    fn step(&mut self, at: Position, distance: Distance, facts: &Facts, truth: &TrueStep) {
        let values: [Value; GPRS] =
            std::array::from_fn(|number| self.history.register(at, RegWord::gpr(number as u16)));
        let verdicts: [Verdict; GPRS] =
            std::array::from_fn(|number| judge(values[number], truth.registers[number], u64::MAX));
        let mut views = self.history.accesses(at);
        views.extend(self.history.string_accesses(at));
        // Operands cut otherwise than the recorder did, or made under a condition, have no order to go by.
        let by_place = facts.repeated || facts.state_area || facts.masked;
        let pair = if by_place { pair_bytes } else { pair };
        let seen = Seen {
            at,
            address: truth.at,
            facts,
            truth,
            values,
            verdicts,
            loads: pair(&truth.operands, &views, false),
            stores: pair(&truth.operands, &views, true),
        };
        self.judged += 1;
        count(&mut self.board, distance, &seen);
        if let Some(blame) = &mut self.blame {
            blame.observe(&seen, self.history);
        }
    }
}

/// Static places (block and instruction) of the steps of a thread from `first` on.
pub(crate) fn places(
    thread: &ThreadTrace,
    first: usize,
) -> impl Iterator<Item = (rept_trace::BlockId, usize)> + '_ {
    let (run, skip) = thread
        .locate(first as u64)
        .unwrap_or((thread.runs().len(), 0));
    thread.runs()[run..]
        .iter()
        .flat_map(|run| (0..usize::from(run.count)).map(move |index| (run.block, index)))
        .skip(skip)
}

fn count(board: &mut Board, distance: Distance, seen: &Seen<'_>) {
    for (number, &verdict) in seen.verdicts.iter().enumerate() {
        board.count(Measure::RegisterFile, distance, verdict);
        if seen.facts.reads & 1 << number != 0 {
            let measure = if number == usize::from(RegWord::RSP.0) {
                Measure::StackPointerReads
            } else {
                Measure::RegisterReads
            };
            board.count(measure, distance, verdict);
        }
    }
    for matched in [&seen.loads, &seen.stores] {
        for pair in matched.pairs.iter().filter(|pair| pair.chunk.first) {
            board.count(Measure::Addresses, distance, pair.address);
        }
        for &(_, grade) in &matched.spurious {
            board.count(Measure::Addresses, distance, Verdict::Wrong(grade));
        }
    }
    let reads = if seen.facts.state_area {
        Measure::StateAreaReads
    } else {
        Measure::MemoryReads
    };
    for pair in seen.loads.pairs.iter().filter(|pair| pair.chunk.size > 0) {
        board.count(
            reads,
            distance,
            judge(pair.value, pair.chunk.truth, pair.chunk.mask()),
        );
    }
}
