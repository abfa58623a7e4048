//! A second chance for refuted transfers: what contradicted one may itself have been wrong, and be
//! gone by now. Held against the truth of recorded programs, most of the refuted transfers between
//! accesses that are neighbours in the end and passed at most sixteen pending stores were right.
//!
//! Each is made again alone; the first contradiction anywhere ends the trial, before anything else
//! is corrected, and what it taught is taken back. Ends: one trial a transfer and stage.

use super::Engine;
use super::bridged::Direction;
use super::graph::NONE;

/// Pending stores that a transfer may have passed to get a second chance.
const MAX_PASSED: u32 = 16;

/// A transfer on trial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trial {
    /// None is.
    None,
    /// Nothing contradicts it so far.
    Running,
    /// Something contradicts it.
    Failed,
}

impl Engine<'_> {
    /// A contradiction was met: true when a trial is under way, which it ends.
    pub(super) fn fails_trial(&mut self) -> bool {
        let running = self.trial != Trial::None;
        if running {
            self.trial = Trial::Failed;
        }
        running
    }

    /// Makes the refuted transfers again, those first that passed fewest pending stores.
    pub(super) fn give_second_chances(&mut self) {
        let mut refuted: Vec<(u32, u32, u32)> = self
            .refuted
            .difference(&self.undecided)
            .filter(|&&(earlier, later)| self.are_neighbours(earlier, later))
            .map(|&(earlier, later)| (self.counted_between(earlier, later), earlier, later))
            .filter(|&(passed, _, _)| passed <= MAX_PASSED)
            .collect();
        refuted.sort_unstable();
        for (_, earlier, later) in refuted {
            if self.pace.is_stopped() {
                return;
            }
            self.try_transfer(earlier, later);
        }
    }

    /// A value could go from one access to the other (`NONE`: the dump) as things are now.
    fn are_neighbours(&self, earlier: u32, later: u32) -> bool {
        match later {
            NONE => self.is_placed(earlier) && self.is_last(earlier),
            later => {
                self.is_placed(earlier)
                    && self.is_placed(later)
                    && self.adjacent(later, Direction::Before).contains(&earlier)
            }
        }
    }

    fn try_transfer(&mut self, earlier: u32, later: u32) {
        self.refuted.remove(&(earlier, later));
        let budget = self.tracking.budget;
        self.trial = Trial::Running;
        self.tell_again(if later == NONE { earlier } else { later });
        self.sweep();
        let failed = self.trial == Trial::Failed;
        self.trial = Trial::None;
        if failed {
            self.refuted.insert((earlier, later));
            self.retract_transfer(earlier, later);
            self.sweep();
        }
        self.tracking.budget = budget;
    }
}
