//! Recovered values as text, so that nobody takes them for more than they are.

use crate::history::{History, Inference, Location, Rule, Stage, Trust, Unknown, Value};
use crate::position::Position;
use rept_recover::bits::mask;

/// How the notation is to be read.
pub const LEGEND: &str = "\
0x2a certain: follows from dump, binaries and control flow alone
~0x2a assumed: also that functions keep to the calling convention
~~0x2a inferred: also that no store with an unknown address was in the way
0x2? some bits known   ? unknown, and why";

/// The low `bits` bits of a value: 1 to 64.
///
/// A hexadecimal digit with an unknown bit is `?`. The mark in front is that of the
/// least trusted bit shown.
pub fn known_part(value: Value, bits: u32) -> Option<String> {
    let mask = mask(bits);
    let known = value.known & mask;
    if known == 0 {
        return None;
    }
    let mark = mark(grade(value, known));
    if known == mask {
        return Some(format!("{mark}0x{:x}", value.bits & mask));
    }
    let digits: String = (0..bits.div_ceil(4))
        .rev()
        .map(|digit| partial_digit(value, mask, digit * 4))
        .collect();
    if digits.chars().all(|digit| digit == '?') {
        return Some(format!(
            "{mark}? ({} of {bits} bits known)",
            known.count_ones()
        ));
    }
    Some(format!("{mark}0x{digits}"))
}

/// What is put in front of a value of a grade.
pub fn mark(grade: Trust) -> &'static str {
    match grade {
        Trust::Certain => "",
        Trust::Assumed => "~",
        Trust::Inferred => "~~",
    }
}

/// The grade of the least trusted of these known bits.
pub fn grade(value: Value, bits: u64) -> Trust {
    if bits & !value.certain == 0 {
        Trust::Certain
    } else if bits & !value.assumed == 0 {
        Trust::Assumed
    } else {
        Trust::Inferred
    }
}

fn partial_digit(value: Value, mask: u64, shift: u32) -> char {
    let wanted = mask >> shift & 0xf;
    if value.known >> shift & wanted == wanted {
        char::from_digit((value.bits >> shift & wanted) as u32, 16).unwrap_or('?')
    } else {
        '?'
    }
}

/// The value, or `?` and the reason.
pub fn shown(value: Value, bits: u32, why: impl FnOnce() -> Option<Unknown>) -> String {
    known_part(value, bits).unwrap_or_else(|| match why() {
        Some(reason) => format!("? ({})", sentence(reason)),
        None => "?".to_owned(),
    })
}

/// The reason as a word for scripts.
pub fn reason_name(reason: Unknown) -> &'static str {
    match reason {
        Unknown::BeforeWindow => "before_window",
        Unknown::Overwritten => "overwritten",
        Unknown::Syscall => "syscall",
        Unknown::NotInvertible => "not_invertible",
        Unknown::NotInDump => "not_in_dump",
        Unknown::TraceGap => "trace_gap",
        Unknown::Conflict => "conflict",
        Unknown::Race => "race",
        Unknown::Unsupported => "unsupported",
        Unknown::AddressUnknown => "address_unknown",
        Unknown::Budget => "budget",
        _ => "other",
    }
}

/// The reason in words.
pub fn sentence(reason: Unknown) -> &'static str {
    match reason {
        Unknown::BeforeWindow => "from before the recorded window, overwritten since",
        Unknown::Overwritten => "overwritten, and nothing that survives depends on it",
        Unknown::Syscall => "written by the kernel",
        Unknown::NotInvertible => "lost in an instruction that cannot be inverted",
        Unknown::NotInDump => "not in the dump",
        Unknown::TraceGap => "steps are missing",
        Unknown::Conflict => "facts contradict each other",
        Unknown::Race => "another thread may have written it meanwhile",
        Unknown::Unsupported => "written by an instruction that rept does not model",
        Unknown::AddressUnknown => "at an unknown address",
        Unknown::Budget => "recovery reached its limit",
        _ => "for a reason that this version of the command does not know",
    }
}

