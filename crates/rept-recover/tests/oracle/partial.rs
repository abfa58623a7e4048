//! Partial knowledge of real executions, with masks that shrink.
//!
//! The native judge hides random bits too; here a failure comes down to the fewest revealed
//! bits, and is kept in `regressions.txt` beside this file.

use crate::fit;
use crate::forms::{self, Instance, Place};
use crate::judge::Execution;
use crate::machine::Machine;
use crate::random::Random;
use crate::state::World;
use iced_x86::{Code, InstructionInfoFactory};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use rept_recover::lift::{ALL_FLAGS, lift};
use rept_trace::Address;
use std::cell::RefCell;

/// A machine and the codes that it may be asked to run.
struct Laboratory {
    machine: Machine,
    codes: Vec<Code>,
}

thread_local! {
    static LABORATORY: RefCell<Option<Laboratory>> = RefCell::new(laboratory());
}

fn laboratory() -> Option<Laboratory> {
    let codes = Code::values().filter(|&code| fit::unfit(code).is_none());
    Some(Laboratory {
        machine: Machine::new()?,
        codes: codes.collect(),
    })
}

/// Runs one instance on one state and narrows what the masks reveal; no news where the
/// processor cannot run it.
fn check(choice: u16, seed: u64, masks: &[u64]) -> Result<(), String> {
    LABORATORY.with_borrow_mut(|laboratory| {
        let Some(Laboratory { machine, codes }) = laboratory else {
            return Ok(());
        };
        let code = codes[usize::from(choice) % codes.len()];
        let mut random = Random::new(seed);
        let place = Place {
            at: machine.slot(),
            data: machine.setting().scratch + 512,
            bitness: 64,
        };
        let instances = forms::instances(code, place, 2, &mut random);
        let plain = |i: &&Instance| i.instruction.code() == code && !i.is_foreign();
        let runnable: Vec<&Instance> = instances.iter().filter(plain).collect();
        if runnable.is_empty() {
            return Ok(());
        }
        narrow(machine, random.pick(&runnable), &mut random, masks)
    })
}

fn narrow(
    machine: &mut Machine,
    instance: &Instance,
    random: &mut Random,
    masks: &[u64],
) -> Result<(), String> {
    let setting = machine.setting();
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(&instance.instruction);
    let Some(before) = World::random(setting, &instance.instruction, info, random) else {
        return Ok(());
    };
    machine.load(&instance.bytes, fit::branches(instance.code));
    let Ok(after) = machine.run(&before) else {
        return Ok(());
    };
    let effect = lift(&instance.bytes, Address(instance.place.at), 64, ALL_FLAGS);
    let execution = Execution {
        setting,
        before: &before,
        after: &after,
    };
    let mut masks = masks.iter().copied().cycle();
    execution
        .inverse_under(&effect, &execution.truths(&effect), || {
            masks.next().unwrap_or(0)
        })
        .map(|_| ())
        .map_err(|wrong| format!("{instance}: {wrong}"))
}

fn mask() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(u64::MAX),
        any::<u64>(),
        (any::<u64>(), any::<u64>()).prop_map(|(x, y)| x & y),
        (0..64u32, 0..64u32).prop_map(|(up, down)| u64::MAX << up >> down),
    ]
}

/// Cases of a run: ten times the states per form that were asked for.
fn cases() -> u32 {
    crate::states(1000) as u32 * 10
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/oracle/regressions.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn partial_knowledge_never_excludes_what_happened(
        choice: u16,
        seed: u64,
        masks in prop::collection::vec(mask(), 1..24),
    ) {
        prop_assert_eq!(check(choice, seed, &masks), Ok(()));
    }
}
