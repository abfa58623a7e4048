//! How far from the crash a step is: steps of the crashing thread that come after it.

use super::tally::Distance;
use rept_order::Segment;

/// Distances of the steps of one thread.
#[derive(Debug)]
pub(crate) struct Distances {
    /// Of each segment of the thread: its first step, and the distance of that step.
    segments: Vec<(u64, u64)>,
    /// The distance shrinks with each step: the crashing thread itself.
    own: bool,
}

impl Distances {
    /// Distances of `thread`'s steps, given all segments in sequence order.
    pub(crate) fn new(sequence: &[Segment], thread: u32, crashing: u32) -> Distances {
        let all = sequence.iter().filter(|segment| segment.thread == crashing);
        let mut left: u64 = all.map(|segment| segment.steps).sum();
        let own = thread == crashing;
        let mut segments = Vec::new();
        for segment in sequence {
            if segment.thread == thread {
                segments.push((
                    segment.first,
                    if own { left.saturating_sub(1) } else { left },
                ));
            }
            if segment.thread == crashing {
                left -= segment.steps;
            }
        }
        segments.sort_unstable();
        Distances { segments, own }
    }

    /// The distance of one step. O(log n).
    pub(crate) fn of(&self, step: u64) -> Distance {
        let index = self.segments.partition_point(|&(first, _)| first <= step);
        let Some(&(first, distance)) = index
            .checked_sub(1)
            .and_then(|last| self.segments.get(last))
        else {
            return Distance(u64::MAX);
        };
        Distance(if self.own {
            distance.saturating_sub(step - first)
        } else {
            distance
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_trace::Interval;

    fn segment(thread: u32, first: u64, steps: u64) -> Segment {
        Segment {
            thread,
            first,
            steps,
            time: Interval::UNKNOWN,
        }
    }

    #[test]
    fn the_crashing_thread_counts_its_own_steps() {
        let sequence = [segment(0, 0, 10), segment(1, 0, 5), segment(0, 10, 20)];
        let distances = Distances::new(&sequence, 0, 0);
        assert_eq!(
            [0, 9, 10, 29].map(|step| distances.of(step).0),
            [29, 20, 19, 0]
        );
    }

    #[test]
    fn other_threads_count_what_the_crashing_thread_ran_after_them() {
        let sequence = [
            segment(1, 0, 5),
            segment(0, 0, 10),
            segment(1, 5, 5),
            segment(0, 10, 20),
        ];
        let distances = Distances::new(&sequence, 1, 0);
        assert_eq!(
            [0, 4, 5, 9].map(|step| distances.of(step).0),
            [30, 30, 20, 20]
        );
    }
}
