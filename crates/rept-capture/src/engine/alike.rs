//! Runs that can be repeated: what the kernel answers by chance or by the clock, it answers alike
//! in every run of the same program.
//!
//! The sixteen random bytes that a process begins with are fixed ones, random numbers come from a
//! generator, and each look at a clock finds it a millisecond later than the last did. The vDSO,
//! through which programs read clocks without a system call, is not shown to them. The processor's
//! own counter and random numbers are answered in the same way, where it is recorded. What still
//! differs from run to run: process and thread ids, times of files other than their last change, how
//! much memory is resident, and who of several threads comes first.
//!
//! The clocks stand long in the past, so that whoever waits for a time does not wait.

use super::Engine;
use super::exact::register;
use crate::error::Error;
use crate::instruction::Chance;
use crate::sys;
use libc::user_regs_struct as Registers;

/// What processes begin with for stack guards and mangled pointers.
const RANDOM_BYTES: [u8; 16] = *b"rept \x93\x1d\xe4\x5bagain\xa7\x62";
/// Seconds since 1970 that the clock of the day shows first.
const FIRST_SECOND: u64 = 1_000_000_000;
/// By how much each look finds a clock later.
const LOOK_NANOSECONDS: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const CARRY_FLAG: u64 = 1;
/// Entries of the auxiliary vector that are looked at: the kernel makes some twenty.
const MOST_ENTRIES: usize = 64;
/// Bytes of `struct rusage`, and of `struct tms`.
const USAGE_BYTES: usize = 144;
const TIMES_BYTES: usize = 32;

/// What was answered so far.
#[derive(Debug, Default)]
pub(super) struct Alike {
    looks: u64,
    drawn: u64,
}

impl Alike {
    // Nanoseconds since the first look at any clock.
    fn look(&mut self) -> u64 {
        self.looks += 1;
        self.looks * LOOK_NANOSECONDS
    }

