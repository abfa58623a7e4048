//! What a step read and wrote, each with its recovered value.

use crate::score::{is_read, is_write};
use iced_x86::{Instruction, InstructionInfoFactory, OpAccess, Register, RflagsBits, UsedRegister};
use rept_core::show::{known_part, shown};
use rept_recover::history::{AccessView, Position, Recovered, Unknown, Value};
use rept_trace::RegWord;

/// Memory accesses printed of one step and direction.
const ACCESSES: usize = 8;

/// The operands of one step as text, `name=value`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Operands {
    pub(crate) reads: Vec<String>,
    pub(crate) writes: Vec<String>,
    pub(crate) counts: Counts,
}

/// How many of the values shown are known, and how well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) certain: u64,
    pub(crate) assumed: u64,
    pub(crate) inferred: u64,
    pub(crate) partial: u64,
    pub(crate) unknown: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Counts) {
        self.certain += other.certain;
        self.assumed += other.assumed;
        self.inferred += other.inferred;
        self.partial += other.partial;
        self.unknown += other.unknown;
    }

    /// Counts the low `bits` bits of a value as one.
    fn count(&mut self, value: Value, bits: u32) {
        let mask = rept_recover::bits::mask(bits);
        let class = if value.known & mask == 0 {
            &mut self.unknown
        } else if value.known & mask != mask {
            &mut self.partial
        } else if value.certain & mask == mask {
            &mut self.certain
        } else if value.assumed & mask == mask {
            &mut self.assumed
        } else {
            &mut self.inferred
        };
        *class += 1;
    }
}

/// Operands of the step at `at`, which executed `instruction`.
pub(crate) fn operands(
    history: &dyn Recovered,
    at: Position,
    instruction: &Instruction,
    factory: &mut InstructionInfoFactory,
) -> Operands {
    let after = Position {
        step: at.step + 1,
        ..at
    };
    let used = used(factory.info(instruction).used_registers());
    let mut operands = Operands::default();
    for &(register, access) in &used {
        if is_read(access) {
            let text = named(history, at, register, &mut operands.counts);
            operands.reads.push(text);
        }
        if is_write(access) {
            let text = named(history, after, register, &mut operands.counts);
            operands.writes.push(text);
        }
    }
    operands
        .reads
        .extend(flags(history, at, instruction.rflags_read()));
    let views = history.accesses(at);
    memory(&views, false, &mut operands.reads, &mut operands.counts);
    memory(&views, true, &mut operands.writes, &mut operands.counts);
    operands
}

