//! Which step of the truth a step of the trace is.
//!
//! The truth holds all that was recorded, the trace only the newest part of it, perhaps
//! with steps missing in between. Both end at the same place, so the trace is laid
//! against the truth from the end, instruction address by instruction address; where
//! they part, the trace's last addresses are looked for further back. Linear in the
//! length of both, but for the few searches.

use rept_trace::Address;
use std::ops::Range;

/// Consecutive steps of the trace that are consecutive steps of the truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Steps of the trace.
    pub(crate) trace: Range<usize>,
    /// Step of the truth that is the first of them.
    pub(crate) truth: usize,
}

/// Addresses that must agree for a place to be believed, or all there are.
const PROBE: usize = 32;
/// Places that are compared at most in one search.
const MAX_PLACES: usize = 16;
/// Searches at most; a trace that parts from the truth more often is another run's.
const MAX_STRETCHES: usize = 1_000;

/// Lays `trace` against `truth`; `gaps` are the steps before which steps are missing.
///
/// Ascending; steps that are in no stretch have no counterpart.
pub(crate) fn align(trace: &[Address], gaps: &[usize], truth: &[Address]) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    let (mut end, mut truth_end) = (trace.len(), truth.len());
    while end > 0 && stretches.len() < MAX_STRETCHES {
        let floor = gaps
            .iter()
            .copied()
            .filter(|&gap| gap < end)
            .max()
            .unwrap_or(0);
        let Some((found, length)) = find(&trace[floor..end], &truth[..truth_end]) else {
            end = floor;
            continue;
        };
        stretches.push(Stretch {
            trace: end - length..end,
            truth: found - length,
        });
        (end, truth_end) = (end - length, found - length);
    }
    stretches.reverse();
    stretches
}

/// Where in the truth `trace` ends: the index behind it, and the number of steps that agree. The last place
/// at which all of it fits, or the one of the last few places at which most of it does: what runs again
/// later ends alike.
fn find(trace: &[Address], truth: &[Address]) -> Option<(usize, usize)> {
    let probe = &trace[trace.len() - trace.len().min(PROBE)..];
    let places = (probe.len()..=truth.len()).rev();
    let places = places.filter(|&end| truth[..end].ends_with(probe));
    let mut best: Option<(usize, usize)> = None;
    for end in places.take(MAX_PLACES) {
        let length = common_suffix(trace, &truth[..end]);
        if best.is_none_or(|(_, longest)| length > longest) {
            best = Some((end, length));
        }
        if length == trace.len() {
            break;
        }
    }
    best
}

fn common_suffix(a: &[Address], b: &[Address]) -> usize {
    a.iter()
        .rev()
        .zip(b.iter().rev())
        .take_while(|(a, b)| a == b)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(addresses: Range<u64>) -> Vec<Address> {
        addresses.map(Address).collect()
    }

    #[test]
    fn the_trace_is_the_newest_part_of_the_truth() {
        let expect = [Stretch {
            trace: 0..50,
            truth: 50,
        }];
        assert_eq!(align(&run(50..100), &[], &run(0..100)), expect);
    }

    #[test]
    fn the_faulting_instruction_is_in_the_truth_alone() {
        assert_eq!(
            align(&run(50..99), &[], &run(0..100)),
            [Stretch {
                trace: 0..49,
                truth: 50
            }]
        );
    }

    #[test]
    fn what_runs_again_later_ends_alike() {
        let again = [run(0..100), run(200..300), run(40..100), run(300..400)].concat();
        let trace = [run(0..100), run(350..400)].concat();
        let expect = [(0..100, 0), (100..150, 310)];
        let expect = expect.map(|(trace, truth)| Stretch { trace, truth });
        assert_eq!(align(&trace, &[100], &again), expect);
    }

    #[test]
    fn the_end_of_a_loop_is_the_last_iteration() {
        let turns: Vec<_> = (0..10).flat_map(|_| run(0..5)).collect();
        assert_eq!(
            align(&turns[20..], &[], &turns),
            [Stretch {
                trace: 0..30,
                truth: 20
            }]
        );
    }

    #[test]
    fn steps_missing_at_a_gap_are_skipped() {
        let trace = [run(0..40), run(60..100)].concat();
        let expect = [
            Stretch {
                trace: 0..40,
                truth: 0,
            },
            Stretch {
                trace: 40..80,
                truth: 60,
            },
        ];
        assert_eq!(align(&trace, &[40], &run(0..100)), expect);
    }

    #[test]
    fn a_step_that_never_ran_ends_a_stretch() {
        let mut trace = run(0..100);
        trace[49] = Address(7777);
        let stretches = align(&trace, &[], &run(0..100));
        assert_eq!(
            stretches,
            [Stretch {
                trace: 50..100,
                truth: 50
            }]
        );
    }

    #[test]
    fn the_trace_of_another_run_has_no_counterpart() {
        assert_eq!(align(&run(0..50), &[], &run(1000..1100)), []);
    }
}
