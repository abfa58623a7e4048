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
    Code, CodeSize, EncodingKind, Instruction, InstructionInfo, InstructionInfoFactory, MemorySize,
    Mnemonic, OpAccess, OpKind, Register, RflagsBits, UsedMemory,
};
use rept_recover::bits::Bits;
use rept_recover::effect::{Effect, StringOp};
use rept_recover::lift::{ALL_FLAGS, lift};
use rept_trace::{Address, RegWord};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

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
    memory(instance, effect, info, random, &mut found);
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

/// Bytes touched, by direction.
#[derive(Default)]
struct Touched {
    read: BTreeSet<u64>,
    written: BTreeSet<u64>,
}

fn memory(
    instance: &Instance,
    effect: &Effect,
    info: &InstructionInfo,
    random: &mut Random,
    found: &mut Vec<Difference>,
) {
    let mut values: Vec<u64> = (0..RegWord::COUNT)
        .map(|_| random.next() & 0x0000_7fff_ffff_fff8)
        .collect();
    values[usize::from(RegWord::FLAGS.0)] =
        with_relations(random.next() & u64::from(ALL_FLAGS) | 2);
    let Some(ours) = effect_touches(effect, &values, found) else {
        return;
    };
    let (must, may, sized) = iced_touches(info, &values);
    if !sized {
        let writes_unsized = info
            .used_memory()
            .iter()
            .any(|m| writes(m.access()) && size_of(m) == 0);
        if writes_unsized && !effect.clobbers_memory && ours.written.is_empty() {
            found.push(Difference::MissingClobber);
        }
        return;
    }
    let vsib = instance.instruction.is_vsib();
    if effect.modelled && !vsib && !must.read.is_subset(&ours.read) {
        found.push(Difference::MissingAccess { store: false });
    }
    if !vsib && !must.written.is_subset(&ours.written) && !effect.clobbers_memory {
        found.push(Difference::MissingAccess { store: true });
    }
    if !ours.read.is_subset(&may.read) {
        found.push(Difference::ExtraAccess { store: false });
    }
    if !ours.written.is_subset(&may.written) {
        found.push(Difference::ExtraAccess { store: true });
    }
}

fn effect_touches(effect: &Effect, values: &[u64], found: &mut Vec<Difference>) -> Option<Touched> {
    let mut words = effect.template.to_vec();
    for (word, register) in words.iter_mut().zip(&effect.reads) {
        *word = Bits::constant(values[usize::from(register.0)]);
    }
    if effect.narrow(&mut words).is_err() {
        found.push(Difference::Contradiction);
        return None;
    }
    let mut touched = Touched::default();
    for access in &effect.accesses {
        let Some(base) = words[usize::from(access.address.0)].get() else {
            found.push(Difference::AddressUnknown);
            return None;
        };
        let first = base.wrapping_add(u64::from(access.offset));
        let set = if access.store {
            &mut touched.written
        } else {
            &mut touched.read
        };
        set.extend((0..u64::from(access.size)).map(|i| first.wrapping_add(i)));
    }
    if let Some(string) = &effect.string {
        string_touches(string, &words, &mut touched);
    }
    Some(touched)
}

/// The first element of a string instruction.
fn string_touches(string: &StringOp, words: &[Bits], touched: &mut Touched) {
    use rept_recover::effect::StringKind::{Movs, Stos};
    let element = |pointer: Option<rept_recover::effect::Word>| {
        let first = pointer.and_then(|p| words[usize::from(p.0)].get());
        first
            .into_iter()
            .flat_map(|first| (0..u64::from(string.element)).map(move |i| first.wrapping_add(i)))
    };
    touched.read.extend(element(string.source));
    let store = matches!(string.kind, Movs | Stos);
    let set = if store {
        &mut touched.written
    } else {
        &mut touched.read
    };
    set.extend(element(string.destination));
}

fn size_of(memory: &UsedMemory) -> usize {
    match memory.memory_size() {
        MemorySize::Unknown => 0,
        size => size.size(),
    }
}

/// Bytes that must be and may be touched, and whether iced gives every operand a size.
fn iced_touches(info: &InstructionInfo, values: &[u64]) -> (Touched, Touched, bool) {
    let (mut must, mut may, mut sized) = (Touched::default(), Touched::default(), true);
    for memory in info.used_memory() {
        if !reads(memory.access()) && !writes(memory.access()) {
            continue;
        }
        let size = size_of(memory);
        sized &= size != 0;
        let elements = match memory.vsib_size() {
            0 => 1,
            bytes => memory.index().size() / bytes as usize,
        };
        for element in 0..elements {
            let Some(first) = address(memory, element, values) else {
                continue;
            };
            let bytes = (0..size as u64).map(|i| first.wrapping_add(i));
            if reads(memory.access()) {
                may.read.extend(bytes.clone());
                // A conditional read may be left out; what it reads then is not known.
                if memory.access() != OpAccess::CondRead {
                    must.read.extend(bytes.clone());
                }
            }
            if writes(memory.access()) {
                may.written.extend(bytes.clone());
                must.written.extend(bytes);
            }
        }
    }
    (must, may, sized)
}

