//! Real executions of one instance, by which wrong meanings of it are judged.

use crate::access;
use crate::forms::Instance;
use crate::judge::Execution;
use crate::random::Random;
use crate::silicon::{Outcome, Processor};
use crate::state::{Setting, World};
use iced_x86::{InstructionInfo, InstructionInfoFactory};
use rept_recover::effect::Effect;
use std::panic::AssertUnwindSafe;

/// Who found fault with an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Objector {
    /// iced's access table.
    Access,
    /// The processor, or the one emulated.
    Processor,
}

pub(crate) struct Witness<'a> {
    instance: &'a Instance,
    info: InstructionInfo,
    executions: Vec<(World, World)>,
    setting: Setting,
}

impl<'a> Witness<'a> {
    /// Only what iced says of `instance`.
    pub(crate) fn of_access(setting: Setting, instance: &'a Instance) -> Witness<'a> {
        let mut factory = InstructionInfoFactory::new();
        Witness {
            instance,
            info: factory.info(&instance.instruction).clone(),
            executions: Vec::new(),
            setting,
        }
    }

    /// Runs `instance` on `count` states; `None` when it does not complete on any.
    pub(crate) fn record(
        processor: &mut impl Processor,
        instance: &'a Instance,
        count: usize,
        random: &mut Random,
    ) -> Option<Witness<'a>> {
        let mut witness = Witness::of_access(processor.setting(), instance);
        processor.load(instance);
        for _ in 0..count * 2 {
            let Some(before) = World::random(
                witness.setting,
                &instance.instruction,
                &witness.info,
                random,
            ) else {
                continue;
            };
            match processor.run(instance, &before) {
                Outcome::Completed(after) => witness.executions.push((before, *after)),
                Outcome::Faulted => {}
                Outcome::Lacking(_) => break,
            }
            if witness.executions.len() == count {
                break;
            }
        }
        (!witness.executions.is_empty()).then_some(witness)
    }

    /// Which judge finds fault with `effect`, if any. A mutant may name positions that its
    /// operation cannot have: that it panics then is notice enough.
    pub(crate) fn objection(&self, effect: &Effect, random: &mut Random) -> Option<Objector> {
        std::panic::catch_unwind(AssertUnwindSafe(|| {
            if self.access_objects(effect, random) {
                return Some(Objector::Access);
            }
            self.executions
                .iter()
                .any(|execution| self.processor_objects(execution, effect, random))
                .then_some(Objector::Processor)
        }))
        .unwrap_or(Some(Objector::Processor))
    }

    fn access_objects(&self, effect: &Effect, random: &mut Random) -> bool {
        let instruction = &self.instance.instruction;
        access::differences(self.instance, effect, &self.info, random)
            .iter()
            .any(|difference| access::explain(instruction, effect, difference).is_none())
    }

    fn processor_objects(
        &self,
        (before, after): &(World, World),
        effect: &Effect,
        random: &mut Random,
    ) -> bool {
        let execution = Execution {
            setting: self.setting,
            before,
            after,
        };
        let instruction = &self.instance.instruction;
        let excused = |word| crate::fit::excused(instruction, word);
        let open = crate::fit::leaves_open(self.setting, instruction, before);
        let Ok(outcome) = execution.forward(effect) else {
            return true;
        };
        let truths = execution.truths(effect);
        !open && execution.undetermined(effect, &outcome, excused).is_some()
            || execution.inverse(effect, &truths, random).is_err()
    }
}