    // As many random bytes; the generator is SplitMix64.
    fn draw(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            self.drawn = self.drawn.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.drawn ^ self.drawn >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            bytes.extend((mixed ^ mixed >> 31).to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// What stands in memory in place of what the kernel wrote, and what the call returns.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    bytes: Vec<(u64, Vec<u8>)>,
    result: Option<u64>,
}

impl Answer {
    fn bytes(at: u64, bytes: Vec<u8>) -> Answer {
        Answer {
            bytes: vec![(at, bytes)],
            result: None,
        }
    }
}

impl Engine {
    /// From here on the process, which stands at the end of its first `exec`, is answered alike.
    ///
    /// # Errors
    /// It is gone, or its memory cannot be written.
    pub(crate) fn answer_alike(&mut self) -> Result<(), Error> {
        self.alike = Some(Alike::default());
        self.begins_alike(self.pid)
    }

    /// The thread has begun a program.
    pub(super) fn begins_alike(&self, tid: i32) -> Result<(), Error> {
        if self.alike.is_none() {
            return Ok(());
        }
        for (at, key, value) in auxiliary(tid, sys::registers(tid)?.rsp) {
            match key {
                libc::AT_RANDOM => sys::write(tid, value, &RANDOM_BYTES)?,
                libc::AT_SYSINFO_EHDR => sys::write_word(tid, at, libc::AT_IGNORE)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether answers are alike.
    pub(super) fn is_alike(&self) -> bool {
        self.alike.is_some()
    }

    /// A thread, stopped, has made the system call that `before` asked for, with this result:
    /// returns the one that it should have.
    ///
    /// # Errors
    /// The thread is gone, or its memory cannot be written.
    pub(super) fn answered(
        &mut self,
        tid: i32,
        before: &Registers,
        result: u64,
    ) -> Result<u64, Error> {
        let Some(answer) = self.answer(tid, before, result) else {
            return Ok(result);
        };
        for (at, bytes) in answer.bytes {
            sys::write(tid, at, &bytes)?;
        }
        match answer.result.filter(|&wanted| wanted != result) {
            Some(wanted) => {
                let mut registers = sys::registers(tid)?;
                registers.rax = wanted;
                sys::set_registers(tid, &registers)?;
                Ok(wanted)
            }
            None => Ok(result),
        }
    }

    /// A thread, stopped, has run an instruction whose result is chance.
    ///
    /// # Errors
    /// The thread is gone.
    pub(super) fn answered_itself(&mut self, tid: i32, chance: Chance) -> Result<(), Error> {
        let (Some(alike), Some(thread)) = (&mut self.alike, self.threads.get_mut(&tid)) else {
            return Ok(());
        };
        alike.instead(chance, &mut thread.registers);
        sys::set_registers(tid, &thread.registers)
    }

    fn answer(&mut self, tid: i32, before: &Registers, result: u64) -> Option<Answer> {
        let alike = self.alike.as_mut()?;
        let length = usize::try_from(result as i64).ok()?;
        match before.rax as i64 {
            libc::SYS_getrandom => Some(Answer::bytes(before.rdi, alike.draw(length))),
            libc::SYS_read | libc::SYS_pread64 if is_random(tid, before.rdi) => {
                Some(Answer::bytes(before.rsi, alike.draw(length)))
            }
            libc::SYS_getrusage => Some(Answer::bytes(before.rsi, vec![0; USAGE_BYTES])),
            libc::SYS_stat | libc::SYS_lstat | libc::SYS_fstat => times_of_file(tid, before.rsi),
            libc::SYS_newfstatat => times_of_file(tid, before.rdx),
            libc::SYS_statx => times_of_statx(tid, before.r8),
            _ => alike.clock(before),
        }
    }
}

impl Alike {
    // Puts another result into the registers.
    fn instead(&mut self, chance: Chance, registers: &mut Registers) {
        match chance {
            Chance::Time { names_processor } => {
                let ticks = self.look();
                registers.rax = ticks & u64::from(u32::MAX);
                registers.rdx = ticks >> 32;
                if names_processor {
                    registers.rcx = 0;
                }
            }
            Chance::Number {
                register: number,
                bytes,
            } => {
                let mut drawn = [0; 8];
                drawn[..bytes].copy_from_slice(&self.draw(bytes));
                if let Some(place) = register(registers, number) {
                    // A register of two bytes keeps the others.
                    let kept = if bytes == 2 { *place & !0xffff } else { 0 };
                    *place = kept | u64::from_le_bytes(drawn);
                }
                // There was a number.
                registers.eflags |= CARRY_FLAG;
            }
        }
    }

    fn clock(&mut self, before: &Registers) -> Option<Answer> {
        let pair = |at: u64, first: u64, second: u64| match at {
            0 => Vec::new(),
            at => vec![(at, [first.to_le_bytes(), second.to_le_bytes()].concat())],
        };
        let (bytes, result) = match before.rax as i64 {
            libc::SYS_clock_gettime => {
                let of_day = matches!(
                    before.rdi as i32,
                    libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_TAI
                );
                let first = if of_day { FIRST_SECOND } else { 0 };
                let now = self.look();
                (pair(before.rsi, first + now / SECOND, now % SECOND), None)
            }
            libc::SYS_gettimeofday => {
                let now = self.look();
                let seconds = FIRST_SECOND + now / SECOND;
                (pair(before.rdi, seconds, now % SECOND / 1000), None)
            }
            libc::SYS_time => {
                let seconds = FIRST_SECOND + self.look() / SECOND;
                let bytes = seconds.to_le_bytes().to_vec();
                let to = (before.rdi != 0).then_some((before.rdi, bytes));
                (to.into_iter().collect(), Some(seconds))
            }
            libc::SYS_times => {
                const TICK: u64 = 10_000_000;
                let to = (before.rdi != 0).then_some((before.rdi, vec![0; TIMES_BYTES]));
                (to.into_iter().collect(), Some(self.look() / TICK))
            }
            _ => return None,
        };
        Some(Answer { bytes, result })
    }
}

// Entries of the auxiliary vector of a process that has begun, whose stack ends at `top`: where
// each stands, its key and its value.
fn auxiliary(tid: i32, top: u64) -> Vec<(u64, u64, u64)> {
    let word = |at: u64| sys::read_word(tid, at);
    let arguments = word(top).unwrap_or(0);
    // Behind the arguments and their end there is the environment, and its end.
    let mut at = arguments
        .saturating_add(2)
        .saturating_mul(8)
        .wrapping_add(top);
    while word(at).is_some_and(|pointer| pointer != 0) {
        at = at.wrapping_add(8);
    }
    let entries = (0..MOST_ENTRIES as u64).map(|n| at.wrapping_add(8 + n * 16));
    entries
        .map_while(|at| Some((at, word(at)?, word(at.wrapping_add(8))?)))
        .take_while(|&(_, key, _)| key != libc::AT_NULL)
        .collect()
}

fn is_random(tid: i32, fd: u64) -> bool {
    let path = std::fs::read_link(format!("/proc/{tid}/fd/{}", fd as i32));
    path.is_ok_and(|path| matches!(path.to_str(), Some("/dev/urandom" | "/dev/random")))
}

// When a file was read last depends on who else read it: it shows when it was changed. What is no
// file of a disk (a pipe, a terminal, the null device) has no times worth telling.
fn times_of_file(tid: i32, at: u64) -> Option<Answer> {
    const MODE_AT: u64 = 24;
    const READ_AT: u64 = 72;
    let mode = sys::read_word(tid, at + MODE_AT)? as u32;
    let (changed, is_plain) = (words(tid, at + READ_AT + 16, 2)?, is_plain(mode));
    let bytes = match is_plain {
        true => changed,
        false => vec![0; 3 * 16],
    };
    Some(Answer::bytes(at + READ_AT, bytes))
}

fn times_of_statx(tid: i32, at: u64) -> Option<Answer> {
    const MODE_AT: u64 = 24;
    const READ_AT: u64 = 64;
    const CHANGED_AT: u64 = READ_AT + 3 * 16;
    // Sixteen bits, between the group's number and the inode's.
    let mode = (sys::read_word(tid, at + MODE_AT)? >> 32) as u32 & 0xffff;
    let bytes = match is_plain(mode) {
        true => words(tid, at + CHANGED_AT, 2)?,
        false => vec![0; 4 * 16],
    };
    Some(Answer::bytes(at + READ_AT, bytes))
}

fn is_plain(mode: u32) -> bool {
    matches!(mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR)
}

fn words(tid: i32, at: u64, count: u64) -> Option<Vec<u8>> {
    let words: Option<Vec<u64>> = (0..count)
        .map(|n| sys::read_word(tid, at + n * 8))
        .collect();
    Some(words?.into_iter().flat_map(u64::to_le_bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_are_the_same_again_and_differ_among_each_other() {
        let (mut one, mut other) = (Alike::default(), Alike::default());
        let (first, second) = (one.draw(13), one.draw(13));
        assert_eq!((first.len(), second.len()), (13, 13));
        assert_ne!(first, second);
        assert_eq!((first, second), (other.draw(13), other.draw(13)));
        assert_eq!(one.draw(0), Vec::<u8>::new());
    }

    fn call(number: i64, first: u64, second: u64) -> Registers {
        // SAFETY: zero bytes are a value of this struct of integers.
        let registers: Registers = unsafe { std::mem::zeroed() };
        Registers {
            rax: number as u64,
            rdi: first,
            rsi: second,
            ..registers
        }
    }

    #[test]
    fn the_processor_answers_alike_too() {
        let mut alike = Alike::default();
        let mut registers = call(-1, 0x1234_5678_9abc_def0, 0);
        let processor = Chance::Time {
            names_processor: true,
        };
        alike.instead(processor, &mut registers);
        let found = (registers.rax, registers.rdx, registers.rcx);
        assert_eq!(found, (LOOK_NANOSECONDS, 0, 0));
        let number = |bytes| Chance::Number { register: 7, bytes };
        alike.instead(number(2), &mut registers);
        assert_eq!(registers.rdi >> 16, 0x1234_5678_9abc);
        assert_ne!(registers.rdi & 0xffff, 0xdef0);
        alike.instead(number(4), &mut registers);
        assert_eq!(registers.rdi >> 32, 0);
        alike.instead(number(8), &mut registers);
        assert_ne!(registers.rdi >> 32, 0);
        assert_eq!(registers.eflags & CARRY_FLAG, CARRY_FLAG);
    }

    #[test]
    fn each_look_finds_the_clock_later() {
        let mut alike = Alike::default();
        let mut seconds = |call: Registers| {
            let answer = alike.clock(&call).unwrap();
            let words = answer.bytes.first().map(|(at, bytes)| {
                let (first, second) = bytes.split_at(8);
                let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
                (*at, word(first), word(second))
            });
            (words, answer.result)
        };
        let day = call(libc::SYS_clock_gettime, libc::CLOCK_REALTIME as u64, 64);
        assert_eq!(seconds(day), (Some((64, 1_000_000_000, 1_000_000)), None));
        let uptime = call(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC as u64, 64);
        assert_eq!(seconds(uptime), (Some((64, 0, 2_000_000)), None));
        let micro = call(libc::SYS_gettimeofday, 8, 0);
        assert_eq!(seconds(micro), (Some((8, 1_000_000_000, 3000)), None));
        // Nothing is written through a null pointer.
        assert_eq!(
            seconds(call(libc::SYS_time, 0, 0)),
            (None, Some(1_000_000_000))
        );
        assert_eq!(alike.clock(&call(libc::SYS_getpid, 0, 0)), None);
    }
}
