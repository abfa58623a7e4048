//! How much of what real programs execute is modelled.

use crate::forms::{self, Place};
use crate::random::Random;
use iced_x86::{Code, FlowControl, Instruction, OpKind, RoundingControl};
use rept_recover::lift::{ALL_FLAGS, lift};
use rept_trace::Address;
use std::collections::BTreeMap;
use std::fmt;

/// Dynamic counts by mnemonic over recorded programs.
const EXECUTED: &str = include_str!("executed.txt");

/// Codes of one mnemonic: how many there are, and those that are not modelled.
#[derive(Default)]
struct Coverage {
    codes: usize,
    missing: Vec<Code>,
}

/// Shares of the dynamic instructions of the table.
pub(crate) struct Share {
    executed: u64,
    /// Of mnemonics all of whose user-mode codes are modelled.
    whole: u64,
    /// Mnemonics of which some code is not, with their count and those codes.
    gaps: Vec<(String, u64, Vec<Code>)>,
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} of {} dynamic instructions modelled",
            self.whole, self.executed
        )?;
        for (mnemonic, count, missing) in &self.gaps {
            writeln!(f, "  not modelled: {mnemonic} ({count}): {missing:?}")?;
        }
        Ok(())
    }
}

impl Share {
    /// Per million.
    pub(crate) fn modelled_ppm(&self) -> u64 {
        self.whole * 1_000_000 / self.executed
    }
}

/// Looks every mnemonic of the table up; panics on a name that iced does not know.
pub(crate) fn measure() -> Share {
    let coverage = coverage();
    let mut share = Share {
        executed: 0,
        whole: 0,
        gaps: Vec::new(),
    };
    for line in EXECUTED.lines().filter(|line| !line.starts_with('#')) {
        let (mnemonic, count) = line.split_once(' ').expect("mnemonic and count");
        let count: u64 = count.parse().expect("count");
        let coverage = coverage
            .get(mnemonic)
            .unwrap_or_else(|| panic!("{mnemonic} is no mnemonic"));
        share.executed += count;
        if coverage.missing.is_empty() && coverage.codes > 0 {
            share.whole += count;
        } else {
            share
                .gaps
                .push((mnemonic.to_owned(), count, coverage.missing.clone()));
        }
    }
    share
}

fn coverage() -> BTreeMap<String, Coverage> {
    let mut coverage: BTreeMap<String, Coverage> = BTreeMap::new();
    for code in Code::values().filter(|&code| in_user_mode(code)) {
        let entry = coverage
            .entry(format!("{:?}", code.mnemonic()).to_lowercase())
            .or_default();
        let place = Place {
            at: 0x20_0000,
            data: 0x30_0000,
            bitness: 64,
        };
        let instances = forms::instances(code, place, 3, &mut Random::new(1));
        let plain: Vec<_> = instances
            .iter()
            .filter(|i| i.instruction.code() == code && is_usual(&i.instruction))
            .collect();
        if plain.is_empty() {
            continue;
        }
        entry.codes += 1;
        if !plain
            .iter()
            .all(|i| lift(&i.bytes, Address(place.at), 64, ALL_FLAGS).modelled)
        {
            entry.missing.push(code);
        }
    }
    coverage
}

/// What compilers emit: neither control, debug and segment registers nor far transfers.
pub(crate) fn in_user_mode(code: Code) -> bool {
    use iced_x86::OpCodeOperandKind as Kind;
    let opcode = code.op_code();
    let system = opcode.op_kinds().iter().any(|kind| {
        matches!(
            kind,
            Kind::cr_reg
                | Kind::dr_reg
                | Kind::tr_reg
                | Kind::seg_reg
                | Kind::es
                | Kind::cs
                | Kind::ss
                | Kind::ds
                | Kind::fs
                | Kind::gs
        )
    });
    let indirect = matches!(
        code.flow_control(),
        FlowControl::IndirectBranch | FlowControl::IndirectCall
    );
    let far = indirect && opcode.op0_kind() == Kind::mem;
    opcode.mode64() && !opcode.is_privileged() && !system && !far
}

/// Compilers emit neither 32-bit addresses nor static rounding nor masked scalars.
fn is_usual(instruction: &Instruction) -> bool {
    let name = format!("{:?}", instruction.mnemonic());
    let scalar = name.ends_with("sd") || name.ends_with("ss");
    let short = |kind| {
        matches!(
            kind,
            OpKind::MemorySegESI | OpKind::MemoryESEDI | OpKind::MemorySegEDI
        )
    };
    let masked_scalar = scalar && instruction.has_op_mask();
    let rare = instruction.suppress_all_exceptions() || masked_scalar;
    let rounded = instruction.rounding_control() != RoundingControl::None;
    !(rounded || rare || instruction.op_kinds().any(short))
}
