//! Pauses: threads that stand still for a moment at a place left to chance, while others go on and may run
//! into what they are in the middle of.
//!
//! Without a recorder, waits for memory and interrupts do that; copies wait elsewhere, for their log. So
//! once in a while, by the pace of its log, a thread is stopped by the watchpoint that stands at a chunk's
//! end otherwise, and a *snare* is laid: a stop in the copy of an instruction that has just run and
//! accesses what may not be the thread's own. A thread that runs onto it stands still there. When its time is
//! over, a snare is laid in the way of another, and as that stands still, the first goes on: so each finds the
//! other halfway. A series of such pauses ends by chance, or when no other thread runs.
//!
//! A snare is taken away as soon as a thread has run onto it; to one that has found it beside, it is a stop
//! like others, behind which it goes on. Threads in system calls write no log and run onto no snare: they are
//! never disturbed. What it costs is bounded by the looks: about ten a second for each thread that runs, of some 12 pauses.

use super::step::is_asleep;
use super::{Engine, State, Thread};
use crate::error::Error;
use crate::instruction::Instruction;
use crate::schedule::Random;
use crate::sys;
use iced_x86::Register;
use std::time::{Duration, Instant};

/// Nanoseconds between two looks at a thread, on average; half of it at least.
const EVERY: u64 = 100_000_000;
/// A thread that comes so many nanoseconds too early is looked at again. It is asked to come when half of the
/// time is over, as paces change.
const TOO_EARLY: u64 = 8_000_000;
/// Least and most words between two looks.
const LEAST_WORDS: u64 = 1 << 10;
const MOST_WORDS: u64 = 1 << 26;
/// Words of the log from whose blocks the place of a snare is taken.
const NEWEST_WORDS: u64 = 16;
/// Pauses that follow each other, on average.
const SERIES: u64 = 12;
/// Shortest pause, in nanoseconds.
const SHORTEST: u64 = 10_000;
/// A pause is shorter than this times the shortest, doubled so often; each doubling is as likely.
const DOUBLINGS: u64 = 4;
/// How long a thread whose time is over waits for another to be snared, before a new snare is laid.
const GRACE: Duration = Duration::from_micros(400);
/// How often it waits so long: the other may be off its processor.
const MOST_GRACES: u32 = 5;
/// How long it looks without a rest: one that runs is snared within some steps.
const BRIEFLY: Duration = Duration::from_micros(30);
/// Time between two looks whether something has happened while a thread is paused.
const GLANCE: Duration = Duration::from_micros(50);

/// Decides by chance where threads are paused, and for how long.
#[derive(Debug)]
pub(crate) struct Pauses {
    random: Random,
    /// How many there were.
    pub(crate) count: u64,
}

/// What a thread has to do with pauses.
#[derive(Debug, Default)]
pub(super) struct Pause {
    look: Option<Look>,
    // Words that its log grows by in a millisecond, when that was last seen.
    pace: u64,
    // It came to its look so many nanoseconds too early.
    early: Option<u64>,
    // Words of its log, when it was last asked whether it does something.
    written: u64,
    // It stands still.
    until: Option<Instant>,
    // How often its time was over, and no other thread was snared.
    waited: u32,
    // It is not to be followed by another's.
    is_last: bool,
}

// The thread is to be looked at in so many nanoseconds, and will be stopped when so many words are written.
#[derive(Debug)]
struct Look {
    after: u64,
    words: u64,
    from: u64,
    since: Instant,
}

impl Pauses {
    pub(crate) fn new(seed: u64) -> Pauses {
        Pauses {
            random: Random(seed),
            count: 0,
        }
    }

    /// The number of the word at which a thread is looked at next, of whose log so many are written.
    pub(super) fn next_look(&mut self, pause: &mut Pause, written: u64) -> u64 {
        let ahead = |look: &&Look| look.from <= written && written < look.words;
        if let Some(look) = pause.look.as_ref().filter(ahead) {
            return look.words;
        }
        let after = match pause.early.take() {
            Some(left) => left,
            None => EVERY / 2 + self.random.below(EVERY),
        };
        let words = match pause.pace {
            0 => LEAST_WORDS,
            pace => pace.saturating_mul(after) / 2_000_000,
        };
        let words = written + words.clamp(LEAST_WORDS, MOST_WORDS);
        pause.look = Some(Look {
            after,
            words,
            from: written,
            since: Instant::now(),
        });
        words
    }

    // How long a thread stands still.
    fn length(&mut self) -> Duration {
        let range = SHORTEST << self.random.below(DOUBLINGS);
        Duration::from_nanos(range + self.random.below(range))
    }
}

