//! Putting parts together.

use super::{Begin, DecodedPart, Part, State};
use crate::flow::{Path, keep_mark};
use crate::{CodeBuilder, CodeImage, DecodeOptions};
use rept_trace::{Run, ThreadTrace, TimeMark, Timestamp};

/// What the next part must follow.
enum Seam<'a> {
    /// Nothing: it is the first.
    Start,
    /// The state behind its PSB+, and the offset there.
    At(u64, Box<State>),
    /// A part that did not come out at the begin of the next: it is decoded with all that follow.
    Missed(Box<Part<'a>>),
}

/// Puts the parts of a stream, in their order, together to the thread's path.
pub struct Join<'j, 'a, I: ?Sized> {
    image: &'j I,
    options: DecodeOptions,
    code: &'j mut CodeBuilder,
    out: ThreadTrace,
    // Steps that were handed out already.
    handed_out: u64,
    // First mark and event whose upper bound in time is open.
    open_mark: usize,
    open_event: usize,
    seam: Seam<'a>,
    decoded_again: usize,
}

impl<'j, 'a, I: CodeImage + ?Sized> Join<'j, 'a, I> {
    /// No part so far. `code` collects the blocks, as in [`crate::decode_thread`].
    pub fn new(
        thread: rept_trace::ThreadId,
        image: &'j I,
        options: &DecodeOptions,
        code: &'j mut CodeBuilder,
    ) -> Join<'j, 'a, I> {
        Join {
            image,
            options: *options,
            code,
            out: ThreadTrace::new(thread),
            handed_out: 0,
            open_mark: 0,
            open_event: 0,
            seam: Seam::Start,
            decoded_again: 0,
        }
    }

    /// Parts that were decoded again, because what they follow was not what they took it for.
    pub fn decoded_again(&self) -> usize {
        self.decoded_again
    }

    /// Adds what the next part gave.
    pub fn add(&mut self, part: Part<'a>, decoded: DecodedPart) {
        let (part, decoded) = match std::mem::replace(&mut self.seam, Seam::Start) {
            Seam::Start => (part, decoded),
            Seam::At(offset, state) => {
                let seen = state.compression_seen;
                let follows = decoded.follows(&state);
                self.decoded_again += usize::from(!follows);
                let begin = Begin::State(offset, state);
                let part = Part { begin, ..part };
                let decoded = match follows {
                    true => decoded.after(seen),
                    false => part.decode(self.image, &self.options),
                };
                (part, decoded)
            }
            Seam::Missed(mut before) => {
                self.decoded_again += 1;
                before.chunks.extend(part.chunks);
                before.next = None;
                self.seam = Seam::Missed(before);
                return;
            }
        };
        match (&part.next, decoded.exit) {
            (Some(_), None) => self.seam = Seam::Missed(Box::new(part)),
            (Some(_), Some((offset, ref state))) => {
                self.seam = Seam::At(offset, Box::new(state.clone()));
                self.append(decoded.path, decoded.code);
            }
            (None, _) => self.append(decoded.path, decoded.code),
        }
    }

    fn append(&mut self, path: Path, code: CodeBuilder) {
        let ids = self.code.adopt(code);
        let base = self.out.steps();
        if let Some(time) = path.first_exact {
            self.close(Timestamp(time));
        }
        for run in path.trace.runs() {
            self.out.push(Run {
                block: ids[run.block.0 as usize],
                count: run.count,
            });
        }
        self.out
            .gaps
            .extend(path.trace.gaps.into_iter().map(|mut gap| {
                gap.step += base;
                gap.reason.rename_blocks(|block| ids[block.0 as usize]);
                gap
            }));
        let first = self.out.events.len();
        self.out
            .events
            .extend(path.trace.events.into_iter().map(|mut event| {
                event.step += base;
                event
            }));
        if path.first_exact.is_some() {
            self.open_event = self.out.events.len() - path.open_events;
        } else {
            self.open_event = self.open_event.min(first);
        }
        self.append_marks(&path.trace.times, base, path.first_exact, path.open_marks);
    }

    fn append_marks(&mut self, times: &[TimeMark], base: u64, exact: Option<u64>, open: usize) {
        for mark in times {
            let step = mark.step + base;
            keep_mark(&mut self.out.times, TimeMark { step, ..*mark });
        }
        let open = self.out.times.len().saturating_sub(open);
        self.open_mark = match exact {
            Some(_) => open,
            None => self.open_mark.min(open),
        };
    }

    /// An exact time bounds what was open.
    fn close(&mut self, time: Timestamp) {
        for mark in &mut self.out.times[self.open_mark..] {
            mark.time.latest = mark.time.latest.min(time);
        }
        for event in &mut self.out.events[self.open_event..] {
            event.time.latest = event.time.latest.min(time);
        }
    }

    /// The blocks so far.
    pub fn code(&self) -> &rept_trace::Code {
        self.code.code()
    }

    /// Hands out the path so far, so that it need not be kept: the number of steps before it,
    /// and the rest, whose steps count from there. Upper bounds in time that only a later part
    /// tells are open in it.
    pub fn take(&mut self) -> (u64, ThreadTrace) {
        let first = self.handed_out;
        let empty = ThreadTrace::new(self.out.thread);
        let taken = std::mem::replace(&mut self.out, empty);
        self.handed_out += taken.steps();
        self.open_mark = 0;
        self.open_event = 0;
        (first, taken)
    }

    /// The path, behind the last part: what was not handed out.
    pub fn finish(mut self) -> ThreadTrace {
        if let Seam::Missed(part) = std::mem::replace(&mut self.seam, Seam::Start) {
            let decoded = part.decode(self.image, &self.options);
            self.append(decoded.path, decoded.code);
        }
        self.out
    }
}

impl DecodedPart {
    /// Whether the part is what it would be behind `before`.
    fn follows(&self, before: &State) -> bool {
        let Some(entry) = &self.entry else {
            return false;
        };
        let mut alike = entry.clone();
        alike.compression_seen = before.compression_seen;
        alike == *before && !(before.compression_seen && self.path.undecided)
    }

    /// The part behind others, in which a compressed return was perhaps seen.
    fn after(mut self, compression_seen: bool) -> DecodedPart {
        if let Some((_, state)) = &mut self.exit {
            state.compression_seen |= compression_seen;
        }
        self
    }
}
