//! Events in the words of the reference decoder's listing.

use crate::captures::Capture;
use rept_decode::packet::cfe_name;
use rept_trace::{Address, Code, Event, EventKind, Gap, GapReason, ThreadTrace, Trace};

/// Events in the reference's words, one after the other.
pub struct Words<'a> {
    code: &'a Code,
    thread: &'a ThreadTrace,
    // Where execution would go on if tracing were switched on again.
    left_at: Option<Address>,
    // Where it was switched on last, and before which step.
    enabled_at: (u64, Option<Address>),
    // Event data whose event comes next.
    data: Data,
}

/// What event data packets told.
#[derive(Clone, Copy, Default)]
struct Data {
    cr2: Option<u64>,
    reason: Option<u64>,
    qualification: Option<u64>,
}

impl<'a> Words<'a> {
    pub fn of(trace: &'a Trace) -> Words<'a> {
        Words {
            code: &trace.code,
            thread: &trace.threads[0],
            left_at: None,
            enabled_at: (0, None),
            data: Data::default(),
        }
    }

    /// Address behind the last step before `step`.
    fn behind(&self, step: u64) -> Option<Address> {
        let (run, index) = self.thread.locate(step.checked_sub(1)?)?;
        let block = self.code.block(self.thread.runs()[run].block);
        let len = block.instruction_bytes(index).len() as u64;
        Some(block.address(index).offset(len))
    }

    /// Where a change of mode takes effect.
    fn mode_at(&self, step: u64) -> String {
        let (enabled_step, enabled) = self.enabled_at;
        let at = enabled.filter(|_| enabled_step == step);
        let at = at.or_else(|| self.thread.address(self.code, step));
        optional(", ip: ", at)
    }

    /// `None` for what the reference does not list.
    pub fn event(&mut self, event: &Event) -> Option<String> {
        Some(match &event.kind {
            EventKind::Enabled { ip } => {
                self.enabled_at = (event.step, Some(*ip));
                let resumed = self.left_at == Some(*ip);
                let word = if resumed { "resumed" } else { "enabled" };
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
                format!("exec mode: {bitness}-bit{}", self.mode_at(event.step))
            }
            EventKind::Transaction { aborted: true, .. } => "aborted".to_owned(),
            EventKind::Transaction {
                in_transaction: true,
                ..
            } => "begin transaction".to_owned(),
            EventKind::Transaction { .. } => "committed".to_owned(),
            EventKind::Ptwrite { ip, payload, .. } => {
                format!("ptwrite: {payload:x}{}", optional(", ip: ", *ip))
            }
            EventKind::BlockItem { .. } => return None,
            EventKind::Other { name, ip, payload } => {
                let text = self.other(name, *payload)?;
                match *name {
                    "IF" => format!("{text}{}", self.mode_at(event.step)),
                    _ => format!("{text}{}", optional(", ip: ", *ip)),
                }
            }
            other => format!("{other:?}"),
        })
    }

    fn other(&mut self, name: &str, payload: u64) -> Option<String> {
        let bits = |low: u32, len: u32| payload >> low & ((1 << len) - 1);
        // The reference calls a state by its name, the packet has the one before.
        let state = |low| (bits(low, 4) + 1) & 15;
        Some(match name {
            "CBR" => format!("cbr: {payload:x}"),
            "PIP" => format!(
                "paging, cr3: {:016x}{}",
                payload >> 1 << 5,
                if payload & 1 == 1 { ", nr" } else { "" }
            ),
            "VMCS" => format!("vmcs, base: {payload:016x}"),
            "TraceStop" => "stopped".to_owned(),
            "EXSTOP" => "exstop".to_owned(),
            "MWAIT" => format!("mwait {:x} {:x}", bits(0, 32), payload >> 32),
            "PWRE" => {
                let hardware = if bits(7, 1) == 1 { " hw" } else { "" };
                format!("pwre c{}.{}{hardware}", state(12), state(8))
            }
            "PWRX" => {
                let reasons = [(8, "int: "), (10, "st: "), (11, "hw: ")];
                let told = reasons.iter().filter(|(bit, _)| bits(*bit, 1) == 1);
                let told: String = told.map(|(_, text)| *text).collect();
                format!("pwrx {told}c{} (c{})", state(4), state(0))
            }
            "MNT" => format!("mnt: {payload:x}"),
            "IF" if payload == 1 => "interrupts enabled".to_owned(),
            "IF" => "interrupts disabled".to_owned(),
            "TRIG" => {
                let multiple = if bits(24, 1) == 1 { ", mult" } else { "" };
                format!("trig {:02x}{multiple}", bits(0, 8))
            }
            "CFE" => return self.control_flow_event(bits(0, 8) as u8, bits(8, 8)),
            _ => {
                match name {
                    "EVD.CR2" => self.data.cr2 = Some(payload),
                    "EVD.VMXQ" => self.data.qualification = Some(payload),
                    "EVD.VMXR" => self.data.reason = Some(payload),
                    _ => {}
                }
                return None;
            }
        })
    }

    fn control_flow_event(&mut self, kind: u8, vector: u64) -> Option<String> {
        let data = std::mem::take(&mut self.data);
        let hex = |label: &str, value: Option<u64>| {
            value.map_or(String::new(), |value| format!("{label}{value:016x}"))
        };
        Some(match cfe_name(kind) {
            "INTR" => format!("interrupt {vector}{}", hex(", cr2: ", data.cr2)),
            "SIPI" => format!("sipi: {vector:x}"),
            name @ ("UINTR" | "SWINTR") => format!("{} {vector}", name.to_lowercase()),
            name @ ("VMEXIT" | "VMEXIT_INTR") => {
                let intr = match name {
                    "VMEXIT" => String::new(),
                    _ => format!(", intr: {vector}"),
                };
                let reason = hex(", vmxr: ", data.reason);
                let qualification = hex(", vmxq: ", data.qualification);
                format!("vmexit{intr}{reason}{qualification}")
            }
            "reserved" => return None,
            name => name.to_lowercase(),
        })
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
    let mut words = Words::of(trace);
    // The reference listing leaves these out for user code.
    let listed = |event: &&Event| {
        !matches!(
            event.kind,
            EventKind::Other {
                name: "PIP" | "VMCS",
                ..
            } | EventKind::Transaction { .. }
        )
    };
    let found: Vec<String> = thread
        .events
        .iter()
        .filter(listed)
        .filter_map(|event| Some(format!("{}\t[{}]", event.step, words.event(event)?)))
        .collect();
    let expected: Vec<&str> = capture
        .events
        .lines()
        .filter(|line| !line.contains(": error: "))
        .collect();
    let differs = (0..found.len().max(expected.len()))
        .find(|&line| found.get(line).map(String::as_str) != expected.get(line).copied());
    if let Some(line) = differs {
        panic!(
            "{} event {line}: {:?}, expected {:?}",
            capture.name,
            found.get(line),
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
