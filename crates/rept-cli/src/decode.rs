//! `rept decode`: the trace alone, one step a line.

use rept_order::Segment;
use rept_trace::{Gap, ThreadTrace, TimeMark, Timestamp, Trace};
use std::io::{self, Write};

/// Prints `tid time ip` for every step in sequence order, or for those of one thread.
///
/// The time is the time-stamp counter at the last timing packet before the step, `-`
/// before the first. Missing steps are a line `tid gap: reason`.
///
/// # Errors
/// Those of writing.
pub(crate) fn decode(
    trace: &Trace,
    sequence: &[Segment],
    only: Option<u32>,
    out: &mut dyn Write,
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
            print_gap(thread, gap, out)?;
        }
    }
    Ok(())
}

fn print_segment(
    trace: &Trace,
    thread: &ThreadTrace,
    segment: &Segment,
    out: &mut dyn Write,
) -> io::Result<()> {
    let (first, end) = (segment.first, segment.first + segment.steps);
    let mut gaps = gaps_in(thread, first..end).peekable();
    let passed = thread.times.partition_point(|mark| mark.step <= first);
    let mut marks = thread.times[passed..].iter().peekable();
    let mut now = passed.checked_sub(1).map(|last| time(&thread.times[last]));
    for (step, ip) in (first..end).zip(thread.addresses(&trace.code, first)) {
        while let Some(gap) = gaps.next_if(|gap| gap.step <= step) {
            print_gap(thread, gap, out)?;
        }
        while let Some(mark) = marks.next_if(|mark| mark.step <= step) {
            now = Some(time(mark));
        }
        match now {
            Some(Timestamp(ticks)) => writeln!(out, "{:>7} {ticks:>15} {ip:x}", thread.thread)?,
            None => writeln!(out, "{:>7} {:>15} {ip:x}", thread.thread, "-")?,
        }
    }
    Ok(())
}

fn time(mark: &TimeMark) -> Timestamp {
    mark.time.earliest
}

fn gaps_in(thread: &ThreadTrace, steps: std::ops::Range<u64>) -> impl Iterator<Item = &Gap> {
    thread
        .gaps
        .iter()
        .filter(move |gap| steps.contains(&gap.step))
}

fn print_gap(thread: &ThreadTrace, gap: &Gap, out: &mut dyn Write) -> io::Result<()> {
    write!(
        out,
        "{:>7} gap: {}, at byte {:#x} of the thread's trace",
        thread.thread, gap.reason, gap.offset
    )?;
    match gap.at {
        Some(at) => writeln!(out, ", decoding stood at {at}"),
        None => writeln!(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_trace::{Address, Block, BlockId, Code, GapReason, Interval, Run, ThreadId};

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

    fn decoded(only: Option<u32>) -> String {
        let time = Interval::UNKNOWN;
        let sequence = [Segment {
            thread: 0,
            first: 0,
            steps: 3,
            time,
        }];
        let mut out = Vec::new();
        decode(&trace(), &sequence, only, &mut out).unwrap();
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
        assert_eq!(decoded(None), expect);
        assert_eq!(decoded(Some(9)), expect);
        assert_eq!(decoded(Some(8)), "");
    }
}
