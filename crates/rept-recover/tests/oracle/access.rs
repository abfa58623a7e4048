//! First oracle: what an effect reads and writes against iced's access tables.
//!
//! iced lists registers, memory operands and flags of every instruction independently of
//! rept. An effect must write exactly the listed words (a missing write is a lie, an extra
//! one a loss) and read no others; a modelled one must read all of them. Where iced's lists
//! and the lattice's words cannot agree, [`explain`] says why, one case at a time.

use crate::forms::{self, Instance, Place};
use crate::hostile;
use crate::random::Random;
use crate::state::with_relations;
use iced_x86::{
    Code, CodeSize, EncodingKind, Instruction, InstructionInfo, InstructionInfoFactory, OpAccess,
    Register, RflagsBits,
};
use rept_recover::bits::Bits;
use rept_recover::effect::Effect;
use rept_recover::lift::{ALL_FLAGS, lift};
use rept_trace::{Address, RegWord};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

#[path = "access/explain.rs"]
mod explain;
#[path = "access/memory.rs"]
mod memory;

pub(crate) use explain::explain;

type Words = BTreeSet<RegWord>;

/// One way in which an effect and iced's tables differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    MissingWrite(RegWord),
    ExtraWrite(RegWord),
    MissingRead(RegWord),
    ExtraRead(RegWord),
    /// These flags are not written and yet do not keep their values.
    FlagsNotKept(u64),
    /// These flags are left undefined and yet claimed.
    FlagsInvented(u64),
    /// These flags are always cleared or set and yet not known.
    FlagsNotConstant(u64),
    /// Bytes that must be read or written and are not.
    MissingAccess {
        store: bool,
    },
    /// Bytes that are read or written and must not be.
    ExtraAccess {
        store: bool,
    },
    /// The address of an access does not follow from the registers read.
    AddressUnknown,
    /// Reads or writes memory of unknown extent and does not say so.
    MissingClobber,
    /// The relations exclude a state.
    Contradiction,
}

impl Difference {
    /// What differs, without the particular register.
    pub(crate) fn kind(&self) -> String {
        match *self {
            Difference::MissingWrite(word) => format!("lacks a write of {}", file(word)),
            Difference::ExtraWrite(word) => format!("writes {} besides", file(word)),
            Difference::MissingRead(word) => format!("lacks a read of {}", file(word)),
            Difference::ExtraRead(word) => format!("reads {} besides", file(word)),
            ref other => format!("{other:?}"),
        }
    }
}

/// The register file that a word belongs to.
fn file(word: RegWord) -> &'static str {
    match word.0 {
        0..16 => "general registers",
        16 => "flags",
        20..=22 => "x87 state",
        17 | 18 => "segment bases",
        19 => "mxcsr",
        24..32 => "opmasks",
        32..48 => "x87 registers",
        _ => "vector registers",
    }
}

/// The register sets that iced's table implies.
#[derive(Default)]
struct Listed {
    writes: Words,
    /// Words that a modelled effect must read.
    reads: Words,
    /// Words that it may read besides: what partial and conditional writes leave in place.
    merges: Words,
    /// Touches x87 registers by their place on the stack.
    stack: bool,
}

/// The outcome of going over all codes.
#[derive(Default)]
pub(crate) struct Survey {
    encoded: usize,
    forms: usize,
    encodings: usize,
    modelled: usize,
    /// Codes that iced cannot encode: pseudo-instructions and shapes beyond every mode.
    unencodable: Vec<Code>,
    /// Codes that only special decoder options reach; their bytes forget everything.
    foreign: BTreeSet<Code>,
    explained: BTreeMap<&'static str, usize>,
    /// Mnemonics of user-mode codes of which no encoding, or not every one, is modelled.
    forgotten: [BTreeSet<String>; 2],
    /// Unexplained differences with an example each.
    pub(crate) wrong: BTreeMap<String, String>,
}

impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Survey {
            encoded,
            forms,
            encodings,
            modelled,
            ..
        } = self;
        writeln!(
            f,
            "{encoded} codes in {forms} forms, {encodings} encodings checked, {modelled} codes modelled"
        )?;
        writeln!(
            f,
            "  {} not encodable: {:?}",
            self.unencodable.len(),
            self.unencodable
        )?;
        writeln!(
            f,
            "  {} beyond a plain decoder: {:?}",
            self.foreign.len(),
            self.foreign
        )?;
        for (how, mnemonics) in ["wholly", "in some forms"].iter().zip(&self.forgotten) {
            let names: Vec<&str> = mnemonics.iter().map(String::as_str).collect();
            writeln!(f, "  forgotten {how}: {}", names.join(" "))?;
        }
        for (reason, count) in &self.explained {
            writeln!(f, "  explained {count}: {reason}")?;
        }
        for (what, example) in &self.wrong {
            writeln!(f, "  DIFFERENT: {what}: {example}")?;
        }
        Ok(())
    }
}