impl Pause {
    // Whether the thread has come to where it was to be looked at.
    fn is_due(&mut self, written: u64) -> bool {
        // The word may be the last of a record that is not complete.
        const REST_OF_RECORD: u64 = 3;
        let due = |look: &mut Look| look.words <= written + REST_OF_RECORD;
        let Some(look) = self.look.take_if(due) else {
            return false;
        };
        let elapsed = look.since.elapsed().as_nanos() as u64;
        let words = written.saturating_sub(look.from);
        self.pace = words.saturating_mul(1_000_000) / elapsed.max(1);
        let left = look.after.saturating_sub(elapsed);
        self.early = (left > TOO_EARLY).then_some(left);
        self.early.is_none()
    }

    fn end(&mut self) {
        self.until = None;
        self.waited = 0;
    }
}

impl Engine {
    /// A ready thread that is not paused.
    pub(super) fn next_ready(&self) -> Option<i32> {
        let ready = |thread: &Thread| thread.state == State::Ready && thread.pause.until.is_none();
        let mut threads = self.threads.iter();
        threads
            .find(|(_, thread)| ready(thread))
            .map(|(&tid, _)| tid)
    }

    // The paused thread, and until when.
    fn paused(&self) -> Option<(i32, Instant)> {
        let mut threads = self.threads.iter();
        threads.find_map(|(&tid, thread)| Some((tid, thread.pause.until?)))
    }

    /// No thread may go on: waits for one, but not for longer than until a pause is over.
    pub(super) fn wait_beside_pauses(&mut self) -> Result<(), Error> {
        let Some((paused, until)) = self.paused() else {
            return self.wait_for_any();
        };
        if let Some((tid, wait)) = sys::wait(-1, false)? {
            return self.conclude(tid, wait);
        }
        let left = until.saturating_duration_since(Instant::now());
        if self.in_state(State::Running).is_empty() {
            self.end_pauses();
        } else if left.is_zero() {
            self.time_is_over(paused);
        } else if self.threads[&paused].pause.waited > 0 && GRACE.saturating_sub(left) < BRIEFLY {
            std::thread::yield_now();
        } else {
            std::thread::sleep(left.min(GLANCE));
        }
        Ok(())
    }

    fn end_pauses(&mut self) {
        if let Some(fast) = &mut self.fast {
            fast.cache.take_snare_away();
        }
        self.threads
            .values_mut()
            .for_each(|thread| thread.pause.end());
    }

    // Another thread is to stand still, too, before the paused one goes on; unless there is none.
    fn time_is_over(&mut self, tid: i32) {
        let pause = &self.threads[&tid].pause;
        let again = !pause.is_last && pause.waited < MOST_GRACES;
        if !again || !self.snare_another() {
            return self.end_pauses();
        }
        let pause = &mut self.thread(tid).expect("one of ours").pause;
        pause.waited += 1;
        pause.until = Some(Instant::now() + GRACE);
    }

    // Of the other threads, one that does something.
    fn snare_another(&mut self) -> bool {
        let mut others = self.in_state(State::Running);
        while let Some(tid) = self.by_chance(&others) {
            if self.is_awake(tid) && self.lay_snare(tid) {
                return true;
            }
            others.retain(|&other| other != tid);
        }
        false
    }

    // By its log, which costs nothing to ask, or else by what the kernel says.
    fn is_awake(&mut self, tid: i32) -> bool {
        let written = self.written(tid);
        let known = &mut self.thread(tid).expect("one of ours").pause.written;
        std::mem::replace(known, written) != written || !is_asleep(self.pid, tid)
    }

    // Words of its log.
    fn written(&mut self, tid: i32) -> u64 {
        let log = self.recording.journal.as_mut().and_then(|j| j.log(tid));
        log.map_or(0, |log| log.written())
    }

    /// The thread was stopped by its hardware at a word of its log.
    pub(super) fn look(&mut self, tid: i32) {
        let written = self.written(tid);
        let thread = self.thread(tid).expect("one of ours");
        let due = thread.pause.is_due(written);
        if due && self.paused().is_none() && !self.in_state(State::Running).is_empty() {
            self.lay_snare(tid);
        }
    }

    /// The thread ran onto a stop that was written into the cache.
    pub(super) fn runs_onto_stop(&mut self, tid: i32) -> Result<(), Error> {
        let at = sys::registers(tid)?.rip.wrapping_sub(1);
        let cache = self.fast.as_ref().map(|fast| &fast.cache);
        let snared = cache.is_some_and(|cache| cache.has_snare(at));
        let was_snare = snared || cache.is_some_and(|cache| !cache.is_stop(at));
        self.leave(tid, 1)?;
        if was_snare {
            // What stands there can run in the cache.
            self.thread(tid).expect("one of ours").steps_next = false;
        }
        if snared {
            self.pause(tid);
        }
        Ok(())
    }

