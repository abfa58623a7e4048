//! Ranges of addresses that replace each other over time.
//!
//! Each range gets its index in order of time. Where ranges begin and end cuts the address space into
//! *pieces*; a segment tree over the pieces holds each range in O(log n) nodes, so that memory is
//! O(n log n) however ranges lie, and the newest range of a time is found in O(log² n).

use rept_trace::Timestamp;

/// When a range begins to count, and its first and last address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) time: Option<Timestamp>,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// What covers a piece at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cover {
    /// The newest range.
    pub(super) newest: Option<usize>,
    /// Another one replaces it (or comes where there is none) later.
    pub(super) replaced: bool,
}

/// Ranges by ascending time.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    times: Vec<Option<Timestamp>>,
    /// First addresses of the pieces, ascending; the first is 0.
    starts: Vec<u64>,
    /// A complete binary tree, its root at 1, the pieces its last half; ranges by ascending index.
    nodes: Vec<Vec<u32>>,
}

impl Timeline {
    /// `spans` by ascending time, those without one first.
    pub(super) fn new(spans: &[Span]) -> Timeline {
        let mut starts = vec![0];
        for span in spans {
            starts.push(span.first);
            starts.extend(span.last.checked_add(1));
        }
        starts.sort_unstable();
        starts.dedup();
        let mut timeline = Timeline {
            times: spans.iter().map(|span| span.time).collect(),
            nodes: vec![Vec::new(); 2 * starts.len()],
            starts,
        };
        for (index, span) in spans.iter().enumerate() {
            timeline.insert(index as u32, span);
        }
        timeline
    }

    fn insert(&mut self, index: u32, span: &Span) {
        let leaves = self.starts.len();
        let (mut low, mut high) = (
            leaves + self.piece(span.first),
            leaves + self.piece(span.last) + 1,
        );
        while low < high {
            if low % 2 == 1 {
                self.nodes[low].push(index);
                low += 1;
            }
            if high % 2 == 1 {
                high -= 1;
                self.nodes[high].push(index);
            }
            (low, high) = (low / 2, high / 2);
        }
    }

    /// The piece that holds an address.
    pub(super) fn piece(&self, at: u64) -> usize {
        self.starts.partition_point(|&start| start <= at) - 1
    }

    /// Last address of a piece.
    pub(super) fn last(&self, piece: usize) -> u64 {
        self.starts.get(piece + 1).map_or(u64::MAX, |next| next - 1)
    }

    /// What covers a piece at `time`; at the end, without a time.
    pub(super) fn cover(&self, piece: usize, time: Option<Timestamp>) -> Cover {
        let begun = |&index: &u32| {
            let since = self.times[index as usize];
            time.is_none_or(|time| since.is_none_or(|since| since <= time))
        };
        let mut cover = Cover {
            newest: None,
            replaced: false,
        };
        let mut last = None;
        let mut node = self.starts.len() + piece;
        while node > 0 {
            let ranges = &self.nodes[node];
            let behind = ranges.partition_point(begun);
            let newest = ranges[..behind].last().map(|&index| index as usize);
            cover.newest = cover.newest.max(newest);
            last = last.max(ranges.last().map(|&index| index as usize));
            node /= 2;
        }
        cover.replaced = last > cover.newest;
        cover
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The naive answer.
    fn by_search(spans: &[Span], at: u64, time: Option<u64>) -> Cover {
        let holds = |span: &Span| span.first <= at && at <= span.last;
        let begun = |span: &Span| time.is_none() || span.time.is_none_or(|t| Some(t.0) <= time);
        let newest = spans.iter().rposition(|span| holds(span) && begun(span));
        let last = spans.iter().rposition(holds);
        Cover {
            newest,
            replaced: last > newest,
        }
    }

    #[test]
    fn the_newest_range_of_each_time_is_found() {
        let mut seed = 1u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(99);
            (seed >> 33) % below
        };
        for count in 0..24 {
            let mut spans: Vec<Span> = (0..count)
                .map(|_| {
                    let first = random(30);
                    let time = random(12).checked_sub(2).map(Timestamp);
                    let last = first + random(9);
                    Span { time, first, last }
                })
                .collect();
            spans.sort_by_key(|span| span.time);
            let timeline = Timeline::new(&spans);
            for at in (0..45).chain([u64::MAX]) {
                for time in (0..12).map(Some).chain([None]) {
                    let found = timeline.cover(timeline.piece(at), time.map(Timestamp));
                    assert_eq!(
                        found,
                        by_search(&spans, at, time),
                        "{spans:?} {at} {time:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_whole_address_space_may_be_one_range() {
        let all = Span {
            time: None,
            first: 0,
            last: u64::MAX,
        };
        let timeline = Timeline::new(&[all]);
        let piece = timeline.piece(u64::MAX);
        assert_eq!(timeline.cover(piece, None).newest, Some(0));
        assert_eq!((piece, timeline.last(piece)), (0, u64::MAX));
    }
}