/// Words of the registers that an instruction writes, the flags last; each once.
pub(crate) fn written_words(instruction: &Instruction) -> Vec<RegWord> {
    let mut factory = InstructionInfoFactory::new();
    let written = used(factory.info(instruction).used_registers()).into_iter();
    let written = written.filter(|&(_, access)| is_write(access));
    let mut found: Vec<RegWord> = written
        .filter_map(|(register, _)| Some(words(register)?.0))
        .flatten()
        .collect();
    if instruction.rflags_modified() != 0 {
        found.push(RegWord::FLAGS);
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Registers that hold data, each once for each direction.
fn used(registers: &[UsedRegister]) -> Vec<(Register, OpAccess)> {
    let mut used: Vec<(Register, OpAccess)> = Vec::new();
    for register in registers
        .iter()
        .filter(|register| words(register.register()).is_some())
    {
        let pair = (register.register(), register.access());
        if !used.contains(&pair) {
            used.push(pair);
        }
    }
    used
}

/// Words of a register, lowest first, with the shift of its first bit and its width in bits.
fn words(register: Register) -> Option<(Vec<RegWord>, u32, u32)> {
    let full = register.full_register();
    let bits = register.size() as u32 * 8;
    let number = |first: Register| (full as u32 - first as u32) as u16;
    if register.is_gpr() {
        let high = matches!(
            register,
            Register::AH | Register::BH | Register::CH | Register::DH
        );
        return Some((
            vec![RegWord::gpr(number(Register::RAX))],
            if high { 8 } else { 0 },
            bits,
        ));
    }
    if register.is_vector_register() {
        let lanes =
            (0..(bits / 64) as u16).map(|lane| RegWord::vector(number(Register::ZMM0), lane));
        return Some((lanes.collect(), 0, bits));
    }
    if register.is_k() {
        return Some((vec![RegWord::opmask(number(Register::K0))], 0, 64));
    }
    None
}

fn named(history: &dyn Recovered, at: Position, register: Register, counts: &mut Counts) -> String {
    let name = format!("{register:?}").to_lowercase();
    let Some((words, shift, bits)) = words(register) else {
        return name;
    };
    if let [word] = words[..] {
        let value = shifted(history.register(at, word), shift);
        counts.count(value, bits);
        return format!(
            "{name}={}",
            shown(value, bits, || Some(history.why_unknown(at, word)))
        );
    }
    let lanes: Vec<Value> = words
        .iter()
        .map(|&word| history.register(at, word))
        .collect();
    lanes.iter().for_each(|&lane| counts.count(lane, 64));
    let Some(missing) = lanes.iter().position(|lane| lane.known == 0) else {
        return format!("{name}={}", lanes_text(&lanes));
    };
    if lanes.iter().all(|lane| lane.known == 0) {
        let why = || Some(history.why_unknown(at, words[missing]));
        return format!("{name}={}", shown(lanes[missing], 64, why));
    }
    format!("{name}={}", lanes_text(&lanes))
}

/// Lanes, the highest first, as one reads a number.
fn lanes_text(lanes: &[Value]) -> String {
    let lane = |lane: &Value| known_part(*lane, 64).unwrap_or_else(|| "?".to_owned());
    let texts: Vec<String> = lanes.iter().rev().map(lane).collect();
    format!("{{{}}}", texts.join(" "))
}

fn shifted(value: Value, shift: u32) -> Value {
    Value {
        bits: value.bits >> shift,
        known: value.known >> shift,
        certain: value.certain >> shift,
        assumed: value.assumed >> shift,
    }
}

/// Flags by their place in RFLAGS.
const FLAGS: [(u32, u32, &str); 7] = [
    (RflagsBits::CF, 0, "cf"),
    (RflagsBits::PF, 2, "pf"),
    (RflagsBits::AF, 4, "af"),
    (RflagsBits::ZF, 6, "zf"),
    (RflagsBits::SF, 7, "sf"),
    (RflagsBits::DF, 10, "df"),
    (RflagsBits::OF, 11, "of"),
];

/// The flags in `mask` (iced's [`RflagsBits`]).
fn flags(history: &dyn Recovered, at: Position, mask: u32) -> impl Iterator<Item = String> + '_ {
    let read = FLAGS.iter().filter(move |flag| mask & flag.0 != 0);
    read.map(move |&(_, bit, name)| {
        let value = shifted(history.register(at, RegWord::FLAGS), bit);
        let text = known_part(value, 1).map(|text| text.replacen("0x", "", 1));
        format!("{name}={}", text.unwrap_or_else(|| "?".to_owned()))
    })
}

fn memory(views: &[AccessView], store: bool, texts: &mut Vec<String>, counts: &mut Counts) {
    let of_kind: Vec<_> = views.iter().filter(|view| view.store == store).collect();
    of_kind
        .iter()
        .for_each(|view| counts.count(view.value, u32::from(view.size) * 8));
    texts.extend(of_kind.iter().take(ACCESSES).map(|view| access(view)));
    if of_kind.len() > ACCESSES {
        texts.push(format!("and {} more", of_kind.len() - ACCESSES));
    }
}

fn access(view: &AccessView) -> String {
    let mark = match (view.address_certain, view.address_assumed) {
        (true, _) => "",
        (_, true) => "~",
        _ => "~~",
    };
    let address = match view.address {
        Some(address) => format!("{mark}{address}"),
        None => "?".to_owned(),
    };
    let why = || view.address.is_none().then_some(Unknown::AddressUnknown);
    format!(
        "[{address}]={}",
        shown(view.value, u32::from(view.size) * 8, why)
    )
}
