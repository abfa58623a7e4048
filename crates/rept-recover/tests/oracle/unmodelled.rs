//! Which instructions of user mode are not modelled, and why.

use crate::forms::{self, Place};
use crate::random::Random;
use crate::share::in_user_mode;
use iced_x86::Code;
use rept_recover::lift::{ALL_FLAGS, lift};
use rept_trace::Address;
use std::collections::{BTreeMap, BTreeSet};

/// One reason a line, then a colon and its mnemonics.
const EXPLAINED: &str = include_str!("unmodelled.txt");

/// Mnemonics of which some form that user mode can run is not modelled, with those codes.
fn found() -> BTreeMap<String, Vec<Code>> {
    let place = Place {
        at: 0x20_0000,
        data: 0x30_0000,
        bitness: 64,
    };
    let mut missing: BTreeMap<String, Vec<Code>> = BTreeMap::new();
    for code in Code::values().filter(|&code| in_user_mode(code)) {
        let instances = forms::instances(code, place, 6, &mut Random::new(1));
        let unmodelled = instances
            .iter()
            .filter(|i| i.instruction.code() == code)
            .any(|i| !lift(&i.bytes, Address(place.at), 64, ALL_FLAGS).modelled);
        if unmodelled {
            let mnemonic = format!("{:?}", code.mnemonic()).to_lowercase();
            missing.entry(mnemonic).or_default().push(code);
        }
    }
    missing
}

/// Reasons by mnemonic.
fn explained() -> BTreeMap<&'static str, &'static str> {
    let lines = EXPLAINED.lines().filter(|line| !line.starts_with('#'));
    lines
        .flat_map(|line| {
            let (reason, mnemonics) = line.split_once(": ").expect("reason: mnemonics");
            mnemonics.split(' ').map(move |mnemonic| (mnemonic, reason))
        })
        .collect()
}

/// What is not modelled without a reason, and reasons for what is modelled.
pub(crate) fn unexplained() -> Vec<String> {
    let (found, explained) = (found(), explained());
    let names: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    let missing = names
        .iter()
        .filter(|name| !explained.contains_key(*name))
        .map(|name| format!("{name}: no reason why {:?} are not modelled", found[*name]));
    let stale = explained
        .iter()
        .filter(|(name, _)| !names.contains(*name))
        .map(|(name, reason)| format!("{name} is modelled, not {reason}"));
    missing.chain(stale).collect()
}