impl Survey {
    /// Checks `count` encodings of each form of `code`.
    pub(crate) fn check(&mut self, code: Code, count: usize) {
        let mut random = Random::new(code as u64);
        let place = Place {
            at: 0x20_0000,
            data: 0x30_0000,
            bitness: forms::bitness(code),
        };
        let instances = forms::instances(code, place, count, &mut random);
        if instances.is_empty() {
            self.unencodable.push(code);
            return;
        }
        self.encoded += 1;
        let has = |memory: bool| usize::from(instances.iter().any(|i| i.memory == memory));
        self.forms += has(false) + has(true);
        let modelled = instances
            .iter()
            .filter(|i| self.check_instance(i, &mut random))
            .count();
        self.modelled += usize::from(modelled > 0);
        let opcode = code.op_code();
        let user = opcode.mode64() && opcode.is_instruction() && !opcode.is_privileged();
        let plain = instances.iter().any(|i| i.instruction.code() == code);
        if user && plain && modelled < instances.len() {
            let name = format!("{:?}", code.mnemonic()).to_lowercase();
            self.forgotten[usize::from(modelled > 0)].insert(name);
        }
    }

    /// True when the instance is modelled.
    fn check_instance(&mut self, instance: &Instance, random: &mut Random) -> bool {
        let place = instance.place;
        let effect = lift(
            &instance.bytes,
            Address(place.at),
            place.bitness as u8,
            ALL_FLAGS,
        );
        hostile::check_well_formed(&effect);
        hostile::check_narrow(&effect, random);
        if instance.is_foreign() {
            hostile::check_claims_nothing(&effect);
            self.foreign.insert(instance.code);
            return false;
        }
        self.encodings += 1;
        let mut factory = InstructionInfoFactory::new();
        let info = factory.info(&instance.instruction);
        for difference in differences(instance, &effect, info, random) {
            match explain(&instance.instruction, &effect, &difference) {
                Some(reason) => *self.explained.entry(reason).or_default() += 1,
                None => {
                    let how = if effect.modelled {
                        "modelled"
                    } else {
                        "forgets"
                    };
                    let key = format!("{:?} {} {how}", instance.code, difference.kind());
                    self.wrong
                        .entry(key)
                        .or_insert_with(|| format!("{instance} {difference:?}"));
                }
            }
        }
        effect.modelled
    }
}

/// All differences of `effect`, lifted from `instance` with every flag live.
pub(crate) fn differences(
    instance: &Instance,
    effect: &Effect,
    info: &InstructionInfo,
    random: &mut Random,
) -> Vec<Difference> {
    let mut found = Vec::new();
    let instruction = &instance.instruction;
    let listed = listed(instruction, info);
    registers(effect, &listed, &mut found);
    if effect.modelled {
        flags(instruction, effect, random, &mut found);
    }
    memory::compare(instance, effect, info, random, &mut found);
    found
}

fn listed(instruction: &Instruction, info: &InstructionInfo) -> Listed {
    let mut listed = Listed::default();
    for used in info.used_registers() {
        let register = used.register();
        listed.stack |= register.is_st();
        let words = words_of(register);
        if reads(used.access()) {
            listed.reads.extend(&words);
        }
        if writes(used.access()) {
            listed.writes.extend(&words);
            let conditional =
                matches!(used.access(), OpAccess::CondWrite | OpAccess::ReadCondWrite);
            if conditional || !whole(register, instruction) {
                listed.merges.extend(&words);
            }
        }
    }
    for memory in info.used_memory() {
        let base = match memory.segment() {
            Register::FS => RegWord::FS_BASE,
            Register::GS => RegWord::GS_BASE,
            _ => continue,
        };
        listed.reads.insert(base);
    }
    let modified = real_flags(instruction.rflags_modified()) & u64::from(ALL_FLAGS);
    if modified != 0 {
        listed.writes.insert(RegWord::FLAGS);
        listed.merges.insert(RegWord::FLAGS);
    }
    if real_flags(instruction.rflags_read()) & u64::from(ALL_FLAGS) != 0 {
        listed.reads.insert(RegWord::FLAGS);
    }
    listed
}

