//! `rept decode`: the trace alone, one step a line.

use rept_order::Segment;
use rept_trace::{Address, Code, Gap, ThreadId, ThreadTrace, TimeMark, Timestamp, Trace};
use serde::Serialize;
use std::io::{self, Write};
use std::ops::Range;

/// Prints `tid time ip` for every step in sequence order, or for those of one thread.
///
/// The time is the time-stamp counter at the last timing packet before the step, `-`
/// before the first. Missing steps are a line `tid gap: reason`. With JSON each line is an object.
///
/// # Errors
/// Those of writing.
pub(crate) fn decode(
    trace: &Trace,
    sequence: &[Segment],
    only: Option<u32>,
    out: &mut Lines<'_>,
) -> io::Result<()> {
    for segment in sequence {
        let thread = &trace.threads[segment.thread as usize];
        if only.is_none_or(|tid| tid == thread.thread.0) {
            print_segment(trace, thread, segment, out)?;
        }
    }
    let wanted = trace
        .threads
        .iter()
        .filter(|thread| only.is_none_or(|tid| tid == thread.thread.0));
    for thread in wanted {
        for gap in gaps_in(thread, thread.steps()..u64::MAX) {
            out.gap(thread.thread, gap)?;
        }
    }
    Ok(())
}

/// Prints a thread's steps as they are decoded.
pub(crate) struct Printer<'o> {
    out: Lines<'o>,
    // Time at the last timing packet before what comes next.
    now: Option<Timestamp>,
}

impl<'o> Printer<'o> {
    pub(crate) fn new(out: Lines<'o>) -> Printer<'o> {
        Printer { out, now: None }
    }

    /// Prints the next piece of the path.
    ///
    /// # Errors
    /// Those of writing.
    pub(crate) fn piece(&mut self, code: &Code, piece: &ThreadTrace) -> io::Result<()> {
        let steps = 0..piece.steps();
        self.now = print_steps(code, piece, steps, self.now, &mut self.out)?;
        self.now = piece.times.last().map(time).or(self.now);
        let mut behind = gaps_in(piece, piece.steps()..u64::MAX);
        behind.try_for_each(|gap| self.out.gap(piece.thread, gap))?;
        self.out.before += piece.steps();
        Ok(())
    }
}

/// Writes steps and gaps, one a line.
pub(crate) struct Lines<'o> {
    out: &'o mut dyn Write,
    json: bool,
    /// Steps of the thread that came before those that are counted from 0.
    before: u64,
}

/// A step for scripts, or the gap before it.
#[derive(Serialize)]
struct Line<'a> {
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pc: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tsc: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<String>,
}

impl<'o> Lines<'o> {
    /// In columns, or as JSON: fields are added, never renamed.
    pub(crate) fn new(out: &'o mut dyn Write, json: bool) -> Lines<'o> {
        let before = 0;
        Lines { out, json, before }
    }

    fn at(&self, thread: ThreadId, step: u64) -> String {
        format!("{thread}:{}", self.before + step)
    }

    fn step(
        &mut self,
        (thread, step): (ThreadId, u64),
        now: Option<Timestamp>,
        ip: Address,
    ) -> io::Result<()> {
        if self.json {
            return self.json(&Line {
                at: self.at(thread, step),
                pc: Some(ip.to_string()),
                tsc: now.map(|now| now.0),
                gap: None,
                offset: None,
            });
        }
        match now {
            Some(Timestamp(ticks)) => writeln!(self.out, "{thread:>7} {ticks:>15} {ip:x}"),
            None => writeln!(self.out, "{thread:>7} {:>15} {ip:x}", "-"),
        }
    }

    fn gap(&mut self, thread: ThreadId, gap: &Gap) -> io::Result<()> {
        if self.json {
            return self.json(&Line {
                at: self.at(thread, gap.step),
                pc: gap.at.map(|at| at.to_string()),
                tsc: None,
                gap: Some(&gap.reason.to_string()),
                offset: Some(format!("{:#x}", gap.offset)),
            });
        }
        write!(
            self.out,
            "{thread:>7} gap: {}, at byte {:#x} of the thread's trace",
            gap.reason, gap.offset
        )?;
        match gap.at {
            Some(at) => writeln!(self.out, ", decoding stood at {at}"),
            None => writeln!(self.out),
        }
    }

    fn json(&mut self, line: &Line<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, line)?;
        writeln!(self.out)
    }
}

fn print_segment(
    trace: &Trace,
    thread: &ThreadTrace,
    segment: &Segment,
    out: &mut Lines<'_>,
) -> io::Result<()> {
    let steps = segment.first..segment.first + segment.steps;
    let passed = thread
        .times
        .partition_point(|mark| mark.step <= steps.start);
    let now = passed.checked_sub(1).map(|last| time(&thread.times[last]));
    print_steps(&trace.code, thread, steps, now, out).map(drop)
}

