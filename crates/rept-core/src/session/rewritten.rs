//! What the trace itself proves of code that was written anew while the program ran.
//!
//! Of code in writable memory the dump has the last version only. A path through another one does not
//! fit the packets for long: decoding fails, in that code or, as it used up packets that were not its
//! own, somewhere behind. So where decoding failed on a path that led through such code, all that ran
//! in its memory up to then may have been other code. The image is told so, and the streams are decoded
//! anew: what was walked over by mistake becomes gaps, of every thread, by the times of the trace.

use crate::diagnostics::{Diagnostic, Subject};
use crate::image::ProcessImage;
use rept_trace::{Address, Block, Code, Gap, GapReason, ThreadTrace, Timestamp, Trace};

/// Times that streams are decoded until what was rewritten is taken for unknown altogether.
const MAX_ROUNDS: usize = 4;

/// Memory whose code was another before a time, or at any time: by where it begins.
type Rewritten = Vec<(Address, Option<Timestamp>)>;

/// What the gaps of a path prove.
fn proved(image: &ProcessImage<'_>, code: &Code, thread: &ThreadTrace) -> Rewritten {
    let start_of = |block: &Block| image.changeable(block.at);
    let starts: Vec<Option<Address>> = code.blocks().iter().map(start_of).collect();
    let mut proved = Rewritten::new();
    // Where the path led since it was last known for sure, and where its newest run was.
    let mut led: Vec<Address> = Vec::new();
    let mut newest = None;
    let mut runs = thread.runs().iter();
    let mut step = 0;
    for gap in thread.gaps.iter().filter(|gap| !gap.reason.repeats()) {
        while step < gap.step {
            let Some(run) = runs.next() else { break };
            step += u64::from(run.count);
            newest = starts[run.block.0 as usize];
            led.extend(newest.filter(|start| !led.contains(start)));
        }
        let until = next_time(thread, gap.step);
        let blamed = blamed(image, gap, &led, newest).into_iter();
        proved.extend(blamed.map(|start| (start, until)));
        led.clear();
        newest = None;
    }
    proved
}

/// The memory whose code a gap shows to have been another.
fn blamed(
    image: &ProcessImage<'_>,
    gap: &Gap,
    led: &[Address],
    newest: Option<Address>,
) -> Vec<Address> {
    let here = gap.at.and_then(|at| image.changeable(at));
    match gap.reason {
        GapReason::UnexpectedPacket { .. } | GapReason::BadInstruction | GapReason::Limit => {
            led.iter().copied().chain(here).collect()
        }
        // The code led to where there is none.
        GapReason::MissingCode { .. } if here.is_none() => newest.into_iter().collect(),
        _ => Vec::new(),
    }
}

/// A time that is after all steps before `step`, if a timing packet behind it tells one.
fn next_time(thread: &ThreadTrace, step: u64) -> Option<Timestamp> {
    let behind = thread.times.partition_point(|mark| mark.step <= step);
    let (before, behind) = thread.times.split_at(behind);
    let last = before.last().map(|mark| mark.time.earliest);
    let mut later = behind.iter().map(|mark| mark.time.earliest);
    later.find(|&time| Some(time) > last)
}

/// Tells the image what the paths prove, in the last round without times; whether that was news.
pub(super) fn learn(image: &mut ProcessImage<'_>, trace: &Trace, round: usize) -> bool {
    if !image.gave_changeable() {
        return false;
    }
    let threads = trace.threads.iter();
    let proved = threads.flat_map(|thread| proved(image, &trace.code, thread));
    let proved: Rewritten = proved.collect();
    let mut is_news = false;
    for (start, until) in proved {
        let until = until.filter(|_| round + 1 < MAX_ROUNDS);
        is_news |= image.rewritten(start, until);
    }
    is_news
}

/// What to say of it.
pub(super) fn findings<'a>(image: &'a ProcessImage<'_>) -> impl Iterator<Item = Diagnostic> + 'a {
    image.all_rewritten().map(|(start, _)| {
        let message = format!(
            "the code in the memory at {start} was written anew while it was traced, and only what the dump has of it is known: what ran of it before is a gap"
        );
        Diagnostic::new(Subject::Trace, message)
    })
}