pub(crate) fn reads(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Read | OpAccess::CondRead | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

pub(crate) fn writes(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

/// Register words that a register is made of. Registers without a word (selectors, control,
/// debug, bound and tile registers, RIP) have none.
fn words_of(register: Register) -> Vec<RegWord> {
    let number = register.number() as u16;
    match register {
        _ if register.is_gpr() => vec![RegWord::gpr(register.full_register().number() as u16)],
        _ if register.is_vector_register() => (0..register.size() as u16 / 8)
            .map(|lane| RegWord::vector(number, lane))
            .collect(),
        _ if register.is_k() => vec![RegWord::opmask(number)],
        _ if register.is_mm() => vec![RegWord::x87(number, 0)],
        _ => Vec::new(),
    }
}

/// Writing `register` leaves nothing of its words in place.
fn whole(register: Register, instruction: &Instruction) -> bool {
    if register.is_gpr() {
        return register.size() == 8
            || register.size() == 4 && instruction.code_size() == CodeSize::Code64;
    }
    // Scalar operations write part of a lane; VEX and EVEX forms take the rest from a source.
    instruction.encoding() != EncodingKind::Legacy
        && !instruction.has_op_mask()
        && register.is_vector_register()
        || register.is_k()
}

fn registers(effect: &Effect, listed: &Listed, found: &mut Vec<Difference>) {
    let written: Words = effect
        .writes
        .iter()
        .map(|&(register, _)| register)
        .collect();
    let read: Words = effect.reads.iter().copied().collect();
    let x87 = |word: &&RegWord| !(listed.stack && (32..48).contains(&word.0));
    found.extend(
        listed
            .writes
            .difference(&written)
            .map(|&w| Difference::MissingWrite(w)),
    );
    found.extend(
        written
            .difference(&listed.writes)
            .filter(x87)
            .map(|&w| Difference::ExtraWrite(w)),
    );
    if listed.stack && info_writes_stack(&written) {
        found.push(Difference::MissingWrite(RegWord::x87(0, 0)));
    }
    if effect.modelled {
        found.extend(
            listed
                .reads
                .difference(&read)
                .map(|&w| Difference::MissingRead(w)),
        );
    }
    let allowed: Words = listed.reads.union(&listed.merges).copied().collect();
    found.extend(
        read.difference(&allowed)
            .filter(x87)
            .map(|&w| Difference::ExtraRead(w)),
    );
}

/// Some but not all words of the x87 registers are written: the top of the stack is not
/// known, so that must not be.
fn info_writes_stack(written: &Words) -> bool {
    let count = written
        .iter()
        .filter(|word| (32..48).contains(&word.0))
        .count();
    count != 0 && count != 16
}

/// Translates iced's flag numbering to RFLAGS.
pub(crate) fn real_flags(iced: u32) -> u64 {
    const MAP: [(u32, u64); 8] = [
        (RflagsBits::CF, 1),
        (RflagsBits::PF, 4),
        (RflagsBits::AF, 0x10),
        (RflagsBits::ZF, 0x40),
        (RflagsBits::SF, 0x80),
        (RflagsBits::IF, 0x200),
        (RflagsBits::DF, 0x400),
        (RflagsBits::OF, 0x800),
    ];
    MAP.iter()
        .filter(|(bit, _)| iced & bit != 0)
        .fold(0, |flags, (_, real)| flags | real)
}

/// Flags at the level of bits, by narrowing: kept ones keep, constant ones are known, undefined
/// ones are not.
fn flags(
    instruction: &Instruction,
    effect: &Effect,
    random: &mut Random,
    found: &mut Vec<Difference>,
) {
    let Some(&(_, new)) = effect
        .writes
        .iter()
        .find(|(register, _)| *register == RegWord::FLAGS)
    else {
        return;
    };
    let new = usize::from(new.0);
    let all = u64::from(ALL_FLAGS);
    let old_value = with_relations(random.next() & all | 2);
    let modified = real_flags(instruction.rflags_modified()) & all;
    // Only the old flags are known: what is kept or constant must be known, what depends on operands cannot be.
    let mut words = effect.template.to_vec();
    if let Some(old) = effect.reads.iter().position(|&r| r == RegWord::FLAGS) {
        words[old] = Bits::constant(old_value);
    }
    if effect.narrow(&mut words).is_err() {
        found.push(Difference::Contradiction);
        return;
    }
    let kept = all & !modified;
    let not_kept = kept & (!words[new].known | (words[new].value ^ old_value));
    if not_kept != 0 {
        found.push(Difference::FlagsNotKept(not_kept));
    }
    let (set, cleared) = (
        real_flags(instruction.rflags_set()),
        real_flags(instruction.rflags_cleared()),
    );
    let constant = (set | cleared) & all;
    let not_constant = constant & (!words[new].known | (words[new].value ^ set));
    if not_constant != 0 {
        found.push(Difference::FlagsNotConstant(not_constant));
    }
    let undefined = real_flags(instruction.rflags_undefined()) & all;
    let mut words = effect.template.to_vec();
    for word in words.iter_mut().take(effect.inputs()) {
        *word = Bits::constant(random.integer());
    }
    if let Some(old) = effect.reads.iter().position(|&r| r == RegWord::FLAGS) {
        words[old] = Bits::constant(old_value);
    }
    if let Some(count) = effect.reads.iter().position(|&r| r == RegWord::RCX) {
        // Shifts by none keep the flags, shifts by one define them all.
        words[count] = Bits::constant(5);
    }
    if effect.narrow(&mut words).is_ok() && words[new].known & undefined != 0 {
        found.push(Difference::FlagsInvented(words[new].known & undefined));
    }
}
