//! Third oracle: the processor at hand, or one emulated from the manual.
//!
//! Each form is run on random states in several encodings. Forward, every bit that the effect
//! claims from the fully known state before must be what the processor left, registers and
//! memory that it does not claim to write must be as they were, and a modelled instruction
//! must determine all its defined outputs. Backward, random bits of real executions are hidden
//! and narrowing must not contradict the truth.

use crate::emulate::Emulator;
use crate::fit::{branches, excused, leaves_open, unfit};
use crate::forms::{self, Instance, Place};
use crate::judge::Execution;
use crate::machine::Machine;
use crate::random::Random;
use crate::state::{Setting, World};
use iced_x86::{Code, InstructionInfo, InstructionInfoFactory};
use rept_recover::effect::Effect;
use rept_recover::lift::{ALL_FLAGS, lift};
use rept_trace::Address;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much to run.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// Completed executions wanted per form.
    pub(crate) states: usize,
    /// Encodings per form; the states are dealt out among them.
    pub(crate) instances: usize,
    /// Partial-knowledge trials per execution.
    pub(crate) inverses: usize,
}

/// What became of one run of one instruction.
pub(crate) enum Outcome {
    Completed(Box<World>),
    /// It faulted, or nobody can say what comes out; another state may do.
    Faulted,
    /// This processor cannot run it on any state, because of this.
    Lacking(String),
}

/// Something that runs instructions.
pub(crate) trait Processor {
    fn setting(&self) -> Setting;
    /// Address at which instructions run.
    fn at(&self) -> u64;
    /// Why it had better not be asked to run this.
    fn refuses(&self, code: Code) -> Option<&'static str>;
    fn load(&mut self, instance: &Instance);
    fn run(&mut self, instance: &Instance, before: &World) -> Outcome;
}

impl Processor for Machine {
    fn setting(&self) -> Setting {
        Machine::setting(self)
    }

    fn at(&self) -> u64 {
        self.slot()
    }

    fn refuses(&self, code: Code) -> Option<&'static str> {
        unfit(code)
    }

    fn load(&mut self, instance: &Instance) {
        Machine::load(self, &instance.bytes, branches(instance.code));
    }

    fn run(&mut self, instance: &Instance, before: &World) -> Outcome {
        match Machine::run(self, before) {
            Ok(after) => Outcome::Completed(Box::new(after)),
            Err(fault) if fault.signal == libc::SIGILL => {
                let features = instance.code.cpuid_features();
                let wide = features
                    .iter()
                    .map(|f| format!("{f:?}"))
                    .find(|f| f.starts_with("AVX512"));
                Outcome::Lacking(format!(
                    "the processor lacks {}",
                    match wide {
                        Some(_) => "AVX-512".to_owned(),
                        None => format!("{features:?}"),
                    }
                ))
            }
            Err(_) => Outcome::Faulted,
        }
    }
}

impl Processor for Emulator {
    fn setting(&self) -> Setting {
        self.setting
    }

    fn at(&self) -> u64 {
        self.setting.scratch - 0x8000
    }

    fn refuses(&self, code: Code) -> Option<&'static str> {
        let opcode = code.op_code();
        (!opcode.is_instruction() || !opcode.mode64())
            .then_some("not an instruction of 64-bit mode")
    }

    fn load(&mut self, _: &Instance) {}

    fn run(&mut self, instance: &Instance, before: &World) -> Outcome {
        self.emulate(&instance.instruction, before)
    }
}

/// What was run and what came of it.
#[derive(Clone, Default)]
pub(crate) struct Tally {
    /// Forms of which some state completed.
    pub(crate) forms: usize,
    pub(crate) modelled: usize,
    pub(crate) instances: usize,
    pub(crate) executions: u64,
    pub(crate) inverses: u64,
    /// Bits of outputs, and in inverse trials of inputs, compared with the truth.
    pub(crate) bits: u64,
    pub(crate) faults: u64,
    /// Forms that were not run, by reason.
    pub(crate) skipped: BTreeMap<String, usize>,
    /// Codes that are modelled and yet were not run, by reason.
    pub(crate) unjudged: BTreeMap<String, Vec<Code>>,
    /// Forms of which fewer than half of the states wanted completed.
    pub(crate) scarce: Vec<String>,
    pub(crate) wrong: Vec<String>,
    /// Modelled forms that leave a defined output undetermined, with an example.
    pub(crate) imprecise: BTreeMap<String, String>,
}

