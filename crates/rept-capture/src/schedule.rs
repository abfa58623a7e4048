//! Which thread runs next, and how long its instructions take: all drawn from the seed.

/// How the threads of the program are interleaved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Every thread has a core of its own: the thread whose virtual clock is behind runs
    /// next, so that clocks overlap as on real cores. Some instructions stall, as on a
    /// cache miss, by the seed.
    Cores,
    /// One core: threads take turns, each for a random number of steps up to `longest`.
    /// Time stands still for the others.
    Quanta {
        /// Longest turn, in steps.
        longest: u32,
    },
}

/// A stall happens once in this many instructions …
const STALL_ONE_IN: u64 = 64;
/// … and lasts up to this many cycles.
const STALL_CYCLES: u64 = 200;

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

/// Decides which thread runs, and costs its steps.
#[derive(Debug)]
pub(crate) struct Scheduler {
    schedule: Schedule,
    random: Random,
    current: i32,
    left: u64,
}

impl Scheduler {
    pub(crate) fn new(schedule: Schedule, seed: u64) -> Scheduler {
        Scheduler {
            schedule,
            random: Random(seed),
            current: 0,
            left: 0,
        }
    }

    /// The thread to run next, of those that are ready, given as (id, clock) by ascending
    /// id; `None` when there is none.
    pub(crate) fn pick(&mut self, ready: &[(i32, u64)]) -> Option<i32> {
        match self.schedule {
            Schedule::Cores => ready
                .iter()
                .min_by_key(|(tid, clock)| (*clock, *tid))
                .map(|r| r.0),
            Schedule::Quanta { longest } => self.turn(ready, longest),
        }
    }

    fn turn(&mut self, ready: &[(i32, u64)], longest: u32) -> Option<i32> {
        let runs_on = self.left > 0 && ready.iter().any(|r| r.0 == self.current);
        if !runs_on {
            let choice = self.random.below(ready.len() as u64) as usize;
            self.current = ready.get(choice)?.0;
            self.left = 1 + self.random.below(u64::from(longest));
        }
        self.left -= 1;
        Some(self.current)
    }

    /// Cycles that the next instruction takes.
    pub(crate) fn cost(&mut self) -> u64 {
        match self.random.below(STALL_ONE_IN) {
            0 => 1 + self.random.below(STALL_CYCLES),
            _ => 1,
        }
    }

    /// Whether the clocks of threads that wait stand still.
    pub(crate) fn one_core(&self) -> bool {
        matches!(self.schedule, Schedule::Quanta { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_run_the_thread_that_is_behind() {
        let mut scheduler = Scheduler::new(Schedule::Cores, 1);
        assert_eq!(scheduler.pick(&[(1, 10), (2, 9), (3, 9)]), Some(2));
        assert_eq!(scheduler.pick(&[]), None);
    }

    #[test]
    fn turns_depend_on_the_seed_alone() {
        let turns = |seed| {
            let mut scheduler = Scheduler::new(Schedule::Quanta { longest: 5 }, seed);
            (0..100)
                .map(|_| scheduler.pick(&[(1, 0), (2, 0)]).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(turns(7), turns(7));
        assert_ne!(turns(7), turns(8));
        assert!(turns(7).contains(&1) && turns(7).contains(&2));
    }
}
