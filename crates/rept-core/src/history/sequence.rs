//! One line of time for all threads: where each step stands in the order's sequence.

use rept_order::Segment;
use std::ops::Range;

/// Steps of all threads numbered in sequence order.
#[derive(Debug)]
pub(super) struct Sequence {
    /// Each segment, with the number of its first step; ascending.
    segments: Vec<(u64, Segment)>,
    /// Of each thread, its segments' indices, ascending.
    of_thread: Vec<Vec<u32>>,
    len: u64,
}

impl Sequence {
    pub(super) fn new(segments: &[Segment], threads: usize) -> Sequence {
        let mut sequence = Sequence {
            segments: Vec::with_capacity(segments.len()),
            of_thread: vec![Vec::new(); threads],
            len: 0,
        };
        for (index, segment) in segments.iter().enumerate() {
            sequence.segments.push((sequence.len, *segment));
            sequence.of_thread[segment.thread as usize].push(index as u32);
            sequence.len += segment.steps;
        }
        sequence
    }

    /// Number of steps of all threads.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The number of a step of a thread; the end of a thread counts as the end of all.
    pub(super) fn number(&self, thread: usize, step: u64) -> u64 {
        let Some(own) = self.of_thread.get(thread) else {
            return self.len;
        };
        let behind = own.partition_point(|&index| self.segments[index as usize].1.first <= step);
        let Some(&index) = behind.checked_sub(1).and_then(|index| own.get(index)) else {
            return self.len;
        };
        let (number, segment) = self.segments[index as usize];
        if step < segment.end() {
            number + (step - segment.first)
        } else {
            self.len
        }
    }

    /// The number of the first step of the segment at a place of the sequence.
    pub(super) fn first_of(&self, segment: usize) -> u64 {
        let segment = self.segments.get(segment);
        segment.map_or(self.len, |&(number, _)| number)
    }

    /// The step with a number, as (thread index, step).
    pub(super) fn step(&self, number: u64) -> Option<(usize, u64)> {
        let behind = self.segments.partition_point(|&(first, _)| first <= number);
        let (first, segment) = self.segments.get(behind.checked_sub(1)?)?;
        let distance = number - first;
        (distance < segment.steps).then_some((segment.thread as usize, segment.first + distance))
    }

    /// Steps of a thread that come before step number `number`.
    pub(super) fn steps_before(&self, thread: usize, number: u64) -> u64 {
        let own = self
            .of_thread
            .get(thread)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let behind = own.partition_point(|&index| self.segments[index as usize].0 < number);
        let Some(&index) = behind.checked_sub(1).and_then(|index| own.get(index)) else {
            return 0;
        };
        let (first, segment) = self.segments[index as usize];
        segment.first + (number - first).min(segment.steps)
    }

    /// Stretches of consecutive steps of one thread: (thread index, its steps, number of the first).
    pub(super) fn stretches(&self) -> impl Iterator<Item = (usize, Range<u64>, u64)> + '_ {
        self.segments.iter().map(|&(number, segment)| {
            (
                segment.thread as usize,
                segment.first..segment.end(),
                number,
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_trace::Interval;

    fn sequence() -> Sequence {
        let segment = |thread, first, steps| Segment {
            thread,
            first,
            steps,
            time: Interval::UNKNOWN,
        };
        Sequence::new(&[segment(0, 0, 5), segment(1, 0, 3), segment(0, 5, 2)], 2)
    }

    #[test]
    fn numbers_go_there_and_back() {
        let sequence = sequence();
        assert_eq!(sequence.len(), 10);
        for number in 0..10 {
            let (thread, step) = sequence.step(number).unwrap();
            assert_eq!(sequence.number(thread, step), number);
        }
        assert_eq!(sequence.number(0, 6), 9);
        assert_eq!(sequence.step(10), None);
    }

    #[test]
    fn threads_stand_side_by_side() {
        let before: Vec<_> = [0, 3, 5, 7, 8, 9, 10]
            .map(|number| {
                (
                    sequence().steps_before(0, number),
                    sequence().steps_before(1, number),
                )
            })
            .into();
        assert_eq!(
            before,
            [(0, 0), (3, 0), (5, 0), (5, 2), (5, 3), (6, 3), (7, 3)]
        );
    }

    #[test]
    fn the_end_of_a_thread_is_the_end_of_all() {
        assert_eq!(sequence().number(1, 3), 10);
        assert_eq!(sequence().number(7, 0), 10);
    }
}