impl Tally {
    fn merge(&mut self, other: Tally) {
        self.forms += other.forms;
        self.modelled += other.modelled;
        self.instances += other.instances;
        self.executions += other.executions;
        self.inverses += other.inverses;
        self.bits += other.bits;
        self.faults += other.faults;
        for (reason, count) in other.skipped {
            *self.skipped.entry(reason).or_default() += count;
        }
        for (reason, codes) in other.unjudged {
            self.unjudged.entry(reason).or_default().extend(codes);
        }
        self.scarce.extend(other.scarce);
        self.wrong.extend(other.wrong);
        self.imprecise.extend(other.imprecise);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} forms ({} modelled) in {} encodings: {} executions, {} inverse trials, {} bits compared, {} faults",
            self.forms,
            self.modelled,
            self.instances,
            self.executions,
            self.inverses,
            self.bits,
            self.faults
        )?;
        for (reason, count) in &self.skipped {
            writeln!(f, "  skipped {count} forms: {reason}")?;
        }
        for (reason, codes) in &self.unjudged {
            writeln!(f, "  modelled but not run, {reason}: {codes:?}")?;
        }
        for scarce in &self.scarce {
            writeln!(f, "  scarce: {scarce}")?;
        }
        for (form, example) in &self.imprecise {
            writeln!(f, "  imprecise: {form}: {example}")?;
        }
        for wrong in &self.wrong {
            writeln!(f, "  WRONG: {wrong}")?;
        }
        Ok(())
    }
}

/// Runs all forms of `codes`, one processor per thread; `None` when there is no processor.
/// Which states a form gets depends on nothing but its code and the effort.
pub(crate) fn judge<P: Processor>(
    make: impl Fn() -> Option<P> + Sync,
    codes: &[Code],
    effort: Effort,
) -> Option<Tally> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut processor = make()?;
        let mut tallies = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(&code) = codes.get(index) else {
                return Some(tallies);
            };
            tallies.push((index, judge_code(&mut processor, code, effort)));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut tallies = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let results = workers
            .into_iter()
            .map(|worker| worker.join().expect("a judge panicked"));
        results.collect::<Option<Vec<_>>>()
    })?
    .concat();
    tallies.sort_by_key(|&(index, _)| index);
    let mut total = Tally::default();
    tallies
        .into_iter()
        .for_each(|(_, tally)| total.merge(tally));
    Some(total)
}

fn judge_code(processor: &mut impl Processor, code: Code, effort: Effort) -> Tally {
    let mut tally = Tally::default();
    let mut random = Random::new((code as u64) << 32);
    let place = Place {
        at: processor.at(),
        data: processor.setting().scratch + 512,
        bitness: 64,
    };
    if let Some(reason) = processor.refuses(code) {
        *tally.skipped.entry(reason.to_owned()).or_default() += 1;
        let modelled = code.op_code().mode64()
            && forms::instances(code, place, 1, &mut random)
                .iter()
                .any(|i| effect_of(i).modelled);
        if modelled {
            tally
                .unjudged
                .entry(reason.to_owned())
                .or_default()
                .push(code);
        }
        return tally;
    }
    let instances = forms::instances(code, place, effort.instances, &mut random);
    for memory in [false, true] {
        let form: Vec<&Instance> = instances
            .iter()
            .filter(|i| i.memory == memory && i.instruction.code() == code && !i.is_foreign())
            .collect();
        if !form.is_empty() {
            judge_form(processor, &form, effort, &mut random, &mut tally);
        }
    }
    tally
}

fn effect_of(instance: &Instance) -> Effect {
    lift(
        &instance.bytes,
        Address(instance.place.at),
        instance.place.bitness as u8,
        ALL_FLAGS,
    )
}

