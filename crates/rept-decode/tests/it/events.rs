//! Events in the words of the reference decoder's listing.

use crate::captures::Capture;
use rept_trace::{Address, Code, Event, EventKind, Gap, GapReason, ThreadTrace, Trace};

/// Lists events and gaps of a thread, one a line, as `index<TAB>[text]`.
struct Listing<'a> {
    code: &'a Code,
    thread: &'a ThreadTrace,
    lines: Vec<String>,
    // Where execution would go on if tracing were switched on again.
    left_at: Option<Address>,
    // Where it was switched on last, and before which step.
    enabled_at: (u64, Option<Address>),
}

impl Listing<'_> {
    fn line(&mut self, step: u64, text: &str) {
        self.lines.push(format!("{step}\t[{text}]"));
    }

    /// Address behind the last step before `step`.
    fn behind(&self, step: u64) -> Option<Address> {
        let (run, index) = self.thread.locate(step.checked_sub(1)?)?;
        let block = self.code.block(self.thread.runs()[run].block);
        let len = block.instruction_bytes(index).len() as u64;
        Some(block.address(index).offset(len))
    }

    fn event(&mut self, event: &Event) {
        let text = match &event.kind {
            EventKind::Enabled { ip } => {
                self.enabled_at = (event.step, Some(*ip));
                let word = if self.left_at == Some(*ip) {
                    "resumed"
                } else {
                    "enabled"
                };
                format!("{word}, ip: {:016x}", ip.0)
            }
            EventKind::Disabled { ip } => {
                self.left_at = self.behind(event.step);
                format!("disabled{}", optional(", ip: ", *ip))
            }
            EventKind::AsyncDisabled { at, ip } => {
                self.left_at = Some(*at);
                format!("disabled, at: {:016x}{}", at.0, optional(", ip: ", *ip))
            }
            EventKind::AsyncBranch { from, to } => {
                format!("interrupt, from: {:016x}, to: {:016x}", from.0, to.0)
            }
            EventKind::Overflow { ip } => {
                self.left_at = None;
                format!("overflow{}", optional(", ip: ", *ip))
            }
            EventKind::ExecMode { bitness } => {
                let (step, enabled) = self.enabled_at;
                let at = enabled.filter(|_| step == event.step);
                let at = at.or_else(|| self.thread.address(self.code, event.step));
                format!("exec mode: {bitness}-bit{}", optional(", ip: ", at))
            }
            EventKind::Other {
                name: "CBR",
                payload,
                ..
            } => format!("cbr: {payload:x}"),
            // The reference listing leaves these out for user code.
            EventKind::Other {
                name: "PIP" | "VMCS",
                ..
            }
            | EventKind::Transaction { .. } => return,
            other => format!("{other:?}"),
        };
        self.line(event.step, &text);
    }
}

fn optional(label: &str, address: Option<Address>) -> String {
    address.map_or(String::new(), |address| {
        format!("{label}{:016x}", address.0)
    })
}

/// Steps at which decoding was given up. The reference says nothing about bytes before the
/// first PSB and lists an overflow as an event only.
fn gaps(thread: &ThreadTrace) -> Vec<u64> {
    let silent =
        |gap: &&Gap| !matches!(gap.reason, GapReason::BeforeFirstPsb | GapReason::Overflow);
    thread
        .gaps
        .iter()
        .filter(silent)
        .map(|gap| gap.step)
        .collect()
}

/// Steps of the reference's error lines, e.g. `6<TAB>[e18, 7ffff7df1950: error: …]`.
fn errors(listing: &str) -> Vec<u64> {
    let step = |line: &str| line.split_once('\t')?.0.parse().ok();
    listing
        .lines()
        .filter(|line| line.contains(": error: "))
        .filter_map(step)
        .collect()
}

/// Every event and every place of damage as the reference has them.
#[track_caller]
pub fn check(capture: &Capture, trace: &Trace) {
    let thread = &trace.threads[0];
    let mut listing = Listing {
        code: &trace.code,
        thread,
        lines: Vec::new(),
        left_at: None,
        enabled_at: (0, None),
    };
    for event in &thread.events {
        listing.event(event);
    }
    let expected: Vec<&str> = capture
        .events
        .lines()
        .filter(|line| !line.contains(": error: "))
        .collect();
    let differs = (0..listing.lines.len().max(expected.len()))
        .find(|&line| listing.lines.get(line).map(String::as_str) != expected.get(line).copied());
    if let Some(line) = differs {
        panic!(
            "{} event {line}: {:?}, expected {:?}",
            capture.name,
            listing.lines.get(line),
            expected.get(line)
        );
    }
    assert_eq!(
        gaps(thread),
        errors(&capture.events),
        "{}: places of damage",
        capture.name
    );
}
