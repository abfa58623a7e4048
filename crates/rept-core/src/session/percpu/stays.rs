//! Who was on a processor when, from the records of context switches.

use crate::capture::Switch;
use rept_trace::{Interval, ThreadId, Timestamp};

/// A stay of a thread on a processor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stay {
    pub(super) thread: ThreadId,
    pub(super) process: u32,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

/// The stays on one processor, by ascending end.
#[derive(Debug, Default)]
pub(super) struct Stays {
    stays: Vec<Stay>,
    /// Nothing is known of who ran before.
    known_from: Timestamp,
}

impl Stays {
    /// Both records of a switch are used; either may be missing. Where only one processor is `alone`,
    /// records need not name it.
    pub(super) fn new(switches: &[Switch], cpu: u32, alone: bool) -> Stays {
        let mut found = Stays::default();
        let is_own = |on: Option<u32>| on.map_or(alone, |on| on == cpu);
        let own = switches.iter().filter(|switch| is_own(switch.cpu));
        for switch in own {
            if found.stays.is_empty() && !switch.out {
                found.known_from = switch.time;
            }
            match switch.out {
                true => found.left(switch),
                false => found.came(switch),
            }
        }
        found
    }

    fn running(&mut self) -> Option<&mut Stay> {
        let last = self.stays.last_mut();
        last.filter(|stay| stay.to == Timestamp(u64::MAX))
    }

    fn left(&mut self, switch: &Switch) {
        let from = match self.running() {
            Some(stay) if stay.thread == switch.thread => {
                stay.to = switch.time;
                return;
            }
            // The switch between the two is lost: either may have run since the first came.
            Some(other) => {
                other.to = switch.time;
                other.from
            }
            None => {
                let before = self.stays.last();
                before.map_or(Timestamp(0), |stay| stay.to.min(switch.time))
            }
        };
        self.push(switch, from, switch.time);
    }

    fn came(&mut self, switch: &Switch) {
        if let Some(stay) = self.running() {
            stay.to = switch.time;
        }
        self.push(switch, switch.time, Timestamp(u64::MAX));
    }

    fn push(&mut self, switch: &Switch, from: Timestamp, to: Timestamp) {
        self.stays.push(Stay {
            thread: switch.thread,
            process: switch.process,
            from,
            to,
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stays.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Stay> {
        self.stays.iter()
    }

    fn overlapping(&self, time: Interval) -> impl Iterator<Item = &Stay> {
        let first = self.stays.partition_point(|stay| stay.to < time.earliest);
        let rest = self.stays[first..].iter();
        rest.take_while(move |stay| stay.from <= time.latest)
    }

    /// The first and the last stay that overlap `time`, when all that do are of one thread.
    pub(super) fn owner(&self, time: Interval) -> Option<(&Stay, &Stay)> {
        let mut overlapping = self.overlapping(time);
        let first = overlapping.next()?;
        let mut last = first;
        for stay in overlapping {
            if stay.thread != first.thread {
                return None;
            }
            last = stay;
        }
        (time.earliest >= self.known_from).then_some((first, last))
    }

    /// Whether the thread may have run on the processor at some moment of `time`.
    pub(super) fn may_hold(&self, thread: ThreadId, time: Interval) -> bool {
        time.earliest < self.known_from
            || self.is_empty()
            || self.overlapping(time).any(|stay| stay.thread == thread)
    }
}