fn judge_form(
    processor: &mut impl Processor,
    form: &[&Instance],
    effort: Effort,
    random: &mut Random,
    tally: &mut Tally,
) {
    let mut factory = InstructionInfoFactory::new();
    let (mut completed, mut modelled) = (0, false);
    for instance in form {
        let effect = effect_of(instance);
        modelled |= effect.modelled;
        let mut run = Run {
            instance,
            effect: &effect,
            effort,
            wanted: effort.states.div_ceil(form.len()),
            completed: 0,
        };
        let info = factory.info(&instance.instruction);
        if let Err(reason) = run.through(processor, info, random, tally) {
            if modelled {
                tally
                    .unjudged
                    .entry(reason.clone())
                    .or_default()
                    .push(instance.code);
            }
            *tally.skipped.entry(reason).or_default() += 1;
            return;
        }
        tally.instances += 1;
        completed += run.completed;
    }
    tally.forms += usize::from(completed > 0);
    tally.modelled += usize::from(modelled && completed > 0);
    if completed < effort.states / 2 && tally.wrong.is_empty() {
        tally
            .scarce
            .push(format!("{}: {completed} of {}", form[0], effort.states));
    }
}

/// Executions of one instance.
struct Run<'a> {
    instance: &'a Instance,
    effect: &'a Effect,
    effort: Effort,
    wanted: usize,
    completed: usize,
}

impl Run<'_> {
    /// Runs as many states as wanted; the reason when the processor cannot run any.
    fn through(
        &mut self,
        processor: &mut impl Processor,
        info: &InstructionInfo,
        random: &mut Random,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let setting = processor.setting();
        processor.load(self.instance);
        for _ in 0..self.wanted * 4 {
            if self.completed == self.wanted {
                break;
            }
            let Some(before) = World::random(setting, &self.instance.instruction, info, random)
            else {
                continue;
            };
            match processor.run(self.instance, &before) {
                Outcome::Completed(after) => {
                    let execution = Execution {
                        setting,
                        before: &before,
                        after: &after,
                    };
                    self.completed += 1;
                    if let Err(wrong) = self.judge(&execution, random, tally) {
                        // One finding an encoding is enough.
                        tally.wrong.push(format!(
                            "{}: {wrong}\n{}",
                            self.instance,
                            self.describe(&execution)
                        ));
                        break;
                    }
                }
                Outcome::Faulted => tally.faults += 1,
                Outcome::Lacking(reason) => return Err(reason),
            }
        }
        Ok(())
    }

    fn judge(
        &self,
        execution: &Execution,
        random: &mut Random,
        tally: &mut Tally,
    ) -> Result<(), crate::judge::Wrong> {
        let effect = self.effect;
        tally.executions += 1;
        let outcome = execution.forward(effect)?;
        tally.bits += outcome.compared;
        let instruction = &self.instance.instruction;
        if effect.modelled && !leaves_open(execution.setting, instruction, execution.before) {
            let excused = |word| excused(instruction, word);
            if let Some(missing) = execution.undetermined(effect, &outcome, excused) {
                let form = format!("{:?}", self.instance.code);
                let example =
                    || format!("{}: {missing}\n{}", self.instance, self.describe(execution));
                tally.imprecise.entry(form).or_insert_with(example);
            }
        }
        let truths = execution.truths(effect);
        for _ in 0..self.effort.inverses {
            tally.inverses += 1;
            tally.bits += execution.inverse(effect, &truths, random)?;
        }
        Ok(())
    }

    /// The values of the registers that matter, before and after.
    fn describe(&self, execution: &Execution) -> String {
        let value = |world: &World, word| world.state.get(word).unwrap_or(0);
        let before = self
            .effect
            .reads
            .iter()
            .map(|&w| format!(" {}={:#x}", w.name(), value(execution.before, w)));
        let after = self
            .effect
            .writes
            .iter()
            .map(|&(w, _)| format!(" {}={:#x}", w.name(), value(execution.after, w)));
        format!(
            "   {}\n    ->{}",
            before.collect::<String>(),
            after.collect::<String>()
        )
    }
}
