//! Which thread runs next, and how long its instructions take: all drawn from the seed.

use crate::error::Error;
use std::str::FromStr;

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
    /// A number of cores: each runs one thread for a random number of steps up to
    /// `longest`, then another that waits, perhaps one that ran on another core before.
    Cpus {
        /// Number of cores, at least 1.
        count: u32,
        /// Longest turn, in steps.
        longest: u32,
    },
}

/// Longest turn where none is named, in steps.
const LONGEST_TURN: u32 = 1000;

impl Schedule {
    /// Turns of ordinary length on this many cores.
    pub fn cpus(count: u32) -> Schedule {
        Schedule::Cpus {
            count,
            longest: LONGEST_TURN,
        }
    }
}

impl FromStr for Schedule {
    type Err = Error;

    /// `cores`, `quanta`, `quanta:LONGEST`, `cpus:COUNT` or `cpus:COUNT:LONGEST`.
    fn from_str(text: &str) -> Result<Schedule, Error> {
        let (name, numbers) = text.split_once(':').unwrap_or((text, ""));
        let mut numbers = numbers.split(':').filter(|number| !number.is_empty());
        let mut next = || -> Option<Option<u32>> {
            let number = numbers.next().map(str::parse::<u32>);
            match number {
                Some(Ok(number)) if number > 0 => Some(Some(number)),
                Some(_) => None,
                None => Some(None),
            }
        };
        let parsed = match (name, next(), next()) {
            ("cores", Some(None), _) => Some(Schedule::Cores),
            ("quanta", Some(longest), Some(None)) => Some(Schedule::Quanta {
                longest: longest.unwrap_or(LONGEST_TURN),
            }),
            ("cpus", Some(Some(count)), Some(longest)) => Some(Schedule::Cpus {
                count,
                longest: longest.unwrap_or(LONGEST_TURN),
            }),
            _ => None,
        };
        parsed.filter(|_| numbers.next().is_none()).ok_or_else(|| {
            Error::option(format!(
                "schedule `{text}` is not cores, quanta[:LONGEST] or cpus:COUNT[:LONGEST], numbers from 1"
            ))
        })
    }
}

/// Which timing packets are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timing {
    /// TSC at each PSB, MTC every few hundred cycles, CYC before most packets (`cyc=1`).
    #[default]
    Cycles,
    /// No CYC: perf's default.
    Mtc,
    /// TSC at each PSB only (`mtc=0`).
    Boundaries,
}

impl FromStr for Timing {
    type Err = Error;

    /// `cycles`, `mtc` or `boundaries`.
    fn from_str(text: &str) -> Result<Timing, Error> {
        match text {
            "cycles" => Ok(Timing::Cycles),
            "mtc" => Ok(Timing::Mtc),
            "boundaries" => Ok(Timing::Boundaries),
            _ => Err(Error::option(format!(
                "timing `{text}` is not cycles, mtc or boundaries"
            ))),
        }
    }
}

/// A stall happens once in this many instructions …
const STALL_ONE_IN: u64 = 64;
/// … and lasts up to this many cycles.
const STALL_CYCLES: u64 = 200;

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

/// Decides which thread runs, and costs its steps.
#[derive(Debug)]
pub(crate) struct Scheduler {
    schedule: Schedule,
    random: Random,
    cpus: Vec<Cpu>,
}

/// Which thread a core runs, and for how many more steps.
#[derive(Clone, Debug, Default)]
struct Cpu {
    thread: Option<i32>,
    left: u64,
}

impl Scheduler {
    pub(crate) fn new(schedule: Schedule, seed: u64) -> Scheduler {
        let count = match schedule {
            Schedule::Cores => 0,
            Schedule::Quanta { .. } => 1,
            Schedule::Cpus { count, .. } => count.max(1),
        };
        Scheduler {
            schedule,
            random: Random(seed),
            cpus: vec![Cpu::default(); count as usize],
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
            Schedule::Quanta { longest } | Schedule::Cpus { longest, .. } => {
                self.turn(ready, longest)
            }
        }
    }

