//! `rept score`: what was recovered, held against what was true.
//!
//! One recovery over the whole recorded window is judged at each step of each thread.
//! What a step reads is taken from iced's tables and from the recorder's list of memory
//! operands, never from the recovery: an instruction that recovery does not understand
//! counts as unknown, not as absent. *Partial* means that some bits are known and all of
//! those are right; *wrong* that a known bit is wrong. Values wrong in a bit that was
//! called certain are counted apart: there must be none.

mod align;
mod blame;
mod distance;
pub(crate) mod experiment;
mod json;
mod judge;
mod operands;
mod planted;
mod table;
mod tally;
mod truth;
mod walk;

use crate::failure::Failure;
use align::{Stretch, align};
use blame::Blame;
use distance::Distances;
pub(crate) use json::render as json;
use judge::Judge;
pub(crate) use judge::{decode, is_read, is_write};
pub(crate) use planted::planting;
pub(crate) use table::Table;
pub(crate) use truth::TruthFile;

use rept_core::Statistics;
use rept_order::Segment;
use rept_recover::history::Recovered;
use rept_trace::{Address, ThreadId, ThreadTrace, Trace};
use tally::{Board, Tally};
use walk::{TrueStep, Walk};

/// What is judged.
pub(crate) struct Subject<'a> {
    pub(crate) trace: &'a Trace,
    /// Segments in sequence order.
    pub(crate) sequence: &'a [Segment],
    pub(crate) history: &'a dyn Recovered,
    /// Distances are counted in its steps.
    pub(crate) crashing: ThreadId,
}

/// The steps of a thread as they were.
pub(crate) type TrueSteps<'a> = Box<dyn Iterator<Item = Result<TrueStep, Failure>> + 'a>;

/// What it is judged by.
pub(crate) trait Truth {
    /// Instruction addresses of all recorded steps of a thread; none for a thread not recorded.
    fn addresses(&mut self, thread: ThreadId) -> Result<Vec<Address>, Failure>;
    /// The recorded steps of a thread from number `first` on.
    fn steps(&mut self, thread: ThreadId, first: u64) -> Result<TrueSteps<'_>, Failure>;
}

/// The verdict.
pub(crate) struct Score {
    /// Threads in the trace.
    pub(crate) threads: usize,
    pub(crate) crashing: ThreadId,
    /// Steps in the trace.
    pub(crate) steps: u64,
    /// Steps of the trace that were found in the truth.
    pub(crate) judged: u64,
    pub(crate) board: Board,
    /// Causes, when asked for.
    pub(crate) blame: Option<Blame>,
    /// Techniques that recovery was left without.
    pub(crate) without: Vec<String>,
    /// What recovery did, when that is known.
    pub(crate) statistics: Option<Statistics>,
    /// The verdict on a recovery with all places given, when asked for.
    pub(crate) ceiling: Option<Board>,
    /// Whether the step that `rept explain` names planted the value, when it names one.
    pub(crate) planting: Option<planted::Planting>,
}

impl Score {
    /// Values right here as a share of those right at the ceiling, in %, if there are any.
    pub(crate) fn share_of_ceiling(&self, tally: impl Fn(&Board) -> Tally) -> Option<f64> {
        let ceiling = tally(self.ceiling.as_ref()?).correct.total();
        let reached = tally(&self.board).correct.total();
        (ceiling > 0).then(|| reached as f64 * 100.0 / ceiling as f64)
    }
}

/// Judges every step.
///
/// # Errors
/// Those of reading the truth.
pub(crate) fn score(
    subject: &Subject<'_>,
    truth: &mut dyn Truth,
    why: bool,
) -> Result<Score, Failure> {
    let judge = Judge::new(&subject.trace.code);
    let mut walk = Walk {
        history: subject.history,
        judge: &judge,
        board: Board::default(),
        blame: why.then(Blame::default),
        judged: 0,
    };
    for (index, thread) in subject.trace.threads.iter().enumerate() {
        score_thread(subject, truth, &mut walk, index as u32, thread)?;
    }
    Ok(Score {
        threads: subject.trace.threads.len(),
        crashing: subject.crashing,
        steps: subject.trace.threads.iter().map(ThreadTrace::steps).sum(),
        judged: walk.judged,
        board: walk.board,
        blame: walk.blame,
        without: Vec::new(),
        statistics: None,
        ceiling: None,
        planting: None,
    })
}

fn score_thread(
    subject: &Subject<'_>,
    truth: &mut dyn Truth,
    walk: &mut Walk<'_>,
    index: u32,
    thread: &ThreadTrace,
) -> Result<(), Failure> {
    let crashing = subject
        .trace
        .threads
        .iter()
        .position(|thread| thread.thread == subject.crashing);
    let distances = Distances::new(subject.sequence, index, crashing.unwrap_or(0) as u32);
    let stretches = stretches(subject.trace, truth, thread)?;
    let first = stretches.first().map_or(0, |stretch| stretch.truth);
    let steps = truth.steps(thread.thread, first as u64)?;
    walk.thread((index, thread), &distances, &stretches, steps)
}

/// Where the steps of a thread are in the truth.
fn stretches(
    trace: &Trace,
    truth: &mut dyn Truth,
    thread: &ThreadTrace,
) -> Result<Vec<Stretch>, Failure> {
    let decoded: Vec<_> = thread.addresses(&trace.code, 0).collect();
    let gaps: Vec<_> = thread.gaps.iter().map(|gap| gap.step as usize).collect();
    Ok(align(&decoded, &gaps, &truth.addresses(thread.thread)?))
}

#[cfg(test)]
mod tests;