/// Prints steps and the gaps before them; returns the time at the last.
fn print_steps(
    code: &Code,
    thread: &ThreadTrace,
    steps: Range<u64>,
    mut now: Option<Timestamp>,
    out: &mut Lines<'_>,
) -> io::Result<Option<Timestamp>> {
    let mut gaps = gaps_in(thread, steps.clone()).peekable();
    let passed = thread.times.partition_point(|mark| mark.step < steps.start);
    let mut marks = thread.times[passed..].iter().peekable();
    for (step, ip) in steps.clone().zip(thread.addresses(code, steps.start)) {
        while let Some(gap) = gaps.next_if(|gap| gap.step <= step) {
            out.gap(thread.thread, gap)?;
        }
        while let Some(mark) = marks.next_if(|mark| mark.step <= step) {
            now = Some(time(mark));
        }
        out.step((thread.thread, step), now, ip)?;
    }
    Ok(now)
}

fn time(mark: &TimeMark) -> Timestamp {
    mark.time.earliest
}

fn gaps_in(thread: &ThreadTrace, steps: Range<u64>) -> impl Iterator<Item = &Gap> {
    thread
        .gaps
        .iter()
        .filter(move |gap| steps.contains(&gap.step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_trace::{Address, Block, BlockId, GapReason, Interval, Run, ThreadId};

    fn trace() -> Trace {
        let block = Block {
            at: Address(0x40),
            bytes: [0x90, 0x90].into(),
            starts: [0, 1].into(),
            bitness: 64,
        };
        let mut thread = ThreadTrace::new(ThreadId(9));
        thread.push(Run {
            block: BlockId(0),
            count: 2,
        });
        thread.push(Run {
            block: BlockId(0),
            count: 1,
        });
        let time = Interval {
            earliest: Timestamp(500),
            latest: Timestamp(600),
        };
        thread.times.push(TimeMark { step: 1, time });
        let gap = |step, at| Gap {
            step,
            offset: 0x20,
            at,
            reason: GapReason::Overflow,
        };
        thread.gaps = vec![gap(2, Some(Address(0x42))), gap(3, None)];
        Trace {
            code: Code::new(vec![block]),
            threads: vec![thread],
        }
    }

    fn decoded(only: Option<u32>, json: bool) -> String {
        let time = Interval::UNKNOWN;
        let sequence = [Segment {
            thread: 0,
            first: 0,
            steps: 3,
            time,
        }];
        let mut out = Vec::new();
        let mut lines = Lines::new(&mut out, json);
        decode(&trace(), &sequence, only, &mut lines).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn steps_times_and_gaps_in_order() {
        let expect = "      9               - 40
      9             500 41
      9 gap: the processor dropped packets (OVF), at byte 0x20 of the thread's trace, decoding stood at 0x42
      9             500 40
      9 gap: the processor dropped packets (OVF), at byte 0x20 of the thread's trace
";
        assert_eq!(decoded(None, false), expect);
        assert_eq!(decoded(Some(9), false), expect);
        assert_eq!(decoded(Some(8), false), "");
    }

    #[test]
    fn scripts_are_told_the_same() {
        let expect = r#"{"at":"9:0","pc":"0x40"}
{"at":"9:1","pc":"0x41","tsc":500}
{"at":"9:2","pc":"0x42","gap":"the processor dropped packets (OVF)","offset":"0x20"}
{"at":"9:2","pc":"0x40","tsc":500}
{"at":"9:3","gap":"the processor dropped packets (OVF)","offset":"0x20"}
"#;
        assert_eq!(decoded(None, true), expect);
    }

    /// The same thread in pieces, with what lies behind a piece's steps at its end or at the begin of the next.
    #[test]
    fn pieces_are_printed_like_the_whole() {
        let whole = trace();
        let [thread] = &whole.threads[..] else {
            unreachable!()
        };
        for (cut, json) in [(1, false), (2, false), (1, true), (2, true)] {
            let mut pieces = [ThreadTrace::new(ThreadId(9)), ThreadTrace::new(ThreadId(9))];
            let runs: &[&[u16]] = if cut == 2 {
                &[&[2], &[1]]
            } else {
                &[&[2, 1], &[]]
            };
            for (piece, counts) in pieces.iter_mut().zip(runs) {
                for &count in *counts {
                    piece.push(Run {
                        block: BlockId(0),
                        count,
                    });
                }
            }
            let len = pieces[0].steps();
            pieces[0].times.clone_from(&thread.times);
            for gap in &thread.gaps {
                let late = gap.step > len || (gap.step == len && cut == 2);
                let step = if late { gap.step - len } else { gap.step };
                pieces[usize::from(late)].gaps.push(Gap {
                    step,
                    ..gap.clone()
                });
            }
            let mut out = Vec::new();
            let mut printer = Printer::new(Lines::new(&mut out, json));
            for piece in &pieces {
                printer.piece(&whole.code, piece).unwrap();
            }
            assert_eq!(String::from_utf8(out).unwrap(), decoded(None, json));
        }
    }
}
