//! Sampled registers, each brought to the step before which it was taken: the one step at its
//! address that time allows. Where time allows several, as in a loop between two timing packets,
//! the sample says nothing.

use crate::capture::RegisterSample;
use rept_recover::{Anchor, AnchorPoint};
use rept_trace::{Address, Code, ThreadTrace, Trace};
use std::ops::Range;

/// Ticks by which the time of a sample may be off: perf's clock counts nanoseconds, and its
/// conversion to ticks and back rounds.
const SLACK: u64 = 16;
/// Steps looked at for one sample; where timing packets are rarer, there is no telling which.
const MAX_STEPS: u64 = 1 << 16;

/// Anchors from the samples whose step can be told.
pub(crate) fn samples(trace: &Trace, samples: &[RegisterSample]) -> Vec<Anchor> {
    let mut found = Vec::new();
    for thread in &trace.threads {
        let mut own = samples
            .iter()
            .filter(|sample| sample.thread == thread.thread)
            .peekable();
        if own.peek().is_none() {
            continue;
        }
        let marks = Marks::new(thread);
        found.extend(own.filter_map(|sample| {
            let step = only(thread, &trace.code, marks.window(sample.time.0), sample.rip)?;
            Some(Anchor {
                thread: sample.thread,
                at: AnchorPoint::Step(step),
                words: sample.words.clone(),
                measured: true,
            })
        }));
    }
    found
}

/// The timing packets of a thread, whose bounds need not ascend by themselves.
struct Marks<'a> {
    thread: &'a ThreadTrace,
    /// The least upper bound of each and all later ones.
    latest: Vec<u64>,
    /// The greatest lower bound of each and all earlier ones.
    earliest: Vec<u64>,
}

impl Marks<'_> {
    fn new(thread: &ThreadTrace) -> Marks<'_> {
        let mut least = u64::MAX;
        let mut latest: Vec<u64> = thread
            .times
            .iter()
            .rev()
            .map(|mark| {
                least = least.min(mark.time.latest.0);
                least
            })
            .collect();
        latest.reverse();
        let mut greatest = 0;
        let earliest = thread.times.iter().map(|mark| {
            greatest = greatest.max(mark.time.earliest.0);
            greatest
        });
        Marks {
            thread,
            latest,
            earliest: earliest.collect(),
        }
    }

    /// Steps that may have been the next one to run at a time.
    fn window(&self, time: u64) -> Range<u64> {
        let (early, late) = (time.saturating_sub(SLACK), time.saturating_add(SLACK));
        let step = |at: usize| self.thread.times[at].step;
        // What runs before a packet of the past is past; what runs behind one to come is to come.
        let passed = self.latest.partition_point(|&latest| latest < early);
        let to_come = self.earliest.partition_point(|&earliest| earliest <= late);
        let first = passed.checked_sub(1).map_or(0, step);
        let steps = self.thread.steps();
        let last = if to_come < self.earliest.len() {
            step(to_come)
        } else {
            steps
        };
        first..last.saturating_add(1).min(steps)
    }
}

/// The only step of a range at an address.
fn only(thread: &ThreadTrace, code: &Code, window: Range<u64>, at: Address) -> Option<u64> {
    let length = window.end.saturating_sub(window.start);
    if length > MAX_STEPS {
        return None;
    }
    let steps = thread.addresses(code, window.start).take(length as usize);
    let mut found = (window.start..)
        .zip(steps)
        .filter(|&(_, address)| address == at);
    let first = found.next()?;
    found.next().is_none().then_some(first.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_trace::{Block, BlockId, Interval, RegWord, Run, ThreadId, TimeMark, Timestamp};

    /// Two steps a turn, at 0x10 and 0x11, and a timing packet every `turns` turns, 1000 ticks apart.
    fn trace(turns: u64) -> Trace {
        let block = Block {
            at: Address(0x10),
            bytes: [0x90, 0x90].into(),
            starts: [0, 1].into(),
            bitness: 64,
        };
        let mut thread = ThreadTrace::new(ThreadId(7));
        for turn in 0..100 {
            if turn % turns == 0 {
                let time = Timestamp(10_000 + turn / turns * 1000);
                thread.times.push(TimeMark {
                    step: 2 * turn,
                    time: Interval {
                        earliest: time,
                        latest: time,
                    },
                });
            }
            thread.push(Run {
                block: BlockId(0),
                count: 2,
            });
        }
        Trace {
            code: Code::new(vec![block]),
            threads: vec![thread],
        }
    }

    #[track_caller]
    fn check(turns: u64, time: u64, rip: u64, expect: Option<u64>) {
        let sample = RegisterSample {
            time: Timestamp(time),
            thread: ThreadId(7),
            rip: Address(rip),
            words: vec![(RegWord::RAX, 1)],
        };
        let found = samples(&trace(turns), &[sample]);
        let step = found.first().map(|anchor| anchor.at);
        assert_eq!(step, expect.map(AnchorPoint::Step));
    }

    #[test]
    fn a_sample_belongs_to_the_one_step_that_address_and_time_allow() {
        check(1, 13_500, 0x11, Some(7));
        check(1, 13_500, 0x12, None);
        // The step at 0x10 may be the one behind either packet.
        check(1, 13_500, 0x10, None);
        check(2, 13_500, 0x11, None);
        // Within the clock's error of a packet, both sides of it are possible.
        check(1, 14_010, 0x11, None);
    }

    #[test]
    fn a_thread_that_was_not_traced_has_no_steps() {
        assert_eq!(samples(&Trace::default(), &[]), []);
    }
}