/// A rule of inference in words.
pub fn rule(rule: Rule) -> &'static str {
    match rule {
        Rule::FinalState => "the registers of the dump, or sampled ones, say so",
        Rule::Code => "a constant of the instruction",
        Rule::ControlFlow => "the step led there",
        Rule::Instruction => "the instruction relates it to the others",
        Rule::Unwritten => "nothing wrote to the place in between",
        Rule::Dump => "nothing wrote to the place up to the dump",
        Rule::Convention => "the calling convention keeps it",
        Rule::Candidate => "no other pointer fits what was accessed through it",
        _ => "by a rule that this version of the command does not know",
    }
}

/// How far optimism had to go: `certain`, `assumed`, `inferred:2`.
pub fn stage(stage: Stage) -> String {
    match stage {
        Stage::Certain => "certain".to_owned(),
        Stage::Assumed => "assumed".to_owned(),
        Stage::Inferred(stage) => format!("inferred:{stage}"),
    }
}

/// How a location came to be known just before a position, from inference to inference, one line each;
/// where not all of it is known, why not.
pub fn why_lines(history: &History, location: Location, at: Position, limit: usize) -> Vec<String> {
    let mut lines: Vec<String> = history
        .why_known_back(location, at, limit)
        .iter()
        .map(inference)
        .collect();
    let unknown = history.why_unknown(location, at);
    lines.extend(
        unknown.map(|reason| format!("{location} is not wholly known: {}", sentence(reason))),
    );
    lines
}

fn inference(inference: &Inference) -> String {
    let Inference {
        location,
        known_at,
        at,
        level,
        ..
    } = inference;
    let mut text = format!(
        "{location} before {known_at} is {}, level {level}: {} ({at})",
        stage(inference.stage),
        rule(inference.rule),
    );
    let named = |addressing: bool| {
        let sources = inference.sources.iter();
        let wanted = sources.filter(move |source| source.addressing == addressing);
        let texts: Vec<String> = wanted
            .map(|source| format!("{} before {}", source.location, source.at))
            .collect();
        texts.join(", ")
    };
    for (what, sources) in [("from", named(false)), ("placed by", named(true))] {
        if !sources.is_empty() {
            text += &format!("; {what} {sources}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(bits: u64, known: u64, assumed: u64, certain: u64) -> Value {
        Value {
            bits,
            known,
            certain,
            assumed,
        }
    }

    #[test]
    fn the_mark_is_that_of_the_least_trusted_bit() {
        let all = u64::MAX;
        let show = |value| known_part(value, 64).unwrap();
        assert_eq!(show(value(0x2a, all, all, all)), "0x2a");
        assert_eq!(show(value(0x2a, all, all, all << 1)), "~0x2a");
        assert_eq!(show(value(0x2a, all, all << 1, all << 1)), "~~0x2a");
    }

    #[test]
    fn unknown_digits_are_question_marks() {
        let partly = value(0x1205, 0xff0f, 0xff0f, 0xff0f);
        assert_eq!(known_part(partly, 16).as_deref(), Some("0x12?5"));
        assert_eq!(known_part(partly, 32).as_deref(), Some("0x????12?5"));
        assert_eq!(known_part(value(0, 0, 0, 0), 16), None);
        assert_eq!(
            known_part(value(1, 3, 3, 3), 64).as_deref(),
            Some("? (2 of 64 bits known)")
        );
        assert_eq!(known_part(value(1, 1, 1, 1), 1).as_deref(), Some("0x1"));
    }

    #[test]
    fn what_is_unknown_has_a_reason() {
        let unknown = shown(Value::default(), 64, || Some(Unknown::Syscall));
        assert_eq!(unknown, "? (written by the kernel)");
        assert_eq!(shown(Value::default(), 64, || None), "?");
    }
}