    fn turn(&mut self, ready: &[(i32, u64)], longest: u32) -> Option<i32> {
        let is_ready = |tid: i32| ready.iter().any(|r| r.0 == tid);
        for cpu in &mut self.cpus {
            cpu.thread = cpu.thread.filter(|&tid| cpu.left > 0 && is_ready(tid));
        }
        for index in 0..self.cpus.len() {
            if self.cpus[index].thread.is_none() {
                let taken = |tid: i32| self.cpus.iter().any(|cpu| cpu.thread == Some(tid));
                let waiting: Vec<i32> = ready.iter().map(|r| r.0).filter(|&t| !taken(t)).collect();
                let choice = self.random.below(waiting.len() as u64) as usize;
                let left = 1 + self.random.below(u64::from(longest));
                self.cpus[index] = Cpu {
                    thread: waiting.get(choice).copied(),
                    left,
                };
            }
        }
        let clock = |cpu: &Cpu| {
            ready
                .iter()
                .find(|r| Some(r.0) == cpu.thread)
                .map(|r| (r.1, r.0))
        };
        let cpu = self
            .cpus
            .iter()
            .filter(|cpu| cpu.thread.is_some())
            .min_by_key(|cpu| clock(cpu))?;
        cpu.thread
    }

    /// The thread that was picked runs one step of its turn.
    pub(crate) fn spend(&mut self, tid: i32) {
        let cpu = self.cpus.iter_mut().find(|cpu| cpu.thread == Some(tid));
        if let Some(cpu) = cpu {
            cpu.left = cpu.left.saturating_sub(1);
        }
    }

    /// The core that runs this thread, when cores are shared.
    pub(crate) fn cpu_of(&self, tid: i32) -> Option<u32> {
        let index = self.cpus.iter().position(|cpu| cpu.thread == Some(tid))?;
        Some(index as u32)
    }

    /// Cycles that the next instruction takes.
    pub(crate) fn cost(&mut self) -> u64 {
        match self.random.below(STALL_ONE_IN) {
            0 => 1 + self.random.below(STALL_CYCLES),
            _ => 1,
        }
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
    fn schedules_are_read() {
        let read = |text: &str| text.parse::<Schedule>().ok();
        assert_eq!(read("cores"), Some(Schedule::Cores));
        assert_eq!(read("quanta:7"), Some(Schedule::Quanta { longest: 7 }));
        assert_eq!(
            read("quanta"),
            Some(Schedule::Quanta {
                longest: LONGEST_TURN
            })
        );
        assert_eq!(read("cpus:2"), Some(Schedule::cpus(2)));
        let two = Schedule::Cpus {
            count: 2,
            longest: 3,
        };
        assert_eq!(read("cpus:2:3"), Some(two));
        for text in [
            "",
            "core",
            "cores:2",
            "quanta:0",
            "quanta:1:2",
            "cpus",
            "cpus:0",
            "cpus:2:3:4",
            "cpus:two",
        ] {
            let error = text.parse::<Schedule>().expect_err(text).to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn timings_are_read() {
        assert_eq!("mtc".parse::<Timing>().ok(), Some(Timing::Mtc));
        assert!("tsc".parse::<Timing>().is_err());
    }

    #[test]
    fn turns_depend_on_the_seed_alone() {
        let turns = |seed| {
            let mut scheduler = Scheduler::new(Schedule::Quanta { longest: 5 }, seed);
            (0..100)
                .map(|_| {
                    let tid = scheduler.pick(&[(1, 0), (2, 0)]).unwrap();
                    scheduler.spend(tid);
                    tid
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(turns(7), turns(7));
        assert_ne!(turns(7), turns(8));
        assert!(turns(7).contains(&1) && turns(7).contains(&2));
    }

    #[test]
    fn cpus_run_different_threads_and_all_get_their_turn() {
        let mut scheduler = Scheduler::new(
            Schedule::Cpus {
                count: 2,
                longest: 3,
            },
            1,
        );
        let mut ready = [(1, 0), (2, 0), (3, 0)];
        let mut seen = Vec::new();
        for _ in 0..100 {
            let tid = scheduler.pick(&ready).unwrap();
            let cpu = scheduler.cpu_of(tid).unwrap();
            scheduler.spend(tid);
            assert!(cpu < 2);
            ready[tid as usize - 1].1 += 1;
            if !seen.contains(&(tid, cpu)) {
                seen.push((tid, cpu));
            }
        }
        assert_eq!(seen.len(), 6, "{seen:?}");
    }
}