fn address(memory: &UsedMemory, element: usize, values: &[u64]) -> Option<u64> {
    memory.virtual_address(element, |register, element, size| {
        let word = |word: RegWord| values[usize::from(word.0)];
        Some(match register {
            Register::FS => word(RegWord::FS_BASE),
            Register::GS => word(RegWord::GS_BASE),
            _ if register.is_segment_register() => 0,
            _ if register.is_vector_register() => {
                let per_lane = 8 / size;
                let lane = word(RegWord::vector(
                    register.number() as u16,
                    (element / per_lane) as u16,
                ));
                match size {
                    4 => lane >> (element % 2 * 32) & 0xffff_ffff,
                    _ => lane,
                }
            }
            _ => {
                let full = word(RegWord::gpr(register.full_register().number() as u16));
                match register.size() {
                    1 => full & 0xff,
                    2 => full & 0xffff,
                    4 => full & 0xffff_ffff,
                    _ => full,
                }
            }
        })
    })
}

/// Why a difference is right, when it is.
pub(crate) fn explain(
    instruction: &Instruction,
    effect: &Effect,
    difference: &Difference,
) -> Option<&'static str> {
    match *difference {
        Difference::MissingRead(word) | Difference::MissingWrite(word) => explain_missing(
            instruction,
            effect,
            word,
            matches!(difference, Difference::MissingRead(_)),
        ),
        Difference::ExtraWrite(word) => explain_extra_write(instruction, word),
        Difference::ExtraRead(RegWord::FLAGS)
            if matches!(instruction.mnemonic(), Mnemonic::Rcl | Mnemonic::Rcr) =>
        {
            Some(
                "whole turns through the carry leave OF undefined; iced takes them for no rotation",
            )
        }
        Difference::FlagsNotKept(0x801 | 0x800)
            if matches!(instruction.mnemonic(), Mnemonic::Rcl | Mnemonic::Rcr) =>
        {
            Some(
                "whole turns through the carry leave OF undefined; iced takes them for no rotation",
            )
        }
        Difference::ExtraRead(RegWord::MXCSR) => Some(STICKY),
        Difference::ExtraRead(RegWord(20..=22)) => Some(X87_STATE),
        Difference::ExtraRead(RegWord(32..48)) if moves_stack(instruction) => {
            Some("the top of the stack is a value: any register may be the one written")
        }
        Difference::ExtraRead(word) if word.0 >= 24 && operands_coincide(instruction) => {
            Some("reads a register combined with itself, which iced takes for a zero idiom")
        }
        Difference::ExtraRead(RegWord::FS_BASE | RegWord::GS_BASE) => Some("reads a segment base"),
        Difference::ExtraRead(_) if instruction.is_save_restore_instruction() => {
            Some("saves register sets, which iced does not list")
        }
        Difference::MissingAccess { .. } | Difference::ExtraAccess { .. }
            if is_bit_test(instruction) =>
        {
            Some("a bit offset in a register moves the operand, which iced does not say")
        }
        Difference::MissingAccess { store: false } if instruction.is_save_restore_instruction() => {
            Some("restores only those parts of the save area that are words of ours")
        }
        Difference::MissingAccess { store: false } if is_hint(instruction) => Some(HINT),
        Difference::Contradiction
            if matches!(instruction.mnemonic(), Mnemonic::Div | Mnemonic::Idiv) =>
        {
            Some("the division faults on the state chosen")
        }
        _ => None,
    }
}

const X87_STATE: &str = "iced lists neither control, status nor tags of the x87 unit";
const STICKY: &str = "iced does not list MXCSR, whose sticky flags arithmetic sets";

