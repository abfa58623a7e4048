//! From a log to packets.
//!
//! A block's last instruction is told when it is known where it led: when the next block
//! begins, or a signal came. A block that is the last of all and was not seen to be left is
//! not told, as its thread may have been killed anywhere in it.

use super::log::Log;
use super::{ENDED, Ending, Flow, INTERRUPTED, INTERRUPTED_THERE, RAN_ONLY, TIME};
use crate::stream::{self, Stream};

#[derive(Clone, Debug)]
pub(super) struct Converter {
    stream: Stream,
    /// Instructions told.
    pub(super) steps: u64,
    /// Words of logs that were overwritten.
    pub(super) lost: u64,
    // The block whose end is not yet known.
    open: Option<u32>,
    // First and last time since that block was entered.
    times: Option<(u64, u64)>,
    now: u64,
    // Where the program was seen last.
    at: u64,
    buffer: usize,
}

impl Converter {
    pub(super) fn new(buffer: usize) -> Converter {
        Converter {
            stream: Stream::untimed(buffer),
            steps: 0,
            lost: 0,
            open: None,
            times: None,
            now: 0,
            at: 0,
            buffer,
        }
    }

    /// Reads what is left of a log.
    pub(super) fn read(&mut self, log: &Log, flows: &[Flow]) {
        self.lost += log.lost();
        if log.lost() > 0 {
            // What came before is not connected with what is left.
            (self.open, self.times, self.steps) = (None, None, 0);
            self.stream = Stream::untimed(self.buffer);
        }
        for chunk in log.chunks() {
            let mut words = log.words(chunk);
            while let Some(word) = words.next() {
                let mut payload = || {
                    let (low, high) = (words.next().unwrap_or(0), words.next().unwrap_or(0));
                    u64::from(low) | u64::from(high) << 32
                };
                match word {
                    TIME => self.time(payload()),
                    ENDED => self.comes_to(self.at, flows),
                    INTERRUPTED => self.interrupted(payload(), false, flows),
                    INTERRUPTED_THERE => self.interrupted(payload(), true, flows),
                    _ if word & RAN_ONLY == RAN_ONLY => self.ran_only(word as u8, flows),
                    id => self.block(id, flows),
                }
            }
        }
    }

    fn block(&mut self, id: u32, flows: &[Flow]) {
        let Some(flow) = flows.get(id as usize) else {
            return;
        };
        self.comes_to(flow.start, flows);
        self.open = Some(id);
        self.at = flow.start;
        self.packets_on(flow.start);
    }

    fn packets_on(&mut self, ip: u64) {
        if !self.stream.enabled() {
            match self.steps {
                0 => self.stream.switch_in(ip, self.now),
                _ => self.stream.enable(ip, self.now),
            }
        }
    }

    // The open block ran to its end, and led to `ip`; then it was the time that was noted.
    fn comes_to(&mut self, ip: u64, flows: &[Flow]) {
        if let Some(flow) = self.open.take().and_then(|id| flows.get(id as usize)) {
            self.run(flow, usize::from(flow.steps));
            self.leave(flow, ip);
        }
        self.tell_time(ip);
    }

    fn run(&mut self, flow: &Flow, steps: usize) {
        self.steps += steps as u64;
        for &(index, next, target) in &flow.calls {
            if usize::from(index) < steps {
                self.retire(stream::Flow::Call { next, target }, target);
            }
        }
    }

    fn leave(&mut self, flow: &Flow, ip: u64) {
        let last = match flow.ending {
            Ending::Cut => return,
            Ending::Syscall => return self.stream.disable(self.now),
            Ending::Conditional { target } => stream::Flow::Conditional {
                taken: ip == target,
            },
            Ending::Decided { taken } => stream::Flow::Conditional { taken },
            Ending::Call { next, target } => stream::Flow::Call { next, target },
            Ending::CallIndirect { next } => stream::Flow::CallIndirect { next, target: ip },
            Ending::Indirect => stream::Flow::Indirect { target: ip },
            Ending::Return => stream::Flow::Return { target: ip },
        };
        self.retire(last, ip);
    }

    fn retire(&mut self, flow: stream::Flow, ip: u64) {
        self.stream.retire(flow, ip, self.now);
    }

    fn tell_time(&mut self, ip: u64) {
        if let Some((first, last)) = self.times.take() {
            for time in [first, last] {
                if time > self.now {
                    self.now = time;
                    self.stream.mark(ip, time);
                }
            }
        }
    }

    fn time(&mut self, time: u64) {
        self.times = match self.times {
            None => Some((time, time)),
            Some((first, _)) => Some((first, time)),
        };
        if self.now == 0 {
            self.now = time;
        }
    }

    fn ran_only(&mut self, steps: u8, flows: &[Flow]) {
        if let Some(flow) = self.open.take().and_then(|id| flows.get(id as usize)) {
            self.run(flow, usize::from(steps));
        }
    }

    fn interrupted(&mut self, ip: u64, reached: bool, flows: &[Flow]) {
        self.comes_to(ip, flows);
        if reached {
            self.packets_on(ip);
        }
        if self.stream.enabled() {
            self.stream.disable_at(ip, self.now);
        }
    }

    /// The end of all logs.
    pub(super) fn finish(mut self) -> Stream {
        if self.stream.enabled() {
            self.stream.disable_at(self.at, self.now);
        }
        self.tell_time(self.at);
        self.stream
    }
}