    // The thread stands still, and the one that did goes on.
    fn pause(&mut self, tid: i32) {
        self.end_pauses();
        let Some(pauses) = self.pauses.as_mut() else {
            return;
        };
        pauses.count += 1;
        let is_last = pauses.random.below(SERIES) == 0;
        let until = Instant::now() + pauses.length();
        let pause = &mut self.thread(tid).expect("one of ours").pause;
        pause.until = Some(until);
        pause.is_last = is_last;
    }

    // In the way of a thread, at one of the accesses that its newest blocks made. Whether there is one.
    fn lay_snare(&mut self, tid: i32) -> bool {
        let places = self.newest_accesses(tid);
        let (Some((id, index)), Some(fast)) = (self.by_chance(&places), &mut self.fast) else {
            return false;
        };
        fast.cache.lay_snare(id, index)
    }

    // Block and index of each.
    fn newest_accesses(&mut self, tid: i32) -> Vec<(u32, u8)> {
        let mut places = Vec::new();
        let log = self.recording.journal.as_mut().and_then(|j| j.log(tid));
        let (Some(log), Some(fast)) = (log, &self.fast) else {
            return places;
        };
        for id in log.newest(NEWEST_WORDS) {
            let ips = fast.cache.instructions(id).unwrap_or_default();
            for (index, &ip) in ips.iter().enumerate() {
                let instruction = self.code.get(tid, ip);
                if instruction.is_some_and(|instruction| may_be_shared(&instruction)) {
                    places.push((id, index as u8));
                }
            }
        }
        places
    }

    fn by_chance<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        let chosen = self.pauses.as_mut()?.random.below(of.len() as u64);
        of.get(chosen as usize).copied()
    }
}

// Whether it accesses memory that is not the thread's own by how it is addressed. Behind a stop in the place
// of the others, of one byte, an instruction begins: a thread killed there would seem to be at that.
fn may_be_shared(instruction: &Instruction) -> bool {
    let mut accesses = instruction.accessed();
    instruction.length > 1
        && accesses.any(|(used, ..)| used.base() != Register::RSP && used.segment() != Register::FS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_others_may_reach_is_snared() {
        let check = |bytes: &[u8], expected: bool| {
            let instruction = Instruction::decode(bytes, 0x1000).expect("an instruction");
            assert_eq!(may_be_shared(&instruction), expected, "{bytes:x?}");
        };
        check(&[0x48, 0x8b, 0x07], true); // mov rax, [rdi]
        check(&[0xf0, 0xff, 0x05, 0, 0, 0, 0], true); // lock inc dword [rip]
        check(&[0x48, 0x8b, 0x04, 0x24], false); // mov rax, [rsp]
        check(&[0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0], false); // mov rax, fs:[0]
        check(&[0x48, 0x01, 0xc8], false); // add rax, rcx
        check(&[0xa4], false); // movsb
    }

    #[test]
    fn looks_follow_the_pace_of_the_log() {
        let (mut pauses, mut pause) = (Pauses::new(1), Pause::default());
        let first = pauses.next_look(&mut pause, 0);
        assert_eq!(first, LEAST_WORDS, "its pace is not known");
        assert!(!pause.is_due(first - 4), "it is ahead");
        assert_eq!(pauses.next_look(&mut pause, 8), first, "and stays there");
        assert!(!pause.is_due(first), "it is reached, but far too early");
        let second = pauses.next_look(&mut pause, first);
        assert!(
            second > first + LEAST_WORDS,
            "by the pace it is further away"
        );
        pause.look.as_mut().expect("it is ahead").after = 0;
        assert!(pause.is_due(second), "in time");
        // Another log, which begins anew.
        assert!(pauses.next_look(&mut pause, second) > second);
        assert!(pauses.next_look(&mut pause, 0) <= MOST_WORDS);
        assert_eq!(pause.look.map(|look| look.from), Some(0));
    }

    #[test]
    fn pauses_last_ten_microseconds_and_some_more() {
        let mut pauses = Pauses::new(7);
        let lengths: Vec<_> = (0..1_000).map(|_| pauses.length().as_micros()).collect();
        assert!(lengths.iter().all(|length| (10..160).contains(length)));
        assert!(lengths.iter().any(|&length| length > 80) && lengths.iter().any(|&l| l < 20));
    }
}