fn explain_missing(
    instruction: &Instruction,
    effect: &Effect,
    word: RegWord,
    read: bool,
) -> Option<&'static str> {
    use Mnemonic as M;
    match instruction.mnemonic() {
        _ if effect.modelled && is_neutral(instruction) => {
            Some("the operands make it an identity or a constant, which the judge of values checks")
        }
        _ if is_hint(instruction) && read => Some(HINT),
        _ if read && word == RegWord::RDX && instruction.is_save_restore_instruction() => {
            Some("EDX selects state components that no word of ours belongs to")
        }
        M::Cpuid | M::Xgetbv if read => Some("its results come from nowhere in the state"),
        // Vector words are lanes while iced lists whole registers.
        _ if word.0 >= 64 && effect.modelled && touches_some_lane(effect, word) => {
            Some("reads and writes only the lanes that matter of a vector register")
        }
        _ if word.0 >= 24
            && effect.modelled
            && (has_immediate(instruction) || operands_coincide(instruction)) =>
        {
            Some(
                "an immediate or coinciding operands leave the register out, which the judge of values checks",
            )
        }
        M::Vblendmpd | M::Vblendmps | M::Vpblendmb | M::Vpblendmw | M::Vpblendmd | M::Vpblendmq
            if effect.modelled =>
        {
            Some("without a mask, or zeroing, a blend takes one source only")
        }
        M::Cmpxchg if read && instruction.op0_register().full_register() == Register::RAX => {
            Some("compares RAX with itself")
        }
        _ => None,
    }
}

fn explain_extra_write(instruction: &Instruction, word: RegWord) -> Option<&'static str> {
    match word {
        RegWord::MXCSR => Some(STICKY),
        RegWord(20..=22) => Some(X87_STATE),
        RegWord(32..48) if word.0 % 2 == 1 && !instruction.is_save_restore_instruction() => {
            Some("MMX instructions set sign and exponent of the x87 register to ones")
        }
        RegWord::FLAGS if matches!(instruction.mnemonic(), Mnemonic::Rcl | Mnemonic::Rcr) => Some(
            "whole turns through the carry leave OF undefined; iced takes them for no rotation",
        ),
        RegWord(32..48) if moves_stack(instruction) => {
            Some("the top of the stack is a value: any register may be the one written")
        }
        RegWord(32..48) if instruction.mnemonic() == Mnemonic::Femms => {
            Some("FEMMS leaves the registers undefined")
        }
        RegWord::RAX | RegWord::RCX | RegWord::R11
            if instruction.mnemonic() == Mnemonic::Syscall =>
        {
            Some("SYSCALL and the kernel write RAX, RCX and R11, which iced does not list")
        }
        RegWord::FS_BASE | RegWord::GS_BASE => Some("loads a segment base"),
        _ if instruction.is_save_restore_instruction() => {
            Some("restores register sets, which iced does not list")
        }
        _ => None,
    }
}

fn touches_some_lane(effect: &Effect, word: RegWord) -> bool {
    let number = |word: RegWord| (word.0 - 64) / 8;
    let written = effect.writes.iter().map(|(register, _)| register);
    effect
        .reads
        .iter()
        .chain(written)
        .any(|&other| other.0 >= 64 && number(other) == number(word))
}

const HINT: &str = "a hint: changes no data";

fn is_hint(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(
        instruction.mnemonic(),
        M::Clflush
            | M::Clflushopt
            | M::Clwb
            | M::Cldemote
            | M::Ptwrite
            | M::Prefetch
            | M::Prefetchnta
            | M::Prefetcht0
            | M::Prefetcht1
            | M::Prefetcht2
            | M::Prefetchw
            | M::Prefetchwt1
            | M::Prefetchit0
            | M::Prefetchit1
    )
}

fn is_bit_test(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(instruction.mnemonic(), M::Bt | M::Bts | M::Btr | M::Btc)
        && instruction.op1_kind() == OpKind::Register
}

fn moves_stack(instruction: &Instruction) -> bool {
    let stack = instruction.fpu_stack_increment_info();
    stack.increment() != 0 || stack.writes_top() || instruction.mnemonic() == Mnemonic::Fninit
}

fn has_immediate(instruction: &Instruction) -> bool {
    instruction
        .try_immediate(instruction.op_count().saturating_sub(1))
        .is_ok()
}

/// Two register operands are the same.
fn operands_coincide(instruction: &Instruction) -> bool {
    let register = |operand| instruction.op_register(operand);
    (0..instruction.op_count())
        .any(|i| register(i) != Register::None && (0..i).any(|j| register(i) == register(j)))
}

/// A register combined with itself, or with an immediate that changes nothing or everything.
fn is_neutral(instruction: &Instruction) -> bool {
    let last = instruction.op_count().saturating_sub(1);
    if let Ok(immediate) = instruction.try_immediate(last) {
        let bits = instruction.op0_register().size() as u32 * 8;
        let ones = if bits >= 64 {
            u64::MAX
        } else {
            (1 << bits) - 1
        };
        let count_mask = if bits == 64 { 63 } else { 31 };
        return matches!(immediate, 0 | 1)
            || immediate & ones == ones
            || immediate & count_mask == 0;
    }
    instruction.op_count() >= 2
        && (1..instruction.op_count()).all(|operand| {
            instruction.op_kind(operand) == OpKind::Register
                && instruction.op_register(operand) == instruction.op0_register()
        })
}
